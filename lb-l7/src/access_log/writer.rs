//! The log's thread: the only one that waits for a disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use super::Target;
use super::desk::{Batch, Desk, Message};
use crate::clock;

/// What writes batches to their target, one at a time.
pub(super) struct Writer {
    desk: Arc<Desk>,
    output: Output,
    /// Whether the last batch was cut, perhaps in the middle of a line.
    is_torn: bool,
}

impl Writer {
    /// Opens the target.
    pub(super) fn open(target: Target, desk: Arc<Desk>) -> io::Result<Self> {
        let output = match target {
            Target::File(path) => Output::File(open(&path)?, path),
            Target::Stdout => Output::Other(Box::new(io::stdout())),
            Target::Writer(writer) => Output::Other(writer),
        };
        Ok(Self {
            desk,
            output,
            is_torn: false,
        })
    }

    /// Writes what comes until nobody is left who could send more; `interval` is how long a line may
    /// wait in a batch that does not fill.
    pub(super) fn run(mut self, queue: &Receiver<Message>, interval: Duration) {
        let mut next = clock::now() + interval;
        loop {
            let now = clock::now();
            if now >= next {
                self.catch_up(queue, Vec::new());
                next = now + interval;
            }
            match queue.recv_timeout(next.since(now)) {
                Ok(Message::Batch(batch)) => self.write(batch),
                Ok(Message::Flush(answer)) => self.catch_up(queue, vec![answer]),
                Ok(Message::Wake) => self.reopen_if_asked(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.catch_up(queue, Vec::new());
    }

    /// Writes what is queued and, behind it, what has not been handed over; then answers.
    fn catch_up(&mut self, queue: &Receiver<Message>, mut answers: Vec<SyncSender<()>>) {
        // The lines of a worker stay in their order, unless it hands a batch over meanwhile.
        for message in queue.try_iter().take(AT_ONCE) {
            match message {
                Message::Batch(batch) => self.write(batch),
                Message::Flush(answer) => answers.push(answer),
                Message::Wake => {}
            }
        }
        self.reopen_if_asked();
        let desk = Arc::clone(&self.desk);
        desk.fetch_open(|batch| self.write(batch));
        for answer in answers {
            // Whoever asked may have given up waiting.
            let _ = answer.send(());
        }
    }

    fn write(&mut self, batch: Batch) {
        self.reopen_if_asked();
        match self.try_write(&batch.bytes) {
            Ok(()) => {
                self.desk.written.fetch_add(batch.lines, Relaxed);
                self.is_torn = false;
            }
            Err(error) => {
                self.desk.failed.fetch_add(batch.lines, Relaxed);
                if !self.is_torn {
                    // Said once, and again after it has worked meanwhile.
                    tracing::error!(%error, "the access log cannot be written");
                }
                self.is_torn = true;
            }
        }
        self.desk.recycle(batch);
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let output = self.output.as_write();
        if self.is_torn {
            // The line that was cut is ended, so that it does not spoil the next.
            output.write_all(b"\n")?;
        }
        output.write_all(bytes)?;
        output.flush()
    }

    fn reopen_if_asked(&mut self) {
        if !self.desk.reopen.swap(false, Relaxed) {
            return;
        }
        let Output::File(file, path) = &mut self.output else {
            return;
        };
        match open(path) {
            Ok(new) => {
                *file = new;
                self.is_torn = false;
            }
            Err(error) => {
                self.desk.reopen_failed.fetch_add(1, Relaxed);
                tracing::error!(%error, path = %path.display(), "the access log stays in the old file");
            }
        }
    }
}

enum Output {
    File(File, PathBuf),
    Other(Box<dyn Write + Send>),
}

impl Output {
    fn as_write(&mut self) -> &mut dyn Write {
        match self {
            Self::File(file, _) => file,
            Self::Other(writer) => writer,
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// How many messages are taken before what was not handed over is fetched, however fast others come.
const AT_ONCE: usize = 1_024;
