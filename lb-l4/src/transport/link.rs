//! Lengths of link headers.

/// Bytes of an Ethernet header without VLAN tags (IEEE 802.3, 3.1.1).
pub(crate) const ETHERNET: usize = 14;
/// Bytes of a VLAN tag (IEEE 802.1Q, 9.5).
pub(crate) const VLAN: usize = 4;
