//! What version 2 tells of the client's TLS (section 2.2.6).

use std::borrow::Cow;

use super::tlv::{SSL, TlvError, put, take};

/// What the sender knows of the client's TLS (section 2.2.6).
#[derive(Clone, Debug, Eq, PartialEq)]
#[doc(alias = "TLS")]
pub struct Ssl<'a> {
    flags: SslFlags,
    verify: u32,
    fields: Cow<'a, [u8]>,
}

impl<'a> Ssl<'a> {
    /// A description without fields; `verify` is zero if the client's certificate was verified.
    #[must_use]
    pub const fn new(flags: SslFlags, verify: u32) -> Self {
        Self {
            flags,
            verify,
            fields: Cow::Borrowed(&[]),
        }
    }

    /// Adds a field behind the others.
    ///
    /// # Errors
    ///
    /// If its value is not of its type, or longer than 65,535 bytes.
    pub fn with(mut self, field: &SslField<'_>) -> Result<Self, TlvError> {
        let (kind, value) = field.parts();
        check_field(kind, value)?;
        put(self.fields.to_mut(), kind, value)?;
        Ok(self)
    }

    /// What the client did: spoke TLS, showed a certificate.
    #[must_use]
    pub const fn flags(&self) -> SslFlags {
        self.flags
    }

    /// Zero if the client showed a certificate and it was verified; anything else if not.
    #[must_use]
    pub const fn verify(&self) -> u32 {
        self.verify
    }

    /// Each field, in the sender's order.
    #[must_use]
    pub fn fields(&self) -> SslFields<'_> {
        SslFields { rest: &self.fields }
    }

    /// The description in a checked value.
    pub(super) fn of(value: &'a [u8]) -> Option<Self> {
        let (head, fields) = value.split_first_chunk::<5>()?;
        let [flags, verify @ ..] = *head;
        Some(Self {
            flags: SslFlags(flags),
            verify: u32::from_be_bytes(verify),
            fields: Cow::Borrowed(fields),
        })
    }

    pub(super) fn to_value(&self) -> Vec<u8> {
        let mut value = vec![self.flags.0];
        value.extend_from_slice(&self.verify.to_be_bytes());
        value.extend_from_slice(&self.fields);
        value
    }
}

/// What a client did, as bits: the `client` byte of section 2.2.6.
///
/// # Examples
///
/// ```
/// use lbcore::proxy_protocol::SslFlags;
///
/// let flags = SslFlags::SSL.and(SslFlags::CERTIFICATE_NOW);
/// assert!(flags.has(SslFlags::SSL));
/// assert!(!flags.has(SslFlags::CERTIFICATE_BEFORE));
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct SslFlags(u8);

impl SslFlags {
    /// It spoke TLS.
    pub const SSL: Self = Self(0x01);
    /// It showed a certificate over this connection.
    pub const CERTIFICATE_NOW: Self = Self(0x02);
    /// It showed a certificate at least once over the TLS session this connection belongs to.
    pub const CERTIFICATE_BEFORE: Self = Self(0x04);

    /// These and those.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether all of `others` are among these.
    #[must_use]
    pub const fn has(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }
}

/// The fields of an [`Ssl`], one after the other; made by [`Ssl::fields`].
#[derive(Clone, Debug)]
pub struct SslFields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for SslFields<'a> {
    type Item = SslField<'a>;

    fn next(&mut self) -> Option<SslField<'a>> {
        let (kind, value) = take(&mut self.rest)?;
        Some(SslField::of(kind, value))
    }
}

/// One TLV inside an [`Ssl`].
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SslField<'a> {
    /// The cipher suite's name, ASCII, such as `ECDHE-RSA-AES128-GCM-SHA256`.
    Cipher(&'a str),
    /// The common name of the client's certificate, UTF-8.
    CommonName(&'a str),
    /// The algorithm of the key of the certificate that was shown to the client, such as `RSA2048`.
    KeyAlgorithm(&'a str),
    /// A type that this list does not name, passed on as it is.
    Other {
        /// The type.
        kind: u8,
        /// At most 65,535 bytes.
        value: &'a [u8],
    },
    /// The algorithm that signed the certificate shown to the client, such as `RSA-SHA256`.
    SignatureAlgorithm(&'a str),
    /// The version of TLS, ASCII, such as `TLSv1.3`.
    Version(&'a str),
}

impl<'a> SslField<'a> {
    fn of(kind: u8, value: &'a [u8]) -> Self {
        let other = Self::Other { kind, value };
        let Ok(text) = str::from_utf8(value) else {
            return other;
        };
        match kind {
            SSL_VERSION => Self::Version(text),
            SSL_COMMON_NAME => Self::CommonName(text),
            SSL_CIPHER => Self::Cipher(text),
            SSL_SIGNATURE_ALGORITHM => Self::SignatureAlgorithm(text),
            SSL_KEY_ALGORITHM => Self::KeyAlgorithm(text),
            _ => other,
        }
    }

    const fn parts(&self) -> (u8, &'a [u8]) {
        match self {
            Self::Cipher(text) => (SSL_CIPHER, text.as_bytes()),
            Self::CommonName(text) => (SSL_COMMON_NAME, text.as_bytes()),
            Self::KeyAlgorithm(text) => (SSL_KEY_ALGORITHM, text.as_bytes()),
            Self::Other { kind, value } => (*kind, value),
            Self::SignatureAlgorithm(text) => (SSL_SIGNATURE_ALGORITHM, text.as_bytes()),
            Self::Version(text) => (SSL_VERSION, text.as_bytes()),
        }
    }
}

/// Whether `value` is one of type SSL, fields and all.
pub(super) fn check(value: &[u8]) -> Result<(), TlvError> {
    let (_, mut rest) = value
        .split_first_chunk::<5>()
        .ok_or(TlvError::BadValue(SSL))?;
    while !rest.is_empty() {
        let (kind, value) = take(&mut rest).ok_or(TlvError::Truncated)?;
        check_field(kind, value)?;
    }
    Ok(())
}

fn check_field(kind: u8, value: &[u8]) -> Result<(), TlvError> {
    let good = match kind {
        SSL_COMMON_NAME => str::from_utf8(value).is_ok(),
        SSL_VERSION | SSL_CIPHER | SSL_SIGNATURE_ALGORITHM | SSL_KEY_ALGORITHM => value.is_ascii(),
        _ => true,
    };
    good.then_some(()).ok_or(TlvError::BadValue(kind))
}

// The registered subtypes of section 2.2.
const SSL_VERSION: u8 = 0x21;
const SSL_COMMON_NAME: u8 = 0x22;
const SSL_CIPHER: u8 = 0x23;
const SSL_SIGNATURE_ALGORITHM: u8 = 0x24;
const SSL_KEY_ALGORITHM: u8 = 0x25;
