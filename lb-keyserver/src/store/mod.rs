//! Who holds keys.
//!
//! | holder | keys are |
//! |---|---|
//! | [`MemoryStore`] | given by the program |
//! | `FileStore` (feature `server`) | in files that their owner alone may read |
//! | `pkcs11::Pkcs11Store` (feature `pkcs11`) | in a hardware module |

use std::fmt;
use std::sync::Arc;

use crate::public_key::PublicKey;
use crate::scheme::Scheme;
use crate::ski::Ski;

#[cfg(feature = "server")]
mod files;
mod memory;
mod pem;
#[cfg(feature = "pkcs11")]
pub mod pkcs11;
#[cfg(feature = "server")]
mod protect;
#[cfg(feature = "server")]
mod reloaded;
mod soft_key;

#[cfg(feature = "server")]
pub use files::{FileStore, FilesError, read_secret};
pub use memory::MemoryStore;
#[cfg(feature = "server")]
pub use protect::{Protection, protect_process};
#[cfg(feature = "server")]
pub use reloaded::Reloaded;
pub use soft_key::{BadKey, SoftKey};

/// A private key that signs.
///
/// The server has checked what it is asked: the scheme is one of the key's kind, a digest is as long
/// as its hash. It calls from threads of its own, several at once, and the call may block.
pub trait SigningKey: fmt::Debug + Send + Sync + 'static {
    /// The public half.
    fn public_key(&self) -> &PublicKey;

    /// Signs; what comes out is as TLS carries it: DER for ECDSA, as many bytes as the modulus for
    /// RSA, 64 for Ed25519.
    ///
    /// # Errors
    ///
    /// When the key cannot be used now.
    fn sign(&self, scheme: Scheme, input: Input<'_>) -> Result<Vec<u8>, SignFailure>;
}

/// What a key is to sign.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a signature is over the one or the other"
)]
pub enum Input<'a> {
    /// The digest, by the hash of the scheme.
    Digest(&'a [u8]),
    /// The whole message, for schemes that hash for themselves.
    Message(&'a [u8]),
}

/// Why a key did not sign.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SignFailure {
    /// The input is not what the scheme takes, or the key is broken.
    #[error("the key cannot sign this")]
    Crypto,
    /// What holds the key cannot be reached now, such as a hardware module that has gone.
    #[error("the key cannot be used now")]
    Unavailable,
}

/// Finds keys by their names.
///
/// Asked once a signature, from the network's threads: it must not block. What it answers may change
/// from one call to the next; a key that it gave out stays good until the signature is made.
pub trait KeyStore: fmt::Debug + Send + Sync + 'static {
    /// The key of that name.
    fn key(&self, ski: &Ski) -> Option<Arc<dyn SigningKey>>;

    /// The names of all keys, in no order.
    fn names(&self) -> Vec<Ski>;
}

/// Several stores as one; of two that have a key, the first gives it.
impl<S: KeyStore> KeyStore for Vec<S> {
    fn key(&self, ski: &Ski) -> Option<Arc<dyn SigningKey>> {
        self.iter().find_map(|store| store.key(ski))
    }

    /// The names of all keys; of one that several stores have, several times.
    fn names(&self) -> Vec<Ski> {
        self.iter().flat_map(KeyStore::names).collect()
    }
}

impl<S: KeyStore + ?Sized> KeyStore for Arc<S> {
    fn key(&self, ski: &Ski) -> Option<Arc<dyn SigningKey>> {
        S::key(self, ski)
    }

    fn names(&self) -> Vec<Ski> {
        S::names(self)
    }
}
