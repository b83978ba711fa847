//! A key server as its file says, over loopback: what a new file changes, and what it cuts off.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use lb_keyserver::audit::Head;
use lb_keyserver::client::KeyClientConfig;
use lb_keyserver::wire::ErrorCode;
use lb_keyserver::{KeyClient, MutualTls, PublicKey, RemoteSigner, Scheme, SignError, SignRequest};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    PublicKeyData, SanType,
};

use super::*;
use crate::cli::Known;

/// A folder with what a key server needs, and an authority to make more.
struct Folder {
    path: PathBuf,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("clb-key-server-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(path.join("keys")).expect("a folder of its own");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("signed");
        let folder = Self { path, authority };
        let name = SanType::IpAddress([127, 0, 0, 1].into());
        let (cert, key) = folder.signed(name, ExtendedKeyUsagePurpose::ServerAuth);
        folder.write("server.pem", &cert);
        folder.write("server-key.pem", &key);
        folder.write("ca.pem", &folder.authority.pem());
        folder
    }

    /// A certificate for `name`, and its key.
    fn signed(&self, name: SanType, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.authority).expect("signed");
        (cert.pem(), key.serialize_pem())
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path.join(name);
        fs::write(&path, text).expect("written");
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("ours");
    }

    /// A new key among the server's.
    fn key(&self, name: &str) -> Arc<PublicKey> {
        let pair = KeyPair::generate().expect("a key");
        self.write(&format!("keys/{name}.pem"), &pair.serialize_pem());
        let spki = pair.subject_public_key_info();
        Arc::new(PublicKey::from_spki(spki).expect("a key"))
    }

    /// The file of a server with these rules.
    fn file(&self, rules: &str) -> KeyServer {
        let text = format!(
            "listen = \"127.0.0.1:0\"\ncertificate = \"server.pem\"\nkey = \"server-key.pem\"\n\
             ca = \"ca.pem\"\nkeys = \"keys\"\nsigners = 1\n\
             audit = {{ file = \"audit.log\" }}\n{rules}\n"
        );
        let parsed = config::parse_key_server_in(&text, &self.path);
        parsed
            .unwrap_or_else(|notes| panic!("{text}: {notes:?}"))
            .config
    }

    async fn serve(&self, rules: &str) -> Serving {
        let config = self.file(rules);
        let keys = Keys::open(&config.keys).expect("keys");
        Serving::start(config, keys).await.expect("served")
    }

    /// A node of this name, connected.
    async fn node(&self, name: &str, serving: &Serving) -> KeyClient {
        let name = SanType::URI(name.try_into().expect("a name"));
        let (cert, key) = self.signed(name, ExtendedKeyUsagePurpose::ClientAuth);
        let ca = self.authority.pem();
        let identity = MutualTls::from_pem(cert.as_bytes(), key.as_bytes(), ca.as_bytes());
        let (identity, config) = (identity.expect("made"), KeyClientConfig::default());
        let address = serving.address.to_string();
        KeyClient::lazy(address, identity, config).expect("made")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Asks until an answer comes that is one: at first the connections are not there yet.
async fn sign(node: &KeyClient, key: &Arc<PublicKey>) -> Result<(), SignError> {
    let mut message = vec![0x20; 64];
    message.extend(b"TLS 1.3, server CertificateVerify\0");
    message.extend([7; 32]);
    let request = SignRequest::new(Arc::clone(key), Scheme::EcdsaP256Sha256, message);
    loop {
        match node.sign(request.clone()).await {
            Err(SignError::NoServer) => tokio::time::sleep(SHORT).await,
            Ok(_) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

const SHORT: std::time::Duration = std::time::Duration::from_millis(5);

const NOT_FOUND: Result<(), SignError> = Err(SignError::Refused(ErrorCode::KeyNotFound));

const ALL: &str = "allow = [{ identity = \"lb://node/*\", keys = [\"*\"] }]";

#[tokio::test]
async fn a_new_file_changes_who_may_sign_and_cuts_off_who_may_not() {
    let folder = Folder::new();
    let (a, b) = (folder.key("a"), folder.key("b"));
    let only = format!(
        "allow = [{{ identity = \"lb://node/7\", keys = [\"{}\"] }}]",
        a.ski()
    );
    let mut serving = folder.serve(&only).await;
    let seven = folder.node("lb://node/7", &serving).await;
    assert_eq!(sign(&seven, &a).await, Ok(()));
    assert_eq!(sign(&seven, &b).await, NOT_FOUND);

    serving.change(folder.file(ALL)).expect("changed");
    assert_eq!(sign(&seven, &b).await, Ok(()));
    assert_eq!(serving.snapshot().ended["revoked"], 0, "it stays connected");

    let revoked = format!("revoked = [\"lb://node/7\"]\n{ALL}");
    serving.change(folder.file(&revoked)).expect("changed");
    let eight = folder.node("lb://node/8", &serving).await;
    assert_eq!(sign(&eight, &a).await, Ok(()));
    let snapshot = serving.snapshot();
    assert!(snapshot.connections > 0);
    assert_eq!((snapshot.reloads.applied, snapshot.reloads.refused), (2, 0));
    while serving.snapshot().ended["revoked"] == 0 {
        tokio::time::sleep(SHORT).await;
    }
}

#[tokio::test]
async fn keys_come_and_go_with_their_files_and_a_bad_one_changes_none() {
    let folder = Folder::new();
    let a = folder.key("a");
    let serving = folder.serve(ALL).await;
    let node = folder.node("lb://node/1", &serving).await;
    assert_eq!(sign(&node, &a).await, Ok(()));
    let b = folder.key("b");
    assert_eq!(sign(&node, &b).await, NOT_FOUND, "not looked for yet");
    serving.keys().look();
    assert_eq!(sign(&node, &b).await, Ok(()));

    fs::remove_file(folder.path.join("keys/a.pem")).expect("removed");
    folder.write("keys/c.pem", "nothing");
    serving.keys().look();
    assert_eq!(sign(&node, &a).await, Ok(()), "all or nothing");
    fs::remove_file(folder.path.join("keys/c.pem")).expect("removed");
    serving.keys().look();
    assert_eq!(sign(&node, &a).await, NOT_FOUND);
    let snapshot = serving.snapshot();
    assert_eq!(snapshot.keys, [b.ski().to_string()]);
    let reloads = snapshot.key_reloads;
    assert_eq!((reloads.ok, reloads.failed), (2, 1));
}

#[tokio::test]
async fn another_folder_of_keys_is_taken_up_with_the_file() {
    let folder = Folder::new();
    folder.key("a");
    let config = folder.file(ALL);
    let keys = Keys::open(&config.keys).expect("keys");
    let same = keys.clone();
    fs::create_dir(folder.path.join("other")).expect("made");
    let mut other = config.keys.clone();
    other.folder = Some(folder.path.join("other"));
    keys.reload(&other).expect("empty is no mistake");
    assert!(same.names().is_empty());
    keys.reload(&config.keys).expect("back");
    assert_eq!(same.names().len(), 1);
    other.folder = Some(folder.path.join("none"));
    assert!(keys.reload(&other).is_err());
    assert_eq!(same.names().len(), 1, "nothing has changed");
}

#[tokio::test]
async fn what_was_signed_is_in_the_log_and_the_log_is_whole_at_the_end() {
    let folder = Folder::new();
    let a = folder.key("a");
    let mut serving = folder.serve(ALL).await;
    let node = folder.node("lb://node/1", &serving).await;
    assert_eq!(sign(&node, &a).await, Ok(()));
    node.close().await;
    assert_eq!(serving.drain(), std::time::Duration::from_secs(10));
    serving.drained().await;
    let snapshot = serving.snapshot();
    assert!(snapshot.draining);
    assert_eq!(snapshot.signed["ecdsa-p256-sha256"], 1);
    assert_eq!(snapshot.took.count, 1);
    serving.close().await;

    let log = folder.path.join("audit.log");
    let told = verify_audit(&log, &Known::default()).expect("whole");
    assert!(told.contains(": whole; records: 1; from "), "{told}");
    let text = fs::read_to_string(&log).expect("a log");
    assert!(
        text.contains("lb://node/1") && text.contains(&a.ski().to_string()),
        "{text}"
    );
    cut_off_is_found_by_the_head_alone(&log, &text, &snapshot.audit.expect("a log").head);
    fs::write(&log, text.replace("lb://node/1", "lb://node/2")).expect("tampered with");
    let told = verify_audit(&log, &Known::default())
        .expect_err("found out")
        .to_string();
    assert!(told.contains("audit.log: line "), "{told}");
}

/// Leaves another log behind.
fn cut_off_is_found_by_the_head_alone(log: &Path, text: &str, head: &str) {
    let head = head.parse::<Head>().expect("as the status shows it");
    let known = |head, after| Known {
        key: None,
        head,
        after,
    };
    verify_audit(log, &known(Some(head), Some(Head::default()))).expect("whole");
    let other = verify_audit(log, &known(None, Some(head))).expect_err("it is the first");
    assert!(other.to_string().contains(": line 1: "), "{other}");
    let (first, _) = text.split_once('\n').expect("lines");
    fs::write(log, format!("{first}\n")).expect("cut off");
    verify_audit(log, &Known::default()).expect("nothing in it tells");
    let told = verify_audit(log, &known(Some(head), None)).expect_err("found out");
    let told = told.to_string();
    assert!(told.contains("does not contain the head"), "{told}");
}

#[test]
fn the_name_of_a_key_is_printed_as_rules_take_it() {
    let folder = Folder::new();
    let a = folder.key("a");
    let file = folder.path.join("keys/a.pem");
    let told = ski(&file).expect("a key");
    assert_eq!(
        told,
        format!("{}  # ecdsa-p256, {}\n", a.ski(), file.display())
    );
    let none = ski(Path::new("/nowhere")).expect_err("none").to_string();
    assert!(none.starts_with("/nowhere: cannot be read: "), "{none}");
}

#[test]
fn a_check_counts_keys_and_rules_and_tells_of_keys_that_are_none() {
    let folder = Folder::new();
    folder.key("a");
    let (file, config) = (Path::new("a.toml"), folder.file(ALL));
    assert_eq!(summary(file, &config).expect("good"), "keys: 1, rules: 1");
    folder.write("keys/b.pem", "nothing");
    let told = summary(file, &config).expect_err("a bad key").to_string();
    assert!(
        told.starts_with("a.toml: ") && told.contains("b.pem: the key is broken"),
        "{told}"
    );
}

#[tokio::test]
async fn what_is_in_the_way_of_a_start_is_told() {
    let folder = Folder::new();
    for (key, expected) in [
        ("listen", "cannot listen at "),
        ("admin", "admin: cannot listen at "),
    ] {
        let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = held.local_addr().expect("an address");
        let mut config = folder.file(ALL);
        config.audit = None;
        match key {
            "listen" => config.listen = at,
            _ => config.admin = Some(config::Admin { listen: at }),
        }
        let keys = Keys::open(&config.keys).expect("keys");
        let told = Serving::start(config, keys)
            .await
            .expect_err(key)
            .to_string();
        assert!(told.starts_with(&format!("{expected}{at}: ")), "{told}");
    }
    let mut config = folder.file(ALL);
    folder.write("audit.log", "something else\n");
    config.admin = None;
    let keys = Keys::open(&config.keys).expect("keys");
    let told = Serving::start(config, keys)
        .await
        .expect_err("a log")
        .to_string();
    assert!(
        told.contains("audit.log: the file does not end as an audit log does"),
        "{told}"
    );
}
