//! What was signed, for whom: a log that shows whether it was tampered with.
//!
//! One line of JSON for each signature that was asked for, in ASCII. Each line holds a number and
//! the hash of the line before, and ends in its own hash: a line changed, removed, put in or moved
//! breaks the chain at that place, and [`verify()`] says where.
//!
//! ```text
//! {"seq":0,"prev":"00…","kind":"begin","version":1,"at":…,"mac":"…","hash":"a1…"}
//! {"seq":1,"prev":"a1…","kind":"sign","at":…,"identity":"lb://node/7",…,"hash":"b2…"}
//! {"seq":2,"prev":"b2…","kind":"checkpoint","at":…,"mac":"…","hash":"c3…"}
//! ```
//!
//! | kind | says |
//! |---|---|
//! | `begin` | a file begins; `prev` is the last hash of the file before, or zeros |
//! | `open` | a process opened the log |
//! | `sign` | a [`Record`] |
//! | `lost` | so many records could not be written, and signatures were made all the same |
//! | `torn` | the process before this one was stopped within a line, which is quoted |
//! | `checkpoint` | a code over the chain so far, by a key that is kept elsewhere |
//!
//! `hash` is the SHA-256 of the 32 bytes of `prev` and of the line up to, and without, `,"hash"`.
//!
//! # What it proves
//!
//! Without a key, that the file is as one writer wrote it, if the last hash is known from elsewhere;
//! who can write the file can otherwise make a whole new chain. With a [`CheckpointKey`] that they
//! have not, they cannot: every file begins with a code, and one comes at least once in
//! [`MOST_UNSEALED`] lines. What no key shows is that a log was cut off after a
//! checkpoint, since what is left was once the whole log: for that, remember a [`Head`] from time to
//! time on another machine ([`AuditLog::head`]) and have it looked for ([`Expected::head`]).
//!
//! The key must be secret from whoever may come to write the file, and the process that writes has
//! it: who takes over the running server can go on with the chain, but not change what came before
//! the last head that was remembered elsewhere.

mod chain;
mod clock;
mod file;
mod json;
mod key;
mod line;
mod log;
mod queue;
mod record;
mod verify;
mod writer;

pub use chain::{BadHead, Head, MOST_UNSEALED};
pub use file::OpenError;
pub use key::{BadCheckpointKey, CheckpointKey};
pub use log::{AuditConfig, AuditLog, AuditStats, OnAuditFailure, Unrecorded};
pub use record::{Decision, Record};
pub use verify::{Broken, Expected, Fault, Summary, verify};

pub(crate) use clock::unix_millis;
