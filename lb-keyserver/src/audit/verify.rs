//! Whether a log is as it was written.
#![warn(clippy::indexing_slicing)]

use std::io::{self, BufRead, Read};

use super::chain::{Head, MOST_UNSEALED};
use super::key::{CheckpointKey, Seal};
use super::line::{BadLine, Body, MAX_LINE, ReadLine};

/// What is known of a log from elsewhere; nothing, by default.
///
/// # Examples
///
/// ```
/// use lb_keyserver::audit::{Expected, Head};
///
/// let remembered: Head = format!("0:{}", "00".repeat(32)).parse()?;
/// let expected = Expected::default().after(remembered).head(remembered);
/// assert!(expected.key.is_none());
/// # Ok::<(), lb_keyserver::audit::BadHead>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Expected {
    /// Where the file before this one ended ([`Summary::head`]); the default head for a log's first.
    /// Unless it is said, any beginning will do.
    pub after: Option<Head>,
    /// A place that the chain has passed, remembered by somebody else. It shows what nothing in the
    /// file can: that the end has been cut off.
    pub head: Option<Head>,
    /// The key of the checkpoints; without it they are not looked at, and who can write the file can
    /// make a chain of their own.
    pub key: Option<CheckpointKey>,
}

impl Expected {
    /// Sets [`after`](Self::after).
    #[must_use]
    pub fn after(mut self, head: Head) -> Self {
        self.after = Some(head);
        self
    }

    /// Sets [`head`](Self::head).
    #[must_use]
    pub fn head(mut self, head: Head) -> Self {
        self.head = Some(head);
        self
    }

    /// Sets [`key`](Self::key).
    #[must_use]
    pub fn key(mut self, key: CheckpointKey) -> Self {
        self.key = Some(key);
        self
    }
}

/// What a good log holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Summary {
    /// Where the file before this one ended.
    pub previous: Head,
    /// Where this one ends.
    pub head: Head,
    /// Records of signatures.
    pub records: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Records that the log itself says are missing.
    pub lost: u64,
    /// Times that a process was stopped within a line, before the last.
    pub torn: u64,
    /// Lines after the last checkpoint: these an attacker may have made up, key or no key.
    pub unsealed: u64,
    /// Bytes at the end that are no whole line; 0 when there are none. The writer was stopped while
    /// writing, or is writing now.
    pub torn_tail: u64,
}

/// A log that is not as it was written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {fault}")]
#[non_exhaustive]
pub struct Broken {
    /// The line in the file, the first being 1.
    pub line: u64,
    /// What is wrong there.
    pub fault: Fault,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Its code is not by the key: the log was made up, or has another key.
    #[error("the code of the checkpoint is not by this key")]
    Checkpoint,
    /// Its own hash is wrong: it was changed.
    #[error("the line was changed: its hash is not its own")]
    Hash,
    /// The log ends here, and never passes the head that was expected: it was cut off, or is another.
    #[error("the log does not contain the head that was expected")]
    Head,
    /// It is no line of such a log.
    #[error("not a line of an audit log")]
    Malformed,
    /// A beginning in the midst of a file, or something else at its beginning.
    #[error("a file begins with a beginning, and has no other")]
    Misplaced,
    /// The line before is not the one that it followed: lines were removed, put in or moved.
    #[error("the line does not follow the one before: its hash is another")]
    Previous,
    /// The file cannot be read.
    #[error("cannot read: {0}")]
    Read(io::ErrorKind),
    /// It does not have the number that follows: lines were removed, put in or moved.
    #[error("lines are missing or out of order: number {found} instead of {expected}")]
    Sequence {
        /// The number that it should have.
        expected: u64,
        /// The number that it has.
        found: u64,
    },
    /// No checkpoint in the last [`MOST_UNSEALED`] lines: the writer has no key, or these lines are
    /// not the writer's.
    #[error("no checkpoint for too many lines")]
    Unsealed,
}

/// Reads one file of a log, and says whether it is as it was written.
///
/// A last line without an end is no fault but a [`Summary::torn_tail`]: a crash leaves one. The files
/// of a log are verified one after the other, each [`after`](Expected::after) the head of the one
/// before. Cost: linear; about 2 µs a line, and memory for one line.
///
/// # Errors
///
/// Names the first line that is wrong, and how.
pub fn verify(mut reader: impl BufRead, expected: &Expected) -> Result<Summary, Broken> {
    let mut walk = Walk {
        expected,
        summary: Summary::default(),
        line: 0,
        passed: false,
    };
    let mut buffer = Vec::with_capacity(MAX_LINE);
    loop {
        buffer.clear();
        walk.line += 1;
        let mut limited = (&mut reader).take(MAX_LINE as u64);
        let read = limited.read_until(b'\n', &mut buffer);
        read.map_err(|error| walk.broken(Fault::Read(error.kind())))?;
        match buffer.strip_suffix(b"\n") {
            Some(line) => walk.step(line).map_err(|fault| walk.broken(fault))?,
            None if buffer.len() == MAX_LINE => return Err(walk.broken(Fault::Malformed)),
            None => return walk.end(buffer.len()),
        }
    }
}

struct Walk<'a> {
    expected: &'a Expected,
    summary: Summary,
    /// The line that is looked at, the first being 1.
    line: u64,
    /// Whether the chain has been where it was expected to come.
    passed: bool,
}

impl Walk<'_> {
    fn step(&mut self, line: &[u8]) -> Result<(), Fault> {
        let line = ReadLine::parse(line).map_err(|bad| match bad {
            BadLine::Malformed => Fault::Malformed,
            BadLine::Hash => Fault::Hash,
        })?;
        let is_begin = matches!(line.body, Body::Begin { .. });
        if is_begin != (self.line == 1) {
            return Err(Fault::Misplaced);
        }
        if is_begin {
            let previous = Head {
                lines: line.seq,
                hash: line.prev,
            };
            self.summary.previous = self.expected.after.unwrap_or(previous);
            self.pass(self.summary.previous);
        }
        let head = self.summary.head;
        if line.seq != head.lines {
            let (expected, found) = (head.lines, line.seq);
            return Err(Fault::Sequence { expected, found });
        }
        if line.prev != head.hash {
            return Err(Fault::Previous);
        }
        self.count(&line)?;
        let lines = line.seq.checked_add(1).ok_or(Fault::Malformed)?;
        self.pass(Head {
            lines,
            hash: line.hash,
        });
        Ok(())
    }

    fn count(&mut self, line: &ReadLine<'_>) -> Result<(), Fault> {
        let summary = &mut self.summary;
        summary.unsealed += 1;
        let is_begin = matches!(line.body, Body::Begin { .. });
        match line.body {
            Body::Begin { at, mac: Some(mac) } | Body::Checkpoint { at, mac } => {
                let (seq, prev) = (line.seq, &line.prev);
                let seal = Seal {
                    is_begin,
                    seq,
                    prev,
                    at,
                };
                let key = self.expected.key.as_ref();
                if key.is_some_and(|key| !key.verifies(&seal, &mac)) {
                    return Err(Fault::Checkpoint);
                }
                summary.checkpoints += u64::from(!is_begin);
                summary.unsealed = 0;
            }
            Body::Begin { mac: None, .. } if self.expected.key.is_some() => {
                return Err(Fault::Unsealed);
            }
            Body::Lost(count) => summary.lost = summary.lost.saturating_add(count),
            Body::Sign => summary.records += 1,
            Body::Torn => summary.torn += 1,
            Body::Begin { .. } | Body::Open => {}
            Body::Unknown(_) => return Err(Fault::Malformed),
        }
        if self.expected.key.is_some() && summary.unsealed > MOST_UNSEALED {
            return Err(Fault::Unsealed);
        }
        Ok(())
    }

    fn pass(&mut self, head: Head) {
        self.summary.head = head;
        self.passed |= self.expected.head == Some(head);
    }

    fn end(mut self, rest: usize) -> Result<Summary, Broken> {
        if self.line == 1 {
            return Err(self.broken(Fault::Misplaced));
        }
        if self.expected.head.is_some() && !self.passed {
            return Err(self.broken(Fault::Head));
        }
        self.summary.torn_tail = u64::try_from(rest).unwrap_or(u64::MAX);
        Ok(self.summary)
    }

    const fn broken(&self, fault: Fault) -> Broken {
        let line = self.line;
        Broken { line, fault }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::chain::Chain;

    fn key(byte: u8) -> CheckpointKey {
        CheckpointKey::from_bytes(&[byte; 32])
    }

    fn fault(bytes: &[u8]) -> Option<(u64, Fault)> {
        let broken = verify(bytes, &Expected::default().key(key(7))).err();
        broken.map(|broken| (broken.line, broken.fault))
    }

    fn begun() -> (Chain, Vec<u8>) {
        let (mut chain, mut bytes) = (Chain::new(Head::default(), Some(key(7)), 1), Vec::new());
        chain.begin(1, &mut bytes);
        (chain, bytes)
    }

    #[test]
    fn a_chain_that_another_went_on_with_is_told_by_its_first_checkpoint() {
        let (chain, mut bytes) = begun();
        let mut forged = Chain::new(chain.head(), Some(key(8)), 1);
        forged.lost(2, 1, &mut bytes);
        assert_eq!(fault(&bytes), None);
        forged.checkpoint(2, &mut bytes);
        assert_eq!(fault(&bytes), Some((3, Fault::Checkpoint)));
    }

    #[test]
    fn the_code_of_a_checkpoint_is_good_for_no_beginning() {
        // Cut off before a checkpoint, the rest would else pass for a file of its own.
        let (mut chain, mut bytes) = begun();
        chain.lost(2, 1, &mut bytes);
        let (seq, prev, at) = (chain.head().lines, chain.head().hash, 5);
        let seal = |is_begin| Seal {
            is_begin,
            seq,
            prev: &prev,
            at,
        };
        let mac = key(7).mac(&seal(false));
        assert!(key(7).verifies(&seal(false), &mac));
        assert!(!key(7).verifies(&seal(true), &mac));
        for other in [
            Seal {
                seq: seq + 1,
                ..seal(false)
            },
            Seal {
                at: 6,
                ..seal(false)
            },
        ] {
            assert!(!key(7).verifies(&other, &mac));
        }
    }

    #[test]
    fn so_many_lines_without_a_checkpoint_are_borne_and_not_one_more() {
        let (chain, mut bytes) = begun();
        let mut silent = Chain::new(chain.head(), None, 1);
        for _ in 0..MOST_UNSEALED {
            silent.lost(2, 3, &mut bytes);
        }
        assert_eq!(fault(&bytes), None);
        let summary = verify(&*bytes, &Expected::default()).expect("good");
        assert_eq!(
            (summary.unsealed, summary.lost),
            (MOST_UNSEALED, 3 * MOST_UNSEALED)
        );
        silent.lost(2, 3, &mut bytes);
        assert_eq!(fault(&bytes), Some((MOST_UNSEALED + 2, Fault::Unsealed)));
        assert!(
            verify(&*bytes, &Expected::default()).is_ok(),
            "without the key nobody looks"
        );
    }

    #[test]
    fn a_reader_that_fails_is_told() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::TimedOut.into())
            }
        }
        let broken = verify(io::BufReader::new(Fails), &Expected::default());
        let fault = Fault::Read(io::ErrorKind::TimedOut);
        assert_eq!(broken, Err(Broken { line: 1, fault }));
    }
}
