//! Listeners of http and https over real sockets on loopback: what a change keeps.

use std::path::Path;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// A server of HTTP/1.1 that answers every request by its name, over connections that it keeps.
pub(super) async fn backend(name: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(name, stream));
        }
    });
    format!("{{ name = \"{name}\", address = \"{address}\" }}")
}

async fn answer(name: &str, mut stream: TcpStream) {
    let mut heard = Vec::new();
    while stream.read_buf(&mut heard).await.is_ok_and(|read| read > 0) {
        while let Some(end) = heard.windows(4).position(|four| four == b"\r\n\r\n") {
            heard.drain(..end + 4);
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n";
            let _ = stream.write_all(format!("{head}{name}").as_bytes()).await;
        }
    }
}

/// A pool `p` of these backends with `more`, and listeners as name and rest.
fn file(backends: &[&str], more: &str, listeners: &[(&str, &str)]) -> Config {
    let pool = format!(
        "[[pool]]\nname = \"p\"\nscheduler = \"round-robin\"\nbackends = [{}]\n{more}\n",
        backends.join(", ")
    );
    let listeners = listeners.iter().map(|(name, rest)| {
        format!("[[listener]]\nname = \"{name}\"\nlisten = \"127.0.0.1:0\"\npool = \"p\"\n{rest}\n")
    });
    let text = pool + &listeners.collect::<String>();
    let parsed = config::parse_in(&text, Path::new(""));
    parsed
        .unwrap_or_else(|notes| panic!("{text}: {notes:?}"))
        .config
}

pub(super) async fn started(config: Config) -> Engine {
    let workers = Workers::start(1).expect("a thread");
    let (asker, _questions) = Asker::new();
    Engine::start(config, workers, asker).await.expect("served")
}

/// A connection to the listener of this name.
pub(super) async fn connect(engine: &Engine, listener: &str) -> TcpStream {
    let address = engine.address(listener).expect("a listener");
    let address = address.socket().expect("TCP");
    TcpStream::connect(address).await.expect("accepted")
}

/// What is answered to `GET path` on a connection that is kept: the head, and a body of a byte.
async fn ask(stream: &mut TcpStream, path: &str) -> String {
    ask_for(stream, "a.test", path).await
}

/// The same of another host, on whatever stream.
pub(super) async fn ask_for(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    host: &str,
    path: &str,
) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut heard = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&heard).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && (body.len() == 1 || head.contains("content-length: 0"))
        {
            return text;
        }
        let read = stream.read_buf(&mut heard).await.expect("an answer");
        assert!(read > 0, "{text}");
    }
}

/// What the listener `l` has done, once that is as `seen` says: what has ended is counted a moment
/// after its client knows.
pub(super) async fn once(
    engine: &mut Engine,
    seen: impl Fn(&snapshot::Listener) -> bool,
) -> snapshot::Listener {
    loop {
        let all = engine.snapshot().await.listeners.into_iter();
        let mut found = all.filter(|listener| listener.name == "l");
        let found = found.next().expect("a listener of this name");
        if seen(&found) {
            return found;
        }
        tokio::task::yield_now().await;
    }
}

/// Once so many exchanges of it are over.
async fn after(engine: &mut Engine, exchanges: u64) -> snapshot::Listener {
    let over = |listener: &snapshot::Listener| {
        let http = listener.http.as_ref().expect("requests");
        let routes = http.routes.values().map(|route| route.0.recorded());
        routes.sum::<u64>() == exchanges
    };
    once(engine, over).await
}

const HTTP: &str = "protocol = \"http\"";

#[tokio::test]
async fn a_change_of_rules_limits_or_backends_is_noticed_by_no_connection() {
    let (a, b) = (backend("a").await, backend("b").await);
    let mut engine = started(file(&[&a], "", &[("l", HTTP)])).await;
    let address = engine.address("l").cloned();
    let mut stream = connect(&engine, "l").await;
    assert!(ask(&mut stream, "/").await.ends_with('a'));

    for (backends, rest, end) in [
        (&b, "", "b"),
        (&b, "limits = { connections = 9 }", "b"),
        (&a, "drain_timeout = \"3s\"\nallow = [\"127.0.0.0/8\"]", "a"),
        (
            &a,
            "rule = [{ path = \"/\", respond = { status = 200, body = \"r\" } }]",
            "r",
        ),
        (&a, "sticky = { cookie = \"s\" }\nrequest_id = true", "a"),
    ] {
        let config = file(&[backends], "", &[("l", &format!("{HTTP}\n{rest}"))]);
        engine.reload(config).await.expect("changed");
        let answer = ask(&mut stream, "/").await;
        assert!(answer.ends_with(end), "{rest}: {answer}");
    }
    assert_eq!(engine.address("l").cloned(), address);
    let figures = after(&mut engine, 6).await;
    assert_eq!((figures.accepted, figures.active), (1, 1));
    let http = figures.http.expect("requests");
    assert_eq!(http.requests["http/1.1"], 6);
    assert_eq!(http.routes["default"].0.recorded(), 5);
    assert_eq!(http.routes["rule-1"].0.recorded(), 1);
    assert_eq!(http.upstreams["p"].backends["a"].0.recorded(), 3);
}

/// How many exchanges the listener `l` tells of with `a`, if it knows it, and with all backends.
async fn exchanges(engine: &mut Engine, over: u64) -> (Option<u64>, u64) {
    let http = after(engine, over).await.http.expect("requests");
    let pool = &http.upstreams["p"];
    let of_a = pool.backends.get("a").map(|all| all.0.recorded());
    (of_a, pool.all.0.recorded())
}

#[tokio::test]
async fn a_backend_that_is_gone_is_forgotten_and_the_sum_stays() {
    let (a, b) = (backend("a").await, backend("b").await);
    let file = |backends: &[&str]| file(backends, "", &[("l", HTTP)]);
    let mut engine = started(file(&[&a])).await;
    let mut stream = connect(&engine, "l").await;
    ask(&mut stream, "/").await;
    assert_eq!(exchanges(&mut engine, 1).await, (Some(1), 1));
    engine.handle_timeout();
    assert_eq!(exchanges(&mut engine, 1).await, (Some(1), 1), "it is there");

    engine.reload(file(&[&b])).await.expect("changed");
    ask(&mut stream, "/").await;
    assert_eq!(exchanges(&mut engine, 2).await, (None, 2), "not shown");
    engine.reload(file(&[&a])).await.expect("changed");
    assert_eq!(exchanges(&mut engine, 2).await, (Some(1), 2), "but known");

    engine.reload(file(&[&b])).await.expect("changed");
    engine.handle_timeout();
    engine.reload(file(&[&a])).await.expect("changed");
    assert_eq!(exchanges(&mut engine, 2).await, (None, 2), "forgotten");
    ask(&mut stream, "/").await;
    assert_eq!(exchanges(&mut engine, 3).await, (Some(1), 3), "anew");
}

#[tokio::test]
async fn a_backend_that_is_gone_is_not_forgotten_before_its_last_exchange_has_ended() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let a = format!("{{ name = \"a\", address = \"{address}\" }}");
    let b = backend("b").await;
    let file = |backends: &[&str]| file(backends, "", &[("l", HTTP)]);
    let mut engine = started(file(&[&a])).await;
    let mut stream = connect(&engine, "l").await;
    let asked = ask(&mut stream, "/");
    let answered = async {
        let (slow, _) = listener.accept().await.expect("asked");
        engine.reload(file(&[&b])).await.expect("changed");
        engine.handle_timeout();
        tokio::spawn(answer("a", slow));
    };
    tokio::join!(asked, answered);
    engine.reload(file(&[&a])).await.expect("changed");
    assert_eq!(exchanges(&mut engine, 1).await, (Some(1), 1));
}

#[tokio::test]
async fn a_new_list_or_limit_decides_over_the_next_client() {
    let a = backend("a").await;
    let mut engine = started(file(&[&a], "", &[("l", HTTP)])).await;
    let deny = format!("{HTTP}\ndeny = [\"127.0.0.1\"]");
    engine
        .reload(file(&[&a], "", &[("l", &deny)]))
        .await
        .expect("changed");
    let mut stream = connect(&engine, "l").await;
    let read = stream.read(&mut [0]).await;
    assert!(!matches!(read, Ok(1..)), "turned away");
    once(&mut engine, |listener| listener.refused["denied"] == 1).await;
}

#[tokio::test]
async fn connections_to_backends_outlive_a_change_and_are_made_anew_by_another_way() {
    let a = backend("a").await;
    let two = [("l", HTTP), ("m", HTTP)];
    let mut engine = started(file(&[&a], "", &two)).await;
    let opened = async |engine: &mut Engine| {
        let pools = engine.snapshot().await.pools;
        pools[0].backends[0].connections.map(|all| all.0.opened)
    };
    assert_eq!(opened(&mut engine).await, None);
    let (mut l, mut m) = (connect(&engine, "l").await, connect(&engine, "m").await);
    ask(&mut l, "/").await;
    ask(&mut m, "/").await;
    engine
        .reload(file(
            &[&a],
            "",
            &[("l", "protocol = \"http\"\nexplain = false"), two[1]],
        ))
        .await
        .expect("changed");
    ask(&mut l, "/").await;
    assert_eq!(
        opened(&mut engine).await,
        Some(1),
        "shared by both, and kept"
    );
    engine
        .reload(file(&[&a], "connections = { max_idle = 1 }", &two))
        .await
        .expect("changed");
    ask(&mut l, "/").await;
    ask(&mut m, "/").await;
    assert_eq!(opened(&mut engine).await, Some(1), "by another upstream");
}

#[tokio::test]
async fn a_pool_may_be_of_tcp_and_of_http_at_once() {
    let a = backend("a").await;
    let engine = started(file(&[&a], "", &[("l", HTTP), ("t", "protocol = \"tcp\"")])).await;
    for listener in ["l", "t"] {
        let mut stream = connect(&engine, listener).await;
        assert!(ask(&mut stream, "/").await.ends_with('a'), "{listener}");
    }
}

#[tokio::test]
async fn a_drain_ends_when_the_last_connection_is_told() {
    let a = backend("a").await;
    let mut engine = started(file(&[&a], "", &[("l", HTTP)])).await;
    let mut stream = connect(&engine, "l").await;
    ask(&mut stream, "/").await;
    engine.drain();
    engine.drained().await;
    assert_eq!(stream.read(&mut [0]).await.expect("closed in order"), 0);
}

#[tokio::test]
async fn a_log_is_written_for_each_request_and_kept_by_a_change() {
    let a = backend("a").await;
    let path = std::env::temp_dir().join(format!("clb-access-{}.log", std::process::id()));
    let rest = format!("{HTTP}\naccess_log = {{ file = \"{}\" }}", path.display());
    let mut engine = started(file(&[&a], "", &[("l", &rest)])).await;
    let mut stream = connect(&engine, "l").await;
    ask(&mut stream, "/one").await;
    let more = format!("{rest}\nexplain = false");
    engine
        .reload(file(&[&a], "", &[("l", &more)]))
        .await
        .expect("changed");
    ask(&mut stream, "/two").await;
    after(&mut engine, 2).await;
    engine.flush_logs();
    let text = std::fs::read_to_string(&path).expect("a log");
    let _ = std::fs::remove_file(&path);
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(
        text.contains("GET /one ") && text.contains("GET /two "),
        "{text}"
    );
    let http = after(&mut engine, 2).await.http.expect("requests");
    let lines = http.access_log.expect("a log");
    assert_eq!((lines.written, lines.dropped), (2, 0));
}

#[tokio::test]
async fn a_new_certificate_is_shown_and_old_connections_stay() {
    let a = backend("a").await;
    let pair = || {
        let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).expect("made");
        let rest = format!(
            "protocol = \"https\"\ncertificates = [{{ cert = '''\n{}''', key = '''\n{}''' }}]",
            made.cert.pem(),
            made.signing_key.serialize_pem()
        );
        (rest, made.cert.pem())
    };
    let (old, first) = pair();
    let (new, second) = pair();
    let mut engine = started(file(&[&a], "", &[("l", &old)])).await;
    let before = handshake(&engine, &first)
        .await
        .expect("the first is shown");
    engine
        .reload(file(&[&a], "", &[("l", &new)]))
        .await
        .expect("changed");
    handshake(&engine, &second)
        .await
        .expect("the second is shown");
    let refused = handshake(&engine, &first).await;
    assert!(refused.is_err(), "the first is no longer shown");
    drop(before);
    let http = after(&mut engine, 0).await.http.expect("requests");
    assert_eq!(http.certificates.len(), 1);
    assert_eq!(http.certificates[0].name, "a.test");
}

/// A handshake by a client that believes this certificate and no other.
async fn handshake(engine: &Engine, believed: &str) -> std::io::Result<impl Sized + use<>> {
    let roots = lb_l7::tls::Roots::from_pem(believed.as_bytes()).expect("roots");
    let tls = lb_l7::tls::BackendTls::new(lb_l7::tls::BackendTlsConfig::new(roots)).expect("TLS");
    let name = tls.name_for(Some("a.test"), "").expect("a name");
    tls.connect(connect(engine, "l").await, &name).await
}
