//! What a client takes: `Accept-Encoding` (RFC 9110, 12.5.3).

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

use super::Codec;

/// What an answer is to be coded with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Choice {
    /// With this.
    pub codec: Codec,
    /// The client refuses an answer that is not coded (`identity;q=0`).
    pub is_needed: bool,
}

/// The codec of `codecs` that a client of these fields likes best; of several equal ones the first.
///
/// `None` when it takes none of them, or likes an answer that is not coded better than any of them.
/// A client without the field has said nothing, and gets nothing that it might not understand.
///
/// Of a coding that is named twice the first counts. An element that cannot be read is passed over.
/// Cost: O(length of the field), no allocation.
///
/// # Examples
///
/// ```
/// use http::{HeaderMap, HeaderValue, header};
/// use lb_l7::compress::{Codec, choose};
///
/// let mut fields = HeaderMap::new();
/// let accepted = HeaderValue::from_static("gzip, br;q=0.9, *;q=0.1");
/// fields.insert(header::ACCEPT_ENCODING, accepted);
/// let chosen = choose(&fields, &[Codec::Zstd, Codec::Brotli, Codec::Gzip]);
/// assert_eq!(chosen.map(|choice| choice.codec), Some(Codec::Gzip));
/// ```
#[must_use]
pub fn choose(fields: &HeaderMap, codecs: &[Codec]) -> Option<Choice> {
    let wishes = Wishes::read(fields);
    let mut best: Option<(Codec, u16)> = None;
    for &codec in codecs {
        let weight = wishes.of(codec);
        if weight > best.map_or(0, |(_, weight)| weight) {
            best = Some((codec, weight));
        }
    }
    let (codec, weight) = best?;
    // Not coded is what is left when nothing better is named; if it is named, it may be liked more.
    if wishes.identity.is_some_and(|identity| identity > weight) {
        return None;
    }
    Some(Choice {
        codec,
        is_needed: wishes.identity.or(wishes.any) == Some(0),
    })
}

/// Weights in thousandths, of what was named.
#[derive(Debug, Default)]
struct Wishes {
    brotli: Option<u16>,
    gzip: Option<u16>,
    zstd: Option<u16>,
    identity: Option<u16>,
    /// `*`: of all that is not named.
    any: Option<u16>,
}

impl Wishes {
    fn read(fields: &HeaderMap) -> Self {
        let mut wishes = Self::default();
        for line in fields.get_all(ACCEPT_ENCODING) {
            for element in line.as_bytes().split(|&byte| byte == b',') {
                wishes.add(element);
            }
        }
        wishes
    }

    fn add(&mut self, element: &[u8]) {
        let Some((name, weight)) = weighted(element) else {
            return;
        };
        let place = match Codec::from_name(name) {
            Some(Codec::Brotli) => &mut self.brotli,
            Some(Codec::Gzip) => &mut self.gzip,
            Some(Codec::Zstd) => &mut self.zstd,
            None if name == b"*" => &mut self.any,
            None if name.eq_ignore_ascii_case(b"identity") => &mut self.identity,
            None => return,
        };
        place.get_or_insert(weight);
    }

    fn of(&self, codec: Codec) -> u16 {
        let named = match codec {
            Codec::Brotli => self.brotli,
            Codec::Gzip => self.gzip,
            Codec::Zstd => self.zstd,
        };
        named.or(self.any).unwrap_or(0)
    }
}

/// A name and its weight; `None` if the element is not of that shape.
fn weighted(element: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = element.splitn(2, |&byte| byte == b';');
    let name = parts.next()?.trim_ascii();
    let Some(weight) = parts.next() else {
        return Some((name, 1000));
    };
    let weight = weight.trim_ascii();
    let value = weight
        .strip_prefix(b"q=")
        .or_else(|| weight.strip_prefix(b"Q="))?;
    Some((name, thousandths(value)?))
}

/// `qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )` (RFC 9110, 12.4.2).
fn thousandths(value: &[u8]) -> Option<u16> {
    let (whole, fraction) = match value {
        [whole @ (b'0' | b'1')] => (whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    let mut weight = u16::from(whole - b'0') * 1000;
    for (digit, scale) in fraction.iter().zip([100, 10, 1]) {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        weight += u16::from(digit) * scale;
    }
    (weight <= 1000).then_some(weight)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const ORDER: [Codec; 3] = [Codec::Zstd, Codec::Brotli, Codec::Gzip];

    fn chosen(lines: &[&str]) -> Option<(&'static str, bool)> {
        let values = lines.iter().map(|line| {
            let value = HeaderValue::from_str(line).expect("a value");
            (ACCEPT_ENCODING, value)
        });
        let mut fields = HeaderMap::new();
        for (name, value) in values {
            fields.append(name, value);
        }
        let choice = choose(&fields, &ORDER)?;
        Some((choice.codec.as_str(), choice.is_needed))
    }

    #[test]
    fn the_client_gets_what_it_likes_best_and_of_equals_what_the_proxy_likes_best() {
        let table: &[(&str, Option<&str>)] = &[
            ("", None),
            ("gzip", Some("gzip")),
            ("GZIP", Some("gzip")),
            ("x-gzip", Some("gzip")),
            ("deflate", None),
            ("compress, deflate", None),
            ("identity", None),
            ("gzip, deflate, br, zstd", Some("zstd")),
            ("gzip, deflate, br", Some("br")),
            ("gzip;q=1.0, br;q=0.999", Some("gzip")),
            ("gzip;q=0.5, br;q=0.501", Some("br")),
            ("gzip;q=0.5,br;q=0.5", Some("br")),
            ("gzip ; q=0.8 , br ; q=0.2", Some("gzip")),
            ("gzip;Q=0.8, br;q=0.2", Some("gzip")),
            ("gzip;q=0", None),
            ("gzip;q=0.0", None),
            ("gzip;q=0.000", None),
            ("gzip;q=0.001", Some("gzip")),
            ("*", Some("zstd")),
            ("*;q=0.1", Some("zstd")),
            ("*;q=0", None),
            ("gzip, *;q=0", Some("gzip")),
            ("zstd;q=0, *", Some("br")),
            ("zstd;q=0, br;q=0, *", Some("gzip")),
            ("gzip;q=0.5, *;q=0.6", Some("zstd")),
            ("identity, gzip;q=0.5", None),
            ("identity;q=0.5, gzip;q=0.5", Some("gzip")),
            ("identity;q=0.5, gzip;q=0.4", None),
            ("identity;q=0.4, gzip;q=0.5", Some("gzip")),
            // What cannot be read is not taken, rather than taken for 1.
            ("gzip;q=", None),
            ("gzip;q=2", None),
            ("gzip;q=1.001", None),
            ("gzip;q=0.0001", None),
            ("gzip;q=-1", None),
            ("gzip;q=.5", None),
            ("gzip;q=0.5x", None),
            ("gzip;q=0,5", None),
            ("gzip;level=9", None),
            ("gzip;q=0.5;q=1", None),
            ("gzip q=1", None),
            (";q=1", None),
            (",,gzip,,", Some("gzip")),
            ("gzip;q=1.", Some("gzip")),
            ("gzip;q=0.", None),
            ("gzip;q=0, gzip", None),
            ("gzip, gzip;q=0", Some("gzip")),
        ];
        for (field, want) in table {
            let got = chosen(&[field]).map(|(name, _)| name);
            assert_eq!(got, *want, "{field:?}");
        }
        assert_eq!(chosen(&[]), None);
    }

    #[test]
    fn lines_are_one_list() {
        assert_eq!(chosen(&["gzip;q=0.5", "br;q=0.6"]), Some(("br", false)));
        assert_eq!(chosen(&["gzip", "identity;q=0"]), Some(("gzip", true)));
    }

    #[test]
    fn a_client_that_refuses_what_is_not_coded_is_heard() {
        let needed = |field: &str| chosen(&[field]).map(|(_, needed)| needed);
        assert_eq!(needed("gzip"), Some(false));
        assert_eq!(needed("gzip, identity;q=0"), Some(true));
        assert_eq!(needed("gzip, *;q=0"), Some(true));
        assert_eq!(needed("gzip, *;q=0, identity;q=0.1"), Some(false));
        assert_eq!(needed("gzip, identity;q=0, *"), Some(true));
        assert_eq!(needed("gzip, identity;q=0.001"), Some(false));
    }

    #[test]
    fn only_what_is_offered_is_chosen() {
        let mut fields = HeaderMap::new();
        fields.insert(ACCEPT_ENCODING, HeaderValue::from_static("br, gzip;q=0.1"));
        let choice = choose(&fields, &[Codec::Gzip]);
        assert_eq!(choice.map(|choice| choice.codec), Some(Codec::Gzip));
        assert_eq!(choose(&fields, &[]), None);
    }

    proptest! {
        #[test]
        fn no_field_breaks_it(value in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let fields = HeaderMap::from_iter([(ACCEPT_ENCODING, value)]);
                let _ = choose(&fields, &ORDER);
            }
        }

        #[test]
        fn every_weight_is_read_as_written(thousandths in 0..=1000_u16) {
            let text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
            prop_assert_eq!(super::thousandths(text.as_bytes()), Some(thousandths));
            let short = text.trim_end_matches('0');
            prop_assert_eq!(super::thousandths(short.as_bytes()), Some(thousandths));
        }
    }
}
