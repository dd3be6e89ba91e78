//! Calendar days without a clock, in the many spellings that departments use.

use std::fmt;

/// The day on which the synthetic city was photographed; everything in it happened before.
pub const TODAY: Day = Day::new(2026, 11, 23);

/// A day of the Gregorian calendar, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i64);

impl Day {
    /// Days-from-civil of H. Hinnant ("chrono-compatible low-level date algorithms").
    pub const fn new(year: i64, month: i64, day: i64) -> Self {
        let y = if month <= 2 { year - 1 } else { year };
        let era = y.div_euclid(400);
        let of_era = y - era * 400;
        let shifted = if month > 2 { month - 3 } else { month + 9 };
        let of_year = (153 * shifted + 2) / 5 + day - 1;
        Self(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
    }

    pub const fn plus(self, days: i64) -> Self {
        Self(self.0 + days)
    }

    /// Year, month and day.
    pub const fn parts(self) -> (i64, i64, i64) {
        let z = self.0 + 719_468;
        let era = z.div_euclid(146_097);
        let of_era = z - era * 146_097;
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let shifted = (5 * of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let day = of_year - (153 * shifted + 2) / 5 + 1;
        (year + era * 400 + if month <= 2 { 1 } else { 0 }, month, day)
    }

    /// `19900101`
    pub fn compact(self) -> String {
        let (y, m, d) = self.parts();
        format!("{y:04}{m:02}{d:02}")
    }

    /// `1990/01/01`
    pub fn slashed(self) -> String {
        let (y, m, d) = self.parts();
        format!("{y:04}/{m:02}/{d:02}")
    }

    /// `1990-01-01 08:15:00`: local time, no zone.
    pub fn at(self, second_of_day: u64) -> String {
        let (h, m, s) = (second_of_day / 3600 % 24, second_of_day / 60 % 60, second_of_day % 60);
        format!("{self} {h:02}:{m:02}:{s:02}")
    }
}

/// `1990-01-01`
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (y, m, d) = self.parts();
        write!(f, "{y:04}-{m:02}-{d:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::Day;

    #[test]
    fn spellings() {
        let day = Day::new(2024, 2, 29);
        assert_eq!(day.to_string(), "2024-02-29");
        assert_eq!(day.plus(1).compact(), "20240301");
        assert_eq!(day.plus(-60).slashed(), "2023/12/31");
        assert_eq!(day.at(86_399), "2024-02-29 23:59:59");
        assert_eq!(Day::new(1970, 1, 1), Day(0));
    }

    #[test]
    fn days_and_parts_agree_for_two_centuries() {
        let mut day = Day::new(1900, 1, 1);
        while day < Day::new(2100, 1, 1) {
            let (y, m, d) = day.parts();
            assert_eq!(Day::new(y, m, d), day);
            day = day.plus(1);
        }
    }
}
