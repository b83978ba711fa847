//! `[key_server]`: who holds the keys of certificates that say `key = "remote"`.

use std::fmt;
use std::time::Duration;

use lb_keyserver::wire::PORT;
use lb_keyserver::{Mode, MutualTls, MutualTlsFault};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};

use super::MILLISECOND;
use super::file::{self, Pem};
use super::section::Section;

/// Key servers, and how they are asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RemoteKeys {
    /// At least one, each once.
    pub(crate) servers: Vec<Place>,
    /// Who this node is to them, and whom it believes.
    pub(crate) identity: Identity,
    /// How much they know of what they sign. Default bound.
    pub(crate) mode: Mode,
    /// The name in their certificates. Default: the host of each address.
    pub(crate) server_name: Option<ServerName<'static>>,
    /// How long a handshake waits for its signature. Default 2 s.
    pub(crate) timeout: Duration,
    /// How long one key server may take, before another is asked. Default 300 ms.
    pub(crate) attempt_timeout: Duration,
    /// Whether a second one is asked where the first is slow. Default true.
    pub(crate) hedge: bool,
    /// Which signatures are verified before they are used.
    pub(crate) verify: Verify,
    /// The most handshakes that wait at once. Default 4,096.
    pub(crate) waiting: u32,
}

/// Where a key server listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    /// A name or an address, without brackets.
    pub(crate) host: String,
    /// Default 2407.
    pub(crate) port: u16,
}

/// The certificate that is shown to the other end of mutual TLS, and whose is believed.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    certificate: Pem,
    key: Pem,
    ca: Pem,
    made: MutualTls,
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.certificate == other.certificate && self.key == other.key && self.ca == other.ca
    }
}

impl Identity {
    /// As the library takes it.
    pub(crate) const fn made(&self) -> &MutualTls {
        &self.made
    }
}

impl RemoteKeys {
    /// Whether connections that are made as this says serve `other` too: a new certificate is for
    /// connections to come, but what another authority has vouched for is not to stay.
    pub(crate) fn connects_as(&self, other: &Self) -> bool {
        let is_trusted = self.trusts_as(other);
        let other = Self {
            identity: self.identity.clone(),
            timeout: self.timeout,
            ..other.clone()
        };
        is_trusted && *self == other
    }

    /// Whether it believes the same authorities.
    pub(crate) fn trusts_as(&self, other: &Self) -> bool {
        self.identity.ca == other.identity.ca
    }

    /// Whether handshakes ask for their signatures in the same way.
    pub(crate) fn asks_as(&self, other: &Self) -> bool {
        (self.mode, self.timeout, self.waiting) == (other.mode, other.timeout, other.waiting)
    }
}

/// Which signatures are verified before they are used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verify {
    /// Each.
    Always,
    /// Those by RSA, which cost little; of others the first and some.
    Sampled,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The table; a file without one has none.
pub(super) fn read(section: &mut Section<'_>) -> Option<RemoteKeys> {
    section.require("addresses", "a list of HOST:PORT");
    let servers = section.texts("addresses", ADDRESS_FORM, place);
    if section.is_empty("addresses") {
        section.wrong("addresses", "empty, expected at least one HOST:PORT");
    }
    if let Some(twice) = servers.as_deref().and_then(twice) {
        section.wrong("addresses", format!("{twice} stands there twice"));
    }
    let identity = identity(section);
    let mode = section.choice("mode", "mode", &Mode::ALL.map(|mode| (mode.as_str(), mode)));
    let server_name = section.text_as("server_name", "the name of a host", |text| {
        let name = ServerName::try_from(text.to_owned());
        name.map_err(|_| format!("{text:?} is not the name of a host"))
    });
    let timeout = section.span("timeout", MILLISECOND..=MINUTE);
    let attempt_timeout = section.span("attempt_timeout", MILLISECOND..=MINUTE);
    let (timeout, attempt) = (
        timeout.unwrap_or(TIMEOUT),
        attempt_timeout.unwrap_or(ATTEMPT_TIMEOUT),
    );
    if section.has("attempt_timeout") && attempt > timeout {
        section.wrong("attempt_timeout", "longer than timeout, which includes it");
    }
    let hedge = section.flag("hedge");
    let verify = section.choice("verify", "word", &VERIFY);
    let waiting = section.integer("waiting", 1..=WAITING_MOST);
    Some(RemoteKeys {
        servers: servers.filter(|servers| !servers.is_empty())?,
        identity: identity?,
        mode: mode.unwrap_or_default(),
        server_name,
        timeout,
        attempt_timeout: attempt.min(timeout),
        hedge: hedge.unwrap_or(true),
        verify: verify.unwrap_or(Verify::Always),
        waiting: waiting.unwrap_or(WAITING),
    })
}

/// `HOST:PORT`, `[IPv6]:PORT`, or either without the port.
fn place(text: &str) -> Result<Place, String> {
    let wrong = || format!("{text:?} is not an address, expected {ADDRESS_FORM}");
    let (host, port) = parts(text).ok_or_else(wrong)?;
    let port = port.map_or(Some(PORT), |port| {
        port.parse().ok().filter(|port| *port != 0)
    });
    match (ServerName::try_from(host), port) {
        (Ok(_), Some(port)) => Ok(Place {
            host: host.into(),
            port,
        }),
        _ => Err(wrong()),
    }
}

/// The host, and the port if there is one.
fn parts(text: &str) -> Option<(&str, Option<&str>)> {
    let Some(rest) = text.strip_prefix('[') else {
        return Some(match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        });
    };
    let (host, rest) = rest.split_once(']')?;
    match rest.strip_prefix(':') {
        Some(port) => Some((host, Some(port))),
        None => rest.is_empty().then_some((host, None)),
    }
}

fn twice(servers: &[Place]) -> Option<&Place> {
    let mut each = servers.iter().enumerate();
    each.find_map(|(at, one)| {
        servers
            .iter()
            .take(at)
            .any(|before| before == one)
            .then_some(one)
    })
}

/// `certificate`, `key` and `ca`, which fit each other.
pub(super) fn identity(section: &mut Section<'_>) -> Option<Identity> {
    let [certificate, key, ca] = ["certificate", "key", "ca"].map(|key| {
        section.require(key, file::FORM);
        file::read(section, key)
    });
    let (certificate, key, ca) = (certificate?, key?, ca?);
    let mut are_good = check_certificates(section, "certificate", &certificate);
    are_good &= check_certificates(section, "ca", &ca);
    if let Some(mode) = key.exposed() {
        let fault = MutualTlsFault::Exposed(mode);
        section.wrong("key", key.told(&fault));
        are_good = false;
    }
    if !are_good {
        return None;
    }
    match MutualTls::from_pem(certificate.bytes(), key.bytes(), ca.bytes()) {
        Ok(made) => Some(Identity {
            certificate,
            key,
            ca,
            made,
        }),
        Err(error) => {
            // The certificates themselves can be read.
            let (at, pem) = match error.fault() {
                MutualTlsFault::BadCertificate(_) => ("ca", &ca),
                _ => ("key", &key),
            };
            section.wrong(at, pem.told(error.fault()));
            None
        }
    }
}

/// Whether there are certificates under `key`, and nothing broken.
fn check_certificates(section: &Section<'_>, key: &str, pem: &Pem) -> bool {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.bytes()).collect();
    let fault = match all {
        Ok(all) if all.is_empty() => MutualTlsFault::NoCertificate,
        Ok(_) => return true,
        Err(error) => MutualTlsFault::BadPem(error),
    };
    section.wrong(key, pem.told(&fault));
    false
}

const VERIFY: [(&str, Verify); 2] = [("always", Verify::Always), ("sampled", Verify::Sampled)];

const ADDRESS_FORM: &str = "HOST:PORT or [IPv6]:PORT";

/// A page that takes longer has been left.
const MINUTE: Duration = Duration::from_secs(60);
/// As `lb_keyserver::SignRequest::WITHIN`.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Some hundred times what a signature takes within a data centre.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(300);
/// As `lb_keyserver::client::Waiting`.
const WAITING: u32 = 4_096;
/// Each holds what its handshake has recorded, some 10 KiB.
const WAITING_MOST: u32 = 1_000_000;
