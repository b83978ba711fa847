//! TLS towards backends.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::accept::TlsError;
use super::certificate::Certificate;
use super::handshake::Alpn;
use super::policy::TlsPolicy;
use super::roots::Roots;
use super::unverified::Unverified;

/// How TLS is spoken with backends.
///
/// # Examples
///
/// ```no_run
/// use lb_l7::tls::{Alpn, BackendTls, BackendTlsConfig, Roots};
///
/// let config = BackendTlsConfig::new(Roots::from_pem_file("internal-ca.pem")?)
///     .alpn([Alpn::Http2])
///     .server_name("app.internal".try_into()?);
/// let tls = BackendTls::new(config)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct BackendTlsConfig {
    /// Whose certificates are believed; `None` believes everybody's, which
    /// [`danger_accept_any_certificate`](Self::danger_accept_any_certificate) alone sets.
    roots: Option<Roots>,
    /// What backends are shown that ask for a certificate. The default is nothing.
    pub certificate: Option<Certificate>,
    /// The protocols offered, the preferred first. The default is HTTP/1.
    pub alpn: Vec<Alpn>,
    /// Versions, suites and groups. The default is [`TlsPolicy::modern`].
    pub policy: TlsPolicy,
    /// The name asked for and verified, whatever the backend's own name or the request's host. The
    /// default is none.
    pub server_name: Option<ServerName<'static>>,
    /// How many names' sessions are kept for resumption; 0 keeps none. The default is 256.
    pub sessions: usize,
}

impl BackendTlsConfig {
    /// Believes backends whose certificate leads to one of these authorities, is valid, and is for
    /// the name asked for.
    #[must_use]
    pub fn new(roots: Roots) -> Self {
        Self::with(Some(roots))
    }

    /// Believes every backend that has the key of whatever certificate it shows.
    ///
    /// **Anyone on the way can then read and change everything.** For tests, and for backends that
    /// a network protects in another way.
    #[must_use]
    pub fn danger_accept_any_certificate() -> Self {
        Self::with(None)
    }

    fn with(roots: Option<Roots>) -> Self {
        Self {
            roots,
            certificate: None,
            alpn: vec![Alpn::Http1],
            policy: TlsPolicy::default(),
            server_name: None,
            sessions: 256,
        }
    }

    /// Sets [`certificate`](Self::certificate).
    #[must_use]
    pub fn certificate(mut self, certificate: Certificate) -> Self {
        self.certificate = Some(certificate);
        self
    }

    /// Sets [`alpn`](Self::alpn).
    #[must_use]
    pub fn alpn(mut self, alpn: impl Into<Vec<Alpn>>) -> Self {
        self.alpn = alpn.into();
        self
    }

    /// Sets [`policy`](Self::policy).
    #[must_use]
    pub fn policy(mut self, policy: TlsPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets [`server_name`](Self::server_name).
    #[must_use]
    pub fn server_name(mut self, name: ServerName<'static>) -> Self {
        self.server_name = Some(name);
        self
    }

    /// Sets [`sessions`](Self::sessions).
    #[must_use]
    pub const fn sessions(mut self, sessions: usize) -> Self {
        self.sessions = sessions;
        self
    }
}

/// Speaks TLS with backends.
///
/// Cheap to clone; clones share their sessions.
#[derive(Clone, Debug)]
pub struct BackendTls {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

impl BackendTls {
    /// Prepares to connect as `config` says.
    ///
    /// # Errors
    ///
    /// When rustls does not take the policy.
    pub fn new(config: BackendTlsConfig) -> Result<Self, TlsError> {
        let provider = config.policy.provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(config.policy.protocol_versions())
            .map_err(TlsError::Policy)?;
        let builder = match &config.roots {
            Some(roots) => builder.with_root_certificates(roots.store()),
            None => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Unverified::new(provider))),
        };
        let mut client = match &config.certificate {
            Some(certificate) => {
                let key = Arc::clone(certificate.certified_key());
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
            }
            None => builder.with_no_client_auth(),
        };
        client.alpn_protocols = Alpn::identifiers(&config.alpn);
        client.resumption = match config.sessions {
            0 => Resumption::disabled(),
            sessions => Resumption::in_memory_sessions(sessions),
        };
        Ok(Self {
            config: Arc::new(client),
            server_name: config.server_name,
        })
    }

    /// The name to ask for and to verify: the fixed one, or else the backend's own, or else the
    /// host of the request, without its port.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] when the one that counts is no name and no address.
    pub fn name_for(&self, backend: Option<&str>, host: &str) -> io::Result<ServerName<'static>> {
        if let Some(name) = &self.server_name {
            return Ok(name.clone());
        }
        let name = backend.unwrap_or_else(|| without_port(host));
        ServerName::try_from(name)
            .map(|name| name.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    /// Does the handshake with a backend over `stream`.
    ///
    /// It sets no deadline; dropping the future gives the attempt up.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] with the [`rustls::Error`] inside when the backend is not
    /// believed or does not speak TLS that we do; the stream's own errors otherwise.
    pub async fn connect<S>(
        &self,
        stream: S,
        name: &ServerName<'static>,
    ) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(name.clone(), stream).await
    }
}

/// The host of an authority; an address of IPv6 without its brackets.
fn without_port(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(address, _)| address);
    }
    authority
        .split_once(':')
        .map_or(authority, |(host, _)| host)
}
