//! The name of a key, from a file that shows it.

use lb_keyserver::{KeyKind, PublicKey, Ski};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};

/// The name and kind of the key that `bytes` show: a certificate, a public key or a private key,
/// in PEM or in DER. Of several in PEM the first counts.
///
/// # Errors
///
/// Says why there is none.
pub(crate) fn name_of(bytes: &[u8]) -> Result<(Ski, KeyKind), String> {
    let key = if bytes.starts_with(b"-----") || find(bytes, b"-----BEGIN ") {
        of_pem(bytes)?
    } else {
        of_der(bytes)?
    };
    Ok((key.ski(), key.kind()))
}

fn find(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

fn of_pem(pem: &[u8]) -> Result<PublicKey, String> {
    let told = |error: rustls::pki_types::pem::Error| format!("the PEM is broken: {error}");
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem);
    for section in sections {
        let (kind, der) = section.map_err(told)?;
        match kind {
            SectionKind::Certificate => return of_certificate(der),
            SectionKind::PublicKey => return of_spki(&der.into()),
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                let key = PrivateKeyDer::from_pem_slice(pem).map_err(told)?;
                return of_private(&key);
            }
            _ => {}
        }
    }
    Err("there is no certificate and no key in it".into())
}

fn of_der(der: &[u8]) -> Result<PublicKey, String> {
    let private = PrivateKeyDer::try_from(der).ok();
    let private = private.and_then(|key| of_private(&key).ok());
    let public = || {
        PublicKey::from_spki(der).or_else(|_| {
            let certificate = CertificateDer::from(der);
            PublicKey::of_certificate(&certificate)
        })
    };
    match private {
        Some(key) => Ok(key),
        None => public().map_err(|_| "neither a certificate nor a key, in PEM or DER".into()),
    }
}

fn of_certificate(der: Vec<u8>) -> Result<PublicKey, String> {
    PublicKey::of_certificate(&der.into()).map_err(|error| error.to_string())
}

fn of_spki(spki: &SubjectPublicKeyInfoDer<'_>) -> Result<PublicKey, String> {
    PublicKey::from_spki(spki.as_ref()).map_err(|error| error.to_string())
}

fn of_private(key: &PrivateKeyDer<'_>) -> Result<PublicKey, String> {
    let none = || "the private key is broken or of an unsupported kind".to_owned();
    let key = any_supported_type(key).map_err(|_| none())?;
    of_spki(&key.public_key().ok_or_else(none)?)
}
