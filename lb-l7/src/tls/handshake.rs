//! What a handshake settled.

use std::sync::OnceLock;

use http::HeaderMap;
use rustls::{CipherSuite, NamedGroup, ProtocolVersion};
use tokio_rustls::{client, server};

use super::client_auth::ClientCertificate;

/// A protocol above TLS (RFC 7301).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a new protocol is a new front, and every caller has to say what it does with it"
)]
pub enum Alpn {
    /// `http/1.1`.
    Http1,
    /// `h2` (RFC 9113, 3.2).
    Http2,
}

impl Alpn {
    /// Its registered identifier.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2",
        }
    }

    /// The protocol of that identifier.
    #[must_use]
    pub fn from_identifier(identifier: &[u8]) -> Option<Self> {
        match identifier {
            b"http/1.1" => Some(Self::Http1),
            b"h2" => Some(Self::Http2),
            _ => None,
        }
    }

    /// What a connection to a backend agreed on; `None` when it said nothing, which means HTTP/1.
    pub fn of_backend<S>(stream: &client::TlsStream<S>) -> Option<Self> {
        Self::from_identifier(stream.get_ref().1.alpn_protocol()?)
    }

    /// The list as rustls takes it.
    pub(super) fn identifiers(protocols: &[Self]) -> Vec<Vec<u8>> {
        let identifiers = protocols.iter().map(|protocol| protocol.as_str());
        identifiers.map(|name| name.as_bytes().to_vec()).collect()
    }
}

/// What the handshake with a client settled.
///
/// Read once a connection; it allocates the name and, if there is one, the client certificate's
/// fields.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Handshake {
    /// The name that the client asked for, in lower case; requests for another get a 421.
    pub server_name: Option<Box<str>>,
    /// The protocol agreed on; `None` when the client named none, which means HTTP/1.
    pub alpn: Option<Alpn>,
    /// The version, such as `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite, by its registered name, such as `TLS_AES_128_GCM_SHA256`.
    pub cipher: &'static str,
    /// The group of the key exchange, such as `X25519MLKEM768`; `None` in a TLS 1.2 resumption.
    pub group: Option<&'static str>,
    /// The client's certificate, verified; after a resumption the one of the first handshake.
    pub client_certificate: Option<ClientCertificate>,
    /// Whether an earlier session was resumed, which saves the private key's operation.
    pub resumed: bool,
    certificate_headers: OnceLock<HeaderMap>,
}

impl Handshake {
    /// A handshake of which only the name matters.
    #[cfg(test)]
    pub(crate) fn naming(server_name: Option<&str>) -> Self {
        Self {
            server_name: server_name.map(Into::into),
            alpn: None,
            version: "TLSv1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
            group: None,
            client_certificate: None,
            resumed: false,
            certificate_headers: OnceLock::new(),
        }
    }

    /// What backends are told of the client's certificate; made at the first request.
    pub(crate) fn certificate_headers(&self) -> &HeaderMap {
        let certificate = self.client_certificate.as_ref();
        self.certificate_headers.get_or_init(|| {
            certificate.map_or_else(
                ClientCertificate::headers_without,
                ClientCertificate::headers,
            )
        })
    }

    /// Reads what the handshake behind `stream` settled.
    pub fn of<Raw>(stream: &server::TlsStream<Raw>) -> Self {
        let (_, connection) = stream.get_ref();
        let version = connection.protocol_version();
        let cipher = connection.negotiated_cipher_suite();
        let group = connection.negotiated_key_exchange_group();
        let certificates = connection.peer_certificates();
        Self {
            server_name: connection.server_name().map(Into::into),
            alpn: connection.alpn_protocol().and_then(Alpn::from_identifier),
            version: version.map_or("unknown", version_name),
            cipher: cipher.map_or("unknown", |suite| suite_name(suite.suite())),
            group: group.and_then(|group| group_name(group.name())),
            client_certificate: certificates
                .and_then(|chain| chain.first())
                .and_then(|der| ClientCertificate::verified(der)),
            resumed: connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
            certificate_headers: OnceLock::new(),
        }
    }
}

/// The spelling of OpenSSL, which logs everywhere have.
pub(super) const fn version_name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_2 => "TLSv1.2",
        ProtocolVersion::TLSv1_3 => "TLSv1.3",
        _ => "unknown",
    }
}

/// The registered name; rustls's own differ for TLS 1.3.
pub(super) fn suite_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}

fn group_name(group: NamedGroup) -> Option<&'static str> {
    group.as_str()
}
