//! Asking for a signature, whoever makes it.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::public_key::PublicKey;
use crate::scheme::Scheme;
use crate::wire::ErrorCode;

/// A signature that a TLS handshake waits for.
///
/// Cheap to clone: what is long is shared.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SignRequest {
    /// The key that has to sign.
    pub key: Arc<PublicKey>,
    /// How.
    pub scheme: Scheme,
    /// What is signed, whole and not hashed, as TLS builds it: what RFC 8446, 4.4.3, puts before a
    /// signature, or the randoms and parameters of RFC 8422, 5.4.
    pub message: Arc<[u8]>,
    /// The handshake up to its Certificate, as it is hashed; needed by the strict mode alone.
    pub transcript: Option<Arc<[u8]>>,
    /// The name that the TLS client asked for.
    pub server_name: Option<Arc<str>>,
    /// The TLS client.
    pub client: Option<IpAddr>,
    /// How long the handshake can still wait.
    pub within: Duration,
}

impl SignRequest {
    /// Asks `key` to sign `message`, within [`WITHIN`](Self::WITHIN), and says nothing of for whom.
    #[must_use]
    pub fn new(key: Arc<PublicKey>, scheme: Scheme, message: impl Into<Arc<[u8]>>) -> Self {
        Self {
            key,
            scheme,
            message: message.into(),
            transcript: None,
            server_name: None,
            client: None,
            within: Self::WITHIN,
        }
    }

    /// How long a signature may take where nothing else is said: two seconds, which a person who
    /// waits for a page still bears.
    pub const WITHIN: Duration = Duration::from_secs(2);

    /// Sets [`transcript`](Self::transcript).
    #[must_use]
    pub fn transcript(self, transcript: impl Into<Arc<[u8]>>) -> Self {
        let transcript = Some(transcript.into());
        Self { transcript, ..self }
    }

    /// Sets [`server_name`](Self::server_name).
    #[must_use]
    pub fn server_name(self, name: impl Into<Arc<str>>) -> Self {
        let server_name = Some(name.into());
        Self {
            server_name,
            ..self
        }
    }

    /// Sets [`client`](Self::client).
    #[must_use]
    pub fn client(self, client: IpAddr) -> Self {
        let client = Some(client);
        Self { client, ..self }
    }

    /// Sets [`within`](Self::within).
    #[must_use]
    pub fn within(self, within: Duration) -> Self {
        Self { within, ..self }
    }
}

/// The bytes of a signature, as TLS carries them.
pub type Signature = Vec<u8>;

/// What [`RemoteSigner::sign`] returns.
pub type Signing<'a> = Pin<Box<dyn Future<Output = Result<Signature, SignError>> + Send + 'a>>;

/// Makes signatures with keys that it alone holds, in its own time.
///
/// `KeyClient` asks key servers; an implementer of one's own may ask whatever
/// holds keys. It keeps to [`within`](SignRequest::within), and whoever asks may drop the future
/// before that. What it returns is a signature over [`message`](SignRequest::message) by that key,
/// or is found out by the TLS client, which breaks the handshake off.
///
/// # Examples
///
/// ```
/// use lb_keyserver::{RemoteSigner, SignError, SignRequest, Signing};
///
/// /// Refuses: for a node that is to serve resumed sessions only.
/// #[derive(Debug)]
/// struct Nobody;
///
/// impl RemoteSigner for Nobody {
///     fn sign(&self, _: SignRequest) -> Signing<'_> {
///         Box::pin(async { Err(SignError::NoServer) })
///     }
/// }
/// ```
pub trait RemoteSigner: fmt::Debug + Send + Sync + 'static {
    /// Signs.
    fn sign(&self, request: SignRequest) -> Signing<'_>;
}

impl<S: RemoteSigner + ?Sized> RemoteSigner for Arc<S> {
    fn sign(&self, request: SignRequest) -> Signing<'_> {
        S::sign(self, request)
    }
}

/// Why there is no signature.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// What is to be signed is not what the mode in force lets anybody sign: a fault of the caller.
    #[error("what is to be signed is no handshake of TLS")]
    BadRequest,
    /// The scheme is not one of the key's: a fault of the caller.
    #[error("the key cannot sign so")]
    BadScheme,
    /// As many signatures are awaited as may be: this node has too much to do.
    #[error("too many signatures are awaited")]
    Busy,
    /// No signature came in time.
    #[error("no signature came in time")]
    Late,
    /// No key server can be reached, or is to be trusted.
    #[error("no key server can be asked")]
    NoServer,
    /// The key server refused.
    #[error("the key server refused: {0}")]
    Refused(ErrorCode),
    /// The signer has ended.
    #[error("the signer has been shut down")]
    ShutDown,
}

impl SignError {
    /// Every reason, a refusal by its code left out; for metrics.
    pub const REASONS: [&'static str; 7] = [
        "bad-request",
        "bad-scheme",
        "busy",
        "late",
        "no-server",
        "refused",
        "shut-down",
    ];

    /// Its name in logs and metrics: one of [`REASONS`](Self::REASONS).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::BadScheme => "bad-scheme",
            Self::Busy => "busy",
            Self::Late => "late",
            Self::NoServer => "no-server",
            Self::Refused(_) => "refused",
            Self::ShutDown => "shut-down",
        }
    }
}
