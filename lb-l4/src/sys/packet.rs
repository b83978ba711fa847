//! Packet sockets: packet(7).

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// Bytes of the header before each packet (`struct virtio_net_hdr`).
pub(crate) const VNET_HEADER: usize = 10;
/// The most packets that one call sends.
pub(crate) const BATCH: usize = 32;

/// Opens a packet socket that receives nothing until it is bound.
pub(crate) fn open() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // The protocol 0 is none.
    Ok(socket_with(
        AddressFamily::PACKET,
        SocketType::RAW,
        flags,
        None,
    )?)
}

/// Puts a `virtio_net_hdr` before every packet, in both directions.
pub(crate) fn set_vnet_header(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::SOL_PACKET, libc::PACKET_VNET_HDR, &ON)
}

/// Sends to the driver at once, and not through the queueing discipline.
pub(crate) fn set_qdisc_bypass(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, &ON)
}

/// Does not receive what this host sends. Linux 4.20.
pub(crate) fn set_ignore_outgoing(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &ON)
}

/// Gives the socket a receive ring of version 3: `count` blocks of `size` bytes, handed over when
/// full, or `retire` milliseconds after their first packet, and `reserve` bytes before each packet.
pub(crate) fn set_ring(
    socket: BorrowedFd<'_>,
    size: u32,
    count: u32,
    reserve: u32,
    retire: u32,
) -> io::Result<()> {
    /// Checked by the kernel, and of no other use in version 3.
    const FRAME: u32 = 2048;
    let version = libc::tpacket_versions::TPACKET_V3 as libc::c_int;
    set(socket, libc::SOL_PACKET, libc::PACKET_VERSION, &version)?;
    set(socket, libc::SOL_PACKET, libc::PACKET_RESERVE, &reserve)?;
    let request = libc::tpacket_req3 {
        tp_block_size: size,
        tp_block_nr: count,
        tp_frame_size: FRAME,
        tp_frame_nr: size / FRAME * count,
        tp_retire_blk_tov: retire,
        tp_sizeof_priv: 0,
        tp_feature_req_word: 0,
    };
    set(socket, libc::SOL_PACKET, libc::PACKET_RX_RING, &request)
}

/// Receives every protocol of the interface.
pub(crate) fn bind(socket: BorrowedFd<'_>, interface: u32) -> io::Result<()> {
    // SAFETY: a plain C struct of integers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = short(libc::AF_PACKET);
    address.sll_protocol = short(libc::ETH_P_ALL).to_be();
    address.sll_ifindex = interface.cast_signed();
    // SAFETY: the address is a live `sockaddr_ll`, and the length is its own.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            length::<libc::sockaddr_ll>(),
        )
    };
    check(result)
}

/// Receives also what is addressed to others.
pub(crate) fn set_promiscuous(socket: BorrowedFd<'_>, interface: u32) -> io::Result<()> {
    let membership = libc::packet_mreq {
        mr_ifindex: interface.cast_signed(),
        mr_type: short(libc::PACKET_MR_PROMISC),
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set(
        socket,
        libc::SOL_PACKET,
        libc::PACKET_ADD_MEMBERSHIP,
        &membership,
    )
}

/// Begins a group of bound sockets that share the packets of their interface by flow, in both
/// directions alike (`PACKET_FANOUT_HASH`); returns its number.
pub(crate) fn begin_fanout(socket: BorrowedFd<'_>) -> io::Result<u16> {
    join(socket, 0, libc::PACKET_FANOUT_FLAG_UNIQUEID)?;
    let number: libc::c_int = ask(socket, libc::PACKET_FANOUT)?;
    // The number is in the lower half, and the mode in the upper.
    Ok((number & 0xffff) as u16)
}

/// Joins the group of this number.
pub(crate) fn join_fanout(socket: BorrowedFd<'_>, group: u16) -> io::Result<()> {
    join(socket, group, 0)
}

fn join(socket: BorrowedFd<'_>, group: u16, flags: libc::c_uint) -> io::Result<()> {
    // A group receives by a hook of its own, to which `PACKET_IGNORE_OUTGOING` of its members does
    // not apply.
    let flags = flags | libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING;
    let value = u32::from(group) | (libc::PACKET_FANOUT_HASH | flags) << 16;
    set(socket, libc::SOL_PACKET, libc::PACKET_FANOUT, &value)
}

/// One instruction of a classic BPF program (bpf(4) of BSD; Linux, filter.rst).
pub(crate) type Instruction = libc::sock_filter;

/// Receives only what this program takes: it returns how many bytes, 0 is none.
pub(crate) fn set_filter(socket: BorrowedFd<'_>, program: &[Instruction]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog {
        len,
        filter: program.as_ptr().cast_mut(),
    };
    set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// Receives everything.
pub(crate) fn clear_filter(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &0)
}

/// How many packets were dropped since it was last asked: the ring was full.
pub(crate) fn dropped(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let stats: libc::tpacket_stats_v3 = ask(socket, libc::PACKET_STATISTICS)?;
    Ok(stats.tp_drops)
}

/// A packet to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    /// What is left to be done.
    pub(crate) header: [u8; VNET_HEADER],
    /// The packet, from the link's header on.
    pub(crate) bytes: &'a [u8],
}

/// Sends the first of `messages`, at most [`BATCH`] of them, in order; returns how many.
///
/// # Errors
///
/// Why the first one was not sent; none was then.
pub(crate) fn send(socket: BorrowedFd<'_>, messages: &[Message<'_>]) -> io::Result<usize> {
    // SAFETY: these are plain C structs of integers and pointers, for which zero is a value.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut vectors: [[libc::iovec; 2]; BATCH] = unsafe { mem::zeroed() };
    let mut count = 0;
    for ((message, header), parts) in messages.iter().zip(&mut headers).zip(&mut vectors) {
        for (part, bytes) in parts.iter_mut().zip([&message.header[..], message.bytes]) {
            part.iov_base = bytes.as_ptr().cast_mut().cast();
            part.iov_len = bytes.len();
        }
        header.msg_hdr.msg_iov = parts.as_mut_ptr();
        header.msg_hdr.msg_iovlen = parts.len();
        count += 1;
    }
    // SAFETY: the first `count` headers point at vectors of this frame, and these at bytes that the
    // messages borrow; the kernel only reads them.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            count,
            libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

const ON: libc::c_int = 1;

/// Sets an option whose value is plain C.
fn set<T>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the value is live, and the length is its own; the kernel reads no more.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            length::<T>(),
        )
    };
    check(result)
}

/// A value that is one whatever bytes the kernel writes into it.
trait Plain: Copy {}

impl Plain for libc::c_int {}
impl Plain for libc::tpacket_stats_v3 {}

/// Asks for an option of packet sockets.
fn ask<T: Plain>(socket: BorrowedFd<'_>, option: libc::c_int) -> io::Result<T> {
    // SAFETY: a plain C value of integers, for which zero is one.
    let mut value: T = unsafe { mem::zeroed() };
    let mut len = length::<T>();
    // SAFETY: the kernel writes at most `len` bytes, which are those of the value, and every content
    // is one of its type.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    check(result).map(|()| value)
}

/// A constant that C declares as an `int`, in a field of 16 bits.
const fn short(constant: libc::c_int) -> u16 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "those used here are below 2^16"
    )]
    let short = constant.cast_unsigned() as u16;
    short
}

/// The size of a plain C type, as system calls take it.
const fn length<T>() -> libc::socklen_t {
    #[expect(clippy::cast_possible_truncation, reason = "no such type has 4 GiB")]
    let length = size_of::<T>() as libc::socklen_t;
    length
}

fn check(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
