//! HTTP/1.0 and HTTP/1.1 as bytes: RFC 9112, both sides, and nothing that waits.
//!
//! [`parse_request`] and [`parse_response`] take a head off a buffer, [`BodyDecoder`] the body
//! behind it, [`emit_request`] and [`emit_response`] write the next hop's head anew from what was
//! parsed. Nothing here reads a clock or a socket, and what is not plainly one message is refused
//! with a [`Rejection`]: two parsers that disagree over where a message ends are how requests are
//! smuggled, so whatever another could read otherwise does not pass.
//!
//! The order of a head: [`Scan`] finds its end and keeps the line discipline (each line ends in
//! CRLF, sizes and counts hold) and notes where its lines end; one pass over these then keeps the
//! grammar, and what the grammar does not say: one host, one length, one coding, a target of the
//! right form. A head that is refused is looked at once more, for the first thing that is wrong
//! with it.
#![warn(clippy::indexing_slicing)]

pub(crate) mod authority;
mod chunked;
mod diagnose;
mod emit;
mod fields;
mod framing;
mod head;
mod lines;
mod names;
mod rejection;
mod scan;
mod target;
mod trailers;
pub mod wire;

pub use chunked::{BodyDecoder, Piece, TrailerLimits};
pub use emit::{
    Coding, Connection, emit_chunk_end, emit_chunk_head, emit_informational, emit_last_chunk,
    emit_request, emit_response,
};
pub(crate) use fields::is_look_alike;
pub use framing::RequestKind;
pub(crate) use head::{Meaning, parse_request_into};
pub use head::{Request, Response, parse_request, parse_response};
pub use rejection::Rejection;
pub use scan::{HeadLimits, MAX_FIELDS, Scan};
