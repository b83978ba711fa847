//! A try of which a second copy is sent because the first is slow: both are waited for at once,
//! within the one task.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{StatusCode, request, response};
use lbcore::schedule::Tried;
use lbcore::{Instant, Lease, Outcome, Pick};

use super::attempt::{Answered, Failed};
use super::flow::{Break, Flow, Late, Limits};
use super::forward::of_status;
use super::{Exchange, Incoming};
use crate::body::BodyLength;
use crate::clock;
use crate::cookie::Token;
use crate::front::{Front, FrontError};
use crate::report::{Party, Phase, Termination, Why};
use crate::settings::Target;
use crate::timeout::{Alarm, NEVER, after};
use crate::upstream::{
    Answer, Channel, ChannelError, Hedge, OpenError, ProxiedAddresses, Reuse, Upstream,
};

/// A connection under way, with the lease that it is for.
type Opening<'a> = Pin<Box<dyn Future<Output = (Lease, Result<Channel, OpenError>)> + Send + 'a>>;

/// One copy of the request, and how far it has come.
struct Contender<'a> {
    stage: Stage<'a>,
    picked: Instant,
    /// When its try is over.
    attempt: Instant,
    is_hedge: bool,
}

enum Stage<'a> {
    Opening(Opening<'a>),
    Asked {
        lease: Lease,
        channel: Channel,
        sent: Instant,
    },
    Unopened(Lease, OpenError),
}

/// What has happened to a contender.
enum News {
    /// It is connected, and has the request.
    Asked,
    Answered(Answer),
    Unopened,
    Broken(ChannelError),
}

/// What has happened.
enum Event {
    /// To the contender at this place.
    Of(usize, News),
    /// The client has gone, while the contender at this place was waited for.
    Gone(usize, FrontError),
    /// Someone is late, or a hedge is due.
    Time,
}

/// What came of it for the contender that it happened to.
enum Step {
    Goes,
    Won(Box<Answered>),
    Lost(Failed),
}

impl Contender<'_> {
    fn poll(&mut self, cx: &mut Context<'_>, parts: &request::Parts) -> Poll<News> {
        match &mut self.stage {
            Stage::Opening(opening) => {
                let (lease, opened) = ready!(opening.as_mut().poll(cx));
                let mut channel = match opened {
                    Ok(channel) => channel,
                    Err(error) => {
                        self.stage = Stage::Unopened(lease, error);
                        return Poll::Ready(News::Unopened);
                    }
                };
                let sent = channel.send_head(parts, BodyLength::Empty, None);
                self.stage = Stage::Asked {
                    lease,
                    channel,
                    sent: clock::now(),
                };
                Poll::Ready(sent.map_or_else(News::Broken, |()| News::Asked))
            }
            Stage::Asked { channel, .. } => {
                // It may have answered before it stopped to read: its answer decides.
                let _ = channel.poll_flush(cx);
                let answer = ready!(channel.poll_head(cx));
                Poll::Ready(answer.map_or_else(News::Broken, News::Answered))
            }
            Stage::Unopened(..) => Poll::Pending,
        }
    }

    /// Until when it is waited for, and who is late then; the wait for a connection has an end of
    /// its own.
    fn deadline(&self, limits: &Limits<'_>) -> Option<(Instant, Late)> {
        let Stage::Asked { sent, .. } = &self.stage else {
            return None;
        };
        let limits = Limits {
            attempt: self.attempt,
            ..*limits
        };
        let deadline = after(*sent, limits.timeouts.first_byte);
        Some(limits.first(deadline, Late::FirstByte))
    }

    /// Gives it up: another has answered, or nobody wants to know any more.
    fn cancel(self, now: Instant) {
        if let Stage::Asked { lease, .. } | Stage::Unopened(lease, _) = self.stage {
            lease.finish(now, Outcome::Cancelled);
        }
    }
}

/// Every copy that is out, in the order they were sent.
struct Race<'a> {
    contenders: Vec<Contender<'a>>,
    /// Whom the request went to, by this try and those before.
    asked: Tried,
    /// Who of them has failed.
    tried: &'a mut Tried,
    /// When the next copy is due.
    due: Instant,
    /// How many there may still be.
    left: u32,
}

impl Race<'_> {
    fn poll<F: Front>(
        &mut self,
        cx: &mut Context<'_>,
        front: &mut F,
        alarm: &mut Alarm,
        parts: &request::Parts,
        limits: &Limits<'_>,
    ) -> Poll<Event> {
        let mut deadline = self.due;
        let mut asked = None;
        for (at, contender) in self.contenders.iter_mut().enumerate() {
            if let Poll::Ready(news) = contender.poll(cx, parts) {
                return Poll::Ready(Event::Of(at, news));
            }
            if let Some((late, _)) = contender.deadline(limits) {
                asked = asked.or(Some(at));
                deadline = deadline.min(late);
            }
        }
        if let Some(at) = asked
            && let Poll::Ready(gone) = front.poll_gone(cx)
        {
            return Poll::Ready(Event::Gone(at, gone));
        }
        alarm.poll(cx, deadline).map(|()| Event::Time)
    }

    /// The first that has been waited for long enough.
    fn late(&self, now: Instant, limits: &Limits<'_>) -> Option<(usize, Break)> {
        let mut contenders = self.contenders.iter().enumerate();
        contenders.find_map(|(at, contender)| {
            let (deadline, late) = contender.deadline(limits)?;
            (deadline <= now).then_some((at, Break::Late(late)))
        })
    }
}

impl<F: Front> Exchange<'_, F> {
    /// After how long this request is hedged; `None`: it is not.
    pub(super) fn hedge_delay(
        &self,
        incoming: &Incoming,
        target: &Target,
        brought: Option<Token>,
    ) -> Option<Duration> {
        target.hedge?;
        let may = Hedge::suits(&incoming.parts.method)
            && incoming.length.is_empty()
            && incoming.upgrade.is_none()
            && !incoming.expects_continue
            && brought.is_none();
        if may {
            target.hedge_delay(self.now)
        } else {
            None
        }
    }

    /// As [`attempt`](Self::attempt), of which up to [`Hedge::most`] further copies go to other
    /// backends, each `delay` after the one before.
    #[expect(
        clippy::too_many_arguments,
        reason = "those of an attempt, and the delay"
    )]
    pub(super) async fn hedged(
        &mut self,
        incoming: &Incoming,
        target: &Target,
        delay: Duration,
        key: Option<u64>,
        tried: &mut Tried,
        flow: &mut Flow,
        limits: &Limits<'_>,
        reuse: Reuse,
    ) -> Result<Box<Answered>, Failed> {
        let front = &mut *self.front;
        let is_bodiless = poll_fn(|cx| Poll::Ready(flow.is_bodiless(cx, front))).await;
        let is_bodiless = is_bodiless.map_err(|broken| self.unread(&broken))?;
        let pick = Pick::default().key(key).tried(tried);
        if !is_bodiless {
            let attempt = self.attempt(incoming, target, &pick, flow, limits, reuse);
            return attempt.await;
        }
        let lease = self.acquire(target, &pick)?;
        let mut race = Race {
            contenders: Vec::with_capacity(2),
            asked: tried.clone(),
            tried,
            due: after(self.now, delay),
            left: target.hedge.map_or(0, |hedge| hedge.most_in_range()),
        };
        self.enter(&mut race, target, lease, reuse, limits);
        let answered = self
            .race(incoming, target, (delay, key), &mut race, limits)
            .await;
        for loser in race.contenders {
            loser.cancel(self.now);
        }
        // What comes now is timed from here.
        flow.begin(self.now, false);
        flow.skip_body();
        answered
    }

    /// Waits until one has won, or the last has lost.
    async fn race<'t>(
        &mut self,
        incoming: &Incoming,
        target: &'t Target,
        (delay, key): (Duration, Option<u64>),
        race: &mut Race<'t>,
        limits: &Limits<'_>,
    ) -> Result<Box<Answered>, Failed> {
        loop {
            let (front, alarm) = (&mut *self.front, &mut *self.alarm);
            let event = poll_fn(|cx| race.poll(cx, front, alarm, &incoming.parts, limits)).await;
            self.tick();
            let step = match event {
                Event::Of(at, News::Answered(Answer::Informational(parts))) => {
                    let is_told = race.contenders.get(at).is_some_and(|it| !it.is_hedge)
                        && parts.status != StatusCode::CONTINUE;
                    // Nobody but the proxy has asked for the interim answers of a hedge, and for a
                    // 100 without a body nobody has (RFC 9110, 15.2).
                    if is_told && let Err(broken) = self.inform(&parts, limits).await {
                        return Err(self.lost(race, at, Some(&broken)));
                    }
                    Step::Goes
                }
                Event::Of(at, news) => self.step(race, at, news, target),
                Event::Gone(at, gone) => {
                    return Err(self.lost(race, at, Some(&Break::Client(gone))));
                }
                Event::Time => match race.late(self.now, limits) {
                    Some((at, late)) => Step::Lost(self.lost(race, at, Some(&late))),
                    None if race.due <= self.now => {
                        race.due = NEVER;
                        if self.hedge(target, key, race, limits) && race.left > 0 {
                            race.due = after(self.now, delay);
                        }
                        Step::Goes
                    }
                    None => Step::Goes,
                },
            };
            match step {
                Step::Goes => {}
                Step::Won(answered) => return Ok(answered),
                Step::Lost(failed) if race.contenders.is_empty() => return Err(failed),
                // The others may still make good.
                Step::Lost(failed) => failed.charge(self.now, race.tried),
            }
        }
    }

    /// Sends one copy, which begins with a connection.
    fn enter<'t>(
        &self,
        race: &mut Race<'t>,
        target: &'t Target,
        lease: Lease,
        reuse: Reuse,
        limits: &Limits<'_>,
    ) {
        race.asked.add(lease.ticket());
        let is_hedge = !race.contenders.is_empty();
        let proxied = ProxiedAddresses::new(self.peer.address, self.peer.local);
        let (worker, now) = (self.worker.index(), self.now);
        let opening = open(&target.upstream, worker, now, lease, reuse, proxied, limits);
        race.contenders.push(Contender {
            stage: Stage::Opening(opening),
            picked: now,
            attempt: limits.attempt,
            is_hedge,
        });
    }

    /// Sends a further copy, if there is a backend for it and the budget has one left; whether.
    fn hedge<'t>(
        &mut self,
        target: &'t Target,
        key: Option<u64>,
        race: &mut Race<'t>,
        limits: &Limits<'_>,
    ) -> bool {
        let (upstream, now) = (&target.upstream, self.now);
        let budget = upstream.budget();
        // Asked first, so that no backend is picked in vain; taken last, so that a pool without
        // another backend costs nothing.
        if !budget.would_give(now) {
            return false;
        }
        let pick = Pick::default().key(key).tried(&race.asked);
        let Ok(lease) = upstream.acquire(self.worker.index(), now, &pick) else {
            return false;
        };
        if !budget.try_take(now) {
            lease.finish(now, Outcome::Cancelled);
            return false;
        }
        let limits = Limits {
            attempt: after(now, target.retry.per_try_timeout),
            ..*limits
        };
        self.enter(race, target, lease, Reuse::Any, &limits);
        self.record.hedges += 1;
        race.left = race.left.saturating_sub(1);
        true
    }

    /// What follows from `news`.
    fn step(&mut self, race: &mut Race<'_>, at: usize, news: News, target: &Target) -> Step {
        match news {
            News::Asked => {
                if let Some(Contender {
                    stage: Stage::Asked { channel, sent, .. },
                    is_hedge: false,
                    ..
                }) = race.contenders.get(at)
                {
                    self.record.connected(*sent, channel);
                }
                Step::Goes
            }
            News::Unopened => Step::Lost(self.lost(race, at, None)),
            News::Broken(error) => Step::Lost(self.lost(race, at, Some(&Break::Backend(error)))),
            News::Answered(Answer::Informational(_)) => Step::Goes,
            News::Answered(Answer::Final { parts, length }) => {
                self.answered(race, at, parts, length, target)
            }
        }
    }

    /// The first final answer wins; one that would be retried, only if no other can come.
    fn answered(
        &mut self,
        race: &mut Race<'_>,
        at: usize,
        parts: response::Parts,
        length: BodyLength,
        target: &Target,
    ) -> Step {
        let contender = race.contenders.remove(at);
        let Stage::Asked {
            mut lease,
            channel,
            sent,
        } = contender.stage
        else {
            return Step::Goes;
        };
        if !race.contenders.is_empty() && target.retry.retries_status(parts.status) {
            race.tried.add(lease.ticket());
            self.drop_answer(lease, of_status(parts.status));
            return Step::Goes;
        }
        if contender.is_hedge {
            self.record
                .picked(self.worker, self.settings, contender.picked, &lease);
            self.record.connected(sent, &channel);
            self.record.is_hedged = true;
        }
        lease.first_byte(self.now);
        Step::Won(Box::new(Answered {
            lease,
            channel,
            parts,
            length,
        }))
    }

    /// The contender at this place has no answer: for what its stage says, or what is `broken`.
    fn lost(&mut self, race: &mut Race<'_>, at: usize, broken: Option<&Break>) -> Failed {
        match (race.contenders.remove(at).stage, broken) {
            (Stage::Asked { lease, channel, .. }, Some(broken)) => {
                self.unanswered(broken, Phase::ResponseHead, &channel, lease)
            }
            (Stage::Unopened(lease, error), _) => self.unopened(&error, lease),
            // Nobody else has news.
            (Stage::Asked { .. } | Stage::Opening(_), _) => {
                let ended = Termination::new(Party::Proxy, Phase::ResponseHead, Why::Internal);
                Failed::finally(ended)
            }
        }
    }

    /// A try that ends before a backend has part in it.
    fn unread(&mut self, broken: &Break) -> Failed {
        Failed::finally(self.ended(broken, Phase::RequestBody))
    }
}

/// Connects for `lease`, within the limits.
fn open<'a>(
    upstream: &'a Upstream,
    worker: usize,
    now: Instant,
    lease: Lease,
    reuse: Reuse,
    proxied: ProxiedAddresses,
    limits: &Limits<'_>,
) -> Opening<'a> {
    let deadline = after(now, limits.timeouts.connect)
        .min(limits.attempt)
        .min(limits.total);
    Box::pin(async move {
        let opening = upstream.open(worker, now, &lease, reuse, Some(proxied));
        let opened = if deadline == NEVER {
            opening.await
        } else {
            let opened = tokio::time::timeout(deadline.since(now), opening).await;
            opened.unwrap_or(Err(OpenError::Timeout))
        };
        (lease, opened)
    })
}
