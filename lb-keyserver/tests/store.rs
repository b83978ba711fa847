//! Keys in memory and in files, made by openssl, whose signatures openssl verifies.
#![cfg(feature = "server")]

mod openssl;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use lb_keyserver::store::{
    BadKey, FileStore, FilesError, KeyStore, MemoryStore, SigningKey, SoftKey, protect_process,
    read_secret,
};
use lb_keyserver::{KeyKind, Ski};
use rustls::pki_types::PrivateKeyDer;

use self::openssl::{Folder, KINDS, genpkey, openssl, signs_as_openssl_expects};

const P256: &str = "EC -pkeyopt ec_paramgen_curve:P-256";

/// Writes a new key, its owner's alone.
fn write_key(folder: &Folder, name: &str) -> Ski {
    let pair = rcgen::KeyPair::generate().expect("made");
    write(folder, name, pair.serialize_pem().as_bytes());
    let key = SoftKey::from_pem(pair.serialize_pem().as_bytes());
    key.expect("read").public_key().ski()
}

fn write(folder: &Folder, name: &str, bytes: &[u8]) {
    fs::write(folder.join(name), bytes).expect("written");
    set_mode(&folder.join(name), 0o600);
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("changed");
}

fn open(folder: &Folder) -> Result<FileStore, FilesError> {
    FileStore::open([folder.path()])
}

fn sorted(mut names: Vec<Ski>) -> Vec<Ski> {
    names.sort_unstable();
    names
}

#[test]
fn a_key_of_any_kind_and_form_signs_what_openssl_verifies() {
    for (command, kind) in KINDS {
        let folder = Folder::new();
        genpkey(&folder, command, "key");
        let mut forms = vec!["key"];
        openssl(&folder, "pkey -in key -outform DER -out pkcs8.der");
        forms.push("pkcs8.der");
        if kind != KeyKind::Ed25519 {
            openssl(&folder, "pkey -in key -traditional -out old.pem");
            openssl(
                &folder,
                "pkey -in key -traditional -outform DER -out old.der",
            );
            forms.extend(["old.pem", "old.der"]);
        }
        for form in forms {
            let bytes = fs::read(folder.join(form)).expect("made");
            let key = SoftKey::from_bytes(&bytes).expect("read");
            assert_eq!(key.public_key().kind(), kind);
            signs_as_openssl_expects(&folder, &key);
        }
    }
}

#[test]
fn rsa_keys_are_served_from_2048_bits_on() {
    let folder = Folder::new();
    for (bits, served) in [
        (1024, false),
        (2040, false),
        (2048, true),
        (3072, true),
        (4096, true),
    ] {
        genpkey(
            &folder,
            &format!("RSA -pkeyopt rsa_keygen_bits:{bits}"),
            "key",
        );
        let key = SoftKey::from_pem(&fs::read(folder.join("key")).expect("made"));
        match key {
            Ok(key) => signs_as_openssl_expects(&folder, &key),
            Err(fault) => assert_eq!(fault, BadKey::Invalid),
        }
        let key = SoftKey::from_pem(&fs::read(folder.join("key")).expect("made"));
        assert_eq!(key.is_ok(), served, "{bits}");
    }
}

#[test]
fn keys_of_other_kinds_are_refused() {
    let folder = Folder::new();
    for kind in ["EC -pkeyopt ec_paramgen_curve:secp256k1", "ED448", "X25519"] {
        genpkey(&folder, kind, "key");
        let key = SoftKey::from_pem(&fs::read(folder.join("key")).expect("made"));
        assert_eq!(key.err(), Some(BadKey::Invalid), "{kind}");
    }
}

#[test]
fn parameters_and_certificates_next_to_a_key_are_passed_over() {
    let folder = Folder::new();
    openssl(&folder, "ecparam -name secp384r1 -genkey -out key.pem");
    openssl(
        &folder,
        "req -x509 -new -key key.pem -subj /CN=a -out certificate.pem",
    );
    let parts =
        ["certificate.pem", "key.pem"].map(|name| fs::read(folder.join(name)).expect("made"));
    let key = SoftKey::from_pem(&parts.concat()).expect("read");
    assert_eq!(key.public_key().kind(), KeyKind::EcdsaP384);
    let [certificate, _] = parts;
    assert_eq!(SoftKey::from_pem(&certificate).err(), Some(BadKey::Missing));
}

#[test]
fn an_encrypted_key_is_refused_and_said_to_be_encrypted() {
    let folder = Folder::new();
    genpkey(&folder, "RSA -pkeyopt rsa_keygen_bits:2048", "key");
    openssl(
        &folder,
        "pkcs8 -topk8 -in key -passout pass:word -out a.pem",
    );
    openssl(
        &folder,
        "pkcs8 -topk8 -in key -passout pass:word -outform DER -out b.der",
    );
    openssl(
        &folder,
        "rsa -in key -aes128 -passout pass:word -traditional -out c.pem",
    );
    for name in ["a.pem", "b.der", "c.pem"] {
        let bytes = fs::read(folder.join(name)).expect("made");
        assert_eq!(
            SoftKey::from_bytes(&bytes).err(),
            Some(BadKey::Encrypted),
            "{name}"
        );
    }
    let der = PrivateKeyDer::Pkcs8(fs::read(folder.join("b.der")).expect("made").into());
    assert_eq!(SoftKey::from_der(&der).err(), Some(BadKey::Encrypted));
}

#[test]
fn a_memory_store_finds_the_keys_that_it_was_given_and_no_other() {
    let keys: Vec<_> = (0..3)
        .map(|_| {
            let pem = rcgen::KeyPair::generate().expect("made").serialize_pem();
            let key: Arc<dyn SigningKey> =
                Arc::new(SoftKey::from_pem(pem.as_bytes()).expect("read"));
            key
        })
        .collect();
    let [first, second, third] = [0, 1, 2].map(|index| keys[index].public_key().ski());
    let store: MemoryStore = keys.into_iter().take(2).collect();
    assert_eq!(sorted(store.names()), sorted(vec![first, second]));
    assert_eq!(
        store.key(&first).map(|key| key.public_key().ski()),
        Some(first)
    );
    assert!(store.key(&third).is_none());
    assert!(MemoryStore::new().names().is_empty());
    let pem = rcgen::KeyPair::generate().expect("made").serialize_pem();
    let key = || SoftKey::from_pem(pem.as_bytes()).expect("read");
    let ski = key().public_key().ski();
    assert_eq!(
        MemoryStore::new().with_key(key()).with_key(key()).names(),
        [ski]
    );
}

#[test]
fn several_stores_are_one_and_the_first_that_has_a_key_gives_it() {
    let keys = || {
        let pem = rcgen::KeyPair::generate().expect("made").serialize_pem();
        let key: Arc<dyn SigningKey> = Arc::new(SoftKey::from_pem(pem.as_bytes()).expect("read"));
        (key.public_key().ski(), key)
    };
    let ((one, key), (two, other)) = (keys(), keys());
    let of = |key: &Arc<dyn SigningKey>| {
        let store: Arc<dyn KeyStore> =
            Arc::new(MemoryStore::new().with_shared_key(Arc::clone(key)));
        store
    };
    let stores = vec![of(&key), of(&other)];
    assert_eq!(sorted(stores.names()), sorted(vec![one, two]));
    for (ski, key) in [(one, key), (two, other)] {
        assert!(Arc::ptr_eq(&stores.key(&ski).expect("there"), &key));
    }
    assert!(stores.key(&Ski::of_bits(b"other")).is_none());
}

#[test]
fn a_secret_is_read_whole_and_only_if_it_is_one() {
    let folder = Folder::new();
    write(&folder, "pin", b"1234\n");
    let path = folder.join("pin");
    assert_eq!(read_secret(&path).expect("good").as_slice(), b"1234\n");
    set_mode(&path, 0o640);
    assert!(matches!(
        read_secret(&path),
        Err(FilesError::Exposed { .. })
    ));
    assert!(matches!(
        read_secret(folder.path()),
        Err(FilesError::NotAFile { .. })
    ));
}

#[test]
fn a_folder_gives_its_keys_and_passes_over_what_is_named_otherwise() {
    let folder = Folder::new();
    let mut names = vec![write_key(&folder, "a.pem"), write_key(&folder, "b.key")];
    genpkey(&folder, P256, "c.txt");
    openssl(&folder, "pkey -in c.txt -outform DER -out c.der");
    set_mode(&folder.join("c.der"), 0o400);
    let der = SoftKey::from_bytes(&fs::read(folder.join("c.der")).expect("made"));
    names.push(der.expect("read").public_key().ski());
    for name in ["d.crt", ".pem", ".hidden.pem", "a.pem~", "pem", "e.PEM"] {
        write(&folder, name, b"no key");
    }
    fs::create_dir(folder.join("more")).expect("made");

    let store = open(&folder).expect("good");
    assert_eq!(sorted(store.names()), sorted(names.clone()));
    assert_eq!(store.reload().expect("good").ignored, 8);
    for ski in &names {
        let key = store.key(ski).expect("there");
        signs_as_openssl_expects(&Folder::new(), key.as_ref());
    }
    assert_eq!(store.path(&names[1]), Some(folder.join("b.key")));
    assert!(store.key(&Ski::of_bits(b"other")).is_none());
}

#[test]
fn single_files_may_be_named_whatever_they_are_called() {
    let folder = Folder::new();
    let (one, two) = (write_key(&folder, "one"), write_key(&folder, "two.txt"));
    let store = FileStore::open([folder.join("one"), folder.join("two.txt")]).expect("good");
    assert_eq!(sorted(store.names()), sorted(vec![one, two]));
}

#[test]
fn a_file_that_others_have_any_access_to_is_refused() {
    let folder = Folder::new();
    write_key(&folder, "a.pem");
    for bit in 0..9 {
        let mode = 0o600 | 1 << bit;
        set_mode(&folder.join("a.pem"), mode);
        match open(&folder) {
            Ok(_) => assert_eq!(mode & 0o077, 0, "{mode:o}"),
            Err(FilesError::Exposed { path, mode: said }) => {
                assert_ne!(mode & 0o077, 0);
                assert_eq!((path, said), (folder.join("a.pem"), mode));
            }
            Err(other) => panic!("{other}"),
        }
    }
    set_mode(&folder.join("a.pem"), 0o640);
    let fault = open(&folder).expect_err("exposed").to_string();
    assert!(
        fault.ends_with("a.pem has mode 0640: only its owner may have access (0600)"),
        "{fault}"
    );
}

#[test]
fn a_folder_that_others_may_write_to_is_refused() {
    let folder = Folder::new();
    write_key(&folder, "a.pem");
    for (mode, good) in [
        (0o700, true),
        (0o755, true),
        (0o775, false),
        (0o757, false),
        (0o1777, false),
    ] {
        set_mode(folder.path(), mode);
        match open(&folder) {
            Ok(_) => assert!(good, "{mode:o}"),
            Err(FilesError::Writable { mode: said, .. }) => {
                assert!(!good);
                assert_eq!(said, mode);
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
#[expect(
    clippy::print_stderr,
    reason = "a test that proves nothing here says so"
)]
fn what_belongs_to_somebody_else_is_refused() {
    const NOBODY: u32 = 65534;
    let folder = Folder::new();
    write_key(&folder, "a.pem");
    if chown(folder.join("a.pem"), Some(NOBODY), None).is_err() {
        eprintln!("SKIPPED: only root can give files away");
        return;
    }
    let refused = |path: &Path| match open(&folder) {
        Err(FilesError::Foreign { path: said, owner }) => said == path && owner == NOBODY,
        _ => false,
    };
    assert!(refused(&folder.join("a.pem")));
    chown(folder.join("a.pem"), Some(0), None).expect("root");
    assert!(open(&folder).is_ok());
    chown(folder.path(), Some(NOBODY), None).expect("root");
    assert!(refused(folder.path()));
}

#[test]
fn a_link_is_followed_and_its_target_checked() {
    let (folder, elsewhere) = (Folder::new(), Folder::new());
    let ski = write_key(&elsewhere, "key");
    symlink(elsewhere.join("key"), folder.join("a.pem")).expect("made");
    assert_eq!(open(&folder).expect("good").names(), [ski]);
    set_mode(&elsewhere.join("key"), 0o604);
    assert!(matches!(open(&folder), Err(FilesError::Exposed { .. })));
    fs::remove_file(elsewhere.join("key")).expect("there");
    let fault = open(&folder).expect_err("dangling");
    assert!(matches!(&fault, FilesError::Unreadable { path, .. } if *path == folder.join("a.pem")));
}

#[test]
fn what_is_no_file_is_refused_and_never_waited_for() {
    let folder = Folder::new();
    fs::create_dir(folder.join("a.pem")).expect("made");
    assert!(matches!(open(&folder), Err(FilesError::NotAFile { .. })));
    fs::remove_dir(folder.join("a.pem")).expect("there");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let pipe = folder.join("a.pem");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).expect("made");
    assert!(matches!(open(&folder), Err(FilesError::NotAFile { .. })));
    assert!(matches!(
        FileStore::open([&pipe]),
        Err(FilesError::NotAFile { .. })
    ));
    let missing = FileStore::open([folder.join("missing")]);
    assert!(matches!(missing, Err(FilesError::Unreadable { .. })));
}

#[test]
fn a_file_may_be_as_long_as_is_said_and_no_longer() {
    let folder = Folder::new();
    let mut bytes = rcgen::KeyPair::generate()
        .expect("made")
        .serialize_pem()
        .into_bytes();
    bytes.resize(FileStore::LONGEST, b'\n');
    write(&folder, "a.pem", &bytes);
    assert!(open(&folder).is_ok());
    bytes.push(b'\n');
    write(&folder, "a.pem", &bytes);
    assert!(matches!(open(&folder), Err(FilesError::TooLong { .. })));
    write(&folder, "a.pem", b"");
    assert!(matches!(
        open(&folder),
        Err(FilesError::Bad {
            source: BadKey::Invalid,
            ..
        })
    ));
}

#[test]
fn one_key_in_two_files_is_refused_by_both_their_names() {
    let folder = Folder::new();
    let ski = write_key(&folder, "a.pem");
    write(
        &folder,
        "b.pem",
        &fs::read(folder.join("a.pem")).expect("there"),
    );
    match open(&folder) {
        Err(FilesError::Twice {
            ski: said,
            first,
            second,
        }) => {
            assert_eq!(said, ski);
            assert_eq!(
                (first, second),
                (folder.join("a.pem"), folder.join("b.pem"))
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reload_says_what_it_added_removed_and_kept() {
    let folder = Folder::new();
    let (gone, stays) = (write_key(&folder, "a.pem"), write_key(&folder, "b.pem"));
    let store = open(&folder).expect("good");
    let held = store.key(&gone).expect("there");
    fs::remove_file(folder.join("a.pem")).expect("there");
    let new = write_key(&folder, "c.pem");
    assert!(store.key(&new).is_none());
    let reloaded = store.reload().expect("good");
    assert_eq!(reloaded.added, [new]);
    assert_eq!(reloaded.removed, [gone]);
    assert_eq!(reloaded.kept, [stays]);
    assert_eq!(sorted(store.names()), sorted(vec![stays, new]));
    assert!(store.key(&gone).is_none());
    signs_as_openssl_expects(&Folder::new(), held.as_ref());
}

#[test]
fn one_bad_file_leaves_every_key_as_it_was() {
    let folder = Folder::new();
    let old = write_key(&folder, "a.pem");
    let store = open(&folder).expect("good");
    fs::remove_file(folder.join("a.pem")).expect("there");
    write_key(&folder, "b.pem");
    write(
        &folder,
        "c.pem",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    let fault = store.reload().expect_err("bad");
    assert!(
        matches!(&fault, FilesError::Bad { path, source: BadKey::Invalid } if *path == folder.join("c.pem"))
    );
    assert_eq!(store.names(), [old]);
    fs::remove_dir_all(folder.path()).expect("there");
    assert!(store.reload().is_err());
    assert_eq!(store.names(), [old]);
}

#[test]
fn a_change_is_seen_once_whether_or_not_it_is_good() {
    let folder = Folder::new();
    write_key(&folder, "a.pem");
    let store = open(&folder).expect("good");
    assert!(!store.changed());
    let changes: [&dyn Fn(); 7] = [
        &|| {
            write_key(&folder, "b.pem");
        },
        &|| fs::rename(folder.join("b.pem"), folder.join("c.pem")).expect("renamed"),
        &|| write(&folder, "c.pem", b"bad"),
        &|| {
            write_key(&folder, "c.pem");
        },
        &|| set_mode(&folder.join("c.pem"), 0o640),
        &|| set_mode(folder.path(), 0o770),
        &|| fs::remove_file(folder.join("c.pem")).expect("there"),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        change();
        assert!(store.changed(), "change {index}");
        let good = store.reload().is_ok();
        assert_eq!(
            good,
            [true, true, false, true, false, false, false][index],
            "change {index}"
        );
        assert!(!store.changed(), "change {index}");
    }
    set_mode(folder.path(), 0o700);
    assert!(store.changed());
    assert!(store.reload().is_ok());
    write(&folder, "passed-over", b"");
    assert!(!store.changed());
}

#[test]
fn nothing_secret_is_shown() {
    let folder = Folder::new();
    let ski = write_key(&folder, "a.pem");
    let store = open(&folder).expect("good");
    let shown = format!("{store:?}");
    assert!(shown.ends_with("keys: 1, .. }"), "{shown}");
    assert_eq!(
        format!("{:?}", store.key(&ski).expect("there")),
        format!("SoftKey {{ ski: Ski({ski}), kind: EcdsaP256, .. }}")
    );
}

#[test]
fn a_protected_process_leaves_no_core() {
    const CHILD: &str = "LB_KEYSERVER_PROTECTED";
    if std::env::var_os(CHILD).is_none() {
        // In a process of its own, as it cannot be undone.
        let status = Command::new(std::env::current_exe().expect("running"))
            .args(["--exact", "a_protected_process_leaves_no_core"])
            .env(CHILD, "1")
            .status();
        assert!(status.expect("started").success());
        return;
    }
    let unlimited = rustix::process::getrlimit(rustix::process::Resource::Memlock)
        .current
        .is_none();
    let protection = protect_process().expect("permitted");
    assert_eq!(protection.locked, unlimited);
    let dumpable = rustix::process::dumpable_behavior().expect("asked");
    assert_eq!(dumpable, rustix::process::DumpableBehavior::NotDumpable);
    let core = rustix::process::getrlimit(rustix::process::Resource::Core);
    assert_eq!((core.current, core.maximum), (Some(0), Some(0)));
}
