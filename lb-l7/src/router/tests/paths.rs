//! The normal form of paths.

use http::uri::PathAndQuery;
use proptest::prelude::*;

use super::*;

const DEFAULT: PathPolicy = PathPolicy {
    normalise: Normalise::Rewrite,
    slashes: Slashes::Merge,
    encoded_slash: EncodedSlash::Reject,
};

#[track_caller]
fn becomes(policy: PathPolicy, path: &str, normal: &str) {
    assert_eq!(policy.normal(path).as_deref(), Ok(normal), "{path}");
}

#[track_caller]
fn refused(policy: PathPolicy, path: &str, fault: TargetFault) {
    assert_eq!(policy.normal(path), Err(fault), "{path}");
}

#[test]
fn the_default_is_the_safe_one() {
    assert_eq!(PathPolicy::default(), DEFAULT);
}

#[test]
fn each_path_has_one_normal_form() {
    for (path, normal) in [
        ("/", "/"),
        ("/a", "/a"),
        ("/a/", "/a/"),
        ("//", "/"),
        ("///a//b//", "/a/b/"),
        ("/.", "/"),
        ("/./", "/"),
        ("/a/.", "/a/"),
        ("/a/./", "/a/"),
        ("/a/./b", "/a/b"),
        ("/a/..", "/"),
        ("/a/../", "/"),
        ("/a/b/..", "/a/"),
        ("/a/b/../", "/a/"),
        ("/a/b/../c", "/a/c"),
        ("/a/b/../../c", "/c"),
        ("/a//../b", "/b"),
        ("/%2e", "/"),
        ("/a/%2E%2e/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/...", "/..."),
        ("/.a", "/.a"),
        ("/..a", "/..a"),
        ("/a..", "/a.."),
        ("/%41%7a%30%2d%5F%7e", "/Az0-_~"),
        ("/%40%3a%21", "/%40%3A%21"),
        ("/@:!$&'()*+,;=", "/@:!$&'()*+,;="),
        ("/%c3%a4", "/%C3%A4"),
        ("/\u{e4}", "/%C3%A4"),
        ("/{}|^\"<>`[]", "/%7B%7D%7C%5E%22%3C%3E%60%5B%5D"),
        ("/%25", "/%25"),
        ("/%252e%252e/", "/%252e%252e/"),
        ("/%0d%0a", "/%0D%0A"),
        ("/%3f%23", "/%3F%23"),
        ("/a;x=1", "/a;x=1"),
        ("/a.;x", "/a.;x"),
        ("/...;x", "/...;x"),
        ("/%7F%80%ff", "/%7F%80%FF"),
    ] {
        becomes(DEFAULT, path, normal);
    }
}

#[test]
fn what_is_ambiguous_is_refused() {
    use TargetFault as Fault;

    for (path, fault) in [
        ("", Fault::Relative),
        ("a", Fault::Relative),
        ("*", Fault::Relative),
        ("/..", Fault::AboveRoot),
        ("/../", Fault::AboveRoot),
        ("/a/../..", Fault::AboveRoot),
        ("/a/../../a", Fault::AboveRoot),
        ("//..", Fault::AboveRoot),
        ("/%2e%2E/a", Fault::AboveRoot),
        ("/a\\b", Fault::Backslash),
        ("/a%5cb", Fault::Backslash),
        ("/..%5C..", Fault::Backslash),
        ("/%00", Fault::Nul),
        ("/a\0", Fault::Nul),
        ("/%", Fault::BadEscape),
        ("/%4", Fault::BadEscape),
        ("/%4g", Fault::BadEscape),
        ("/%g4", Fault::BadEscape),
        ("/%+4", Fault::BadEscape),
        ("/%u0041", Fault::BadEscape),
        ("/a%2fb", Fault::EncodedSlash),
        ("/a%2Fb", Fault::EncodedSlash),
        ("/a/..;/b", Fault::DotParameter),
        ("/a/.;x=1/b", Fault::DotParameter),
        ("/a/%2e.;x", Fault::DotParameter),
    ] {
        refused(DEFAULT, path, fault);
    }
}

#[test]
fn slashes_in_a_row_stay_where_they_may() {
    let keep = PathPolicy {
        slashes: Slashes::Keep,
        ..DEFAULT
    };
    for (path, normal) in [
        ("/", "/"),
        ("//", "//"),
        ("/a//", "/a//"),
        ("//a//b/", "//a//b/"),
        ("/a//../b", "/a/b"),
        ("/a//..", "/a/"),
        ("/a//.", "/a//"),
        ("/a//./", "/a//"),
        ("//..", "/"),
        ("/./", "/"),
        ("/a/./", "/a/"),
        ("/a/../", "/"),
        (".//a".trim_start_matches('.'), "//a"),
    ] {
        becomes(keep, path, normal);
    }
    refused(keep, "//../..", TargetFault::AboveRoot);
}

#[test]
fn an_escaped_slash_becomes_one_where_it_may() {
    let decode = PathPolicy {
        encoded_slash: EncodedSlash::Decode,
        ..DEFAULT
    };
    becomes(decode, "/a%2fb%2F%2fc", "/a/b/c");
    becomes(decode, "/a/..%2fb", "/b");
    refused(decode, "/..%2fb", TargetFault::AboveRoot);
}

#[test]
fn an_escaped_slash_stays_where_it_may_and_hides_no_dots() {
    let keep = PathPolicy {
        encoded_slash: EncodedSlash::Keep,
        ..DEFAULT
    };
    becomes(keep, "/@scope%2fname", "/@scope%2Fname");
    becomes(keep, "/a%2F/b", "/a%2F/b");
    becomes(keep, "/a%2f...%2f.b%2fb.", "/a%2F...%2F.b%2Fb.");
    for path in [
        "/..%2fb",
        "/a%2f..",
        "/a%2f.%2fb",
        "/a%2f%2e%2e%2fb",
        "/.%2f",
        "/%2f.",
    ] {
        refused(keep, path, TargetFault::EncodedSlash);
    }
    for path in ["/a%2f.;x", "/a%2F..;x%2fb", "/a;x%2f%2e.;/b", "/..;x%2fb"] {
        refused(keep, path, TargetFault::DotParameter);
    }
    becomes(keep, "/a;x%2Fb;y", "/a;x%2Fb;y");
    becomes(keep, "/a%2F...;y", "/a%2F...;y");
}

#[test]
fn the_strictest_policy_takes_only_normal_paths() {
    let reject = PathPolicy {
        normalise: Normalise::Reject,
        ..DEFAULT
    };
    becomes(reject, "/a/%C3%A4/.b", "/a/%C3%A4/.b");
    for path in ["/a//b", "/a/./b", "/%61", "/%c3", "/\u{e4}"] {
        refused(reject, path, TargetFault::NotNormal);
        let mut parts = get("x", path);
        assert_eq!(reject.apply(&mut parts), Err(TargetFault::NotNormal));
        assert_eq!(parts.uri, path);
    }
    refused(reject, "/..", TargetFault::AboveRoot);
    assert_eq!(reject.apply(&mut get("x", "/a/%C3%A4/.b?%61//")), Ok(()));
}

#[test]
fn the_dangerous_policy_changes_nothing() {
    let off = PathPolicy {
        normalise: Normalise::DangerOff,
        ..DEFAULT
    };
    for path in ["/a/../../b//%2e\\%zz", "/%00"] {
        becomes(off, path, path);
        let mut parts = get("x", path);
        assert_eq!(off.apply(&mut parts), Ok(()));
        assert_eq!(parts.uri.path(), path);
    }
}

#[test]
fn a_request_gets_the_normal_path_and_keeps_its_query() {
    for (target, normal) in [
        ("/a/%2e%2e/b?x=/../%2e&y", "/b?x=/../%2e&y"),
        ("/a//b?", "/a/b?"),
        ("/a//b", "/a/b"),
        ("/plain?//", "/plain?//"),
        ("/.well-known/x", "/.well-known/x"),
        ("*", "*"),
        ("?x", "/?x"),
        ("#x", "/"),
    ] {
        let mut parts = get("x", "/");
        parts.uri = http::Uri::from(PathAndQuery::try_from(target.as_bytes()).unwrap());
        assert_eq!(DEFAULT.apply(&mut parts), Ok(()), "{target}");
        assert_eq!(parts.uri.path_and_query().unwrap().as_str(), normal);
        assert!(normal.starts_with(parts.uri.path()) && !parts.uri.path().is_empty());
    }
    let mut parts = get("x", "/a/../../b");
    assert_eq!(DEFAULT.apply(&mut parts), Err(TargetFault::AboveRoot));
}

#[test]
fn a_path_that_grows_beyond_a_uri_is_refused() {
    let mut parts = get("x", &format!("/{}", "\"".repeat(30_000)));
    assert_eq!(DEFAULT.apply(&mut parts), Err(TargetFault::TooLong));
    assert_eq!(parts.uri.path().len(), 30_001);
    let mut parts = get("x", &format!("/{}", "\"".repeat(20_000)));
    assert_eq!(DEFAULT.apply(&mut parts), Ok(()));
    assert_eq!(parts.uri.path().len(), 60_001);
}

#[test]
fn rules_and_requests_are_compared_in_the_normal_form() {
    let router = router([
        ("umlaut", on().path("/\u{e4}")),
        ("prefix", on().prefix("/%7euser//x/")),
    ]);
    for (path, name) in [
        ("/%c3%a4", "umlaut"),
        ("/~user/x/y", "prefix"),
        ("/a/../%7Euser/x", "prefix"),
    ] {
        let mut parts = get("x", path);
        router.normalise(&mut parts).unwrap();
        routes(&router, &parts, name);
    }
}

#[test]
fn every_fault_has_a_name_of_its_own() {
    let names: std::collections::HashSet<_> = TargetFault::ALL
        .iter()
        .map(|fault| fault.as_str())
        .collect();
    assert_eq!(names.len(), TargetFault::ALL.len());
    for name in names {
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        );
        assert!(name.len() > 3);
    }
}

fn policies() -> impl Strategy<Value = PathPolicy> {
    use EncodedSlash as Encoded;

    let slashes = prop_oneof![Just(Slashes::Keep), Just(Slashes::Merge)];
    let encoded = prop_oneof![
        Just(Encoded::Decode),
        Just(Encoded::Keep),
        Just(Encoded::Reject)
    ];
    (slashes, encoded).prop_map(|(slashes, encoded_slash)| PathPolicy {
        normalise: Normalise::Rewrite,
        slashes,
        encoded_slash,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn the_normal_form_is_normal(
        policy in policies(),
        path in "(/|\\.|%2[eEfF]|[a;]|%61|//|\u{e4}){0,12}",
    ) {
        let path = format!("/{path}");
        if let Ok(normal) = policy.normal(&path) {
            prop_assert_eq!(policy.normal(&normal), Ok(normal.clone()));
            prop_assert!(normal.starts_with('/'));
            prop_assert!(normal.split('/').all(|segment| !matches!(segment, "." | "..")));
            prop_assert!(policy.slashes == Slashes::Keep || !normal.contains("//"));
            prop_assert!(policy.encoded_slash == EncodedSlash::Keep || !normal.contains("%2F"));
            let strict = PathPolicy { normalise: Normalise::Reject, ..policy };
            prop_assert_eq!(strict.normal(&path).is_ok(), normal == path);
        }
    }

    /// A path that is plain is passed without a look at its segments.
    #[test]
    fn a_request_becomes_what_its_path_becomes(policy in policies(), path in "/(/|\\.|%2[eEfF]|[a;]){0,9}") {
        let mut parts = get("x", &path);
        let applied = policy.apply(&mut parts).map(|()| parts.uri.path().to_owned());
        prop_assert_eq!(applied, policy.normal(&path));
    }

    #[test]
    fn any_bytes_are_brought_to_a_normal_form_or_refused(bytes: Vec<u8>) {
        let path = [b"/", &*bytes].concat();
        if let Ok(normal) = DEFAULT.rebuild(&path) {
            prop_assert!(normal.is_ascii());
            prop_assert_eq!(DEFAULT.rebuild(&normal), Ok(normal));
        }
    }
}

#[test]
fn a_query_with_bytes_that_are_not_escaped_is_refused() {
    for (query, expected) in [("e", Ok(())), ("\u{e9}", Err(TargetFault::NotAscii))] {
        let target = PathAndQuery::try_from(format!("/a?{query}").as_bytes()).unwrap();
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.uri = http::Uri::from(target);
        assert_eq!(PathPolicy::default().apply(&mut parts), expected);
    }
}
