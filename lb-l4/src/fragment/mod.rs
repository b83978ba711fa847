//! Which fragments belong together, and which session they belong to.
//!
//! Only the first fragment of a datagram has ports. A [`FragmentTable`] remembers what they were
//! until the last fragment has passed, and holds fragments that come before the first. Nothing is
//! reassembled: each fragment goes on as it came, with its addresses rewritten (the transport
//! checksum, incremental, is in the first), or encapsulated.
//!
//! ```text
//!               handle                      poll_released
//!   fragment ──────────▶ FragmentTable ─────────────────────▶ those that were held,
//!                          │                                  once the first has come
//!                          ▼
//!             Flow(Piece) · Held · Drop(reason)
//! ```
//!
//! What is refused, and by which rule:
//!
//! | a fragment that | is | by |
//! |---|---|---|
//! | overlaps another one, unless it is the same range again | dropped with all of its datagram | RFC 5722, here for IPv4 too |
//! | ends behind the last one, or is a second, other last one | dropped with all of its datagram | RFC 5722 |
//! | ends behind byte 65,535 of its packet | dropped | RFC 791, RFC 8200 4.5 |
//! | is not the last, and no multiple of 8 bytes long | dropped | RFC 791, RFC 8200 4.5 |
//! | is empty | dropped | it says nothing |
//! | is a first one without the whole TCP, UDP or SCTP header | dropped with all of its datagram | RFC 1858, RFC 7112 |
//! | is TCP, and begins inside of the TCP header | dropped | RFC 3128 |
//! | is all of a datagram, with a fragment header (IPv6) | handled as no fragment | RFC 6946 |
//!
//! A datagram is forgotten when it is complete, and after [`FragmentConfig::timeout`] otherwise.
//!
//! # Under attack
//!
//! Whoever sends fragments of datagrams that never become complete fills any table. When this one
//! is full, a datagram **at random** makes room for the new one. A datagram that takes `t` seconds
//! from its first to its last fragment, under `r` new datagrams a second of an attacker's, survives
//! with probability (1 - 1/n)^(r t) in a table of n: with the default of 8,192, at a million a
//! second and 1 ms, 88 %. Evicting the oldest would let nobody survive who takes longer than n / r,
//! and refusing the new would shut everybody out for the timeout. Memory held for fragments without
//! a first is bounded apart from that, and makes room in the same way, so that fragments in their
//! order, which are nearly all, need none of it.

mod config;
mod extent;
mod piece;
mod spans;
mod split;
mod store;
mod table;

pub use config::FragmentConfig;
pub use piece::{Fragmented, Piece, Released, Subject};
pub use split::{Unsplittable, split};
pub use table::{FragmentStats, FragmentTable};

pub use extent::set_identification;
