//! A handshake up to the server's Certificate, checked.
//!
//! A client of TLS would go on from what is accepted here, as far as its form goes, with a server
//! that has the key; it is not checked that there was a client. Whatever is malformed, missing, of
//! the other version, out of order, or follows the Certificate gives `None`.

use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;

use super::handshake::{self, Messages};
use super::hello::{ClientHello, ServerHello, ServerHelloKind};
use crate::der::Der;
use crate::public_key::PublicKey;
use crate::scheme::Hash;

/// What a handshake shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Shown<'a> {
    /// The client's, then the server's.
    pub(super) randoms: [u8; 64],
    /// The name that the client asked for.
    pub(super) server_name: Option<&'a str>,
}

/// Reads a handshake of TLS 1.2: ClientHello, ServerHello, Certificate of `key`, and perhaps a
/// CertificateStatus.
pub(super) fn tls12<'a>(transcript: &'a [u8], key: &PublicKey) -> Option<Shown<'a>> {
    let mut messages = Messages::new(transcript);
    let shown = hellos_tls12(&mut messages)?;
    let certificate = messages.next(handshake::CERTIFICATE)?;
    let _ = messages.next(handshake::CERTIFICATE_STATUS);
    let good = messages.is_empty() && is_of(handshake::leaf_tls12(certificate)?, key);
    good.then_some(shown)
}

/// The randoms of a handshake of TLS 1.2, the client's first.
pub(super) fn randoms(transcript: &[u8]) -> Option<[u8; 64]> {
    hellos_tls12(&mut Messages::new(transcript)).map(|shown| shown.randoms)
}

fn hellos_tls12<'a>(messages: &mut Messages<'a>) -> Option<Shown<'a>> {
    let client = ClientHello::read(messages.next(handshake::CLIENT_HELLO)?)?;
    let server = ServerHello::read(messages.next(handshake::SERVER_HELLO)?)?;
    let good = server.kind == ServerHelloKind::Tls12 && client.is_answered_by(&server);
    good.then(|| Shown {
        randoms: both(client.random, server.random),
        server_name: client.server_name,
    })
}

/// Reads a handshake of TLS 1.3, hashed by `hash`: a ClientHello, or the hash of a first one, a
/// HelloRetryRequest and a second; ServerHello, EncryptedExtensions, perhaps a CertificateRequest,
/// and a Certificate of `key`.
pub(super) fn tls13<'a>(transcript: &'a [u8], hash: Hash, key: &PublicKey) -> Option<Shown<'a>> {
    let mut messages = Messages::new(transcript);
    let retry = match messages.next(handshake::MESSAGE_HASH) {
        Some(first) if first.len() != hash.len() => return None,
        Some(_) => Some(server_hello(
            &mut messages,
            ServerHelloKind::HelloRetryRequest,
        )?),
        None => None,
    };
    let client = ClientHello::read(messages.next(handshake::CLIENT_HELLO)?)?;
    let server = server_hello(&mut messages, ServerHelloKind::Tls13)?;
    // RFC 8446, 4.1.4: the second ServerHello has the suite of the first.
    let agreed =
        retry.is_none_or(|retry| retry.suite == server.suite && client.is_answered_by(&retry));
    if !agreed || !client.is_answered_by(&server) || server.hash() != Some(hash) {
        return None;
    }
    let extensions = messages.next(handshake::ENCRYPTED_EXTENSIONS)?;
    let request = messages.next(handshake::CERTIFICATE_REQUEST);
    let certificate = messages.next(handshake::CERTIFICATE)?;
    let good = messages.is_empty()
        && handshake::is_encrypted_extensions(extensions)
        && request.is_none_or(handshake::is_certificate_request)
        && is_of(handshake::leaf_tls13(certificate)?, key);
    good.then(|| Shown {
        randoms: both(client.random, server.random),
        server_name: client.server_name,
    })
}

fn server_hello<'a>(messages: &mut Messages<'a>, kind: ServerHelloKind) -> Option<ServerHello<'a>> {
    let hello = ServerHello::read(messages.next(handshake::SERVER_HELLO)?)?;
    (hello.kind == kind).then_some(hello)
}

/// Whether the certificate has the key. Its signature, dates and names are the client's to check.
fn is_of(certificate: &[u8], key: &PublicKey) -> bool {
    let certificate = CertificateDer::from(certificate);
    let Ok(certificate) = ParsedCertificate::try_from(&certificate) else {
        return false;
    };
    let spki = certificate.subject_public_key_info();
    // The bits themselves, as a name is their SHA-1, and the parameters can be written in two ways.
    let own = bits(key.spki().as_ref());
    own.is_some() && bits(spki.as_ref()) == own
}

/// The bits of the subjectPublicKey.
fn bits(spki: &[u8]) -> Option<&[u8]> {
    let mut spki = Der::new(spki).sequence()?;
    spki.sequence()?;
    spki.bit_string()
}

fn both(client: &[u8; 32], server: &[u8; 32]) -> [u8; 64] {
    let mut both = [0; 64];
    for (to, from) in both.iter_mut().zip(client.iter().chain(server)) {
        *to = *from;
    }
    both
}
