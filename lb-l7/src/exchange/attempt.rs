//! One try: a backend is picked, reached, and asked.

use std::future::poll_fn;

use http::response;
use lbcore::schedule::Tried;
use lbcore::{Instant, Lease, Outcome, Pick, Refusal};

use super::answer::ended_by_client;
use super::flow::{Break, Flow, Late, Limits};
use super::forward::is_stale;
use super::{Exchange, Incoming, upgrade};
use crate::body::BodyLength;
use crate::front::Front;
use crate::report::{Party, Phase, Termination, Why};
use crate::settings::Target;
use crate::timeout::after;
use crate::upstream::{
    Answer, Channel, ChannelError, ChannelErrorKind, Failure, OpenError, ProxiedAddresses, Reuse,
};

/// A backend that has answered, up to its body.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) lease: Lease,
    pub(super) channel: Channel,
    pub(super) parts: response::Parts,
    pub(super) length: BodyLength,
}

/// A try without an answer.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) ended: Termination,
    /// What a retry is judged by; none, if there cannot be one.
    pub(super) failure: Option<Failure>,
    pub(super) lease: Option<Lease>,
}

impl Failed {
    /// The fault is not a backend's.
    pub(super) const fn finally(ended: Termination) -> Self {
        Self {
            ended,
            failure: None,
            lease: None,
        }
    }

    /// Ends its lease, and notes whom not to ask again.
    pub(super) fn charge(self, now: Instant, tried: &mut Tried) {
        let Some(lease) = self.lease else {
            return;
        };
        let outcome = if is_stale(self.failure) {
            // It closed a connection that idled, as it may: no fault, and no reason to ask another.
            Outcome::Cancelled
        } else {
            tried.add(lease.ticket());
            self.ended.outcome(None)
        };
        lease.finish(now, outcome);
    }
}

impl<F: Front> Exchange<'_, F> {
    pub(super) async fn attempt(
        &mut self,
        incoming: &Incoming,
        target: &Target,
        pick: &Pick<'_>,
        flow: &mut Flow,
        limits: &Limits<'_>,
        reuse: Reuse,
    ) -> Result<Box<Answered>, Failed> {
        let now = self.now;
        let upstream = &target.upstream;
        let mut lease = self.acquire(target, pick)?;
        let proxied = ProxiedAddresses::new(self.peer.address, self.peer.local);
        let opening = upstream.open(self.worker.index(), now, &lease, reuse, Some(proxied));
        let deadline = after(now, limits.timeouts.connect)
            .min(limits.attempt)
            .min(limits.total);
        let opened = self.alarm.limit(deadline, opening).await;
        let mut channel = match opened.unwrap_or(Err(OpenError::Timeout)) {
            Ok(channel) => channel,
            Err(error) => {
                self.tick();
                return Err(self.unopened(&error, lease));
            }
        };
        let connected = if channel.is_reused() {
            now
        } else {
            self.tick()
        };
        self.record.connected(connected, &channel);
        match self.ask(incoming, &mut channel, flow, limits).await {
            Ok((parts, length)) => {
                lease.first_byte(self.now);
                // In a box: three futures pass it on, and each would have room for it.
                Ok(Box::new(Answered {
                    lease,
                    channel,
                    parts,
                    length,
                }))
            }
            Err(broken) => {
                let phase = if flow.is_read() {
                    Phase::ResponseHead
                } else {
                    Phase::RequestBody
                };
                Err(self.unanswered(&broken, phase, &channel, lease))
            }
        }
    }

    /// A backend for a try.
    pub(super) fn acquire(&mut self, target: &Target, pick: &Pick<'_>) -> Result<Lease, Failed> {
        let (upstream, now) = (&target.upstream, self.now);
        let mut lease = upstream.acquire(self.worker.index(), now, pick);
        if matches!(lease, Err(Refusal::AllTried)) {
            // A second time to the same backend is better than not at all.
            let pick = Pick::default().key(pick.key).preferred(pick.preferred);
            lease = upstream.acquire(self.worker.index(), now, &pick);
        }
        let lease = lease.map_err(|refusal| {
            self.record.detail = Some(refusal.as_str());
            Failed::finally(unpicked(refusal))
        })?;
        self.record.picked(self.worker, self.settings, now, &lease);
        Ok(lease)
    }

    /// A try without a connection.
    pub(super) fn unopened(&mut self, error: &OpenError, lease: Lease) -> Failed {
        self.record.detail = Some(error.as_str());
        Failed {
            ended: unopened(error),
            failure: error.is_backends_fault().then_some(Failure::ConnectFailed),
            lease: Some(lease),
        }
    }

    /// A try that broke off on `channel` before it was answered.
    pub(super) fn unanswered(
        &mut self,
        broken: &Break,
        phase: Phase,
        channel: &Channel,
        lease: Lease,
    ) -> Failed {
        // A stream that is reset says nothing of the connection it shares.
        let was_idle = channel.is_reused() && channel.version() != http::Version::HTTP_2;
        let failure = self.failure_of(broken, was_idle);
        Failed {
            ended: self.ended(broken, phase),
            failure,
            lease: Some(lease),
        }
    }

    /// Sends the request, and waits for the head of the final answer.
    async fn ask(
        &mut self,
        incoming: &Incoming,
        channel: &mut Channel,
        flow: &mut Flow,
        limits: &Limits<'_>,
    ) -> Result<(response::Parts, BodyLength), Break> {
        flow.begin(self.now, incoming.expects_continue);
        let upgrade = incoming.upgrade.as_ref();
        // HTTP/2 has a tunnel for WebSocket alone; any other offer may be ignored (RFC 9110, 7.8).
        let is_http1 = channel.version() != http::Version::HTTP_2;
        let upgrade = upgrade.filter(|asked| is_http1 || upgrade::is_websocket(asked));
        if upgrade.is_some() && incoming.length.is_empty() {
            flow.skip_body();
        }
        if upgrade.is_some() && !channel.takes_upgrades().await {
            let kind = ChannelErrorKind::TunnelUnsupported;
            return Err(Break::Backend(ChannelError {
                kind,
                unprocessed: true,
            }));
        }
        channel
            .send_head(&incoming.parts, incoming.length, upgrade)
            .map_err(Break::Backend)?;
        loop {
            let (front, alarm) = (&mut *self.front, &mut *self.alarm);
            let asked = poll_fn(|cx| flow.poll_answer(cx, front, channel, alarm, limits)).await;
            self.tick();
            match asked {
                Ok(Answer::Final { parts, length }) => return Ok((parts, length)),
                Ok(Answer::Informational(parts)) => {
                    if parts.status == http::StatusCode::CONTINUE {
                        flow.release();
                        // Never twice (RFC 9110, 10.1.1), nor to a client that did not ask.
                        if !incoming.expects_continue || flow.tell_continue() {
                            continue;
                        }
                    }
                    self.inform(&parts, limits).await?;
                }
                // The backend is silent: it gets the body, as it would without the question.
                Err(Break::Late(Late::Continue)) => {
                    flow.release();
                    if !flow.tell_continue() {
                        let (parts, ()) = http::Response::builder()
                            .status(http::StatusCode::CONTINUE)
                            .body(())
                            .unwrap_or_default()
                            .into_parts();
                        self.inform(&parts, limits).await?;
                    }
                }
                Err(broken) => return Err(broken),
            }
        }
    }

    /// Passes an interim answer on.
    pub(super) async fn inform(
        &mut self,
        parts: &response::Parts,
        limits: &Limits<'_>,
    ) -> Result<(), Break> {
        self.front.send_informational(parts);
        let deadline = after(self.now, limits.timeouts.write_idle);
        let flushed = poll_fn(|cx| self.front.poll_flush(cx));
        match self.alarm.limit(deadline, flushed).await {
            Some(flushed) => flushed.map_err(Break::Client),
            None => Err(Break::Late(Late::Write)),
        }
    }

    /// What a retry would be judged by.
    fn failure_of(&self, broken: &Break, is_reused: bool) -> Option<Failure> {
        match broken {
            Break::Backend(error) => Some(Failure::of(error, is_reused)),
            Break::Late(Late::Try | Late::FirstByte) => Some(Failure::Timeout),
            Break::Late(_) | Break::Client(_) | Break::Coding | Break::TooLarge => None,
        }
    }

    /// How `broken` is told.
    pub(super) fn ended(&mut self, broken: &Break, phase: Phase) -> Termination {
        match broken {
            Break::Backend(error) => {
                self.record.detail = Some(error.as_str());
                Termination::new(Party::Backend, phase, why_of(error))
            }
            Break::Client(error) => ended_by_client(error, phase),
            Break::Coding => Termination::new(Party::Proxy, phase, Why::Internal),
            Break::Late(late) => late.ended(phase),
            Break::TooLarge => {
                self.front.close_after();
                Termination::new(Party::Client, Phase::RequestBody, Why::TooLarge)
            }
        }
    }

    /// Ends the lease of a try whose answer was not used.
    pub(super) fn drop_answer(&self, lease: Lease, outcome: Outcome) {
        lease.finish(self.now, outcome);
    }
}

impl Late {
    /// Who was late, and for what.
    const fn ended(self, phase: Phase) -> Termination {
        match self {
            Self::BetweenBytes | Self::Continue | Self::FirstByte | Self::Try => {
                Termination::new(Party::Backend, phase, Why::Timeout)
            }
            Self::Body => Termination::new(Party::Client, Phase::RequestBody, Why::Timeout),
            Self::Drained => Termination::new(Party::Proxy, Phase::Tunnel, Why::Drained),
            Self::Total => Termination::new(Party::Proxy, phase, Why::Timeout),
            Self::Tunnel => Termination::new(Party::Proxy, Phase::Tunnel, Why::Timeout),
            Self::Write => Termination::new(Party::Client, Phase::ResponseBody, Why::Timeout),
        }
    }
}

const fn unpicked(refusal: Refusal) -> Termination {
    let why = match refusal {
        Refusal::AllFull | Refusal::Shed => Why::Overloaded,
        _ => Why::NoBackend,
    };
    Termination::new(Party::Proxy, Phase::Queue, why)
}

const fn unopened(error: &OpenError) -> Termination {
    match error {
        OpenError::Local(_) => Termination::new(Party::Proxy, Phase::Connect, Why::Resources),
        OpenError::QueueFull | OpenError::QueueTimeout => {
            Termination::new(Party::Proxy, Phase::Queue, Why::Overloaded)
        }
        OpenError::Timeout => Termination::new(Party::Backend, Phase::Connect, Why::Timeout),
        OpenError::Tls(_) => Termination::new(Party::Backend, Phase::Connect, Why::TlsFailed),
        OpenError::Unsupported => Termination::new(Party::Proxy, Phase::Connect, Why::Internal),
        _ => Termination::new(Party::Backend, Phase::Connect, Why::ConnectFailed),
    }
}

const fn why_of(error: &ChannelError) -> Why {
    match error.kind {
        ChannelErrorKind::ClosedBeforeResponse | ChannelErrorKind::ClosedInBody => Why::Closed,
        ChannelErrorKind::GoAway | ChannelErrorKind::RefusedStream => Why::Refused,
        ChannelErrorKind::TunnelUnsupported => Why::Unsupported,
        ChannelErrorKind::Malformed(_)
        | ChannelErrorKind::Protocol
        | ChannelErrorKind::TooManyInformational => Why::Malformed,
        _ => Why::Reset,
    }
}
