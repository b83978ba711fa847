//! What is told of servers to whoever runs the node: changes, each once.

use std::collections::VecDeque;

/// What was told of one server last.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    is_up: bool,
    /// Reasons that were told since it was up last.
    reasons: VecDeque<String>,
    /// Why its last connection ended.
    last: Option<String>,
}

/// Something of one server that was not told yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Turn {
    /// It may be asked.
    Up,
    /// It may not be asked any more, and why.
    Down(String),
}

/// Reasons that are remembered of a server; whoever finds more in turn hears some again.
const REASONS: usize = 4;
/// Why a server that is connected to is not asked.
const TRIED: &str = "it fails, lies or is slow; it is asked again once it has passed a trial";
/// Why a server is down of which no connection failed.
const ENDED: &str = "the connection was closed";

impl Standing {
    /// A connection could not be made, or failed. Whether that reason is new since the server was up
    /// last.
    ///
    /// Reasons that differ in numbers alone are one: some say what time it is.
    pub(crate) fn handle_reason(&mut self, reason: &str) -> bool {
        self.last = Some(reason.to_owned());
        let told = self.reasons.iter().any(|told| is_alike(told, reason));
        if !told {
            self.reasons.truncate(REASONS - 1);
            self.reasons.push_front(reason.to_owned());
        }
        !told
    }

    /// What there is to tell, now that the server may be asked or not, and is connected to or not.
    pub(crate) fn turn(&mut self, is_up: bool, is_connected: bool) -> Option<Turn> {
        if is_up == self.is_up {
            return None;
        }
        self.is_up = is_up;
        if is_up {
            *self = Self {
                is_up,
                ..Self::default()
            };
            return Some(Turn::Up);
        }
        let why = match (is_connected, self.last.take()) {
            (true, _) => TRIED.to_owned(),
            (false, Some(reason)) => reason,
            (false, None) => ENDED.to_owned(),
        };
        Some(Turn::Down(why))
    }
}

fn is_alike(one: &str, other: &str) -> bool {
    let digit = |c: &char| !c.is_ascii_digit();
    one.chars().filter(digit).eq(other.chars().filter(digit))
}

/// What was told of all servers together last.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Whole {
    /// No server was up yet, nor have all been tried.
    #[default]
    Unknown,
    Up,
    Down,
}

/// Something of all servers together that was not told yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum WholeTurn {
    /// No server may be asked.
    NoneLeft,
    /// One may be asked, where none could.
    Back,
}

impl Whole {
    /// What there is to tell, now that any server may be asked or none.
    pub(crate) fn turn(&mut self, any_up: bool) -> Option<WholeTurn> {
        let before = *self;
        match (before, any_up) {
            (Self::Unknown, false) => {}
            (_, true) => *self = Self::Up,
            (_, false) => *self = Self::Down,
        }
        match (before, *self) {
            (Self::Up, Self::Down) => Some(WholeTurn::NoneLeft),
            (Self::Down, Self::Up) => Some(WholeTurn::Back),
            _ => None,
        }
    }

    /// All servers have been tried once: if none is up by now, that is told.
    pub(crate) fn handle_tried(&mut self, any_up: bool) -> Option<WholeTurn> {
        if *self == Self::Unknown && !any_up {
            *self = Self::Down;
            return Some(WholeTurn::NoneLeft);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_new_once_until_the_server_was_up() {
        let mut standing = Standing::default();
        assert!(standing.handle_reason("expired"));
        assert!(!standing.handle_reason("expired"));
        assert!(standing.handle_reason("no route"));
        assert!(!standing.handle_reason("expired"), "both are known");
        assert_eq!(standing.turn(true, true), Some(Turn::Up));
        assert!(standing.handle_reason("expired"));
    }

    #[test]
    fn reasons_that_differ_in_numbers_alone_are_one() {
        let mut standing = Standing::default();
        assert!(standing.handle_reason("expired: it is 1700000000"));
        assert!(!standing.handle_reason("expired: it is 1700000010"));
        assert!(standing.handle_reason("early: it is 1700000010"));
    }

    #[test]
    fn the_last_four_reasons_are_remembered() {
        let mut standing = Standing::default();
        for reason in ["a", "b", "c", "d"] {
            assert!(standing.handle_reason(reason));
        }
        assert!(!standing.handle_reason("a"));
        assert!(standing.handle_reason("e"));
        assert!(!standing.handle_reason("b"));
        assert!(standing.handle_reason("a"), "the oldest made room");
    }

    #[test]
    fn up_and_down_are_told_on_change_alone() {
        let mut standing = Standing::default();
        assert_eq!(standing.turn(false, false), None);
        assert_eq!(standing.turn(true, true), Some(Turn::Up));
        assert_eq!(standing.turn(true, true), None);
        let down = |why: &str| Some(Turn::Down(why.to_owned()));
        assert_eq!(standing.turn(false, false), down(ENDED));
        assert_eq!(standing.turn(false, false), None);
    }

    #[test]
    fn down_says_why_the_last_connection_ended_or_that_it_is_not_trusted() {
        let mut standing = Standing::default();
        standing.turn(true, true);
        standing.handle_reason("reset");
        let down = Some(Turn::Down("reset".to_owned()));
        assert_eq!(standing.turn(false, false), down);
        standing.turn(true, true);
        standing.handle_reason("reset");
        let down = Some(Turn::Down(TRIED.to_owned()));
        assert_eq!(standing.turn(false, true), down);
    }

    #[test]
    fn the_last_one_lost_and_the_first_one_back_are_told_once() {
        let mut whole = Whole::default();
        assert_eq!(whole.turn(false), None, "nothing was lost yet");
        assert_eq!(whole.turn(true), None);
        assert_eq!(whole.turn(false), Some(WholeTurn::NoneLeft));
        assert_eq!(whole.turn(false), None);
        assert_eq!(whole.turn(true), Some(WholeTurn::Back));
        assert_eq!(whole.turn(true), None);
    }

    #[test]
    fn none_up_after_all_were_tried_is_told_once() {
        let mut whole = Whole::default();
        assert_eq!(whole.handle_tried(false), Some(WholeTurn::NoneLeft));
        assert_eq!(whole.handle_tried(false), None);
        assert_eq!(whole.turn(true), Some(WholeTurn::Back));
        assert_eq!(whole.handle_tried(true), None);
        let mut whole = Whole::default();
        assert_eq!(whole.handle_tried(true), None);
        assert_eq!(whole.turn(false), None);
    }
}
