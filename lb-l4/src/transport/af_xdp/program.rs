//! The XDP program that says, for each packet, whether it comes here or goes to the host.
//!
//! ```text
//!   Ethernet [one VLAN tag] ── ARP ──────── target address ─┐
//!                           ├─ NDP solicit ─ target address ─┤
//!                           ├─ IPv4, IPv6 ── destination ────┴▶ found ──▶ as its value says
//!                           │                     └─ not found
//!                           │                source ──▶ found ──▶ as its value says
//!                           └─ other                └─ not found ──▶ host
//! ```
//!
//! Both lookups are in one map of prefixes, whose keys begin with what is looked up. Sources are
//! looked up of what is sent to one host: neighbour discovery, multicast and broadcast are the
//! host's unless their target is steered. Packets that are cut short, and queues that no socket
//! serves, are the host's too.

use std::net::IpAddr;

use lbcore::address_list::Prefix;

use super::assembler::{Assembler, If, Label, R0, R1, R2, R3, R6, R7, R8, R9, R10, Register, Size};
use crate::sys::bpf::Instruction;

/// What is looked up in the map of prefixes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    Destination,
    Source,
}

/// The key of a prefix: bits that count, then what is looked up, then the address.
///
/// Source: Documentation/bpf/map_lpm_trie.rst.
pub(super) fn key(side: Side, prefix: Prefix) -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    let (bits, kind_and_address) = key.split_at_mut(4);
    let (kind, address) = kind_and_address.split_at_mut(4);
    let length = TABLE_BITS.cast_unsigned() + u32::from(prefix.length());
    bits.copy_from_slice(&length.to_ne_bytes());
    let table = match prefix.address() {
        IpAddr::V4(it) => {
            address[..4].copy_from_slice(&it.octets());
            table(side, false)
        }
        IpAddr::V6(it) => {
            address.copy_from_slice(&it.octets());
            table(side, true)
        }
    };
    kind.copy_from_slice(&table.to_ne_bytes());
    key
}

const fn table(side: Side, is_ipv6: bool) -> i32 {
    let side = match side {
        Side::Destination => 0,
        Side::Source => 1,
    };
    // 0 is no table: what stands in `SOURCE_TABLE` when no source is looked up.
    1 + side + if is_ipv6 { 2 } else { 0 }
}

/// The program over these maps, given by their descriptors.
pub(super) fn steering(prefixes: i32, sockets: i32) -> Option<Vec<Instruction>> {
    let mut program = Writer::new();
    program.ethernet();
    program.ipv4();
    program.ipv6();
    program.arp();
    program.lookups(prefixes);
    program.redirect(sockets);
    program.pass();
    program.code.finish()
}

/// The program as far as it is written. Of the registers that outlive calls, [`PACKET`] is the
/// kernel's argument, [`END`] the end of the packet's bytes, [`HEADER`] the header behind Ethernet's,
/// and [`SOURCE_TABLE`] where to look the source up.
struct Writer {
    code: Assembler,
    ipv4: Label,
    ipv6: Label,
    arp: Label,
    lookups: Label,
    redirect: Label,
    pass: Label,
}

impl Writer {
    fn new() -> Self {
        let mut code = Assembler::default();
        Self {
            ipv4: code.label(),
            ipv6: code.label(),
            arp: code.label(),
            lookups: code.label(),
            redirect: code.label(),
            pass: code.label(),
            code,
        }
    }

    /// Goes to the host unless `len` bytes of the header are there.
    fn need(&mut self, len: i32) {
        self.code.set(R2, HEADER);
        self.code.add(R2, len);
        self.code.jump_if(R2, If::Greater, END, self.pass);
    }

    fn ethernet(&mut self) {
        let (untagged, tagged) = (self.code.label(), self.code.label());
        let code = &mut self.code;
        code.set(PACKET, R1);
        code.load(Size::Four, HEADER, PACKET, XDP_DATA);
        code.load(Size::Four, END, PACKET, XDP_DATA_END);
        code.set(SOURCE_TABLE, 0);
        for offset in (KEY..0).step_by(8) {
            code.store_number(Size::Eight, R10, offset, 0);
        }
        self.need(14);
        let code = &mut self.code;
        code.load(Size::Two, R3, HEADER, 12);
        code.add(HEADER, 14);
        code.jump_if(R3, If::Equal, wire(0x8100), tagged);
        code.jump_if(R3, If::NotEqual, wire(0x88a8), untagged);
        code.place(tagged);
        self.need(4);
        let code = &mut self.code;
        code.load(Size::Two, R3, HEADER, 2);
        code.add(HEADER, 4);
        code.place(untagged);
        code.jump_if(R3, If::Equal, wire(0x0800), self.ipv4);
        code.jump_if(R3, If::Equal, wire(0x86dd), self.ipv6);
        code.jump_if(R3, If::Equal, wire(0x0806), self.arp);
        code.jump(self.pass);
    }

    fn ipv4(&mut self) {
        self.code.place(self.ipv4);
        self.need(20);
        let (lookups, code) = (self.lookups, &mut self.code);
        code.load(Size::Four, R1, HEADER, 12);
        code.store(Size::Four, R10, SOURCE, R1);
        code.load(Size::Four, R1, HEADER, 16);
        code.store(Size::Four, R10, ADDRESS, R1);
        Self::table(code, false);
        // 224.0.0.0 and above: multicast, reserved, and the broadcast to everybody.
        code.load(Size::One, R1, HEADER, 16);
        code.jump_if(R1, If::AtLeast, 224, lookups);
        code.set(SOURCE_TABLE, table(Side::Source, false));
        code.jump(lookups);
    }

    fn ipv6(&mut self) {
        let (not_discovery, solicitation) = (self.code.label(), self.code.label());
        self.code.place(self.ipv6);
        self.need(40);
        let code = &mut self.code;
        Self::copy_ipv6(code, 8, SOURCE);
        Self::copy_ipv6(code, 24, ADDRESS);
        Self::table(code, true);
        code.load(Size::One, R1, HEADER, 6);
        code.jump_if(R1, If::NotEqual, i32::from(ICMPV6), not_discovery);
        self.need(41);
        let (lookups, code) = (self.lookups, &mut self.code);
        // RFC 4861, 4: 133 to 137 are neighbour discovery's, and 135 asks for its target.
        code.load(Size::One, R1, HEADER, 40);
        code.jump_if(R1, If::Greater, 137, not_discovery);
        code.jump_if(R1, If::Equal, 135, solicitation);
        code.jump_if(R1, If::AtLeast, 133, lookups);
        code.jump(not_discovery);
        code.place(solicitation);
        self.need(64);
        let (lookups, code) = (self.lookups, &mut self.code);
        Self::copy_ipv6(code, 48, ADDRESS);
        code.jump(lookups);
        code.place(not_discovery);
        // ff00::/8 is multicast.
        code.load(Size::One, R1, HEADER, 24);
        code.jump_if(R1, If::Equal, 255, lookups);
        code.set(SOURCE_TABLE, table(Side::Source, true));
        code.jump(lookups);
    }

    fn arp(&mut self) {
        self.code.place(self.arp);
        self.need(28);
        let code = &mut self.code;
        // RFC 826: IPv4 over Ethernet has its target's address at 24.
        code.load(Size::Two, R1, HEADER, 2);
        code.jump_if(R1, If::NotEqual, wire(0x0800), self.pass);
        code.load(Size::Four, R1, HEADER, 24);
        code.store(Size::Four, R10, ADDRESS, R1);
        Self::table(code, false);
        code.jump(self.lookups);
    }

    /// Copies the address at `from` of the header to `to` of the stack.
    fn copy_ipv6(code: &mut Assembler, from: i16, to: i16) {
        for part in [0, 8] {
            code.load(Size::Eight, R1, HEADER, from + part);
            code.store(Size::Eight, R10, to + part, R1);
        }
    }

    /// Has all bits of a destination's address looked up.
    fn table(code: &mut Assembler, is_ipv6: bool) {
        let bits = TABLE_BITS + if is_ipv6 { 128 } else { 32 };
        code.store_number(Size::Four, R10, KEY, bits);
        let table = table(Side::Destination, is_ipv6);
        code.store_number(Size::Four, R10, KIND, table);
    }

    fn lookups(&mut self, prefixes: i32) {
        let found = self.code.label();
        let code = &mut self.code;
        code.place(self.lookups);
        Self::lookup(code, prefixes);
        code.jump_if(R0, If::NotEqual, 0, found);
        code.jump_if(SOURCE_TABLE, If::Equal, 0, self.pass);
        code.store(Size::Four, R10, KIND, SOURCE_TABLE);
        for part in [0, 8] {
            code.load(Size::Eight, R1, R10, SOURCE + part);
            code.store(Size::Eight, R10, ADDRESS + part, R1);
        }
        Self::lookup(code, prefixes);
        code.jump_if(R0, If::Equal, 0, self.pass);
        code.place(found);
        code.load(Size::Four, R1, R0, 0);
        code.jump_if(R1, If::Equal, REDIRECT, self.redirect);
        code.jump(self.pass);
    }

    /// Points `R0` to the value of the longest prefix of the key, or makes it zero.
    fn lookup(code: &mut Assembler, prefixes: i32) {
        code.set_map(R1, prefixes);
        code.set(R2, R10);
        code.add(R2, i32::from(KEY));
        code.call(BPF_MAP_LOOKUP_ELEM);
    }

    fn redirect(&mut self, sockets: i32) {
        let code = &mut self.code;
        code.place(self.redirect);
        code.set_map(R1, sockets);
        code.load(Size::Four, R2, PACKET, XDP_QUEUE);
        // What it answers when the queue has no socket; Linux 5.3.
        code.set(R3, XDP_PASS);
        code.call(BPF_REDIRECT_MAP);
        code.exit();
    }

    fn pass(&mut self) {
        self.code.place(self.pass);
        self.code.set(R0, XDP_PASS);
        self.code.exit();
    }
}

/// A number of two bytes as a load of two bytes sees it.
fn wire(number: u16) -> i32 {
    i32::from(number.to_be())
}

/// The value of a prefix whose packets come here; any other is left to the host.
pub(super) const REDIRECT: i32 = 1;
/// The value of a prefix whose packets are left to the host.
pub(super) const HOST: i32 = 2;
/// Bytes of a key.
pub(super) const KEY_LEN: usize = 24;

/// Bits of a key before the address.
const TABLE_BITS: i32 = 32;
const PACKET: Register = R6;
const SOURCE_TABLE: Register = R7;
const END: Register = R8;
const HEADER: Register = R9;
// The stack: the key, and the source's address.
const KEY: i16 = -40;
const KIND: i16 = KEY + 4;
const ADDRESS: i16 = KEY + 8;
const SOURCE: i16 = KEY + 24;
// include/uapi/linux/bpf.h: `struct xdp_md`, functions and answers.
const XDP_DATA: i16 = 0;
const XDP_DATA_END: i16 = 4;
const XDP_QUEUE: i16 = 16;
const BPF_MAP_LOOKUP_ELEM: i32 = 1;
const BPF_REDIRECT_MAP: i32 = 51;
const XDP_PASS: i32 = 2;
/// IANA, Protocol Numbers.
const ICMPV6: u8 = 58;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_bits_that_count_the_table_and_the_address() {
        let prefix = "10.1.0.0/16".parse().unwrap();
        let bytes = key(Side::Source, prefix);
        assert_eq!(bytes[..4], 48_u32.to_ne_bytes());
        assert_eq!(bytes[4..8], 2_u32.to_ne_bytes());
        assert_eq!(bytes[8..12], [10, 1, 0, 0]);
        assert_eq!(bytes[12..], [0; 12]);

        let bytes = key(Side::Destination, "192.0.2.7".parse().unwrap());
        assert_eq!(bytes[..4], 64_u32.to_ne_bytes());
        assert_eq!(bytes[4..8], 1_u32.to_ne_bytes());

        let bytes = key(Side::Destination, "2001:db8::/32".parse().unwrap());
        assert_eq!(bytes[..4], 64_u32.to_ne_bytes());
        assert_eq!(bytes[4..8], 3_u32.to_ne_bytes());
        assert_eq!(bytes[8..12], [0x20, 0x01, 0x0d, 0xb8]);
    }
}
