//! The proof that a WebSocket handshake of HTTP/1 asks for, where one side has no such handshake.
//!
//! A client of HTTP/2 brings no key, and a backend of HTTP/2 gives no proof (RFC 8441, 5.1); between
//! two versions the proxy does the part that is missing.

use http::{HeaderMap, HeaderValue, header};
use lbcore::rng::Rng;
use sha1_smol::Sha1;

/// What proves that a server has read `key` (RFC 6455, 1.3).
pub(crate) fn accept_of(key: &[u8]) -> HeaderValue {
    let mut sha1 = Sha1::new();
    sha1.update(key);
    sha1.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64(&sha1.digest().bytes())
}

/// Adds a key of 16 random bytes (RFC 6455, 4.1).
pub(crate) fn add_key(fields: &mut HeaderMap, rng: &mut impl Rng) {
    let mut nonce = [0; 16];
    let (high, low) = nonce.split_at_mut(8);
    high.copy_from_slice(&rng.next_u64().to_be_bytes());
    low.copy_from_slice(&rng.next_u64().to_be_bytes());
    fields.insert(header::SEC_WEBSOCKET_KEY, base64(&nonce));
}

/// RFC 4648, 4, with padding.
fn base64(bytes: &[u8]) -> HeaderValue {
    let mut text = bytes::BytesMut::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4_usize {
            let digit = bits >> (18 - 6 * place) & 63;
            let letter = usize::try_from(digit)
                .ok()
                .and_then(|digit| ALPHABET.get(digit));
            let letter = letter.filter(|_| place <= group.len()).unwrap_or(&b'=');
            text.extend_from_slice(&[*letter]);
        }
    }
    // Letters and digits alone make a value.
    HeaderValue::from_maybe_shared(text.freeze()).unwrap_or(HeaderValue::from_static(""))
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_is_that_of_the_rfc() {
        let accept = accept_of(b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn base64_pads_as_rfc_4648_10_shows() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn a_key_is_sixteen_bytes_and_another_each_time() {
        let mut rng = lbcore::rng::Xoshiro::new(1);
        let mut fields = HeaderMap::new();
        add_key(&mut fields, &mut rng);
        let first = fields[header::SEC_WEBSOCKET_KEY].clone();
        assert_eq!((first.len(), &first.as_bytes()[22..]), (24, &b"=="[..]));
        add_key(&mut fields, &mut rng);
        assert_ne!(fields[header::SEC_WEBSOCKET_KEY], first);
    }
}
