//! What a driver does for an interface: the requests of ethtool(8).
//!
//! Source: include/uapi/linux/ethtool.h.

use std::io;
use std::ptr;

use super::interface::{Interfaces, ask, request};

impl Interfaces {
    /// How many queues it receives by; 1 for drivers that do not say.
    pub(crate) fn receive_queues(&self, name: &str) -> io::Result<u32> {
        let mut channels = Channels {
            command: ETHTOOL_GCHANNELS,
            ..Channels::default()
        };
        match self.ethtool(name, &mut channels) {
            Ok(()) => Ok(channels.receive.saturating_add(channels.combined).max(1)),
            Err(error) if is_unsupported(&error) => Ok(1),
            Err(error) => Err(error),
        }
    }

    /// Has the host do what senders otherwise leave to the driver: checksums, and cutting trains of
    /// segments.
    ///
    /// What the driver does not let anybody change is left as it is.
    pub(crate) fn disable_transmit_offloads(&self, name: &str) -> io::Result<()> {
        for command in [ETHTOOL_SGSO, ETHTOOL_STSO, ETHTOOL_STXCSUM] {
            match self.ethtool(name, &mut Value { command, data: 0 }) {
                Err(error) if !is_unsupported(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn ethtool<T: Command>(&self, name: &str, command: &mut T) -> io::Result<()> {
        let mut request = request(name)?;
        // The kernel reads and writes a whole structure of that command, and no more.
        request.ifr_ifru.ifru_data = ptr::from_mut(command).cast();
        ask(self.socket(), libc::SIOCETHTOOL, &mut request)
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    // ENOTSUPP (524), which is not meant for programs, slips out of some drivers.
    matches!(
        error.raw_os_error(),
        Some(libc::EOPNOTSUPP | libc::EINVAL | 524)
    )
}

/// A structure that an ethtool command reads and writes, and that begins with its number.
///
/// # Safety
///
/// It is of the layout of the kernel's structure for every command that is ever put into it.
unsafe trait Command {}

// SAFETY: `struct ethtool_value`, which is what commands of one number take.
unsafe impl Command for Value {}
// SAFETY: `struct ethtool_channels`, for ETHTOOL_GCHANNELS.
unsafe impl Command for Channels {}

#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

#[derive(Default)]
#[repr(C)]
struct Channels {
    command: u32,
    max_receive: u32,
    max_transmit: u32,
    max_other: u32,
    max_combined: u32,
    receive: u32,
    transmit: u32,
    other: u32,
    combined: u32,
}

const ETHTOOL_STXCSUM: u32 = 0x17;
const ETHTOOL_STSO: u32 = 0x1f;
const ETHTOOL_SGSO: u32 = 0x24;
const ETHTOOL_GCHANNELS: u32 = 0x3c;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_says_nothing_has_one_queue() {
        let interfaces = Interfaces::open().unwrap();
        assert_eq!(interfaces.receive_queues("lo").unwrap(), 1);
    }

    #[test]
    fn an_interface_that_is_none_is_an_error() {
        let interfaces = Interfaces::open().unwrap();
        let error = interfaces.receive_queues("0123456789abcde").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        let error = interfaces.disable_transmit_offloads("0123456789abcde");
        assert_eq!(error.unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }
}
