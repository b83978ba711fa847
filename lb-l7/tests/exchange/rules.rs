//! Answers of the proxy's own, filters, and settings that change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, request, response};
use lb_l7::router::{Action, Match, Redirect, RedirectStatus, Respond, Router, Rule};
use lb_l7::{Decision, Filter, Peer, Settings, Target};

use crate::rig::{Announced, Http1, Http2, Plan, secs};

fn with_rules(settings: Settings) -> Settings {
    let target: Target = settings.targets().next().unwrap().clone();
    let mut old =
        Action::Redirect(Redirect::new(RedirectStatus::of(308).unwrap()).host("new.example"));
    if let Action::Redirect(redirect) = &mut old {
        redirect.port = None;
    }
    let fixed = Respond::new(StatusCode::IM_A_TEAPOT).body("short and stout");
    let router = Router::builder()
        .rule(Rule::new("old", old).on(Match::default().prefix("/old/")))
        .rule(Rule::new("tea", Action::Respond(fixed)).on(Match::default().path("/tea")))
        .rule(Rule::forward("app", target).on(Match::default().prefix("/app/")))
        .build()
        .unwrap();
    let mut new = Settings::new(router);
    new.filters.clone_from(&settings.filters);
    new
}

#[tokio::test(start_paused = true)]
async fn redirects_and_fixed_answers_need_no_backend_and_keep_the_connection() {
    for client in [Http1, Http2] {
        let mut world = Plan::to(Http1).settings(with_rules).build();
        let client = world.client(client).await;
        let (answer, client) = client.get("/old/page?a=b").await.answer().await;
        assert_eq!(answer.status, 308);
        assert_eq!(
            answer.field("location"),
            Some("http://new.example/old/page?a=b")
        );
        assert!(answer.field("date").is_some());
        let (answer, client) = client.get("/tea").await.answer().await;
        assert_eq!((answer.status, answer.text()), (418, "short and stout"));
        let (answer, client) = client.get("/none").await.answer().await;
        assert_eq!(answer.status, 404);
        assert_eq!(
            answer.field("x-lb-reason"),
            Some("proxy-no-route-in-request-head")
        );
        let call = client.get("/app/").await;
        world.call().await.answer(200, "").await;
        assert_eq!(call.answer().await.0.status, 200);
        world.settle().await;
        let codes: Vec<_> = world.told.all().iter().map(|ended| ended.code()).collect();
        assert_eq!(
            codes,
            [
                ("proxy-answered-in-response-body", 308),
                ("proxy-answered-in-response-body", 418),
                ("proxy-no-route-in-request-head", 404),
                ("done", 200),
            ]
        );
        world.checks();
        let routes = world.proxy.route_stats();
        assert_eq!(
            (
                routes["old"].began,
                routes["tea"].began,
                routes["app"].began
            ),
            (1, 1, 1)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_head_is_the_head_of_the_answer_to_get() {
    for client in [Http1, Http2] {
        let world = Plan::to(Http1).settings(with_rules).build();
        let client = world.client(client).await;
        let call = client.begin("HEAD", "/tea", &[], Announced::Nothing).await;
        let (answer, client) = call.answer().await;
        assert_eq!((answer.status, answer.body.len()), (418, 0));
        assert_eq!(answer.field("content-length"), Some("15"));
        assert_eq!(
            client.get("/tea").await.answer().await.0.text(),
            "short and stout"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_a_fixed_answer_leaves_unread_is_no_request() {
    let world = Plan::to(Http1).settings(with_rules).build();
    let mut raw = world.raw();
    raw.send(
        "POST /tea HTTP/1.1\r\nHost: a\r\nContent-Length: 37\r\n\r\n\
         GET /app/evil HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    .await;
    let message = raw.message().await;
    assert_eq!(message.head.field("connection"), Some("close"));
    assert_eq!(raw.rest_text().await, "");
    world.settle().await;
    assert_eq!(world.told.all().len(), 1);
}

/// Decides by the path.
#[derive(Debug, Default)]
struct ByPath {
    has_waited: Arc<AtomicBool>,
}

impl Filter for ByPath {
    fn on_request(&self, request: &mut request::Parts, peer: &Peer) -> Decision {
        assert_eq!(peer.address.to_string(), "192.0.2.7:1234");
        assert!(!request.headers.contains_key("connection"));
        match request.uri.path() {
            "/add" => {
                let mut fields = HeaderMap::new();
                fields.insert("x-added", "1".parse().unwrap());
                Decision::Add(fields)
            }
            "/respond" => {
                let mut response = Response::new(Bytes::from_static(b"mine"));
                *response.status_mut() = StatusCode::FORBIDDEN;
                Decision::Respond(Box::new(response))
            }
            "/wait" => {
                let has_waited = Arc::clone(&self.has_waited);
                Decision::Wait(Box::pin(async move {
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    has_waited.store(true, Ordering::Relaxed);
                    Decision::Wait(Box::pin(async { Decision::Continue }))
                }))
            }
            _ => Decision::Continue,
        }
    }

    fn on_response(&self, request: &request::Parts, response: &mut response::Parts) {
        let path = request.uri.path().parse().unwrap();
        response.headers.insert("x-path", path);
    }
}

#[tokio::test(start_paused = true)]
async fn a_filter_adds_answers_and_waits_and_sees_every_response() {
    for client in [Http1, Http2] {
        let filter = ByPath::default();
        let has_waited = Arc::clone(&filter.has_waited);
        let mut world = Plan::to(Http1)
            .settings(|settings| settings.filter(filter))
            .build();
        let mut client = world.client(client).await;
        for (path, added) in [("/add", Some("1")), ("/wait", None), ("/continue", None)] {
            let begun = tokio::time::Instant::now();
            let call = client.get(path).await;
            let served = world.call().await;
            assert_eq!(served.field("x-added"), added);
            assert_eq!(begun.elapsed() >= secs(2), path == "/wait");
            served.answer(200, "").await;
            let (answer, next) = call.answer().await;
            assert_eq!(answer.field("x-path"), Some(path));
            client = next;
        }
        assert!(has_waited.load(Ordering::Relaxed));
        let (answer, client) = client.get("/respond").await.answer().await;
        assert_eq!((answer.status, answer.text()), (403, "mine"));
        assert_eq!(answer.field("x-path"), Some("/respond"));
        let call = client.post("/respond", "unread").await;
        assert_eq!(call.answer().await.0.status, 403);
        world.settle().await;
        assert_eq!(world.told.all().len(), 5);
        world.checks();
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_while_a_filter_waits_is_done_with_when_it_has_waited() {
    let mut world = Plan::to(Http1)
        .settings(|settings| settings.filter(ByPath::default()))
        .build();
    let (mut raw, task) = world.connect();
    raw.send("POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n")
        .await;
    drop(raw);
    task.await.unwrap();
    world.settle().await;
    assert_eq!(world.told.all().len(), 1);
    assert_eq!(world.told.all()[0].status, None);
    world.no_call().await;
    world.checks();
}

#[tokio::test(start_paused = true)]
async fn new_settings_hold_for_the_next_request_and_not_for_the_one_under_way() {
    for client in [Http1, Http2] {
        let mut world = Plan::to(Http1).build();
        let client = world.client(client).await;
        let call = client.get("/old/").await;
        let served = world.call().await;
        let target = world.proxy.settings().targets().next().unwrap().clone();
        let settings = Settings::to(target).unwrap().filter(world.told.clone());
        world.proxy.update(with_rules(settings));
        served.answer(200, "as it began").await;
        let (answer, client) = call.answer().await;
        assert_eq!(answer.text(), "as it began");
        let (answer, _client) = client.get("/old/").await.answer().await;
        assert_eq!(answer.status, 308);
        world.settle().await;
        world.checks();
        assert_eq!(world.told.all().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_report_tells_when_each_thing_happened() {
    for (client, backend) in crate::rig::PAIRS {
        let mut world = Plan::to(backend)
            .settings(|settings| settings.filter(ByPath::default()))
            .build();
        let call = world.client(client).await.get("/wait").await;
        let mut served = world.call().await;
        tokio::time::sleep(secs(3)).await;
        served.head(200, &[]).await;
        tokio::time::sleep(secs(4)).await;
        served.send(b"x").await;
        served.end(&[]).await;
        call.answer().await;
        let times = world.ended().await.times;
        let since = |at: Option<lbcore::Instant>| at.unwrap().since(times.head.unwrap()).as_secs();
        let all = [
            times.picked,
            times.connected,
            times.response,
            Some(times.end),
        ]
        .map(since);
        assert_eq!(all, [2, 2, 5, 9], "{client:?} {backend:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_exchange_is_under_way_on_its_route_until_it_ends_whatever_it_tries() {
    let mut world = Plan::to(Http1).backends(2).build();
    let under_way = |world: &crate::rig::World| -> Vec<u64> {
        let routes = world.proxy.route_stats();
        routes.values().map(|route| route.in_flight()).collect()
    };
    let call = world.client(Http1).await.get("/").await;
    // The first backend fails; there is one try more.
    drop(world.accept().await);
    let served = world.call().await;
    assert_eq!(under_way(&world), [1]);
    served.answer(200, "").await;
    assert_eq!(call.answer().await.0.status, 200);
    world.settle().await;
    assert_eq!(under_way(&world), [0]);
    let routes = world.proxy.route_stats();
    assert_eq!(
        routes.values().map(|route| route.recorded()).sum::<u64>(),
        1
    );
}
