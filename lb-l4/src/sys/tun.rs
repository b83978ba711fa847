//! One queue of a TUN device (kernel: Documentation/networking/tuntap.rst).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;

use super::interface::{ask, request};

/// What a device is asked to hand over unfinished.
const OFFLOADS: libc::c_uint =
    libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
/// The same for trains of UDP; Linux 6.2 and later.
const UDP_OFFLOADS: libc::c_uint = libc::TUN_F_USO4 | libc::TUN_F_USO6;

/// Opens a queue of the device `name`, which is created if it is not there; an empty name, or one
/// with `%d`, lets the kernel choose. Returns the name that it has.
///
/// Packets come and go without `struct tun_pi`, behind a `virtio_net_hdr`.
pub(crate) fn open(name: &str, queues: Queues) -> io::Result<(File, String)> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    let mut request = request(if name.is_empty() { "tun%d" } else { name })?;
    let flags = libc::IFF_TUN
        | libc::IFF_NO_PI
        | libc::IFF_VNET_HDR
        | match queues {
            Queues::One => 0,
            Queues::Several => libc::IFF_MULTI_QUEUE,
        };
    #[expect(clippy::cast_possible_truncation, reason = "these flags have 15 bits")]
    let flags = flags as libc::c_short;
    request.ifr_ifru.ifru_flags = flags;
    ask(file.as_fd(), libc::TUNSETIFF, &mut request)?;
    let bytes = request.ifr_name.iter().map(|it| it.to_ne_bytes()[0]);
    let name = bytes.take_while(|it| *it != 0).collect();
    let name = String::from_utf8(name).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok((file, name))
}

/// How many queues a device has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Queues {
    /// One.
    One,
    /// As many as are opened by its name; a flow stays with the queue that last sent for it.
    Several,
}

/// Asks for packets whose checksums are partial and which are still to be cut.
///
/// Returns whether trains of UDP are among them.
pub(crate) fn offload(file: &File) -> io::Result<bool> {
    if set_offload(file, OFFLOADS | UDP_OFFLOADS).is_ok() {
        return Ok(true);
    }
    set_offload(file, OFFLOADS).map(|()| false)
}

/// Asks for packets that are finished.
pub(crate) fn offload_nothing(file: &File) -> io::Result<()> {
    set_offload(file, 0)
}

fn set_offload(file: &File, offloads: libc::c_uint) -> io::Result<()> {
    let offloads = libc::c_ulong::from(offloads);
    // SAFETY: the request takes its argument by value and touches no memory of ours.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, offloads) };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
