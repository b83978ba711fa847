//! The flows of simulated clients, by number.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::flow::{FlowKey, Protocol};
use crate::rng::mix;

/// The flow of this number, of which the first 2^40 differ.
pub(super) fn key(number: u64) -> FlowKey {
    let [_, _, _, a, b, c, high, low] = number.to_be_bytes();
    let source = Ipv4Addr::new(10, a, b, c);
    let port = u16::from_be_bytes([high, low]);
    FlowKey::new(
        Protocol::Tcp,
        SocketAddr::new(IpAddr::V4(source), port),
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)), 80),
    )
}

/// The number of a flow that [`key`] made.
pub(super) fn number(key: &FlowKey) -> u64 {
    let [a, b, c] = match key.source.ip() {
        IpAddr::V4(source) => {
            let [_, a, b, c] = source.octets();
            [a, b, c]
        }
        IpAddr::V6(_) => [0; 3],
    };
    let [high, low] = key.source.port().to_be_bytes();
    u64::from_be_bytes([0, 0, 0, a, b, c, high, low])
}

/// Which of `live` nodes a router sends the flow to: changes for most when `live` does.
pub(super) fn path(number: u64, live: usize) -> usize {
    let live = u64::try_from(live).unwrap_or(u64::MAX);
    let at = mix(number).checked_rem(live).unwrap_or(0);
    usize::try_from(at).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_keeps_its_number() {
        for flow in [0, 1, 255, 256, 65_536, 0x0001_0203_0405, (1 << 40) - 1] {
            assert_eq!(number(&key(flow)), flow);
        }
    }

    #[test]
    fn paths_stay_among_the_live_nodes_and_use_them_all() {
        let mut seen = [0; 3];
        for flow in 0..300 {
            seen[path(flow, 3)] += 1;
        }
        assert!(seen.iter().all(|flows| *flows > 70), "{seen:?}");
        assert_eq!(path(7, 0), 0);
    }
}
