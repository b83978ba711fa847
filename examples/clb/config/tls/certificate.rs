//! One of `certificates`: a chain, and the key that goes with it, here or on key servers.

use std::fmt;
use std::sync::Arc;

use lb_keyserver::PublicKey;
use lb_keyserver::rustls::RemoteKey;
use lb_keyserver::store::SoftKey;
use lb_l7::tls::{self as library, LoadFault};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;

use super::super::file::{self, Pem};
use super::super::listener::server_name;
use super::super::section::Section;
use super::Elsewhere;

/// A certificate with its chain and key, as it was in its files when the configuration was read.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(super) made: library::Certificate,
    /// What key servers are asked to sign with; none if the key is here.
    remote: Option<Remote>,
}

/// A key that key servers hold.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    /// Signs when no key server does. Default none: the handshake fails.
    pub(crate) fallback: Option<Arc<SoftKey>>,
}

impl PartialEq for Certificate {
    /// A key belongs to its certificate, which was seen when both were read.
    fn eq(&self, other: &Self) -> bool {
        let (left, right) = (self.made.certified_key(), other.made.certified_key());
        left.cert == right.cert
            && left.ocsp == right.ocsp
            && self.made.names().eq(other.made.names())
            && self.remote.as_ref().map(Remote::has_fallback)
                == other.remote.as_ref().map(Remote::has_fallback)
    }
}

impl Certificate {
    /// The key that key servers hold; none if it is here.
    pub(crate) const fn remote(&self) -> Option<&Remote> {
        self.remote.as_ref()
    }

    /// The first name that it is shown for.
    pub(crate) fn name(&self) -> Option<&str> {
        self.made.names().next()
    }

    /// The chain and the key, as rustls has them.
    pub(crate) const fn certified_key(&self) -> &Arc<CertifiedKey> {
        self.made.certified_key()
    }
}

impl Remote {
    const fn has_fallback(&self) -> bool {
        self.fallback.is_some()
    }
}

/// One of a listener's; `elsewhere` notes those whose key is.
pub(super) fn read(section: &mut Section<'_>, elsewhere: &mut Elsewhere) -> Option<Certificate> {
    // What also stands in the table is known, whether or not the pair can be read.
    section.knows(&["names", "ocsp", "fallback"]);
    let certificate = if section.peek("key") == Some(REMOTE) {
        elsewhere.note(section);
        section.knows(&["key"]);
        without_key(section)?
    } else {
        if section.has("fallback") {
            section.wrong("fallback", "only with key = \"remote\"");
        }
        let made = key_pair(section)?;
        Certificate { made, remote: None }
    };
    let names = section.texts("names", "names of hosts", |text| {
        server_name(text).map(str::to_ascii_lowercase)
    });
    let ocsp = section
        .text("ocsp", "a path")
        .map(|path| section.notes().beside(path));
    let made = match names {
        Some(names) => certificate.made.names_given(names),
        None => certificate.made,
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
    Some(Certificate {
        made,
        remote: certificate.remote,
    })
}

/// What backends are shown, whose key has to be here.
pub(super) fn for_backends(section: &mut Section<'_>) -> Option<Certificate> {
    if section.peek("key") == Some(REMOTE) {
        section.wrong(
            "key",
            "key servers sign for listeners alone, expected a path",
        );
        section.knows(&["cert", "key"]);
        return None;
    }
    let made = key_pair(section)?;
    Some(Certificate { made, remote: None })
}

/// `cert` alone, of a kind that key servers sign for, and the key to `fallback` on.
fn without_key(section: &mut Section<'_>) -> Option<Certificate> {
    section.require("cert", file::FORM);
    let (cert, fallback) = (file::read(section, "cert"), file::read(section, "fallback"));
    let cert = cert?;
    let made = remote(&cert)
        .map_err(|reason| section.wrong("cert", reason))
        .ok()?;
    let fallback = match fallback {
        None => None,
        Some(pem) => {
            section.odd("fallback", "the private key is on this node after all");
            let wrong = |fault: &dyn fmt::Display| section.wrong("fallback", pem.told(fault));
            if let Err(error) = library::Certificate::from_pem(cert.bytes(), pem.bytes()) {
                wrong(error.fault());
                return None;
            }
            let key = SoftKey::from_pem(pem.bytes());
            Some(Arc::new(key.map_err(|error| wrong(&error)).ok()?))
        }
    };
    let remote = Some(Remote { fallback });
    Some(Certificate { made, remote })
}

fn remote(pem: &Pem) -> Result<library::Certificate, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.bytes()).collect();
    let chain = chain.map_err(|error| pem.told(&LoadFault::BadPem(error)))?;
    let first = chain.first();
    let first = first.ok_or_else(|| pem.told(&LoadFault::NoCertificate))?;
    let key = PublicKey::of_certificate(first).map_err(|error| pem.told(&error))?;
    let certified = CertifiedKey::new(chain, Arc::new(RemoteKey::new(key)));
    let made = library::Certificate::from_certified_key(Arc::new(certified));
    made.map_err(|error| pem.told(error.fault()))
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
                LoadFault::BadKey(_)
                    | LoadFault::EncryptedKey
                    | LoadFault::KeyMismatch
                    | LoadFault::NoKey
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

/// In place of a key: key servers hold it. A file of this name is `./remote`.
const REMOTE: &str = "remote";
