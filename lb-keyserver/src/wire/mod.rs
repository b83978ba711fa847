//! The frames of the Keyless protocol, as bytes.
//!
//! A connection carries frames both ways. A frame is a header of eight bytes and up to 65,535 bytes
//! of tagged items; numbers are big-endian:
//!
//! ```text
//!  0       1       2               4                               8
//!  ┌───────┬───────┬───────────────┬───────────────────────────────┬──────┬──────┬─ ─ ─┐
//!  │ major │ minor │ bytes of body │ id, which the answer repeats  │ item │ item │     │
//!  └───────┴───────┴───────────────┴───────────────────────────────┴──────┴──────┴─ ─ ─┘
//!                                    item:  tag (1) │ length (2) │ value
//! ```
//!
//! [`parse()`] takes any order of items, passes over tags that it does not know, and borrows all that
//! it returns: what a peer sends can neither make it allocate nor panic. [`emit()`] writes the items
//! in one order, and pads every frame to [`PADDED`] bytes, errors too, so that who sees the lengths
//! on the wire does not learn what was asked and how it ended.
//!
//! What the items of a question mean is [`question`](crate::question)'s.
#![warn(clippy::indexing_slicing)]

mod code;
mod emit;
mod items;
mod opcode;
mod parse;

pub use code::ErrorCode;
pub use emit::{TooLong, emit, length};
pub use items::Items;
pub use opcode::Opcode;
pub use parse::{Frame, ParseError, Version, parse};

/// The port of key servers, where nothing else is said: that of the deployed ones.
pub const PORT: u16 = 2407;

/// Bytes of the header of a frame.
pub const HEADER: usize = 8;

/// Bytes of the longest frame: the header, and as much as the 16 bits of its length allow.
pub const MAX_FRAME: usize = HEADER + u16::MAX as usize;

/// Bytes that a frame is padded to. One that is longer is not padded, and one of 1,022 or 1,023
/// bytes becomes one of 1,025 or 1,026, as the padding has a tag and a length of its own.
pub const PADDED: usize = 1024;

/// Bytes of the tag and the length of an item.
const ITEM_HEADER: usize = 3;

/// The tags of items, as the deployed protocol numbers them.
mod tag {
    pub(super) const CERTIFICATE_DIGEST: u8 = 0x01;
    pub(super) const SERVER_NAME: u8 = 0x02;
    pub(super) const CLIENT_IP: u8 = 0x03;
    pub(super) const SKI: u8 = 0x04;
    pub(super) const SERVER_IP: u8 = 0x05;
    pub(super) const CERT_ID: u8 = 0x06;
    pub(super) const OPCODE: u8 = 0x11;
    pub(super) const PAYLOAD: u8 = 0x12;
    pub(super) const CUSTOM_NAME: u8 = 0x13;
    pub(super) const EXTRA: u8 = 0x14;
    pub(super) const JAEGER_SPAN: u8 = 0x15;
    pub(super) const REQUEST_CONTEXT: u8 = 0x16;
    pub(super) const COMPLIANCE_REGION: u8 = 0x17;
    pub(super) const PADDING: u8 = 0x20;
}

#[cfg(test)]
mod tests;
