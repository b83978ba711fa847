//! What requests may use of a proxy: rates, places, bytes, addresses, memory.

mod wire;

use std::time::Duration;

use lb_l7::headers::identity::{Identity, IdentityConfig};
use lb_l7::limit::{
    AdaptiveConfig, Bandwidth, CONNECTION_BYTES, EXCHANGE_BYTES, LimitReached, Rate, RequestLimits,
};
use lb_l7::report::Why;
use lb_l7::router::{Match, Rule};
use lb_l7::stats::Refused;
use lb_l7::upstream::RetryPolicy;
use lb_l7::{Router, Settings, Target, Timeouts};
use lbcore::address_list::AddressRules;
use lbcore::budget::{Budget, BudgetConfig, Resource};
use tokio::time::{Instant, sleep, timeout};
use wire::{Rig, Wire, field};

fn settings(target: Target) -> Settings {
    Settings::to(target).expect("one rule")
}

fn rig(limits: RequestLimits) -> Rig {
    Rig::new(|target| settings(target).limits(limits))
}

/// As [`rig`], where clients are told by the field of a proxy that is believed.
fn behind_proxy(change: impl FnOnce(Target) -> Settings) -> Rig {
    let mut config = IdentityConfig::default();
    config.trusted = vec!["192.0.2.7/32".parse().expect("a prefix")];
    let identity = Identity::new(config).expect("an identity");
    Rig::new(|target| change(target).identity(identity))
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn from(address: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {address}\r\n\r\n")
}

async fn reply(client: &mut Wire) -> (u16, String) {
    let head = client.head().await;
    let status = head[9..12].parse().expect("a status");
    client.body(&head).await;
    (status, head)
}

/// Has a backend answer whatever comes, for ever.
fn serve(mut rig: Rig) -> lb_l7::HttpProxy {
    let proxy = rig.proxy.clone();
    tokio::spawn(async move {
        loop {
            let mut backend = rig.backend().await;
            tokio::spawn(async move {
                loop {
                    backend.head().await;
                    backend.send(OK).await;
                }
            });
        }
    });
    proxy
}

/// What one client gets for these requests, one after the other.
async fn statuses(client: &mut Wire, requests: &[&str]) -> Vec<u16> {
    let mut got = Vec::new();
    for request in requests {
        client.send(request).await;
        got.push(reply(client).await.0);
    }
    got
}

#[tokio::test(start_paused = true)]
async fn beyond_its_rate_a_client_is_told_when_to_come_again() {
    let limits = RequestLimits::default().client_rate(Rate::per_minute(6).burst(2));
    let rig = behind_proxy(|target| settings(target).limits(limits));
    let mut client = rig.client();
    let proxy = serve(rig);
    let (one, other) = (from("198.51.100.1"), from("198.51.100.2"));
    let got = statuses(&mut client, &[&one, &one, &one, &other, &other, &other]).await;
    assert_eq!(got, [200, 200, 429, 200, 200, 429]);
    client.send(&one).await;
    let (status, head) = reply(&mut client).await;
    assert_eq!((status, field(&head, "retry-after")), (429, Some("10")));
    let reason = field(&head, "x-lb-reason");
    assert_eq!(reason, Some("proxy-rate-limited-in-request-head"));
    sleep(Duration::from_secs(10)).await;
    assert_eq!(statuses(&mut client, &[&one, &one]).await, [200, 429]);
    let turned = proxy.limit_stats().turned_away(LimitReached::ClientRate);
    assert_eq!(turned, 4);
    let stats = proxy.stats();
    let counted = stats
        .terminations()
        .filter(|(end, _)| end.why() == Why::RateLimited);
    assert_eq!(counted.map(|(_, n)| n).sum::<u64>(), 4);
}

#[tokio::test(start_paused = true)]
async fn new_settings_do_not_forgive_what_was_used() {
    let limits = RequestLimits::default().rate(Rate::per_second(2));
    let rig = rig(limits.clone());
    let target = rig.proxy.settings().targets().next().cloned();
    let mut client = rig.client();
    let proxy = serve(rig);
    assert_eq!(
        statuses(&mut client, &[GET, GET, GET]).await,
        [200, 200, 429]
    );
    let again = settings(target.expect("a target"));
    proxy.update(again.limits(limits.concurrency(0)));
    assert_eq!(statuses(&mut client, &[GET]).await, [429]);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(statuses(&mut client, &[GET, GET]).await, [200, 429]);
}

#[tokio::test(start_paused = true)]
async fn a_place_is_taken_until_the_exchange_is_over() {
    let mut rig = rig(RequestLimits::default().concurrency(2));
    let mut clients = [rig.client(), rig.client(), rig.client()];
    let mut backends = Vec::new();
    for client in &mut clients[..2] {
        client.send(GET).await;
        let mut backend = rig.backend().await;
        backend.head().await;
        backends.push(backend);
    }
    let [first, second, third] = &mut clients;
    third.send(GET).await;
    let (status, head) = reply(third).await;
    assert_eq!((status, field(&head, "retry-after")), (503, Some("1")));
    assert_eq!(
        field(&head, "x-lb-reason"),
        Some("proxy-overloaded-in-request-head")
    );
    // The head alone does not make room.
    backends[0].send(&OK[..OK.len() - 1]).await;
    first.head().await;
    assert_eq!(statuses(third, &[GET]).await, [503]);
    assert_eq!(rig.proxy.limit_stats().in_flight, 2);
    backends[0].send("k").await;
    sleep(Duration::from_millis(1)).await;
    assert_eq!(rig.proxy.limit_stats().in_flight, 1);
    third.send(GET).await;
    backends[0].head().await;
    backends[0].send(OK).await;
    assert_eq!(reply(third).await.0, 200);
    // A client that has gone makes room too, in the midst of it.
    backends[1].send(&OK[..OK.len() - 1]).await;
    second.head().await;
    drop(clients);
    drop(backends);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(rig.proxy.limit_stats().in_flight, 0);
    let turned = rig
        .proxy
        .limit_stats()
        .turned_away(LimitReached::Concurrency);
    assert_eq!(turned, 2);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_finds_itself_is_fed_by_answers() {
    let adaptive = AdaptiveConfig::default().min(1).start(4);
    let rig = rig(RequestLimits::default().adaptive(adaptive));
    let mut client = rig.client();
    let proxy = serve(rig);
    assert_eq!(proxy.limit_stats().adaptive_limit, 4);
    for _ in 0..50 {
        assert_eq!(statuses(&mut client, &[GET]).await, [200]);
        sleep(Duration::from_millis(20)).await;
    }
    // One at a time never meets a limit of four, so nothing is learnt of a higher one.
    assert_eq!(proxy.limit_stats().adaptive_limit, 4);
    assert_eq!(proxy.limit_stats().in_flight, 0);
}

/// How long clients take to read a body of this length each.
async fn download(limits: RequestLimits, bytes: usize, clients: usize) -> Duration {
    let mut timeouts = Timeouts::default();
    timeouts.between_bytes = Duration::from_millis(100);
    let mut rig = Rig::new(|target| settings(target).limits(limits).timeouts(timeouts));
    let start = Instant::now();
    let mut readers = Vec::new();
    for _ in 0..clients {
        let mut client = rig.client();
        client.send(GET).await;
        let mut backend = rig.backend().await;
        backend.head().await;
        let body = "x".repeat(bytes);
        tokio::spawn(async move {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
            backend.send(&head).await;
            backend.send(&body).await;
            std::future::pending::<()>().await;
        });
        readers.push(tokio::spawn(async move {
            let head = client.head().await;
            assert_eq!(client.body(&head).await.len(), bytes);
        }));
    }
    for reader in readers {
        reader.await.expect("a whole body");
    }
    start.elapsed()
}

/// A transfer of `bytes` at 100 kB/s, whose last piece is not waited for.
#[track_caller]
fn takes(took: Duration, bytes: f64) {
    let burst = 65_536.0;
    let most = (bytes - burst) / 100_000.0;
    let least = most - 16_384.0 / 100_000.0;
    let took = took.as_secs_f64();
    assert!(
        took <= most + 0.05 && took >= least - 0.05,
        "{least} {took} {most}"
    );
}

#[tokio::test(start_paused = true)]
async fn bytes_to_clients_keep_to_the_rate_of_all_and_of_each() {
    let slow = Bandwidth::default().bytes_out(100_000);
    let all = RequestLimits::default().bandwidth(slow);
    let each = RequestLimits::default().client_bandwidth(slow);
    takes(download(all.clone(), 1_000_000, 1).await, 1e6);
    takes(download(all, 500_000, 2).await, 1e6);
    // Both are at the same address.
    takes(download(each, 500_000, 2).await, 1e6);
    let unlimited = download(RequestLimits::default(), 1_000_000, 1).await;
    assert!(unlimited < Duration::from_millis(50));
    let other_way = RequestLimits::default().bandwidth(Bandwidth::default().bytes_in(1));
    assert!(download(other_way, 1_000_000, 1).await < Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn a_pace_slower_than_any_timeout_is_nobodys_fault() {
    // After the burst, a piece every 4 s and more; the timeout is 0.1 s.
    let crawl = Bandwidth::default().bytes_out(4_000);
    let limits = RequestLimits::default().bandwidth(crawl);
    let took = download(limits, 150_000, 1).await;
    assert!(took > Duration::from_secs(15), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn bytes_from_clients_keep_to_the_rate() {
    let limits = RequestLimits::default().bandwidth(Bandwidth::default().bytes_in(100_000));
    let mut timeouts = Timeouts::default();
    timeouts.body_idle = Duration::from_millis(50);
    timeouts.first_byte = Duration::from_millis(50);
    let mut rig = Rig::new(|target| settings(target).limits(limits).timeouts(timeouts));
    let mut client = rig.client();
    let start = Instant::now();
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        .await;
    let mut backend = rig.backend().await;
    let head = backend.head().await;
    let sent = tokio::spawn(async move {
        client.send("x".repeat(1_000_000)).await;
        client
    });
    assert_eq!(backend.body(&head).await.len(), 1_000_000);
    takes(start.elapsed(), 1e6);
    backend.send(OK).await;
    assert_eq!(reply(&mut sent.await.expect("all is sent")).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn one_direction_waits_alone() {
    let limits = RequestLimits::default().bandwidth(Bandwidth::default().bytes_in(1_000));
    let mut rig = rig(limits);
    let mut client = rig.client();
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        .await;
    let mut backend = rig.backend().await;
    backend.head().await;
    let upload = "x".repeat(100_000);
    let (mut reader, mut writer) = tokio::io::split(client.io);
    tokio::spawn(async move {
        tokio::io::AsyncWriteExt::write_all(&mut writer, upload.as_bytes()).await
    });
    sleep(Duration::from_secs(1)).await;
    // The answer to an upload that crawls arrives at once.
    let start = Instant::now();
    let body = "y".repeat(300_000);
    let response = format!("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n{body}");
    let mut room = vec![0; 300_000];
    let read = tokio::io::AsyncReadExt::read_exact(&mut reader, &mut room);
    let (_, read) = tokio::join!(backend.send(&response), read);
    assert!(read.is_ok());
    assert!(
        start.elapsed() < Duration::from_millis(50),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_gives_up_while_its_bytes_wait_is_noticed() {
    let limits = RequestLimits::default()
        .concurrency(1)
        .bandwidth(Bandwidth::default().bytes_out(1));
    let mut rig = rig(limits);
    let (mut send, connection) = h2::client::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 20)
        .handshake::<_, bytes::Bytes>(rig.stream())
        .await
        .expect("h2");
    tokio::spawn(connection);
    let request = http::Request::get("http://a/").body(()).expect("a request");
    let (response, _) = send.send_request(request, true).expect("a stream");
    let mut backend = rig.backend().await;
    backend.head().await;
    tokio::spawn(async move {
        let body = "x".repeat(200_000);
        let response = format!("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n{body}");
        backend.send(&response).await;
    });
    let mut body = response.await.expect("an answer").into_body();
    let mut read = 0;
    while let Ok(data) = timeout(Duration::from_secs(1), body.data()).await {
        read += data.expect("more").expect("data").len();
    }
    assert!((65_536..100_000).contains(&read), "{read}");
    assert_eq!(rig.proxy.limit_stats().in_flight, 1);
    drop(body);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(rig.proxy.limit_stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn rules_see_the_client_behind_its_proxies() {
    let rules = AddressRules::new([], ["198.51.100.0/24".parse().expect("a prefix")]);
    let limits = RequestLimits::default().rules(rules);
    let rig = behind_proxy(|target| settings(target).limits(limits));
    let mut client = rig.client();
    let proxy = serve(rig);
    client.send(from("198.51.100.9")).await;
    let (status, head) = reply(&mut client).await;
    assert_eq!(status, 403);
    assert_eq!(
        field(&head, "x-lb-reason"),
        Some("proxy-denied-in-request-head")
    );
    // What a stranger wrote before the proxy's own entry is not believed.
    let forged = from("198.51.100.9, 203.0.113.1");
    assert_eq!(statuses(&mut client, &[&forged, GET]).await, [200, 200]);
    let turned = proxy.limit_stats().turned_away(LimitReached::AddressRules);
    assert_eq!(turned, 1);
}

#[tokio::test(start_paused = true)]
async fn a_route_may_be_for_some_clients_only() {
    let staff = AddressRules::new(["203.0.113.0/24".parse().expect("a prefix")], []);
    let rig = behind_proxy(|target| {
        let admin = Rule::forward("admin", target.clone())
            .on(Match::default().prefix("/admin/"))
            .clients(staff);
        let router = Router::builder().rule(admin);
        let router = router.rule(Rule::forward("all", target)).build();
        Settings::new(router.expect("two rules"))
    });
    let mut client = rig.client();
    let proxy = serve(rig);
    let admin = |address| from(address).replace("GET /", "GET /admin/x");
    let (ours, theirs) = (admin("203.0.113.5"), admin("198.51.100.1"));
    let all = from("198.51.100.1");
    assert_eq!(
        statuses(&mut client, &[&ours, &theirs, &all]).await,
        [200, 403, 200]
    );
    let turned = proxy.limit_stats().turned_away(LimitReached::RouteRules);
    assert_eq!(turned, 1);
    assert_eq!(proxy.route_stats()["admin"].recorded(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_memory_connections_are_closed_and_requests_answered() {
    let bytes = 2 * CONNECTION_BYTES + EXCHANGE_BYTES;
    let budget = Budget::new(BudgetConfig::default().bytes(bytes).sessions(2));
    let used = |resource| budget.stats(resource).used;
    let mut rig = rig(RequestLimits::default().budget(budget.clone()));
    let mut first = rig.client();
    first.send(GET).await;
    let mut backend = rig.backend().await;
    backend.head().await;
    assert_eq!(used(Resource::Bytes), CONNECTION_BYTES + EXCHANGE_BYTES);
    let mut second = rig.client();
    assert_eq!(statuses(&mut second, &[GET]).await, [503]);
    let mut third = rig.client();
    assert!(!third.more().await);
    assert_eq!(rig.proxy.stats().refused(Refused::Budget), 1);
    let memory = rig.proxy.limit_stats().turned_away(LimitReached::Memory);
    assert_eq!(memory, 1);
    backend.send(OK).await;
    assert_eq!(reply(&mut first).await.0, 200);
    second.send(GET).await;
    backend.head().await;
    backend.send(OK).await;
    assert_eq!(reply(&mut second).await.0, 200);
    drop((first, second, third));
    sleep(Duration::from_millis(1)).await;
    assert_eq!((used(Resource::Bytes), used(Resource::Sessions)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn without_memory_for_its_body_a_request_has_one_try() {
    for (room, tries) in [(1 << 20, 2), (0, 1)] {
        let bytes = CONNECTION_BYTES + EXCHANGE_BYTES + 1 + room;
        let budget = Budget::new(BudgetConfig::default().bytes(bytes).saving_percent(100));
        let limits = RequestLimits::default().budget(budget);
        let mut rig =
            Rig::new(|target| settings(target.retry(RetryPolicy::default())).limits(limits));
        let mut client = rig.client();
        client
            .send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
            .await;
        for n in 1..=tries {
            let mut backend = rig.backend().await;
            let head = backend.head().await;
            assert_eq!(backend.body(&head).await, b"body");
            if n == 2 {
                backend.send(OK).await;
                assert_eq!(reply(&mut client).await.0, 200);
            }
        }
        if tries == 1 {
            assert_eq!(reply(&mut client).await.0, 502);
        }
    }
}

#[cfg(feature = "tls")]
#[tokio::test(start_paused = true)]
async fn what_a_client_says_of_its_certificate_is_taken_off() {
    let claim = "GET / HTTP/1.1\r\nHost: a\r\nX-Client-Cert-Verified: true\r\n\
                 X-Client-Cert-Subject: CN=root\r\nX_Client_Cert_Subject: CN=root\r\n\r\n";
    for told in [true, false] {
        let mut rig = Rig::new(|target| settings(target).certificate_headers(told));
        let mut client = rig.client();
        client.send(claim).await;
        let mut backend = rig.backend().await;
        let head = backend.head().await;
        assert_eq!(field(&head, "x-client-cert-verified"), None);
        assert_eq!(field(&head, "x-client-cert-subject"), None);
        assert_eq!(field(&head, "x_client_cert_subject"), None);
    }
}
