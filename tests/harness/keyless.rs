//! The second implementation of the Keyless protocol, in Python (`tests/keyserver`).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::authority::{Authority, CA};
use crate::keys::{CERT, KEY, Keys};
use crate::process::{Launch, Process};
use crate::procfs::Protocol;
use crate::wait::PATIENCE;
use crate::workspace;

/// Debian's own, as elsewhere there may be one of another version.
const PYTHON: &str = "/usr/bin/python3";

/// The program, with a command of its own and more words.
pub fn keyless(command: &str) -> Launch {
    // -B: it leaves nothing beside its sources.
    let flags = ["-B"];
    Launch::new(PYTHON).args(flags).arg(script()).arg(command)
}

/// The same as a client of the server at `address`, which proves itself to be `node`.
pub fn client(command: &str, address: SocketAddr, authority: &Authority, node: &Keys) -> Launch {
    let launch = keyless(command).arg(address.to_string());
    let files = ["--cert", CERT, "--key", KEY, "--ca", CA];
    authority.beside(node.beside(launch.args(files)))
}

/// The same as a server of `keys` at `address`, which proves itself to be `server`.
#[track_caller]
#[must_use]
pub fn server(
    address: SocketAddr,
    authority: &Authority,
    server: &Keys,
    keys: &[&Keys],
    more: &[&str],
) -> Process {
    let mut launch = keyless("server").args(["--listen", &address.to_string(), "--keys", "."]);
    for (number, key) in keys.iter().enumerate() {
        launch = launch.secret(&format!("{number}.key"), &key.key);
    }
    let launch = launch.args(["--cert", CERT, "--key", KEY, "--ca", CA]);
    let launch = launch.args(more);
    // It has read its keys before it listens.
    let launch = launch.serving(Protocol::Tcp, address);
    authority.beside(server.beside(launch)).start()
}

/// Waits until the program has ended well, and reads what it told.
///
/// # Panics
///
/// When it failed, told what is no JSON, or still runs after three times [`PATIENCE`].
#[track_caller]
#[must_use]
pub fn told(mut process: Process) -> Vec<Value> {
    let status = process.wait(3 * PATIENCE);
    let log = process.log();
    assert!(status.success(), "{status}\n{log}");
    lines(&log)
}

/// What a program has told so far.
///
/// # Panics
///
/// When that is no JSON.
#[track_caller]
#[must_use]
pub fn lines(log: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    log.lines().map(parse).collect()
}

/// Where the program is.
fn script() -> PathBuf {
    let sources = Path::new("tests").join("keyserver");
    workspace::root().join(sources).join("keyless.py")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::free_address;
    use crate::keys::Algorithm;

    #[test]
    fn it_passes_its_own_checks() {
        let mut check = keyless("check").start();
        let status = check.wait(3 * PATIENCE);
        assert!(status.success(), "{}", check.log());
        assert!(check.log().contains("\nOK"), "{}", check.log());
    }

    #[test]
    fn its_client_and_its_server_agree_in_both_versions_of_tls() {
        let (authority, address) = (Authority::new(), free_address());
        let keys = Algorithm::ALL.map(|algorithm| Keys::of(algorithm, "a.test"));
        let identity = authority.server("keys.test");
        let all = keys.each_ref();
        let _server = server(address, &authority, &identity, &all, &["--shuffle"]);
        let node = authority.node("node-7");
        for version in ["1.2", "1.3"] {
            let mut asks = client("client", address, &authority, &node).args(["--tls", version]);
            for (number, key) in keys.iter().enumerate() {
                let file = format!("{number}.pub");
                asks = asks.file(&file, &key.public()).args(["--pubkey", &file]);
            }
            let told = told(asks.start());
            let last = told.last().unwrap();
            assert_eq!(
                (&last["case"], &last["verified"]),
                (&"pipeline".into(), &50.into())
            );
            assert_eq!(last["in_order"], false, "{last}");
        }
    }
}
