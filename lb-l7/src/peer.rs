//! Who is at the other end of a client's connection.

use std::net::{Ipv4Addr, SocketAddr};
#[cfg(feature = "tls")]
use std::sync::Arc;

use http::uri::Scheme;

#[cfg(feature = "tls")]
use crate::tls::Handshake;

/// What is known of a client before its first request.
///
/// Cheap to clone as long as it came without TLS.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where the connection comes from: the socket's other end, or what a PROXY protocol header
    /// says. Port 0 of the unspecified address, for a Unix socket or a stream of this process.
    pub address: SocketAddr,
    /// The address that the client connected to, by the same sources.
    pub local: SocketAddr,
    /// The proxy that sent the PROXY protocol header, if one did.
    pub via: Option<SocketAddr>,
    /// What the TLS handshake settled, if there was one.
    #[cfg(feature = "tls")]
    pub tls: Option<Arc<Handshake>>,
}

impl Peer {
    /// A client at `address`, that connected to `local`.
    #[must_use]
    pub const fn new(address: SocketAddr, local: SocketAddr) -> Self {
        Self {
            address,
            local,
            via: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// A client without an address: in this process, or of a Unix socket.
    #[must_use]
    pub const fn unnamed() -> Self {
        let nowhere = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        Self::new(nowhere, nowhere)
    }

    /// Whether the client came by TLS.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        return false;
    }

    /// The scheme of its requests: `https` by TLS, else `http`.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        if self.is_secure() {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        }
    }

    /// As [`scheme`](Self::scheme), for the fields that say so.
    pub(crate) const fn secured(&self) -> crate::headers::Scheme {
        if self.is_secure() {
            crate::headers::Scheme::Https
        } else {
            crate::headers::Scheme::Http
        }
    }
}
