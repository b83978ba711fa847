//! Direct routing: the packet as it is, to the link address of the backend.

use crate::packet::{DropReason, Packet};
use crate::wire::{Headers, rewrite};

/// Readies a client's packet for its backend; the link header is written by whoever sends it.
///
/// The time to live is counted down as by any router, so that a packet which two forwarders send to
/// each other by mistake dies.
///
/// # Errors
///
/// [`DropReason::HopLimit`]: it may go no further, and is not changed.
#[inline]
pub fn to_backend(packet: &mut Packet<'_>, headers: &mut Headers) -> Result<(), DropReason> {
    rewrite::decrement_ttl(packet.bytes_mut(), headers).map_err(|_| DropReason::HopLimit)
}
