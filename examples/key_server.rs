//! Holds the private keys of a folder, and signs with them for nodes that have none.

use std::sync::Arc;
use std::time::Duration;

use lb_keyserver::access::{AccessList, Rule};
use lb_keyserver::audit::{AuditConfig, AuditLog};
use lb_keyserver::server::KeyServerConfig;
use lb_keyserver::store::{FileStore, protect_process};
use lb_keyserver::{KeyServer, MutualTls, wire};
use tokio::task::spawn_blocking;
use tokio::time::interval;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    protect_process()?;
    let identity = MutualTls::from_pem_files("server.pem", "server-key.pem", "nodes-ca.pem")?;
    let keys = Arc::new(FileStore::open(["keys"])?);
    let access = AccessList::new([Rule::new("lb://node/*".parse()?).all_keys()])?;
    let audit = AuditLog::open("audit.log", AuditConfig::default())?;

    let store = Arc::clone(&keys);
    let server = KeyServer::new(store, access, KeyServerConfig::default()).audit(audit);
    let server = server.bind(("::", wire::PORT), identity).await?;
    tokio::spawn(watch(keys));
    let end = async { drop(tokio::signal::ctrl_c().await) };
    server.run_until(end).await;
    Ok(())
}

/// Takes up keys that come, and lets go of those that are gone.
#[expect(clippy::print_stderr, reason = "a program of one page has no log")]
async fn watch(keys: Arc<FileStore>) {
    let mut every = interval(Duration::from_secs(5));
    loop {
        every.tick().await;
        let keys = Arc::clone(&keys);
        let read = move || keys.changed().then(|| keys.reload()).transpose();
        if let Ok(Err(error)) = spawn_blocking(read).await {
            eprintln!("the keys stay as they were: {error}");
        }
    }
}
