//! Options come and go, and the rest of the packet is the same.

use lb_l4::packet::{Checksum, Offload, Packet};
use lb_l4::wire::tcp::{TcpOption, clamp_mss, flags, insert_option, options, strip_option};
use lb_l4::wire::{Frame, Headers, parse};
use proptest::prelude::*;

use crate::judge::errors;
use crate::sample::{Sample, segment};

const HEADROOM: usize = 64;

/// A packet in a buffer, taken apart.
struct Bench {
    buffer: Vec<u8>,
    len: usize,
    sample: Sample,
}

impl Bench {
    fn new(sample: Sample) -> Self {
        let mut buffer = vec![0xaa; HEADROOM];
        buffer.extend(&sample.bytes);
        Self {
            len: sample.bytes.len(),
            buffer,
            sample,
        }
    }

    fn packet(&mut self) -> Packet<'_> {
        let range = HEADROOM..HEADROOM + self.len;
        let packet = Packet::new(&mut self.buffer, range, self.sample.link);
        match self.sample.checksum {
            Checksum::Complete => packet,
            Checksum::Partial => packet.offload(Offload::partial(None)),
        }
    }
}

fn headers(packet: &Packet<'_>) -> Headers {
    match parse(packet.bytes(), packet.link()) {
        Ok(Frame::Ip(headers)) => headers,
        other => panic!("{other:?}"),
    }
}

fn list(bytes: &[u8], headers: &Headers) -> Vec<(u8, Vec<u8>)> {
    let area = &bytes[headers.transport + 20..headers.payload().start];
    options(area).map(raw).collect()
}

/// Kind, and the option as it is written.
fn raw(option: TcpOption<'_>) -> (u8, Vec<u8>) {
    let mut bytes = Vec::new();
    option.emit(&mut bytes);
    (option.kind(), bytes)
}

fn added() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<[u8; 6]>().prop_map(|it| [&[254, 8][..], &it].concat()),
        any::<[u8; 18]>().prop_map(|it| [&[253, 20][..], &it].concat()),
        Just(vec![4, 2]),
        any::<u8>().prop_map(|it| vec![3, 3, it]),
        any::<[u8; 2]>().prop_map(|it| [&[2, 4][..], &it].concat()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn an_option_that_is_inserted_is_there_and_nothing_else_has_changed(
        sample in segment(),
        option in added(),
    ) {
        let checksum = sample.checksum;
        let mut bench = Bench::new(sample);
        let mut packet = bench.packet();
        let mut held = headers(&packet);
        let before = (held, packet.bytes().to_vec());
        let had = list(packet.bytes(), &held);
        let wrong = errors(packet.bytes(), &held, checksum);
        let done = insert_option(&mut packet, &mut held, &option);
        prop_assert_eq!(headers(&packet), held);
        if done.is_err() {
            prop_assert_eq!(&(held, packet.bytes().to_vec()), &before);
            let len = before.0.payload().start - before.0.transport;
            prop_assert!(len + option.len().next_multiple_of(4) > 60);
            return Ok(());
        }
        prop_assert_eq!(errors(packet.bytes(), &held, checksum), wrong);
        prop_assert_eq!(&packet.bytes()[held.payload()], &before.1[before.0.payload()]);
        prop_assert_eq!(&packet.bytes()[held.end..], &before.1[before.0.end..]);
        prop_assert_eq!(&packet.bytes()[..held.network], &before.1[..held.network]);
        // There may have been one like it already.
        let has = list(packet.bytes(), &held);
        let same = (0..has.len()).any(|at| {
            let mut others = has.clone();
            others.remove(at).1 == option && others == had
        });
        prop_assert!(same, "{:?} is not {:?} and {:?}", has, had, option);
    }

    #[test]
    fn stripping_takes_every_option_of_the_kind_and_none_other(
        sample in segment(),
        kind in prop::sample::select(vec![2_u8, 3, 5, 8, 253, 254, 77]),
    ) {
        let checksum = sample.checksum;
        let mut bench = Bench::new(sample);
        let mut packet = bench.packet();
        let mut held = headers(&packet);
        let had = list(packet.bytes(), &held);
        let wrong = errors(packet.bytes(), &held, checksum);
        let len = packet.bytes().len();
        let stripped = strip_option(&mut packet, &held, kind);
        prop_assert_eq!(stripped, had.iter().filter(|it| it.0 == kind).count());
        let kept: Vec<_> = had.into_iter().filter(|it| it.0 != kind).collect();
        prop_assert_eq!(list(packet.bytes(), &held), kept);
        prop_assert_eq!(headers(&packet), held);
        prop_assert_eq!(errors(packet.bytes(), &held, checksum), wrong);
        prop_assert_eq!(packet.bytes().len(), len);
        // What was stripped leaves room for as much.
        if stripped > 0 && kind == 254 {
            let end = held.end;
            prop_assert_eq!(insert_option(&mut packet, &mut held, &[254, 8, 1, 2, 3, 4, 5, 6]), Ok(()));
            prop_assert_eq!(held.end, end);
        }
    }

    #[test]
    fn the_maximum_segment_size_of_a_syn_is_lowered_and_never_raised(
        sample in segment(),
        most in any::<u16>(),
    ) {
        let Sample { mut bytes, link, checksum } = sample;
        let Ok(Frame::Ip(held)) = parse(&bytes, link) else {
            return Err(TestCaseError::fail("not IP"));
        };
        let had = list(&bytes, &held);
        let wrong = errors(&bytes, &held, checksum);
        clamp_mss(&mut bytes, &held, most, checksum);
        let syn = held.tcp().unwrap().has(flags::SYN);
        let clamped = had.into_iter().map(|(kind, mut option)| {
            if let (2, true, [2, 4, a, b]) = (kind, syn, &mut option[..]) {
                let value = u16::from_be_bytes([*a, *b]).min(most);
                [*a, *b] = value.to_be_bytes();
            }
            (kind, option)
        });
        prop_assert_eq!(list(&bytes, &held), clamped.collect::<Vec<_>>());
        prop_assert_eq!(parse(&bytes, link), Ok(Frame::Ip(held)));
        prop_assert_eq!(errors(&bytes, &held, checksum), wrong);
    }
}
