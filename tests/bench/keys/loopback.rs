//! A key server on threads of its own.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;

use harness::authority::Authority;
use harness::host::pin_this_thread;
use harness::keys::Keys;
use lb_keyserver::access::{AccessList, Rule};
use lb_keyserver::server::KeyServerConfig;
use lb_keyserver::store::{MemoryStore, SoftKey};
use lb_keyserver::{KeyServer, MutualTls};
use tokio::runtime::Builder;

use super::LOAD_CORE;

/// Starts one that has this key, for all nodes that the authority knows; where it listens.
pub(super) fn start(authority: &Authority, keys: &Keys) -> SocketAddr {
    let identity = identity(authority, &authority.server("keys.test"));
    let key = SoftKey::from_pem(keys.key.as_bytes()).expect("a key");
    let store = MemoryStore::new().with_key(key);
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        // The threads that sign are started from here, and stay on this core.
        pin_this_thread(LOAD_CORE).expect("there are two cores");
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime can be started").block_on(async {
            let everyone = "lb://node/*".parse().expect("a pattern");
            let access = AccessList::new([Rule::new(everyone).all_keys()]).expect("a rule");
            let server = KeyServer::new(store, access, KeyServerConfig::default());
            let bound = server.bind("127.0.0.1:0", identity).await;
            let bound = bound.expect("a port is free");
            let address = bound.local_addr().expect("it is bound");
            tell.send(address).expect("somebody waits for it");
            bound.run_until(std::future::pending()).await;
        });
    });
    told.recv().expect("the key server starts")
}

/// One end of the connections between node and key server.
pub(super) fn identity(authority: &Authority, own: &Keys) -> MutualTls {
    let ca = authority.cert();
    let identity = MutualTls::from_pem(own.cert.as_bytes(), own.key.as_bytes(), ca.as_bytes());
    identity.expect("an identity")
}
