//! The bytes of one exchange, in both directions at once, within one task.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use lbcore::Instant;

use super::back::Back;
use super::coding::Coding;
use super::replay::Replay;
use crate::body::Frame;
use crate::clock;
use crate::front::{Front, FrontError};
use crate::headers::trailers::remove_forbidden;
use crate::limit::Pace;
use crate::timeout::{Alarm, NEVER, Timeouts, after};
use crate::upstream::{Answer, Channel, ChannelError};

/// Why an exchange ended before it was whole.
#[derive(Debug)]
pub(crate) enum Break {
    /// The backend's side failed.
    Backend(ChannelError),
    /// The client's side failed.
    Client(FrontError),
    /// The answer could not be compressed to its end.
    Coding,
    /// Something took too long.
    Late(Late),
    /// The request's body is larger than the proxy takes.
    TooLarge,
}

/// Who took too long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Late {
    /// The client, to send its body.
    Body,
    /// The backend, to say whether it wants the body.
    Continue,
    /// The backend, to send its head.
    FirstByte,
    /// The backend, between two pieces.
    BetweenBytes,
    /// A tunnel, to end while its listener drains.
    Drained,
    /// Either, in a tunnel.
    Tunnel,
    /// All together.
    Total,
    /// One try, which may have another.
    Try,
    /// The client, to take what it asked for.
    Write,
}

/// How far a direction has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    /// More is to come.
    Open,
    /// The last piece is queued.
    Finished,
    /// The receiver takes no more.
    Stopped,
}

/// For whom the next piece of a request's body waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Waits {
    /// The backend, which takes no more at present.
    ForBackend,
    /// The client, which has sent no more.
    ForClient,
}

/// Both directions of an exchange, by one try or, for the request, by several.
#[derive(Debug)]
pub(crate) struct Flow {
    up: Way,
    down: Way,
    waits: Waits,
    /// The body waits for the backend to want it.
    is_held: bool,
    /// The client was told to send its body.
    is_continued: bool,
    is_tunnel: bool,
    /// The request's body has been read to its end, by this try or one before.
    is_read: bool,
    replay: Replay,
    /// Bytes of the request's body that may still come.
    room: u64,
    /// When a byte went last, either way.
    moved: Instant,
    /// A byte has gone since, and nobody has asked when.
    has_moved: bool,
    /// What waited to be taken by the backend and by the client, when that was last looked at.
    queued: (usize, usize),
    /// When a tunnel is to be over.
    drained: Instant,
    /// How fast bytes may go, if that is limited.
    pace: Option<Box<Pace>>,
    /// What becomes of the answer's bytes.
    coding: Coding,
    /// Bytes of the bodies, as the client sends and gets them.
    pub(crate) bytes_up: u64,
    pub(crate) bytes_down: u64,
}

impl Flow {
    /// A request whose body has at most `room` bytes, of which `replay` keeps what it may.
    pub(crate) fn new(now: Instant, replay: Replay, room: u64) -> Self {
        Self {
            up: Way::Open,
            down: Way::Open,
            waits: Waits::ForClient,
            is_held: false,
            is_continued: false,
            is_tunnel: false,
            is_read: false,
            replay,
            room,
            moved: now,
            pace: None,
            coding: Coding::default(),
            has_moved: false,
            queued: (0, 0),
            drained: NEVER,
            bytes_up: 0,
            bytes_down: 0,
        }
    }

    /// Has both directions keep to a pace.
    pub(crate) fn keep_pace(&mut self, pace: Option<Box<Pace>>) {
        self.pace = pace;
    }

    /// Has the answer's bytes go through `coding`.
    pub(super) fn code(&mut self, coding: Coding) {
        self.coding = coding;
    }

    /// Begins a try. If the client `expects` to be told so, its body waits for the backend's word,
    /// unless it has come already or is on its way.
    pub(crate) fn begin(&mut self, now: Instant, expects: bool) {
        self.up = Way::Open;
        self.is_held = expects && !self.is_continued && !self.is_read && self.bytes_up == 0;
        self.queued = (0, 0);
        self.replay.rewind();
        self.moved = now;
    }

    /// Whether another try could send all that this one was given.
    pub(crate) const fn is_replayable(&self) -> bool {
        self.replay.is_whole()
    }

    /// Whether the client's body has been read to its end.
    pub(crate) const fn is_read(&self) -> bool {
        self.is_read
    }

    /// The head is the whole request: what follows it is for a tunnel.
    pub(crate) const fn skip_body(&mut self) {
        self.up = Way::Finished;
        self.is_read = true;
    }

    /// Whether it is certain by now that the request has no body and no trailers.
    ///
    /// What the client sends against its own word is kept for the try to come.
    pub(super) fn is_bodiless<F: Front>(
        &mut self,
        cx: &mut Context<'_>,
        front: &mut F,
    ) -> Result<bool, Break> {
        if self.is_read {
            return Ok(self.bytes_up == 0 && self.replay.trailers().is_none());
        }
        match front.poll_frame(cx) {
            Poll::Pending => Ok(false),
            Poll::Ready(None) => {
                self.is_read = true;
                Ok(true)
            }
            Poll::Ready(Some(Ok(Frame::Trailers(mut fields)))) => {
                remove_forbidden(&mut fields);
                self.replay.keep(&Frame::Trailers(fields));
                self.is_read = true;
                Ok(false)
            }
            Poll::Ready(Some(Ok(Frame::Data(_)))) => Err(Break::Client(FrontError::Protocol)),
            Poll::Ready(Some(Err(error))) => Err(Break::Client(error)),
        }
    }

    /// Whether the backend has the whole request.
    pub(crate) fn is_sent(&self) -> bool {
        self.up == Way::Finished
    }

    /// The backend wants the body, or is not asked any longer.
    pub(crate) const fn release(&mut self) {
        self.is_held = false;
    }

    /// The client is told to send its body; whether it was before.
    pub(crate) const fn tell_continue(&mut self) -> bool {
        std::mem::replace(&mut self.is_continued, true)
    }

    /// A tunnel is to be over by then.
    pub(crate) fn end_by(&mut self, deadline: Instant) {
        self.drained = deadline;
    }

    /// There will be no other try.
    pub(crate) fn settle(&mut self) {
        if !self.is_read {
            self.replay.forget();
        }
    }

    /// From here on bytes of any kind, both ways.
    pub(crate) fn switch(&mut self, now: Instant) {
        self.is_tunnel = true;
        self.is_read = false;
        self.up = Way::Open;
        self.down = Way::Open;
        self.room = u64::MAX;
        self.replay.forget();
        self.moved = now;
    }

    /// Sends the request's body, and waits for the head of the answer.
    pub(crate) fn poll_answer<F: Front>(
        &mut self,
        cx: &mut Context<'_>,
        front: &mut F,
        channel: &mut Channel,
        alarm: &mut Alarm,
        limits: &Limits<'_>,
    ) -> Poll<Result<Answer, Break>> {
        if let Err(broken) = self.upload(cx, front, channel) {
            return Poll::Ready(Err(broken));
        }
        match channel.poll_head(cx) {
            Poll::Ready(Ok(answer)) => return Poll::Ready(Ok(answer)),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(Break::Backend(error))),
            Poll::Pending => {}
        }
        if self.is_read
            && let Poll::Ready(gone) = front.poll_gone(cx)
        {
            return Poll::Ready(Err(Break::Client(gone)));
        }
        self.observe(channel.queued(), 0);
        let waits_for_client = self.up == Way::Open && self.waits == Waits::ForClient;
        let (span, late) = if self.is_held {
            (limits.timeouts.expect_continue, Late::Continue)
        } else if waits_for_client {
            (limits.timeouts.body_idle, Late::Body)
        } else {
            (limits.timeouts.first_byte, Late::FirstByte)
        };
        self.poll_late(cx, alarm, limits, span, late)
    }

    /// Passes the bodies on until both are whole.
    pub(crate) fn poll_bodies<F: Front, B: Back>(
        &mut self,
        cx: &mut Context<'_>,
        front: &mut F,
        back: &mut B,
        alarm: &mut Alarm,
        limits: &Limits<'_>,
    ) -> Poll<Result<(), Break>> {
        let sent = match self.upload(cx, front, back) {
            Ok(sent) => sent,
            Err(broken) => return Poll::Ready(Err(broken)),
        };
        let flushed = match self.download(cx, front, back) {
            Ok(flushed) => flushed,
            Err(broken) => return Poll::Ready(Err(broken)),
        };
        let is_up = !self.is_tunnel || (sent && self.up != Way::Open);
        if flushed && self.down == Way::Finished && is_up {
            return Poll::Ready(Ok(()));
        }
        if self.is_read
            && !self.is_tunnel
            && let Poll::Ready(gone) = front.poll_gone(cx)
        {
            return Poll::Ready(Err(Break::Client(gone)));
        }
        self.observe(back.queued(), front.queued());
        let (span, late) = if self.is_tunnel {
            (self.tunnel_span(limits.timeouts), Late::Tunnel)
        } else if !flushed {
            (limits.timeouts.write_idle, Late::Write)
        } else {
            (limits.timeouts.between_bytes, Late::BetweenBytes)
        };
        self.poll_late(cx, alarm, limits, span, late)
    }

    fn poll_late<T>(
        &mut self,
        cx: &mut Context<'_>,
        alarm: &mut Alarm,
        limits: &Limits<'_>,
        span: Duration,
        late: Late,
    ) -> Poll<Result<T, Break>> {
        if std::mem::take(&mut self.has_moved) {
            self.moved = clock::now();
        }
        let mut moved = self.moved;
        if let Some(pace) = &self.pace {
            // Nobody is late while it is this proxy that holds the bytes back.
            moved = moved.max(pace.held());
            let deadline = limits.first(after(moved, span), late).0.min(self.drained);
            if let Some(wakes) = pace.wakes().filter(|wakes| *wakes <= deadline) {
                std::task::ready!(alarm.poll(cx, wakes));
                // The direction that waited is polled, and so waits no more or moves on.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        let (mut deadline, mut late) = limits.first(after(moved, span), late);
        if self.drained < deadline {
            (deadline, late) = (self.drained, Late::Drained);
        }
        alarm.poll(cx, deadline).map(|()| Err(Break::Late(late)))
    }

    /// Notices that one of the two has taken bytes that waited for it, though no further piece went
    /// on: who takes them slowly is not idle.
    fn observe(&mut self, up: usize, down: usize) {
        if up < self.queued.0 || down < self.queued.1 {
            self.moved = clock::now();
        }
        self.queued = (up, down);
    }

    /// A tunnel of which one side has taken its leave is kept for the other no longer than any
    /// receiver is waited for.
    fn tunnel_span(&self, timeouts: &Timeouts) -> Duration {
        if self.up == Way::Open && self.down == Way::Open {
            timeouts.tunnel_idle
        } else {
            timeouts.tunnel_idle.min(timeouts.write_idle)
        }
    }

    /// Lets go of a body that was held back, if it comes all the same.
    fn unhold<F: Front, B: Back>(
        &mut self,
        cx: &mut Context<'_>,
        front: &mut F,
        back: &mut B,
    ) -> Result<(), Break> {
        let Poll::Ready(come) = front.poll_frame(cx) else {
            return Ok(());
        };
        self.is_held = false;
        match come {
            Some(Ok(frame)) => self.send_up(frame, back),
            Some(Err(error)) => Err(Break::Client(error)),
            None => {
                self.is_read = true;
                self.ended_up(&back.finish());
                Ok(())
            }
        }
    }

    /// Moves what can be moved of the request's body; whether the backend has all that there was, or
    /// takes no more.
    fn upload<F: Front, B: Back>(
        &mut self,
        cx: &mut Context<'_>,
        front: &mut F,
        back: &mut B,
    ) -> Result<bool, Break> {
        if let Some(pace) = &mut self.pace {
            pace.begin();
        }
        if self.is_held && self.up == Way::Open {
            self.unhold(cx, front, back)?;
        }
        while self.up == Way::Open && !self.is_held {
            self.waits = Waits::ForBackend;
            match back.poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                // It may have answered before it stopped to read: its answer decides.
                Poll::Ready(Err(_)) => {
                    self.up = Way::Stopped;
                    return Ok(true);
                }
                Poll::Pending => break,
            }
            if let Some(data) = self.replay.next() {
                if back.send_data(data).is_err() {
                    self.up = Way::Stopped;
                }
                continue;
            }
            if self.is_read {
                let ended = match self.replay.trailers() {
                    Some(fields) => back.send_trailers(fields),
                    None => back.finish(),
                };
                self.ended_up(&ended);
                break;
            }
            if let Some(pace) = &mut self.pace
                && !pace.opens_up(clock::now())
            {
                break;
            }
            self.waits = Waits::ForClient;
            match front.poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => self.send_up(frame, back)?,
                Poll::Ready(Some(Err(error))) => return Err(Break::Client(error)),
                Poll::Ready(None) => {
                    self.is_read = true;
                    self.ended_up(&back.finish());
                }
                Poll::Pending => break,
            }
        }
        if self.up == Way::Stopped {
            return Ok(true);
        }
        Ok(match back.poll_flush(cx) {
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(_)) => {
                self.up = Way::Stopped;
                true
            }
            Poll::Pending => false,
        })
    }

    /// The last of the request has been queued, unless the backend takes no more.
    fn ended_up(&mut self, ended: &Result<(), ChannelError>) {
        self.up = if ended.is_ok() {
            Way::Finished
        } else {
            Way::Stopped
        };
    }

    fn send_up<B: Back>(&mut self, frame: Frame, back: &mut B) -> Result<(), Break> {
        self.has_moved = true;
        self.replay.keep(&frame);
        match frame {
            Frame::Data(data) => {
                let length = data.len() as u64;
                self.room = self.room.checked_sub(length).ok_or(Break::TooLarge)?;
                self.bytes_up += length;
                if let Some(pace) = &mut self.pace {
                    pace.charge_up(clock::now(), length);
                }
                back.send_data(data).map_err(Break::Backend)?;
            }
            Frame::Trailers(mut fields) => {
                remove_forbidden(&mut fields);
                self.is_read = true;
                self.ended_up(&back.send_trailers(fields));
            }
        }
        Ok(())
    }

    /// Moves what can be moved of the response; whether the client has all that there was.
    fn download<F: Front, B: Back>(
        &mut self,
        cx: &mut Context<'_>,
        front: &mut F,
        back: &mut B,
    ) -> Result<bool, Break> {
        loop {
            match front.poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Err(Break::Client(error)),
                Poll::Pending => return Ok(false),
            }
            if self.down != Way::Open {
                break;
            }
            if let Some(pace) = &mut self.pace
                && !pace.opens_down(clock::now())
            {
                break;
            }
            match back.poll_frame(cx) {
                Poll::Ready(Some(Ok(Frame::Data(data)))) => {
                    self.has_moved = true;
                    let coded = self.coding.push(data);
                    self.send_down(coded, front)?;
                }
                Poll::Ready(Some(Ok(Frame::Trailers(mut fields)))) => {
                    remove_forbidden(&mut fields);
                    let coded = self.coding.finish();
                    self.send_down(coded, front)?;
                    // The end behind them is still to be read.
                    front.send_trailers(fields);
                }
                Poll::Ready(Some(Err(error))) => return Err(Break::Backend(error)),
                Poll::Ready(None) => {
                    let coded = self.coding.finish();
                    self.send_down(coded, front)?;
                    front.finish();
                    self.down = Way::Finished;
                }
                Poll::Pending => {
                    let coded = self.coding.pause();
                    self.send_down(coded, front)?;
                    break;
                }
            }
        }
        match front.poll_flush(cx) {
            Poll::Ready(Ok(())) => Ok(true),
            Poll::Ready(Err(error)) => Err(Break::Client(error)),
            Poll::Pending => Ok(false),
        }
    }

    /// Sends what came of a piece; `front` has room for one.
    fn send_down<F: Front, E>(
        &mut self,
        coded: Result<Bytes, E>,
        front: &mut F,
    ) -> Result<(), Break> {
        let data = coded.map_err(|_| Break::Coding)?;
        if data.is_empty() {
            return Ok(());
        }
        let length = data.len() as u64;
        self.bytes_down += length;
        if let Some(pace) = &mut self.pace {
            pace.charge_down(clock::now(), length);
        }
        front.send_data(data);
        Ok(())
    }
}

/// What bounds one try.
#[derive(Debug)]
pub(crate) struct Limits<'a> {
    pub(crate) timeouts: &'a Timeouts,
    /// The end of the whole exchange.
    pub(crate) total: Instant,
    /// The end of this try.
    pub(crate) attempt: Instant,
}

impl Limits<'_> {
    /// The earliest of the deadlines, and who is late then.
    pub(super) fn first(&self, deadline: Instant, late: Late) -> (Instant, Late) {
        let mut first = (deadline, late);
        for other in [(self.attempt, Late::Try), (self.total, Late::Total)] {
            if other.0 < first.0 {
                first = other;
            }
        }
        first
    }
}
