//! Mutual TLS between nodes and key servers: who one is, and whom one believes.

mod pem;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::{Resumption, WantsClientCert, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs;
#[cfg(feature = "server")]
use rustls::pki_types::CertificateDer;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig};

use crate::mode::Mode;

pub use self::pem::{MutualTlsError, MutualTlsFault};

/// One end's certificate and key, and the authority that has to have signed the other end's.
///
/// The authority is to be one that signs nothing else: whoever has a certificate of it may ask, and
/// the access list says for what. Node certificates need the extended key usage of clients, key
/// servers' that of servers and the name that they are addressed by (RFC 5280, 4.2.1.12).
///
/// A value, which does not change: to rotate, read the files again and put the new one in its place.
/// Cheap to clone.
///
/// # Examples
///
/// ```no_run
/// use lb_keyserver::{Mode, MutualTls};
///
/// let node = MutualTls::from_pem_files("node.pem", "node.key", "key-servers-ca.pem")?;
/// let config = node.client_config(Mode::Bound);
/// # Ok::<(), lb_keyserver::MutualTlsError>(())
/// ```
#[derive(Clone)]
pub struct MutualTls {
    identity: Arc<CertifiedKey>,
    authorities: Arc<RootCertStore>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
    client: ClientConfig,
    server: ServerConfig,
    #[cfg_attr(
        not(feature = "server"),
        expect(dead_code, reason = "a server looks at its clients again")
    )]
    of_clients: Arc<dyn ClientCertVerifier>,
}

impl MutualTls {
    /// Reads PEM files: the chain of this end, its own certificate first; its key, which may be in
    /// the same file; and the authorities of the other end. Blocks on the files.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or has not in it what it should, when the key is not that of the
    /// first certificate, or when others than its owner could read the key. The error names the file.
    pub fn from_pem_files(
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
        authorities: impl AsRef<Path>,
    ) -> Result<Self, MutualTlsError> {
        let (chain_file, key_file) = (chain.as_ref(), key.as_ref());
        let chain = pem::read(chain_file)?;
        let chain = pem::certificates(&chain).map_err(|error| error.in_file(chain_file))?;
        let of_key = |error: MutualTlsError| error.in_file(key_file);
        let key = pem::private_key(&pem::read_secret(key_file)?).map_err(of_key)?;
        let identity = pem::pair(chain, key).map_err(of_key)?;
        let file = authorities.as_ref();
        let authorities = pem::authorities(&pem::read(file)?);
        let authorities = authorities.map_err(|error| error.in_file(file))?;
        Self::new(identity, authorities, Vec::new())
    }

    /// Reads the same from PEM texts. The caller zeroises the key's.
    ///
    /// # Errors
    ///
    /// As [`from_pem_files`](Self::from_pem_files).
    pub fn from_pem(chain: &[u8], key: &[u8], authorities: &[u8]) -> Result<Self, MutualTlsError> {
        let identity = pem::pair(pem::certificates(chain)?, pem::private_key(key)?)?;
        Self::new(identity, pem::authorities(authorities)?, Vec::new())
    }

    /// Refuses the other end's certificate where a revocation list in this PEM names it (RFC 5280, 5).
    ///
    /// With any list given, every certificate of the other end's chain needs one that speaks of it,
    /// or it is refused. A list past its `nextUpdate` still counts.
    ///
    /// # Errors
    ///
    /// When there is no list in it, or a broken one.
    pub fn revoked_by(mut self, pem: &[u8]) -> Result<Self, MutualTlsError> {
        self.revoked.extend(pem::revocation_lists(pem)?);
        Self::new(self.identity, self.authorities, self.revoked)
    }

    /// Refuses what the revocation lists in a PEM file name. Blocks on the file.
    ///
    /// # Errors
    ///
    /// As [`revoked_by`](Self::revoked_by); the error names the file.
    pub fn revoked_by_file(self, file: impl AsRef<Path>) -> Result<Self, MutualTlsError> {
        let file = file.as_ref();
        let pem = pem::read(file)?;
        self.revoked_by(&pem).map_err(|error| error.in_file(file))
    }

    /// How to connect to a key server, to speak in `mode`.
    ///
    /// TLS 1.3 or 1.2. The server's certificate is verified, and its name is the one that one
    /// connects to. No session is resumed: a connection lasts long, and who was revoked in between
    /// is to be found out.
    ///
    /// A server that does not know the mode may take the connection without agreeing to it: check
    /// [`Mode::agreed`] against what it settled on before asking anything.
    #[must_use]
    pub fn client_config(&self, mode: Mode) -> Arc<ClientConfig> {
        let mut config = self.client.clone();
        config.alpn_protocols = mode.alpn().map(<[u8]>::to_vec).into_iter().collect();
        Arc::new(config)
    }

    /// How to accept nodes that speak in one of `modes`; the strongest that a node offers is taken.
    ///
    /// TLS 1.3 or 1.2, the latter with the suites of deployed peers. A node has to show a
    /// certificate. There are no tickets and no sessions to resume, so that who has been revoked
    /// does not come back by one.
    ///
    /// A node without ALPN speaks in the plain mode, and TLS lets it in: whether it may is asked of
    /// `modes` after the handshake.
    #[must_use]
    pub fn server_config(&self, modes: &[Mode]) -> Arc<ServerConfig> {
        let mut config = self.server.clone();
        let mut modes = modes.to_vec();
        modes.sort_unstable();
        modes.dedup();
        let names = modes.iter().rev().filter_map(|mode| mode.alpn());
        config.alpn_protocols = names.map(<[u8]>::to_vec).collect();
        Arc::new(config)
    }

    /// Whether a chain, which a node has shown in a handshake, its own certificate first, would be
    /// accepted now: for connections that outlive their certificate, or a revocation.
    ///
    /// Costs a verification of each signature in the chain, some 100 µs.
    #[cfg(feature = "server")]
    pub(crate) fn verifies_client(&self, chain: &[CertificateDer<'static>]) -> bool {
        let (Some((leaf, issuers)), Some(now)) = (
            chain.split_first(),
            self.server.time_provider.current_time(),
        ) else {
            return false;
        };
        let verified = self.of_clients.verify_client_cert(leaf, issuers, now);
        verified.is_ok()
    }

    /// Builds both configurations at once, so that what is wrong comes out here.
    fn new(
        identity: Arc<CertifiedKey>,
        authorities: Arc<RootCertStore>,
        revoked: Vec<CertificateRevocationListDer<'static>>,
    ) -> Result<Self, MutualTlsError> {
        let resolver = Arc::new(SingleCertAndKey::from(Arc::clone(&identity)));
        let client = client_config(&authorities, &revoked)?;
        let mut client = client.with_client_cert_resolver(resolver.clone());
        client.resumption = Resumption::disabled();
        let of_clients = of_clients(&authorities, &revoked)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(provider);
        let server = server.with_safe_default_protocol_versions()?;
        let server = server.with_client_cert_verifier(Arc::clone(&of_clients));
        let mut server = server.with_cert_resolver(resolver);
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self {
            identity,
            authorities,
            revoked,
            client,
            server,
            of_clients,
        })
    }
}

impl fmt::Debug for MutualTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutualTls")
            .field("authorities", &self.authorities.len())
            .field("revocation_lists", &self.revoked.len())
            .finish_non_exhaustive()
    }
}

type Revoked<'a> = &'a [CertificateRevocationListDer<'static>];

fn client_config(
    authorities: &Arc<RootCertStore>,
    revoked: Revoked<'_>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, MutualTlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::clone(authorities), provider.clone())
            .with_crls(revoked.iter().cloned())
            .build()?;
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions()?;
    Ok(builder.with_webpki_verifier(verifier))
}

fn of_clients(
    authorities: &Arc<RootCertStore>,
    revoked: Revoked<'_>,
) -> Result<Arc<dyn ClientCertVerifier>, MutualTlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(authorities), provider);
    Ok(builder.with_crls(revoked.iter().cloned()).build()?)
}

#[cfg(test)]
mod tests;
