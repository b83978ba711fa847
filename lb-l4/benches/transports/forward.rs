//! The forwarder behind a transport: NAT of the flows that are sent.

use lb_l4::Clock;
use lb_l4::forwarder::{Forwarder, ForwarderConfig, Interface};
use lb_l4::forwarder::{Match, ServiceProtocol, VirtualService};
use lb_l4::packet::InterfaceId;
use lb_l4::transport::Transport;
use lb_l4::wire::ethernet::Mac;
use lbcore::hash::HashKey;
use lbcore::schedule::{KeyExtractor, KeyParts, Maglev};
use lbcore::session::{Limits, SessionConfig};
use lbcore::{Backend, Pool};

use crate::FLOWS;
use crate::echo::{Echo, serve};

/// A transport, whose packets are translated as nftables does in the line to compare with.
pub(crate) struct Translate<T> {
    link: T,
    forwarder: Forwarder<Maglev>,
}

impl<T: Transport> Translate<T> {
    /// Of a link with Ethernet addresses.
    pub(crate) fn new(link: T) -> Self {
        let near = Interface::ethernet(InterfaceId(0), Mac([2, 0, 0, 0, 0, 1])).prefix(
            "192.0.2.254".parse().unwrap(),
            "192.0.2.0/24".parse().unwrap(),
        );
        Self::over(link, near)
    }

    /// Of a link without.
    #[cfg(feature = "tun")]
    pub(crate) fn of_ip(link: T) -> Self {
        Self::over(link, Interface::ip(InterfaceId(0)))
    }

    fn over(link: T, near: Interface) -> Self {
        let pool = Pool::new(Maglev::default());
        let pool = pool.backend(Backend::new("a", "192.0.2.3:7".parse().unwrap()));
        let pool = pool.backend(Backend::new("b", "192.0.2.4:7".parse().unwrap()));
        let service = "192.0.2.2/32".parse().unwrap();
        let service = Match::endpoint(ServiceProtocol::Udp, service, 7);
        let key = HashKey::random();
        let service =
            VirtualService::new("near", service, pool).keys(KeyExtractor::new(KeyParts::Flow, key));
        let mut sessions = SessionConfig::default();
        // Nobody answers, so every session stays embryonic; connection tracking keeps those, too.
        sessions.v4 = Limits {
            sessions: 2 * FLOWS,
            embryonic: 2 * FLOWS,
        };
        sessions.v6 = Limits::of(0);
        let far = Mac([2, 0, 0, 0, 0, 2]);
        let config = ForwarderConfig::default()
            .sessions(sessions)
            .interface(near)
            .neighbour("192.0.2.3".parse().unwrap(), far)
            .neighbour("192.0.2.4".parse().unwrap(), far);
        let now = Clock::monotonic().now();
        let forwarder = Forwarder::new(now, config, key, vec![service]).unwrap();
        Self { link, forwarder }
    }
}

impl<T: Transport> Echo for Translate<T> {
    fn serve(&mut self, count: usize) {
        let (clock, forwarder) = (Clock::monotonic(), &mut self.forwarder);
        serve(&mut self.link, count, |burst| {
            forwarder.handle_burst(clock.now(), burst);
        });
    }

    fn answers(&self) -> bool {
        true
    }
}
