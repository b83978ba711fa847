//! Frames of HTTP/2 count the same however they are cut, and nothing passes after the first fault.
#![no_main]

use std::time::Duration;

use lb_l7::h2_guard::{Flood, FrameWatch, H2Limits, Stopped};
use lbcore::Instant;
use libfuzzer_sys::fuzz_target;

const START: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fuzz_target!(|bytes: &[u8]| {
    // The first byte cuts the others, which are taken for both directions.
    let Some((cut, received)) = bytes.split_first() else {
        return;
    };
    let cut = usize::from(cut % 32) + 1;
    let mut whole = begun();
    let mut parts = whole.clone();

    let _ = whole.observe_written(received);
    for part in received.chunks(cut) {
        if parts.observe_written(part).is_err() {
            break;
        }
    }
    let one = whole.observe_read(Instant::ZERO, received);
    let mut last = Ok(());
    let mut passed = 0;
    for part in received.chunks(cut) {
        last = parts.observe_read(Instant::ZERO, part);
        match last {
            Ok(()) => passed += part.len(),
            Err(Stopped { passed: more, .. }) => {
                assert!(more <= part.len());
                passed += more;
                break;
            }
        }
    }
    if !received.is_empty() {
        assert_eq!(one.map_err(|stop| stop.why), last.map_err(|stop| stop.why));
    }
    if let Err(stopped) = one {
        // A header, what is shown with it and the settings before a bad one may have passed.
        assert!(passed >= stopped.passed && passed <= received.len());
    }
    for flood in Flood::ALL {
        assert_eq!(whole.count(flood), parts.count(flood), "{flood:?}");
    }

    // Time only ever forgives.
    let before = Flood::ALL.map(|flood| whole.count(flood));
    let _ = whole.observe_read(Instant::ZERO + Duration::from_secs(10), &[]);
    for (flood, before) in Flood::ALL.into_iter().zip(before) {
        assert!(whole.count(flood) <= before, "{flood:?}");
    }
});

fn begun() -> FrameWatch {
    let mut watch = FrameWatch::new(H2Limits::default(), Instant::ZERO);
    watch
        .observe_read(Instant::ZERO, START)
        .expect("a client may begin so");
    watch
}
