//! QUIC: datagrams to the backend that their connection id names.

use std::sync::Arc;

use lb_l4::forwarder::ServiceProtocol::Udp;
use lb_l4::forwarder::{Orphans, Scheduling};
use lb_l4::method::ForwardingMethod::{self, DirectRouting, Nat};
use lb_l4::packet::{Checksum, InterfaceId, Link, Packet, Verdict};
use lb_l4::quic::{ConfigRotation, Format, QuicLb, QuicLbConfig};
use lb_l4::wire::emit::Datagram;
use lbcore::{Backend, Delta};

use crate::harness::*;
use crate::line::Line;

/// Ids of 8 octets: rotation 1, a server id of 3, a nonce of 4. `a` is 1 and `b` is 2; 3 is nobody.
fn quic() -> Arc<QuicLb> {
    let rotation = ConfigRotation::new(1).unwrap();
    let config = QuicLbConfig::default()
        .format(rotation, Format::new(3, 4).unwrap())
        .server(rotation, "000001".parse().unwrap(), id("a"))
        .server(rotation, "000002".parse().unwrap(), id("b"));
    Arc::new(QuicLb::new(config).unwrap())
}

fn with(method: ForwardingMethod, scheduling: Scheduling) -> World {
    world(|pool| {
        let service = service("quic", Udp, "203.0.113.10/32", 443, &pool);
        vec![service.method(method).scheduling(scheduling).quic(quic())]
    })
}

fn nat() -> World {
    with(Nat, Scheduling::Session)
}

/// What a datagram carries: headers of QUIC and what is encrypted.
enum Quic {
    /// A long header of version 1 with this id.
    Long(&'static [u8]),
    /// A short header with this id.
    Short(&'static [u8]),
}
use Quic::{Long, Short};

const A: &[u8] = &[0x27, 0, 0, 1, 9, 9, 9, 9];
const B: &[u8] = &[0x27, 0, 0, 2, 9, 9, 9, 9];
const NOBODY: &[u8] = &[0x27, 0, 0, 3, 9, 9, 9, 9];
const OTHER_ROTATION: &[u8] = &[0x47, 0, 0, 2, 9, 9, 9, 9];
const UNROUTABLE: &[u8] = &[0xe7, 0, 0, 2, 9, 9, 9, 9];
const TOO_SHORT: &[u8] = &[0x27, 0, 0, 2, 9, 9, 9];

impl Quic {
    fn bytes(&self) -> Vec<u8> {
        let encrypted = [0xee; 21];
        match self {
            Long(id) => {
                let length = u8::try_from(id.len()).unwrap();
                [&[0xc0, 0, 0, 0, 1, length][..], id, &[0, 0], &encrypted].concat()
            }
            Short(id) => [&[0x41][..], id, &encrypted].concat(),
        }
    }
}

const CLIENT: &str = "192.0.2.1:40000";
const MOVED: &str = "198.51.100.9:7";

/// Which backend a datagram from `client` goes to, by the last byte of its link address.
fn goes(world: &mut World, client: &str, quic: &Quic) -> &'static str {
    let mut bytes = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0xfe][..], &[8, 0]].concat();
    let payload = quic.bytes();
    let to = "203.0.113.10:443".parse().unwrap();
    Datagram::new(client.parse().unwrap(), to, &payload).emit(&mut bytes);
    let mut buffer = [vec![0; 64], bytes].concat();
    let end = buffer.len();
    let mut packet = Packet::new(&mut buffer, 64..end, Link::Ethernet);
    world.forwarder.handle_packet(world.now, &mut packet);
    assert_eq!(packet.verdict(), Verdict::Forward(InterfaceId(0)));
    assert!(packet.bytes().ends_with(&payload));
    match packet.bytes()[5] {
        7 => "a",
        8 => "b",
        other => panic!("to {other:02x}"),
    }
}

#[test]
fn a_datagram_goes_to_the_backend_that_it_names() {
    for method in [Nat, DirectRouting] {
        for scheduling in [Scheduling::Session, Scheduling::OnePacket] {
            for header in [Long, Short] {
                // In turn it would be the other way round.
                let mut world = with(method, scheduling);
                assert_eq!(goes(&mut world, CLIENT, &header(B)), "b");
                assert_eq!(goes(&mut world, MOVED, &header(A)), "a");
                assert_eq!(goes(&mut world, CLIENT, &header(B)), "b");
            }
        }
    }
}

#[test]
fn a_client_that_has_moved_stays_with_its_backend() {
    let mut world = nat();
    // Its first id is one of its own: placed by its ends, with `a`.
    assert_eq!(goes(&mut world, CLIENT, &Long(&[0xff; 8])), "a");
    assert_eq!(goes(&mut world, CLIENT, &Short(A)), "a");
    assert_eq!(goes(&mut world, MOVED, &Short(A)), "a");
    assert_eq!(world.forwarder.stats().sessions, 2);
}

#[test]
fn ends_that_come_to_mean_another_connection_follow_it() {
    let mut world = nat();
    assert_eq!(goes(&mut world, CLIENT, &Short(A)), "a");
    assert_eq!(goes(&mut world, CLIENT, &Short(B)), "b");
    assert_eq!(world.forwarder.stats().sessions, 1);
    // What names nobody goes with the last.
    assert_eq!(goes(&mut world, CLIENT, &Long(&[0xff; 8])), "b");
}

#[test]
fn an_answer_finds_its_client_after_it_has_moved() {
    let mut world = nat();
    assert_eq!(goes(&mut world, CLIENT, &Short(B)), "b");
    assert_eq!(goes(&mut world, MOVED, &Short(B)), "b");
    for client in [CLIENT, MOVED] {
        let line = format!("udp 10.0.0.8:8080 > {client} len=9");
        let mut frame = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 8][..], &[8, 0]].concat();
        frame.extend(Line::read(&line).bytes());
        let end = frame.len();
        let mut packet = Packet::new(&mut frame, 0..end, Link::Ethernet);
        world.forwarder.handle_packet(world.now, &mut packet);
        assert_eq!(packet.verdict(), Verdict::Forward(InterfaceId(0)));
        let found = Line::of(packet.bytes(), Link::Ethernet, Checksum::Complete);
        assert_eq!(found.source, "203.0.113.10:443".parse().unwrap());
        assert_eq!(found.destination, client.parse().unwrap());
    }
}

#[test]
fn what_names_nobody_is_placed_by_its_ends() {
    for id in [NOBODY, OTHER_ROTATION, UNROUTABLE, TOO_SHORT, &[]] {
        let mut world = nat();
        assert_eq!(goes(&mut world, CLIENT, &Long(id)), "a", "{id:02x?}");
        assert_eq!(goes(&mut world, CLIENT, &Long(id)), "a", "{id:02x?}");
        assert_eq!(goes(&mut world, MOVED, &Long(id)), "b", "{id:02x?}");
    }
}

#[test]
fn a_backend_that_takes_nothing_new_keeps_its_connections() {
    let mut world = nat();
    assert_eq!(goes(&mut world, CLIENT, &Short(B)), "b");
    world.drain("b");
    assert_eq!(goes(&mut world, MOVED, &Short(B)), "b");
    assert_eq!(goes(&mut world, "192.0.2.1:40001", &Long(&[0xff; 8])), "a");
    assert_eq!(goes(&mut world, "192.0.2.1:40002", &Long(&[0xff; 8])), "a");
}

#[test]
fn a_backend_that_is_full_keeps_its_connections() {
    let mut world = nat();
    let full = Backend::clone(&world.pool.view().backend(id("b")).unwrap().backend);
    world
        .pool
        .apply(world.now, [Delta::Upsert(full.max_connections(1))])
        .unwrap();
    assert_eq!(goes(&mut world, CLIENT, &Short(B)), "b");
    assert_eq!(goes(&mut world, MOVED, &Short(B)), "b");
}

#[test]
fn a_backend_that_is_gone_names_nobody() {
    let mut world = nat();
    world.remove("b");
    assert_eq!(goes(&mut world, CLIENT, &Short(B)), "a");
    assert_eq!(goes(&mut world, MOVED, &Short(B)), "a");
    world.put(("b", "10.0.0.8:8080"));
    assert_eq!(goes(&mut world, MOVED, &Short(B)), "b");
}

#[test]
fn a_backend_out_of_service_is_named_as_its_sessions_are_treated() {
    for (down, expected) in [(Orphans::Continue, "b"), (Orphans::Replace, "a")] {
        let mut world = world(|pool| {
            let service = service("quic", Udp, "203.0.113.10/32", 443, &pool);
            vec![service.quic(quic()).down(down)]
        });
        let known = Backend::clone(&world.pool.view().backend(id("b")).unwrap().backend);
        let out = known.admin(lbcore::backend::Admin::Maintenance);
        world.pool.apply(world.now, [Delta::Upsert(out)]).unwrap();
        assert_eq!(goes(&mut world, CLIENT, &Short(B)), expected);
    }
}

#[test]
fn a_service_without_it_reads_no_names() {
    let mut world = world(|pool| vec![service("udp", Udp, "203.0.113.10/32", 443, &pool)]);
    assert_eq!(goes(&mut world, CLIENT, &Short(B)), "a");
    assert_eq!(goes(&mut world, CLIENT, &Short(B)), "a");
    assert_eq!(goes(&mut world, MOVED, &Short(A)), "b");
}
