//! What is done to a server while it runs.

use std::sync::Arc;

use super::shared::{Shared, Tls};
use crate::access::AccessList;
use crate::mutual_tls::MutualTls;
use crate::server::ServerStats;

/// Reads the counts of a server, and changes whom it serves, while it runs. A clone is the same.
#[derive(Clone, Debug)]
pub struct ServerHandle {
    shared: Arc<Shared>,
}

impl ServerHandle {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Decides by `access` from now on, and closes the connections of clients that it does not admit,
    /// at once; says how many.
    ///
    /// What such a client has under way is not answered.
    pub fn set_access(&self, access: AccessList) -> usize {
        self.shared.access.store(Arc::new(access));
        self.shared.revoke()
    }

    /// Shows the identity and believes the authorities of `tls` from now on, and closes the
    /// connections of clients whose certificate is not good by these; says how many.
    ///
    /// Costs a verification for each connection, some 100 µs.
    pub fn set_tls(&self, tls: MutualTls) -> usize {
        let config = tls.server_config(&self.shared.config.modes);
        let tls = Tls {
            config,
            mutual: tls,
        };
        self.shared.tls.store(Arc::new(tls));
        self.shared.revoke()
    }

    /// What the server decides by.
    #[must_use]
    pub fn access(&self) -> Arc<AccessList> {
        self.shared.access.load_full()
    }

    /// What the server has done, and is doing.
    #[must_use]
    pub fn stats(&self) -> ServerStats {
        self.shared.stats()
    }
}
