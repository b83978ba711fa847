//! What every version of QUIC has in its header (RFC 8999).

/// The destination connection id of a packet, as far as a middlebox can tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "the two headers of RFC 8999")]
pub enum ConnectionId<'a> {
    /// The id of a long header (RFC 8999, 5.1): 0 to 255 octets.
    Long(&'a [u8]),
    /// What a short header begins its id with: all that follows the first octet, as the length is
    /// known to the server alone (RFC 8999, 5.2).
    Short(&'a [u8]),
}

/// Reads where the destination connection id of a datagram is; `None` if the datagram is cut short.
///
/// Anything is taken for QUIC: other protocols on the port have a header of neither kind, and what
/// is read from them is chance.
///
/// # Examples
///
/// ```
/// use lb_l4::quic::{ConnectionId, connection_id};
///
/// let long = [0xc3, 0, 0, 0, 1, 2, 0xaa, 0xbb, 0, 0];
/// assert_eq!(connection_id(&long), Some(ConnectionId::Long(&[0xaa, 0xbb])));
/// assert_eq!(connection_id(&[0x43, 9, 9]), Some(ConnectionId::Short(&[9, 9])));
/// ```
#[inline]
#[must_use]
pub fn connection_id(datagram: &[u8]) -> Option<ConnectionId<'_>> {
    let (&first, rest) = datagram.split_first()?;
    if first & LONG == 0 {
        return Some(ConnectionId::Short(rest));
    }
    let (&[_, _, _, _, length], rest) = rest.split_first_chunk()?;
    rest.get(..usize::from(length)).map(ConnectionId::Long)
}

/// The one bit of the first octet that means the same in every version.
const LONG: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_header_says_how_long_its_id_is() {
        let mut datagram = vec![0x80, 1, 2, 3, 4, 3, 7, 8, 9, 5];
        assert_eq!(
            connection_id(&datagram),
            Some(ConnectionId::Long(&[7, 8, 9]))
        );
        datagram.truncate(9);
        assert_eq!(
            connection_id(&datagram),
            Some(ConnectionId::Long(&[7, 8, 9]))
        );
        for len in 0..9 {
            assert_eq!(connection_id(&datagram[..len]), None, "{len}");
        }
        datagram[5] = 0;
        assert_eq!(connection_id(&datagram), Some(ConnectionId::Long(&[])));
    }

    #[test]
    fn any_version_may_have_a_longer_id() {
        let id = [7; 255];
        let datagram = [&[0xff, 0xfa, 0xce, 0xb0, 0x0c, 255][..], &id].concat();
        assert_eq!(connection_id(&datagram), Some(ConnectionId::Long(&id)));
    }

    #[test]
    fn a_short_header_says_nothing_of_the_length() {
        assert_eq!(
            connection_id(&[0x7f, 1, 2]),
            Some(ConnectionId::Short(&[1, 2]))
        );
        assert_eq!(connection_id(&[0x00]), Some(ConnectionId::Short(&[])));
        assert_eq!(connection_id(&[]), None);
    }
}
