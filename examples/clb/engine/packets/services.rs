//! Listeners of the file as services of the forwarder.

use std::net::IpAddr;
use std::sync::Arc;

use lb_l4::forwarder::{Match, Scheduling, ServiceProtocol, VirtualService};
use lb_l4::method::ForwardingMethod;
use lb_l4::method::fullnat::FullNatConfig;
use lb_l4::method::tunnel::{Encapsulation, TunnelConfig};
use lbcore::Instant;

use lbcore::limit::{LimitConfig, Limits};
use lbcore::persist::SourceAddress;
use lbcore::session::Timeouts;
use tracing::info;

use super::Service;
use crate::config::{self, Forwarding, Listener, Method, Protocol, Target};
use crate::engine::pools::Pool;
use crate::engine::settings::{keys, limits, remembering, rules, told};

/// What outlives a change of the file, if the file still says the same of it.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) config: Listener,
    /// The name of its service: its own, or another if it has moved, so that the service where it was
    /// can go on with its sessions.
    pub(super) service: String,
    limits: Option<Arc<Limits>>,
    memory: Option<Arc<SourceAddress>>,
}

impl Kept {
    /// Says what has become of it since it was as in `before`.
    pub(super) fn log(&self, before: &[Self]) {
        let Some(forwarding) = &self.config.forwarding else {
            return;
        };
        let (name, method) = (&self.config.name, forwarding.method.name());
        let protocol = self.config.protocol.name();
        let address = &self.config.listen;
        match before.iter().find(|kept| kept.config.name == *name) {
            Some(kept) if kept.config == self.config => {}
            Some(_) => info!(listener = %name, by = %method, %address, "changed"),
            None => info!(listener = %name, %protocol, by = %method, %address, "forwarding"),
        }
    }
}

/// One of a listener that says so much and no more.
#[cfg(test)]
pub(super) fn kept(name: &str, drain: std::time::Duration) -> Kept {
    let file = format!(
        "[[pool]]\nname = \"p\"\nscheduler = \"random\"\n[[listener]]\nname = \"{name}\"\n\
         protocol = \"tcp\"\nlisten = \"192.0.2.1:80\"\npool = \"p\"\n"
    );
    let parsed = config::parse(&file).expect("a good file");
    let mut listeners = parsed.config.listeners;
    let mut config = listeners.remove(0);
    config.drain_timeout = drain;
    Kept {
        config,
        service: name.into(),
        limits: None,
        memory: None,
    }
}

/// What services are made from beside their listeners.
pub(super) struct Maker<'a> {
    pub(super) section: &'a config::Packet,
    pub(super) mtu: u16,
    pub(super) now: Instant,
    pub(super) pools: &'a dyn Fn(&str) -> Option<Pool>,
}

impl Maker<'_> {
    /// The services of `listeners`, which go on with what is the same in `before`.
    ///
    /// # Errors
    ///
    /// Says what the library does not take.
    pub(super) fn all(
        &self,
        listeners: &[Listener],
        before: &[Kept],
    ) -> Result<(Vec<Kept>, Vec<Service>), String> {
        let mut all = (Vec::new(), Vec::new());
        for listener in listeners {
            let Some(forwarding) = &listener.forwarding else {
                continue;
            };
            let before = before.iter().find(|kept| kept.config.name == listener.name);
            let kept = self.keep(listener, before);
            all.1.push(self.one(listener, forwarding, &kept)?);
            all.0.push(kept);
        }
        Ok(all)
    }

    fn keep(&self, from: &Listener, before: Option<&Kept>) -> Kept {
        let limits = match before {
            Some(kept) if kept.config.limits == from.limits => kept.limits.clone(),
            _ => {
                let config = limits(from);
                let is_limited = config != LimitConfig::default();
                is_limited.then(|| Arc::new(Limits::new(self.now, config)))
            }
        };
        let memory = match before {
            Some(kept) if kept.config.persistence == from.persistence => kept.memory.clone(),
            _ => from.persistence.as_ref().map(remembering),
        };
        let matches = |it: &Listener| {
            let prefix = it.forwarding.map(|forwarding| forwarding.prefix);
            (it.listen.clone(), it.protocol, prefix)
        };
        let service = match before {
            None => from.name.clone(),
            Some(kept) if matches(&kept.config) == matches(from) => kept.service.clone(),
            Some(_) => format!("{} at {}", from.name, from.listen),
        };
        Kept {
            config: from.clone(),
            service,
            limits,
            memory,
        }
    }

    fn one(
        &self,
        from: &Listener,
        forwarding: &Forwarding,
        kept: &Kept,
    ) -> Result<Service, String> {
        let Target::Pool(name) = &from.target else {
            return Err(told(from, &"packets go to one pool"));
        };
        // The parser has made sure that every name is that of a pool.
        let pool = (self.pools)(name).ok_or_else(|| told(from, &"its pool is missing"))?;
        let method = self.method(forwarding);
        let mut service = VirtualService::new(&kept.service, matches(from, forwarding)?, pool)
            .method(method)
            .keys(keys(from)?)
            .rules(Arc::new(rules(from)?))
            .timeouts(timeouts(from))
            .straying(forwarding.stray)
            .down(forwarding.when_down)
            .removed(forwarding.when_removed)
            .on_expiry(forwarding.on_expiry)
            .syn_proxy(forwarding.syn_proxy);
        if from.one_packet && from.protocol == Protocol::Udp {
            service = service.scheduling(Scheduling::OnePacket);
        }
        if let Some(limits) = &kept.limits {
            service = service.limits(Arc::clone(limits));
        }
        if let Some(memory) = &kept.memory {
            service = service.persistence(Arc::clone(memory) as _);
        }
        Ok(service)
    }

    fn method(&self, from: &Forwarding) -> ForwardingMethod {
        match from.method {
            Method::DirectRouting => ForwardingMethod::DirectRouting,
            Method::FullNat(client_address) => {
                let config = FullNatConfig::default().client_address(client_address);
                ForwardingMethod::FullNat(config)
            }
            Method::Nat => ForwardingMethod::Nat,
            Method::Tunnel(kind) => ForwardingMethod::Tunnel(self.tunnel(kind)),
        }
    }

    fn tunnel(&self, kind: Encapsulation) -> TunnelConfig {
        let mut config = TunnelConfig::default().kind(kind).mtu(self.mtu);
        if let Some(IpAddr::V4(source)) = self.section.local(true) {
            config = config.source_v4(source);
        }
        if let Some(IpAddr::V6(source)) = self.section.local(false) {
            config = config.source_v6(source);
        }
        config
    }
}

fn matches(from: &Listener, forwarding: &Forwarding) -> Result<Match, String> {
    let listen = from.listen.socket();
    let listen = listen.ok_or_else(|| told(from, &"packets have no paths"))?;
    let prefix = forwarding.addresses(listen);
    let prefix = prefix.ok_or_else(|| told(from, &"its prefix has further bits"))?;
    let protocol = match from.protocol {
        Protocol::Udp => ServiceProtocol::Udp,
        _ => ServiceProtocol::Tcp,
    };
    Ok(Match::endpoint(protocol, prefix, listen.port()))
}

/// The state of a session that lasts has the listener's; the others have the library's.
fn timeouts(from: &Listener) -> Timeouts {
    let mut timeouts = Timeouts::default();
    match from.protocol {
        Protocol::Udp => {
            timeouts.udp_new = from.idle_timeout;
            timeouts.udp_active = from.idle_timeout;
        }
        _ => timeouts.established = from.idle_timeout,
    }
    timeouts
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lb_l4::forwarder::{OnExpiry, Orphans, Straying};
    use lb_l4::method::fullnat::ClientAddress;
    use lb_l4::syn_proxy::{SynProxyConfig, SynProxyMode};

    use super::*;
    use crate::engine::packets::{file, offered};

    /// A service over TCP that says this of itself.
    fn of(forwarding: &str, change: impl FnOnce(&mut Listener)) -> Service {
        let mut config = file("af-packet", "10.9.0.100", &[("203.0.113.10", forwarding)]);
        change(&mut config.listeners[0]);
        offered(&config).remove(0)
    }

    #[test]
    fn every_method_of_the_file_reaches_the_library() {
        let toa = FullNatConfig::default().client_address(ClientAddress::Toa);
        let told = |it: &mut Listener| {
            let forwarding = it.forwarding.as_mut().expect("it is forwarded");
            forwarding.method = Method::FullNat(ClientAddress::Toa);
        };
        assert_eq!(of("fullnat", told).method, ForwardingMethod::FullNat(toa));
        assert_eq!(of("nat", |_| ()).method, ForwardingMethod::Nat);
        assert_eq!(
            of("direct-routing", |_| ()).method,
            ForwardingMethod::DirectRouting
        );
        let gue = |it: &mut Listener| {
            let forwarding = it.forwarding.as_mut().expect("it is forwarded");
            forwarding.method = Method::Tunnel(Encapsulation::GUE);
        };
        let expected = TunnelConfig::default().kind(Encapsulation::GUE).mtu(1_500);
        let expected = expected.source_v4([10, 9, 0, 100].into());
        assert_eq!(of("tunnel", gue).method, ForwardingMethod::Tunnel(expected));
    }

    #[test]
    fn every_setting_of_the_file_reaches_the_library() {
        let plain = of("nat", |_| ());
        let expected = VirtualService::new("l0", plain.matches, plain.pool.clone());
        assert_eq!(plain.straying, expected.straying);
        assert_eq!(
            (plain.down, plain.removed),
            (expected.down, expected.removed)
        );
        assert_eq!(
            (plain.on_expiry, plain.syn_proxy),
            (expected.on_expiry, expected.syn_proxy)
        );
        assert!(plain.limits.is_none() && plain.persistence.is_none() && plain.accepting);

        let proxy = SynProxyConfig::default().mode(SynProxyMode::Always);
        let all = of("nat", |it| {
            it.idle_timeout = Duration::from_secs(77);
            it.limits.connections = 5;
            it.deny = vec![config::Prefix {
                address: [192, 0, 2, 0].into(),
                bits: 24,
            }];
            let forwarding = it.forwarding.as_mut().expect("it is forwarded");
            forwarding.prefix = 31;
            forwarding.stray = Straying::Reset;
            forwarding.when_down = Orphans::Reset;
            forwarding.when_removed = Orphans::Drop;
            forwarding.on_expiry = OnExpiry::Reset;
            forwarding.syn_proxy = proxy;
        });
        let addresses = "203.0.113.10/31".parse().expect("a prefix");
        assert_eq!(
            all.matches,
            Match::endpoint(ServiceProtocol::Tcp, addresses, 80)
        );
        assert_eq!(all.straying, Straying::Reset);
        assert_eq!((all.down, all.removed), (Orphans::Reset, Orphans::Drop));
        assert_eq!((all.on_expiry, all.syn_proxy), (OnExpiry::Reset, proxy));
        assert!(!all.rules.allows([192, 0, 2, 1].into()) && all.limits.is_some());
        let timeouts = all.timeouts.expect("its own");
        assert_eq!(timeouts.established, Duration::from_secs(77));
        assert_eq!(timeouts.udp_active, Timeouts::default().udp_active);
    }

    #[test]
    fn the_settings_of_datagrams_reach_the_library() {
        let all = of("nat", |it| {
            it.protocol = Protocol::Udp;
            it.one_packet = true;
            it.idle_timeout = Duration::from_secs(7);
        });
        let addresses = "203.0.113.10/32".parse().expect("a prefix");
        assert_eq!(
            all.matches,
            Match::endpoint(ServiceProtocol::Udp, addresses, 80)
        );
        assert_eq!(all.scheduling, Scheduling::OnePacket);
        let timeouts = all.timeouts.expect("its own");
        assert_eq!(
            [timeouts.udp_new, timeouts.udp_active],
            [Duration::from_secs(7); 2]
        );
        assert_eq!(timeouts.established, Timeouts::default().established);
    }

    #[test]
    fn what_did_not_change_is_kept_over_a_change_of_the_file() {
        let config = file("af-packet", "10.9.0.100", &[("203.0.113.10", "nat")]);
        let mut listener = config.listeners[0].clone();
        listener.limits.connections = 5;
        let maker = Maker {
            section: config.packet.as_ref().expect("a section"),
            mtu: 1_500,
            now: Instant::ZERO,
            pools: &|_| None,
        };
        let first = maker.keep(&listener, None);
        let limits = |kept: &Kept| kept.limits.clone().expect("limits");
        listener.drain_timeout = Duration::ZERO;
        let second = maker.keep(&listener, Some(&first));
        assert!(Arc::ptr_eq(&limits(&first), &limits(&second)));
        listener.limits.connections = 6;
        let third = maker.keep(&listener, Some(&second));
        assert_eq!([&first.service, &second.service, &third.service], ["l0"; 3]);
        listener.listen = "203.0.113.10:81".parse().expect("an address");
        let moved = maker.keep(&listener, Some(&third));
        assert_eq!(moved.service, "l0 at 203.0.113.10:81");
        assert!(Arc::ptr_eq(&limits(&third), &limits(&moved)));
        let stays = maker.keep(&listener, Some(&moved));
        assert_eq!(stays.service, moved.service);
        assert!(!Arc::ptr_eq(&limits(&second), &limits(&third)));
        let Err(error) = maker.all(&[listener], &[]) else {
            panic!("there is no pool");
        };
        assert_eq!(error, "listener.l0: its pool is missing");
    }
}
