//! A client that sends whatever bytes a case wants, and reads frames.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use harness::tls::TlsClient;
use harness::wait;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Stream};

use crate::frames::{Frame, PREFACE, ack, kind, ping, settings};

/// How long an answer may take; a case that waits for nothing ends by a PING instead.
const LIMIT: Duration = Duration::from_secs(3);

/// Where a server is, and how it is come to.
#[derive(Clone)]
pub(crate) struct Place {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
}

impl Place {
    /// Over TLS, whatever certificate it shows.
    pub(crate) fn secured(address: SocketAddr) -> Self {
        Self {
            address,
            tls: Some(TlsClient::new(&["h2"]).config()),
        }
    }
}

impl From<SocketAddr> for Place {
    fn from(address: SocketAddr) -> Self {
        Self { address, tls: None }
    }
}

/// One connection to the server that is judged.
pub(crate) struct Peer {
    stream: TcpStream,
    tls: Option<ClientConnection>,
    received: Vec<u8>,
    place: Place,
    authority: String,
    /// SETTINGS_MAX_CONCURRENT_STREAMS of the server.
    pub(crate) max_streams: Option<u32>,
    /// SETTINGS_MAX_FRAME_SIZE of the server.
    pub(crate) max_frame: usize,
    /// The code of the last GOAWAY that came.
    pub(crate) goaway: Option<u32>,
    pings: u64,
}

/// What happened next.
#[derive(Debug)]
pub(crate) enum Event {
    Frame(Frame),
    Closed,
    Silence,
}

/// How a server kept a rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Kept {
    /// As the RFC says.
    Exactly,
    /// It ended the connection, after this: h2spec is content with that.
    ByClosing(String),
    /// The rule does not apply: the server announces no limit.
    Vacuously,
}

/// How a case ends: the rule is kept, or broken in this way.
pub(crate) type Verdict = Result<Kept, String>;

impl Peer {
    /// Connects, and says nothing yet.
    pub(crate) fn connect(place: &Place) -> Result<Self, String> {
        let address = place.address;
        let stream = TcpStream::connect(address).map_err(|error| format!("connect: {error}"))?;
        stream.set_nodelay(true).expect("a TCP socket");
        let tls = place.tls.as_ref().map(|config| {
            let name = ServerName::from(address.ip());
            ClientConnection::new(Arc::clone(config), name).expect("a configuration")
        });
        Ok(Self {
            stream,
            tls,
            received: Vec::new(),
            place: place.clone(),
            authority: address.to_string(),
            max_streams: None,
            max_frame: 1 << 14,
            goaway: None,
            pings: 0,
        })
    }

    /// Connects and exchanges SETTINGS; the server's acknowledgement has come.
    pub(crate) fn open(place: &Place) -> Result<Self, String> {
        let mut peer = Self::connect(place)?;
        peer.send(PREFACE);
        peer.send(&settings(&[]));
        let mut acknowledged = false;
        let mut settled = false;
        while !(acknowledged && settled) {
            let frame = peer.frame()?;
            match frame.kind {
                kind::SETTINGS if frame.is_ack() => acknowledged = true,
                kind::SETTINGS => {
                    peer.learn(&frame);
                    peer.send(&ack());
                    settled = true;
                }
                kind::GOAWAY => return Err(format!("no handshake: {frame:?}")),
                _ => {}
            }
        }
        Ok(peer)
    }

    /// Another connection, on which nothing was said.
    pub(crate) fn again(&self) -> Result<Self, String> {
        Self::connect(&self.place)
    }

    fn learn(&mut self, frame: &Frame) {
        for (id, value) in frame.settings() {
            match id {
                3 => self.max_streams = Some(value),
                5 => self.max_frame = value as usize,
                _ => {}
            }
        }
    }

    /// The `:authority` of requests.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Sends bytes, whole frames or not. A server that has ended is noticed by reading.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = match &mut self.tls {
            Some(tls) => Stream::new(tls, &mut self.stream).write_all(bytes),
            None => self.stream.write_all(bytes),
        };
    }

    /// The next frame, the end, or nothing within the limit.
    pub(crate) fn next(&mut self) -> Event {
        let deadline = wait::now() + LIMIT;
        let mut buffer = [0; 16 * 1024];
        loop {
            if let Some((frame, length)) = Frame::parse(&self.received) {
                self.received.drain(..length);
                if frame.kind == kind::GOAWAY {
                    self.goaway = frame.code();
                }
                return Event::Frame(frame);
            }
            let left = deadline.saturating_duration_since(wait::now());
            if left.is_zero() {
                return Event::Silence;
            }
            self.stream
                .set_read_timeout(Some(left))
                .expect("a time that is not zero");
            let read = match &mut self.tls {
                Some(tls) => Stream::new(tls, &mut self.stream).read(&mut buffer),
                None => self.stream.read(&mut buffer),
            };
            match read {
                Ok(0) => return Event::Closed,
                Ok(length) => self.received.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Event::Silence,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Event::Closed,
            }
        }
    }

    /// The next frame; anything else is a failure.
    pub(crate) fn frame(&mut self) -> Result<Frame, String> {
        match self.next() {
            Event::Frame(frame) => Ok(frame),
            Event::Closed => Err("the server closed".into()),
            Event::Silence => Err("the server said nothing".into()),
        }
    }

    /// The first frame for which `wanted` holds; the end or silence is a failure.
    pub(crate) fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Result<Frame, String> {
        let mut seen = Vec::new();
        loop {
            match self.next() {
                Event::Frame(frame) if wanted(&frame) => return Ok(frame),
                Event::Frame(frame) => seen.push(frame),
                end => return Err(format!("{end:?} after {seen:?}")),
            }
        }
    }

    /// A PING comes back with what it carried.
    pub(crate) fn alive(&mut self) -> Verdict {
        self.pings += 1;
        let data = (0x1234_5678_0000_0000 + self.pings).to_be_bytes();
        self.send(&ping(data));
        self.until(|frame| frame.kind == kind::PING && frame.is_ack() && frame.payload == data)?;
        Ok(Kept::Exactly)
    }

    /// A PING comes back, or the connection has ended.
    pub(crate) fn alive_or_closed(&mut self) -> Verdict {
        match self.alive() {
            Err(why) if why.starts_with("Closed") => Ok(Kept::Exactly),
            verdict => verdict,
        }
    }

    /// The head of a response comes on that stream.
    pub(crate) fn answered(&mut self, stream: u32) -> Verdict {
        self.until(|frame| frame.kind == kind::HEADERS && frame.stream == stream)?;
        Ok(Kept::Exactly)
    }

    /// The server ends its half of that stream.
    pub(crate) fn ended(&mut self, stream: u32) -> Result<(), String> {
        self.until(|frame| {
            frame.stream == stream
                && match frame.kind {
                    kind::DATA | kind::HEADERS => frame.ends_stream(),
                    kind::RST_STREAM => frame.code() == Some(0),
                    _ => false,
                }
        })?;
        Ok(())
    }

    /// SETTINGS are acknowledged.
    pub(crate) fn acknowledged(&mut self) -> Verdict {
        self.until(|frame| frame.kind == kind::SETTINGS && frame.is_ack())?;
        Ok(Kept::Exactly)
    }

    /// A GOAWAY with one of these codes comes, and then the end (RFC 9113, 5.4.1).
    pub(crate) fn connection_error(&mut self, codes: &[u32]) -> Verdict {
        self.error(codes, None)
    }

    /// An RST_STREAM of that stream comes with one of these codes; or the error is made one of the
    /// connection, as 5.4.1 permits.
    pub(crate) fn stream_error(&mut self, stream: u32, codes: &[u32]) -> Verdict {
        self.error(codes, Some(stream))
    }

    fn error(&mut self, codes: &[u32], stream: Option<u32>) -> Verdict {
        let mut seen = Vec::new();
        loop {
            match self.next() {
                Event::Frame(frame) => {
                    let told = frame.code().is_some_and(|code| codes.contains(&code));
                    let reset = frame.kind == kind::RST_STREAM && Some(frame.stream) == stream;
                    if told && (reset || frame.kind == kind::GOAWAY) {
                        return Ok(Kept::Exactly);
                    }
                    seen.push(format!("{frame:?}"));
                }
                Event::Closed => return Ok(Kept::ByClosing(seen.pop().unwrap_or_default())),
                Event::Silence => return Err(format!("no error after {seen:?}")),
            }
        }
    }

    /// The connection ends.
    pub(crate) fn closed(&mut self) -> Verdict {
        loop {
            match self.next() {
                Event::Frame(_) => {}
                Event::Closed => return Ok(Kept::Exactly),
                Event::Silence => return Err("the connection stays open".into()),
            }
        }
    }
}
