//! UDP through a balancer, with real sockets on loopback.
#![cfg(feature = "tokio")]
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail as the test does"
)]

#[path = "udp/harness.rs"]
mod harness;

#[path = "udp/addresses.rs"]
mod addresses;
#[path = "udp/failures.rs"]
mod failures;
#[path = "udp/limits.rs"]
mod limits;
#[path = "udp/one_packet.rs"]
mod one_packet;
#[path = "udp/placing.rs"]
mod placing;
#[path = "udp/sessions.rs"]
mod sessions;
#[path = "udp/trains.rs"]
mod trains;
