//! A network namespace of a test's own.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace, for as long as a process in it waits for the end of its input.
pub(crate) struct Namespace {
    keeper: Child,
}

impl Namespace {
    /// A new one; `None`, said aloud, where none may be made.
    #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
    pub(crate) fn new() -> Option<Self> {
        match Self::try_new() {
            Ok(namespace) => Some(namespace),
            Err(error) => {
                eprintln!("SKIPPED: no network namespace may be made: {error}");
                None
            }
        }
    }

    /// A new one, which the calling thread, a test's own, enters.
    pub(crate) fn entered() -> Option<Self> {
        let namespace = Self::new()?;
        namespace.enter();
        Some(namespace)
    }

    fn try_new() -> io::Result<Self> {
        let mut keeper = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo entered; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = keeper.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line.is_empty() {
            keeper.wait()?;
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(Self { keeper })
    }

    /// The process that is in it.
    pub(crate) fn pid(&self) -> u32 {
        self.keeper.id()
    }

    /// Moves the calling thread, and what it starts, there.
    pub(crate) fn enter(&self) {
        let file = File::open(format!("/proc/{}/ns/net", self.pid())).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ended = self.keeper.wait();
    }
}

/// Runs a command in the calling thread's namespace.
#[track_caller]
pub(crate) fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let program = words.next().expect("a program");
    let output = Command::new(program).args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {said}{complaint}");
    said
}
