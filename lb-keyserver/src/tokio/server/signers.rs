//! The threads that sign.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::clock;
use super::mailbox::Mailbox;
use crate::audit::AuditLog;
use crate::server::{Counters, Job, Lane, Lanes, Paces, Refusal};

/// What one turn of a thread may take: long against waking a connection, which comes after, and
/// short against what a person notices.
const BUDGET: Duration = Duration::from_micros(400);

/// Threads that sign, and what waits for them.
///
/// There is one more than may sign at once. It begins when all others are at slow signatures, and
/// takes quick ones only: so these never wait for a hardware module that hangs.
#[derive(Debug)]
pub(super) struct Signers {
    queue: Mutex<Queue>,
    changed: Condvar,
    work: Work,
    paces: Paces,
}

/// What signing is done with.
#[derive(Debug)]
pub(super) struct Work {
    /// Threads that sign at once.
    pub(super) threads: usize,
    /// Jobs that may wait.
    pub(super) most: usize,
    /// After which time nobody waits for a job.
    pub(super) max_wait: Duration,
    pub(super) counters: Arc<Counters>,
    pub(super) audit: Option<Arc<AuditLog>>,
}

/// A job, and who waits for the answer.
type Assigned = (Job, Arc<Mailbox>);

#[derive(Debug, Default)]
struct Queue {
    lanes: Lanes<Assigned>,
    /// Threads that sign now, and those of them that are at what is slow.
    signing: usize,
    at_slow: usize,
    idle: usize,
    closed: bool,
}

impl Signers {
    /// Starts the threads.
    pub(super) fn start(work: Work) -> io::Result<Arc<Self>> {
        let signers = Arc::new(Self {
            queue: Mutex::default(),
            changed: Condvar::new(),
            work,
            paces: Paces::default(),
        });
        for _ in 0..=signers.work.threads {
            let one = Arc::clone(&signers);
            let thread = thread::Builder::new().name("lb-signer".to_owned());
            if let Err(error) = thread.spawn(move || one.run()) {
                signers.close();
                return Err(error);
            }
        }
        Ok(signers)
    }

    /// Takes jobs of one owner, all for one connection, under one lock and with one wake-up. Those
    /// that are too many are left.
    pub(super) fn push(&self, owner: u64, jobs: &mut Vec<Job>, to: &Arc<Mailbox>) {
        let mut queue = self.lock();
        let room = self.work.most.saturating_sub(queue.lanes.len());
        let room = if queue.closed { 0 } else { room };
        for job in jobs.drain(..room.min(jobs.len())) {
            let pace = job.pace(&self.paces);
            queue.lanes.push(owner, pace, (job, Arc::clone(to)));
        }
        self.pass_on(queue);
    }

    /// How many jobs wait, and how many threads sign.
    pub(super) fn load(&self) -> (usize, usize) {
        let queue = self.lock();
        (queue.lanes.len(), queue.signing)
    }

    /// Ends the threads once each has finished what it is at. What waits is dropped.
    pub(super) fn close(&self) {
        let mut dropped = Vec::new();
        let mut queue = self.lock();
        queue.closed = true;
        queue.lanes.take_all(&mut dropped);
        drop(queue);
        self.changed.notify_all();
    }

    fn run(&self) {
        let (mut batch, mut answers) = (Vec::new(), Vec::new());
        while let Some(lane) = self.take(&mut batch) {
            self.sign_all(&mut batch, &mut answers);
            let mut queue = self.lock();
            queue.signing -= 1;
            queue.at_slow -= usize::from(lane == Lane::Slow);
        }
    }

    /// Waits for jobs that this thread may do; `None` when there will be none.
    fn take(&self, batch: &mut Vec<Assigned>) -> Option<Lane> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(lane) = queue.lanes.next(|lane| self.may(&queue, lane)) {
                queue.lanes.take(lane, BUDGET, batch);
                queue.signing += 1;
                queue.at_slow += usize::from(lane == Lane::Slow);
                self.pass_on(queue);
                return Some(lane);
            }
            queue.idle += 1;
            let woken = self.changed.wait(queue);
            queue = woken.unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }

    fn may(&self, queue: &Queue, lane: Lane) -> bool {
        let is_held_up = queue.signing == queue.at_slow;
        queue.signing < self.work.threads || lane == Lane::Quick && is_held_up
    }

    /// Wakes one more thread, if there is something for it to do.
    fn pass_on(&self, queue: MutexGuard<'_, Queue>) {
        let is_more = queue.lanes.next(|lane| self.may(&queue, lane)).is_some();
        let is_idle = queue.idle != 0;
        drop(queue);
        if is_more && is_idle {
            self.changed.notify_one();
        }
    }

    /// Signs, and wakes each connection once for as many answers as follow each other.
    fn sign_all(&self, batch: &mut Vec<Assigned>, answers: &mut Vec<u8>) {
        let mut jobs = batch.drain(..).peekable();
        let mut count = 0;
        while let Some((job, to)) = jobs.next() {
            // Who has gone waits for nothing; and to drop a job gives its permit back.
            if to.is_open() {
                self.sign(job, answers);
                count += 1;
            }
            let is_last = jobs.peek().is_none_or(|(_, next)| !Arc::ptr_eq(next, &to));
            if is_last && count != 0 {
                to.deliver(answers, count);
                count = 0;
            }
        }
    }

    fn sign(&self, job: Job, answers: &mut Vec<u8>) {
        let (scheme, start) = (job.scheme(), clock::now());
        let waited = start.since(job.arrived());
        let signed = if waited > self.work.max_wait {
            Err(Refusal::TooLate)
        } else {
            // A key is another's code, and what it leaves half done is its own.
            let signed = catch_unwind(AssertUnwindSafe(|| job.sign()));
            let signed = signed.map_err(|_| Refusal::Panicked);
            signed.and_then(|signed| signed.map_err(Refusal::from))
        };
        let took = clock::now().since(start);
        if signed.is_ok() {
            job.learn(&self.paces, took);
        }
        let Work {
            counters, audit, ..
        } = &self.work;
        let signature = signed.as_deref().map_err(|why| *why);
        match job.answer(signature, took, audit.as_deref(), answers) {
            Ok(()) => counters.signed(scheme, waited, took),
            Err(why) => counters.refused(why),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No code of others runs under the lock, so that a poisoned one is as good.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
