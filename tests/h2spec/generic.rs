//! What every server of HTTP/2 must accept.

use crate::cases;
use crate::client::{Peer, Verdict};
use crate::fields::{
    Coding, Indexing, block, get, indexed, known_name, new_name, post, request_with, table_size,
};
use crate::frames::{
    code, continuation, data, dependency, flag, goaway, headers, kind, padded, ping, priority,
    reset, setting, settings, window_update,
};

cases! {
    "generic/1/1" => the_preface_is_accepted,
    "generic/2/1" => priority_on_an_idle_stream_is_accepted,
    "generic/2/2" => window_update_on_a_half_closed_stream_is_accepted,
    "generic/2/3" => priority_on_a_half_closed_stream_is_accepted,
    "generic/2/4" => reset_of_a_half_closed_stream_is_accepted,
    "generic/2/5" => priority_on_a_closed_stream_is_accepted,
    "generic/3.1/1" => data_is_accepted,
    "generic/3.1/2" => several_data_frames_are_accepted,
    "generic/3.1/3" => padded_data_is_accepted,
    "generic/3.2/1" => headers_are_accepted,
    "generic/3.2/2" => padded_headers_are_accepted,
    "generic/3.2/3" => headers_with_a_priority_are_accepted,
    "generic/3.3/1" => a_priority_of_weight_1_is_accepted,
    "generic/3.3/2" => a_priority_of_weight_256_is_accepted,
    "generic/3.3/3" => a_priority_on_another_stream_is_accepted,
    "generic/3.3/4" => an_exclusive_priority_is_accepted,
    "generic/3.3/5" => a_lower_stream_than_one_of_priority_is_answered,
    "generic/3.4/1" => a_reset_is_accepted,
    "generic/3.5/1" => settings_are_acknowledged,
    "generic/3.7/1" => a_ping_is_answered,
    "generic/3.8/1" => a_goaway_is_accepted,
    "generic/3.9/1" => a_window_update_of_the_connection_is_accepted,
    "generic/3.9/2" => a_window_update_of_a_stream_is_accepted,
    "generic/3.10/1" => a_continuation_is_accepted,
    "generic/3.10/2" => several_continuations_are_accepted,
    "generic/4/1" => get_is_answered,
    "generic/4/2" => head_is_answered,
    "generic/4/3" => post_is_answered,
    "generic/4/4" => post_with_trailers_is_answered,
    "generic/5/1" => an_indexed_field_is_accepted,
    "generic/5/2" => a_remembered_literal_with_a_known_name_is_accepted,
    "generic/5/3" => a_remembered_huffman_literal_with_a_known_name_is_accepted,
    "generic/5/4" => a_remembered_literal_is_accepted,
    "generic/5/5" => a_remembered_huffman_literal_is_accepted,
    "generic/5/6" => a_literal_with_a_known_name_is_accepted,
    "generic/5/7" => a_huffman_literal_with_a_known_name_is_accepted,
    "generic/5/8" => a_literal_is_accepted,
    "generic/5/9" => a_huffman_literal_is_accepted,
    "generic/5/10" => a_secret_literal_with_a_known_name_is_accepted,
    "generic/5/11" => a_secret_huffman_literal_with_a_known_name_is_accepted,
    "generic/5/12" => a_secret_literal_is_accepted,
    "generic/5/13" => a_secret_huffman_literal_is_accepted,
    "generic/5/14" => a_table_size_is_accepted,
    "generic/5/15" => two_table_sizes_are_accepted,
}

fn the_preface_is_accepted(peer: &mut Peer) -> Verdict {
    peer.alive()
}

fn priority_on_an_idle_stream_is_accepted(peer: &mut Peer) -> Verdict {
    peer.send(&priority(1, &dependency(0, false, 255)));
    peer.alive()
}

/// A request whose answer waits for its window.
fn half_close(peer: &mut Peer) {
    peer.send(&settings(&[(setting::INITIAL_WINDOW, 0)]));
    let request = get(peer);
    peer.send(&headers(flag::WHOLE, 1, &request));
}

fn data_comes(peer: &mut Peer) -> Verdict {
    peer.send(&window_update(1, 1));
    peer.until(|frame| frame.kind == kind::DATA && frame.payload.len() == 1)?;
    peer.alive()
}

fn window_update_on_a_half_closed_stream_is_accepted(peer: &mut Peer) -> Verdict {
    half_close(peer);
    data_comes(peer)
}

fn priority_on_a_half_closed_stream_is_accepted(peer: &mut Peer) -> Verdict {
    half_close(peer);
    peer.send(&priority(1, &dependency(0, false, 255)));
    data_comes(peer)
}

fn reset_of_a_half_closed_stream_is_accepted(peer: &mut Peer) -> Verdict {
    half_close(peer);
    peer.send(&reset(1, code::CANCEL));
    peer.alive_or_closed()
}

fn priority_on_a_closed_stream_is_accepted(peer: &mut Peer) -> Verdict {
    let request = get(peer);
    peer.send(&headers(flag::WHOLE, 1, &request));
    peer.ended(1)?;
    peer.send(&priority(1, &dependency(0, false, 255)));
    peer.alive()
}

fn open_post(peer: &mut Peer) {
    let request = post(peer);
    peer.send(&headers(flag::END_HEADERS, 1, &request));
}

fn data_is_accepted(peer: &mut Peer) -> Verdict {
    open_post(peer);
    peer.send(&data(flag::END_STREAM, 1, b"test"));
    peer.answered(1)
}

fn several_data_frames_are_accepted(peer: &mut Peer) -> Verdict {
    open_post(peer);
    peer.send(&data(flag::NONE, 1, b"test"));
    peer.send(&data(flag::END_STREAM, 1, b"test"));
    peer.answered(1)
}

fn padded_data_is_accepted(peer: &mut Peer) -> Verdict {
    open_post(peer);
    let flags = flag::END_STREAM | flag::PADDED;
    peer.send(&data(flags, 1, &padded(6, b"test", 6)));
    peer.answered(1)
}

/// A request as this block is answered.
fn accepted(peer: &mut Peer, flags: u8, payload: &[u8]) -> Verdict {
    peer.send(&headers(flag::WHOLE | flags, 1, payload));
    peer.answered(1)
}

fn headers_are_accepted(peer: &mut Peer) -> Verdict {
    let request = get(peer);
    accepted(peer, flag::NONE, &request)
}

fn padded_headers_are_accepted(peer: &mut Peer) -> Verdict {
    let request = get(peer);
    accepted(peer, flag::PADDED, &padded(8, &request, 8))
}

fn headers_with_a_priority_are_accepted(peer: &mut Peer) -> Verdict {
    let payload = [dependency(0, false, 255), get(peer)].concat();
    accepted(peer, flag::PRIORITY, &payload)
}

fn prioritized(peer: &mut Peer, dependency: &[u8]) -> Verdict {
    peer.send(&priority(1, dependency));
    let request = get(peer);
    accepted(peer, flag::NONE, &request)
}

fn a_priority_of_weight_1_is_accepted(peer: &mut Peer) -> Verdict {
    prioritized(peer, &dependency(0, false, 0))
}

fn a_priority_of_weight_256_is_accepted(peer: &mut Peer) -> Verdict {
    prioritized(peer, &dependency(0, false, 255))
}

fn a_priority_on_another_stream_is_accepted(peer: &mut Peer) -> Verdict {
    prioritized(peer, &dependency(5, false, 15))
}

fn an_exclusive_priority_is_accepted(peer: &mut Peer) -> Verdict {
    prioritized(peer, &dependency(5, true, 15))
}

fn a_lower_stream_than_one_of_priority_is_answered(peer: &mut Peer) -> Verdict {
    peer.send(&priority(5, &dependency(0, false, 15)));
    let request = get(peer);
    peer.send(&headers(flag::WHOLE, 3, &request));
    peer.answered(3)
}

fn a_reset_is_accepted(peer: &mut Peer) -> Verdict {
    open_post(peer);
    peer.send(&reset(1, code::CANCEL));
    peer.alive_or_closed()
}

fn settings_are_acknowledged(peer: &mut Peer) -> Verdict {
    peer.send(&settings(&[(setting::INITIAL_WINDOW, 1 << 20)]));
    peer.acknowledged()
}

fn a_ping_is_answered(peer: &mut Peer) -> Verdict {
    peer.send(&ping(*b"generic!"));
    peer.until(|frame| frame.kind == kind::PING && frame.payload == b"generic!")?;
    peer.alive()
}

fn a_goaway_is_accepted(peer: &mut Peer) -> Verdict {
    peer.send(&goaway(0, 0));
    peer.alive_or_closed()
}

fn a_window_update_of_the_connection_is_accepted(peer: &mut Peer) -> Verdict {
    peer.send(&window_update(0, 1));
    peer.alive()
}

fn a_window_update_of_a_stream_is_accepted(peer: &mut Peer) -> Verdict {
    open_post(peer);
    peer.send(&window_update(1, 1));
    peer.send(&data(flag::END_STREAM, 1, b"test"));
    peer.answered(1)
}

fn in_parts(peer: &mut Peer, parts: &[Vec<u8>]) -> Verdict {
    let request = get(peer);
    peer.send(&headers(flag::END_STREAM, 1, &request));
    let last = parts.len() - 1;
    for (n, part) in parts.iter().enumerate() {
        let flags = if n == last { flag::END_HEADERS } else { 0 };
        peer.send(&continuation(flags, 1, part));
    }
    peer.answered(1)
}

fn a_continuation_is_accepted(peer: &mut Peer) -> Verdict {
    in_parts(peer, &[block(&[("x-a", "b")])])
}

fn several_continuations_are_accepted(peer: &mut Peer) -> Verdict {
    in_parts(peer, &[block(&[("x-a", "b")]), block(&[("x-c", "d")])])
}

fn get_is_answered(peer: &mut Peer) -> Verdict {
    let request = get(peer);
    accepted(peer, flag::NONE, &request)
}

fn head_is_answered(peer: &mut Peer) -> Verdict {
    let request = request_with(peer, "HEAD", &[]);
    accepted(peer, flag::NONE, &request)
}

fn post_is_answered(peer: &mut Peer) -> Verdict {
    open_post(peer);
    peer.send(&data(flag::END_STREAM, 1, b"test"));
    peer.answered(1)
}

fn post_with_trailers_is_answered(peer: &mut Peer) -> Verdict {
    let request = request_with(peer, "POST", &[("trailer", "x-test")]);
    peer.send(&headers(flag::END_HEADERS, 1, &request));
    peer.send(&data(flag::NONE, 1, b"test"));
    peer.send(&headers(flag::WHOLE, 1, &block(&[("x-test", "ok")])));
    peer.answered(1)
}

/// A request that begins by these bytes is answered, and so is another after it.
fn starting_by(peer: &mut Peer, start: &[u8]) -> Verdict {
    let request = [start, &get(peer)].concat();
    peer.send(&headers(flag::WHOLE, 1, &request));
    peer.answered(1)?;
    let request = get(peer);
    peer.send(&headers(flag::WHOLE, 3, &request));
    peer.answered(3)
}

/// A request that ends by these bytes is answered, and so is another after it.
fn ending_by(peer: &mut Peer, end: &[u8]) -> Verdict {
    let request = [&get(peer), end].concat();
    peer.send(&headers(flag::WHOLE, 1, &request));
    peer.answered(1)?;
    let request = get(peer);
    peer.send(&headers(flag::WHOLE, 3, &request));
    peer.answered(3)
}

/// `user-agent` in the static table (RFC 7541, appendix A).
const USER_AGENT: usize = 58;

fn an_indexed_field_is_accepted(peer: &mut Peer) -> Verdict {
    // accept-encoding: gzip, deflate
    ending_by(peer, &indexed(16))
}

fn literal(peer: &mut Peer, how: Indexing, coding: Coding) -> Verdict {
    ending_by(peer, &new_name(how, coding, "x-test", "test"))
}

fn agent(peer: &mut Peer, how: Indexing, coding: Coding) -> Verdict {
    ending_by(peer, &known_name(how, coding, USER_AGENT, "test"))
}

fn a_remembered_literal_with_a_known_name_is_accepted(peer: &mut Peer) -> Verdict {
    agent(peer, Indexing::Incremental, Coding::Plain)
}

fn a_remembered_huffman_literal_with_a_known_name_is_accepted(peer: &mut Peer) -> Verdict {
    agent(peer, Indexing::Incremental, Coding::Huffman)
}

fn a_remembered_literal_is_accepted(peer: &mut Peer) -> Verdict {
    literal(peer, Indexing::Incremental, Coding::Plain)
}

fn a_remembered_huffman_literal_is_accepted(peer: &mut Peer) -> Verdict {
    literal(peer, Indexing::Incremental, Coding::Huffman)
}

fn a_literal_with_a_known_name_is_accepted(peer: &mut Peer) -> Verdict {
    agent(peer, Indexing::Without, Coding::Plain)
}

fn a_huffman_literal_with_a_known_name_is_accepted(peer: &mut Peer) -> Verdict {
    agent(peer, Indexing::Without, Coding::Huffman)
}

fn a_literal_is_accepted(peer: &mut Peer) -> Verdict {
    literal(peer, Indexing::Without, Coding::Plain)
}

fn a_huffman_literal_is_accepted(peer: &mut Peer) -> Verdict {
    literal(peer, Indexing::Without, Coding::Huffman)
}

fn a_secret_literal_with_a_known_name_is_accepted(peer: &mut Peer) -> Verdict {
    agent(peer, Indexing::Never, Coding::Plain)
}

fn a_secret_huffman_literal_with_a_known_name_is_accepted(peer: &mut Peer) -> Verdict {
    agent(peer, Indexing::Never, Coding::Huffman)
}

fn a_secret_literal_is_accepted(peer: &mut Peer) -> Verdict {
    literal(peer, Indexing::Never, Coding::Plain)
}

fn a_secret_huffman_literal_is_accepted(peer: &mut Peer) -> Verdict {
    literal(peer, Indexing::Never, Coding::Huffman)
}

fn a_table_size_is_accepted(peer: &mut Peer) -> Verdict {
    starting_by(peer, &table_size(128))
}

fn two_table_sizes_are_accepted(peer: &mut Peer) -> Verdict {
    starting_by(peer, &[table_size(128), table_size(4096)].concat())
}
