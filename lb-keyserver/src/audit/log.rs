//! The log as the server has it: records go in and never wait.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::chain::{Chain, Head};
use super::clock;
use super::file::{LogFile, OpenError};
use super::key::CheckpointKey;
use super::queue::{NoRoom, Queue};
use super::record::Record;
use super::writer::{Disk, Writer};
use crate::wire::ErrorCode;

/// What becomes of signatures that cannot be recorded.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "there is a signature, or none")]
pub enum OnAuditFailure {
    /// They are made all the same. They are counted, and a line of the log says how many are missing
    /// as soon as one can be written.
    Continue,
    /// They are refused: no record, no signature.
    #[default]
    Refuse,
}

/// How a log is written.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AuditConfig {
    /// Records that may wait to be written, of about 250 bytes each. At least 1; default 32,768.
    pub queue: usize,
    /// How long records are gathered for one write. A process that is killed loses those of that
    /// time. Default 2 ms.
    pub linger: Duration,
    /// How often what was written is forced to the disk. A machine that stops loses what was signed
    /// since; zero is after each write. It is forced on closing, too. Default one second.
    pub sync_interval: Duration,
    /// A file that has so many bytes after a write is followed by another; 0 is no limit, and less
    /// than 4,096 is taken as that. Default 256 MiB.
    pub max_bytes: u64,
    /// The key of checkpoints; without one, none are written, and who can write the file can make a
    /// chain of their own. Default none.
    pub checkpoint_key: Option<CheckpointKey>,
    /// Lines between checkpoints; one also comes before each sync. 1 to 9,984; default 1,024.
    pub checkpoint_every: u64,
    /// What becomes of signatures that cannot be recorded. Default [`OnAuditFailure::Refuse`].
    pub on_failure: OnAuditFailure,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            queue: 32_768,
            linger: Duration::from_millis(2),
            sync_interval: Duration::from_secs(1),
            max_bytes: 256 << 20,
            checkpoint_key: None,
            checkpoint_every: 1_024,
            on_failure: OnAuditFailure::default(),
        }
    }
}

impl AuditConfig {
    /// Sets [`queue`](Self::queue).
    #[must_use]
    pub fn queue(mut self, records: usize) -> Self {
        self.queue = records;
        self
    }

    /// Sets [`linger`](Self::linger).
    #[must_use]
    pub fn linger(mut self, time: Duration) -> Self {
        self.linger = time;
        self
    }

    /// Sets [`sync_interval`](Self::sync_interval).
    #[must_use]
    pub fn sync_interval(mut self, time: Duration) -> Self {
        self.sync_interval = time;
        self
    }

    /// Sets [`max_bytes`](Self::max_bytes).
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets [`checkpoint_key`](Self::checkpoint_key).
    #[must_use]
    pub fn checkpoint_key(mut self, key: CheckpointKey) -> Self {
        self.checkpoint_key = Some(key);
        self
    }

    /// Sets [`checkpoint_every`](Self::checkpoint_every).
    #[must_use]
    pub fn checkpoint_every(mut self, lines: u64) -> Self {
        self.checkpoint_every = lines;
        self
    }

    /// Sets [`on_failure`](Self::on_failure).
    #[must_use]
    pub fn on_failure(mut self, policy: OnAuditFailure) -> Self {
        self.on_failure = policy;
        self
    }
}

/// The audit log of a key server: a file, and a thread that writes it.
///
/// The file is made with mode 0600, appended to, and locked: one process at a time. When it is large
/// it is kept as `<name>.<number of its last line, in 20 digits>`, and the next begins with its head.
/// Nothing is ever deleted. Let nothing else rotate it.
///
/// Opening goes on with the chain, and reads only the end for it. What a process that was killed left
/// of a line is cut off, and quoted in the line that follows.
///
/// A write that fails is tried again ten times a second, and continues where it stopped: a disk that
/// was full leaves no trace in the chain. A sync that fails is another matter: the kernel may have
/// dropped what it could not write, and says so only once (fsync(2)). The log then counts as failed
/// until it is opened anew.
///
/// # Examples
///
/// ```
/// use lb_keyserver::audit::{AuditConfig, AuditLog, Decision, Expected, Record, verify};
/// use lb_keyserver::{Scheme, Ski};
///
/// # let folder = std::env::temp_dir().join(format!("lb-audit-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # let path = folder.join("audit.log");
/// let log = AuditLog::open(&path, AuditConfig::default())?;
/// let node = "lb://node/7".parse()?;
/// let key = Ski::of_bits(b"abc");
/// log.record(Record::new(0, node, key, Scheme::Ed25519, Decision::Signed))?;
/// let head = log.close()?;
///
/// let file = std::io::BufReader::new(std::fs::File::open(&path)?);
/// let summary = verify(file, &Expected::default().head(head))?;
/// assert_eq!(summary.records, 1);
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AuditLog {
    shared: Arc<Shared>,
    on_failure: OnAuditFailure,
    thread: Mutex<Option<JoinHandle<io::Result<Head>>>>,
}

/// What those who record and the one who writes have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) queue: Queue,
    /// A [`State`].
    pub(super) state: AtomicU8,
    pub(super) recorded: AtomicU64,
    /// Records that were let go and that no line tells of yet.
    pub(super) lost: AtomicU64,
    lost_ever: AtomicU64,
    refused_full: AtomicU64,
    refused_failed: AtomicU64,
    refused_closed: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) rotations: AtomicU64,
    head: Mutex<Head>,
}

impl Shared {
    /// All the lines up to there are on the disk.
    pub(super) fn publish(&self, head: Head) {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = head;
    }
}

/// How the disk is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum State {
    Good = 0,
    WriteFailed = 1,
    SyncFailed = 2,
}

impl AuditLog {
    /// Opens the log at `path`, or begins one, and starts the thread. Blocks until the line that says
    /// so is on the disk.
    ///
    /// # Errors
    ///
    /// When it cannot be read or written, is another process's, is open to others, was begun with
    /// another key, or does not end as a log does.
    pub fn open(path: impl AsRef<Path>, config: AuditConfig) -> Result<Self, OpenError> {
        let key = config.checkpoint_key.as_ref();
        let (file, tail) = LogFile::open(path.as_ref(), key, clock::unix_millis())?;
        Ok(Self::start(file, tail.head, &tail.torn, config)?)
    }

    /// Records; does not wait for the disk.
    ///
    /// To be called when a signature is made and before it is sent: only then is there no signature
    /// without a record. Cost: about 0.2 µs, and a wake-up of the thread at most once in
    /// [`linger`](AuditConfig::linger).
    ///
    /// # Errors
    ///
    /// When it cannot be recorded, and the policy is to refuse: answer [`Unrecorded::CODE`].
    pub fn record(&self, record: Record) -> Result<(), Unrecorded> {
        let pushed = match self.shared.state() {
            State::WriteFailed => Err(Unrecorded::Failed),
            State::SyncFailed if self.on_failure == OnAuditFailure::Refuse => {
                Err(Unrecorded::Failed)
            }
            State::Good | State::SyncFailed => {
                self.shared.queue.push(record).map_err(|no| match no {
                    NoRoom::Closed => Unrecorded::Closed,
                    NoRoom::Full => Unrecorded::Full,
                })
            }
        };
        pushed.or_else(|why| self.let_go(why))
    }

    /// Whether records are taken now; for refusing before anything is signed.
    ///
    /// # Errors
    ///
    /// As [`record`](Self::record), but for a queue that is full; counts nothing.
    pub fn ready(&self) -> Result<(), Unrecorded> {
        match (self.on_failure, self.shared.state()) {
            (OnAuditFailure::Continue, _) | (_, State::Good) => Ok(()),
            _ => Err(Unrecorded::Failed),
        }
    }

    /// How far the log is on the disk. To be remembered elsewhere, where who can write the log
    /// cannot ([`Expected::head`](super::Expected::head)).
    #[must_use]
    pub fn head(&self) -> Head {
        let head = self.shared.head.lock();
        *head.unwrap_or_else(PoisonError::into_inner)
    }

    /// What has been recorded, and what not.
    #[must_use]
    pub fn stats(&self) -> AuditStats {
        let shared = &self.shared;
        AuditStats {
            recorded: shared.recorded.load(Relaxed),
            lost: shared.lost_ever.load(Relaxed),
            refused_full: shared.refused_full.load(Relaxed),
            refused_failed: shared.refused_failed.load(Relaxed),
            refused_closed: shared.refused_closed.load(Relaxed),
            failures: shared.failures.load(Relaxed),
            syncs: shared.syncs.load(Relaxed),
            rotations: shared.rotations.load(Relaxed),
        }
    }

    /// Takes no more records, and returns when those that it has are on the disk; says where the log
    /// ends. Blocks. Dropping the log does the same, and tells nobody how it went.
    ///
    /// # Errors
    ///
    /// When the disk fails, and what had not been written is lost.
    pub fn close(&self) -> io::Result<Head> {
        self.shared.queue.close();
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        match thread.take() {
            Some(thread) => thread.join().unwrap_or_else(|_| {
                Err(io::Error::other("the thread of the audit log has panicked"))
            }),
            None => Ok(self.head()),
        }
    }

    pub(super) fn start<D: Disk>(
        disk: D,
        head: Head,
        torn: &[u8],
        config: AuditConfig,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Queue::new(config.queue),
            state: AtomicU8::new(State::Good as u8),
            recorded: AtomicU64::default(),
            lost: AtomicU64::default(),
            lost_ever: AtomicU64::default(),
            refused_full: AtomicU64::default(),
            refused_failed: AtomicU64::default(),
            refused_closed: AtomicU64::default(),
            failures: AtomicU64::default(),
            syncs: AtomicU64::default(),
            rotations: AtomicU64::default(),
            head: Mutex::new(head),
        });
        let on_failure = config.on_failure;
        let chain = Chain::new(head, config.checkpoint_key.clone(), config.checkpoint_every);
        let mut writer = Writer::new(disk, chain, config, Arc::clone(&shared));
        writer.open(torn)?;
        let thread = thread::Builder::new().name("lb-audit".to_owned());
        let thread = Mutex::new(Some(thread.spawn(move || writer.run())?));
        Ok(Self {
            shared,
            on_failure,
            thread,
        })
    }

    fn let_go(&self, why: Unrecorded) -> Result<(), Unrecorded> {
        let shared = &self.shared;
        if self.on_failure == OnAuditFailure::Continue {
            shared.lost.fetch_add(1, Relaxed);
            shared.lost_ever.fetch_add(1, Relaxed);
            return Ok(());
        }
        let count = match why {
            Unrecorded::Closed => &shared.refused_closed,
            Unrecorded::Failed => &shared.refused_failed,
            Unrecorded::Full => &shared.refused_full,
        };
        count.fetch_add(1, Relaxed);
        Err(why)
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the audit log could not be closed");
        }
    }
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLog")
            .field("head", &self.head())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Why a signature cannot be recorded.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Unrecorded {
    /// The log has been closed.
    #[error("the audit log is closed")]
    Closed,
    /// The disk fails.
    #[error("the audit log cannot be written")]
    Failed,
    /// As many records wait for the disk as may.
    #[error("too many records wait to be written to the audit log")]
    Full,
}

impl Unrecorded {
    /// Every one of them.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Failed, Self::Full];

    /// What the client is told. It may ask again, elsewhere.
    pub const CODE: ErrorCode = ErrorCode::Internal;

    /// Its name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "audit-closed",
            Self::Failed => "audit-failed",
            Self::Full => "audit-full",
        }
    }
}

/// What a log has recorded, and what not, since it was opened.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct AuditStats {
    /// Records in the chain.
    pub recorded: u64,
    /// Signatures that were made without a record, as the policy is to continue.
    pub lost: u64,
    /// Signatures refused as too many records waited.
    pub refused_full: u64,
    /// Signatures refused as the disk failed.
    pub refused_failed: u64,
    /// Signatures refused as the log was closed.
    pub refused_closed: u64,
    /// Writes and syncs that failed.
    pub failures: u64,
    /// Syncs that did not.
    pub syncs: u64,
    /// Files that were followed by another.
    pub rotations: u64,
}
