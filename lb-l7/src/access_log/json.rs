//! One JSON object a line (pure).

use std::time::Duration;

use super::escape::json as escape;
use super::line::{Moment, cut, version};
use super::text;
use crate::report::{BackendSide, Report, Times, Tls};

/// Appends the line of one exchange.
///
/// Every key is written as part of one constant with the comma before it and the colon behind it; a
/// key whose value is unknown is left out. The helpers know how long their key is, so that copying it
/// is a few moves and no call.
pub(super) fn write(line: &mut Vec<u8>, report: &Report<'_>, date: &[u8], moment: Moment) {
    line.extend_from_slice(b"{\"time\":\"");
    line.extend_from_slice(date);
    line.push(b'.');
    text::padded::<6>(line, u64::from(moment.unix.subsec_micros()));
    line.extend_from_slice(b"Z\",\"client\":\"");
    text::ip(line, report.client.address.ip());
    line.extend_from_slice(b"\",\"port\":");
    text::number(line, u64::from(report.client.address.port()));
    string(line, b",\"listener\":", report.client.listener.as_bytes());
    plain(line, b",\"protocol\":", version(report.client.version));
    if let Some(tls) = &report.client.tls {
        write_tls(line, tls);
    }
    write_request(line, report);
    optional(line, b",\"route\":", report.route.map(str::as_bytes));
    optional(line, b",\"upstream\":", report.upstream.map(str::as_bytes));
    if let Some(backend) = &report.backend {
        write_backend(line, backend);
    }
    if let Some(status) = report.logged_status() {
        number(line, b",\"status\":", u64::from(status.as_u16()));
    }
    number(line, b",\"head_in\":", report.traffic.head_in);
    number(line, b",\"body_in\":", report.traffic.body_in);
    number(line, b",\"head_out\":", report.traffic.head_out);
    number(line, b",\"body_out\":", report.traffic.body_out);
    write_times(line, &report.times);
    plain(line, b",\"termination\":", report.termination.as_str());
    if let Some(detail) = report.detail {
        string(line, b",\"detail\":", detail.as_bytes());
    }
    if moment.sample > 1 {
        number(line, b",\"sample\":", u64::from(moment.sample));
    }
    line.extend_from_slice(b"}\n");
}

fn write_tls(line: &mut Vec<u8>, tls: &Tls<'_>) {
    string(line, b",\"tls\":", tls.version.as_bytes());
    string(line, b",\"cipher\":", tls.cipher.as_bytes());
    optional(
        line,
        b",\"server_name\":",
        tls.server_name.map(str::as_bytes),
    );
    flag(line, b",\"resumed\":true", tls.resumed);
    let certificate = tls.client_certificate.map(str::as_bytes);
    optional(line, b",\"client_certificate\":", certificate);
}

#[inline]
fn write_request(line: &mut Vec<u8>, report: &Report<'_>) {
    let request = &report.request;
    string(line, b",\"method\":", request.method.as_bytes());
    string(line, b",\"authority\":", request.authority);
    string(line, b",\"path\":", request.path);
    optional(line, b",\"id\":", request.id);
    optional(line, b",\"referer\":", request.referer);
    optional(line, b",\"user_agent\":", request.user_agent);
}

#[inline]
fn write_backend(line: &mut Vec<u8>, backend: &BackendSide<'_>) {
    optional(line, b",\"backend\":", backend.name.map(str::as_bytes));
    line.extend_from_slice(b",\"backend_address\":\"");
    text::backend(line, backend.address, escape);
    line.push(b'"');
    if let Some(spoken) = backend.version {
        plain(line, b",\"backend_protocol\":", version(spoken));
    }
    number(line, b",\"tries\":", u64::from(backend.tries));
    flag(line, b",\"reused\":true", backend.reused);
    flag(line, b",\"hedged\":true", backend.hedged);
}

#[inline]
fn write_times(line: &mut Vec<u8>, times: &Times) {
    seconds(line, b",\"total\":", Some(times.total()));
    seconds(line, b",\"reading_head\":", times.reading_head());
    seconds(line, b",\"queued\":", times.queued());
    seconds(line, b",\"connecting\":", times.connecting());
    seconds(line, b",\"waiting\":", times.waiting());
    seconds(line, b",\"responding\":", times.responding());
}

#[inline]
fn string<const N: usize>(line: &mut Vec<u8>, key: &[u8; N], value: &[u8]) {
    line.extend_from_slice(key);
    line.push(b'"');
    escape(line, cut(value));
    line.push(b'"');
}

#[inline]
fn optional<const N: usize>(line: &mut Vec<u8>, key: &[u8; N], value: Option<&[u8]>) {
    if let Some(value) = value {
        string(line, key, value);
    }
}

/// A string that is known to need no escaping.
#[inline]
fn plain<const N: usize>(line: &mut Vec<u8>, key: &[u8; N], value: &'static str) {
    line.extend_from_slice(key);
    line.push(b'"');
    line.extend_from_slice(value.as_bytes());
    line.push(b'"');
}

#[inline]
fn number<const N: usize>(line: &mut Vec<u8>, key: &[u8; N], value: u64) {
    line.extend_from_slice(key);
    text::number(line, value);
}

#[inline]
fn seconds<const N: usize>(line: &mut Vec<u8>, key: &[u8; N], value: Option<Duration>) {
    if let Some(value) = value {
        line.extend_from_slice(key);
        text::seconds(line, value);
    }
}

/// A flag is written when it is set.
#[inline]
fn flag<const N: usize>(line: &mut Vec<u8>, key_and_true: &[u8; N], value: bool) {
    if value {
        line.extend_from_slice(key_and_true);
    }
}
