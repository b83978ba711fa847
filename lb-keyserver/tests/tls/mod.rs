//! Sites with their keys kept apart, and clients that believe them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lb_keyserver::rustls::{RemoteKey, remote_provider};
use lb_keyserver::{KeyKind, RemoteSigner, SignError, SignRequest, Signature, Signing};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion,
};

pub(crate) const NAME: &str = "shop.example";

/// A certificate, and the key that only a signer gets to see.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) pem: String,
    pub(crate) private: Arc<dyn SigningKey>,
    pub(crate) private_pem: String,
}

impl Site {
    pub(crate) fn new(kind: KeyKind) -> Self {
        let pair = match kind {
            KeyKind::EcdsaP384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            KeyKind::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
            KeyKind::Rsa => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
            _ => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        };
        let pair = pair.unwrap();
        let params = CertificateParams::new([NAME.to_owned()]).unwrap();
        let certificate = params.self_signed(&pair).unwrap();
        let private = PrivateKeyDer::try_from(pair.serialize_der()).unwrap();
        Self {
            certificate: certificate.der().clone(),
            pem: certificate.pem(),
            private: aws_lc_rs::sign::any_supported_type(&private).unwrap(),
            private_pem: pair.serialize_pem(),
        }
    }

    /// As a node holds it.
    pub(crate) fn remote(&self) -> Arc<CertifiedKey> {
        let certified = RemoteKey::certified(vec![self.certificate.clone()]).unwrap();
        certified.keys_match().unwrap();
        Arc::new(certified)
    }

    /// As a node without a key server holds it.
    pub(crate) fn local(&self) -> Arc<CertifiedKey> {
        let key = Arc::clone(&self.private);
        Arc::new(CertifiedKey::new(vec![self.certificate.clone()], key))
    }

    pub(crate) fn sign(&self, request: &SignRequest) -> Signature {
        let signer = self.private.choose_scheme(&[request.scheme.to_tls()]);
        signer.unwrap().sign(&request.message).unwrap()
    }

    /// Whether the request is for this site's key.
    pub(crate) fn is_asked(&self, request: &SignRequest) -> bool {
        self.private.public_key().as_ref() == Some(request.key.spki())
    }
}

/// Signs with the keys of its sites, and counts.
#[derive(Debug)]
pub(crate) struct Signer {
    pub(crate) sites: Vec<Site>,
    pub(crate) signed: AtomicUsize,
    pub(crate) delay: Duration,
    pub(crate) fault: Fault,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    None,
    Refuses(SignError),
    Silent,
    /// It signs something else.
    Wrong,
}

impl Signer {
    pub(crate) fn new(sites: impl Into<Vec<Site>>) -> Self {
        Self {
            sites: sites.into(),
            signed: AtomicUsize::new(0),
            delay: Duration::ZERO,
            fault: Fault::None,
        }
    }

    pub(crate) fn delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    pub(crate) fn fault(self, fault: Fault) -> Self {
        Self { fault, ..self }
    }

    pub(crate) fn signed(&self) -> usize {
        self.signed.load(Ordering::Relaxed)
    }

    pub(crate) fn answer(&self, request: &SignRequest) -> Signature {
        self.signed.fetch_add(1, Ordering::Relaxed);
        let mut sites = self.sites.iter();
        sites
            .find(|site| site.is_asked(request))
            .unwrap()
            .sign(request)
    }
}

impl RemoteSigner for Signer {
    fn sign(&self, mut request: SignRequest) -> Signing<'_> {
        Box::pin(async move {
            if !self.delay.is_zero() {
                tokio::time::sleep(self.delay).await;
            }
            match self.fault {
                Fault::None => {}
                Fault::Refuses(error) => return Err(error),
                Fault::Silent => std::future::pending().await,
                Fault::Wrong => request.message = [&*request.message, b"!"].concat().into(),
            }
            Ok(self.answer(&request))
        })
    }
}

/// Gives one key the first few times it is asked, and another from then on.
pub(crate) struct Rotating {
    pub(crate) first: Arc<CertifiedKey>,
    /// How often.
    pub(crate) times: usize,
    pub(crate) then: Arc<CertifiedKey>,
    pub(crate) asked: AtomicUsize,
}

impl fmt::Debug for Rotating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rotating")
    }
}

impl ResolvesServerCert for Rotating {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        let is_first = asked < self.times;
        Some(Arc::clone(if is_first { &self.first } else { &self.then }))
    }
}

/// What rustls computes with, so that handshakes can be repeated.
pub(crate) fn provider() -> CryptoProvider {
    remote_provider(&aws_lc_rs::default_provider())
}

/// One whose only group is none that a client of rustls offers a share of.
pub(crate) fn retrying_provider() -> CryptoProvider {
    provider_of(aws_lc_rs::kx_group::SECP384R1)
}

/// One with no group but that.
pub(crate) fn provider_of(group: &'static dyn SupportedKxGroup) -> CryptoProvider {
    let kx_groups = vec![group];
    remote_provider(&CryptoProvider {
        kx_groups,
        ..aws_lc_rs::default_provider()
    })
}

/// A configuration without client certificates.
pub(crate) fn server_config(provider: CryptoProvider, key: Arc<CertifiedKey>) -> ServerConfig {
    let resolver = SingleCertAndKey::from(CertifiedKey::clone(&key));
    ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver))
}

/// A configuration that asks for a certificate by `client`.
pub(crate) fn server_config_for(
    provider: CryptoProvider,
    resolver: Arc<dyn ResolvesServerCert>,
    client: Option<&Site>,
) -> ServerConfig {
    let provider = Arc::new(provider);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let verifier = client.map(|client| {
        let roots = Arc::new(roots(std::slice::from_ref(client)));
        WebPkiClientVerifier::builder_with_provider(roots, provider)
            .build()
            .unwrap()
    });
    match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    }
    .with_cert_resolver(resolver)
}

pub(crate) fn roots(sites: &[Site]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for site in sites {
        roots.add(site.certificate.clone()).unwrap();
    }
    roots
}

pub(crate) fn client_config(
    sites: &[Site],
    version: &'static SupportedProtocolVersion,
    own: Option<&Site>,
) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots(sites));
    let mut config = match own {
        Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(
            CertifiedKey::clone(&own.local()),
        ))),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config
}

pub(crate) fn client(config: ClientConfig) -> ClientConnection {
    let name = ServerName::try_from(NAME).unwrap();
    ClientConnection::new(Arc::new(config), name).unwrap()
}
