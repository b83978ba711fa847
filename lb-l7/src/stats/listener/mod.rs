//! What a listener has done: connections, handshakes, requests and how they ended.

use std::fmt;
use std::ops::AddAssign;
use std::sync::Arc;

use http::Version;

use super::counter::{Counter, Shares, Writer, Writers, count};
use crate::report::{Report, Termination, words};

words! {
    /// Why a client's connection was turned away before its first request.
    #[non_exhaustive]
    Refused {
        /// Accepting failed: no descriptor, no memory, or the client was gone already.
        Accept = "accept",
        /// The process-wide budget is spent.
        Budget = "budget",
        /// The listener has as many connections as it may have.
        Connections = "connections",
        /// The address lists turn the client away.
        Denied = "denied",
        /// The proxy is draining.
        Draining = "draining",
        /// What came first is neither HTTP/1 nor the preface of HTTP/2.
        Preface = "preface",
        /// The PROXY protocol header is missing, malformed or too long.
        ProxyHeader = "proxy-header",
        /// The PROXY protocol header did not come in time.
        ProxyTimeout = "proxy-timeout",
        /// More new connections a second than the listener, or this client's prefix, may have.
        Rate = "rate",
        /// This host lacks a descriptor, a local port or memory.
        Resources = "resources",
        /// The TLS handshake failed.
        TlsFailed = "tls-failed",
        /// The TLS handshake did not end in time.
        TlsTimeout = "tls-timeout",
    }
}

words! {
    /// The version of HTTP that a request came by.
    #[non_exhaustive]
    Protocol {
        /// HTTP/1.0.
        Http10 = "http/1.0",
        /// HTTP/1.1.
        Http11 = "http/1.1",
        /// HTTP/2.
        Http2 = "http/2",
        /// Any other; no request was read.
        Other = "other",
    }
}

impl From<Version> for Protocol {
    fn from(version: Version) -> Self {
        match version {
            Version::HTTP_10 => Self::Http10,
            Version::HTTP_11 => Self::Http11,
            Version::HTTP_2 => Self::Http2,
            _ => Self::Other,
        }
    }
}

/// The counters of one listener; clones are the same counters.
///
/// Each worker writes a share of its own, which takes 4.9 KiB.
#[derive(Clone)]
pub struct ListenerStats {
    shares: Arc<Shares<Share>>,
}

impl ListenerStats {
    /// Counters for these workers, all zero.
    #[must_use]
    pub fn new(writers: &Writers) -> Self {
        Self {
            shares: Arc::new(Shares::new(writers)),
        }
    }

    /// Counts a connection that was accepted; each is [`closed`](Self::closed) once.
    pub fn accepted(&self, writer: &mut Writer) {
        self.count(writer, |share| share.accepted.add(1));
    }

    /// Counts a connection that has ended, refused ones included.
    pub fn closed(&self, writer: &mut Writer) {
        self.count(writer, |share| share.closed.add(1));
    }

    /// Counts a connection that was turned away.
    pub fn refused(&self, writer: &mut Writer, why: Refused) {
        self.count(writer, |share| count(&share.refused, why.index()));
    }

    /// Counts a TLS handshake that agreed on something anew.
    pub fn handshake(&self, writer: &mut Writer) {
        self.count(writer, |share| share.handshakes.add(1));
    }

    /// Counts a TLS handshake that resumed a session.
    pub fn resumed(&self, writer: &mut Writer) {
        self.count(writer, |share| share.resumed.add(1));
    }

    /// Counts an exchange that has ended, by its protocol and its termination.
    #[inline]
    pub fn record(&self, writer: &mut Writer, report: &Report<'_>) {
        self.count(writer, |share| {
            let protocol = Protocol::from(report.client.version);
            count(&share.requests, protocol.index());
            count(&share.terminations.0, report.termination.index());
        });
    }

    /// The sums over all workers.
    ///
    /// What a worker has counted before the call is in it; what ends during the call may or may not
    /// be.
    #[must_use]
    pub fn read(&self) -> ListenerFigures {
        let mut sum = ListenerFigures::default();
        for share in self.shares.iter() {
            sum += &share.read();
        }
        sum
    }

    #[inline]
    fn count(&self, writer: &mut Writer, count: impl FnOnce(&Share)) {
        if let Some(share) = self.shares.of(writer) {
            count(share);
        }
    }
}

impl fmt::Debug for ListenerStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = self.read();
        f.debug_struct("ListenerStats")
            .field("accepted", &figures.accepted)
            .field("closed", &figures.closed)
            .finish_non_exhaustive()
    }
}

/// One reading of [`ListenerStats`]; readings add up.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListenerFigures {
    /// Connections accepted, those refused afterwards included.
    pub accepted: u64,
    /// Connections ended.
    pub closed: u64,
    /// Full TLS handshakes.
    pub handshakes: u64,
    /// TLS handshakes that resumed a session.
    pub resumed: u64,
    refused: [u64; Refused::ALL.len()],
    requests: [u64; Protocol::ALL.len()],
    terminations: [u64; Termination::COUNT],
}

impl ListenerFigures {
    /// Connections that are open.
    #[must_use]
    pub const fn open(&self) -> u64 {
        self.accepted.saturating_sub(self.closed)
    }

    /// Connections turned away for this reason.
    #[must_use]
    pub fn refused(&self, why: Refused) -> u64 {
        self.refused.get(why.index()).copied().unwrap_or(0)
    }

    /// Exchanges that came by this protocol.
    #[must_use]
    pub fn requests(&self, protocol: Protocol) -> u64 {
        self.requests.get(protocol.index()).copied().unwrap_or(0)
    }

    /// Exchanges that ended like this.
    #[must_use]
    pub fn ended(&self, how: Termination) -> u64 {
        self.terminations.get(how.index()).copied().unwrap_or(0)
    }

    /// The ends that were met, with how often.
    pub fn terminations(&self) -> impl Iterator<Item = (Termination, u64)> {
        let met = |how| Some((how, self.ended(how))).filter(|&(_, n)| n > 0);
        Termination::all().filter_map(met)
    }
}

impl Default for ListenerFigures {
    fn default() -> Self {
        Self {
            accepted: 0,
            closed: 0,
            handshakes: 0,
            resumed: 0,
            refused: Default::default(),
            requests: Default::default(),
            terminations: [0; Termination::COUNT],
        }
    }
}

impl AddAssign<&Self> for ListenerFigures {
    fn add_assign(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.closed += other.closed;
        self.handshakes += other.handshakes;
        self.resumed += other.resumed;
        add(&mut self.refused, &other.refused);
        add(&mut self.requests, &other.requests);
        add(&mut self.terminations, &other.terminations);
    }
}

fn add(sums: &mut [u64], counts: &[u64]) {
    for (sum, n) in sums.iter_mut().zip(counts) {
        *sum += n;
    }
}

/// What one worker has counted.
#[derive(Default)]
struct Share {
    accepted: Counter,
    closed: Counter,
    handshakes: Counter,
    resumed: Counter,
    refused: [Counter; Refused::ALL.len()],
    requests: [Counter; Protocol::ALL.len()],
    terminations: Terminations,
}

/// An array too long to have a `Default` of its own.
struct Terminations([Counter; Termination::COUNT]);

impl Default for Terminations {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl Share {
    fn read(&self) -> ListenerFigures {
        // Ends are read before beginnings, so that what ends meanwhile is not missing from both.
        let closed = self.closed.read();
        ListenerFigures {
            accepted: self.accepted.read(),
            closed,
            handshakes: self.handshakes.read(),
            resumed: self.resumed.read(),
            refused: self.refused.each_ref().map(Counter::read),
            requests: self.requests.each_ref().map(Counter::read),
            terminations: self.terminations.0.each_ref().map(Counter::read),
        }
    }
}

#[cfg(test)]
mod tests;
