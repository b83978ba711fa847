//! Many questions on one connection, answered in any order.
#![warn(clippy::indexing_slicing)]

use lbcore::Instant;

use crate::question::Answer;
use crate::wire::{self, Items, ParseError, TooLong};

/// The questions that are under way on one connection, and its bytes in both directions.
///
/// `T` is who waits for an answer. An answer reaches the one who asked that question or nobody: an
/// id is given out again only when all other 2³² have been, and never while its answer may still
/// come, even if nobody waits for it any more.
///
/// Asking and answering cost a handful of instructions besides the bytes; the table is allocated
/// once. Questions gather in one buffer until they are written.
///
/// # Examples
///
/// ```
/// use lb_keyserver::client::Multiplexer;
/// use lb_keyserver::question::emit_pong;
/// use lb_keyserver::wire::{Items, Opcode};
/// use lbcore::Instant;
///
/// let mut connection = Multiplexer::new(16);
/// let ping = Items { opcode: Opcode::PING, payload: b"hello", ..Items::default() };
/// let never = Instant::MAX;
/// let id = connection.ask(Instant::ZERO, never, never, &ping, "who asked")?;
/// assert_eq!(connection.output().len(), 1_024);
///
/// let mut answer = Vec::new();
/// emit_pong(id, b"hello", &mut answer);
/// let mut told = Vec::new();
/// connection.handle_input(&answer, |answered| told.push(answered.waiter))?;
/// assert_eq!(told, ["who asked"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Multiplexer<T> {
    /// A question stands at its id modulo the length, which is a power of two.
    table: Box<[Option<Question<T>>]>,
    window: usize,
    unanswered: usize,
    abandoned: usize,
    next: u32,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    strays: Strays,
}

#[derive(Debug)]
struct Question<T> {
    id: u32,
    asked: Instant,
    /// When to call it slow; `None` once it was.
    slow_at: Option<Instant>,
    deadline: Instant,
    /// `None` when the deadline has passed: the answer is late.
    waiter: Option<T>,
}

/// An answer, and who waited for it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Answered<'a, T> {
    /// Who waited.
    pub waiter: T,
    /// When the question was asked.
    pub asked: Instant,
    /// What was answered.
    pub answer: Answer<'a>,
}

/// A question whose time has come without an answer.
#[derive(Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "a driver has to do each of them")]
pub enum Overdue<T> {
    /// The server is slow; the answer is still waited for, or no longer.
    Slow {
        /// When the question was asked.
        asked: Instant,
    },
    /// The answer is of no use any more; the question stays in the window until it comes.
    Expired(T),
}

/// Why a question was not asked; gives back who would have waited.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Unasked<T> {
    /// As many questions are unanswered as may be.
    #[error("the window is full")]
    Full(T),
    /// The question does not fit into a frame.
    #[error("the question does not fit into a frame")]
    TooLong(T),
}

/// Answers that were dropped.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Strays {
    /// Answers to questions that nobody waits for any more.
    pub late: u64,
    /// Answers to no question, or to one that was answered already.
    pub unknown: u64,
}

impl<T> Multiplexer<T> {
    /// A connection on which at most `window` questions, 1..=65,536, are unanswered at once.
    #[must_use]
    pub fn new(window: usize) -> Self {
        let window = window.clamp(1, 1 << 16);
        Self {
            table: (0..window.next_power_of_two()).map(|_| None).collect(),
            window,
            unanswered: 0,
            abandoned: 0,
            next: 0,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            strays: Strays::default(),
        }
    }

    /// Counts ids from `id` on instead of from zero.
    #[must_use]
    pub fn starting_at(self, id: u32) -> Self {
        Self { next: id, ..self }
    }

    /// Appends a question to what is to be written, and says under which id.
    ///
    /// # Errors
    ///
    /// When the window is full, or the question does not fit into a frame.
    pub fn ask(
        &mut self,
        now: Instant,
        slow_at: Instant,
        deadline: Instant,
        items: &Items<'_>,
        waiter: T,
    ) -> Result<u32, Unasked<T>> {
        let Some(id) = self.free_id() else {
            return Err(Unasked::Full(waiter));
        };
        if let Err(TooLong { .. }) = wire::emit(id, items, &mut self.output) {
            return Err(Unasked::TooLong(waiter));
        }
        self.next = id.wrapping_add(1);
        self.unanswered += 1;
        if let Some(slot) = self.slot(id) {
            *slot = Some(Question {
                id,
                asked: now,
                slow_at: Some(slow_at),
                deadline,
                waiter: Some(waiter),
            });
        }
        Ok(id)
    }

    /// Whether one more question may be asked.
    #[must_use]
    pub const fn has_room(&self) -> bool {
        self.unanswered < self.window
    }

    /// Questions that are not answered, whether anybody waits or not.
    #[must_use]
    pub const fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Questions that are not answered, and that nobody waits for any more: they still take room.
    #[must_use]
    pub const fn abandoned(&self) -> usize {
        self.abandoned
    }

    /// What is to be written next; empty when all is written.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.output.get(self.written..).unwrap_or_default()
    }

    /// That many bytes of [`output`](Self::output) are written.
    pub fn handle_written(&mut self, bytes: usize) {
        self.written = self.written.saturating_add(bytes);
        if self.written >= self.output.len() {
            self.output.clear();
            self.written = 0;
        } else if self.written >= self.output.len() / 2 && self.written >= COMPACT_AT {
            self.output.drain(..self.written);
            self.written = 0;
        }
    }

    /// Takes what came, and tells `each` of every answer that somebody waits for.
    ///
    /// Holds back at most one frame that is not yet whole: 64 KiB.
    ///
    /// # Errors
    ///
    /// When the bytes are no frames: the connection is of no use any more.
    pub fn handle_input(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(Answered<'_, T>),
    ) -> Result<(), ParseError> {
        let mut held = std::mem::take(&mut self.input);
        if held.is_empty() {
            let used = self.handle_frames(bytes, &mut each)?;
            held.extend_from_slice(bytes.get(used..).unwrap_or_default());
        } else {
            held.extend_from_slice(bytes);
            let used = self.handle_frames(&held, &mut each)?;
            held.drain(..used.min(held.len()));
        }
        self.input = held;
        Ok(())
    }

    /// The next moment at which a question is overdue. One pass over the table.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let questions = self.table.iter().flatten();
        let moments = questions.flat_map(|question| {
            let deadline = question.waiter.as_ref().map(|_| question.deadline);
            question.slow_at.into_iter().chain(deadline)
        });
        moments.min()
    }

    /// Tells `each` of every question that is overdue, once for being slow and once for expiring.
    /// One pass over the table.
    pub fn handle_timeout(&mut self, now: Instant, mut each: impl FnMut(Overdue<T>)) {
        for question in self.table.iter_mut().flatten() {
            if question.slow_at.take_if(|at| *at <= now).is_some() {
                let asked = question.asked;
                each(Overdue::Slow { asked });
            }
            if question.deadline <= now
                && let Some(waiter) = question.waiter.take()
            {
                self.abandoned += 1;
                each(Overdue::Expired(waiter));
            }
        }
    }

    /// Those who wait, as the connection has ended; no question is under way afterwards.
    pub fn take_waiters(&mut self) -> impl Iterator<Item = T> + '_ {
        self.unanswered = 0;
        self.abandoned = 0;
        let questions = self.table.iter_mut().filter_map(Option::take);
        questions.filter_map(|question| question.waiter)
    }

    /// Answers that were dropped since this was last called.
    pub fn take_strays(&mut self) -> Strays {
        std::mem::take(&mut self.strays)
    }

    /// Takes every whole frame, and says how many bytes they were.
    fn handle_frames(
        &mut self,
        bytes: &[u8],
        each: &mut impl FnMut(Answered<'_, T>),
    ) -> Result<usize, ParseError> {
        let mut used = 0;
        while let Some((frame, length)) = wire::parse(bytes.get(used..).unwrap_or_default())? {
            used += length;
            match self.settle(frame.id) {
                None => self.strays.unknown += 1,
                Some(Question { waiter: None, .. }) => {
                    self.strays.late += 1;
                    self.abandoned -= 1;
                }
                Some(Question {
                    waiter: Some(waiter),
                    asked,
                    ..
                }) => each(Answered {
                    waiter,
                    asked,
                    answer: Answer::read(&frame.items),
                }),
            }
        }
        Ok(used)
    }

    /// Takes the question of that id out of the table.
    fn settle(&mut self, id: u32) -> Option<Question<T>> {
        let question = self.slot(id)?.take_if(|question| question.id == id);
        self.unanswered -= usize::from(question.is_some());
        question
    }

    /// The next id whose place is free; each is tried once at most.
    fn free_id(&mut self) -> Option<u32> {
        if !self.has_room() {
            return None;
        }
        let mut id = self.next;
        for _ in 0..self.table.len() {
            if self.slot(id).is_some_and(|slot| slot.is_none()) {
                return Some(id);
            }
            id = id.wrapping_add(1);
        }
        None
    }

    fn slot(&mut self, id: u32) -> Option<&mut Option<Question<T>>> {
        let place = usize::try_from(id).unwrap_or(0) & (self.table.len() - 1);
        self.table.get_mut(place)
    }
}

/// Written bytes that are worth moving the rest for.
const COMPACT_AT: usize = 64 * 1024;

#[cfg(test)]
mod tests;
