use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::*;

struct End {
    chain: String,
    key: String,
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn end(authority: &CertifiedIssuer<'_, KeyPair>) -> End {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["node.example".to_owned()]).unwrap();
    End {
        chain: params.signed_by(&key, authority).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

fn load(end: &End, authorities: &str) -> Result<MutualTls, MutualTlsError> {
    MutualTls::from_pem(
        end.chain.as_bytes(),
        end.key.as_bytes(),
        authorities.as_bytes(),
    )
}

/// A folder of this test's own, which goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mutual-tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, content: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn a_node_offers_its_mode_and_no_other() {
    let ca = authority();
    let tls = load(&end(&ca), &ca.pem()).unwrap();
    for mode in Mode::ALL {
        let offered: Vec<_> = mode.alpn().map(<[u8]>::to_vec).into_iter().collect();
        assert_eq!(tls.client_config(mode).alpn_protocols, offered);
    }
}

#[test]
fn a_server_takes_the_strongest_mode_first() {
    let ca = authority();
    let tls = load(&end(&ca), &ca.pem()).unwrap();
    let config = tls.server_config(&[Mode::Bound, Mode::Plain, Mode::Strict, Mode::Bound]);
    let expected = [Mode::Strict, Mode::Bound].map(|mode| mode.alpn().unwrap().to_vec());
    assert_eq!(config.alpn_protocols, expected);
}

#[test]
fn nothing_is_left_to_resume_a_session_with() {
    let ca = authority();
    let config = load(&end(&ca), &ca.pem())
        .unwrap()
        .server_config(&Mode::ALL);
    assert_eq!(config.send_tls13_tickets, 0);
    assert!(!config.session_storage.can_cache());
    assert!(!config.ticketer.enabled());
}

#[test]
fn the_key_has_to_be_that_of_the_certificate() {
    let ca = authority();
    let mixed = End {
        key: end(&ca).key,
        ..end(&ca)
    };
    let error = load(&mixed, &ca.pem()).unwrap_err();
    assert!(matches!(error.fault(), MutualTlsFault::KeyMismatch));
}

#[test]
fn what_is_missing_is_named() {
    let ca = authority();
    let end = end(&ca);
    let no_chain = load(
        &End {
            chain: String::new(),
            key: end.key.clone(),
        },
        &ca.pem(),
    );
    assert!(matches!(
        no_chain.unwrap_err().fault(),
        MutualTlsFault::NoCertificate
    ));
    let no_key = load(
        &End {
            key: String::new(),
            chain: end.chain.clone(),
        },
        &ca.pem(),
    );
    assert!(matches!(no_key.unwrap_err().fault(), MutualTlsFault::NoKey));
    let no_authority = load(&end, "");
    assert!(matches!(
        no_authority.unwrap_err().fault(),
        MutualTlsFault::NoCertificate
    ));
    let no_list = load(&end, &ca.pem()).unwrap().revoked_by(b"");
    assert!(matches!(
        no_list.unwrap_err().fault(),
        MutualTlsFault::NoRevocationList
    ));
}

#[test]
fn a_broken_authority_is_counted_from_one() {
    let ca = authority();
    let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let error = load(&end(&ca), &format!("{}{broken}", ca.pem())).unwrap_err();
    assert!(matches!(error.fault(), MutualTlsFault::BadCertificate(2)));
}

#[test]
fn a_key_that_others_can_read_is_refused_and_its_file_named() {
    let ca = authority();
    let (end, folder) = (end(&ca), Folder::new("exposed"));
    let chain = folder.file("chain.pem", &end.chain, 0o644);
    let authorities = folder.file("ca.pem", &ca.pem(), 0o644);
    for mode in [0o640, 0o604, 0o620] {
        let key = folder.file("end.key", &end.key, mode);
        let error = MutualTls::from_pem_files(&chain, &key, &authorities).unwrap_err();
        assert!(matches!(error.fault(), MutualTlsFault::Exposed(found) if *found == mode));
        assert_eq!(error.file(), Some(key.as_path()));
    }
    let key = folder.file("end.key", &end.key, 0o600);
    MutualTls::from_pem_files(&chain, &key, &authorities).unwrap();
}

#[test]
fn an_error_names_the_file_it_is_in() {
    let ca = authority();
    let (end, folder) = (end(&ca), Folder::new("named"));
    let chain = folder.file("chain.pem", &end.chain, 0o644);
    let key = folder.file("end.key", &end.key, 0o600);
    let empty = folder.file("empty.pem", "", 0o600);
    let missing = folder.0.join("missing.pem");
    let fault_in = |chain, key, authorities| {
        let error = MutualTls::from_pem_files(chain, key, authorities).unwrap_err();
        error.file().unwrap().to_owned()
    };
    assert_eq!(fault_in(&empty, &key, &chain), empty);
    assert_eq!(fault_in(&chain, &empty, &chain), empty);
    assert_eq!(fault_in(&chain, &key, &empty), empty);
    assert_eq!(fault_in(&chain, &key, &missing), missing);
    let tls = load(&end, &ca.pem()).unwrap();
    assert_eq!(
        tls.revoked_by_file(&empty).unwrap_err().file(),
        Some(empty.as_path())
    );
}

#[test]
fn a_file_beyond_a_mebibyte_is_not_read() {
    let folder = Folder::new("long");
    let fits = folder.file("fits.pem", &" ".repeat(1 << 20), 0o600);
    let long = folder.file("long.pem", &" ".repeat((1 << 20) + 1), 0o600);
    assert!(pem::read(&fits).is_ok());
    let error = pem::read(&long).unwrap_err();
    assert!(matches!(error.fault(), MutualTlsFault::TooLong));
}
