//! The subjectAltName of a certificate (RFC 5280, 4.2.1.6): its URIs and DNS names.
//!
//! The certificate has been verified by rustls, whose reader keeps these names to itself; nothing
//! here trusts that, and whatever is malformed is said to be.
#![warn(clippy::indexing_slicing)]

use crate::der::Der;

/// A name of the two kinds that clients are known by, as it stands in the certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SubjectName<'a> {
    Dns(&'a [u8]),
    Uri(&'a [u8]),
}

/// The URIs and DNS names, in the order of the certificate; a `None` among them is where it cannot
/// be read on, and the last. `None` instead of them: this is no certificate of version 3, or its
/// extensions are malformed.
pub(super) fn names(certificate: &[u8]) -> Option<impl Iterator<Item = Option<SubjectName<'_>>>> {
    let mut names = Der::new(subject_alt_name(certificate)?);
    let mut names = match names.is_empty() {
        true => names,
        // RFC 5280, 4.2.1.6: at least one name.
        false => names
            .sequence()
            .filter(|within| names.is_empty() && !within.is_empty())?,
    };
    Some(std::iter::from_fn(move || {
        while !names.is_empty() {
            match names.any() {
                Some((DNS_NAME, name)) => return Some(Some(SubjectName::Dns(name))),
                Some((UNIFORM_RESOURCE_IDENTIFIER, name)) => {
                    return Some(Some(SubjectName::Uri(name)));
                }
                Some(_) => {}
                None => {
                    names = Der::new(&[]);
                    return Some(None);
                }
            }
        }
        None
    }))
}

/// The value of the extension; empty where there is none.
fn subject_alt_name(certificate: &[u8]) -> Option<&[u8]> {
    let mut outer = Der::new(certificate);
    let mut body = outer.sequence()?.sequence()?;
    // Version, serial number, algorithm, issuer, validity, subject and key come before (4.1); the
    // two unique identifiers may.
    while !body.is_empty() {
        let Some(mut extensions) = body.within(EXTENSIONS) else {
            body.any()?;
            continue;
        };
        let mut extensions = extensions.sequence()?;
        let mut found = None;
        while !extensions.is_empty() {
            let mut extension = extensions.sequence()?;
            let id = extension.object_identifier()?;
            // Critical or not: it is read either way.
            let _ = extension.within(BOOLEAN);
            let value = extension.octet_string().filter(|_| extension.is_empty())?;
            // 4.2: no extension comes twice.
            if id == SUBJECT_ALT_NAME && found.replace(value).is_some() {
                return None;
            }
        }
        return Some(found.unwrap_or(&[]));
    }
    Some(&[])
}

const BOOLEAN: u8 = 0x01;
/// `[3] EXPLICIT`.
const EXTENSIONS: u8 = 0xa3;
/// `[2] IMPLICIT IA5String`.
const DNS_NAME: u8 = 0x82;
/// `[6] IMPLICIT IA5String`.
const UNIFORM_RESOURCE_IDENTIFIER: u8 = 0x86;
/// 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
