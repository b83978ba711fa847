//! A capture that is read is written and read again alike, up to its first fault.
#![no_main]

use lb_l4::transport::Transport;
use lb_l4::transport::capture::pcap::{MAX_SNAPLEN, Reader, Record, Writer};
use lb_l4::transport::capture::{Replay, ReplayConfig};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(reader) = Reader::new(bytes) else {
        return;
    };
    let link = reader.link();
    let (first, is_whole) = read_all(reader);

    let mut writer = Writer::new(Vec::new(), link, MAX_SNAPLEN).expect("memory takes everything");
    for (record, packet) in &first {
        let written = writer.write(record.at, packet);
        written.expect("memory takes everything");
    }
    let file = writer.into_inner();
    let again = Reader::new(&file[..]).expect("what is written is read");
    assert_eq!(again.link(), link);
    let (second, whole) = read_all(again);
    assert!(whole);
    assert_eq!(second.len(), first.len());
    for ((record, packet), (again, same)) in first.iter().zip(&second) {
        assert_eq!((record.at, packet), (again.at, same));
        assert_eq!(again.len as usize, packet.len());
    }

    let config = ReplayConfig::default().burst(bytes.len() % 33);
    let mut replay = Replay::new(bytes, std::io::sink(), config).expect("it was read before");
    let mut shown = 0;
    let result = loop {
        match replay.forward(|_| ()) {
            Ok(0) => break true,
            Ok(count) => shown += count,
            Err(_) => break false,
        }
    };
    assert_eq!((shown, result), (first.len(), is_whole));
});

/// Every packet before the end or the first fault, and whether it was the end.
fn read_all(mut reader: Reader<&[u8]>) -> (Vec<(Record, Vec<u8>)>, bool) {
    let mut all = Vec::new();
    let mut packet = Vec::new();
    loop {
        match reader.read(&mut packet) {
            Ok(Some(record)) => {
                assert!(packet.len() <= MAX_SNAPLEN as usize);
                all.push((record, packet.clone()));
            }
            Ok(None) => return (all, true),
            Err(_) => return (all, false),
        }
    }
}
