//! Keeps private keys off the nodes that terminate TLS.
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
