//! Both ends of a ring, in memory of this process; the test is the kernel.

use super::*;

const OFFSETS: XdpRingOffset = XdpRingOffset {
    producer: 0,
    consumer: 64,
    flags: Some(128),
    desc: 192,
};

/// A ring of four slots whose counters begin at `count`: its two ends and its memory.
fn ring(count: u32) -> (Producer<u64>, Consumer<u64>, Arc<Mapping>) {
    let memory = Arc::new(Mapping::anonymous(4096, false).unwrap());
    set(&memory, OFFSETS.producer, count);
    set(&memory, OFFSETS.consumer, count);
    (
        Producer::new(Arc::clone(&memory), &OFFSETS, 4).unwrap(),
        Consumer::new(Arc::clone(&memory), &OFFSETS, 4).unwrap(),
        memory,
    )
}

fn set(memory: &Mapping, offset: u64, value: u32) {
    let field = memory.field::<AtomicU32>(offset, 1).unwrap();
    // SAFETY: in the mapping, aligned, and used as an atomic everywhere.
    unsafe { field.as_ref() }.store(value, Relaxed);
}

#[test]
fn what_is_written_is_read_in_order_once_it_is_published() {
    for start in [0, u32::MAX - 5] {
        let (mut near, mut far, _) = ring(start);
        for round in 0..20 {
            assert_eq!(near.publish(), 0);
            for n in 0..3 {
                assert!(near.push(round * 10 + n));
            }
            assert_eq!(far.pop(), None, "not published yet");
            assert_eq!(near.publish(), 3);
            assert_eq!((far.ready(), near.unread()), (3, 3));
            for n in 0..3 {
                assert_eq!(far.pop(), Some(round * 10 + n));
            }
            assert_eq!(far.pop(), None);
            assert_eq!(near.unread(), 3, "not released yet");
            far.release();
            assert_eq!(near.unread(), 0);
        }
    }
}

#[test]
fn a_full_ring_takes_nothing_more() {
    let (mut near, mut far, _) = ring(7);
    assert!((0..4).all(|n| near.push(n)));
    assert!(!near.push(4));
    assert_eq!(near.publish(), 4);
    assert_eq!(far.pop(), Some(0));
    assert!(!near.push(4), "read, and not released");
    far.release();
    assert!(near.push(4));
    assert!(!near.push(5));
}

#[test]
fn counters_that_cannot_be_are_not_believed() {
    let (mut near, mut far, memory) = ring(0);
    set(&memory, OFFSETS.producer, 5);
    assert_eq!((far.ready(), far.pop()), (0, None));
    set(&memory, OFFSETS.producer, 0);
    assert!((0..4).all(|n| near.push(n)));
    set(&memory, OFFSETS.consumer, 0x8000_0000);
    assert!(near.free() <= 4);
    assert!(near.unread() <= 4);
}

#[test]
fn the_kernel_says_when_it_wants_to_be_called() {
    let (near, _, memory) = ring(0);
    assert!(!near.wants_wakeup());
    set(&memory, 128, 1);
    assert!(near.wants_wakeup());
    set(&memory, 128, 2);
    assert!(!near.wants_wakeup());
}

#[test]
fn a_ring_that_does_not_fit_is_refused() {
    let memory = || Arc::new(Mapping::anonymous(4096, false).unwrap());
    assert!(Producer::<u64>::new(memory(), &OFFSETS, 3).is_err());
    assert!(Producer::<u64>::new(memory(), &OFFSETS, 0).is_err());
    assert!(Producer::<u64>::new(memory(), &OFFSETS, 512).is_err());
    assert!(Producer::<u64>::new(memory(), &OFFSETS, 256).is_ok());
    assert!(Consumer::<Descriptor>::new(memory(), &OFFSETS, 256).is_err());
    let old = XdpRingOffset {
        flags: None,
        ..OFFSETS
    };
    assert!(Consumer::<u64>::new(memory(), &old, 4).is_err());
}

#[test]
fn the_length_of_a_mapping_is_that_of_its_slots_and_what_stands_before() {
    assert_eq!(mapped_len::<u64>(&OFFSETS, 4).unwrap(), 192 + 32);
    assert_eq!(mapped_len::<Descriptor>(&OFFSETS, 4).unwrap(), 192 + 64);
    let huge = XdpRingOffset {
        desc: u64::MAX,
        ..OFFSETS
    };
    assert!(mapped_len::<u64>(&huge, 4).is_err());
}
