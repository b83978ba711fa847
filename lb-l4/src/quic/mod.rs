//! QUIC connection ids that say which server they are for.
//!
//! A QUIC client keeps its connection when its address changes (RFC 9000, 9), so its packets cannot
//! be told by their addresses. A server that follows "QUIC-LB" writes its own id into every
//! connection id that it issues, and [`QuicLb`] reads it there:
//!
//! ```text
//!   first octet              server id       nonce, and more of the server's own
//!   ├ rotation 3 │ 5 bits ┤  1..=15 octets   at least 4 octets
//! ```
//!
//! Nothing else of QUIC is read, so that it holds for every version (RFC 8999): whether the header is
//! long, and where the destination connection id begins. The first packets of a connection have an
//! id of the client's choice: whatever names no server is placed by its addresses.
//!
//! Here is the plaintext form: whoever sees the ids of two connections sees whether they go to one
//! server. The encrypted forms of the draft are not here.
//!
//! Source: draft-ietf-quic-load-balancers, sections 3 to 5 as they stand after revision 21.
#![warn(clippy::indexing_slicing)]

mod config;
mod header;
mod server_id;

pub use config::{ConfigRotation, Format, LengthBits, QuicLb, QuicLbConfig, QuicLbError};
pub use header::{ConnectionId, connection_id};
pub use server_id::{MAX_SERVER_ID, ServerId, ServerIdError};

use lbcore::BackendId;

/// The server id in the destination connection id of a datagram, if it has one of a format that
/// `config` has.
///
/// Whether there is such a server is another question: see [`QuicLb::backend`]. Datagrams with
/// several QUIC packets have the same connection id in all (RFC 9000, 12.2), so the first is read.
///
/// Cost: some nanoseconds; allocates nothing.
///
/// # Examples
///
/// ```
/// use lb_l4::quic::{ConfigRotation, Format, QuicLbConfig, server_id};
///
/// let config = QuicLbConfig::default().format(ConfigRotation::new(1)?, Format::new(5, 5)?);
/// // A short header, and the second of the draft's test vectors.
/// let datagram = [
///     0x40, 0x2a, 0x35, 0x0d, 0x28, 0xb4, 0x20, 0x03, 0x48, 0x7d, 0x97, 0x0b, 0xff,
/// ];
/// let id = server_id(&datagram, &config).ok_or("none")?;
/// assert_eq!(id.to_string(), "350d28b420");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[inline]
#[must_use]
pub fn server_id(datagram: &[u8], config: &QuicLbConfig) -> Option<ServerId> {
    config.read(&connection_id(datagram)?).map(|(_, id)| id)
}

impl QuicLb {
    /// The backend that a datagram is for; `None` if it is to be placed by its addresses.
    ///
    /// Cost: some nanoseconds and one lookup in a hash table; allocates nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use lb_l4::quic::{ConfigRotation, Format, QuicLb, QuicLbConfig};
    /// use lbcore::BackendId;
    ///
    /// let rotation = ConfigRotation::new(0)?;
    /// let config = QuicLbConfig::default()
    ///     .format(rotation, Format::new(3, 4)?)
    ///     .server(rotation, "c4605e".parse()?, BackendId::of_name("web-1"));
    /// let quic = QuicLb::new(config)?;
    /// let datagram = [0x40, 0x07, 0xc4, 0x60, 0x5e, 0x45, 0x04, 0xcc, 0x4f];
    /// assert_eq!(quic.backend(&datagram), Some(BackendId::of_name("web-1")));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn backend(&self, datagram: &[u8]) -> Option<BackendId> {
        let (rotation, id) = self.config().read(&connection_id(datagram)?)?;
        self.server(rotation, id)
    }
}
