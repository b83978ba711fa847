//! What the library is told of a listener.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use lb_l4::stream::udp::{OnePacket, UdpConfig, UdpSettings};
use lb_l4::stream::{Settings, TcpConfig};
use lb_l7::cookie::KeyRing;
use lbcore::address_list::{AddressRules, Prefix};
use lbcore::budget::Budget;
use lbcore::hash::HashKey;
use lbcore::limit::LimitConfig;
use lbcore::persist::SourceAddress;
use lbcore::proxy_protocol::Version;
use lbcore::schedule::{AnyScheduler, KeyExtractor};

use super::pools::{Pool, Way};
use super::remote_keys::Elsewhere;
use crate::config::{self, Listener, SendProxy, Target};

/// What listeners share.
pub(super) struct Shared<'s> {
    /// The pool of a name, if there is one.
    pub(super) pools: &'s dyn Fn(&str) -> Option<Pool>,
    /// The way of http to the backends of a pool, if there is one.
    pub(super) upstreams: &'s dyn Fn(&str) -> Option<Way>,
    /// What the whole process may use.
    pub(super) budget: &'s Budget,
    /// What signs cookies where the file names no key.
    pub(super) keys: &'s KeyRing,
    /// How keys are asked for that are not here, if anybody has them.
    pub(super) elsewhere: Option<&'s Elsewhere>,
}

fn pool(config: &Listener, shared: &Shared<'_>, name: &str) -> Result<Pool, String> {
    // The parser has made sure that every name is that of a pool.
    (shared.pools)(name).ok_or_else(|| told(config, &format!("pool {name:?} is missing")))
}

/// How the library is to treat the sessions of a TCP or TLS listener.
pub(super) fn tcp(
    from: &Listener,
    shared: &Shared<'_>,
    memory: Option<&Arc<SourceAddress>>,
) -> Result<Settings<AnyScheduler>, String> {
    let settings = match &from.target {
        Target::Pool(name) => Settings::new(pool(from, shared, name)?),
        Target::ServerName { names, otherwise } => {
            let mut settings = Settings::by_server_name();
            for (name, to) in names {
                let to = pool(from, shared, to)?;
                settings = settings.server_name(name, to).map_err(|e| told(from, &e))?;
            }
            match otherwise {
                Some(name) => settings.otherwise(pool(from, shared, name)?),
                None => settings,
            }
        }
        Target::Http(_) => return Err(told(from, &"requests are not passed on as a stream")),
    };
    let settings = settings
        .config(times(from))
        .limits(limits(from))
        .keys(keys(from)?)
        .rules(rules(from)?)
        .budget(shared.budget.clone());
    Ok(match memory {
        Some(memory) => settings.persistence(Arc::clone(memory) as _),
        None => settings,
    })
}

fn times(from: &Listener) -> TcpConfig {
    let config = TcpConfig::default();
    // One try leaves time for another; the whole is what the file says.
    let one = config.connect_timeout.min(from.connect_timeout);
    let config = config
        .connect_timeout(one)
        .connect_budget(from.connect_timeout)
        .idle_timeout(from.idle_timeout)
        .drain_timeout(from.drain_timeout)
        .send_proxy(match from.proxy_protocol.send {
            SendProxy::None => None,
            SendProxy::V1 => Some(Version::V1),
            SendProxy::V2 => Some(Version::V2),
        });
    if from.proxy_protocol.accept {
        config.accept_proxy()
    } else {
        config
    }
}

/// How the library is to treat the sessions of a UDP listener.
pub(super) fn udp(
    from: &Listener,
    shared: &Shared<'_>,
    memory: Option<&Arc<SourceAddress>>,
) -> Result<UdpSettings<AnyScheduler>, String> {
    let Target::Pool(name) = &from.target else {
        return Err(told(from, &"udp has no server names"));
    };
    let settings = UdpSettings::new(pool(from, shared, name)?)
        .config(datagrams(from))
        .limits(limits(from))
        .keys(keys(from)?)
        .rules(rules(from)?)
        .budget(shared.budget.clone());
    Ok(match memory {
        Some(memory) => settings.persistence(Arc::clone(memory) as _),
        None => settings,
    })
}

fn datagrams(from: &Listener) -> UdpConfig {
    let mut config = UdpConfig::default()
        .idle_timeout(from.idle_timeout)
        .drain_timeout(from.drain_timeout);
    if from.one_packet {
        config = config.one_packet(OnePacket::default());
    }
    match from.limits.connections {
        // The library bounds what the file leaves open: each session takes a descriptor.
        0 => config,
        most => config.sessions(most),
    }
}

pub(super) fn limits(from: &Listener) -> LimitConfig {
    LimitConfig::default()
        .bytes_per_second_in(from.limits.bytes_per_second_in)
        .bytes_per_second_out(from.limits.bytes_per_second_out)
        .connections_per_second(from.limits.connections_per_second)
        .connections(from.limits.connections)
}

/// What sessions are placed by.
pub(super) fn keys(from: &Listener) -> Result<KeyExtractor, String> {
    let hash = &from.hash;
    // As in the library: known to everybody, so that nodes place alike.
    let secret = hash.seed.unwrap_or_else(|| HashKey::from_seed(0));
    KeyExtractor::new(hash.by, secret)
        .prefix_v4(hash.prefix_v4)
        .and_then(|keys| keys.prefix_v6(hash.prefix_v6))
        .map_err(|e| told(from, &e))
}

pub(super) fn rules(from: &Listener) -> Result<AddressRules, String> {
    let list = |prefixes: &[config::Prefix]| -> Result<Vec<Prefix>, String> {
        let prefixes = prefixes.iter().map(|p| Prefix::new(p.address, p.bits));
        prefixes
            .collect::<Result<_, _>>()
            .map_err(|e| told(from, &e))
    };
    Ok(AddressRules::new(list(&from.allow)?, list(&from.deny)?))
}

/// Who had which backend; under a key that nobody can aim at.
pub(super) fn remembering(from: &config::Persistence) -> Arc<SourceAddress> {
    let secret = HashKey::from_seed(RandomState::new().hash_one(()));
    let memory = SourceAddress::lasting(from.timeout)
        .prefix_v4(from.prefix_v4)
        .prefix_v6(from.prefix_v6);
    Arc::new(memory.hash_key(secret))
}

/// An error of the listener, with its name in the file.
pub(super) fn told(config: &Listener, error: &dyn fmt::Display) -> String {
    format!("listener.{}: {error}", config.name)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lbcore::flow::{FlowKey, Protocol};
    use lbcore::schedule::KeyParts;

    use super::*;

    fn listener(rest: &str) -> Listener {
        let text = format!(
            "[[pool]]\nname = \"p\"\nscheduler = \"random\"\n\
             [[listener]]\nname = \"l\"\nlisten = \"127.0.0.1:1\"\npool = \"p\"\n{rest}\n"
        );
        config::parse(&text)
            .expect(&text)
            .config
            .listeners
            .remove(0)
    }

    #[test]
    fn what_the_file_leaves_to_the_library_is_the_librarys_default() {
        assert_eq!(times(&listener("protocol = \"tcp\"")), TcpConfig::default());
        assert_eq!(
            limits(&listener("protocol = \"tcp\"")),
            LimitConfig::default()
        );
        let none = AddressRules::new([], []);
        assert_eq!(rules(&listener("protocol = \"tcp\"")), Ok(none));
    }

    #[test]
    fn every_time_and_protocol_of_the_file_reaches_the_library() {
        let found = times(&listener(
            "protocol = \"tcp\"\nidle_timeout = \"1s\"\nconnect_timeout = \"1500ms\"\ndrain_timeout = \"3s\"\n\
             proxy_protocol = { accept = true, send = \"v1\" }",
        ));
        let expected = TcpConfig::default()
            .idle_timeout(Duration::from_secs(1))
            .connect_timeout(Duration::from_millis(1_500))
            .connect_budget(Duration::from_millis(1_500))
            .drain_timeout(Duration::from_secs(3))
            .accept_proxy()
            .send_proxy(Some(Version::V1));
        assert_eq!(found, expected);
        let long = listener(
            "protocol = \"tcp\"\nconnect_timeout = \"9s\"\nproxy_protocol = { send = \"v2\" }",
        );
        let expected = TcpConfig::default().connect_budget(Duration::from_secs(9));
        assert_eq!(times(&long), expected.send_proxy(Some(Version::V2)));
    }

    #[test]
    fn the_settings_of_datagrams_reach_the_library() {
        let found = |rest: &str| {
            format!(
                "{:?}",
                datagrams(&listener(&format!("protocol = \"udp\"\n{rest}")))
            )
        };
        let minute = UdpConfig::default().idle_timeout(Duration::from_secs(120));
        assert_eq!(found(""), format!("{minute:?}"));
        let expected = UdpConfig::default()
            .idle_timeout(Duration::from_secs(2))
            .drain_timeout(Duration::from_secs(3))
            .one_packet(OnePacket::default())
            .sessions(70_000);
        let rest = "idle_timeout = \"2s\"\ndrain_timeout = \"3s\"\none_packet = true\nlimits = { connections = 70000 }";
        assert_eq!(found(rest), format!("{expected:?}"));
    }

    #[test]
    fn what_sessions_are_placed_by_reaches_the_library() {
        let flow = |source: &str| {
            let source = source.parse().expect("a client");
            let service = "203.0.113.10:80".parse().expect("a service");
            FlowKey::new(Protocol::Tcp, source, service)
        };
        let key = |rest: &str, source: &str| {
            let from = listener(&format!("protocol = \"tcp\"\n{rest}"));
            keys(&from).expect("good prefixes").of_flow(&flow(source))
        };
        let default = KeyExtractor::new(KeyParts::Source, HashKey::from_seed(0));
        for client in ["192.0.2.1:9", "[2001:db8::1]:9"] {
            assert_eq!(key("", client), default.of_flow(&flow(client)));
            let seeded = key(
                "hash = { seed = \"07070707070707070707070707070707\" }",
                client,
            );
            let secret = HashKey::new([7; 16]);
            let expected = KeyExtractor::new(KeyParts::Source, secret).of_flow(&flow(client));
            assert_eq!(seeded, expected);
            for parts in ["source-destination", "source-text", "tuple", "none"] {
                let by = parts.parse().expect("a key");
                let expected = KeyExtractor::new(by, HashKey::from_seed(0)).of_flow(&flow(client));
                let found = key(&format!("hash = {{ by = \"{parts}\" }}"), client);
                assert_eq!(found, expected, "{parts}");
            }
        }
        let near = "hash = { by = \"source\", prefix_v4 = 24, prefix_v6 = 64 }";
        assert_eq!(key(near, "192.0.2.1:9"), key(near, "192.0.2.2:9"));
        assert_ne!(key(near, "192.0.2.1:9"), key(near, "192.0.3.1:9"));
        assert_eq!(key(near, "[2001:db8::1]:9"), key(near, "[2001:db8::2]:9"));
        assert_ne!(
            key(near, "[2001:db8::1]:9"),
            key(near, "[2001:db8:0:1::1]:9")
        );
    }

    #[test]
    fn every_limit_and_list_of_the_file_reaches_the_library() {
        let from = listener(
            "protocol = \"udp\"\nallow = [\"10.0.0.0/8\"]\ndeny = [\"10.1.0.0/16\"]\n\
             limits = { bytes_per_second_in = 1, bytes_per_second_out = 2, connections_per_second = 3, connections = 4 }",
        );
        let expected = LimitConfig::default()
            .bytes_per_second_in(1)
            .bytes_per_second_out(2)
            .connections_per_second(3)
            .connections(4);
        assert_eq!(limits(&from), expected);
        let rules = rules(&from).expect("good prefixes");
        let allows = |client: &str| rules.allows(client.parse().expect("an address"));
        assert!(allows("10.2.0.1") && !allows("10.1.0.1") && !allows("192.0.2.1"));
    }
}
