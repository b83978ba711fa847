//! Health checks over HTTP: a status, a body, or the health protocol of gRPC.
//!
//! What is probed when, and what the answers mean, is decided in [`lbcore::health`]; here they are
//! sent, as `lb_l4::probe` sends those of TCP and UDP. Each probe has a connection of its own, so that
//! it also asks whether the backend takes one.

mod body;
mod config;
mod dial;
mod grpc;
mod http1;
mod http2;
mod status;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use lbcore::Pool;
use lbcore::health::{ProbeFailure, ProbeOutcome};
use lbcore::pool::Probe;
use lbcore::schedule::Scheduler;
use tokio::task::JoinSet;

use crate::clock;
pub use body::{BodyMatch, BodyMatchError};
pub use config::{HttpProbe, ProbeProtocol};
pub use status::{StatusSet, StatusSetError};

/// Probes the backends of a pool by `http`, until `shutdown` resolves.
///
/// The pool's configuration says when, and how many answers in a row count; for what it says of
/// *what*, `http` stands, so that its kind is best
/// [`ProbeKind::Custom`](lbcore::health::ProbeKind::Custom): another runner would fail on that, and
/// not pass by less.
///
/// Also tells the pool when its own time has come: ejections end, shares grow. So every pool whose
/// backends this crate sends requests to wants one of these running, with or without a health check,
/// and no other runner: all that a pool is told must be by one clock, and this is the crate's own. At most 256 probes are under way at once; the others wait. Runs in a tokio
/// runtime with time and I/O enabled; dropped, it gives up what is under way.
///
/// # Examples
///
/// ```no_run
/// # async fn probe() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use lb_l7::probe::{self, HttpProbe};
/// use lbcore::health::{HealthConfig, ProbeKind};
/// use lbcore::pool::PoolConfig;
/// use lbcore::schedule::RoundRobin;
/// use lbcore::{Backend, Pool};
///
/// let every = HealthConfig::new(ProbeKind::Custom).interval(Duration::from_secs(2));
/// let web = Pool::new(RoundRobin)
///     .config(PoolConfig::default().health(every))?
///     .backend(Backend::new("a", "10.0.0.11:80".parse()?));
/// let healthy = HttpProbe::get("/healthz".parse()?).expect_status("200-299".parse()?);
/// probe::run_until(web, healthy, std::future::pending::<()>()).await;
/// # Ok(()) }
/// ```
pub async fn run_until<S>(pool: Pool<S>, http: impl Into<Arc<HttpProbe>>, shutdown: impl Future)
where
    S: Scheduler,
{
    tokio::pin!(shutdown);
    let http = http.into();
    let mut under_way = JoinSet::new();
    loop {
        let now = clock::now();
        pool.handle_timeout(now);
        while under_way.len() < MOST_AT_ONCE
            && let Some(probe) = pool.poll_probe(now)
        {
            let http = Arc::clone(&http);
            under_way.spawn(async move {
                let outcome = send(&probe, &http).await;
                (probe, outcome)
            });
        }
        // What changes the pool elsewhere may bring its next timeout forward: looked at each second.
        // With every place taken, a due probe waits for one to be free, not for its time.
        let due = pool.poll_timeout().map(|at| at.since(clock::now()));
        let wait = due.filter(|_| under_way.len() < MOST_AT_ONCE);
        tokio::select! {
            _ = &mut shutdown => return,
            Some(Ok((probe, outcome))) = under_way.join_next() => {
                pool.handle_probe(clock::now(), probe.backend, probe.number, outcome);
            }
            () = tokio::time::sleep(wait.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT)) => {}
        }
    }
}

/// Sends one probe as `http` says and waits for its outcome, to its deadline at most.
///
/// An answer that is none, such as one that is not HTTP or a certificate that is not believed, is
/// [`ProbeFailure::WrongAnswer`].
pub async fn send(probe: &Probe, http: &HttpProbe) -> ProbeOutcome {
    let began = clock::now();
    let limit = probe.deadline.since(began);
    match tokio::time::timeout(limit, http.ask(&probe.address)).await {
        Ok(Ok(())) => ProbeOutcome::Pass(clock::now().since(began)),
        Ok(Err(why)) => ProbeOutcome::Fail(why),
        Err(_) => ProbeOutcome::Fail(ProbeFailure::Timeout),
    }
}

/// What a backend said, as far as it was read.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    fields: HeaderMap,
    body: Bytes,
    trailers: Option<HeaderMap>,
}

/// Probes under way at once: each holds a descriptor and a local port.
const MOST_AT_ONCE: usize = 256;

/// A pool that is changed by others is looked at this often, at least.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
