use http::{Request, Response};

use super::*;

fn get() -> request::Parts {
    Request::new(()).into_parts().0
}

fn page(fields: &[(&'static str, &'static str)]) -> response::Parts {
    let mut parts = Response::new(()).into_parts().0;
    for (name, value) in fields {
        let value = HeaderValue::from_static(value);
        parts.headers.append(HeaderName::from_static(name), value);
    }
    parts
}

const HTML: (&str, &str) = ("content-type", "text/html");

const GZIP: Option<Choice> = Some(Choice {
    codec: Codec::Gzip,
    is_needed: false,
});

/// What is offered, and whether `Vary` says so.
fn offered(
    choice: Option<Choice>,
    request: &request::Parts,
    mut response: response::Parts,
    length: BodyLength,
) -> (Option<Codec>, bool) {
    let codec = Compression::default().offer(choice, request, &mut response, length);
    (codec, response.headers.contains_key(VARY))
}

#[test]
fn what_is_long_enough_and_of_a_type_is_compressed() {
    let of = |length| offered(GZIP, &get(), page(&[HTML]), length);
    assert_eq!(of(BodyLength::Streamed), (Some(Codec::Gzip), true));
    assert_eq!(of(BodyLength::UntilClose), (Some(Codec::Gzip), true));
    assert_eq!(of(BodyLength::Exact(1024)), (Some(Codec::Gzip), true));
    assert_eq!(of(BodyLength::Exact(1023)), (None, false));
    assert_eq!(of(BodyLength::Empty), (None, false));
    let image = page(&[("content-type", "image/png")]);
    let of = |page| offered(GZIP, &get(), page, BodyLength::Streamed);
    assert_eq!(of(image), (None, false));
    assert_eq!(of(page(&[])), (None, false));
}

#[test]
fn a_client_that_needs_it_gets_it_however_short() {
    let needed = GZIP.map(|choice| Choice {
        is_needed: true,
        ..choice
    });
    let of = |length| offered(needed, &get(), page(&[HTML]), length).0;
    assert_eq!(of(BodyLength::Exact(1)), Some(Codec::Gzip));
    assert_eq!(of(BodyLength::Exact(0)), None);
}

#[test]
fn a_client_that_takes_none_is_told_that_others_might() {
    let of = |length| offered(None, &get(), page(&[HTML]), length);
    assert_eq!(of(BodyLength::Streamed), (None, true));
    assert_eq!(of(BodyLength::Exact(2)), (None, false));
}

#[test]
fn what_speaks_of_the_very_bytes_keeps_them() {
    let fields = [
        ("content-encoding", "br"),
        ("content-encoding", "identity"),
        ("content-range", "bytes 0-1/9"),
        ("content-digest", "sha-256=:AA==:"),
        ("repr-digest", "sha-256=:AA==:"),
        ("digest", "sha-256=AA=="),
        ("content-md5", "AA=="),
        ("cache-control", "no-transform"),
        ("cache-control", "public, No-Transform ,max-age=1"),
    ];
    for field in fields {
        let got = offered(GZIP, &get(), page(&[HTML, field]), BodyLength::Streamed);
        assert_eq!(got, (None, false), "{field:?}");
    }
    let second = page(&[
        HTML,
        ("cache-control", "public"),
        ("cache-control", "no-transform"),
    ]);
    let got = offered(GZIP, &get(), second, BodyLength::Streamed);
    assert_eq!(got, (None, false));
    let other = page(&[HTML, ("cache-control", "no-transforms, x-no-transform")]);
    let got = offered(GZIP, &get(), other, BodyLength::Streamed);
    assert_eq!(got, (Some(Codec::Gzip), true));
}

#[test]
fn an_answer_without_a_body_of_its_own_is_not_compressed() {
    for (status, want) in [
        (200, (Some(Codec::Gzip), true)),
        (201, (Some(Codec::Gzip), true)),
        (404, (Some(Codec::Gzip), true)),
        (500, (Some(Codec::Gzip), true)),
        (101, (None, false)),
        (204, (None, false)),
        (205, (None, false)),
        (206, (None, false)),
        (416, (None, false)),
        // What a 200 would say of caching, a 304 says too (RFC 9110, 15.4.5).
        (304, (None, true)),
    ] {
        let mut page = page(&[HTML]);
        page.status = StatusCode::from_u16(status).unwrap();
        let got = offered(GZIP, &get(), page, BodyLength::Streamed);
        assert_eq!(got, want, "{status}");
    }
}

#[test]
fn head_and_http_1_0_learn_only_that_it_varies() {
    let mut head = get();
    head.method = Method::HEAD;
    for length in [BodyLength::Empty, BodyLength::Exact(5000)] {
        let got = offered(GZIP, &head, page(&[HTML]), length);
        assert_eq!(got, (None, true));
    }
    let mut old = get();
    old.version = Version::HTTP_10;
    let got = offered(GZIP, &old, page(&[HTML]), BodyLength::Streamed);
    assert_eq!(got, (None, true));
}

#[test]
fn without_codecs_nothing_is_said() {
    let mut response = page(&[HTML]);
    let off = Compression::off();
    let codec = off.offer(None, &get(), &mut response, BodyLength::Streamed);
    assert_eq!((codec, response.headers.len()), (None, 1));
    let mut fields = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))]);
    assert_eq!(off.offload(true).choose(&mut fields), None);
    assert_eq!(fields[ACCEPT_ENCODING], "gzip");
}

#[test]
fn vary_is_said_once() {
    for (before, after) in [
        (vec![], vec!["accept-encoding"]),
        (vec!["cookie"], vec!["cookie", "accept-encoding"]),
        (vec!["*"], vec!["*"]),
        (vec!["a, Accept-Encoding"], vec!["a, Accept-Encoding"]),
        (vec!["a", "accept-encoding"], vec!["a", "accept-encoding"]),
        (
            vec!["x-accept-encoding"],
            vec!["x-accept-encoding", "accept-encoding"],
        ),
    ] {
        let mut fields = HeaderMap::new();
        for value in before {
            fields.append(VARY, HeaderValue::from_static(value));
        }
        add_vary(&mut fields);
        let got: Vec<&HeaderValue> = fields.get_all(VARY).iter().collect();
        assert_eq!(got, after);
    }
}

#[test]
fn the_head_tells_of_other_bytes() {
    let mut response = page(&[
        HTML,
        ("etag", "\"v1\""),
        ("accept-ranges", "bytes"),
        ("content-length", "5000"),
    ]);
    let mut length = BodyLength::Exact(5000);
    let encoder = Compression::default().encode(Codec::Brotli, &mut response, &mut length);
    assert_eq!(length, BodyLength::Streamed);
    assert_eq!(encoder.codec(), Codec::Brotli);
    assert!(!encoder.flushes_on_pause());
    let fields = &response.headers;
    assert_eq!(fields[CONTENT_ENCODING], "br");
    assert_eq!(fields[ETAG], "W/\"v1\"");
    assert!(!fields.contains_key(ACCEPT_RANGES));
    assert!(!fields.contains_key(CONTENT_LENGTH));

    let mut response = page(&[HTML, ("etag", "W/\"v1\"")]);
    for mut length in [BodyLength::Streamed, BodyLength::UntilClose] {
        let encoder = Compression::default().encode(Codec::Gzip, &mut response, &mut length);
        assert!(encoder.flushes_on_pause());
        assert_eq!(length, BodyLength::Streamed);
        assert_eq!(response.headers[ETAG], "W/\"v1\"");
    }
}

#[test]
fn offloading_hides_the_wish_from_the_backend() {
    let asked = || HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("gzip, br"))]);
    let mut fields = asked();
    let codec = |choice: Option<Choice>| choice.map(|choice| choice.codec);
    let kept = Compression::default();
    assert_eq!(codec(kept.choose(&mut fields)), Some(Codec::Brotli));
    assert_eq!(fields, asked());
    let hidden = Compression::default().offload(true);
    assert_eq!(codec(hidden.choose(&mut fields)), Some(Codec::Brotli));
    assert_eq!(fields[ACCEPT_ENCODING], "identity");
    assert_eq!(fields.len(), 1);
}
