//! What the file of a key server may say, and a table of what is said when it is wrong.

use lb_keyserver::access::Keys;
use lb_keyserver::audit::OnAuditFailure;
use lb_keyserver::quota::Rate;
use lb_keyserver::{Mode, Scheme, Ski};

use super::http_tests::Folder;
use super::key_server::{KeyServer, name_of};
use super::*;

/// A file with one of everything; the cases below replace one of its lines, counted from 1.
const BASE: [&str; 20] = [
    "listen = \"127.0.0.1:2407\"",
    "certificate = \"cert.pem\"",
    "key = \"key.pem\"",
    "ca = \"cert.pem\"",
    "modes = [\"bound\"]",
    "keys = \"keys\"",
    "signers = 2",
    "revoked = []",
    "drain_timeout = \"1s\"",
    "[[allow]]",
    "identity = \"lb://node/*\"",
    "keys = [\"cert.pem\"]",
    "schemes = [\"ed25519\"]",
    "rate = 5",
    "[audit]",
    "file = \"audit.log\"",
    "[admin]",
    "listen = \"127.0.0.1:2406\"",
    "[limits]",
    "connections = 9",
];

fn with(line: usize, text: &str) -> String {
    let mut lines = BASE;
    lines[line - 1] = text;
    lines.join("\n") + "\n"
}

fn folder() -> Folder {
    let folder = Folder::with("other.pem", b"nothing");
    std::fs::create_dir_all(folder.0.join("keys")).expect("made");
    folder
}

fn good(text: &str) -> KeyServer {
    let parsed = parse_key_server_in(text, &folder().0);
    parsed.unwrap_or_else(|notes| panic!("{notes:?}")).config
}

#[test]
fn mistakes_of_a_key_server_are_told() {
    let folder = folder();
    let path = |name: &str| folder.0.join(name).display().to_string();
    let none = "cannot be read: No such file or directory (os error 2)";
    let pem = "expected a path, or PEM";
    let keys = "keys by the path of a certificate, by 40 hexadecimal digits, or \"*\"";
    let who = "a name out of a certificate, such as \"lb://node/7\" or \"lb://node/*\"";
    let characters = "the name has a character that no URI or DNS name has";
    let length = "the name is empty or longer than 255 bytes";
    let schemes = one_of(Scheme::ALL.map(Scheme::as_str));
    for (line, text, expected) in [
        (1, "", "1: listen: missing, expected IP:PORT or [IPv6]:PORT".to_owned()),
        (1, "listen = \"keys:2407\"", "1: listen: \"keys:2407\" is not an address, expected IP:PORT or [IPv6]:PORT".into()),
        (18, "listen = \"127.0.0.1:2407\"", "18: admin.listen: 127.0.0.1:2407 is taken by nodes".into()),
        (2, "", format!("1: certificate: missing, {pem}")),
        (3, "key = \"none.pem\"", format!("3: key: {}: {none}", path("none.pem"))),
        (4, "crl = \"none.crl\"\nca = \"cert.pem\"", format!("4: crl: {}: {none}", path("none.crl"))),
        (5, "modes = []", "5: modes: empty, expected at least one mode".into()),
        (5, "modes = [\"strikt\"]", "5: modes[0]: unknown mode \"strikt\", expected one of plain, bound, strict; did you mean \"strict\"?".into()),
        (6, "", "1: keys: missing, expected the path of a folder, or a table pkcs11".into()),
        (6, "keys = \"none\"", format!("6: keys: {}: No such file or directory (os error 2)", path("none"))),
        (6, "keys = \"cert.pem\"", format!("6: keys: {}: there is no private key in it", path("cert.pem"))),
        (6, "kyes = \".\"", "1: keys: missing, expected the path of a folder, or a table pkcs11\n6: kyes: unknown key; did you mean \"keys\"?".into()),
        (7, "signers = 0", "7: signers: expected a whole number in 1..=1024, found 0".into()),
        (8, "revoked = [\"a b\"]", format!("8: revoked[0]: \"a b\": {characters}, expected a name out of a certificate, such as \"lb://node/7\"")),
        (9, "drain_timeout = 1", "9: drain_timeout: expected a duration of 0s to 1d, such as \"500ms\", \"2s\" or \"5m\", found 1".into()),
        (9, "reload_every = \"0s\"", "9: reload_every: expected a duration of 1ms to 1d, such as \"500ms\", \"2s\" or \"5m\", found \"0s\"".into()),
        (10, "[allow]", "10: allow: write [[allow]], with two brackets".into()),
        (11, "", format!("10: allow[0].identity: missing, expected {who}")),
        (11, "identity = \"*lb\"", format!("11: allow[0].identity: \"*lb\": {characters}, expected {who}")),
        (11, "identity = \"\"", format!("11: allow[0].identity: \"\": {length}, expected {who}")),
        (12, "", format!("10: allow[0].keys: missing, expected {keys}")),
        (12, "keys = \"cert.pem\"", format!("12: allow[0].keys: expected a list of {keys}, found \"cert.pem\"")),
        (12, "keys = []", "12: allow[0].keys: empty: nothing would be allowed".into()),
        (12, "keys = [\"none.pem\"]", format!("12: allow[0].keys[0]: {}: {none}", path("none.pem"))),
        (12, "keys = [\"other.pem\"]", format!("12: allow[0].keys[0]: {}: neither a certificate nor a key, in PEM or DER", path("other.pem"))),
        (12, "keys = [1]", format!("12: allow[0].keys[0]: expected {keys}, found 1")),
        (13, "schemes = [\"ed25518\"]", format!("13: allow[0].schemes[0]: unknown scheme \"ed25518\", expected {schemes}; did you mean \"ed25519\"?")),
        (13, "schemes = []", "13: allow[0].schemes: empty: nothing would be allowed".into()),
        (13, "server_names = []", "13: allow[0].server_names: empty: nothing would be allowed".into()),
        (13, "server_names = [\"a b\"]", "13: allow[0].server_names[0]: \"a b\": a server name is a DNS name, or `*.` and a DNS name of two labels or more".into()),
        (13, "mode = \"strict\"", "13: allow[0].mode: asks for the mode strict, which is not among modes".into()),
        (13, "server_names = [\"a.test\"]", "13: allow[0].server_names: asks for the mode strict, which is not among modes".into()),
        (13, "trust_names = true", "13: allow[0].trust_names: only with server_names, which it is about".into()),
        (16, "file = \"a\"\ncheckpoint_key = \"other.pem\"", format!("17: audit.checkpoint_key: {}: the file does not hold 64 hexadecimal digits in lower case", path("other.pem"))),
        (4, "ca = \"cert.pem\"\ncrl = \"key.pem\"", format!("5: crl: {}: no revocation list (-----BEGIN X509 CRL-----)", path("key.pem"))),
        (14, "burst = 1", "14: allow[0].burst: only with rate, which it is beyond".into()),
        (14, "rate = 0", "14: allow[0].rate: expected a whole number in 1..=10000000, found 0".into()),
        (16, "", "15: audit.file: missing, expected a path".into()),
        (16, "file = \"a\"\non_failure = \"sing\"", "17: audit.on_failure: unknown word \"sing\", expected one of refuse, sign; did you mean \"sign\"?".into()),
        (20, "connections = 0", "20: limits.connections: expected a whole number in 1..=1000000, found 0".into()),
        (20, "in_fligth = 1", "20: limits.in_fligth: unknown key; did you mean \"in_flight\"?".into()),
        (20, "[pkcs11]\nmodule = \"none.so\"", format!("20: pkcs11.token: missing, expected the label of a token\n21: pkcs11.module: {}: {none}", path("none.so"))),
        (20, "[pkcs11]\nmodule = \"key.pem\"\ntoken = \"t\"\npin_file = \"none\"", format!("23: pkcs11.pin_file: {}: No such file or directory (os error 2)", path("none"))),
    ] {
        let told = parse_key_server_in(&with(line, text), &folder.0).expect_err(text);
        let told: Vec<_> = told.iter().map(ToString::to_string).collect();
        assert_eq!(told.join("\n"), expected, "line {line}: {text}");
    }
}

#[test]
fn what_is_not_said_of_a_key_server_has_its_default() {
    let text = format!("{}\nkeys = \"keys\"\n", BASE[..4].join("\n"));
    let parsed = parse_key_server_in(&text, &folder().0).expect("good");
    assert_eq!(
        parsed.warnings[0].to_string(),
        "1: allow: missing: nobody may sign anything"
    );
    let server = parsed.config;
    assert_eq!(server.modes, [Mode::Bound, Mode::Strict]);
    assert!(server.rules.is_empty() && server.revoked.is_empty() && server.revoked_by.is_none());
    assert!(server.audit.is_none() && server.admin.is_none() && server.signers.is_none());
    assert_eq!(server.keys.every, Duration::from_secs(5));
    assert_eq!(server.drain_timeout, Duration::from_secs(10));
    let limits = server.limits;
    assert!(limits.connections.is_none() && limits.connections_per_node.is_none());
    assert!(limits.in_flight.is_none() && limits.queued.is_none());
}

#[test]
fn what_is_said_of_a_key_server_is_read() {
    let server = good(&BASE.join("\n"));
    assert_eq!(server.modes, [Mode::Bound]);
    assert_eq!(server.signers.map(Into::into), Some(2_usize));
    assert_eq!(server.limits.connections, Some(9));
    let audit = server.audit.expect("a log");
    assert_eq!(audit.on_failure, OnAuditFailure::Refuse);
    assert!(audit.key.is_none() && audit.most.is_none());
    let rule = &server.rules[0];
    assert_eq!(rule.who.to_string(), "lb://node/*");
    assert_eq!(rule.schemes.as_deref(), Some(&[Scheme::Ed25519][..]));
    assert_eq!((rule.asks_for(), rule.server_names.len()), (Mode::Bound, 0));
    assert_eq!(
        rule.limits.per_identity,
        Rate::new(5, 5),
        "a second's worth"
    );
    assert_eq!(rule.limits.per_key, Rate::default());
}

#[test]
fn a_rule_with_names_asks_for_the_strict_mode_unless_nodes_are_trusted() {
    let rule = |more: &str| {
        let text = with(13, &format!("server_names = [\"*.a.test\"]\n{more}"));
        let text = text.replace("[\"bound\"]", "[\"bound\", \"strict\"]");
        good(&text).rules[0].clone()
    };
    assert_eq!(rule("").asks_for(), Mode::Strict);
    assert_eq!(rule("trust_names = true").asks_for(), Mode::Bound);
    let all = rule("burst = 6\nkey_rate = 7\nkey_burst = 8\nin_flight = 9").limits;
    assert_eq!(
        (all.per_identity, all.per_key),
        (Rate::new(5, 6), Rate::new(7, 8))
    );
    assert_eq!(all.in_flight, 9);
}

#[test]
fn a_key_is_named_by_its_certificate_by_itself_and_by_its_digits() {
    let folder = folder();
    let bytes = std::fs::read(folder.0.join("cert.pem")).expect("a certificate");
    let (ski, _) = name_of(&bytes).expect("a key");
    let keys = |names: &str| {
        let text = with(12, &format!("keys = [{names}]"));
        let server = parse_key_server_in(&text, &folder.0).expect("good").config;
        server.rules[0].keys.clone()
    };
    for name in ["cert.pem", "key.pem", &ski.to_string()] {
        assert_eq!(
            keys(&format!("\"{name}\"")),
            Keys::Only([ski].into()),
            "{name}"
        );
    }
    assert_eq!(keys(&format!("\"{ski}\", \"*\"")), Keys::All);
    let text = good(&with(12, "keys = \"*\""));
    assert_eq!(text.rules[0].keys, Keys::All, "in place of a list");
    let other = Ski::of_bits(b"");
    assert!(!keys("\"cert.pem\"").allow(&other));
}

#[test]
fn a_key_is_found_in_every_form_of_file() {
    let pair = rcgen::KeyPair::generate().expect("a key");
    let cert = rcgen::CertificateParams::default()
        .self_signed(&pair)
        .expect("signed");
    let (ski, kind) = name_of(cert.pem().as_bytes()).expect("PEM");
    assert_eq!(kind.as_str(), "ecdsa-p256");
    let (pem, der) = (pair.serialize_pem(), pair.serialize_der());
    let public = pair.public_key_pem();
    let both = format!("text before\n{pem}{}", cert.pem());
    let spki = lb_keyserver::PublicKey::of_certificate(cert.der()).expect("a key");
    for bytes in [
        cert.der().as_ref(),
        pem.as_bytes(),
        &der,
        public.as_bytes(),
        both.as_bytes(),
        spki.spki().as_ref(),
    ] {
        assert_eq!(name_of(bytes).expect("a key").0, ski);
    }
    let parameters =
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    assert_eq!(
        name_of(parameters.as_bytes()),
        Err("there is no certificate and no key in it".into())
    );
}

const REFERENCE: &str = include_str!("../../keyserver.toml");

/// A folder with what the reference names.
fn named() -> Folder {
    let folder = Folder::with("module.so", b"");
    for (name, from) in [
        ("server.pem", "cert.pem"),
        ("ca.pem", "cert.pem"),
        ("site.pem", "cert.pem"),
        ("server-key.pem", "key.pem"),
    ] {
        std::fs::copy(folder.0.join(from), folder.0.join(name)).expect("copied");
    }
    std::fs::create_dir_all(folder.0.join("keys")).expect("made");
    folder.write("pin", b"1234\n");
    folder.write("audit.key", "5a".repeat(32).as_bytes());
    folder
}

#[test]
fn the_reference_of_key_servers_is_a_good_file_with_nothing_odd_in_it() {
    let folder = named();
    let parsed = parse_key_server_in(REFERENCE, &folder.0).expect("the reference");
    assert_eq!(parsed.warnings, []);
}

#[test]
fn the_reference_of_key_servers_names_every_key() {
    let folder = named();
    let reference = REFERENCE
        .replace("# [pkcs11]", "[pkcs11]")
        .replace("# module", "module")
        .replace("/usr/lib/softhsm/libsofthsm2.so", "module.so")
        .replace("# token", "token")
        .replace("# pin_file", "pin_file")
        .replace("# checkpoint_key", "checkpoint_key");
    if cfg!(feature = "pkcs11") {
        parse_key_server_in(&reference, &folder.0).expect("good with a module too");
    }
    for section in ["listen =", "[pkcs11]", "[[allow]]", "[audit]", "[limits]"] {
        let place = match section {
            "listen =" => "qqqqqqqq = 1\nlisten =".into(),
            header => format!("{header}\nqqqqqqqq = 1"),
        };
        let text = reference.replacen(section, &place, 1);
        let told = parse_key_server_in(&text, &folder.0).expect_err(section);
        let told: Vec<_> = told.iter().map(ToString::to_string).collect();
        let told = told.join("\n");
        let (_, keys) = told.split_once("expected one of ").expect(&told);
        for key in keys.lines().next().unwrap_or_default().split(", ") {
            let said = [" = ", "]\n", "]]\n"]
                .iter()
                .any(|end| REFERENCE.contains(&format!("{key}{end}")));
            assert!(said, "{key}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_file_of_a_key_server_panics(line in 1_usize..21, text in "[a-z_]{1,8} = [\\[\\]{}\"a-z0-9., =*]{0,24}") {
        let _ = parse_key_server_in(&with(line, &text), Path::new(""));
    }
}
