use std::time::Duration;

use lbcore::hash::HashKey;
use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_800_000_000;
const WEB: BackendId = BackendId::new(1);
const OTHER: BackendId = BackendId::new(2);

fn ring(current: u64, previous: &[u64]) -> KeyRing {
    let previous = previous.iter().copied().map(HashKey::from_seed);
    KeyRing::new(HashKey::from_seed(current), previous)
}

fn cookies(change: impl FnOnce(&mut CookieConfig)) -> CookiePersistence {
    let mut config = CookieConfig::new("lb", ring(1, &[]));
    change(&mut config);
    CookiePersistence::new(config).unwrap()
}

fn rewriting() -> CookiePersistence {
    cookies(|config| config.mode = CookieMode::Rewrite)
}

fn seconds(n: u64) -> Option<Duration> {
    Some(Duration::from_secs(n))
}

fn request(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(COOKIE, HeaderValue::from_str(line).unwrap());
    }
    headers
}

/// What a browser sends after the response: name and value of the last `set-cookie`.
fn given(
    cookies: &CookiePersistence,
    brought: Option<Token>,
    chosen: BackendId,
    now: u64,
) -> Option<String> {
    let mut response = HeaderMap::new();
    let written = cookies.apply(&mut response, brought, chosen, Scheme::Http, now);
    assert_eq!(written, response.len());
    let line = response.get(SET_COOKIE)?.to_str().unwrap();
    Some(line.split(';').next().unwrap().to_owned())
}

fn first(cookies: &CookiePersistence) -> String {
    given(cookies, None, WEB, NOW).unwrap()
}

#[track_caller]
fn stripped(cookies: &CookiePersistence, lines: &[&str]) -> Option<String> {
    let mut headers = request(lines);
    cookies.strip(&mut headers);
    headers
        .get(COOKIE)
        .map(|value| value.to_str().unwrap().to_owned())
}

#[test]
fn a_client_that_knows_is_told_nothing_and_one_that_moved_is_told_anew() {
    let cookies = cookies(|_| {});
    let pair = first(&cookies);
    let token = cookies.read(&request(&[&pair]), NOW + 9).unwrap();
    assert_eq!(
        (token.backend(), token.issued(), token.seen()),
        (WEB, NOW, NOW)
    );
    assert_eq!(given(&cookies, Some(token), WEB, NOW + 9), None);
    let moved = given(&cookies, Some(token), OTHER, NOW + 9).unwrap();
    let token = cookies.read(&request(&[&moved]), NOW + 9).unwrap();
    assert_eq!((token.backend(), token.issued()), (OTHER, NOW + 9));
}

#[test]
fn secure_follows_the_scheme_unless_it_is_fixed() {
    for (secure, expected) in [
        (Secure::Always, [true, true]),
        (Secure::Never, [false, false]),
        (Secure::OverHttps, [false, true]),
    ] {
        let attributes = Attributes {
            secure,
            ..Attributes::default()
        };
        let cookies = cookies(|config| config.mode = CookieMode::Insert(attributes));
        let marked = [Scheme::Http, Scheme::Https].map(|scheme| {
            let mut response = HeaderMap::new();
            cookies.apply(&mut response, None, WEB, scheme, NOW);
            response[SET_COOKIE].to_str().unwrap().contains("; Secure")
        });
        assert_eq!(marked, expected);
    }
}

#[test]
fn other_cookies_of_the_response_stay() {
    let cookies = cookies(|_| {});
    let mut response = HeaderMap::new();
    response.insert(SET_COOKIE, HeaderValue::from_static("a=1"));
    assert_eq!(
        cookies.apply(&mut response, None, WEB, Scheme::Http, NOW),
        1
    );
    assert_eq!(response.get_all(SET_COOKIE).iter().count(), 2);
    assert_eq!(response[SET_COOKIE], "a=1");
}

#[test]
fn a_token_lasts_to_the_second_of_its_age() {
    let cookies = cookies(|config| config.max_age = seconds(100));
    let headers = request(&[&first(&cookies)]);
    assert!(cookies.read(&headers, NOW + 100).is_ok());
    assert_eq!(cookies.read(&headers, NOW + 101), Err(Unread::Expired));
    // A clock that is behind the one that signed.
    assert!(cookies.read(&headers, NOW - 50).is_ok());
}

#[test]
fn an_idle_token_ends_and_a_used_one_is_renewed_until_its_age() {
    let cookies = cookies(|config| {
        config.max_idle = seconds(40);
        config.max_age = seconds(60);
    });
    let headers = request(&[&first(&cookies)]);
    assert_eq!(cookies.read(&headers, NOW + 41), Err(Unread::Expired));
    let token = cookies.read(&headers, NOW + 40).unwrap();
    assert_eq!(given(&cookies, Some(token), WEB, NOW + 9), None);
    let renewed = given(&cookies, Some(token), WEB, NOW + 10).unwrap();
    let token = cookies.read(&request(&[&renewed]), NOW + 50).unwrap();
    assert_eq!((token.issued(), token.seen()), (NOW, NOW + 10));
    assert!(cookies.read(&request(&[&renewed]), NOW + 51).is_err());
    let late = given(&cookies, Some(token), WEB, NOW + 50).unwrap();
    assert!(cookies.read(&request(&[&late]), NOW + 60).is_ok());
    assert_eq!(
        cookies.read(&request(&[&late]), NOW + 61),
        Err(Unread::Expired)
    );
}

#[test]
fn a_token_by_the_old_key_is_good_and_is_signed_anew() {
    let pair = first(&cookies(|_| {}));
    let turned = cookies(|config| config.keys = ring(2, &[1]));
    let token = turned.read(&request(&[&pair]), NOW).unwrap();
    let anew = given(&turned, Some(token), WEB, NOW + 5).unwrap();
    let only_new = cookies(|config| config.keys = ring(2, &[]));
    let token = only_new.read(&request(&[&anew]), NOW).unwrap();
    assert_eq!((token.issued(), token.seen()), (NOW, NOW + 5));
    assert_eq!(only_new.read(&request(&[&pair]), NOW), Err(Unread::Forged));
}

#[test]
fn a_token_serves_its_own_cookie_only() {
    let pair = first(&cookies(|_| {}));
    let value = pair.strip_prefix("lb=").unwrap();
    let other = cookies(|config| config.name = "lc".into());
    let headers = request(&[&format!("lc={value}")]);
    assert_eq!(other.read(&headers, NOW), Err(Unread::Forged));
    assert_eq!(other.read(&request(&[&pair]), NOW), Err(Unread::Absent));
    let headers = request(&[&format!("lb={value}~x")]);
    assert_eq!(rewriting().read(&headers, NOW), Err(Unread::Forged));
}

#[test]
fn the_first_good_token_is_taken_of_a_few() {
    let cookies = cookies(|config| config.max_age = seconds(10));
    let good = first(&cookies);
    let old = given(&cookies, None, WEB, NOW - 11).unwrap();
    let bad = "lb=x";
    let read = |parts: &[&str]| {
        cookies
            .read(&request(&[&parts.join("; ")]), NOW)
            .map(|_| ())
    };
    assert_eq!(read(&[bad, &old, bad, &good]), Ok(()));
    assert_eq!(read(&[bad, bad, bad, bad, &good]), Err(Unread::Forged));
    assert_eq!(read(&[&old, bad]), Err(Unread::Forged));
    assert_eq!(read(&[bad, &old]), Err(Unread::Forged));
    assert_eq!(read(&[&old]), Err(Unread::Expired));
    assert_eq!(read(&["a=1", "LB=2"]), Err(Unread::Absent));
    assert_eq!(
        cookies
            .read(&request(&["a=1", &good]), NOW)
            .unwrap()
            .backend(),
        WEB
    );
    let quoted = good.replace('=', "=\"") + "\"";
    assert_eq!(read(&[&quoted]), Ok(()));
}

#[test]
fn the_backend_sees_the_other_cookies_as_they_were() {
    let cookies = cookies(|_| {});
    let keep = |lines: &[&str]| stripped(&cookies, lines);
    assert_eq!(
        keep(&["a=1;  lb=x;b = \"2 3\"; flag"]).unwrap(),
        "a=1; b = \"2 3\"; flag"
    );
    assert_eq!(keep(&["lb=x"]), None);
    assert_eq!(keep(&["lb=x;", "lb=y"]), None);
    assert_eq!(keep(&["a=1", "lb=x; b=2"]).unwrap(), "a=1; b=2");
    assert_eq!(keep(&["a=1;b=2", "c=3"]).unwrap(), "a=1;b=2");
    assert_eq!(keep(&[]), None);
}

#[test]
fn a_cookie_of_the_backend_is_rewritten_there_and_back() {
    let cookies = rewriting();
    let mut response = HeaderMap::new();
    for line in [
        "a=1",
        "lb=\"v=1\"; Path=/; HttpOnly",
        "lb=2",
        "LB=3",
        "flag",
    ] {
        response.append(SET_COOKIE, HeaderValue::from_static(line));
    }
    assert_eq!(
        cookies.apply(&mut response, None, WEB, Scheme::Http, NOW),
        2
    );
    let lines: Vec<_> = response
        .get_all(SET_COOKIE)
        .iter()
        .map(|line| line.to_str().unwrap())
        .collect();
    assert!(lines[1].ends_with("~\"v=1\"; Path=/; HttpOnly"));
    assert_eq!([lines[0], lines[3], lines[4]], ["a=1", "LB=3", "flag"]);
    let pair = lines[1].split(';').next().unwrap();
    let headers = request(&["a=1", pair]);
    assert_eq!(cookies.read(&headers, NOW).unwrap().backend(), WEB);
    assert_eq!(
        stripped(&cookies, &["a=1", pair]).unwrap(),
        "a=1; lb=\"v=1\""
    );
    assert_eq!(stripped(&cookies, &[lines[2]]).unwrap(), "lb=2");
    assert_eq!(
        cookies.apply(&mut HeaderMap::new(), None, WEB, Scheme::Http, NOW),
        0
    );
}

#[test]
fn a_cookie_from_before_the_rewriting_is_the_backends() {
    let cookies = rewriting();
    let plain = format!("lb={}", "A".repeat(TOKEN_LENGTH + 4));
    let short = format!("lb={}~", "A".repeat(TOKEN_LENGTH - 1));
    let marks = format!("lb={}~old", "!".repeat(TOKEN_LENGTH));
    let forged = format!("lb={}~old", "A".repeat(TOKEN_LENGTH));
    for pair in ["lb=1", &plain, &short, &marks] {
        assert_eq!(cookies.read(&request(&[pair]), NOW), Err(Unread::Absent));
        assert_eq!(stripped(&cookies, &[pair]).unwrap(), pair);
    }
    assert_eq!(cookies.read(&request(&[&forged]), NOW), Err(Unread::Forged));
    assert_eq!(stripped(&cookies, &[&forged]).unwrap(), "lb=old");
}

#[test]
fn reasons_have_their_names() {
    let names = Unread::ALL.map(Unread::as_str);
    assert_eq!(names, ["cookie-absent", "cookie-expired", "cookie-forged"]);
}

proptest! {
    #[test]
    fn nothing_of_ours_reaches_the_backend(lines in proptest::collection::vec("(lb|a|[ ;=\"~A]){0,12}", 0..4)) {
        for cookies in [cookies(|_| {}), rewriting()] {
            let refs: Vec<&str> = lines.iter().map(String::as_str).collect();
            let mut headers = request(&refs);
            let others: Vec<_> = Pairs::of_headers(&headers)
                .filter(|pair| pair.name != b"lb")
                .map(|pair| (pair.name.to_vec(), pair.value.to_vec()))
                .collect();
            cookies.strip(&mut headers);
            let left: Vec<_> = Pairs::of_headers(&headers)
                .filter(|pair| pair.name != b"lb")
                .map(|pair| (pair.name.to_vec(), pair.value.to_vec()))
                .collect();
            prop_assert_eq!(left, others);
            let ours = Pairs::of_headers(&headers).any(|pair| pair.name == b"lb");
            prop_assert!(!ours || matches!(cookies.config.mode, CookieMode::Rewrite));
        }
    }

    #[test]
    fn a_rewritten_value_comes_back_as_it_was(value in "[!-:<-~]{0,40}", backend: u64) {
        let cookies = rewriting();
        let mut response = HeaderMap::new();
        let line = HeaderValue::try_from(format!("lb={value}; Path=/")).unwrap();
        response.insert(SET_COOKIE, line);
        cookies.apply(&mut response, None, BackendId::new(backend), Scheme::Https, NOW);
        let pair = response[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
        let token = cookies.read(&request(&[&pair]), NOW).unwrap();
        prop_assert_eq!(token.backend(), BackendId::new(backend));
        prop_assert_eq!(stripped(&cookies, &[&pair]).unwrap(), format!("lb={value}"));
    }
}
