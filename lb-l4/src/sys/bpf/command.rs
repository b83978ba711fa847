//! One structure and one function for each command of `bpf(2)` that is used.
//!
//! The kernel takes structures that are shorter than its own (the rest is zero) and reads no byte
//! behind the size that it is told, so each command has a structure of its own.

use std::ffi::{CStr, c_long};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::Instruction;

#[derive(Debug, Default)]
#[repr(C, align(8))]
pub(super) struct MapCreate {
    pub(super) map_type: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) map_flags: u32,
    pub(super) inner_map: u32,
}

#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct MapElement {
    pub(super) map: u32,
    pub(super) zero: u32,
    pub(super) key: u64,
    pub(super) value: u64,
    pub(super) flags: u64,
}

#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct ProgramLoad {
    pub(super) program_type: u32,
    pub(super) instruction_count: u32,
    pub(super) instructions: u64,
    pub(super) license: u64,
    pub(super) log_level: u32,
    pub(super) log_size: u32,
    pub(super) log: u64,
    pub(super) kernel_version: u32,
    pub(super) flags: u32,
    pub(super) name: [u8; 16],
    pub(super) interface: u32,
    pub(super) expected_attach_type: u32,
}

#[derive(Debug)]
#[repr(C)]
pub(super) struct LinkCreate {
    pub(super) program: u32,
    pub(super) target: u32,
    pub(super) attach_type: u32,
    pub(super) flags: u32,
}

#[cfg(test)]
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct ProgramRun {
    pub(super) program: u32,
    pub(super) result: u32,
    pub(super) data_size_in: u32,
    pub(super) data_size_out: u32,
    pub(super) data_in: u64,
    pub(super) data_out: u64,
    pub(super) repeat: u32,
    pub(super) duration: u32,
}

pub(super) fn map_create(attribute: &mut MapCreate) -> io::Result<OwnedFd> {
    // SAFETY: the structure of BPF_MAP_CREATE; it holds no address.
    descriptor(unsafe { bpf(0, attribute) })
}

/// Sets `key` to `value` in a map.
///
/// # Safety
///
/// They are of the sizes of the map's keys and values.
pub(super) unsafe fn map_update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    let mut attribute = MapElement {
        map: number(map),
        key: address(key),
        value: address(value),
        ..MapElement::default()
    };
    // SAFETY: the structure of BPF_MAP_UPDATE_ELEM; the kernel reads a key and a value, as long as
    // those that are borrowed here.
    done(unsafe { bpf(2, &mut attribute) })
}

/// Takes `key` out of a map.
///
/// # Safety
///
/// It is of the size of the map's keys.
pub(super) unsafe fn map_delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<()> {
    let mut attribute = MapElement {
        map: number(map),
        key: address(key),
        ..MapElement::default()
    };
    // SAFETY: the structure of BPF_MAP_DELETE_ELEM; the kernel reads a key, as long as this one.
    done(unsafe { bpf(3, &mut attribute) })
}

/// Loads `program` as the rest of `attribute` says; what the verifier says goes to `log`.
pub(super) fn program_load(
    attribute: &mut ProgramLoad,
    program: &[Instruction],
    license: &CStr,
    log: &mut [u8],
) -> io::Result<OwnedFd> {
    attribute.instruction_count = count(program.len())?;
    attribute.instructions = address(program);
    attribute.license = license.as_ptr().expose_provenance() as u64;
    if !log.is_empty() {
        attribute.log_level = 1;
        attribute.log_size = count(log.len())?;
        attribute.log = log.as_mut_ptr().expose_provenance() as u64;
    }
    // SAFETY: the structure of BPF_PROG_LOAD; the kernel reads the instructions and the licence's
    // name and writes the log, all of which are borrowed here and as long as it is told.
    descriptor(unsafe { bpf(5, attribute) })
}

/// Runs a program over `packet`, as the rest of `attribute` says.
#[cfg(test)]
pub(super) fn program_run(attribute: &mut ProgramRun, packet: &[u8]) -> io::Result<()> {
    attribute.data_size_in = count(packet.len())?;
    attribute.data_in = address(packet);
    // SAFETY: the structure of BPF_PROG_TEST_RUN; the kernel reads the packet, which is borrowed
    // here and as long as it is told, and is given no place to write one.
    done(unsafe { bpf(10, attribute) })
}

pub(super) fn link_create(attribute: &mut LinkCreate) -> io::Result<OwnedFd> {
    // SAFETY: the structure of BPF_LINK_CREATE; it holds no address.
    descriptor(unsafe { bpf(28, attribute) })
}

/// A descriptor as the structures hold it.
pub(super) fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn address<T>(slice: &[T]) -> u64 {
    slice.as_ptr().expose_provenance() as u64
}

fn count(len: usize) -> io::Result<u32> {
    u32::try_from(len).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// # Safety
///
/// `attribute` is the structure of `command`, and what its addresses point to may be read and
/// written as that command does.
unsafe fn bpf<T>(command: libc::c_int, attribute: &mut T) -> c_long {
    // SAFETY: the kernel reads and writes `attribute` within its size; the rest is promised.
    unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attribute),
            size_of::<T>(),
        )
    }
}

fn done(result: c_long) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn descriptor(result: c_long) -> io::Result<OwnedFd> {
    done(result)?;
    let fd = RawFd::try_from(result).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: the kernel has just made this descriptor for this process, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
