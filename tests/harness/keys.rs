//! A certificate that signs itself, and its key.

use std::sync::Arc;

use lb_keyserver::PublicKey;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::host::TempDir;
use crate::peer::run;
use crate::process::Launch;
use crate::wait::PATIENCE;

/// A certificate and its key, as PEM.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Keys {
    /// The certificate.
    pub cert: String,
    /// Its private key (PKCS #8).
    pub key: String,
}

/// The kinds of keys that servers of TLS have.
#[expect(clippy::exhaustive_enums, reason = "those that tests make")]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Algorithm {
    /// Ed25519.
    Ed25519,
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// RSA of 2,048 bits.
    Rsa2048,
}

impl Algorithm {
    /// Every one of them.
    pub const ALL: [Self; 4] = [Self::Ed25519, Self::P256, Self::P384, Self::Rsa2048];

    /// A short name, good for files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::Rsa2048 => "rsa",
        }
    }

    /// What tells `openssl req` to make such a key.
    pub(crate) const fn new_key(self) -> &'static [&'static str] {
        match self {
            Self::Ed25519 => &["-newkey", "ed25519"],
            Self::P256 => &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
            Self::P384 => &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
            Self::Rsa2048 => &["-newkey", "rsa:2048"],
        }
    }
}

/// The names of the files that [`Keys::beside`] makes.
pub const CERT: &str = "cert.pem";
/// See [`CERT`].
pub const KEY: &str = "key.pem";
/// Both in one file, as HAProxy wants them.
pub const BOTH: &str = "both.pem";

impl Keys {
    /// A new pair for that name and for 127.0.0.1; no two have the same serial number.
    ///
    /// # Panics
    ///
    /// When `openssl` fails.
    #[track_caller]
    #[must_use]
    pub fn p256(name: &str) -> Self {
        Self::of(Algorithm::P256, name)
    }

    /// The same with a key of that kind.
    ///
    /// # Panics
    ///
    /// When `openssl` fails.
    #[track_caller]
    #[must_use]
    pub fn of(algorithm: Algorithm, name: &str) -> Self {
        let dir = TempDir::new("keys");
        let at = |file: &str| dir.path().join(file).to_string_lossy().into_owned();
        let (cert, key) = (at(CERT), at(KEY));
        let subject = format!("/CN={name}");
        let names = format!("subjectAltName=DNS:{name},IP:127.0.0.1");
        let kind = ["req", "-x509", "-nodes", "-days", "2"];
        let curve = algorithm.new_key().iter().copied();
        let said = ["-subj", &subject, "-addext", &names];
        let files = ["-keyout", &key, "-out", &cert];
        let words = kind.into_iter().chain(curve).chain(said).chain(files);
        let _ = run("openssl", words, PATIENCE);
        Self {
            cert: dir.read(CERT),
            key: dir.read(KEY),
        }
    }

    /// The public key, as PEM.
    ///
    /// # Panics
    ///
    /// When `openssl` fails.
    #[track_caller]
    #[must_use]
    pub fn public(&self) -> String {
        let dir = TempDir::new("keys");
        dir.write(CERT, &self.cert);
        let path = dir.path().join(CERT);
        let words = ["x509", "-noout", "-pubkey", "-in", &path.to_string_lossy()];
        run("openssl", words, PATIENCE)
    }

    /// The public key, as key servers name it and as signatures are verified with it.
    ///
    /// # Panics
    ///
    /// When the certificate is broken.
    #[must_use]
    pub fn public_key(&self) -> Arc<PublicKey> {
        let certificate = CertificateDer::from_pem_slice(self.cert.as_bytes()).expect("PEM");
        Arc::new(PublicKey::of_certificate(&certificate).expect("a kind that we serve"))
    }

    /// Puts them beside a program, as [`CERT`], [`KEY`] and [`BOTH`].
    pub fn beside(&self, launch: Launch) -> Launch {
        launch
            .file(CERT, &self.cert)
            .file(KEY, &self.key)
            .file(BOTH, &format!("{}{}", self.cert, self.key))
    }

    /// Replaces those beside a program that runs: the key first, as who reads between the two
    /// renames must not find a certificate whose key is not there yet.
    pub fn replace(&self, dir: &TempDir) {
        dir.write(KEY, &self.key);
        dir.write(CERT, &self.cert);
    }

    /// The line of a listener of `clb` that names the files.
    #[must_use]
    pub fn line() -> String {
        format!("certificates = [{{ cert = \"{CERT}\", key = \"{KEY}\" }}]\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_is_another_one_and_is_of_p256() {
        let (one, two) = (Keys::p256("a.test"), Keys::p256("a.test"));
        assert_ne!(one, two);
        let look = ["x509", "-noout", "-text", "-in", CERT];
        let mut look = one.beside(Launch::new("openssl").args(look)).start();
        assert!(look.wait(PATIENCE).success());
        let text = look.log();
        for part in ["prime256v1", "DNS:a.test", "IP Address:127.0.0.1"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn keys_are_of_the_kind_that_was_asked_for() {
        for (algorithm, said) in [
            (Algorithm::Ed25519, "ED25519"),
            (Algorithm::P256, "NIST CURVE: P-256"),
            (Algorithm::P384, "NIST CURVE: P-384"),
            (Algorithm::Rsa2048, "Public-Key: (2048 bit)"),
        ] {
            let keys = Keys::of(algorithm, "a.test");
            let look = ["pkey", "-pubin", "-noout", "-text", "-in", "public.pem"];
            let look = Launch::new("openssl").args(look);
            let mut look = look.file("public.pem", &keys.public()).start();
            assert!(look.wait(PATIENCE).success());
            assert!(look.log().contains(said), "{algorithm:?}: {}", look.log());
        }
    }
}
