//! Whatever a client sends as a cookie, only what was signed is read, and the backend sees the rest.
//!
//! Few inputs carry a good token by chance, so one is also put among the bytes, and one of its bits
//! is turned.
#![no_main]

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};
use lb_l7::cookie::pairs::Pairs;
use lb_l7::cookie::{CookieConfig, CookieMode, CookiePersistence, KeyRing};
use lb_l7::headers::Scheme;
use lbcore::BackendId;
use lbcore::hash::HashKey;
use libfuzzer_sys::fuzz_target;

const NOW: u64 = 1_800_000_000;
const NAME: &[u8] = b"lb";
const CHOSEN: BackendId = BackendId::new(7);

fuzz_target!(|bytes: &[u8]| {
    let keys = || KeyRing::new(HashKey::from_seed(1), [HashKey::from_seed(2)]);
    let insert = CookiePersistence::new(CookieConfig::new("lb", keys())).expect("right");
    let mut config = CookieConfig::new("lb", keys());
    config.mode = CookieMode::Rewrite;
    let rewrite = CookiePersistence::new(config).expect("right");

    for cookies in [&insert, &rewrite] {
        if let Some(headers) = request(bytes.split(|&byte| byte == b'\n')) {
            assert!(cookies.read(&headers, NOW).is_err(), "nothing was signed");
            strip(cookies, headers);
        }
        signed(cookies, bytes);
    }
});

/// A request with these `cookie` lines, if they can be.
fn request<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in lines.take(64) {
        headers.append(COOKIE, HeaderValue::from_bytes(line).ok()?);
    }
    Some(headers)
}

/// All other cookies are there afterwards, and in order.
fn strip(cookies: &CookiePersistence, mut headers: HeaderMap) {
    let others = |headers: &HeaderMap| -> Vec<(Vec<u8>, Vec<u8>)> {
        Pairs::of_headers(headers)
            .filter(|pair| pair.name != NAME)
            .map(|pair| (pair.name.to_vec(), pair.value.to_vec()))
            .collect()
    };
    let before = others(&headers);
    cookies.strip(&mut headers);
    assert_eq!(others(&headers), before);
    assert!(cookies.read(&headers, NOW).is_err());
}

/// A token that was given is read behind these bytes, and not when a bit of it is turned.
fn signed(cookies: &CookiePersistence, bytes: &[u8]) {
    let mut response = HeaderMap::new();
    let from_backend = [b"lb=", bytes].concat();
    if let Ok(line) = HeaderValue::from_bytes(&from_backend) {
        response.insert(SET_COOKIE, line);
    }
    cookies.apply(&mut response, None, CHOSEN, Scheme::Http, NOW);
    let Some(line) = response.get_all(SET_COOKIE).iter().next_back() else {
        return;
    };
    let pair = line.as_bytes().split(|&byte| byte == b';').next();
    let mut line = [pair.expect("the first"), b"; ", bytes].concat();
    let Some(headers) = request([&*line].into_iter()) else {
        return;
    };
    let token = cookies.read(&headers, NOW).expect("it was signed");
    assert_eq!(token.backend(), CHOSEN);

    // Behind the name and `=` stand 32 characters of token.
    let (at, bit) = (
        3 + bytes.len() % 32,
        bytes.first().map_or(0, |byte| byte % 8),
    );
    if let Some(byte) = line.get_mut(at) {
        *byte ^= 1 << bit;
    }
    if let Some(headers) = request([&*line].into_iter()) {
        assert!(cookies.read(&headers, NOW).is_err(), "a bit was turned");
    }
}
