//! The threads that talk to a token.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{io, thread};

use cryptoki::error::{Error, RvError};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;

use super::token::{self, Reach};
use super::{Pkcs11Error, mechanism};
use crate::scheme::Scheme;
use crate::ski::Ski;
use crate::store::SignFailure;

/// Threads with a session each, as a session serves one thread at a time. They end when this is
/// dropped.
pub(super) struct Workers {
    /// Dropped before `_ended`, as the threads end by it.
    jobs: SyncSender<Job>,
    _ended: Ended,
    within: Duration,
}

/// What the threads drop when they end.
struct Ended(Mutex<Receiver<Infallible>>);

impl Drop for Ended {
    /// Waits for the threads, though not for ever for one that a token holds up: a process that ends
    /// while a thread is within a module takes the module's data from under it.
    fn drop(&mut self) {
        let ended = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(GRACE);
    }
}

impl Workers {
    pub(super) fn start(reach: &Arc<Reach>) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE);
        let jobs = Arc::new(Mutex::new(receiver));
        let (ending, ended) = sync_channel(0);
        for _ in 0..reach.config().threads.max(1) {
            let (reach, jobs) = (Arc::clone(reach), Arc::clone(&jobs));
            let ending = ending.clone();
            let name = "pkcs11".to_owned();
            thread::Builder::new().name(name).spawn(move || {
                Worker::new(reach).run(&jobs);
                drop(ending);
            })?;
        }
        Ok(Self {
            jobs: sender,
            _ended: Ended(Mutex::new(ended)),
            within: reach.config().within,
        })
    }

    /// Has a thread sign, and waits for it.
    pub(super) fn sign(
        &self,
        ski: Ski,
        scheme: Scheme,
        payload: Vec<u8>,
    ) -> Result<Vec<u8>, SignFailure> {
        let (answer, answered) = sync_channel(1);
        let is_given_up = Arc::new(AtomicBool::new(false));
        let job = Job {
            ski,
            scheme,
            payload,
            answer,
            is_given_up: Arc::clone(&is_given_up),
        };
        // Whoever would have to wait for room waits too long.
        let queued = self.jobs.try_send(job);
        queued.map_err(|_| SignFailure::Unavailable)?;
        wait(&answered, self.within, &is_given_up)
    }
}

/// Waits for an answer, and says so when it waits no longer.
fn wait(
    answered: &Receiver<Result<Vec<u8>, SignFailure>>,
    within: Duration,
    is_given_up: &AtomicBool,
) -> Result<Vec<u8>, SignFailure> {
    answered.recv_timeout(within).unwrap_or_else(|_| {
        is_given_up.store(true, Ordering::Relaxed);
        Err(SignFailure::Unavailable)
    })
}

/// A signature to be made.
struct Job {
    ski: Ski,
    scheme: Scheme,
    payload: Vec<u8>,
    answer: SyncSender<Result<Vec<u8>, SignFailure>>,
    /// Whoever asked no longer waits.
    is_given_up: Arc<AtomicBool>,
}

struct Worker {
    reach: Arc<Reach>,
    open: Option<Open>,
    /// The last attempt to open a session failed, which is logged once and not for each signature.
    is_down: bool,
}

/// A session, and the keys as it knows them.
struct Open {
    session: Session,
    handles: HashMap<Ski, ObjectHandle>,
}

impl Worker {
    const fn new(reach: Arc<Reach>) -> Self {
        let (open, is_down) = (None, false);
        Self {
            reach,
            open,
            is_down,
        }
    }

    fn run(mut self, jobs: &Mutex<Receiver<Job>>) {
        // If it does not go well now, the first signature tries again.
        self.open = Open::new(&self.reach).ok();
        while let Some(job) = next(jobs) {
            if job.is_given_up.load(Ordering::Relaxed) {
                continue;
            }
            let signed = self.sign(&job);
            // Whoever asked may have gone.
            let _ = job.answer.try_send(signed);
        }
    }

    /// Signs in the session that there is and, if that has broken, once more in a new one.
    fn sign(&mut self, job: &Job) -> Result<Vec<u8>, SignFailure> {
        if let Some(mut open) = self.open.take() {
            match open.sign(job) {
                Ok(signature) => {
                    self.open = Some(open);
                    return Ok(signature);
                }
                // The session is given up as well: a signature may be half made in it.
                Err(fault) => {
                    tracing::warn!(ski = %job.ski, %fault, "the token did not sign");
                    if is_refusal(&fault) {
                        return Err(SignFailure::Crypto);
                    }
                }
            }
            // The old session is closed by now, so that a handle used again is not closed later.
        }
        let opened = Open::new(&self.reach).and_then(|mut open| {
            let signature = open.sign(job)?;
            Ok((open, signature))
        });
        match opened {
            Ok((open, signature)) => {
                self.open = Some(open);
                self.is_down = false;
                Ok(signature)
            }
            Err(fault) if is_refusal(&fault) => Err(SignFailure::Crypto),
            Err(fault) => {
                if !self.is_down {
                    tracing::error!(ski = %job.ski, %fault, "the token cannot be used");
                }
                self.is_down = true;
                Err(SignFailure::Unavailable)
            }
        }
    }
}

impl Open {
    fn new(reach: &Reach) -> Result<Self, Pkcs11Error> {
        let session = reach.open()?;
        let handles = HashMap::new();
        Ok(Self { session, handles })
    }

    fn sign(&mut self, job: &Job) -> Result<Vec<u8>, Pkcs11Error> {
        let handle = match self.handles.get(&job.ski) {
            Some(handle) => *handle,
            None => self.find(&job.ski)?,
        };
        let mechanism = mechanism::mechanism(job.scheme);
        Ok(self.session.sign(&mechanism, handle, &job.payload)?)
    }

    /// Looks for all keys again, as there may be new ones.
    fn find(&mut self, ski: &Ski) -> Result<ObjectHandle, Pkcs11Error> {
        let (found, _) = token::keys(&self.session)?;
        self.handles = found
            .into_iter()
            .map(|found| (found.public.ski(), found.handle))
            .collect();
        self.handles.get(ski).copied().ok_or(Pkcs11Error::NoKey)
    }
}

/// The next job, for as long as there may be one.
fn next(jobs: &Mutex<Receiver<Job>>) -> Option<Job> {
    let jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
    jobs.recv().ok()
}

/// Whether a fault is the token's answer to what it was asked, and no other session would help.
const fn is_refusal(fault: &Pkcs11Error) -> bool {
    let Pkcs11Error::Token(Error::Pkcs11(fault, _)) = fault else {
        return false;
    };
    matches!(
        fault,
        RvError::DataInvalid
            | RvError::DataLenRange
            | RvError::FunctionNotSupported
            | RvError::KeyFunctionNotPermitted
            | RvError::KeySizeRange
            | RvError::KeyTypeInconsistent
            | RvError::MechanismInvalid
            | RvError::MechanismParamInvalid
    )
}

/// Signatures that may wait for a thread. More than that and a token of any speed would answer late:
/// the fastest make some thousands a second.
const QUEUE: usize = 1024;

/// How long the end of a store may take: more than any signature does.
const GRACE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_waits_no_longer_than_is_said() {
        let (answer, answered) = sync_channel(1);
        let is_given_up = AtomicBool::new(false);
        let wait = || wait(&answered, Duration::ZERO, &is_given_up);
        answer.send(Ok(vec![7])).expect("room");
        assert_eq!(wait(), Ok(vec![7]));
        assert!(!is_given_up.load(Ordering::Relaxed));
        assert_eq!(wait(), Err(SignFailure::Unavailable));
        assert!(is_given_up.load(Ordering::Relaxed));
    }
}
