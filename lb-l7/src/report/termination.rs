//! How one exchange ended, in one code.

use std::fmt;

use super::cause::{Party, Phase, Why};

/// How one exchange ended: who ended it, in which phase, and why.
///
/// It is written as one word, such as `client-closed-in-response-body`, or `done` when nothing is to
/// be told. The set of codes is bounded ([`COUNT`](Self::COUNT)), so that each can have a counter
/// ([`index`](Self::index)).
///
/// A timeout is charged to whoever had to act next: a client that does not send its request, a
/// backend that does not answer. A limit on the whole exchange is the proxy's.
///
/// What the proxy answers for it is [`status`](Self::status), and what the backend is charged
/// [`outcome`](Self::outcome).
///
/// # Examples
///
/// ```
/// use lb_l7::report::{Party, Phase, Termination, Why};
///
/// let end = Termination::new(Party::Client, Phase::ResponseBody, Why::Closed);
/// assert_eq!(end.as_str(), "client-closed-in-response-body");
/// assert_eq!(Termination::DONE.as_str(), "done");
/// assert_eq!(Termination::from_index(end.index()), Some(end));
/// ```
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[doc(alias = "termination state")]
#[doc(alias = "response flags")]
pub struct Termination {
    party: Party,
    phase: Phase,
    why: Why,
}

impl Termination {
    /// Nobody ended it: all was said, and all of it arrived.
    pub const DONE: Self = Self {
        party: Party::Nobody,
        phase: Phase::ResponseBody,
        why: Why::Done,
    };

    /// How many codes there are.
    pub const COUNT: usize = ENDING.len() * PHASES * WHYS + 1;

    /// The end that `party` made in `phase` for this reason.
    ///
    /// Where nobody ended it, or the reason is [`Why::Done`], that is [`DONE`](Self::DONE), whatever
    /// else is said: a normal end has one code.
    #[must_use]
    pub const fn new(party: Party, phase: Phase, why: Why) -> Self {
        if matches!(party, Party::Nobody) || matches!(why, Why::Done) {
            return Self::DONE;
        }
        Self { party, phase, why }
    }

    /// Who ended it.
    #[inline]
    #[must_use]
    pub const fn party(self) -> Party {
        self.party
    }

    /// How far it had come; for [`DONE`](Self::DONE) the response's body.
    #[inline]
    #[must_use]
    pub const fn phase(self) -> Phase {
        self.phase
    }

    /// Why it ended.
    #[inline]
    #[must_use]
    pub const fn why(self) -> Why {
        self.why
    }

    /// Its number, below [`COUNT`](Self::COUNT): 0 for [`DONE`](Self::DONE).
    ///
    /// The number of a code may differ in the next version; its name does not.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        let party = match self.party {
            Party::Nobody => return 0,
            Party::Client => 0,
            Party::Backend => 1,
            Party::Proxy => 2,
        };
        1 + (party * PHASES + self.phase.index()) * WHYS + self.why.index()
    }

    /// The code of this number, if it is below [`COUNT`](Self::COUNT) and a code's number.
    ///
    /// The numbers that would be `Done` by someone are no codes: [`DONE`](Self::DONE) is one.
    #[must_use]
    pub const fn from_index(index: usize) -> Option<Self> {
        if index == 0 {
            return Some(Self::DONE);
        }
        let rest = index - 1;
        let (parties, whys) = (rest / WHYS, rest % WHYS);
        let (party, phase) = (parties / PHASES, parties % PHASES);
        if party >= ENDING.len() || matches!(Why::ALL[whys], Why::Done) {
            return None;
        }
        Some(Self {
            party: ENDING[party],
            phase: Phase::ALL[phase],
            why: Why::ALL[whys],
        })
    }

    /// Every code, by [`index`](Self::index).
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).filter_map(Self::from_index)
    }

    /// Its name: `done`, or the party, the reason and the phase.
    #[inline]
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        NAMES[self.index()]
    }
}

impl Default for Termination {
    /// [`Termination::DONE`].
    fn default() -> Self {
        Self::DONE
    }
}

impl fmt::Debug for Termination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Termination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Who can end an exchange, in the order of their codes.
const ENDING: [Party; 3] = [Party::Client, Party::Backend, Party::Proxy];

const PHASES: usize = Phase::ALL.len();
const WHYS: usize = Why::ALL.len();

/// The names, put together by the compiler: a line of the log copies one, and formats nothing.
static NAMES: [&str; Termination::COUNT] = {
    let mut names = ["done"; Termination::COUNT];
    let mut index = 1;
    while index < Termination::COUNT {
        names[index] = TEXTS[index].as_str();
        index += 1;
    }
    names
};

static TEXTS: [Text; Termination::COUNT] = {
    let mut texts = [Text::EMPTY; Termination::COUNT];
    let mut index = 1;
    while index < Termination::COUNT {
        if let Some(end) = Termination::from_index(index) {
            texts[index] = Text::EMPTY
                .push(end.party.as_str())
                .push("-")
                .push(end.why.as_str())
                .push("-in-")
                .push(end.phase.as_str());
        }
        index += 1;
    }
    texts
};

/// A short text that can be put together in a constant.
#[derive(Clone, Copy)]
struct Text {
    bytes: [u8; Self::CAPACITY],
    len: usize,
}

impl Text {
    /// `backend-connect-failed-in-response-head` and the like; the compiler says when it is short.
    const CAPACITY: usize = 40;

    const EMPTY: Self = Self {
        bytes: [0; Self::CAPACITY],
        len: 0,
    };

    const fn push(mut self, text: &str) -> Self {
        let (_, free) = self.bytes.split_at_mut(self.len);
        let (to, _) = free.split_at_mut(text.len());
        to.copy_from_slice(text.as_bytes());
        self.len += text.len();
        self
    }

    const fn as_str(&self) -> &str {
        let (used, _) = self.bytes.split_at(self.len);
        match std::str::from_utf8(used) {
            Ok(text) => text,
            Err(_) => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_has_a_name_and_a_number_of_its_own() {
        let all: Vec<_> = Termination::all().collect();
        let names: BTreeSet<_> = all.iter().map(|end| end.as_str()).collect();
        assert_eq!(names.len(), all.len());
        assert_eq!(all.len(), 1 + 3 * Phase::ALL.len() * (Why::ALL.len() - 1));
        let kebab = |name: &&str| name.bytes().all(|b| b == b'-' || b.is_ascii_lowercase());
        assert!(names.iter().all(kebab));
        for end in all {
            assert!(end.index() < Termination::COUNT);
            assert_eq!(Termination::from_index(end.index()), Some(end));
            let again = Termination::new(end.party(), end.phase(), end.why());
            assert_eq!(again, end);
        }
    }

    #[test]
    fn every_end_that_can_be_said_has_its_number_and_its_name() {
        for &party in ENDING.iter() {
            for &phase in Phase::ALL {
                for &why in Why::ALL.iter().filter(|&&why| why != Why::Done) {
                    let end = Termination::new(party, phase, why);
                    assert_eq!((end.party(), end.phase(), end.why()), (party, phase, why));
                    assert_eq!(Termination::from_index(end.index()), Some(end));
                    assert_eq!(end.to_string(), format!("{party}-{why}-in-{phase}"));
                }
            }
        }
    }

    #[test]
    fn a_normal_end_has_one_code() {
        for &phase in Phase::ALL {
            for &party in Party::ALL {
                let end = Termination::new(party, phase, Why::Done);
                assert_eq!(end, Termination::DONE);
            }
            let end = Termination::new(Party::Nobody, phase, Why::Reset);
            assert_eq!(end, Termination::DONE);
        }
        assert_eq!(Termination::default().index(), 0);
        assert_eq!(format!("{:>6}|", Termination::DONE), "  done|");
        assert_eq!(format!("{:?}", Termination::DONE), "done");
    }

    #[test]
    fn a_number_beyond_the_last_is_no_code() {
        assert_eq!(Termination::from_index(Termination::COUNT), None);
        assert_eq!(Termination::from_index(usize::MAX), None);
        let last = Termination::new(Party::Proxy, Phase::KeepAlive, Why::Unsupported);
        assert_eq!(last.index(), Termination::COUNT - 1);
    }
}
