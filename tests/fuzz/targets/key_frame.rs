//! A frame of a key server is the same however its bytes arrive, and what is read of one survives
//! being written and read again.
#![no_main]

use lb_keyserver::question::{Answer, emit_pong, emit_signature};
use lb_keyserver::wire::{HEADER, Items, MAX_FRAME, PADDED, ParseError, emit, length, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = check(bytes);
    // As the items of a frame whose length is right.
    let body = bytes.get(..usize::from(u16::MAX)).unwrap_or(bytes);
    let [.., high, low] = body.len().to_be_bytes();
    let framed = [&[1, 0, high, low, 0, 0, 0, 9], body].concat();
    if let Ok(items) = check(&framed) {
        let items = items.expect("a frame that is whole");
        check_items(&items);
    }
});

/// Takes the bytes at once and up to each length; what is waited for comes with its last byte.
fn check(bytes: &[u8]) -> Result<Option<Items<'_>>, ParseError> {
    let answer = parse(bytes);
    let Ok(Some((frame, used))) = answer else {
        assert!(answer.is_err() || bytes.len() < MAX_FRAME);
        return answer.map(|_| None);
    };
    assert!((HEADER..=bytes.len()).contains(&used));
    assert_eq!(parse(&bytes[..used]), answer);
    for short in [0, HEADER - 1, HEADER, used - 1] {
        if short < used {
            assert_eq!(parse(&bytes[..short]), Ok(None));
        }
    }
    Ok(Some(frame.items))
}

fn check_items(items: &Items<'_>) {
    let mut bytes = b"before".to_vec();
    // Items that came in one frame go in one, as nothing that was dropped comes back.
    emit(7, items, &mut bytes).expect("fits");
    let written = bytes.strip_prefix(b"before").expect("appended");
    assert_eq!(length(items), Ok(written.len()));
    assert!(written.len() >= PADDED);
    let (frame, used) = parse(written).expect("good").expect("whole");
    assert_eq!((frame.id, frame.items, used), (7, *items, written.len()));

    for (emit, answer) in [
        (
            emit_pong as fn(u32, &[u8], &mut Vec<u8>),
            Answer::Pong(items.payload),
        ),
        (emit_signature, Answer::Signature(items.payload)),
    ] {
        let mut bytes = Vec::new();
        emit(8, items.payload, &mut bytes);
        let (frame, _) = parse(&bytes).expect("good").expect("whole");
        // With an opcode before it, the longest payload does not fit any more.
        if items.payload.len() <= usize::from(u16::MAX) - 7 {
            assert_eq!(Answer::read(&frame.items), answer);
        }
    }
}
