//! Why there is no answer.

use std::error::Error;
use std::fmt;

use crate::front::service::{BoxError, Ended};
use crate::report::{Party, Phase, Termination, Why};

/// No backend has answered; after the last try that the target's policy allowed.
///
/// [`termination`](Self::termination) says who ended it and why, by the words of log and metrics; the
/// client there is the caller.
#[derive(Debug)]
pub struct ClientError {
    ended: Ended,
    fault: Option<BoxError>,
}

impl ClientError {
    pub(super) const fn new(ended: Ended, fault: Option<BoxError>) -> Self {
        Self { ended, fault }
    }

    /// A request that cannot be sent.
    pub(super) const fn refused(why: Why, detail: &'static str) -> Ended {
        Ended {
            termination: Termination::new(Party::Client, Phase::RequestHead, why),
            detail: Some(detail),
        }
    }

    /// Who ended it, in which phase, and why.
    #[must_use]
    pub const fn termination(&self) -> Termination {
        self.ended.termination
    }

    /// What happened in detail, by the name it has in logs, where more is known: `connect-refused`,
    /// `closed-before-response`.
    #[must_use]
    pub const fn detail(&self) -> Option<&'static str> {
        self.ended.detail
    }

    /// Whether the request is not one that can be sent: no host, a method that opens a tunnel. The
    /// caller's to mend.
    #[must_use]
    pub fn is_request(&self) -> bool {
        let ended = self.termination();
        ended.party() == Party::Client && ended.phase() == Phase::RequestHead
    }

    /// Whether the request's own body failed; the error is the [`source`](Error::source).
    #[must_use]
    pub fn is_body(&self) -> bool {
        let ended = self.termination();
        ended.party() == Party::Client && ended.phase() == Phase::RequestBody
    }

    /// Whether something took too long: connecting, the answer, or all together.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.termination().why() == Why::Timeout
    }

    /// Whether no backend could be reached; none has seen the request, as far as its last try went.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        self.termination().phase() == Phase::Connect
    }

    /// Whether the pool has no backend to send to: it is empty, or all are down.
    #[must_use]
    pub fn is_no_backend(&self) -> bool {
        self.termination().why() == Why::NoBackend
    }

    /// Whether every place is taken, here or at the backend; later there may be one.
    #[must_use]
    pub fn is_overloaded(&self) -> bool {
        self.termination().why() == Why::Overloaded
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer: {}", self.termination())?;
        match self.detail() {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

impl Error for ClientError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let fault: &(dyn Error + 'static) = self.fault.as_deref()?;
        Some(fault)
    }
}
