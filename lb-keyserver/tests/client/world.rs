//! Key servers as bad as one likes, on loopback.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lb_keyserver::question::{
    self, Request, certificate_verify, emit_error, emit_pong, emit_signature,
};
use lb_keyserver::store::{KeyStore, MemoryStore, SigningKey, SoftKey};
use lb_keyserver::wire::{self, ErrorCode};
use lb_keyserver::{Mode, MutualTls, PublicKey, Scheme, SignRequest};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// An authority, a key that is asked for, and one that is not.
pub(crate) struct World {
    authority: CertifiedIssuer<'static, KeyPair>,
    pair: KeyPair,
    pub(crate) key: Arc<dyn SigningKey>,
    pub(crate) public: Arc<PublicKey>,
    other: Arc<dyn SigningKey>,
}

fn soft_key(pair: &KeyPair) -> Arc<dyn SigningKey> {
    Arc::new(SoftKey::from_pem(pair.serialize_pem().as_bytes()).expect("read"))
}

impl World {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("made"));
        let pair = KeyPair::generate().expect("made");
        let key = soft_key(&pair);
        let spki = key.public_key().spki().as_ref().to_vec();
        Self {
            authority: authority.expect("signed"),
            public: Arc::new(PublicKey::from_spki(spki).expect("read")),
            key,
            other: soft_key(&KeyPair::generate().expect("made")),
            pair,
        }
    }

    pub(crate) fn identity(&self) -> MutualTls {
        let key = KeyPair::generate().expect("made");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]);
        let mut params = params.expect("good");
        let name = "lb://node/7".try_into().expect("a name");
        params.subject_alt_names.push(SanType::URI(name));
        let certificate = params.signed_by(&key, &self.authority);
        let chain = certificate.expect("signed").pem();
        let authority = self.authority.pem();
        let (chain, key) = (chain.as_bytes(), key.serialize_pem());
        MutualTls::from_pem(chain, key.as_bytes(), authority.as_bytes()).expect("good")
    }

    /// A certificate for the key, in PEM.
    pub(crate) fn certificate(&self) -> String {
        let params = CertificateParams::new(vec!["example.com".to_owned()]);
        let certificate = params.expect("good").self_signed(&self.pair);
        certificate.expect("signed").pem()
    }

    pub(crate) fn store(&self) -> impl KeyStore {
        MemoryStore::new().with_shared_key(Arc::clone(&self.key))
    }

    /// The `n`th request: each of another handshake.
    pub(crate) fn request(&self, n: u64) -> SignRequest {
        let mut hash = [7; 32];
        hash[..8].copy_from_slice(&n.to_be_bytes());
        let message = certificate_verify(&hash).expect("a hash of TLS 1.3");
        SignRequest::new(Arc::clone(&self.public), Scheme::EcdsaP256Sha256, message)
    }

    pub(crate) fn verifies(&self, n: u64, signature: &[u8]) -> bool {
        let request = self.request(n);
        self.public
            .verifies(request.scheme, &request.message, signature)
    }

    pub(crate) async fn serve(&self, act: Act) -> Fake {
        Fake::start(self, any_port(), act).await
    }
}

pub(crate) fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// What a server does when it is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Act {
    /// Signs after that long.
    Sign(Duration),
    /// Keeps the answers of `usize` questions, and then gives them in the opposite order.
    Backwards(usize),
    /// Answers PINGs and nothing else.
    Mute,
    /// Answers not even PINGs, from the second on.
    Dead,
    /// Answers with what is no frame.
    Garbage,
    /// Signs with another key.
    OtherKey,
    Refuse(ErrorCode),
    /// Closes the connection.
    HangUp,
    /// Closes the connection once it has answered a PING.
    Leave,
}

pub(crate) const PROMPT: Act = Act::Sign(Duration::ZERO);

/// A server that does as it is told.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<State>,
    task: AbortHandle,
}

pub(crate) struct State {
    act: Mutex<Act>,
    pub(crate) asked: AtomicU64,
    pub(crate) pinged: AtomicU64,
    pub(crate) connected: AtomicU64,
    key: Arc<dyn SigningKey>,
    other: Arc<dyn SigningKey>,
    held: Mutex<Vec<(u32, Vec<u8>)>>,
}

impl Fake {
    pub(crate) async fn start(world: &World, at: SocketAddr, act: Act) -> Self {
        let state = Arc::new(State {
            act: Mutex::new(act),
            asked: AtomicU64::new(0),
            pinged: AtomicU64::new(0),
            connected: AtomicU64::new(0),
            key: Arc::clone(&world.key),
            other: Arc::clone(&world.other),
            held: Mutex::default(),
        });
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an option");
        socket.bind(at).expect("the port is free");
        let listener = socket.listen(1_024).expect("listens");
        let address = listener.local_addr().expect("bound");
        let acceptor = TlsAcceptor::from(world.identity().server_config(&Mode::ALL));
        let accepting = accept(listener, acceptor, Arc::clone(&state));
        let task = tokio::spawn(accepting).abort_handle();
        Self {
            address,
            state,
            task,
        }
    }

    pub(crate) fn to(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn act(&self, act: Act) {
        *self.state.act.lock().expect("not poisoned") = act;
    }

    pub(crate) fn asked(&self) -> u64 {
        self.state.asked.load(Relaxed)
    }

    /// Dies with all its connections; its address is free again soon after.
    pub(crate) async fn kill(self) -> SocketAddr {
        self.task.abort();
        while !self.task.is_finished() {
            tokio::task::yield_now().await;
        }
        self.address
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
        connections.spawn(async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                state.connected.fetch_add(1, Relaxed);
                converse(stream, state).await;
            }
        });
    }
}

async fn converse(stream: TlsStream<TcpStream>, state: Arc<State>) {
    let mode = Mode::agreed(stream.get_ref().1.alpn_protocol()).expect("a mode");
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (answers, mut answered) = mpsc::unbounded_channel::<Vec<u8>>();
    let reading = async move {
        let mut bytes = Vec::new();
        let mut delayed = JoinSet::new();
        while reader.read_buf(&mut bytes).await.is_ok_and(|n| n > 0) {
            let mut used = 0;
            while let Some((frame, length)) = wire::parse(&bytes[used..]).expect("frames") {
                used += length;
                if !state.answer(mode, &frame, &answers, &mut delayed) {
                    // What was answered still goes out.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    return;
                }
            }
            bytes.drain(..used);
        }
    };
    let writing = async move {
        while let Some(mut bytes) = answered.recv().await {
            while let Ok(more) = answered.try_recv() {
                bytes.extend(more);
            }
            if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
}

impl State {
    /// Answers one question; whether the connection goes on.
    fn answer(
        &self,
        mode: Mode,
        frame: &wire::Frame<'_>,
        answers: &mpsc::UnboundedSender<Vec<u8>>,
        delayed: &mut JoinSet<()>,
    ) -> bool {
        let act = *self.act.lock().expect("not poisoned");
        let mut bytes = Vec::new();
        let question = match question::read(mode, &frame.items) {
            Ok(Request::Ping(echo)) => {
                let first = self.pinged.fetch_add(1, Relaxed) == 0;
                if first || act != Act::Dead {
                    emit_pong(frame.id, echo, &mut bytes);
                    drop(answers.send(bytes));
                }
                return act != Act::Leave;
            }
            Ok(Request::Sign(question)) => question,
            Err(code) => {
                emit_error(frame.id, code, &mut bytes);
                return answers.send(bytes).is_ok();
            }
        };
        self.asked.fetch_add(1, Relaxed);
        let key = if act == Act::OtherKey {
            &self.other
        } else {
            &self.key
        };
        let to_sign = question.to_sign(self.key.public_key()).expect("its key");
        let signature = key.sign(to_sign.scheme(), to_sign.input()).expect("signs");
        match act {
            Act::Mute | Act::Dead => return true,
            Act::HangUp | Act::Leave => return false,
            Act::Garbage => bytes = vec![1, 0, 0, 3, 0, 0, 0, 1, 0x11, 0, 9],
            Act::Refuse(code) => emit_error(frame.id, code, &mut bytes),
            Act::Sign(_) | Act::OtherKey => emit_signature(frame.id, &signature, &mut bytes),
            Act::Backwards(many) => {
                let mut held = self.held.lock().expect("not poisoned");
                held.push((frame.id, signature));
                if held.len() < many {
                    return true;
                }
                for (id, signature) in held.drain(..).rev() {
                    emit_signature(id, &signature, &mut bytes);
                }
            }
        }
        match act {
            Act::Sign(after) if !after.is_zero() => {
                let answers = answers.clone();
                delayed.spawn(async move {
                    tokio::time::sleep(after).await;
                    drop(answers.send(bytes));
                });
            }
            _ => drop(answers.send(bytes)),
        }
        true
    }
}
