//! Unix socket addresses, as version 2 carries them.

use std::fmt;

use thiserror::Error;

/// A Unix socket address: the 108 bytes of `sun_path`, as the sender filled them.
///
/// A path ends at its first zero byte. A first byte of zero is an abstract name (Linux) or, with
/// nothing behind it, a socket without a name. 8 bytes, and 108 on the heap.
///
/// # Examples
///
/// ```
/// use lbcore::proxy_protocol::UnixAddress;
///
/// let address = UnixAddress::new(b"/run/app.sock")?;
/// assert_eq!(address.path(), Some(&b"/run/app.sock"[..]));
/// assert_eq!(UnixAddress::unnamed().path(), None);
/// # Ok::<(), lbcore::proxy_protocol::UnixAddressTooLong>(())
/// ```
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct UnixAddress(Box<[u8; LENGTH]>);

impl UnixAddress {
    /// The address with this path, or with this abstract name and a zero byte before it.
    ///
    /// # Errors
    ///
    /// If `name` has more than 108 bytes.
    pub fn new(name: &[u8]) -> Result<Self, UnixAddressTooLong> {
        let mut bytes = Box::new([0; LENGTH]);
        bytes
            .get_mut(..name.len())
            .ok_or(UnixAddressTooLong)?
            .copy_from_slice(name);
        Ok(Self(bytes))
    }

    /// The address of a socket that is bound to no name, as clients' sockets mostly are.
    #[must_use]
    pub fn unnamed() -> Self {
        Self(Box::new([0; LENGTH]))
    }

    pub(super) fn from_bytes(bytes: &[u8; LENGTH]) -> Self {
        Self(Box::new(*bytes))
    }

    /// All its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }

    /// The path, without the zeros behind it; `None` for an abstract or missing name.
    #[must_use]
    pub fn path(&self) -> Option<&[u8]> {
        self.0
            .split(|byte| *byte == 0)
            .next()
            .filter(|path| !path.is_empty())
    }
}

impl fmt::Debug for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self
            .0
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        let name = self.0.get(..end).unwrap_or_default();
        write!(f, "UnixAddress(\"{}\")", name.escape_ascii())
    }
}

/// A name of more than the 108 bytes that an address holds; the caller's to shorten.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("a Unix socket address holds {LENGTH} bytes")]
#[expect(clippy::exhaustive_structs, reason = "there is nothing more to say")]
pub struct UnixAddressTooLong;

/// What a Unix socket carries.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "the protocol has these two")]
pub enum UnixKind {
    /// Datagrams: `SOCK_DGRAM`.
    Datagram,
    /// A stream: `SOCK_STREAM`.
    Stream,
}

/// Section 2.2: "The addresses are exactly 108 bytes each."
pub(super) const LENGTH: usize = 108;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_108_bytes_fits_and_one_of_109_does_not() {
        assert_eq!(
            UnixAddress::new(&[b'x'; 108]).unwrap().path(),
            Some(&[b'x'; 108][..])
        );
        assert_eq!(UnixAddress::new(&[b'x'; 109]), Err(UnixAddressTooLong));
    }

    #[test]
    fn an_abstract_name_is_no_path() {
        let address = UnixAddress::new(b"\0bus").unwrap();
        assert_eq!(address.path(), None);
        assert_eq!(&address.as_bytes()[..5], b"\0bus\0");
        assert_eq!(format!("{address:?}"), r#"UnixAddress("\x00bus")"#);
        assert_eq!(
            format!("{:?}", UnixAddress::unnamed()),
            r#"UnixAddress("")"#
        );
    }
}
