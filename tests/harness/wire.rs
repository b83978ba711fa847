//! A client of a key server that says what it is told to, be it allowed or not.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use lb_keyserver::Mode;
use lb_keyserver::wire::{self, ErrorCode, Items, Opcode};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::authority::Authority;
use crate::keys::Keys;
use crate::wait::PATIENCE;

/// A connection, with mutual TLS 1.3 by rustls and nothing else of the product: no checks stand
/// between a test and the bytes. Every call blocks, for [`PATIENCE`] at most.
#[derive(Debug)]
pub struct Wire {
    stream: StreamOwned<ClientConnection, TcpStream>,
    next: u32,
}

/// What came back.
#[expect(clippy::exhaustive_enums, reason = "what a key server can answer")]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Heard {
    /// The end of the connection, with or without TLS's word of it.
    Closed,
    /// What a ping carried.
    Pong(Vec<u8>),
    /// No signature.
    Refused(ErrorCode),
    /// A signature, not yet verified.
    Signature(Vec<u8>),
}

impl Wire {
    /// Connects as `node` to the server at `address`, and offers to speak in `mode`.
    ///
    /// # Errors
    ///
    /// As of connecting and of the handshake. In TLS 1.3 a client hears that it is not welcome only
    /// with its first answer, which is then [`Heard::Closed`].
    pub fn connect(
        address: SocketAddr,
        authority: &Authority,
        node: &Keys,
        mode: Mode,
    ) -> io::Result<Self> {
        let config = Arc::new(config(authority, Some(node), mode));
        Self::connect_by(address, config)
    }

    /// The same without a certificate of its own.
    ///
    /// # Errors
    ///
    /// As of [`connect`](Self::connect).
    pub fn anonymous(address: SocketAddr, authority: &Authority, mode: Mode) -> io::Result<Self> {
        Self::connect_by(address, Arc::new(config(authority, None, mode)))
    }

    fn connect_by(address: SocketAddr, config: Arc<ClientConfig>) -> io::Result<Self> {
        let mut tcp = TcpStream::connect_timeout(&address, PATIENCE)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::from(address.ip());
        let mut session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut tcp)?;
        }
        Ok(Self {
            stream: StreamOwned::new(session, tcp),
            next: 0,
        })
    }

    /// What both ends agreed to speak, by ALPN.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.stream.conn.alpn_protocol()
    }

    /// Asks, and waits for the answer.
    ///
    /// # Panics
    ///
    /// When nothing comes within [`PATIENCE`], or what comes answers another question, is not
    /// padded, or is no answer at all.
    #[track_caller]
    pub fn ask(&mut self, items: &Items<'_>) -> Heard {
        self.next += 1;
        let mut bytes = Vec::new();
        wire::emit(self.next, items, &mut bytes).expect("it fits into a frame");
        match self.exchange(&bytes) {
            Ok(Some(answer)) => self.heard(&answer),
            Ok(None) => Heard::Closed,
            Err(error) if is_silence(&error) => panic!("no answer within {PATIENCE:?}"),
            Err(_) => Heard::Closed,
        }
    }

    /// Whether the connection still answers.
    #[track_caller]
    pub fn lives(&mut self) -> bool {
        let ping = Items {
            opcode: Opcode::PING,
            payload: b"still there?",
            ..Items::default()
        };
        self.ask(&ping) == Heard::Pong(b"still there?".to_vec())
    }

    /// Waits for the server to close.
    ///
    /// # Panics
    ///
    /// When it says something, or does not close within [`PATIENCE`].
    #[track_caller]
    pub fn await_close(&mut self) {
        match self.stream.read(&mut [0; 1]) {
            Ok(0) => {}
            Ok(_) => panic!("the server speaks unasked"),
            Err(error) => assert!(!is_silence(&error), "the connection is still open"),
        }
    }

    /// The whole frame that answers these bytes; `None` at the end.
    fn exchange(&mut self, bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.stream.write_all(bytes)?;
        self.stream.flush()?;
        let mut frame = vec![0; wire::HEADER];
        if self.stream.read(&mut frame[..1])? == 0 {
            return Ok(None);
        }
        self.stream.read_exact(&mut frame[1..])?;
        let length = u16::from_be_bytes([frame[2], frame[3]]);
        frame.resize(wire::HEADER + usize::from(length), 0);
        self.stream.read_exact(&mut frame[wire::HEADER..])?;
        Ok(Some(frame))
    }

    #[track_caller]
    fn heard(&self, answer: &[u8]) -> Heard {
        assert!(answer.len() >= wire::PADDED, "an answer is not padded");
        let (frame, _) = wire::parse(answer).expect("a frame").expect("whole");
        assert_eq!(frame.id, self.next, "the answer is to another question");
        match (frame.items.opcode, frame.items.payload) {
            (Opcode::PONG, echo) => Heard::Pong(echo.to_vec()),
            (Opcode::RESPONSE, signature) => Heard::Signature(signature.to_vec()),
            (Opcode::ERROR, [code]) => Heard::Refused(ErrorCode::from_byte(*code)),
            (opcode, _) => panic!("{opcode} is no answer"),
        }
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// What a client of the product would use, made by hand.
fn config(authority: &Authority, node: Option<&Keys>, mode: Mode) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(authority.cert().as_bytes());
    roots.add(ca.expect("PEM")).expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3")
        .with_root_certificates(roots);
    let mut config = match node {
        None => config.with_no_client_auth(),
        Some(node) => {
            let chain = CertificateDer::from_pem_slice(node.cert.as_bytes()).expect("PEM");
            let key = PrivateKeyDer::from_pem_slice(node.key.as_bytes()).expect("PEM");
            let config = config.with_client_auth_cert(vec![chain], key);
            config.expect("the key is the certificate's")
        }
    };
    config.alpn_protocols = mode.alpn().map(<[u8]>::to_vec).into_iter().collect();
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::free_address;
    use crate::keyless;
    use crate::keys::Algorithm;

    fn asked(opcode: Opcode) -> Items<'static> {
        Items {
            opcode,
            ..Items::default()
        }
    }

    #[test]
    fn it_is_answered_refused_and_turned_away() {
        let (authority, address) = (Authority::new(), free_address());
        let key = Keys::of(Algorithm::P256, "a.test");
        let identity = authority.server("keys.test");
        let _server = keyless::server(address, &authority, &identity, &[&key], &[]);
        let node = authority.node("node-7");
        let mut wire = Wire::connect(address, &authority, &node, Mode::Plain).unwrap();
        assert_eq!(wire.alpn(), None);
        assert!(wire.lives());
        let refused = Heard::Refused(ErrorCode::BadOpcode);
        assert_eq!(wire.ask(&asked(Opcode::SIGN_TLS13)), refused);
        assert!(wire.lives());

        let other = Authority::new();
        let stranger = other.node("node-7");
        Wire::connect(address, &other, &stranger, Mode::Plain).unwrap_err();
        for welcome in [
            Wire::connect(address, &authority, &stranger, Mode::Plain),
            Wire::anonymous(address, &authority, Mode::Plain),
        ] {
            let heard = welcome.map(|mut wire| wire.ask(&asked(Opcode::PING)));
            assert!(matches!(heard, Ok(Heard::Closed) | Err(_)), "{heard:?}");
        }
    }
}
