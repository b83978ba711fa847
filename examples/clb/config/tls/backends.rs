//! `tls` of pools and of probes.

use lb_l7::tls::{Alpn, BackendTls, BackendTlsConfig, LoadError, Roots, TlsPolicy};

use super::super::file::{self, Pem};
use super::super::section::{Said, Section};
use super::certificate::{self, Certificate};
use super::policy;

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
        if let Some(certificate) = &self.certificate {
            config = config.certificate(certificate.made.clone());
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
pub(in super::super) fn to_backends(section: &mut Section<'_>) -> Option<ToBackends> {
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
        let certificate = if has_pair {
            certificate::for_backends(section)
        } else {
            None
        };
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
            certificate,
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
