//! Names of fields that are common, found without validation and without allocation.

use http::HeaderName;

use super::Rejection;

/// The name in these bytes, which are a token; in lower case.
pub(super) fn parse(name: &[u8]) -> Result<HeaderName, Rejection> {
    match known(name) {
        Some(known) => Ok(known.clone()),
        None => HeaderName::from_bytes(name).map_err(|_| Rejection::FieldNameSyntax),
    }
}

/// One of [`NAMES`], if it is this token but for case.
fn known(name: &[u8]) -> Option<&'static HeaderName> {
    let place = usize::from(*TABLE.get(slot(name)?)?);
    let lower = NAMES.get(place)?;
    is(name, lower.as_bytes())
        .then(|| KNOWN.get(place))
        .flatten()
}

/// Whether a token is this name of lower-case letters, digits and dashes, but for case.
///
/// Among the bytes of tokens, only a letter becomes another one's lower case by this bit.
#[inline]
pub(super) fn is(name: &[u8], lower: &[u8]) -> bool {
    if name.len() != lower.len() {
        return false;
    }
    let (Some(last), Some(last_lower)) = (name.last_chunk::<8>(), lower.last_chunk::<8>()) else {
        let mut pairs = name.iter().zip(lower);
        return pairs.all(|(byte, lower)| byte | CASE == *lower);
    };
    let fold = |word: &[u8; 8]| u64::from_ne_bytes(*word) | u64::from_ne_bytes([CASE; 8]);
    // The last words overlap: no rest is left.
    let mut words = name.as_chunks().0.iter().zip(lower.as_chunks().0);
    fold(last) == u64::from_ne_bytes(*last_lower)
        && words.all(|(word, lower)| fold(word) == u64::from_ne_bytes(*lower))
}

/// Where a name stands in [`TABLE`]: by its length and three of its letters.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a length of LONGEST and a number below SLOTS"
)]
const fn slot(name: &[u8]) -> Option<usize> {
    let length = name.len();
    if length < SHORTEST || length > LONGEST {
        return None;
    }
    let (Some((first, _)), (_, [middle, ..]), (_, [late, ..])) = (
        name.split_first(),
        name.split_at(length / 2 - 1),
        name.split_at(length.saturating_sub(4)),
    ) else {
        return None;
    };
    let letters = [*first | CASE, *middle | CASE, *late | CASE, length as u8];
    let mixed = u32::from_le_bytes(letters).wrapping_mul(SPREAD);
    Some((mixed >> (u32::BITS - SLOTS.ilog2())) as usize)
}

macro_rules! names {
    ($($name:literal,)+) => {
        const NAMES: &[&str] = &[$($name),+];
        static KNOWN: [HeaderName; NAMES.len()] = [$(HeaderName::from_static($name)),+];
    };
}

// What browsers, servers, proxies and tracers send.
names! {
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "access-control-request-headers",
    "access-control-request-method",
    "age",
    "allow",
    "alt-svc",
    "authorization",
    "cache-control",
    "cf-ray",
    "connection",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-security-policy",
    "content-type",
    "cookie",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "date",
    "dnt",
    "etag",
    "expect",
    "expect-ct",
    "expires",
    "forwarded",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "last-modified",
    "link",
    "location",
    "nel",
    "origin",
    "permissions-policy",
    "pragma",
    "priority",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "referer",
    "referrer-policy",
    "report-to",
    "retry-after",
    "sec-ch-ua",
    "sec-ch-ua-mobile",
    "sec-ch-ua-platform",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "sec-gpc",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "server",
    "server-timing",
    "set-cookie",
    "strict-transport-security",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "upgrade-insecure-requests",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
    "x-amzn-trace-id",
    "x-b3-sampled",
    "x-b3-spanid",
    "x-b3-traceid",
    "x-cache",
    "x-content-type-options",
    "x-correlation-id",
    "x-envoy-upstream-service-time",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-frame-options",
    "x-powered-by",
    "x-real-ip",
    "x-request-id",
    "x-requested-with",
    "x-xss-protection",
}

/// The place in [`NAMES`] by [`slot`]; where there is none, any.
#[expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "the compiler runs it, over fewer names than a byte counts"
)]
static TABLE: [u8; SLOTS] = {
    let mut table = [0; SLOTS];
    let mut place = 0;
    while place < NAMES.len() {
        if let Some(slot) = slot(NAMES[place].as_bytes()) {
            table[slot] = place as u8;
        }
        place += 1;
    }
    table
};

const SHORTEST: usize = 2;
const LONGEST: usize = 32;
const SLOTS: usize = 512;

/// The factor that gives each of [`NAMES`] a slot of its own, found by trying.
const SPREAD: u32 = 0x47e7_bc1f;

/// The bit that is set in a lower-case letter, in a digit and in a dash.
const CASE: u8 = 0x20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_any_case_and_in_its_own_slot() {
        for name in &KNOWN {
            let upper = name.as_str().to_ascii_uppercase();
            assert_eq!(known(upper.as_bytes()), Some(name));
            assert_eq!(known(name.as_str().as_bytes()), Some(name));
            assert_eq!(parse(upper.as_bytes()), Ok(name.clone()));
        }
        assert!(u8::try_from(NAMES.len()).is_ok());
        assert!(
            NAMES
                .iter()
                .all(|name| (SHORTEST..=LONGEST).contains(&name.len()))
        );
    }

    #[test]
    fn a_name_that_is_not_known_is_parsed() {
        for (name, lower) in [
            ("X-Request-Ie", "x-request-ie"),
            ("Y-Request-Id", "y-request-id"),
            ("X-Raquest-Id", "x-raquest-id"),
            ("x", "x"),
            ("x_request_id", "x_request_id"),
            (
                "a-name-of-thirty-two-letters-in-1",
                "a-name-of-thirty-two-letters-in-1",
            ),
        ] {
            assert_eq!(known(name.as_bytes()), None, "{name}");
            assert_eq!(parse(name.as_bytes()).unwrap(), lower);
        }
        assert_eq!(parse(b""), Err(Rejection::FieldNameSyntax));
        assert_eq!(parse(b"x y"), Err(Rejection::FieldNameSyntax));
    }

    #[test]
    fn a_name_is_another_if_any_letter_is() {
        for name in NAMES {
            for at in 0..name.len() {
                let mut other = name.as_bytes().to_vec();
                other[at] = b'!';
                assert!(!is(&other, name.as_bytes()), "{name} at {at}");
            }
            assert!(is(name.to_ascii_uppercase().as_bytes(), name.as_bytes()));
            assert!(!is(&name.as_bytes()[1..], name.as_bytes()));
        }
    }
}
