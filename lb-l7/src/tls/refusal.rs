//! Why a client was refused.

use std::{fmt, io};

use rustls::{AlertDescription, Error, PeerIncompatible};

/// Why a client's connection did not become one of TLS; each is a counter.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// The client's certificate was asked for and did not come.
    ClientCertificateMissing,
    /// The client's certificate is expired, revoked, or of an authority that is not believed.
    ClientCertificateRefused,
    /// The client ended the connection within the handshake.
    Closed,
    /// The connection failed.
    Io,
    /// What came was TLS, and broken.
    Malformed,
    /// No certificate is there at all, or none could be found.
    NoCertificate,
    /// There is no protocol (ALPN) that both speak.
    NoSharedAlpn,
    /// There is no cipher suite, group or signature scheme that both have.
    NoSharedCipher,
    /// There is no version of TLS that both speak.
    NoSharedVersion,
    /// What came was not TLS.
    NotTls,
    /// What came was HTTP without TLS; a 400 can say so.
    PlainHttp,
    /// The client refused us with an alert, such as for a certificate that it does not believe.
    RefusedByClient,
    /// This side failed, such as in a signature.
    ServerFault,
    /// The client asked for a name that is not served here, and there is no default.
    UnknownName,
}

impl Refusal {
    /// All of them, in alphabetical order.
    pub const ALL: [Self; 14] = [
        Self::ClientCertificateMissing,
        Self::ClientCertificateRefused,
        Self::Closed,
        Self::Io,
        Self::Malformed,
        Self::NoCertificate,
        Self::NoSharedAlpn,
        Self::NoSharedCipher,
        Self::NoSharedVersion,
        Self::NotTls,
        Self::PlainHttp,
        Self::RefusedByClient,
        Self::ServerFault,
        Self::UnknownName,
    ];

    /// Its name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientCertificateMissing => "client-certificate-missing",
            Self::ClientCertificateRefused => "client-certificate-refused",
            Self::Closed => "closed",
            Self::Io => "io",
            Self::Malformed => "malformed",
            Self::NoCertificate => "no-certificate",
            Self::NoSharedAlpn => "no-shared-alpn",
            Self::NoSharedCipher => "no-shared-cipher",
            Self::NoSharedVersion => "no-shared-version",
            Self::NotTls => "not-tls",
            Self::PlainHttp => "plain-http",
            Self::RefusedByClient => "refused-by-client",
            Self::ServerFault => "server-fault",
            Self::UnknownName => "unknown-name",
        }
    }

    fn of_tls(error: &Error) -> Self {
        match error {
            Error::NoCertificatesPresented => Self::ClientCertificateMissing,
            // On this side, only a client's certificate is ever looked at.
            Error::InvalidCertificate(_) => Self::ClientCertificateRefused,
            Error::PeerIncompatible(incompatible) => Self::of_incompatible(incompatible),
            Error::AlertReceived(
                AlertDescription::CloseNotify | AlertDescription::UserCanceled,
            ) => Self::Closed,
            Error::AlertReceived(_) => Self::RefusedByClient,
            Error::NoApplicationProtocol => Self::NoSharedAlpn,
            Error::General(_)
            | Error::Other(_)
            | Error::FailedToGetCurrentTime
            | Error::FailedToGetRandomBytes
            | Error::InconsistentKeys(_)
            | Error::BadMaxFragmentSize
            | Error::EncryptError => Self::ServerFault,
            _ => Self::Malformed,
        }
    }

    fn of_incompatible(incompatible: &PeerIncompatible) -> Self {
        match incompatible {
            // Clients of TLS 1.1 and before have no such extension.
            PeerIncompatible::SignatureAlgorithmsExtensionRequired
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled => Self::NoSharedVersion,
            // Clients without elliptic curves leave the extensions of them out.
            PeerIncompatible::EcPointsExtensionRequired
            | PeerIncompatible::NamedGroupsExtensionRequired
            | PeerIncompatible::UncompressedEcPointsRequired
            | PeerIncompatible::NoCipherSuitesInCommon
            | PeerIncompatible::NoKxGroupsInCommon
            | PeerIncompatible::NoSignatureSchemesInCommon
            | PeerIncompatible::NoEcPointFormatsInCommon
            | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => {
                Self::NoSharedCipher
            }
            _ => Self::Malformed,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A client that was refused, and why; the client got the alert that fits, where one does.
#[derive(Debug, thiserror::Error)]
#[error("TLS handshake refused: {refusal}")]
pub struct AcceptError {
    refusal: Refusal,
    source: Option<io::Error>,
}

impl AcceptError {
    /// Why, to be counted.
    #[must_use]
    pub const fn refusal(&self) -> Refusal {
        self.refusal
    }

    /// Its name in logs and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        self.refusal.as_str()
    }
}

impl From<Refusal> for AcceptError {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            source: None,
        }
    }
}

impl From<Error> for AcceptError {
    fn from(error: Error) -> Self {
        Self {
            refusal: Refusal::of_tls(&error),
            source: Some(io::Error::other(error)),
        }
    }
}

impl From<io::Error> for AcceptError {
    fn from(error: io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        let refusal = match (inner, error.kind()) {
            (Some(tls), _) => Refusal::of_tls(tls),
            (
                None,
                io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::UnexpectedEof,
            ) => Refusal::Closed,
            _ => Refusal::Io,
        };
        Self {
            refusal,
            source: Some(error),
        }
    }
}

/// A refused client, with its connection if that can still be written.
#[derive(Debug)]
#[non_exhaustive]
pub struct Refused<Raw> {
    /// Why.
    pub error: AcceptError,
    /// The connection. After [`Refusal::PlainHttp`] and [`Refusal::NotTls`] nothing was written to
    /// it, and its first bytes were read; after any other refusal it is good for nothing but a
    /// close.
    pub raw: Raw,
}

impl<Raw> Refused<Raw> {
    pub(super) fn new(error: impl Into<AcceptError>, raw: Raw) -> Self {
        Self {
            error: error.into(),
            raw,
        }
    }
}
