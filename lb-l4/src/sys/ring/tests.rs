use proptest::prelude::*;

use super::*;

/// A block whose frames stand at these places, each with its next one, its start, its length there
/// and on the link, its status, and its kind.
fn block(count: u32, first: u32, frames: &[(usize, [u32; 5], u8)]) -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(12, &count.to_ne_bytes());
    put(16, &first.to_ne_bytes());
    for (at, [next, start, len, whole, status], kind) in frames {
        put(*at, &next.to_ne_bytes());
        put(at + 12, &len.to_ne_bytes());
        put(at + 16, &whole.to_ne_bytes());
        put(at + 20, &status.to_ne_bytes());
        put(at + 24, &u16::try_from(*start).unwrap().to_ne_bytes());
        put(at + 32, &0x2345_u32.to_ne_bytes());
        put(at + 36, &0x88a8_u16.to_ne_bytes());
        put(at + KIND, &[*kind]);
    }
    bytes
}

fn frames(bytes: &mut [u8]) -> Frames<'_> {
    let block = Block {
        bytes: &mut bytes[READABLE..],
    };
    let cursor = block.begin();
    block.frames(cursor)
}

#[test]
fn frames_come_in_order_and_have_the_room_before_them() {
    let vlan = libc::TP_STATUS_VLAN_VALID;
    let both = vlan | libc::TP_STATUS_VLAN_TPID_VALID;
    let mut bytes = block(
        4,
        48,
        &[
            (48, [160, 100, 60, 60, 1], 0),
            (208, [200, 80, 100, 101, vlan], libc::PACKET_OUTGOING),
            (408, [100, 70, 30, 30, both], 3),
            (508, [0, 90, 10, 10, 0], 0),
        ],
    );
    let seen: Vec<_> = frames(&mut bytes)
        .map(|it| {
            (
                it.buffer.len(),
                it.start,
                it.len,
                it.is_cut,
                it.vlan,
                it.is_outgoing,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (92, 32, 60, false, None, false),
            (132, 12, 100, true, Some((0x8100, 0x2345)), true),
            (32, 2, 30, false, Some((0x88a8, 0x2345)), false),
            (32, 22, 10, false, None, false),
        ]
    );
}

#[test]
fn reading_goes_on_where_it_stopped() {
    let all = [
        (48, [100, 70, 1, 1, 0], 0),
        (148, [100, 70, 2, 2, 0], 0),
        (248, [0, 70, 3, 3, 0], 0),
    ];
    let mut bytes = block(3, 48, &all);
    let mut first = frames(&mut bytes);
    assert_eq!(first.next().map(|it| it.len), Some(1));
    let cursor = first.cursor();
    assert_eq!(cursor.left, 2);
    let rest = Block {
        bytes: &mut bytes[READABLE..],
    };
    let mut rest = rest.frames(cursor);
    assert_eq!(rest.by_ref().map(|it| it.len).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(rest.cursor().left, 0);
}

#[test]
fn the_packet_lies_where_it_is_said_to() {
    let mut bytes = block(1, 48, &[(48, [0, 70, 3, 3, 0], 0)]);
    bytes[48 + 70..48 + 73].copy_from_slice(b"abc");
    let frame = frames(&mut bytes).next().unwrap();
    assert_eq!(&frame.buffer[frame.start..frame.start + frame.len], b"abc");
}

#[test]
fn a_block_that_contradicts_itself_ends() {
    let contradictions = [
        // Before the block's own header; beyond the block; a frame before its own header's end.
        (1, 4, vec![]),
        (1, 1020, vec![]),
        (1, u32::MAX, vec![]),
        (1, 48, vec![(48, [67, 70, 3, 3, 0], 0)]),
        (1, 48, vec![(48, [u32::MAX, 70, 3, 3, 0], 0)]),
        (1, 48, vec![(48, [0, 67, 3, 3, 0], 0)]),
        (1, 48, vec![(48, [0, 70, 2000, 2000, 0], 0)]),
    ];
    for (count, first, all) in contradictions {
        let mut bytes = block(count, first, &all);
        let mut read = frames(&mut bytes);
        assert!(read.next().is_none(), "{count} {first} {all:?}");
        assert_eq!(read.cursor().left, 0);
    }
    assert_eq!(frames(&mut block(0, 48, &[])).count(), 0);
}

proptest! {
    #[test]
    fn no_block_makes_it_panic_or_go_on_for_ever(
        bytes in proptest::collection::vec(any::<u8>(), 100..400),
        first in 0..200_u32,
        next in 0..200_u32,
        count in 0..50_u32,
    ) {
        let mut bytes = bytes;
        bytes[12..16].copy_from_slice(&count.to_ne_bytes());
        bytes[16..20].copy_from_slice(&first.to_ne_bytes());
        if let Some(field) = bytes.get_mut(first as usize..first as usize + 4) {
            field.copy_from_slice(&next.to_ne_bytes());
        }
        prop_assert!(frames(&mut bytes).count() <= count as usize);
    }
}
