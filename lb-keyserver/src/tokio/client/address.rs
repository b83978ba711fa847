//! Where key servers are, as a configuration says it.

use std::net::IpAddr;

use rustls::pki_types::ServerName;

use crate::wire::PORT;

/// The addresses of one or several key servers: each `host:port`, or `host` for port 2407.
///
/// The host is a name, whose every address is a server, or an IP address; IPv6 stands in brackets
/// where a port follows. The server's certificate must be for that name or address, unless
/// [`named`](Self::named) says for which.
///
/// # Examples
///
/// ```
/// use lb_keyserver::Addresses;
///
/// let one = Addresses::from("keys.internal:2407");
/// let two = Addresses::from(["10.0.0.1", "[fd00::1]:2407"]);
/// # let _ = (one, two);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Addresses {
    all: Vec<String>,
    name: Option<ServerName<'static>>,
}

impl From<&str> for Addresses {
    fn from(one: &str) -> Self {
        vec![one.to_owned()].into()
    }
}

impl From<String> for Addresses {
    fn from(one: String) -> Self {
        vec![one].into()
    }
}

impl<S: Into<String>, const N: usize> From<[S; N]> for Addresses {
    fn from(all: [S; N]) -> Self {
        let all: Vec<String> = all.into_iter().map(Into::into).collect();
        all.into()
    }
}

impl From<Vec<String>> for Addresses {
    fn from(all: Vec<String>) -> Self {
        let name = None;
        Self { all, name }
    }
}

impl From<&[String]> for Addresses {
    fn from(all: &[String]) -> Self {
        all.to_vec().into()
    }
}

impl Addresses {
    /// Wants certificates for `name`, and not for the hosts: for servers that share a certificate,
    /// or are addressed by numbers that theirs do not have.
    #[must_use]
    pub fn named(self, name: ServerName<'static>) -> Self {
        let name = Some(name);
        Self { name, ..self }
    }

    /// What they say; an address that says nothing is given back as the error.
    pub(super) fn parse(self) -> Result<Vec<Address>, String> {
        let parse = |text: String| match Address::parse(&text) {
            Some(address) => Ok(Address {
                name: self.name.clone().unwrap_or(address.name),
                ..address
            }),
            None => Err(text),
        };
        self.all.into_iter().map(parse).collect()
    }
}

/// One address.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    /// The host, if it needs no resolving.
    pub(super) ip: Option<IpAddr>,
    /// What the certificate has to be for.
    pub(super) name: ServerName<'static>,
}

impl Address {
    fn parse(text: &str) -> Option<Self> {
        let bare = text.parse().ok().filter(IpAddr::is_ipv6);
        let (host, port) = match text.strip_prefix('[') {
            _ if bare.is_some() => (text, None),
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                let port = match port {
                    "" => None,
                    port => Some(port.strip_prefix(':')?),
                };
                (host, port)
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let name = ServerName::try_from(host.to_owned()).ok()?;
        Some(Self {
            ip: host.parse().ok(),
            host: host.to_owned(),
            port: port.map_or(Some(PORT), |port| port.parse().ok())?,
            name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<(String, u16, bool)> {
        let parsed = Addresses::from(text).parse().ok()?;
        let [address] = <[Address; 1]>::try_from(parsed).expect("one");
        Some((address.host, address.port, address.ip.is_some()))
    }

    #[test]
    fn names_and_addresses_are_read_with_a_port_or_without() {
        for (text, host, port, is_ip) in [
            ("keys.internal:99", "keys.internal", 99, false),
            ("keys.internal", "keys.internal", 2407, false),
            ("10.0.0.1:1", "10.0.0.1", 1, true),
            ("10.0.0.1", "10.0.0.1", 2407, true),
            ("[fd00::1]:65535", "fd00::1", 65535, true),
            ("[fd00::1]", "fd00::1", 2407, true),
            ("fd00::1", "fd00::1", 2407, true),
        ] {
            assert_eq!(parse(text), Some((host.to_owned(), port, is_ip)), "{text}");
        }
    }

    #[test]
    fn a_name_that_is_given_stands_for_those_of_all_hosts() {
        let keys = ServerName::try_from("keys.test").expect("a name");
        let addresses = Addresses::from(["a.test:1", "10.0.0.1"]);
        let own = addresses.clone().parse().expect("addresses");
        assert_eq!(own[0].name, ServerName::try_from("a.test").expect("a name"));
        let parsed = addresses.named(keys.clone()).parse().expect("addresses");
        assert!(parsed.iter().all(|address| address.name == keys));
        assert_eq!((parsed[0].host.as_str(), parsed[1].port), ("a.test", 2407));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            ":1",
            "a:",
            "a:x",
            "a:65536",
            "a b:1",
            "[fd00::1",
            "[fd00::1]1",
            "a:1:2",
            "[]:1",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        let both = Addresses::from(["a:1", "b:"]);
        assert_eq!(both.parse().err(), Some("b:".to_owned()));
    }
}
