//! Connections to backends, as an exchange sees them.

mod gates;
mod http1;
mod http2;
mod opening;
#[cfg(feature = "tls")]
mod tls;

use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, request, response};
use lbcore::backend::Address;
use lbcore::connect::Connect;
use lbcore::schedule::RoundRobin;
use lbcore::{Backend, Lease, Pick, Pool};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

use super::{
    Answer, Channel, ChannelError, CloseReason, ConnectionStats, OpenError, Reuse, Upstream,
    UpstreamConfig,
};
use crate::body::{BodyLength, Frame};
use crate::clock;

/// A backend in this process: hands the other end of each connection to the test.
#[derive(Clone)]
pub(super) struct Memory {
    accepted: mpsc::UnboundedSender<DuplexStream>,
    /// What the next connections are answered with instead.
    failures: Arc<Mutex<Vec<io::Error>>>,
    buffer: usize,
}

impl Connect for Memory {
    type Stream = DuplexStream;

    async fn connect(&self, _: &Address) -> io::Result<DuplexStream> {
        tokio::task::yield_now().await;
        if let Some(failure) = self.failures.lock().unwrap().pop() {
            return Err(failure);
        }
        let (near, far) = tokio::io::duplex(self.buffer);
        let refused = |_| io::Error::from(io::ErrorKind::ConnectionRefused);
        self.accepted.send(far).map_err(refused)?;
        Ok(near)
    }
}

/// An upstream of one backend in this process, and that backend's end.
pub(super) struct Rig {
    pub(super) upstream: Upstream,
    pub(super) accepted: mpsc::UnboundedReceiver<DuplexStream>,
    pub(super) failures: Arc<Mutex<Vec<io::Error>>>,
    pub(super) pool: Pool<RoundRobin>,
}

pub(super) fn rig(config: UpstreamConfig) -> Rig {
    let (sender, accepted) = mpsc::unbounded_channel();
    let failures = Arc::default();
    let memory = Memory {
        accepted: sender,
        failures: Arc::clone(&failures),
        buffer: 1 << 20,
    };
    let pool = Pool::new(RoundRobin).backend(Backend::new("a", "memory:a".parse().unwrap()));
    let upstream = Upstream::new(pool.clone()).connector(memory);
    Rig {
        upstream: upstream.config(config).unwrap(),
        accepted,
        failures,
        pool,
    }
}

/// One worker, and little of everything.
pub(super) fn small() -> UpstreamConfig {
    UpstreamConfig::default().workers(1)
}

impl Rig {
    pub(super) fn lease(&self) -> Lease {
        let pick = Pick::default();
        self.upstream.acquire(0, clock::now(), &pick).unwrap()
    }

    pub(super) async fn open(&self) -> Channel {
        self.try_open(0, Reuse::Any).await.unwrap()
    }

    pub(super) async fn try_open(&self, worker: usize, reuse: Reuse) -> Result<Channel, OpenError> {
        let lease = self.lease();
        self.upstream
            .open(worker, clock::now(), &lease, reuse, None)
            .await
    }

    pub(super) async fn accept(&mut self) -> DuplexStream {
        self.accepted.recv().await.unwrap()
    }

    pub(super) fn stats(&self) -> ConnectionStats {
        self.upstream.stats()[0]
    }
}

pub(super) fn get() -> request::Parts {
    parts(Request::get("/path?query").header("host", "example.com"))
}

pub(super) fn post() -> request::Parts {
    parts(Request::post("/").header("host", "example.com"))
}

pub(super) fn parts(builder: request::Builder) -> request::Parts {
    builder.body(()).unwrap().into_parts().0
}

pub(super) async fn flush(channel: &mut Channel) -> Result<(), ChannelError> {
    poll_fn(|cx| channel.poll_flush(cx)).await
}

pub(super) async fn head(channel: &mut Channel) -> Result<Answer, ChannelError> {
    poll_fn(|cx| channel.poll_head(cx)).await
}

pub(super) async fn frame(channel: &mut Channel) -> Option<Result<Frame, ChannelError>> {
    poll_fn(|cx| channel.poll_frame(cx)).await
}

/// Sends a GET, and nothing else.
pub(super) async fn ask(channel: &mut Channel) {
    channel.send_head(&get(), BodyLength::Empty, None).unwrap();
    flush(channel).await.unwrap();
}

pub(super) async fn final_head(channel: &mut Channel) -> (response::Parts, BodyLength) {
    match head(channel).await.unwrap() {
        Answer::Final { parts, length } => (parts, length),
        Answer::Informational(parts) => panic!("interim {}", parts.status),
    }
}

/// The whole content, and the trailers.
pub(super) async fn content(channel: &mut Channel) -> Result<(Vec<u8>, HeaderMap), ChannelError> {
    let (mut bytes, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Some(frame) = frame(channel).await {
        match frame? {
            Frame::Data(data) => bytes.extend_from_slice(&data),
            Frame::Trailers(fields) => trailers = fields,
        }
    }
    Ok((bytes, trailers))
}

/// Reads until the end of a head.
pub(super) async fn read_head(stream: &mut DuplexStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(bytes).unwrap()
}

/// Answers one request that has no content.
pub(super) async fn answer(stream: &mut DuplexStream, response: &str) {
    read_head(stream).await;
    stream.write_all(response.as_bytes()).await.unwrap();
}

pub(super) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

/// One GET over a new or an idle connection, answered by `far`, and released.
pub(super) async fn exchange(rig: &Rig, far: &mut DuplexStream) -> bool {
    let mut channel = rig.open().await;
    let is_reused = channel.is_reused();
    ask(&mut channel).await;
    answer(far, OK).await;
    final_head(&mut channel).await;
    assert_eq!(content(&mut channel).await.unwrap().0, b"hi");
    channel.release(clock::now());
    is_reused
}
