//! Datagrams many at a time: `recvmmsg`, `sendmmsg`, and the trains of `UDP_GRO` and `UDP_SEGMENT`.
//!
//! A [`Slots`] holds the bytes; everything else is plain values, so that a batch can wait in a
//! future. Linux 5.0 or later.

mod control;
mod name;

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use control::{Control, Said};
use name::Name;

/// Which local address a datagram was sent to, and which one an answer comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Asked {
    /// The local address.
    pub(crate) address: IpAddr,
    /// The interface, where the address means nothing without it (link-local); else 0.
    pub(crate) interface: u32,
}

/// One receipt: a datagram, or a train of datagrams of one sender.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Received {
    /// Payload bytes, all datagrams of the train together.
    pub(crate) len: u16,
    /// The bytes of each datagram but the last, if this is a train.
    pub(crate) segment: Option<NonZeroU16>,
    /// Who sent it; `None` if the socket is connected or the family is none of IP's.
    pub(crate) peer: Option<SocketAddr>,
    /// Which local address it was sent to, if the socket tells.
    pub(crate) asked: Option<Asked>,
    /// Whether nothing of it was cut off.
    pub(crate) whole: bool,
}

/// A part of one slot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Piece {
    /// Which slot.
    pub(crate) slot: u16,
    /// The first byte.
    pub(crate) start: u16,
    /// How many bytes.
    pub(crate) len: u16,
}

/// One message to send: a datagram, or a train that the kernel or the card cuts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Message {
    /// Its bytes: a range of the pieces sent with it.
    pub(crate) pieces: Range<usize>,
    /// Whom to; `None` on a connected socket.
    pub(crate) to: Option<SocketAddr>,
    /// The address to send from; `None` leaves it to the kernel.
    pub(crate) from: Option<Asked>,
    /// The bytes of each datagram but the last, if it is a train.
    pub(crate) segment: Option<NonZeroU16>,
}

/// Room for a number of receipts, each as large as a train can be.
///
/// Memory is touched as it is used: a slot that sees small datagrams only costs a page.
#[derive(Debug)]
pub(crate) struct Slots {
    bytes: Box<[u8]>,
    names: Box<[Name]>,
    controls: Box<[Control]>,
    received: Box<[Received]>,
}

impl Slots {
    /// `count` slots.
    pub(crate) fn new(count: u16) -> Self {
        let count = usize::from(count);
        Self {
            bytes: vec![0; count * STRIDE].into_boxed_slice(),
            names: vec![Name::EMPTY; count].into_boxed_slice(),
            controls: vec![Control::EMPTY; count].into_boxed_slice(),
            received: vec![Received::default(); count].into_boxed_slice(),
        }
    }

    /// What slot `slot` received last.
    pub(crate) fn received(&self, slot: u16) -> Received {
        self.received
            .get(usize::from(slot))
            .copied()
            .unwrap_or_default()
    }

    /// The bytes of `piece`; empty if there is no such piece.
    pub(crate) fn bytes(&self, piece: Piece) -> &[u8] {
        let start = usize::from(piece.slot) * STRIDE + usize::from(piece.start);
        self.bytes
            .get(start..start + usize::from(piece.len))
            .unwrap_or(&[])
    }

    /// Receives into `slots`, at most [`BATCH`] of them, without waiting; returns how many it filled.
    ///
    /// Fewer than asked for means that the queue was found empty.
    ///
    /// # Errors
    ///
    /// Whatever is pending on the socket; `WouldBlock` if nothing is.
    pub(crate) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        slots: Range<u16>,
    ) -> io::Result<usize> {
        let slots = usize::from(slots.start)..usize::from(slots.end);
        // SAFETY: these are plain C structs of integers and pointers, for which zero is a value.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        // SAFETY: as above.
        let mut vectors: [libc::iovec; BATCH] = unsafe { mem::zeroed() };
        let rooms = self.bytes.chunks_exact_mut(STRIDE).skip(slots.start);
        let names = self.names.iter_mut().skip(slots.start);
        let controls = self.controls.iter_mut().skip(slots.start);
        let frames = headers.iter_mut().zip(&mut vectors).take(slots.len());
        let mut count = 0;
        for ((((header, vector), room), name), control) in
            frames.zip(rooms).zip(names).zip(controls)
        {
            vector.iov_base = room.as_mut_ptr().cast();
            vector.iov_len = ROOM;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = Name::SIZE;
            header.msg_hdr.msg_control = ptr::from_mut(control).cast();
            header.msg_hdr.msg_controllen = Control::SIZE;
            count += 1;
        }
        // SAFETY: the first `count` headers point at a room of ROOM bytes, a name and a control of
        // the stated sizes, all of which this call borrows mutably and nothing else reads meanwhile.
        let got = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        for (index, header) in headers.iter().enumerate().take(got) {
            self.note(slots.start + index, header);
        }
        Ok(got)
    }

    /// Keeps what the kernel said of slot `slot`.
    fn note(&mut self, slot: usize, header: &libc::mmsghdr) {
        let message = &header.msg_hdr;
        let Said { asked, segment } = match (message.msg_controllen, self.controls.get(slot)) {
            (0, _) | (_, None) => Said::default(),
            (len, Some(control)) => control.parse(len),
        };
        let peer = match (message.msg_namelen, self.names.get(slot)) {
            (0, _) | (_, None) => None,
            (_, Some(name)) => name.parse(),
        };
        let len = u16::try_from(header.msg_len).ok();
        if let Some(received) = self.received.get_mut(slot) {
            *received = Received {
                len: len.unwrap_or(0),
                // A train of one is a datagram.
                segment: segment.filter(|segment| Some(segment.get()) < len),
                peer,
                asked,
                whole: len.is_some()
                    && message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) == 0,
            };
        }
    }

    /// Sends `messages`, whose bytes are ranges of `pieces`; returns how many the kernel took.
    ///
    /// At most [`BATCH`] messages of at most [`BATCH`] pieces all together go in one call; the rest
    /// is for the next one.
    ///
    /// # Errors
    ///
    /// Why the first message was not taken; none was then.
    pub(crate) fn send(
        &self,
        socket: BorrowedFd<'_>,
        pieces: &[Piece],
        messages: &[Message],
    ) -> io::Result<usize> {
        match messages {
            [] => Ok(0),
            [only] => self.send_one(socket, pieces, only),
            many => self.send_up_to::<BATCH, BATCH>(socket, pieces, many),
        }
    }

    fn send_one(
        &self,
        socket: BorrowedFd<'_>,
        pieces: &[Piece],
        only: &Message,
    ) -> io::Result<usize> {
        let one = std::slice::from_ref(only);
        match pieces.get(only.pieces.clone()) {
            Some([piece]) if only.to.is_none() => {
                // Connected, one datagram: the cheapest call there is.
                let flags = rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL;
                if only.segment.is_some() {
                    return self.send_up_to::<1, 1>(socket, pieces, one);
                }
                rustix::net::send(socket, self.bytes(*piece), flags)?;
                Ok(1)
            }
            Some([_]) => self.send_up_to::<1, 1>(socket, pieces, one),
            _ => self.send_up_to::<1, BATCH>(socket, pieces, one),
        }
    }

    fn send_up_to<const M: usize, const P: usize>(
        &self,
        socket: BorrowedFd<'_>,
        pieces: &[Piece],
        messages: &[Message],
    ) -> io::Result<usize> {
        // SAFETY: these are plain C structs of integers and pointers, for which zero is a value.
        let mut headers: [libc::mmsghdr; M] = unsafe { mem::zeroed() };
        // SAFETY: as above.
        let mut vectors: [libc::iovec; P] = unsafe { mem::zeroed() };
        let mut names = [Name::EMPTY; M];
        let mut controls = [Control::EMPTY; M];
        let mut room: &mut [libc::iovec] = &mut vectors;
        let mut count = 0;
        for (((message, header), name), control) in messages
            .iter()
            .zip(&mut headers)
            .zip(&mut names)
            .zip(&mut controls)
        {
            let pieces = pieces.get(message.pieces.clone()).unwrap_or(&[]);
            let Some((mine, rest)) = mem::take(&mut room).split_at_mut_checked(pieces.len()) else {
                break;
            };
            room = rest;
            for (vector, piece) in mine.iter_mut().zip(pieces) {
                let bytes = self.bytes(*piece);
                vector.iov_base = bytes.as_ptr().cast_mut().cast();
                vector.iov_len = bytes.len();
            }
            let header = &mut header.msg_hdr;
            header.msg_iov = mine.as_mut_ptr();
            header.msg_iovlen = mine.len();
            if let Some(to) = message.to {
                header.msg_namelen = name.emit(to);
                header.msg_name = ptr::from_mut(name).cast();
            }
            header.msg_controllen = control.emit(message.from, message.segment);
            if header.msg_controllen > 0 {
                header.msg_control = ptr::from_mut(control).cast();
            }
            count += 1;
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the first `count` headers point at vectors, names and controls of this frame and,
        // through the vectors, at bytes that `self` lends; the kernel only reads all of them.
        let sent =
            unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, flags) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// Has the kernel tell the local address each datagram was sent to.
///
/// # Errors
///
/// Those of `setsockopt(2)`.
pub(crate) fn tell_asked(socket: BorrowedFd<'_>, version: IpVersion) -> io::Result<()> {
    match version {
        IpVersion::V4 => set(socket, libc::IPPROTO_IP, libc::IP_PKTINFO),
        IpVersion::V6 => set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    }
}

/// Which protocol a socket was opened for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum IpVersion {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`, which may carry IPv4 in mapped addresses.
    V6,
}

impl IpVersion {
    /// That of a socket with this address.
    pub(crate) const fn of(address: &SocketAddr) -> Self {
        match address {
            SocketAddr::V4(_) => Self::V4,
            SocketAddr::V6(_) => Self::V6,
        }
    }
}

/// Lets the kernel hand over a train of datagrams as one receipt.
///
/// # Errors
///
/// Those of `setsockopt(2)`; before Linux 5.0, that it is unknown.
pub(crate) fn receive_trains(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::SOL_UDP, libc::UDP_GRO)
}

/// Turns an option on.
fn set(socket: BorrowedFd<'_>, level: i32, option: i32) -> io::Result<()> {
    let on: libc::c_int = 1;
    #[expect(clippy::cast_possible_truncation, reason = "the size of an int")]
    let len = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the value is a live int, and `len` is its size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            ptr::from_ref(&on).cast(),
            len,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The most receipts, messages or pieces in one call.
///
/// 64 amortise a system call to some 20 ns a datagram; the kernel takes up to 1,024 messages.
pub(crate) const BATCH: usize = 64;

/// The most bytes of one receipt: those that the length field of IP can count.
const ROOM: usize = 65_535;

/// From slot to slot: not a power of two, else the first lines of all slots would fall into the
/// same few sets of the cache.
const STRIDE: usize = 65_536 + 17 * 64;

#[cfg(test)]
mod tests;
