//! Certificates for mutual TLS, all from one authority of a test's own.

use std::net::{IpAddr, Ipv4Addr};

use lb_keyserver::MutualTls;

use crate::host::TempDir;
use crate::keys::{Algorithm, Keys};
use crate::peer::run;
use crate::process::Launch;
use crate::wait::PATIENCE;

/// An authority, whose key is gone with this value.
///
/// # Examples
///
/// ```
/// use harness::authority::Authority;
///
/// let authority = Authority::new();
/// let node = authority.node("node-7");
/// assert!(node.cert.contains("BEGIN CERTIFICATE"));
/// assert!(authority.cert().contains("BEGIN CERTIFICATE"));
/// ```
#[derive(Debug)]
pub struct Authority {
    dir: TempDir,
}

/// The name of the file that [`Authority::beside`] makes.
pub const CA: &str = "ca.pem";

impl Authority {
    /// A new one, which has nothing in common with another but its name.
    ///
    /// # Panics
    ///
    /// When `openssl` fails.
    #[expect(
        clippy::new_without_default,
        reason = "what runs another program is no default"
    )]
    #[track_caller]
    #[must_use]
    pub fn new() -> Self {
        let dir = TempDir::new("authority");
        let (cert, key) = (path(&dir, CA), path(&dir, CA_KEY));
        let words = [
            "req",
            "-x509",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=authority",
        ];
        let files = ["-keyout", &key, "-out", &cert];
        let words = words
            .into_iter()
            .chain(Algorithm::P256.new_key().iter().copied());
        let _ = run("openssl", words.chain(files), PATIENCE);
        Self { dir }
    }

    /// Its certificate, as PEM.
    #[must_use]
    pub fn cert(&self) -> String {
        self.dir.read(CA)
    }

    /// Puts its certificate beside a program, as [`CA`].
    pub fn beside(&self, launch: Launch) -> Launch {
        launch.file(CA, &self.cert())
    }

    /// A certificate for a client of that name, which is also its URI: `lb://node/NAME`.
    ///
    /// # Panics
    ///
    /// When `openssl` fails.
    #[track_caller]
    #[must_use]
    pub fn node(&self, name: &str) -> Keys {
        let names = format!("DNS:{name},URI:lb://node/{name}");
        self.issue(name, &names, "clientAuth")
    }

    /// A certificate for a server of that name, at 127.0.0.1.
    ///
    /// # Panics
    ///
    /// When `openssl` fails.
    #[track_caller]
    #[must_use]
    pub fn server(&self, name: &str) -> Keys {
        self.server_at(name, Ipv4Addr::LOCALHOST.into())
    }

    /// The same at another address.
    ///
    /// # Panics
    ///
    /// When `openssl` fails.
    #[track_caller]
    #[must_use]
    pub fn server_at(&self, name: &str, ip: IpAddr) -> Keys {
        let names = format!("DNS:{name},DNS:localhost,IP:{ip}");
        self.issue(name, &names, "serverAuth")
    }

    /// What an end of mutual TLS in this process is that has such a certificate.
    ///
    /// # Panics
    ///
    /// When the certificate and the key do not fit.
    #[track_caller]
    #[must_use]
    pub fn mutual_tls(&self, own: &Keys) -> MutualTls {
        let (cert, key) = (own.cert.as_bytes(), own.key.as_bytes());
        MutualTls::from_pem(cert, key, self.cert().as_bytes()).expect("a certificate and its key")
    }

    #[track_caller]
    fn issue(&self, name: &str, names: &str, usage: &str) -> Keys {
        let dir = TempDir::new("issue");
        let extensions = format!("subjectAltName={names}\nextendedKeyUsage={usage}\n");
        dir.write("extensions", &extensions);
        let [request, key, cert, extensions] =
            ["request", "key", "cert", "extensions"].map(|name| path(&dir, name));
        let (ca, ca_key) = (path(&self.dir, CA), path(&self.dir, CA_KEY));
        let subject = format!("/CN={name}");
        let words = ["req", "-new", "-nodes", "-subj", &subject, "-keyout", &key];
        let words = words.into_iter().chain(["-out", &request]);
        let kind = Algorithm::P256.new_key().iter().copied();
        let _ = run("openssl", words.chain(kind), PATIENCE);
        let words = ["x509", "-req", "-days", "2", "-in", &request, "-out", &cert];
        let by = ["-CA", &ca, "-CAkey", &ca_key, "-extfile", &extensions];
        let _ = run("openssl", words.into_iter().chain(by), PATIENCE);
        Keys {
            cert: dir.read("cert"),
            key: dir.read("key"),
        }
    }
}

fn path(dir: &TempDir, name: &str) -> String {
    dir.path().join(name).to_string_lossy().into_owned()
}

const CA_KEY: &str = "ca.key";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_issued_is_verified_for_its_use_and_by_no_other_authority() {
        let (authority, other) = (Authority::new(), Authority::new());
        for (keys, purpose, unfit) in [
            (authority.node("node-7"), "sslclient", "sslserver"),
            (authority.server("keys.test"), "sslserver", "sslclient"),
        ] {
            let verified = |by: &Authority, purpose: &str| {
                let words = ["verify", "-purpose", purpose, "-CAfile", CA, "cert.pem"];
                let openssl = by.beside(keys.beside(Launch::new("openssl").args(words)));
                openssl.start().wait(PATIENCE).success()
            };
            assert!(verified(&authority, purpose));
            assert!(!verified(&authority, unfit));
            assert!(!verified(&other, purpose));
        }
    }

    #[test]
    fn a_node_is_named_by_a_uri_as_well() {
        let node = Authority::new().node("node-7");
        let words = ["x509", "-noout", "-text", "-in", "cert.pem"];
        let mut openssl = node.beside(Launch::new("openssl").args(words)).start();
        assert!(openssl.wait(PATIENCE).success());
        let text = openssl.log();
        assert!(text.contains("URI:lb://node/node-7"), "{text}");
    }
}
