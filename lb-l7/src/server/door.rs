//! Whom a server lets in, which may change while it runs.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use lbcore::limit::Limits;

use super::ServerConfig;
use crate::clock;

/// Changes whom a running server lets in, and how it goes.
///
/// Cheap to clone; clones are of the same server.
#[derive(Clone, Debug)]
pub struct ServerHandle(Arc<ArcSwap<Door>>);

/// What a client meets, all of the same moment.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) config: ServerConfig,
    pub(super) limits: Arc<Limits>,
}

impl ServerHandle {
    pub(super) fn new(config: ServerConfig) -> Self {
        let limits = Arc::new(Limits::new(clock::now(), config.limits));
        Self(Arc::new(ArcSwap::from_pointee(Door { config, limits })))
    }

    /// Has `config` decide over every client that comes from here on.
    ///
    /// Clients who are in stay. What they take of the limits is still counted when these are the
    /// same; others count from nothing.
    pub fn update(&self, config: ServerConfig) {
        let known = self.0.load();
        let limits = if known.config.limits == config.limits {
            Arc::clone(&known.limits)
        } else {
            Arc::new(Limits::new(clock::now(), config.limits))
        };
        self.0.store(Arc::new(Door { config, limits }));
    }

    pub(super) fn door(&self) -> Guard<Arc<Door>> {
        self.0.load()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lbcore::limit::LimitConfig;

    use super::*;

    #[test]
    fn the_same_limits_go_on_counting_and_others_count_from_nothing() {
        let one = ServerConfig {
            limits: LimitConfig::default().connections(1),
            ..ServerConfig::default()
        };
        let handle = ServerHandle::new(one.clone());
        let admit = |handle: &ServerHandle| handle.door().limits.admit(clock::now());
        let first = admit(&handle);
        assert!(first.is_ok() && admit(&handle).is_err());
        let drain_timeout = Duration::from_secs(7);
        handle.update(ServerConfig {
            drain_timeout,
            ..one.clone()
        });
        assert!(admit(&handle).is_err());
        assert_eq!(handle.door().config.drain_timeout, drain_timeout);
        let limits = LimitConfig::default().connections(2);
        handle.update(ServerConfig { limits, ..one });
        let (second, third) = (admit(&handle), admit(&handle));
        assert!(second.is_ok() && third.is_ok() && admit(&handle).is_err());
    }
}
