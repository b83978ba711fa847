//! Free ports, directories, cores, and the loud skip.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Ports handed out lie below the ephemeral range (32768 and up on Linux), so that no connection
/// of a test takes one between the asking and the binding.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A loopback address whose port is free for TCP and for UDP.
///
/// No two calls of one process give the same port, until all 12,000 have been given.
#[must_use]
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = PORTS.end - PORTS.start;
    // Test programs that run side by side start at places of their own.
    let first = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(span)).unwrap_or(0);
    for _ in 0..span {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % span;
        let port = PORTS.start + (first + step) % span;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port in {PORTS:?}");
}

/// A directory that is gone with this value.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// An empty directory whose name begins with `name`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unique = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("{name}-{}-{unique}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary directory can be made");
        Self(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes the file `name`, by one rename, so that no reader sees half of it.
    pub fn write(&self, name: &str, text: &str) {
        let whole = self.0.join(name);
        let part = self.0.join(format!("{name}.part"));
        std::fs::write(&part, text).expect("a file can be written");
        std::fs::rename(part, whole).expect("a file can be renamed");
    }

    /// The same for a file that nobody else may read, as a private key is to be kept; it may lie in
    /// a folder, which is made and is as private.
    pub fn write_secret(&self, name: &str, text: &str) {
        if let Some((folder, _)) = name.rsplit_once('/') {
            let mut private = std::fs::DirBuilder::new();
            let made = private.recursive(true).mode(0o700);
            let made = made.create(self.0.join(folder));
            made.expect("a folder can be made");
        }
        let (whole, part) = (self.0.join(name), self.0.join(format!("{name}.part")));
        let mut private = std::fs::OpenOptions::new();
        let private = private.write(true).create(true).truncate(true).mode(0o600);
        let mut file = private.open(&part).expect("a file can be made");
        file.write_all(text.as_bytes())
            .expect("a file can be written");
        std::fs::rename(part, whole).expect("a file can be renamed");
    }

    /// What the file `name` holds; empty if there is none.
    #[must_use]
    pub fn read(&self, name: &str) -> String {
        let bytes = std::fs::read(self.0.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What cannot be removed is litter in /tmp, and no reason to fail a test.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Keeps this thread, and those it starts from now on, on one core.
///
/// # Errors
///
/// When the host has no such core.
pub fn pin_this_thread(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

/// Lets this process open as many descriptors as the host allows, and says how many.
#[must_use]
pub fn raise_descriptors() -> u64 {
    let most = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: most,
        maximum: most,
    };
    setrlimit(Resource::Nofile, raised).expect("the soft limit may rise to the hard one");
    most.unwrap_or(u64::MAX)
}

/// How many cores there are to pin to.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Whether there is a program of that name to run.
#[must_use]
pub fn has(program: &str) -> bool {
    let found = std::process::Command::new("which").arg(program).output();
    found.is_ok_and(|which| which.status.success())
}

/// Says loudly that the rest of this test is not run, and why.
///
/// # Panics
///
/// When `CI` is `true` in the environment: there, nothing is skipped.
#[track_caller]
#[expect(
    clippy::print_stderr,
    reason = "a skip that nobody sees is a test that nobody runs"
)]
pub fn skip(reason: &str) {
    assert!(!in_ci(), "skipped, though CI is to skip nothing: {reason}");
    eprintln!("SKIPPED at {}: {reason}", std::panic::Location::caller());
}

/// Says as loudly that the rest of this test is not run for want of what Debian does not have:
/// there is no host, and no CI, that must have it.
#[track_caller]
#[expect(
    clippy::print_stderr,
    reason = "a skip that nobody sees is a test that nobody runs"
)]
pub fn unavailable(program: &str) {
    eprintln!(
        "SKIPPED at {}: no {program}",
        std::panic::Location::caller()
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "only the environment tells where a test runs"
)]
fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let mut ports: Vec<_> = (0..100).map(|_| free_address().port()).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 100);
        assert!(ports.iter().all(|port| PORTS.contains(port)));
    }

    #[test]
    fn a_directory_keeps_files_and_goes_with_its_value() {
        let dir = TempDir::new("host-test");
        let path = dir.path().to_owned();
        dir.write("a", "old");
        dir.write("a", "new");
        assert_eq!(dir.read("a"), "new");
        assert_eq!(dir.read("none"), "");
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1);
        dir.write_secret("key", "mine");
        let mode = path.join("key").metadata().unwrap().permissions().mode();
        assert_eq!((&*dir.read("key"), mode & 0o777), ("mine", 0o600));
        dir.write_secret("keys/a", "mine");
        let mode = path.join("keys").metadata().unwrap().permissions().mode();
        assert_eq!((&*dir.read("keys/a"), mode & 0o777), ("mine", 0o700));

        drop(dir);
        assert!(!path.exists());
    }

    #[test]
    fn a_pinned_thread_runs_on_its_core_and_no_other() {
        std::thread::spawn(|| {
            pin_this_thread(0).unwrap();
            assert_eq!(cores(), 1);
            assert_eq!(rustix::thread::sched_getcpu(), 0);
            pin_this_thread(1_000).unwrap_err();
        })
        .join()
        .unwrap();
    }
}
