//! One thread a core, each with a runtime of its own and a worker of every listener.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::thread;

use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tracing::error;

/// Something a worker thread runs beside all else that it runs.
pub(super) type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The worker threads; they end when this is dropped and their last job is over.
#[derive(Debug)]
pub(crate) struct Workers {
    threads: Vec<UnboundedSender<Job>>,
}

impl Workers {
    /// Starts `count` threads.
    ///
    /// # Errors
    ///
    /// When the kernel has no thread or descriptor left.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let threads = (0..count).map(start).collect::<io::Result<_>>()?;
        Ok(Self { threads })
    }

    /// How many there are.
    pub(crate) const fn count(&self) -> usize {
        self.threads.len()
    }

    /// Has each job run by a thread of its own, from the first on.
    pub(super) fn run(&self, jobs: impl IntoIterator<Item = Job>) {
        for (thread, job) in self.threads.iter().zip(jobs) {
            // A thread ends before its sender only by a panic, which the hook has told.
            if thread.send(job).is_err() {
                error!("a worker thread is gone");
            }
        }
    }
}

fn start(index: usize) -> io::Result<UnboundedSender<Job>> {
    let (sender, jobs) = unbounded_channel();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new()
        .name(format!("clb-worker-{index}"))
        .spawn(move || runtime.block_on(work(jobs)))?;
    Ok(sender)
}

/// Runs each job that comes, then those that are left.
async fn work(mut jobs: UnboundedReceiver<Job>) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            job = jobs.recv() => match job {
                Some(job) => drop(running.spawn(job)),
                None => break,
            },
            Some(_) = running.join_next() => {}
        }
    }
    while running.join_next().await.is_some() {}
}
