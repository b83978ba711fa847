//! FULLNAT: how a backend learns who the client is, and what clients must not tell it.

use std::net::SocketAddr;

use lbcore::flow::FlowKey;
use lbcore::proxy_protocol::{Header, Proxied, Version};
use lbcore::session::Side;

use super::client::{Outward, fits};
use super::flows::{Edge, Flow};
use super::syn_proxy::translate;
use super::target::Target;
use crate::method::fullnat::{self, ClientAddress, FullNatConfig};
use crate::method::splice::{Splice, Splices};
use crate::packet::{DropReason, Packet};
use crate::wire::emit::TcpSegment;
use crate::wire::tcp::flags::{ACK, RST, SYN};
use crate::wire::tcp::{self, kind};
use crate::wire::{Body, Headers, TcpHeader, payload, rewrite};

/// The session of a client's packet.
#[derive(Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) config: FullNatConfig,
    pub(super) key: &'a FlowKey,
    pub(super) target: &'a Target,
}

/// Readies a client's packet for its backend, all but its addresses: takes out what the client has
/// forged, translates between the sides of a splice, and tells the backend who the client is.
///
/// A packet whose sender is to be told why it goes no further is as it came.
pub(super) fn prepare(
    packet: &mut Packet<'_>,
    headers: &mut Headers,
    of: Of<'_>,
    flow: &mut Flow,
    splices: &mut Splices,
    outward: &mut Outward<'_>,
) -> Result<(), DropReason> {
    fits(packet, headers, of.target.way.mtu)?;
    if headers.is_at_its_last_hop() {
        return Err(DropReason::HopLimit);
    }
    match headers.body {
        Body::Tcp(tcp) => {
            fullnat::strip(packet, headers);
            if of.config.client_address == ClientAddress::ProxyProtocol {
                return by_proxy(packet, headers, (of, &tcp), flow, (splices, outward));
            }
            if let Some(id) = flow.splice() {
                translate(splices, id, (outward.now, Side::Client), packet, headers)?;
            }
            let tells = of.config.client_address == ClientAddress::Toa;
            if tells && !flow.has(Flow::TOLD) && !tcp.has(RST) {
                let mtu = of.target.way.mtu;
                let told = fullnat::tell(packet, headers, of.key.source, mtu);
                outward.stats.untold += u64::from(told.is_err());
            }
            Ok(())
        }
        Body::Udp { .. } => before_datagram(packet, headers, of, flow),
        _ => Ok(()),
    }
}

/// Puts the header before the first datagram of a session.
///
/// One that has no room for it does not go without: what a client sends where a backend looks for
/// the header would be believed.
fn before_datagram(
    packet: &mut Packet<'_>,
    headers: &mut Headers,
    of: Of<'_>,
    flow: &mut Flow,
) -> Result<(), DropReason> {
    if of.config.client_address != ClientAddress::ProxyProtocol || flow.has(Flow::TOLD) {
        return Ok(());
    }
    let header = header(of.key);
    if fullnat::wire_len(packet, headers) + header.len() > usize::from(of.target.way.mtu) {
        return Err(DropReason::NoRoom);
    }
    payload::put_before(packet, headers, &header).map_err(|_| DropReason::NoRoom)?;
    flow.flags |= Flow::TOLD;
    Ok(())
}

/// Sees to it that the header is the first that a backend reads.
///
/// It goes out with whatever the client sends first behind its SYN, most often a mere
/// acknowledgement, and again with everything that begins at the client's first byte until the
/// backend has acknowledged it. From the first time on, sequence numbers are shifted.
fn by_proxy(
    packet: &mut Packet<'_>,
    headers: &mut Headers,
    (of, tcp): (Of<'_>, &TcpHeader),
    flow: &mut Flow,
    (splices, outward): (&mut Splices, &mut Outward<'_>),
) -> Result<(), DropReason> {
    if tcp.has(SYN) {
        if !headers.payload().is_empty() {
            // Some backends take what comes with a SYN (RFC 9293, 3.10.7.2), and would take it for
            // the header. The client sends it again behind the handshake.
            return Err(DropReason::NoRoom);
        }
        // Data in a SYN would come before the header: the backend is not offered any (RFC 7413).
        tcp::strip_option(packet, headers, kind::FAST_OPEN);
    }
    let speaks = tcp.flags & (SYN | RST | ACK) == ACK;
    if speaks && !flow.has(Flow::SHIFTED) {
        shift(flow, splices, of.key)?;
    }
    let first = flow
        .splice()
        .and_then(|id| splices.at(id)?.splice.client_first);
    if !flow.has(Flow::TOLD) && is_before_header(headers, tcp, first) {
        return Err(DropReason::OutsideWindow);
    }
    let carries = speaks && !flow.has(Flow::TOLD) && first == Some(tcp.sequence);
    if let Some(id) = flow.splice() {
        translate(splices, id, (outward.now, Side::Client), packet, headers)?;
    }
    if carries {
        put_header(packet, headers, (of, tcp.sequence), outward)?;
    }
    Ok(())
}

/// Whether a client's segment brings bytes that the backend would put where the header stands: what
/// lies before the client's first byte is shifted onto it, and what does not acknowledge is not
/// shifted at all. No honest client sends either.
fn is_before_header(headers: &Headers, tcp: &TcpHeader, first: Option<u32>) -> bool {
    if tcp.flags & (SYN | RST) != 0 || headers.segment_len() == 0 {
        return false;
    }
    let before = |first: u32| tcp.sequence.wrapping_sub(first).cast_signed() < 0;
    !tcp.has(ACK) || first.is_some_and(before)
}

/// Makes room for the header in front of the client's first byte.
#[cold]
fn shift(flow: &mut Flow, splices: &mut Splices, key: &FlowKey) -> Result<(), DropReason> {
    let [_, backend] = flow.ends;
    if !backend.known {
        // Nobody has taken its SYN yet: it can have nothing to say.
        return Err(DropReason::OutsideWindow);
    }
    let len = header_len(key);
    match flow.splice() {
        Some(id) => {
            let spliced = splices.at(id).ok_or(DropReason::HoldFull)?;
            let splice = &mut spliced.splice;
            splice.client_sequence = splice.client_sequence.wrapping_add(len);
            splice.client_first = Some(backend.expects);
        }
        None => {
            let splice = Splice::default().client_sequence(len);
            let splice = splice.client_first(backend.expects);
            let id = splices.insert(splice).ok_or(DropReason::HoldFull)?;
            flow.splice = id.to_bits() + 1;
        }
    }
    flow.flags |= Flow::SHIFTED;
    Ok(())
}

/// Puts the header before what the packet carries; or into a segment of its own, if the packet has
/// no room for it.
#[cold]
fn put_header(
    packet: &mut Packet<'_>,
    headers: &mut Headers,
    (of, first): (Of<'_>, u32),
    outward: &mut Outward<'_>,
) -> Result<(), DropReason> {
    let header = header(of.key);
    let grown = fullnat::wire_len(packet, headers) + header.len();
    let put = grown <= usize::from(of.target.way.mtu)
        && payload::put_before(packet, headers, &header).is_ok();
    if put {
        let checksum = packet.offloads().checksum;
        rewrite::set_sequence(packet.bytes_mut(), headers, first, checksum);
        return Ok(());
    }
    let (Some(local), Some(tcp)) = (outward.local, headers.tcp().copied()) else {
        return Err(DropReason::NoRoom);
    };
    let options = headers.transport + tcp::HEADER..headers.transport + tcp.len;
    let options = packet.bytes().get(options).unwrap_or_default();
    let backend = of.target.backend_end(of.key.destination);
    let segment = TcpSegment {
        sequence: first,
        acknowledgement: tcp.acknowledgement,
        window: tcp.window,
        options,
        payload: &header,
        ..TcpSegment::new(local, backend, ACK)
    };
    let way = &of.target.way;
    let v4 = local.is_ipv4();
    if !outward.outbox.push(way, v4, |bytes| segment.emit(bytes)) {
        return Err(DropReason::QueueFull);
    }
    outward.stats.transmitted += 1;
    Ok(())
}

/// Notes what a backend's answer, which is not translated yet, says of the header.
pub(super) fn hear_of_header(flow: &mut Flow, splices: &mut Splices, headers: &Headers) {
    if flow.flags & (Flow::SHIFTED | Flow::TOLD) != Flow::SHIFTED {
        return;
    }
    let spliced = flow.splice().and_then(|id| splices.at(id));
    let (Some(spliced), Some(tcp)) = (spliced, headers.tcp()) else {
        return;
    };
    let splice = &spliced.splice;
    let behind = splice
        .client_first
        .map(|it| it.wrapping_add(splice.client_sequence));
    let has_it = behind.is_none_or(|it| tcp.acknowledgement.wrapping_sub(it).cast_signed() >= 0);
    if tcp.has(ACK) && has_it {
        flow.flags |= Flow::TOLD;
    }
}

/// Notes what a backend's answer says of the option: whoever has acknowledged data of the client's
/// has seen the option that was in it. `before` is what it had acknowledged earlier.
pub(super) fn hear_of_option(flow: &mut Flow, before: Edge) {
    let [_, now] = flow.ends;
    if before.known && now.expects != before.expects {
        flow.flags |= Flow::TOLD;
    }
}

/// Lowers the segments that a client may send, by what is put into them.
pub(super) fn leave_room(packet: &mut Packet<'_>, headers: &Headers, client: SocketAddr) {
    let len = crate::toa::Emitted::of(client).bytes().len();
    fullnat::lower_mss(packet, headers, u16::try_from(len).unwrap_or(u16::MAX));
}

/// What a splice of a session is whose header another node has sent.
pub(super) fn told_splice(key: &FlowKey) -> Splice {
    Splice::default().client_sequence(header_len(key))
}

fn header(key: &FlowKey) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(usize::from(V6));
    // Version 2 can say every flow.
    let _ = Header::new(Proxied::Flow(*key)).emit(Version::V2, &mut bytes);
    bytes
}

fn header_len(key: &FlowKey) -> u32 {
    let v4 = key.source.is_ipv4() && key.destination.is_ipv4();
    if v4 { V4.into() } else { V6.into() }
}

/// Bytes of a header of version 2 (section 2.2): 16, and two addresses with their ports.
const V4: u8 = 28;
const V6: u8 = 52;
