use http::HeaderName;

use super::*;

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let value = HeaderValue::from_str(value).unwrap();
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

#[test]
fn fields_of_a_connection_are_refused_both_ways() {
    let specific = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    ];
    for name in specific {
        for direction in [Direction::Request, Direction::Response] {
            let refused = check(&headers(&[(name, "x")]), direction);
            assert_eq!(refused, Err(Malformed::ConnectionField), "{name}");
        }
    }
    assert_eq!(
        check(&headers(&[("accept", "x y")]), Direction::Request),
        Ok(())
    );
}

#[test]
fn te_may_say_trailers_in_a_request_and_nothing_else() {
    let te = |value| headers(&[("te", value)]);
    assert_eq!(check(&te("trailers"), Direction::Request), Ok(()));
    assert_eq!(
        check(&te("trailers"), Direction::Response),
        Err(Malformed::Te)
    );
    assert_eq!(
        check(&te("trailers, gzip"), Direction::Request),
        Err(Malformed::Te)
    );
    let two = headers(&[("te", "trailers"), ("te", "gzip")]);
    assert_eq!(check(&two, Direction::Request), Err(Malformed::Te));
}

#[test]
fn a_value_between_spaces_is_refused() {
    for value in [" a", "a ", "\ta", "a\t", " "] {
        let refused = check(&headers(&[("b", "ok"), ("a", value)]), Direction::Request);
        assert_eq!(refused, Err(Malformed::OuterSpace), "{value:?}");
    }
    assert_eq!(check(&headers(&[("a", "")]), Direction::Request), Ok(()));
}

#[track_caller]
fn settle(authority: Option<&str>, hosts: &[&str], scheme: Scheme) -> Result<HeaderMap, Malformed> {
    let lines: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
    let mut headers = headers(&lines);
    settle_host(&mut headers, authority, scheme)?;
    assert_eq!(headers.get_all(HOST).iter().count(), 1);
    Ok(headers)
}

#[test]
fn one_host_is_left_and_it_is_the_authority() {
    use Scheme::{Http, Https};
    for (authority, hosts, scheme, expected) in [
        (Some("a.example"), &[][..], Http, Ok("a.example")),
        (Some("a.example"), &["a.example"], Http, Ok("a.example")),
        (Some("a.example"), &["A.Example"], Http, Ok("a.example")),
        (
            Some("a.example:80"),
            &["a.example"],
            Http,
            Ok("a.example:80"),
        ),
        (
            Some("a.example"),
            &["a.example:443"],
            Https,
            Ok("a.example"),
        ),
        (Some("a.example"), &["a.example:"], Https, Ok("a.example")),
        (
            Some("a.example:80"),
            &["a.example"],
            Https,
            Err(Malformed::Authority),
        ),
        (
            Some("a.example:443"),
            &["a.example"],
            Http,
            Err(Malformed::Authority),
        ),
        (
            Some("a.example"),
            &["b.example"],
            Http,
            Err(Malformed::Authority),
        ),
        (Some("a.example"), &[""], Http, Err(Malformed::Authority)),
        (
            Some("a.example"),
            &["a.example", "a.example"],
            Http,
            Err(Malformed::Host),
        ),
        (Some("u@a.example"), &[], Http, Err(Malformed::Host)),
        (Some("a\n"), &[], Http, Err(Malformed::Host)),
        (None, &["b.example"], Http, Ok("b.example")),
        (None, &[""], Http, Err(Malformed::Host)),
        (None, &[], Http, Err(Malformed::Host)),
        (Some(""), &["b.example"], Http, Err(Malformed::Host)),
    ] {
        let settled = settle(authority, hosts, scheme).map(|headers| headers[HOST].clone());
        let expected = expected.map(HeaderValue::from_static);
        assert_eq!(settled, expected, "{authority:?} {hosts:?} {scheme}");
    }
}

#[test]
fn crumbs_become_one_cookie() {
    let mut none = headers(&[("accept", "*/*")]);
    assert_eq!(merge_cookies(&mut none), 0);
    let mut one = headers(&[("cookie", "a=1")]);
    assert_eq!(merge_cookies(&mut one), 1);
    assert_eq!(one[COOKIE], "a=1");
    let mut three = headers(&[("cookie", "a=1"), ("cookie", "b=2; c=3"), ("cookie", "d=4")]);
    assert_eq!(merge_cookies(&mut three), 3);
    assert_eq!(three.get_all(COOKIE).iter().count(), 1);
    assert_eq!(three[COOKIE], "a=1; b=2; c=3; d=4");
}

#[test]
fn reasons_have_names_of_their_own() {
    let mut names: Vec<_> = Malformed::ALL
        .iter()
        .map(|reason| reason.as_str())
        .collect();
    names.dedup();
    assert_eq!(names.len(), Malformed::ALL.len());
    assert!(names.iter().all(|name| name.starts_with("h2-")));
}
