//! The audit log, as files: what is found out when they are tampered with, and what is not.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use lb_keyserver::access::{Denial, Identity};
use lb_keyserver::audit::{
    AuditConfig, AuditLog, Broken, CheckpointKey, Decision, Expected, Fault, Head, OpenError,
    Record, Summary, verify,
};
use lb_keyserver::quota::QuotaExceeded;
use lb_keyserver::wire::ErrorCode;
use lb_keyserver::{Mode, Scheme, Ski};
use proptest::prelude::*;
use proptest::sample::Index;

/// A folder that goes when the test does.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Relaxed);
        let name = format!("lb-audit-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("made");
        Self(path)
    }

    fn log(&self) -> PathBuf {
        self.0.join("audit.log")
    }

    /// A folder in which the log is these bytes.
    fn holding(bytes: &[u8]) -> Self {
        let folder = Self::new();
        fs::write(folder.log(), bytes).expect("written");
        folder.permit(0o600);
        folder
    }

    fn permit(&self, mode: u32) {
        fs::set_permissions(self.log(), fs::Permissions::from_mode(mode)).expect("set");
    }

    fn read(&self) -> Vec<u8> {
        fs::read(self.log()).expect("read")
    }

    /// The files of the log, the oldest first.
    fn files(&self) -> Vec<PathBuf> {
        let paths = fs::read_dir(&self.0).expect("there");
        let mut paths: Vec<_> = paths.map(|entry| entry.expect("read").path()).collect();
        // The one without a number is the newest.
        paths.sort_by_key(|path| (*path == self.log(), path.clone()));
        paths
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn key() -> CheckpointKey {
    CheckpointKey::from_bytes(&[7; 32])
}

fn keyed() -> AuditConfig {
    AuditConfig::default()
        .checkpoint_key(key())
        .checkpoint_every(3)
}

fn node() -> Identity {
    "lb://node/7".parse().expect("good")
}

fn record(number: u64) -> Record {
    let key = Ski::of_bits(b"abc");
    let record = Record::new(number, node(), key, Scheme::Ed25519, Decision::Signed);
    record.digest([1; 32]).micros(number)
}

/// Writes so many records, and says where the log then ends.
fn write(path: &Path, config: AuditConfig, records: u64) -> Head {
    let log = AuditLog::open(path, config).expect("opened");
    for number in 0..records {
        log.record(record(number)).expect("room");
    }
    log.close().expect("closed")
}

fn check(bytes: &[u8]) -> Result<Summary, Broken> {
    verify(bytes, &Expected::default())
}

fn fault(bytes: &[u8], expected: &Expected) -> Option<(u64, Fault)> {
    let broken = verify(bytes, expected).err();
    broken.map(|broken| (broken.line, broken.fault))
}

/// A log of one file: begin, open, checkpoint, and eight records with a checkpoint after each three
/// and at the end.
fn sample() -> (Vec<u8>, Head) {
    static SAMPLE: OnceLock<(Vec<u8>, Head)> = OnceLock::new();
    let made = SAMPLE.get_or_init(|| {
        let folder = Folder::new();
        let head = write(&folder.log(), keyed(), 8);
        (folder.read(), head)
    });
    made.clone()
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines.map(<[u8]>::to_vec).collect()
}

fn json(line: &[u8]) -> serde_json::Value {
    serde_json::from_slice(line).expect("JSON")
}

#[test]
fn a_log_as_it_was_written_is_good() {
    let (bytes, head) = sample();
    let expected = Expected::default()
        .after(Head::default())
        .head(head)
        .key(key());
    let summary = verify(&*bytes, &expected).expect("good");
    assert_eq!(
        (summary.records, summary.checkpoints, summary.unsealed),
        (8, 4, 0)
    );
    assert_eq!((summary.lost, summary.torn, summary.torn_tail), (0, 0, 0));
    assert_eq!((summary.previous, summary.head), (Head::default(), head));
    assert_eq!(head.lines, 14);
    assert_eq!(head.to_string().parse(), Ok(head));
    for bad in ["", "14", "14:", ":00", "x:00"] {
        assert!(bad.parse::<Head>().is_err(), "{bad}");
    }
}

#[test]
fn each_line_is_json_with_its_fields_in_order() {
    let folder = Folder::new();
    let log = AuditLog::open(folder.log(), AuditConfig::default()).expect("opened");
    let all = record(5)
        .peer("[::1]:4433".parse().expect("good"))
        .mode(Mode::Strict)
        .server_name("a\"\n\u{202e}.example")
        .client("192.0.2.1".parse().expect("good"));
    log.record(all).expect("room");
    log.close().expect("closed");
    let bytes = folder.read();
    let line = String::from_utf8(lines(&bytes)[2].clone()).expect("text");
    let (prefix, rest) = line.split_once(r#","at":"#).expect("there");
    assert!(prefix.starts_with(r#"{"seq":2,"prev":""#));
    assert!(prefix.ends_with(r#","kind":"sign""#));
    let expected = format!(
        "5,\"identity\":\"lb://node/7\",\"peer\":\"[::1]:4433\",\
         \"ski\":\"a9993e364706816aba3e25717850c26c9cd0d89d\",\"scheme\":\"ed25519\",\
         \"mode\":\"strict\",\"server_name\":\"a\\\"\\u000a\\u202e.example\",\
         \"client\":\"192.0.2.1\",\"digest\":\"{}\",\"result\":\"signed\",\"micros\":5,\"hash\":\"",
        "01".repeat(32)
    );
    assert!(rest.starts_with(&expected), "{rest}");
    for line in lines(&bytes) {
        let line = json(&line);
        assert!(line["seq"].is_u64() && line["hash"].is_string());
    }
}

#[test]
fn what_is_not_known_is_null_and_a_long_name_is_cut() {
    let folder = Folder::new();
    let log = AuditLog::open(folder.log(), AuditConfig::default()).expect("opened");
    let decisions = [
        (Decision::Denied(Denial::Key), "denied:key"),
        (Decision::Failed(ErrorCode::Crypto), "error:crypto"),
        (
            Decision::Limited(QuotaExceeded::InFlight),
            "limited:in-flight",
        ),
    ];
    for (decision, _) in decisions {
        let long = "ü".repeat(40_000);
        let record = Record::new(1, node(), Ski::of_bits(b""), Scheme::Ed25519, decision);
        log.record(record.server_name(long)).expect("room");
    }
    log.close().expect("closed");
    let bytes = folder.read();
    for (line, (_, text)) in lines(&bytes)[2..].iter().zip(decisions) {
        let line = json(line);
        assert_eq!(line["result"], text);
        assert_eq!(line["server_name"], "ü".repeat(127));
        for name in ["peer", "client", "digest"] {
            assert!(line[name].is_null(), "{name}");
        }
    }
    assert_eq!(check(&bytes).expect("good").records, 3);
}

proptest! {
    #[test]
    fn any_byte_that_is_changed_is_found(at in any::<Index>(), flip in 1..=u8::MAX) {
        let (mut bytes, head) = sample();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let line = 1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count() as u64;
        match check(&bytes) {
            Err(broken) => prop_assert_eq!(broken.line, line),
            // The end of the last line is gone: what is left looks as after a crash.
            Ok(summary) => {
                prop_assert_eq!(at, bytes.len() - 1);
                prop_assert!(summary.torn_tail > 0 && summary.head != head);
            }
        }
    }

    #[test]
    fn lines_that_are_removed_are_found(from in any::<Index>(), count in 1..4_usize) {
        let (bytes, _) = sample();
        let mut lines = lines(&bytes);
        // Not those at the end, which another test removes.
        let from = from.index(lines.len() - count);
        lines.drain(from..from + count);
        let broken = check(&lines.concat()).expect_err("found");
        prop_assert_eq!(broken.line, from as u64 + 1);
    }

    #[test]
    fn lines_that_are_swapped_repeated_or_moved_are_found(
        a in any::<Index>(),
        b in any::<Index>(),
    ) {
        let (bytes, _) = sample();
        let whole = lines(&bytes);
        let (a, b) = (a.index(whole.len()), b.index(whole.len()));
        let mut repeated = whole.clone();
        repeated.insert(b, whole[a].clone());
        prop_assert!(check(&repeated.concat()).is_err());
        if a != b {
            let mut swapped = whole.clone();
            swapped.swap(a, b);
            let broken = check(&swapped.concat()).expect_err("found");
            prop_assert_eq!(broken.line, a.min(b) as u64 + 1);
            let mut moved = whole;
            let line = moved.remove(a);
            moved.insert(b, line);
            prop_assert!(check(&moved.concat()).is_err());
        }
    }

    #[test]
    fn what_is_no_log_is_broken_and_nothing_worse(
        bytes in prop::collection::vec(any::<u8>(), 0..512),
    ) {
        prop_assert!(check(&bytes).is_err());
    }
}

#[test]
fn each_way_of_tampering_has_its_name() {
    let (bytes, _) = sample();
    let whole = lines(&bytes);
    let of = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut lines = whole.clone();
        change(&mut lines);
        fault(&lines.concat(), &Expected::default()).expect("found")
    };
    let missing = Fault::Sequence {
        expected: 4,
        found: 5,
    };
    assert_eq!(of(&|lines| drop(lines.remove(4))), (5, missing));
    let early = Fault::Sequence {
        expected: 4,
        found: 6,
    };
    assert_eq!(of(&|lines| lines.swap(4, 6)), (5, early));
    assert_eq!(of(&|lines| drop(lines.remove(0))), (1, Fault::Misplaced));
    assert_eq!(
        of(&|lines| lines.insert(2, whole[0].clone())),
        (3, Fault::Misplaced)
    );
    assert_eq!(of(&|lines| lines[4][9] ^= 1), (5, Fault::Malformed));
    let at = whole[4]
        .windows(4)
        .position(|four| four == b"0101")
        .expect("there");
    assert_eq!(of(&|lines| lines[4][at] = b'2'), (5, Fault::Hash));
    assert_eq!(
        of(&|lines| lines[4] = b"\n".to_vec()),
        (5, Fault::Malformed)
    );
    assert_eq!(
        of(&|lines| lines[4] = vec![b' '; 9_000]),
        (5, Fault::Malformed)
    );
    assert_eq!(
        fault(b"", &Expected::default()),
        Some((1, Fault::Misplaced))
    );
    assert_eq!(
        fault(b"x", &Expected::default()),
        Some((1, Fault::Misplaced))
    );

    // A line of another log, of the same number.
    let folder = Folder::new();
    write(&folder.log(), AuditConfig::default(), 8);
    let other = lines(&folder.read());
    assert_eq!(
        of(&|lines| lines[4] = other[4].clone()),
        (5, Fault::Previous)
    );
}

#[test]
fn a_log_that_was_cut_off_is_told_by_a_head_that_was_remembered() {
    let (bytes, head) = sample();
    let whole = lines(&bytes);
    for left in 1..whole.len() {
        let cut = whole[..left].concat();
        let expected = Expected::default().key(key());
        assert_eq!(fault(&cut, &expected), None, "no key shows it");
        let found = fault(&cut, &expected.head(head)).expect("found");
        assert_eq!(found, (left as u64 + 1, Fault::Head));
    }
    // A head from the midst will do, as the log has gone on since.
    for left in 1..whole.len() {
        let past = check(&whole[..left].concat()).expect("good").head;
        assert!(verify(&*bytes, &Expected::default().head(past)).is_ok());
    }
}

#[test]
fn a_chain_made_anew_is_told_by_the_key_alone() {
    let folder = Folder::new();
    let forged = AuditConfig::default().checkpoint_key(CheckpointKey::from_bytes(&[8; 32]));
    write(&folder.log(), forged, 8);
    let bytes = folder.read();
    assert!(check(&bytes).is_ok());
    let expected = Expected::default().key(key());
    assert_eq!(fault(&bytes, &expected), Some((1, Fault::Checkpoint)));

    let other = Folder::new();
    write(&other.log(), AuditConfig::default(), 8);
    assert_eq!(fault(&other.read(), &expected), Some((1, Fault::Unsealed)));
}

#[test]
fn lines_after_the_last_checkpoint_are_counted() {
    let folder = Folder::new();
    write(&folder.log(), AuditConfig::default(), 5);
    let summary = check(&folder.read()).expect("good");
    assert_eq!((summary.checkpoints, summary.unsealed), (0, 7));

    let (bytes, _) = sample();
    let whole = lines(&bytes);
    let expected = Expected::default().key(key());
    for (left, unsealed) in [
        (1, 0),
        (2, 1),
        (3, 0),
        (4, 1),
        (6, 3),
        (7, 0),
        (13, 2),
        (14, 0),
    ] {
        let summary = verify(&*whole[..left].concat(), &expected).expect("good");
        assert_eq!(summary.unsealed, unsealed, "{left}");
    }
}

#[test]
fn a_writer_never_leaves_so_many_lines_unsealed_that_the_log_is_refused() {
    let folder = Folder::new();
    write(&folder.log(), keyed().checkpoint_every(u64::MAX), 10_002);
    let expected = Expected::default().key(key());
    let summary = verify(&*folder.read(), &expected).expect("good");
    assert_eq!(summary.records, 10_002);
    assert!(summary.checkpoints >= 3);
}

#[test]
fn a_crash_at_any_byte_of_a_line_is_a_torn_tail_and_the_chain_goes_on() {
    let (bytes, _) = sample();
    let whole = lines(&bytes);
    let last = whole.last().expect("some").len();
    let start = bytes.len() - last;
    let before = check(&bytes[..start]).expect("good").head;
    for left in 0..last {
        let cut = &bytes[..start + left];
        let summary = check(cut).expect("a crash is no tampering");
        assert_eq!((summary.torn_tail, summary.head), (left as u64, before));

        let folder = Folder::holding(cut);
        write(&folder.log(), keyed(), 1);
        let after = folder.read();
        let expected = Expected::default().key(key()).head(before);
        let summary = verify(&*after, &expected).expect("good");
        assert_eq!((summary.torn, summary.torn_tail), (u64::from(left > 0), 0));
        if left > 0 {
            let torn = json(&lines(&after)[whole.len() - 1]);
            assert_eq!(
                (&torn["kind"], &torn["bytes"]),
                (&"torn".into(), &left.into())
            );
            assert_eq!(
                torn["text"],
                std::str::from_utf8(&cut[start..]).expect("ASCII")
            );
        }
    }
}

#[test]
fn of_a_long_torn_line_the_beginning_is_quoted() {
    let (bytes, _) = sample();
    let torn = [&bytes[..], &[0; 5_000]].concat();
    let folder = Folder::holding(&torn);
    write(&folder.log(), keyed(), 0);
    let after = folder.read();
    assert_eq!(check(&after).expect("good").torn, 1);
    let line = json(&lines(&after)[lines(&bytes).len()]);
    assert_eq!(line["bytes"], 5_000);
    assert_eq!(line["text"], "\0".repeat(1_024));
}

#[test]
fn a_log_is_gone_on_with_when_it_is_opened_again() {
    let folder = Folder::new();
    let first = write(&folder.log(), keyed(), 5);
    let second = write(&folder.log(), keyed(), 0);
    let third = write(&folder.log(), keyed(), 5);
    let bytes = folder.read();
    for head in [first, second, third] {
        let expected = Expected::default().head(head).key(key());
        assert_eq!(verify(&*bytes, &expected).expect("good").records, 10);
    }
    assert!(first.lines < second.lines && second.lines < third.lines);
    let metadata = fs::metadata(folder.log()).expect("there");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(folder.files(), [folder.log()], "nothing else is left");
}

#[test]
fn a_large_log_goes_on_in_another_file_which_begins_where_it_ended() {
    let folder = Folder::new();
    let log = AuditLog::open(folder.log(), keyed().max_bytes(4_096)).expect("opened");
    let mut records = 0;
    while log.stats().rotations < 4 {
        log.record(record(records)).expect("room");
        records += 1;
        while log.stats().recorded < records {
            std::thread::yield_now();
        }
    }
    log.close().expect("closed");
    drop(log);
    let last = write(&folder.log(), keyed().max_bytes(0), 20);

    let files = folder.files();
    assert!((5..=6).contains(&files.len()), "{files:?}");
    let (mut head, mut found) = (Head::default(), 0);
    for path in &files {
        let bytes = fs::read(path).expect("read");
        let expected = Expected::default().after(head).key(key());
        let summary = verify(&*bytes, &expected).expect("good");
        assert_eq!(summary.previous, head);
        found += summary.records;
        head = summary.head;
        if *path != folder.log() {
            assert!((4_096..6_144).contains(&bytes.len()), "{}", bytes.len());
            let number = format!("audit.log.{:020}", head.lines - 1);
            assert_eq!(path.file_name().expect("there").to_str(), Some(&*number));
        }
    }
    assert_eq!((found, head), (records + 20, last));

    let [first, second] = [0, 1].map(|place: usize| fs::read(&files[place]).expect("read"));
    let wrong = fault(&second, &Expected::default().after(Head::default()));
    assert!(matches!(
        wrong,
        Some((1, Fault::Sequence { expected: 0, .. }))
    ));
    let both = [first, second].concat();
    assert!(matches!(
        fault(&both, &Expected::default()),
        Some((_, Fault::Misplaced))
    ));
}

#[test]
fn a_log_is_opened_by_one_process_and_not_where_others_may_write() {
    let folder = Folder::new();
    let log = AuditLog::open(folder.log(), keyed()).expect("opened");
    let again = AuditLog::open(folder.log(), keyed());
    assert!(matches!(again, Err(OpenError::InUse)), "{again:?}");
    drop(log);
    for (mode, good) in [(0o620, false), (0o602, false), (0o644, true)] {
        folder.permit(mode);
        let opened = AuditLog::open(folder.log(), keyed());
        assert_eq!(opened.is_ok(), good, "{mode:o}");
        assert!(good || matches!(opened, Err(OpenError::Exposed)));
    }
}

#[test]
fn a_log_of_another_key_or_of_none_is_not_gone_on_with() {
    let other = AuditConfig::default().checkpoint_key(CheckpointKey::from_bytes(&[8; 32]));
    let plain = AuditConfig::default;
    for (first, second) in [(keyed(), other), (keyed(), plain()), (plain(), keyed())] {
        let folder = Folder::new();
        write(&folder.log(), first, 1);
        let opened = AuditLog::open(folder.log(), second);
        assert!(matches!(opened, Err(OpenError::OtherKey)), "{opened:?}");
    }
}

#[test]
fn what_does_not_end_as_a_log_is_not_gone_on_with() {
    let (good, _) = sample();
    let whole = lines(&good);
    let mut changed = good.clone();
    let at = changed.len() - 100;
    changed[at] ^= 1;
    let bad = [
        b"x".to_vec(),
        b"\n".to_vec(),
        changed,
        whole[1..].concat(),
        [good.clone(), vec![b'x'; 8_192]].concat(),
        whole[0][..9].to_vec(),
    ];
    for bytes in bad {
        let folder = Folder::holding(&bytes);
        let opened = AuditLog::open(folder.log(), keyed());
        assert!(matches!(opened, Err(OpenError::Broken)), "{opened:?}");
        assert_eq!(folder.read(), bytes, "it is evidence");
    }
    let most = [good, vec![b'x'; 8_191]].concat();
    assert!(AuditLog::open(Folder::holding(&most).log(), keyed()).is_ok());
}

#[test]
fn an_empty_file_is_begun_and_a_link_or_a_folder_is_not_opened() {
    let folder = Folder::holding(b"");
    write(&folder.log(), keyed(), 1);
    assert_eq!(check(&folder.read()).expect("good").records, 1);
    let link = folder.0.join("link");
    symlink(folder.log(), &link).expect("made");
    for path in [&link, &folder.0] {
        let opened = AuditLog::open(path, keyed());
        assert!(matches!(opened, Err(OpenError::Io(_))), "{opened:?}");
    }
}

#[test]
fn the_key_is_read_from_a_file_that_is_its_owners_alone() {
    let folder = Folder::new();
    let put = |text: &str, mode| {
        fs::write(folder.log(), text).expect("written");
        folder.permit(mode);
        CheckpointKey::read(folder.log())
    };
    let digits = "07".repeat(32);
    let read = put(&format!("{digits}\n"), 0o600).expect("read");
    assert_eq!(format!("{read:?}"), "CheckpointKey(..)");
    let (bytes, _) = sample();
    let expected = Expected::default().key(read);
    assert!(verify(&*bytes, &expected).is_ok(), "it is the same key");
    for mode in [0o640, 0o604, 0o610] {
        assert!(put(&digits, mode).is_err(), "{mode:o}");
    }
    let longer = format!("{digits}0");
    let (letters, padded) = (
        digits.replace('7', "G"),
        format!("{}{digits}", " ".repeat(128)),
    );
    for bad in ["", &digits[1..], &longer, &letters, &padded] {
        assert!(put(bad, 0o600).is_err(), "{bad}");
    }
}
