//! Packets in a line of text, read and written.
//!
//! ```text
//! tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=7 ack=0 win=1000 len=0 ttl=64 tos=0 sum=ok mac=07
//! udp [2001:db8::1]:5353 > [2001:db8::53]:53 len=12
//! sctp 192.0.2.1:5000 > 203.0.113.10:80 len=16
//! ```
//!
//! The flags are `S`, `A`, `F`, `R`, `P`, as many as there are, or `-`. Fields have the defaults
//! above, but for `mac`, the last byte of the destination on the link; `sum=bad` is a transport
//! checksum that is wrong by one, `mss=` and `ws=` are options of a SYN.
//! `toa=` is the option that tells of a client, and `proxy=client,service` a header before the
//! payload, which counts in `len`; neither is there if the line does not say it.

use std::fmt;
use std::net::SocketAddr;

use lb_l4::packet::{Checksum, Link};
use lb_l4::wire::emit::{Datagram, IpHeader, TcpSegment};
use lb_l4::wire::tcp::{self, flags};
use lb_l4::wire::{Body, Frame, Headers, parse};
use lbcore::flow::{FlowKey, Protocol};
use lbcore::proxy_protocol::{self, Header, Parse, Proxied, Version};

/// One packet, as a line tells it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Line {
    pub(crate) protocol: String,
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) flags: u8,
    pub(crate) seq: Option<u32>,
    pub(crate) ack: Option<u32>,
    pub(crate) win: Option<u16>,
    pub(crate) len: Option<usize>,
    pub(crate) ttl: Option<u8>,
    pub(crate) tos: Option<u8>,
    pub(crate) bad: Option<bool>,
    pub(crate) mac: Option<u8>,
    pub(crate) mss: Option<u16>,
    pub(crate) ws: Option<u8>,
    pub(crate) toa: Option<SocketAddr>,
    pub(crate) proxy: Option<[SocketAddr; 2]>,
}

const FLAGS: [(char, u8); 5] = [
    ('S', flags::SYN),
    ('A', flags::ACK),
    ('F', flags::FIN),
    ('R', flags::RST),
    ('P', flags::PSH),
];

impl Line {
    /// Reads a line; panics at one that is wrong.
    pub(crate) fn read(text: &str) -> Self {
        let mut words = text.split_whitespace();
        let mut next = || {
            words
                .next()
                .unwrap_or_else(|| panic!("too short: `{text}`"))
        };
        let protocol = next().to_owned();
        let end = |text: &str| text.parse().unwrap_or_else(|_| panic!("no end: `{text}`"));
        let source = end(next());
        assert_eq!(next(), ">", "in `{text}`");
        let destination = end(next());
        let mut line = Self {
            flags: 0,
            source,
            destination,
            seq: None,
            ack: None,
            win: None,
            len: None,
            ttl: None,
            tos: None,
            bad: None,
            mac: None,
            mss: None,
            ws: None,
            toa: None,
            proxy: None,
            protocol,
        };
        for word in words {
            let number = |text: &str| text.parse::<u32>().unwrap_or_else(|_| panic!("`{text}`"));
            match word.split_once('=') {
                None => line.flags = read_flags(word),
                Some(("seq", it)) => line.seq = Some(number(it)),
                Some(("ack", it)) => line.ack = Some(number(it)),
                Some(("win", it)) => line.win = Some(number(it).try_into().unwrap()),
                Some(("len", it)) => line.len = Some(number(it) as usize),
                Some(("ttl", it)) => line.ttl = Some(number(it).try_into().unwrap()),
                Some(("tos", it)) => line.tos = Some(number(it).try_into().unwrap()),
                Some(("mss", it)) => line.mss = Some(number(it).try_into().unwrap()),
                Some(("ws", it)) => line.ws = Some(number(it).try_into().unwrap()),
                Some(("toa", it)) => line.toa = Some(end(it)),
                Some(("proxy", it)) => {
                    let (client, service) = it.split_once(',').expect("two ends");
                    line.proxy = Some([end(client), end(service)]);
                }
                Some(("sum", it)) => line.bad = Some(it == "bad"),
                Some(("mac", it)) => line.mac = Some(u8::from_str_radix(it, 16).unwrap()),
                Some((other, _)) => panic!("no field `{other}` in `{text}`"),
            }
        }
        line
    }

    /// The bytes of the packet, from the IP header on.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut payload = Vec::new();
        if let Some([client, service]) = self.proxy {
            let protocol = if self.protocol == "tcp" {
                Protocol::Tcp
            } else {
                Protocol::Udp
            };
            let flow = Proxied::Flow(FlowKey::new(protocol, client, service));
            let header = Header::new(flow).emit(Version::V2, &mut payload);
            header.expect("version 2 says every flow");
        }
        let behind = self.len.unwrap_or(payload.len()) - payload.len();
        payload.extend((0..behind).map(|i| i.to_le_bytes()[0]));
        let (ttl, tos) = (self.ttl.unwrap_or(64), self.tos.unwrap_or(0));
        match &*self.protocol {
            "tcp" => {
                let mut options = Vec::new();
                if let Some(mss) = self.mss {
                    options.extend([2, 4]);
                    options.extend(mss.to_be_bytes());
                }
                if let Some(shift) = self.ws {
                    options.extend([3, 3, shift]);
                }
                if let Some(client) = self.toa {
                    options.extend(lb_l4::toa::Emitted::of(client).bytes());
                }
                TcpSegment::new(self.source, self.destination, self.flags)
                    .sequence(self.seq.unwrap_or(0))
                    .acknowledgement(self.ack.unwrap_or(0))
                    .window(self.win.unwrap_or(1000))
                    .options(&options)
                    .payload(&payload)
                    .ttl(ttl)
                    .traffic_class(tos)
                    .emit(&mut bytes);
            }
            "udp" => Datagram::new(self.source, self.destination, &payload)
                .ttl(ttl)
                .traffic_class(tos)
                .emit(&mut bytes),
            "sctp" => {
                // Its checksum is not looked at, nor are its chunks.
                let [from, to] = [self.source, self.destination].map(|it| it.port().to_be_bytes());
                let packet = [&from[..], &to, &[1; 8], &payload].concat();
                IpHeader {
                    source: self.source.ip(),
                    destination: self.destination.ip(),
                    protocol: 132,
                    ttl,
                    traffic_class: tos,
                    payload_len: packet.len(),
                }
                .emit(&mut bytes);
                bytes.extend(packet);
            }
            other => panic!("no protocol `{other}`"),
        }
        if self.bad == Some(true) {
            let field = headers(&bytes, Link::Ip).l4_checksum_field().unwrap();
            bytes[field + 1] ^= 1;
        }
        bytes
    }

    /// What the packet in these bytes is.
    pub(crate) fn of(bytes: &[u8], link: Link, checksum: Checksum) -> Self {
        let headers = headers(bytes, link);
        let right =
            headers.checksum_is_right(bytes, checksum) && headers.header_checksum_is_right(bytes);
        let mut line = Self {
            protocol: "udp".into(),
            source: headers.source_end(),
            destination: headers.destination_end(),
            flags: 0,
            seq: None,
            ack: None,
            win: None,
            len: Some(headers.payload().len()),
            ttl: Some(headers.ttl),
            tos: Some(headers.traffic_class),
            bad: Some(!right),
            mac: (link == Link::Ethernet).then(|| bytes[5]),
            mss: None,
            ws: None,
            toa: None,
            proxy: None,
        };
        if let Body::Sctp { .. } = headers.body {
            line.protocol = "sctp".into();
        }
        let payload = &bytes[headers.payload()];
        if let Ok(Parse::Complete { header, .. }) = proxy_protocol::parse(payload)
            && let Proxied::Flow(flow) = header.proxied
        {
            line.proxy = Some([flow.source, flow.destination]);
        }
        if let Body::Tcp(header) = headers.body {
            line.protocol = "tcp".into();
            line.flags = header.flags;
            line.seq = Some(header.sequence);
            line.ack = Some(header.acknowledgement);
            line.win = Some(header.window);
            let from = headers.transport + tcp::HEADER;
            for option in tcp::options(&bytes[from..headers.transport + header.len]) {
                match option {
                    tcp::TcpOption::Mss(mss) => line.mss = Some(mss),
                    tcp::TcpOption::WindowScale(shift) => line.ws = Some(shift),
                    tcp::TcpOption::Toa(client) => line.toa = Some(client),
                    _ => {}
                }
            }
        }
        line
    }

    /// This line, with what it does not say taken from the packet that came in: a hop less to live,
    /// and everything else as it was.
    pub(crate) fn after(&self, sent: &Self) -> Self {
        let is_tcp = self.protocol == "tcp";
        let (number, window) = (is_tcp.then_some(0), is_tcp.then_some(1000));
        Self {
            seq: self.seq.or(sent.seq).or(number),
            ack: self.ack.or(sent.ack).or(number),
            win: self.win.or(sent.win).or(window),
            len: self.len.or(sent.len).or(Some(0)),
            ttl: self.ttl.or_else(|| Some(sent.ttl.unwrap_or(64) - 1)),
            tos: self.tos.or(sent.tos).or(Some(0)),
            bad: self.bad.or(sent.bad).or(Some(false)),
            mss: self.mss.or(sent.mss),
            ws: self.ws.or(sent.ws),
            ..self.clone()
        }
    }

    /// This line of a packet of the forwarder's own, with defaults for what it does not say.
    pub(crate) fn own(&self) -> Self {
        let is_tcp = self.protocol == "tcp";
        let (number, window) = (is_tcp.then_some(0), is_tcp.then_some(0));
        Self {
            seq: self.seq.or(number),
            ack: self.ack.or(number),
            win: self.win.or(window),
            len: self.len.or(Some(0)),
            ttl: self.ttl.or(Some(64)),
            tos: self.tos.or(Some(0)),
            bad: self.bad.or(Some(false)),
            ..self.clone()
        }
    }
}

fn headers(bytes: &[u8], link: Link) -> Headers {
    match parse(bytes, link) {
        Ok(Frame::Ip(headers)) => headers,
        other => panic!("not IP: {other:?}"),
    }
}

fn read_flags(text: &str) -> u8 {
    let flag = |letter| match FLAGS.iter().find(|(it, _)| *it == letter) {
        Some((_, flag)) => *flag,
        None if letter == '-' => 0,
        None => panic!("no flag `{letter}`"),
    };
    text.chars().map(flag).fold(0, |all, flag| all | flag)
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} > {}",
            self.protocol, self.source, self.destination
        )?;
        if self.protocol == "tcp" {
            let set = FLAGS.iter().filter(|(_, flag)| self.flags & flag != 0);
            let letters: String = set.map(|(letter, _)| letter).collect();
            write!(f, " {}", if letters.is_empty() { "-" } else { &letters })?;
        }
        let fields = [
            ("seq", self.seq.map(u64::from)),
            ("ack", self.ack.map(u64::from)),
            ("win", self.win.map(u64::from)),
            ("len", self.len.map(|it| it as u64)),
            ("ttl", self.ttl.map(u64::from)),
            ("tos", self.tos.map(u64::from)),
            ("mss", self.mss.map(u64::from)),
            ("ws", self.ws.map(u64::from)),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                write!(f, " {name}={value}")?;
            }
        }
        if let Some(client) = self.toa {
            write!(f, " toa={client}")?;
        }
        if let Some([client, service]) = self.proxy {
            write!(f, " proxy={client},{service}")?;
        }
        if self.bad == Some(true) {
            write!(f, " sum=bad")?;
        }
        match self.mac {
            Some(mac) => write!(f, " mac={mac:02x}"),
            None => Ok(()),
        }
    }
}
