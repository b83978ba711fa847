//! Reaches a token, and finds the keys on it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use rustls::pki_types::CertificateDer;

use super::{Pkcs11Config, Pkcs11Error, Token, emit};
use crate::public_key::PublicKey;

/// A token, and what it takes to reach it again and again.
pub(super) struct Reach {
    config: Pkcs11Config,
    module: Pkcs11,
    /// A token counts wrong PINs, and locks itself after a few: one refusal is the last attempt.
    is_pin_refused: AtomicBool,
}

impl Reach {
    pub(super) fn new(config: Pkcs11Config) -> Result<Self, Pkcs11Error> {
        let module = load(&config.module)?;
        Ok(Self {
            config,
            module,
            is_pin_refused: AtomicBool::new(false),
        })
    }

    pub(super) const fn config(&self) -> &Pkcs11Config {
        &self.config
    }

    /// Opens a session, and logs in unless another session of this process has.
    pub(super) fn open(&self) -> Result<Session, Pkcs11Error> {
        if self.is_pin_refused.load(Ordering::Acquire) {
            return Err(Pkcs11Error::Pin);
        }
        let session = self.module.open_ro_session(self.slot()?)?;
        let pin = AuthPin::from(self.config.pin.as_str());
        match session.login(UserType::User, Some(&pin)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(Error::Pkcs11(
                RvError::PinIncorrect
                | RvError::PinInvalid
                | RvError::PinLenRange
                | RvError::PinExpired
                | RvError::PinLocked,
                _,
            )) => {
                self.is_pin_refused.store(true, Ordering::Release);
                Err(Pkcs11Error::Pin)
            }
            Err(other) => Err(other.into()),
        }
    }

    /// The slot with the token, which may be another one after it was taken out and put back.
    fn slot(&self) -> Result<Slot, Pkcs11Error> {
        let slots = self.module.get_slots_with_initialized_token()?;
        let mut slots = slots.into_iter().filter(|slot| match &self.config.token {
            Token::Slot(number) => slot.id() == *number,
            Token::Label(label) => {
                let token = self.module.get_token_info(*slot);
                token.is_ok_and(|token| token.label() == label)
            }
        });
        let slot = slots.next().ok_or(Pkcs11Error::NoToken)?;
        match slots.next() {
            None => Ok(slot),
            Some(_) => Err(Pkcs11Error::TwoTokens),
        }
    }
}

/// A private key on a token.
pub(super) struct Found {
    pub(super) public: PublicKey,
    pub(super) handle: ObjectHandle,
}

/// The private keys that sign and whose public half is known, and how many others there are.
pub(super) fn keys(session: &Session) -> Result<(Vec<Found>, usize), Error> {
    let all = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)])?;
    let count = all.len();
    let mut found = Vec::new();
    for handle in all {
        if let Some(public) = public_half(session, handle)? {
            found.push(Found { public, handle });
        }
    }
    let ignored = count - found.len();
    Ok((found, ignored))
}

/// The public half of a private key: as the key itself says, or the public key or the certificate of
/// the same CKA_ID.
fn public_half(session: &Session, key: ObjectHandle) -> Result<Option<PublicKey>, Error> {
    let key = attributes(session, key, OF_KEYS)?;
    // A key that wants the PIN for each signature is none for a server.
    let is_unfit = |attribute: &Attribute| {
        matches!(
            attribute,
            Attribute::AlwaysAuthenticate(true) | Attribute::Sign(false)
        )
    };
    if key.iter().any(is_unfit) {
        return Ok(None);
    }
    if let Some(public) = public_key(&key) {
        return Ok(Some(public));
    }
    let id = key
        .iter()
        .find(|attribute| matches!(attribute, Attribute::Id(id) if !id.is_empty()));
    let Some(id) = id else { return Ok(None) };
    for (class, asked) in [
        (ObjectClass::PUBLIC_KEY, OF_KEYS),
        (ObjectClass::CERTIFICATE, OF_CERTIFICATES),
    ] {
        for other in session.find_objects(&[Attribute::Class(class), id.clone()])? {
            let public = public_key(&attributes(session, other, asked)?);
            if public.is_some() {
                return Ok(public);
            }
        }
    }
    Ok(None)
}

/// Those attributes of an object that it has.
fn attributes(
    session: &Session,
    object: ObjectHandle,
    asked: &[AttributeType],
) -> Result<Vec<Attribute>, Error> {
    let mut all = Vec::new();
    for kind in asked {
        // One by one: some modules answer nothing at all if one of several is not to be had.
        match session.get_attributes(object, &[*kind]) {
            Ok(values) => all.extend(values),
            Err(fault @ Error::Pkcs11(..)) => return Err(fault),
            // The module answered, with what this version of PKCS #11 does not know.
            Err(_) => {}
        }
    }
    Ok(all)
}

/// The public key that attributes describe, of a key or of a certificate.
fn public_key(attributes: &[Attribute]) -> Option<PublicKey> {
    let (mut modulus, mut exponent, mut parameters, mut point) = (None, None, None, None);
    let mut whole = None;
    for attribute in attributes {
        match attribute {
            Attribute::EcParams(bytes) => parameters = Some(bytes),
            Attribute::EcPoint(bytes) => point = Some(bytes),
            Attribute::Modulus(bytes) => modulus = Some(bytes),
            Attribute::PublicExponent(bytes) => exponent = Some(bytes),
            Attribute::PublicKeyInfo(spki) => whole = PublicKey::from_spki(spki.as_slice()).ok(),
            Attribute::Value(certificate) => {
                whole =
                    PublicKey::of_certificate(&CertificateDer::from(certificate.as_slice())).ok();
            }
            _ => {}
        }
    }
    let rsa = || PublicKey::from_spki(emit::rsa_spki(modulus?, exponent?)).ok();
    let ec = || on_curve(parameters?, point?);
    whole.or_else(rsa).or_else(ec)
}

/// The key of a CKA_EC_POINT, which is to be in a DER OCTET STRING and in some modules is not: the
/// one of the two that is on the curve.
fn on_curve(parameters: &[u8], point: &[u8]) -> Option<PublicKey> {
    let unwrapped = match point {
        [OCTET_STRING, length @ 0..=0x7f, point @ ..]
        | [OCTET_STRING, 0x81, length @ (0x80..), point @ ..]
            if usize::from(*length) == point.len() =>
        {
            Some(point)
        }
        _ => None,
    };
    let mut points = [Some(point), unwrapped].into_iter().flatten();
    points.find_map(|point| {
        let spki = match ED25519.contains(&parameters) {
            true => emit::ed25519_spki(point),
            false => emit::ec_spki(parameters, point),
        };
        PublicKey::from_spki(spki).ok()
    })
}

/// Loads a module, once for the process: modules break when they are initialised twice, and a second
/// session with a token is no reason to.
///
/// Never finalised, as another user of the module in this process may go on with it.
fn load(path: &Path) -> Result<Pkcs11, Pkcs11Error> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, module)) = modules.iter().find(|(known, _)| *known == path) {
        return Ok(module.clone());
    }
    let module = Pkcs11::new(&path)?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // Somebody else in this process was first.
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(other) => return Err(other.into()),
    }
    modules.push((path, module.clone()));
    Ok(module)
}

static MODULES: Mutex<Vec<(PathBuf, Pkcs11)>> = Mutex::new(Vec::new());

/// What a private or public key is asked. Never CKA_VALUE: of a private key it is the secret, and a
/// badly set up token may tell it.
const OF_KEYS: &[AttributeType] = &[
    AttributeType::Id,
    AttributeType::AlwaysAuthenticate,
    AttributeType::Sign,
    AttributeType::PublicKeyInfo,
    AttributeType::Modulus,
    AttributeType::PublicExponent,
    AttributeType::EcParams,
    AttributeType::EcPoint,
];
const OF_CERTIFICATES: &[AttributeType] = &[AttributeType::Value];

/// How CKA_EC_PARAMS names Ed25519 (PKCS #11 3.0, 2.3.5): by its object identifier (RFC 8410), or as
/// a PrintableString.
const ED25519: [&[u8]; 2] = [b"\x06\x03\x2b\x65\x70", b"\x13\x0cedwards25519"];

const OCTET_STRING: u8 = 0x04;

#[cfg(test)]
mod tests {
    use rcgen::PublicKeyData;

    use super::*;

    fn spki(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
        let pair = rcgen::KeyPair::generate_for(algorithm).expect("made");
        pair.subject_public_key_info()
    }

    #[test]
    fn a_point_is_read_with_and_without_its_octet_string() {
        for (algorithm, parameters, length) in [
            (
                &rcgen::PKCS_ECDSA_P256_SHA256,
                &b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"[..],
                65_u8,
            ),
            (
                &rcgen::PKCS_ECDSA_P384_SHA384,
                b"\x06\x05\x2b\x81\x04\x00\x22",
                97,
            ),
            (
                &rcgen::PKCS_ECDSA_P521_SHA512,
                b"\x06\x05\x2b\x81\x04\x00\x23",
                133,
            ),
            (&rcgen::PKCS_ED25519, ED25519[0], 32),
            (&rcgen::PKCS_ED25519, ED25519[1], 32),
        ] {
            let spki = spki(algorithm);
            let point = spki
                .get(spki.len() - usize::from(length)..)
                .expect("longer");
            let head: &[u8] = if length < 0x80 {
                &[4, length]
            } else {
                &[4, 0x81, length]
            };
            let wrapped = [head, point].concat();
            for bytes in [point, &wrapped] {
                let key = on_curve(parameters, bytes).expect("on the curve");
                assert_eq!(key.spki().as_ref(), spki);
            }
            let longer = [&wrapped[..], &[0]].concat();
            assert!(on_curve(parameters, &longer).is_none());
            assert!(on_curve(b"\x06\x05\x2b\x81\x04\x00\x0a", point).is_none());
        }
    }

    #[test]
    fn a_key_is_known_by_any_of_what_describes_it() {
        let spki = spki(&rcgen::PKCS_ECDSA_P256_SHA256);
        let by_info = public_key(&[
            Attribute::Id(vec![1]),
            Attribute::PublicKeyInfo(spki.clone()),
        ]);
        assert_eq!(by_info.expect("read").spki().as_ref(), spki);
        // A module that has the attribute and nothing in it.
        let curve = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07".to_vec();
        let point = spki.get(spki.len() - 65..).expect("longer").to_vec();
        let by_point = public_key(&[
            Attribute::PublicKeyInfo(vec![]),
            Attribute::EcParams(curve.clone()),
            Attribute::EcPoint(point),
        ]);
        assert_eq!(by_point.expect("read").spki().as_ref(), spki);
        assert!(public_key(&[Attribute::EcParams(curve)]).is_none());
        assert!(public_key(&[Attribute::Modulus(vec![1; 256])]).is_none());
    }
}
