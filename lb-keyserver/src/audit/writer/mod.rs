//! The one thread that writes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

use lbcore::Instant;

use super::chain::{Chain, Head};
use super::clock;
use super::key::CheckpointKey;
use super::log::{AuditConfig, Shared, State};
use super::queue::Woken;
use super::record::Record;

/// Where lines go: a file, or in tests one that fails.
pub(super) trait Disk: Send + 'static {
    /// Appends some of the bytes, and says how many.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Returns when all that was written is on the disk.
    fn sync(&mut self) -> io::Result<()>;

    /// Bytes of the file.
    fn size(&mut self) -> io::Result<u64>;

    /// Goes on with a new file, whose first line it writes; says where that ends. When it fails, the
    /// old file goes on.
    fn rotate(&mut self, head: Head, key: Option<&CheckpointKey>, at: u64) -> io::Result<Head>;
}

/// Writes what is in the queue, until it is closed.
pub(super) struct Writer<D> {
    disk: D,
    chain: Chain,
    config: AuditConfig,
    shared: Arc<Shared>,
    /// Lines that are in the chain, of which the first `written` bytes are in the file.
    lines: Vec<u8>,
    written: usize,
    /// Something has been written since the last sync.
    dirty: bool,
    /// When the last sync began.
    synced: Instant,
    /// A sync has failed: what is on the disk is not known any more.
    unsure: bool,
    /// From this size on the file is followed by another.
    rotate_at: u64,
}

impl<D: Disk> Writer<D> {
    pub(super) fn new(disk: D, chain: Chain, config: AuditConfig, shared: Arc<Shared>) -> Self {
        let rotate_at = match config.max_bytes {
            0 => u64::MAX,
            bytes => bytes.max(LEAST_BYTES),
        };
        Self {
            disk,
            chain,
            config,
            shared,
            lines: Vec::new(),
            written: 0,
            dirty: false,
            synced: clock::now(),
            unsure: false,
            rotate_at,
        }
    }

    /// Says that the log was opened, and waits until that is on the disk.
    pub(super) fn open(&mut self, torn: &[u8]) -> io::Result<()> {
        self.chain.open(clock::unix_millis(), torn, &mut self.lines);
        self.write()?;
        self.disk.sync()?;
        (self.dirty, self.synced) = (false, clock::now());
        self.shared.publish(self.chain.head());
        Ok(())
    }

    /// Writes until the queue is closed and empty, or the disk fails after it was closed.
    pub(super) fn run(mut self) -> io::Result<Head> {
        let mut records = Vec::new();
        loop {
            let woken = match self.shared.state() {
                State::WriteFailed => self.shared.queue.pause(RETRY),
                State::Good | State::SyncFailed => {
                    let most = self.until_sync();
                    self.shared
                        .queue
                        .take(most, self.config.linger, &mut records)
                }
            };
            self.append(&mut records);
            let written = self.write_out(woken == Woken::Closed);
            if woken == Woken::Closed && (written.is_err() || self.shared.queue.len() == 0) {
                return written.map(|()| self.chain.head());
            }
        }
    }

    fn append(&mut self, records: &mut Vec<Record>) {
        for record in records.drain(..) {
            self.chain.record(&record, &mut self.lines);
            self.shared.recorded.fetch_add(1, Relaxed);
        }
    }

    /// Writes, and syncs and rotates when it is time; notes how that went.
    fn write_out(&mut self, is_closing: bool) -> io::Result<()> {
        let written = self.write_lines_and_lost();
        self.note_write(&written);
        written?;
        if self.dirty && (is_closing || self.until_sync().is_zero()) {
            self.sync()?;
        }
        match is_closing {
            true if self.unsure => Err(io::Error::other("a sync of the audit log has failed")),
            true => Ok(()),
            false if self.disk.size()? >= self.rotate_at => self.rotate(),
            false => Ok(()),
        }
    }

    /// Says how many records were let go, once the disk takes lines again.
    fn write_lines_and_lost(&mut self) -> io::Result<()> {
        self.write()?;
        let lost = self.shared.lost.swap(0, Relaxed);
        if lost > 0 {
            self.chain.lost(clock::unix_millis(), lost, &mut self.lines);
        }
        self.write()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.chain.checkpoint(clock::unix_millis(), &mut self.lines);
        let written = self.write();
        self.note_write(&written);
        written?;
        self.synced = clock::now();
        if let Err(error) = self.disk.sync() {
            if !self.unsure {
                tracing::error!(%error, "the audit log cannot be forced to the disk");
            }
            self.unsure = true;
            self.shared.failures.fetch_add(1, Relaxed);
            self.shared.state.store(State::SyncFailed as u8, Release);
            return Err(error);
        }
        self.dirty = false;
        self.shared.syncs.fetch_add(1, Relaxed);
        if !self.unsure {
            self.shared.publish(self.chain.head());
        }
        Ok(())
    }

    /// Goes on with another file. Where there can be none, the old one gets a little larger first.
    fn rotate(&mut self) -> io::Result<()> {
        self.sync()?;
        let (key, at) = (self.config.checkpoint_key.as_ref(), clock::unix_millis());
        match self.disk.rotate(self.chain.head(), key, at) {
            Ok(head) => {
                self.chain = Chain::new(head, key.cloned(), self.config.checkpoint_every);
                self.rotate_at = self.config.max_bytes.max(LEAST_BYTES);
                // Its name may not be on the disk yet.
                self.dirty = true;
                self.shared.rotations.fetch_add(1, Relaxed);
            }
            Err(error) => {
                tracing::warn!(%error, "the audit log cannot begin another file");
                self.rotate_at = self.rotate_at.saturating_add(self.rotate_at / 16);
                self.shared.failures.fetch_add(1, Relaxed);
            }
        }
        Ok(())
    }

    /// Writes what is left of the lines. What of a line is in the file already is not written again,
    /// so that a disk that was full for a while leaves no trace.
    fn write(&mut self) -> io::Result<()> {
        while let Some(rest @ [_, ..]) = self.lines.get(self.written..) {
            match self.disk.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            self.dirty = true;
        }
        self.lines.clear();
        self.written = 0;
        Ok(())
    }

    fn note_write(&self, outcome: &io::Result<()>) {
        let failed = self.shared.state() == State::WriteFailed;
        let after = match outcome {
            Ok(()) if self.unsure => State::SyncFailed,
            Ok(()) => State::Good,
            Err(_) => State::WriteFailed,
        };
        match outcome {
            Err(error) => {
                if !failed {
                    tracing::error!(%error, "the audit log cannot be written");
                }
                self.shared.failures.fetch_add(1, Relaxed);
            }
            Ok(()) if failed => tracing::info!("the audit log can be written again"),
            Ok(()) => {}
        }
        self.shared.state.store(after as u8, Release);
    }

    fn until_sync(&self) -> Duration {
        match self.dirty {
            true => {
                let elapsed = clock::now().since(self.synced);
                let least = if self.unsure { RETRY } else { Duration::ZERO };
                self.config.sync_interval.max(least).saturating_sub(elapsed)
            }
            false => IDLE,
        }
    }
}

/// How long a disk that failed is left alone.
const RETRY: Duration = Duration::from_millis(100);

/// How long the thread sleeps when there is nothing to do; it is woken when there is.
const IDLE: Duration = Duration::from_secs(3_600);

/// A file has at least so many bytes before the next begins, or there would be no end of files.
const LEAST_BYTES: u64 = 4_096;

impl Shared {
    pub(super) fn state(&self) -> State {
        match self.state.load(Acquire) {
            0 => State::Good,
            1 => State::WriteFailed,
            _ => State::SyncFailed,
        }
    }
}

#[cfg(test)]
mod tests;
