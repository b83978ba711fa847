//! The combined format of Apache and nginx, with more behind it (pure).

use std::time::Duration;

use super::escape::combined as escape;
use super::line::{cut, version};
use super::text;
use crate::report::Report;

/// Appends the line of one exchange.
pub(super) fn write(line: &mut Vec<u8>, report: &Report<'_>, date: &[u8]) {
    text::ip(line, report.client.address.ip());
    line.extend_from_slice(b" - - [");
    line.extend_from_slice(date);
    line.extend_from_slice(b"] \"");
    write_request_line(line, report);
    line.extend_from_slice(b"\" ");
    match report.logged_status() {
        Some(status) => text::number(line, u64::from(status.as_u16())),
        None => line.extend_from_slice(b"000"),
    }
    line.push(b' ');
    text::number(line, report.traffic.body_out);
    line.push(b' ');
    quoted(line, report.request.referer);
    line.push(b' ');
    quoted(line, report.request.user_agent);
    write_extras(line, report);
    line.push(b'\n');
}

/// As it came, or as HTTP/1 would have it; empty if none was read, as in nginx.
#[inline]
fn write_request_line(line: &mut Vec<u8>, report: &Report<'_>) {
    let request = &report.request;
    if request.method.is_empty() {
        return;
    }
    escape(line, cut(request.method.as_bytes()));
    line.push(b' ');
    escape(line, cut(request.path));
    line.push(b' ');
    line.extend_from_slice(version(report.client.version).as_bytes());
}

/// Authority, listener, route, upstream, backend, tries, the times, termination, detail, identity.
#[inline]
fn write_extras(line: &mut Vec<u8>, report: &Report<'_>) {
    let authority = report.request.authority;
    let authority = (!authority.is_empty()).then_some(authority);
    for text in [
        authority,
        Some(report.client.listener.as_bytes()),
        report.route.map(str::as_bytes),
        report.upstream.map(str::as_bytes),
    ] {
        line.push(b' ');
        quoted(line, text);
    }
    line.push(b' ');
    match &report.backend {
        Some(backend) => {
            line.push(b'"');
            text::backend(line, backend.address, escape);
            line.extend_from_slice(b"\" ");
            text::number(line, u64::from(backend.tries));
        }
        None => line.extend_from_slice(b"\"-\" 0"),
    }
    seconds(line, Some(report.times.total()));
    seconds(line, report.times.to_first_byte());
    line.push(b' ');
    line.extend_from_slice(report.termination.as_str().as_bytes());
    line.push(b' ');
    line.extend_from_slice(report.detail.unwrap_or("-").as_bytes());
    line.push(b' ');
    quoted(line, report.request.id);
}

#[inline]
fn quoted(line: &mut Vec<u8>, text: Option<&[u8]>) {
    line.push(b'"');
    escape(line, cut(text.unwrap_or(b"-")));
    line.push(b'"');
}

#[inline]
fn seconds(line: &mut Vec<u8>, duration: Option<Duration>) {
    line.push(b' ');
    match duration {
        Some(duration) => text::seconds(line, duration),
        None => line.push(b'-'),
    }
}
