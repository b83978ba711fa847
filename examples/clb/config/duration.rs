//! Spans of time as the file writes them: `500ms`, `2s`, `5m`.

use std::time::Duration;

/// Reads `text` as a whole number and a unit: `us`, `ms`, `s`, `m`, `h` or `d`.
///
/// `None` for any other form, and for a span beyond 2^64 nanoseconds (584 years).
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let number: u64 = number.parse().ok()?;
    number.checked_mul(*nanos).map(Duration::from_nanos)
}

/// Writes `span` so that [`parse`] reads it back, in the largest unit that keeps it whole.
///
/// What is finer than a microsecond is left away: the file cannot say it.
pub(crate) fn print(span: Duration) -> String {
    let micros = span.as_micros();
    UNITS
        .iter()
        .rev()
        .map(|(name, nanos)| (name, u128::from(*nanos / 1_000)))
        .find(|(_, unit)| micros.is_multiple_of(*unit) && (micros != 0 || *unit == 1_000_000))
        .map_or_else(
            || format!("{micros}us"),
            |(name, unit)| format!("{}{name}", micros / unit),
        )
}

/// Each unit and its nanoseconds, the smallest first.
const UNITS: [(&str, u64); 6] = [
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_unit_is_read() {
        assert_eq!(parse("7us"), Some(Duration::from_micros(7)));
        assert_eq!(parse("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse("2s"), Some(Duration::from_secs(2)));
        assert_eq!(parse("5m"), Some(Duration::from_secs(300)));
        assert_eq!(parse("3h"), Some(Duration::from_secs(10_800)));
        assert_eq!(parse("1d"), Some(Duration::from_secs(86_400)));
        assert_eq!(parse("0s"), Some(Duration::ZERO));
    }

    #[test]
    fn what_is_no_number_with_a_unit_is_no_span() {
        for text in [
            "", "s", "2", "2 s", "2S", "1.5s", "-2s", "+2s", "2sec", "2s ", " 2s", "1m30s",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_span_beyond_the_count_of_nanoseconds_is_none() {
        assert_eq!(
            parse("18446744073709551us"),
            Some(Duration::from_micros(18_446_744_073_709_551))
        );
        assert_eq!(parse("18446744073709552us"), None);
        assert_eq!(parse("18446744073709551616us"), None);
    }

    #[test]
    fn a_span_is_written_in_the_largest_unit_that_keeps_it_whole() {
        for text in [
            "0s", "7us", "1500us", "500ms", "1500ms", "2s", "90s", "5m", "90m", "3h", "36h", "2d",
        ] {
            let span = parse(text).expect("a span");
            assert_eq!(print(span), text);
        }
        assert_eq!(print(Duration::from_secs(60)), "1m");
        assert_eq!(print(Duration::from_nanos(1_999)), "1us");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(micros in 0..u64::MAX / 1_000) {
            let span = Duration::from_micros(micros);
            prop_assert_eq!(parse(&print(span)), Some(span));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            parse(&text);
        }
    }
}
