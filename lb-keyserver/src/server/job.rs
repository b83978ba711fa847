//! A signature that is to be made.

use std::fmt;
use std::time::Duration;

use lbcore::Instant;

use super::decide::Granted;
use super::pace::Paces;
use super::refusal::Refusal;
use crate::audit::{AuditLog, Record};
use crate::question::{emit_error, emit_signature};
use crate::scheme::Scheme;
use crate::store::{Input, SignFailure};

/// A signature that is to be made, on whichever thread.
///
/// Dropped, it no longer counts against its client's quota.
pub(crate) struct Job {
    pub(super) id: u32,
    pub(super) granted: Granted,
    pub(super) arrived: Instant,
    /// What the audit log is to say, but for how it ends.
    pub(super) record: Option<Box<Record>>,
}

impl Job {
    pub(crate) const fn scheme(&self) -> Scheme {
        self.granted.to_sign.scheme()
    }

    pub(crate) const fn arrived(&self) -> Instant {
        self.arrived
    }

    /// Bytes that are kept until it is signed, beside what every job takes.
    pub(super) fn held(&self) -> usize {
        match self.granted.to_sign.input() {
            Input::Message(message) => message.len(),
            Input::Digest(_) => 0,
        }
    }

    /// How long signing is going to take.
    pub(crate) fn pace(&self, paces: &Paces) -> Duration {
        let key = self.granted.key.public_key();
        paces.estimate(&key.ski(), key.kind())
    }

    /// Takes account of how long it took.
    pub(crate) fn learn(&self, paces: &Paces, took: Duration) {
        let key = self.granted.key.public_key();
        paces.learn(&key.ski(), key.kind(), took);
    }

    /// Signs. May block, and, where the key is another's code, panic.
    pub(crate) fn sign(&self) -> Result<Vec<u8>, SignFailure> {
        let to_sign = &self.granted.to_sign;
        self.granted.key.sign(to_sign.scheme(), to_sign.input())
    }

    /// Appends the answer, having recorded it: what is not recorded is not sent.
    ///
    /// # Errors
    ///
    /// Why it is no signature; the answer says so.
    pub(crate) fn answer(
        self,
        signed: Result<&[u8], Refusal>,
        took: Duration,
        audit: Option<&AuditLog>,
        into: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let recorded = match (audit, self.record) {
            (Some(audit), Some(record)) => audit.record(finished(*record, signed.err(), took)),
            _ => Ok(()),
        };
        match signed.and_then(|signature| recorded.map(|()| signature).map_err(Refusal::from)) {
            Ok(signature) => {
                emit_signature(self.id, signature, into);
                Ok(())
            }
            Err(why) => {
                emit_error(self.id, why.code(), into);
                Err(why)
            }
        }
    }
}

fn finished(mut record: Record, refusal: Option<Refusal>, took: Duration) -> Record {
    if let Some(refusal) = refusal {
        record.decision = refusal.decision();
    }
    record.micros(u64::try_from(took.as_micros()).unwrap_or(u64::MAX))
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("id", &self.id)
            .field("granted", &self.granted)
            .finish_non_exhaustive()
    }
}
