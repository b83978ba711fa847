//! What sessions are found by, hashed once under a secret.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use lbcore::hash::HashKey;

use crate::sys::datagram::Asked;

/// What a session is found by: the client, and the address it asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Key([u64; 5]);

impl Key {
    pub(super) fn new(client: SocketAddr, asked: Option<Asked>) -> Self {
        let scope = match client {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(v6) => v6.scope_id(),
        };
        let [a, b] = words(client.ip());
        let [c, d] = asked.map_or([0; 2], |asked| words(asked.address));
        Self([
            a,
            b,
            c,
            d,
            u64::from(scope) << 16 | u64::from(client.port()),
        ])
    }
}

/// An address as two words; IPv4 in its mapped form, as sockets of IPv6 show it too.
fn words(address: IpAddr) -> [u64; 2] {
    let v6 = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let [a, b, c, d, e, f, g, h] = v6.segments().map(u64::from);
    [
        a << 48 | b << 32 | c << 16 | d,
        e << 48 | f << 32 | g << 16 | h,
    ]
}

/// A [`Key`] with its hash, so that it is hashed once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Hashed {
    key: Key,
    hash: u64,
}

impl Hashed {
    /// `key`, hashed under `secret`, so that nobody can aim for a bucket.
    pub(super) fn new(secret: &HashKey, key: Key) -> Self {
        Self {
            key,
            hash: secret.sip13_words(key.0),
        }
    }
}

impl Hash for Hashed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Gives back the hash that a [`Hashed`] brings.
#[derive(Default)]
pub(super) struct Through(u64);

impl Hasher for Through {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only `write_u64` is used; this keeps the trait's promise for anything else.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_differ_in_scope_alone_have_sessions_of_their_own() {
        let keys = [
            "[fe80::1%1]:5",
            "[fe80::1%2]:5",
            "[fe80::1%2]:6",
            "[fe80:1::1%2]:5",
        ]
        .map(|text| Key::new(text.parse().unwrap(), None));
        for (at, key) in keys.iter().enumerate() {
            assert_eq!(keys.iter().position(|other| other == key), Some(at));
        }
    }

    #[test]
    fn an_address_is_the_same_in_either_form() {
        let [v4, mapped] = ["192.0.2.1", "::ffff:192.0.2.1"].map(|it| words(it.parse().unwrap()));
        assert_eq!(v4, mapped);
        assert_eq!(v4, [0, 0xffff_c000_0201]);
        let v6 = words("2001:db8:1:2:3:4:5:6".parse().unwrap());
        assert_eq!(v6, [0x2001_0db8_0001_0002, 0x0003_0004_0005_0006]);
    }

    #[test]
    fn the_map_is_given_the_hash_that_the_secret_made() {
        let key = Key::new("192.0.2.1:5".parse().unwrap(), None);
        let hashed = Hashed::new(&HashKey::from_seed(1), key);
        let mut through = Through::default();
        hashed.hash(&mut through);
        assert_eq!(through.finish(), hashed.hash);
        assert_eq!(hashed.hash, HashKey::from_seed(1).sip13_words(key.0));
        assert_ne!(hashed, Hashed::new(&HashKey::from_seed(2), key));
    }
}
