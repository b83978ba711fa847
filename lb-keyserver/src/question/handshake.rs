//! Messages of a handshake, one after the other (RFC 8446, 4; RFC 5246, 7.4).

use super::reader::Reader;

// HandshakeType, of RFC 8446, 4, and of RFC 6066, 8, for the status.
pub(super) const CLIENT_HELLO: u8 = 1;
pub(super) const SERVER_HELLO: u8 = 2;
pub(super) const ENCRYPTED_EXTENSIONS: u8 = 8;
pub(super) const CERTIFICATE: u8 = 11;
pub(super) const CERTIFICATE_REQUEST: u8 = 13;
pub(super) const CERTIFICATE_STATUS: u8 = 22;
/// What stands for the first ClientHello behind a HelloRetryRequest (RFC 8446, 4.4.1).
pub(super) const MESSAGE_HASH: u8 = 254;

/// What is left of a run of messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Messages<'a>(Reader<'a>);

impl<'a> Messages<'a> {
    pub(super) const fn new(handshake: &'a [u8]) -> Self {
        Self(Reader::new(handshake))
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The body of the next message, if it is whole and of that type; nothing is taken otherwise.
    pub(super) fn next(&mut self, of_type: u8) -> Option<&'a [u8]> {
        let mut ahead = self.0;
        if ahead.u8()? != of_type {
            return None;
        }
        let body = ahead.vector24()?;
        self.0 = ahead;
        Some(body)
    }
}

/// The first certificate of a Certificate of TLS 1.2 (RFC 5246, 7.4.2).
pub(super) fn leaf_tls12(body: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(body);
    let list = reader.vector24().filter(|_| reader.is_empty())?;
    first(list, |list| list.vector24())
}

/// The first certificate of a server's Certificate of TLS 1.3 (RFC 8446, 4.4.2), whose context is
/// empty.
pub(super) fn leaf_tls13(body: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(body);
    reader.vector8().filter(|context| context.is_empty())?;
    let list = reader.vector24().filter(|_| reader.is_empty())?;
    first(list, |list| {
        let certificate = list.vector24()?;
        list.vector16()?;
        Some(certificate)
    })
}

/// The first entry of a list whose every entry can be read.
fn first<'a>(
    list: &'a [u8],
    entry: impl Fn(&mut Reader<'a>) -> Option<&'a [u8]>,
) -> Option<&'a [u8]> {
    let mut list = Reader::new(list);
    let first = entry(&mut list)?;
    while !list.is_empty() {
        entry(&mut list)?;
    }
    Some(first)
}

/// Whether `body` is EncryptedExtensions (RFC 8446, 4.3.1), as far as its lengths go.
pub(super) fn is_encrypted_extensions(body: &[u8]) -> bool {
    let mut reader = Reader::new(body);
    reader.vector16().is_some() && reader.is_empty()
}

/// Whether `body` is a CertificateRequest of a handshake (RFC 8446, 4.3.2), as far as its lengths
/// go.
pub(super) fn is_certificate_request(body: &[u8]) -> bool {
    let mut reader = Reader::new(body);
    reader.vector8().is_some_and(<[u8]>::is_empty)
        && reader.vector16().is_some()
        && reader.is_empty()
}
