//! Whose connection a backend is told of, ahead of the first byte.

use std::net::SocketAddr;

use lbcore::flow::{FlowKey, Protocol};
use lbcore::proxy_protocol::{EmitError, Header, Proxied, Version};

/// The two ends of a client's connection, as the PROXY protocol tells them.
///
/// # Examples
///
/// ```
/// use lb_l7::upstream::ProxiedAddresses;
///
/// let ends = ProxiedAddresses::new("192.0.2.1:40000".parse()?, "203.0.113.10:443".parse()?);
/// assert_eq!(ends.client.port(), 40000);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ProxiedAddresses {
    /// Where the client's bytes come from.
    pub client: SocketAddr,
    /// What the client connected to.
    pub local: SocketAddr,
}

impl ProxiedAddresses {
    /// The connection from `client` to `local`.
    #[must_use]
    pub const fn new(client: SocketAddr, local: SocketAddr) -> Self {
        Self { client, local }
    }
}

/// The header for a connection on behalf of `ends`, or of nobody whose address is known.
pub(super) fn header(
    version: Version,
    ends: Option<ProxiedAddresses>,
) -> Result<Vec<u8>, EmitError> {
    let proxied = match (ends, version) {
        (Some(ends), _) => Proxied::Flow(FlowKey::new(Protocol::Tcp, ends.client, ends.local)),
        (None, Version::V1) => Proxied::Unknown,
        (None, Version::V2) => Proxied::Local,
    };
    let mut out = Vec::with_capacity(64);
    Header::new(proxied).emit(version, &mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_names_the_client_and_what_it_connected_to() {
        let ends = ProxiedAddresses::new(
            "192.0.2.1:40000".parse().unwrap(),
            "203.0.113.10:443".parse().unwrap(),
        );
        let line = header(Version::V1, Some(ends)).unwrap();
        assert_eq!(line, b"PROXY TCP4 192.0.2.1 203.0.113.10 40000 443\r\n");
        let binary = header(Version::V2, Some(ends)).unwrap();
        assert_eq!((binary.len(), binary[12]), (28, 0x21));
    }

    #[test]
    fn a_client_without_an_address_is_unknown_or_local() {
        assert_eq!(header(Version::V1, None).unwrap(), b"PROXY UNKNOWN\r\n");
        let binary = header(Version::V2, None).unwrap();
        assert_eq!((binary.len(), binary[12]), (16, 0x20));
    }
}
