//! How a packet reaches its backend.

pub mod direct_routing;
pub mod fullnat;
pub mod nat;
pub mod splice;
pub mod tunnel;

use fullnat::{ClientAddress, FullNatConfig};
use tunnel::TunnelConfig;

/// How the packets of a service reach its backends.
///
/// | | source | destination | link header | answers pass here | TTL |
/// |---|---|---|---|---|---|
/// | [`DirectRouting`](Self::DirectRouting) | kept | kept | rewritten | no | one less |
/// | [`FullNat`](Self::FullNat) | rewritten | rewritten | rewritten | yes | one less |
/// | [`Nat`](Self::Nat) | kept | rewritten | rewritten | yes | one less |
/// | [`Tunnel`](Self::Tunnel) | kept, in another packet | kept | rewritten | no | one less |
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum ForwardingMethod {
    /// The packet goes out as it came in, to the link address of the backend.
    ///
    /// Backends are neighbours on an Ethernet link, have the service's address themselves, on an
    /// interface that answers no ARP, and answer clients directly. Ports are not translated: a
    /// backend's port is not looked at.
    #[doc(alias = "DSR")]
    #[doc(alias = "gatewaying")]
    DirectRouting,
    /// The destination becomes the backend's address and port, and the source a local address and
    /// port of the forwarder; in answers the source becomes the service's and the destination the
    /// client's.
    ///
    /// Backends are anywhere and answer as they would any client: the local address is all that
    /// they need a route to. Needs
    /// [`ForwarderConfig::local_ports`](crate::forwarder::ForwarderConfig::local_ports), which all
    /// services share.
    #[doc(alias = "FNAT")]
    #[doc(alias = "SNAT")]
    FullNat(FullNatConfig),
    /// The destination becomes the backend's address and port, and in answers the source becomes
    /// the service's again.
    ///
    /// Backends send their answers through here: the forwarder is their gateway.
    #[default]
    #[doc(alias = "masquerading")]
    #[doc(alias = "DNAT")]
    Nat,
    /// The packet goes to the backend inside another one.
    ///
    /// Backends are anywhere, take the outer packet off, have the service's address themselves, and
    /// answer clients directly. A backend may be of another family than its clients. Ports are not
    /// translated: a backend's port is not looked at.
    #[doc(alias = "IPIP")]
    #[doc(alias = "GUE")]
    #[doc(alias = "GRE")]
    Tunnel(TunnelConfig),
}

impl ForwardingMethod {
    /// Whether it tells backends of clients in this way.
    pub(crate) fn tells(&self, client_address: ClientAddress) -> bool {
        matches!(self, Self::FullNat(config) if config.client_address == client_address)
    }

    /// Whether it puts an option into segments, for which clients must leave room.
    pub(crate) fn tells_by_option(&self) -> bool {
        self.tells(ClientAddress::Toa)
    }
}
