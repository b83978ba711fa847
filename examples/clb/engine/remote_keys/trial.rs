//! Has keys that are elsewhere sign once, so that their want is told before a client meets it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use lb_keyserver::rustls::{Handshake, Step, Transcripts, remote_provider};
use lb_keyserver::{KeyClient, Mode, RemoteSigner, SignError, SignRequest, Ski};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use crate::admin::snapshot::RemoteKey;
use crate::config::Certificate;

/// One key, and a handshake that waits for its signature.
///
/// A handshake and no made-up message: in the strict mode, the key server looks at all of it.
#[derive(Debug)]
pub(super) struct Trial {
    request: SignRequest,
    /// The first name of the certificate.
    name: String,
    state: AtomicU8,
}

/// The keys of one file, which are tried again and again: the sooner, the fewer of them sign.
#[derive(Debug, Default)]
pub(super) struct Trials {
    all: Arc<[Trial]>,
    task: Option<JoinHandle<()>>,
}

impl Trial {
    /// A trial of the key of this certificate, in `mode`.
    ///
    /// # Errors
    ///
    /// Says what of a handshake cannot be made.
    pub(super) fn of(certificate: &Certificate, mode: Mode) -> Result<Self, String> {
        let name = certificate.name().unwrap_or_default();
        let request = request(certificate, name, mode).map_err(|error| error.to_string())?;
        Ok(Self {
            request: request.ok_or("a handshake asks for no signature")?,
            name: name.into(),
            state: AtomicU8::new(UNTRIED),
        })
    }

    pub(super) fn ski(&self) -> Ski {
        self.request.key.ski()
    }

    /// Asks for the signature, which is for nobody.
    async fn run(&self, client: &KeyClient, patience: Duration) -> Result<(), SignError> {
        let request = self.request.clone().within(patience);
        client.sign(request).await.map(drop)
    }

    /// Keeps what came of it, and tells it if that is new.
    fn settle(&self, result: Result<(), SignError>) {
        let (ski, certificate) = (self.ski(), &self.name);
        let state = if result.is_ok() { READY } else { WANTING };
        let before = self.state.swap(state, Relaxed);
        if before == state {
            return;
        }
        match result {
            Ok(()) if before == WANTING => {
                info!(%ski, certificate, "a key server signs with the key now");
            }
            Ok(()) => info!(%ski, certificate, "a key server signs with the key"),
            Err(error) => {
                let why = error.to_string();
                warn!(%ski, certificate, why, "no key server signs with the key");
            }
        }
    }

    fn is_ready(&self) -> bool {
        self.state.load(Relaxed) == READY
    }
}

impl Trials {
    /// Tries these keys one by one: those that do not sign every [`PAUSE`], the others too every
    /// [`AGAIN`], or less often where there are many.
    pub(super) fn start(client: &KeyClient, trials: Vec<Trial>, patience: Duration) -> Self {
        let all: Arc<[Trial]> = trials.into();
        let (tried, client) = (Arc::clone(&all), client.clone());
        let task = tokio::spawn(async move {
            connected(&client, patience).await;
            let again = again(tried.len());
            let mut all_at = Instant::now();
            loop {
                let is_for_all = Instant::now() >= all_at;
                for trial in tried.iter().filter(|trial| is_for_all || !trial.is_ready()) {
                    trial.settle(trial.run(&client, patience).await);
                }
                let now = Instant::now();
                if is_for_all {
                    all_at = now + again;
                }
                let is_wanting = !tried.iter().all(Trial::is_ready);
                let soon = Some(now + PAUSE).filter(|_| is_wanting);
                sleep_until(soon.map_or(all_at, |soon| soon.min(all_at))).await;
            }
        });
        let task = Some(task);
        Self { all, task }
    }

    /// What came of each, in the order of their names.
    pub(super) fn shown(&self) -> Vec<RemoteKey> {
        let shown = self.all.iter().map(|trial| RemoteKey {
            ski: trial.ski().to_string(),
            certificate: trial.name.clone(),
            ready: match trial.state.load(Relaxed) {
                UNTRIED => None,
                state => Some(state == READY),
            },
        });
        shown.collect()
    }
}

impl Drop for Trials {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// How long after all of so many keys were tried all are tried again.
fn again(keys: usize) -> Duration {
    let keys = u32::try_from(keys).unwrap_or(u32::MAX);
    AGAIN.max(EACH.saturating_mul(keys))
}

/// Waits until there is a connection, or `patience` is over: at first there is none yet.
async fn connected(client: &KeyClient, patience: Duration) {
    let deadline = Instant::now() + patience;
    let is_connected = || client.stats().servers.iter().any(|one| one.connections > 0);
    while !is_connected() && Instant::now() < deadline {
        sleep(SHORT).await;
    }
}

/// What a handshake of a client who asks for `name` waits for.
fn request(
    certificate: &Certificate,
    name: &str,
    mode: Mode,
) -> Result<Option<SignRequest>, rustls::Error> {
    let provider = Arc::new(remote_provider(&aws_lc_rs::default_provider()));
    let shown = SingleCertAndKey::from(Arc::clone(certificate.certified_key()));
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(shown));
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    // A name for a family stands for each of it; without one, no name is asked for.
    let host = name.replacen('*', "www", 1);
    let host = ServerName::try_from(host).unwrap_or_else(|_| NAMELESS.into());
    let mut client = ClientConnection::new(Arc::new(client), host)?;
    let mut hello = Vec::new();
    // Writing to memory does not fail.
    let _ = client.write_tls(&mut hello);
    let transcripts = match mode {
        Mode::Strict => Transcripts::Recorded,
        Mode::Plain | Mode::Bound => Transcripts::Omitted,
    };
    let mut handshake = Handshake::new(Arc::new(server)).transcripts(transcripts);
    match handshake.input(&hello).map_err(|fatal| fatal.error)? {
        Step::NeedSignature(pending) => Ok(Some(pending.request().clone())),
        _ => Ok(None),
    }
}

const UNTRIED: u8 = 0;
const READY: u8 = 1;
const WANTING: u8 = 2;

/// An address is no name that a client could send (RFC 6066, 3).
const NAMELESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// While connections are made.
const SHORT: Duration = Duration::from_millis(50);
/// Until keys that did not sign are tried again.
const PAUSE: Duration = Duration::from_secs(10);
/// Until keys that did are: each try is one more signature, and one more record of an audit log.
pub(in super::super) const AGAIN: Duration = Duration::from_secs(30);
/// No more than ten such signatures a second, however many keys there are.
const EACH: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_keys_are_tried_less_often() {
        for (keys, seconds) in [(0, 30), (1, 30), (300, 30), (310, 31), (10_000, 1_000)] {
            assert_eq!(again(keys), Duration::from_secs(seconds), "{keys}");
        }
    }
}
