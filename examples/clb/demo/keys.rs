//! A key server in this process, and certificates made just now.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use lb_keyserver::access::{AccessList, Rule};
use lb_keyserver::server::KeyServerConfig;
use lb_keyserver::store::{MemoryStore, SoftKey};
use lb_keyserver::{KeyServer, MutualTls, PublicKey};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};

use super::free;

/// A key server that holds the key of one site, and what its node needs of it.
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) address: SocketAddr,
    /// The certificate of the site, whose key the server alone has.
    pub(crate) site: String,
    /// The authority of the server and its node.
    ca: String,
    node: Pair,
    /// The key, for tests of what is done without the server.
    #[cfg(test)]
    pub(crate) key: String,
}

/// A certificate and its key, as PEM.
#[derive(Debug)]
struct Pair {
    cert: String,
    key: String,
}

impl Holder {
    /// Starts the server at `wanted`, or anywhere on loopback if someone has that.
    ///
    /// # Errors
    ///
    /// Those of `bind(2)`, and of a system without random bytes or threads.
    pub(crate) async fn start(wanted: &str) -> io::Result<Self> {
        let authority = authority().map_err(io::Error::other)?;
        let of = |name, usage| signed(&authority, name, usage).map_err(io::Error::other);
        let server = of(loopback(), ExtendedKeyUsagePurpose::ServerAuth)?;
        let node = of(name_of_node()?, ExtendedKeyUsagePurpose::ClientAuth)?;
        let site = site().map_err(io::Error::other)?;
        let ca = authority.pem();
        let (cert, key) = (server.cert.as_bytes(), server.key.as_bytes());
        let identity = MutualTls::from_pem(cert, key, ca.as_bytes()).map_err(io::Error::other)?;
        let address = free(wanted).await?;
        let server = serving(&site).map_err(io::Error::other)?;
        let bound = server.bind(address, identity).await?;
        let address = bound.local_addr()?;
        tokio::spawn(bound.run_until(std::future::pending()));
        Ok(Self {
            address,
            site: site.cert,
            ca,
            node,
            #[cfg(test)]
            key: site.key,
        })
    }
}

impl fmt::Display for Holder {
    /// As a file would say it. Literal texts of TOML: PEM has no quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, ca, .. } = self;
        let Pair { cert, key } = &self.node;
        write!(
            f,
            "[key_server]\naddresses = [\"{address}\"]\ncertificate = '''\n{cert}'''\n\
             key = '''\n{key}'''\nca = '''\n{ca}'''\n"
        )
    }
}

/// Signs for the one node, with the one key.
fn serving(site: &Pair) -> Result<KeyServer, Box<dyn std::error::Error + Send + Sync>> {
    let key = SoftKey::from_pem(site.key.as_bytes())?;
    let rule = Rule::new(NODE.parse()?).keys([public(&key).ski()]);
    let access = AccessList::new([rule])?;
    let config = KeyServerConfig::default().signers(1);
    Ok(KeyServer::new(
        MemoryStore::new().with_key(key),
        access,
        config,
    ))
}

fn public(key: &SoftKey) -> &PublicKey {
    lb_keyserver::store::SigningKey::public_key(key)
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

fn signed(
    authority: &CertifiedIssuer<'_, KeyPair>,
    name: SanType,
    usage: ExtendedKeyUsagePurpose,
) -> Result<Pair, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![name];
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate()?;
    Ok(Pair {
        cert: params.signed_by(&key, authority)?.pem(),
        key: key.serialize_pem(),
    })
}

/// A certificate that nobody has signed, for whoever asks for this machine by name or address.
fn site() -> Result<Pair, rcgen::Error> {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names)?;
    Ok(Pair {
        cert: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
    })
}

fn loopback() -> SanType {
    SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into())
}

fn name_of_node() -> io::Result<SanType> {
    let name = NODE.try_into().map_err(io::Error::other)?;
    Ok(SanType::URI(name))
}

/// By which the server knows the node.
const NODE: &str = "lb://node/demo";
