//! Packets as bytes: checked views, one file a protocol.
//!
//! [`parse`] reads the headers of a packet once, into [`Headers`]; [`rewrite`] and [`tcp`] change
//! the bytes and the headers together, and keep every checksum as right or as wrong as it was;
//! [`emit`] writes packets of our own. Nothing here allocates but `emit`, and nothing panics,
//! whatever the bytes.
//!
//! # Examples
//!
//! ```
//! use lb_l4::packet::{Checksum, Link};
//! use lb_l4::wire::emit::Datagram;
//! use lb_l4::wire::{Frame, parse, rewrite};
//!
//! let mut bytes = Vec::new();
//! Datagram::new("192.0.2.1:4000".parse()?, "203.0.113.10:53".parse()?, b"question")
//!     .emit(&mut bytes);
//! let Frame::Ip(mut headers) = parse(&bytes, Link::Ip)? else { panic!("not IP") };
//! assert_eq!(bytes[headers.payload()], *b"question");
//!
//! let backend = "10.0.0.7".parse()?;
//! rewrite::set_destination(&mut bytes, &mut headers, backend, Some(5353), Checksum::Complete);
//! assert_eq!(headers.destination_end().to_string(), "10.0.0.7:5353");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![warn(clippy::indexing_slicing)]

pub mod arp;
pub mod checksum;
pub mod emit;
pub mod ethernet;
mod frame;
mod headers;
pub(crate) mod hop;
pub mod ipv4;
pub mod ipv6;
pub mod payload;
mod plain;
pub mod rewrite;
pub mod tcp;
pub mod udp;

pub use frame::{Frame, ParseError, parse};
pub use headers::{Body, FragmentPart, Headers, protocol};
pub use tcp::TcpHeader;

pub(crate) use plain::{Carries, parse_into};
