//! What is said of packets that are forwarded, and a table of what is said when it is wrong.

use lb_l4::method::fullnat::ClientAddress;
use lb_l4::method::tunnel::Encapsulation;
use lb_l4::syn_proxy::{SynProxyConfig, SynProxyMode};

use super::*;

/// A file whose packets are forwarded; cases replace one of its lines, counted from 1.
const BASE: &str = r#"[packet]
transport = "af-packet"
interface = "eth0"
local_addresses = ["10.9.0.100", "fd09::100"]
gateway = ["10.9.0.1", "fd09::1"]
[[pool]]
name = "web"
scheduler = "round-robin"
backends = [{ name = "a", address = "10.9.0.11:80" }]
[[listener]]
name = "front"
protocol = "tcp"
listen = "203.0.113.10:80"
pool = "web"
forwarding = "nat"
"#;

/// The base with `text` in place of its line number `line`.
fn with(line: usize, text: &str) -> String {
    let lines = BASE.lines().enumerate();
    lines
        .map(|(n, old)| if n + 1 == line { text } else { old })
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// What is told, when `text` stands in place of line `line`, is `expected` and nothing else.
#[track_caller]
fn check(cases: &[(usize, &str, &str)]) {
    for (line, text, expected) in cases {
        let told = parse(&with(*line, text)).map(|parsed| parsed.config);
        let told: Vec<_> = told
            .expect_err(text)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(told.join("\n"), *expected, "line {line}: {text}");
    }
}

#[track_caller]
fn good(text: &str) -> Config {
    let parsed = parse(text).unwrap_or_else(|notes| panic!("{text}: {notes:?}"));
    assert_eq!(parsed.warnings, [], "{text}");
    parsed.config
}

#[track_caller]
fn forwarding(text: &str) -> Forwarding {
    good(&with(15, text)).listeners[0]
        .forwarding
        .expect("it is forwarded")
}

#[test]
fn what_is_not_said_has_its_default() {
    let config = good(BASE);
    let packet = config.packet.as_ref().expect("a section");
    assert_eq!(packet.transport, Transport::AfPacket);
    assert_eq!((packet.workers, packet.sessions), (1, [1 << 20, 1 << 18]));
    assert_eq!(
        (packet.busy_poll, packet.promiscuous, packet.mtu),
        (false, false, 1500)
    );
    assert_eq!((&packet.hash_key, &packet.syn_cookie_key), (&None, &None));
    assert_eq!(packet.local(true), "10.9.0.100".parse().ok());
    assert_eq!(packet.local(false), "fd09::100".parse().ok());
    let forwarding = config.listeners[0].forwarding.expect("it is forwarded");
    assert_eq!((forwarding.method, forwarding.prefix), (Method::Nat, 32));
    assert!(forwarding.syn_proxy.is_off());
    assert_eq!(config.forwarded().count(), 1);
}

#[test]
fn one_gateway_needs_no_list() {
    let config = good(&with(5, "gateway = \"10.9.0.1\""));
    let packet = config.packet.expect("a section");
    assert_eq!(
        packet.gateways,
        ["10.9.0.1".parse::<std::net::IpAddr>().expect("one")]
    );
}

#[test]
fn every_method_is_known_by_its_name() {
    let fullnat = |told| Method::FullNat(told);
    for (text, expected) in [
        ("forwarding = \"nat\"", Method::Nat),
        ("forwarding = \"direct-routing\"", Method::DirectRouting),
        ("forwarding = \"fullnat\"", fullnat(ClientAddress::None)),
        (
            "forwarding = \"fullnat\"\nclient_address = \"toa\"",
            fullnat(ClientAddress::Toa),
        ),
        (
            "forwarding = \"fullnat\"\nclient_address = \"proxy-v2\"",
            fullnat(ClientAddress::ProxyProtocol),
        ),
        (
            "forwarding = \"tunnel\"",
            Method::Tunnel(Encapsulation::Ipip),
        ),
        (
            "forwarding = \"tunnel\"\ntunnel = { kind = \"gre\" }",
            Method::Tunnel(Encapsulation::Gre),
        ),
        (
            "forwarding = \"tunnel\"\ntunnel = { kind = \"gue\" }",
            Method::Tunnel(Encapsulation::GUE),
        ),
        (
            "forwarding = \"tunnel\"\ntunnel = { kind = \"gue\", port = 7 }",
            Method::Tunnel(Encapsulation::Gue { port: 7 }),
        ),
    ] {
        let method = forwarding(text).method;
        assert_eq!(method, expected);
        assert!(text.contains(&format!("\"{}\"", method.name())), "{text}");
        assert_eq!(method.has_answers(), text.contains("nat\""), "{text}");
    }
}

#[test]
fn a_syn_proxy_is_a_word_or_a_table() {
    let always = SynProxyConfig::default().mode(SynProxyMode::Always);
    let above = |syns_per_second| always.mode(SynProxyMode::Above { syns_per_second });
    for (text, expected) in [
        ("\"off\"", SynProxyConfig::default()),
        ("\"always\"", always),
        ("{ above = 10000 }", above(10_000)),
        (
            "{ above = 0, mss = 1400, window_scale = 9, sack = false, timestamps = false, ecn = true, \
             window = 536 }",
            above(0)
                .mss(1400)
                .window_scale(9)
                .sack(false)
                .timestamps(false)
                .ecn(true)
                .window(536),
        ),
    ] {
        let text = format!("forwarding = \"nat\"\nsyn_proxy = {text}");
        assert_eq!(forwarding(&text).syn_proxy, expected, "{text}");
    }
}

#[test]
fn addresses_may_be_many_and_ports_all() {
    let text = with(13, "listen = \"203.0.113.16:0\"\nprefix = 28");
    let config = good(&text);
    let listener = &config.listeners[0];
    let listen = listener.listen.socket().expect("an address");
    let forwarding = listener.forwarding.expect("it is forwarded");
    assert_eq!(forwarding.addresses(listen), "203.0.113.16/28".parse().ok());
    // Of packets the port may be the client's; nobody could connect to it.
    let text = with(
        9,
        "backends = [{ name = \"a\", address = \"10.9.0.11:0\" }]",
    );
    let config = good(&text);
    assert_eq!(
        config.pools[0].backends[0]
            .address
            .socket()
            .map(|end| end.port()),
        Some(0)
    );
    let more = "\n[[listener]]\nname = \"sockets\"\nprotocol = \"tcp\"\nlisten = \"127.0.0.1:80\"\n\
                pool = \"web\"\n";
    let told = parse(&(text + more))
        .map(|parsed| parsed.config)
        .expect_err("port 0");
    assert!(told[0].to_string().contains("has port 0"), "{told:?}");
}

#[test]
fn a_port_that_no_packet_is_given_is_odd() {
    let told = |method: &str, port: u16| -> Vec<String> {
        let text = with(15, &format!("forwarding = \"{method}\""))
            .replace("10.9.0.11:80", &format!("10.9.0.11:{port}"));
        let warnings = parse(&text).expect("good").warnings;
        warnings.iter().map(ToString::to_string).collect()
    };
    for method in ["direct-routing", "tunnel"] {
        let expected = format!(
            "14: listener.front.pool: web has the backend a at 10.9.0.11:8080: {method} leaves the \
             port 80, and probes alone go to 8080"
        );
        assert_eq!(told(method, 8080), [expected]);
        assert_eq!((told(method, 80), told(method, 0)), (vec![], vec![]));
    }
    for method in ["nat", "fullnat"] {
        assert_eq!(told(method, 8080), [""; 0], "{method} rewrites the port");
    }
}

#[test]
fn what_nobody_forwards_by_is_odd() {
    let parsed = parse(&with(15, "")).expect("good");
    let told: Vec<_> = parsed.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["1: packet: no listener says how packets are forwarded"]
    );
    let text = with(12, "protocol = \"udp\"").replace(
        "forwarding = \"nat\"",
        "forwarding = \"fullnat\"\nclient_address = \"toa\"",
    );
    let told: Vec<_> = parse(&text)
        .expect("good")
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        told,
        [
            "16: listener.front.client_address: toa is an option of tcp: of udp backends are told nothing"
        ]
    );
}

#[test]
fn mistakes_of_the_section_are_told() {
    check(&[
        (
            2,
            "",
            "1: packet.transport: missing, expected one of af-packet, af-xdp, tun",
        ),
        (
            2,
            "transport = \"dpdk\"",
            "2: packet.transport: unknown transport \"dpdk\", expected one of af-packet, af-xdp, tun",
        ),
        (
            3,
            "",
            "1: packet.interface: missing, expected the name of an interface, of at most 15 letters",
        ),
        (
            3,
            "interface = \"eth0/1\"",
            "3: packet.interface: expected the name of an interface, of at most 15 letters, found \"eth0/1\"",
        ),
        (
            4,
            "local_addresses = [\"10.9.0.100\", \"10.9.0.100\"]",
            "4: packet.local_addresses: 10.9.0.100 is named twice",
        ),
        (
            4,
            "local_addresses = [\"127.0.0.1\", \"10.9.0.100\"]",
            "4: packet.local_addresses[0]: 127.0.0.1 is the address of no station on a link",
        ),
        (
            5,
            "gateway = [\"10.9.0.1\", \"10.9.0.2\"]",
            "5: packet.gateway: two of one family, expected at most one of each",
        ),
        (
            5,
            "gateway = \"10.9.0.100\"",
            "5: packet.gateway: 10.9.0.100 is one of local_addresses",
        ),
        (
            5,
            "gateway = 1",
            "5: packet.gateway: expected an address, or a list of one of each family, found 1",
        ),
        (5, "mtu = 1400", "5: packet.mtu: only for transport tun"),
        (
            5,
            "busy_poll = true",
            "5: packet.busy_poll: only for transport af-xdp",
        ),
        (
            5,
            "workers = 0",
            "5: packet.workers: expected a whole number in 1..=1024, found 0",
        ),
        (
            5,
            "workers = 2",
            "15: listener.front.forwarding: with more than one worker the answers of a backend may \
             reach another worker than their session: set workers = 1 in [packet], or take fullnat",
        ),
        (
            5,
            "syn_cookie_key = \"00\"",
            "5: packet.syn_cookie_key: expected 16 bytes, found 1",
        ),
        (
            4,
            "local_addresses = [\"fd09::100\"]",
            "15: listener.front.forwarding: [packet] local_addresses has none of IPv4, which backends \
             would send their answers through",
        ),
    ]);
}

#[test]
fn mistakes_of_listeners_are_told() {
    let sockets = "only with forwarding, which sockets do not do";
    check(&[
        (
            15,
            "forwarding = \"fulnat\"",
            "15: listener.front.forwarding: unknown way of forwarding \"fulnat\", expected one of nat, \
             fullnat, direct-routing, tunnel; did you mean \"fullnat\"?",
        ),
        (
            15,
            "stray = \"drop\"",
            &format!("15: listener.front.stray: {sockets}"),
        ),
        (
            15,
            "syn_proxy = \"off\"",
            &format!("15: listener.front.syn_proxy: {sockets}"),
        ),
        (
            15,
            "forwarding = \"nat\"\ntunnel = { kind = \"gre\" }",
            "16: listener.front.tunnel: only with forwarding = \"tunnel\"",
        ),
        (
            15,
            "forwarding = \"tunnel\"\ntunnel = { kind = \"gre\", port = 7 }",
            "16: listener.front.tunnel.port: only of kind gue, which is over UDP",
        ),
        (
            15,
            "forwarding = \"nat\"\nclient_address = \"toa\"",
            "16: listener.front.client_address: only with forwarding = \"fullnat\": by others backends \
             see the client's own",
        ),
        (
            15,
            "forwarding = \"direct-routing\"\nsyn_proxy = \"always\"",
            "16: listener.front.syn_proxy: only with forwarding nat or fullnat: it translates what \
             backends answer, which does not pass here",
        ),
        (
            15,
            "forwarding = \"tunnel\"\nsyn_proxy = { above = 5 }",
            "16: listener.front.syn_proxy: only with forwarding nat or fullnat: it translates what \
             backends answer, which does not pass here",
        ),
        (
            15,
            "forwarding = \"nat\"\nsyn_proxy = {}",
            "16: listener.front.syn_proxy.above: missing, expected SYNs a second, 0 for always",
        ),
        (
            15,
            "forwarding = \"nat\"\nsyn_proxy = 5",
            "16: listener.front.syn_proxy: expected \"off\", \"always\", or a table that says above \
             which rate, found 5",
        ),
        (
            15,
            "forwarding = \"nat\"\nconnect_timeout = \"1s\"",
            "16: listener.front.connect_timeout: only without forwarding: clb connects to no backend",
        ),
        (
            13,
            "listen = \"10.9.0.100:80\"",
            "13: listener.front.listen: 10.9.0.100 is one of [packet] local_addresses",
        ),
        (
            13,
            "listen = \"0.0.0.0:80\"",
            "13: listener.front.listen: packets for every address are forwarded only with prefix = 0",
        ),
        (
            13,
            "listen = \"203.0.113.10:80\"\nprefix = 33",
            "14: listener.front.prefix: an address of IPv4 has 32 bits",
        ),
        (
            13,
            "listen = \"unix:/run/a\"",
            "13: listener.front.listen: packets have no paths, expected IP:PORT",
        ),
        (
            9,
            "backends = [{ name = \"a\", address = \"[fd09::11]:80\" }]",
            "14: listener.front.pool: web has the backend a at [fd09::11]:80, which is IPv6: nat leaves \
             packets IPv4, as they came in",
        ),
        (
            9,
            "backends = [{ name = \"a\", address = \"unix:/run/a\" }]",
            "14: listener.front.pool: web has the backend a at unix:/run/a, which no packet reaches",
        ),
        (
            9,
            "backends = [{ name = \"a\", address = \"10.9.0.11:0\" }]\nhealth = { kind = \"tcp\" }",
            "10: pool.web.health: a has no port of its own to be probed at",
        ),
    ]);
}

#[test]
fn what_a_transport_cannot_do_is_told() {
    let tun = BASE
        .replace("af-packet", "tun")
        .replace("gateway = [\"10.9.0.1\", \"fd09::1\"]\n", "");
    let told = |text: &str| {
        let told = parse(text).map(|parsed| parsed.config).expect_err(text);
        let told: Vec<_> = told.iter().map(ToString::to_string).collect();
        told.join("\n")
    };
    assert_eq!(
        told(&tun.replace("\"nat\"", "\"direct-routing\"")),
        "14: listener.front.forwarding: direct routing rewrites link addresses, which tun does not \
         have: take transport af-packet or af-xdp, or forwarding tunnel"
    );
    let alone = tun.replace("local_addresses = [\"10.9.0.100\", \"fd09::100\"]\n", "");
    assert!(
        good(&alone)
            .packet
            .is_some_and(|it| it.local_addresses.is_empty())
    );
    assert_eq!(
        told(&alone.replace("\"nat\"", "\"fullnat\"")),
        "13: listener.front.forwarding: [packet] local_addresses has none of IPv4, which backends \
         would see in place of the client"
    );
    assert_eq!(
        told(&alone.replace("\"nat\"", "\"tunnel\"")),
        "12: listener.front.pool: web has the backend a at 10.9.0.11:80, which is IPv4: [packet] \
         local_addresses has none, which the tunnel would come from"
    );
    assert_eq!(
        told(&alone.replace("tun\"", "af-xdp\"")),
        "1: packet.local_addresses: missing, expected addresses that the host does not have: answers \
         of neighbours come to them\n13: listener.front.forwarding: [packet] local_addresses has none \
         of IPv4, which backends would send their answers through"
    );
}

#[test]
fn packets_are_forwarded_unread_and_by_a_section() {
    let told = |text: &str| {
        let told = parse(text).map(|parsed| parsed.config).expect_err(text);
        told.iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let (_, rest) = BASE.split_once("[[pool]]").expect("a pool");
    assert_eq!(
        told(&format!("[[pool]]{rest}")),
        "10: listener.front.forwarding: there is no [packet], which would say by which interface"
    );
    for protocol in ["http", "tls"] {
        let said = told(&with(12, &format!("protocol = \"{protocol}\"")));
        let text = "15: listener.front.forwarding: only for protocol tcp or udp: packets are forwarded \
                    unread";
        assert_eq!(said, text, "{protocol}");
    }
    let second = "\n[[listener]]\nname = \"again\"\nprotocol = \"tcp\"\nlisten = \"203.0.113.10:80\"\n\
                  pool = \"web\"\nforwarding = \"nat\"\n";
    assert_eq!(
        told(&format!("{BASE}{second}")),
        "20: listener.again.listen: 203.0.113.10:80 is taken by front"
    );
}

#[test]
fn addresses_that_cannot_be_on_a_link_are_refused() {
    for local in [
        "255.255.255.255",
        "0.1.2.3",
        "240.0.0.1",
        "::ffff:10.9.0.100",
        "::1",
    ] {
        let line = format!("local_addresses = [\"10.9.0.100\", \"{local}\"]");
        let expected =
            format!("4: packet.local_addresses[1]: {local} is the address of no station on a link");
        check(&[(4, &line, &expected)]);
    }
    for listen in ["224.0.0.1", "127.0.0.1", "255.255.255.255"] {
        let line = format!("listen = \"{listen}:80\"");
        let expected =
            format!("13: listener.front.listen: {listen} is the address of no station on a link");
        check(&[(13, &line, &expected)]);
    }
    for (backend, reason) in [
        ("127.0.0.1", "which no packet reaches"),
        ("224.0.0.1", "which no packet reaches"),
        (
            "10.9.0.100",
            "which is the forwarder's own: packets would come back",
        ),
        (
            "203.0.113.10",
            "which is the forwarder's own: packets would come back",
        ),
    ] {
        let line = format!("backends = [{{ name = \"a\", address = \"{backend}:80\" }}]");
        let expected =
            format!("14: listener.front.pool: web has the backend a at {backend}:80, {reason}");
        check(&[(9, &line, &expected)]);
    }
    check(&[(
        5,
        "gateway = \"203.0.113.10\"",
        "13: listener.front.listen: 203.0.113.10 is [packet] gateway: packets would come back",
    )]);
}

#[test]
fn there_are_as_many_local_addresses_as_the_library_takes() {
    let line = |count| {
        let all: Vec<_> = (1..=count).map(|it| format!("\"10.9.1.{it}\"")).collect();
        format!("local_addresses = [\"fd09::100\", {}]", all.join(", "))
    };
    good(&with(4, &line(64)));
    let expected = "4: packet.local_addresses: 65 of one family, expected at most 64";
    check(&[(4, &line(65), expected)]);
}
