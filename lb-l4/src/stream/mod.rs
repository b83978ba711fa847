//! Sockets instead of packets: connections and datagrams, each end held by this host.

pub mod client_hello;
pub mod counters;
pub mod server_name;

pub use counters::{Counters, End, Refused, Stats};
