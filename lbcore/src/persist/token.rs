//! By a token that the application reads: a cookie, a session id, a QUIC connection id.

use std::time::Duration;

use super::table::{DEFAULT_CAPACITY, Table};
use super::{Client, PersistStats, Persistence};
use crate::hash::HashKey;
use crate::{BackendId, Instant};

/// Sends sessions that bring the same token to the backend that had it.
///
/// A client without a token is not remembered. Tokens themselves are not kept, only a keyed hash of
/// them, so that two of a million share a backend by mistake with a chance below 1 in 10^7.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lbcore::persist::{Client, Persistence, Token};
/// use lbcore::{BackendId, Instant};
///
/// let persistence = Token::lasting(Duration::from_secs(300));
/// let now = Instant::ZERO;
/// let home = Client::from_source("192.0.2.1".parse().unwrap()).token(b"session=4711");
/// let abroad = Client::from_source("198.51.100.9".parse().unwrap()).token(b"session=4711");
/// persistence.remember(now, &home, BackendId::new(7));
/// assert_eq!(persistence.lookup(now, &abroad), Some(BackendId::new(7)));
/// ```
#[derive(Debug)]
pub struct Token {
    table: Table,
}

impl Token {
    /// Remembers each token until `timeout` after its last session began.
    ///
    /// Holds at most 2^20 tokens of any length, some 70 MiB when all are in use; the longest
    /// unused goes first.
    #[must_use]
    pub fn lasting(timeout: Duration) -> Self {
        Self {
            table: Table::new(timeout, DEFAULT_CAPACITY),
        }
    }

    /// How many tokens are remembered at most; at least 1.
    #[must_use]
    pub fn capacity(mut self, most: usize) -> Self {
        self.table.set_capacity(most);
        self
    }

    /// Hashes by this key instead of one drawn by the process: for a run that can be repeated.
    #[must_use]
    pub fn hash_key(mut self, key: HashKey) -> Self {
        self.table.set_key(key);
        self
    }

    /// What the table holds and has done.
    #[must_use]
    pub fn stats(&self) -> PersistStats {
        self.table.stats()
    }

    fn hash(&self, client: &Client<'_>) -> Option<u64> {
        client.token.map(|token| self.table.key().sip13(token))
    }
}

impl Persistence for Token {
    fn lookup(&self, now: Instant, client: &Client<'_>) -> Option<BackendId> {
        self.table.lookup(now, self.hash(client)?)
    }

    fn remember(&self, now: Instant, client: &Client<'_>, backend: BackendId) {
        if let Some(hash) = self.hash(client) {
            self.table.remember(now, hash, backend);
        }
    }

    fn forget_backend(&self, backend: BackendId) {
        self.table.forget_backend(backend);
    }
}
