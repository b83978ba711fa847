//! AF_XDP on veth pairs, in network namespaces that each test makes for itself.
#![expect(
    clippy::unwrap_used,
    reason = "what the tests ask the host for is there"
)]

mod errors;
mod host;
mod laws;
mod link;
mod namespace;
mod packets;
