//! Where would this packet go, and why?
//!
//! ```text
//! what_if --service tcp/203.0.113.10:80 --method nat --backend 10.9.0.11:8080 --backend 10.9.0.12:8080 \
//!     "198.51.100.7:40000 > 203.0.113.10:80 syn" "198.51.100.7:40000 > 203.0.113.10:80 ack"
//! ```
//!
//! Nothing is sent: the forwarder is a function from packets to verdicts. Without arguments it asks
//! the question above. Methods are nat, fullnat and tunnel; direct routing has nothing to show where
//! there is no link.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "this is what it is run for"
)]

use std::net::SocketAddr;
use std::process::ExitCode;

use lb_l4::forwarder::{
    Forwarder, ForwarderConfig, Interface, Match, ServiceProtocol, VirtualService,
};
use lb_l4::method::ForwardingMethod;
use lb_l4::method::fullnat::{FullNatConfig, LocalPortsConfig};
use lb_l4::method::tunnel::TunnelConfig;
use lb_l4::packet::{InterfaceId, Link, Packet, Verdict};
use lb_l4::wire::emit::{Datagram, TcpSegment};
use lb_l4::wire::tcp::flags;
use lb_l4::wire::{Frame, parse};
use lbcore::hash::HashKey;
use lbcore::schedule::{KeyExtractor, KeyParts, Maglev};
use lbcore::session::SessionTable;
use lbcore::{Backend, Instant, Pool};

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match ask() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("what_if: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ask() -> Result<(), Failure> {
    let Some(question) = Question::read(lexopt::Parser::from_env())? else {
        println!("{USAGE}");
        return Ok(());
    };
    let now = Instant::ZERO;
    let mut forwarder = question.forwarder(now)?;
    for line in &question.packets {
        let mut bytes = vec![0; HEADROOM];
        question.emit(line, &mut bytes)?;
        let len = bytes.len();
        let mut packet = Packet::new(&mut bytes, HEADROOM..len, Link::Ip);
        forwarder.handle_packet(now, &mut packet);
        println!("{line}");
        println!("  {}", told(&packet));
        while let Some(own) = forwarder.poll_transmit(now) {
            println!("  and sends {}", shown(own.bytes));
        }
    }
    forwarder
        .sessions()
        .walk(Default::default(), usize::MAX, |_, session| {
            println!(
                "session {} > {}: {:?}",
                session.key.source, session.key.destination, session.state
            );
        });
    Ok(())
}

/// A service, and packets that come to it.
struct Question {
    protocol: ServiceProtocol,
    address: SocketAddr,
    method: ForwardingMethod,
    backends: Vec<SocketAddr>,
    packets: Vec<String>,
}

impl Question {
    /// What the arguments ask; `None` if they ask for help.
    fn read(mut arguments: lexopt::Parser) -> Result<Option<Self>, Failure> {
        use lexopt::Arg::{Long, Value};
        use lexopt::ValueExt;
        let mut question = Self {
            protocol: ServiceProtocol::Tcp,
            address: "203.0.113.10:80".parse()?,
            method: ForwardingMethod::Nat,
            backends: Vec::new(),
            packets: Vec::new(),
        };
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("service") => {
                    let text = arguments.value()?.string()?;
                    let (protocol, address) =
                        text.split_once('/').ok_or("PROTOCOL/ADDRESS:PORT")?;
                    question.protocol = match protocol {
                        "tcp" => ServiceProtocol::Tcp,
                        "udp" => ServiceProtocol::Udp,
                        other => return Err(format!("{other}: tcp or udp").into()),
                    };
                    question.address = end(address)?;
                }
                Long("method") => match arguments.value()?.string()?.as_str() {
                    "nat" => question.method = ForwardingMethod::Nat,
                    "fullnat" => {
                        question.method = ForwardingMethod::FullNat(FullNatConfig::default());
                    }
                    "tunnel" => {
                        let tunnel = TunnelConfig::default()
                            .source_v4("192.0.2.1".parse()?)
                            .source_v6("2001:db8::1".parse()?);
                        question.method = ForwardingMethod::Tunnel(tunnel);
                    }
                    other => return Err(format!("{other}: nat, fullnat or tunnel").into()),
                },
                Long("backend") => question.backends.push(end(&arguments.value()?.string()?)?),
                Long("help") => return Ok(None),
                Value(line) => question.packets.push(line.string()?),
                other => return Err(other.unexpected().into()),
            }
        }
        if question.backends.is_empty() {
            question.backends = match question.address {
                SocketAddr::V4(_) => vec![end("10.9.0.11:8080")?, end("10.9.0.12:8080")?],
                SocketAddr::V6(_) => vec![end("[fd09::11]:8080")?, end("[fd09::12]:8080")?],
            };
        }
        if question.packets.is_empty() {
            let client = match question.address {
                SocketAddr::V4(_) => "198.51.100.7:40000",
                SocketAddr::V6(_) => "[2001:db8:7::7]:40000",
            };
            let flow = format!("{client} > {}", question.address);
            question.packets = vec![format!("{flow} syn"), format!("{flow} ack")];
        }
        Ok(Some(question))
    }

    /// On a link without addresses, so that nobody has to be asked for one.
    fn forwarder(&self, now: Instant) -> Result<Forwarder<Maglev>, Failure> {
        let mut pool = Pool::new(Maglev::default());
        for backend in &self.backends {
            pool = pool.backend(Backend::new(&backend.to_string(), (*backend).into()));
        }
        let address = format!(
            "{}/{}",
            self.address.ip(),
            if self.address.is_ipv4() { 32 } else { 128 }
        );
        let matches = Match::endpoint(self.protocol, address.parse()?, self.address.port());
        let key = HashKey::from_seed(0);
        let service = VirtualService::new("service", matches, pool)
            .method(self.method)
            .keys(KeyExtractor::new(KeyParts::Flow, key));
        let link = Interface::ip(InterfaceId(0))
            .prefix("192.0.2.1".parse()?, "0.0.0.0/0".parse()?)
            .prefix("2001:db8::1".parse()?, "::/0".parse()?);
        let local =
            LocalPortsConfig::default().addresses(["192.0.2.1".parse()?, "2001:db8::1".parse()?]);
        let config = ForwarderConfig::default()
            .interface(link)
            .local_ports(local);
        Ok(Forwarder::new(now, config, key, vec![service])?)
    }

    /// Appends the packet that `line` describes: `SOURCE > DESTINATION` and flags of TCP.
    fn emit(&self, line: &str, into: &mut Vec<u8>) -> Result<(), Failure> {
        let (source, rest) = line
            .split_once('>')
            .ok_or_else(|| format!("{line:?}: SOURCE > DESTINATION [FLAGS]"))?;
        let mut words = rest.split_whitespace();
        let destination = end(words.next().ok_or("no destination")?)?;
        let source = end(source.trim())?;
        if self.protocol == ServiceProtocol::Udp {
            Datagram::new(source, destination, b"question").emit(into);
            return Ok(());
        }
        let bits = words.try_fold(0, |bits, word| match word {
            "syn" => Ok(bits | flags::SYN),
            "ack" => Ok(bits | flags::ACK),
            "fin" => Ok(bits | flags::FIN),
            "rst" => Ok(bits | flags::RST),
            other => Err(format!("{other}: syn, ack, fin or rst")),
        })?;
        TcpSegment::new(source, destination, bits).emit(into);
        Ok(())
    }
}

/// An address and a port.
fn end(text: &str) -> Result<SocketAddr, String> {
    let expected = "an address and a port, such as 203.0.113.10:80 or [2001:db8::10]:80";
    text.parse()
        .map_err(|_| format!("{text:?} is not {expected}"))
}

/// What becomes of a packet, in words.
fn told(packet: &Packet<'_>) -> String {
    match packet.verdict() {
        Verdict::Drop(reason) => format!("is dropped: {}", reason.as_str()),
        Verdict::Forward(_) => format!("goes on as {}", shown(packet.bytes())),
        Verdict::Held => "is kept for now".into(),
        Verdict::Pass => "is left to the host: it belongs to no service".into(),
        Verdict::Reply => format!("is answered by {}", shown(packet.bytes())),
        _ => "meets an unknown end".into(),
    }
}

/// A packet, in a line.
fn shown(bytes: &[u8]) -> String {
    match parse(bytes, Link::Ip) {
        Ok(Frame::Ip(it)) => {
            let (from, to) = (it.source_end(), it.destination_end());
            format!(
                "{from} > {to}, protocol {}, TTL {}, {} bytes",
                it.protocol, it.ttl, it.end
            )
        }
        Ok(_) => "a frame that is not IP".into(),
        Err(error) => error.to_string(),
    }
}

const USAGE: &str = "\
what_if [--service tcp|udp/ADDRESS:PORT] [--method nat|fullnat|tunnel] [--backend ADDRESS:PORT]...
        [\"SOURCE > DESTINATION [syn] [ack] [fin] [rst]\"]...";

/// Room for an outer header.
const HEADROOM: usize = 128;
