//! What a server of TLS signs, and nothing else.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ParsedPublicKey, VerificationAlgorithm,
};

use super::reader::Reader;

/// What stands before the hash of the transcript: 64 spaces, the context string, a zero
/// (RFC 8446, 4.4.3).
///
/// The spaces are there for what TLS 1.2 signs, which begins with 64 bytes of two randoms. Behind
/// them a `T` stands here, and there always the curve type, 3.
const TLS13_PREFIX: [u8; 98] = *b"                                                                \
TLS 1.3, server CertificateVerify\0";

/// What a server signs to take part in a handshake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Statement<'a> {
    /// A ServerKeyExchange of TLS 1.2 (RFC 8422, 5.4).
    Tls12 {
        /// The client's, then the server's.
        randoms: &'a [u8; 64],
        /// ServerECDHParams.
        params: EcdhParams<'a>,
    },
    /// A CertificateVerify of TLS 1.3.
    Tls13 {
        /// Of the handshake up to Certificate.
        hash: TranscriptHash<'a>,
    },
}

impl<'a> Statement<'a> {
    /// Recognises what is signed, whole, for what it is.
    ///
    /// No message is both: see [`TLS13_PREFIX`].
    pub(super) fn read(message: &'a [u8]) -> Option<Self> {
        if let Some(hash) = message.strip_prefix(&TLS13_PREFIX) {
            let hash = TranscriptHash::new(hash)?;
            return Some(Self::Tls13 { hash });
        }
        let (randoms, params) = message.split_first_chunk()?;
        let params = EcdhParams::new(params)?;
        Some(Self::Tls12 { randoms, params })
    }

    /// What is signed, whole.
    pub(super) fn to_message(self) -> Vec<u8> {
        match self {
            Self::Tls12 { randoms, params } => [&randoms[..], params.as_bytes()].concat(),
            Self::Tls13 { hash } => [&TLS13_PREFIX[..], hash.as_bytes()].concat(),
        }
    }
}

/// What a server of TLS 1.3 signs over a transcript with that hash (RFC 8446, 4.4.3).
///
/// `None` unless the hash is as long as one that TLS 1.3 has: 32 or 48 bytes. For asking of a
/// server a signature that commits to no handshake, to see whether it signs.
#[must_use]
pub fn certificate_verify(hash: &[u8]) -> Option<Vec<u8>> {
    TranscriptHash::new(hash).map(|hash| Statement::Tls13 { hash }.to_message())
}

/// A hash of a handshake: 32 or 48 bytes, as no cipher suite of TLS 1.3 has another hash.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct TranscriptHash<'a>(&'a [u8]);

impl<'a> TranscriptHash<'a> {
    pub(super) fn new(hash: &'a [u8]) -> Option<Self> {
        matches!(hash.len(), 32 | 48).then_some(Self(hash))
    }

    pub(super) const fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

/// ServerECDHParams (RFC 8422, 5.4): a named curve, and a point of it, with nothing behind.
///
/// That it is a point of the curve matters: what TLS 1.2 signs says nowhere that it is of TLS, and
/// with any bytes in the place of a point there is room for a certification request (RFC 2986) with
/// the key in it, whose subject holds these few fixed bytes. As no number of a curve can be chosen
/// freely beside the other, 48 bytes at most are left. Curves that would leave more, secp521r1 and
/// X448, are refused: no node of ours offers them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct EcdhParams<'a>(&'a [u8]);

impl<'a> EcdhParams<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != NAMED_CURVE {
            return None;
        }
        let group = reader.u16()?;
        let point = reader.vector8()?;
        let good = match group {
            SECP256R1 => point.len() == 65 && is_point(point, &ECDSA_P256_SHA256_ASN1),
            SECP384R1 => point.len() == 97 && is_point(point, &ECDSA_P384_SHA384_ASN1),
            // Any bytes are a point (RFC 7748, 5).
            X25519 => point.len() == 32,
            _ => false,
        };
        (good && reader.is_empty()).then_some(Self(bytes))
    }

    pub(super) const fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

/// Whether it is an uncompressed point of the curve of that scheme. Costs some microseconds.
fn is_point(point: &[u8], scheme: &'static dyn VerificationAlgorithm) -> bool {
    point.first() == Some(&UNCOMPRESSED) && ParsedPublicKey::new(scheme, point).is_ok()
}

/// ECCurveType, the one that RFC 8422 leaves (5.4).
const NAMED_CURVE: u8 = 3;
/// How an uncompressed point begins, the one form that RFC 8422 leaves (5.4.1).
const UNCOMPRESSED: u8 = 4;
// NamedCurve (RFC 8422, 5.1.1).
const SECP256R1: u16 = 0x17;
const SECP384R1: u16 = 0x18;
const X25519: u16 = 0x1d;
