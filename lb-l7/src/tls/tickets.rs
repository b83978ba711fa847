//! Session tickets that any machine with the same keys can open.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::{error, hmac, rand};
use lbcore::Instant;
use lbcore::ticket_ring::{TicketRing, TicketSecret};
use rustls::server::ProducesTickets;

use super::pem::{self, LoadError, LoadFault};

/// One key of a [`TicketKeys`] ring: a name that a ticket begins with, and a secret.
///
/// Files have the lengths of nginx's `ssl_session_ticket_key`, 48 or 80 random bytes, of which the
/// first 16 are the name, so that `openssl rand 80` makes one. The tickets are not nginx's.
#[derive(Clone)]
pub struct TicketKey {
    name: [u8; NAME],
    key: Arc<RandomizedNonceKey>,
}

impl TicketKey {
    /// Makes a key of the 48 or 80 bytes of a file.
    ///
    /// # Errors
    ///
    /// When there are more or fewer.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LoadError> {
        let bad = || LoadError::new(LoadFault::BadTicketKey(bytes.len()));
        if !matches!(bytes.len(), 48 | 80) {
            return Err(bad());
        }
        let (name, secret) = bytes.split_first_chunk().ok_or_else(bad)?;
        Self::derive(*name, secret).map_err(|_| bad())
    }

    /// Makes a key of a file's 48 or 80 bytes. Blocks on the file.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or has more or fewer bytes.
    pub fn from_file(file: impl AsRef<Path>) -> Result<Self, LoadError> {
        let file = file.as_ref();
        Self::from_bytes(&pem::read(file)?).map_err(|error| error.in_file(file))
    }

    /// Makes the key of a secret of a cluster's ring.
    ///
    /// # Errors
    ///
    /// None that is known of: every 80 bytes are a key.
    pub fn from_secret(secret: &TicketSecret) -> Result<Self, LoadError> {
        Self::from_bytes(secret.bytes())
    }

    /// Makes a key that no one else has.
    ///
    /// # Errors
    ///
    /// When the system gives no random bytes.
    pub fn random() -> Result<Self, RandomError> {
        let secret = TicketKeys::random_secret()?;
        Self::from_secret(&secret).map_err(|_| RandomError)
    }

    /// The name: the first 16 bytes of every ticket that it sealed, which are no secret.
    #[must_use]
    pub const fn name(&self) -> &[u8; 16] {
        &self.name
    }

    /// The key proper is derived, so that any length of secret gives one of 32 bytes.
    fn derive(name: [u8; NAME], secret: &[u8]) -> Result<Self, error::Unspecified> {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let key = hmac::sign(&secret, b"lb-l7 session ticket, AES-256-GCM-SIV");
        let key = RandomizedNonceKey::new(&AES_256_GCM_SIV, key.as_ref())?;
        Ok(Self {
            name,
            key: Arc::new(key),
        })
    }

    /// name ‖ nonce ‖ ciphertext ‖ tag; the name and `scope` are authenticated with it.
    fn seal(&self, scope: &[u8; SCOPE], plain: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = plain.to_vec();
        let aad = Aad::from(self.aad(scope));
        let nonce = self.key.seal_in_place_append_tag(aad, &mut sealed).ok()?;
        let mut ticket = Vec::with_capacity(NAME + NONCE + sealed.len());
        ticket.extend_from_slice(&self.name);
        ticket.extend_from_slice(nonce.as_ref());
        ticket.append(&mut sealed);
        Some(ticket)
    }

    /// Opens what follows the name.
    fn open(&self, scope: &[u8; SCOPE], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let mut plain = sealed.to_vec();
        let aad = Aad::from(self.aad(scope));
        let length = self.key.open_in_place(nonce, aad, &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }

    fn aad(&self, scope: &[u8; SCOPE]) -> [u8; NAME + SCOPE] {
        let mut aad = [0; NAME + SCOPE];
        let (name, rest) = aad.split_at_mut(NAME);
        name.copy_from_slice(&self.name);
        rest.copy_from_slice(scope);
        aad
    }
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKey").finish_non_exhaustive()
    }
}

/// The system gave no random bytes; nothing can be encrypted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the system gave no random bytes")]
#[non_exhaustive]
pub struct RandomError;

/// A ring of keys for session tickets: the first seals, and every one opens (RFC 8446, 4.6.1;
/// RFC 5077, 5.5).
///
/// Machines with the same ring resume each other's sessions, and keep nothing for it. Whoever has a
/// key can read the sessions of TLS 1.2 that it sealed and impersonate this server in resumptions,
/// so a key has to live shortly: [`random`](Self::random) rings turn by themselves, and for a shared
/// one [`rotate`](Self::rotate) says when. A new shared key should be on every machine as the second
/// of the ring before it becomes the first of any.
///
/// Tickets are sealed with AES-256-GCM-SIV (RFC 8452), under a random nonce, whose repetition is
/// harmless: no count of tickets has to be shared. They are bound to what the listener asks of
/// client certificates, so that a ticket does not carry a client past that. No 0-RTT data is ever
/// taken.
///
/// # Examples
///
/// ```
/// use lb_l7::tls::{TicketKey, TicketKeys};
///
/// let (old, new) = (TicketKey::from_bytes(&[1; 80])?, TicketKey::from_bytes(&[2; 80])?);
/// let ring = TicketKeys::shared(old.clone(), []);
/// ring.rotate(new, [old]);
/// # Ok::<(), lb_l7::tls::LoadError>(())
/// ```
#[derive(Debug)]
pub struct TicketKeys {
    ring: ArcSwap<Ring>,
    turning: Option<Turning>,
    /// How long a ticket is said to be good for.
    lifetime: Duration,
}

#[derive(Debug)]
struct Ring {
    newest: TicketKey,
    older: Vec<TicketKey>,
}

/// When a ring turns by itself.
#[derive(Debug)]
struct Turning {
    every: Duration,
    /// `None` until the first moment is known.
    next: Mutex<Option<Instant>>,
}

impl TicketKeys {
    /// How long a random key seals unless something else is said: 12 hours, so that a ticket opens
    /// for 12 to 24 hours; most clients drop theirs within a day.
    pub const EVERY: Duration = Duration::from_secs(12 * 3600);

    /// A ring of one random key, which a new one follows `every` so long; the old one opens for as
    /// long again. `every` is at least a second.
    ///
    /// # Errors
    ///
    /// When the system gives no random bytes.
    pub fn random(every: Duration) -> Result<Self, RandomError> {
        let every = every.max(Duration::from_secs(1));
        Ok(Self {
            lifetime: every.saturating_mul(2),
            ring: ArcSwap::from_pointee(Ring {
                newest: TicketKey::random()?,
                older: Vec::new(),
            }),
            turning: Some(Turning {
                every,
                next: Mutex::new(None),
            }),
        })
    }

    /// A ring of keys that other machines have too: `newest` seals, and all open.
    pub fn shared(newest: TicketKey, older: impl IntoIterator<Item = TicketKey>) -> Self {
        let older = older.into_iter().collect();
        Self {
            ring: ArcSwap::from_pointee(Ring { newest, older }),
            turning: None,
            lifetime: Self::EVERY.saturating_mul(2),
        }
    }

    /// The ring that the nodes of a cluster share, as it is now; [`follow`](Self::follow) keeps up
    /// with it. Clients are told to keep tickets for `lifetime`: as long as a key is kept after it
    /// sealed, which is [`TicketRing::kept_for`] turns.
    ///
    /// # Examples
    ///
    /// ```
    /// use lb_l7::tls::TicketKeys;
    /// use lbcore::Instant;
    /// use lbcore::ticket_ring::{Rotation, TicketRing, TicketSecret};
    ///
    /// let mut ring = TicketRing::default();
    /// let mut rotation = Rotation::new(Rotation::EVERY);
    /// let random = || TicketKeys::random_secret().ok();
    /// rotation.handle_timeout(Instant::ZERO, &mut ring, random);
    ///
    /// let lifetime = Rotation::EVERY * ring.kept_for().into();
    /// let keys = TicketKeys::of_cluster(&ring, lifetime)?;
    /// let due = rotation.poll_timeout().expect("a time");
    /// if rotation.handle_timeout(due, &mut ring, random) {
    ///     keys.follow(&ring)?;
    /// }
    /// # Ok::<(), lb_l7::tls::LoadError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When the ring has no key.
    pub fn of_cluster(ring: &TicketRing, lifetime: Duration) -> Result<Self, LoadError> {
        Ok(Self {
            ring: ArcSwap::from_pointee(Ring::of_cluster(ring)?),
            turning: None,
            lifetime,
        })
    }

    /// Takes a cluster's ring as it is now, at once and for every listener that has this.
    ///
    /// # Errors
    ///
    /// When the ring has no key; the old ones stay then.
    pub fn follow(&self, ring: &TicketRing) -> Result<(), LoadError> {
        self.ring.store(Arc::new(Ring::of_cluster(ring)?));
        Ok(())
    }

    /// 80 random bytes, for the ring of a cluster.
    ///
    /// # Errors
    ///
    /// When the system gives none.
    pub fn random_secret() -> Result<TicketSecret, RandomError> {
        let mut bytes = [0; TicketSecret::LEN];
        rand::fill(&mut bytes).map_err(|_| RandomError)?;
        Ok(TicketSecret::new(bytes))
    }

    /// Replaces the ring, at once and for every listener that has it.
    pub fn rotate(&self, newest: TicketKey, older: impl IntoIterator<Item = TicketKey>) {
        let older = older.into_iter().collect();
        self.ring.store(Arc::new(Ring { newest, older }));
    }

    /// When [`handle_timeout`](Self::handle_timeout) next has something to do; `None` for a shared
    /// ring, and before its first call.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let turning = self.turning.as_ref()?;
        *turning.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Turns a random ring when its time has come. The first call only starts the time.
    ///
    /// Without random bytes the old key stays, and the next call tries again.
    pub fn handle_timeout(&self, now: Instant) {
        let Some(turning) = &self.turning else {
            return;
        };
        let mut next = turning.next.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(due) = *next else {
            *next = Some(now + turning.every);
            return;
        };
        if now < due {
            return;
        }
        let Ok(newest) = TicketKey::random() else {
            return;
        };
        // After a sleep of two turns even the newest key is past its time.
        let stale = now >= due + turning.every;
        let older = (!stale).then(|| self.ring.load().newest.clone());
        self.rotate(newest, older);
        *next = Some(now + turning.every);
    }

    /// The ring as rustls takes it, for sessions of one scope.
    pub(super) fn scoped(self: &Arc<Self>, scope: [u8; SCOPE]) -> Arc<dyn ProducesTickets> {
        Arc::new(Scoped {
            keys: Arc::clone(self),
            scope,
        })
    }
}

impl Ring {
    fn of_cluster(ring: &TicketRing) -> Result<Self, LoadError> {
        let none = || LoadError::new(LoadFault::BadTicketKey(0));
        let sealing = ring.sealing().ok_or_else(none)?;
        // The next key opens, too: another node may have turned already.
        let others = ring.opening().filter(|key| *key != sealing);
        Ok(Self {
            newest: TicketKey::from_secret(sealing)?,
            older: others
                .map(TicketKey::from_secret)
                .collect::<Result<_, _>>()?,
        })
    }
}

#[derive(Debug)]
struct Scoped {
    keys: Arc<TicketKeys>,
    scope: [u8; SCOPE],
}

impl ProducesTickets for Scoped {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        let seconds = u32::try_from(self.keys.lifetime.as_secs()).unwrap_or(u32::MAX);
        seconds.min(MAX_LIFETIME)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys.ring.load().newest.seal(&self.scope, plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, sealed) = ticket.split_first_chunk::<NAME>()?;
        let ring = self.keys.ring.load();
        let mut keys = std::iter::once(&ring.newest).chain(&ring.older);
        // Names are no secret, so that comparing them may take the time it takes.
        let key = keys.find(|key| key.name == *name)?;
        key.open(&self.scope, sealed)
    }
}

/// The bytes of a key's name, as of RFC 5077, 4.
const NAME: usize = 16;
/// The bytes of a nonce of AES-GCM-SIV (RFC 8452, 4).
const NONCE: usize = 12;
/// The bytes of SHA-256.
const SCOPE: usize = 32;
/// Seven days, the most that RFC 8446, 4.6.1, allows.
const MAX_LIFETIME: u32 = 604_800;
