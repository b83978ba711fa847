//! How many signatures a key server makes, of those that its key could.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use harness::authority::Authority;
use harness::host::{TempDir, pin_this_thread};
use harness::keys::{Algorithm, Keys};
use harness::procfs::CpuTime;
use lb_keyserver::question::{ask, certificate_verify};
use lb_keyserver::store::{Input, SigningKey, SoftKey};
use lb_keyserver::wire::{Opcode, PADDED, emit};
use lb_keyserver::{Hash, Mode, MutualTls, PublicKey, Scheme, SignRequest};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::key_server::KeyServerProcess;

/// The server's core, and the one of the load.
pub(super) const SERVER_CORE: usize = 0;
const LOAD_CORE: usize = 1;

const ROUNDS: usize = 5;
const TURN: Duration = Duration::from_secs(2);
/// Nodes, and what each has under way.
const CONNECTIONS: usize = 4;
const WINDOW: usize = 128;

/// What is signed, how `openssl speed` calls it, and the least that a server must make of what the
/// key could, for each second of CPU time.
const SUBJECTS: [Subject; 2] = [
    Subject {
        name: "RSA-2048",
        algorithm: Algorithm::Rsa2048,
        scheme: Scheme::RsaPssSha256,
        speed: ("rsa2048", "rsa 2048 bits"),
        least: 0.75,
    },
    Subject {
        name: "P-256",
        algorithm: Algorithm::P256,
        scheme: Scheme::EcdsaP256Sha256,
        speed: ("ecdsap256", "256 bits ecdsa"),
        least: 0.5,
    },
];

struct Subject {
    name: &'static str,
    algorithm: Algorithm,
    scheme: Scheme,
    speed: (&'static str, &'static str),
    least: f64,
}

/// Measures all, and says whether the limits are kept.
///
/// The server is a process of its own on one core: network, signatures and, in one of the rows, the
/// audit log. The load comes from the other core and sees of the answers only that they are signatures. The
/// raw rates are those of one thread that does nothing but sign, on the server's core, by turns with
/// the server; what is counted is CPU time, as the server may share the core.
pub(super) fn run() -> bool {
    pin_this_thread(LOAD_CORE).expect("there are two cores");
    let (authority, dir) = (Authority::new(), TempDir::new("signing"));
    println!(
        "signatures for each second of CPU time; {CONNECTIONS} nodes, {WINDOW} under way each"
    );
    SUBJECTS.iter().fold(true, |within, subject| {
        within & compare(subject, &authority, &dir)
    })
}

fn compare(subject: &Subject, authority: &Authority, dir: &TempDir) -> bool {
    let keys = Keys::of(subject.algorithm, "a.test");
    let key = Arc::new(SoftKey::from_pem(keys.key.as_bytes()).expect("a key"));
    let openssl = openssl_speed(subject);
    let servers =
        [false, true].map(|audited| KeyServerProcess::start(authority, &keys.key, dir, audited));
    let load = Load::new(authority, key.public_key(), subject.scheme);
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be started");
    let mut raw = Vec::new();
    let mut figures = [const { Vec::new() }; 2];
    for round in 0..=ROUNDS {
        let alone = sign_alone(&key, subject.scheme);
        for (server, figures) in servers.iter().zip(&mut figures) {
            let figure = runtime.block_on(load.turn(server)).expect("a load");
            // The first round fills caches, and opens connections.
            if round > 0 {
                figures.push(figure);
            }
        }
        if round > 0 {
            raw.push(alone);
        }
    }
    let raw = median(raw.into_iter());
    println!("\n{:<20} {:>10}", subject.name, "1/s CPU");
    println!("{:<20} {openssl:>10.0}", "openssl speed");
    println!("{:<20} {raw:>10.0}", "aws-lc-rs, a loop");
    let most = raw.max(openssl);
    let mut within = true;
    for (name, figures) in ["key server", "with audit log"].into_iter().zip(figures) {
        let cpu = median(figures.iter().map(|(cpu, _)| *cpu));
        let wall = median(figures.iter().map(|(_, wall)| *wall));
        let ratio = cpu / most;
        let is_kept = ratio >= subject.least;
        let verdict = if is_kept { "" } else { "  TOO FEW" };
        let least = subject.least;
        println!(
            "{name:<20} {cpu:>10.0}  {ratio:.2} of raw, at least {least}; {wall:.0}/s{verdict}"
        );
        within &= is_kept;
    }
    within
}

/// What makes the load: as many questions as answers have come.
struct Load {
    tls: MutualTls,
    question: Vec<u8>,
}

impl Load {
    fn new(authority: &Authority, key: &PublicKey, scheme: Scheme) -> Self {
        let (node, ca) = (authority.node("7"), authority.cert());
        let tls = MutualTls::from_pem(node.cert.as_bytes(), node.key.as_bytes(), ca.as_bytes());
        let key = PublicKey::from_spki(key.spki().as_ref()).expect("a key");
        let message = certificate_verify(&[7; 32]).expect("a hash of 32 bytes");
        let request = SignRequest::new(Arc::new(key), scheme, message);
        let asking = ask(Mode::Bound, &request).expect("a question");
        let mut question = Vec::new();
        emit(1, &asking.items(), &mut question).expect("it fits");
        Self {
            tls: tls.expect("an identity"),
            question,
        }
    }

    /// Signatures for each second of CPU time, and of time.
    async fn turn(&self, server: &KeyServerProcess) -> io::Result<(f64, f64)> {
        let (cpu, start) = (cpu_time(server.pid), now());
        let mut nodes = tokio::task::JoinSet::new();
        for _ in 0..CONNECTIONS {
            let stream = self.connect(server.address).await?;
            nodes.spawn(ask_on(stream, self.question.clone(), start + TURN));
        }
        let mut answers = 0;
        while let Some(node) = nodes.join_next().await {
            answers += node.map_err(io::Error::other)??;
        }
        let (cpu, time) = (cpu_time(server.pid) - cpu, now() - start);
        let answers = answers as f64;
        Ok((answers / cpu.as_secs_f64(), answers / time.as_secs_f64()))
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(self.tls.client_config(Mode::Bound));
        let name = ServerName::try_from("keys.test").expect("a name");
        let raw = TcpStream::connect(to).await?;
        raw.set_nodelay(true)?;
        connector.connect(name, raw).await
    }
}

/// Asks, as often as it is answered; how many answers there were.
///
/// Of each, it is seen that it is a signature, and no more.
async fn ask_on(
    mut stream: TlsStream<TcpStream>,
    question: Vec<u8>,
    until: Instant,
) -> io::Result<usize> {
    let questions = question.repeat(WINDOW);
    let mut answers = vec![0; WINDOW * PADDED];
    stream.write_all(&questions).await?;
    stream.flush().await?;
    let (mut end, mut asked, mut answered) = (0, WINDOW, 0);
    while answered < asked {
        match stream.read(&mut answers[end..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => end += read,
        }
        let (frames, rest) = answers[..end].as_chunks::<PADDED>();
        // The opcode is the first item; its byte comes after the header, its tag and its length.
        let are_signatures = frames.iter().all(|frame| frame[11] == Opcode::RESPONSE.0);
        assert!(are_signatures, "a question was refused");
        let (more, rest) = (frames.len(), rest.len());
        answers.copy_within(end - rest..end, 0);
        (end, answered) = (rest, answered + more);
        if more > 0 && now() < until {
            asked += more;
            stream
                .write_all(&questions[..more * question.len()])
                .await?;
            stream.flush().await?;
        }
    }
    Ok(answered)
}

/// Signatures for each second of CPU time of a thread that does nothing else.
fn sign_alone(key: &Arc<SoftKey>, scheme: Scheme) -> f64 {
    let key = Arc::clone(key);
    let alone = thread::spawn(move || {
        pin_this_thread(SERVER_CORE).expect("there are two cores");
        let digest = Hash::Sha256.digest(b"what is signed");
        let (before, start) = (on_core(), now());
        let mut count = 0;
        while now() - start < TURN / 2 {
            let signature = key.sign(scheme, Input::Digest(digest.as_ref()));
            count += std::hint::black_box(signature)
                .expect("a signature")
                .len()
                .min(1);
        }
        count as f64 / (on_core() - before).as_secs_f64()
    });
    alone.join().expect("the key signs")
}

/// How long this thread has had a core.
fn on_core() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("proc(5)");
    let nanos = text
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok());
    Duration::from_nanos(nanos.expect("it begins with a number"))
}

/// What OpenSSL says that it makes: it counts CPU time, too.
fn openssl_speed(subject: &Subject) -> f64 {
    let (name, line) = subject.speed;
    let said = Arc::new(Mutex::new(String::new()));
    let told = Arc::clone(&said);
    let speed = thread::spawn(move || {
        pin_this_thread(SERVER_CORE).expect("there are two cores");
        let words = ["speed", "-seconds", "3", name];
        let output = std::process::Command::new("openssl").args(words).output();
        let output = output.expect("openssl runs").stdout;
        *told.lock().expect("nobody else") = String::from_utf8_lossy(&output).into_owned();
    });
    speed.join().expect("openssl runs");
    let said = said.lock().expect("nobody else");
    // Seconds to sign and to verify, then signatures and verifications a second.
    let figures = said
        .lines()
        .find(|found| found.trim_start().starts_with(line));
    let figures = figures.map(|line| line.split_whitespace().rev().nth(1));
    let rate = figures.flatten().and_then(|word| word.parse().ok());
    rate.unwrap_or_else(|| panic!("openssl speed says:\n{said}"))
}

fn cpu_time(pid: u32) -> Duration {
    CpuTime::of(pid).expect("the server runs").total()
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn now() -> Instant {
    Instant::now()
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}
