//! What listeners take for themselves: no two may take the same.

use std::net::SocketAddr;

use lbcore::address_list::Prefix;
use lbcore::backend::Address;

use super::forwarding::Forwarding;
use super::section::Section;

/// Which sockets are taken, by whom: no two may listen at one place.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    sockets: Vec<(bool, Address, String)>,
    packets: Vec<((bool, Prefix, u16), String)>,
}

impl Sockets {
    /// Takes `address` for the admin endpoint.
    pub(super) fn claim_admin(&mut self, section: &Section<'_>, address: SocketAddr) {
        self.claim_for(section, address, "admin");
    }

    /// Takes `address` for streams of `who`.
    pub(super) fn claim_for(&mut self, section: &Section<'_>, address: SocketAddr, who: &str) {
        self.claim(section, false, &address.into(), who);
    }

    /// Takes `address` for streams or datagrams of `who`.
    pub(super) fn claim(
        &mut self,
        section: &Section<'_>,
        datagrams: bool,
        address: &Address,
        who: &str,
    ) {
        // A free port is never the same twice.
        let free = address.socket().is_some_and(|socket| socket.port() == 0);
        let same = |entry: &&(bool, Address, String)| entry.0 == datagrams && entry.1 == *address;
        match self.sockets.iter().find(same).filter(|_| !free) {
            Some((.., other)) => section.wrong("listen", format!("{address} is taken by {other}")),
            None => self.sockets.push((datagrams, address.clone(), who.into())),
        }
    }

    /// Takes all packets for these addresses, of which other addresses may be a part.
    pub(super) fn claim_packets(
        &mut self,
        section: &Section<'_>,
        datagrams: bool,
        (address, forwarding): (&Address, &Forwarding),
        who: &str,
    ) {
        let Some(first) = address.socket() else {
            return;
        };
        let Some(prefix) = forwarding.addresses(first) else {
            return;
        };
        let claim = (datagrams, prefix, first.port());
        match self.packets.iter().find(|(other, _)| *other == claim) {
            Some((_, other)) => section.wrong("listen", format!("{address} is taken by {other}")),
            None => self.packets.push((claim, who.into())),
        }
    }
}
