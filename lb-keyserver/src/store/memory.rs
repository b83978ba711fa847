//! Keys that the program gives.

use std::collections::HashMap;
use std::sync::Arc;

use super::{KeyStore, SigningKey};
use crate::ski::Ski;

/// Keys that the program gives, and that stay as they are.
///
/// # Examples
///
/// ```
/// use lb_keyserver::store::{KeyStore, MemoryStore, SigningKey, SoftKey};
///
/// let key = SoftKey::from_pem(rcgen::KeyPair::generate()?.serialize_pem().as_bytes())?;
/// let ski = key.public_key().ski();
/// let store = MemoryStore::new().with_key(key);
/// assert!(store.key(&ski).is_some());
/// assert_eq!(store.names(), [ski]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    keys: HashMap<Ski, Arc<dyn SigningKey>>,
}

impl MemoryStore {
    /// A store without keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key, in the place of one of the same name.
    #[must_use]
    pub fn with_key(self, key: impl SigningKey) -> Self {
        self.with_shared_key(Arc::new(key))
    }

    /// Adds a key that others hold too.
    #[must_use]
    pub fn with_shared_key(mut self, key: Arc<dyn SigningKey>) -> Self {
        self.keys.insert(key.public_key().ski(), key);
        self
    }
}

impl FromIterator<Arc<dyn SigningKey>> for MemoryStore {
    fn from_iter<I: IntoIterator<Item = Arc<dyn SigningKey>>>(keys: I) -> Self {
        keys.into_iter().fold(Self::new(), Self::with_shared_key)
    }
}

impl KeyStore for MemoryStore {
    fn key(&self, ski: &Ski) -> Option<Arc<dyn SigningKey>> {
        self.keys.get(ski).cloned()
    }

    fn names(&self) -> Vec<Ski> {
        self.keys.keys().copied().collect()
    }
}
