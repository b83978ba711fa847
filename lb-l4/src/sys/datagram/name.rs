//! Socket addresses as the kernel lays them out (`sockaddr_in`, `sockaddr_in6`), read without pointers.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Room for one `sockaddr_in` or `sockaddr_in6`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(super) struct Name([u8; SIZE]);

impl Name {
    /// Room in which the kernel may write.
    pub(super) const EMPTY: Self = Self([0; SIZE]);

    /// How many bytes the kernel may write.
    pub(super) const SIZE: u32 = 28;

    /// Lays out `address`; returns how many bytes of it count.
    pub(super) fn emit(&mut self, address: SocketAddr) -> u32 {
        let bytes = &mut self.0;
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => {
                bytes[..2].copy_from_slice(&FAMILY_V4.to_ne_bytes());
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                bytes[8..16].fill(0);
                16
            }
            SocketAddr::V6(v6) => {
                bytes[..2].copy_from_slice(&FAMILY_V6.to_ne_bytes());
                bytes[4..8].copy_from_slice(&v6.flowinfo().to_ne_bytes());
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                Self::SIZE
            }
        }
    }

    /// Reads what the kernel wrote; `None` for a family other than these two.
    pub(super) fn parse(&self) -> Option<SocketAddr> {
        let [f0, f1, p0, p1, a, b, c, d, rest @ ..] = self.0;
        let port = u16::from_be_bytes([p0, p1]);
        match u16::from_ne_bytes([f0, f1]) {
            FAMILY_V4 => Some(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port).into()),
            FAMILY_V6 => {
                let (address, scope) = rest.split_first_chunk::<16>()?;
                let scope = u32::from_ne_bytes(*scope.first_chunk()?);
                // The flow label of a request says nothing about its sender: it is no part of who.
                Some(SocketAddrV6::new(Ipv6Addr::from(*address), port, 0, scope).into())
            }
            _ => None,
        }
    }
}

const SIZE: usize = 28;
#[expect(
    clippy::cast_possible_truncation,
    reason = "both are small constants of the ABI"
)]
const FAMILY_V4: u16 = libc::AF_INET as u16;
#[expect(
    clippy::cast_possible_truncation,
    reason = "both are small constants of the ABI"
)]
const FAMILY_V6: u16 = libc::AF_INET6 as u16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_the_kernels_form() {
        for text in [
            "192.0.2.7:53",
            "255.255.255.255:65535",
            "[2001:db8::7%9]:53",
            "[::]:0",
        ] {
            let address: SocketAddr = text.parse().unwrap();
            let mut name = Name([0xff; SIZE]);
            let len = name.emit(address);
            assert_eq!(len, if address.is_ipv4() { 16 } else { 28 });
            assert_eq!(name.parse(), Some(address));
        }
    }

    #[test]
    fn the_form_is_that_of_the_c_library() {
        let mut name = Name::EMPTY;
        name.emit("192.0.2.7:258".parse().unwrap());
        assert_eq!(name.0[2..8], [1, 2, 192, 0, 2, 7]);
        assert_eq!(size_of::<libc::sockaddr_in6>(), SIZE);
        assert_eq!(size_of::<libc::sockaddr_in>(), 16);
    }

    #[test]
    fn an_unknown_family_is_no_address() {
        assert_eq!(Name::EMPTY.parse(), None);
    }
}
