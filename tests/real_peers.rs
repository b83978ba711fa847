//! Programs that others wrote, through `clb`: nginx, curl, wrk, iperf3, dnsmasq, dig and OpenSSL.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use harness::clb::{Clb, pair};
use harness::host::{TempDir, free_address};
use harness::load::{Requests, Transfer, Way, iperf3, wrk};
use harness::peer::{self, dns_server, http_server, iperf3_server, run};
use harness::process::{Launch, Process};
use harness::procfs::Protocol;
use harness::wait::PATIENCE;

#[test]
fn curl_gets_a_large_file_of_nginx_whole_and_puts_it_back() {
    let (front, back) = (free_address(), free_address());
    let text = large_text();
    let server = peer::nginx(&format!(
        "events {{}} http {{ access_log off; client_max_body_size 0; client_body_temp_path body;
             proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
             scgi_temp_path scgi; root .;
             server {{ listen {back}; location / {{ dav_methods PUT; }} }} }} user root;"
    ))
    .file("large", &text)
    .serving(Protocol::Tcp, back)
    .start();
    let clb = serve("front", "tcp", front, back, "");

    let url = format!("http://{front}/large");
    let got = TempDir::new("curl");
    let path = got.path().join("large");
    let path = path.to_str().unwrap();
    let get = ["--silent", "--show-error", "--fail", "--output", path, &url];
    let _ = run("curl", get, 3 * PATIENCE);
    assert!(got.read("large") == text, "what came is not what was sent");

    let put = format!("http://{front}/put");
    let put = [
        "--silent",
        "--show-error",
        "--fail",
        "--upload-file",
        path,
        &put,
    ];
    let _ = run("curl", put, 3 * PATIENCE);
    assert!(
        server.dir().read("put") == text,
        "what came is not what was sent"
    );
    assert!(
        clb.metrics()
            .sum("clb_listener_bytes_total", &[("direction", "in")])
            > 20e6
    );
}

#[test]
fn curl_gets_many_small_answers_by_one_connection_and_by_many() {
    let backs = [free_address(), free_address()];
    let _servers = backs.map(|back| http_server(back, "hello").start());
    let front = free_address();
    let clb = Clb::start(2, &two("tcp", front, backs)).serves(Protocol::Tcp, front);
    // curl asks for each number of the range, all on one connection.
    let url = format!("http://{front}/[1-50]");
    let one = run("curl", ["--silent", "--show-error", &url], PATIENCE);
    assert_eq!(one, "hello".repeat(50));
    clb.await_figure("clb_listener_sessions_total", &[], 1.0);
    let close = [
        "--silent",
        "--show-error",
        "--header",
        "Connection: close",
        &url,
    ];
    assert_eq!(run("curl", close, PATIENCE), one);
    clb.await_figure("clb_listener_sessions_total", &[], 51.0);
    clb.await_figure("clb_listener_sessions_active", &[], 0.0);
}

#[test]
fn wrk_has_every_request_answered_by_two_servers() {
    let backs = [free_address(), free_address()];
    let _servers = backs.map(|back| http_server(back, "hello").start());
    let front = free_address();
    let clb = Clb::start(2, &two("tcp", front, backs)).serves(Protocol::Tcp, front);
    let span = Duration::from_secs(2);
    let report = Requests::of(wrk(front, 64, span).start(), span);
    assert_eq!((report.refused, report.failed), (0, 0), "{report:?}");
    assert!(report.answered > 1_000, "{report:?}");
    for backend in ["a", "b"] {
        let labels = [("backend", backend)];
        let picks = clb.metrics().sum("clb_backend_picks_total", &labels);
        assert!(
            (28.0..=37.0).contains(&picks),
            "{backend} took {picks} of 64 or 65"
        );
    }
}

#[test]
fn iperf3_fills_the_listener_both_ways() {
    for way in [Way::There, Way::Back] {
        let (front, back) = (free_address(), free_address());
        let _server = iperf3_server(back).start();
        let clb = serve("front", "tcp", front, back, "");
        let span = Duration::from_secs(2);
        let report = Transfer::of(iperf3(front, way, span).start(), span);
        let direction = match way {
            Way::Back => "out",
            Way::There => "in",
        };
        assert!(report.bytes > 100e6, "{report:?}");
        let labels = [("direction", direction)];
        let counted = clb.metrics().sum("clb_listener_bytes_total", &labels);
        // iperf3 also speaks of the test itself, and leaves unread what came after its time.
        assert!(counted >= report.bytes, "{counted} of {report:?}");
    }
}

#[test]
fn dig_is_answered_by_dnsmasq_in_single_requests_in_sessions_and_by_tcp() {
    let back = free_address();
    let names = [("a.test", "192.0.2.7"), ("b.test", "192.0.2.8")];
    let _server = dns_server(back, &names).start();
    let fronts = [free_address(), free_address(), free_address()];
    let file = pair("single", "udp", fronts[0], back, "one_packet = true")
        + &pair("sessions", "udp", fronts[1], back, "")
        + &pair("streams", "tcp", fronts[2], back, "");
    let clb = Clb::start(2, &file)
        .serves(Protocol::Udp, fronts[0])
        .serves(Protocol::Udp, fronts[1])
        .serves(Protocol::Tcp, fronts[2]);
    for (front, transport) in fronts.into_iter().zip(["+notcp", "+notcp", "+tcp"]) {
        let (server, port) = (format!("@{}", front.ip()), front.port().to_string());
        for (name, address) in names {
            let question = [&server, "-p", &port, "+short", "+tries=1", transport, name];
            assert_eq!(run("dig", question, PATIENCE).trim(), address);
        }
    }
    for listener in ["single", "sessions", "streams"] {
        let labels = [("listener", listener)];
        clb.await_figure("clb_listener_sessions_total", &labels, 2.0);
    }
    // The one that waits for nothing more is over; the other goes on for its idle timeout.
    let under_way = |listener, count| {
        let labels = [("listener", listener)];
        clb.await_figure("clb_listener_sessions_active", &labels, count);
    };
    under_way("single", 0.0);
    under_way("sessions", 2.0);
    under_way("streams", 0.0);
}

#[test]
fn tls_goes_unopened_to_the_server_that_the_client_names() {
    let backs = [free_address(), free_address()];
    let [_one, _two] = [("one", backs[0]), ("two", backs[1])].map(|(n, at)| tls_server(n, at));
    let front = free_address();
    let mut file = String::new();
    for (name, back) in ["one", "two"].into_iter().zip(backs) {
        write!(
            file,
            "[[pool]]\nname = \"{name}\"\nscheduler = \"round-robin\"\n\
             backends = [{{ name = \"a\", address = \"{back}\" }}]\n"
        )
        .expect("a string takes text");
    }
    write!(
        file,
        "[[listener]]\nname = \"front\"\nprotocol = \"tls\"\nlisten = \"{front}\"\n\
         names = {{ \"one.test\" = \"one\", \"*.two.test\" = \"two\" }}\n"
    )
    .expect("a string takes text");
    let clb = Clb::start(2, &file).serves(Protocol::Tcp, front);
    for (name, server) in [("one.test", "one"), ("www.two.test", "two")] {
        let (url, resolve) = (
            format!("https://{name}:{}/who", front.port()),
            format!("{name}:{}:{}", front.port(), front.ip()),
        );
        let ask = [
            "--silent",
            "--show-error",
            "--insecure",
            "--resolve",
            &resolve,
            &url,
        ];
        assert_eq!(run("curl", ask, PATIENCE), format!("I am {server}"));
        let at = front.to_string();
        let look = ["s_client", "-connect", &at, "-servername", name];
        // The certificate is that of the server itself.
        let seen = run("openssl", look, PATIENCE);
        assert!(seen.contains(&format!("CN = {server}")), "{seen}");
    }
    let at = front.to_string();
    let look = ["s_client", "-connect", &at, "-servername", "three.test"];
    let mut refused = Launch::new("openssl").args(look).start();
    assert!(!refused.wait(PATIENCE).success());
    assert_eq!(clb.refused("front", "server-name"), 1.0);
}

/// A server whose certificate and whose page name it.
fn tls_server(name: &str, address: SocketAddr) -> Process {
    let keys = TempDir::new("keys");
    let [key, cert] = ["key.pem", "cert.pem"].map(|file| keys.path().join(file));
    let (key, cert) = (
        key.to_str().expect("a path of text"),
        cert.to_str().expect("a path of text"),
    );
    let subject = format!("/CN={name}");
    let make = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    ];
    let more = [
        "-nodes", "-keyout", key, "-out", cert, "-subj", &subject, "-days", "2",
    ];
    let _ = run("openssl", make.into_iter().chain(more), PATIENCE);
    let address_text = address.to_string();
    Launch::new("openssl")
        .args(["s_server", "-accept", &address_text, "-WWW"])
        .args(["-key", "key.pem", "-cert", "cert.pem"])
        .file("key.pem", &keys.read("key.pem"))
        .file("cert.pem", &keys.read("cert.pem"))
        .file("who", &format!("I am {name}"))
        .serving(Protocol::Tcp, address)
        .start()
}

fn serve(name: &str, protocol: &str, front: SocketAddr, back: SocketAddr, rest: &str) -> Clb {
    Clb::start(2, &pair(name, protocol, front, back, rest)).serves(Protocol::Tcp, front)
}

fn two(protocol: &str, front: SocketAddr, [a, b]: [SocketAddr; 2]) -> String {
    format!(
        "[[pool]]\nname = \"web\"\nscheduler = \"least-connections\"\n\
         backends = [{{ name = \"a\", address = \"{a}\" }}, {{ name = \"b\", address = \"{b}\" }}]\n\
         [[listener]]\nname = \"front\"\nprotocol = \"{protocol}\"\nlisten = \"{front}\"\n\
         pool = \"web\"\n"
    )
}

/// 20 MB, no two lines of which are alike.
fn large_text() -> String {
    let lines = 1_250_000_u64;
    let mut text = String::new();
    for line in 0..lines {
        writeln!(
            text,
            "{:015x}",
            line.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 4
        )
        .expect("a string takes text");
    }
    text
}
