//! Writes fields and keeps book of what that does to a checksum.
#![warn(clippy::indexing_slicing)]

use std::net::IpAddr;

use crate::wire::checksum::Delta;

/// Bytes under change, and how a checksum over them changes with them.
///
/// Every field lies at an even distance from the beginning of what the checksum covers: headers of
/// IP, and of what is behind it, have even lengths.
#[derive(Debug)]
pub(super) struct Patch<'a> {
    bytes: &'a mut [u8],
    pub(super) delta: Delta,
}

impl<'a> Patch<'a> {
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        Self {
            bytes,
            delta: Delta::default(),
        }
    }

    pub(super) fn word(&self, at: usize) -> Option<u16> {
        let field = self.bytes.get(at..)?.first_chunk()?;
        Some(u16::from_be_bytes(*field))
    }

    /// Writes a word; `None` if it lies outside.
    pub(super) fn set_word(&mut self, at: usize, new: u16) -> Option<()> {
        let field = self.bytes.get_mut(at..)?.first_chunk_mut()?;
        let old = u16::from_be_bytes(*field);
        *field = new.to_be_bytes();
        self.delta = self.delta.replace(old, new);
        Some(())
    }

    pub(super) fn set_double(&mut self, at: usize, new: u32) -> Option<()> {
        let field = self.bytes.get_mut(at..)?.first_chunk_mut()?;
        self.delta = self.delta.replace(u32::from_be_bytes(*field), new);
        *field = new.to_be_bytes();
        Some(())
    }

    /// Writes an address over one of the same family.
    pub(super) fn set_address(&mut self, at: usize, old: IpAddr, new: IpAddr) -> Option<()> {
        let field = self.bytes.get_mut(at..)?;
        match new {
            IpAddr::V4(new) => *field.first_chunk_mut()? = new.octets(),
            IpAddr::V6(new) => *field.first_chunk_mut()? = new.octets(),
        }
        self.delta = self.delta.replace(old, new);
        Some(())
    }
}
