//! What a frame carries.

use std::fmt;
use std::net::IpAddr;

use super::opcode::Opcode;
use crate::ski::Ski;

/// The items of one frame. What is `None`, empty or zero is not there.
///
/// # Examples
///
/// ```
/// use lb_keyserver::wire::{Items, Opcode};
///
/// let ping = Items {
///     opcode: Opcode::PING,
///     payload: b"hello",
///     ..Items::default()
/// };
/// assert_eq!(ping.ski, None);
/// ```
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct Items<'a> {
    /// 0x11: what is asked or answered; [`Opcode::NONE`] when the frame does not say.
    pub opcode: Opcode,
    /// 0x12: a digest, a message, a signature, an error code.
    pub payload: &'a [u8],
    /// 0x04: the key that is meant. One of another length than 20 bytes counts as none.
    pub ski: Option<Ski>,
    /// 0x01: the key by another name, which this project does not look up: the SHA-256 of an RSA
    /// modulus in hexadecimal. One of another length than 32 bytes counts as none.
    pub certificate_digest: Option<&'a [u8; 32]>,
    /// 0x03: the TLS client.
    pub client_ip: Option<IpAddr>,
    /// 0x05: the address that the TLS client connected to.
    pub server_ip: Option<IpAddr>,
    /// 0x02: the name that the TLS client asked for, in UTF-8 if the peer kept to the protocol.
    pub server_name: &'a [u8],
    /// 0x06: the name of a certificate.
    pub cert_id: &'a [u8],
    /// 0x13: the function that opcode 0x24 calls.
    pub custom_name: &'a [u8],
    /// 0x14: what two peers have agreed on between them.
    pub extra: &'a [u8],
    /// 0x15: a span of tracing.
    pub jaeger_span: &'a [u8],
    /// 0x16: a JSON object of what is known of the request.
    pub request_context: &'a [u8],
    /// 0x17: which rules the key is under; 1 is FedRAMP High, 0 is none.
    pub compliance_region: u8,
}

/// Shows how long the payload is, not what it is: it may be what is signed.
impl fmt::Debug for Items<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items")
            .field("opcode", &format_args!("{}", self.opcode))
            .field("payload", &format_args!("{} bytes", self.payload.len()))
            .field("ski", &self.ski)
            .field("client_ip", &self.client_ip)
            .finish_non_exhaustive()
    }
}
