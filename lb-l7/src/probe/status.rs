//! The statuses that an answer may have.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use http::StatusCode;
use thiserror::Error;

/// A set of statuses, written as `200-299,404`.
///
/// The default is every success and every redirect, 200 to 399, as HAProxy and nginx take it.
///
/// # Examples
///
/// ```
/// use http::StatusCode;
/// use lb_l7::probe::StatusSet;
///
/// let expected: StatusSet = "200-299, 404".parse()?;
/// assert!(expected.contains(StatusCode::NO_CONTENT));
/// assert!(!expected.contains(StatusCode::FOUND));
/// assert_eq!(expected.to_string(), "200-299,404");
/// # Ok::<(), lb_l7::probe::StatusSetError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StatusSet(Box<[RangeInclusive<u16>]>);

impl StatusSet {
    /// Whether `status` is one of these.
    #[must_use]
    pub fn contains(&self, status: StatusCode) -> bool {
        self.0.iter().any(|range| range.contains(&status.as_u16()))
    }
}

impl Default for StatusSet {
    fn default() -> Self {
        Self([200..=399].into())
    }
}

impl From<StatusCode> for StatusSet {
    fn from(status: StatusCode) -> Self {
        Self([status.as_u16()..=status.as_u16()].into())
    }
}

impl FromStr for StatusSet {
    type Err = StatusSetError;

    fn from_str(text: &str) -> Result<Self, StatusSetError> {
        text.split(',')
            .map(range)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, range) in self.0.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            let (first, last) = (range.start(), range.end());
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

fn range(text: &str) -> Result<RangeInclusive<u16>, StatusSetError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (status(first)?, status(last)?);
    if first > last {
        return Err(StatusSetError::Backwards { first, last });
    }
    Ok(first..=last)
}

/// A final status; no other ends an answer.
fn status(text: &str) -> Result<u16, StatusSetError> {
    let text = text.trim();
    let is_number = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_number);
    number
        .filter(|number| (200..=599).contains(number))
        .ok_or_else(|| StatusSetError::Status(text.into()))
}

/// Why a text is no [`StatusSet`]; its writer can mend it.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum StatusSetError {
    /// A range whose end is before its beginning.
    #[error("`{first}-{last}` ends before it begins")]
    Backwards {
        /// Its first status.
        first: u16,
        /// Its last status.
        last: u16,
    },
    /// Something else than a status of 200 to 599.
    #[error("`{0}` is no status: expected 200 to 599")]
    Status(Box<str>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> Result<StatusSet, StatusSetError> {
        text.parse()
    }

    fn has(set: &StatusSet, status: u16) -> bool {
        set.contains(StatusCode::from_u16(status).unwrap())
    }

    #[test]
    fn a_range_has_both_its_ends_and_nothing_beyond() {
        let some = set("201-203,500").unwrap();
        let found: Vec<u16> = (200..600).filter(|&status| has(&some, status)).collect();
        assert_eq!(found, [201, 202, 203, 500]);
        assert!(has(&StatusSet::default(), 399) && !has(&StatusSet::default(), 400));
        assert!(has(&StatusSet::default(), 200) && !has(&StatusSet::default(), 199));
        assert!(has(&StatusCode::IM_A_TEAPOT.into(), 418));
        assert!(!has(&StatusCode::IM_A_TEAPOT.into(), 417));
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in [
            "200",
            "599",
            "200-299",
            "200-299,404",
            "204,301-302,500-599",
        ] {
            assert_eq!(set(text).unwrap().to_string(), text);
            assert_eq!(set(&text.replace(',', " , ")), set(text));
        }
        assert_eq!(set("204-204").unwrap().to_string(), "204");
    }

    #[test]
    fn what_is_no_status_is_told() {
        for text in [
            "", "199", "600", "20", "2000", "+20", "2xx", "-299", "200-", "200,,201",
        ] {
            assert!(
                matches!(set(text), Err(StatusSetError::Status(_))),
                "{text}"
            );
        }
        let backwards = StatusSetError::Backwards {
            first: 300,
            last: 299,
        };
        assert_eq!(set("300-299"), Err(backwards));
    }
}
