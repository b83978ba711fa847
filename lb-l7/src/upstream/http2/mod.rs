//! HTTP/2 to backends: connections that many exchanges share, and the exchanges.

mod connection;
mod exchange;
mod head;
mod tunnel;

pub(super) use connection::{Http2, StreamPlace, start};
pub(super) use exchange::Exchange;
pub(super) use tunnel::Http2Tunnel;
