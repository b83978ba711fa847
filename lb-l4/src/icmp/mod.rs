//! Errors that carry somebody else's packet, errors of our own, and echo.
//!
//! # Errors of others
//!
//! A router or a host that cannot deliver a packet quotes its beginning. [`embedded`](fn@embedded) says which
//! flow was quoted; its [`answered_by`](Embedded::answered_by) is what a packet in the other
//! direction would be called, and so finds the session by the lookup that packets have anyway:
//!
//! ```text
//!   quoted: VIP → client      look up client → VIP       the backend's answer was not delivered:
//!                             (a packet of the client)   the error goes to the backend
//!   quoted: client → backend  look up backend → client   our packet was not delivered:
//!           or local → backend        (an answer)        the error goes to the client
//! ```
//!
//! [`rewrite`](fn@rewrite) then gives the quoted packet the addresses that its sender knows it by. The error
//! goes to whom that packet came from; if it would show an address behind the forwarder, it comes
//! from the virtual address (RFC 5508, section 4.2). By method:
//!
//! | | about a packet to the backend | about an answer of the backend |
//! |---|---|---|
//! | NAT, FULLNAT | [`rewrite`](fn@rewrite) to the client | [`rewrite`](fn@rewrite) to the backend |
//! | direct routing | goes to the client by itself | as it is, to the backend's link address |
//! | tunnel | [`tunnelled`](fn@tunnelled), then [`Tunnelled::answer`] | as it is, encapsulated |
//!
//! An error is taken **only if a session is found for it**; [`Embedded::sequence`] can be held to
//! the window of that session (RFC 5927, section 4.1). Redirects and source quench are never
//! taken (RFC 6633). What it says of the path's MTU is passed on:
//!
//! - IPv6 below 1280: dropped, as RFC 8201 (section 4) tells every receiver to.
//! - IPv4 below 68, the least that a link may have (RFC 791): dropped; 0 is an old router that does
//!   not say, which hosts know how to take (RFC 1191, section 5), and is passed on.
//! - IPv4 from 68 to 551: passed on. Hosts do not believe it, and stop forbidding fragments instead
//!   (Linux `min_pmtu`, 552): only they can. Raising the number here would make a black hole.
//!
//! # Errors of our own
//!
//! [`refuse`](fn@refuse) turns a packet into the error about it, in its buffer, and
//! [`reset`](fn@reset) a TCP segment into the RST against it. [`may_be_answered`] says what is never answered. [`Answers`] does
//! all of this at a bounded rate. [`mtu_inside`] is what is left of an MTU in a tunnel.
//!
//! # Echo
//!
//! [`echo_reply`] turns a request into its reply. Fragments of a request are answered one by one,
//! since the payload, and so the checksum but for the type, is the same.

mod answers;
mod echo;
mod embedded;
mod message;
mod patch;
mod refuse;
mod reset;
mod rewrite;
mod tunnelled;

pub use answers::{AnswerConfig, AnswerStats, Answers, TcpRefusal};
pub use echo::echo_reply;
pub use embedded::{Embedded, ErrorKind, embedded, is_echo_request, is_error};
pub use refuse::{Refusal, Unanswerable, may_be_answered, refuse};
pub use reset::reset;
pub use rewrite::{Translation, rewrite};
pub use tunnelled::{Tunnelled, mtu_inside, tunnelled};
