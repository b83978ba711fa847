//! What an interface is, asked by `ioctl(2)` as netdevice(7) says.
//!
//! Not from `/sys`, which shows the network namespace that it was mounted in and not the thread's.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// A socket to ask about interfaces by name; it stands in the namespace it was opened in.
#[derive(Debug)]
pub(crate) struct Interfaces(OwnedFd);

/// What kind of link an interface has (`ARPHRD_*`).
#[cfg(any(feature = "af-packet", feature = "af-xdp"))]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Hardware {
    /// Ethernet, or a loopback that looks like it, with this address.
    Ethernet([u8; 6]),
    /// No link header: TUN.
    None,
    /// Another one, of this number.
    Other(u16),
}

impl Interfaces {
    /// Opens the socket.
    pub(crate) fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
        Ok(Self(socket))
    }

    /// The socket, for requests of other families.
    #[cfg(feature = "af-xdp")]
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Its number, at least 1.
    #[cfg(any(feature = "af-packet", feature = "af-xdp"))]
    pub(crate) fn index(&self, name: &str) -> io::Result<u32> {
        Ok(rustix::net::netdevice::name_to_index(&self.0, name)?)
    }

    /// The largest packet it takes, in bytes, without the link's header.
    #[cfg(any(feature = "af-packet", feature = "af-xdp"))]
    pub(crate) fn mtu(&self, name: &str) -> io::Result<usize> {
        let mut request = request(name)?;
        ask(self.0.as_fd(), libc::SIOCGIFMTU, &mut request)?;
        // SAFETY: the kernel has written an int, for which every value is one.
        let mtu = unsafe { request.ifr_ifru.ifru_mtu };
        usize::try_from(mtu).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// Sets the largest packet it takes.
    #[cfg(feature = "tun")]
    pub(crate) fn set_mtu(&self, name: &str, mtu: usize) -> io::Result<()> {
        let mut request = request(name)?;
        request.ifr_ifru.ifru_mtu =
            i32::try_from(mtu).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        ask(self.0.as_fd(), libc::SIOCSIFMTU, &mut request)
    }

    /// What kind of link it has, and its address there.
    #[cfg(any(feature = "af-packet", feature = "af-xdp"))]
    pub(crate) fn hardware(&self, name: &str) -> io::Result<Hardware> {
        let mut request = request(name)?;
        ask(self.0.as_fd(), libc::SIOCGIFHWADDR, &mut request)?;
        // SAFETY: the kernel has written a `sockaddr`, for whose fields every value is one.
        let address = unsafe { request.ifr_ifru.ifru_hwaddr };
        Ok(match address.sa_family {
            libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => {
                let [a, b, c, d, e, f, ..] = address.sa_data;
                Hardware::Ethernet([a, b, c, d, e, f].map(|it| it.to_ne_bytes()[0]))
            }
            libc::ARPHRD_NONE => Hardware::None,
            other => Hardware::Other(other),
        })
    }

    /// Whether it is in service.
    #[cfg(feature = "af-packet")]
    pub(crate) fn is_up(&self, name: &str) -> io::Result<bool> {
        let mut request = request(name)?;
        ask(self.0.as_fd(), libc::SIOCGIFFLAGS, &mut request)?;
        // SAFETY: the kernel has written a short, for which every value is one.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        Ok(i32::from(flags) & libc::IFF_UP != 0)
    }

    /// Takes it into service.
    #[cfg(feature = "tun")]
    pub(crate) fn set_up(&self, name: &str) -> io::Result<()> {
        let mut request = request(name)?;
        ask(self.0.as_fd(), libc::SIOCGIFFLAGS, &mut request)?;
        // SAFETY: the kernel has written a short, for which every value is one.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        #[expect(clippy::cast_possible_truncation, reason = "the lowest bit")]
        let up = libc::IFF_UP as libc::c_short;
        request.ifr_ifru.ifru_flags = flags | up;
        ask(self.0.as_fd(), libc::SIOCSIFFLAGS, &mut request)
    }
}

/// A request about the interface of this name, at most 15 bytes long.
pub(super) fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: a plain C struct of integers and a union of them, for which zero is a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() || name.bytes().any(|it| it == 0) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    Ok(request)
}

/// One request of netdevice(7), or `TUNSETIFF`, all of which take a `struct ifreq`.
pub(super) fn ask(
    fd: BorrowedFd<'_>,
    what: libc::Ioctl,
    request: &mut libc::ifreq,
) -> io::Result<()> {
    // SAFETY: every request asked in this crate takes a pointer to one `ifreq`, which it may write.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), what, &raw mut *request) };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
#[cfg(all(feature = "af-packet", feature = "tun"))]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_known_by_its_name() {
        let interfaces = Interfaces::open().unwrap();
        assert_eq!(interfaces.index("lo").unwrap(), 1);
        assert_eq!(
            interfaces.hardware("lo").unwrap(),
            Hardware::Ethernet([0; 6])
        );
        assert!(interfaces.mtu("lo").unwrap() >= 1280);
        interfaces.is_up("lo").unwrap();
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let interfaces = Interfaces::open().unwrap();
        for name in ["", "0123456789abcdef", "l\0o"] {
            let error = interfaces.mtu(name).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name}");
        }
        let error = interfaces.mtu("0123456789abcde").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        interfaces.index("0123456789abcde").unwrap_err();
        interfaces.hardware("0123456789abcde").unwrap_err();
        interfaces.is_up("0123456789abcde").unwrap_err();
        interfaces.set_up("0123456789abcde").unwrap_err();
        interfaces.set_mtu("0123456789abcde", 1500).unwrap_err();
    }
}
