//! One request at the edge: its course, its timer, its answers.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use lbcore::Instant;
use tokio::time::Sleep;

use crate::client::{Ask, AskConfig, Course, Failure, ServerId, Step};
use crate::sign::{SignError, SignRequest, Signature};

use super::call::{Call, Question, Reply, Waiter};
use super::lane::Item;
use super::shared::{Gate, Shared};

/// Asks for a signature until there is one, or none is to be had.
pub(super) async fn sign(shared: &Shared, request: SignRequest) -> Result<Signature, SignError> {
    let entered = shared.enter();
    let _place = entered.inspect_err(|error| shared.servers().handle_shed(*error))?;
    let now = shared.clock.now();
    let course = Course::new(now, request.within, request.scheme);
    let mut under_way = UnderWay {
        shared,
        call: Call::new(Question::Sign(request)),
        course,
        asked: [None; AskConfig::MOST_ATTEMPTS as usize],
    };
    let mut timer = pin!(None::<Sleep>);
    loop {
        let step = {
            let now = shared.clock.now();
            under_way.course.poll(now, &mut shared.servers())
        };
        let until = match step {
            Step::Ask(ask) => {
                under_way.put(ask);
                continue;
            }
            Step::Wait(until) => until,
            Step::Fail(error) => return Err(error),
        };
        if let Some((attempt, reply)) = under_way.reply(until, timer.as_mut()).await
            && let Some(signature) = under_way.settle(attempt, reply)
        {
            return Ok(signature);
        }
    }
}

/// A request, whose questions nobody waits for once this is dropped.
struct UnderWay<'a> {
    shared: &'a Shared,
    call: Arc<Call>,
    course: Course,
    /// Whom each attempt asked, and whether its signature is to be verified.
    asked: [Option<(ServerId, bool)>; AskConfig::MOST_ATTEMPTS as usize],
}

impl UnderWay<'_> {
    fn put(&mut self, ask: Ask<Arc<Gate>>) {
        if let Some(place) = self.asked.get_mut(usize::from(ask.attempt)) {
            *place = Some((ask.server, ask.verify));
        }
        let item = Item {
            waiter: Waiter::new(Arc::clone(&self.call), ask.attempt),
            slow_at: ask.slow_at,
            deadline: ask.deadline,
        };
        // A waiter that is dropped says that its question was lost.
        if ask.link.lanes.push(item).is_err() {
            self.shared.servers().handle_expired(ask.server);
        }
    }

    /// The next reply; `None` when that moment comes first.
    async fn reply(
        &self,
        until: Instant,
        mut timer: Pin<&mut Option<Sleep>>,
    ) -> Option<(u8, Reply)> {
        let until = self.shared.clock.to_tokio(until);
        poll_fn(|task| {
            if let Poll::Ready(reply) = self.call.poll_reply(task) {
                return Poll::Ready(Some(reply));
            }
            match timer.as_mut().as_pin_mut() {
                None => timer.set(Some(tokio::time::sleep_until(until))),
                Some(sleep) if sleep.deadline() != until => sleep.reset(until),
                Some(_) => {}
            }
            let sleep = timer.as_mut().as_pin_mut();
            sleep.map_or(Poll::Pending, |sleep| sleep.poll(task).map(|()| None))
        })
        .await
    }

    /// What a reply comes to: the signature, or what follows is the course's to say.
    fn settle(&mut self, attempt: u8, reply: Reply) -> Option<Signature> {
        let asked = self.asked.get(usize::from(attempt)).copied().flatten();
        let failure = match reply {
            Reply::Signature(signature) => {
                let must_verify = asked.is_none_or(|(_, verify)| verify);
                if !must_verify || self.verifies(&signature) {
                    self.handle_signed(attempt);
                    return Some(signature);
                }
                self.handle_lie(asked);
                Failure::Lie
            }
            Reply::Failed(failure) => failure,
            // A connection hands no PONG to who asked for a signature.
            Reply::Pong => Failure::Lie,
        };
        self.course.handle_failure(attempt, failure);
        None
    }

    fn verifies(&self, signature: &[u8]) -> bool {
        let request = self.request();
        request.is_some_and(|request| {
            let SignRequest {
                key,
                scheme,
                message,
                ..
            } = request;
            key.verifies(*scheme, message, signature)
        })
    }

    fn handle_signed(&self, attempt: u8) {
        let course = self.course;
        self.shared
            .note(|now, servers| course.handle_signature(now, attempt, servers));
        if let Some(request) = self.request() {
            self.shared.handle_signed(request);
        }
    }

    fn handle_lie(&self, asked: Option<(ServerId, bool)>) {
        if let Some((server, _)) = asked {
            self.shared
                .note(|now, servers| servers.handle_lie(now, server));
        }
        if let Some(request) = self.request() {
            self.shared.remember_first(request);
        }
    }

    fn request(&self) -> Option<&SignRequest> {
        match &self.call.question {
            Question::Sign(request) => Some(request),
            Question::Ping => None,
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.call.end();
    }
}
