//! The handshakes of a listener whose keys are elsewhere.

use std::fmt;
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lbcore::connect::Accept;
use rustls::ServerConfig;
use rustls::server::ClientHello;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::driver::Handshake;
use super::error::RemoteTlsError;
use super::limits::HandshakeLimits;
use super::opening::{Refused, Signed, poll_input, send, tell};
use super::stats::{Counters, RemoteTlsStats, add};
use super::step::Step;
use super::transcript::Transcripts;
use crate::sign::{RemoteSigner, SignError, SignRequest, Signature};

/// Speaks TLS with clients, with keys that another has.
///
/// As `tokio_rustls::TlsAcceptor`, but that the signature of each handshake is made by `signer`,
/// and that no thread and no lock is held while it is on its way. Sessions that are resumed need
/// none. What comes out is an ordinary stream of tokio-rustls.
///
/// A client that cannot be served for want of a signature gets an alert `internal_error` at once.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use lb_keyserver::RemoteSigner;
/// use lb_keyserver::rustls::{RemoteTls, certified_key_from_pem, remote_provider};
/// use rustls::ServerConfig;
/// use rustls::crypto::aws_lc_rs;
/// use rustls::sign::SingleCertAndKey;
///
/// fn listener<S: RemoteSigner>(
///     certificate: &[u8],
///     signer: S,
/// ) -> Result<RemoteTls<S>, Box<dyn std::error::Error>> {
///     let provider = remote_provider(&aws_lc_rs::default_provider());
///     let key = certified_key_from_pem(certificate)?;
///     let config = ServerConfig::builder_with_provider(Arc::new(provider))
///         .with_safe_default_protocol_versions()?
///         .with_no_client_auth()
///         .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
///     Ok(RemoteTls::new(Arc::new(config), signer))
/// }
/// ```
pub struct RemoteTls<S> {
    choice: Choice,
    signer: S,
    limits: HandshakeLimits,
    transcripts: Transcripts,
    plain_http: Option<Arc<[u8]>>,
    waiting: Semaphore,
    counters: Counters,
}

/// What to speak with whom.
enum Choice {
    One(Arc<ServerConfig>),
    ByHello(Choose),
}

type Choose = Box<dyn Fn(&ClientHello<'_>) -> Option<Arc<ServerConfig>> + Send + Sync>;

impl<S: RemoteSigner> RemoteTls<S> {
    /// Speaks as `config` says with all clients. It must compute with a
    /// [`remote_provider`](super::remote_provider).
    #[must_use]
    pub fn new(config: Arc<ServerConfig>, signer: S) -> Self {
        Self::with(Choice::One(config), signer)
    }

    /// Speaks as `choose` says with the client that said this; where it says nothing, the client
    /// gets an alert `unrecognized_name`.
    ///
    /// It is asked once a handshake, on the thread of the network, and must not block.
    #[must_use]
    pub fn choosing(
        choose: impl Fn(&ClientHello<'_>) -> Option<Arc<ServerConfig>> + Send + Sync + 'static,
        signer: S,
    ) -> Self {
        Self::with(Choice::ByHello(Box::new(choose)), signer)
    }

    fn with(choice: Choice, signer: S) -> Self {
        let limits = HandshakeLimits::default();
        Self {
            choice,
            signer,
            waiting: Semaphore::new(limits.waiting),
            limits,
            transcripts: Transcripts::default(),
            plain_http: None,
            counters: Counters::default(),
        }
    }

    /// Sets how long handshakes may take, and how many may wait.
    #[must_use]
    pub fn limits(mut self, limits: HandshakeLimits) -> Self {
        self.waiting = Semaphore::new(limits.waiting.min(Semaphore::MAX_PERMITS));
        self.limits = limits;
        self
    }

    /// Sets whether requests for signatures carry the handshake, for a signer that speaks the
    /// [strict](crate::Mode::Strict) mode. The default is not to.
    #[must_use]
    pub fn transcripts(self, transcripts: Transcripts) -> Self {
        Self {
            transcripts,
            ..self
        }
    }

    /// Sets what a client gets who speaks HTTP without TLS: a whole response. The default is nothing.
    #[must_use]
    pub fn plain_http(mut self, answer: impl Into<Arc<[u8]>>) -> Self {
        self.plain_http = Some(answer.into());
        self
    }

    /// Who signs.
    #[must_use]
    pub const fn signer(&self) -> &S {
        &self.signer
    }

    /// What became of the handshakes until now.
    #[must_use]
    pub fn stats(&self) -> RemoteTlsStats {
        self.counters.read()
    }

    /// How many handshakes wait for a signature at this moment.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let limit = self.limits.waiting.min(Semaphore::MAX_PERMITS);
        limit - self.waiting.available_permits().min(limit)
    }

    /// Does the handshake with a client at that address, which the signer is told.
    ///
    /// [`accept`](Accept::accept) does the same where the address is not known.
    ///
    /// # Errors
    ///
    /// When the client is refused; it has been told what there is to tell.
    pub async fn handshake<Raw>(
        &self,
        raw: Raw,
        client: Option<IpAddr>,
    ) -> Result<TlsStream<Raw>, RemoteTlsError>
    where
        Raw: AsyncRead + AsyncWrite + Unpin,
    {
        let done = self.bounded(raw, client).await;
        match &done {
            Ok(_) => add(&self.counters.accepted),
            Err(error) => self.counters.refuse(error),
        }
        done
    }

    /// Does the whole handshake in its time.
    async fn bounded<Raw>(
        &self,
        mut raw: Raw,
        client: Option<IpAddr>,
    ) -> Result<TlsStream<Raw>, RemoteTlsError>
    where
        Raw: AsyncRead + AsyncWrite + Unpin,
    {
        // What lies beyond all time is as good as a year.
        let (now, within) = (Instant::now(), self.limits.within);
        let deadline = now.checked_add(within).unwrap_or_else(|| now + YEAR);
        let whole = async {
            let Signed { config, connection } = match self.sign(&mut raw, client, deadline).await {
                Ok(signed) => signed,
                Err(refused) => {
                    let answer = self.answer(&refused);
                    tell(&mut raw, answer).await;
                    return Err(refused.error);
                }
            };
            let accept = TlsAcceptor::from(config).accept_with(raw, |fresh| *fresh = connection);
            Ok(accept.await?)
        };
        let done = timeout_at(deadline, whole).await;
        done.unwrap_or(Err(RemoteTlsError::Late))
    }

    /// Does the handshake until the key is needed no more.
    async fn sign<Raw>(
        &self,
        raw: &mut Raw,
        client: Option<IpAddr>,
        deadline: Instant,
    ) -> Result<Signed, Refused>
    where
        Raw: AsyncRead + AsyncWrite + Unpin,
    {
        let mut handshake = match &self.choice {
            Choice::One(config) => Handshake::new(Arc::clone(config)),
            Choice::ByHello(_) => Handshake::choosing(),
        };
        handshake = handshake.transcripts(self.transcripts);
        let mut is_first = true;
        let mut step = Step::NeedInput(Vec::new());
        loop {
            step = match step {
                Step::NeedInput(output) => {
                    send(raw, &output).await?;
                    let read = poll_fn(|cx| poll_input(raw, cx, &mut handshake, is_first));
                    let read = read.await?;
                    is_first = false;
                    read
                }
                Step::NeedConfig => match self.choose(&handshake) {
                    Some(config) => handshake.configure(config)?,
                    None => return Err(Refused::unknown_name(handshake)),
                },
                Step::NeedSignature(pending) => {
                    let mut request = pending.request().clone();
                    request.client = client;
                    match self.ask(request, deadline).await {
                        Ok(signature) => handshake.signature(pending, signature)?,
                        Err(error) => return Err(Refused::unsigned(handshake, error)),
                    }
                }
                Step::Ready => {
                    let signed = Signed::of(handshake);
                    return signed.ok_or_else(|| RemoteTlsError::Closed.into());
                }
            };
        }
    }

    /// What a client is told that is refused.
    fn answer<'a>(&'a self, refused: &'a Refused) -> &'a [u8] {
        match refused.error {
            RemoteTlsError::PlainHttp => self.plain_http.as_deref().unwrap_or_default(),
            _ => &refused.answer,
        }
    }

    fn choose(&self, handshake: &Handshake) -> Option<Arc<ServerConfig>> {
        match &self.choice {
            Choice::One(config) => Some(Arc::clone(config)),
            Choice::ByHello(choose) => choose(&handshake.client_hello()?),
        }
    }

    /// Waits for a signature, if there is room to.
    async fn ask(&self, request: SignRequest, deadline: Instant) -> Result<Signature, SignError> {
        let _place = self.waiting.try_acquire().map_err(|_| SignError::Busy)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let within = self.limits.sign_within.min(left);
        add(&self.counters.asked);
        let signing = self.signer.sign(request.within(within));
        let signature = timeout(within, signing).await;
        let signature = signature.unwrap_or(Err(SignError::Late))?;
        add(&self.counters.answered);
        Ok(signature)
    }
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

impl<S, Raw> Accept<Raw> for RemoteTls<S>
where
    S: RemoteSigner,
    Raw: AsyncRead + AsyncWrite + Unpin + Send,
{
    type Stream = TlsStream<Raw>;
    type Error = RemoteTlsError;

    /// Does the handshake.
    async fn accept(&self, _first: &[u8], raw: Raw) -> Result<TlsStream<Raw>, RemoteTlsError> {
        self.handshake(raw, None).await
    }
}

impl<S: fmt::Debug> fmt::Debug for RemoteTls<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteTls")
            .field("signer", &self.signer)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
