//! A route is found without allocating.
//!
//! One test alone, as the counter counts for the whole process.

use std::alloc::System;

use http::request::Parts;
use http::{HeaderName, Method, Request};
use lb_l7::router::{Action, Match, Router, Rule, Split, StickyKey, ValueMatch};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn allocations(run: impl FnOnce()) -> usize {
    let region = Region::new(COUNTING);
    run();
    let change = region.change();
    change.allocations + change.deallocations + change.reallocations
}

fn router() -> Router<usize> {
    let exact = || ValueMatch::Exact("1".into());
    let field = HeaderName::from_static("x-a");
    let matches = [
        Match::default().host("a.example").path("/a"),
        Match::default().host("*.example").prefix("/a/b"),
        Match::default().host("[2001:db8::1]"),
        Match::default().prefix("/a").method(Method::POST),
        Match::default().prefix("/a").header(field, exact()),
        Match::default().prefix("/a").query("q 1", exact()),
        Match::default().prefix("/a").cookie("c", exact()),
    ];
    let rules = matches.into_iter().enumerate().map(|(at, fits)| {
        let split = Split::weighted([(1, at), (2, at)]);
        let split = split.sticky(StickyKey::Cookie("c".into()));
        Rule::new(at.to_string(), Action::Forward(split)).on(fits)
    });
    Router::builder().rules(rules).build().expect("good rules")
}

fn requests() -> Vec<Parts> {
    let request = |host: &str, target: &str| {
        let request = Request::get(target).header("host", host);
        request.body(()).expect("a good request").into_parts().0
    };
    let mut field = request("x", "/a/x/y");
    field.headers.insert("x-a", "1".parse().expect("a value"));
    let mut cookie = request("x", "/a/x/y");
    cookie
        .headers
        .insert("cookie", "b=2; c=1".parse().expect("a value"));
    let mut post = request("x", "/a");
    post.method = Method::POST;
    vec![
        request("A.Example.:8080", "/a"),
        request("d.c.b.Example", "/a/b/c"),
        request("[2001:DB8::1]:80", "/"),
        post,
        field,
        request("x", "/a?x&%71+1=%31"),
        cookie,
    ]
}

#[test]
fn a_route_is_found_without_allocating() {
    let counted = allocations(|| drop(std::hint::black_box(Box::new(1_u64))));
    assert!(counted >= 2, "the counter counts");

    let (router, mut requests) = (router(), requests());
    let mut found = [None; 7];
    let counted = allocations(|| {
        for (found, parts) in found.iter_mut().zip(&mut requests) {
            router.normalise(parts).expect("a plain path");
            *found = router
                .route(parts, 7)
                .and_then(|matched| matched.target().copied());
        }
    });
    assert_eq!(counted, 0);
    assert_eq!(found, [0, 1, 2, 3, 4, 5, 6].map(Some));
}
