//! What an exchange promises, from the client's first byte to the backend's last: a client, the
//! proxy and its backends in one process, each side byte by byte where the bytes matter.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test that meets what it does not expect has failed"
)]

mod aborts;
mod downgrade;
mod drains;
mod early;
mod forwarding;
mod hedges;
mod interim;
mod limits;
mod persist;
mod pressure;
mod retries;
mod rig;
mod rules;
mod soak;
mod timeouts;
mod upgrade;
