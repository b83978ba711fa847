//! A wrong file, through the binary: told with file, line and key, exit code 2, nothing served.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use harness::host::{self, TempDir};
use harness::keys::{CERT, KEY, Keys};
use harness::wait::{self, PATIENCE};
use harness::{clb, procfs};

/// A good file, each line of which a mistake may replace.
const GOOD: [&str; 14] = [
    "workers = 1",
    "[admin]",
    "listen = \"127.0.0.1:0\"",
    "[[pool]]",
    "name = \"web\"",
    "scheduler = \"round-robin\"",
    "backends = [{ name = \"a\", address = \"127.0.0.1:1\" }]",
    "health = { kind = \"tcp\" }",
    "[[listener]]",
    "name = \"front\"",
    "protocol = \"tcp\"",
    "listen = \"LISTEN\"",
    "pool = \"web\"",
    "idle_timeout = \"900s\"",
];

/// The line, what stands there instead, and the key that the message names.
const MISTAKES: [(usize, &str, &str); 65] = [
    (1, "workers = 0", "workers"),
    (1, "workers = 100000", "workers"),
    (1, "workers = \"two\"", "workers"),
    (1, "wokers = 1", "wokers"),
    (1, "workers = ", ""),
    (1, "workers = 1\u{0}", ""),
    (1, "workers = 99999999999999999999", ""),
    (1, "drain_timeout = \"-1s\"", "drain_timeout"),
    (2, "[admni]", "admni"),
    (2, "[admin", ""),
    (3, "listen = \"localhost\"", "admin.listen"),
    (3, "listen = 9000", "admin.listen"),
    (3, "lisen = \"127.0.0.1:0\"", "admin.lisen"),
    (5, "name = \"\"", "name"),
    (5, "name = \"we b\"", "name"),
    (6, "scheduler = \"round-robbin\"", "pool.web.scheduler"),
    (6, "scheduler = 7", "pool.web.scheduler"),
    (
        7,
        "backends = [{ name = \"a\" }]",
        "pool.web.backends.a.address",
    ),
    (7, "backends = [{ address = \"127.0.0.1:1\" }]", "name"),
    (7, "backends = \"127.0.0.1:1\"", "pool.web.backends"),
    (
        7,
        "backends = [{ name = \"a\", address = \"127.0.0.1:65536\" }]",
        "pool.web.backends.a.address",
    ),
    (
        7,
        "backends = [{ name = \"a\", address = \"::1:80\" }]",
        "pool.web.backends.a.address",
    ),
    (
        7,
        "backends = [{ name = \"a\", address = \"unix:sock\" }]",
        "pool.web.backends.a.address",
    ),
    (
        7,
        "backends = [{ name = \"a\", address = \"127.0.0.1:1\", weight = -1 }]",
        "pool.web.backends.a.weight",
    ),
    (
        7,
        "backends = [{ name = \"a\", address = \"127.0.0.1:1\", weight = 65536 }]",
        "pool.web.backends.a.weight",
    ),
    (
        7,
        "backends = [{ name = \"a\", address = \"127.0.0.1:1\" }, { name = \"a\", address = \"127.0.0.1:2\" }]",
        "pool.web.backends.a.name",
    ),
    (8, "health = { kind = \"ping\" }", "pool.web.health.kind"),
    (
        8,
        "health = { kind = \"tcp\", interval = \"1s\", timeout = \"2s\" }",
        "pool.web.health.timeout",
    ),
    (
        8,
        "health = { kind = \"tcp\", rise = 0 }",
        "pool.web.health.rise",
    ),
    (
        8,
        "options = { table_size = 4 }",
        "pool.web.options.table_size",
    ),
    (10, "name = \"front\"\nname = \"back\"", ""),
    (11, "protocol = \"tpc\"", "listener.front.protocol"),
    (12, "listen = \"127.0.0.1\"", "listener.front.listen"),
    (12, "listen = \"unix:relative\"", "listener.front.listen"),
    (13, "pool = \"wbe\"", "listener.front.pool"),
    (14, "idle_timeout = 900", "listener.front.idle_timeout"),
    (
        14,
        "idle_timeout = \"15 minutes\"",
        "listener.front.idle_timeout",
    ),
    (
        14,
        "limits = { connections = -1 }",
        "listener.front.limits.connections",
    ),
    (14, "allow = [\"10.0.0.0/33\"]", "listener.front.allow"),
    (
        14,
        "proxy_protocol = { send = \"v3\" }",
        "listener.front.proxy_protocol.send",
    ),
    (
        14,
        "persistence = { kind = \"sauce\" }",
        "listener.front.persistence.kind",
    ),
    (14, "one_packet = true", "listener.front.one_packet"),
    (
        3,
        "listen = \"127.0.0.1:0\"\n[packet]\ntransport = \"af-pocket\"",
        "packet.transport",
    ),
    (
        3,
        "listen = \"127.0.0.1:0\"\n[packet]\ntransports = \"tun\"",
        "packet.transports",
    ),
    (
        3,
        "listen = \"127.0.0.1:0\"\n[packet]\ninterface = \"eth0/1\"",
        "packet.interface",
    ),
    (
        3,
        "listen = \"127.0.0.1:0\"\n[packet]\ninterface = 7",
        "packet.interface",
    ),
    (
        3,
        "listen = \"127.0.0.1:0\"\n[packet]\nlocal_addresses = [\"eth0\"]",
        "packet.local_addresses",
    ),
    (
        3,
        "listen = \"127.0.0.1:0\"\n[packet]\nlocal_addresses = [\"224.0.0.1\"]",
        "packet.local_addresses",
    ),
    (
        3,
        "listen = \"127.0.0.1:0\"\n[packet]\ngateway = \"10.0.0.256\"",
        "packet.gateway",
    ),
    (
        3,
        "listen = \"127.0.0.1:0\"\n[packet]\nworkers = 0",
        "packet.workers",
    ),
    (
        3,
        "listen = \"127.0.0.1:0\"\n[packet]\nsessions_v4 = -1",
        "packet.sessions_v4",
    ),
    (
        3,
        "listen = \"127.0.0.1:0\"\n[packet]\nhash_key = \"secret\"",
        "packet.hash_key",
    ),
    (
        3,
        "listen = \"127.0.0.1:0\"\n[packet]\nsyn_cookie_key = \"0011\"",
        "packet.syn_cookie_key",
    ),
    (
        3,
        "listen = \"127.0.0.1:0\"\n[packet]\nmtu = 1279",
        "packet.mtu",
    ),
    (
        3,
        "listen = \"127.0.0.1:0\"\n[packet]\nbusy_poll = 1",
        "packet.busy_poll",
    ),
    (14, "forwarding = \"nat\"", "listener.front.forwarding"),
    (14, "forwarding = \"dsr\"", "listener.front.forwarding"),
    (14, "tunnel = { kind = \"gre\" }", "listener.front.tunnel"),
    (
        14,
        "client_address = \"toa\"",
        "listener.front.client_address",
    ),
    (14, "syn_proxy = \"always\"", "listener.front.syn_proxy"),
    (14, "syn_proxy = { above = -1 }", "listener.front.syn_proxy"),
    (14, "stray = \"lost\"", "listener.front.stray"),
    (14, "when_down = \"reset\"", "listener.front.when_down"),
    (14, "on_expiry = true", "listener.front.on_expiry"),
    (14, "prefix = 129", "listener.front.prefix"),
];

#[test]
fn each_mistake_is_told_with_file_line_and_key_and_nothing_starts() {
    let dir = TempDir::new("mistakes");
    let listen = host::free_address();
    for (line, text, key) in MISTAKES {
        dir.write("bad.toml", &with(line, text, listen));
        for check in [true, false] {
            let output = run(&dir.path().join("bad.toml"), check);
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{text}: {told}");
            assert_eq!(output.stdout, b"", "{text}");
            // A key twice is told where it stands for the second time.
            let line = line + text.matches('\n').count();
            let place = format!("{}:{line}: ", dir.path().join("bad.toml").display());
            let said = told.lines().find_map(|said| said.strip_prefix(&place));
            let said = said.unwrap_or_else(|| panic!("{text}: not {place} but {told}"));
            assert!(
                said.contains(key) && said.len() > key.len() + 2,
                "{text}: {told}"
            );
            assert!(!told.contains("panicked") && told.len() < 4_096, "{told}");
        }
    }
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    let dir = TempDir::new("mistakes");
    let mut lines = GOOD.map(str::to_owned);
    for (line, text, _) in [MISTAKES[0], MISTAKES[15], MISTAKES[31], MISTAKES[34]] {
        lines[line - 1] = text.to_owned();
    }
    dir.write("bad.toml", &lines.join("\n"));
    let told = String::from_utf8(run(&dir.path().join("bad.toml"), true).stderr).expect("text");
    for place in [
        "bad.toml:1: ",
        "bad.toml:6: ",
        "bad.toml:11: ",
        "bad.toml:13: ",
    ] {
        assert!(told.contains(place), "{place}: {told}");
    }
}

#[test]
fn a_good_file_is_good_and_a_check_of_it_serves_nothing() {
    let dir = TempDir::new("mistakes");
    let listen = host::free_address();
    // The port is taken: a check does not care, for it listens nowhere.
    let _holder = TcpListener::bind(listen).expect("a free port");
    dir.write("good.toml", &with(1, GOOD[0], listen));
    let output = run(&dir.path().join("good.toml"), true);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("good"), "{said}");
    // And every key there is, with the files that it names beside it.
    let reference = harness::workspace::root().join("examples/clb/reference.toml");
    let text = fs::read_to_string(reference).expect("the reference can be read");
    let keys = Keys::p256("www.example.com");
    dir.write("reference.toml", &text);
    dir.write(CERT, &keys.cert);
    dir.write_secret(KEY, &keys.key);
    let output = run(&dir.path().join("reference.toml"), true);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
}

#[test]
fn the_file_of_a_key_server_is_checked_like_any_other() {
    let dir = TempDir::new("mistakes");
    let keys = Keys::p256("www.example.com");
    for name in ["server.pem", "ca.pem", "site.pem"] {
        dir.write(name, &keys.cert);
    }
    for name in ["server-key.pem", "keys/site.pem"] {
        dir.write_secret(name, &keys.key);
    }
    let reference = harness::workspace::root().join("examples/clb/keyserver.toml");
    let good = fs::read_to_string(reference).expect("the reference can be read");
    let bad = good.replace("signers = 2", "signers = 0");
    let line = 1 + good
        .lines()
        .take_while(|line| *line != "signers = 2")
        .count();
    let said = "good.toml: good; keys: 1, rules: 1\n".to_owned();
    let told = format!("bad.toml:{line}: signers: expected a whole number in 1..=1024, found 0\n");
    for (name, text, check, code, expected) in [
        ("good.toml", &good, true, 0, &said),
        ("bad.toml", &bad, true, 2, &told),
        ("bad.toml", &bad, false, 2, &told),
    ] {
        dir.write(name, text);
        let mut command = Command::new(clb::program());
        command.arg("keyserver").args(check.then_some("--check"));
        let output = command.arg("--config").arg(dir.path().join(name)).output();
        let output = output.expect("the program runs");
        let all = [output.stdout, output.stderr].concat();
        let all = String::from_utf8_lossy(&all);
        assert_eq!(output.status.code(), Some(code), "{all}");
        assert!(all.ends_with(expected), "{all}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_told_by_its_name() {
    let dir = TempDir::new("mistakes");
    fs::write(dir.path().join("latin1.toml"), b"# caf\xe9\n").expect("written");
    for name in ["none.toml", "latin1.toml", "."] {
        let file = dir.path().join(name);
        for check in [true, false] {
            let output = run(&file, check);
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{name}: {told}");
            let expected = format!("{}: cannot be read: ", file.display());
            assert!(told.contains(&expected), "{name}: {told}");
        }
    }
}

#[test]
fn a_file_without_permission_is_told_by_its_name() {
    let dir = TempDir::new("mistakes");
    dir.write("secret.toml", &GOOD.join("\n"));
    let file = dir.path().join("secret.toml");
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o000)).expect("ours");
    // Root may read everything: without that power, on a copy that anyone may start.
    let program = dir.path().join("clb");
    fs::copy(clb::program(), &program).expect("copied");
    let output = Command::new("setpriv")
        .args(["--bounding-set=-all", "--inh-caps=-all", "--"])
        .arg(&program)
        .args(["--check", "--config"])
        .arg(&file)
        .output()
        .expect("setpriv runs");
    let told = String::from_utf8_lossy(&output.stderr);
    // Whoever owns a file of mode 000 is refused like all others.
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(
        told.contains("secret.toml: cannot be read: Permission denied"),
        "{told}"
    );
}

#[test]
fn a_port_that_is_taken_is_told_and_the_other_listeners_do_not_start() {
    let dir = TempDir::new("mistakes");
    let (taken, free) = (host::free_address(), host::free_address());
    let _holder = TcpListener::bind(taken).expect("a free port");
    let more = format!(
        "\n[[listener]]\nname = \"other\"\nprotocol = \"tcp\"\nlisten = \"{free}\"\npool = \"web\"\n"
    );
    for (admin, front, named) in [
        ("127.0.0.1:0".to_owned(), taken, "front"),
        (taken.to_string(), host::free_address(), "admin"),
    ] {
        let text = with(3, &format!("listen = \"{admin}\""), front) + &more;
        dir.write("taken.toml", &text);
        let output = run(&dir.path().join("taken.toml"), false);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(
            told.contains(named) && told.contains(&taken.to_string()),
            "{told}"
        );
        assert!(told.contains("in use"), "{told}");
        assert!(
            TcpListener::bind(free).is_ok(),
            "it is over, and so is its port"
        );
    }
}

#[test]
fn two_listeners_at_one_place_are_a_mistake_unless_their_protocols_differ() {
    let dir = TempDir::new("mistakes");
    let listen = host::free_address();
    let file = dir.path().join("twice.toml");
    for (protocol, code) in [("tcp", 2), ("tls", 2), ("udp", 0)] {
        let more = format!(
            "\n[[listener]]\nname = \"other\"\nprotocol = \"{protocol}\"\nlisten = \"{listen}\"\npool = \"web\"\n"
        );
        dir.write("twice.toml", &(with(8, "", listen) + &more));
        let output = run(&file, true);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{protocol}: {told}");
        if code == 2 {
            assert!(
                told.contains("twice.toml:18: listener.other.listen: "),
                "{told}"
            );
        }
    }
}

#[test]
fn a_wrong_command_line_is_told() {
    for (words, expected) in [
        (&["--check"][..], "--check needs --config FILE"),
        (&["--config"], "missing argument"),
        (&["--config", "a", "--config", "b"], "twice"),
        (&["--log", "loud"], "loud"),
        (&["serve"], "serve"),
        (&["keyserver"], "keyserver needs --config FILE"),
        (&["keyserver", "--ski"], "missing argument"),
    ] {
        let output = Command::new(clb::program())
            .args(words)
            .output()
            .expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {told}");
        assert!(told.contains(expected), "{words:?}: {told}");
    }
}

/// The good file with line `number`, counted from 1, replaced.
fn with(number: usize, text: &str, listen: SocketAddr) -> String {
    let mut lines = GOOD.map(str::to_owned);
    lines[number - 1] = text.to_owned();
    lines.join("\n").replace("LISTEN", &listen.to_string())
}

/// Runs the program on `file` to its end, which must come by itself, without a port.
fn run(file: &Path, check: bool) -> Output {
    let mut child = Command::new(clb::program())
        .args(check.then_some("--check"))
        .arg("--config")
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let id = child.id();
    let ended = wait::until(PATIENCE, || child.try_wait().expect("our child"));
    if ended.is_none() {
        let open = procfs::descriptors(id);
        let _ = child.kill();
        panic!("{} is served, with {open:?} descriptors", file.display());
    }
    child.wait_with_output().expect("it has ended")
}
