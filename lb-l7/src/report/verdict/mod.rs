//! What a termination means to the client, to the log, and to the backend.

use http::StatusCode;
use lbcore::Outcome;

use super::cause::{Party, Phase, Why};
use super::termination::Termination;

impl Termination {
    /// The status that the proxy answers, if it has to and still can.
    ///
    /// None where a backend's answer, or one of the caller's, was or is being sent; where no request
    /// was read; and where nobody is left to read it. Until the response's head has come:
    ///
    /// | who | why | status |
    /// |---|---|---|
    /// | client | malformed | 400 |
    /// | client | timeout in the request's head or body | 408 |
    /// | client | too large: body | 413 |
    /// | client | too large: head | 431 |
    /// | client, proxy | misdirected | 421 |
    /// | client, proxy | unsupported | 501 |
    /// | proxy | denied | 403 |
    /// | proxy | no route | 404 |
    /// | proxy | rate limited | 429 |
    /// | proxy | internal | 500 |
    /// | proxy | drained, no backend, overloaded, resources; timeout in the queue | 503 |
    /// | proxy | timeout of the whole exchange | 504 |
    /// | backend | timeout, connecting included | 504 |
    /// | backend | anything else: closed, reset, connect failed, TLS failed, malformed, too large | 502 |
    ///
    /// (RFC 9110, 15.5 and 15.6; RFC 6585 for 429 and 431. nginx tells 502 from 504 alike.)
    #[must_use]
    pub const fn status(self) -> Option<StatusCode> {
        if !self.phase().awaits_answer() {
            return None;
        }
        match self.party() {
            Party::Nobody => None,
            Party::Client => self.client_status(),
            Party::Proxy => self.proxy_status(),
            Party::Backend => match self.why() {
                Why::Answered | Why::Done => None,
                Why::Timeout => Some(StatusCode::GATEWAY_TIMEOUT),
                _ => Some(StatusCode::BAD_GATEWAY),
            },
        }
    }

    const fn client_status(self) -> Option<StatusCode> {
        match (self.why(), self.phase()) {
            (Why::Malformed, _) => Some(StatusCode::BAD_REQUEST),
            (Why::Misdirected, _) => Some(StatusCode::MISDIRECTED_REQUEST),
            (Why::Timeout, Phase::RequestHead | Phase::RequestBody) => {
                Some(StatusCode::REQUEST_TIMEOUT)
            }
            (Why::TooLarge, Phase::RequestHead) => {
                Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
            }
            (Why::TooLarge, _) => Some(StatusCode::PAYLOAD_TOO_LARGE),
            (Why::Unsupported, _) => Some(StatusCode::NOT_IMPLEMENTED),
            _ => None,
        }
    }

    const fn proxy_status(self) -> Option<StatusCode> {
        Some(match (self.why(), self.phase()) {
            (Why::Denied, _) => StatusCode::FORBIDDEN,
            (Why::Misdirected, _) => StatusCode::MISDIRECTED_REQUEST,
            (Why::NoRoute, _) => StatusCode::NOT_FOUND,
            (Why::RateLimited, _) => StatusCode::TOO_MANY_REQUESTS,
            (Why::Unsupported, _) => StatusCode::NOT_IMPLEMENTED,
            (Why::Drained | Why::NoBackend | Why::Overloaded | Why::Resources, _)
            | (Why::Timeout, Phase::Queue) => StatusCode::SERVICE_UNAVAILABLE,
            (Why::Timeout, _) => StatusCode::GATEWAY_TIMEOUT,
            (Why::Answered | Why::Done, _) => return None,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        })
    }

    /// The status that the log shows when none was sent: 499 for a client that left before its
    /// answer began, as nginx writes it.
    #[must_use]
    pub fn logged_status(self) -> Option<StatusCode> {
        let left = matches!(self.party(), Party::Client)
            && matches!(self.why(), Why::Closed | Why::Reset)
            && self.phase().awaits_answer();
        if left {
            return StatusCode::from_u16(499).ok();
        }
        self.status()
    }

    /// Whether it is the end that such an exchange should have.
    ///
    /// That is a full answer, whoever gave it; a tunnel that one of the two closed; and a connection
    /// that ends between two exchanges, which failed nobody.
    #[must_use]
    pub const fn is_normal(self) -> bool {
        match self.phase() {
            _ if matches!(self.why(), Why::Answered | Why::Done) => true,
            Phase::Tunnel => matches!(self.why(), Why::Closed),
            Phase::KeepAlive => matches!(
                self.why(),
                Why::Closed | Why::Drained | Why::Reset | Why::Timeout
            ),
            _ => false,
        }
    }

    /// What the backend is charged, given the status it answered, if it did.
    ///
    /// | who | why | outcome |
    /// |---|---|---|
    /// | nobody, or answered | status 503 | overloaded |
    /// | | any other 5xx | server error |
    /// | | 4xx | client error |
    /// | | any other, or none | ok |
    /// | backend | anything while connecting; connect failed, TLS failed | connect failed |
    /// | backend | closed a tunnel | ok |
    /// | backend | closed, reset | reset |
    /// | backend | timeout in a tunnel | ok |
    /// | backend | timeout | timeout |
    /// | backend | refused, overloaded | overloaded |
    /// | backend | malformed, too large, anything else | server error |
    /// | client | closed a tunnel, or let one idle | ok |
    /// | client | reads too slowly (timeout in the response's body) | by status |
    /// | client | anything else | cancelled |
    /// | proxy | timeout of the whole exchange in the response's head | timeout |
    /// | proxy | timeout or drain in a tunnel | ok |
    /// | proxy | anything else: its own limits, answers and faults | cancelled |
    ///
    /// A `Retry-After` is the caller's to add: this knows the status alone. A 429 is the client's
    /// fault: backends say it of one client, and ejecting them would help that client.
    #[must_use]
    pub fn outcome(self, status: Option<StatusCode>) -> Outcome {
        match self.party() {
            Party::Nobody => Self::outcome_of(status),
            Party::Backend => self.backend_outcome(status),
            Party::Client => match (self.why(), self.phase()) {
                (Why::Closed | Why::Timeout, Phase::Tunnel) => Outcome::Ok,
                (Why::Timeout, Phase::ResponseBody) => Self::outcome_of(status),
                _ => Outcome::Cancelled,
            },
            Party::Proxy => match (self.why(), self.phase()) {
                (Why::Timeout, Phase::ResponseHead) => Outcome::Timeout,
                (Why::Drained | Why::Timeout, Phase::Tunnel) => Outcome::Ok,
                _ => Outcome::Cancelled,
            },
        }
    }

    fn backend_outcome(self, status: Option<StatusCode>) -> Outcome {
        match (self.why(), self.phase()) {
            (Why::Answered | Why::Done, _) => Self::outcome_of(status),
            (Why::ConnectFailed | Why::TlsFailed, _) | (_, Phase::Connect) => {
                Outcome::ConnectFailed
            }
            (Why::Closed | Why::Timeout, Phase::Tunnel) => Outcome::Ok,
            (Why::Closed | Why::Reset, _) => Outcome::Reset,
            (Why::Timeout, _) => Outcome::Timeout,
            (Why::Overloaded | Why::Refused, _) => OVERLOADED,
            _ => Outcome::ServerError,
        }
    }

    fn outcome_of(status: Option<StatusCode>) -> Outcome {
        match status {
            Some(StatusCode::SERVICE_UNAVAILABLE) => OVERLOADED,
            Some(status) if status.is_server_error() => Outcome::ServerError,
            Some(status) if status.is_client_error() => Outcome::ClientError,
            _ => Outcome::Ok,
        }
    }
}

impl Phase {
    /// Whether a request has begun and its answer has not, so that the proxy may answer.
    #[must_use]
    pub const fn awaits_answer(self) -> bool {
        match self {
            Self::RequestHead
            | Self::Queue
            | Self::Connect
            | Self::RequestBody
            | Self::ResponseHead => true,
            Self::Handshake | Self::ResponseBody | Self::Tunnel | Self::KeepAlive => false,
        }
    }
}

const OVERLOADED: Outcome = Outcome::Overloaded { retry_after: None };

#[cfg(test)]
mod tests;
