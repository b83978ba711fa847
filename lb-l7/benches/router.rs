//! ns a route, by kind and number of rules.
//!
//! Every kind has as many requests as rules, in an order that caches cannot follow.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::Request;
use http::request::Parts;
use lb_l7::router::{Match, PathPolicy, Router, Rule};
use lbcore::rng::{Rng, Xoshiro};

/// Rule `n` of a kind, and a host and a path that it is for.
type Kind = fn(usize) -> (Match, String, String);

const KINDS: [(&str, Kind); 4] = [
    ("host", |n| {
        let host = format!("site-{n}.example.com");
        (Match::default().host(&host), host, "/index.html".into())
    }),
    ("wildcard", |n| {
        let fits = Match::default().host(format!("*.site-{n}.example.com"));
        (
            fits,
            format!("www.site-{n}.example.com"),
            "/index.html".into(),
        )
    }),
    ("exact", |n| {
        let path = format!("/api/v{}/resource-{n}", n % 3);
        (Match::default().path(&path), "example.com".into(), path)
    }),
    ("prefix", |n| {
        let path = format!("/api/v{}/resource-{n}", n % 3);
        let below = format!("{path}/items/42?page=7");
        (Match::default().prefix(path), "example.com".into(), below)
    }),
];

fn request(host: &str, target: &str) -> Parts {
    let request = Request::get(target)
        .header("host", host)
        .header("user-agent", "bench")
        .header("accept", "*/*");
    request.body(()).expect("a good request").into_parts().0
}

fn route(c: &mut Criterion) {
    let mut group = c.benchmark_group("router");
    for (name, kind) in KINDS {
        for count in [10, 1_000, 10_000] {
            let rules = (0..count).map(|n| Rule::forward(n.to_string(), n).on(kind(n).0));
            let router = Router::builder().rules(rules).build().expect("good rules");
            let mut rng = Xoshiro::new(9);
            let requests: Vec<(usize, Parts)> = (0..count)
                .map(|_| usize::try_from(rng.below(count as u64)).expect("few"))
                .map(|n| (n, request(&kind(n).1, &kind(n).2)))
                .collect();
            for (n, parts) in &requests {
                let matched = router.route(parts, 0).expect("a rule fits");
                assert_eq!(matched.target(), Some(n));
            }
            let mut next = requests.iter().cycle();
            group.bench_function(BenchmarkId::new(name, count), |b| {
                b.iter(|| {
                    next.next()
                        .and_then(|(_, parts)| router.route(black_box(parts), 0))
                });
            });
        }
    }
}

fn normalise(c: &mut Criterion) {
    let mut group = c.benchmark_group("normalise");
    let policy = PathPolicy::default();
    let plain = request("example.com", "/api/v1/resource-1234/items/42?page=7");
    let odd = request(
        "example.com",
        "/api/./v1//resource-1234/%69tems/x/../42?page=7",
    );
    for (name, parts) in [("plain", plain), ("odd", odd)] {
        group.bench_function(name, |b| {
            b.iter_batched_ref(
                || parts.clone(),
                |parts| policy.apply(parts),
                criterion::BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, route, normalise);
criterion_main!(benches);
