//! A request to a backend, by one try or several, and the response back.

use std::future::poll_fn;

use http::header::UPGRADE;
use http::{StatusCode, Version, response};
use lbcore::schedule::Tried;
use lbcore::{Lease, Outcome, Pick};

use super::attempt::Answered;
use super::back::Switched;
use super::coding::Wish;
use super::flow::{Break, Flow, Limits};
use super::replay::Replay;
use super::upgrade::{self, Change, change};
use super::{Exchange, Incoming};
use crate::clock;
use crate::cookie::Token;
use crate::front::Front;
use crate::headers::persist_key::Subject;
use crate::headers::{Direction, hop_by_hop};
use crate::report::{Party, Phase, Termination, Why};
use crate::router::Matched;
use crate::settings::Target;
use crate::timeout::{NEVER, after};
use crate::upstream::{Channel, Failure, Reuse};

/// How a request was sent where it was sent.
struct Way<'a> {
    matched: Matched<'a, Target>,
    target: &'a Target,
    /// What its cookie said.
    brought: Option<Token>,
    /// How it would like its answer.
    wish: Wish<'a>,
}

impl<F: Front> Exchange<'_, F> {
    /// Has a backend of `target` answer.
    pub(super) async fn forward(
        &mut self,
        incoming: &mut Incoming,
        matched: Matched<'_, Target>,
        target: &Target,
    ) -> Termination {
        let timeouts = target.timeouts.as_ref().unwrap_or(&self.settings.timeouts);
        let wish = Wish::of(self.settings, target, &mut incoming.parts.headers);
        let brought = self.rewrite(incoming, matched, target);
        self.record.keep_target(target);
        let kept = if incoming.length.is_empty() || incoming.upgrade.is_some() {
            0
        } else {
            target.retry.kept_bytes()
        };
        // Without memory for it there is no second try; it is held until the end.
        let memory = (kept > 0).then(|| self.settings.gate.comfort(kept as u64));
        let kept = if matches!(memory, Some(None)) {
            0
        } else {
            kept
        };
        let now = self.now;
        let mut flow = Flow::new(now, Replay::keeping(kept), self.settings.body_limit);
        flow.keep_pace(self.settings.gate.pace(&self.admitted));
        let total = after(now, timeouts.total);
        let mut limits = Limits {
            timeouts,
            total,
            attempt: NEVER,
        };
        let answered = self
            .tries(incoming, target, brought, &mut flow, &mut limits)
            .await;
        let ended = match answered {
            Ok(answered) => {
                // What a try may take is over with its answer.
                limits.attempt = NEVER;
                let way = Way {
                    matched,
                    target,
                    brought,
                    wish,
                };
                self.answer(incoming, &way, answered, &mut flow, &limits)
                    .await
            }
            Err(ended) => self.refuse(incoming, ended).await,
        };
        self.record.traffic.body_in = flow.bytes_up;
        self.record.traffic.body_out += flow.bytes_down;
        ended
    }

    /// Changes the request as its rule and its target want it; the backend that it asks for.
    fn rewrite(
        &mut self,
        incoming: &mut Incoming,
        matched: Matched<'_, Target>,
        target: &Target,
    ) -> Option<Token> {
        let parts = &mut incoming.parts;
        if matched.rule().rewrite.is_some() {
            self.record.keep_request(parts);
        }
        let brought = target.cookie.as_ref().and_then(|cookie| {
            let brought = cookie.read(&parts.headers, clock::unix_seconds());
            cookie.strip(&mut parts.headers);
            brought.ok()
        });
        self.settings.identify(self.worker, self.hop, parts);
        // A rewrite that gives no valid target leaves the request as it was.
        if let Err(fault) = matched.rewrite(parts) {
            self.record.detail = Some(fault.as_str());
        }
        brought
    }

    fn subject<'b>(&self, incoming: &'b Incoming) -> Subject<'b> {
        let parts = &incoming.parts;
        let target = parts
            .uri
            .path_and_query()
            .map_or("", |target| target.as_str());
        Subject {
            client: self.client,
            headers: &parts.headers,
            target,
        }
    }

    /// Tries backends until one answers, or no other may be tried.
    async fn tries(
        &mut self,
        incoming: &Incoming,
        target: &Target,
        brought: Option<Token>,
        flow: &mut Flow,
        limits: &mut Limits<'_>,
    ) -> Result<Box<Answered>, Termination> {
        let mut tried = Tried::default();
        let key = target
            .key
            .as_ref()
            .and_then(|key| key.of(&self.subject(incoming)));
        let budget = target.upstream.budget();
        budget.handle_request(self.now);
        let mut tries = 0;
        let mut before = None;
        let hedge = self.hedge_delay(incoming, target, brought);
        let mut reuse = Reuse::Any;
        loop {
            tries += 1;
            self.record.tries += 1;
            limits.attempt = after(self.now, target.retry.per_try_timeout);
            let attempted = match hedge {
                // In a box: who does not hedge carries no room for it.
                Some(delay) => {
                    let hedged = self.hedged(
                        incoming, target, delay, key, &mut tried, flow, limits, reuse,
                    );
                    Box::pin(hedged).await
                }
                None => {
                    let pick = Pick::default()
                        .key(key)
                        .preferred(brought.map(|token| token.backend()))
                        .tried(&tried);
                    let attempt = self.attempt(incoming, target, &pick, flow, limits, reuse);
                    attempt.await
                }
            };
            let failed = match attempted {
                Ok(answered) => {
                    let status = answered.parts.status;
                    if !target.retry.retries_status(status) {
                        return Ok(answered);
                    }
                    let again =
                        target
                            .retry
                            .may_retry_status(&incoming.parts.method, status, tries)
                            && flow.is_replayable()
                            && budget.try_take(self.now);
                    if !again {
                        return Ok(answered);
                    }
                    tried.add(answered.lease.ticket());
                    self.drop_answer(answered.lease, of_status(status));
                    self.back_off(target, tries, limits).await;
                    continue;
                }
                Err(failed) => failed,
            };
            let (mut ended, failure) = (failed.ended, failed.failure);
            if let Some(before) = before.filter(|_| failed.lease.is_none()) {
                // That no other backend is left says less than how the one before failed.
                ended = before;
            }
            before = Some(ended);
            failed.charge(self.now, &mut tried);
            let again = failure.is_some_and(|failure| {
                let method = &incoming.parts.method;
                let retry = &target.retry;
                retry.may_retry(method, flow.is_replayable(), failure, tries)
            });
            // The budget is for what backends are asked twice: nobody was asked yet.
            let is_free = matches!(
                failure,
                Some(Failure::ConnectFailed | Failure::Stale { .. })
            );
            let again = again && self.now < limits.total;
            if !again || !(is_free || budget.try_take(self.now)) {
                return Err(ended);
            }
            if !is_stale(failure) {
                self.back_off(target, tries, limits).await;
                continue;
            }
            // Others that have been idle as long may be closed as well.
            reuse = Reuse::Fresh;
            if self.record.tries == 1 {
                // That nobody was there to fail is no try (RFC 9112, 9.3.1); said once.
                tries = 0;
            }
        }
    }

    /// Waits as long as the policy says before a further try.
    async fn back_off(&mut self, target: &Target, tries: u32, limits: &Limits<'_>) {
        let wait = self.worker.with_rng(|rng| target.retry.wait(tries, rng));
        if !wait.is_zero() {
            let until = after(self.now, wait).min(limits.total);
            self.alarm.limit(until, std::future::pending::<()>()).await;
            self.tick();
        }
    }

    /// Sends what a backend answered, and the bodies.
    async fn answer(
        &mut self,
        incoming: &Incoming,
        way: &Way<'_>,
        answered: Box<Answered>,
        flow: &mut Flow,
        limits: &Limits<'_>,
    ) -> Termination {
        let Answered {
            lease,
            mut channel,
            mut parts,
            mut length,
        } = *answered;
        if channel.version() == Version::HTTP_2 {
            upgrade::from_http2(incoming, &mut parts);
        }
        let status = parts.status;
        self.record.status = Some(status);
        self.record.answered(self.now);
        self.admitted.answered(self.now);
        let change = change(incoming, &parts);
        let is_early = change == Change::Tunnel && !flow.is_sent();
        if change == Change::Unasked || is_early {
            let ended = Termination::new(Party::Backend, Phase::ResponseHead, Why::Malformed);
            lease.finish(self.now, ended.outcome(None));
            return self.refuse(incoming, ended).await;
        }
        let is_tunnel = change == Change::Tunnel;
        self.dress(incoming, way, &lease, &mut parts, is_tunnel);
        if !is_tunnel {
            let request = &incoming.parts;
            let coding = way
                .wish
                .grant(self.settings, request, &mut parts, &mut length);
            flow.code(coding);
        }
        flow.settle();
        if !flow.is_sent() || (incoming.upgrade.is_some() && !is_tunnel) {
            // What the client still sends of its body nobody will read, nor what it has sent ahead
            // for a protocol that is not spoken.
            self.front.close_after();
        }
        self.is_answered = true;
        self.front.answered_by(lease.backend());
        if self.drain.is_begun() {
            self.front.close_after();
        }
        self.front.send_head(&parts, length);
        channel.recycle(parts.headers);
        if is_tunnel {
            flow.switch(self.now);
            self.front.switch();
        }
        let moved = if is_tunnel {
            self.tunnel(channel, flow, limits).await
        } else {
            let (front, alarm) = (&mut *self.front, &mut *self.alarm);
            let moved =
                poll_fn(|cx| flow.poll_bodies(cx, front, &mut channel, alarm, limits)).await;
            if moved.is_ok() {
                channel.release(self.tick());
            }
            moved
        };
        let ended = match moved {
            Ok(()) if is_tunnel => Termination::new(Party::Client, Phase::Tunnel, Why::Closed),
            Ok(()) if flow.is_sent() => Termination::DONE,
            // It wanted no more of the request.
            Ok(()) => Termination::new(Party::Backend, Phase::ResponseBody, Why::Answered),
            Err(broken) => {
                self.front.abort();
                let phase = if is_tunnel {
                    Phase::Tunnel
                } else {
                    Phase::ResponseBody
                };
                self.ended(&broken, phase)
            }
        };
        if ended != Termination::DONE {
            self.tick();
        }
        lease.finish(self.now, ended.outcome(Some(status)));
        ended
    }

    /// Passes bytes of any kind on, until both sides have ended, or for a while once the listener
    /// drains.
    async fn tunnel(
        &mut self,
        channel: Channel,
        flow: &mut Flow,
        limits: &Limits<'_>,
    ) -> Result<(), Break> {
        self.record.is_tunnel = true;
        let mut back = channel
            .into_tunnel()
            .map(Switched::new)
            .map_err(Break::Backend)?;
        let mut drain = self.drain.waiting();
        let mut drained = std::pin::pin!(drain.has_begun());
        let mut is_draining = false;
        let (front, alarm) = (&mut *self.front, &mut *self.alarm);
        poll_fn(|cx| {
            if !is_draining && drained.as_mut().poll(cx).is_ready() {
                is_draining = true;
                flow.end_by(after(clock::now(), limits.timeouts.tunnel_drain));
            }
            flow.poll_bodies(cx, front, &mut back, alarm, limits)
        })
        .await
    }

    /// Makes a backend's head the client's.
    fn dress(
        &self,
        incoming: &Incoming,
        way: &Way<'_>,
        lease: &Lease,
        parts: &mut response::Parts,
        is_tunnel: bool,
    ) {
        let upgrade = if is_tunnel {
            parts.headers.remove(UPGRADE)
        } else {
            None
        };
        // A backend that nominates more than it may has told us nothing else of the connection.
        let _ = hop_by_hop::remove(&mut parts.headers, Direction::Response);
        if let Some(upgrade) = upgrade {
            parts.headers.insert(UPGRADE, upgrade);
        }
        way.matched
            .rule()
            .response_headers
            .apply(&mut parts.headers);
        if let Some(cookie) = &way.target.cookie {
            let (scheme, now) = (self.peer.secured(), clock::unix_seconds());
            cookie.apply(
                &mut parts.headers,
                way.brought,
                lease.backend(),
                scheme,
                now,
            );
        }
        for filter in &self.settings.filters {
            filter.on_response(&incoming.parts, parts);
        }
    }
}

pub(super) const fn is_stale(failure: Option<Failure>) -> bool {
    matches!(failure, Some(Failure::Stale { .. }))
}

/// What a status says of the backend that gave it.
pub(super) fn of_status(status: StatusCode) -> Outcome {
    Termination::DONE.outcome(Some(status))
}
