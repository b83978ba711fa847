//! Keeps private keys off the nodes that terminate TLS.
#![forbid(unsafe_code)]

#[cfg(feature = "server")]
pub mod access;
#[cfg(feature = "server")]
pub mod audit;
mod der;
pub mod mode;
mod public_key;
pub mod question;
#[cfg(feature = "server")]
pub mod quota;
mod scheme;
mod sign;
mod ski;
pub mod store;
pub mod wire;

pub use mode::Mode;
pub use public_key::{BadPublicKey, PublicKey};
pub use scheme::{Hash, KeyKind, Scheme};
pub use sign::{RemoteSigner, SignError, SignRequest, Signature, Signing};
pub use ski::{BadSki, Ski};

