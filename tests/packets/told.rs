//! FULLNAT, whose servers see an address of the forwarder's: how they learn the client's own.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

use harness::wait::PATIENCE;
use lb_l4::toa;
use lbcore::address_list::AddressRules;
use lbcore::flow::{FlowKey, Protocol};
use lbcore::proxy_protocol::{Header, Parse, Proxied, parse};

use crate::checks::Family;
use crate::rig::{ECHO, Extra, Rig, WEB};
use crate::setting::{Method, OWN, Setting, Transport};

/// One server, whose web server has made room for another.
fn rig(tcp: &'static str, udp: &'static str) -> Option<Rig> {
    let extra = Extra {
        listener: tcp,
        udp_listener: udp,
        servers: &[0],
        ..Extra::default()
    };
    let setting = Setting::new(Method::FullNat, Transport::AfPacket);
    let mut rig = Rig::with(setting, &extra)?;
    rig.set_web(0, false);
    Some(rig)
}

/// What a server at the web port makes of one connection, and what the client does.
fn meet<S: Send, C: Send>(
    rig: &Rig,
    family: Family,
    server: impl FnOnce(TcpStream) -> S + Send,
    client: impl FnOnce(TcpStream) -> C + Send,
) -> (S, C) {
    let any = match family {
        Family::V4 => format!("0.0.0.0:{WEB}"),
        Family::V6 => format!("[::]:{WEB}"),
    };
    let listener = rig.lan.servers[0].enter(|| TcpListener::bind(any));
    let listener = listener.expect("the port is free");
    toa::keep_syn(&listener).expect("the kernel keeps it");
    let patient = |stream: TcpStream| {
        stream.set_read_timeout(Some(PATIENCE)).expect("a span");
        stream
    };
    thread::scope(|scope| {
        let served = scope.spawn(|| {
            let (stream, _) = listener.accept().expect("somebody comes");
            server(patient(stream))
        });
        let asked = rig.lan.client.enter(|| {
            let stream = TcpStream::connect_timeout(&family.vip(WEB), PATIENCE);
            client(patient(stream.expect("it is served")))
        });
        (served.join().expect("it serves"), asked)
    })
}

#[test]
fn a_server_reads_the_clients_address_from_an_option_of_its_socket() {
    for tcp in [
        "client_address = \"toa\"",
        "client_address = \"toa\"\nsyn_proxy = \"always\"",
    ] {
        let Some(rig) = rig(tcp, "") else {
            return;
        };
        let own = OWN.map(|it| it.parse::<std::net::IpAddr>().expect("an address").into());
        let nodes = AddressRules::new(own, []);
        for family in Family::BOTH {
            let server = |mut stream: TcpStream| {
                // The option is in the SYN, and what comes later is none of its business.
                stream.read_exact(&mut [0; 5]).expect("it is sent");
                let peer = stream.peer_addr().expect("it is connected");
                let client = toa::client_of(&stream, &nodes).expect("the kernel tells");
                (client, peer.ip())
            };
            let client = |mut stream: TcpStream| {
                stream.write_all(b"hello").expect("it is served");
                // Until the server has gone.
                let _ = stream.read(&mut [0]);
                stream.local_addr().expect("it is connected")
            };
            let ((told, peer), client) = meet(&rig, family, server, client);
            assert_eq!(told, Some(client), "{tcp}");
            assert!(OWN.contains(&peer.to_string().as_str()), "{peer}");
        }
    }
}

#[test]
fn a_header_stands_before_the_first_byte_and_no_byte_is_lost_after_it() {
    for tcp in [
        "client_address = \"proxy-v2\"",
        "client_address = \"proxy-v2\"\nsyn_proxy = \"always\"",
    ] {
        let Some(rig) = rig(tcp, "") else {
            return;
        };
        let sent: Vec<u8> = (0..300_000_u32).flat_map(u32::to_be_bytes).collect();
        for family in Family::BOTH {
            let server = |mut stream: TcpStream| {
                let mut got = Vec::new();
                stream.read_to_end(&mut got).expect("it is sent");
                let (header, rest) = header(&got);
                stream.write_all(&rest).expect("the client reads");
                header
            };
            let client = |mut stream: TcpStream| {
                stream.write_all(&sent).expect("the server reads");
                stream.shutdown(Shutdown::Write).expect("it is open");
                let mut got = Vec::new();
                stream.read_to_end(&mut got).expect("it is sent back");
                assert!(got == sent, "{} bytes differ", got.len());
                stream.local_addr().expect("it is connected")
            };
            let (told, client) = meet(&rig, family, server, client);
            assert_eq!(
                told,
                FlowKey::new(Protocol::Tcp, client, family.vip(WEB)),
                "{tcp}"
            );
        }
    }
}

#[test]
fn a_header_stands_in_the_first_datagram_and_in_no_other() {
    let Some(rig) = rig("", "client_address = \"proxy-v2\"") else {
        return;
    };
    for family in Family::BOTH {
        rig.lan.client.enter(|| {
            let any: SocketAddr = match family {
                Family::V4 => ([0_u8; 4], 0).into(),
                Family::V6 => ([0_u16; 8], 0).into(),
            };
            let socket = UdpSocket::bind(any).expect("a socket");
            socket.connect(family.vip(ECHO)).expect("a route");
            socket.set_read_timeout(Some(PATIENCE)).expect("a span");
            let client = socket.local_addr().expect("it is connected");
            let mut got = [0; 2_000];
            let mut come_back = |sent: &[u8]| {
                socket.send(sent).expect("it is sent");
                let len = socket.recv(&mut got).expect("it comes back");
                got[..len].to_vec()
            };
            let (told, rest) = header(&come_back(b"first"));
            assert_eq!(told, FlowKey::new(Protocol::Udp, client, family.vip(ECHO)));
            assert_eq!(rest, b"first");
            assert_eq!(come_back(b"second"), b"second");
        });
    }
}

/// The header that these bytes begin with, and what follows it.
fn header(bytes: &[u8]) -> (FlowKey, Vec<u8>) {
    let parsed = parse(bytes).expect("a header comes first");
    let Parse::Complete {
        header: Header {
            proxied: Proxied::Flow(flow),
            ..
        },
        consumed,
        ..
    } = parsed
    else {
        panic!("{parsed:?}");
    };
    (flow, bytes[consumed..].to_vec())
}
