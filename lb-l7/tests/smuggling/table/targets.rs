//! What is asked for, and of whom.

use lb_l7::h1::Rejection as R;

use super::{GET, Row, Seen, accept, get, refuse, refuse_bytes};

/// `GET /` of this host.
const fn of(host: &'static str) -> Seen {
    Seen { host, ..GET }
}

/// `GET /` with this Host.
macro_rules! host {
    ($host:literal) => {
        concat!("GET / HTTP/1.1\r\nHost: ", $host, "\r\n\r\n")
    };
}

/// A GET of this, from the host `a`.
macro_rules! get {
    ($target:literal) => {
        concat!("GET ", $target, " HTTP/1.1\r\nHost: a\r\n\r\n")
    };
}

#[rustfmt::skip] // A row is a line.
pub(super) const ROWS: &[Row] = &[
    // Host.
    refuse("no Host", "GET / HTTP/1.1\r\n\r\n", R::HostMissing),
    accept("no Host in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", &[of("")]),
    refuse("two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", R::HostRepeated),
    refuse("two equal Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", R::HostRepeated),
    refuse("two Hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n", R::HostRepeated),
    refuse("a list of hosts", host!("a, b"), R::HostSyntax),
    refuse("a list of hosts without a space", host!("a,b"), R::HostSyntax),
    refuse("an empty Host", host!(""), R::HostSyntax),
    refuse("a Host of a port alone", host!(":80"), R::HostSyntax),
    refuse("a Host with a space", host!("a b"), R::HostSyntax),
    refuse("a Host with a tab", host!("a\tb"), R::HostSyntax),
    refuse("a Host with a path", host!("a/b"), R::HostSyntax),
    refuse("a Host with a scheme", host!("http://a"), R::Port),
    refuse("a Host with a query", host!("a?b"), R::HostSyntax),
    refuse("a Host with a fragment", host!("a#b"), R::HostSyntax),
    refuse("a Host with a backslash", host!("a\\b"), R::HostSyntax),
    refuse("a Host with a percent sign", host!("a%00b"), R::HostSyntax),
    refuse("a Host in quotes", host!("\"a\""), R::HostSyntax),
    refuse("a Host with user information", host!("u@a"), R::Userinfo),
    refuse("a Host with a password", host!("u:p@a"), R::Userinfo),
    refuse("a Host with a password of digits", host!("b:80@a"), R::Userinfo),
    refuse("a Host beyond ASCII", host!("\u{e9}"), R::HostSyntax),
    accept("a Host with a port", host!("a:8080"), &[of("a:8080")]),
    accept("a Host with port 1", host!("a:1"), &[of("a:1")]),
    accept("a Host with port 65535", host!("a:65535"), &[of("a:65535")]),
    refuse("a Host with port 65536", host!("a:65536"), R::Port),
    refuse("a Host with port 0", host!("a:0"), R::Port),
    refuse("a Host with a port of six digits", host!("a:000080"), R::Port),
    refuse("a Host with an empty port", host!("a:"), R::Port),
    refuse("a Host with a port by name", host!("a:http"), R::Port),
    refuse("a Host with a signed port", host!("a:+80"), R::Port),
    refuse("a Host with two ports", host!("a:80:80"), R::Port),
    refuse("a Host with a space before its port", host!("a :80"), R::HostSyntax),
    accept("a Host of IPv4", host!("192.0.2.1:80"), &[of("192.0.2.1:80")]),
    accept("a Host of IPv6", host!("[2001:db8::1]"), &[of("[2001:db8::1]")]),
    accept("a Host of IPv6 with a port", host!("[::1]:80"), &[of("[::1]:80")]),
    refuse("a Host of IPv6 without brackets", host!("2001:db8::1"), R::Port),
    refuse("a Host of IPv6 that does not close", host!("[::1"), R::HostSyntax),
    refuse("a Host of IPv6 with bytes behind", host!("[::1]a"), R::HostSyntax),
    refuse("a Host of IPv6 with an empty port", host!("[::1]:"), R::Port),
    refuse("a Host of IPv6 with a zone", host!("[fe80::1%25eth0]"), R::HostSyntax),
    refuse("a Host of IPv6 of too many groups", host!("[1:2:3:4:5:6:7:8:9]"), R::HostSyntax),
    refuse("a Host of empty brackets", host!("[]"), R::HostSyntax),
    refuse("a Host of a later IP version", host!("[v1.a]"), R::HostSyntax),
    // Origin form.
    accept("a path and a query", get!("/b/c?d=e&f"), &[get("/b/c?d=e&f")]),
    accept("a path of two slashes", get!("//b"), &[get("//b")]),
    accept("a path with dots", get!("/b/../c"), &[get("/b/../c")]),
    accept("a path with an encoded request", get!("/%20HTTP/1.1%0d%0aX:%20y"), &[get("/%20HTTP/1.1%0d%0aX:%20y")]),
    refuse("a fragment", get!("/b#c"), R::TargetSyntax),
    refuse("a fragment in a query", get!("/?b#c"), R::TargetSyntax),
    refuse("a NUL in the target", get!("/b\0c"), R::Nul),
    refuse("a DEL in the target", get!("/b\x7fc"), R::TargetSyntax),
    refuse("an escape in the target", get!("/b\x1bc"), R::TargetSyntax),
    refuse("a target beyond ASCII", get!("/\u{e9}"), R::TargetSyntax),
    refuse_bytes("a target of Latin-1", b"GET /\xa0 HTTP/1.1\r\nHost: a\r\n\r\n", R::TargetSyntax),
    refuse("angle brackets in the target", get!("/<b>"), R::TargetSyntax),
    refuse("a path without its slash", get!("b"), R::TargetForm),
    refuse("a query alone", get!("?b"), R::TargetForm),
    refuse("a backslash for the slash", get!("\\b"), R::TargetForm),
    refuse("an at sign for the slash", get!("@b"), R::TargetForm),
    // Absolute form.
    accept("an absolute target", get!("http://a/b?c"), &[get("/b?c")]),
    accept("an absolute target in capitals", get!("HTTP://A/"), &[GET]),
    accept("an absolute target without a path", get!("http://a"), &[GET]),
    accept("an absolute target with a query alone", get!("http://a?b"), &[get("/?b")]),
    accept("an absolute target in HTTP/1.0 without Host", "GET http://a/ HTTP/1.0\r\n\r\n", &[GET]),
    accept("an absolute target by https", "GET https://a:443/ HTTP/1.1\r\nHost: a:443\r\n\r\n", &[of("a:443")]),
    refuse("an absolute target without Host", "GET http://a/ HTTP/1.1\r\n\r\n", R::HostMissing),
    refuse("an absolute target of another host", get!("http://b/"), R::HostMismatch),
    refuse("an absolute target of another port", "GET http://a:81/ HTTP/1.1\r\nHost: a:80\r\n\r\n", R::HostMismatch),
    refuse("an absolute target with a port that Host lacks", get!("http://a:80/"), R::HostMismatch),
    refuse("an absolute target of another host in HTTP/1.0", "GET http://b/ HTTP/1.0\r\nHost: a\r\n\r\n", R::HostMismatch),
    refuse("an absolute target with user information", get!("http://b@a/"), R::Userinfo),
    refuse("an absolute target with a backslash", get!("http://a\\@b/"), R::Userinfo),
    refuse("an absolute target without a host", get!("http:///b"), R::HostSyntax),
    refuse("an absolute target with an empty port", get!("http://a:/"), R::Port),
    refuse("an absolute target with a bad port", get!("http://a:99999/"), R::Port),
    refuse("an absolute target with a fragment", get!("http://a/#b"), R::TargetSyntax),
    refuse("an absolute target of another scheme", get!("ftp://a/"), R::TargetForm),
    refuse("an absolute target of a file", get!("file:///etc/passwd"), R::TargetForm),
    refuse("an absolute target of one slash", get!("http:/a/"), R::TargetForm),
    refuse("an absolute target, Host twice", "GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", R::HostRepeated),
    // Asterisk form.
    accept("OPTIONS of the server", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", &[Seen { method: "OPTIONS", target: "*", ..GET }]),
    accept("OPTIONS of the server, absolutely", "OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", &[Seen { method: "OPTIONS", target: "*", ..GET }]),
    accept("OPTIONS of a root, absolutely", "OPTIONS http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", &[Seen { method: "OPTIONS", ..GET }]),
    refuse("GET of the server", get!("*"), R::TargetForm),
    refuse("OPTIONS of the server and more", "OPTIONS *b HTTP/1.1\r\nHost: a\r\n\r\n", R::TargetForm),
    // Authority form.
    accept("CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", &[Seen { method: "CONNECT", target: "a:443", host: "a:443", body: "" }]),
    refuse("CONNECT without a port", "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", R::Port),
    refuse("CONNECT with an empty port", "CONNECT a: HTTP/1.1\r\nHost: a:\r\n\r\n", R::Port),
    refuse("CONNECT with port 0", "CONNECT a:0 HTTP/1.1\r\nHost: a:0\r\n\r\n", R::Port),
    refuse("CONNECT of a path", "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", R::HostSyntax),
    refuse("CONNECT of a URI", "CONNECT http://a:80/ HTTP/1.1\r\nHost: a:80\r\n\r\n", R::Port),
    refuse("CONNECT of another host", "CONNECT b:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", R::HostMismatch),
    refuse("CONNECT with user information", "CONNECT u@a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", R::Userinfo),
    refuse("CONNECT with content", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nContent-Length: 5\r\n\r\nhello", R::ContentForbidden),
    refuse("GET of an authority", "GET a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", R::TargetForm),
];
