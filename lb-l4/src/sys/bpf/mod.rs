//! The kernel's verified programs and their maps: `bpf(2)`.
//!
//! Source: include/uapi/linux/bpf.h. Everything used here is in Linux 5.11.
#![expect(
    unsafe_code,
    reason = "system calls; the measurements take this folder alone"
)]

mod command;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

#[cfg(test)]
use command::ProgramRun;
use command::{LinkCreate, MapCreate, ProgramLoad};

/// One instruction: `struct bpf_insn`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(C)]
pub(crate) struct Instruction {
    /// Class, size or operation, and mode or source.
    pub(crate) code: u8,
    /// The destination register in the low four bits, the source in the high ones.
    pub(crate) registers: u8,
    pub(crate) offset: i16,
    pub(crate) immediate: i32,
}

/// What kind of map.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum MapKind {
    /// Keys are prefixes; the longest that fits is found (`BPF_MAP_TYPE_LPM_TRIE`).
    Prefixes,
    /// AF_XDP sockets by number (`BPF_MAP_TYPE_XSKMAP`).
    Sockets,
}

/// A map shared with programs.
#[derive(Debug)]
pub(crate) struct Map {
    fd: OwnedFd,
    key: usize,
    value: usize,
}

impl Map {
    /// A map of up to `entries` of keys and values of so many bytes.
    ///
    /// # Errors
    ///
    /// `EPERM` without the capabilities CAP_BPF and CAP_NET_ADMIN.
    pub(crate) fn create(
        kind: MapKind,
        key: usize,
        value: usize,
        entries: u32,
    ) -> io::Result<Self> {
        let size = |bytes| u32::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput);
        let (map_type, map_flags) = match kind {
            // A trie takes memory for an entry when it gets one.
            MapKind::Prefixes => (11, BPF_F_NO_PREALLOC),
            MapKind::Sockets => (17, 0),
        };
        let mut attribute = MapCreate {
            map_type,
            key_size: size(key)?,
            value_size: size(value)?,
            max_entries: entries,
            map_flags,
            ..MapCreate::default()
        };
        let fd = command::map_create(&mut attribute)?;
        Ok(Self { fd, key, value })
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if they are not of the map's sizes; `ENOSPC` when the map is full.
    pub(crate) fn set(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.check(key)?;
        if value.len() != self.value {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: both are of the map's sizes.
        unsafe { command::map_update(self.as_fd(), key, value) }
    }

    /// Puts a socket into slot `number`.
    pub(crate) fn set_socket(&self, number: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.set(&number.to_ne_bytes(), &socket.as_raw_fd().to_ne_bytes())
    }

    /// Takes a key out; whether it was there.
    pub(crate) fn remove(&self, key: &[u8]) -> io::Result<bool> {
        self.check(key)?;
        // SAFETY: the key is of the map's size.
        match unsafe { command::map_delete(self.as_fd(), key) } {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn check(&self, key: &[u8]) -> io::Result<()> {
        if key.len() == self.key {
            return Ok(());
        }
        Err(io::ErrorKind::InvalidInput.into())
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// An XDP program that the kernel has checked.
#[derive(Debug)]
pub(crate) struct Program(OwnedFd);

impl Program {
    /// Has the kernel check a program and translate it.
    ///
    /// # Errors
    ///
    /// The system call's, and what the kernel's verifier says to the program.
    pub(crate) fn load(name: &str, program: &[Instruction]) -> Result<Self, (io::Error, String)> {
        let said_nothing = |error| (error, String::new());
        match Self::try_load(name, program, &mut []) {
            // What is wrong with it is said only to whom asks, as it takes a while.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EINVAL)) => {
                let mut log = vec![0; LOG_LEN];
                Self::try_load(name, program, &mut log).map_err(|error| {
                    let end = log.iter().position(|it| *it == 0).unwrap_or(log.len());
                    log.truncate(end);
                    (error, String::from_utf8_lossy(&log).into_owned())
                })
            }
            result => result.map_err(said_nothing),
        }
    }

    fn try_load(name: &str, program: &[Instruction], log: &mut [u8]) -> io::Result<Self> {
        let mut attribute = ProgramLoad {
            program_type: BPF_PROG_TYPE_XDP,
            expected_attach_type: BPF_XDP,
            ..ProgramLoad::default()
        };
        // The last byte stays zero.
        for (place, byte) in attribute.name.iter_mut().take(15).zip(name.bytes()) {
            *place = byte;
        }
        command::program_load(&mut attribute, program, LICENSE, log).map(Self)
    }

    /// Has an interface run this program until the link is dropped.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it runs a program already; `EOPNOTSUPP` if its driver cannot in that mode.
    pub(crate) fn attach(&self, interface: u32, mode: u32) -> io::Result<Link> {
        let mut attribute = LinkCreate {
            program: command::number(self.0.as_fd()),
            target: interface,
            attach_type: BPF_XDP,
            flags: mode,
        };
        command::link_create(&mut attribute).map(|fd| Link { _fd: fd })
    }

    /// Runs it once over a packet that comes by no interface, and gives its answer.
    #[cfg(test)]
    pub(crate) fn run(&self, packet: &[u8]) -> io::Result<u32> {
        let mut attribute = ProgramRun {
            program: command::number(self.0.as_fd()),
            repeat: 1,
            ..ProgramRun::default()
        };
        command::program_run(&mut attribute, packet)?;
        Ok(attribute.result)
    }
}

/// A program running on an interface; dropped, or when the process ends, it runs no more.
#[derive(Debug)]
pub(crate) struct Link {
    _fd: OwnedFd,
}

/// The program runs in the driver, before the kernel makes anything of the packet.
pub(crate) const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
/// The program runs in the kernel, over any driver.
pub(crate) const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;

const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;

/// None of the kernel functions that the programs call is for GPL programs only.
const LICENSE: &std::ffi::CStr = c"MIT OR Apache-2.0";

/// The verifier says more than this of longer programs only.
const LOG_LEN: usize = 256 * 1024;
