//! The headers of a connection's SYN, kept by the kernel: tcp(7), `TCP_SAVE_SYN`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// More than any SYN's headers have: an IPv6 header with as many extensions as a minimal packet has
/// room for, or twice the 60 bytes of IPv4 and TCP. Of longer ones, nothing is read.
pub(crate) const LONGEST: usize = 512;

/// Has the kernel keep the headers of the SYN of each connection that this listener accepts.
pub(crate) fn keep(listener: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the value is live, and the length is its own; the kernel reads no more.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_SAVE_SYN,
            (&raw const on).cast(),
            length(size_of_val(&on)),
        )
    };
    check(result)
}

/// The headers of this connection's SYN, from the IP header on, of which the kernel lets go; nothing
/// if they were not kept, or are taken already.
pub(crate) fn take<'b>(
    socket: BorrowedFd<'_>,
    bytes: &'b mut [u8; LONGEST],
) -> io::Result<&'b [u8]> {
    let mut len = length(bytes.len());
    // SAFETY: the kernel writes at most `len` bytes to the buffer, which has as many, and to `len`
    // how many it has written; both are live.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_SAVED_SYN,
            bytes.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    check(result)?;
    let len = usize::try_from(len).unwrap_or(0);
    Ok(bytes.get(..len).unwrap_or_default())
}

/// A length of some bytes, as the kernel counts.
fn length(bytes: usize) -> libc::socklen_t {
    libc::socklen_t::try_from(bytes).unwrap_or(0)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
