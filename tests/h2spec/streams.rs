//! RFC 9113, 3 to 5: the preface, frames, streams and errors.

use crate::cases;
use crate::client::{Kept, Peer, Verdict};
use crate::fields::{block, get, post, request_with};
use crate::frames::{
    code, continuation, data, dependency, flag, frame, headers, kind, priority, reset, setting,
    settings, window_update,
};

cases! {
    "http2/3.5/1" => the_first_frame_of_a_server_is_settings,
    "http2/3.5/2" => a_wrong_preface_ends_the_connection,
    "http2/4.1/1" => a_frame_of_unknown_type_is_ignored,
    "http2/4.1/2" => undefined_flags_are_ignored,
    "http2/4.1/3" => the_reserved_bit_is_ignored,
    "http2/4.2/1" => data_as_long_as_a_frame_may_be_is_accepted,
    "http2/4.2/2" => data_longer_than_a_frame_may_be_is_a_frame_size_error,
    "http2/4.2/3" => headers_longer_than_a_frame_may_be_are_a_frame_size_error,
    "http2/4.3/1" => a_broken_header_block_is_a_compression_error,
    "http2/4.3/2" => priority_within_a_header_block_is_a_protocol_error,
    "http2/4.3/3" => headers_of_another_stream_within_a_block_are_a_protocol_error,
    "http2/5.1/1" => data_on_an_idle_stream_is_an_error,
    "http2/5.1/2" => reset_of_an_idle_stream_is_a_protocol_error,
    "http2/5.1/3" => window_update_of_an_idle_stream_is_a_protocol_error,
    "http2/5.1/4" => continuation_on_an_idle_stream_is_a_protocol_error,
    "http2/5.1/5" => data_after_the_end_is_stream_closed,
    "http2/5.1/6" => headers_after_the_end_are_stream_closed,
    "http2/5.1/7" => continuation_after_the_end_is_an_error,
    "http2/5.1/8" => data_after_a_reset_is_stream_closed,
    "http2/5.1/9" => headers_after_a_reset_are_stream_closed,
    "http2/5.1/10" => continuation_after_a_reset_is_an_error,
    "http2/5.1/11" => data_on_a_closed_stream_is_stream_closed,
    "http2/5.1/12" => headers_on_a_closed_stream_are_stream_closed,
    "http2/5.1/13" => continuation_on_a_closed_stream_is_an_error,
    "http2/5.1.1/1" => a_stream_of_even_number_is_a_protocol_error,
    "http2/5.1.1/2" => a_lower_stream_than_the_last_is_a_protocol_error,
    "http2/5.1.2/1" => one_stream_too_many_is_refused,
    "http2/5.3.1/1" => headers_that_depend_on_themselves_are_a_protocol_error,
    "http2/5.3.1/2" => priority_that_depends_on_itself_is_a_protocol_error,
    "http2/5.4.1/1" => a_connection_error_closes_the_connection,
    "http2/5.4.1/2" => a_connection_error_is_told_by_goaway,
    "http2/5.5/1" => an_unknown_extension_is_ignored,
    "http2/5.5/2" => an_unknown_extension_within_a_header_block_is_a_protocol_error,
}

fn the_first_frame_of_a_server_is_settings(peer: &mut Peer) -> Verdict {
    let mut peer = peer.again()?;
    peer.send(crate::frames::PREFACE);
    peer.send(&settings(&[]));
    let first = peer.frame()?;
    if first.kind != kind::SETTINGS || first.is_ack() {
        return Err(format!("{first:?} came first"));
    }
    Ok(Kept::Exactly)
}

fn a_wrong_preface_ends_the_connection(peer: &mut Peer) -> Verdict {
    let mut peer = peer.again()?;
    peer.send(b"INVALID CONNECTION PREFACE\r\n\r\n");
    // What ends here is no connection of HTTP/2 yet, and needs no GOAWAY (RFC 9113, 3.4).
    peer.closed()
}

fn a_frame_of_unknown_type_is_ignored(peer: &mut Peer) -> Verdict {
    peer.send(&frame(kind::UNKNOWN, flag::NONE, 0, &[0; 8]));
    peer.alive()
}

fn undefined_flags_are_ignored(peer: &mut Peer) -> Verdict {
    peer.send(&frame(kind::PING, 0x16, 0, b"flagged!"));
    peer.until(|frame| frame.kind == kind::PING && frame.payload == b"flagged!")?;
    peer.alive()
}

fn the_reserved_bit_is_ignored(peer: &mut Peer) -> Verdict {
    peer.send(&frame(kind::PING, flag::NONE, 1 << 31, b"reserved"));
    peer.until(|frame| frame.kind == kind::PING && frame.payload == b"reserved")?;
    peer.alive()
}

fn open_post(peer: &mut Peer) {
    let request = post(peer);
    peer.send(&headers(flag::END_HEADERS, 1, &request));
}

fn data_as_long_as_a_frame_may_be_is_accepted(peer: &mut Peer) -> Verdict {
    open_post(peer);
    let longest = vec![b'x'; 1 << 14];
    peer.send(&data(flag::END_STREAM, 1, &longest));
    peer.answered(1)
}

fn data_longer_than_a_frame_may_be_is_a_frame_size_error(peer: &mut Peer) -> Verdict {
    open_post(peer);
    let too_long = vec![b'x'; peer.max_frame + 1];
    peer.send(&data(flag::END_STREAM, 1, &too_long));
    peer.stream_error(1, &[code::FRAME_SIZE])
}

fn headers_longer_than_a_frame_may_be_are_a_frame_size_error(peer: &mut Peer) -> Verdict {
    let value = "x".repeat(peer.max_frame / 4);
    let more: Vec<_> = ["x-a", "x-b", "x-c", "x-d", "x-e"]
        .map(|name| (name, &*value))
        .into();
    let request = request_with(peer, "GET", &more);
    peer.send(&headers(flag::WHOLE, 1, &request));
    peer.connection_error(&[code::FRAME_SIZE])
}

fn a_broken_header_block_is_a_compression_error(peer: &mut Peer) -> Verdict {
    // A literal of incremental indexing whose name claims more bytes than there are.
    peer.send(&headers(
        flag::WHOLE,
        1,
        b"\x40\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
    ));
    peer.connection_error(&[code::COMPRESSION])
}

/// A request whose header block goes on.
fn open_block(peer: &mut Peer) {
    let request = get(peer);
    peer.send(&headers(flag::END_STREAM, 1, &request));
}

fn priority_within_a_header_block_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    open_block(peer);
    peer.send(&priority(1, &dependency(0, false, 255)));
    peer.send(&continuation(flag::END_HEADERS, 1, &block(&[("x", "y")])));
    peer.connection_error(&[code::PROTOCOL])
}

fn headers_of_another_stream_within_a_block_are_a_protocol_error(peer: &mut Peer) -> Verdict {
    open_block(peer);
    let request = get(peer);
    peer.send(&headers(flag::WHOLE, 3, &request));
    peer.connection_error(&[code::PROTOCOL])
}

fn data_on_an_idle_stream_is_an_error(peer: &mut Peer) -> Verdict {
    peer.send(&data(flag::END_STREAM, 1, b"test"));
    peer.stream_error(1, &[code::PROTOCOL, code::STREAM_CLOSED])
}

fn reset_of_an_idle_stream_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    peer.send(&reset(1, code::CANCEL));
    peer.connection_error(&[code::PROTOCOL])
}

fn window_update_of_an_idle_stream_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    peer.send(&window_update(1, 100));
    peer.connection_error(&[code::PROTOCOL])
}

fn continuation_on_an_idle_stream_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    let request = get(peer);
    peer.send(&continuation(flag::END_HEADERS, 1, &request));
    peer.connection_error(&[code::PROTOCOL])
}

/// A request that ended, whose answer waits for its window.
fn half_close(peer: &mut Peer) {
    peer.send(&settings(&[(setting::INITIAL_WINDOW, 0)]));
    let request = get(peer);
    peer.send(&headers(flag::WHOLE, 1, &request));
}

fn data_after_the_end_is_stream_closed(peer: &mut Peer) -> Verdict {
    half_close(peer);
    peer.send(&data(flag::END_STREAM, 1, b"test"));
    peer.stream_error(1, &[code::STREAM_CLOSED])
}

fn headers_after_the_end_are_stream_closed(peer: &mut Peer) -> Verdict {
    half_close(peer);
    let request = get(peer);
    peer.send(&headers(flag::WHOLE, 1, &request));
    peer.stream_error(1, &[code::STREAM_CLOSED])
}

fn continuation_after_the_end_is_an_error(peer: &mut Peer) -> Verdict {
    half_close(peer);
    peer.send(&continuation(flag::END_HEADERS, 1, &block(&[("x", "y")])));
    peer.stream_error(1, &[code::STREAM_CLOSED, code::PROTOCOL])
}

/// A stream that its client reset.
fn reset_own(peer: &mut Peer) {
    let request = get(peer);
    peer.send(&headers(flag::END_HEADERS, 1, &request));
    peer.send(&reset(1, code::CANCEL));
}

fn data_after_a_reset_is_stream_closed(peer: &mut Peer) -> Verdict {
    reset_own(peer);
    peer.send(&data(flag::END_STREAM, 1, b"test"));
    peer.stream_error(1, &[code::STREAM_CLOSED])
}

fn headers_after_a_reset_are_stream_closed(peer: &mut Peer) -> Verdict {
    reset_own(peer);
    let request = get(peer);
    peer.send(&headers(flag::WHOLE, 1, &request));
    peer.stream_error(1, &[code::STREAM_CLOSED])
}

fn continuation_after_a_reset_is_an_error(peer: &mut Peer) -> Verdict {
    reset_own(peer);
    peer.send(&continuation(flag::END_HEADERS, 1, &block(&[("x", "y")])));
    peer.stream_error(1, &[code::STREAM_CLOSED, code::PROTOCOL])
}

/// A stream that both sides ended.
fn close(peer: &mut Peer) -> Result<(), String> {
    let request = get(peer);
    peer.send(&headers(flag::WHOLE, 1, &request));
    peer.ended(1)
}

fn data_on_a_closed_stream_is_stream_closed(peer: &mut Peer) -> Verdict {
    close(peer)?;
    peer.send(&data(flag::END_STREAM, 1, b"test"));
    peer.stream_error(1, &[code::STREAM_CLOSED])
}

fn headers_on_a_closed_stream_are_stream_closed(peer: &mut Peer) -> Verdict {
    close(peer)?;
    let request = get(peer);
    peer.send(&headers(flag::WHOLE, 1, &request));
    // RFC 9113, 5.1.1 makes it as well a stream identifier that was used, a PROTOCOL_ERROR.
    peer.connection_error(&[code::STREAM_CLOSED, code::PROTOCOL])
}

fn continuation_on_a_closed_stream_is_an_error(peer: &mut Peer) -> Verdict {
    close(peer)?;
    peer.send(&continuation(flag::END_HEADERS, 1, &block(&[("x", "y")])));
    peer.connection_error(&[code::STREAM_CLOSED, code::PROTOCOL])
}

fn a_stream_of_even_number_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    let request = get(peer);
    peer.send(&headers(flag::WHOLE, 2, &request));
    peer.connection_error(&[code::PROTOCOL])
}

fn a_lower_stream_than_the_last_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    let request = get(peer);
    peer.send(&headers(flag::WHOLE, 5, &request));
    peer.send(&headers(flag::WHOLE, 3, &request));
    peer.connection_error(&[code::PROTOCOL])
}

fn one_stream_too_many_is_refused(peer: &mut Peer) -> Verdict {
    let Some(most) = peer.max_streams else {
        return Ok(Kept::Vacuously);
    };
    // No answer can end, and so none of the streams.
    peer.send(&settings(&[(setting::INITIAL_WINDOW, 0)]));
    peer.acknowledged()?;
    let request = get(peer);
    for n in 0..=most {
        peer.send(&headers(flag::WHOLE, 1 + 2 * n, &request));
    }
    peer.stream_error(1 + 2 * most, &[code::PROTOCOL, code::REFUSED])
}

fn headers_that_depend_on_themselves_are_a_protocol_error(peer: &mut Peer) -> Verdict {
    let payload = [dependency(1, false, 255), get(peer)].concat();
    peer.send(&headers(flag::WHOLE | flag::PRIORITY, 1, &payload));
    peer.stream_error(1, &[code::PROTOCOL])
}

fn priority_that_depends_on_itself_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    peer.send(&priority(2, &dependency(2, false, 255)));
    peer.stream_error(2, &[code::PROTOCOL])
}

/// A PING on a stream.
fn blunder(peer: &mut Peer) {
    peer.send(&frame(kind::PING, flag::NONE, 3, &[0; 8]));
}

fn a_connection_error_closes_the_connection(peer: &mut Peer) -> Verdict {
    blunder(peer);
    peer.closed()
}

fn a_connection_error_is_told_by_goaway(peer: &mut Peer) -> Verdict {
    blunder(peer);
    peer.until(|frame| frame.kind == kind::GOAWAY)?;
    Ok(Kept::Exactly)
}

fn an_unknown_extension_is_ignored(peer: &mut Peer) -> Verdict {
    peer.send(&frame(0x16, flag::NONE, 0, &[0; 8]));
    peer.alive()
}

fn an_unknown_extension_within_a_header_block_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    open_block(peer);
    peer.send(&frame(0x16, flag::NONE, 0, &[0; 8]));
    peer.connection_error(&[code::PROTOCOL])
}
