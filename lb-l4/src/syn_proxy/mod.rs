//! Handshakes that cost no memory: SYN cookies, and what joins two handshakes afterwards.
//!
//! ```text
//!   client            SYN proxy              backend
//!     │  SYN              │                     │
//!     ├──────────────────▶│  nothing is kept    │
//!     │  SYN-ACK, cookie  │                     │
//!     │◀──────────────────┤                     │
//!     │  ACK, cookie + 1  │  a session, if one  │
//!     ├──────────────────▶│  can be had    SYN  │
//!     │  data             ├────────────────────▶│  the client's sequence number and options
//!     ├──────────────────▶│  held       SYN-ACK │
//!     │         window    │◀────────────────────┤
//!     │◀──────────────────┤  ACK, data          │
//!     │                   ├────────────────────▶│
//!     │◀────────────── splice ─────────────────▶│  for the life of the session
//! ```
//!
//! The backend counts its bytes from a number that is not the cookie, and keeps another clock: a
//! [`Splice`](crate::method::splice::Splice) translates. Both directions must pass here, so that it
//! serves [NAT and FULLNAT](crate::method::ForwardingMethod) alone.
//!
//! Source: RFC 4987, 3.7; RFC 5961; RFC 7323; RFC 9293.
#![warn(clippy::indexing_slicing)]

mod config;
mod cookie;
mod desk;
mod half_open;
mod places;
mod proxy;
mod rate;
mod segment;
mod stats;

pub use config::{SynProxyConfig, SynProxyConfigError, SynProxyLimits, SynProxyMode};
pub use cookie::{ClientSyn, Cookie, Cookies, MSS, SLOT, SynOptions};
pub use half_open::Released;
pub use proxy::{Accepted, BackendStep, ClientStep, Due, HalfOpenId, RETRIES, SynProxy};
pub use rate::SynRate;
pub use stats::SynProxyStats;

#[cfg(test)]
mod tests;
