//! A path that is let through means the same to whoever reads it, and a redirect stays on its host.
//!
//! The first byte chooses the policy; up to a line end comes the host, and the target behind it.
#![no_main]

use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Uri};
use lb_l7::router::{
    Action, EncodedSlash, Match, PathPolicy, PathRewrite, Redirect, RedirectStatus, Router, Rule,
    Slashes, ValueMatch,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, rest)) = bytes.split_first() else {
        return;
    };
    let end = rest.iter().position(|&byte| byte == b'\n').unwrap_or(0);
    let (host, target) = rest.split_at(end);
    let target = target.strip_prefix(b"\n").unwrap_or(target);
    if let Some(mut parts) = request(host, target) {
        let policy = policy(choice);
        let router = router(policy);
        if router.normalise(&mut parts).is_ok() && parts.uri.path() != "*" {
            check_path(&policy, parts.uri.path());
            check_again(&router, &parts);
            check_route(&router, parts);
        }
    }
});

fn request(host: &[u8], target: &[u8]) -> Option<Parts> {
    let target = PathAndQuery::try_from(target).ok()?;
    let host = HeaderValue::from_bytes(host).ok()?;
    let request = Request::builder()
        .uri(Uri::from(target))
        .header("host", host);
    Some(request.body(()).ok()?.into_parts().0)
}

fn policy(choice: u8) -> PathPolicy {
    let mut policy = PathPolicy::default();
    if choice & 1 != 0 {
        policy.slashes = Slashes::Keep;
    }
    policy.encoded_slash = match choice >> 1 & 3 {
        0 => EncodedSlash::Decode,
        1 => EncodedSlash::Keep,
        _ => EncodedSlash::Reject,
    };
    policy
}

fn router(policy: PathPolicy) -> Router<&'static str> {
    let rule = |name| Rule::forward(name, name);
    let found = Redirect::new(RedirectStatus::Found);
    let stripped = Action::Redirect(found.clone().path(PathRewrite::Prefix("/".into())));
    let secure = Action::Redirect(found.scheme(Scheme::HTTPS));
    let present = || ValueMatch::Present;
    let rules = [
        rule("guarded").on(Match::default().prefix("/admin")),
        rule("exact").on(Match::default().host("a.example").path("/a/b")),
        rule("wildcard").on(Match::default().host("*.example").prefix("/a")),
        rule("query").on(Match::default().prefix("/q").query("a", present())),
        rule("regex").on(Match::default().regex("/[0-9]+/.*")),
        Rule::new("stripped", stripped).on(Match::default().prefix("/strip")),
        Rule::new("secure", secure),
    ];
    let builder = Router::builder().path_policy(policy).rules(rules);
    builder.build().expect("good rules")
}

/// What a backend could read otherwise is not there.
fn check_path(policy: &PathPolicy, path: &str) {
    assert!(path.starts_with('/') && path.is_ascii());
    // However often a backend reads escapes of slashes and dots once.
    let read = path.replace("%2F", "/").replace("%2E", ".");
    assert!(read.split('/').all(|segment| {
        let name = segment.split(';').next().unwrap_or_default();
        !matches!(name, "." | "..")
    }));
    assert!(!path.contains(['\\', '\0']) && !path.contains("%00") && !path.contains("%5C"));
    assert!(policy.slashes == Slashes::Keep || !path.contains("//"));
    assert!(policy.encoded_slash == EncodedSlash::Keep || !path.contains("%2F"));
}

/// Once is enough.
fn check_again(router: &Router<&str>, parts: &Parts) {
    let mut again = parts.clone();
    assert_eq!(router.normalise(&mut again), Ok(()));
    assert_eq!(again.uri, parts.uri);
}

fn check_route(router: &Router<&str>, parts: Parts) {
    let matched = router.route(&parts, 7).expect("a rule for all");
    let below = parts.uri.path().strip_prefix("/admin");
    let guarded = below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let host = parts.headers.get("host").map(HeaderValue::as_bytes);
    let host = String::from_utf8_lossy(host.unwrap_or_default()).into_owned();
    assert_eq!(guarded, matched.name() == "guarded", "{host}");

    if let Ok(Some(location)) = matched.location(&parts, &Scheme::HTTP) {
        let location = location
            .to_str()
            .expect("no byte but those of a URI")
            .to_owned();
        let location: Uri = location.parse().expect("a URI");
        let led_to = location.host().expect("absolute");
        assert!(host.starts_with(led_to), "{host} became {led_to}");
    }
}
