//! Who is asked: `host[:port]` (RFC 3986, 3.2; RFC 9110, 4.2 and 7.2).

use std::net::Ipv6Addr;

use super::Rejection;

/// Whether an authority has a port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Port {
    Absent,
    Present,
}

/// Checks an authority; it is a list of nothing, has no userinfo, and what is behind the last colon
/// is a port.
///
/// Narrower than RFC 3986: a name is of letters, digits, `-`, `.`, `_` and `~`. The percent sign and
/// the sub-delimiters (the comma among them) are in no host that DNS or a certificate knows, and two
/// parsers may well read them as two hosts.
pub(crate) fn check(authority: &[u8]) -> Result<Port, Rejection> {
    if authority.first() == Some(&b'[') {
        let Some(end) = memchr::memchr(b']', authority) else {
            return Err(fault(authority));
        };
        let (literal, port) = authority.split_at(end);
        check_literal(literal.get(1..).unwrap_or_default()).ok_or_else(|| fault(authority))?;
        return match port {
            [b']'] => Ok(Port::Absent),
            [b']', b':', port @ ..] => check_port(port, authority),
            _ => Err(fault(authority)),
        };
    }
    let end = authority.iter().position(|&byte| !is_name_byte(byte));
    let (name, port) = authority.split_at(end.unwrap_or(authority.len()));
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(fault(authority));
    }
    match port {
        [] => Ok(Port::Absent),
        [b':', port @ ..] => check_port(port, authority),
        _ => Err(fault(authority)),
    }
}

fn check_literal(literal: &[u8]) -> Option<Ipv6Addr> {
    std::str::from_utf8(literal).ok()?.parse().ok()
}

fn check_port(port: &[u8], authority: &[u8]) -> Result<Port, Rejection> {
    if memchr::memchr(b'@', port).is_some() {
        return Err(fault(authority));
    }
    if port.is_empty() || port.len() > 5 || !port.iter().all(u8::is_ascii_digit) {
        return Err(Rejection::Port);
    }
    let number = port
        .iter()
        .fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'));
    match number {
        1..=0xffff => Ok(Port::Present),
        _ => Err(Rejection::Port),
    }
}

/// Names what is wrong.
#[cold]
fn fault(authority: &[u8]) -> Rejection {
    if memchr::memchr(b'@', authority).is_some() {
        Rejection::Userinfo
    } else {
        Rejection::HostSyntax
    }
}

fn is_name_byte(byte: u8) -> bool {
    NAME.get(usize::from(byte)).is_some_and(|&is| is)
}

/// The bytes of names: a look-up costs less than the comparisons.
#[expect(clippy::indexing_slicing, reason = "the compiler runs it")]
static NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte as usize] = may_be_in_name(byte);
        byte += 1;
    }
    table
};

const fn may_be_in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 1035, 2.3.4: a name has at most 255 octets.
const MAX_NAME: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_255_bytes_and_no_more() {
        assert_eq!(check("a".repeat(255).as_bytes()), Ok(Port::Absent));
        assert_eq!(
            check("a".repeat(256).as_bytes()),
            Err(Rejection::HostSyntax)
        );
    }

    #[test]
    fn a_port_is_told_from_none() {
        assert_eq!(check(b"a-b.c_d~1"), Ok(Port::Absent));
        assert_eq!(check(b"a:1"), Ok(Port::Present));
        assert_eq!(check(b"a:00001"), Ok(Port::Present));
        assert_eq!(check(b"a:00000"), Err(Rejection::Port));
        assert_eq!(check(b"[::1]:65535"), Ok(Port::Present));
        assert_eq!(check(b"[::1]:65536"), Err(Rejection::Port));
        assert_eq!(check(b"[::1]"), Ok(Port::Absent));
    }
}
