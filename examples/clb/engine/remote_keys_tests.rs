//! Listeners whose keys are elsewhere, over a key server on loopback.

use std::time::Duration;

use lb_l7::tls::{BackendTls, BackendTlsConfig, Roots};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::http_tests::{ask_for, backend, connect, once, started};
use super::remote_keys::trial::AGAIN;
use super::*;
use crate::demo::KeyHolder;

/// A key server on a runtime of its own, which ends with it.
struct Held {
    holder: KeyHolder,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Held {
    async fn start() -> Self {
        let (told, holder) = tokio::sync::oneshot::channel();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.spawn(async { told.send(KeyHolder::start("127.0.0.1:0").await) });
        Self {
            holder: holder.await.expect("it runs").expect("a key server"),
            runtime: Some(runtime),
        }
    }

    /// Closes its port and all connections.
    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// A file with a listener `l` for the site, over this backend, with `more` of the certificate
    /// and `rest` of the key server.
    fn file(&self, backend: &str, more: &str, rest: &str) -> Config {
        let (holder, site) = (&self.holder, &self.holder.site);
        let text = format!(
            "[[pool]]\nname = \"p\"\nscheduler = \"round-robin\"\nbackends = [{backend}]\n\
             [[listener]]\nname = \"l\"\nprotocol = \"https\"\nlisten = \"127.0.0.1:0\"\npool = \"p\"\n\
             certificates = [{{ cert = '''\n{site}''', key = \"remote\"{more} }}]\n{holder}{rest}\n"
        );
        let parsed = config::parse(&text);
        parsed
            .unwrap_or_else(|notes| panic!("{text}: {notes:?}"))
            .config
    }

    /// A client that believes the site.
    fn client(&self) -> BackendTls {
        let roots = Roots::from_pem(self.holder.site.as_bytes()).expect("roots");
        BackendTls::new(BackendTlsConfig::new(roots)).expect("TLS")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A handshake with the listener `l`, by this client.
async fn shake(
    engine: &Engine,
    client: &BackendTls,
) -> std::io::Result<impl AsyncRead + AsyncWrite + Unpin + use<>> {
    let name = client.name_for(Some("localhost"), "").expect("a name");
    let shaken = client.connect(connect(engine, "l").await, &name);
    timeout(PATIENCE, shaken).await.expect("fast")
}

/// What asking key servers came to, once that is as `seen` says.
async fn asked(
    engine: &mut Engine,
    seen: impl Fn(&snapshot::RemoteKeys) -> bool,
) -> snapshot::RemoteKeys {
    let found = async {
        loop {
            let keys = engine.snapshot().await.key_server.expect("key servers");
            if seen(&keys) {
                return keys;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, found).await.expect("seen")
}

fn is_ready(keys: &snapshot::RemoteKeys) -> bool {
    keys.keys.iter().all(|key| key.ready == Some(true))
}

/// Far longer than anything here takes, and shorter than the thirty seconds that a signature may.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_key_server_signs_for_a_listener_without_a_key() {
    let (a, held) = (backend("a").await, Held::start().await);
    for mode in ["bound", "strict"] {
        let rest = format!("mode = \"{mode}\"");
        let mut engine = started(held.file(&a, "", &rest)).await;
        let keys = asked(&mut engine, is_ready).await;
        assert_eq!((keys.mode, keys.keys.len()), (mode, 1));
        assert_eq!(keys.keys[0].certificate, "localhost");
        let mut stream = shake(&engine, &held.client()).await.expect("shaken");
        assert!(
            ask_for(&mut stream, "localhost", "/").await.ends_with('a'),
            "{mode}"
        );
        let keys = asked(&mut engine, |_| true).await;
        // The trial, and the client's.
        assert_eq!((keys.requests, keys.signed, keys.waiting), (2, 2, 0));
        assert_eq!(keys.servers.len(), 1);
        assert_eq!(
            (keys.servers[0].state, keys.servers[0].signed),
            ("closed", 2)
        );
    }
}

#[tokio::test]
async fn a_mode_that_the_key_server_does_not_speak_is_told_and_blocks_nothing() {
    let (a, held) = (backend("a").await, Held::start().await);
    let file = held.file(&a, "", "mode = \"plain\"\ntimeout = \"100ms\"");
    let mut engine = started(file).await;
    let tried = |keys: &snapshot::RemoteKeys| keys.keys[0].ready.is_some();
    let keys = asked(&mut engine, tried).await;
    assert_eq!(keys.keys[0].ready, Some(false));
    engine
        .reload(held.file(&a, "", ""))
        .await
        .expect("the mode changes");
    asked(&mut engine, is_ready).await;
    shake(&engine, &held.client()).await.expect("shaken");
}

#[tokio::test]
async fn a_reload_keeps_the_connections_unless_it_changes_them() {
    let (a, held) = (backend("a").await, Held::start().await);
    let mut engine = started(held.file(&a, "", "")).await;
    asked(&mut engine, is_ready).await;
    shake(&engine, &held.client()).await.expect("shaken");
    let requests = asked(&mut engine, |_| true).await.requests;

    engine
        .reload(held.file(&a, "", "timeout = \"3s\""))
        .await
        .expect("another time");
    asked(&mut engine, is_ready).await;
    shake(&engine, &held.client()).await.expect("shaken");
    let after = asked(&mut engine, |_| true).await.requests;
    // One more trial, and one more client.
    assert_eq!(after, requests + 2, "by the same client of key servers");

    engine
        .reload(held.file(&a, "", "waiting = 9"))
        .await
        .expect("another client");
    asked(&mut engine, is_ready).await;
    assert_eq!(asked(&mut engine, |_| true).await.requests, 1, "anew");
    shake(&engine, &held.client()).await.expect("shaken");
}

#[tokio::test]
async fn no_handshake_fails_while_the_new_key_servers_are_connected_to() {
    let (a, held) = (backend("a").await, Held::start().await);
    let mut engine = started(held.file(&a, "", "")).await;
    asked(&mut engine, is_ready).await;
    for waiting in 8..16 {
        let file = held.file(&a, "", &format!("waiting = {waiting}"));
        engine.reload(file).await.expect("another client");
        shake(&engine, &held.client()).await.expect("shaken");
    }
    // Nobody is there, however long one waits: who was asked before still is.
    let mut nobody = held.file(&a, "", "");
    let servers = &mut nobody.key_server.as_mut().expect("named").servers;
    servers[0].port = 1;
    for _ in 0..2 {
        engine.reload(nobody.clone()).await.expect("another client");
        shake(&engine, &held.client()).await.expect("shaken");
    }
    let down = asked(&mut engine, |keys| keys.servers.len() == 1).await;
    assert_eq!((down.signed, down.servers[0].connections), (0, 0));

    engine.reload(held.file(&a, "", "")).await.expect("back");
    asked(&mut engine, |keys| keys.signed > 0).await;
    shake(&engine, &held.client()).await.expect("shaken");
}

#[tokio::test]
async fn without_a_key_server_new_handshakes_fail_fast_and_old_sessions_go_on() {
    let (a, mut held) = (backend("a").await, Held::start().await);
    let mut engine = started(held.file(&a, "", "timeout = \"30s\"")).await;
    asked(&mut engine, is_ready).await;
    let (known, fresh) = (held.client(), held.client());
    let mut stream = shake(&engine, &known).await.expect("shaken");
    // The tickets come with the first answer.
    ask_for(&mut stream, "localhost", "/").await;
    held.kill();
    let down = |keys: &snapshot::RemoteKeys| keys.servers.iter().all(|one| one.connections == 0);
    asked(&mut engine, down).await;

    assert!(
        ask_for(&mut stream, "localhost", "/").await.ends_with('a'),
        "it is open"
    );
    let mut resumed = shake(&engine, &known).await.expect("resumed");
    assert!(ask_for(&mut resumed, "localhost", "/").await.ends_with('a'));
    let refused = shake(&engine, &fresh).await.err().expect("no signature");
    assert!(refused.to_string().contains("InternalError"), "{refused}");
    let http = once(&mut engine, |listener| {
        let http = listener.http.as_ref().expect("requests");
        http.tls_refused["no-signature"] == 1
    });
    let http = http.await.http.expect("requests");
    assert_eq!((http.handshakes, http.resumed), (1, 1));
    let keys = asked(&mut engine, |_| true).await;
    assert_eq!(keys.failed["no-server"], 1);
}

#[tokio::test]
async fn a_key_that_is_signed_with_no_more_is_not_ready_any_more() {
    let (a, mut held) = (backend("a").await, Held::start().await);
    let mut engine = started(held.file(&a, "", "")).await;
    asked(&mut engine, is_ready).await;
    held.kill();
    let down = |keys: &snapshot::RemoteKeys| keys.servers.iter().all(|one| one.connections == 0);
    let keys = asked(&mut engine, down).await;
    assert!(is_ready(&keys), "not tried again yet");
    tokio::time::pause();
    tokio::time::advance(AGAIN).await;
    tokio::time::resume();
    let keys = asked(&mut engine, |keys| !is_ready(keys)).await;
    assert_eq!(keys.keys[0].ready, Some(false));
}

#[tokio::test]
async fn a_key_that_is_here_after_all_signs_when_no_server_does() {
    let (a, mut held) = (backend("a").await, Held::start().await);
    held.kill();
    let more = format!(", fallback = '''\n{}'''", held.holder.key);
    let mut engine = started(held.file(&a, &more, "")).await;
    let mut stream = shake(&engine, &held.client()).await.expect("shaken");
    assert!(ask_for(&mut stream, "localhost", "/").await.ends_with('a'));
    let keys = asked(&mut engine, |_| true).await;
    assert_eq!((keys.fallbacks, keys.signed), (1, 0));
}

#[tokio::test]
async fn keys_here_and_elsewhere_stand_beside_each_other() {
    let (a, held) = (backend("a").await, Held::start().await);
    let made = rcgen::generate_simple_self_signed(["here.test".to_owned()]).expect("made");
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let more = format!(" }}, {{ cert = '''\n{cert}''', key = '''\n{key}'''");
    let mut engine = started(held.file(&a, &more, "")).await;
    asked(&mut engine, is_ready).await;
    shake(&engine, &held.client()).await.expect("elsewhere");
    let roots = Roots::from_pem(cert.as_bytes()).expect("roots");
    let here = BackendTls::new(BackendTlsConfig::new(roots)).expect("TLS");
    let name = here.name_for(Some("here.test"), "").expect("a name");
    here.connect(connect(&engine, "l").await, &name)
        .await
        .expect("here");
    assert_eq!(
        asked(&mut engine, |_| true).await.requests,
        2,
        "one of them"
    );
}

#[tokio::test]
async fn who_speaks_http_to_a_listener_without_keys_is_told_so() {
    let (a, held) = (backend("a").await, Held::start().await);
    let mut engine = started(held.file(&a, "", "")).await;
    let mut stream: TcpStream = connect(&engine, "l").await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .expect("sent");
    let mut told = String::new();
    stream.read_to_string(&mut told).await.expect("answered");
    assert_eq!(told, lb_l7::tls::PLAIN_HTTP);
    let refused = |listener: &snapshot::Listener| {
        let http = listener.http.as_ref().expect("requests");
        http.tls_refused["plain-http"] == 1
    };
    once(&mut engine, refused).await;
}

#[tokio::test]
async fn a_file_without_key_servers_ends_the_asking() {
    let (a, held) = (backend("a").await, Held::start().await);
    let mut engine = started(held.file(&a, "", "")).await;
    asked(&mut engine, is_ready).await;
    let plain = format!(
        "[[pool]]\nname = \"p\"\nscheduler = \"round-robin\"\nbackends = [{a}]\n\
         [[listener]]\nname = \"l\"\nprotocol = \"http\"\nlisten = \"127.0.0.1:0\"\npool = \"p\"\n"
    );
    let config = config::parse(&plain).expect("good").config;
    engine.reload(config).await.expect("changed");
    assert!(engine.snapshot().await.key_server.is_none());
}
