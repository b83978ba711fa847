use rcgen::{PKCS_ED25519, PKCS_RSA_SHA256, date_time_ymd};
use rustls::pki_types::UnixTime;
use std::time::Duration;

use super::*;

fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

fn table(rows: &[&[&str]]) -> Certificates {
    let authority = Authority::new("ca");
    rows.iter().fold(Certificates::new(), |table, names| {
        table.with(authority.certificate(names))
    })
}

#[test]
fn a_name_finds_its_certificates() {
    let table = table(&[
        &["shop.example"],
        &["*.shop.example", "Upper.Example"],
        &["a.shop.example", "shop.example"],
        &["*.b.shop.example"],
    ]);
    for (name, found) in [
        ("shop.example", &[0, 2][..]),
        ("SHOP.EXAMPLE", &[0, 2]),
        ("shop.example.", &[0, 2]),
        ("www.shop.example", &[1]),
        ("WWW.shop.example.", &[1]),
        ("a.shop.example", &[2]),
        ("b.shop.example", &[1]),
        ("x.b.shop.example", &[3]),
        ("x.y.shop.example", &[]),
        (".shop.example", &[]),
        ("upper.example", &[1]),
        ("example", &[]),
        ("*.shop.example", &[1]),
        ("", &[]),
        (".", &[]),
    ] {
        let named: Vec<_> = table.named(name).map(der).collect();
        let wanted = found.iter().map(|&at| der(table.iter().nth(at).unwrap()));
        assert_eq!(named, wanted.collect::<Vec<_>>(), "{name:?}");
    }
}

#[test]
fn names_given_take_the_place_of_the_certificates_own() {
    let authority = Authority::new("ca");
    let certificate = authority.certificate(&["own.example"]);
    assert_eq!(certificate.names().collect::<Vec<_>>(), ["own.example"]);
    let certificate = certificate.names_given(["Given.example.", "given.example"]);
    let table = Certificates::new().with(certificate);
    assert_eq!(table.named("own.example").count(), 0);
    assert_eq!(table.named("given.example").count(), 1, "and not twice");
    assert_eq!((table.len(), table.is_empty()), (1, false));
    assert!(Certificates::new().is_empty());
}

#[test]
fn bad_files_are_named_with_their_fault() {
    let authority = Authority::new("ca");
    let (good, other) = (authority.issue(&["a"]), authority.issue(&["a"]));
    let both = format!("{}{}", good.key, good.certificate);
    let cut = good.certificate.replace("-----END CERTIFICATE-----", "");
    let broken = good.certificate.replace("\n", "\n!");
    let not_a_certificate = pem("CERTIFICATE", "AAAA");
    let chain = format!("{}{not_a_certificate}", good.certificate);
    let encrypted = pem("ENCRYPTED PRIVATE KEY", "AAAA");
    let old_encrypted = pem("EC PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\n\nAAAA");
    let table = [
        ("", &*good.key, "chain.pem: no certificate"),
        (&*good.key, &good.key, "chain.pem: no certificate"),
        (&cut, &good.key, "chain.pem: the PEM is broken"),
        (&broken, &good.key, "chain.pem: the PEM is broken"),
        (
            &not_a_certificate,
            &good.key,
            "chain.pem: certificate 1 cannot be read",
        ),
        (&chain, &good.key, "chain.pem: certificate 2 cannot be read"),
        (&good.certificate, "", "key.pem: no private key"),
        (
            &good.certificate,
            &encrypted,
            "key.pem: the private key is encrypted",
        ),
        (
            &good.certificate,
            &old_encrypted,
            "key.pem: the private key is encrypted",
        ),
        (
            &good.certificate,
            &pem("PRIVATE KEY", "AAAA"),
            "key.pem: the private key is broken",
        ),
        (
            &good.certificate,
            &other.key,
            "key.pem: the private key does not belong",
        ),
        (&both, &good.key, ""),
        (&both, &both, ""),
    ];
    let folder = Folder::new("bad-files");
    for (chain, key, fault) in table {
        let (chain, key) = (folder.file("chain.pem", chain), folder.file("key.pem", key));
        match Certificate::from_pem_files(&chain, &key) {
            Ok(_) => assert_eq!(fault, "", "taken"),
            Err(error) => {
                let said = error.to_string();
                assert!(!fault.is_empty(), "refused: {said}");
                assert!(said.contains(fault), "{said} for {fault}");
                assert!(
                    error
                        .file()
                        .is_some_and(|file| file == chain || file == key)
                );
            }
        }
    }
    let gone = folder.0.join("gone.pem");
    let error = Certificate::from_pem_files(&gone, &gone).unwrap_err();
    assert!(matches!(error.fault(), LoadFault::Io(_)), "{error}");
    assert_eq!(error.file(), Some(&*gone));
    let error = Certificate::from_pem(b"", b"").unwrap_err();
    assert!(error.to_string().starts_with("(bytes): no certificate"));
}

#[test]
fn what_an_operator_should_know_is_said() {
    let authority = Authority::new("ca");
    let mut params = params(&[]);
    (params.not_before, params.not_after) = (date_time_ymd(2030, 1, 1), date_time_ymd(2030, 2, 1));
    let nameless = authority.issue_as(params, &PKCS_ED25519).load();
    // 2030-01-01 and 2030-02-01.
    let (from, until) = (1_893_456_000, 1_896_134_400);
    assert_eq!((nameless.not_before(), nameless.not_after()), (from, until));
    let named = nameless.clone().names_given(["a"]);
    let week = 7 * 86_400;
    for (now, warning) in [
        (from - 1, Some(CertificateWarning::NotYetValid)),
        (from, None),
        (until - week, None),
        (until - week + 1, Some(CertificateWarning::ExpiresSoon)),
        (until, Some(CertificateWarning::ExpiresSoon)),
        (until + 1, Some(CertificateWarning::Expired)),
    ] {
        assert_eq!(named.warnings(at(now)), Vec::from_iter(warning), "{now}");
    }
    assert_eq!(nameless.warnings(at(from)), [CertificateWarning::Nameless]);
    let table = Certificates::new().with(named).with(nameless);
    let all: Vec<_> = table.warnings(at(from)).collect();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].0.names().count(), 0);
}

#[tokio::test]
async fn a_client_gets_the_certificate_that_it_can_verify() {
    let authority = Authority::new("ca");
    let [ecdsa, rsa] = [&PKCS_ECDSA_P256_SHA256, &PKCS_RSA_SHA256]
        .map(|algorithm| authority.issue_of(&["a.example"], algorithm).load());
    let both = Certificates::new().with(ecdsa.clone()).with(rsa.clone());
    let tls = Tls::new(both, TlsConfig::default()).unwrap();
    let any = backend(authority.client());
    assert_eq!(shown(&tls, &any, "a.example").await, der(&ecdsa));
    // The suites of TLS 1.2 name the kind of key.
    let stream = s_client_rsa_only(&tls).await;
    assert_eq!(stream.as_deref(), Some(&*der(&rsa)));
}

/// The certificate that a client of TLS 1.2 is shown that has suites of RSA alone.
async fn s_client_rsa_only(tls: &Tls) -> Option<Vec<u8>> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
        .cipher_suites
        .retain(|suite| format!("{:?}", suite.suite()).contains("ECDHE_RSA"));
    let verifier = Arc::new(unverified::Unverified::new(&provider.clone().into()));
    let config = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    let (near, far) = tokio::io::duplex(1 << 16);
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = "a.example".try_into().unwrap();
    let (served, connected) = tokio::join!(tls.handshake(far), connector.connect(name, near));
    served.unwrap();
    let connected = connected.unwrap();
    Some(connected.get_ref().1.peer_certificates()?[0].to_vec())
}

#[tokio::test]
async fn a_staple_is_taken_if_it_is_one() {
    let shop = Authority::new("ca").certificate(&["shop.example"]);
    // SEQUENCE { ENUMERATED successful, [0] { } }
    let good = vec![0x30, 5, 0x0A, 1, 0, 0xA0, 0];
    let stapled = shop.clone().staple(good.clone()).unwrap();
    assert_eq!(stapled.certified_key().ocsp.as_ref(), Some(&good));
    let folder = Folder::new("staple");
    for bad in [
        &b""[..],
        b"-----BEGIN",
        &[0x30, 5, 0x0A, 1, 6, 0xA0, 0],
        &[0x30, 3, 0x0A, 1, 0],
        &[0x30, 5, 0x0A, 1, 0, 0xA0, 0, 0],
    ] {
        let file = folder.file("ocsp.der", bad);
        let error = shop.clone().staple_file(&file).unwrap_err();
        assert!(matches!(error.fault(), LoadFault::BadStaple));
        assert_eq!(error.file(), Some(&*file));
    }
}

#[test]
fn roots_are_read_or_the_fault_is_said() {
    let authority = Authority::new("ca");
    let folder = Folder::new("roots");
    let bad = format!("{}{}", authority.pem, pem("CERTIFICATE", "AAAA"));
    let file = folder.file("ca.pem", &bad);
    let error = Roots::from_pem_file(&file).unwrap_err();
    assert!(
        matches!(error.fault(), LoadFault::BadCertificate(2)),
        "{error}"
    );
    assert_eq!(error.file(), Some(&*file));
    let file = folder.file("ca.pem", &authority.pem);
    assert_eq!(Roots::from_pem_file(&file).unwrap().ders().len(), 1);
}

fn pem(label: &str, body: &str) -> String {
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

/// A folder that goes with its test.
pub(super) struct Folder(pub(super) std::path::PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        let unique = format!("lb-l7-tls-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub(super) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> std::path::PathBuf {
        let file = self.0.join(name);
        std::fs::write(&file, content).unwrap();
        file
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
