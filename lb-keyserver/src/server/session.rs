//! One connection of a client, without its socket.
#![warn(clippy::indexing_slicing)]

use std::net::SocketAddr;

use lbcore::Instant;

use super::config::SessionConfig;
use super::decide::{Rules, decide, mode_of};
use super::job::Job;
use super::refusal::Refusal;
use super::stats::{Counters, Ending};
use super::told::Told;
use crate::access::Identities;
use crate::audit::{AuditLog, Decision, Record};
use crate::mode::Mode;
use crate::question::{self, Question, Request, emit_error, emit_pong};
use crate::wire::{Frame, ParseError, parse};

/// What of a message does not count as long: more than a server of TLS ever signs.
const SHORT: usize = 512;

/// Bytes of long messages that are taken up before the answers are waited for: a message of Ed25519
/// in the plain mode is kept whole until it is signed, and may be as long as a frame.
const MOST_LONG: usize = 1 << 20;

/// Bytes of answers after which a turn ends: short pings make long answers.
const ANSWERS: usize = 64 * 1024;

/// What one turn of a connection leads to.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// Signatures to be made.
    pub(crate) jobs: Vec<Job>,
    /// Frames that answer at once.
    pub(crate) answers: Vec<u8>,
}

/// What a turn needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Desk<'a> {
    pub(crate) rules: Rules<'a>,
    pub(crate) counters: &'a Counters,
    pub(crate) audit: Option<&'a AuditLog>,
    pub(crate) told: &'a Told,
    /// The time of the calendar, in milliseconds since 1970.
    pub(crate) unix_millis: u64,
}

/// One connection: who it is, what it waits for, and how long it may stay silent.
#[derive(Debug)]
pub(crate) struct Session {
    client: Identities,
    peer: Option<SocketAddr>,
    mode: Mode,
    config: SessionConfig,
    /// Signatures that have been asked for and whose answers have not gone out.
    in_flight: usize,
    /// Bytes of long messages that have been taken up since nothing was under way.
    long: usize,
    is_draining: bool,
    /// When something was asked for or answered last.
    heard: Instant,
    /// Since when part of a frame is there.
    partial: Option<Instant>,
}

impl Session {
    pub(crate) fn new(
        now: Instant,
        client: Identities,
        peer: Option<SocketAddr>,
        mode: Mode,
        config: SessionConfig,
    ) -> Self {
        Self {
            client,
            peer,
            mode,
            config,
            in_flight: 0,
            long: 0,
            is_draining: false,
            heard: now,
            partial: None,
        }
    }

    /// Whether another question may be taken up; if not, nothing is to be read, so that the client
    /// comes to a stop by TCP.
    pub(crate) fn has_room(&self) -> bool {
        self.in_flight < self.config.in_flight.max(1) && self.long < MOST_LONG
    }

    /// Takes up the frames at the beginning of `received`, and says how many bytes they are.
    ///
    /// Stops early where there is no more room, or enough to answer.
    ///
    /// # Errors
    ///
    /// What came is no frame: the connection is to be closed without an answer.
    pub(crate) fn handle_bytes(
        &mut self,
        now: Instant,
        received: &[u8],
        desk: &Desk<'_>,
        turn: &mut Turn,
    ) -> Result<usize, ParseError> {
        let (mut rest, since) = (received, self.partial.take());
        while self.has_room() && turn.answers.len() < ANSWERS {
            let Some((frame, used)) = parse(rest)? else {
                if !rest.is_empty() {
                    // The clock of a frame starts with its first byte, and more bytes do not stop
                    // it; but a frame that follows another has a clock of its own.
                    let is_same = rest.len() == received.len();
                    self.partial = since.filter(|_| is_same).or(Some(now));
                }
                break;
            };
            self.heard = now;
            self.handle_frame(now, &frame, desk, turn);
            rest = rest.get(used..).unwrap_or_default();
        }
        Ok(received.len() - rest.len())
    }

    /// So many answers to signatures have gone out.
    pub(crate) const fn handle_answered(&mut self, now: Instant, answers: usize) {
        self.heard = now;
        self.in_flight = self.in_flight.saturating_sub(answers);
        if self.in_flight == 0 {
            self.long = 0;
        }
    }

    /// Signs nothing more; what is under way is finished.
    pub(crate) const fn drain(&mut self) {
        self.is_draining = true;
    }

    /// Whether it drains, and has nothing under way.
    pub(crate) const fn is_drained(&self) -> bool {
        self.is_draining && self.in_flight == 0
    }

    /// Whether signatures are under way.
    pub(crate) const fn is_busy(&self) -> bool {
        self.in_flight != 0
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to say, if nothing happens until
    /// then.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let frame = self.partial.map(|since| since + self.config.frame_timeout);
        // Who waits for an answer is not idle.
        let idle = (self.in_flight == 0).then(|| self.heard + self.config.idle_timeout);
        [frame, idle].into_iter().flatten().min()
    }

    /// Whether the client has been silent for too long.
    pub(crate) fn handle_timeout(&self, now: Instant) -> Option<Ending> {
        if self.poll_timeout().is_none_or(|at| now < at) {
            return None;
        }
        let frame = self.partial.map(|since| since + self.config.frame_timeout);
        let is_frame = frame.is_some_and(|at| at <= now);
        Some(if is_frame {
            Ending::FrameTimeout
        } else {
            Ending::Idle
        })
    }

    fn handle_frame(&mut self, now: Instant, frame: &Frame<'_>, desk: &Desk<'_>, turn: &mut Turn) {
        match question::read(self.mode, &frame.items) {
            Ok(Request::Ping(echo)) => {
                desk.counters.pinged();
                emit_pong(frame.id, echo, &mut turn.answers);
            }
            Ok(Request::Sign(question)) => match self.grant(now, frame.id, &question, desk) {
                Ok(job) => {
                    self.in_flight += 1;
                    self.long += job.held().saturating_sub(SHORT);
                    turn.jobs.push(job);
                }
                Err(why) => {
                    self.record(now, &question, why, desk);
                    refuse(frame.id, why, desk, turn);
                }
            },
            Err(code) => refuse(frame.id, code.into(), desk, turn),
        }
    }

    fn grant(
        &self,
        now: Instant,
        id: u32,
        question: &Question<'_>,
        desk: &Desk<'_>,
    ) -> Result<Job, Refusal> {
        if self.is_draining {
            return Err(Refusal::Draining);
        }
        if let Some(audit) = desk.audit {
            audit.ready()?;
        }
        let granted = decide(now, &desk.rules, &self.client, self.mode, question)?;
        let record = desk.audit.map(|_| {
            let mut record = self.say(question, Decision::Signed, desk);
            record.digest = Some(granted.to_sign.digest());
            if let Some(name) = granted.to_sign.server_name() {
                record.server_name = Some(name.into());
            }
            Box::new(record)
        });
        Ok(Job {
            id,
            granted,
            arrived: now,
            record,
        })
    }

    /// Tells the audit log of a refusal, unless it has been told of too many.
    fn record(&self, now: Instant, question: &Question<'_>, why: Refusal, desk: &Desk<'_>) {
        let Some(audit) = desk.audit else { return };
        let told = desk.told.try_take(now, self.client.principal())
            && audit
                .record(self.say(question, why.decision(), desk))
                .is_ok();
        if !told {
            desk.counters.refusal_unrecorded();
        }
    }

    fn say(&self, question: &Question<'_>, decision: Decision, desk: &Desk<'_>) -> Record {
        let who = self.client.principal().clone();
        let (key, scheme) = (question.ski(), question.scheme());
        let mut record = Record::new(desk.unix_millis, who, key, scheme, decision)
            .mode(mode_of(self.mode, question));
        record.peer = self.peer;
        record.client = question.client();
        record.server_name = question.server_name().map(Into::into);
        record
    }
}

fn refuse(id: u32, why: Refusal, desk: &Desk<'_>, turn: &mut Turn) {
    desk.counters.refused(why);
    emit_error(id, why.code(), &mut turn.answers);
}
