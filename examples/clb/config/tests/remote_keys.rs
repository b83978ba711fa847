//! What is said of keys that are elsewhere, and a table of what is said when it is wrong.

use super::http_tests::{Folder, mistakes_in};
use super::*;

/// A listener whose certificate's key is elsewhere; `CERTIFICATE` and `KEY_SERVER` are replaced.
const BASE: &str = "[[listener]]\nname = \"front\"\nprotocol = \"https\"\nlisten = \"127.0.0.1:80\"\n\
    rule = [{ respond = { status = 200 } }]\n\
    certificates = [{ cert = \"cert.pem\", CERTIFICATE }]\n\
    KEY_SERVER\n";

/// A `[key_server]` in line 7, with something more in line 12.
const KEY_SERVER: &str = "[key_server]\naddresses = [\"10.0.0.5\"]\ncertificate = \"cert.pem\"\n\
    key = \"key.pem\"\nca = \"cert.pem\"\n";

fn file(certificate: &str, key_server: &str) -> String {
    BASE.replace("CERTIFICATE", certificate)
        .replace("KEY_SERVER", key_server)
}

fn folder() -> Folder {
    Folder::with("other.pem", b"nothing")
}

fn remote(key_server: &str) -> RemoteKeys {
    let parsed = parse_in(&file("key = \"remote\"", key_server), &folder().0);
    let parsed = parsed.unwrap_or_else(|notes| panic!("{notes:?}"));
    assert_eq!(parsed.warnings, []);
    parsed.config.key_server.expect("a key server")
}

#[test]
fn mistakes_of_key_servers_are_told() {
    let folder = folder();
    let not = |text: &str| {
        format!(
            "8: key_server.addresses[0]: \"{text}\" is not an address, expected HOST:PORT or [IPv6]:PORT"
        )
    };
    let missing = |name: &str| {
        let path = folder.0.join(name);
        format!(
            "{}: cannot be read: No such file or directory (os error 2)",
            path.display()
        )
    };
    for (from, to, expected) in [
        ("addresses = [\"10.0.0.5\"]\n", "", "7: key_server.addresses: missing, expected a list of HOST:PORT".to_owned()),
        ("[\"10.0.0.5\"]", "[]", "8: key_server.addresses: empty, expected at least one HOST:PORT".into()),
        ("[\"10.0.0.5\"]", "[5]", "8: key_server.addresses[0]: expected HOST:PORT or [IPv6]:PORT, found 5".into()),
        ("10.0.0.5", "10.0.0.5:0", not("10.0.0.5:0")),
        ("10.0.0.5", "10.0.0.5:65536", not("10.0.0.5:65536")),
        ("10.0.0.5", "10.0.0.5:", not("10.0.0.5:")),
        ("10.0.0.5", ":2407", not(":2407")),
        ("10.0.0.5", "a b", not("a b")),
        ("10.0.0.5", "::1", not("::1")),
        ("10.0.0.5", "[::1", not("[::1")),
        ("10.0.0.5", "[::1]2407", not("[::1]2407")),
        (
            "[\"10.0.0.5\"]",
            "[\"a\", \"b\", \"a:2407\"]",
            "8: key_server.addresses: a:2407 stands there twice".into(),
        ),
        ("key = \"key.pem\"\n", "", "7: key_server.key: missing, expected a path, or PEM".into()),
        ("ca = \"cert.pem\"", "ca = \"none.pem\"", format!("11: key_server.ca: {}", missing("none.pem"))),
        (
            "ca =",
            "mode = \"bond\"\nca =",
            "11: key_server.mode: unknown mode \"bond\", expected one of plain, bound, strict; did you mean \"bound\"?".into(),
        ),
        (
            "ca =",
            "server_name = \"a b\"\nca =",
            "11: key_server.server_name: \"a b\" is not the name of a host".into(),
        ),
        (
            "ca =",
            "timeout = \"61s\"\nca =",
            "11: key_server.timeout: expected a duration of 1ms to 1m, such as \"500ms\" or \"2s\", found \"61s\"".into(),
        ),
        (
            "ca =",
            "attempt_timeout = \"2001ms\"\nca =",
            "11: key_server.attempt_timeout: longer than timeout, which includes it".into(),
        ),
        (
            "ca =",
            "verify = \"never\"\nca =",
            "11: key_server.verify: unknown word \"never\", expected one of always, sampled".into(),
        ),
        (
            "ca =",
            "waiting = 0\nca =",
            "11: key_server.waiting: expected a whole number in 1..=1000000, found 0".into(),
        ),
        ("ca =", "hegde = true\nca =", "11: key_server.hegde: unknown key; did you mean \"hedge\"?".into()),
    ] {
        let text = file("key = \"remote\"", &KEY_SERVER.replacen(from, to, 1));
        assert_eq!(mistakes_in(&text, &folder.0), expected, "{to}");
    }
}

#[test]
fn an_identity_that_is_none_or_is_exposed_is_told_with_its_file() {
    let folder = folder();
    let path = |name: &str| folder.0.join(name).display().to_string();
    let (_, key) = http_tests::key_pair();
    folder.write("alien.pem", key.as_bytes());
    folder.write("public.pem", key.as_bytes());
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o640);
    std::fs::set_permissions(folder.0.join("public.pem"), mode).expect("ours");
    let none = "no certificate (-----BEGIN CERTIFICATE-----)";
    for (from, to, expected) in [
        (
            "certificate = \"cert.pem\"",
            "certificate = \"key.pem\"",
            format!("9: key_server.certificate: {}: {none}", path("key.pem")),
        ),
        (
            "ca = \"cert.pem\"",
            "ca = \"other.pem\"",
            format!("11: key_server.ca: {}: {none}", path("other.pem")),
        ),
        (
            "key = \"key.pem\"",
            "key = \"alien.pem\"",
            format!(
                "10: key_server.key: {}: the private key does not belong to the first certificate",
                path("alien.pem")
            ),
        ),
        (
            "key = \"key.pem\"",
            "key = \"public.pem\"",
            format!(
                "10: key_server.key: {}: has mode 0640: only its owner may have access (0600)",
                path("public.pem")
            ),
        ),
        (
            "key = \"key.pem\"",
            "key = \"other.pem\"",
            format!(
                "10: key_server.key: {}: no private key (-----BEGIN PRIVATE KEY-----) that is not encrypted",
                path("other.pem")
            ),
        ),
    ] {
        let text = file("key = \"remote\"", &KEY_SERVER.replacen(from, to, 1));
        assert_eq!(mistakes_in(&text, &folder.0), expected, "{to}");
    }
}

#[test]
fn a_remote_key_needs_a_key_server_and_the_other_way_round() {
    let folder = folder();
    let told = mistakes_in(&file("key = \"remote\"", ""), &folder.0);
    let nobody = "there is no [key_server], which would say who holds it";
    assert_eq!(
        told,
        format!("6: listener.front.certificates[0].key: {nobody}")
    );
    let parsed = parse_in(&file("key = \"key.pem\"", KEY_SERVER), &folder.0).expect("usable");
    assert_eq!(
        parsed.warnings[0].to_string(),
        "7: key_server: no certificate says key = \"remote\""
    );
    let broken = file("key = \"remote\"", "[key_server]");
    assert!(
        !mistakes_in(&broken, &folder.0).contains(nobody),
        "one is meant"
    );
}

#[test]
fn mistakes_of_certificates_without_a_key_are_told() {
    let folder = folder();
    let path = |name: &str| folder.0.join(name).display().to_string();
    let at = "6: listener.front.certificates[0]";
    for (certificate, expected) in [
        (
            "key = \"remot\"",
            format!(
                "{at}.key: {}: cannot be read: No such file or directory (os error 2)",
                path("remot")
            ),
        ),
        (
            "key = \"./remote\"",
            format!(
                "{at}.key: {}: cannot be read: No such file or directory (os error 2)",
                path("./remote")
            ),
        ),
        (
            "key = \"key.pem\", fallback = \"key.pem\"",
            format!("{at}.fallback: only with key = \"remote\""),
        ),
        (
            "key = \"remote\", fallback = \"other.pem\"",
            format!(
                "{at}.fallback: {}: no private key (-----BEGIN PRIVATE KEY-----)",
                path("other.pem")
            ),
        ),
        (
            "key = \"remote\", fallbak = \"key.pem\"",
            format!("{at}.fallbak: unknown key; did you mean \"fallback\"?"),
        ),
    ] {
        let told = mistakes_in(&file(certificate, KEY_SERVER), &folder.0);
        assert_eq!(told, expected, "{certificate}");
    }
    for (name, fault) in [
        ("key.pem", "no certificate (-----BEGIN CERTIFICATE-----)"),
        ("other.pem", "no certificate (-----BEGIN CERTIFICATE-----)"),
    ] {
        let text = file("key = \"remote\"", KEY_SERVER).replacen("cert.pem", name, 1);
        let told = mistakes_in(&text, &folder.0);
        assert_eq!(told, format!("{at}.cert: {}: {fault}", path(name)));
    }
    let (_, other) = http_tests::key_pair();
    folder.write("other.pem", other.as_bytes());
    let told = mistakes_in(
        &file("key = \"remote\", fallback = \"other.pem\"", KEY_SERVER),
        &folder.0,
    );
    let fault = "the private key does not belong to the first certificate";
    assert_eq!(
        told,
        format!("{at}.fallback: {}: {fault}", path("other.pem"))
    );
}

#[test]
fn backends_are_shown_certificates_whose_key_is_here() {
    let pool = "[[pool]]\nname = \"web\"\nscheduler = \"random\"\n\
        tls = { insecure = true, cert = \"cert.pem\", key = \"remote\" }\n";
    let told = mistakes_in(
        &(pool.to_owned() + &file("key = \"key.pem\"", "")),
        &folder().0,
    );
    assert_eq!(
        told,
        "4: pool.web.tls.key: key servers sign for listeners alone, expected a path"
    );
}

#[test]
fn what_is_not_said_of_key_servers_has_its_default() {
    let found = remote(KEY_SERVER);
    assert_eq!(
        (found.mode, found.server_name),
        (lb_keyserver::Mode::Bound, None)
    );
    assert_eq!(found.timeout, Duration::from_secs(2));
    assert_eq!(found.attempt_timeout, Duration::from_millis(300));
    assert!(found.hedge && found.verify == Verify::Always && found.waiting == 4096);
    let said = remote(&format!(
        "{KEY_SERVER}mode = \"strict\"\nserver_name = \"keys.internal\"\ntimeout = \"200ms\"\n\
         hedge = false\nverify = \"sampled\"\nwaiting = 1000000\n"
    ));
    assert_eq!(said.mode, lb_keyserver::Mode::Strict);
    let name = rustls::pki_types::ServerName::try_from("keys.internal").expect("a name");
    assert_eq!(said.server_name, Some(name));
    assert_eq!(said.timeout, Duration::from_millis(200));
    assert_eq!(
        said.attempt_timeout, said.timeout,
        "no longer than the whole"
    );
    assert!(!said.hedge && said.verify == Verify::Sampled && said.waiting == 1_000_000);
}

#[test]
fn an_address_has_the_port_of_the_protocol_unless_it_names_another() {
    for (text, shown) in [
        ("keys.internal", "keys.internal:2407"),
        ("keys.internal:1", "keys.internal:1"),
        ("10.0.0.5:65535", "10.0.0.5:65535"),
        ("[::1]", "[::1]:2407"),
        ("[::1]:99", "[::1]:99"),
    ] {
        let found = remote(&KEY_SERVER.replace("10.0.0.5", text));
        assert_eq!(found.servers[0].to_string(), shown);
    }
}

#[test]
fn a_listener_may_have_keys_here_and_elsewhere() {
    let here = "key = \"key.pem\" }, { cert = \"cert.pem\", names = [\"b.test\"], key = \"remote\"";
    let parsed = parse_in(&file(here, KEY_SERVER), &folder().0).expect("good");
    let Target::Http(http) = &parsed.config.listeners[0].target else {
        panic!("requests");
    };
    let tls = http.tls.as_ref().expect("TLS");
    assert_eq!(tls.certificates.len(), 2);
    assert_eq!(tls.remote_keys().count(), 1);
    assert!(tls.remote_keys().all(|remote| remote.fallback.is_none()));
}

#[test]
fn a_fallback_is_odd_and_another_configuration() {
    let folder = folder();
    let read = |certificate| parse_in(&file(certificate, KEY_SERVER), &folder.0).expect("good");
    let with = read("key = \"remote\", fallback = \"key.pem\"");
    assert_eq!(
        with.warnings[0].to_string(),
        "6: listener.front.certificates[0].fallback: the private key is on this node after all"
    );
    let without = read("key = \"remote\"");
    assert_ne!(with.config.listeners, without.config.listeners);
    assert_ne!(
        read("key = \"key.pem\"").config.listeners,
        without.config.listeners
    );
    assert_eq!(read("key = \"remote\"").config, without.config);
}

#[test]
fn a_new_identity_is_another_configuration() {
    let folder = folder();
    let read = || {
        parse_in(&file("key = \"remote\"", KEY_SERVER), &folder.0)
            .expect("good")
            .config
    };
    let first = read();
    let (cert, key) = http_tests::key_pair();
    folder.write("cert.pem", cert.as_bytes());
    folder.write("key.pem", key.as_bytes());
    assert_ne!(read().key_server, first.key_server);
}

#[test]
fn no_secret_of_an_identity_or_a_fallback_is_shown() {
    let folder = folder();
    let key = std::fs::read_to_string(folder.0.join("key.pem")).expect("a key");
    let inline = KEY_SERVER.replace("\"key.pem\"", &format!("'''\n{key}'''"));
    let text = file("key = \"remote\", fallback = \"key.pem\"", &inline);
    let shown = format!("{:?}", parse_in(&text, &folder.0).expect("good").config);
    let middle = key.lines().nth(1).expect("a line of the key");
    assert!(!shown.contains(middle), "{shown}");
}
