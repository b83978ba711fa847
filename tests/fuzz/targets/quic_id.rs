//! A server id is found where it stands and nowhere else, in any datagram.
#![no_main]

use std::sync::LazyLock;

use lb_l4::quic::{
    ConfigRotation, ConnectionId, Format, LengthBits, QuicLb, QuicLbConfig, ServerId,
    connection_id, server_id,
};
use lbcore::BackendId;
use libfuzzer_sys::fuzz_target;

/// Rotations 0 to 5, of growing server ids, the odd ones with their length in the first octet.
static QUIC: LazyLock<QuicLb> = LazyLock::new(|| {
    let mut config = QuicLbConfig::default();
    for number in 0..6 {
        let rotation = ConfigRotation::new(number).expect("below 7");
        let bits = [LengthBits::Any, LengthBits::Length][usize::from(number) % 2];
        let format = Format::new(number * 2 + 1, 4).expect("at most 19");
        let id = ServerId::new(&vec![0; format.server_id().into()]).expect("1 to 15");
        config = config.format(rotation, format.length_bits(bits)).server(
            rotation,
            id,
            BackendId::new(number.into()),
        );
    }
    QuicLb::new(config).expect("right")
});

fuzz_target!(|datagram: &[u8]| {
    let found = server_id(datagram, QUIC.config());
    let backend = QUIC.backend(datagram);
    if let Some(id) = found {
        let Some(ConnectionId::Long(cid) | ConnectionId::Short(cid)) = connection_id(datagram)
        else {
            panic!("an id without a connection id");
        };
        assert_eq!(&cid[1..=id.as_bytes().len()], id.as_bytes());
        let all_zero = id.as_bytes().iter().all(|&it| it == 0);
        assert_eq!(
            backend,
            all_zero.then(|| BackendId::new((cid[0] >> 5).into()))
        );
    } else {
        assert_eq!(backend, None);
    }
});
