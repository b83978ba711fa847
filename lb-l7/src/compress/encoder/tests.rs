use std::io::Read;

use proptest::prelude::*;

use super::*;

/// Undoes a codec, by decoders that share no code with the encoders' drivers.
fn decode(codec: Codec, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    match codec {
        Codec::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut text)?,
        Codec::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut text)?,
        Codec::Zstd => zstd::stream::read::Decoder::new(bytes)?.read_to_end(&mut text)?,
    };
    Ok(text)
}

/// What can be decoded of a body that is not whole.
fn decode_so_far(codec: Codec, bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut room = [0; 4096];
    let mut reader: Box<dyn Read + '_> = match codec {
        Codec::Brotli => Box::new(brotli::Decompressor::new(bytes, 4096)),
        Codec::Gzip => Box::new(flate2::read::GzDecoder::new(bytes)),
        Codec::Zstd => Box::new(zstd::stream::read::Decoder::new(bytes).unwrap()),
    };
    while let Ok(read) = reader.read(&mut room)
        && read > 0
    {
        text.extend_from_slice(&room[..read]);
    }
    text
}

/// Text that shrinks, from a seed.
fn text(bytes: usize) -> Vec<u8> {
    let words = ["lorem", "ipsum", "dolor", "sit", "amet", "load", "balance"];
    let mut seed = 7_usize;
    let mut text = Vec::with_capacity(bytes + 8);
    while text.len() < bytes {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        text.extend_from_slice(words[(seed >> 33) % words.len()].as_bytes());
        text.push(b' ');
    }
    text.truncate(bytes);
    text
}

/// Bytes that do not shrink.
fn noise(bytes: usize) -> Vec<u8> {
    use lbcore::rng::{Rng, Xoshiro};

    let mut rng = Xoshiro::new(3);
    (0..bytes)
        .map(|_| rng.next_u64().to_le_bytes()[0])
        .collect()
}

fn codecs() -> impl Strategy<Value = Codec> {
    prop::sample::select(Codec::ALL.to_vec())
}

#[derive(Clone, Debug)]
enum Do {
    Push(Vec<u8>),
    Flush,
    Pause,
}

fn steps() -> impl Strategy<Value = Vec<Do>> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::collection::vec(97..99_u8, 0..2000),
        (0..40_000_usize).prop_map(text),
        (0..40_000_usize).prop_map(noise),
    ];
    let step = prop_oneof![
        4 => bytes.prop_map(Do::Push),
        1 => Just(Do::Flush),
        1 => Just(Do::Pause),
    ];
    prop::collection::vec(step, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_comes_out_is_what_went_in_however_it_is_cut(
        codec in codecs(),
        level in 1..=9_u8,
        is_stream in any::<bool>(),
        steps in steps(),
    ) {
        let mut encoder = Encoder::new(codec, level).flush_on_pause(is_stream);
        let (mut plain, mut coded) = (Vec::new(), Vec::new());
        for step in steps {
            let (given, is_flushed) = match step {
                Do::Push(data) => {
                    plain.extend_from_slice(&data);
                    (encoder.push(&data), false)
                }
                Do::Flush => (encoder.flush(), true),
                Do::Pause => (encoder.pause(), is_stream),
            };
            coded.extend_from_slice(&given.unwrap());
            if is_flushed {
                prop_assert_eq!(&decode_so_far(codec, &coded), &plain);
            }
        }
        coded.extend_from_slice(&encoder.finish().unwrap());
        prop_assert_eq!(decode(codec, &coded).unwrap(), plain);
    }
}

#[test]
fn byte_by_byte_is_the_same_as_all_at_once() {
    let plain = text(20_000);
    for codec in Codec::ALL {
        let mut encoder = Encoder::new(codec, 5);
        let mut coded = Vec::new();
        for byte in plain.chunks(1) {
            coded.extend_from_slice(&encoder.push(byte).unwrap());
        }
        coded.extend_from_slice(&encoder.finish().unwrap());
        assert!(coded.len() < plain.len() / 3, "{codec}: {}", coded.len());
        assert_eq!(decode(codec, &coded).unwrap(), plain);
    }
}

#[test]
fn nothing_is_a_valid_body_too() {
    for codec in Codec::ALL {
        let mut encoder = Encoder::new(codec, 5);
        assert!(encoder.push(b"").unwrap().is_empty());
        assert!(encoder.flush().unwrap().is_empty());
        let coded = encoder.finish().unwrap();
        assert!(!coded.is_empty());
        assert_eq!(decode(codec, &coded).unwrap(), b"");
    }
}

#[test]
fn a_flush_gives_each_event_and_a_second_one_nothing() {
    for codec in Codec::ALL {
        let mut encoder = Encoder::new(codec, 5).flush_on_pause(true);
        let (mut plain, mut coded) = (Vec::new(), Vec::new());
        for n in 0..50 {
            let event = format!("data: {n}\n\n");
            plain.extend_from_slice(event.as_bytes());
            coded.extend_from_slice(&encoder.push(event.as_bytes()).unwrap());
            coded.extend_from_slice(&encoder.pause().unwrap());
            assert_eq!(decode_so_far(codec, &coded), plain, "{codec}");
            assert!(encoder.pause().unwrap().is_empty());
        }
    }
}

#[test]
fn a_body_with_a_length_is_not_flushed_by_pauses() {
    for codec in Codec::ALL {
        let mut encoder = Encoder::new(codec, 5);
        let mut given = encoder.push(b"hello").unwrap().to_vec();
        given.extend_from_slice(&encoder.pause().unwrap());
        assert_eq!(decode_so_far(codec, &given), b"");
        given.extend_from_slice(&encoder.flush().unwrap());
        assert_eq!(decode_so_far(codec, &given), b"hello");
    }
}

#[test]
fn what_does_not_shrink_grows_by_little_and_comes_in_one_piece_a_push() {
    let piece = noise(32 * 1024);
    for codec in Codec::ALL {
        let mut encoder = Encoder::new(codec, 5);
        let (mut all, mut most) = (0, 0);
        for _ in 0..64 {
            let given = encoder.push(&piece).unwrap().len();
            (all, most) = (all + given, most.max(given));
        }
        all += encoder.finish().unwrap().len();
        assert!(all < 64 * piece.len() + 2048, "{codec}: {all}");
        // Not more at once than a window, and a piece, hold.
        assert!(
            most <= (2 << WINDOW_LOG) + 2 * piece.len(),
            "{codec}: {most}"
        );
    }
}

#[test]
fn a_harder_level_does_not_give_more() {
    let plain = text(200_000);
    for codec in Codec::ALL {
        let size = |level| {
            let mut encoder = Encoder::new(codec, level);
            let pushed = encoder.push(&plain).unwrap().len();
            pushed + encoder.finish().unwrap().len()
        };
        assert!(size(9) <= size(1), "{codec}");
        assert_eq!(size(0), size(1));
        assert_eq!(size(10), size(9));
    }
}

#[test]
fn an_encoder_says_what_it_is() {
    let encoder = Encoder::new(Codec::Zstd, 3);
    assert_eq!(encoder.codec(), Codec::Zstd);
    assert!(format!("{encoder:?}").starts_with("Encoder { codec: Zstd"));
}

#[test]
fn a_flush_gives_all_even_of_a_codec_that_had_more_to_give_than_there_was_room_for() {
    for codec in Codec::ALL {
        for level in [1, 2, 5, 9] {
            for bytes in [16_384, 31_750, 31_876, 33_000, 65_600, 90_000] {
                let plain = noise(bytes);
                let mut encoder = Encoder::new(codec, level);
                let mut coded = encoder.push(&plain).unwrap().to_vec();
                coded.extend_from_slice(&encoder.flush().unwrap());
                let given = decode_so_far(codec, &coded).len();
                assert_eq!(given, bytes, "{codec} at {level}");
            }
        }
    }
}
