//! The lines of a log, each bound to the one before. Pure.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{self, SHA256};

use super::json::{Line, from_hex};
use super::key::{CheckpointKey, Seal};
use super::record::Record;

/// The most lines of a log that has a key that may follow a checkpoint without another.
pub const MOST_UNSEALED: u64 = 10_000;

/// A place in a chain: how many lines come before it, and the hash of the last of them.
///
/// All the lines up to there are fixed by it. The default is where a chain begins. Shown, and read,
/// as `<lines>:<64 hexadecimal digits>`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct Head {
    /// Lines up to here, over all files of the log.
    pub lines: u64,
    /// The hash of the last of them; zeros where there is none.
    pub hash: [u8; 32],
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.lines)?;
        self.hash
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Head {
    type Err = BadHead;

    fn from_str(text: &str) -> Result<Self, BadHead> {
        let (lines, hash) = text.split_once(':').ok_or(BadHead)?;
        Ok(Self {
            lines: lines.parse().map_err(|_| BadHead)?,
            hash: from_hex(hash.as_bytes()).ok_or(BadHead)?,
        })
    }
}

/// The text is no [`Head`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a head is a number of lines, a colon, and 64 hexadecimal digits in lower case")]
#[non_exhaustive]
pub struct BadHead;

/// Where a chain has got to, and how it goes on.
#[derive(Debug)]
pub(super) struct Chain {
    head: Head,
    key: Option<CheckpointKey>,
    /// Lines between checkpoints.
    every: u64,
    /// Lines since the last checkpoint.
    unsealed: u64,
}

impl Chain {
    /// Goes on from `head`. A checkpoint comes after `every` lines, at least 1.
    pub(super) fn new(head: Head, key: Option<CheckpointKey>, every: u64) -> Self {
        Self {
            head,
            key,
            // Room is left for the few lines that opening a log writes.
            every: every.clamp(1, MOST_UNSEALED - 16),
            unsealed: 0,
        }
    }

    pub(super) const fn head(&self) -> Head {
        self.head
    }

    /// The first line of a file.
    pub(super) fn begin(&mut self, at: u64, into: &mut Vec<u8>) {
        let mac = self.mac(at, true);
        self.line("begin", into, |line| {
            line.number("version", 1).number("at", at);
            match mac {
                Some(mac) => line.hex("mac", &mac),
                None => line.null("mac"),
            };
        });
        self.unsealed = 0;
    }

    /// A process goes on with the log; `torn` is what the one before left of a line, and was cut.
    pub(super) fn open(&mut self, at: u64, torn: &[u8], into: &mut Vec<u8>) {
        if !torn.is_empty() {
            let quoted = torn.get(..QUOTED).unwrap_or(torn);
            let bytes = u64::try_from(torn.len()).unwrap_or(u64::MAX);
            self.line("torn", into, |line| {
                line.number("at", at).number("bytes", bytes);
                line.text("text", &String::from_utf8_lossy(quoted));
            });
        }
        self.line("open", into, |line| {
            line.number("at", at);
        });
        self.checkpoint(at, into);
    }

    pub(super) fn record(&mut self, record: &Record, into: &mut Vec<u8>) {
        self.line("sign", into, |line| record.emit(line));
        if self.unsealed >= self.every {
            self.checkpoint(record.at, into);
        }
    }

    /// So many records are missing here.
    pub(super) fn lost(&mut self, at: u64, count: u64, into: &mut Vec<u8>) {
        self.line("lost", into, |line| {
            line.number("at", at).number("count", count);
        });
    }

    /// Seals what has come since the last checkpoint, if there is anything, and a key.
    pub(super) fn checkpoint(&mut self, at: u64, into: &mut Vec<u8>) {
        if self.unsealed == 0 {
            return;
        }
        if let Some(mac) = self.mac(at, false) {
            self.line("checkpoint", into, |line| {
                line.number("at", at).hex("mac", &mac);
            });
            self.unsealed = 0;
        }
    }

    fn mac(&self, at: u64, is_begin: bool) -> Option<[u8; 32]> {
        let seal = Seal {
            is_begin,
            seq: self.head.lines,
            prev: &self.head.hash,
            at,
        };
        self.key.as_ref().map(|key| key.mac(&seal))
    }

    fn line(&mut self, kind: &str, into: &mut Vec<u8>, fields: impl FnOnce(&mut Line<'_>)) {
        let mut line = Line::new(into);
        line.number("seq", self.head.lines);
        line.hex("prev", &self.head.hash).plain("kind", kind);
        fields(&mut line);
        let hash = hash(&self.head.hash, line.so_far());
        line.hex("hash", &hash);
        line.end();
        self.head = Head {
            lines: self.head.lines + 1,
            hash,
        };
        self.unsealed += 1;
    }
}

/// The hash of a line that follows one of hash `prev`; `line` is without `,"hash"` and what follows.
pub(super) fn hash(prev: &[u8; 32], line: &[u8]) -> [u8; 32] {
    let mut hash = digest::Context::new(&SHA256);
    hash.update(prev);
    hash.update(line);
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(hash.finish().as_ref()) {
        *to = *from;
    }
    bytes
}

/// Bytes of a torn line that are quoted: no `sign` line is longer but for a name full of characters
/// that are escaped.
const QUOTED: usize = 1_024;
