//! Whether an interface is there, after it has failed.

use std::io;
use std::os::fd::BorrowedFd;

use super::af_packet::{AfPacketConfig, Receiving};
use crate::sys::interface::{Hardware, Interfaces};
use crate::sys::packet as sys;

/// The interface of a packet socket, by its name and by what it was when it was opened.
///
/// The socket tells once that its interface has gone down or away, and is silent from then on. One
/// that is up again delivers again; one that was made anew has another number, and the socket has to
/// be bound to it.
#[derive(Debug)]
pub(super) struct Presence {
    interfaces: Interfaces,
    name: String,
    index: u32,
    hardware: Hardware,
    receiving: Receiving,
    is_lost: bool,
}

impl Presence {
    pub(super) fn new(
        interfaces: Interfaces,
        config: &AfPacketConfig,
        index: u32,
        hardware: Hardware,
    ) -> Self {
        Self {
            interfaces,
            name: config.name.clone(),
            index,
            hardware,
            receiving: config.receiving,
            is_lost: false,
        }
    }

    /// Whether it has failed, and has not come back since.
    pub(super) const fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Passes a result on; after an error the interface is looked for.
    pub(super) fn watch<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        self.is_lost |= result.is_err();
        result
    }

    /// Takes the interface into use again, if it is there.
    ///
    /// # Errors
    ///
    /// It is not there, or down, or another: with another link address, by which nobody would find
    /// the forwarder. One of several queues is bound for good (packet(7), `PACKET_FANOUT`), and
    /// does not come back to one that was made anew.
    pub(super) fn come_back(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        // What is pending is of the time before.
        let _ = rustix::net::sockopt::socket_error(socket)?;
        let index = self.interfaces.index(&self.name)?;
        if !self.interfaces.is_up(&self.name)? {
            return Err(io::ErrorKind::NetworkDown.into());
        }
        if self.interfaces.hardware(&self.name)? != self.hardware {
            let text = "an interface of this name is there, with another link address";
            return Err(io::Error::other(text));
        }
        if index != self.index {
            sys::bind(socket, index)?;
            if self.receiving == Receiving::Everything {
                sys::set_promiscuous(socket, index)?;
            }
            self.index = index;
        }
        self.is_lost = false;
        Ok(())
    }
}
