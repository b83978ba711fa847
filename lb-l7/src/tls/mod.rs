//! TLS towards clients and towards backends, by rustls.
//!
//! ```text
//!           ClientHello         Certificates · TlsPolicy · ClientAuth · TicketKeys
//!  client ──────────────▶ Tls ◀──────────────── update, while connections are open
//!                          │
//!                          └─▶ TlsStream, and what was settled: Handshake
//!
//!  proxy ──── BackendTls: Roots, a client certificate, a name, ALPN ────▶ backend
//! ```
//!
//! [`Tls`] is an [`Accept`](lbcore::connect::Accept), so that one that signs elsewhere can take its
//! place; that one finds the configuration of a connection by [`read_hello`] and
//! [`Tls::server_config`]. Nothing here installs a default of the process: the crypto provider, that
//! of AWS-LC, is named wherever rustls asks for one.
//!
//! 0-RTT is never taken, and renegotiation does not exist in rustls.

mod accept;
mod backend;
mod certificate;
mod certificates;
mod client_auth;
mod der;
mod handshake;
mod hello;
mod pem;
mod policy;
mod refusal;
mod roots;
#[cfg(test)]
mod tests;
mod tickets;
mod unverified;

pub use accept::{PLAIN_HTTP, Tickets, Tls, TlsConfig, TlsError};
pub use backend::{BackendTls, BackendTlsConfig};
pub use certificate::{Certificate, CertificateWarning};
pub use certificates::Certificates;
pub use client_auth::{ClientAuth, ClientCertificate};
pub use handshake::{Alpn, Handshake};
pub use hello::read_hello;
pub use pem::{LoadError, LoadFault};
pub use policy::{PolicyError, TlsPolicy};
pub use refusal::{AcceptError, Refusal, Refused};
pub use roots::Roots;
pub use tickets::{RandomError, TicketKey, TicketKeys};
