//! What the exchanges of one route, upstream or backend came to.

use std::fmt;
use std::ops::AddAssign;
use std::sync::Arc;

use super::counter::{Counter, Shares, Writer, Writers, count};
use super::histogram::{Histogram, HistogramSnapshot};
use crate::report::{Report, words};

words! {
    /// What kind of answer an exchange had.
    #[expect(clippy::exhaustive_enums, reason = "RFC 9110, 15, has five, and there may be none")]
    StatusClass {
        /// No answer was sent.
        None = "none",
        /// 1xx; as a last answer only 101.
        Informational = "1xx",
        /// 2xx.
        Success = "2xx",
        /// 3xx.
        Redirection = "3xx",
        /// 4xx, and 499 for a client that left.
        ClientError = "4xx",
        /// 5xx.
        ServerError = "5xx",
    }
}

impl StatusClass {
    /// The class of what is logged for an exchange.
    #[inline]
    #[must_use]
    pub fn of(report: &Report<'_>) -> Self {
        match report
            .logged_status()
            .map_or(0, |status| status.as_u16() / 100)
        {
            1 => Self::Informational,
            2 => Self::Success,
            3 => Self::Redirection,
            4 => Self::ClientError,
            5 => Self::ServerError,
            _ => Self::None,
        }
    }
}

/// The counters of one route, one upstream or one backend; clones are the same counters.
///
/// Each worker writes a share of its own, which is made when it first counts and takes 4.25 KiB.
/// Counting takes no lock and no locked instruction; reading adds the shares up.
///
/// Every exchange that [`began`](Self::began) ends by one [`record`](Self::record), or has
/// [`left`](Self::left) for another backend.
///
/// # Examples
///
/// ```
/// use http::Version;
/// use lb_l7::report::{ClientSide, Report, RequestLine};
/// use lb_l7::stats::{ExchangeStats, Writers};
///
/// let writers = Writers::new(2);
/// let stats = ExchangeStats::new(&writers);
/// let mut writer = writers.take().ok_or("no worker is left")?;
///
/// stats.began(&mut writer);
/// assert_eq!(stats.read().in_flight(), 1);
/// let client = ClientSide::new("10.0.0.9:51234".parse()?, "web", Version::HTTP_11);
/// stats.record(&mut writer, &Report::new(client, RequestLine::new("GET", b"example.com", b"/")));
/// assert_eq!(stats.read().in_flight(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ExchangeStats {
    shares: Arc<Shares<Share>>,
}

impl ExchangeStats {
    /// Counters for these workers, all zero.
    #[must_use]
    pub fn new(writers: &Writers) -> Self {
        Self {
            shares: Arc::new(Shares::new(writers)),
        }
    }

    /// Counts an exchange that begins.
    #[inline]
    pub fn began(&self, writer: &mut Writer) {
        if let Some(share) = self.shares.of(writer) {
            share.began.add(1);
        }
    }

    /// Counts an exchange that goes on with another backend: this one's try has failed.
    #[inline]
    pub fn left(&self, writer: &mut Writer) {
        if let Some(share) = self.shares.of(writer) {
            share.left.add(1);
        }
    }

    /// Counts an exchange that has ended.
    #[inline]
    pub fn record(&self, writer: &mut Writer, report: &Report<'_>) {
        if let Some(share) = self.shares.of(writer) {
            share.record(report);
        }
    }

    /// The sums over all workers.
    ///
    /// What a worker has counted before the call is in it; what ends during the call may or may not
    /// be. Costs about 2 µs for each worker.
    #[must_use]
    pub fn read(&self) -> ExchangeFigures {
        let mut sum = ExchangeFigures::default();
        for share in self.shares.iter() {
            share.add_to(&mut sum);
        }
        sum
    }
}

impl fmt::Debug for ExchangeStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().fmt(f)
    }
}

/// One reading of [`ExchangeStats`]; readings add up.
#[non_exhaustive]
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ExchangeFigures {
    /// Exchanges begun.
    pub began: u64,
    /// Exchanges that went on with another backend.
    pub left: u64,
    /// Bytes from clients, heads included.
    pub bytes_in: u64,
    /// Bytes to clients, heads included.
    pub bytes_out: u64,
    /// Exchanges that failed ([`Report::is_error`]).
    pub errors: u64,
    /// Tries beyond the first of each exchange.
    pub retries: u64,
    /// Exchanges that used a connection which had served another before.
    pub reused: u64,
    /// Exchanges that were answered by a hedge.
    pub hedged: u64,
    /// Hedges sent, counted at the backend that answered in the end, whether it was by a hedge or not.
    pub hedges: u64,
    /// From the request's head to the response's first byte, for those that had a response.
    pub first_byte: HistogramSnapshot,
    /// From the request's first byte to the end.
    pub total: HistogramSnapshot,
    classes: [u64; StatusClass::ALL.len()],
}

impl ExchangeFigures {
    /// Exchanges under way.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.began
            .saturating_sub(self.left)
            .saturating_sub(self.recorded())
    }

    /// Exchanges that have ended.
    #[must_use]
    pub fn recorded(&self) -> u64 {
        self.classes.iter().sum()
    }

    /// Exchanges that ended with this kind of answer.
    #[must_use]
    pub fn class(&self, class: StatusClass) -> u64 {
        self.classes.get(class.index()).copied().unwrap_or(0)
    }
}

impl AddAssign<&Self> for ExchangeFigures {
    fn add_assign(&mut self, other: &Self) {
        self.began += other.began;
        self.left += other.left;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.errors += other.errors;
        self.retries += other.retries;
        self.reused += other.reused;
        self.hedged += other.hedged;
        self.hedges += other.hedges;
        self.first_byte += &other.first_byte;
        self.total += &other.total;
        for (sum, n) in self.classes.iter_mut().zip(other.classes) {
            *sum += n;
        }
    }
}

/// What one worker has counted.
#[derive(Default)]
struct Share {
    began: Counter,
    left: Counter,
    bytes_in: Counter,
    bytes_out: Counter,
    errors: Counter,
    retries: Counter,
    reused: Counter,
    hedged: Counter,
    hedges: Counter,
    classes: [Counter; StatusClass::ALL.len()],
    first_byte: Histogram,
    total: Histogram,
}

impl Share {
    #[inline]
    fn record(&self, report: &Report<'_>) {
        count(&self.classes, StatusClass::of(report).index());
        self.bytes_in.add(report.traffic.bytes_in());
        self.bytes_out.add(report.traffic.bytes_out());
        self.errors.add(u64::from(report.is_error()));
        if let Some(backend) = &report.backend {
            self.retries.add(u64::from(backend.tries.saturating_sub(1)));
            self.reused.add(u64::from(backend.reused));
            self.hedged.add(u64::from(backend.hedged));
            self.hedges.add(u64::from(backend.hedges));
        }
        if let Some(first_byte) = report.times.to_first_byte() {
            self.first_byte.record_alone(first_byte);
        }
        self.total.record_alone(report.times.total());
    }

    fn add_to(&self, sum: &mut ExchangeFigures) {
        // Ends are read before beginnings, so that what ends meanwhile is not missing from both.
        for (sum, n) in sum.classes.iter_mut().zip(&self.classes) {
            *sum += n.read();
        }
        sum.left += self.left.read();
        sum.began += self.began.read();
        sum.bytes_in += self.bytes_in.read();
        sum.bytes_out += self.bytes_out.read();
        sum.errors += self.errors.read();
        sum.retries += self.retries.read();
        sum.reused += self.reused.read();
        sum.hedged += self.hedged.read();
        sum.hedges += self.hedges.read();
        self.first_byte.add_to(&mut sum.first_byte);
        self.total.add_to(&mut sum.total);
    }
}

#[cfg(test)]
mod tests;
