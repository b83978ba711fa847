use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use super::*;
use crate::audit::{AuditLog, Decision, Expected, OnAuditFailure, Summary, Unrecorded, verify};
use crate::scheme::Scheme;
use crate::ski::Ski;

/// A disk that does what a test tells it, and tells the test what it was asked.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Faults>>);

#[derive(Default)]
struct Faults {
    bytes: Vec<u8>,
    /// Bytes that still fit.
    room: Option<usize>,
    no_sync: bool,
    no_rotation: bool,
    rotations: usize,
    syncs: usize,
    /// Told of each write that fails.
    failed: Option<Sender<()>>,
    /// Writes wait until something comes from here.
    gate: Option<Receiver<()>>,
}

impl Fake {
    fn with<T>(&self, change: impl FnOnce(&mut Faults) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn summary(&self) -> Summary {
        let bytes = self.with(|faults| faults.bytes.clone());
        verify(&*bytes, &Expected::default()).expect("whole")
    }

    fn log(&self, config: AuditConfig) -> AuditLog {
        let mut begin = Vec::new();
        let mut chain = Chain::new(Head::default(), config.checkpoint_key.clone(), 1);
        chain.begin(0, &mut begin);
        self.with(|faults| faults.bytes = begin);
        AuditLog::start(self.clone(), chain.head(), &[], config).expect("opened")
    }
}

impl Disk for Fake {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gate = self.with(|faults| faults.gate.take());
        if let Some(gate) = gate {
            gate.recv().expect("the test goes on");
        }
        self.with(|faults| {
            let count = faults
                .room
                .map_or(bytes.len(), |room| room.min(bytes.len()));
            if count == 0 {
                faults.failed.as_ref().map(|failed| failed.send(()));
                return Err(io::ErrorKind::StorageFull.into());
            }
            faults.bytes.extend(&bytes[..count]);
            faults.room = faults.room.map(|room| room - count);
            Ok(count)
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.with(|faults| {
            faults.syncs += 1;
            match faults.no_sync {
                true => Err(io::ErrorKind::Other.into()),
                false => Ok(()),
            }
        })
    }

    fn size(&mut self) -> io::Result<u64> {
        Ok(self.with(|faults| faults.bytes.len() as u64))
    }

    fn rotate(&mut self, head: Head, key: Option<&CheckpointKey>, at: u64) -> io::Result<Head> {
        self.with(|faults| {
            if faults.no_rotation {
                return Err(io::ErrorKind::StorageFull.into());
            }
            faults.rotations += 1;
            faults.bytes.clear();
            let mut chain = Chain::new(head, key.cloned(), 1);
            chain.begin(at, &mut faults.bytes);
            Ok(chain.head())
        })
    }
}

fn record() -> Record {
    let node = "lb://node/7".parse().expect("good");
    Record::new(
        7,
        node,
        Ski::of_bits(b"abc"),
        Scheme::Ed25519,
        Decision::Signed,
    )
}

fn config() -> AuditConfig {
    AuditConfig::default().linger(Duration::ZERO)
}

/// Records until the disk has failed, and waits for that.
fn fail_once(disk: &Fake, log: &AuditLog, room: usize) -> Receiver<()> {
    let (failed, failures) = channel();
    disk.with(|faults| {
        faults.room = Some(room);
        faults.failed = Some(failed);
    });
    log.record(record()).expect("the disk has not failed yet");
    // The second failure comes after the first was noted.
    for _ in 0..2 {
        failures.recv().expect("it fails");
    }
    failures
}

#[test]
fn a_full_disk_refuses_signatures_and_leaves_no_trace_when_it_has_room_again() {
    let disk = Fake::default();
    let log = disk.log(config());
    let failures = fail_once(&disk, &log, 100);
    assert_eq!(log.ready(), Err(Unrecorded::Failed));
    assert_eq!(log.record(record()), Err(Unrecorded::Failed));
    assert_eq!(log.stats().refused_failed, 1);
    assert!(log.stats().failures >= 1);

    disk.with(|faults| faults.room = None);
    drop(failures);
    let head = log.close().expect("there is room");
    let summary = disk.summary();
    assert_eq!(
        (
            summary.records,
            summary.lost,
            summary.torn,
            summary.torn_tail
        ),
        (1, 0, 0, 0)
    );
    assert_eq!((summary.head, log.head()), (head, head));
}

#[test]
fn who_continues_without_a_log_says_how_many_records_are_missing() {
    let disk = Fake::default();
    let log = disk.log(config().on_failure(OnAuditFailure::Continue));
    let _failures = fail_once(&disk, &log, 0);
    for _ in 0..3 {
        assert_eq!(log.record(record()), Ok(()));
    }
    assert_eq!(log.ready(), Ok(()));
    disk.with(|faults| faults.room = None);
    log.close().expect("there is room");
    let summary = disk.summary();
    assert_eq!((summary.records, summary.lost), (1, 3));
    let stats = log.stats();
    assert_eq!(
        (stats.recorded, stats.lost, stats.refused_failed),
        (1, 3, 0)
    );
}

#[test]
fn closing_on_a_full_disk_is_an_error_and_ends() {
    let disk = Fake::default();
    let log = disk.log(config());
    let _failures = fail_once(&disk, &log, 0);
    assert_eq!(log.close().unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(log.record(record()), Err(Unrecorded::Failed));
}

#[test]
fn a_closed_log_takes_no_records() {
    let disk = Fake::default();
    let log = disk.log(config());
    let head = log.close().expect("closed");
    assert_eq!(log.record(record()), Err(Unrecorded::Closed));
    assert_eq!(log.stats().refused_closed, 1);
    assert_eq!(log.close().expect("again"), head);
}

#[test]
fn a_disk_that_cannot_be_forced_is_not_trusted_again() {
    let disk = Fake::default();
    let log = disk.log(config().sync_interval(Duration::ZERO));
    let before = log.head();
    disk.with(|faults| faults.no_sync = true);
    log.record(record()).expect("not known yet");
    let until_failed = || {
        while log.stats().failures == 0 {
            std::thread::yield_now();
        }
    };
    until_failed();
    disk.with(|faults| faults.no_sync = false);
    while log.ready().is_ok() {
        std::thread::yield_now();
    }
    assert_eq!(log.record(record()), Err(Unrecorded::Failed));
    assert!(log.close().is_err());
    assert_eq!(
        log.head(),
        before,
        "what was written since is not known to be there"
    );
    assert_eq!(log.stats().refused_failed, 1);
}

#[test]
fn a_queue_that_is_full_refuses() {
    let disk = Fake::default();
    let log = disk.log(config().queue(2));
    let (open, gate) = channel();
    disk.with(|faults| faults.gate = Some(gate));
    log.record(record()).expect("room");
    // The writer has it, and is stuck.
    while disk.with(|faults| faults.gate.is_some()) {
        std::thread::yield_now();
    }
    for _ in 0..2 {
        log.record(record()).expect("room");
    }
    assert_eq!(log.record(record()), Err(Unrecorded::Full));
    assert_eq!(log.stats().refused_full, 1);
    open.send(()).expect("it waits");
    log.close().expect("closed");
    assert_eq!(disk.summary().records, 3);
}

#[test]
fn each_write_is_forced_where_no_time_may_pass_and_sealed_by_a_key() {
    let disk = Fake::default();
    let key = CheckpointKey::from_bytes(&[7; 32]);
    let config = config()
        .sync_interval(Duration::ZERO)
        .checkpoint_key(key.clone());
    let log = disk.log(config);
    for count in 1..=3 {
        log.record(record()).expect("room");
        while log.stats().syncs < count {
            std::thread::yield_now();
        }
    }
    log.close().expect("closed");
    let bytes = disk.with(|faults| faults.bytes.clone());
    let summary = verify(&*bytes, &Expected::default().key(key)).expect("whole");
    // One for the opening, and one for each record.
    assert_eq!((summary.checkpoints, summary.unsealed), (4, 0));
    assert_eq!(disk.with(|faults| faults.syncs), 4);
}

#[test]
fn where_no_other_file_can_begin_the_old_one_goes_on() {
    let disk = Fake::default();
    let log = disk.log(config().max_bytes(1));
    disk.with(|faults| faults.no_rotation = true);
    while log.stats().failures == 0 {
        let _ = log.record(record());
        std::thread::yield_now();
    }
    assert_eq!(log.ready(), Ok(()));
    disk.with(|faults| faults.no_rotation = false);
    while log.stats().rotations == 0 {
        let _ = log.record(record());
        std::thread::yield_now();
    }
    log.close().expect("closed");
    assert!(disk.with(|faults| faults.rotations) >= 1);
    assert_eq!(disk.summary().torn_tail, 0);
}
