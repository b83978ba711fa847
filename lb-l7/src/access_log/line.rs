//! What a line of the log is made of (pure).

use std::time::Duration;

use http::Version;

use super::date::{Date, DateText};
use super::{Format, combined, json};
use crate::report::Report;

/// Writes lines, each whole and ended by a line feed; keeps what lines of one second share.
#[derive(Debug)]
pub(super) struct LineWriter {
    format: Format,
    date: DateText,
}

/// What a line says of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// When the exchange ended, since the beginning of 1970.
    pub(super) unix: Duration,
    /// How many exchanges this line stands for.
    pub(super) sample: u32,
}

impl LineWriter {
    pub(super) fn new(format: Format) -> Self {
        let date = match format {
            Format::Combined => Date::common_log,
            Format::Json => Date::iso,
        };
        Self {
            format,
            date: DateText::new(date),
        }
    }

    /// Appends the line of one exchange.
    #[inline]
    pub(super) fn write(&mut self, line: &mut Vec<u8>, report: &Report<'_>, moment: Moment) {
        line.reserve(TYPICAL);
        let date = self.date.of(moment.unix);
        match self.format {
            Format::Combined => combined::write(line, report, date),
            Format::Json => json::write(line, report, date, moment),
        }
    }
}

/// The first [`MAX_FIELD`] bytes of what a client may make long.
#[inline]
pub(super) fn cut(text: &[u8]) -> &[u8] {
    text.get(..MAX_FIELD).unwrap_or(text)
}

/// The version as in a request line.
#[inline]
pub(super) const fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/?",
    }
}

/// How many bytes of a field are logged: as many as a default request line of nginx may have, so
/// that five fields of escaped bytes make a line of 240 KiB at the most.
pub(super) const MAX_FIELD: usize = 8_192;

/// As much as most lines take, so that the buffer grows at most once for each.
const TYPICAL: usize = 1_024;
