//! Why a client was refused.

use std::io;

use crate::sign::SignError;

/// Why a client's connection did not become one of TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteTlsError {
    /// The client ended the connection within the handshake.
    #[error("the client has closed the connection")]
    Closed,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[source] io::Error),
    /// The handshake took longer than it may.
    #[error("the handshake took too long")]
    Late,
    /// What came was not TLS. Nothing was answered.
    #[error("the client does not speak TLS")]
    NotTls,
    /// What came was HTTP without TLS; it got the answer that was set for it.
    #[error("the client speaks HTTP without TLS")]
    PlainHttp,
    /// There is no signature; the client got an alert `internal_error`.
    #[error("no signature: {0}")]
    Sign(#[from] SignError),
    /// The client broke the protocol, nothing is there that both speak, or one side did not like the
    /// other's certificate; the client got the alert that fits.
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    /// There is nothing to show for the name; the client got an alert `unrecognized_name`.
    #[error("nothing is shown for the name that the client asked for")]
    UnknownName,
}

impl RemoteTlsError {
    /// Every reason; for metrics.
    pub const REASONS: [&'static str; 14] = [
        "closed",
        "io",
        "late",
        "not-tls",
        "plain-http",
        "sign-bad-request",
        "sign-bad-scheme",
        "sign-busy",
        "sign-late",
        "sign-no-server",
        "sign-refused",
        "sign-shut-down",
        "tls",
        "unknown-name",
    ];

    /// Its name in logs and metrics: one of [`REASONS`](Self::REASONS).
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Io(_) => "io",
            Self::Late => "late",
            Self::NotTls => "not-tls",
            Self::PlainHttp => "plain-http",
            Self::Sign(SignError::BadRequest) => "sign-bad-request",
            Self::Sign(SignError::BadScheme) => "sign-bad-scheme",
            Self::Sign(SignError::Busy) => "sign-busy",
            Self::Sign(SignError::Late) => "sign-late",
            Self::Sign(SignError::NoServer) => "sign-no-server",
            Self::Sign(SignError::Refused(_)) => "sign-refused",
            Self::Sign(SignError::ShutDown) => "sign-shut-down",
            Self::Tls(_) => "tls",
            Self::UnknownName => "unknown-name",
        }
    }
}

impl From<io::Error> for RemoteTlsError {
    /// Takes an error of rustls out of one of I/O, as tokio-rustls puts it in.
    fn from(error: io::Error) -> Self {
        match error.downcast::<rustls::Error>() {
            Ok(error) => Self::Tls(error),
            Err(error) => match error.kind() {
                io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::UnexpectedEof => Self::Closed,
                _ => Self::Io(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::wire::ErrorCode;

    #[test]
    fn each_has_a_reason_of_its_own_and_the_list_is_complete() {
        let signs = [
            SignError::BadRequest,
            SignError::BadScheme,
            SignError::Busy,
            SignError::Late,
            SignError::NoServer,
            SignError::Refused(ErrorCode::Crypto),
            SignError::ShutDown,
        ];
        let others = [
            RemoteTlsError::Closed,
            RemoteTlsError::Io(io::ErrorKind::OutOfMemory.into()),
            RemoteTlsError::Late,
            RemoteTlsError::NotTls,
            RemoteTlsError::PlainHttp,
            RemoteTlsError::Tls(rustls::Error::DecryptError),
            RemoteTlsError::UnknownName,
        ];
        for sign in signs {
            let reason = RemoteTlsError::Sign(sign).as_str();
            assert_eq!(reason.strip_prefix("sign-"), Some(sign.as_str()));
        }
        let all = signs.map(RemoteTlsError::Sign).into_iter().chain(others);
        let all: BTreeSet<_> = all.map(|error| error.as_str()).collect();
        assert_eq!(all, BTreeSet::from(RemoteTlsError::REASONS));
        assert_eq!(all.len(), RemoteTlsError::REASONS.len());
    }

    #[test]
    fn what_tokio_rustls_wraps_is_taken_out() {
        let wrapped = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError);
        let tls = RemoteTlsError::from(wrapped);
        assert!(matches!(
            tls,
            RemoteTlsError::Tls(rustls::Error::DecryptError)
        ));
        for (kind, reason) in [
            (io::ErrorKind::UnexpectedEof, "closed"),
            (io::ErrorKind::ConnectionReset, "closed"),
            (io::ErrorKind::ConnectionAborted, "closed"),
            (io::ErrorKind::BrokenPipe, "closed"),
            (io::ErrorKind::TimedOut, "io"),
        ] {
            assert_eq!(RemoteTlsError::from(io::Error::from(kind)).as_str(), reason);
        }
    }
}
