//! The addresses of this host, by `getifaddrs(3)`: those of the calling thread's network namespace.

use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;

/// One address of one interface: the interface's name, the address, and its netmask.
pub(crate) type Address = (String, IpAddr, IpAddr);

/// Every IP address of every interface that has a netmask.
pub(crate) fn all() -> io::Result<Vec<Address>> {
    let list = List::ask()?;
    let mut found = Vec::new();
    let mut next: *const libc::ifaddrs = list.0;
    // SAFETY: it is null at the end, or an entry of the list, which `list` keeps until after this.
    while let Some(entry) = unsafe { next.as_ref() } {
        next = entry.ifa_next;
        let (Some(address), Some(mask)) = (address(entry.ifa_addr), address(entry.ifa_netmask))
        else {
            continue;
        };
        // SAFETY: every entry has a name that ends with a zero and lives as long as the list.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) };
        found.push((name.to_string_lossy().into_owned(), address, mask));
    }
    Ok(found)
}

/// What the C library has allocated, until it is dropped.
struct List(*mut libc::ifaddrs);

impl List {
    fn ask() -> io::Result<Self> {
        let mut first = ptr::null_mut();
        // SAFETY: `first` is a pointer that it may write.
        match unsafe { libc::getifaddrs(&raw mut first) } {
            0 => Ok(Self(first)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: it is what `getifaddrs` gave, freed once; null is allowed by the C libraries only
        // if there was no address at all, for which they free nothing.
        unsafe { libc::freeifaddrs(self.0) }
    }
}

/// The IP address at `from`; `None` for null and for other families.
fn address(from: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: it is null, or one of the list's addresses, at least as long as a `sockaddr`.
    let family = unsafe { from.as_ref() }?.sa_family;
    match i32::from(family) {
        libc::AF_INET => {
            // SAFETY: the family says that it is one of these.
            let it = unsafe { ptr::read_unaligned(from.cast::<libc::sockaddr_in>()) };
            Some(Ipv4Addr::from_bits(u32::from_be(it.sin_addr.s_addr)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that it is one of these.
            let it = unsafe { ptr::read_unaligned(from.cast::<libc::sockaddr_in6>()) };
            Some(Ipv6Addr::from(it.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}
