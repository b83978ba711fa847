//! Network address translation: the destination becomes the backend's, and in answers the source
//! becomes the service's again.

use std::net::SocketAddr;

use crate::packet::{DropReason, Packet};
use crate::wire::rewrite::Side;
use crate::wire::{Headers, hop};

/// Addresses a client's packet to `backend`; its port is kept if the backend's is 0.
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
    backend: SocketAddr,
) -> Result<(), DropReason> {
    let checksum = packet.offloads().checksum;
    let port = (backend.port() != 0).then_some(backend.port());
    let end = (backend.ip(), port);
    hop::translate(
        packet.bytes_mut(),
        headers,
        Side::Destination,
        end,
        checksum,
    )
    .map_err(|_| DropReason::HopLimit)
}

/// Makes a backend's packet come from `service`, the end that the client addressed.
///
/// # Errors
///
/// As [`to_backend`].
#[inline]
pub fn to_client(
    packet: &mut Packet<'_>,
    headers: &mut Headers,
    service: SocketAddr,
) -> Result<(), DropReason> {
    let checksum = packet.offloads().checksum;
    let end = (service.ip(), Some(service.port()));
    hop::translate(packet.bytes_mut(), headers, Side::Source, end, checksum)
        .map_err(|_| DropReason::HopLimit)
}
