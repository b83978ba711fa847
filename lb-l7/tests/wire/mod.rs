//! A proxy whose clients and backends are byte streams of the same process.

use std::io;

use bytes::{Buf, BytesMut};
use lb_l7::{HttpProxy, Peer, Settings, Target, Upstream};
use lbcore::backend::Address;
use lbcore::connect::Connect;
use lbcore::schedule::RoundRobin;
use lbcore::{Backend, Pool};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

/// Hands the other end of each connection to the test.
struct Dial(mpsc::UnboundedSender<DuplexStream>);

impl Connect for Dial {
    type Stream = DuplexStream;

    async fn connect(&self, _: &Address) -> io::Result<DuplexStream> {
        let (near, far) = tokio::io::duplex(PIPE);
        let gone = |_| io::Error::from(io::ErrorKind::ConnectionRefused);
        self.0.send(far).map_err(gone)?;
        Ok(near)
    }
}

/// Bytes that fit between two ends.
pub(crate) const PIPE: usize = 16 * 1024;

/// A proxy and the backend behind it.
pub(crate) struct Rig {
    pub(crate) proxy: HttpProxy,
    accepted: mpsc::UnboundedReceiver<DuplexStream>,
}

impl Rig {
    pub(crate) fn new(settings: impl FnOnce(Target) -> Settings) -> Self {
        let (dialled, accepted) = mpsc::unbounded_channel();
        let backend = Backend::new("b", "memory:b".parse().expect("an address"));
        let pool = Pool::new(RoundRobin).backend(backend);
        let upstream = Upstream::new(pool).connector(Dial(dialled));
        let settings = settings(Target::new(upstream));
        Self {
            proxy: HttpProxy::with_workers(settings, 1),
            accepted,
        }
    }

    /// The bytes of a client at 192.0.2.7.
    pub(crate) fn stream(&self) -> DuplexStream {
        let (near, far) = tokio::io::duplex(PIPE);
        let proxy = self.proxy.clone();
        let address = |text: &str| text.parse().expect("an address");
        let peer = Peer::new(address("192.0.2.7:1234"), address("192.0.2.1:80"));
        tokio::spawn(async move { proxy.serve_connection(far, peer).await });
        near
    }

    pub(crate) fn client(&self) -> Wire {
        Wire::new(self.stream())
    }

    /// The next connection to the backend.
    pub(crate) async fn backend(&mut self) -> Wire {
        Wire::new(self.accepted.recv().await.expect("the proxy lives"))
    }
}

/// One end of a connection, and what has been read of it.
pub(crate) struct Wire {
    pub(crate) io: DuplexStream,
    read: BytesMut,
}

impl Wire {
    pub(crate) fn new(io: DuplexStream) -> Self {
        Self {
            io,
            read: BytesMut::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = self.io.write_all(bytes.as_ref()).await;
        sent.expect("the other end reads");
    }

    /// Up to the empty line, in lower case.
    pub(crate) async fn head(&mut self) -> String {
        self.until(b"\r\n\r\n").await.to_lowercase()
    }

    async fn until(&mut self, end: &[u8]) -> String {
        loop {
            let found = self.read.windows(end.len()).position(|at| at == end);
            if let Some(at) = found {
                let text = self.read.split_to(at + end.len());
                return String::from_utf8(text.to_vec()).expect("a head is text");
            }
            assert!(self.more().await, "it ended: {:?}", self.read);
        }
    }

    /// Reads some more, unless there is none.
    pub(crate) async fn more(&mut self) -> bool {
        self.io.read_buf(&mut self.read).await.is_ok_and(|n| n > 0)
    }

    async fn exactly(&mut self, bytes: usize) -> BytesMut {
        while self.read.len() < bytes {
            assert!(self.more().await, "it ended: {:?}", self.read.len());
        }
        self.read.split_to(bytes)
    }

    /// The next chunk of a body; none at its end, whose trailers are given back.
    pub(crate) async fn chunk(&mut self) -> Result<Vec<u8>, String> {
        let size = self.until(b"\r\n").await;
        let size = usize::from_str_radix(size.trim(), 16).expect("a size");
        if size == 0 {
            let mut trailers = String::new();
            loop {
                let line = self.until(b"\r\n").await;
                if line == "\r\n" {
                    return Err(trailers);
                }
                trailers.push_str(&line);
            }
        }
        let chunk = self.exactly(size).await.to_vec();
        self.exactly(2).await.advance(2);
        Ok(chunk)
    }

    /// The body behind `head`.
    pub(crate) async fn body(&mut self, head: &str) -> Vec<u8> {
        if let Some(length) = field(head, "content-length") {
            let length = length.parse().expect("a length");
            return self.exactly(length).await.to_vec();
        }
        assert_eq!(field(head, "transfer-encoding"), Some("chunked"), "{head}");
        let mut body = Vec::new();
        while let Ok(chunk) = self.chunk().await {
            body.extend_from_slice(&chunk);
        }
        body
    }
}

/// The value of a field of a head in lower case.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found == name).then(|| value.trim())
    })
}
