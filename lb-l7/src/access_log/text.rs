//! Text, numbers and dates written into bytes, without `fmt` (pure).
//!
//! A line of the log is some thirty small pieces; `write!` would take a few dozen nanoseconds for
//! each, which is more than the rest of the proxy may take.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lbcore::backend::Address;

/// Writes a number in decimal.
#[inline]
pub(super) fn number(line: &mut Vec<u8>, mut n: u64) {
    if n < 10 {
        line.push(digit(n));
        return;
    }
    // 2^64 has twenty digits. What stands behind them is copied with them and cut off again, for a
    // copy of constant length is a few moves, and one of another a call.
    let mut digits = [0; 2 * DIGITS];
    let mut start = DIGITS;
    while n > 0 {
        start -= 1;
        if let Some(place) = digits.get_mut(start) {
            *place = digit(n);
        }
        n /= 10;
    }
    let end = line.len() + DIGITS - start;
    if let Some((_, from)) = digits.split_at_checked(start)
        && let Some(from) = from.first_chunk::<DIGITS>()
    {
        line.extend_from_slice(from);
        line.truncate(end);
    }
}

/// Writes the last `WIDTH` digits of a number.
#[inline]
pub(super) fn padded<const WIDTH: usize>(line: &mut Vec<u8>, n: u64) {
    line.extend_from_slice(&digits::<WIDTH>(n));
}

/// Writes a duration in seconds, with six places behind the point; what is less is cut off.
#[inline]
pub(super) fn seconds(line: &mut Vec<u8>, duration: Duration) {
    number(line, duration.as_secs());
    let [a, b, c, d, e, f] = digits(u64::from(duration.subsec_micros()));
    line.extend_from_slice(&[b'.', a, b, c, d, e, f]);
}

/// The last `WIDTH` digits of a number.
#[inline]
fn digits<const WIDTH: usize>(mut n: u64) -> [u8; WIDTH] {
    let mut digits = [b'0'; WIDTH];
    for place in digits.iter_mut().rev() {
        *place = digit(n);
        n /= 10;
    }
    digits
}

/// Writes an IP address and, behind a colon, its port.
#[inline]
pub(super) fn socket(line: &mut Vec<u8>, address: SocketAddr) {
    match address {
        SocketAddr::V4(_) => {
            ip(line, address.ip());
            line.push(b':');
            number(line, u64::from(address.port()));
        }
        SocketAddr::V6(_) => display(line, &address),
    }
}

/// Writes an IP address.
#[inline]
pub(super) fn ip(line: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            number(line, u64::from(a));
            for octet in [b, c, d] {
                line.push(b'.');
                number(line, u64::from(octet));
            }
        }
        IpAddr::V6(address) => display(line, &address),
    }
}

/// Writes where a backend listens; a path or a name may need escaping.
#[inline]
pub(super) fn backend(line: &mut Vec<u8>, address: &Address, escape: fn(&mut Vec<u8>, &[u8])) {
    match address {
        Address::Socket(address) => socket(line, *address),
        Address::Memory(name) => {
            line.extend_from_slice(b"memory:");
            escape(line, name.as_bytes());
        }
        Address::Unix(path) => {
            line.extend_from_slice(b"unix:");
            escape(line, path.as_os_str().as_encoded_bytes());
        }
        other => display(line, other),
    }
}

/// Writes what is too seldom to be written by hand; it must need no escaping.
fn display(line: &mut Vec<u8>, value: &dyn fmt::Display) {
    struct Line<'a>(&'a mut Vec<u8>);

    impl fmt::Write for Line<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }

    // Writing into memory does not fail.
    let _ = write!(Line(line), "{value}");
}

/// The most digits that a number has.
const DIGITS: usize = 20;

/// The last digit of a number.
const fn digit(n: u64) -> u8 {
    b'0' + (n % 10).to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut line = b"<".to_vec();
        write(&mut line);
        String::from_utf8(line).unwrap().split_off(1)
    }

    #[test]
    fn numbers_are_written_from_the_least_to_the_largest() {
        for n in [0, 1, 9, 10, 99, 100, 12_345, u64::MAX - 1, u64::MAX] {
            assert_eq!(written(|line| number(line, n)), n.to_string());
        }
        assert_eq!(written(|line| padded::<3>(line, 7)), "007");
        assert_eq!(written(|line| padded::<2>(line, 59)), "59");
    }

    #[test]
    fn seconds_have_six_places() {
        let seconds_of = |nanos| written(|line| seconds(line, Duration::from_nanos(nanos)));
        assert_eq!(seconds_of(0), "0.000000");
        assert_eq!(seconds_of(999), "0.000000");
        assert_eq!(seconds_of(1_000), "0.000001");
        assert_eq!(seconds_of(12_345_678_999), "12.345678");
    }

    #[test]
    fn addresses_are_written_as_they_are_displayed() {
        for text in ["10.0.0.1:80", "255.254.9.0:65535", "[2001:db8::1]:443"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(written(|line| socket(line, address)), text);
            assert_eq!(
                written(|line| ip(line, address.ip())),
                address.ip().to_string()
            );
        }
        let escape = |line: &mut Vec<u8>, text: &[u8]| {
            line.push(b'!');
            line.extend_from_slice(text);
        };
        for (text, want) in [
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("unix:/run/a", "unix:!/run/a"),
            ("memory:a", "memory:!a"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(written(|line| backend(line, &address, escape)), want);
        }
    }

    proptest! {
        #[test]
        fn a_number_reads_as_itself(n: u64) {
            prop_assert_eq!(written(|line| number(line, n)), n.to_string());
        }
    }
}
