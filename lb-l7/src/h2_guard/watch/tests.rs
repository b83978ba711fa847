use std::time::Duration;

use proptest::prelude::*;

use super::*;

const NOW: Instant = Instant::ZERO;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const NONE: u8 = 0;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const WHOLE: u8 = END_STREAM | END_HEADERS;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn small() -> H2Limits {
    H2Limits {
        streams: 3,
        streams_in_all: Some(5),
        header_block: 100,
        continuations: 2,
        resets: 4,
        provoked_resets: 3,
        refused: 4,
        pings: 3,
        settings: 4,
        priorities: 3,
        window_updates: 3,
        empty_data: 3,
        empty_headers: 1,
        goaways: 2,
        unknown_frames: 3,
        ..H2Limits::default()
    }
}

/// A watch whose client has sent its preface and its first SETTINGS.
fn begun(limits: H2Limits) -> FrameWatch {
    let mut watch = FrameWatch::new(limits, NOW);
    watch.observe_read(NOW, PREFACE).unwrap();
    read(&mut watch, &frame(kind::SETTINGS, NONE, 0, &[])).unwrap();
    watch
}

fn read(watch: &mut FrameWatch, bytes: &[u8]) -> Result<(), Stop> {
    watch
        .observe_read(NOW, bytes)
        .map_err(|stopped| stopped.why)
}

/// Opens `stream` and ends it.
fn request(watch: &mut FrameWatch, stream: u32) {
    read(watch, &frame(kind::HEADERS, WHOLE, stream, &[0x82])).unwrap();
}

/// `bytes` pass exactly `allowed` times.
#[track_caller]
fn passes(watch: &mut FrameWatch, allowed: u32, bytes: &[u8], flood: Flood) {
    for n in 0..allowed {
        assert_eq!(read(watch, bytes), Ok(()), "{n}");
    }
    assert_eq!(read(watch, bytes), Err(Stop::Flood(flood)));
}

#[track_caller]
fn illegal(bytes: &[u8], rule: Illegal) {
    let mut watch = begun(H2Limits::default());
    assert_eq!(read(&mut watch, bytes), Err(Stop::Illegal(rule)));
}

#[track_caller]
fn legal(bytes: &[u8]) {
    let mut watch = begun(H2Limits::default());
    assert_eq!(read(&mut watch, bytes), Ok(()));
}

#[test]
fn a_watch_is_as_small_as_its_documentation_says() {
    assert!(size_of::<FrameWatch>() < 600, "{}", size_of::<FrameWatch>());
}

#[test]
fn each_kind_of_frame_has_its_limit() {
    let cases = [
        (frame(kind::PING, NONE, 0, &[0; 8]), 3, Flood::Ping),
        (frame(kind::PING, ACK, 0, &[0; 8]), 3, Flood::Ping),
        // One came at the beginning.
        (frame(kind::SETTINGS, NONE, 0, &[]), 3, Flood::Settings),
        (frame(kind::SETTINGS, ACK, 0, &[]), 3, Flood::Settings),
        (frame(kind::PRIORITY, NONE, 9, &[0; 5]), 3, Flood::Priority),
        (
            frame(kind::PRIORITY_UPDATE, NONE, 0, &[0; 4]),
            3,
            Flood::Priority,
        ),
        (frame(kind::GOAWAY, NONE, 0, &[0; 8]), 2, Flood::GoAway),
        (frame(0xfe, NONE, 0, &[1, 2, 3]), 3, Flood::UnknownFrame),
        (
            frame(kind::WINDOW_UPDATE, NONE, 0, &[0, 0, 0, 1]),
            3,
            Flood::WindowUpdate,
        ),
    ];
    for (bytes, allowed, flood) in cases {
        passes(&mut begun(small()), allowed, &bytes, flood);
    }
}

#[test]
fn streams_that_were_opened_pay_for_priorities_window_updates_and_unknown_frames() {
    let cases = [
        (frame(kind::PRIORITY, NONE, 9, &[0; 5]), Flood::Priority),
        (frame(0xfe, NONE, 0, &[]), Flood::UnknownFrame),
        (
            frame(kind::WINDOW_UPDATE, NONE, 1, &[0, 0, 0, 1]),
            Flood::WindowUpdate,
        ),
    ];
    for (bytes, flood) in cases {
        let mut watch = begun(small());
        request(&mut watch, 1);
        request(&mut watch, 3);
        passes(&mut watch, 3 + 2 * 4, &bytes, flood);
    }
}

#[test]
fn what_was_sent_pays_for_window_updates_and_pings() {
    let update = frame(kind::WINDOW_UPDATE, NONE, 0, &[0, 0, 0, 1]);
    let mut watch = begun(small());
    let answer = frame(kind::DATA, NONE, 1, &[0; 1536]);
    watch.observe_written(&answer).unwrap();
    passes(&mut watch, 3 + 4 + 3, &update, Flood::WindowUpdate);

    let ping = frame(kind::PING, NONE, 0, &[0; 8]);
    let mut watch = begun(small());
    watch.observe_written(&answer).unwrap();
    let head = frame(kind::HEADERS, END_HEADERS, 1, &[0x88]);
    watch.observe_written(&head).unwrap();
    // Neither of these is in answer to anything.
    let own = [
        frame(kind::SETTINGS, NONE, 0, &[0; 12]),
        frame(kind::PING, NONE, 0, &[0; 8]),
    ];
    watch.observe_written(&own.concat()).unwrap();
    passes(&mut watch, 3 + 2, &ping, Flood::Ping);
}

#[test]
fn resets_are_a_flood_above_the_limit_and_above_half_of_the_streams() {
    let reset = |stream| frame(kind::RST_STREAM, NONE, stream, &[0, 0, 0, 8]);
    let mut watch = begun(small());
    for n in 0..5_u32 {
        read(
            &mut watch,
            &frame(kind::HEADERS, END_HEADERS, 1 + 2 * n, &[0x82]),
        )
        .unwrap();
        let expected = if n < 4 {
            Ok(())
        } else {
            Err(Stop::Flood(Flood::Reset))
        };
        assert_eq!(read(&mut watch, &reset(1 + 2 * n)), expected);
    }

    // Every second stream is reset, for as long as one likes.
    let mut watch = begun(small());
    for n in 0..1000_u32 {
        request(&mut watch, 1 + 4 * n);
        request(&mut watch, 3 + 4 * n);
        assert_eq!(read(&mut watch, &reset(3 + 4 * n)), Ok(()));
    }
    assert_eq!(watch.count(Flood::Reset), 1000);
    assert_eq!(read(&mut watch, &reset(1)), Err(Stop::Flood(Flood::Reset)));
}

#[test]
fn all_streams_that_may_be_open_may_be_reset() {
    let limits = H2Limits {
        streams: 7,
        ..small()
    };
    let mut watch = begun(limits);
    request(&mut watch, 13);
    let reset = frame(kind::RST_STREAM, NONE, 13, &[0, 0, 0, 8]);
    passes(&mut watch, 7, &reset, Flood::Reset);
}

#[test]
fn resets_that_the_client_provoked_are_counted_by_code() {
    let reset = |code: u32| frame(kind::RST_STREAM, NONE, 1, &code.to_be_bytes());
    for code in [1, 3, 5, 6, 9, 11] {
        let mut watch = begun(small());
        for _ in 0..3 {
            assert_eq!(watch.observe_written(&reset(code)), Ok(()));
        }
        let stop = Stop::Flood(Flood::ProvokedReset);
        assert_eq!(watch.observe_written(&reset(code)), Err(stop));
        let ping = frame(kind::PING, NONE, 0, &[0; 8]);
        assert_eq!(read(&mut watch, &ping), Err(stop));
    }
    for code in [0, 2, 4, 8, 10, 12, 13, 99] {
        let mut watch = begun(small());
        for _ in 0..100 {
            assert_eq!(watch.observe_written(&reset(code)), Ok(()));
        }
        assert_eq!(watch.count(Flood::ProvokedReset), 0);
    }
}

#[test]
fn refusals_are_a_flood_above_the_limit_and_above_half_of_the_streams() {
    let refusal = frame(kind::RST_STREAM, NONE, 1, &[0, 0, 0, 7]);
    let stop = Err(Stop::Flood(Flood::Refused));
    for (streams, refused, allowed) in [(3, 4, 4), (7, 4, 7)] {
        let limits = H2Limits {
            streams,
            refused,
            ..small()
        };
        let mut watch = begun(limits);
        for _ in 0..allowed {
            assert_eq!(watch.observe_written(&refusal), Ok(()));
        }
        assert_eq!(watch.observe_written(&refusal), stop);
    }
    let mut watch = begun(small());
    for n in 0..1000_u32 {
        request(&mut watch, 1 + 4 * n);
        request(&mut watch, 3 + 4 * n);
        assert_eq!(watch.observe_written(&refusal), Ok(()));
    }
    assert_eq!(watch.observe_written(&refusal), stop);
}

#[test]
fn data_without_data_is_counted_unless_it_ends_the_stream() {
    let mut watch = begun(small());
    read(&mut watch, &frame(kind::HEADERS, END_HEADERS, 1, &[0x82])).unwrap();
    for _ in 0..50 {
        read(&mut watch, &frame(kind::DATA, NONE, 1, b"x")).unwrap();
        read(&mut watch, &frame(kind::DATA, PADDED, 1, &[2, b'x', 0, 0])).unwrap();
    }
    assert_eq!(watch.count(Flood::EmptyData), 0);
    read(&mut watch, &frame(kind::DATA, PADDED, 1, &[2, 0, 0])).unwrap();
    read(&mut watch, &frame(kind::DATA, PADDED, 1, &[0])).unwrap();
    assert_eq!(watch.count(Flood::EmptyData), 2);
    let empty = frame(kind::DATA, NONE, 1, &[]);
    let mut other = watch.clone();
    passes(&mut watch, 1, &empty, Flood::EmptyData);
    read(&mut other, &frame(kind::DATA, END_STREAM, 1, &[])).unwrap();
    assert_eq!(other.count(Flood::EmptyData), 2);
}

#[test]
fn fragments_without_bytes_are_counted_unless_they_end_the_block() {
    let mut watch = begun(small());
    for stream in [1, 3, 5] {
        let empty = frame(kind::HEADERS, PRIORITY, stream, &[0; 5]);
        let expected = if stream == 1 {
            Ok(())
        } else {
            Err(Stop::Flood(Flood::EmptyHeaders))
        };
        assert_eq!(read(&mut watch, &empty), expected);
        if expected.is_err() {
            return;
        }
        let rest = frame(kind::CONTINUATION, END_HEADERS, stream, &[]);
        assert_eq!(read(&mut watch, &rest), Ok(()));
    }
}

#[test]
fn a_header_block_has_a_limit_of_bytes_and_one_of_frames() {
    let part = |length: usize| frame(kind::CONTINUATION, NONE, 1, &vec![0; length]);
    // Padding and priority are no part of the fragment.
    let mut padded = vec![20];
    padded.extend([0; 5 + 40 + 20]);
    let start = frame(kind::HEADERS, PADDED | PRIORITY, 1, &padded);

    let mut watch = begun(small());
    read(&mut watch, &start).unwrap();
    let mut other = watch.clone();
    assert_eq!(read(&mut watch, &part(60)), Ok(()));
    let stop = Err(Stop::Flood(Flood::HeaderBlock));
    assert_eq!(read(&mut watch, &part(1)), stop);
    assert_eq!(read(&mut other, &part(61)), stop);

    let mut watch = begun(small());
    read(&mut watch, &start).unwrap();
    passes(&mut watch, 2, &part(1), Flood::Continuation);

    // The next block begins anew.
    let mut watch = begun(small());
    for stream in [1, 3, 5] {
        read(&mut watch, &frame(kind::HEADERS, NONE, stream, &[0; 90])).unwrap();
        read(
            &mut watch,
            &frame(kind::CONTINUATION, NONE, stream, &[0; 5]),
        )
        .unwrap();
        read(
            &mut watch,
            &frame(kind::CONTINUATION, END_HEADERS, stream, &[0; 5]),
        )
        .unwrap();
    }
}

#[test]
fn counts_halve_with_each_window() {
    let mut watch = begun(small());
    let ping = frame(kind::PING, NONE, 0, &[0; 8]);
    for _ in 0..3 {
        read(&mut watch, &ping).unwrap();
    }
    let almost = NOW + Duration::from_nanos(9_999_999_999);
    watch.clone().observe_read(almost, &ping).unwrap_err();
    let after = NOW + Duration::from_secs(10);
    watch.observe_read(after, &[]).unwrap();
    assert_eq!(watch.count(Flood::Ping), 1);
    watch.observe_read(after, &ping).unwrap();
    watch.observe_read(after, &ping).unwrap();
    watch.clone().observe_read(after, &ping).unwrap_err();
    // The next window ends ten seconds after that one, not after its last frame.
    let later = NOW + Duration::from_secs(29);
    watch.observe_read(later, &[]).unwrap();
    assert_eq!(watch.count(Flood::Ping), 1);
    watch
        .observe_read(NOW + Duration::from_secs(30), &[])
        .unwrap();
    assert_eq!(watch.count(Flood::Ping), 0);
    watch.observe_read(Instant::MAX, &ping).unwrap();
    assert_eq!(watch.count(Flood::Ping), 1);
}

#[test]
fn credit_halves_as_well() {
    let mut watch = begun(small());
    for n in 0..4 {
        request(&mut watch, 1 + 2 * n);
    }
    watch
        .observe_written(&frame(kind::DATA, NONE, 1, &[0; 4096]))
        .unwrap();
    watch
        .observe_written(&frame(kind::DATA, NONE, 1, &[]))
        .unwrap();
    watch
        .observe_read(NOW + Duration::from_secs(10), &[])
        .unwrap();
    let update = frame(kind::WINDOW_UPDATE, NONE, 0, &[0, 0, 0, 1]);
    // Of four streams two, of two frames one, of 4096 bytes 2048.
    passes(&mut watch, 3 + 8 + 4 + 4, &update, Flood::WindowUpdate);
}

#[test]
fn a_connection_is_worn_by_its_last_stream() {
    let mut watch = begun(small());
    for stream in [1, 3, 5, 7] {
        request(&mut watch, stream);
    }
    assert!(!watch.is_worn());
    request(&mut watch, 99);
    assert!(watch.is_worn());
    assert_eq!(watch.count(Flood::Streams), 5);
    assert!(!begun(H2Limits::default()).is_worn());
}

#[test]
fn trailers_open_no_stream() {
    let mut watch = begun(small());
    read(&mut watch, &frame(kind::HEADERS, END_HEADERS, 1, &[0x82])).unwrap();
    read(&mut watch, &frame(kind::HEADERS, WHOLE, 1, &[0x82])).unwrap();
    assert_eq!(watch.count(Flood::Streams), 1);
}

#[test]
fn the_first_frame_is_settings() {
    for bytes in [
        frame(kind::PING, NONE, 0, &[0; 8]),
        frame(kind::SETTINGS, ACK, 0, &[]),
        frame(kind::HEADERS, WHOLE, 1, &[0x82]),
    ] {
        let mut watch = FrameWatch::new(H2Limits::default(), NOW);
        watch.observe_read(NOW, PREFACE).unwrap();
        let stop = Err(Stop::Illegal(Illegal::FirstFrame));
        assert_eq!(read(&mut watch, &bytes), stop);
    }
}

#[test]
fn lengths_are_those_of_the_type() {
    let lengths = [
        (kind::PRIORITY, NONE, 1, 5, &[0, 4, 6, 10][..]),
        (kind::SETTINGS, ACK, 0, 0, &[1, 6]),
        (kind::SETTINGS, NONE, 0, 0, &[1, 5, 7, 11]),
        (kind::PING, NONE, 0, 8, &[0, 7, 9]),
        (kind::GOAWAY, NONE, 0, 8, &[0, 7]),
        (kind::GOAWAY, NONE, 0, 100, &[]),
        (kind::PRIORITY_UPDATE, NONE, 0, 4, &[0, 3]),
        (kind::HEADERS, END_HEADERS | PRIORITY, 1, 5, &[0, 4]),
        (kind::HEADERS, END_HEADERS, 1, 1 << 14, &[(1 << 14) + 1]),
        (0xfe, NONE, 1, 1 << 14, &[(1 << 14) + 1]),
    ];
    for (kind, flags, stream, right, wrong) in lengths {
        legal(&frame(kind, flags, stream, &vec![0; right]));
        for length in wrong {
            let bytes = frame(kind, flags, stream, &vec![0; *length]);
            illegal(&bytes, Illegal::FrameLength);
            // It is known by the header alone.
            illegal(&bytes[..9], Illegal::FrameLength);
        }
    }
    for kind in [kind::RST_STREAM, kind::WINDOW_UPDATE] {
        for length in [0, 1, 2, 3, 5] {
            let mut watch = begun(H2Limits::default());
            request(&mut watch, 1);
            let bytes = frame(kind, NONE, 1, &vec![1; length]);
            let stop = Err(Stop::Illegal(Illegal::FrameLength));
            assert_eq!(read(&mut watch, &bytes), stop, "{length}");
        }
    }
}

#[test]
fn frames_are_on_a_stream_or_on_none() {
    for (kind, length) in [
        (kind::DATA, 1),
        (kind::HEADERS, 1),
        (kind::PRIORITY, 5),
        (kind::RST_STREAM, 4),
    ] {
        illegal(&frame(kind, WHOLE, 0, &vec![1; length]), Illegal::StreamId);
    }
    for (kind, length) in [
        (kind::SETTINGS, 0),
        (kind::PING, 8),
        (kind::GOAWAY, 8),
        (kind::PRIORITY_UPDATE, 4),
    ] {
        illegal(&frame(kind, NONE, 1, &vec![1; length]), Illegal::StreamId);
    }
    illegal(&frame(kind::HEADERS, WHOLE, 2, &[0x82]), Illegal::StreamId);
    legal(&frame(0xfe, NONE, 0, &[]));
    legal(&frame(0xfe, NONE, 7, &[]));
    illegal(&frame(kind::PUSH_PROMISE, NONE, 1, &[0; 8]), Illegal::Push);
}

#[test]
fn an_idle_stream_has_only_headers_and_priority() {
    illegal(&frame(kind::DATA, NONE, 1, b"x"), Illegal::IdleStream);
    illegal(
        &frame(kind::RST_STREAM, NONE, 1, &[0; 4]),
        Illegal::IdleStream,
    );
    illegal(
        &frame(kind::WINDOW_UPDATE, NONE, 1, &[1; 4]),
        Illegal::IdleStream,
    );
    legal(&frame(kind::PRIORITY, NONE, 1, &[0; 5]));
    let mut watch = begun(H2Limits::default());
    request(&mut watch, 3);
    read(&mut watch, &frame(kind::WINDOW_UPDATE, NONE, 3, &[1; 4])).unwrap();
    read(&mut watch, &frame(kind::RST_STREAM, NONE, 1, &[0; 4])).unwrap();
}

#[test]
fn a_stream_that_its_client_ended_has_no_data_and_no_headers() {
    let open = frame(kind::HEADERS, END_HEADERS, 1, &[0x82]);
    let ends = [
        frame(kind::HEADERS, WHOLE, 1, &[0x82]),
        frame(kind::DATA, END_STREAM, 1, b"x"),
        frame(kind::RST_STREAM, NONE, 1, &[0; 4]),
    ];
    for end in ends {
        let mut watch = begun(H2Limits::default());
        read(&mut watch, &open).unwrap();
        read(&mut watch, &frame(kind::DATA, NONE, 1, b"x")).unwrap();
        read(&mut watch, &end).unwrap();
        // These may still come: they were sent, or belong to the answer.
        read(&mut watch, &frame(kind::WINDOW_UPDATE, NONE, 1, &[1; 4])).unwrap();
        read(&mut watch, &frame(kind::PRIORITY, NONE, 1, &[0; 5])).unwrap();
        read(&mut watch, &frame(kind::RST_STREAM, NONE, 1, &[0; 4])).unwrap();
        for after in [&open, &frame(kind::DATA, NONE, 1, b"x")] {
            let stop = Err(Stop::Illegal(Illegal::StreamEnded));
            assert_eq!(read(&mut watch.clone(), after), stop);
        }
    }
}

#[test]
fn the_streams_that_ended_are_remembered_for_a_while() {
    let mut watch = begun(H2Limits::default());
    for n in 0..32 {
        request(&mut watch, 1 + 2 * n);
    }
    let data = frame(kind::DATA, NONE, 1, b"x");
    read(&mut watch.clone(), &data).unwrap_err();
    request(&mut watch, 101);
    read(&mut watch.clone(), &data).unwrap();
    read(&mut watch, &frame(kind::DATA, NONE, 3, b"x")).unwrap_err();
}

#[test]
fn padding_is_shorter_than_the_payload() {
    let mut watch = begun(H2Limits::default());
    read(&mut watch, &frame(kind::HEADERS, END_HEADERS, 1, &[0x82])).unwrap();
    read(&mut watch, &frame(kind::DATA, PADDED, 1, &[1, 0])).unwrap();
    let stop = |rule| Err(Stop::Illegal(rule));
    let long = frame(kind::DATA, PADDED, 1, &[2, 0]);
    assert_eq!(read(&mut watch.clone(), &long), stop(Illegal::Padding));
    let none = frame(kind::DATA, PADDED, 1, &[]);
    assert_eq!(read(&mut watch, &none), stop(Illegal::FrameLength));

    let flags = WHOLE | PADDED | PRIORITY;
    legal(&frame(kind::HEADERS, flags, 1, &[2, 0, 0, 0, 0, 0, 9, 9]));
    illegal(
        &frame(kind::HEADERS, flags, 1, &[3, 0, 0, 0, 0, 0, 9, 9]),
        Illegal::Padding,
    );
    illegal(
        &frame(kind::HEADERS, flags, 1, &[0; 5]),
        Illegal::FrameLength,
    );
    legal(&frame(kind::HEADERS, flags, 1, &[0; 6]));
}

#[test]
fn a_header_block_is_not_interrupted() {
    let open = frame(kind::HEADERS, END_STREAM, 1, &[0x82]);
    let whole = frame(kind::HEADERS, WHOLE, 1, &[0x82]);
    for other in [
        frame(kind::PING, NONE, 0, &[0; 8]),
        frame(kind::HEADERS, WHOLE, 3, &[0x82]),
        frame(kind::CONTINUATION, END_HEADERS, 3, &[0x82]),
        frame(0xfe, NONE, 0, &[]),
    ] {
        illegal(&[&open[..], &other].concat(), Illegal::BlockOrder);
    }
    let rest = frame(kind::CONTINUATION, END_HEADERS, 1, &[0x82]);
    illegal(&rest, Illegal::BlockOrder);
    illegal(&[&whole[..], &rest].concat(), Illegal::BlockOrder);
    legal(&[&open[..], &rest].concat());
    illegal(&[&open[..], &rest, &rest].concat(), Illegal::BlockOrder);
}

#[test]
fn settings_are_in_their_range() {
    let setting = |id: u16, value: u32| {
        let last = [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
        // Behind another one, and before one more.
        let all = [&[0, 3, 0, 0, 0, 9][..], &last, &[0, 3, 0, 0, 0, 9]].concat();
        frame(kind::SETTINGS, NONE, 0, &all)
    };
    for (id, value) in [
        (1, u32::MAX),
        (2, 0),
        (2, 1),
        (3, u32::MAX),
        (4, 0),
        (4, 0x7fff_ffff),
        (5, 1 << 14),
        (5, (1 << 24) - 1),
        (6, u32::MAX),
        (8, 1),
        (99, u32::MAX),
    ] {
        legal(&setting(id, value));
    }
    for (id, value) in [(2, 2), (5, (1 << 14) - 1), (5, 1 << 24), (8, 2)] {
        illegal(&setting(id, value), Illegal::SettingValue);
    }
    illegal(&setting(4, 1 << 31), Illegal::SettingWindow);
}

#[test]
fn only_the_connection_s_increment_of_zero_is_judged_here() {
    illegal(
        &frame(kind::WINDOW_UPDATE, NONE, 0, &[0x80, 0, 0, 0]),
        Illegal::WindowIncrement,
    );
    let mut watch = begun(H2Limits::default());
    request(&mut watch, 1);
    read(&mut watch, &frame(kind::WINDOW_UPDATE, NONE, 1, &[0; 4])).unwrap();
}

#[test]
fn what_comes_before_the_fault_passes_and_nothing_after_it() {
    let good = frame(kind::PING, NONE, 0, &[0; 8]);
    let bad = frame(kind::PING, NONE, 1, &[0; 8]);
    let mut watch = begun(H2Limits::default());
    let why = Stop::Illegal(Illegal::StreamId);
    let bytes = [&good[..], &good, &bad, &good].concat();
    let stopped = watch.observe_read(NOW, &bytes).unwrap_err();
    assert_eq!(stopped, Stopped { passed: 34, why });
    let stopped = watch.observe_read(NOW, &good).unwrap_err();
    assert_eq!(stopped, Stopped { passed: 0, why });

    // A setting is at fault from its frame's first byte on.
    let mut watch = begun(H2Limits::default());
    let setting = frame(kind::SETTINGS, NONE, 0, &[0, 2, 0, 0, 0, 2]);
    let stopped = watch
        .observe_read(NOW, &[&good[..], &setting].concat())
        .unwrap_err();
    assert_eq!(stopped.passed, 17);
}

#[test]
fn the_reason_is_calm_for_floods_and_the_rule_s_own_for_the_rest() {
    for flood in Flood::ALL {
        assert_eq!(Stop::Flood(flood).reason(), Reason::ENHANCE_YOUR_CALM);
        assert_eq!(Stop::Flood(flood).as_str(), flood.as_str());
    }
    for rule in Illegal::ALL {
        let reason = match rule {
            Illegal::FrameLength => Reason::FRAME_SIZE_ERROR,
            Illegal::SettingWindow => Reason::FLOW_CONTROL_ERROR,
            Illegal::StreamEnded => Reason::STREAM_CLOSED,
            _ => Reason::PROTOCOL_ERROR,
        };
        assert_eq!(Stop::Illegal(rule).reason(), reason);
        assert_eq!(Stop::Illegal(rule).as_str(), rule.as_str());
    }
}

#[test]
fn every_name_is_one_and_in_order() {
    let floods = Flood::ALL.map(Flood::as_str);
    assert!(floods.is_sorted_by(|a, b| a < b), "{floods:?}");
    let rules = Illegal::ALL.map(Illegal::as_str);
    assert!(rules.is_sorted_by(|a, b| a < b), "{rules:?}");
    for (n, flood) in Flood::ALL.into_iter().enumerate() {
        assert_eq!(flood as usize, n);
    }
}

#[test]
fn a_client_that_loads_by_a_hundred_streams_at_once_is_never_flagged() {
    // As h2load does: requests, and an update of the window for every other answer.
    let mut watch = begun(H2Limits::default());
    let update = frame(kind::WINDOW_UPDATE, NONE, 0, &[0, 0, 0x80, 0]);
    let answer = [
        frame(kind::HEADERS, END_HEADERS, 1, &[0x88]),
        frame(kind::DATA, END_STREAM, 1, &[0; 1024]),
    ];
    for n in 0..100_000_u32 {
        request(&mut watch, 1 + 2 * n);
        watch.observe_written(&answer.concat()).unwrap();
        read(&mut watch, &update).unwrap();
    }
    assert_eq!(watch.count(Flood::Streams), 100_000);
}

#[test]
fn a_stream_of_small_messages_is_never_flagged() {
    // As gRPC does: on one stream, for each small message an update of both windows and a PING.
    let mut watch = begun(H2Limits::default());
    read(&mut watch, &frame(kind::HEADERS, END_HEADERS, 1, &[0x82])).unwrap();
    for n in 0..100_000_u64 {
        let now = NOW + Duration::from_micros(n * 700);
        watch
            .observe_written(&frame(kind::DATA, NONE, 1, &[0; 16]))
            .unwrap();
        for bytes in [
            frame(kind::WINDOW_UPDATE, NONE, 0, &[0, 0, 0, 16]),
            frame(kind::WINDOW_UPDATE, NONE, 1, &[0, 0, 0, 16]),
            frame(kind::PING, NONE, 0, &[0; 8]),
            frame(kind::DATA, NONE, 1, &[0; 16]),
        ] {
            watch.observe_read(now, &bytes).unwrap();
        }
    }
}

/// Some frame or other, more often right than wrong.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![8 => 0..10_u8, 1 => Just(16), 1 => any::<u8>()];
    let stream =
        prop_oneof![4 => Just(0_u32), 6 => (0..20_u32).prop_map(|n| 2 * n + 1), 1 => any::<u32>()];
    let length = prop_oneof![Just(0), Just(4), Just(5), Just(6), Just(8), 0..40_usize];
    (kind, any::<u8>(), stream, length, any::<u8>()).prop_map(
        |(kind, flags, stream, length, fill)| frame(kind, flags, stream, &vec![fill; length]),
    )
}

proptest! {
    /// The cuts of the bytes make no difference, in either direction.
    #[test]
    fn bytes_count_the_same_however_they_are_cut(
        frames in proptest::collection::vec(any_frame(), 0..40),
        cuts in proptest::collection::vec(1..30_usize, 1..20),
    ) {
        let sent = frames.concat();
        let settings = frame(kind::SETTINGS, NONE, 0, &[]);
        let bytes = [PREFACE, &settings, &sent].concat();
        let mut whole = FrameWatch::new(small(), NOW);
        let mut cut = whole.clone();

        let one = whole.observe_read(NOW, &bytes);
        let (mut at, mut parts) = (0, Ok(()));
        for length in cuts.iter().cycle() {
            if at == bytes.len() || parts.is_err() {
                break;
            }
            let end = bytes.len().min(at + length);
            parts = cut.observe_read(NOW, &bytes[at..end]);
            // What had passed before the frame was seen to be at fault passes, and no more.
            if let (Err(one), Err(part)) = (&one, &parts) {
                prop_assert_eq!(one.why, part.why);
                prop_assert!(at + part.passed >= one.passed);
                prop_assert!(at + part.passed <= one.passed + 9 + 4 + 40);
            }
            at = end;
        }
        prop_assert_eq!(one.is_err(), parts.is_err());
        prop_assert_eq!(whole.recent, cut.recent);
        prop_assert_eq!(whole.opened, cut.opened);

        let mut whole = FrameWatch::new(small(), NOW);
        let mut cut = whole.clone();
        let one = whole.observe_written(&sent);
        let (mut at, mut parts) = (0, Ok(()));
        for length in cuts.iter().cycle() {
            if at == sent.len() || parts.is_err() {
                break;
            }
            let end = sent.len().min(at + length);
            parts = cut.observe_written(&sent[at..end]);
            at = end;
        }
        prop_assert_eq!(one, parts);
        prop_assert_eq!(whole.recent, cut.recent);
    }

    /// Any bytes at all: never a panic, and after the end the same end.
    #[test]
    fn anything_may_come(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut watch = begun(small());
        let first = watch.observe_read(NOW, &bytes);
        if let Err(stopped) = first {
            prop_assert!(stopped.passed <= bytes.len());
            let again = watch.observe_read(NOW, &bytes).unwrap_err();
            prop_assert_eq!(again, Stopped { passed: 0, why: stopped.why });
        }
        let _ = watch.observe_written(&bytes);
    }
}
