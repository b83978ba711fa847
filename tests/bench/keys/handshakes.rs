//! Full handshakes of TLS 1.3 on P-256: the key here, and the key on a key server.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use harness::authority::Authority;
use harness::host::pin_this_thread;
use harness::keys::Keys;
use harness::tls::TlsClient;
use http::StatusCode;
use lb_keyserver::client::{AskConfig, KeyClientConfig, Verify};
use lb_keyserver::rustls::{RemoteTls, certified_key_from_pem, remote_provider};
use lb_keyserver::store::{Input, SigningKey, SoftKey};
use lb_keyserver::{KeyClient, RemoteSigner, SignError, SignRequest, Signing};
use lb_l7::router::{Action, Respond, Rule};
use lb_l7::server::Raw;
use lb_l7::{HttpProxy, HttpService, Router, Settings, Target};
use lbcore::connect::Accept;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{LOAD_CORE, NODE_CORE, loopback};

const ROUNDS: usize = 7;
const TURN: Duration = Duration::from_secs(1);
/// Handshakes under way at the same time.
const AT_ONCE: usize = 16;

/// What a node with remote keys must do of what one with local keys does, in handshakes for each
/// second of CPU time.
const LIMITS: [(&str, f64); 2] = [("verified", 0.7), ("sampled", 0.85)];

/// What each connection to a whole node is made for.
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

/// Measures all, and says whether the limits are kept.
///
/// The nodes have a thread each, on the same core, and take turns. What is counted is the CPU time of
/// that thread: the handshakes, the connections to the key server, and the verification of what it
/// signs. Clients and key server share the other core.
///
/// A whole node is an HTTPS server, and each handshake is made for one request, which it answers;
/// it is what the limits are for. A bare one does nothing but handshakes: what a remote key costs is
/// the largest share there, and larger still without the post-quantum group of browsers.
pub(super) fn run() -> bool {
    pin_this_thread(LOAD_CORE).expect("there are two cores");
    let (keys, authority) = (Keys::p256("a.test"), Authority::new());
    let server = loopback::start(&authority, &keys);
    let bare = [
        Node::start("local", bare(local(&keys))),
        Node::start("at once", bare(instant(&keys))),
        Node::start(
            "verified",
            bare(remote(&keys, &authority, server, Verify::Always)),
        ),
        Node::start(
            "sampled",
            bare(remote(&keys, &authority, server, Verify::Sampled)),
        ),
    ];
    let whole = [
        Node::start("local", whole(local(&keys))),
        Node::start("at once", whole(instant(&keys))),
        Node::start(
            "verified",
            whole(remote(&keys, &authority, server, Verify::Always)),
        ),
        Node::start(
            "sampled",
            whole(remote(&keys, &authority, server, Verify::Sampled)),
        ),
    ];
    let (browsers, classical) = (TlsClient::of_both_versions(), TlsClient::new(&[]));
    let within = compare(
        &whole,
        ("whole nodes, X25519MLKEM768", &browsers, REQUEST),
        &LIMITS,
    );
    compare(&whole, ("whole nodes, X25519", &classical, REQUEST), &[]);
    compare(&bare, ("bare, X25519MLKEM768", &browsers, ""), &[]);
    compare(&bare, ("bare, X25519", &classical, ""), &[]);
    within
}

/// Gives each node its turns, and says whether it keeps the limits.
fn compare(
    nodes: &[Node; 4],
    (title, client, request): (&str, &TlsClient, &'static str),
    limits: &[(&str, f64)],
) -> bool {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be started");
    let mut figures = [const { Vec::new() }; 4];
    for round in 0..=ROUNDS {
        for (node, figures) in nodes.iter().zip(&mut figures) {
            let before = node.busy();
            let done = runtime.block_on(client.sessions(node.address, request, AT_ONCE, TURN));
            let done = done.unwrap_or_else(|error| panic!("{}: {error}", node.name));
            // The first round fills caches.
            if round > 0 {
                figures.push((node.busy() - before).as_secs_f64() * 1e6 / done as f64);
            }
        }
    }
    let limited = if limits.is_empty() {
        " (no limits)"
    } else {
        ""
    };
    println!("TLS 1.3, full handshakes, P-256, {AT_ONCE} at once: {title}{limited}");
    println!("{:<10} {:>14} {:>10}", "key", "CPU us/each", "of local");
    let [here, ..] = &mut figures;
    let here = median(here);
    let mut within = true;
    for (node, figures) in nodes.iter().zip(&mut figures) {
        let cost = median(figures);
        let share = here / cost;
        println!("{:<10} {cost:>14.1} {share:>10.2}", node.name);
        let limit = limits.iter().find(|(name, _)| *name == node.name);
        within &= limit.is_none_or(|(_, least)| share >= *least);
    }
    within
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A thread that terminates TLS.
struct Node {
    name: &'static str,
    address: SocketAddr,
    thread: i32,
}

impl Node {
    /// Starts one; `serve` says where it listens, and ends with the program.
    fn start<F>(name: &'static str, serve: F) -> Self
    where
        F: AsyncFnOnce(Told) + Send + 'static,
    {
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            pin_this_thread(NODE_CORE).expect("there are two cores");
            let runtime = Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime can be started");
            runtime.block_on(serve(Told(tell)));
        });
        let (address, thread) = told.recv().expect("the node starts");
        Self {
            name,
            address,
            thread,
        }
    }

    /// How long its thread has had a core.
    fn busy(&self) -> Duration {
        let path = format!("/proc/self/task/{}/schedstat", self.thread);
        let text = std::fs::read_to_string(path).expect("the thread runs");
        let nanos = text
            .split_whitespace()
            .next()
            .and_then(|word| word.parse().ok());
        Duration::from_nanos(nanos.expect("it begins with a number"))
    }
}

/// Who waits for a node to listen.
struct Told(mpsc::Sender<(SocketAddr, i32)>);

impl Told {
    fn listens(self, address: SocketAddr) {
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        self.0.send((address, thread)).expect("somebody waits");
    }
}

/// A node that does nothing but handshakes.
fn bare<A>(
    make: impl AsyncFnOnce() -> A + Send + 'static,
) -> impl AsyncFnOnce(Told) + Send + 'static
where
    A: Accept<TcpStream, Stream = TlsStream<TcpStream>> + 'static,
{
    async move |told: Told| {
        let accept = Arc::new(make().await);
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port is free");
        told.listens(listener.local_addr().expect("it is bound"));
        while let Ok((raw, _)) = listener.accept().await {
            let accept = Arc::clone(&accept);
            let _ = raw.set_nodelay(true);
            let session = async move {
                let mut stream = accept.accept(&[], raw).await.map_err(drop)?;
                let _ = stream.read(&mut [0; 16]).await;
                stream.shutdown().await.map_err(drop)
            };
            tokio::task::spawn(session);
        }
    }
}

/// A node that answers the request that a handshake was made for.
fn whole<A>(
    make: impl AsyncFnOnce() -> A + Send + 'static,
) -> impl AsyncFnOnce(Told) + Send + 'static
where
    A: Accept<Raw, Stream = TlsStream<Raw>> + 'static,
{
    async move |told: Told| {
        let hello = Action::Respond(Respond::new(StatusCode::OK).body("hello"));
        let router = Router::builder().rule(Rule::<Target>::new("hello", hello));
        let proxy = HttpProxy::new(Settings::new(router.build().expect("a rule")));
        let service = HttpService::new("127.0.0.1:0".parse().expect("an address"), proxy);
        let server = service.accept(make().await).bind().await;
        let server = server.expect("a port is free");
        let address = server.addresses()[0].to_string();
        told.listens(address.parse().expect("of TCP"));
        server.run_until(std::future::pending::<()>()).await;
    }
}

fn config(provider: CryptoProvider, key: CertifiedKey) -> Arc<ServerConfig> {
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("the provider has suites of both")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    Arc::new(config)
}

/// As everybody does it.
struct Local(TlsAcceptor);

impl<Raw: AsyncRead + AsyncWrite + Send + Unpin> Accept<Raw> for Local {
    type Stream = TlsStream<Raw>;
    type Error = std::io::Error;

    async fn accept(&self, _: &[u8], raw: Raw) -> std::io::Result<Self::Stream> {
        self.0.accept(raw).await
    }
}

fn local(keys: &Keys) -> impl AsyncFnOnce() -> Local + Send + 'static {
    let certified = certified_key_from_pem(keys.cert.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(keys.key.as_bytes()).expect("a key");
    let key = aws_lc_rs::sign::any_supported_type(&key).expect("a key");
    let config = config(
        aws_lc_rs::default_provider(),
        CertifiedKey::new(certified.cert, key),
    );
    async move || Local(TlsAcceptor::from(config))
}

/// Signs in the call itself: what is left is what a second pass costs.
struct Instant(SoftKey);

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Instant")
    }
}

impl RemoteSigner for Instant {
    fn sign(&self, request: SignRequest) -> Signing<'_> {
        let hash = request.scheme.hash().expect("P-256 hashes");
        let digest = hash.digest(&request.message);
        let signed = self.0.sign(request.scheme, Input::Digest(digest.as_ref()));
        Box::pin(std::future::ready(signed.map_err(|_| SignError::NoServer)))
    }
}

fn remote_config(keys: &Keys) -> Arc<ServerConfig> {
    let key = certified_key_from_pem(keys.cert.as_bytes()).expect("a certificate");
    config(remote_provider(&aws_lc_rs::default_provider()), key)
}

fn instant(keys: &Keys) -> impl AsyncFnOnce() -> RemoteTls<Instant> + Send + 'static {
    let config = remote_config(keys);
    let key = SoftKey::from_pem(keys.key.as_bytes()).expect("a key");
    async move || RemoteTls::new(config, Instant(key))
}

fn remote(
    keys: &Keys,
    authority: &Authority,
    server: SocketAddr,
    verify: Verify,
) -> impl AsyncFnOnce() -> RemoteTls<KeyClient> + Send + 'static {
    let config = remote_config(keys);
    let identity = loopback::identity(authority, &authority.node("node"));
    async move || {
        let ask = KeyClientConfig::default().ask(AskConfig::default().verify(verify));
        let keys = KeyClient::with_config([server.to_string()], identity, ask).await;
        RemoteTls::new(config, keys.expect("the key server runs"))
    }
}
