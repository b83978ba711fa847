//! How much one HTTP/2 client may ask for.

use std::time::Duration;

use http::HeaderMap;
use thiserror::Error;

use super::Flood;

/// How much one HTTP/2 connection of a client may hold, and how often it may send what costs work.
///
/// The counts are bursts: a counter halves with each [`window`](Self::window), so that what comes
/// steadily may come half as often as a limit says.
///
/// # Examples
///
/// ```
/// use lb_l7::h2_guard::H2Limits;
///
/// let mut limits = H2Limits::default();
/// limits.streams = 50;
/// limits.header_list = 8 << 10;
/// assert!(limits.check().is_ok());
/// assert!(limits.memory_bound() < 12 << 20);
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct H2Limits {
    /// Streams at once (SETTINGS_MAX_CONCURRENT_STREAMS).
    ///
    /// At least 1. The default is 100, the least that RFC 9113, 6.5.2 recommends, and what Envoy
    /// advises at the edge.
    pub streams: u32,

    /// Streams in all before the connection is drained by GOAWAY(NO_ERROR); `None` is no limit.
    ///
    /// At least 1. The default is no limit: the memory of a connection does not grow with its age.
    pub streams_in_all: Option<u32>,

    /// Bytes a client may send on one stream before the backend took them.
    ///
    /// From 0 to 2^31-1. The default is 64 KiB, as Envoy advises at the edge.
    pub stream_window: u32,

    /// Bytes a client may send on all streams before the backends took them.
    ///
    /// From 65,535 to 2^31-1. The default is 1 MiB, as Envoy advises at the edge: sixteen streams
    /// that are not read leave room for the others.
    pub connection_window: u32,

    /// DATA frames of less than 256 bytes that wait for backends, on all streams.
    ///
    /// From 1 to 2^24. The default is 2^14: a stream's window full of the least messages of gRPC,
    /// which have five bytes. The default of the `h2` crate is some 2,000 for this window, and
    /// ends a connection that sends a window of small messages at once.
    pub small_data: u32,

    /// Bytes of answers kept for one stream while the client does not read.
    ///
    /// From 1 to 2^32-1. The default is 32 KiB, two frames.
    pub send_buffer: usize,

    /// Bytes of one decoded header list, 32 added for each field (RFC 9113, 6.5.2).
    ///
    /// At least 1. Above it a request is answered 431, above four times it the connection ends.
    /// The default is 32 KiB.
    pub header_list: u32,

    /// Fields of one request, each crumb of a cookie counted; see [`admits`](Self::admits).
    ///
    /// The default is 200: twice the usual 100, as browsers send a cookie in crumbs.
    pub header_fields: usize,

    /// Bytes of one compressed header block.
    ///
    /// The default is 64 KiB: twice the decoded list, for what Huffman codes make longer.
    pub header_block: u32,

    /// CONTINUATION frames in one header block.
    ///
    /// The default is 8; the `h2` crate has a limit of its own, of at least 5 that do not end the
    /// block.
    pub continuations: u32,

    /// In what time the counts below halve.
    ///
    /// More than zero. The default is 10 s.
    pub window: Duration,

    /// RST_STREAM frames in a window, if they are more than half of the streams opened in it.
    ///
    /// The default is 100; never fewer than [`streams`](Self::streams), as a browser that leaves a
    /// page resets all it has.
    pub resets: u32,

    /// Streams in a window that had to be reset for errors of the client: PROTOCOL_ERROR,
    /// FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, COMPRESSION_ERROR, ENHANCE_YOUR_CALM.
    ///
    /// The default is 100.
    pub provoked_resets: u32,

    /// Streams in a window that were refused (REFUSED_STREAM), if they are more than half of the
    /// streams opened in it.
    ///
    /// The default is 100; never fewer than [`streams`](Self::streams), as a client may open as
    /// many before it has read the limit.
    pub refused: u32,

    /// PING frames in a window, and one more for each DATA or HEADERS frame sent to the client.
    ///
    /// The default is 100. gRPC measures its path by one PING for a round trip in which data came.
    pub pings: u32,

    /// SETTINGS frames in a window.
    ///
    /// The default is 50. A client whose window adapts sends some ten.
    pub settings: u32,

    /// PRIORITY and PRIORITY_UPDATE frames in a window, and four more for each stream opened.
    ///
    /// The default is 100.
    pub priorities: u32,

    /// WINDOW_UPDATE frames in a window; for each stream opened and each DATA frame sent four
    /// more, and one for each 512 bytes sent.
    ///
    /// The default is 200.
    pub window_updates: u32,

    /// DATA frames in a window that carry nothing, or only padding, and end no stream.
    ///
    /// The default is 50. The `h2` crate ends a connection at the 101st of its whole life.
    pub empty_data: u32,

    /// HEADERS and CONTINUATION frames in a window that carry nothing and end no block.
    ///
    /// The default is 10.
    pub empty_headers: u32,

    /// GOAWAY frames in a window.
    ///
    /// The default is 10; a client that drains sends two.
    pub goaways: u32,

    /// Frames of unknown types in a window, and four more for each stream opened.
    ///
    /// The default is 100: a client that greases (RFC 8701's idea) sends one now and then.
    pub unknown_frames: u32,
}

impl Default for H2Limits {
    fn default() -> Self {
        Self {
            streams: 100,
            streams_in_all: None,
            stream_window: 64 << 10,
            connection_window: 1 << 20,
            small_data: 1 << 14,
            send_buffer: 32 << 10,
            header_list: 32 << 10,
            header_fields: 200,
            header_block: 64 << 10,
            continuations: 8,
            window: Duration::from_secs(10),
            resets: 100,
            provoked_resets: 100,
            refused: 100,
            pings: 100,
            settings: 50,
            priorities: 100,
            window_updates: 200,
            empty_data: 50,
            empty_headers: 10,
            goaways: 10,
            unknown_frames: 100,
        }
    }
}

impl H2Limits {
    /// Whether every field is in its range.
    ///
    /// # Errors
    ///
    /// Names the first field that is not.
    pub fn check(&self) -> Result<(), H2LimitsError> {
        let windows = 65_535..=MAX_WINDOW;
        let wrong = if self.streams == 0 {
            "streams"
        } else if self.streams_in_all == Some(0) {
            "streams_in_all"
        } else if self.stream_window > MAX_WINDOW {
            "stream_window"
        } else if !windows.contains(&self.connection_window) {
            "connection_window"
        } else if !(1..=1 << 24).contains(&self.small_data) {
            "small_data"
        } else if self.send_buffer == 0 || u32::try_from(self.send_buffer).is_err() {
            "send_buffer"
        } else if self.header_list == 0 {
            "header_list"
        } else if self.window.is_zero() {
            "window"
        } else {
            return Ok(());
        };
        Err(H2LimitsError { field: wrong })
    }

    /// Whether a request may have these fields, counted before the crumbs of its cookie are put
    /// together.
    ///
    /// The list is short in bytes already ([`header_list`](Self::header_list)); this bounds the
    /// work for each field. Constant time.
    ///
    /// # Errors
    ///
    /// [`Flood::HeaderFields`]: answer 431.
    pub fn admits(&self, fields: &HeaderMap) -> Result<(), Flood> {
        if fields.len() > self.header_fields {
            return Err(Flood::HeaderFields);
        }
        Ok(())
    }

    /// The most bytes that one connection can make the process hold, a little more than exactly.
    ///
    /// Data that backends have not taken, answers that the client has not read, the decoded fields
    /// of requests and of their trailers, the two compression tables, and the buffers of the codec.
    /// It grows with [`streams`](Self::streams) and not with time. With the defaults it is 55 MiB,
    /// most of which takes a hundred requests of a thousand fields of one byte each, with trailers
    /// alike; so lower [`header_list`](Self::header_list) first.
    ///
    /// It holds if data is taken from the `h2` crate as it comes and small pieces are copied: a
    /// piece of one byte keeps the whole buffer that it was read into, up to 16 KiB.
    #[must_use]
    pub fn memory_bound(&self) -> usize {
        let streams = self.streams as usize;
        let list = self.header_list as usize;
        let fields = list / FIELD_LEAST * FIELD_COST;
        let requests = streams.saturating_mul((list + fields).saturating_mul(2) + STREAM_COST);
        let answers = streams.saturating_mul(self.send_buffer);
        let small = (self.small_data as usize).saturating_mul(FRAME_COST);
        let codec = self.header_block as usize + 2 * TABLE + 4 * MAX_FRAME as usize;
        let resets = RESET_STREAMS * STREAM_COST;
        requests
            .saturating_add(answers)
            .saturating_add(self.connection_window as usize)
            .saturating_add(small)
            .saturating_add(codec + resets)
    }

    /// Sets these limits, as far as the `h2` crate has them, on `builder`.
    ///
    /// Its own counts of resets are opened: one of them never forgets, and would end a connection
    /// that many users share by the thousandth malformed request of its life; another takes a
    /// browser that leaves a page for an attacker. [`provoked_resets`](Self::provoked_resets),
    /// [`refused`](Self::refused) and [`resets`](Self::resets) stand in for them.
    pub fn configure(&self, builder: &mut h2::server::Builder) {
        let resets = self.resets.max(self.streams) as usize;
        builder
            .max_concurrent_streams(self.streams)
            .initial_window_size(self.stream_window.min(MAX_WINDOW))
            .initial_connection_window_size(self.connection_window.min(MAX_WINDOW))
            .data_frame_budget((self.small_data as usize).saturating_mul(SMALL))
            .max_send_buffer_size(self.send_buffer.min(u32::MAX as usize))
            .max_header_list_size(self.header_list)
            .max_frame_size(MAX_FRAME)
            .max_concurrent_reset_streams(RESET_STREAMS)
            .max_pending_accept_reset_streams(resets)
            .max_local_error_reset_streams(None);
    }
}

/// A field of [`H2Limits`] outside its range; the writer of the configuration can mend it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("`{field}` is outside its range")]
pub struct H2LimitsError {
    /// Which.
    pub field: &'static str,
}

/// RFC 9113, 6.9.1.
const MAX_WINDOW: u32 = (1 << 31) - 1;

/// The largest frame that is received: SETTINGS_MAX_FRAME_SIZE's initial value (RFC 9113, 6.5.2).
pub(super) const MAX_FRAME: u32 = 1 << 14;

/// Streams that were reset by this side and are remembered for what is still under way; the
/// default of the `h2` crate is 50.
const RESET_STREAMS: usize = 50;

/// The dynamic table of one direction (SETTINGS_HEADER_TABLE_SIZE's initial value), with an entry's
/// bookkeeping of at most three times its 32 bytes.
const TABLE: usize = 4 * 4096;

/// Below it a DATA frame is small for the `h2` crate, and takes the difference of its budget.
const SMALL: usize = 256;

/// What the `h2` crate takes for a DATA frame that waits, beside its data.
const FRAME_COST: usize = 128;

/// What the least field takes of a header list: 32 and a name of one byte.
const FIELD_LEAST: usize = 33;

/// What `http::HeaderMap` takes for a field beside its bytes: an entry of about 104, its share of
/// the index, and both doubled by growth.
const FIELD_COST: usize = 256 - FIELD_LEAST;

/// What the `h2` crate and an exchange take for a stream, beside what is counted otherwise.
const STREAM_COST: usize = 4096;

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::COOKIE;

    use super::*;

    #[test]
    fn the_defaults_are_in_range() {
        assert_eq!(H2Limits::default().check(), Ok(()));
    }

    #[test]
    fn every_field_has_its_range() {
        type Case = (&'static str, fn(&mut H2Limits), fn(&mut H2Limits));
        let cases: [Case; 8] = [
            ("streams", |l| l.streams = 0, |l| l.streams = 1),
            (
                "streams_in_all",
                |l| l.streams_in_all = Some(0),
                |l| l.streams_in_all = Some(1),
            ),
            (
                "stream_window",
                |l| l.stream_window = 1 << 31,
                |l| l.stream_window = (1 << 31) - 1,
            ),
            (
                "connection_window",
                |l| l.connection_window = 65_534,
                |l| l.connection_window = 65_535,
            ),
            (
                "small_data",
                |l| l.small_data = 0,
                |l| l.small_data = 1 << 24,
            ),
            ("send_buffer", |l| l.send_buffer = 0, |l| l.send_buffer = 1),
            ("header_list", |l| l.header_list = 0, |l| l.header_list = 1),
            (
                "window",
                |l| l.window = Duration::ZERO,
                |l| l.window = Duration::from_nanos(1),
            ),
        ];
        for (field, wrong, right) in cases {
            let mut limits = H2Limits::default();
            wrong(&mut limits);
            assert_eq!(limits.check(), Err(H2LimitsError { field }));
            right(&mut limits);
            assert_eq!(limits.check(), Ok(()));
        }
        let mut limits = H2Limits {
            connection_window: 1 << 31,
            ..H2Limits::default()
        };
        assert_eq!(limits.check().unwrap_err().field, "connection_window");
        limits.connection_window -= 1;
        limits.small_data = (1 << 24) + 1;
        assert_eq!(limits.check().unwrap_err().field, "small_data");
        limits.small_data = 1;
        limits.send_buffer = 1 << 32;
        assert_eq!(limits.check().unwrap_err().field, "send_buffer");
        limits.send_buffer -= 1;
        assert_eq!(limits.check(), Ok(()));
    }

    #[test]
    fn each_crumb_of_a_cookie_is_a_field() {
        let limits = H2Limits {
            header_fields: 3,
            ..H2Limits::default()
        };
        let mut fields = HeaderMap::new();
        for _ in 0..3 {
            fields.append(COOKIE, HeaderValue::from_static("a=b"));
            assert_eq!(limits.admits(&fields), Ok(()));
        }
        fields.append(COOKIE, HeaderValue::from_static("a=b"));
        assert_eq!(limits.admits(&fields), Err(Flood::HeaderFields));
    }

    #[test]
    fn the_bound_of_memory_is_what_the_documentation_says() {
        let mut limits = H2Limits::default();
        assert_eq!(limits.memory_bound() >> 20, MEBIBYTES);
        let before = limits.memory_bound();
        limits.streams += 1;
        let stream = limits.memory_bound() - before;
        assert!(stream > limits.send_buffer + 2 * limits.header_list as usize);
        limits.streams = u32::MAX;
        limits.send_buffer = usize::MAX;
        assert_eq!(limits.memory_bound(), usize::MAX);
    }

    /// As in the documentation of [`H2Limits::memory_bound`].
    const MEBIBYTES: usize = 55;
}
