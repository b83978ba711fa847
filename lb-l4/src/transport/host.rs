//! What the host itself has: its own addresses, which no service and no forwarder may have too.

use std::io;
use std::net::IpAddr;

use lbcore::address_list::Prefix;

use crate::sys::addresses;

/// One address of this host.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct HostAddress {
    /// The name of the interface that has it.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// What is reached on the interface's link without a gateway, of which the address is one.
    pub prefix: Prefix,
}

/// Every IP address of this host, or rather of the calling thread's network namespace.
///
/// What a program asks before it forwards packets beside the host's own stack: on-link prefixes of
/// an interface, and addresses for which the host would answer too.
///
/// # Errors
///
/// Those of `getifaddrs(3)`: no descriptor or memory is left.
///
/// # Examples
///
/// ```
/// use lb_l4::transport::host_addresses;
///
/// for own in host_addresses()? {
///     println!("{} has {} in {:?}", own.interface, own.address, own.prefix);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn host_addresses() -> io::Result<Vec<HostAddress>> {
    let all = addresses::all()?.into_iter();
    Ok(all
        .filter_map(|(interface, address, mask)| {
            let prefix = prefix(address, mask)?;
            Some(HostAddress {
                interface,
                address,
                prefix,
            })
        })
        .collect())
}

/// The prefix of `address` under a netmask; `None` if the two are of different families.
fn prefix(address: IpAddr, mask: IpAddr) -> Option<Prefix> {
    let (first, length) = match (address, mask) {
        (IpAddr::V4(address), IpAddr::V4(mask)) => {
            let mask = mask.to_bits();
            let first = IpAddr::V4((address.to_bits() & mask).into());
            (first, mask.leading_ones())
        }
        (IpAddr::V6(address), IpAddr::V6(mask)) => {
            let mask = mask.to_bits();
            let first = IpAddr::V6((address.to_bits() & mask).into());
            (first, mask.leading_ones())
        }
        _ => return None,
    };
    Prefix::new(first, u8::try_from(length).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_netmask_is_a_prefix() {
        let of =
            |address: &str, mask: &str| prefix(address.parse().unwrap(), mask.parse().unwrap());
        let expected: Prefix = "10.9.0.0/24".parse().unwrap();
        assert_eq!(of("10.9.0.2", "255.255.255.0"), Some(expected));
        let expected: Prefix = "fd09::/64".parse().unwrap();
        assert_eq!(of("fd09::2", "ffff:ffff:ffff:ffff::"), Some(expected));
        let expected: Prefix = "192.0.2.1/32".parse().unwrap();
        assert_eq!(of("192.0.2.1", "255.255.255.255"), Some(expected));
        assert_eq!(of("192.0.2.1", "ffff::"), None);
    }

    #[test]
    fn the_loopback_is_one_of_the_hosts_own() {
        let all = host_addresses().unwrap();
        let found = all.iter().find(|it| it.address.to_string() == "127.0.0.1");
        let found = found.expect("every host has it");
        assert_eq!(found.interface, "lo");
        assert_eq!(found.prefix, "127.0.0.0/8".parse().unwrap());
    }
}
