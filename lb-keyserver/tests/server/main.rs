//! What a key server promises, asked of it over loopback by a client of raw frames.
#![cfg(feature = "server")]
#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

mod bounds;
mod client;
mod identity;
mod lifetime;
mod signing;
mod world;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use lb_keyserver::access::{AccessList, Rule};
use lb_keyserver::server::{KeyServerConfig, ServerHandle};
use lb_keyserver::store::KeyStore;
use lb_keyserver::{KeyServer, Mode, MutualTls, PublicKey};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use self::client::Client;
use self::world::Authority;

/// A key server that runs.
struct Running {
    address: SocketAddr,
    handle: ServerHandle,
    authority: Authority,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// Every node may use every key, in every mode.
fn everybody() -> Rule {
    Rule::new("lb://node/*".parse().unwrap())
        .all_keys()
        .least_mode(Mode::Plain)
}

fn access(rules: impl IntoIterator<Item = Rule>) -> AccessList {
    AccessList::new(rules).unwrap()
}

fn config() -> KeyServerConfig {
    KeyServerConfig::default().modes(Mode::ALL).signers(1)
}

impl Running {
    /// A server of these keys, for every node.
    async fn of(store: impl KeyStore) -> Self {
        Self::with(store, access([everybody()]), config()).await
    }

    async fn with(store: impl KeyStore, access: AccessList, config: KeyServerConfig) -> Self {
        Self::start(KeyServer::new(store, access, config)).await
    }

    async fn start(server: KeyServer) -> Self {
        let authority = Authority::new();
        let bound = server.bind((Ipv4Addr::LOCALHOST, 0), authority.server());
        let bound = bound.await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (address, handle) = (bound.local_addr().unwrap(), bound.handle());
        let task = tokio::spawn(bound.run_until(async { drop(stopped.await) }));
        Self {
            address,
            handle,
            authority,
            stop: Some(stop),
            task,
        }
    }

    /// The first node, in the bound mode.
    async fn client(&self) -> Client {
        self.client_as(1, Mode::Bound).await
    }

    async fn client_as(&self, node: u64, mode: Mode) -> Client {
        let tls = self.authority.node(node);
        self.connect(&tls, mode).await
    }

    async fn connect(&self, tls: &MutualTls, mode: Mode) -> Client {
        Client::connect(self.address, tls, mode).await.unwrap()
    }

    fn begin_shutdown(&mut self) {
        drop(self.stop.take());
    }

    async fn shut_down(mut self) {
        self.begin_shutdown();
        self.task.await.unwrap();
    }
}

/// The count of one reason.
fn count<R: PartialEq>(mut counts: impl Iterator<Item = (R, u64)>, of: R) -> u64 {
    counts.find(|(reason, _)| *reason == of).unwrap().1
}

/// The key's name, for rules.
fn name(key: &Arc<PublicKey>) -> lb_keyserver::Ski {
    key.ski()
}
