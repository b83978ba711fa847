//! What a backend's head says, and what is refused of it.

use bytes::BytesMut;
use http::{HeaderMap, header};
use lb_l7::BodyLength::{Empty, Exact, Streamed, UntilClose};
use lb_l7::h1::{
    HeadLimits, Rejection, RequestKind, Response, Scan, parse_request, parse_response,
};

fn parse_to(head: &str, to: RequestKind) -> Result<Option<Response>, Rejection> {
    let (limits, mut fields) = (HeadLimits::default(), HeaderMap::new());
    parse_response(
        &mut head.into(),
        &mut Scan::default(),
        &limits,
        &mut fields,
        to,
    )
}

fn parse(head: &str) -> Response {
    let response = parse_to(head, RequestKind::Other);
    response.expect("it is well-formed").expect("it is whole")
}

fn refused(head: &str) -> Rejection {
    let refused = parse_to(head, RequestKind::Other).map(|response| response.is_some());
    // However it comes.
    let (limits, mut fields) = (HeadLimits::default(), HeaderMap::new());
    let (mut buffer, mut scan, to) = (BytesMut::new(), Scan::default(), RequestKind::Other);
    let by_bytes = head.bytes().try_for_each(|byte| {
        buffer.extend_from_slice(&[byte]);
        parse_response(&mut buffer, &mut scan, &limits, &mut fields, to).map(drop)
    });
    let reason = refused.expect_err("it is refused");
    assert_eq!(by_bytes, Err(reason));
    reason
}

#[test]
fn a_response_ends_where_its_head_says() {
    assert_eq!(
        parse("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").length,
        Exact(5)
    );
    assert_eq!(
        parse("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").length,
        Exact(0)
    );
    assert_eq!(
        parse("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").length,
        Streamed
    );
    assert_eq!(parse("HTTP/1.1 200 OK\r\n\r\n").length, UntilClose);
    assert_eq!(parse("HTTP/1.1 205 \r\n\r\n").length, UntilClose);
}

#[test]
fn some_responses_have_no_content_whatever_their_head_says() {
    for framing in [
        "",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        for status in ["100", "103", "199", "204", "304"] {
            let response = parse(&format!("HTTP/1.1 {status} x\r\n{framing}\r\n"));
            assert_eq!(response.length, Empty, "{status} {framing}");
            assert!(
                !response
                    .parts
                    .headers
                    .contains_key(header::TRANSFER_ENCODING)
            );
        }
        let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n");
        let response = parse_to(&head, RequestKind::Head).unwrap().unwrap();
        assert_eq!(response.length, Empty);
        assert!(response.keep_alive && !response.tunnel);
    }
}

#[test]
fn a_bad_length_is_passed_over_where_there_is_no_content() {
    for framing in [
        "Content-Length: x\r\n",
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
    ] {
        for status in ["102", "204"] {
            let response = parse(&format!("HTTP/1.1 {status} x\r\n{framing}\r\n"));
            assert!(response.parts.headers.is_empty());
        }
        let tunnel = parse_to(
            &format!("HTTP/1.1 200 x\r\n{framing}\r\n"),
            RequestKind::Connect,
        );
        assert!(tunnel.unwrap().unwrap().parts.headers.is_empty());
        let head = format!("HTTP/1.1 200 x\r\n{framing}\r\n");
        assert!(parse_to(&head, RequestKind::Head).is_err());
    }
}

#[test]
fn the_length_of_another_response_is_kept_where_it_does_not_frame() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    let response = parse_to(head, RequestKind::Head).unwrap().unwrap();
    assert_eq!(response.parts.headers[header::CONTENT_LENGTH], "5");
    let response = parse("HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(response.parts.headers[header::CONTENT_LENGTH], "5");
    assert!(
        !parse(head)
            .parts
            .headers
            .contains_key(header::CONTENT_LENGTH)
    );
}

#[test]
fn a_connection_is_not_used_again_behind_content_that_should_not_be() {
    assert!(parse("HTTP/1.1 204 x\r\n\r\n").keep_alive);
    assert!(parse("HTTP/1.1 204 x\r\nContent-Length: 0\r\n\r\n").keep_alive);
    assert!(!parse("HTTP/1.1 204 x\r\nContent-Length: 5\r\n\r\n").keep_alive);
    assert!(!parse("HTTP/1.1 204 x\r\nContent-Length: x\r\n\r\n").keep_alive);
    assert!(!parse("HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n").keep_alive);
}

#[test]
fn a_connection_stays_if_its_version_and_options_say_so() {
    let stays = |version: &str, fields: &str| {
        let head = format!("HTTP/{version} 200 OK\r\nContent-Length: 0\r\n{fields}\r\n");
        parse(&head).keep_alive
    };
    assert!(stays("1.1", ""));
    assert!(stays("1.1", "Connection: keep-alive\r\n"));
    assert!(!stays("1.1", "Connection: close\r\n"));
    assert!(!stays("1.1", "Connection: keep-alive, CLOSE\r\n"));
    assert!(!stays("1.0", ""));
    assert!(stays("1.0", "Connection: Keep-Alive\r\n"));
    assert!(!stays(
        "1.0",
        "Connection: keep-alive\r\nConnection: close\r\n"
    ));
    assert!(!parse("HTTP/1.1 200 OK\r\n\r\n").keep_alive);
}

#[test]
fn a_tunnel_begins_behind_a_101_and_a_2xx_to_connect() {
    let switch = parse("HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert!(switch.tunnel && !switch.keep_alive);
    assert_eq!(switch.upgrade.unwrap(), "websocket");
    assert!(!parse("HTTP/1.1 200 x\r\n\r\n").tunnel);
    assert!(!parse("HTTP/1.1 103 x\r\n\r\n").tunnel);

    let connected = parse_to("HTTP/1.1 200 x\r\n\r\n", RequestKind::Connect)
        .unwrap()
        .unwrap();
    assert!(connected.tunnel && !connected.keep_alive);
    let denied = "HTTP/1.1 403 x\r\nContent-Length: 5\r\n\r\n";
    let denied = parse_to(denied, RequestKind::Connect).unwrap().unwrap();
    assert!(!denied.tunnel && denied.length == Exact(5));
}

#[test]
fn a_backend_that_speaks_unclearly_is_refused() {
    let body = |fields: &str| refused(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
    let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(body(both), Rejection::LengthAndCoding);
    assert_eq!(
        body("Content-Length: 5\r\nContent-Length: 5\r\n"),
        Rejection::LengthRepeated
    );
    assert_eq!(body("Content-Length: +5\r\n"), Rejection::LengthSyntax);
    assert_eq!(
        body("Transfer-Encoding: gzip\r\n"),
        Rejection::CodingNotFinal
    );
    assert_eq!(
        body("Transfer-Encoding: gzip, chunked\r\n"),
        Rejection::CodingUnsupported
    );
    assert_eq!(body("X: y\r\n z\r\n"), Rejection::FoldedField);
    assert_eq!(body("X : y\r\n"), Rejection::SpaceBeforeColon);
    assert_eq!(body("X: y\0\r\n"), Rejection::Nul);
    assert_eq!(body("X: y\n"), Rejection::BareLineFeed);
    let old = refused("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(old, Rejection::CodingVersion);
}

#[test]
fn a_status_line_is_a_version_a_code_and_a_reason() {
    assert_eq!(parse("HTTP/1.1 200\r\n\r\n").parts.status, 200);
    assert_eq!(parse("HTTP/1.1 200 \r\n\r\n").parts.status, 200);
    assert_eq!(
        parse("HTTP/1.1 999 Some\tthing \u{e9}\r\n\r\n")
            .parts
            .status,
        999
    );
    for line in [
        "HTTP/1.1 20",
        "HTTP/1.1 2000",
        "HTTP/1.1 099 x",
        "HTTP/1.1  200 OK",
        "HTTP/1.1",
        "HTTP/1.1 +20",
        "HTTP/1.x 200",
    ] {
        assert_eq!(
            refused(&format!("{line}\r\n\r\n")),
            Rejection::StatusLine,
            "{line}"
        );
    }
    assert_eq!(
        refused("HTTP/1.2 200 OK\r\n\r\n"),
        Rejection::VersionUnsupported
    );
    assert_eq!(refused("HTTP/2.0 200 OK\r\n\r\n"), Rejection::StatusLine);
    assert_eq!(
        refused("\r\nHTTP/1.1 200 OK\r\n\r\n"),
        Rejection::StatusLine
    );
    assert_eq!(refused("SSH-2.0-x\r\n"), Rejection::StatusLine);
    assert_eq!(
        refused("HTTP/1.1 200 O\x01K\r\n\r\n"),
        Rejection::ControlCharacter
    );
    assert_eq!(
        refused("HTTP/1.1 200 OK\nX: y\r\n\r\n"),
        Rejection::BareLineFeed
    );
    assert_eq!(
        refused("HTTP/1.1 200 O\rK\r\n\r\n"),
        Rejection::BareCarriageReturn
    );
}

#[test]
fn a_request_says_whether_it_expects_and_what_it_would_change_to() {
    let request = |head: &str| {
        let (limits, mut fields) = (HeadLimits::default(), HeaderMap::new());
        let request = parse_request(&mut head.into(), &mut Scan::default(), &limits, &mut fields);
        request.unwrap().unwrap()
    };
    let expect = "Host: a\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n";
    let new = request(&format!("POST / HTTP/1.1\r\n{expect}"));
    assert!(new.expects_continue && new.parts.headers.contains_key(header::EXPECT));
    let old = request(&format!("POST / HTTP/1.0\r\n{expect}"));
    assert!(!old.expects_continue && !old.parts.headers.contains_key(header::EXPECT));
    let empty =
        request("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n");
    assert!(!empty.expects_continue && !empty.parts.headers.contains_key(header::EXPECT));

    let upgrade = |version: &str, fields: &str| {
        request(&format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n")).upgrade
    };
    let asked = "Connection: x, Upgrade\r\nUpgrade: websocket\r\n";
    assert_eq!(upgrade("1.1", asked).unwrap(), "websocket");
    assert_eq!(upgrade("1.0", asked), None);
    assert_eq!(upgrade("1.1", "Upgrade: websocket\r\n"), None);
    assert_eq!(upgrade("1.1", "Connection: upgrade\r\n"), None);
    assert_eq!(upgrade("1.1", "Connection: upgrade\r\nUpgrade:\r\n"), None);
    assert_eq!(
        upgrade("1.1", "Connection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n"),
        None
    );
    assert!(
        request("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n")
            .scheme
            .is_some()
    );
    assert!(
        request("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .scheme
            .is_none()
    );
}
