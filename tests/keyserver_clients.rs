//! Programs that others wrote speak TLS with `clb`, whose keys are on a key server: curl, OpenSSL,
//! h2load and Chromium.

use std::net::SocketAddr;
use std::time::Duration;

use harness::authority::{Authority, CA};
use harness::clb::{Clb, pair};
use harness::h2load::{Report, Version, h2load};
use harness::host::{self, TempDir, free_address};
use harness::keys::{Algorithm, Keys};
use harness::keyserver::{KeyServer, Setup};
use harness::origin::Origin;
use harness::peer::run;
use harness::process::Launch;
use harness::procfs::Protocol;
use harness::wait::PATIENCE;

#[test]
fn curl_is_served_with_every_kind_of_key_in_both_versions_of_tls() {
    let world = World::start("bound");
    for site in &world.sites {
        for version in ["1.2", "1.3"] {
            for (flag, http) in [("--http1.1", "1.1"), ("--http2", "2")] {
                let before = world.signatures();
                let seen = site.curl(&[flag, &format!("--tlsv{version}"), "--tls-max", version]);
                assert_eq!(
                    seen,
                    format!("hello{http} 0"),
                    "{:?} {version}",
                    site.algorithm
                );
                assert_eq!(
                    world.signatures(),
                    before + 1.0,
                    "{:?} {version}",
                    site.algorithm
                );
            }
        }
    }
}

/// The key server reads the name in the handshake, and signs for that one alone.
#[test]
fn curl_is_served_in_the_strict_mode_for_the_names_that_are_allowed() {
    let world = World::start("strict");
    for site in &world.sites {
        for version in ["1.2", "1.3"] {
            let flags = [&format!("--tlsv{version}"), "--tls-max", version];
            assert_eq!(
                site.curl(&flags),
                "hello2 0",
                "{:?} {version}",
                site.algorithm
            );
        }
    }
}

#[test]
fn openssl_is_served_and_resumes_without_any_signature() {
    let world = World::start("bound");
    for site in &world.sites {
        for version in ["-tls1_2", "-tls1_3"] {
            let dir = TempDir::new("session");
            let session = dir.path().join("session").display().to_string();
            let before = world.signatures();
            let full = site.s_client(&[version, "-sess_out", &session]);
            assert!(full.contains("Verify return code: 0 (ok)"), "{full}");
            assert!(full.contains("\nNew, TLSv1"), "{full}");
            assert!(full.contains("hello"), "{full}");
            assert_eq!(world.signatures(), before + 1.0);
            let resumed = site.s_client(&[version, "-sess_in", &session]);
            assert!(resumed.contains("\nReused, TLSv1"), "{resumed}");
            assert!(resumed.contains("hello"), "{resumed}");
            assert_eq!(
                world.signatures(),
                before + 1.0,
                "{:?} {version}",
                site.algorithm
            );
        }
    }
}

#[test]
fn openssl_resumes_when_the_key_server_is_gone_and_is_told_so_otherwise() {
    let mut world = World::start("bound");
    let dir = TempDir::new("session");
    let session = dir.path().join("session").display().to_string();
    let site = &world.sites[0];
    let full = site.s_client(&["-tls1_3", "-sess_out", &session]);
    assert!(full.contains("hello"), "{full}");
    world.server.process_mut().kill();
    let resumed = site.s_client(&["-tls1_3", "-sess_in", &session]);
    assert!(resumed.contains("hello"), "{resumed}");
    let refused = site.s_client(&["-tls1_3"]);
    assert!(refused.contains("alert internal error"), "{refused}");
}

#[test]
fn h2load_is_served_with_every_kind_of_key() {
    let world = World::start("bound");
    let (clients, span) = (20, Duration::from_secs(1));
    for site in &world.sites {
        let before = world.signatures();
        let load = h2load(&site.url(), clients, Version::H2(8), span).start();
        let report = Report::of(load, span);
        assert!(report.succeeded > 100, "{:?}: {report:?}", site.algorithm);
        assert_eq!(report.failed, 0, "{:?}: {report:?}", site.algorithm);
        let made = world.signatures() - before;
        assert_eq!(made, 20.0, "{:?}", site.algorithm);
    }
}

#[test]
fn chromium_is_served_with_every_kind_of_key_that_it_knows() {
    if !host::has("chromium") {
        return host::skip("no chromium, of the Debian package of that name");
    }
    let world = World::start("bound");
    for site in &world.sites {
        // BoringSSL, as Chromium has it, takes no certificate on Ed25519.
        if site.algorithm == Algorithm::Ed25519 {
            continue;
        }
        let before = world.signatures();
        let profile = TempDir::new("chromium");
        let data = format!("--user-data-dir={}", profile.path().display());
        let alone = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--ignore-certificate-errors",
            "--dump-dom",
        ];
        let mut browser = Launch::new("chromium")
            .args(alone)
            .arg(data)
            .arg(site.url())
            .start();
        let status = browser.wait(3 * PATIENCE);
        assert!(status.success(), "{}", browser.log());
        let said = browser.log();
        assert!(said.contains("hello"), "{:?}: {said}", site.algorithm);
        assert!(world.signatures() > before, "{:?}", site.algorithm);
    }
}

/// `clb` with a site for each kind of key, and the key server that has the keys.
struct World {
    server: KeyServer,
    sites: Vec<Site>,
    _clb: Clb,
    _origin: Origin,
}

struct Site {
    algorithm: Algorithm,
    address: SocketAddr,
    keys: Keys,
}

impl World {
    fn start(mode: &str) -> Self {
        let (authority, origin) = (Authority::new(), Origin::start());
        let sites = Vec::from(Algorithm::ALL.map(|algorithm| Site {
            algorithm,
            address: free_address(),
            keys: Keys::of(algorithm, NAME),
        }));
        let rules = format!(
            "[[allow]]\nidentity = \"lb://node/node-7\"\nkeys = [\"*\"]\nmode = \"{mode}\"\n{}",
            if mode == "strict" {
                format!("server_names = [\"{NAME}\"]\n")
            } else {
                String::new()
            }
        );
        let setup = Setup::of(&authority).rules(rules);
        let setup = sites
            .iter()
            .fold(setup, |setup, site| setup.key(&site.keys));
        let server = setup.start();
        let mut file = format!(
            "[key_server]\naddresses = [\"{}\"]\ncertificate = \"node.pem\"\nkey = \"node.key\"\n\
             ca = \"{CA}\"\nmode = \"{mode}\"\n",
            server.address()
        );
        for site in &sites {
            let name = site.algorithm.as_str();
            let line = format!("certificates = [{{ cert = \"{name}.pem\", key = \"remote\" }}]\n");
            file += &pair(name, "https", site.address, origin.address(), &line);
        }
        let node = authority.node("node-7");
        let files = |launch: Launch| {
            let launch = authority.beside(launch).file("node.pem", &node.cert);
            let launch = launch.secret("node.key", &node.key);
            sites.iter().fold(launch, |launch, site| {
                launch.file(&format!("{}.pem", site.algorithm.as_str()), &site.keys.cert)
            })
        };
        let mut clb = Clb::with_files(files, 2, &file);
        for site in &sites {
            clb = clb.serves(Protocol::Tcp, site.address);
        }
        // It serves resumed sessions before it has reached a key server, and full ones after that.
        let all = f64::from(u32::try_from(sites.len()).expect("they are few"));
        clb.await_figure("clb_key_server_key_ready", &[], all);
        Self {
            server,
            sites,
            _clb: clb,
            _origin: origin,
        }
    }

    /// Signatures that the key server has made, as it says itself.
    fn signatures(&self) -> f64 {
        self.server
            .metrics()
            .sum("clb_keyserver_signatures_total", &[])
    }
}

impl Site {
    fn url(&self) -> String {
        format!("https://{}/", self.address)
    }

    /// What it says, in which version of HTTP, and curl's opinion of its certificate.
    #[track_caller]
    fn curl(&self, flags: &[&str]) -> String {
        let dir = TempDir::new("curl");
        dir.write("ca.pem", &self.keys.cert);
        let ca = dir.path().join("ca.pem").display().to_string();
        let port = self.address.port();
        let (url, to) = (
            format!("https://{NAME}:{port}/"),
            format!("{NAME}:{port}:127.0.0.1"),
        );
        let form = [
            "--write-out",
            "%{http_version} %{ssl_verify_result}",
            "--resolve",
            &to,
            &url,
        ];
        let always = ["--silent", "--show-error", "--cacert", &ca];
        let words = always.iter().chain(flags).chain(&form).copied();
        run("curl", words, 3 * PATIENCE)
    }

    /// What OpenSSL says of a connection that asks once, ended well or not.
    #[track_caller]
    fn s_client(&self, flags: &[&str]) -> String {
        let request =
            format!("GET / HTTP/1.1\\r\\nHost: {NAME}\\r\\nConnection: close\\r\\n\\r\\n");
        // -ign_eof: the connection lasts until the server ends it, and its tickets are all there.
        let command = format!(
            "printf '{request}' | openssl s_client -connect {} -servername {NAME} -CAfile ca.pem \
             -ign_eof {}",
            self.address,
            flags.join(" ")
        );
        let shell = Launch::new("sh").args(["-c", &command]);
        let mut shell = shell.file("ca.pem", &self.keys.cert).start();
        let _ = shell.wait(PATIENCE);
        shell.log()
    }
}

/// The name of every site.
const NAME: &str = "a.test";
