//! The date and time of a line, in UTC (pure).

use std::time::Duration;

use super::text::padded;

/// A day and time of day of the Gregorian calendar, in UTC, without leap seconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Date {
    year: u64,
    /// 1 to 12.
    month: u64,
    /// 1 to 31.
    day: u64,
    /// Of the day.
    second: u64,
}

impl Date {
    /// The date so many seconds after the beginning of 1970.
    pub(super) const fn from_unix(seconds: u64) -> Self {
        // The calendar repeats every 400 years. Years are taken to begin with March, so that the day
        // that comes and goes is a year's last (after Hinnant, "chrono-compatible low-level date
        // algorithms").
        let days = seconds / DAY + DAYS_TO_1970;
        let (era, day) = (days / DAYS_OF_ERA, days % DAYS_OF_ERA);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let is_next_year = month >= 10;
        Self {
            year: era * 400 + year + is_next_year as u64,
            month: if is_next_year { month - 9 } else { month + 3 },
            day: day - (153 * month + 2) / 5 + 1,
            second: seconds % DAY,
        }
    }

    /// Writes `2026-11-23T04:05:06`.
    pub(super) fn iso(self, line: &mut Vec<u8>) {
        padded::<4>(line, self.year);
        line.push(b'-');
        padded::<2>(line, self.month);
        line.push(b'-');
        padded::<2>(line, self.day);
        line.push(b'T');
        self.time(line);
    }

    /// Writes `23/Nov/2026:04:05:06 +0000`.
    pub(super) fn common_log(self, line: &mut Vec<u8>) {
        let month = usize::try_from(self.month).unwrap_or(0).checked_sub(1);
        let month = month.and_then(|month| MONTHS.get(month));
        padded::<2>(line, self.day);
        line.push(b'/');
        line.extend_from_slice(month.copied().unwrap_or_default().as_bytes());
        line.push(b'/');
        padded::<4>(line, self.year);
        line.push(b':');
        self.time(line);
        line.extend_from_slice(b" +0000");
    }

    fn time(self, line: &mut Vec<u8>) {
        padded::<2>(line, self.second / 3_600);
        line.push(b':');
        padded::<2>(line, self.second / 60 % 60);
        line.push(b':');
        padded::<2>(line, self.second % 60);
    }
}

/// A date as text, made once a second rather than once a line.
#[derive(Debug)]
pub(super) struct DateText {
    second: u64,
    text: Vec<u8>,
    write: fn(Date, &mut Vec<u8>),
}

impl DateText {
    /// A text that `write` makes.
    pub(super) fn new(write: fn(Date, &mut Vec<u8>)) -> Self {
        Self {
            second: u64::MAX,
            text: Vec::with_capacity(32),
            write,
        }
    }

    /// The text of the second of this moment, told since the beginning of 1970.
    #[inline]
    pub(super) fn of(&mut self, unix: Duration) -> &[u8] {
        if self.second != unix.as_secs() {
            self.second = unix.as_secs();
            self.text.clear();
            (self.write)(Date::from_unix(self.second), &mut self.text);
        }
        &self.text
    }
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Seconds of a day.
const DAY: u64 = 86_400;

/// Days from 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: u64 = 719_468;

/// Days of 400 years.
const DAYS_OF_ERA: u64 = 146_097;

#[cfg(test)]
mod tests {
    use super::*;

    fn iso(seconds: u64) -> String {
        let mut line = Vec::new();
        Date::from_unix(seconds).iso(&mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn known_moments_have_their_dates() {
        assert_eq!(iso(0), "1970-01-01T00:00:00");
        assert_eq!(iso(951_782_399), "2000-02-28T23:59:59");
        assert_eq!(iso(951_782_400), "2000-02-29T00:00:00");
        assert_eq!(iso(951_868_800), "2000-03-01T00:00:00");
        assert_eq!(iso(1_234_567_890), "2009-02-13T23:31:30");
        assert_eq!(iso(4_107_542_400), "2100-03-01T00:00:00");
        assert_eq!(iso(4_107_542_399), "2100-02-28T23:59:59");
    }

    #[test]
    fn each_day_of_400_years_follows_the_one_before() {
        let leap =
            |y: u64| (y.is_multiple_of(4) && !y.is_multiple_of(100)) || y.is_multiple_of(400);
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for n in 0..DAYS_OF_ERA {
            let date = Date::from_unix(n * DAY + 86_399);
            assert_eq!((date.year, date.month, date.day), (year, month, day));
            let length = match month {
                2 => 28 + u64::from(leap(year)),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn the_text_changes_with_the_second() {
        let mut text = DateText::new(Date::common_log);
        let at = |ms| Duration::from_millis(ms);
        assert_eq!(text.of(at(999)), b"01/Jan/1970:00:00:00 +0000");
        assert_eq!(text.of(at(1_000)), b"01/Jan/1970:00:00:01 +0000");
        assert_eq!(
            text.of(at(1_234_567_890_500)),
            b"13/Feb/2009:23:31:30 +0000"
        );
    }
}
