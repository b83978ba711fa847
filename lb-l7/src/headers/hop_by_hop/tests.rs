use http::HeaderName;

use super::*;

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn every_line_and_every_token_of_connection_nominates() {
    let mut request = headers(&[
        ("connection", "X-One, ,x-two"),
        ("x-one", "1"),
        ("x-one", "1"),
        ("x-two", "2"),
        ("connection", "x-three,bad name, Keep-Alive"),
        ("x-three", "3"),
        ("x-four", "4"),
    ]);
    let removed = remove(&mut request, Direction::Request).unwrap();
    assert_eq!(names(&request), ["x-four"]);
    assert_eq!(removed.nominations, 4);
    assert_eq!(removed.protected_nominations, 0);
    assert!(removed.connection.keep_alive && !removed.connection.close);
}

#[test]
fn fixed_fields_go_without_being_nominated() {
    let mut request = headers(&[
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"),
        ("te", "gzip"),
        ("proxy-authorization", "Basic eDp5"),
        ("accept", "*/*"),
    ]);
    let removed = remove(&mut request, Direction::Request).unwrap();
    assert_eq!(names(&request), ["accept", "proxy-authorization"]);
    assert_eq!(removed, Removed::default());
}

#[test]
fn each_option_is_known_in_any_case() {
    for (value, expected) in [
        ("Close", (true, false, false)),
        ("KEEP-ALIVE", (false, true, false)),
        ("upGrade", (false, false, true)),
        ("TE, HTTP2-Settings", (false, false, false)),
        ("closed, x-close", (false, false, false)),
    ] {
        let mut request = headers(&[("connection", value)]);
        let options = remove(&mut request, Direction::Request).unwrap().connection;
        let read = (options.close, options.keep_alive, options.upgrade);
        assert_eq!(read, expected, "{value}");
        assert!(request.is_empty());
    }
}

#[test]
fn protected_names_stay_and_are_counted() {
    for name in PROTECTED
        .iter()
        .chain(&["x-forwarded-anything", "sec-websocket-key"])
    {
        if *name == "transfer-encoding" {
            continue;
        }
        let mut request = headers(&[("connection", &name.to_ascii_uppercase()), (name, "v")]);
        let removed = remove(&mut request, Direction::Request).unwrap();
        assert_eq!(names(&request), [*name]);
        assert_eq!((removed.protected_nominations, removed.nominations), (1, 0));
    }
    assert!(is_protected(b":path") && !is_protected(b"x-forwarded") && !is_protected(b""));
    assert!(is_protected(b"X-Forwarded-"));
    assert!(!is_protected(b"hosts") && !is_protected(b"cookie2"));
}

#[test]
fn te_stays_as_trailers_in_a_request_that_says_so() {
    for (value, direction, expected) in [
        ("trailers", Direction::Request, true),
        ("gzip;q=0.5, Trailers", Direction::Request, true),
        ("gzip", Direction::Request, false),
        ("trailers;q=1", Direction::Request, false),
        ("trailers", Direction::Response, false),
    ] {
        let mut message = headers(&[("te", "deflate"), ("te", value), ("connection", "te")]);
        let removed = remove(&mut message, direction).unwrap();
        assert_eq!(removed.te_trailers, expected, "{value}");
        let left = message.get_all(TE).iter().collect::<Vec<_>>();
        let trailers: &[&str] = if expected { &["trailers"] } else { &[] };
        assert_eq!(left, trailers);
    }
}

#[test]
fn an_upgrade_counts_if_it_is_nominated_and_alone() {
    let upgrade = |lines: &[(&str, &str)]| {
        let mut request = headers(lines);
        let removed = remove(&mut request, Direction::Request).unwrap();
        assert!(request.is_empty());
        removed.upgrade
    };
    let (nominated, one) = (("connection", "upgrade"), ("upgrade", "websocket"));
    assert_eq!(upgrade(&[nominated, one]).unwrap(), "websocket");
    assert_eq!(upgrade(&[one]), None);
    assert_eq!(upgrade(&[nominated]), None);
    assert_eq!(upgrade(&[nominated, one, one]), None);
}

#[test]
fn more_options_than_the_bound_are_refused() {
    let value = |n: usize| vec!["x"; n].join(",");
    let mut most = headers(&[("connection", &value(MAX_OPTIONS))]);
    let removed = remove(&mut most, Direction::Request).unwrap();
    assert_eq!(removed.nominations, 64);
    let mut more = headers(&[("connection", "x"), ("connection", &value(MAX_OPTIONS))]);
    assert_eq!(remove(&mut more, Direction::Request), Err(TooManyOptions));
}

proptest::proptest! {
    #[test]
    fn no_connection_line_reaches_the_backend(lines in proptest::collection::vec("[ -~\t]{0,40}", 0..6)) {
        let mut request = headers(&[("host", "a"), ("x-a", "1")]);
        for line in &lines {
            if let Ok(value) = HeaderValue::from_str(line) {
                request.append(CONNECTION, value);
            }
        }
        let _ = remove(&mut request, Direction::Request).map(|_| {
            assert!(!request.contains_key(CONNECTION));
            assert_eq!(request["host"], "a");
        });
    }
}

#[test]
fn the_proxy_that_a_client_would_have_a_backend_use_is_taken_off_of_requests_alone() {
    for (direction, stays) in [(Direction::Request, false), (Direction::Response, true)] {
        let mut fields = HeaderMap::new();
        for name in ["proxy", "pragma", "proxy-authorization", "prox"] {
            fields.insert(name, HeaderValue::from_static("http://evil.example"));
        }
        remove(&mut fields, direction).unwrap();
        assert_eq!(fields.contains_key("proxy"), stays);
        assert_eq!(fields.len(), 3 + usize::from(stays));
    }
}
