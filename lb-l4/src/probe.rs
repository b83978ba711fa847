//! Health checks over sockets: a TCP connect, a TCP exchange, a UDP exchange.
//!
//! What is probed when, and what the answers mean, is decided in [`lbcore::health`]; here they are
//! sent.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use lbcore::backend::Address;
use lbcore::connect::Connect;
use lbcore::health::{ProbeFailure, ProbeKind, ProbeOutcome};
use lbcore::pool::Probe;
use lbcore::schedule::Scheduler;
use lbcore::{Instant, Pool};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use crate::Clock;
use crate::connect::{Dial, Stream};
use crate::sys::socket;

/// Probes the backends of a pool, as its configuration says, until `shutdown` resolves.
///
/// Also tells the pool when its own time has come: ejections end, shares grow. So every pool that
/// carries traffic wants one of these running, with or without a health check.
///
/// At most 256 probes are under way at once; the others wait. A connection is closed by a reset, so
/// that probing never leaves a port of this host in TIME-WAIT. Runs in a tokio runtime with time and
/// I/O enabled; dropped, it gives up what is under way.
///
/// # Examples
///
/// ```no_run
/// # async fn probe() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use lb_l4::{Clock, probe};
/// use lbcore::health::HealthConfig;
/// use lbcore::pool::PoolConfig;
/// use lbcore::schedule::RoundRobin;
/// use lbcore::{Backend, Pool};
///
/// let every = HealthConfig::tcp_connect(Duration::from_secs(2));
/// let web = Pool::new(RoundRobin)
///     .config(PoolConfig::default().health(every))?
///     .backend(Backend::new("a", "10.0.0.11:80".parse()?));
/// probe::run_until(web, Clock::monotonic(), std::future::pending::<()>()).await;
/// # Ok(()) }
/// ```
pub async fn run_until<S>(pool: Pool<S>, clock: Clock, shutdown: impl Future)
where
    S: Scheduler,
{
    run_with(pool, Dial::default(), clock, shutdown).await;
}

/// As [`run_until`], over a transport of the caller's.
pub async fn run_with<S, C>(pool: Pool<S>, connect: C, clock: Clock, shutdown: impl Future)
where
    S: Scheduler,
    C: Connect + Clone + 'static,
    C::Stream: Into<Stream>,
{
    tokio::pin!(shutdown);
    let mut under_way = JoinSet::new();
    loop {
        let now = clock.now();
        pool.handle_timeout(now);
        while under_way.len() < MOST_AT_ONCE
            && let Some(probe) = pool.poll_probe(now)
        {
            let connect = connect.clone();
            under_way.spawn(async move {
                let outcome = send(&probe, &connect, clock).await;
                (probe, outcome)
            });
        }
        // What changes the pool elsewhere may bring its next timeout forward: looked at each second.
        let wait = pool
            .poll_timeout()
            .map_or(LONGEST_WAIT, |at| at.since(clock.now()));
        // With every place taken, a due probe waits for one to be free, not for its time.
        let wait = if under_way.len() < MOST_AT_ONCE {
            wait
        } else {
            LONGEST_WAIT
        };
        tokio::select! {
            _ = &mut shutdown => return,
            Some(Ok((probe, outcome))) = under_way.join_next() => {
                pool.handle_probe(clock.now(), probe.backend, probe.number, outcome);
            }
            () = tokio::time::sleep(wait.min(LONGEST_WAIT)) => {}
        }
    }
}

/// Sends one probe and waits for its outcome, to its deadline at most.
///
/// `Unreachable` also stands for a kind that its address cannot be asked, such as a datagram to a
/// Unix stream.
pub async fn send<C>(probe: &Probe, connect: &C, clock: Clock) -> ProbeOutcome
where
    C: Connect,
    C::Stream: Into<Stream>,
{
    let began = clock.now();
    let limit = probe.deadline.since(began);
    let exchange = async {
        match &probe.kind {
            ProbeKind::TcpConnect => tcp(connect, &probe.address, &[], None).await,
            ProbeKind::TcpExchange { send, expect } => {
                tcp(connect, &probe.address, send, Some(expect)).await
            }
            ProbeKind::UdpExchange { send, expect } => udp(&probe.address, send, expect).await,
            _ => Err(ProbeFailure::Io),
        }
    };
    match tokio::time::timeout(limit, exchange).await {
        Ok(Ok(())) => passed(began, clock),
        Ok(Err(why)) => ProbeOutcome::Fail(why),
        Err(_) => ProbeOutcome::Fail(ProbeFailure::Timeout),
    }
}

fn passed(began: Instant, clock: Clock) -> ProbeOutcome {
    ProbeOutcome::Pass(clock.now().since(began))
}

/// Connects; with something to expect, sends and compares how the answer begins.
async fn tcp<C>(
    connect: &C,
    address: &Address,
    send: &[u8],
    expect: Option<&[u8]>,
) -> Result<(), ProbeFailure>
where
    C: Connect,
    C::Stream: Into<Stream>,
{
    let connected = connect.connect(address).await;
    let mut stream: Stream = connected.map_err(|error| failure(&error))?.into();
    if let Stream::Tcp(tcp) = &stream {
        socket::set_reset_on_close(tcp);
    }
    let Some(expect) = expect else {
        return Ok(());
    };
    let written = stream.write_all(send).await;
    written.map_err(|error| failure(&error))?;
    let flushed = stream.flush().await;
    flushed.map_err(|error| failure(&error))?;
    let mut answer = [0; PIECE];
    let mut left = expect;
    loop {
        let want = left.len().clamp(1, PIECE);
        let read = stream.read(&mut answer[..want]).await;
        let n = read.map_err(|error| failure(&error))?;
        if n == 0 || !begins_alike(&answer[..n], left) {
            return Err(ProbeFailure::WrongAnswer);
        }
        left = left.get(n..).unwrap_or(&[]);
        if left.is_empty() {
            return Ok(());
        }
    }
}

/// Sends a datagram and compares how the first answer begins.
async fn udp(address: &Address, send: &[u8], expect: &[u8]) -> Result<(), ProbeFailure> {
    let address = address.socket().ok_or(ProbeFailure::Unreachable)?;
    // Connected, the socket hears of ICMP port unreachable, and of no answer from elsewhere.
    let exchange = async {
        let socket = UdpSocket::bind(any_of_its_family(address)).await?;
        socket.connect(address).await?;
        socket.send(send).await?;
        let mut answer = vec![0; expect.len().max(1)];
        let n = socket.recv(&mut answer).await?;
        io::Result::Ok(answer.get(..n).unwrap_or(&[]).starts_with(expect))
    };
    match exchange.await {
        Ok(true) => Ok(()),
        Ok(false) => Err(ProbeFailure::WrongAnswer),
        Err(error) => Err(failure(&error)),
    }
}

fn any_of_its_family(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// Whether one is how the other begins.
fn begins_alike(one: &[u8], other: &[u8]) -> bool {
    one.iter().zip(other).all(|(a, b)| a == b)
}

/// Whose fault an error is.
fn failure(error: &io::Error) -> ProbeFailure {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused | Kind::NotFound => ProbeFailure::Refused,
        Kind::BrokenPipe | Kind::ConnectionAborted | Kind::ConnectionReset => ProbeFailure::Reset,
        Kind::TimedOut => ProbeFailure::Timeout,
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::Unsupported => {
            ProbeFailure::Unreachable
        }
        _ => ProbeFailure::Io,
    }
}

/// Probes under way at once: each holds a descriptor and a local port.
const MOST_AT_ONCE: usize = 256;

/// A pool that is changed by others is looked at this often, at least.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Bytes of an answer read at once; answers that are expected are mostly shorter.
const PIECE: usize = 512;
