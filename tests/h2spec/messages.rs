//! RFC 9113, 8: requests that are malformed. RFC 7540 numbers its parts otherwise.

use crate::cases;
use crate::client::{Peer, Verdict};
use crate::fields::{block, get, request, request_with};
use crate::frames::{code, data, flag, frame, headers, kind};

cases! {
    "http2/8.1/1" => trailers_that_end_nothing_are_a_protocol_error,
    "http2/8.1.2/1" => a_name_with_capitals_is_a_protocol_error,
    "http2/8.1.2.1/1" => an_unknown_pseudo_field_is_a_protocol_error,
    "http2/8.1.2.1/2" => a_pseudo_field_of_responses_is_a_protocol_error,
    "http2/8.1.2.1/3" => a_pseudo_field_in_trailers_is_a_protocol_error,
    "http2/8.1.2.1/4" => a_pseudo_field_after_another_field_is_a_protocol_error,
    "http2/8.1.2.1/5" => a_pseudo_field_in_the_last_trailers_is_a_protocol_error,
    "http2/8.1.2.2/1" => a_field_of_the_connection_is_a_protocol_error,
    "http2/8.1.2.2/2" => te_of_anything_but_trailers_is_a_protocol_error,
    "http2/8.1.2.3/1" => an_empty_path_is_a_protocol_error,
    "http2/8.1.2.3/2" => no_method_is_a_protocol_error,
    "http2/8.1.2.3/3" => no_scheme_is_a_protocol_error,
    "http2/8.1.2.3/4" => no_path_is_a_protocol_error,
    "http2/8.1.2.3/5" => two_methods_are_a_protocol_error,
    "http2/8.1.2.3/6" => two_schemes_are_a_protocol_error,
    "http2/8.1.2.3/7" => two_paths_are_a_protocol_error,
    "http2/8.1.2.6/1" => a_length_that_data_does_not_have_is_a_protocol_error,
    "http2/8.1.2.6/2" => a_length_that_several_data_do_not_have_is_a_protocol_error,
    "http2/8.2/1" => a_push_promise_is_a_protocol_error,
}

fn trailers_that_end_nothing_are_a_protocol_error(peer: &mut Peer) -> Verdict {
    let request = request_with(peer, "POST", &[]);
    peer.send(&headers(flag::END_HEADERS, 1, &request));
    peer.send(&data(flag::NONE, 1, b"test"));
    let trailers = block(&[("x-test", "ok")]);
    peer.send(&headers(flag::END_HEADERS, 1, &trailers));
    peer.stream_error(1, &[code::PROTOCOL])
}

/// A request of these fields and no body is malformed.
fn malformed(peer: &mut Peer, fields: &[(&str, &str)]) -> Verdict {
    peer.send(&headers(flag::WHOLE, 1, &block(fields)));
    peer.stream_error(1, &[code::PROTOCOL])
}

/// With this field after what a request needs, it is malformed.
fn malformed_with(peer: &mut Peer, name: &str, value: &str) -> Verdict {
    let request = request_with(peer, "GET", &[(name, value)]);
    peer.send(&headers(flag::WHOLE, 1, &request));
    peer.stream_error(1, &[code::PROTOCOL])
}

/// Without this field, a request is malformed.
fn malformed_without(peer: &mut Peer, name: &str) -> Verdict {
    let authority = peer.authority().to_owned();
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", &authority),
    ];
    let rest: Vec<_> = fields.into_iter().filter(|field| field.0 != name).collect();
    malformed(peer, &rest)
}

fn a_name_with_capitals_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    malformed_with(peer, "X-TEST", "ok")
}

fn an_unknown_pseudo_field_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    malformed_with(peer, ":test", "ok")
}

fn a_pseudo_field_of_responses_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    malformed_with(peer, ":status", "200")
}

fn a_pseudo_field_in_trailers_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    pseudo_trailers(peer, flag::END_HEADERS)
}

/// Not of h2spec, whose trailers do not end the stream and so break another rule as well.
fn a_pseudo_field_in_the_last_trailers_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    pseudo_trailers(peer, flag::WHOLE)
}

fn pseudo_trailers(peer: &mut Peer, flags: u8) -> Verdict {
    let request = request_with(peer, "POST", &[("trailer", "x-test")]);
    peer.send(&headers(flag::END_HEADERS, 1, &request));
    peer.send(&data(flag::NONE, 1, b"test"));
    let trailers = block(&[(":method", "POST")]);
    peer.send(&headers(flags, 1, &trailers));
    peer.stream_error(1, &[code::PROTOCOL])
}

fn a_pseudo_field_after_another_field_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    let mut bytes = block(&[("x-test", "ok")]);
    bytes.extend(get(peer));
    peer.send(&headers(flag::WHOLE, 1, &bytes));
    peer.stream_error(1, &[code::PROTOCOL])
}

fn a_field_of_the_connection_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    malformed_with(peer, "connection", "keep-alive")
}

fn te_of_anything_but_trailers_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    malformed_with(peer, "te", "trailers, deflate")
}

fn an_empty_path_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    let authority = peer.authority().to_owned();
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", ""),
        (":authority", &authority),
    ];
    malformed(peer, &fields)
}

fn no_method_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    malformed_without(peer, ":method")
}

fn no_scheme_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    malformed_without(peer, ":scheme")
}

fn no_path_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    malformed_without(peer, ":path")
}

/// A second pseudo-header field of that name, at once after the others.
fn malformed_by_two(peer: &mut Peer, name: &str, value: &str) -> Verdict {
    let mut fields = request(peer, "GET");
    fields.push((name, value));
    let bytes = block(&fields);
    peer.send(&headers(flag::WHOLE, 1, &bytes));
    peer.stream_error(1, &[code::PROTOCOL])
}

fn two_methods_are_a_protocol_error(peer: &mut Peer) -> Verdict {
    malformed_by_two(peer, ":method", "GET")
}

fn two_schemes_are_a_protocol_error(peer: &mut Peer) -> Verdict {
    malformed_by_two(peer, ":scheme", "http")
}

fn two_paths_are_a_protocol_error(peer: &mut Peer) -> Verdict {
    malformed_by_two(peer, ":path", "/")
}

/// A body in these parts, which is announced as one byte.
fn of_wrong_length(peer: &mut Peer, parts: &[&[u8]]) -> Verdict {
    let request = request_with(peer, "POST", &[("content-length", "1")]);
    peer.send(&headers(flag::END_HEADERS, 1, &request));
    for (n, part) in parts.iter().enumerate() {
        let last = n + 1 == parts.len();
        let flags = if last { flag::END_STREAM } else { flag::NONE };
        peer.send(&data(flags, 1, part));
    }
    peer.stream_error(1, &[code::PROTOCOL])
}

fn a_length_that_data_does_not_have_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    of_wrong_length(peer, &[b"test"])
}

fn a_length_that_several_data_do_not_have_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    of_wrong_length(peer, &[b"test", b"test"])
}

fn a_push_promise_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    let request = get(peer);
    peer.send(&headers(flag::WHOLE, 1, &request));
    let promise = [&3_u32.to_be_bytes()[..], &request].concat();
    peer.send(&frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &promise));
    peer.connection_error(&[code::PROTOCOL])
}
