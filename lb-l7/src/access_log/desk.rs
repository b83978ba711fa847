//! What workers and the log's thread share: batches of lines, spare buffers, counts.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};

use super::worker::lock;

/// Whole lines, and how many.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: u64,
}

impl Batch {
    /// So many bytes are handed over: a hundred lines or more pay for one wake-up of the thread.
    pub(super) const FULL: usize = 64 << 10;

    /// What a buffer may keep of memory when it is used again; a long line makes it larger.
    const KEPT: usize = 2 * Self::FULL;
}

/// What the log's thread is told.
#[derive(Debug)]
pub(super) enum Message {
    /// Lines to write.
    Batch(Batch),
    /// Write all that was recorded before this, and then answer.
    Flush(SyncSender<()>),
    /// Look whether there is something else to do.
    Wake,
}

/// Where lines wait that are in no queue yet.
#[derive(Debug, Default)]
pub(super) struct Desk {
    open: Mutex<Vec<Arc<Mutex<Batch>>>>,
    spares: Mutex<Vec<Vec<u8>>>,
    pub(super) reopen: AtomicBool,
    pub(super) written: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) reopen_failed: AtomicU64,
    dropped: AtomicU64,
}

impl Desk {
    /// A batch that a worker fills, and that is fetched from here.
    pub(super) fn open_batch(&self) -> Arc<Mutex<Batch>> {
        let batch = Arc::<Mutex<Batch>>::default();
        lock(&self.open).push(Arc::clone(&batch));
        batch
    }

    /// Hands what workers have begun to fill to `write`, and forgets the batches of workers that are
    /// gone.
    pub(super) fn fetch_open(&self, mut write: impl FnMut(Batch)) {
        // Writing may take as long as a disk does, so it is done with no lock held.
        let open = lock(&self.open).clone();
        for batch in &open {
            let mut batch = lock(batch);
            if batch.lines == 0 {
                continue;
            }
            let filled = mem::replace(&mut *batch, self.take_spare());
            drop(batch);
            write(filled);
        }
        drop(open);
        // An empty batch that nobody else holds is never filled again.
        lock(&self.open).retain(|batch| Arc::strong_count(batch) > 1 || lock(batch).lines > 0);
    }

    /// An empty batch, in a buffer that was used before if there is one.
    pub(super) fn take_spare(&self) -> Batch {
        Batch {
            bytes: lock(&self.spares).pop().unwrap_or_default(),
            lines: 0,
        }
    }

    /// Keeps the buffer of a batch for another.
    pub(super) fn recycle(&self, batch: Batch) {
        let mut bytes = batch.bytes;
        if bytes.capacity() > Batch::KEPT {
            return;
        }
        bytes.clear();
        let mut spares = lock(&self.spares);
        if spares.len() < SPARES {
            spares.push(bytes);
        }
    }

    /// Counts the lines of a batch that could not be handed over.
    pub(super) fn dropped(&self, batch: Batch) {
        self.dropped.fetch_add(batch.lines, Relaxed);
        self.recycle(batch);
    }

    /// Lines dropped because the queue was full.
    pub(super) fn lines_dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

/// How many buffers are kept for later; as many as are in use at once when the disk keeps up.
const SPARES: usize = 16;
