//! A certificate on P-256 that signs itself, and its key.

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
        let dir = TempDir::new("keys");
        let at = |file: &str| dir.path().join(file).to_string_lossy().into_owned();
        let (cert, key) = (at(CERT), at(KEY));
        let subject = format!("/CN={name}");
        let names = format!("subjectAltName=DNS:{name},IP:127.0.0.1");
        let kind = ["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"];
        let curve = ["-pkeyopt", "ec_paramgen_curve:P-256", "-sha256"];
        let said = ["-subj", &subject, "-addext", &names];
        let files = ["-keyout", &key, "-out", &cert];
        let words = kind.into_iter().chain(curve).chain(said).chain(files);
        let _ = run("openssl", words, PATIENCE);
        Self {
            cert: dir.read(CERT),
            key: dir.read(KEY),
        }
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
}
