//! Two codecs of the Keyless protocol, one in Rust and one in Python, read and write the same bytes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use harness::keyless::{keyless, told};
use lb_keyserver::wire::{self, Items};
use lbcore::rng::{Rng, Xoshiro};
use serde_json::{Value, json};

#[test]
fn every_golden_vector_is_read_and_written_byte_for_byte() {
    let vectors = told(keyless("vectors").start());
    assert_eq!(vectors.len(), 4);
    for vector in vectors {
        assert_eq!(vector["ok"], true, "{vector}");
        let bytes = from_hex(vector["hex"].as_str().unwrap());
        let (frame, used) = wire::parse(&bytes).unwrap().unwrap();
        assert_eq!((json!(frame.id), used), (vector["id"].clone(), bytes.len()));
        let mut again = Vec::new();
        wire::emit(frame.id, &frame.items, &mut again).unwrap();
        assert!(again == bytes, "{}", vector["name"]);
        for short in [0, 7, 8, bytes.len() - 1] {
            assert_eq!(wire::parse(&bytes[..short]), Ok(None), "{short}");
        }
    }
}

#[test]
fn both_codecs_agree_on_bodies_that_are_good_broken_and_in_between() {
    let mut dice = Xoshiro::new(SEED);
    let bodies: Vec<_> = (0..BODIES).map(|_| body(&mut dice)).collect();
    let lines: Vec<_> = bodies.iter().map(|body| hex(body)).collect();
    let parse = keyless("parse").file("bodies", &lines.join("\n"));
    let theirs = told(parse.arg("bodies").start());
    assert_eq!(theirs.len(), bodies.len());
    let mut good = 0;
    for (body, their) in bodies.iter().zip(&theirs) {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        let frame = [&[1, 0][..], &length, &[0, 0, 0, 9], body].concat();
        match wire::parse(&frame) {
            Err(error) => assert_eq!(their["case"], "malformed", "{error}: {}", hex(body)),
            Ok(parsed) => {
                let (parsed, used) = parsed.expect("the frame is whole");
                assert_eq!(used, frame.len());
                let own = json!(named(&parsed.items));
                assert_eq!(own, without_zeros(&their["items"]), "{}", hex(body));
                good += 1;
            }
        }
    }
    // Were all of one kind, the other would not be tested.
    assert!((BODIES / 10..BODIES * 9 / 10).contains(&good), "{good}");
}

#[test]
fn what_rust_writes_python_reads() {
    let mut dice = Xoshiro::new(SEED + 1);
    let (mut lines, mut expected) = (Vec::new(), Vec::new());
    for _ in 0..500 {
        let text: Vec<u8> = (0..dice.below(1_200)).map(|_| roll(&mut dice)).collect();
        let (digest, ski) = ([roll(&mut dice); 32], [roll(&mut dice); 20]);
        let one = |part: &mut Xoshiro| part.below(2) == 1;
        let items = Items {
            opcode: wire::Opcode(roll(&mut dice)),
            payload: &text,
            ski: one(&mut dice).then(|| lb_keyserver::Ski::from_bytes(ski)),
            certificate_digest: one(&mut dice).then_some(&digest),
            client_ip: one(&mut dice).then(|| IpAddr::from([roll(&mut dice); 4])),
            server_ip: one(&mut dice).then(|| IpAddr::from([roll(&mut dice); 16])),
            server_name: &text[..text.len() / 3],
            cert_id: &text[text.len() / 2..],
            custom_name: &text[..text.len() / 9],
            extra: &text[..text.len() / 4],
            request_context: b"{}",
            compliance_region: roll(&mut dice) % 3,
            ..Items::default()
        };
        let mut frame = Vec::new();
        wire::emit(1, &items, &mut frame).unwrap();
        lines.push(hex(&frame[wire::HEADER..]));
        expected.push(json!(named(&items)));
    }
    let parse = keyless("parse").file("bodies", &lines.join("\n"));
    let read = told(parse.arg("bodies").start());
    assert_eq!(read.len(), expected.len());
    for (their, own) in read.iter().zip(expected) {
        assert_eq!(their["items"], own);
    }
}

/// A run of items, most of them right, some twice, too long, too short or cut.
fn body(dice: &mut Xoshiro) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..dice.below(6) {
        let tag = match dice.below(8) {
            0 => roll(dice),
            _ => TAGS[usize::from(roll(dice)) % TAGS.len()],
        };
        let right = match tag {
            0x01 => 32,
            0x03 | 0x05 => 4 + 12 * dice.below(2),
            0x04 => 20,
            0x11 | 0x17 => 1,
            _ => dice.below(40),
        };
        let length = match dice.below(12) {
            0 => right + 1,
            1 => right.saturating_sub(1),
            2 => dice.below(40),
            _ => right,
        };
        body.push(tag);
        body.extend_from_slice(
            &u16::try_from(length)
                .expect("bodies are short")
                .to_be_bytes(),
        );
        body.extend((0..length).map(|_| roll(dice)));
    }
    match dice.below(8) {
        0 => body.truncate(body.len().saturating_sub(1)),
        1 => body.extend((0..dice.below(4)).map(|_| roll(dice))),
        _ => {}
    }
    body
}

/// What is there, by its tag, as the Python half tells it.
fn named(items: &Items<'_>) -> BTreeMap<String, String> {
    let address = |ip: Option<IpAddr>| match ip {
        None => Vec::new(),
        Some(IpAddr::V4(ip)) => ip.octets().to_vec(),
        Some(IpAddr::V6(ip)) => ip.octets().to_vec(),
    };
    let unless_zero = |byte: u8| if byte == 0 { Vec::new() } else { vec![byte] };
    let all = [
        (
            0x01,
            items
                .certificate_digest
                .map_or(Vec::new(), |digest| digest.to_vec()),
        ),
        (0x02, items.server_name.to_vec()),
        (0x03, address(items.client_ip)),
        (
            0x04,
            items.ski.map_or(Vec::new(), |ski| ski.as_bytes().to_vec()),
        ),
        (0x05, address(items.server_ip)),
        (0x06, items.cert_id.to_vec()),
        (0x11, unless_zero(items.opcode.0)),
        (0x12, items.payload.to_vec()),
        (0x13, items.custom_name.to_vec()),
        (0x14, items.extra.to_vec()),
        (0x15, items.jaeger_span.to_vec()),
        (0x16, items.request_context.to_vec()),
        (0x17, unless_zero(items.compliance_region)),
    ];
    let there = all.into_iter().filter(|(_, value)| !value.is_empty());
    there
        .map(|(tag, value)| (format!("{tag:02x}"), hex(&value)))
        .collect()
}

/// An opcode and a region of zero are as if they were not there.
fn without_zeros(items: &Value) -> Value {
    let mut items = items.as_object().expect("an object").clone();
    items.retain(|tag, value| !(["11", "17"].contains(&tag.as_str()) && value == "00"));
    items.into()
}

fn roll(dice: &mut Xoshiro) -> u8 {
    u8::try_from(dice.below(256)).expect("below 256")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let starts = (0..text.len()).step_by(2);
    let bytes = starts.map(|at| u8::from_str_radix(&text[at..at + 2], 16));
    bytes.collect::<Result<_, _>>().expect("hexadecimal digits")
}

const TAGS: [u8; 14] = [
    0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x20,
];

const BODIES: usize = 3_000;

/// Any will do, as long as a failure comes again.
const SEED: u64 = 20_260_823;
