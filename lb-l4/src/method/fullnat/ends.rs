//! Both ends of a packet rewritten at once.

use std::net::SocketAddr;

use crate::packet::{DropReason, Packet};
use crate::wire::{Headers, rewrite};

/// Addresses a client's packet from `local` to `backend`; the port that was asked for is kept if the
/// backend's is 0.
///
/// The time to live is counted down, as a router does.
///
/// # Errors
///
/// [`DropReason::HopLimit`]: it may go no further, and is not changed.
#[inline]
pub fn to_backend(
    packet: &mut Packet<'_>,
    headers: &mut Headers,
    local: SocketAddr,
    backend: SocketAddr,
) -> Result<(), DropReason> {
    let checksum = packet.offloads().checksum;
    let bytes = packet.bytes_mut();
    rewrite::decrement_ttl(bytes, headers).map_err(|_| DropReason::HopLimit)?;
    let port = (backend.port() != 0).then_some(backend.port());
    let source = (local.ip(), Some(local.port()));
    rewrite::set_ends(bytes, headers, source, (backend.ip(), port), checksum);
    Ok(())
}

/// Addresses a backend's packet from `service`, the end that the client addressed, to the client.
///
/// # Errors
///
/// As [`to_backend`].
#[inline]
pub fn to_client(
    packet: &mut Packet<'_>,
    headers: &mut Headers,
    service: SocketAddr,
    client: SocketAddr,
) -> Result<(), DropReason> {
    let checksum = packet.offloads().checksum;
    let bytes = packet.bytes_mut();
    rewrite::decrement_ttl(bytes, headers).map_err(|_| DropReason::HopLimit)?;
    let source = (service.ip(), Some(service.port()));
    let destination = (client.ip(), Some(client.port()));
    rewrite::set_ends(bytes, headers, source, destination, checksum);
    Ok(())
}
