//! A client of TLS 1.3: what it agrees on is fixed, so that all servers do the same work; and others
//! that leave the choice to the server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::wait::{self, PATIENCE};

/// A client that offers TLS 1.3, X25519 and AES-128-GCM, and resumes nothing.
///
/// It checks the signature of the server, and believes every certificate.
#[derive(Clone)]
pub struct TlsClient(TlsConnector);

impl std::fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsClient")
    }
}

impl TlsClient {
    /// Offers these protocols by ALPN, or has no such extension if there are none.
    #[must_use]
    pub fn new(protocols: &[&str]) -> Self {
        let provider = Arc::new(CryptoProvider {
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![aws_lc_rs::kx_group::X25519],
            ..aws_lc_rs::default_provider()
        });
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has a suite of TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Believer(provider)))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().into())
            .collect();
        Self(TlsConnector::from(Arc::new(config)))
    }

    /// The same, and it resumes sessions where the server lets it.
    #[must_use]
    pub fn resuming() -> Self {
        let mut config = ClientConfig::clone(&Self::new(&[]).config());
        config.resumption = Resumption::default();
        Self(TlsConnector::from(Arc::new(config)))
    }

    /// A client that offers TLS 1.2 and 1.3, and all that rustls offers in either; resumes nothing.
    #[must_use]
    pub fn of_both_versions() -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the provider has suites of both")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Believer(provider)))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Self(TlsConnector::from(Arc::new(config)))
    }

    /// What it offers, for a connection that is made by other means.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(self.0.config())
    }

    /// Connects, and completes the handshake.
    ///
    /// # Errors
    ///
    /// As of connecting or of the handshake; `TimedOut` after [`PATIENCE`].
    pub async fn connect(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::from(address.ip());
        tokio::time::timeout(PATIENCE, async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            self.0.connect(name, stream).await
        })
        .await?
    }

    /// Makes full handshakes, `at_once` at the same time, for as long as `span`; how many.
    ///
    /// Each connection ends when the server has ended it too, so that it has read the client's
    /// last message of the handshake.
    ///
    /// # Errors
    ///
    /// The first failure.
    pub async fn handshakes(
        &self,
        address: SocketAddr,
        at_once: usize,
        span: Duration,
    ) -> io::Result<u64> {
        self.sessions(address, "", at_once, span).await
    }

    /// As [`handshakes`](Self::handshakes), and sends `request` after each; what is answered is read
    /// to its end.
    ///
    /// # Errors
    ///
    /// The first failure.
    pub async fn sessions(
        &self,
        address: SocketAddr,
        request: &'static str,
        at_once: usize,
        span: Duration,
    ) -> io::Result<u64> {
        let (end, done) = (wait::now() + span, Arc::new(AtomicU64::new(0)));
        let mut clients = JoinSet::new();
        for _ in 0..at_once {
            let (client, done) = (self.clone(), Arc::clone(&done));
            clients
                .spawn(async move { client.again_and_again(address, request, end, &done).await });
        }
        for client in clients.join_all().await {
            client?;
        }
        Ok(done.load(Relaxed))
    }

    async fn again_and_again(
        &self,
        address: SocketAddr,
        request: &str,
        end: Instant,
        done: &AtomicU64,
    ) -> io::Result<()> {
        let mut answer = Vec::new();
        while wait::now() < end {
            let mut stream = self.connect(address).await?;
            if request.is_empty() {
                stream.shutdown().await?;
            } else {
                stream.write_all(request.as_bytes()).await?;
            }
            answer.clear();
            let ended = stream.read_to_end(&mut answer).await;
            if answer.is_empty() && !request.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            // Who is told to close may do so without a word of TLS.
            match ended {
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
                _ => done.fetch_add(1, Relaxed),
            };
        }
        Ok(())
    }
}

/// Believes every certificate, and checks that the server has its key.
#[derive(Debug)]
struct Believer(Arc<CryptoProvider>);

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::free_address;
    use crate::keys::Keys;
    use crate::peer::https_server;

    #[tokio::test]
    async fn handshakes_with_nginx_are_full_and_of_tls_1_3() {
        let address = free_address();
        let _server = https_server(address, "hello", &Keys::p256("a.test")).start();
        let client = TlsClient::new(&["http/1.1"]);
        for _ in 0..2 {
            let stream = client.connect(address).await.unwrap();
            let (_, session) = stream.get_ref();
            assert_eq!(
                session.protocol_version(),
                Some(rustls::ProtocolVersion::TLSv1_3)
            );
            assert_eq!(session.handshake_kind(), Some(rustls::HandshakeKind::Full));
            assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
        }
        let either = TlsClient::of_both_versions()
            .connect(address)
            .await
            .unwrap();
        assert_eq!(
            either.get_ref().1.protocol_version(),
            Some(rustls::ProtocolVersion::TLSv1_3)
        );
        let mut resuming = Vec::new();
        let again = TlsClient::resuming();
        for _ in 0..2 {
            let mut stream = again.connect(address).await.unwrap();
            resuming.push(stream.get_ref().1.handshake_kind().unwrap());
            // Tickets come behind the handshake, and before the answer.
            let ask = b"GET / HTTP/1.0\r\n\r\n";
            stream.write_all(ask).await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        let (full, resumed) = (rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed);
        assert_eq!(resuming, [full, resumed]);
        let span = Duration::from_millis(200);
        let done = client.handshakes(address, 4, span).await.unwrap();
        assert!(done > 20, "{done}");
    }
}
