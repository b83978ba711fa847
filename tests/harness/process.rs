//! Any program, with its files in a directory of its own, ready when it listens.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::host::TempDir;
use crate::netns::Namespace;
use crate::procfs::{self, CpuTime, Memory, Protocol};
use crate::wait::{self, PATIENCE};

/// A program about to be started.
///
/// # Examples
///
/// ```
/// use harness::host;
/// use harness::process::Launch;
/// use harness::procfs::Protocol;
///
/// let address = host::free_address();
/// let nginx = Launch::new("nginx")
///     .args(["-p", ".", "-e", "stderr", "-c", "nginx.conf"])
///     .file(
///         "nginx.conf",
///         &format!(
///             "daemon off; master_process off; pid nginx.pid; error_log stderr; events {{}}
///              http {{ access_log off; server {{ listen {address}; return 200 hello; }} }}"
///         ),
///     )
///     .serving(Protocol::Tcp, address)
///     .start();
/// assert!(nginx.memory().resident > 0);
/// ```
#[derive(Debug)]
#[must_use]
pub struct Launch {
    program: PathBuf,
    args: Vec<OsString>,
    core: Option<usize>,
    namespace: Option<String>,
    serving: Vec<(Protocol, SocketAddr)>,
    dir: TempDir,
}

impl Launch {
    /// The program of that name or path, with no arguments.
    pub fn new(program: impl AsRef<Path>) -> Self {
        let program = program.as_ref().to_owned();
        let name = program.file_stem().unwrap_or_default().to_string_lossy();
        let dir = TempDir::new(&name);
        Self {
            program,
            args: Vec::new(),
            core: None,
            namespace: None,
            serving: Vec::new(),
            dir,
        }
    }

    /// One more argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        let args = args.into_iter();
        self.args.extend(args.map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// A file of that name in the directory that the program is started in.
    pub fn file(self, name: &str, text: &str) -> Self {
        self.dir.write(name, text);
        self
    }

    /// The same, which nobody but its owner may read.
    pub fn secret(self, name: &str, text: &str) -> Self {
        self.dir.write_secret(name, text);
        self
    }

    /// Keeps all of the program's threads on one core.
    pub fn pinned(mut self, core: usize) -> Self {
        self.core = Some(core);
        self
    }

    /// Starts it in that namespace.
    pub fn within(mut self, namespace: &Namespace) -> Self {
        self.namespace = Some(namespace.name().to_owned());
        self
    }

    /// Counts it as started only when it serves `address` too.
    pub fn serving(mut self, protocol: Protocol, address: SocketAddr) -> Self {
        self.serving.push((protocol, address));
        self
    }

    /// Starts it, and waits until it serves all that was named.
    ///
    /// # Panics
    ///
    /// When it cannot be started, ends, or does not serve within [`PATIENCE`]; the message holds
    /// what it said.
    #[track_caller]
    #[must_use]
    pub fn start(self) -> Process {
        let log = File::create(self.dir.path().join(LOG)).expect("a log can be written");
        let child = self
            .command()
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("a log can be shared"))
            .stdout(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        let mut process = Process {
            child,
            program: self.program,
            dir: self.dir,
        };
        process.await_service(&self.serving);
        process
    }

    /// `ip netns exec`, `setpriv` and `taskset` each end by becoming what they start, so the
    /// process keeps one id from the first to the last.
    fn command(&self) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        if let Some(namespace) = &self.namespace {
            words.extend(["ip", "netns", "exec", namespace].map(OsString::from));
        }
        words.extend(["setpriv", "--pdeathsig", "KILL", "--"].map(OsString::from));
        if let Some(core) = self.core {
            words.extend(["taskset", "-c", &core.to_string()].map(OsString::from));
        }
        words.push(self.program.clone().into_os_string());
        let mut words = words.iter().chain(&self.args);
        let mut command = Command::new(words.next().expect("there is at least the program"));
        command.args(words);
        command
    }
}

/// A program that runs, and is killed with this value.
///
/// It also ends with the thread that started it, so that an interrupted test leaves nothing
/// behind. When the test fails, what the program said is printed.
#[derive(Debug)]
pub struct Process {
    child: Child,
    program: PathBuf,
    dir: TempDir,
}

impl Process {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The directory it was started in; files written here are beside its configuration.
    #[must_use]
    pub fn dir(&self) -> &TempDir {
        &self.dir
    }

    /// All that it wrote to its standard output and error so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.dir.read(LOG)
    }

    /// CPU time used so far.
    #[must_use]
    pub fn cpu_time(&self) -> CpuTime {
        CpuTime::of(self.id()).expect("a child is in /proc until it is waited for")
    }

    /// Memory in RAM.
    #[must_use]
    pub fn memory(&self) -> Memory {
        Memory::of(self.id()).unwrap_or_else(|| panic!("{} has ended", self.program.display()))
    }

    /// Open descriptors.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        procfs::descriptors(self.id()).expect("a child is in /proc until it is waited for")
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        kill_process(id.expect("ids are positive"), signal).expect("a child can be signalled");
    }

    /// Ends it at once, as `kill -9` does, and waits for its end.
    pub fn kill(&mut self) {
        // It may have ended by itself already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end (SIGTERM), and waits for that.
    ///
    /// # Panics
    ///
    /// When it does not end within `limit`.
    #[track_caller]
    pub fn stop(&mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(limit)
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// When it does not end within `limit`.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        wait::until(limit, || self.child.try_wait().ok().flatten())
            .unwrap_or_else(|| panic!("{} still runs after {limit:?}", self.program.display()))
    }

    #[track_caller]
    fn await_service(&mut self, serving: &[(Protocol, SocketAddr)]) {
        for &(protocol, address) in serving {
            let program = self.program.display().to_string();
            let served = wait::until(PATIENCE, || {
                if !self.is_running() {
                    panic!("{program} ended at once:\n{}", self.log());
                }
                procfs::serves(self.id(), protocol, address).then_some(())
            });
            assert!(
                served.is_some(),
                "{program} does not serve {protocol:?} {address} within {PATIENCE:?}:\n{}",
                self.log()
            );
        }
    }
}

impl Drop for Process {
    #[expect(
        clippy::print_stderr,
        reason = "a failed test shows what its processes said"
    )]
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {} said:\n{}", self.program.display(), self.log());
        }
    }
}

/// The file that holds what the program says.
const LOG: &str = "log";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host;

    fn shell(script: &str) -> Launch {
        Launch::new("sh").args(["-c", script])
    }

    #[test]
    fn a_program_finds_its_files_beside_it_and_its_words_are_kept() {
        let mut cat = Launch::new("cat").arg("a").file("a", "hello").start();
        assert!(cat.wait(PATIENCE).success());
        assert_eq!(cat.log(), "hello");
    }

    #[test]
    fn a_started_program_serves_and_a_dropped_one_is_gone() {
        let address = host::free_address();
        let nc = Launch::new("nc")
            .args(["-l", &address.ip().to_string(), &address.port().to_string()])
            .serving(Protocol::Tcp, address)
            .start();
        let id = nc.id();
        assert!(procfs::serves(id, Protocol::Tcp, address));

        drop(nc);
        assert_eq!(CpuTime::of(id), None);
    }

    #[test]
    #[should_panic(expected = "no such luck")]
    fn a_program_that_ends_before_it_serves_is_told_with_its_words() {
        let _unreached = shell("echo no such luck; exit 1")
            .serving(Protocol::Tcp, host::free_address())
            .start();
    }

    #[test]
    fn a_pinned_program_sees_one_core() {
        let mut nproc = Launch::new("nproc").pinned(0).start();
        nproc.wait(PATIENCE);
        assert_eq!(nproc.log().trim(), "1");
    }

    #[test]
    fn stopping_asks_and_killing_does_not() {
        let mut polite =
            shell("trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.01; done").start();
        wait::eventually(PATIENCE, "the trap is set", || polite.log().contains("up"));
        assert_eq!(polite.stop(PATIENCE).code(), Some(7));
        assert_eq!(polite.log(), "up\nbye\n");

        let mut deaf = shell("trap '' TERM; echo up; while :; do sleep 0.01; done").start();
        wait::eventually(PATIENCE, "the trap is set", || deaf.log().contains("up"));
        deaf.signal(Signal::TERM);
        assert!(deaf.is_running());
        deaf.kill();
        assert!(!deaf.is_running());
    }

    #[test]
    fn the_cpu_time_of_a_busy_program_grows() {
        let busy = shell("while :; do :; done").start();
        let before = busy.cpu_time();
        wait::eventually(PATIENCE, "50 ms of CPU time", || {
            (busy.cpu_time() - before).total() >= Duration::from_millis(50)
        });
        assert!(busy.memory().peak > 0);
        assert!(busy.descriptors() >= 3);
    }
}
