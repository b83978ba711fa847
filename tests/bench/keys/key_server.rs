//! A key server in a process of its own, on one core: this program, called by another word.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use harness::authority::Authority;
use harness::host::{TempDir, pin_this_thread};
use lb_keyserver::access::{AccessList, Rule};
use lb_keyserver::audit::{AuditConfig, AuditLog};
use lb_keyserver::server::KeyServerConfig;
use lb_keyserver::store::FileStore;
use lb_keyserver::{KeyServer, MutualTls};
use tokio::runtime::Builder;

use super::signing::SERVER_CORE;

/// The word that this program is called by to be a key server.
pub(super) const WORD: &str = "serve-keys";

/// A key server that runs, until this is dropped.
pub(super) struct KeyServerProcess {
    child: Child,
    pub(super) pid: u32,
    pub(super) address: SocketAddr,
}

impl KeyServerProcess {
    /// Starts one that has this key, and waits until it listens.
    pub(super) fn start(authority: &Authority, key: &str, dir: &TempDir, audited: bool) -> Self {
        let own = authority.server("keys.test");
        let folder = dir.path().join(if audited { "audited" } else { "bare" });
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).expect("a folder");
        for (name, text) in [
            ("server.pem", &own.cert),
            ("server.key", &own.key),
            ("ca.pem", &authority.cert()),
        ] {
            write(&folder.join(name), text);
        }
        write(&folder.join("signing.pem"), key);
        let program = std::env::current_exe().expect("this program");
        let log = if audited { "log" } else { "no-log" };
        let mut child = Command::new(program)
            .args([WORD.as_ref(), folder.as_os_str(), log.as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program can be started");
        let mut line = String::new();
        let said = child.stdout.take().expect("it is piped");
        BufReader::new(said)
            .read_line(&mut line)
            .expect("it says where it listens");
        let address = line.trim().parse().expect("an address");
        Self {
            pid: child.id(),
            child,
            address,
        }
    }
}

impl Drop for KeyServerProcess {
    fn drop(&mut self) {
        // The end of its input is its word to end; it waits for nobody.
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

/// Is a key server, on one core, until the input ends.
pub(super) fn serve(folder: &str, log: &str) {
    pin_this_thread(SERVER_CORE).expect("there are two cores");
    let file = |name: &str| PathBuf::from(folder).join(name);
    let store = FileStore::open([file("signing.pem")]).expect("a key");
    let nodes = Rule::new("lb://node/*".parse().expect("a pattern")).all_keys();
    let access = AccessList::new([nodes]).expect("a rule");
    let tls = MutualTls::from_pem_files(file("server.pem"), file("server.key"), file("ca.pem"));
    let mut server = KeyServer::new(store, access, KeyServerConfig::default().signers(1));
    if log == "log" {
        let log = AuditLog::open(file("audit.log"), AuditConfig::default());
        server = server.audit(log.expect("a log"));
    }
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be started").block_on(async {
        let bound = server.bind("127.0.0.1:0", tls.expect("an identity"));
        let bound = bound.await.expect("a port is free");
        println!("{}", bound.local_addr().expect("it is bound"));
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        std::thread::spawn(move || {
            drop(std::io::stdin().read_to_end(&mut Vec::new()));
            drop(end);
        });
        bound.run_until(async { drop(ended.await) }).await;
    });
}

fn write(path: &Path, text: &str) {
    let mut file = std::fs::OpenOptions::new();
    let file = file.write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
    written.expect("a file can be written");
}
