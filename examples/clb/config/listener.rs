//! `[[listener]]`: where clients come in, and how their sessions are treated.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use lb_l4::method::fullnat::ClientAddress;
use lbcore::backend::Address;
use toml::de::DeValue;

use super::backend::{ADDRESS_FORM, unix_path};
use super::forwarding::{self, Forwarding, Method};
use super::http::{self, Http};
use super::packet::Packet;
use super::pool::{Known, Used};
use super::section::{Section, one_of, shown};
use super::sockets::Sockets;
use super::{DAY, Hash, MILLISECOND, Prefix, hash, pool_name, prefix, tls};

/// Where clients come in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listener {
    /// Its name in logs, metrics and status.
    pub(crate) name: String,
    /// What it speaks.
    pub(crate) protocol: Protocol,
    /// Where it listens; port 0 takes a free one.
    pub(crate) listen: Address,
    /// Which pool takes its sessions.
    pub(crate) target: Target,
    /// How long a session may be silent. Default 900 s, of UDP 120 s.
    pub(crate) idle_timeout: Duration,
    /// How long all tries to reach a backend may take together. Default 5 s.
    pub(crate) connect_timeout: Duration,
    /// How long sessions may go on when the listener goes. Default: as the file says, else 30 s.
    pub(crate) drain_timeout: Duration,
    /// The same client to the same backend. Default none.
    pub(crate) persistence: Option<Persistence>,
    /// What its sessions are placed by. Default: their client's address.
    pub(crate) hash: Hash,
    /// What clients may use.
    pub(crate) limits: Limits,
    /// Who may come in. Default: all.
    pub(crate) allow: Vec<Prefix>,
    /// Who may not; the longest prefix of both lists decides.
    pub(crate) deny: Vec<Prefix>,
    /// The client's address, as proxies tell it to each other.
    pub(crate) proxy_protocol: ProxyProtocol,
    /// Whether each datagram is a session of its own, over with its answer (UDP). Default false.
    pub(crate) one_packet: bool,
    /// How its packets are forwarded. Default none: sockets have its sessions.
    pub(crate) forwarding: Option<Forwarding>,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Protocol {
    /// Any stream.
    Tcp,
    /// TLS, passed through unopened to the pool of the server that the client names.
    Tls,
    /// Datagrams.
    Udp,
    /// Requests, in the clear.
    Http,
    /// Requests, over TLS that ends here.
    Https,
}

/// Which pool takes a session.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Target {
    /// Always the same.
    Pool(String),
    /// By the server's name in the TLS ClientHello.
    ServerName {
        /// Lower case, each with its pool; `*.example.com` stands for every name below.
        names: Vec<(String, String)>,
        /// For every other name, and for none. Default none: refused.
        otherwise: Option<String>,
    },
    /// By what each request asks for.
    Http(Box<Http>),
}

impl Protocol {
    /// Whether it has requests.
    pub(crate) const fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }

    /// As in the file.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Udp => "udp",
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl Target {
    /// Every pool that it may name, each once.
    pub(crate) fn pools(&self) -> BTreeSet<&str> {
        match self {
            Self::Pool(pool) => BTreeSet::from([pool.as_str()]),
            Self::ServerName { names, otherwise } => {
                let named = names.iter().map(|(_, pool)| pool.as_str());
                named.chain(otherwise.as_deref()).collect()
            }
            Self::Http(http) => http.pools(),
        }
    }
}

/// The same client to the same backend, by its address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Persistence {
    /// How long after its last session a client is remembered. Default 300 s.
    pub(crate) timeout: Duration,
    /// How much of an IPv4 address tells clients apart, 0..=32. Default 32.
    pub(crate) prefix_v4: u8,
    /// How much of an IPv6 address tells clients apart, 0..=128. Default 128.
    pub(crate) prefix_v6: u8,
}

/// What the clients of a listener may use. 0 is no limit.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Limits {
    /// From clients, all together.
    pub(crate) bytes_per_second_in: u64,
    /// To clients, all together.
    pub(crate) bytes_per_second_out: u64,
    /// New sessions.
    pub(crate) connections_per_second: u64,
    /// Sessions at once.
    pub(crate) connections: u32,
}

/// The PROXY protocol of a listener.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ProxyProtocol {
    /// Whether each connection must open with a header. Default false.
    pub(crate) accept: bool,
    /// What backends are sent. Default none.
    pub(crate) send: SendProxy,
}

/// Which header backends are sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SendProxy {
    /// None.
    None,
    /// The line of text.
    V1,
    /// The binary form.
    V2,
}

/// What the rest of the file means to a listener.
pub(super) struct Around<'a, 't> {
    /// The pools that there are.
    pub(super) pools: &'a Known<'t>,
    /// The drain of the file.
    pub(super) drain: Duration,
    /// Whether there is a section for packets, good or not.
    pub(super) has_packet: bool,
    /// The section for packets, if it is good.
    pub(super) packet: Option<&'a Packet>,
}

/// One listener; `used` gathers the pools that it refers to.
pub(super) fn read(
    section: &mut Section<'_>,
    sockets: &mut Sockets,
    around: &Around<'_, '_>,
    used: &mut Used,
) -> Option<Listener> {
    let name = section.name();
    let protocol = protocol(section);
    let listen = listen(section, protocol);
    let target = target(section, protocol, around.pools, used);
    let udp = protocol == Some(Protocol::Udp);
    let idle = if udp { IDLE_UDP } else { IDLE_STREAM };
    let idle_timeout = section.span("idle_timeout", MILLISECOND..=DAY);
    let connect_timeout = section.span("connect_timeout", MILLISECOND..=DAY);
    let drain_timeout = section.span("drain_timeout", Duration::ZERO..=DAY);
    let persistence = section.table("persistence", persistence).flatten();
    let is_http = protocol.is_some_and(Protocol::is_http);
    let hash = match is_http {
        // Read with what else is about requests.
        true => Hash::default(),
        false => section.table("hash", hash::read).unwrap_or_default(),
    };
    let limits = section.table("limits", limits).unwrap_or_default();
    let allow = section.texts("allow", prefix::PREFIX_FORM, prefix::parse);
    let deny = section.texts("deny", prefix::PREFIX_FORM, prefix::parse);
    let proxy_protocol = section.table("proxy_protocol", proxy_protocol);
    let one_packet = section.flag("one_packet");
    section.knows(&http::KEYS);
    section.knows(&tls::KEYS);
    match protocol {
        Some(Protocol::Udp) => only_for(
            section,
            &["connect_timeout", "proxy_protocol"],
            "tcp or tls",
        ),
        Some(Protocol::Tcp | Protocol::Tls) => only_for(section, &["one_packet"], "udp"),
        Some(Protocol::Http | Protocol::Https) => not_for_http(section, proxy_protocol),
        None => {}
    }
    if protocol.is_some() && !is_http {
        only_for(section, &http::KEYS, "http or https");
        only_for(section, &tls::KEYS, "https");
    }
    let forwarding = forwarding(section, around, protocol, listen.as_ref());
    used.is_forwarding |= section.has("forwarding");
    if let (Some(address), Some(name)) = (&listen, name) {
        match &forwarding {
            Some(forwarding) => sockets.claim_packets(section, udp, (address, forwarding), name),
            None => sockets.claim(section, udp, address, name),
        }
    }
    Some(Listener {
        name: name?.into(),
        protocol: protocol?,
        listen: listen?,
        target: target?,
        idle_timeout: idle_timeout.unwrap_or(idle),
        connect_timeout: connect_timeout.unwrap_or(CONNECT),
        drain_timeout: drain_timeout.unwrap_or(around.drain),
        persistence,
        hash,
        limits,
        allow: allow.unwrap_or_default(),
        deny: deny.unwrap_or_default(),
        proxy_protocol: proxy_protocol.unwrap_or(NO_PROXY_PROTOCOL),
        one_packet: one_packet.unwrap_or(false),
        forwarding,
    })
}

/// How its packets are forwarded, if they are, and what keeps them from it.
fn forwarding(
    section: &mut Section<'_>,
    around: &Around<'_, '_>,
    protocol: Option<Protocol>,
    listen: Option<&Address>,
) -> Option<Forwarding> {
    let mut forwarding = forwarding::read(section, around.packet)?;
    if !around.has_packet {
        let text = "there is no [packet], which would say by which interface";
        section.wrong("forwarding", text);
    }
    match protocol {
        Some(Protocol::Tcp | Protocol::Udp) | None => {}
        Some(_) => {
            let text = "only for protocol tcp or udp: packets are forwarded unread";
            section.wrong("forwarding", text);
        }
    }
    if matches!(forwarding.method, Method::FullNat(ClientAddress::Toa))
        && protocol == Some(Protocol::Udp)
    {
        section.odd(
            "client_address",
            "toa is an option of tcp: of udp backends are told nothing",
        );
    }
    if !forwarding.syn_proxy.is_off() && protocol == Some(Protocol::Udp) {
        section.wrong("syn_proxy", "only for protocol tcp");
    }
    for key in ["connect_timeout", "proxy_protocol"]
        .into_iter()
        .filter(|key| section.has(key))
    {
        section.wrong(key, "only without forwarding: clb connects to no backend");
    }
    match listen.map(Address::socket) {
        Some(Some(listen)) => {
            forwarding::check_listen(section, &mut forwarding, listen, around.packet);
            backends(section, around, &forwarding, listen);
        }
        Some(None) => section.wrong("listen", "packets have no paths, expected IP:PORT"),
        None => {}
    }
    Some(forwarding)
}

/// Says which backends of its pool no packet reaches.
fn backends(
    section: &Section<'_>,
    around: &Around<'_, '_>,
    forwarding: &Forwarding,
    listen: SocketAddr,
) {
    let Some(pool) = section.peek("pool") else {
        return;
    };
    for (name, address) in around.pools.backends(pool) {
        let reached = match address.socket() {
            Some(end) => forwarding::check_backend(forwarding, listen, end, around.packet),
            None => Err("which no packet reaches".into()),
        };
        if let Err(reason) = reached {
            let text = format!("{pool} has the backend {name} at {address}, {reason}");
            section.wrong("pool", text);
        } else if let Some(end) = address.socket()
            && let Some(port) = forwarding::other_port(forwarding, listen, end)
        {
            let method = forwarding.method.name();
            let text = format!(
                "{pool} has the backend {name} at {address}: {method} leaves the port {port}, and \
                 probes alone go to {}",
                end.port()
            );
            section.odd("pool", text);
        }
    }
}

fn protocol(section: &mut Section<'_>) -> Option<Protocol> {
    section.require("protocol", &one_of(PROTOCOLS.map(|(name, _)| name)));
    section.choice("protocol", "protocol", &PROTOCOLS)
}

fn listen(section: &mut Section<'_>, protocol: Option<Protocol>) -> Option<Address> {
    section.require("listen", ADDRESS_FORM);
    section.text_as("listen", ADDRESS_FORM, |text| {
        let address: Address = text
            .parse()
            .map_err(|_| format!("{text:?} is not an address, expected {ADDRESS_FORM}"))?;
        match &address {
            Address::Socket(_) => Ok(address),
            Address::Unix(_) if protocol == Some(Protocol::Udp) => {
                Err("udp has no Unix sockets, expected IP:PORT or [IPv6]:PORT".into())
            }
            Address::Unix(path) => unix_path(path.to_str().unwrap_or_default()).map(|()| address),
            _ => Err(format!(
                "{text:?} lies within a process, expected {ADDRESS_FORM}"
            )),
        }
    })
}

fn target(
    section: &mut Section<'_>,
    protocol: Option<Protocol>,
    pools: &Known<'_>,
    used: &mut Used,
) -> Option<Target> {
    let pool = section.text_as("pool", "the name of a pool", |text| {
        pool_name(text, &pools.names)
    });
    let names = names(section, &pools.names);
    used.all.extend(pool.iter().cloned());
    used.all.extend(names.iter().map(|(_, pool)| pool.clone()));
    match section.has("forwarding") {
        true => used.by_packets.extend(pool.iter().cloned()),
        false => {
            let all = names.iter().map(|(_, pool)| pool).chain(&pool);
            used.by_sockets.extend(all.cloned());
        }
    }
    match protocol {
        Some(Protocol::Tls) if !section.has("names") && !section.has("pool") => {
            section.wrong(
                "pool",
                "missing, expected the name of a pool, or a table of names",
            );
        }
        Some(Protocol::Tls) => {
            // Without names too, what is no TLS is refused here and not by the backends.
            let otherwise = pool;
            return Some(Target::ServerName { names, otherwise });
        }
        Some(Protocol::Http | Protocol::Https) => {
            only_for(section, &["names"], "tls");
            if !section.has("pool") && !section.has("rule") {
                section.wrong("pool", "missing, expected the name of a pool, or rules");
            }
            let tls = match protocol {
                Some(Protocol::Https) => Some(tls::read(section, &mut used.elsewhere)?),
                _ => {
                    section.knows(&tls::KEYS);
                    only_for(section, &tls::KEYS, "https");
                    None
                }
            };
            let http = http::read(section, pool, pools, tls);
            used.by_http
                .extend(http.pools().into_iter().map(Into::into));
            return Some(Target::Http(Box::new(http)));
        }
        _ => {
            section.require("pool", "the name of a pool");
            only_for(section, &["names"], "tls");
            let is_udp = protocol == Some(Protocol::Udp);
            let wrong = pool.as_deref().filter(|_| is_udp);
            if let Some(reason) = wrong.and_then(|pool| pools.no_datagrams(pool)) {
                section.wrong("pool", reason);
            }
        }
    }
    pool.map(Target::Pool)
}

/// Server names with their pools.
fn names(section: &mut Section<'_>, pools: &[&str]) -> Vec<(String, String)> {
    let mut names: Vec<(String, String)> = Vec::new();
    for (name, value) in section.pairs("names") {
        let at = value.span().start;
        let path = section.path_of(&format!("names.{name:?}"));
        let pool = match value.get_ref() {
            DeValue::String(text) => pool_name(text, pools),
            other => Err(format!(
                "expected the name of a pool, found {}",
                shown(other)
            )),
        };
        let known = name.to_ascii_lowercase();
        if !is_server_name(&known) {
            section.notes().mistake(at, &path, SERVER_NAME_FORM);
        } else if names.iter().any(|(other, _)| *other == known) {
            section
                .notes()
                .mistake(at, &path, "named twice: server names have no case");
        }
        match pool {
            Ok(pool) => names.push((known, pool)),
            Err(reason) => section.notes().mistake(at, &path, reason),
        }
    }
    names
}

/// A server's name, which may be a wildcard.
pub(super) fn server_name(text: &str) -> Result<&str, String> {
    let is_name = is_server_name(&text.to_ascii_lowercase());
    is_name
        .then_some(text)
        .ok_or_else(|| SERVER_NAME_FORM.into())
}

/// Labels of letters, digits and `-` (RFC 1123, 2.1), the first of which may be `*` alone.
fn is_server_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253
        && name
            .strip_prefix("*.")
            .unwrap_or(name)
            .split('.')
            .all(is_label)
}

fn persistence(section: &mut Section<'_>) -> Option<Persistence> {
    section.require("kind", &one_of(KINDS.map(|(name, _)| name)));
    let by_source = section.choice("kind", "kind of persistence", &KINDS);
    let timeout = section.span("timeout", MILLISECOND..=DAY);
    let prefix_v4 = section.integer("prefix_v4", 0..=32);
    let prefix_v6 = section.integer("prefix_v6", 0..=128);
    by_source?.then_some(Persistence {
        timeout: timeout.unwrap_or(PERSISTENCE),
        prefix_v4: prefix_v4.unwrap_or(32),
        prefix_v6: prefix_v6.unwrap_or(128),
    })
}

fn limits(section: &mut Section<'_>) -> Limits {
    let connections = section.integer("connections", 0..=u32::MAX);
    let mut most = |key| section.integer(key, 0..=u64::MAX >> 1).unwrap_or(0);
    Limits {
        bytes_per_second_in: most("bytes_per_second_in"),
        bytes_per_second_out: most("bytes_per_second_out"),
        connections_per_second: most("connections_per_second"),
        connections: connections.unwrap_or(0),
    }
}

fn proxy_protocol(section: &mut Section<'_>) -> ProxyProtocol {
    let accept = section.flag("accept");
    let send = section.choice("send", "version", &SENDS);
    ProxyProtocol {
        accept: accept.unwrap_or(false),
        send: send.unwrap_or(SendProxy::None),
    }
}

/// Tells of keys that sessions have and requests do not.
fn not_for_http(section: &Section<'_>, proxy_protocol: Option<ProxyProtocol>) {
    let keys = ["idle_timeout", "connect_timeout"];
    for key in keys.into_iter().filter(|key| section.has(key)) {
        section.wrong(key, "only for protocol tcp, udp or tls; http has timeouts");
    }
    if section.has("persistence") {
        let text = "only for protocol tcp, udp or tls; http has sticky";
        section.wrong("persistence", text);
    }
    only_for(section, &["one_packet"], "udp");
    if proxy_protocol.is_some_and(|proxy| proxy.send != SendProxy::None) {
        let text = "send is only for protocol tcp or tls; http has send_proxy of the pool";
        section.wrong("proxy_protocol", text);
    }
}

fn only_for(section: &Section<'_>, keys: &[&str], protocols: &str) {
    for key in keys.iter().filter(|key| section.has(key)) {
        section.wrong(key, format!("only for protocol {protocols}"));
    }
}

const PROTOCOLS: [(&str, Protocol); 5] = [
    ("tcp", Protocol::Tcp),
    ("udp", Protocol::Udp),
    ("tls", Protocol::Tls),
    ("http", Protocol::Http),
    ("https", Protocol::Https),
];

/// Whether the source address is what persists.
const KINDS: [(&str, bool); 2] = [("source", true), ("none", false)];

const SENDS: [(&str, SendProxy); 3] = [
    ("none", SendProxy::None),
    ("v1", SendProxy::V1),
    ("v2", SendProxy::V2),
];

const NO_PROXY_PROTOCOL: ProxyProtocol = ProxyProtocol {
    accept: false,
    send: SendProxy::None,
};

const SERVER_NAME_FORM: &str =
    "expected the name of a host, such as \"www.example.com\" or \"*.example.com\"";

/// IPVS's timeout of an established TCP session (`tcp_timeout_established`).
const IDLE_STREAM: Duration = Duration::from_secs(900);
/// As `lb_l4::stream::udp::UdpConfig`: what RFC 4787, 4.3 asks of NATs at least.
const IDLE_UDP: Duration = Duration::from_secs(120);
/// Envoy's `connect_timeout`.
const CONNECT: Duration = Duration::from_secs(5);
/// IPVS's default persistence.
const PERSISTENCE: Duration = Duration::from_secs(300);
