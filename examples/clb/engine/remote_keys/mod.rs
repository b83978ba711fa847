//! Keys that are elsewhere: one client of key servers for the whole process, kept from file to file.

mod figures;
mod signer;
pub(super) mod trial;

use std::collections::BTreeMap;
use std::time::Duration;

use lb_keyserver::client::{AskConfig, Home, KeyClientConfig, Verify};
use lb_keyserver::rustls::Transcripts;
use lb_keyserver::store::MemoryStore;
use lb_keyserver::{Addresses, KeyClient, Mode, Ski};
use tracing::{error, info};

use crate::config::{self, Config, Target};
pub(super) use signer::Signer;
use signer::Way;
use trial::{Trial, Trials};

/// Keys that are elsewhere, and who is asked for them.
#[derive(Debug, Default)]
pub(super) struct RemoteKeys {
    signer: Signer,
    asked: Option<Asked>,
    trials: Trials,
}

/// Whom the file names now.
#[derive(Debug)]
struct Asked {
    config: config::RemoteKeys,
    client: KeyClient,
}

/// How a listener asks for the keys that are elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Elsewhere {
    pub(super) signer: Signer,
    pub(super) transcripts: Transcripts,
    /// How long a handshake waits for its signature.
    pub(super) within: Duration,
    /// The most handshakes that wait at once.
    pub(super) waiting: usize,
}

impl RemoteKeys {
    /// A client for what `config` says, unless the one in use does; it begins to connect, and no
    /// more.
    ///
    /// # Errors
    ///
    /// Says why there is none; nothing has changed then.
    pub(super) fn prepare(&self, config: &Config) -> Result<Option<KeyClient>, String> {
        let Some(wanted) = &config.key_server else {
            return Ok(None);
        };
        let kept = self.asked.as_ref();
        if kept.is_some_and(|asked| asked.config.connects_as(wanted)) {
            return Ok(None);
        }
        let servers: Vec<String> = wanted.servers.iter().map(ToString::to_string).collect();
        let mut addresses = Addresses::from(servers);
        if let Some(name) = &wanted.server_name {
            addresses = addresses.named(name.clone());
        }
        let identity = wanted.identity.made().clone();
        let client = KeyClient::lazy(addresses, identity, settings(wanted));
        client
            .map(Some)
            .map_err(|error| format!("key_server: {error}"))
    }

    /// Asks as `config` says from now on, through `fresh` if there is one.
    pub(super) fn change(&mut self, config: &Config, fresh: Option<KeyClient>) {
        let asked = self.asked.take();
        // What another authority has vouched for is asked no more, whatever it costs.
        let is_trusted = asked
            .as_ref()
            .zip(config.key_server.as_ref())
            .is_some_and(|(asked, wanted)| asked.config.trusts_as(wanted));
        let before = self.signer.before(fresh.is_some()).filter(|_| is_trusted);
        let (kept, gone) = match (asked, &fresh) {
            (Some(asked), None) if config.key_server.is_some() => (Some(asked), None),
            (asked, _) => (None, asked),
        };
        // One that is asked until there is a connection ends after that.
        let is_asked_on = is_trusted && self.signer.is_connected();
        if let Some(gone) = gone.filter(|_| !is_asked_on) {
            // Whoever waits for a signature of it still gets it.
            tokio::spawn(async move { gone.client.close().await });
        }
        if let Some(config) = config.key_server.clone() {
            if let Some(kept) = kept.as_ref().filter(|kept| kept.config != config) {
                kept.client.set_identity(config.identity.made().clone());
            }
            let client = fresh.or_else(|| kept.map(|kept| kept.client));
            self.asked = client.map(|client| Asked { config, client });
        }
        self.signer.turn(self.asked.as_ref().map(|asked| {
            let client = asked.client.clone();
            Way::new(client, fallbacks(config)).after(before)
        }));
        tokio::spawn(self.signer.clone().settle());
        self.try_all(config);
    }

    /// How listeners ask now; none if the file names nobody.
    pub(super) fn elsewhere(&self, config: &Config) -> Option<Elsewhere> {
        let keys = config.key_server.as_ref()?;
        Some(Elsewhere {
            signer: self.signer.clone(),
            transcripts: match keys.mode {
                Mode::Strict => Transcripts::Recorded,
                Mode::Plain | Mode::Bound => Transcripts::Omitted,
            },
            within: keys.timeout,
            waiting: usize::try_from(keys.waiting).unwrap_or(usize::MAX),
        })
    }

    /// Has each key sign now and then, beside all else.
    fn try_all(&mut self, config: &Config) {
        let Some(asked) = &self.asked else {
            self.trials = Trials::default();
            return;
        };
        let mut trials: BTreeMap<Ski, Trial> = BTreeMap::new();
        for certificate in certificates(config) {
            match Trial::of(certificate, asked.config.mode) {
                Ok(trial) => drop(trials.entry(trial.ski()).or_insert(trial)),
                Err(error) => error!(error, "a key that is elsewhere cannot be tried"),
            }
        }
        info!(
            servers = asked.config.servers.len(),
            keys = trials.len(),
            mode = asked.config.mode.as_str(),
            "keys are elsewhere"
        );
        let patience = asked.config.timeout;
        self.trials = Trials::start(&asked.client, trials.into_values().collect(), patience);
    }
}

/// What the library is told.
fn settings(from: &config::RemoteKeys) -> KeyClientConfig {
    let ask = AskConfig::default()
        .attempt_timeout(from.attempt_timeout)
        .verify(match from.verify {
            config::Verify::Always => Verify::Always,
            config::Verify::Sampled => Verify::Sampled,
        });
    let ask = if from.hedge {
        ask
    } else {
        ask.hedge_percent(0)
    };
    KeyClientConfig::default()
        // Handshakes wait on the threads of workers, and files are read on the one that serves
        // all this: neither should hold the other up.
        .home(Home::Thread)
        .mode(from.mode)
        .waiting(from.waiting)
        .ask(ask)
}

/// The certificates whose keys are elsewhere.
fn certificates(config: &Config) -> impl Iterator<Item = &config::Certificate> {
    let targets = config.listeners.iter().map(|listener| &listener.target);
    let tls = targets.filter_map(|target| match target {
        Target::Http(http) => http.tls.as_ref(),
        _ => None,
    });
    let all = tls.flat_map(|tls| &tls.certificates);
    all.filter(|certificate| certificate.remote().is_some())
}

/// The keys that are here after all.
fn fallbacks(config: &Config) -> MemoryStore {
    let remotes = certificates(config).filter_map(config::Certificate::remote);
    let keys = remotes.filter_map(|remote| remote.fallback.clone());
    keys.fold(MemoryStore::new(), |store, key| store.with_shared_key(key))
}
