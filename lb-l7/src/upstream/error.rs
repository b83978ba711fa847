//! Why a backend could not be reached, and how an exchange with one fails.

use std::io;

use thiserror::Error;

use crate::h1::Rejection;

/// Why there is no connection to a backend.
#[non_exhaustive]
#[derive(Debug, Error)]
pub enum OpenError {
    /// The backend could not be reached; the kind says how: refused, unreachable, reset.
    #[error("connecting failed: {0}")]
    Connect(#[source] io::Error),
    /// This machine lacks descriptors, ports or memory. Not the backend's fault.
    #[error("out of local resources: {0}")]
    Local(#[source] io::Error),
    /// The backend speaks another protocol than was agreed on.
    #[error("the backend does not speak the protocol: {0}")]
    Protocol(#[source] h2::Error),
    /// All connections to the backend are in use, and as many wait already as may.
    #[error("too many wait for a connection")]
    QueueFull,
    /// All connections to the backend were in use for as long as may be waited for one.
    #[error("no connection was free in time")]
    QueueTimeout,
    /// The backend accepted a connection of HTTP/2, and allows no stream on it.
    #[error("the backend allows no stream")]
    Refused,
    /// Connecting took too long.
    #[error("connecting took too long")]
    Timeout,
    /// The TLS handshake failed: a certificate that is not trusted, a name that does not match.
    #[error("the TLS handshake failed: {0}")]
    Tls(#[source] io::Error),
    /// This connector does not serve addresses of this kind. The configuration needs mending.
    #[error("addresses of this kind are not served")]
    Unsupported,
}

impl OpenError {
    /// Its name in logs and metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Connect(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => "connect-refused",
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                    "connect-unreachable"
                }
                io::ErrorKind::TimedOut => "connect-timeout",
                _ => "connect-failed",
            },
            Self::Local(_) => "connect-local",
            Self::Protocol(_) => "connect-protocol",
            Self::QueueFull => "connect-queue-full",
            Self::QueueTimeout => "connect-queue-timeout",
            Self::Refused => "connect-stream-refused",
            Self::Timeout => "connect-timeout",
            Self::Tls(_) => "connect-tls",
            Self::Unsupported => "connect-unsupported",
        }
    }

    /// Whether the backend is to be charged with it.
    #[must_use]
    pub const fn is_backends_fault(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Protocol(_) | Self::Refused | Self::Timeout | Self::Tls(_) => {
                true
            }
            Self::Local(_) | Self::QueueFull | Self::QueueTimeout | Self::Unsupported => false,
        }
    }

    /// Sorts what a connector said.
    pub(super) fn dialling(error: io::Error) -> Self {
        let is_local = error
            .raw_os_error()
            .is_some_and(|code| LOCAL.contains(&code));
        match error.kind() {
            _ if is_local => Self::Local(error),
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory => Self::Local(error),
            io::ErrorKind::Unsupported => Self::Unsupported,
            _ => Self::Connect(error),
        }
    }
}

/// EMFILE, ENFILE and ENOBUFS of Linux, which have no kind of their own.
const LOCAL: [i32; 3] = [24, 23, 105];

/// How an exchange with a backend failed.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
pub enum ChannelErrorKind {
    /// The backend closed the connection before it had answered.
    #[error("closed before the response")]
    ClosedBeforeResponse,
    /// The backend closed the connection in the middle of its answer.
    #[error("closed within the response")]
    ClosedInBody,
    /// The backend closed the connection in the middle of the head of its answer.
    #[error("closed within the head of the response")]
    ClosedInHead,
    /// HTTP/2: the backend takes no more streams on this connection (RFC 9113, 6.8).
    #[error("the backend is closing the connection")]
    GoAway,
    /// Reading or writing failed in another way.
    #[error("input or output failed: {0}")]
    Io(io::ErrorKind),
    /// What the backend sent is no HTTP/1 message.
    #[error("the response is malformed: {0}")]
    Malformed(Rejection),
    /// HTTP/2: the backend broke the protocol, or said that we had.
    #[error("the protocol was broken")]
    Protocol,
    /// HTTP/2: the backend did not process the stream (RFC 9113, 8.7).
    #[error("the stream was refused")]
    RefusedStream,
    /// The request is not one that can be written in this protocol. This side's fault.
    #[error("the request cannot be written")]
    Request,
    /// The body of the request was shorter or longer than was announced. This side's fault.
    #[error("the request has another length than was announced")]
    RequestLength,
    /// The backend broke the exchange off.
    #[error("reset by the backend")]
    Reset,
    /// More interim responses than any backend has reason to send.
    #[error("too many interim responses")]
    TooManyInformational,
    /// The backend does not know extended CONNECT (RFC 8441, 3).
    #[error("the backend takes no tunnels")]
    TunnelUnsupported,
}

/// An exchange with a backend has failed.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("{kind}")]
pub struct ChannelError {
    /// How.
    #[source]
    pub kind: ChannelErrorKind,
    /// Whether the backend has provably not processed the request: no byte of it was written, or the
    /// backend said so (RFC 9110, 9.2.2; RFC 9113, 8.7).
    pub unprocessed: bool,
}

impl ChannelError {
    pub(super) const fn new(kind: ChannelErrorKind, unprocessed: bool) -> Self {
        Self { kind, unprocessed }
    }

    /// A failure of reading or writing.
    pub(super) fn io(error: &io::Error, unprocessed: bool) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => ChannelErrorKind::Reset,
            kind => ChannelErrorKind::Io(kind),
        };
        Self::new(kind, unprocessed)
    }

    /// A failure of a tunnel, which nobody can repeat.
    pub(crate) fn of_tunnel(error: &io::Error) -> Self {
        Self::io(error, false)
    }

    /// A failure of an HTTP/2 stream.
    pub(super) fn http2(error: &h2::Error) -> Self {
        if let Some(error) = error.get_io() {
            return Self::io(error, false);
        }
        match error.reason() {
            // Streams up to the last that GOAWAY names are let finish; this one is above it.
            _ if error.is_go_away() && error.is_remote() => {
                Self::new(ChannelErrorKind::GoAway, true)
            }
            Some(h2::Reason::REFUSED_STREAM) if error.is_remote() => {
                Self::new(ChannelErrorKind::RefusedStream, true)
            }
            Some(_) if error.is_reset() && error.is_remote() => {
                Self::new(ChannelErrorKind::Reset, false)
            }
            _ => Self::new(ChannelErrorKind::Protocol, false),
        }
    }

    /// Its name in logs and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self.kind {
            ChannelErrorKind::ClosedBeforeResponse => "closed-before-response",
            ChannelErrorKind::ClosedInBody => "closed-in-body",
            ChannelErrorKind::ClosedInHead => "closed-in-head",
            ChannelErrorKind::GoAway => "goaway",
            ChannelErrorKind::Io(_) => "io",
            ChannelErrorKind::Malformed(_) => "malformed",
            ChannelErrorKind::Protocol => "protocol",
            ChannelErrorKind::RefusedStream => "refused-stream",
            ChannelErrorKind::Request => "request",
            ChannelErrorKind::RequestLength => "request-length",
            ChannelErrorKind::Reset => "reset",
            ChannelErrorKind::TooManyInformational => "too-many-informational",
            ChannelErrorKind::TunnelUnsupported => "tunnel-unsupported",
        }
    }
}
