//! A network of its own for a test: a namespace (ip-netns(8)), which goes with its value.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace.
#[derive(Debug)]
pub(crate) struct Namespace(String);

impl Namespace {
    /// A namespace whose loopback is up, or a loud skip where the host does not permit one.
    pub(crate) fn open() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unique = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("transport-{}-{unique}", std::process::id());
        if let Err(reason) = run("ip", &["netns", "add", &name]) {
            skip(&format!("no network namespace: {reason}"));
            return None;
        }
        let namespace = Self(name);
        namespace.ip("link set lo up");
        Some(namespace)
    }

    /// Its name, as `ip netns` lists it.
    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// Runs `ip` in it, with arguments as one would type them.
    #[track_caller]
    pub(crate) fn ip(&self, words: &str) {
        let mut all = vec!["-n", &self.0];
        all.extend(words.split_ascii_whitespace());
        run("ip", &all).unwrap_or_else(|error| panic!("ip {words}: {error}"));
    }

    /// Joins two new interfaces by a wire.
    #[track_caller]
    pub(crate) fn wire(&self, near: &str, far: &str) {
        self.ip(&format!("link add {near} type veth peer name {far}"));
        for end in [near, far] {
            self.ip(&format!("link set {end} up"));
        }
    }

    /// Runs `work` on a thread of this namespace; sockets opened there stay there.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.0)).expect("a namespace is a file");
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let network = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(file.as_fd(), network).expect("root may enter");
                work()
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Its absence is what is wanted.
        let _ = run("ip", &["netns", "delete", &self.0]);
    }
}

/// Says that a test proves nothing on this host.
#[expect(clippy::print_stderr, reason = "a test that proves nothing says so")]
pub(crate) fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}

fn run(program: &str, words: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(words).output();
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}
