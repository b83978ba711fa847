//! Keeps private keys off the nodes that terminate TLS.
//!
//! ```text
//!   TLS client ──▶ node: RemoteTls ──▶ KeyClient ══ mutual TLS ══▶ KeyServer ──▶ KeyStore
//!                    │  no thread waits while a signature is on its way
//!                    └─▶ TlsStream, as any other
//! ```
//!
//! The server of a TLS connection uses its private key once, for one signature. A node that has the
//! certificate and asks a key server for that signature needs no key; who breaks into the node takes
//! none away.
//!
//! | module | question |
//! |---|---|
//! | [`wire`] | what are the bytes? |
//! | [`mode`] | how much does the server know of what it signs? |
//! | [`question`] | what may be asked, and what is signed then? |
//! | [`store`] | who holds keys? |
//! | [`client`] | which key server is asked, and what if it does not answer? |
//! | [`rustls`](mod@rustls) | how does a TLS handshake wait for a signature? |
//! | [`access`] | who may sign with which? |
//! | [`quota`] | how often? |
//! | [`audit`] | what was signed, beyond doubt? |
//! | [`server`] | what does a key server decide, and how does it run? |
//!
//! | feature | adds |
//! |---|---|
//! | `client` | the client, and the way into a rustls handshake; on by default |
//! | [`server`] | the server; on by default |
//! | `pkcs11` | keys in a hardware module |
#![forbid(unsafe_code)]

#[cfg(feature = "server")]
pub mod access;
#[cfg(feature = "server")]
pub mod audit;
#[cfg(feature = "client")]
pub mod client;
mod der;
pub mod mode;
mod mutual_tls;
mod public_key;
pub mod question;
#[cfg(feature = "server")]
pub mod quota;
#[cfg(feature = "client")]
pub mod rustls;
mod scheme;
#[cfg(feature = "server")]
pub mod server;
mod sign;
mod ski;
pub mod store;
#[cfg(any(feature = "client", feature = "server"))]
mod tokio;
pub mod wire;

pub use mode::Mode;
pub use mutual_tls::{MutualTls, MutualTlsError, MutualTlsFault};
pub use public_key::{BadPublicKey, PublicKey};
pub use scheme::{Hash, KeyKind, Scheme};
pub use sign::{RemoteSigner, SignError, SignRequest, Signature, Signing};
pub use ski::{BadSki, Ski};

#[cfg(feature = "client")]
pub use self::tokio::client::{Addresses, CertifiedKeyError, ConnectError, KeyClient};
#[cfg(feature = "server")]
pub use self::tokio::server::KeyServer;
