//! Sockets instead of packets: connections and datagrams, each end held by this host.

#[cfg(feature = "tokio")]
mod accept;
#[cfg(feature = "tokio")]
mod arrival;
#[cfg(feature = "tokio")]
mod carry;
pub mod client_hello;
#[cfg(feature = "tokio")]
mod config;
pub mod counters;
#[cfg(feature = "tokio")]
mod desk;
#[cfg(feature = "tokio")]
mod flow;
#[cfg(feature = "tokio")]
mod head;
#[cfg(feature = "tokio")]
mod log;
#[cfg(feature = "tokio")]
mod open;
#[cfg(feature = "tokio")]
mod placement;
#[cfg(feature = "tokio")]
mod reactor;
#[cfg(feature = "tokio")]
mod relay;
pub mod server_name;
#[cfg(feature = "tokio")]
mod session;
#[cfg(feature = "tokio")]
mod side;
#[cfg(feature = "tokio")]
mod tcp;
#[cfg(feature = "tokio")]
pub mod udp;
#[cfg(feature = "tokio")]
mod worker;

#[cfg(feature = "tokio")]
pub use config::{Settings, TcpConfig, TcpConfigError};
pub use counters::{Counters, End, Refused, Stats};
#[cfg(feature = "tokio")]
pub(crate) use reactor::Socket;
#[cfg(feature = "tokio")]
pub use tcp::{BindError, TcpBalancer, TcpHandle, TcpService};
#[cfg(feature = "tokio")]
pub use worker::TcpWorker;
