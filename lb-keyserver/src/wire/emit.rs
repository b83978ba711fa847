//! Frames to bytes.

use std::net::IpAddr;

use super::items::Items;
use super::{HEADER, ITEM_HEADER, PADDED, Version, tag};

/// The items are longer than a frame can be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the items take {bytes} bytes, and a frame holds 65535")]
#[non_exhaustive]
pub struct TooLong {
    /// Bytes that they would take.
    pub bytes: usize,
}

/// Appends a frame to `into`: its header, its items in the order of the deployed clients, padding.
///
/// # Errors
///
/// When the items do not fit; nothing is appended then.
///
/// # Examples
///
/// ```
/// use lb_keyserver::wire::{Items, Opcode, PADDED, emit, parse};
///
/// let ping = Items { opcode: Opcode::PING, payload: b"hello", ..Items::default() };
/// let mut bytes = Vec::new();
/// emit(1, &ping, &mut bytes)?;
/// assert_eq!(bytes.len(), PADDED);
/// let (frame, used) = parse(&bytes).expect("a frame").expect("whole");
/// assert_eq!((frame.id, frame.items, used), (1, ping, PADDED));
/// # Ok::<(), lb_keyserver::wire::TooLong>(())
/// ```
pub fn emit(id: u32, items: &Items<'_>, into: &mut Vec<u8>) -> Result<(), TooLong> {
    let bytes = body(items);
    let padding = padding(bytes);
    let padded = bytes + padding.map_or(0, |zeros| ITEM_HEADER + zeros);
    let length = u16::try_from(padded).map_err(|_| TooLong { bytes })?;
    let Version { major, minor } = Version::CURRENT;
    into.reserve(HEADER + padded);
    into.extend_from_slice(&[major, minor]);
    into.extend_from_slice(&length.to_be_bytes());
    into.extend_from_slice(&id.to_be_bytes());
    each(items, |tag, value| item(tag, value, into));
    if let Some(zeros) = padding {
        const ZEROS: [u8; PADDED] = [0; PADDED];
        item(tag::PADDING, ZEROS.get(..zeros).unwrap_or(&ZEROS), into);
    }
    Ok(())
}

/// Bytes of the frame that [`emit`] would append.
///
/// # Errors
///
/// When the items do not fit.
pub fn length(items: &Items<'_>) -> Result<usize, TooLong> {
    let bytes = body(items);
    if bytes > usize::from(u16::MAX) {
        return Err(TooLong { bytes });
    }
    Ok(HEADER + bytes + padding(bytes).map_or(0, |zeros| ITEM_HEADER + zeros))
}

/// Bytes of the items.
fn body(items: &Items<'_>) -> usize {
    let mut bytes = 0;
    each(items, |_, value| bytes += ITEM_HEADER + value.len());
    bytes
}

/// How many zeros follow a body of that many bytes, as an item of their own.
fn padding(body: usize) -> Option<usize> {
    let unpadded = HEADER + body;
    (unpadded < PADDED).then(|| PADDED.saturating_sub(unpadded + ITEM_HEADER))
}

fn item(tag: u8, value: &[u8], into: &mut Vec<u8>) {
    // A body that fits has no item that does not.
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    into.push(tag);
    into.extend_from_slice(&length.to_be_bytes());
    into.extend_from_slice(value);
}

/// Shows each item that is there, in the order of the wire.
fn each(items: &Items<'_>, mut show: impl FnMut(u8, &[u8])) {
    let mut shown = |tag, value: &[u8]| {
        if !value.is_empty() {
            show(tag, value);
        }
    };
    let opcode = [items.opcode.0];
    let region = [items.compliance_region];
    shown(tag::OPCODE, unless_zero(&opcode));
    shown(tag::PAYLOAD, items.payload);
    shown(
        tag::SKI,
        items.ski.as_ref().map_or(&[], |ski| ski.as_bytes()),
    );
    let digest = items.certificate_digest;
    shown(tag::CERTIFICATE_DIGEST, digest.map_or(&[], |digest| digest));
    address(items.client_ip, |value| shown(tag::CLIENT_IP, value));
    address(items.server_ip, |value| shown(tag::SERVER_IP, value));
    shown(tag::SERVER_NAME, items.server_name);
    shown(tag::CERT_ID, items.cert_id);
    shown(tag::CUSTOM_NAME, items.custom_name);
    shown(tag::EXTRA, items.extra);
    shown(tag::JAEGER_SPAN, items.jaeger_span);
    shown(tag::REQUEST_CONTEXT, items.request_context);
    shown(tag::COMPLIANCE_REGION, unless_zero(&region));
}

fn unless_zero(value: &[u8; 1]) -> &[u8] {
    if *value == [0] { &[] } else { value }
}

fn address(address: Option<IpAddr>, mut show: impl FnMut(&[u8])) {
    match address {
        Some(IpAddr::V4(v4)) => show(&v4.octets()),
        Some(IpAddr::V6(v6)) => show(&v6.octets()),
        None => {}
    }
}
