//! Bodies far larger than the memory that they may use.
//!
//! `TESTS_LONG=1` sends 10 GiB each way instead of 1.

use std::fs::File;
use std::net::SocketAddr;
use std::time::Duration;

use harness::clb::{Clb, pair};
use harness::host::{TempDir, free_address};
use harness::keys::Keys;
use harness::length;
use harness::origin::Origin;
use harness::peer::run;
use harness::process::Launch;
use harness::procfs::Protocol;
use harness::server::{Behaviour, Server};
use harness::wait::PATIENCE;

/// The most that `clb` may ever have in RAM.
const MOST: u64 = 64 << 20;

/// The ways in, by what is said to curl.
const WAYS: [(&str, &str); 4] = [
    ("http", "--http1.1"),
    ("http", "--http2-prior-knowledge"),
    ("https", "--http1.1"),
    ("https", "--http2"),
];

#[test]
fn a_large_download_passes_in_little_memory() {
    let origin = Origin::start();
    for (scheme, flag) in WAYS {
        let (clb, front) = start(scheme, origin.address());
        // One says its length, the other does not.
        let path = if scheme == "http" { "bytes" } else { "stream" };
        let url = format!("{scheme}://{front}/{path}/{}", bytes());
        let form = "%{http_code} %{size_download}";
        let words = [flag, "--output", "/dev/null", "--write-out", form, &url];
        assert_eq!(curl(&words), format!("200 {}", bytes()), "{scheme} {flag}");
        assert_small(&clb);
    }
}

#[test]
fn a_large_upload_passes_in_little_memory() {
    let origin = Origin::start();
    let dir = TempDir::new("large");
    let path = dir.path().join("file");
    // A file of holes takes no room.
    let file = File::create(&path).unwrap();
    file.set_len(bytes()).unwrap();
    let path = path.to_str().unwrap();
    for (scheme, flag) in WAYS {
        let (clb, front) = start(scheme, origin.address());
        let url = format!("{scheme}://{front}/discard");
        let seen = curl(&[flag, "--upload-file", path, &url]);
        assert_eq!(seen, bytes().to_string(), "{scheme} {flag}");
        assert_small(&clb);
    }
}

#[test]
fn a_client_that_reads_slowly_does_not_fill_memory() {
    let origin = Origin::start();
    for (scheme, flag) in WAYS {
        let (clb, front) = start(scheme, origin.address());
        let url = format!("{scheme}://{front}/bytes/{}", bytes());
        let words = [flag, "--limit-rate", "1M", "--max-time", "3", &url];
        give_up(&words);
        assert_small(&clb);
    }
}

#[test]
fn a_server_that_reads_nothing_does_not_fill_memory() {
    let server = Server::tcp(Behaviour::Stalled);
    let dir = TempDir::new("stalled");
    let path = dir.path().join("file");
    File::create(&path).unwrap().set_len(bytes()).unwrap();
    for (scheme, flag) in WAYS {
        let (clb, front) = start(scheme, server.address());
        let url = format!("{scheme}://{front}/discard");
        let file = path.to_str().unwrap();
        give_up(&[flag, "--upload-file", file, "--max-time", "3", &url]);
        assert_small(&clb);
    }
}

fn bytes() -> u64 {
    length::either(1, 10) << 30
}

/// One `clb` for each way, so that the memory of one is not laid to another.
fn start(scheme: &str, backend: SocketAddr) -> (Clb, SocketAddr) {
    let front = free_address();
    let more = match scheme {
        "https" => Keys::line(),
        _ => String::new(),
    };
    let file = pair("front", scheme, front, backend, &more);
    let clb = Clb::with_keys(&Keys::p256("a.test"), 2, &file);
    (clb.serves(Protocol::Tcp, front), front)
}

#[track_caller]
fn assert_small(clb: &Clb) {
    let peak = clb.process().memory().peak;
    assert!(peak < MOST, "{} MiB in RAM", peak >> 20);
}

const ALWAYS: [&str; 3] = ["--silent", "--show-error", "--insecure"];

/// Long enough for a `clb` with all its checks on.
#[track_caller]
fn curl(words: &[&str]) -> String {
    let limit = Duration::from_secs(60 * length::either(1, 10));
    run(
        "curl",
        ALWAYS.into_iter().chain(words.iter().copied()),
        limit,
    )
}

/// Runs curl until its own time is over, which it says by 28.
#[track_caller]
fn give_up(words: &[&str]) {
    let curl = Launch::new("curl").args(ALWAYS).args(words);
    let mut curl = curl.args(["--output", "/dev/null"]).start();
    let status = curl.wait(2 * PATIENCE);
    assert_eq!(status.code(), Some(28), "{}", curl.log());
}
