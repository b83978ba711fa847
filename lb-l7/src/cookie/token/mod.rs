//! What a cookie says of its client, signed.

use lbcore::BackendId;
use lbcore::hash::HashKey;

/// Which backend a client has, since when, and when it was last said.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Token {
    backend: BackendId,
    issued: u32,
    seen: u32,
    by_old_key: bool,
}

/// Characters of a token: 24 bytes in base64url (RFC 4648, 5), with nothing to spare.
pub(super) const TOKEN_LENGTH: usize = 32;

/// Bytes under the signature: eight of the backend and twice four of seconds, big-endian.
const BODY_LENGTH: usize = 16;

impl Token {
    /// A token made now; a time beyond the year 2106 is taken as that.
    pub(super) fn new(backend: BackendId, unix_seconds: u64) -> Self {
        let now = u32::try_from(unix_seconds).unwrap_or(u32::MAX);
        Self {
            backend,
            issued: now,
            seen: now,
            by_old_key: false,
        }
    }

    /// The same, said again now.
    pub(super) fn renewed(self, unix_seconds: u64) -> Self {
        let now = u32::try_from(unix_seconds).unwrap_or(u32::MAX);
        Self { seen: now, ..self }
    }

    /// The backend that the client has.
    #[must_use]
    pub const fn backend(&self) -> BackendId {
        self.backend
    }

    /// When the client was given this backend, in seconds since 1970.
    #[must_use]
    pub fn issued(&self) -> u64 {
        self.issued.into()
    }

    /// When the token was last written, in seconds since 1970.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen.into()
    }

    /// Whether another than the current key has signed it.
    pub(super) const fn is_by_old_key(&self) -> bool {
        self.by_old_key
    }

    /// Signs it; `label` keeps tokens of one purpose from serving another.
    pub(super) fn emit(&self, key: &HashKey, label: &[u8]) -> [u8; TOKEN_LENGTH] {
        let body = self.body();
        let mut bytes = [0; BODY_LENGTH + 8];
        let signature = sign(key, label, &body).to_be_bytes();
        let all = body.iter().chain(&signature);
        for (to, from) in bytes.iter_mut().zip(all) {
            *to = *from;
        }
        encode(&bytes)
    }

    /// Reads a token that one of `keys` has signed; tries every key.
    pub(super) fn parse(text: &[u8], keys: &[HashKey], label: &[u8]) -> Option<Self> {
        let bytes = decode(text)?;
        let (body, signature) = bytes.split_first_chunk::<BODY_LENGTH>()?;
        let signature = u64::from_be_bytes(*signature.first_chunk()?);
        // One subtraction of whole words a key, whatever differs, and no early end: the time taken
        // says nothing of how much of a forged signature is right.
        let mut signer = None;
        for (n, key) in keys.iter().enumerate().rev() {
            if std::hint::black_box(sign(key, label, body) ^ signature) == 0 {
                signer = Some(n);
            }
        }
        Some(Self {
            by_old_key: signer? != 0,
            ..Self::of_body(body)
        })
    }

    fn body(&self) -> [u8; BODY_LENGTH] {
        let number = u128::from(self.backend.as_u64()) << 64
            | u128::from(self.issued) << 32
            | u128::from(self.seen);
        number.to_be_bytes()
    }

    fn of_body(body: &[u8; BODY_LENGTH]) -> Self {
        let number = u128::from_be_bytes(*body);
        let word = |shift: u32| u32::try_from(number >> shift & 0xffff_ffff).unwrap_or_default();
        let backend = u64::from(word(96)) << 32 | u64::from(word(64));
        Self {
            backend: BackendId::new(backend),
            issued: word(32),
            seen: word(0),
            by_old_key: false,
        }
    }
}

/// The longest label, which bounds the length of a cookie's name.
pub(super) const MAX_LABEL: usize = 112;

/// SipHash-2-4 over label and body; the body has one length, so that nothing can move between them.
fn sign(key: &HashKey, label: &[u8], body: &[u8; BODY_LENGTH]) -> u64 {
    let mut message = [0_u8; MAX_LABEL + BODY_LENGTH];
    let label = label.get(..MAX_LABEL).unwrap_or(label);
    for (to, from) in message.iter_mut().zip(body.iter().chain(label)) {
        *to = *from;
    }
    key.sip24(message.get(..BODY_LENGTH + label.len()).unwrap_or(&message))
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn encode(bytes: &[u8; BODY_LENGTH + 8]) -> [u8; TOKEN_LENGTH] {
    let mut text = [0; TOKEN_LENGTH];
    let (groups, _) = bytes.as_chunks::<3>();
    let (quads, _) = text.as_chunks_mut::<4>();
    for ([a, b, c], quad) in groups.iter().zip(quads) {
        let six = [a >> 2, a << 4 | b >> 4, b << 2 | c >> 6, *c];
        *quad = six.map(|bits| {
            ALPHABET
                .get(usize::from(bits & 63))
                .copied()
                .unwrap_or(b'A')
        });
    }
    text
}

fn decode(text: &[u8]) -> Option<[u8; BODY_LENGTH + 8]> {
    let text: &[u8; TOKEN_LENGTH] = text.try_into().ok()?;
    let mut bytes = [0; BODY_LENGTH + 8];
    let (quads, _) = text.as_chunks::<4>();
    let (groups, _) = bytes.as_chunks_mut::<3>();
    for (quad, group) in quads.iter().zip(groups) {
        let mut bits = 0_u32;
        for &byte in quad {
            bits = bits << 6 | u32::from(sextet(byte)?);
        }
        let [_, bytes @ ..] = bits.to_be_bytes();
        *group = bytes;
    }
    Some(bytes)
}

/// What a character of base64url stands for.
const fn sextet(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    })
}

/// Whether `text` has the form of a token, signed or not.
pub(super) fn has_form(text: &[u8]) -> bool {
    text.len() == TOKEN_LENGTH && text.iter().all(|&byte| sextet(byte).is_some())
}

#[cfg(test)]
mod tests;
