//! The edge: connections, on tokio.

#[cfg(feature = "server")]
pub(crate) mod server;
