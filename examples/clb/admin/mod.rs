//! The admin endpoint: `GET /metrics` for Prometheus, `GET /status` for people and scripts.

mod http_metrics;
#[cfg(test)]
mod http_tests;
pub(crate) mod key_server;
mod key_server_metrics;
#[cfg(test)]
mod key_tests;
mod metrics;
mod packets;
mod packets_metrics;
mod page;
mod process;
mod remote_keys;
mod remote_keys_metrics;
mod requests;
pub(crate) mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use snapshot::Snapshot;

/// What the pages show of one moment.
pub(crate) trait Shown: Clone + Send + 'static {
    /// As Prometheus reads it.
    fn metrics(&self) -> String;

    /// As JSON.
    fn status(&self) -> String;
}

/// Asks whoever serves for a snapshot of this moment.
#[derive(Clone, Debug)]
pub(crate) struct Asker<S = Snapshot>(mpsc::Sender<oneshot::Sender<S>>);

/// The questions of an [`Asker`], each to be answered once.
pub(crate) type Questions<S = Snapshot> = mpsc::Receiver<oneshot::Sender<S>>;

impl<S: Shown> Asker<S> {
    /// An asker, and where its questions come.
    pub(crate) fn new() -> (Self, Questions<S>) {
        let (questions, asked) = mpsc::channel(CONNECTIONS_MOST);
        (Self(questions), asked)
    }

    /// What the program is doing; `None` when it has ended.
    async fn snapshot(&self) -> Option<S> {
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).await.ok()?;
        answered.await.ok()
    }
}

/// Answers at `listener` until dropped, each request with a snapshot of its moment.
///
/// When all places are taken, the client that has come first goes: whoever is slow cannot keep
/// others out, and whoever is quick is done before its turn comes.
pub(crate) async fn serve<S: Shown>(listener: TcpListener, asker: Asker<S>) {
    let mut clients: VecDeque<JoinHandle<()>> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                clients.retain(|client| !client.is_finished());
                if clients.len() >= CONNECTIONS_MOST
                    && let Some(first) = clients.pop_front()
                {
                    first.abort();
                }
                let asker = asker.clone();
                clients.push_back(tokio::spawn(async move {
                    if timeout(CONNECTION, exchange(stream, &asker)).await.is_err() {
                        debug!("admin: a client was too slow");
                    }
                }));
            }
            Err(error) => {
                warn!(error = error.to_string(), "admin: accepting failed");
                // Without descriptors, accepting fails at once and again: this must not spin.
                sleep(PAUSE).await;
            }
        }
    }
}

/// One request and its answer.
async fn exchange<S: Shown>(stream: TcpStream, asker: &Asker<S>) {
    let service = service_fn(async |request: Request<Incoming>| {
        Ok::<_, Infallible>(match route(request.method(), request.uri().path()) {
            Ok(page) => match asker.snapshot().await {
                Some(snapshot) => page.response(&snapshot),
                None => plain(StatusCode::SERVICE_UNAVAILABLE, "ending\n"),
            },
            Err(refusal) => *refusal,
        })
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        // A connection that is kept would hold a place between two scrapes.
        .keep_alive(false)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        debug!(%error, "admin: a client was not served");
    }
}

/// A page of the endpoint.
#[derive(Clone, Copy, Debug)]
enum Page {
    Metrics,
    Status,
}

impl Page {
    fn response(self, shown: &impl Shown) -> Response<Full<Bytes>> {
        let (kind, text) = match self {
            Self::Metrics => (page::CONTENT_TYPE, shown.metrics()),
            Self::Status => ("application/json", shown.status()),
        };
        response(StatusCode::OK, kind, text)
    }
}

/// The page that `method` wants at `path`, or why it gets none.
fn route(method: &Method, path: &str) -> Result<Page, Box<Response<Full<Bytes>>>> {
    let page = match path {
        "/metrics" => Page::Metrics,
        "/status" => Page::Status,
        _ => {
            let text = "not found: expected /metrics or /status\n";
            return Err(plain(StatusCode::NOT_FOUND, text).into());
        }
    };
    if matches!(*method, Method::GET | Method::HEAD) {
        return Ok(page);
    }
    let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "expected GET or HEAD\n");
    // RFC 9110, 15.5.6: a 405 must say what is allowed.
    refusal
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    Err(refusal.into())
}

impl Shown for Snapshot {
    fn metrics(&self) -> String {
        metrics::render(self)
    }

    fn status(&self) -> String {
        status(self)
    }
}

/// `GET /status`: the snapshot as JSON.
fn status(snapshot: &impl serde::Serialize) -> String {
    // Plain values with text for keys cannot fail to be written.
    let mut text = serde_json::to_string_pretty(snapshot).unwrap_or_default();
    text.push('\n');
    text
}

fn plain(code: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    response(code, "text/plain; charset=utf-8", text.into())
}

fn response(code: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Far more scrapers than any endpoint has, far fewer than descriptors.
const CONNECTIONS_MOST: usize = 64;
/// How long a client may take with its request.
const HEADER: Duration = Duration::from_secs(5);
/// How long a client may take with all.
const CONNECTION: Duration = Duration::from_secs(20);
/// A request for metrics has some hundred bytes; hyper wants at least 8 KiB.
const HEADER_BYTES: usize = 8 * 1024;
/// Until the next try after accepting has failed.
const PAUSE: Duration = Duration::from_millis(100);
