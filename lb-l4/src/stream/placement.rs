//! What sessions are placed by, for schedulers that place by key.

use std::net::SocketAddr;

use lbcore::flow::{FlowKey, Protocol};
use lbcore::hash::HashKey;
use lbcore::schedule::{KeyExtractor, KeyParts};

/// A client's address, under a secret that everybody knows: nodes place alike without being told how.
pub(crate) fn default_keys() -> KeyExtractor {
    KeyExtractor::new(KeyParts::Source, HashKey::from_seed(0))
}

/// The key of a session between these two; `None` if an end is not known that counts.
pub(crate) fn key(
    keys: &KeyExtractor,
    protocol: Protocol,
    source: Option<SocketAddr>,
    destination: Option<SocketAddr>,
) -> Option<u64> {
    let source = source?;
    let destination = match destination {
        Some(destination) => destination,
        None if keys.parts().has_destination() => return None,
        // Does not count: any address does.
        None => source,
    };
    keys.of_flow(&FlowKey::new(protocol, source, destination))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_a_key_if_all_that_counts_is_known() {
        let source: Option<SocketAddr> = Some("192.0.2.1:40000".parse().unwrap());
        let destination: Option<SocketAddr> = Some("203.0.113.10:80".parse().unwrap());
        for parts in KeyParts::ALL {
            let keys = KeyExtractor::new(parts, HashKey::from_seed(1));
            let of = |source, destination| key(&keys, Protocol::Tcp, source, destination);
            let whole = of(source, destination);
            let has_any = !matches!(parts, KeyParts::Application | KeyParts::Nothing);
            assert_eq!(whole.is_some(), has_any, "{parts:?}");
            let alone = whole.filter(|_| !parts.has_destination());
            assert_eq!(of(source, None), alone, "{parts:?}");
            assert_eq!(of(None, destination), None, "{parts:?}");
        }
    }

    #[test]
    fn the_default_is_the_clients_address_under_a_secret_that_everybody_knows() {
        let source = Some("192.0.2.1:40000".parse().unwrap());
        let of = |protocol| key(&default_keys(), protocol, source, None);
        let known = KeyExtractor::new(KeyParts::Source, HashKey::from_seed(0));
        assert_eq!(of(Protocol::Tcp), key(&known, Protocol::Tcp, source, None));
        assert_eq!(of(Protocol::Tcp), of(Protocol::Udp));
    }
}
