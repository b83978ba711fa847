//! TLS towards clients.

use std::sync::Arc;

use arc_swap::ArcSwap;
use lbcore::Instant;
use lbcore::connect::Accept;
use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::server::TlsStream;

use super::certificates::Certificates;
use super::client_auth::ClientAuth;
use super::handshake::Alpn;
use super::hello::{read_hello, tell};
use super::pem::LoadError;
use super::policy::TlsPolicy;
use super::refusal::{AcceptError, Refusal, Refused};
use super::tickets::{RandomError, TicketKeys};

/// How a listener speaks TLS.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// Versions, suites and groups. The default is [`TlsPolicy::modern`].
    pub policy: TlsPolicy,
    /// Whether clients must show a certificate. The default is [`ClientAuth::none`]; a
    /// [`Certificate`](super::Certificate) may say something else for its names.
    pub client_auth: ClientAuth,
    /// The protocols offered, the preferred first. The default is HTTP/2, then HTTP/1. A client that
    /// offers only others is refused (RFC 7301, 3.2); one that offers none is served.
    pub alpn: Vec<Alpn>,
    /// How sessions are resumed. The default is [`Tickets::Own`].
    pub tickets: Tickets,
}

impl TlsConfig {
    /// Sets [`policy`](Self::policy).
    #[must_use]
    pub fn policy(self, policy: TlsPolicy) -> Self {
        Self { policy, ..self }
    }

    /// Sets [`client_auth`](Self::client_auth).
    #[must_use]
    pub fn client_auth(self, client_auth: ClientAuth) -> Self {
        Self {
            client_auth,
            ..self
        }
    }

    /// Sets [`alpn`](Self::alpn).
    #[must_use]
    pub fn alpn(self, alpn: impl Into<Vec<Alpn>>) -> Self {
        Self {
            alpn: alpn.into(),
            ..self
        }
    }

    /// Sets [`tickets`](Self::tickets).
    #[must_use]
    pub fn tickets(self, tickets: Tickets) -> Self {
        Self { tickets, ..self }
    }
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            policy: TlsPolicy::default(),
            client_auth: ClientAuth::none(),
            alpn: vec![Alpn::Http2, Alpn::Http1],
            tickets: Tickets::default(),
        }
    }
}

/// How sessions are resumed.
#[non_exhaustive]
#[derive(Clone, Debug, Default)]
pub enum Tickets {
    /// Not at all: every connection is a full handshake.
    Off,
    /// By tickets under keys of this listener alone, which turn every [`TicketKeys::EVERY`].
    #[default]
    Own,
    /// By tickets under these keys, which other listeners and machines may have too.
    Shared(Arc<TicketKeys>),
}

/// Why a [`Tls`] could not be made.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A revocation list is broken.
    #[error(transparent)]
    ClientAuth(#[from] LoadError),
    /// The system gave no random bytes for the ticket keys.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// rustls does not take the policy.
    #[error("the TLS policy cannot be used: {0}")]
    Policy(#[source] rustls::Error),
}

/// Speaks TLS with clients.
///
/// It reads the ClientHello first and chooses what to show by the name in it. Certificates and
/// configuration change while it runs ([`update`](Self::update)): handshakes that have begun end
/// with the old, and open connections notice nothing.
///
/// It sets no deadline: whoever calls [`accept`](Accept::accept) does.
///
/// # Examples
///
/// ```no_run
/// use lb_l7::tls::{Certificate, Certificates, Tls, TlsConfig};
///
/// let shop = Certificate::from_pem_files("shop.pem", "shop.key")?;
/// let tls = Tls::new(Certificates::new().with(shop), TlsConfig::default())?;
///
/// let renewed = Certificate::from_pem_files("shop.pem", "shop.key")?;
/// tls.update(Certificates::new().with(renewed))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[doc(alias = "TLS termination")]
pub struct Tls {
    picture: ArcSwap<Picture>,
    /// Of the listener, so that new configurations open old tickets.
    tickets: Option<Arc<TicketKeys>>,
}

/// What one handshake needs, all of the same moment.
#[derive(Debug)]
struct Picture {
    certificates: Option<Arc<Certificates>>,
    settings: TlsConfig,
    common: Arc<ServerConfig>,
    /// For certificates that ask for client certificates in their own way; by their place.
    special: Vec<Option<Arc<ServerConfig>>>,
}

impl Tls {
    /// Shows these certificates.
    ///
    /// # Errors
    ///
    /// When a revocation list is broken, or there are no random bytes.
    pub fn new(certificates: Certificates, config: TlsConfig) -> Result<Self, TlsError> {
        let tickets = match &config.tickets {
            Tickets::Off => None,
            Tickets::Own => Some(Arc::new(TicketKeys::random(TicketKeys::EVERY)?)),
            Tickets::Shared(keys) => Some(Arc::clone(keys)),
        };
        let picture = Picture::of(certificates, config, tickets.as_ref())?;
        Ok(Self {
            picture: ArcSwap::from_pointee(picture),
            tickets,
        })
    }

    /// Shows what `resolver` says, for certificates or keys that live elsewhere.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn resolver(
        resolver: Arc<dyn ResolvesServerCert>,
        config: TlsConfig,
    ) -> Result<Self, TlsError> {
        let tls = Self::new(Certificates::new(), config)?;
        let picture = tls.picture.load();
        let mut common = ServerConfig::clone(&picture.common);
        common.cert_resolver = resolver;
        tls.picture.store(Arc::new(Picture {
            certificates: None,
            settings: picture.settings.clone(),
            common: Arc::new(common),
            special: Vec::new(),
        }));
        Ok(tls)
    }

    /// Speaks as this configuration of rustls says, in everything.
    #[must_use]
    pub fn with_config(config: Arc<ServerConfig>) -> Self {
        Self {
            picture: ArcSwap::from_pointee(Picture {
                certificates: None,
                settings: TlsConfig::default().tickets(Tickets::Off),
                common: config,
                special: Vec::new(),
            }),
            tickets: None,
        }
    }

    /// Shows these certificates from now on, under the same configuration.
    ///
    /// Costs a table of their names; handshakes under way go on undisturbed. What was shown until now
    /// counts no more, be it a [`resolver`](Self::resolver)'s.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); nothing has changed then.
    pub fn update(&self, certificates: Certificates) -> Result<(), TlsError> {
        let settings = self.picture.load().settings.clone();
        self.reconfigure(certificates, settings)
    }

    /// Shows these certificates from now on, and speaks as `config` says.
    ///
    /// Its `tickets` count only as on or off: the keys stay those that this was made with.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); nothing has changed then.
    pub fn reconfigure(
        &self,
        certificates: Certificates,
        config: TlsConfig,
    ) -> Result<(), TlsError> {
        let off = matches!(config.tickets, Tickets::Off);
        let tickets = self.tickets.as_ref().filter(|_| !off);
        let picture = Picture::of(certificates, config, tickets)?;
        self.picture.store(Arc::new(picture));
        Ok(())
    }

    /// The certificates that are shown now; `None` when something else chooses them.
    pub fn certificates(&self) -> Option<Arc<Certificates>> {
        self.picture.load().certificates.clone()
    }

    /// The keys of the session tickets.
    #[must_use]
    pub const fn ticket_keys(&self) -> Option<&Arc<TicketKeys>> {
        self.tickets.as_ref()
    }

    /// Turns the ticket keys when their time has come; see [`TicketKeys::handle_timeout`].
    pub fn handle_timeout(&self, now: Instant) {
        if let Some(tickets) = &self.tickets {
            tickets.handle_timeout(now);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) next has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.tickets.as_ref()?.poll_timeout()
    }

    /// What to speak with the client that said this; for handshakes of one's own.
    ///
    /// # Examples
    ///
    /// A handshake whose key lives elsewhere:
    ///
    /// ```
    /// use lb_l7::tls::{Refused, Tls, read_hello};
    /// use tokio::net::TcpStream;
    /// use tokio_rustls::server::TlsStream;
    ///
    /// async fn accept(tls: &Tls, raw: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
    ///     let refused = |refused: Refused<_>| std::io::Error::other(refused.error);
    ///     let hello = read_hello(raw).await.map_err(refused)?;
    ///     let config = tls.server_config(&hello.client_hello());
    ///     let config = config.map_err(|refusal| std::io::Error::other(refusal.as_str()))?;
    ///     // Here `config.cert_resolver` says whose key has to sign.
    ///     hello.into_stream(config).await
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Refusal::UnknownName`] when nothing may be shown for the name, and
    /// [`Refusal::NoCertificate`] when there is no certificate at all.
    pub fn server_config(&self, hello: &ClientHello<'_>) -> Result<Arc<ServerConfig>, Refusal> {
        let picture = self.picture.load();
        let Some(certificates) = &picture.certificates else {
            return Ok(Arc::clone(&picture.common));
        };
        if certificates.is_empty() {
            return Err(Refusal::NoCertificate);
        }
        let first = certificates.choices(hello.server_name()).first();
        let first = first.ok_or(Refusal::UnknownName)?;
        let special = picture.special.get(first).and_then(Option::as_ref);
        Ok(Arc::clone(special.unwrap_or(&picture.common)))
    }

    /// Does the handshake with a client.
    ///
    /// [`accept`](Accept::accept) is the same, and answers for you those who speak HTTP.
    ///
    /// # Errors
    ///
    /// When the client is refused; it has been told so by an alert, unless it does not speak TLS:
    /// then nothing was written, and the connection comes back with the error.
    pub async fn handshake<Raw>(&self, raw: Raw) -> Result<TlsStream<Raw>, Refused<Raw>>
    where
        Raw: AsyncRead + AsyncWrite + Unpin,
    {
        let hello = read_hello(raw).await?;
        let config = self.server_config(&hello.client_hello());
        let config = match config {
            Ok(config) => config,
            Err(refusal) => {
                let mut raw = hello.io;
                tell(&mut raw, &UNRECOGNIZED_NAME).await;
                return Err(Refused::new(refusal, raw));
            }
        };
        let accept = hello.into_stream(config).into_fallible();
        accept
            .await
            .map_err(|(error, raw)| Refused::new(error, raw))
    }
}

impl<Raw: AsyncRead + AsyncWrite + Unpin + Send> Accept<Raw> for Tls {
    type Stream = TlsStream<Raw>;
    type Error = AcceptError;

    /// Does the handshake. Who speaks HTTP gets a 400 in HTTP.
    async fn accept(&self, _first: &[u8], raw: Raw) -> Result<TlsStream<Raw>, AcceptError> {
        let refused = match self.handshake(raw).await {
            Ok(stream) => return Ok(stream),
            Err(refused) => refused,
        };
        let Refused { error, mut raw } = refused;
        if error.refusal() == Refusal::PlainHttp {
            tell(&mut raw, PLAIN_HTTP.as_bytes()).await;
            let _ = raw.shutdown().await;
        }
        Err(error)
    }
}

impl Picture {
    fn of(
        certificates: Certificates,
        settings: TlsConfig,
        tickets: Option<&Arc<TicketKeys>>,
    ) -> Result<Self, TlsError> {
        let certificates = Arc::new(certificates);
        let build = |auth: &ClientAuth| build(&settings, auth, &certificates, tickets);
        let common = build(&settings.client_auth)?;
        let special = certificates
            .iter()
            .map(|certificate| certificate.auth().map(build).transpose())
            .collect::<Result<_, _>>()?;
        Ok(Self {
            certificates: Some(Arc::clone(&certificates)),
            common,
            special,
            settings,
        })
    }
}

fn build(
    settings: &TlsConfig,
    client_auth: &ClientAuth,
    certificates: &Arc<Certificates>,
    tickets: Option<&Arc<TicketKeys>>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = settings.policy.provider();
    let verifier = client_auth.verifier(provider)?;
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(settings.policy.protocol_versions())
        .map_err(TlsError::Policy)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(certificates) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = Alpn::identifiers(&settings.alpn);
    // Tickets or nothing: a store of sessions would be a lock that all workers share.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    if let Some(keys) = tickets {
        config.ticketer = keys.scoped(client_auth.digest());
        // A ticket is for one use (RFC 8446, C.4), and browsers open a second connection.
        config.send_tls13_tickets = 2;
    }
    // RFC 8446, 8: early data can be replayed, and a proxy does not know what may be.
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// A fatal alert, unencrypted, under the version that every client takes (RFC 6066, 3; RFC 8446,
/// 5.1 and 6).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// What a client gets who speaks HTTP where TLS is spoken: a whole response, 400.
pub const PLAIN_HTTP: &str = "HTTP/1.1 400 Bad Request\r\n\
    content-type: text/plain\r\n\
    content-length: 35\r\n\
    connection: close\r\n\
    \r\n\
    This port speaks HTTPS, not HTTP.\r\n";
