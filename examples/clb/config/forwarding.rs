//! The keys of a listener whose packets are forwarded: no socket has its sessions.

use std::net::{IpAddr, SocketAddr};

use lb_l4::forwarder::{OnExpiry, Orphans, Straying};
use lb_l4::method::fullnat::ClientAddress;
use lb_l4::method::tunnel::Encapsulation;
use lb_l4::syn_proxy::SynProxyConfig;
use lbcore::address_list::Prefix;

use super::packet::{Packet, Transport, is_station};
use super::section::{Section, one_of};
use super::syn_proxy;

/// How the packets of a listener reach its backends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Forwarding {
    /// By which addresses.
    pub(crate) method: Method,
    /// How much of the address must fit. Default all of it.
    pub(crate) prefix: u8,
    /// What becomes of a segment of TCP that no session is known of. Default: dropped.
    pub(crate) stray: Straying,
    /// What becomes of sessions whose backend is down. Default: they go on.
    pub(crate) when_down: Orphans,
    /// What becomes of sessions whose backend was taken out of the file. Default: they go on.
    pub(crate) when_removed: Orphans,
    /// What an idle session's ends are told when it is forgotten. Default nothing.
    pub(crate) on_expiry: OnExpiry,
    /// When handshakes are answered in the place of backends. Default never.
    pub(crate) syn_proxy: SynProxyConfig,
}

/// By which addresses a packet reaches its backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Method {
    /// The client's and the service's, on the same link.
    DirectRouting,
    /// One of ours and the backend's.
    FullNat(ClientAddress),
    /// The client's and the backend's.
    Nat,
    /// The client's and the service's, in another packet.
    Tunnel(Encapsulation),
}

impl Method {
    /// As in the file.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::DirectRouting => "direct-routing",
            Self::FullNat(_) => "fullnat",
            Self::Nat => "nat",
            Self::Tunnel(_) => "tunnel",
        }
    }

    /// Whether answers of backends pass the forwarder.
    pub(crate) const fn has_answers(self) -> bool {
        matches!(self, Self::FullNat(_) | Self::Nat)
    }
}

impl Forwarding {
    /// The addresses that it is for, of which `listen` is the first.
    pub(crate) fn addresses(&self, listen: SocketAddr) -> Option<Prefix> {
        Prefix::new(listen.ip(), self.prefix).ok()
    }
}

/// What the listener says of it; `packet` is the section, if it can be used.
pub(super) fn read(section: &mut Section<'_>, packet: Option<&Packet>) -> Option<Forwarding> {
    let method = section.choice("forwarding", "way of forwarding", &METHODS);
    let kind = section.table("tunnel", tunnel).flatten();
    let told = section.choice("client_address", "way to tell it", &CLIENT_ADDRESSES);
    let prefix = section.integer("prefix", 0..=128);
    let stray = section.choice("stray", "fate", &STRAYS);
    let when_down = section.choice("when_down", "fate", &ORPHANS);
    let when_removed = section.choice("when_removed", "fate", &ORPHANS);
    let on_expiry = section.choice("on_expiry", "end", &EXPIRIES);
    let syn_proxy = syn_proxy::read(section);
    if !section.has("forwarding") {
        for key in KEYS.iter().filter(|key| section.has(key)) {
            section.wrong(key, "only with forwarding, which sockets do not do");
        }
        return None;
    }
    let method = match (method?, kind, told) {
        (Method::Tunnel(_), Some(kind), _) => Method::Tunnel(kind),
        (Method::FullNat(_), _, Some(told)) => Method::FullNat(told),
        (method, ..) => method,
    };
    let forwarding = Forwarding {
        method,
        prefix: prefix.unwrap_or(128),
        stray: stray.unwrap_or_default(),
        when_down: when_down.unwrap_or_default(),
        when_removed: when_removed.unwrap_or_default(),
        on_expiry: on_expiry.unwrap_or_default(),
        syn_proxy: syn_proxy.unwrap_or_default(),
    };
    check_keys(section, &forwarding);
    if let Some(packet) = packet {
        check_packet(section, method, packet);
    }
    Some(forwarding)
}

/// Keys that the method does not take.
fn check_keys(section: &Section<'_>, forwarding: &Forwarding) {
    let method = forwarding.method;
    if section.has("tunnel") && !matches!(method, Method::Tunnel(_)) {
        section.wrong("tunnel", "only with forwarding = \"tunnel\"");
    }
    if section.has("client_address") && !matches!(method, Method::FullNat(_)) {
        let text = "only with forwarding = \"fullnat\": by others backends see the client's own";
        section.wrong("client_address", text);
    }
    if !forwarding.syn_proxy.is_off() && !method.has_answers() {
        let text = "only with forwarding nat or fullnat: it translates what backends answer, which \
                    does not pass here";
        section.wrong("syn_proxy", text);
    }
    if matches!(method, Method::FullNat(_)) && section.peek_flag("one_packet") == Some(true) {
        let text = "not with forwarding = \"fullnat\", which remembers whose local port it is";
        section.wrong("one_packet", text);
    }
}

fn check_packet(section: &Section<'_>, method: Method, packet: &Packet) {
    if method == Method::DirectRouting && packet.transport == Transport::Tun {
        let text = "direct routing rewrites link addresses, which tun does not have: take transport \
                    af-packet or af-xdp, or forwarding tunnel";
        section.wrong("forwarding", text);
    }
    if packet.workers > 1 && method == Method::Nat {
        let text = "with more than one worker the answers of a backend may reach another worker \
                    than their session: set workers = 1 in [packet], or take fullnat";
        section.wrong("forwarding", text);
    }
}

/// Whether the address fits the method and the section; says what does not.
pub(super) fn check_listen(
    section: &Section<'_>,
    forwarding: &mut Forwarding,
    listen: SocketAddr,
    packet: Option<&Packet>,
) {
    let is_v4 = listen.is_ipv4();
    let (family, width) = if is_v4 { ("IPv4", 32) } else { ("IPv6", 128) };
    if listen.ip().is_unspecified() && !section.has("prefix") {
        let text = "packets for every address are forwarded only with prefix = 0";
        section.wrong("listen", text);
    }
    if !listen.ip().is_unspecified() && !is_station(listen.ip()) {
        let text = format!("{} is the address of no station on a link", listen.ip());
        section.wrong("listen", text);
    }
    if section.has("prefix") && forwarding.prefix > width {
        section.wrong("prefix", format!("an address of {family} has {width} bits"));
    }
    forwarding.prefix = forwarding.prefix.min(width);
    if let Err(error) = Prefix::new(listen.ip(), forwarding.prefix) {
        section.wrong("listen", error.to_string());
    }
    let Some(packet) = packet else {
        return;
    };
    if packet.local_addresses.contains(&listen.ip()) {
        let text = format!("{} is one of [packet] local_addresses", listen.ip());
        section.wrong("listen", text);
    }
    if packet.gateways.contains(&listen.ip()) {
        let text = format!(
            "{} is [packet] gateway: packets would come back",
            listen.ip()
        );
        section.wrong("listen", text);
    }
    let what_for = match forwarding.method {
        Method::FullNat(_) => "which backends would see in place of the client",
        // The host routes answers to a device, without an address of ours.
        Method::Nat if packet.transport != Transport::Tun => {
            "which backends would send their answers through"
        }
        _ => return,
    };
    if packet.local(is_v4).is_none() {
        let text = format!("[packet] local_addresses has none of {family}, {what_for}");
        section.wrong("forwarding", text);
    }
}

/// Whether packets for `listen` can reach a backend at `address`; why not, if they cannot.
pub(super) fn check_backend(
    forwarding: &Forwarding,
    listen: SocketAddr,
    address: SocketAddr,
    packet: Option<&Packet>,
) -> Result<(), String> {
    if !is_station(address.ip()) {
        return Err("which no packet reaches".into());
    }
    let ours = packet.is_some_and(|packet| packet.local_addresses.contains(&address.ip()));
    if ours || address.ip() == listen.ip() {
        return Err("which is the forwarder's own: packets would come back".into());
    }
    let family = |address: SocketAddr| if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let Method::Tunnel(_) = forwarding.method else {
        let method = forwarding.method.name();
        let is_like = listen.is_ipv4() == address.is_ipv4();
        return is_like.then_some(()).ok_or_else(|| {
            let (ours, theirs) = (family(listen), family(address));
            format!("which is {theirs}: {method} leaves packets {ours}, as they came in")
        });
    };
    let source: Option<IpAddr> = packet.and_then(|packet| packet.local(address.is_ipv4()));
    if packet.is_some() && source.is_none() {
        let family = family(address);
        return Err(format!(
            "which is {family}: [packet] local_addresses has none, which the tunnel would come from"
        ));
    }
    Ok(())
}

/// The port that packets keep on their way to a backend, if it is at another one.
pub(super) fn other_port(
    forwarding: &Forwarding,
    listen: SocketAddr,
    address: SocketAddr,
) -> Option<u16> {
    let (asked, port) = (listen.port(), address.port());
    let is_other = !forwarding.method.has_answers() && asked != 0 && port != 0 && asked != port;
    is_other.then_some(asked)
}

fn tunnel(section: &mut Section<'_>) -> Option<Encapsulation> {
    section.require("kind", &one_of(KINDS.map(|(name, _)| name)));
    let kind = section.choice("kind", "kind of tunnel", &KINDS)?;
    let port = section.integer("port", 1..=u16::MAX);
    match (kind, port) {
        (Encapsulation::Gue { .. }, Some(port)) => Some(Encapsulation::Gue { port }),
        (Encapsulation::Gue { .. }, None) => Some(kind),
        (_, _) => {
            if section.has("port") {
                section.wrong("port", "only of kind gue, which is over UDP");
            }
            Some(kind)
        }
    }
}

/// The keys that mean nothing to sockets.
const KEYS: [&str; 8] = [
    "client_address",
    "on_expiry",
    "prefix",
    "stray",
    "syn_proxy",
    "tunnel",
    "when_down",
    "when_removed",
];

const METHODS: [(&str, Method); 4] = [
    ("nat", Method::Nat),
    ("fullnat", Method::FullNat(ClientAddress::None)),
    ("direct-routing", Method::DirectRouting),
    ("tunnel", Method::Tunnel(Encapsulation::Ipip)),
];

const CLIENT_ADDRESSES: [(&str, ClientAddress); 3] = [
    ("none", ClientAddress::None),
    ("toa", ClientAddress::Toa),
    ("proxy-v2", ClientAddress::ProxyProtocol),
];

const KINDS: [(&str, Encapsulation); 3] = [
    ("ipip", Encapsulation::Ipip),
    ("gre", Encapsulation::Gre),
    ("gue", Encapsulation::GUE),
];

const STRAYS: [(&str, Straying); 4] = [
    ("drop", Straying::Drop),
    ("pass", Straying::Pass),
    ("place", Straying::Place),
    ("reset", Straying::Reset),
];

const ORPHANS: [(&str, Orphans); 4] = [
    ("continue", Orphans::Continue),
    ("drop", Orphans::Drop),
    ("replace", Orphans::Replace),
    ("reset", Orphans::Reset),
];

const EXPIRIES: [(&str, OnExpiry); 2] = [("forget", OnExpiry::Forget), ("reset", OnExpiry::Reset)];
