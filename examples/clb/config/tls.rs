//! `certificates`, `tls_policy`, `client_ca` and `tickets` of https, and `tls` of pools.

use std::path::PathBuf;

use lb_l7::tls::{
    self as library, Alpn, BackendTls, BackendTlsConfig, Certificates, ClientAuth, LoadError,
    PolicyError, Roots, TicketKey, TlsPolicy,
};

use super::file::{self, Pem};
use super::section::{Said, Section};
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

/// A certificate with its chain and key, as it was in its files when the configuration was read.
#[derive(Clone, Debug)]
pub(crate) struct Certificate(library::Certificate);

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

impl PartialEq for Certificate {
    /// A key belongs to its certificate, which was seen when both were read.
    fn eq(&self, other: &Self) -> bool {
        let (left, right) = (self.0.certified_key(), other.0.certified_key());
        left.cert == right.cert && left.ocsp == right.ocsp && self.0.names().eq(other.0.names())
    }
}

impl Tls {
    /// What is shown to clients.
    pub(crate) fn certificates(&self) -> Certificates {
        let each = self.certificates.iter();
        let all = each.fold(Certificates::new(), |all, one| all.with(one.0.clone()));
        if self.strict { all.strict() } else { all }
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

/// The keys of a listener of https.
pub(super) fn read(section: &mut Section<'_>) -> Option<Tls> {
    section.require("certificates", "a list of { cert, key }");
    let certificates = section.tables("certificates", certificate);
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

fn certificate(section: &mut Section<'_>) -> Option<Certificate> {
    // What also stands in the table is known, whether or not the pair can be read.
    section.knows(&["names", "ocsp"]);
    let made = key_pair(section)?;
    let names = section.texts("names", "names of hosts", |text| {
        super::listener::server_name(text).map(str::to_ascii_lowercase)
    });
    let ocsp = section
        .text("ocsp", "a path")
        .map(|path| section.notes().beside(path));
    let made = match names {
        Some(names) => made.names_given(names),
        None => made,
    };
    let made = match ocsp {
        None => made,
        Some(file) => match made.staple_file(file) {
            Ok(made) => made,
            Err(error) => {
                section.wrong("ocsp", error.to_string());
                return None;
            }
        },
    };
    for warning in made.warnings(file::now()) {
        section.odd("cert", warning.to_string());
    }
    Some(Certificate(made))
}

/// `cert` and `key`.
fn key_pair(section: &mut Section<'_>) -> Option<library::Certificate> {
    section.require("cert", file::FORM);
    section.require("key", file::FORM);
    let (cert, key) = (file::read(section, "cert"), file::read(section, "key"));
    let (cert, key) = (cert?, key?);
    library::Certificate::from_pem(cert.bytes(), key.bytes())
        .map_err(|error| {
            let fault = error.fault();
            let of_key = matches!(
                fault,
                library::LoadFault::BadKey(_)
                    | library::LoadFault::EncryptedKey
                    | library::LoadFault::KeyMismatch
                    | library::LoadFault::NoKey
            );
            let (at, pem) = if of_key {
                ("key", &key)
            } else {
                ("cert", &cert)
            };
            section.wrong(at, pem.told(fault));
        })
        .ok()
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

/// How TLS is spoken with the backends of a pool.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ToBackends {
    /// Whose certificates are believed; none believes everybody's.
    authorities: Option<Authorities>,
    /// The name asked for. Default: the backend's address.
    name: Option<String>,
    /// What backends are shown that ask for a certificate. Default nothing.
    certificate: Option<Certificate>,
    policy: &'static str,
}

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq)]
enum Authorities {
    /// Those that the system believes.
    System,
    /// Those of a file.
    Pem(Pem),
}

impl ToBackends {
    /// What the library is told, for backends that speak one of these protocols.
    ///
    /// # Errors
    ///
    /// Says what cannot be used; the parser has read the same.
    pub(crate) fn made(&self, alpn: &[Alpn]) -> Result<BackendTls, String> {
        let told = |error: &dyn std::fmt::Display| error.to_string();
        let config = match &self.authorities {
            None => BackendTlsConfig::danger_accept_any_certificate(),
            Some(authorities) => BackendTlsConfig::new(authorities.roots().map_err(|e| told(&e))?),
        };
        let policy = TlsPolicy::named(self.policy).map_err(|e| told(&e))?;
        let mut config = config.alpn(alpn).policy(policy);
        if let Some(name) = &self.name {
            config = config.server_name(name.clone().try_into().map_err(|e| told(&e))?);
        }
        if let Some(Certificate(certificate)) = &self.certificate {
            config = config.certificate(certificate.clone());
        }
        BackendTls::new(config).map_err(|e| told(&e))
    }
}

impl Authorities {
    fn roots(&self) -> Result<Roots, LoadError> {
        match self {
            Self::System => Roots::system(),
            Self::Pem(pem) => Roots::from_pem(pem.bytes()),
        }
    }
}

/// `tls = { … }` of a pool, or true: verified by the authorities of the system.
pub(super) fn to_backends(section: &mut Section<'_>) -> Option<ToBackends> {
    let said = section.flag_or_table("tls", |section| {
        let roots = file::read(section, "roots");
        let insecure = section.flag("insecure") == Some(true);
        if insecure && section.has("roots") {
            section.wrong("insecure", "whoever believes everybody needs no roots");
        } else if insecure {
            section.odd(
                "insecure",
                "anyone on the way can read and change everything",
            );
        }
        let name = section.text_as("name", "the name of a host", |text| {
            let good = rustls::pki_types::ServerName::try_from(text).is_ok();
            good.then(|| text.to_owned())
                .ok_or_else(|| format!("{text:?} is not the name of a host"))
        });
        let has_pair = section.has("cert") || section.has("key");
        let certificate = if has_pair { key_pair(section) } else { None };
        section.knows(&["cert", "key"]);
        let policy = section.text_as("policy", "the name of a policy", policy);
        let authorities = match roots {
            Some(pem) => Some(Authorities::Pem(pem)),
            None => (!insecure).then_some(Authorities::System),
        };
        check_authorities(section, authorities.as_ref());
        ToBackends {
            authorities,
            name,
            certificate: certificate.map(Certificate),
            policy: policy.unwrap_or("modern"),
        }
    });
    match said? {
        Said::Table(tls) => Some(tls),
        Said::Flag(false) => None,
        Said::Flag(true) => {
            check_authorities(section, Some(&Authorities::System));
            Some(ToBackends {
                authorities: Some(Authorities::System),
                name: None,
                certificate: None,
                policy: "modern",
            })
        }
    }
}

fn check_authorities(section: &Section<'_>, authorities: Option<&Authorities>) {
    match authorities.map(|authorities| (authorities, authorities.roots())) {
        Some((Authorities::Pem(pem), Err(error))) => {
            section.wrong("roots", pem.told(error.fault()));
        }
        Some((Authorities::System, Err(error))) if !section.has("roots") => {
            section.wrong("tls", error.to_string());
        }
        _ => {}
    }
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
