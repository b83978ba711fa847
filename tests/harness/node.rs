//! A node that terminates TLS in this process, with a key that another has.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use lb_keyserver::RemoteSigner;
use lb_keyserver::rustls::{HandshakeLimits, RemoteTls, certified_key_from_pem, remote_provider};
use lbcore::connect::Accept;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::sign::SingleCertAndKey;
use tokio::io::{AsyncWriteExt, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::keys::Keys;
use crate::server::{listen, nonblocking};

/// Takes TLS of clients, reads what they say to its end, and ends as well; it ends with this value.
///
/// It resumes sessions, out of its own memory.
#[derive(Debug)]
pub struct Node<S> {
    address: SocketAddr,
    tls: Arc<RemoteTls<S>>,
    task: JoinHandle<()>,
}

impl<S: RemoteSigner> Node<S> {
    /// Shows the certificate of `keys`, whose key `signer` has; runs on the tokio runtime that it is
    /// started in, on a free loopback port.
    #[track_caller]
    #[must_use]
    pub fn start(keys: &Keys, signer: S) -> Self {
        Self::with_limits(keys, signer, HandshakeLimits::default())
    }

    /// The same, and handshakes have these limits.
    #[track_caller]
    #[must_use]
    pub fn with_limits(keys: &Keys, signer: S, limits: HandshakeLimits) -> Self {
        let tls = Arc::new(RemoteTls::new(config(keys), signer).limits(limits));
        let listener = nonblocking(listen("127.0.0.1:0").expect("a port is free"));
        let address = listener.local_addr().expect("it is bound");
        let task = tokio::spawn(accept(listener, Arc::clone(&tls)));
        Self { address, tls, task }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its handshakes.
    #[must_use]
    pub fn tls(&self) -> &RemoteTls<S> {
        &self.tls
    }

    /// Who signs for it.
    #[must_use]
    pub fn signer(&self) -> &S {
        self.tls.signer()
    }
}

impl<S> Drop for Node<S> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn config(keys: &Keys) -> Arc<ServerConfig> {
    let provider = remote_provider(&aws_lc_rs::default_provider());
    let key = certified_key_from_pem(keys.cert.as_bytes()).expect("a certificate");
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("the provider has suites of both")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    Arc::new(config)
}

async fn accept<S: RemoteSigner>(listener: TcpListener, tls: Arc<RemoteTls<S>>) {
    // The end of one connection is no reason to accept no more.
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&tls)));
        }
    }
}

async fn serve<S: RemoteSigner>(stream: TcpStream, tls: Arc<RemoteTls<S>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = tls.accept(&[], stream).await.map_err(io::Error::other)?;
    tokio::io::copy(&mut stream, &mut sink()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use lb_keyserver::store::{Input, SigningKey, SoftKey};
    use lb_keyserver::{SignError, SignRequest, Signing};

    use super::*;
    use crate::tls::TlsClient;

    /// Signs at once, with a key in memory.
    #[derive(Debug)]
    struct Local(SoftKey);

    impl RemoteSigner for Local {
        fn sign(&self, request: SignRequest) -> Signing<'_> {
            let hash = request.scheme.hash().expect("P-256 hashes");
            let digest = hash.digest(&request.message);
            let signed = self.0.sign(request.scheme, Input::Digest(digest.as_ref()));
            Box::pin(async { signed.map_err(|_| SignError::NoServer) })
        }
    }

    #[tokio::test]
    async fn clients_are_served_by_a_signer() {
        let keys = Keys::p256("a.test");
        let signer = Local(SoftKey::from_pem(keys.key.as_bytes()).unwrap());
        let node = Node::start(&keys, signer);
        let client = TlsClient::new(&[]);
        let span = std::time::Duration::from_millis(100);
        let done = client.handshakes(node.address(), 2, span).await.unwrap();
        assert!(done > 4, "{done}");
        // One may be under way when the load ends.
        assert!(node.tls().stats().accepted >= done);
    }
}
