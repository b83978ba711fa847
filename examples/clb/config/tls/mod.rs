//! `certificates`, `tls_policy`, `client_ca` and `tickets` of https, and `tls` of pools.

mod backends;
mod certificate;

use std::path::PathBuf;

use lb_l7::tls::{Certificates, ClientAuth, LoadError, PolicyError, Roots, TicketKey, TlsPolicy};

pub(crate) use backends::ToBackends;
pub(super) use backends::to_backends;
pub(crate) use certificate::{Certificate, Remote};

use super::file::{self, Pem};
use super::section::Section;
use super::suggest::did_you_mean;

/// How TLS is spoken with the clients of a listener.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tls {
    /// At least one; the first is shown to clients of another name or of none.
    pub(crate) certificates: Vec<Certificate>,
    /// Refuse clients of another name or of none. Default false.
    pub(crate) strict: bool,
    /// The name of versions, suites and groups. Default `modern`.
    policy: &'static str,
    /// Whether clients must show a certificate. Default none is asked for.
    client_auth: Option<Clients>,
    /// How sessions are resumed.
    pub(crate) tickets: Tickets,
}

/// Whose certificates clients show.
#[derive(Clone, Debug, PartialEq)]
struct Clients {
    is_required: bool,
    authorities: Pem,
    revoked: Option<Pem>,
}

/// How sessions are resumed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tickets {
    /// Not at all.
    Off,
    /// By keys of this process, which turn by themselves.
    Own,
    /// By the keys of these files, of which the first seals.
    Shared(Vec<SharedKey>),
}

/// A ticket key that other machines have too.
#[derive(Clone, Debug)]
pub(crate) struct SharedKey {
    file: PathBuf,
    pub(crate) key: TicketKey,
}

impl PartialEq for SharedKey {
    /// Two keys of one name would be two keys of one ticket.
    fn eq(&self, other: &Self) -> bool {
        self.file == other.file && self.key.name() == other.key.name()
    }
}

impl Tls {
    /// What is shown to clients.
    pub(crate) fn certificates(&self) -> Certificates {
        let each = self.certificates.iter();
        let all = each.fold(Certificates::new(), |all, one| all.with(one.made.clone()));
        if self.strict { all.strict() } else { all }
    }

    /// The keys that key servers hold.
    pub(crate) fn remote_keys(&self) -> impl Iterator<Item = &Remote> {
        self.certificates.iter().filter_map(Certificate::remote)
    }

    /// The policy.
    ///
    /// # Errors
    ///
    /// None: the parser knows its name.
    pub(crate) fn policy(&self) -> Result<TlsPolicy, PolicyError> {
        TlsPolicy::named(self.policy)
    }

    /// Whether clients are asked for a certificate.
    pub(crate) const fn asks_clients(&self) -> bool {
        self.client_auth.is_some()
    }

    /// What is asked of clients.
    ///
    /// # Errors
    ///
    /// None: the parser has read the same.
    pub(crate) fn client_auth(&self) -> Result<ClientAuth, LoadError> {
        self.client_auth
            .as_ref()
            .map_or_else(|| Ok(ClientAuth::none()), Clients::made)
    }
}

impl Clients {
    fn made(&self) -> Result<ClientAuth, LoadError> {
        let authorities = Roots::from_pem(self.authorities.bytes())?;
        let auth = if self.is_required {
            ClientAuth::required(authorities)
        } else {
            ClientAuth::optional(authorities)
        };
        match &self.revoked {
            Some(lists) => auth.revoked_by(lists.bytes()),
            None => Ok(auth),
        }
    }
}

/// Where the file says that key servers hold a key.
#[derive(Debug, Default)]
pub(super) struct Elsewhere(Vec<(usize, String)>);

impl Elsewhere {
    fn note(&mut self, section: &Section<'_>) {
        self.0
            .push((section.place_of("key"), section.path_of("key")));
    }

    /// Each of them, by place and path.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &str)> {
        self.0.iter().map(|(at, path)| (*at, path.as_str()))
    }
}

/// The keys of a listener of https; `elsewhere` notes the certificates whose key is elsewhere.
pub(super) fn read(section: &mut Section<'_>, elsewhere: &mut Elsewhere) -> Option<Tls> {
    section.require("certificates", "a list of { cert, key }");
    let certificates = section.tables("certificates", |section| {
        certificate::read(section, elsewhere)
    });
    if certificates.as_ref().is_some_and(Vec::is_empty) && section.is_empty("certificates") {
        section.wrong("certificates", "empty, expected at least one { cert, key }");
    }
    let strict = section.flag("strict_names");
    let policy = section.text_as("tls_policy", "the name of a policy", policy);
    let client_auth = clients(section);
    let tickets = tickets(section);
    Some(Tls {
        certificates: certificates?,
        strict: strict.unwrap_or(false),
        policy: policy.unwrap_or("modern"),
        client_auth,
        tickets: tickets.unwrap_or(Tickets::Own),
    })
}

fn policy(text: &str) -> Result<&'static str, String> {
    TlsPolicy::named(text)
        .map(|policy| policy.name())
        .map_err(|error| {
            let meant = match error {
                PolicyError::Unknown(_) => did_you_mean(text, TlsPolicy::NAMES),
                _ => String::new(),
            };
            format!("{error}{meant}")
        })
}

fn clients(section: &mut Section<'_>) -> Option<Clients> {
    let authorities = file::read(section, "client_ca");
    let is_required = section.choice("client_auth", "word", &NEEDS);
    let revoked = file::read(section, "client_crl");
    for key in ["client_auth", "client_crl"] {
        if section.has(key) && !section.has("client_ca") {
            section.wrong(key, "only with client_ca, whose certificates are believed");
        }
    }
    let authorities = authorities?;
    if let Err(error) = Roots::from_pem(authorities.bytes()) {
        section.wrong("client_ca", authorities.told(error.fault()));
        return None;
    }
    let clients = Clients {
        is_required: is_required.unwrap_or(true),
        authorities,
        revoked,
    };
    match (clients.made(), &clients.revoked) {
        (Err(error), Some(lists)) => {
            section.wrong("client_crl", lists.told(error.fault()));
            None
        }
        _ => Some(clients),
    }
}

/// `tickets = false`, true, or files.
fn tickets(section: &mut Section<'_>) -> Option<Tickets> {
    if let Some(on) = section.peek_flag("tickets") {
        section.knows(&["tickets"]);
        return Some(if on { Tickets::Own } else { Tickets::Off });
    }
    let notes = section.notes();
    let keys = section.texts("tickets", "paths of keys, or true or false", |path| {
        let file = notes.beside(path);
        let key = TicketKey::from_file(&file).map_err(|error| error.to_string())?;
        Ok(SharedKey { file, key })
    })?;
    if keys.is_empty() {
        if section.is_empty("tickets") {
            section.wrong("tickets", "empty, expected at least one path");
        }
        return None;
    }
    Some(Tickets::Shared(keys))
}

/// Every key of a listener that only https has.
pub(super) const KEYS: [&str; 7] = [
    "certificates",
    "client_auth",
    "client_ca",
    "client_crl",
    "strict_names",
    "tickets",
    "tls_policy",
];

const NEEDS: [(&str, bool); 2] = [("required", true), ("optional", false)];
