//! One connection: the task that owns its stream.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use lbcore::Instant;

use crate::client::{Answered, ConnectionConfig, Failure, Fault, Multiplexer, Overdue, ServerId};
use crate::question::{self, Answer};
use crate::wire::{ErrorCode, Items, Opcode};

use super::call::{Question, Reply, Waiter};
use super::lane::{Item, Lane, Taken};
use super::shared::Shared;

/// What a connection is made with.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) shared: Arc<Shared>,
    pub(super) server: ServerId,
}

/// A stream, the questions under way on it, and those that wait for room.
///
/// Each turn takes all new questions, writes them together, reads what there is, and tells the
/// servers' book of all answers under one lock.
#[derive(Debug)]
pub(super) struct Connection<S> {
    setting: Setting,
    stream: S,
    lane: Arc<Lane>,
    questions: Multiplexer<Asker>,
    backlog: VecDeque<Item>,
    batch: Vec<Item>,
    events: Vec<Event>,
    scratch: Box<[u8]>,
    timer: Pin<Box<Sleep>>,
    /// When the timer fires.
    timer_at: Instant,
    pings: Pings,
    /// When anything was read last.
    heard: Instant,
    is_flushed: bool,
    /// Answers to nothing.
    unknown: u64,
    /// What the stream failed with.
    error: Option<io::Error>,
}

/// Who waits for an answer.
#[derive(Debug)]
enum Asker {
    Caller(Waiter),
    /// The connection itself, for a sign of life.
    Own,
}

/// What is told of the server after a turn.
#[derive(Clone, Copy, Debug)]
enum Event {
    Signed(Duration),
    Refused(ErrorCode, Duration),
    Slow(Duration),
    Released,
}

/// Signs of life.
#[derive(Clone, Copy, Debug)]
struct Pings {
    config: ConnectionConfig,
    next: Instant,
    /// By when the PONG has to be there, while one is waited for.
    pong_by: Option<Instant>,
}

/// Bytes that one read takes at most.
const READ: usize = 32 * 1024;
/// How often questions under way are looked through for overdue ones. Who waits has a timer of its
/// own; this is for the server's book and for the table.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Answers to no question that a connection is forgiven.
const MOST_UNKNOWN: u64 = 64;
/// Signs of life that fit beside a full window.
const SPARE: usize = 2;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Takes the stream over, and asks for a first sign of life.
    pub(super) fn new(setting: Setting, stream: S) -> Self {
        let config = setting.shared.config.connections;
        let now = setting.shared.clock.now();
        let window = usize::try_from(config.window).unwrap_or(usize::MAX);
        let timer_at = now + config.ping_timeout;
        let timer = tokio::time::sleep_until(setting.shared.clock.to_tokio(timer_at));
        let mut connection = Self {
            stream,
            lane: Arc::default(),
            questions: Multiplexer::new(window.saturating_add(SPARE)),
            backlog: VecDeque::new(),
            batch: Vec::new(),
            events: Vec::new(),
            scratch: vec![0; READ].into_boxed_slice(),
            timer: Box::pin(timer),
            timer_at,
            pings: Pings {
                config,
                next: now,
                pong_by: None,
            },
            heard: now,
            is_flushed: true,
            unknown: 0,
            error: None,
            setting,
        };
        connection.ping(now);
        connection
    }

    /// Where questions are put in.
    pub(super) fn lane(&self) -> Arc<Lane> {
        Arc::clone(&self.lane)
    }

    /// Runs until the first PONG.
    pub(super) async fn greet(&mut self) -> Result<(), Fault> {
        poll_fn(|task| {
            if self.pings.pong_by.is_none() {
                return Poll::Ready(Ok(()));
            }
            match self.poll_turns(task) {
                _ if self.pings.pong_by.is_none() => Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => Poll::Ready(Err(Fault::Closed)),
                Poll::Ready(Err(fault)) => Poll::Ready(Err(fault)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Runs until the lane is closed and all is answered, or the connection fails.
    pub(super) async fn run(&mut self) -> Result<(), Fault> {
        let ended = poll_fn(|task| self.poll_turns(task)).await;
        if ended.is_ok() {
            // A closing word that nobody hears is no fault.
            let stream = &mut self.stream;
            let goodbye = pin!(tokio::io::AsyncWriteExt::shutdown(stream));
            drop(tokio::time::timeout(GOODBYE, goodbye).await);
        }
        ended
    }

    /// Ends it. Those who wait are to be dropped once the book knows that it ended, so that they do
    /// not ask here again.
    pub(super) fn end(&mut self) -> Vec<Waiter> {
        let left = self.lane.abandon();
        let left = left.into_iter().chain(self.batch.drain(..));
        let left = left.chain(self.backlog.drain(..)).map(|item| item.waiter);
        let asked = self
            .questions
            .take_waiters()
            .filter_map(|asker| match asker {
                Asker::Caller(waiter) => Some(waiter),
                Asker::Own => None,
            });
        asked.chain(left).collect()
    }

    /// What the stream failed with, if it did.
    pub(super) const fn error(&self) -> Option<&io::Error> {
        self.error.as_ref()
    }

    fn blame(&mut self, error: io::Error) -> Fault {
        let fault = fault_of(&error);
        self.error = Some(error);
        fault
    }

    fn poll_turns(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let ended = loop {
            match self.poll_turn(task) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => break Poll::Ready(Ok(())),
                Poll::Ready(Err(fault)) => break Poll::Ready(Err(fault)),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.report();
        ended
    }

    /// One turn: whether there is to be another. Pending when nothing can be done now.
    fn poll_turn(&mut self, task: &mut Context<'_>) -> Poll<Result<bool, Fault>> {
        let taken = self.lane.poll_take(task, &mut self.batch);
        let now = self.setting.shared.clock.now();
        self.backlog.extend(self.batch.drain(..));
        self.ask(now);
        self.lane
            .set_load(self.questions.unanswered() + self.backlog.len());
        self.set_timer(now);
        let fired = self.timer.as_mut().poll(task).is_ready();
        if fired {
            self.handle_timeout(now)?;
        }
        self.poll_write(task)?;
        let read = self.poll_read(task, now)?;
        let is_done = taken == Poll::Ready(Taken::Closed)
            && self.backlog.is_empty()
            && self.questions.unanswered() == usize::from(self.pings.pong_by.is_some());
        if is_done {
            return Poll::Ready(Ok(false));
        }
        let more = taken == Poll::Ready(Taken::Batch) || fired || read.is_ready();
        if more {
            Poll::Ready(Ok(true))
        } else {
            Poll::Pending
        }
    }

    /// Turns what waits into frames, as far as the window goes.
    fn ask(&mut self, now: Instant) {
        let window = usize::try_from(self.pings.config.window).unwrap_or(usize::MAX);
        while self.questions.unanswered() < window {
            let Some(item) = self.backlog.pop_front() else {
                return;
            };
            if item.waiter.is_over() {
                self.events.push(Event::Released);
                continue;
            }
            self.put(now, item);
        }
    }

    fn put(&mut self, now: Instant, item: Item) {
        let Item {
            waiter,
            slow_at,
            deadline,
        } = item;
        let call = waiter.call();
        let asking = match &call.question {
            Question::Ping => None,
            Question::Sign(request) => {
                match question::ask(self.setting.shared.config.mode, request) {
                    Ok(asking) => Some(asking),
                    Err(error) => {
                        waiter.answer(Reply::Failed(Failure::Unsendable(error)));
                        self.events.push(Event::Released);
                        return;
                    }
                }
            }
        };
        let items = match &asking {
            Some(asking) => asking.items(),
            None => alive(),
        };
        let asker = Asker::Caller(waiter);
        let asked = self.questions.ask(now, slow_at, deadline, &items, asker);
        if asked.is_err() {
            // Neither happens: there is room, and what does not fit is refused above. Who waits is
            // told all the same, as the waiter is dropped.
            self.events.push(Event::Released);
        }
        self.is_flushed = false;
    }

    fn ping(&mut self, now: Instant) {
        let never = Instant::MAX;
        let asked = self.questions.ask(now, never, never, &alive(), Asker::Own);
        if asked.is_ok() {
            self.is_flushed = false;
            self.pings.pong_by = Some(now + self.pings.config.ping_timeout);
            self.pings.next = now + self.pings.config.ping_every;
        }
    }

    /// Sets the timer to when there is something to look at.
    fn set_timer(&mut self, now: Instant) {
        let busy = self.questions.unanswered() > 0 || !self.backlog.is_empty();
        let at = self.pings.pong_by.unwrap_or(self.pings.next);
        let at = if busy { at.min(now + LOOK_EVERY) } else { at };
        if at < self.timer_at {
            self.reset_timer(at);
        }
    }

    fn reset_timer(&mut self, at: Instant) {
        self.timer_at = at;
        let at = self.setting.shared.clock.to_tokio(at);
        self.timer.as_mut().reset(at);
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Fault> {
        let mut silent = false;
        let Self {
            questions,
            events,
            heard,
            ..
        } = self;
        questions.handle_timeout(now, |overdue| match overdue {
            Overdue::Slow { asked } => {
                silent |= *heard <= asked;
                events.push(Event::Slow(now.since(asked)));
            }
            Overdue::Expired(_) => events.push(Event::Released),
        });
        let waiting = self.backlog.len();
        self.backlog.retain(|item| !item.waiter.is_over());
        let gone = waiting - self.backlog.len();
        self.events.extend((0..gone).map(|_| Event::Released));
        let choked = self.questions.abandoned() > self.half_window();
        if choked || self.pings.pong_by.is_some_and(|by| by <= now) {
            return Err(Fault::Silent);
        }
        // Nothing came since a question that is overdue was asked: is anybody there?
        if self.pings.pong_by.is_none() && (silent || self.pings.next <= now) {
            self.ping(now);
        }
        self.timer_at = Instant::MAX;
        self.set_timer(now);
        Ok(())
    }

    fn half_window(&self) -> usize {
        usize::try_from(self.pings.config.window / 2).unwrap_or(usize::MAX)
    }

    /// Writes what there is, and flushes it. Pending is no different from done: either way the task
    /// is woken when there is more to do.
    fn poll_write(&mut self, task: &mut Context<'_>) -> Result<(), Fault> {
        while !self.questions.output().is_empty() {
            let stream = Pin::new(&mut self.stream);
            match stream.poll_write(task, self.questions.output()) {
                Poll::Ready(Ok(0)) => return Err(Fault::Closed),
                Poll::Ready(Ok(written)) => self.questions.handle_written(written),
                Poll::Ready(Err(error)) => return Err(self.blame(error)),
                Poll::Pending => return Ok(()),
            }
        }
        if !self.is_flushed {
            match Pin::new(&mut self.stream).poll_flush(task) {
                Poll::Ready(Ok(())) => self.is_flushed = true,
                Poll::Ready(Err(error)) => return Err(self.blame(error)),
                Poll::Pending => {}
            }
        }
        Ok(())
    }

    /// Reads once; ready when there may be more.
    fn poll_read(&mut self, task: &mut Context<'_>, now: Instant) -> Result<Poll<()>, Fault> {
        let mut buffer = ReadBuf::new(&mut self.scratch);
        let stream = Pin::new(&mut self.stream);
        match stream.poll_read(task, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => Err(Fault::Closed),
            Poll::Ready(Ok(())) => {
                self.heard = now;
                let (mut refused, mut garbage) = (false, false);
                let Self {
                    questions,
                    events,
                    pings,
                    setting,
                    ..
                } = self;
                let mut late = 0;
                let frames = questions.handle_input(buffer.filled(), |answered| {
                    match settle(now, answered) {
                        Settled::Alive => pings.pong_by = None,
                        Settled::Answered(event, heard) => {
                            events.push(event);
                            late += u64::from(!heard);
                        }
                        Settled::Garbage(event) => {
                            events.extend(event);
                            garbage = true;
                        }
                        Settled::Refused => refused = true,
                    }
                });
                let strays = questions.take_strays();
                if late + strays.late + strays.unknown > 0 {
                    let mut servers = setting.shared.servers();
                    servers.handle_strays(late + strays.late, strays.unknown);
                }
                // One or two may be a fault; who goes on answers to nobody, for as long as we read.
                self.unknown += strays.unknown;
                if frames.is_err() || garbage || self.unknown > MOST_UNKNOWN {
                    return Err(Fault::Garbage);
                }
                if refused {
                    Err(Fault::Refused)
                } else {
                    Ok(Poll::Ready(()))
                }
            }
            Poll::Ready(Err(error)) => Err(self.blame(error)),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    /// Tells the book of what happened, under one lock.
    fn report(&mut self) {
        if self.events.is_empty() {
            return;
        }
        let server = self.setting.server;
        let events = self.events.drain(..);
        self.setting.shared.note(|now, servers| {
            for event in events {
                match event {
                    Event::Signed(latency) => servers.handle_signed(now, server, latency),
                    Event::Refused(code, latency) => {
                        servers.handle_refused(now, server, code, latency);
                    }
                    Event::Slow(elapsed) => servers.handle_slow(now, server, elapsed),
                    Event::Released => servers.handle_expired(server),
                }
            }
        });
    }
}

impl<S> Drop for Connection<S> {
    /// Whoever drops it unfinished, such as a runtime that ends, leaves nobody waiting.
    fn drop(&mut self) {
        drop(self.lane.abandon());
    }
}

/// What an answer says.
enum Settled {
    /// A sign of life.
    Alive,
    /// To be told of the server, and whether anybody waited.
    Answered(Event, bool),
    /// An answer to another question than was asked.
    Garbage(Option<Event>),
    /// The server does not even answer a PING.
    Refused,
}

fn settle(now: Instant, answered: Answered<'_, Asker>) -> Settled {
    let latency = now.since(answered.asked);
    let waiter = match answered.waiter {
        Asker::Own => {
            return match answered.answer {
                Answer::Pong(ECHO) => Settled::Alive,
                Answer::Refused(_) => Settled::Refused,
                _ => Settled::Garbage(None),
            };
        }
        Asker::Caller(waiter) => waiter,
    };
    let is_ping = matches!(waiter.question(), Question::Ping);
    let (event, reply) = match answered.answer {
        Answer::Signature(signature) if !is_ping => {
            (Event::Signed(latency), Reply::Signature(signature.to_vec()))
        }
        Answer::Pong(ECHO) if is_ping => (Event::Released, Reply::Pong),
        Answer::Refused(code) => {
            let failure = Failure::Refused(code);
            (Event::Refused(code, latency), Reply::Failed(failure))
        }
        _ => return Settled::Garbage(Some(Event::Released)),
    };
    Settled::Answered(event, waiter.answer(reply))
}

/// What kind of fault an error of the stream is: rustls says what it thinks of bytes by
/// [`io::ErrorKind::InvalidData`].
pub(super) fn fault_of(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::InvalidData => Fault::Tls,
        io::ErrorKind::UnexpectedEof => Fault::Closed,
        _ => Fault::Network,
    }
}

/// How long a connection that is done may take to say so.
const GOODBYE: Duration = Duration::from_millis(200);
const ECHO: &[u8] = b"alive?";

/// The PING that asks for a sign of life.
fn alive() -> Items<'static> {
    Items {
        opcode: Opcode::PING,
        payload: ECHO,
        ..Items::default()
    }
}

#[cfg(test)]
mod tests;
