//! The TCP balancer over real sockets on loopback.
#![cfg(feature = "tokio")]
#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

mod bulk;
mod ends;
mod heads;
mod limits;
mod placing;
mod reaching;
mod serving;
mod setup;
