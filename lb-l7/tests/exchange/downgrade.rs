//! Requests of HTTP/2 that are none, or would be others in HTTP/1.

use crate::rig::{Http1, Http2, Plan, Raw};

type Line<'a> = (&'a [u8], &'a [u8]);

type Lines<'a> = &'a [(&'a [u8], &'a [u8])];

/// A block of fields as literals, never indexed (RFC 7541, 6.2.2), so that any bytes can be said.
fn block(lines: Lines<'_>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in lines {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127);
            block.push(text.len() as u8);
            block.extend_from_slice(text);
        }
    }
    block
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream];
    frame.extend_from_slice(payload);
    frame
}

async fn greeted(raw: &mut Raw) {
    raw.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    raw.send(frame(4, 0, 0, &[])).await;
}

const GET: [(&[u8], &[u8]); 4] = [
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":authority", b"a"),
    (b":path", b"/"),
];

/// `GET` with this line behind it.
fn with<'a>(name: &'a [u8], value: &'a [u8]) -> Vec<(&'a [u8], &'a [u8])> {
    let mut lines = GET.to_vec();
    lines.push((name, value));
    lines
}

/// `GET` with another value of a pseudo-field, or without it.
fn other<'a>(name: &'a [u8], value: Option<&'a [u8]>) -> Vec<(&'a [u8], &'a [u8])> {
    let lines = GET.iter().map(|line| {
        if line.0 == name {
            (name, value)
        } else {
            (line.0, Some(line.1))
        }
    });
    lines
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_malformed_request_of_http2_reaches_no_backend() {
    let mut twice = GET.to_vec();
    twice.insert(1, (b":method", b"POST"));
    let mut late = GET.to_vec();
    late.insert(0, (b"x", b"y"));
    let mut hosts = with(b"host", b"a");
    hosts.push((b"host", b"a"));
    let mut lengths = with(b"content-length", b"1");
    lengths.push((b"content-length", b"2"));
    let rows: Vec<(&str, Vec<Line<'_>>)> = vec![
        ("a name in upper case", with(b"X-Y", b"z")),
        ("a line end in a value", with(b"x", b"y\r\nhost: evil")),
        ("a bare line feed in a value", with(b"x", b"y\nhost: evil")),
        ("a carriage return in a value", with(b"x", b"y\rz")),
        ("a NUL in a value", with(b"x", b"y\0z")),
        ("a space before a value", with(b"x", b" y")),
        ("a space behind a value", with(b"x", b"y ")),
        ("a line end in a name", with(b"x: y\r\nz", b"a")),
        ("a colon in a name", with(b"x:y", b"z")),
        ("a space in a name", with(b"x y", b"z")),
        ("an empty name", with(b"", b"z")),
        ("connection", with(b"connection", b"close")),
        ("keep-alive", with(b"keep-alive", b"1")),
        ("proxy-connection", with(b"proxy-connection", b"close")),
        ("upgrade", with(b"upgrade", b"websocket")),
        ("transfer-encoding", with(b"transfer-encoding", b"chunked")),
        ("te of more than trailers", with(b"te", b"trailers, gzip")),
        ("a pseudo-field twice", twice),
        ("a pseudo-field behind a field", late),
        ("an unknown pseudo-field", with(b":evil", b"1")),
        ("a pseudo-field of a response", with(b":status", b"200")),
        ("no method", other(b":method", None)),
        ("no scheme", other(b":scheme", None)),
        ("no path", other(b":path", None)),
        ("an empty path", other(b":path", Some(b""))),
        ("a path that is none", other(b":path", Some(b"evil"))),
        ("a space in the path", other(b":path", Some(b"/ HTTP/1.1"))),
        (
            "a line end in the path",
            other(b":path", Some(b"/\r\nx: y")),
        ),
        ("a space in the method", other(b":method", Some(b"GET /"))),
        (
            "a line end in the method",
            other(b":method", Some(b"GET\r\n")),
        ),
        ("an empty authority", other(b":authority", Some(b""))),
        ("user information", other(b":authority", Some(b"b@a"))),
        (
            "a line end in the authority",
            other(b":authority", Some(b"a\r\nx: y")),
        ),
        (
            "a space in the authority",
            other(b":authority", Some(b"a b")),
        ),
        (
            "a path in the authority",
            other(b":authority", Some(b"a/b")),
        ),
        ("a bad port", other(b":authority", Some(b"a:99999"))),
        ("another host", with(b"host", b"b")),
        ("two hosts", hosts),
        ("no authority at all", other(b":authority", None)),
        ("two lengths", lengths),
        ("a signed length", with(b"content-length", b"+1")),
        ("an empty length", with(b"content-length", b"")),
        ("a length and no content", with(b"content-length", b"5")),
    ];
    let mut wrong = Vec::new();
    for (name, lines) in rows {
        let mut world = Plan::to(Http1).build();
        let mut raw = world.raw();
        greeted(&mut raw).await;
        raw.send(frame(1, 5, 1, &block(&lines))).await;
        if world.call_within(crate::rig::A_MOMENT).await.is_some() {
            wrong.push(name);
            continue;
        }
        // A client without that fault is served by the next connection.
        let mut raw = world.raw();
        greeted(&mut raw).await;
        raw.send(frame(1, 5, 1, &block(&GET))).await;
        world.call().await.answer(200, "").await;
        world.settle().await;
        world.checks();
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(start_paused = true)]
async fn content_that_is_not_as_long_as_was_said_is_never_ended_towards_the_backend() {
    for content in [&b"hell"[..], b"hello!"] {
        for backend in [Http1, Http2] {
            let mut world = Plan::to(backend).build();
            let mut raw = world.raw();
            greeted(&mut raw).await;
            let mut lines = other(b":method", Some(b"POST"));
            lines.push((b"content-length", b"5"));
            raw.send(frame(1, 4, 1, &block(&lines))).await;
            world.settle().await;
            raw.send(frame(0, 1, 1, content)).await;
            if let Some(mut served) = world.call_within(crate::rig::A_MOMENT).await {
                assert!(served.body().await.is_err(), "{content:?} {backend:?}");
            }
            world.settle().await;
            world.checks();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn crumbs_of_a_cookie_are_one_field_in_http1() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    greeted(&mut raw).await;
    let mut lines = with(b"cookie", b"a=1");
    lines.push((b"x", b"y"));
    lines.push((b"cookie", b"b=2"));
    raw.send(frame(1, 5, 1, &block(&lines))).await;
    let served = world.call().await;
    assert_eq!(served.field("cookie"), Some("a=1; b=2"));
    assert_eq!(served.field("host"), Some("a"));
    assert_eq!(served.field("transfer-encoding"), None);
    served.answer(200, "").await;
}

/// The codec takes it off: no backend sees it.
#[tokio::test(start_paused = true)]
async fn a_fragment_reaches_no_backend() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    greeted(&mut raw).await;
    let lines = other(b":path", Some(b"/b?c#d"));
    raw.send(frame(1, 5, 1, &block(&lines))).await;
    let served = world.call().await;
    assert_eq!(served.path, "/b?c");
    served.answer(200, "").await;
}

#[tokio::test(start_paused = true)]
async fn a_host_field_stands_for_an_authority_that_is_not_there() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    greeted(&mut raw).await;
    let mut lines = other(b":authority", None);
    lines.push((b"host", b"b:81"));
    raw.send(frame(1, 5, 1, &block(&lines))).await;
    let served = world.call().await;
    assert_eq!(served.field("host"), Some("b:81"));
    served.answer(200, "").await;
}
