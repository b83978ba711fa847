//! Handshakes in memory, with certificates made for them.

mod accept;
mod backend;
mod certificates;
mod client_auth;
mod der;
mod openssl;
mod policy;
mod tickets;

use std::io;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    SignatureAlgorithm,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::{client, server};

use super::*;

/// An authority that signs for every test that makes one.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    key: String,
}

/// A certificate and its key, as files hold them.
struct Issued {
    certificate: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            key: key.serialize_pem(),
            issuer: Issuer::new(params, key),
        }
    }

    fn roots(&self) -> Roots {
        Roots::from_pem(self.pem.as_bytes()).unwrap()
    }

    fn issue(&self, names: &[&str]) -> Issued {
        self.issue_of(names, &PKCS_ECDSA_P256_SHA256)
    }

    fn issue_of(&self, names: &[&str], algorithm: &'static SignatureAlgorithm) -> Issued {
        self.issue_as(params(names), algorithm)
    }

    fn issue_as(
        &self,
        params: CertificateParams,
        algorithm: &'static SignatureAlgorithm,
    ) -> Issued {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    fn certificate(&self, names: &[&str]) -> Certificate {
        self.issue(names).load()
    }

    /// A client that believes this authority and speaks HTTP/2 or HTTP/1.
    fn client(&self) -> BackendTlsConfig {
        BackendTlsConfig::new(self.roots()).alpn([Alpn::Http2, Alpn::Http1])
    }
}

impl Issued {
    fn load(&self) -> Certificate {
        Certificate::from_pem(self.certificate.as_bytes(), self.key.as_bytes()).unwrap()
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "nobody looks here");
    params
}

fn serving(certificate: Certificate) -> Tls {
    Tls::new(Certificates::new().with(certificate), TlsConfig::default()).unwrap()
}

fn backend(config: BackendTlsConfig) -> BackendTls {
    BackendTls::new(config).unwrap()
}

type Served = Result<server::TlsStream<DuplexStream>, Refused<DuplexStream>>;
type Connected = io::Result<client::TlsStream<DuplexStream>>;

/// Both sides of one handshake; the client has read what came with it, so that it has its tickets.
async fn meet(tls: &Tls, client: &BackendTls, name: &str) -> (Served, Connected) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let name = client.name_for(Some(name), "").unwrap();
    let serve = async {
        let mut served = tls.handshake(far).await?;
        let told = served.write_all(b"!").await;
        // Whoever refuses the handshake at its end has gone by now.
        let _ = (told, served.flush().await);
        Ok(served)
    };
    let connect = async {
        let mut stream = client.connect(near, &name).await?;
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        Ok(stream)
    };
    tokio::join!(serve, connect)
}

/// What both agreed on, where they must.
async fn agreed(tls: &Tls, client: &BackendTls, name: &str) -> Handshake {
    let (served, connected) = meet(tls, client, name).await;
    connected.unwrap();
    Handshake::of(&served.unwrap())
}

/// The first certificate that the server showed.
async fn shown(tls: &Tls, client: &BackendTls, name: &str) -> Vec<u8> {
    let (_, connected) = meet(tls, client, name).await;
    let connected = connected.unwrap();
    connected.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// Why the server refused.
async fn refused(tls: &Tls, client: &BackendTls, name: &str) -> Refusal {
    let (served, _) = meet(tls, client, name).await;
    served.unwrap_err().error.refusal()
}

fn der(certificate: &Certificate) -> Vec<u8> {
    certificate.certified_key().cert[0].to_vec()
}

/// A ring that two listeners share.
fn ring(byte: u8) -> Arc<TicketKeys> {
    Arc::new(TicketKeys::shared(key(byte), []))
}

fn key(byte: u8) -> TicketKey {
    TicketKey::from_bytes(&[byte; 80]).unwrap()
}
