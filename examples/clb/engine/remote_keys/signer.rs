//! Signs by key servers, whichever the file names.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use lb_keyserver::client::LocalSigner;
use lb_keyserver::store::{KeyStore, MemoryStore};
use lb_keyserver::{KeyClient, RemoteSigner, SignError, SignRequest, Signature, Signing};
use tokio::time::sleep;

/// Signs by the key servers of the moment. Clones are one and the same.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Signer(Arc<Now>);

#[derive(Debug, Default)]
struct Now {
    way: ArcSwapOption<Way>,
    fallbacks: AtomicU64,
}

/// Whom to ask, and the keys for want of an answer.
#[derive(Debug)]
pub(super) struct Way {
    client: KeyClient,
    /// Whom the file named before, until there is a connection to whom it names now: no handshake
    /// fails for a new file.
    before: Option<KeyClient>,
    /// Keys that are here after all.
    spare: Arc<MemoryStore>,
}

impl Way {
    pub(super) fn new(client: KeyClient, spare: MemoryStore) -> Self {
        let (before, spare) = (None, Arc::new(spare));
        Self {
            client,
            before,
            spare,
        }
    }

    /// Asks `before` while there is no connection yet.
    pub(super) fn after(self, before: Option<KeyClient>) -> Self {
        Self { before, ..self }
    }

    fn is_connected(&self) -> bool {
        let servers = self.client.stats().servers;
        servers.iter().any(|one| one.connections > 0)
    }

    async fn sign(&self, request: SignRequest) -> Result<Signature, SignError> {
        match (&self.before, self.client.sign(request.clone()).await) {
            (Some(before), Err(SignError::NoServer)) => {
                let signed = before.sign(request).await;
                signed.map_err(|_| SignError::NoServer)
            }
            (_, settled) => settled,
        }
    }
}

impl Signer {
    /// Signs in this way from now on; without one not at all.
    pub(super) fn turn(&self, way: Option<Way>) {
        self.0.way.store(way.map(Arc::new));
    }

    /// Whether there is a connection to whom is asked now.
    pub(super) fn is_connected(&self) -> bool {
        let way = self.0.way.load();
        way.as_ref().is_some_and(|way| way.is_connected())
    }

    /// Whom to ask until there is a connection: who was asked before, or, if another is named now
    /// and who is asked has one, they.
    pub(super) fn before(&self, is_another: bool) -> Option<KeyClient> {
        let way = self.0.way.load_full()?;
        let now = (is_another && way.is_connected()).then_some(&way.client);
        now.or(way.before.as_ref()).cloned()
    }

    /// Closes whom the file named before, as soon as there is a connection to whom it names now;
    /// ends as well when that changes again.
    pub(super) async fn settle(self) {
        let Some(way) = self.0.way.load_full() else {
            return;
        };
        let Some(before) = &way.before else {
            return;
        };
        let is_current =
            |now: &Option<Arc<Way>>| now.as_ref().is_some_and(|now| Arc::ptr_eq(now, &way));
        while is_current(&self.0.way.load()) {
            if !way.is_connected() {
                sleep(SHORT).await;
                continue;
            }
            let (client, spare) = (way.client.clone(), Arc::clone(&way.spare));
            let alone = Arc::new(Way {
                client,
                before: None,
                spare,
            });
            let old = self.0.way.rcu(|now| match now {
                now if is_current(now) => Some(Arc::clone(&alone)),
                other => other.clone(),
            });
            if is_current(&old) {
                // Whoever waits for a signature of it still gets it.
                before.close().await;
            }
        }
    }

    /// Signatures by keys that are here after all.
    pub(super) fn fallbacks(&self) -> u64 {
        self.0.fallbacks.load(Relaxed)
    }
}

impl RemoteSigner for Signer {
    fn sign(&self, request: SignRequest) -> Signing<'_> {
        Box::pin(async move {
            let way = self.0.way.load_full().ok_or(SignError::NoServer)?;
            // A refusal is an answer, and after a silence no time is left.
            let has_spare = || way.spare.key(&request.key.ski()).is_some();
            match way.sign(request.clone()).await {
                Err(SignError::NoServer) if has_spare() => {
                    let spare = LocalSigner::new(Arc::clone(&way.spare));
                    let signature = spare.sign(request).await?;
                    self.0.fallbacks.fetch_add(1, Relaxed);
                    Ok(signature)
                }
                settled => settled,
            }
        })
    }
}

/// How often to look for a connection.
const SHORT: Duration = Duration::from_millis(50);
