//! ARP for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use super::ParseError;
use super::ethernet::Mac;

/// Bytes of a message.
pub const LEN: usize = 28;

/// What a message says.
#[expect(clippy::exhaustive_enums, reason = "the two operations of RFC 826")]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has the sender's address.
    Reply,
}

/// A question about the link address of an IPv4 address, or the answer.
#[expect(clippy::exhaustive_structs, reason = "the fields of RFC 826")]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Message {
    /// Question or answer.
    pub operation: Operation,
    /// The sender's link address.
    pub sender_mac: Mac,
    /// The sender's address; 0.0.0.0 if it only asks whether the target is taken (RFC 5227).
    pub sender: Ipv4Addr,
    /// The target's link address; of no meaning in a question.
    pub target_mac: Mac,
    /// The target's address.
    pub target: Ipv4Addr,
}

impl Message {
    /// Reads the message behind an Ethernet header; padding may follow it.
    ///
    /// # Errors
    ///
    /// It is cut short ([`Truncated`](ParseError::Truncated)), or of another link, network or
    /// operation ([`Arp`](ParseError::Arp)).
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let (fixed, rest) = bytes
            .split_first_chunk::<8>()
            .ok_or(ParseError::Truncated)?;
        let operation = match fixed {
            [0, 1, 0x08, 0x00, 6, 4, 0, 1] => Operation::Request,
            [0, 1, 0x08, 0x00, 6, 4, 0, 2] => Operation::Reply,
            _ => return Err(ParseError::Arp),
        };
        let ends = rest.first_chunk::<20>().ok_or(ParseError::Truncated)?;
        let &[
            a,
            b,
            c,
            d,
            e,
            f,
            s0,
            s1,
            s2,
            s3,
            g,
            h,
            i,
            j,
            k,
            l,
            t0,
            t1,
            t2,
            t3,
        ] = ends;
        Ok(Self {
            operation,
            sender_mac: Mac([a, b, c, d, e, f]),
            sender: Ipv4Addr::new(s0, s1, s2, s3),
            target_mac: Mac([g, h, i, j, k, l]),
            target: Ipv4Addr::new(t0, t1, t2, t3),
        })
    }

    /// The 28 bytes of the message.
    #[must_use]
    pub const fn bytes(&self) -> [u8; LEN] {
        let operation = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        let [a, b, c, d, e, f] = self.sender_mac.0;
        let [s0, s1, s2, s3] = self.sender.octets();
        let [g, h, i, j, k, l] = self.target_mac.0;
        let [t0, t1, t2, t3] = self.target.octets();
        [
            0, 1, 0x08, 0x00, 6, 4, 0, operation, a, b, c, d, e, f, s0, s1, s2, s3, g, h, i, j, k,
            l, t0, t1, t2, t3,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A question in RFC 826's order.
    const REQUEST: [u8; 28] = [
        0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 192, 0, 2, 1, 9, 8, 7, 6, 5, 4, 192, 0, 2, 2,
    ];

    #[test]
    fn a_message_is_read_and_written_field_by_field() {
        let question = Message {
            operation: Operation::Request,
            sender_mac: Mac([2, 0, 0, 0, 0, 1]),
            sender: [192, 0, 2, 1].into(),
            target_mac: Mac([9, 8, 7, 6, 5, 4]),
            target: [192, 0, 2, 2].into(),
        };
        assert_eq!(Message::parse(&REQUEST), Ok(question));
        assert_eq!(question.bytes(), REQUEST);
        let answer = Message {
            operation: Operation::Reply,
            ..question
        };
        assert_eq!(answer.bytes()[7], 2);
        assert_eq!(Message::parse(&answer.bytes()), Ok(answer));
    }

    #[test]
    fn padding_may_follow_and_nothing_may_be_missing() {
        let padded = [&REQUEST[..], &[0; 18]].concat();
        assert_eq!(Message::parse(&padded), Message::parse(&REQUEST));
        for len in [0, 7, 8, 27] {
            assert_eq!(Message::parse(&REQUEST[..len]), Err(ParseError::Truncated));
        }
    }

    #[test]
    fn other_links_networks_and_operations_are_refused() {
        for at in 0..8 {
            let mut other = REQUEST;
            other[at] ^= 0x40;
            assert_eq!(Message::parse(&other), Err(ParseError::Arp), "{at}");
        }
    }
}
