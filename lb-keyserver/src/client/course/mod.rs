//! The course of one request: whom to ask first, when to ask again, when to give up.

use std::fmt;
use std::time::Duration;

use lbcore::Instant;

use crate::scheme::Scheme;
use crate::sign::SignError;
use crate::wire::ErrorCode;

use super::config::AskConfig;
use super::endpoint::ServerId;
use super::servers::{Among, Chosen, Servers};

/// One request for a signature, from its first question to its end.
///
/// Each question stays open until the request ends: an answer that comes after another server was
/// asked as well is as good as any, and the first good one ends it.
///
/// | what happened | what follows |
/// |---|---|
/// | the connection was lost | another server, or the same by another connection |
/// | a signature that does not verify | another server; the liar is not asked again for long |
/// | refused as internal (08), read (03), remote configuration (0B) | another server |
/// | refused as key not found (02) | another server, once: a new key may not be everywhere yet |
/// | refused otherwise | the end: asking again would be answered the same |
/// | no answer for the attempt's time | another server as well |
/// | no answer for as long as most take | another server as well, within the hedges' budget |
///
/// See [`Servers`] for an example.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    deadline: Instant,
    scheme: Scheme,
    asked: [Option<Asked>; AskConfig::MOST_ATTEMPTS as usize],
    /// Who may be asked again, if anybody is to be.
    retry: Option<Among>,
    hedge_at: Option<Instant>,
    /// Whether a retry for a missing key was made.
    not_found: bool,
    error: SignError,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    server: ServerId,
    slow_at: Instant,
    is_hedge: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// It may answer.
    Open,
    /// It may answer, and is late.
    Slow,
    /// It failed, or refused for a fault that was charged already.
    Over,
    /// It said that it does not have the key.
    NotFound,
}

/// What to do next.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a driver has to do each of them")]
pub enum Step<L> {
    /// Put the question to this server, and call [`Course::poll`] again.
    Ask(Ask<L>),
    /// Nothing before this moment, unless an answer comes.
    Wait(Instant),
    /// It is over.
    Fail(SignError),
}

/// A question to put to a server.
#[derive(Debug)]
#[non_exhaustive]
pub struct Ask<L> {
    /// Which of the request's questions; counts from zero.
    pub attempt: u8,
    /// Whom to ask.
    pub server: ServerId,
    /// How it is reached.
    pub link: L,
    /// Whether to verify the signature before it is used.
    pub verify: bool,
    /// When the server is to be told of as slow.
    pub slow_at: Instant,
    /// When the answer is of no use any more.
    pub deadline: Instant,
}

/// Why a question brought no signature.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Failure {
    /// The signature does not verify.
    Lie,
    /// The connection ended, or there was none.
    Lost,
    /// The server refused.
    Refused(ErrorCode),
    /// The request cannot be put into a question at all.
    Unsendable(SignError),
}

impl Course {
    /// A request that has to end `within` that time.
    #[must_use]
    pub fn new(now: Instant, within: Duration, scheme: Scheme) -> Self {
        Self {
            deadline: now + within,
            scheme,
            asked: [None; AskConfig::MOST_ATTEMPTS as usize],
            retry: None,
            hedge_at: None,
            not_found: false,
            error: SignError::NoServer,
        }
    }

    /// What to do now. After [`Step::Fail`] the request is over.
    ///
    /// A handful of comparisons for each server; allocates nothing.
    pub fn poll<L: Clone + fmt::Debug>(
        &mut self,
        now: Instant,
        servers: &mut Servers<L>,
    ) -> Step<L> {
        let chosen = if self.count() == 0 {
            servers.begin();
            self.first(now, servers)
        } else if now >= self.deadline {
            return Self::fail(servers, SignError::Late);
        } else {
            self.note_slow(now);
            self.again(now, servers)
                .or_else(|| self.hedge(now, servers))
        };
        match chosen {
            Some(ask) => Step::Ask(ask),
            None if self.open().next().is_none() => Self::fail(servers, self.error),
            None => Step::Wait(self.next_moment()),
        }
    }

    /// A good signature came for that attempt, which ends the request.
    pub fn handle_signature<L: Clone + fmt::Debug>(
        self,
        now: Instant,
        attempt: u8,
        servers: &mut Servers<L>,
    ) {
        servers.stats.signed += 1;
        let winner = self.asked.get(usize::from(attempt)).copied().flatten();
        servers.stats.hedges_won += u64::from(winner.is_some_and(|asked| asked.is_hedge));
        for asked in self.asked.into_iter().flatten() {
            if asked.state == State::NotFound {
                servers.handle_contradicted(now, asked.server);
            }
        }
    }

    /// That attempt brought none. Call [`poll`](Self::poll) for what follows.
    pub fn handle_failure(&mut self, attempt: u8, failure: Failure) {
        let place = usize::from(attempt);
        let Some(Some(asked)) = self.asked.get_mut(place) else {
            return;
        };
        asked.state = State::Over;
        match failure {
            Failure::Lie => {
                self.retry = Some(Among::Others);
                self.error = SignError::NoServer;
            }
            Failure::Lost => {
                self.retry = Some(Among::All);
                self.error = SignError::NoServer;
            }
            Failure::Refused(code) => {
                let not_found = code == ErrorCode::KeyNotFound;
                if not_found {
                    asked.state = State::NotFound;
                }
                if code.may_be_retried() && !(not_found && self.not_found) {
                    self.retry = Some(Among::Others);
                }
                self.not_found |= not_found;
                self.error = SignError::Refused(code);
            }
            Failure::Unsendable(error) => self.error = error,
        }
    }

    /// Whether that attempt is a hedge.
    #[must_use]
    pub fn is_hedge(&self, attempt: u8) -> bool {
        let asked = self.asked.get(usize::from(attempt)).copied().flatten();
        asked.is_some_and(|asked| asked.is_hedge)
    }

    fn fail<L>(servers: &mut Servers<L>, error: SignError) -> Step<L> {
        servers.stats.failed.count(error);
        Step::Fail(error)
    }

    fn first<L: Clone + fmt::Debug>(
        &mut self,
        now: Instant,
        servers: &mut Servers<L>,
    ) -> Option<Ask<L>> {
        let chosen = servers.choose(now, self.scheme, Among::Others, |_| false)?;
        let ask = self.ask(now, chosen, false, servers);
        let others = servers.another(|id| self.was_asked(id));
        self.hedge_at = servers
            .hedge_after()
            .filter(|_| others)
            .map(|after| now + after);
        Some(ask)
    }

    /// A question to another server, because one failed or is late.
    fn again<L: Clone + fmt::Debug>(
        &mut self,
        now: Instant,
        servers: &mut Servers<L>,
    ) -> Option<Ask<L>> {
        let among = self.retry.take()?;
        let any = servers.another(|id| self.was_asked(id))
            || (among == Among::All && servers.any_may_be_asked());
        if self.count() >= servers.attempts() || !any || !servers.try_retry() {
            return None;
        }
        let chosen = servers.choose(now, self.scheme, among, |id| self.was_asked(id))?;
        Some(self.ask(now, chosen, false, servers))
    }

    /// A question to another server, because most would have answered by now.
    fn hedge<L: Clone + fmt::Debug>(
        &mut self,
        now: Instant,
        servers: &mut Servers<L>,
    ) -> Option<Ask<L>> {
        self.hedge_at.take_if(|at| *at <= now)?;
        let waits = self.count() == 1 && self.open().next().is_some();
        let others = servers.another(|id| self.was_asked(id));
        if !waits || self.count() >= servers.attempts() || !others || !servers.try_hedge() {
            return None;
        }
        let chosen = servers.choose(now, self.scheme, Among::Others, |id| self.was_asked(id))?;
        Some(self.ask(now, chosen, true, servers))
    }

    fn ask<L: Clone + fmt::Debug>(
        &mut self,
        now: Instant,
        chosen: Chosen<L>,
        is_hedge: bool,
        servers: &Servers<L>,
    ) -> Ask<L> {
        // Where nobody else can be asked, calling a server slow leads to nothing.
        let alone = !servers.another(|id| id == chosen.server);
        let patience = if alone {
            servers.patience_alone()
        } else {
            servers.patience()
        };
        let slow_at = now + patience;
        let attempt = self.count();
        if let Some(asked) = self.asked.get_mut(usize::from(attempt)) {
            *asked = Some(Asked {
                server: chosen.server,
                slow_at,
                is_hedge,
                state: State::Open,
            });
        }
        Ask {
            attempt,
            server: chosen.server,
            link: chosen.link,
            verify: chosen.verify,
            slow_at,
            deadline: self.deadline,
        }
    }

    fn note_slow(&mut self, now: Instant) {
        for asked in self.asked.iter_mut().flatten() {
            if asked.state == State::Open && asked.slow_at <= now {
                asked.state = State::Slow;
                self.retry = self.retry.or(Some(Among::Others));
            }
        }
    }

    fn next_moment(&self) -> Instant {
        let slow = self.open().filter(|asked| asked.state == State::Open);
        let slow = slow.map(|asked| asked.slow_at);
        slow.chain(self.hedge_at).fold(self.deadline, Instant::min)
    }

    /// Those that may still answer.
    fn open(&self) -> impl Iterator<Item = &Asked> {
        let asked = self.asked.iter().flatten();
        asked.filter(|asked| matches!(asked.state, State::Open | State::Slow))
    }

    fn was_asked(&self, id: ServerId) -> bool {
        self.asked.iter().flatten().any(|asked| asked.server == id)
    }

    #[expect(clippy::cast_possible_truncation, reason = "there are four at most")]
    fn count(&self) -> u8 {
        self.asked.iter().flatten().count() as u8
    }
}

#[cfg(test)]
mod tests;
