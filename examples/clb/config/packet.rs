//! `[packet]`: the interface that packets of forwarding listeners come in by and go out of.

use std::net::IpAddr;

use lbcore::hash::HashKey;
use toml::de::DeValue;

use super::hash::{SEED_FORM, seed};
use super::section::{Section, one_of};

/// Where packets come from and go to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Packet {
    /// How packets are got.
    pub(crate) transport: Transport,
    /// The interface; of [`Transport::Tun`] the device that is made.
    pub(crate) interface: String,
    /// The forwarder's own: none of them is one of the host's.
    pub(crate) local_addresses: Vec<IpAddr>,
    /// Who takes what is not on the link: at most one of each family.
    pub(crate) gateways: Vec<IpAddr>,
    /// Threads, each with a queue of the interface. Default 1.
    pub(crate) workers: u16,
    /// Sessions between IPv4 addresses and between IPv6 addresses that each worker holds at most.
    pub(crate) sessions: [u32; 2],
    /// What tables are hashed by; nodes that take over each other's flows share it. Default random.
    pub(crate) hash_key: Option<HashKey>,
    /// What SYN cookies are made with; nodes that take each other's handshakes share it. Default
    /// random.
    pub(crate) syn_cookie_key: Option<HashKey>,
    /// Whether each worker runs the driver instead of its interrupts. Default false.
    pub(crate) busy_poll: bool,
    /// Bytes of the largest packet, of the device that is made. Default 1500.
    pub(crate) mtu: u16,
    /// Whether the interface takes packets for other stations too. Default false.
    pub(crate) promiscuous: bool,
}

/// How packets are got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Transport {
    /// Packet sockets, beside the host's own stack.
    AfPacket,
    /// XDP sockets, before it.
    AfXdp,
    /// A TUN device, behind it.
    Tun,
}

impl Transport {
    /// As in the file.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AfPacket => "af-packet",
            Self::AfXdp => "af-xdp",
            Self::Tun => "tun",
        }
    }
}

impl Packet {
    /// The first local address of this family.
    pub(crate) fn local(&self, is_v4: bool) -> Option<IpAddr> {
        let mut all = self.local_addresses.iter();
        all.find(|it| it.is_ipv4() == is_v4).copied()
    }
}

/// What the section says.
pub(super) fn read(section: &mut Section<'_>) -> Option<Packet> {
    let names = TRANSPORTS.map(|(name, _)| name);
    section.require("transport", &one_of(names));
    let transport = section.choice("transport", "transport", &TRANSPORTS);
    section.require("interface", INTERFACE_FORM);
    let interface = section.value("interface", INTERFACE_FORM, |value| {
        value.as_str().filter(|name| is_interface(name))
    });
    let local_addresses = section.texts("local_addresses", "an address", address);
    let gateways = gateways(section);
    let workers = section.integer("workers", 1..=super::WORKERS_MOST);
    let v4 = section.integer("sessions_v4", 0..=SESSIONS_MOST);
    let v6 = section.integer("sessions_v6", 0..=SESSIONS_MOST);
    let hash_key = section.text_as("hash_key", SEED_FORM, seed);
    let syn_cookie_key = section.text_as("syn_cookie_key", SEED_FORM, seed);
    let busy_poll = section.flag("busy_poll");
    let mtu = section.integer("mtu", 1280..=u16::MAX);
    let promiscuous = section.flag("promiscuous");
    only_of(section, transport, "mtu", &[Transport::Tun]);
    only_of(section, transport, "busy_poll", &[Transport::AfXdp]);
    only_of(section, transport, "promiscuous", &[Transport::AfPacket]);
    only_of(
        section,
        transport,
        "gateway",
        &[Transport::AfPacket, Transport::AfXdp],
    );
    let packet = Packet {
        transport: transport?,
        interface: interface?.into(),
        local_addresses: local_addresses.unwrap_or_default(),
        gateways,
        workers: workers.unwrap_or(1),
        sessions: [v4.unwrap_or(SESSIONS_V4), v6.unwrap_or(SESSIONS_V6)],
        hash_key: hash_key.map(HashKey::new),
        syn_cookie_key: syn_cookie_key.map(HashKey::new),
        busy_poll: busy_poll.unwrap_or(false),
        mtu: mtu.unwrap_or(1500),
        promiscuous: promiscuous.unwrap_or(false),
    };
    check(section, &packet);
    Some(packet)
}

fn check(section: &Section<'_>, packet: &Packet) {
    let local = &packet.local_addresses;
    for (place, address) in local.iter().enumerate() {
        if local[..place].contains(address) {
            section.wrong("local_addresses", format!("{address} is named twice"));
        }
    }
    for is_v4 in [true, false] {
        let all = local.iter().filter(|it| it.is_ipv4() == is_v4).count();
        if all > LOCALS_MOST {
            let text = format!("{all} of one family, expected at most {LOCALS_MOST}");
            section.wrong("local_addresses", text);
        }
    }
    if packet.transport == Transport::AfXdp && local.is_empty() && !section.has("local_addresses") {
        let text = "missing, expected addresses that the host does not have: answers of neighbours \
                    come to them";
        section.wrong("local_addresses", text);
    }
    for gateway in packet.gateways.iter().filter(|it| local.contains(it)) {
        section.wrong("gateway", format!("{gateway} is one of local_addresses"));
    }
}

/// One address, or a list of at most one of each family.
fn gateways(section: &mut Section<'_>) -> Vec<IpAddr> {
    let expected = "an address, or a list of one of each family";
    let is_list = section.value("gateway", expected, |value| match value {
        DeValue::String(_) => Some(false),
        DeValue::Array(_) => Some(true),
        _ => None,
    });
    let found: Vec<IpAddr> = match is_list {
        None => Vec::new(),
        Some(true) => section
            .texts("gateway", "an address", address)
            .unwrap_or_default(),
        Some(false) => {
            let one = section.text_as("gateway", expected, address);
            one.into_iter().collect()
        }
    };
    if [true, false]
        .iter()
        .any(|v4| found.iter().filter(|it| it.is_ipv4() == *v4).count() > 1)
    {
        section.wrong("gateway", "two of one family, expected at most one of each");
    }
    found
}

fn address(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text
        .parse()
        .map_err(|_| format!("{text:?} is not an address, such as 10.9.0.100 or fd09::100"))?;
    if !is_station(address) {
        return Err(format!("{text} is the address of no station on a link"));
    }
    Ok(address)
}

/// Whether one station on a link can have this address, and packets of its family bear it.
pub(super) fn is_station(address: IpAddr) -> bool {
    match address {
        // RFC 1122, 3.2.1.3, and RFC 1112, 4, for what begins with 240.
        IpAddr::V4(address) => matches!(address.octets(), [1..=126 | 128..=223, ..]),
        IpAddr::V6(address) => {
            let none = address.is_unspecified() || address.is_loopback() || address.is_multicast();
            !none && address.to_ipv4_mapped().is_none()
        }
    }
}

fn only_of(section: &Section<'_>, it: Option<Transport>, key: &str, takers: &[Transport]) {
    if let Some(it) = it
        && section.has(key)
        && !takers.contains(&it)
    {
        let takers: Vec<_> = takers.iter().map(|taker| taker.name()).collect();
        section.wrong(key, format!("only for transport {}", takers.join(" or ")));
    }
}

/// As the kernel takes it: `dev_valid_name`.
fn is_interface(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 15
        && !matches!(name, "." | "..")
        && name
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b'%'))
}

const TRANSPORTS: [(&str, Transport); 3] = [
    ("af-packet", Transport::AfPacket),
    ("af-xdp", Transport::AfXdp),
    ("tun", Transport::Tun),
];

const INTERFACE_FORM: &str = "the name of an interface, of at most 15 letters";
/// As many as the library takes of a family.
const LOCALS_MOST: usize = 64;
/// As many as the library's table has slots for.
const SESSIONS_MOST: u32 = 1 << 30;
/// The library's defaults.
const SESSIONS_V4: u32 = 1 << 20;
const SESSIONS_V6: u32 = 1 << 18;
