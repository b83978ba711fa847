//! RFC 9113, 6 and 7: each type of frame, and error codes.

use crate::cases;
use crate::client::{Kept, Peer, Verdict};
use crate::fields::{block, get, post};
use crate::frames::{
    code, continuation, data, dependency, flag, frame, goaway, headers, kind, padded, ping,
    priority, reset, setting, settings, window_update,
};

cases! {
    "http2/6.1/1" => data_on_stream_0_is_a_protocol_error,
    "http2/6.1/2" => data_on_a_stream_that_ended_is_stream_closed,
    "http2/6.1/3" => data_with_too_much_padding_is_a_protocol_error,
    "http2/6.2/1" => headers_and_then_priority_is_a_protocol_error,
    "http2/6.2/2" => headers_and_then_headers_of_another_stream_is_a_protocol_error,
    "http2/6.2/3" => headers_on_stream_0_are_a_protocol_error,
    "http2/6.2/4" => headers_with_too_much_padding_are_a_protocol_error,
    "http2/6.3/1" => priority_on_stream_0_is_a_protocol_error,
    "http2/6.3/2" => priority_of_another_length_is_a_frame_size_error,
    "http2/6.4/1" => reset_of_stream_0_is_a_protocol_error,
    "http2/6.4/2" => reset_of_a_stream_never_opened_is_a_protocol_error,
    "http2/6.4/3" => reset_of_another_length_is_a_frame_size_error,
    "http2/6.5/1" => an_acknowledgement_with_settings_is_a_frame_size_error,
    "http2/6.5/2" => settings_on_a_stream_are_a_protocol_error,
    "http2/6.5/3" => settings_of_another_length_are_a_frame_size_error,
    "http2/6.5.2/1" => enable_push_of_2_is_a_protocol_error,
    "http2/6.5.2/2" => an_initial_window_of_2_to_the_31_is_a_flow_control_error,
    "http2/6.5.2/3" => a_max_frame_below_the_least_is_a_protocol_error,
    "http2/6.5.2/4" => a_max_frame_above_the_most_is_a_protocol_error,
    "http2/6.5.2/5" => an_unknown_setting_is_ignored,
    "http2/6.5.3/1" => of_one_setting_twice_the_last_holds,
    "http2/6.5.3/2" => settings_are_acknowledged,
    "http2/6.7/1" => a_ping_is_answered_by_what_it_carried,
    "http2/6.7/2" => an_acknowledged_ping_is_not_answered,
    "http2/6.7/3" => a_ping_on_a_stream_is_a_protocol_error,
    "http2/6.7/4" => a_ping_of_another_length_is_a_frame_size_error,
    "http2/6.8/1" => goaway_on_a_stream_is_a_protocol_error,
    "http2/6.9/1" => an_increment_of_zero_is_a_protocol_error,
    "http2/6.9/2" => an_increment_of_zero_of_a_stream_is_a_protocol_error,
    "http2/6.9/3" => window_update_of_another_length_is_a_frame_size_error,
    "http2/6.9.1/1" => no_more_is_sent_than_the_window_takes,
    "http2/6.9.1/2" => a_window_of_the_connection_above_the_most_is_a_flow_control_error,
    "http2/6.9.1/3" => a_window_of_a_stream_above_the_most_is_a_flow_control_error,
    "http2/6.9.2/1" => a_new_initial_window_holds_for_streams_that_are_open,
    "http2/6.9.2/2" => a_window_may_become_negative,
    "http2/6.9.2/3" => an_initial_window_above_the_most_is_a_flow_control_error,
    "http2/6.10/1" => several_continuations_are_accepted,
    "http2/6.10/2" => continuation_and_then_data_is_a_protocol_error,
    "http2/6.10/3" => continuation_on_stream_0_is_a_protocol_error,
    "http2/6.10/4" => continuation_after_whole_headers_is_a_protocol_error,
    "http2/6.10/5" => continuation_after_the_last_continuation_is_a_protocol_error,
    "http2/6.10/6" => continuation_after_data_is_a_protocol_error,
    "http2/7/1" => goaway_of_an_unknown_code_is_nothing_special,
    "http2/7/2" => reset_of_an_unknown_code_is_nothing_special,
}

fn data_on_stream_0_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    peer.send(&data(flag::END_STREAM, 0, b"test"));
    peer.connection_error(&[code::PROTOCOL])
}

fn data_on_a_stream_that_ended_is_stream_closed(peer: &mut Peer) -> Verdict {
    peer.send(&settings(&[(setting::INITIAL_WINDOW, 0)]));
    let request = get(peer);
    peer.send(&headers(flag::WHOLE, 1, &request));
    peer.send(&data(flag::END_STREAM, 1, b"test"));
    peer.stream_error(1, &[code::STREAM_CLOSED])
}

fn open_post(peer: &mut Peer) {
    let request = post(peer);
    peer.send(&headers(flag::END_HEADERS, 1, &request));
}

fn data_with_too_much_padding_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    open_post(peer);
    let flags = flag::END_STREAM | flag::PADDED;
    peer.send(&data(flags, 1, &padded(6, b"test", 0)));
    peer.connection_error(&[code::PROTOCOL])
}

/// A request whose header block goes on.
fn open_block(peer: &mut Peer) {
    let request = get(peer);
    peer.send(&headers(flag::END_STREAM, 1, &request));
}

fn headers_and_then_priority_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    open_block(peer);
    peer.send(&priority(1, &dependency(0, false, 255)));
    peer.connection_error(&[code::PROTOCOL])
}

fn headers_and_then_headers_of_another_stream_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    open_block(peer);
    let request = get(peer);
    peer.send(&headers(flag::WHOLE, 3, &request));
    peer.connection_error(&[code::PROTOCOL])
}

fn headers_on_stream_0_are_a_protocol_error(peer: &mut Peer) -> Verdict {
    let request = get(peer);
    peer.send(&headers(flag::WHOLE, 0, &request));
    peer.connection_error(&[code::PROTOCOL])
}

fn headers_with_too_much_padding_are_a_protocol_error(peer: &mut Peer) -> Verdict {
    let request = get(peer);
    let claimed = u8::try_from(request.len() + 1).expect("a short request");
    let payload = padded(claimed, &request, 0);
    peer.send(&headers(flag::WHOLE | flag::PADDED, 1, &payload));
    peer.stream_error(1, &[code::PROTOCOL])
}

fn priority_on_stream_0_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    peer.send(&priority(0, &dependency(1, false, 255)));
    peer.connection_error(&[code::PROTOCOL])
}

fn priority_of_another_length_is_a_frame_size_error(peer: &mut Peer) -> Verdict {
    open_post(peer);
    peer.send(&frame(kind::PRIORITY, flag::NONE, 1, &[0x80, 0, 0, 1]));
    peer.stream_error(1, &[code::FRAME_SIZE])
}

fn reset_of_stream_0_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    peer.send(&reset(0, code::CANCEL));
    peer.connection_error(&[code::PROTOCOL])
}

fn reset_of_a_stream_never_opened_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    peer.send(&reset(1, code::CANCEL));
    peer.connection_error(&[code::PROTOCOL])
}

fn reset_of_another_length_is_a_frame_size_error(peer: &mut Peer) -> Verdict {
    open_post(peer);
    peer.send(&frame(kind::RST_STREAM, flag::NONE, 1, &[0; 3]));
    peer.stream_error(1, &[code::FRAME_SIZE])
}

fn an_acknowledgement_with_settings_is_a_frame_size_error(peer: &mut Peer) -> Verdict {
    peer.send(&frame(kind::SETTINGS, flag::ACK, 0, &[0]));
    peer.connection_error(&[code::FRAME_SIZE])
}

fn settings_on_a_stream_are_a_protocol_error(peer: &mut Peer) -> Verdict {
    let payload = [0, 3, 0, 0, 0, 100];
    peer.send(&frame(kind::SETTINGS, flag::NONE, 1, &payload));
    peer.connection_error(&[code::PROTOCOL])
}

fn settings_of_another_length_are_a_frame_size_error(peer: &mut Peer) -> Verdict {
    peer.send(&frame(kind::SETTINGS, flag::NONE, 0, &[0, 3, 0]));
    peer.connection_error(&[code::FRAME_SIZE])
}

fn set(peer: &mut Peer, id: u16, value: u32) {
    peer.send(&settings(&[(id, value)]));
}

fn enable_push_of_2_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    set(peer, setting::ENABLE_PUSH, 2);
    peer.connection_error(&[code::PROTOCOL])
}

fn an_initial_window_of_2_to_the_31_is_a_flow_control_error(peer: &mut Peer) -> Verdict {
    set(peer, setting::INITIAL_WINDOW, 1 << 31);
    peer.connection_error(&[code::FLOW_CONTROL])
}

fn a_max_frame_below_the_least_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    set(peer, setting::MAX_FRAME, (1 << 14) - 1);
    peer.connection_error(&[code::PROTOCOL])
}

fn a_max_frame_above_the_most_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    set(peer, setting::MAX_FRAME, 1 << 24);
    peer.connection_error(&[code::PROTOCOL])
}

fn an_unknown_setting_is_ignored(peer: &mut Peer) -> Verdict {
    set(peer, setting::UNKNOWN, 1);
    peer.acknowledged()?;
    peer.alive()
}

/// The next DATA has that length.
fn data_of(peer: &mut Peer, length: usize) -> Verdict {
    let frame = peer.until(|frame| frame.kind == kind::DATA)?;
    if frame.payload.len() != length {
        return Err(format!("{} bytes, not {length}", frame.payload.len()));
    }
    Ok(Kept::Exactly)
}

fn of_one_setting_twice_the_last_holds(peer: &mut Peer) -> Verdict {
    let id = setting::INITIAL_WINDOW;
    peer.send(&settings(&[(id, 100), (id, 1)]));
    peer.acknowledged()?;
    let request = get(peer);
    peer.send(&headers(flag::WHOLE, 1, &request));
    data_of(peer, 1)
}

fn settings_are_acknowledged(peer: &mut Peer) -> Verdict {
    set(peer, setting::ENABLE_PUSH, 0);
    peer.acknowledged()
}

fn a_ping_is_answered_by_what_it_carried(peer: &mut Peer) -> Verdict {
    peer.send(&ping(*b"carried!"));
    let answer = peer.until(|frame| frame.kind == kind::PING)?;
    if !answer.is_ack() || answer.payload != b"carried!" {
        return Err(format!("{answer:?} with {:?}", answer.payload));
    }
    Ok(Kept::Exactly)
}

fn an_acknowledged_ping_is_not_answered(peer: &mut Peer) -> Verdict {
    peer.send(&frame(kind::PING, flag::ACK, 0, b"answer!!"));
    peer.send(&ping(*b"question"));
    let answer = peer.until(|frame| frame.kind == kind::PING)?;
    if answer.payload != b"question" {
        return Err("the acknowledgement was answered".into());
    }
    Ok(Kept::Exactly)
}

fn a_ping_on_a_stream_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    peer.send(&frame(kind::PING, flag::NONE, 1, &[0; 8]));
    peer.connection_error(&[code::PROTOCOL])
}

fn a_ping_of_another_length_is_a_frame_size_error(peer: &mut Peer) -> Verdict {
    peer.send(&frame(kind::PING, flag::NONE, 0, &[0; 6]));
    peer.connection_error(&[code::FRAME_SIZE])
}

fn goaway_on_a_stream_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    peer.send(&goaway(1, 0));
    peer.connection_error(&[code::PROTOCOL])
}

fn an_increment_of_zero_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    peer.send(&window_update(0, 0));
    peer.connection_error(&[code::PROTOCOL])
}

fn an_increment_of_zero_of_a_stream_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    open_post(peer);
    peer.send(&window_update(1, 0));
    peer.stream_error(1, &[code::PROTOCOL])
}

fn window_update_of_another_length_is_a_frame_size_error(peer: &mut Peer) -> Verdict {
    peer.send(&frame(kind::WINDOW_UPDATE, flag::NONE, 0, &[0, 0, 1]));
    peer.connection_error(&[code::FRAME_SIZE])
}

fn no_more_is_sent_than_the_window_takes(peer: &mut Peer) -> Verdict {
    set(peer, setting::INITIAL_WINDOW, 1);
    peer.acknowledged()?;
    let request = get(peer);
    peer.send(&headers(flag::WHOLE, 1, &request));
    data_of(peer, 1)
}

const LARGEST: u32 = (1 << 31) - 1;

fn a_window_of_the_connection_above_the_most_is_a_flow_control_error(peer: &mut Peer) -> Verdict {
    peer.send(&window_update(0, LARGEST));
    peer.send(&window_update(0, LARGEST));
    peer.connection_error(&[code::FLOW_CONTROL])
}

fn a_window_of_a_stream_above_the_most_is_a_flow_control_error(peer: &mut Peer) -> Verdict {
    open_post(peer);
    peer.send(&window_update(1, LARGEST));
    peer.send(&window_update(1, LARGEST));
    peer.stream_error(1, &[code::FLOW_CONTROL])
}

fn a_new_initial_window_holds_for_streams_that_are_open(peer: &mut Peer) -> Verdict {
    set(peer, setting::INITIAL_WINDOW, 0);
    peer.acknowledged()?;
    let request = get(peer);
    peer.send(&headers(flag::WHOLE, 1, &request));
    set(peer, setting::INITIAL_WINDOW, 1);
    data_of(peer, 1)
}

fn a_window_may_become_negative(peer: &mut Peer) -> Verdict {
    set(peer, setting::INITIAL_WINDOW, 3);
    peer.acknowledged()?;
    let request = get(peer);
    peer.send(&headers(flag::WHOLE, 1, &request));
    data_of(peer, 3)?;
    // Of 3 all is used: now the window is -1, and then 1.
    set(peer, setting::INITIAL_WINDOW, 2);
    peer.acknowledged()?;
    peer.send(&window_update(1, 2));
    data_of(peer, 1)
}

fn an_initial_window_above_the_most_is_a_flow_control_error(peer: &mut Peer) -> Verdict {
    set(peer, setting::INITIAL_WINDOW, u32::MAX);
    peer.connection_error(&[code::FLOW_CONTROL])
}

fn more() -> Vec<u8> {
    block(&[("x-more", "yes")])
}

fn several_continuations_are_accepted(peer: &mut Peer) -> Verdict {
    open_block(peer);
    peer.send(&continuation(flag::NONE, 1, &more()));
    peer.send(&continuation(flag::END_HEADERS, 1, &more()));
    peer.answered(1)
}

fn continuation_and_then_data_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    let request = post(peer);
    peer.send(&headers(flag::NONE, 1, &request));
    peer.send(&continuation(flag::NONE, 1, &more()));
    peer.send(&data(flag::END_STREAM, 1, b"test"));
    peer.connection_error(&[code::PROTOCOL])
}

fn continuation_on_stream_0_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    open_block(peer);
    peer.send(&continuation(flag::END_HEADERS, 0, &more()));
    peer.connection_error(&[code::PROTOCOL])
}

fn continuation_after_whole_headers_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    let request = get(peer);
    peer.send(&headers(flag::WHOLE, 1, &request));
    peer.send(&continuation(flag::END_HEADERS, 1, &more()));
    peer.connection_error(&[code::PROTOCOL])
}

fn continuation_after_the_last_continuation_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    open_block(peer);
    peer.send(&continuation(flag::END_HEADERS, 1, &more()));
    peer.send(&continuation(flag::END_HEADERS, 1, &more()));
    peer.connection_error(&[code::PROTOCOL])
}

fn continuation_after_data_is_a_protocol_error(peer: &mut Peer) -> Verdict {
    open_post(peer);
    peer.send(&data(flag::END_STREAM, 1, b"test"));
    peer.send(&continuation(flag::END_HEADERS, 1, &more()));
    peer.connection_error(&[code::PROTOCOL])
}

fn goaway_of_an_unknown_code_is_nothing_special(peer: &mut Peer) -> Verdict {
    peer.send(&goaway(0, code::UNKNOWN));
    peer.alive_or_closed()
}

fn reset_of_an_unknown_code_is_nothing_special(peer: &mut Peer) -> Verdict {
    open_post(peer);
    peer.send(&reset(1, code::UNKNOWN));
    peer.alive_or_closed()
}
