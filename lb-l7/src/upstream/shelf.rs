//! The connections of one worker that can take an exchange.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex};

use lbcore::backend::Address;
use lbcore::{BackendId, Instant};

use super::config::UpstreamConfig;
use super::connection::{Held, Http1, State};
use super::http2::Http2;
use super::lock;
use super::proxied::ProxiedAddresses;
use super::stats::CloseReason;

/// One worker's connections, by backend.
///
/// Locked for a look-up and no longer, and never over a wait; only a worker that has run into a
/// limit looks at the shelf of another.
#[derive(Debug)]
pub(super) struct Shelf {
    config: Arc<UpstreamConfig>,
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    by_backend: HashMap<BackendId, Row, BuildHasherDefault<Spread>>,
    is_closed: bool,
}

/// The connections to one backend.
#[derive(Debug)]
struct Row {
    /// Where the backend was when it was last asked for.
    address: Address,
    /// The one that became idle last stands last, and is taken first: the others can age in peace.
    #[expect(
        clippy::vec_box,
        reason = "a connection keeps its box while it is in use"
    )]
    idle: Vec<Box<Http1>>,
    shared: Vec<Arc<Http2>>,
    reused: u64,
}

impl Shelf {
    pub(super) fn new(config: Arc<UpstreamConfig>) -> Self {
        Self {
            config,
            rows: Mutex::default(),
        }
    }

    /// A connection to this backend, for this client, that can take an exchange now.
    pub(super) fn take(
        &self,
        now: Instant,
        backend: BackendId,
        address: &Address,
        proxied: Option<ProxiedAddresses>,
    ) -> Option<Held> {
        let mut rows = lock(&self.rows);
        let row = rows.by_backend.get_mut(&backend)?;
        row.move_to(address);
        let held = row
            .take_stream(&self.config, now, proxied)
            .or_else(|| row.take_idle(&self.config, now, proxied))?;
        row.reused += 1;
        Some(held)
    }

    /// Takes `connection` back, or passes it to whoever waits first.
    pub(super) fn put(&self, now: Instant, mut connection: Box<Http1>) {
        if let Some(reason) = connection.is_spent(&self.config, now) {
            return connection.close(reason);
        }
        let state = Arc::clone(connection.place.state());
        let mut rows = lock(&self.rows);
        // Under the lock, so that whoever begins to wait later finds it here.
        if state.gate.waiting() > 0 {
            match state.gate.hand_over(Held::Http1(connection)) {
                Err(Held::Http1(back)) => connection = back,
                _ => return,
            }
        }
        if rows.is_closed {
            return connection.close(CloseReason::Moved);
        }
        connection.idle_since = now;
        connection.wire.shrink();
        let row = rows.row(state.id, &connection.route.address);
        let most = usize::try_from(self.config.idle_connections).unwrap_or(usize::MAX);
        if row.address != connection.route.address {
            connection.close(CloseReason::Moved);
        } else if most == 0 {
            connection.close(CloseReason::Surplus);
        } else {
            if row.idle.len() >= most {
                row.idle.remove(0).close(CloseReason::Surplus);
            }
            row.idle.push(connection);
        }
    }

    /// Takes a new connection of HTTP/2, for this exchange and for others.
    pub(super) fn share(&self, state: &State, connection: &Arc<Http2>) {
        let mut rows = lock(&self.rows);
        if !rows.is_closed {
            let row = rows.row(state.id, &connection.route.address);
            row.shared.push(Arc::clone(connection));
        }
    }

    /// Gives something of this backend to the head of its queue; whether there was something.
    pub(super) fn give(&self, now: Instant, state: &State) -> bool {
        let mut rows = lock(&self.rows);
        let Some(row) = rows.by_backend.get_mut(&state.id) else {
            return false;
        };
        let stream = row.shared.iter().find_map(|it| it.offer(&self.config, now));
        let held = stream.map(Held::Stream);
        let held = held.or_else(|| row.take_oldest(&self.config, now).map(Held::Http1));
        let Some(held) = held else {
            return row.reclaim_shared();
        };
        match state.gate.hand_over(held) {
            Err(Held::Http1(back)) => row.idle.insert(0, back),
            Err(Held::Stream(back)) => drop(back),
            Ok(()) => {}
        }
        true
    }

    /// Closes one idle connection to this backend; whether there was one.
    pub(super) fn close_idle(&self, state: &State) -> bool {
        let mut rows = lock(&self.rows);
        let Some(row) = rows.by_backend.get_mut(&state.id) else {
            return false;
        };
        if row.idle.is_empty() {
            return row.reclaim_shared();
        }
        row.idle.remove(0).close(CloseReason::Reclaimed);
        true
    }

    /// Closes what has been idle for too long, is too old, or was closed by its backend.
    ///
    /// `knows` says whether a backend is still one of the pool.
    pub(super) fn sweep(&self, now: Instant, knows: impl Fn(BackendId) -> bool) {
        let mut rows = lock(&self.rows);
        rows.by_backend.retain(|id, row| {
            let is_known = knows(*id);
            row.sweep(&self.config, now, is_known);
            is_known || !row.idle.is_empty() || !row.shared.is_empty()
        });
    }

    /// Closes everything, and whatever comes later.
    pub(super) fn close(&self) {
        let mut rows = lock(&self.rows);
        rows.is_closed = true;
        for (_, row) in rows.by_backend.drain() {
            for connection in row.idle {
                connection.close(CloseReason::Moved);
            }
            for connection in row.shared {
                connection.retire(CloseReason::Moved);
            }
        }
    }

    /// How many are idle, and how many exchanges found one, for this backend.
    pub(super) fn counts(&self, backend: BackendId) -> (u32, u64) {
        let rows = lock(&self.rows);
        rows.by_backend.get(&backend).map_or((0, 0), |row| {
            let shared = row.shared.iter().filter(|it| it.active() == 0).count();
            let idle = u32::try_from(row.idle.len() + shared).unwrap_or(u32::MAX);
            (idle, row.reused)
        })
    }
}

impl Rows {
    fn row(&mut self, backend: BackendId, address: &Address) -> &mut Row {
        self.by_backend.entry(backend).or_insert_with(|| Row {
            address: address.clone(),
            idle: Vec::new(),
            shared: Vec::new(),
            reused: 0,
        })
    }
}

impl Row {
    /// Closes what leads to another address than the backend has now.
    fn move_to(&mut self, address: &Address) {
        if self.address != *address {
            self.address = address.clone();
            for connection in self.idle.drain(..) {
                connection.close(CloseReason::Moved);
            }
            for connection in self.shared.drain(..) {
                connection.retire(CloseReason::Moved);
            }
        }
    }

    fn take_idle(
        &mut self,
        config: &UpstreamConfig,
        now: Instant,
        proxied: Option<ProxiedAddresses>,
    ) -> Option<Held> {
        loop {
            let mut idle = self.idle.iter();
            let at = idle.rposition(|it| it.route.proxied == proxied)?;
            let mut connection = self.idle.remove(at);
            match connection.is_stale(config, now) {
                Some(reason) => connection.close(reason),
                None => return Some(Held::Http1(connection)),
            }
        }
    }

    fn take_oldest(&mut self, config: &UpstreamConfig, now: Instant) -> Option<Box<Http1>> {
        while !self.idle.is_empty() {
            let mut connection = self.idle.remove(0);
            match connection.is_stale(config, now) {
                Some(reason) => connection.close(reason),
                None => return Some(connection),
            }
        }
        None
    }

    fn take_stream(
        &mut self,
        config: &UpstreamConfig,
        now: Instant,
        proxied: Option<ProxiedAddresses>,
    ) -> Option<Held> {
        let mut taken = None;
        self.shared.retain(|it| {
            if taken.is_some() || it.route.proxied != proxied {
                return true;
            }
            if it.is_old(config, now) {
                it.retire(CloseReason::Age);
                return false;
            }
            match it.enter() {
                Ok(place) => taken = Some(Held::Stream(place)),
                Err(None) => {}
                Err(Some(reason)) => {
                    it.retire(reason);
                    return false;
                }
            }
            true
        });
        taken
    }

    /// Closes a connection of HTTP/2 without a stream, whose client is another than the one waiting.
    fn reclaim_shared(&mut self) -> bool {
        let Some(at) = self.shared.iter().position(|it| it.active() == 0) else {
            return false;
        };
        self.shared.remove(at).retire(CloseReason::Reclaimed);
        true
    }

    fn sweep(&mut self, config: &UpstreamConfig, now: Instant, is_known: bool) {
        let kept = std::mem::take(&mut self.idle);
        for mut connection in kept {
            let stale = connection.is_stale(config, now);
            match stale.or_else(|| (!is_known).then_some(CloseReason::Moved)) {
                Some(reason) => connection.close(reason),
                None => self.idle.push(connection),
            }
        }
        self.shared.retain(|it| {
            let gone = !is_known;
            if gone {
                it.retire(CloseReason::Moved);
            }
            !gone && !it.retire_if_spent(config, now) && !it.retire_if_idle(config, now)
        });
        if self.idle.is_empty() {
            self.idle = Vec::new();
        }
    }
}

/// Spreads identities, which are hashes already or small numbers: one multiplication.
#[derive(Debug, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        // The product's high bits are the good ones; a table uses both ends.
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // 2^64 divided by the golden ratio (Knuth, volume 3, 6.4).
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
