//! What becomes of packets that are forwarded, as plain values.

use std::collections::BTreeMap;

use serde::Serialize;

/// What forwards packets.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Packets {
    /// By which interface.
    pub(crate) interface: String,
    /// `af-packet`, `af-xdp` or `tun`.
    pub(crate) transport: &'static str,
    /// How packets come: through a ring or a device, or where an XDP program runs and whether the
    /// kernel copies.
    pub(crate) mode: &'static str,
    /// Bytes of the largest packet of the interface.
    pub(crate) mtu: u16,
    /// One a queue of the interface.
    pub(crate) workers: Vec<PacketWorker>,
}

/// One thread that forwards packets.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct PacketWorker {
    /// Sessions under way.
    pub(crate) sessions: u64,
    /// Packets that were not dropped, by what became of them.
    pub(crate) verdicts: BTreeMap<&'static str, u64>,
    /// Packets of its own.
    pub(crate) originated: u64,
    /// Answers that have come to another worker than their session's.
    pub(crate) handed: BTreeMap<&'static str, u64>,
    /// ICMP errors, RSTs and echo replies, and what was not answered.
    pub(crate) answers: BTreeMap<&'static str, u64>,
    /// Datagrams in fragments, by what became of them.
    pub(crate) fragments: BTreeMap<&'static str, u64>,
    /// Ports of local addresses that are not free, by why.
    pub(crate) local_ports: BTreeMap<&'static str, u64>,
    /// Handshakes that a backend has not answered yet.
    pub(crate) half_open: u64,
    /// Handshakes that were answered in the place of backends, by what became of them.
    pub(crate) syn_proxy: BTreeMap<&'static str, u64>,
    /// Packets dropped, or refused with an answer, by reason.
    pub(crate) dropped: BTreeMap<&'static str, u64>,
    /// Packets that have come.
    pub(crate) received: u64,
    /// Bytes of these, with link headers.
    pub(crate) received_bytes: u64,
    /// Packets given to the link.
    pub(crate) sent: u64,
    /// Bytes of these, with link headers.
    pub(crate) sent_bytes: u64,
    /// Packets that the link has lost, by reason.
    pub(crate) lost: BTreeMap<&'static str, u64>,
}

/// What has passed through one listener whose packets are forwarded.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Forwarding {
    /// `nat`, `fullnat`, `direct-routing` or `tunnel`.
    pub(crate) method: &'static str,
    /// Packets of clients that were sent on.
    pub(crate) packets_in: u64,
    /// Packets of backends that were sent on; none where answers go another way.
    pub(crate) packets_out: u64,
}
