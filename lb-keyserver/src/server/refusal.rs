//! Why there is no signature.

use crate::access::Denial;
use crate::audit::{Decision, Unrecorded};
use crate::quota::QuotaExceeded;
use crate::store::SignFailure;
use crate::wire::ErrorCode;

/// Why a client that asked for a signature got none.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// The digest is not as long as its hash.
    BadDigest,
    /// What is to be signed is malformed, or is not what it says.
    BadFormat,
    /// No such operation, not in this mode, or not with a key of this kind.
    BadOpcode,
    /// The access list does not allow it.
    Denied(Denial),
    /// The server is shutting down.
    Draining,
    /// The key could not sign.
    Failed(SignFailure),
    /// The client has reached a limit.
    Limited(QuotaExceeded),
    /// As many signatures wait for a thread as may.
    Overloaded,
    /// The key's own code panicked.
    Panicked,
    /// It waited for a thread for so long that nobody waits for the signature any more.
    TooLate,
    /// The opcode is one of answers.
    UnexpectedOpcode,
    /// No key is named, or one that is not there.
    UnknownKey,
    /// It cannot be recorded, and what is not recorded is not to be signed.
    Unrecorded(Unrecorded),
}

impl Refusal {
    /// Every one of them.
    pub const ALL: [Self; 24] = [
        Self::BadDigest,
        Self::BadFormat,
        Self::BadOpcode,
        Self::Denied(Denial::Revoked),
        Self::Denied(Denial::UnknownIdentity),
        Self::Denied(Denial::Key),
        Self::Denied(Denial::Scheme),
        Self::Denied(Denial::Mode),
        Self::Denied(Denial::ServerName),
        Self::Draining,
        Self::Failed(SignFailure::Crypto),
        Self::Failed(SignFailure::Unavailable),
        Self::Limited(QuotaExceeded::InFlight),
        Self::Limited(QuotaExceeded::IdentityRate),
        Self::Limited(QuotaExceeded::KeyRate),
        Self::Limited(QuotaExceeded::TableFull),
        Self::Overloaded,
        Self::Panicked,
        Self::TooLate,
        Self::UnexpectedOpcode,
        Self::UnknownKey,
        Self::Unrecorded(Unrecorded::Closed),
        Self::Unrecorded(Unrecorded::Failed),
        Self::Unrecorded(Unrecorded::Full),
    ];

    /// Its name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadDigest => "bad-digest",
            Self::BadFormat => "bad-format",
            Self::BadOpcode => "bad-opcode",
            Self::Denied(Denial::Revoked) => "denied-revoked",
            Self::Denied(Denial::UnknownIdentity) => "denied-unknown-identity",
            Self::Denied(Denial::Key) => "denied-key",
            Self::Denied(Denial::Scheme) => "denied-scheme",
            Self::Denied(Denial::Mode) => "denied-mode",
            Self::Denied(Denial::ServerName) => "denied-server-name",
            Self::Draining => "draining",
            Self::Failed(SignFailure::Crypto) => "failed-crypto",
            Self::Failed(SignFailure::Unavailable) => "failed-unavailable",
            Self::Limited(QuotaExceeded::InFlight) => "limited-in-flight",
            Self::Limited(QuotaExceeded::IdentityRate) => "limited-identity-rate",
            Self::Limited(QuotaExceeded::KeyRate) => "limited-key-rate",
            Self::Limited(QuotaExceeded::TableFull) => "limited-table-full",
            Self::Overloaded => "overloaded",
            Self::Panicked => "panicked",
            Self::TooLate => "too-late",
            Self::UnexpectedOpcode => "unexpected-opcode",
            Self::UnknownKey => "unknown-key",
            Self::Unrecorded(why) => why.as_str(),
        }
    }

    /// What the client is told. A key that it may not use looks like one that is not there.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::BadDigest | Self::Failed(SignFailure::Crypto) => ErrorCode::Crypto,
            Self::BadFormat => ErrorCode::Format,
            Self::BadOpcode => ErrorCode::BadOpcode,
            Self::Denied(_) => Denial::CODE,
            Self::Limited(_) => QuotaExceeded::CODE,
            Self::UnexpectedOpcode => ErrorCode::UnexpectedOpcode,
            Self::UnknownKey => ErrorCode::KeyNotFound,
            Self::Unrecorded(_) => Unrecorded::CODE,
            Self::Draining
            | Self::Failed(SignFailure::Unavailable)
            | Self::Overloaded
            | Self::Panicked
            | Self::TooLate => ErrorCode::Internal,
        }
    }

    /// What the audit log says of it.
    #[must_use]
    pub const fn decision(self) -> Decision {
        match self {
            Self::Denied(why) => Decision::Denied(why),
            Self::Limited(why) => Decision::Limited(why),
            other => Decision::Failed(other.code()),
        }
    }

    /// Its place in [`ALL`](Self::ALL).
    pub(super) fn place(self) -> Option<usize> {
        Self::ALL.iter().position(|refusal| *refusal == self)
    }
}

impl From<Denial> for Refusal {
    fn from(why: Denial) -> Self {
        Self::Denied(why)
    }
}

impl From<QuotaExceeded> for Refusal {
    fn from(why: QuotaExceeded) -> Self {
        Self::Limited(why)
    }
}

impl From<SignFailure> for Refusal {
    fn from(why: SignFailure) -> Self {
        Self::Failed(why)
    }
}

impl From<Unrecorded> for Refusal {
    fn from(why: Unrecorded) -> Self {
        Self::Unrecorded(why)
    }
}

/// Of a question that was answered with this code as it was read.
impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::BadOpcode => Self::BadOpcode,
            ErrorCode::Crypto => Self::BadDigest,
            ErrorCode::KeyNotFound => Self::UnknownKey,
            ErrorCode::UnexpectedOpcode => Self::UnexpectedOpcode,
            _ => Self::BadFormat,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_has_a_name_and_a_place_of_its_own() {
        let names: HashSet<_> = Refusal::ALL
            .iter()
            .map(|refusal| refusal.as_str())
            .collect();
        assert_eq!(names.len(), Refusal::ALL.len());
        for (place, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal.place(), Some(place));
        }
    }

    #[test]
    fn every_denial_quota_and_failure_is_among_them() {
        let denials = Denial::ALL.map(Refusal::from);
        let limits = QuotaExceeded::ALL.map(Refusal::from);
        let unrecorded = Unrecorded::ALL.map(Refusal::from);
        for refusal in denials.into_iter().chain(limits).chain(unrecorded) {
            assert!(refusal.place().is_some(), "{refusal:?}");
        }
    }

    #[test]
    fn a_key_of_others_looks_like_one_that_is_not_there() {
        for why in Denial::ALL {
            assert_eq!(Refusal::Denied(why).code(), Refusal::UnknownKey.code());
        }
        assert_eq!(Refusal::UnknownKey.code(), ErrorCode::KeyNotFound);
    }

    #[test]
    fn overload_may_be_asked_of_another_server() {
        for refusal in [Refusal::Overloaded, Refusal::TooLate, Refusal::Draining] {
            assert_eq!(refusal.code(), ErrorCode::Internal);
        }
    }

    #[test]
    fn a_code_of_reading_comes_back_as_it_was() {
        for code in [
            ErrorCode::BadOpcode,
            ErrorCode::Crypto,
            ErrorCode::Format,
            ErrorCode::KeyNotFound,
            ErrorCode::UnexpectedOpcode,
        ] {
            assert_eq!(Refusal::from(code).code(), code);
        }
    }
}
