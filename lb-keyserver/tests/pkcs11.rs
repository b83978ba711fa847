//! Keys on a token of SoftHSM 2, whose signatures openssl verifies.
//!
//! SoftHSM finds its tokens by the environment, and keeps one state for the process: each test makes
//! a token, and goes on in a process of its own. Skipped, and said so, where SoftHSM is not installed
//! (Debian: softhsm2).
#![cfg(feature = "pkcs11")]

mod openssl;

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use lb_keyserver::store::pkcs11::{Pkcs11Config, Pkcs11Error, Pkcs11Store, Token};
use lb_keyserver::store::{Input, KeyStore, SignFailure, SigningKey, SoftKey};
use lb_keyserver::{Hash, KeyKind, Scheme, Ski};
use zeroize::Zeroizing;

use self::openssl::{Folder, KINDS, genpkey, run, signs_as_openssl_expects};

const LABEL: &str = "edge";
const PIN: &str = "123456";
const P256: &str = "EC -pkeyopt ec_paramgen_curve:P-256";

/// Where Debian, Fedora and a build from source have it.
const MODULES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

fn module() -> &'static str {
    let mut modules = MODULES.into_iter();
    modules
        .find(|path| Path::new(path).exists())
        .unwrap_or_default()
}

/// Runs the rest of the test `name` in a process that sees a new token and nothing else.
#[expect(clippy::print_stderr, reason = "a test that proves nothing says so")]
fn on_a_token(name: &str, rest: impl FnOnce()) {
    const CONFIGURATION: &str = "SOFTHSM2_CONF";
    const CHILD: &str = "LB_KEYSERVER_ON_A_TOKEN";
    if env::var_os(CHILD).is_some() {
        return rest();
    }
    if module().is_empty() {
        eprintln!("SKIPPED: {name}: SoftHSM 2 is not installed");
        return;
    }
    let folder = Folder::new();
    fs::create_dir(folder.join("tokens")).expect("made");
    let tokens = format!(
        "directories.tokendir = {}\n",
        folder.join("tokens").display()
    );
    let rest = "objectstore.backend = file\nlog.level = ERROR\n";
    fs::write(folder.join("conf"), tokens + rest).expect("written");
    let init = format!("--init-token --free --label {LABEL} --so-pin {PIN} --pin {PIN}");
    for (program, words) in [
        (
            Path::new("softhsm2-util"),
            init.split_whitespace().collect(),
        ),
        (&env::current_exe().expect("running"), vec!["--exact", name]),
    ] {
        let output = Command::new(program)
            .args(words)
            .env(CONFIGURATION, folder.join("conf"))
            .env(CHILD, "1")
            .output()
            .expect("started");
        let said = [output.stdout, output.stderr].concat();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&said)
        );
    }
}

/// Puts a new key onto the token, and says its name.
fn import(kind: &str, id: &str, more: &str) -> Ski {
    let folder = Folder::new();
    genpkey(&folder, kind, "key");
    let token = format!("--token {LABEL} --pin {PIN} --label a --id {id} {more}");
    run(&folder, "softhsm2-util", &format!("--import key {token}"));
    let key = SoftKey::from_pem(&fs::read(folder.join("key")).expect("made"));
    key.expect("read").public_key().ski()
}

fn config() -> Pkcs11Config {
    let pin = Zeroizing::new(PIN.to_owned());
    // One, as SoftHSM counts its sessions from one again when it was initialised again.
    Pkcs11Config::new(module(), Token::Label(LABEL.into()), pin).threads(1)
}

fn open() -> Pkcs11Store {
    Pkcs11Store::open(config()).expect("opened")
}

/// The module as this test itself has it: the same in the process, whoever loaded it.
fn own() -> Pkcs11 {
    Pkcs11::new(module()).expect("loaded")
}

fn own_session() -> Session {
    let module = own();
    let slots = module.get_slots_with_initialized_token().expect("asked");
    let session = module.open_rw_session(slots[0]).expect("opened");
    // Another session of this process may have.
    let _ = session.login(UserType::User, Some(&AuthPin::from(PIN)));
    session
}

/// Ends every session there is, as does a token that is taken out.
fn take_out() {
    own().finalize().expect("initialised");
}

fn put_back() {
    let how = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
    own().initialize(how).expect("finalised");
}

fn sign(key: &dyn SigningKey) -> Result<Vec<u8>, SignFailure> {
    let digest = Hash::Sha256.digest(b"message");
    key.sign(Scheme::EcdsaP256Sha256, Input::Digest(digest.as_ref()))
}

#[test]
fn a_key_of_any_kind_signs_what_openssl_verifies() {
    on_a_token("a_key_of_any_kind_signs_what_openssl_verifies", || {
        let kinds = KINDS.into_iter().zip(["01", "02", "03", "04", "05"]);
        let skis: Vec<_> = kinds
            .map(|((command, kind), id)| (import(command, id, ""), kind))
            .collect();
        let store = open();
        assert_eq!(store.names().len(), KINDS.len());
        for (ski, kind) in skis {
            let key = store.key(&ski).expect("there");
            assert_eq!(key.public_key().kind(), kind);
            signs_as_openssl_expects(&Folder::new(), key.as_ref());
        }
        assert!(store.key(&Ski::of_bits(b"other")).is_none());
    });
}

#[test]
fn what_the_scheme_does_not_take_is_not_signed() {
    on_a_token("what_the_scheme_does_not_take_is_not_signed", || {
        for ((command, kind), id) in KINDS.into_iter().zip(["01", "02", "03", "04", "05"]) {
            let ski = import(command, id, "");
            let key = open().key(&ski).expect("there");
            for scheme in Scheme::ALL {
                for length in [0, 31, 32, 33, 48, 64] {
                    let bytes = vec![7; length];
                    let fits = scheme.kind() == kind;
                    let digest = scheme.hash().is_some_and(|hash| hash.len() == length);
                    let signed = key.sign(scheme, Input::Digest(&bytes));
                    assert_eq!(signed.is_ok(), fits && digest, "{scheme} {length}");
                    let signed = key.sign(scheme, Input::Message(&bytes));
                    assert_eq!(
                        signed.is_ok(),
                        fits && scheme.hash().is_none(),
                        "{scheme} {length}"
                    );
                }
            }
        }
    });
}

#[test]
fn threads_sign_side_by_side() {
    on_a_token("threads_sign_side_by_side", || {
        let ski = import(P256, "01", "");
        let store = Pkcs11Store::open(config().threads(4)).expect("opened");
        let key = store.key(&ski).expect("there");
        // The keys outlive the store.
        drop(store);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let signature = sign(key.as_ref()).expect("signed");
                        let scheme = Scheme::EcdsaP256Sha256;
                        assert!(key.public_key().verifies(scheme, b"message", &signature));
                    }
                });
            }
        });
    });
}

#[test]
fn a_private_key_without_its_public_half_is_served_if_it_tells_it() {
    on_a_token(
        "a_private_key_without_its_public_half_is_served_if_it_tells_it",
        || {
            import(P256, "01", "--no-public-key");
            let ski = import("RSA -pkeyopt rsa_keygen_bits:2048", "02", "--no-public-key");
            let store = open();
            assert_eq!(store.names(), [ski]);
            assert_eq!(store.reload().expect("good").ignored, 1);
            let key = store.key(&ski).expect("there");
            signs_as_openssl_expects(&Folder::new(), key.as_ref());
        },
    );
}

#[test]
fn a_certificate_says_whose_key_it_is() {
    on_a_token("a_certificate_says_whose_key_it_is", || {
        let folder = Folder::new();
        genpkey(&folder, P256, "key");
        let token = format!("--token {LABEL} --pin {PIN} --label a --id 01 --no-public-key");
        run(&folder, "softhsm2-util", &format!("--import key {token}"));
        run(
            &folder,
            "openssl",
            "req -x509 -new -key key -subj /CN=a -outform DER -out certificate",
        );
        let certificate = fs::read(folder.join("certificate")).expect("made");
        let store = open();
        assert!(store.names().is_empty());
        let session = own_session();
        let created = session.create_object(&[
            Attribute::Class(ObjectClass::CERTIFICATE),
            Attribute::CertificateType(cryptoki::object::CertificateType::X_509),
            Attribute::Token(true),
            Attribute::Id(vec![1]),
            Attribute::Subject(vec![0x30, 0]),
            Attribute::Value(certificate),
        ]);
        created.expect("created");
        let [ski] = store.reload().expect("good").added[..] else {
            panic!("one key");
        };
        signs_as_openssl_expects(&folder, store.key(&ski).expect("there").as_ref());
    });
}

#[test]
fn a_key_that_may_not_sign_is_not_served() {
    on_a_token("a_key_that_may_not_sign_is_not_served", || {
        import(P256, "01", "");
        let store = open();
        let session = own_session();
        let keys = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]);
        let [key] = keys.expect("asked")[..] else {
            panic!("one key");
        };
        session
            .update_attributes(key, &[Attribute::Sign(false)])
            .expect("modifiable");
        let reloaded = store.reload().expect("good");
        assert_eq!((reloaded.removed.len(), reloaded.ignored), (1, 1));
        assert!(store.names().is_empty());
    });
}

#[test]
fn a_reload_takes_up_new_keys_and_all_of_them_or_none() {
    on_a_token("a_reload_takes_up_new_keys_and_all_of_them_or_none", || {
        let old = import(P256, "01", "");
        let store = open();
        let new = import("ED25519", "02", "");
        let reloaded = store.reload().expect("good");
        assert_eq!((reloaded.added, reloaded.kept), (vec![new], vec![old]));
        assert_eq!((reloaded.removed, reloaded.ignored), (vec![], 0));
        let key = store.key(&new).expect("there");
        assert_eq!(key.public_key().kind(), KeyKind::Ed25519);
        signs_as_openssl_expects(&Folder::new(), key.as_ref());

        // A private key, and next to it the public half of another.
        import(P256, "03", "--no-public-key");
        import(P256, "04", "");
        let other = rcgen::KeyPair::generate().expect("made");
        let point = [&[4, 65], other.public_key_raw()].concat();
        own_session()
            .create_object(&[
                Attribute::Class(ObjectClass::PUBLIC_KEY),
                Attribute::KeyType(KeyType::EC),
                Attribute::Token(true),
                Attribute::Private(false),
                Attribute::Id(vec![3]),
                Attribute::EcParams(b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07".to_vec()),
                Attribute::EcPoint(point),
            ])
            .expect("created");
        let fault = store.reload().expect_err("not a pair");
        let ski = Ski::of_bits(other.public_key_raw());
        assert!(
            matches!(fault, Pkcs11Error::Mismatch { ski: said } if said == ski),
            "{fault}"
        );
        assert_eq!(store.names().len(), 2);
        assert!(Pkcs11Store::open(config()).is_err());
    });
}

#[test]
fn a_token_that_was_taken_out_and_put_back_signs_again() {
    on_a_token(
        "a_token_that_was_taken_out_and_put_back_signs_again",
        || {
            let ski = import(P256, "01", "");
            let store = open();
            let key = store.key(&ski).expect("there");
            for _ in 0..3 {
                sign(key.as_ref()).expect("signed");
                take_out();
                put_back();
                sign(key.as_ref()).expect("signed");
                take_out();
                assert_eq!(sign(key.as_ref()), Err(SignFailure::Unavailable));
                assert!(store.reload().is_err());
                assert_eq!(store.names(), [ski]);
                put_back();
            }
        },
    );
}

#[test]
fn a_pin_that_was_refused_is_never_tried_again() {
    on_a_token("a_pin_that_was_refused_is_never_tried_again", || {
        let ski = import(P256, "01", "");
        let wrong = Zeroizing::new("654321".to_owned());
        let config = || Pkcs11Config::new(module(), Token::Label(LABEL.into()), wrong.clone());
        let fault = Pkcs11Store::open(config()).expect_err("wrong");
        assert!(matches!(fault, Pkcs11Error::Pin), "{fault}");
        assert!(!fault.to_string().contains("654321"));

        let store = open();
        let key = store.key(&ski).expect("there");
        let change = |from: &str, to: &str| {
            let session = own().open_rw_session(own().get_slots_with_token().expect("asked")[0]);
            let session = session.expect("opened");
            session
                .login(UserType::User, Some(&AuthPin::from(from)))
                .expect("nobody else is");
            session
                .set_pin(&AuthPin::from(from), &AuthPin::from(to))
                .expect("changed");
        };
        // The thread has its session by then, and does not get one in the middle of what follows.
        assert!(sign(key.as_ref()).is_ok());
        take_out();
        put_back();
        change(PIN, "654321");
        assert_eq!(sign(key.as_ref()), Err(SignFailure::Unavailable));
        change("654321", PIN);
        assert_eq!(sign(key.as_ref()), Err(SignFailure::Unavailable));
        assert!(matches!(store.reload(), Err(Pkcs11Error::Pin)));
        assert!(sign(open().key(&ski).expect("there").as_ref()).is_ok());
    });
}

#[test]
fn a_token_is_found_by_its_label_or_its_slot() {
    on_a_token("a_token_is_found_by_its_label_or_its_slot", || {
        let ski = import(P256, "01", "");
        assert_eq!(open().names(), [ski]);
        let slot = own().get_slots_with_initialized_token().expect("asked")[0];
        let pin = || Zeroizing::new(PIN.to_owned());
        let with = |token| Pkcs11Store::open(Pkcs11Config::new(module(), token, pin()));
        assert_eq!(with(Token::Slot(slot.id())).expect("there").names(), [ski]);
        for token in [Token::Slot(slot.id() + 1), Token::Label("edg".into())] {
            assert!(matches!(with(token), Err(Pkcs11Error::NoToken)));
        }
        let twin = format!("--init-token --free --label {LABEL} --so-pin {PIN} --pin {PIN}");
        run(&Folder::new(), "softhsm2-util", &twin);
        // SoftHSM looks for tokens when it is initialised.
        take_out();
        put_back();
        assert!(matches!(
            with(Token::Label(LABEL.into())),
            Err(Pkcs11Error::TwoTokens)
        ));
    });
}

#[test]
fn what_is_no_module_is_refused() {
    let pin = || Zeroizing::new(PIN.to_owned());
    for path in ["/nonexistent.so", "/proc/self/exe", "/etc/passwd"] {
        let config = Pkcs11Config::new(path, Token::Slot(0), pin());
        assert!(
            matches!(Pkcs11Store::open(config), Err(Pkcs11Error::Token(_))),
            "{path}"
        );
    }
}
