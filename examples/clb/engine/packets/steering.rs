//! Which packets an XDP program gives to the workers; the rest is the host's.

use std::collections::BTreeMap;
use std::fmt;

use lb_l4::transport::af_xdp::{Steer, Steering};
use lbcore::address_list::Prefix;
use tracing::warn;

use super::Service;
use super::host::{self, Own};
use crate::config::{self, Listener, Method};

/// What has been steered, so that the next change need not begin anew.
#[derive(Debug, Default)]
pub(super) struct Steered(BTreeMap<Prefix, Wish>);

/// What is wanted of one prefix.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Wish {
    host: bool,
    to: bool,
    answers: bool,
}

impl Steered {
    /// Goes over to what these listeners and services need; nothing without an XDP program.
    pub(super) fn change(
        &mut self,
        steering: Option<&std::sync::Arc<Steering>>,
        section: &config::Packet,
        listeners: &[&Listener],
        services: &[Service],
    ) {
        let Some(steering) = steering else {
            return;
        };
        let own = host::addresses().unwrap_or_default();
        let wanted = wishes(section, listeners, services, &own);
        for (prefix, wish) in &wanted {
            let before = self.0.get(prefix).copied();
            if before == Some(*wish) {
                continue;
            }
            if before.is_some() {
                tell(*prefix, &steering.forget(*prefix).map(drop));
            }
            for (is_wanted, steer) in [
                (wish.host, Steer::Host),
                (wish.to, Steer::Redirect),
                (wish.answers, Steer::RedirectAnswers),
            ] {
                if is_wanted {
                    tell(*prefix, &steering.steer(*prefix, steer));
                }
            }
        }
        for prefix in self.0.keys().filter(|prefix| !wanted.contains_key(*prefix)) {
            tell(*prefix, &steering.forget(*prefix).map(drop));
        }
        self.0 = wanted;
    }
}

/// Services and local addresses come here, and what backends answer by way of NAT; the host's own
/// addresses are the host's, or it would not hear the answers to its health checks.
fn wishes(
    section: &config::Packet,
    listeners: &[&Listener],
    services: &[Service],
    own: &[Own],
) -> BTreeMap<Prefix, Wish> {
    let mut wishes: BTreeMap<Prefix, Wish> = BTreeMap::new();
    for own in own {
        wishes.entry(own.address.into()).or_default().host = true;
    }
    for local in &section.local_addresses {
        let wish = wishes.entry((*local).into()).or_default();
        (wish.host, wish.to) = (false, true);
    }
    for (listener, service) in listeners.iter().zip(services) {
        let Some(forwarding) = &listener.forwarding else {
            continue;
        };
        let listen = listener.listen.socket();
        if let Some(prefix) = listen.and_then(|first| forwarding.addresses(first)) {
            let wish = wishes.entry(prefix).or_default();
            (wish.host, wish.to) = (false, true);
        }
        // What is answered to a local address comes for its sake.
        if forwarding.method != Method::Nat {
            continue;
        }
        for backend in service.pool.stats() {
            if let Some(end) = backend.backend.address.socket() {
                let wish = wishes.entry(end.ip().into()).or_default();
                wish.answers = !wish.host;
            }
        }
    }
    wishes
}

fn tell(prefix: Prefix, result: &Result<(), impl fmt::Display>) {
    if let Err(error) = result {
        warn!(%prefix, %error, "not steered");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::packets::host::own;
    use crate::engine::packets::{file, offered};

    #[test]
    fn what_is_for_services_comes_here_and_the_rest_is_the_hosts() {
        let listen = [("203.0.113.10", "nat"), ("203.0.113.11", "fullnat")];
        let config = file("af-xdp", "10.9.0.100", &listen);
        let services = offered(&config);
        let listeners: Vec<&Listener> = config.listeners.iter().collect();
        let own = [
            own("eth0", "10.9.0.2", "10.9.0.0/24"),
            // The host has what the file gives away: the file has it.
            own("lo", "203.0.113.11", "203.0.113.11/32"),
            // A backend on the host itself answers by way of the host.
            own("eth0", "10.9.0.12", "10.9.0.0/24"),
        ];
        let section = config.packet.as_ref().expect("a section");
        let wishes = wishes(section, &listeners, &services, &own);
        let found: Vec<_> = wishes
            .iter()
            .map(|(prefix, wish)| (prefix.to_string(), [wish.host, wish.to, wish.answers]))
            .collect();
        let expected = [
            ("10.9.0.2/32", [true, false, false]),
            // Backends of nat answer here; those of fullnat answer a local address.
            ("10.9.0.11/32", [false, false, true]),
            ("10.9.0.12/32", [true, false, false]),
            ("10.9.0.100/32", [false, true, false]),
            ("203.0.113.10/32", [false, true, false]),
            ("203.0.113.11/32", [false, true, false]),
        ];
        let expected = expected.map(|(prefix, wish)| (prefix.to_owned(), wish));
        assert_eq!(found, expected);
    }
}
