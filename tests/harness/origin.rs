//! A web server in this process that tells what it saw.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{HeaderMap, TRAILER};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// A server of HTTP/1 and of HTTP/2 by prior knowledge, on a thread of its own.
///
/// | path | answer |
/// |---|---|
/// | `/echo` | the request's body and trailers, as they come |
/// | `/sink` | once the body has ended, JSON: `method`, `path`, `version`, `headers`, `bytes`, `sum`, `trailers` |
/// | `/discard` | once the body has ended, how many bytes it had |
/// | `/bytes/N` | N bytes, whose number is said |
/// | `/stream/N` | N bytes, whose number is not said |
/// | `/status/N` | that status, with a short body |
/// | `/after/N` | as `/`, after N milliseconds |
/// | any other | `hello` |
///
/// It ends with this value.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    requests: Arc<AtomicU64>,
    _stop: oneshot::Sender<()>,
}

impl Origin {
    /// Starts one on a free loopback port.
    ///
    /// # Panics
    ///
    /// When no port is free.
    #[track_caller]
    #[must_use]
    pub fn start() -> Self {
        let listener = listen().expect("a port is free");
        let address = listener.local_addr().expect("a listener is bound");
        let (stop, stopped) = oneshot::channel();
        let requests = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&requests);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime can be started").block_on(async {
                tokio::spawn(accept(listener, counted));
                // Whether it is told or forgotten, it ends.
                let _ = stopped.await;
            });
        });
        Self {
            address,
            requests,
            _stop: stop,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests whose head has come.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }
}

/// Room for as many connections as a proxy may open at once.
const BACKLOG: i32 = 4096;

fn listen() -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

async fn accept(listener: std::net::TcpListener, requests: Arc<AtomicU64>) {
    let listener = TcpListener::from_std(listener).expect("a listener is bound");
    while let Ok((stream, _)) = listener.accept().await {
        // It only speeds up small answers.
        let _ = stream.set_nodelay(true);
        let requests = Arc::clone(&requests);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                requests.fetch_add(1, Relaxed);
                answer(request)
            });
            let builder = Builder::new(TokioExecutor::new());
            // How a connection ends is for the client to judge.
            let _ = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

type Answer = Response<BoxBody<Bytes, hyper::Error>>;

async fn answer(request: Request<Incoming>) -> Result<Answer, Infallible> {
    let path = request.uri().path().to_owned();
    let mut segments = path.split('/').skip(1);
    let name = segments.next().unwrap_or_default();
    let number: u64 = segments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    Ok(match name {
        "echo" => echo(request),
        "sink" => sink(request).await,
        "discard" => discard(request).await,
        "bytes" => Response::new(Generated::new(number, true).boxed()),
        "stream" => Response::new(Generated::new(number, false).boxed()),
        "status" => {
            let mut answer = text(format!("status {number}"));
            let status = u16::try_from(number).map(StatusCode::from_u16);
            *answer.status_mut() = match status {
                Ok(Ok(status)) => status,
                _ => StatusCode::NOT_FOUND,
            };
            answer
        }
        "after" => {
            tokio::time::sleep(Duration::from_millis(number)).await;
            text("hello".into())
        }
        _ => text("hello".into()),
    })
}

fn text(text: String) -> Answer {
    let body = Full::new(Bytes::from(text));
    Response::new(body.map_err(|never| match never {}).boxed())
}

fn echo(request: Request<Incoming>) -> Answer {
    // HTTP/1 sends only those trailers that are announced.
    let announced = request.headers().get(TRAILER).cloned();
    let mut answer = Response::new(request.into_body().boxed());
    if let Some(announced) = announced {
        answer.headers_mut().insert(TRAILER, announced);
    }
    answer
}

async fn sink(request: Request<Incoming>) -> Answer {
    let (head, mut body) = request.into_parts();
    let (mut bytes, mut sum, mut trailers) = (0_u64, 0_u64, HeaderMap::new());
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => {
                bytes += data.len() as u64;
                sum = data
                    .iter()
                    .fold(sum, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte));
            }
            Ok(Err(other)) => trailers = other.into_trailers().unwrap_or_default(),
            Err(error) => {
                let mut answer = text(error.to_string());
                *answer.status_mut() = StatusCode::BAD_REQUEST;
                return answer;
            }
        }
    }
    let seen = json!({
        "method": head.method.as_str(), "path": head.uri.path(),
        "version": format!("{:?}", head.version), "headers": object(&head.headers),
        "bytes": bytes, "sum": sum, "trailers": object(&trailers),
    });
    text(seen.to_string())
}

async fn discard(request: Request<Incoming>) -> Answer {
    let (mut bytes, mut body) = (0, request.into_body());
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
    }
    text(bytes.to_string())
}

/// Fields of one name are joined as one list.
fn object(fields: &HeaderMap) -> Value {
    let joined = fields.keys().map(|name| {
        let values = fields.get_all(name).iter();
        let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()));
        let values = values.collect::<Vec<_>>().join(", ");
        (name.as_str().to_owned(), Value::from(values))
    });
    Value::Object(joined.collect())
}

/// What `/sink` says of the sum of these bytes.
#[must_use]
pub fn sum(bytes: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| sum.wrapping_mul(31) + u64::from(*byte);
    bytes.iter().fold(0, step)
}

/// Bytes that are made as they are sent.
struct Generated {
    left: u64,
    said: bool,
    piece: Bytes,
}

/// In one frame.
const PIECE: u64 = 64 << 10;

impl Generated {
    fn new(left: u64, said: bool) -> Self {
        let bytes = (0..PIECE).map(|place| b'a' + (place % 23) as u8);
        Self {
            left,
            said,
            piece: bytes.collect(),
        }
    }
}

impl Body for Generated {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let length = self.left.min(PIECE);
        self.left -= length;
        let frame = Frame::data(self.piece.slice(..length as usize));
        Poll::Ready((length > 0).then_some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        if self.said {
            SizeHint::with_exact(self.left)
        } else {
            SizeHint::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::run;
    use crate::wait::PATIENCE;

    fn curl(words: &[&str]) -> String {
        let always = ["--silent", "--show-error"];
        run(
            "curl",
            always.into_iter().chain(words.iter().copied()),
            PATIENCE,
        )
    }

    #[test]
    fn it_tells_what_it_saw_in_both_versions() {
        let origin = Origin::start();
        let url = format!("http://{}/sink", origin.address());
        for (flag, version) in [
            ("--http1.1", "HTTP/1.1"),
            ("--http2-prior-knowledge", "HTTP/2.0"),
        ] {
            let seen = curl(&[flag, "--data", "abc", "--header", "x-a: 1", &url]);
            let seen: Value = serde_json::from_str(&seen).unwrap();
            assert_eq!(seen["version"], version);
            assert_eq!(seen["method"], "POST");
            assert_eq!(seen["headers"]["x-a"], "1");
            assert_eq!(
                (&seen["bytes"], &seen["sum"]),
                (&json!(3), &json!(sum(b"abc")))
            );
        }
        assert_eq!(origin.requests(), 2);
    }

    #[test]
    fn it_sends_as_much_as_is_asked_for_and_says_so_or_not() {
        let origin = Origin::start();
        let url = |path: &str| format!("http://{}{path}", origin.address());
        let form = "%{http_code} %{size_download}";
        let quietly = ["--output", "/dev/null", "--write-out", form];
        let ask = |path: &str| curl(&[&quietly[..], &[&url(path)]].concat());
        assert_eq!(ask("/bytes/200000"), "200 200000");
        assert_eq!(ask("/stream/200000"), "200 200000");
        assert_eq!(ask("/stream/0"), "200 0");
        assert_eq!(ask("/status/503"), "503 10");
        assert_eq!(ask("/after/1"), "200 5");
        let head = curl(&["--head", &url("/bytes/7")]);
        assert!(head.contains("content-length: 7"), "{head}");
        assert_eq!(curl(&["--data", "12345", &url("/discard")]), "5");
        assert_eq!(curl(&["--data", "to and fro", &url("/echo")]), "to and fro");
    }
}
