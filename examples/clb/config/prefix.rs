//! Address prefixes of the lists that let clients in or turn them away.

use std::fmt;
use std::net::IpAddr;

/// All addresses that begin with the first `bits` bits of `address`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Prefix {
    /// Its first address: every bit behind the prefix is 0.
    pub(crate) address: IpAddr,
    /// 0..=32 for IPv4, 0..=128 for IPv6.
    pub(crate) bits: u8,
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// Reads `192.0.2.0/24`, `2001:db8::/32`, or one address.
///
/// # Errors
///
/// Says what is wrong. Bits behind the prefix are: they are a slip in one of the two numbers, and
/// nobody can say in which.
pub(super) fn parse(text: &str) -> Result<Prefix, String> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address
        .parse()
        .map_err(|_| format!("{text:?} is not a prefix, expected {PREFIX_FORM}"))?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => most,
        Some(digits) => digits
            .parse()
            .ok()
            .filter(|bits| *bits <= most && !digits.starts_with('+'))
            .ok_or_else(|| {
                format!("{text:?} has no good length, expected a number in 0..={most}")
            })?,
    };
    let first = masked(address, bits);
    if first == address {
        Ok(Prefix { address, bits })
    } else {
        Err(format!(
            "{text:?} has bits behind its prefix, expected {first}/{bits} or a longer prefix"
        ))
    }
}

/// `address` with every bit behind the first `bits` set to 0.
fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

pub(super) const PREFIX_FORM: &str = "an address or ADDRESS/LENGTH";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_printed_as_it_is_read() {
        for text in [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "192.0.2.7/32",
            "::/0",
            "2001:db8::/33",
            "::1/128",
        ] {
            assert_eq!(parse(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn an_address_alone_is_the_prefix_of_itself() {
        assert_eq!(parse("192.0.2.7").expect("v4").bits, 32);
        assert_eq!(parse("2001:db8::1").expect("v6").bits, 128);
    }

    #[test]
    fn a_length_beyond_the_address_is_refused() {
        for text in [
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.0/256",
        ] {
            assert!(
                parse(text).expect_err(text).contains("no good length"),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "/8", "10.0.0/8", "localhost", "10.0.0.0:80"] {
            assert!(
                parse(text).expect_err(text).contains("is not a prefix"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_bit_behind_the_prefix_is_refused_and_the_nearest_prefix_told() {
        let told = parse("10.0.0.1/31").expect_err("one bit behind");
        assert!(told.contains("expected 10.0.0.0/31"), "{told}");
        let told = parse("2001:db8:8000::/32").expect_err("one bit behind");
        assert!(told.contains("expected 2001:db8::/32"), "{told}");
        assert!(parse("128.0.0.0/1").is_ok());
        assert!(parse("128.0.0.0/0").is_err());
    }
}
