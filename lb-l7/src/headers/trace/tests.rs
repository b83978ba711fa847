use http::HeaderName;
use lbcore::rng::Xoshiro;
use proptest::prelude::*;

use super::super::Scheme;
use super::super::identity::{Identity, IdentityConfig};
use super::*;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn hop(peer: &str) -> Hop {
    let config = IdentityConfig {
        trusted: vec!["10.0.0.0/8".parse().unwrap()],
        ..Default::default()
    };
    let local = "203.0.113.1:80".parse().unwrap();
    let identity = Identity::new(config).unwrap();
    identity.hop(peer.parse().unwrap(), local, Scheme::Http)
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let value = HeaderValue::from_str(value).unwrap();
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

fn apply(trace: Trace, headers: &mut HeaderMap) -> Option<SpanContext> {
    trace.apply(headers, &hop("192.0.2.1"), &mut Xoshiro::new(1))
}

#[test]
fn only_what_the_specification_allows_is_read() {
    let ids = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";
    for (value, valid) in [
        (format!("00-{ids}-01"), true),
        (format!("00-{ids}-ff"), true),
        (format!("00-{ids}-01-"), false),
        (format!("00-{ids}-0"), false),
        (format!("00-{ids}-0g"), false),
        (format!("01-{ids}-01"), true),
        (format!("cc-{ids}-01-what-comes"), true),
        (format!("cc-{ids}-01-"), true),
        (format!("cc-{ids}-01.what"), false),
        (format!("ff-{ids}-01"), false),
        (format!("0-{ids}-01"), false),
        (format!("00_{ids}-01"), false),
        (format!("00-{}-01", ids.to_uppercase()), false),
        (format!("00-{ids}_01"), false),
        (
            "00-00000000000000000000000000000000-b7ad6b7169203331-01".into(),
            false,
        ),
        (
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01".into(),
            false,
        ),
        (String::new(), false),
    ] {
        assert_eq!(
            SpanContext::parse(value.as_bytes()).is_some(),
            valid,
            "{value}"
        );
    }
    let span = SpanContext::parse(PARENT.as_bytes()).unwrap();
    assert_eq!(span.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
    assert_eq!(span.span_id, 0xb7ad_6b71_6920_3331);
    assert_eq!(span.to_value(), PARENT);
}

#[test]
fn a_trace_is_joined_by_a_new_span() {
    let mut request = headers(&[
        (
            "traceparent",
            " 01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff-x ",
        ),
        ("tracestate", "a=1"),
    ]);
    let span = apply(Trace::default(), &mut request).unwrap();
    assert_eq!(span.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
    assert_ne!(span.span_id, 0xb7ad_6b71_6920_3331);
    // Unknown flags are written as zero, and the version is the one that is known.
    assert_eq!(span.flags, 3);
    assert_eq!(request["traceparent"], span.to_value());
    assert!(request["traceparent"].to_str().unwrap().starts_with("00-"));
    assert_eq!(request["tracestate"], "a=1");
}

#[test]
fn an_invalid_trace_begins_anew_and_its_state_goes() {
    let invalid = &PARENT[..54];
    for sent in [
        &[("traceparent", invalid)][..],
        &[("traceparent", PARENT), ("traceparent", PARENT)],
        &[],
    ] {
        let mut request = headers(sent);
        request.insert("tracestate", HeaderValue::from_static("a=1"));
        let span = apply(Trace::default(), &mut request).unwrap();
        assert_ne!(span.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert!(span.trace_id != 0 && span.span_id != 0 && !span.is_sampled());
        assert_eq!(
            request.get_all("traceparent").iter().collect::<Vec<_>>(),
            [&span.to_value()]
        );
        assert!(!request.contains_key("tracestate"));
    }
}

#[test]
fn passing_changes_nothing_that_is_valid_and_begins_nothing() {
    let pass = Trace {
        mode: TraceMode::Pass,
        ..Default::default()
    };
    let sent = headers(&[("traceparent", PARENT), ("tracestate", "a=1")]);
    let mut request = sent.clone();
    assert_eq!(
        apply(pass, &mut request),
        SpanContext::parse(PARENT.as_bytes())
    );
    assert_eq!(request, sent);
    let mut request = headers(&[("traceparent", "x"), ("tracestate", "a=1")]);
    assert_eq!(apply(pass, &mut request), None);
    assert!(request.is_empty());
    let off = Trace {
        mode: TraceMode::Off,
        ..Default::default()
    };
    let mut request = headers(&[("traceparent", "x"), ("tracestate", "=")]);
    assert_eq!(apply(off, &mut request), None);
    assert_eq!(request.len(), 2);
}

#[test]
fn traces_of_those_who_are_not_believed_begin_anew() {
    let goes_on = |from, peer| {
        let mut request = headers(&[("traceparent", PARENT), ("tracestate", "a=1")]);
        let trace = Trace {
            from,
            ..Default::default()
        };
        let span = trace
            .apply(&mut request, &hop(peer), &mut Xoshiro::new(1))
            .unwrap();
        let same = span.trace_id == 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
        assert_eq!(request.contains_key("tracestate"), same);
        same
    };
    assert!(goes_on(TraceFrom::Everyone, "192.0.2.1"));
    assert!(goes_on(TraceFrom::Trusted, "10.0.0.1") && !goes_on(TraceFrom::Trusted, "192.0.2.1"));
    assert!(!goes_on(TraceFrom::NoOne, "10.0.0.1"));
}

#[test]
fn one_in_so_many_new_traces_is_sampled() {
    let sampled = |sample_one_in| {
        let trace = Trace {
            sample_one_in,
            ..Default::default()
        };
        let mut rng = Xoshiro::new(1);
        let spans =
            (0..1000).filter_map(|_| trace.apply(&mut HeaderMap::new(), &hop("::1"), &mut rng));
        spans.filter(SpanContext::is_sampled).count()
    };
    assert_eq!(sampled(0), 0);
    assert_eq!(sampled(1), 1000);
    // Four standard deviations of a binomial of 1,000 tries at 1/4 are 55.
    assert!(sampled(4).abs_diff(250) < 55, "{}", sampled(4));
}

#[test]
fn a_state_that_is_invalid_goes_and_the_trace_goes_on() {
    let members = |n: usize| {
        (0..n)
            .map(|n| format!("k{n}=v"))
            .collect::<Vec<_>>()
            .join(",")
    };
    let long = |key: usize, value: usize| format!("{}={}", "k".repeat(key), "v".repeat(value));
    let tenant =
        |tenant: usize, system: usize| format!("{}@{}=v", "1".repeat(tenant), "s".repeat(system));
    for (state, valid) in [
        ("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7".to_owned(), true),
        ("a=1, ,b=2\t,".to_owned(), true),
        ("a/b*c-d_e=!~ x".to_owned(), true),
        ("a=1,a=2".to_owned(), false),
        ("a".to_owned(), false),
        ("a=".to_owned(), false),
        ("=1".to_owned(), false),
        ("A=1".to_owned(), false),
        ("1a=1".to_owned(), false),
        ("a=b=c".to_owned(), false),
        ("a =1".to_owned(), false),
        ("a=\u{7f}".replace('\u{7f}', "\u{e9}"), false),
        ("a@1=1".to_owned(), false),
        ("@s=1".to_owned(), false),
        ("A@s=1".to_owned(), false),
        ("1!@s=1".to_owned(), false),
        ("1@s!=1".to_owned(), false),
        ("1@s@t=1".to_owned(), false),
        (members(32), true),
        (members(33), false),
        (long(256, 256), true),
        (long(257, 1), false),
        (long(1, 257), false),
        (tenant(241, 14), true),
        (tenant(242, 1), false),
        (tenant(1, 15), false),
    ] {
        let mut request = headers(&[("traceparent", PARENT)]);
        request.insert(
            "tracestate",
            HeaderValue::from_bytes(state.as_bytes()).unwrap(),
        );
        let span = apply(Trace::default(), &mut request).unwrap();
        assert_eq!(span.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(request.contains_key("tracestate"), valid, "{state}");
    }
}

#[test]
fn lines_of_a_state_count_together() {
    let mut request = headers(&[
        ("traceparent", PARENT),
        ("tracestate", "a=1"),
        ("tracestate", "a=2"),
    ]);
    apply(Trace::default(), &mut request);
    assert!(!request.contains_key("tracestate"));
    for (spaces, valid) in [(MAX_STATE_BYTES - 3, true), (MAX_STATE_BYTES - 2, false)] {
        let mut request = headers(&[
            ("traceparent", PARENT),
            ("tracestate", &format!("a=1{}", ",".repeat(spaces))),
        ]);
        apply(Trace::default(), &mut request);
        assert_eq!(request.contains_key("tracestate"), valid);
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(trace_id in 1..=u128::MAX, span_id in 1..=u64::MAX, flags in 0..4_u8) {
        let span = SpanContext { trace_id, span_id, flags };
        prop_assert_eq!(SpanContext::parse(span.to_value().as_bytes()), Some(span));
    }

    #[test]
    fn any_bytes_are_survived(bytes: Vec<u8>, state in "[a-c@=, ]{0,40}") {
        let _ = SpanContext::parse(&bytes);
        let mut request = headers(&[("traceparent", PARENT), ("tracestate", &state)]);
        prop_assert!(apply(Trace::default(), &mut request).is_some());
    }
}
