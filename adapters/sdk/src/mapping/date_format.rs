//! How a source writes days and moments. Judged when a mapping is read: with rows it is too late, and of a format that
//! a parameter is written in, what cannot be written would reach the source as it stands here.

use super::fault::Faults;
use super::read::Table;
use crate::value::{parse_date, parse_instant};
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// 1987-11-29 11:43:58 UTC: day, month, hour, minute and second differ, and two digits of the year tell it.
const SAMPLE: i64 = 565_184_638;

const HELP: &str =
    "write it like \"%Y%m%d\": year, month and day as the source writes them, in strftime notation";

/// What a format is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// A calendar day.
    Day,
    /// A moment.
    Moment,
}

/// The format that values of a source are read by.
pub(super) fn of_values(table: &Table<'_, '_>, of: Option<Of>, faults: &mut Faults<'_>) -> Option<String> {
    checked(table, of, unreadable, faults)
}

/// The format that a parameter is written in.
pub(super) fn of_parameter(table: &Table<'_, '_>, of: Option<Of>, faults: &mut Faults<'_>) -> Option<String> {
    checked(table, of, unwritable, faults)
}

fn checked(
    table: &Table<'_, '_>,
    of: Option<Of>,
    fault: fn(&str, Of) -> Option<&'static str>,
    faults: &mut Faults<'_>,
) -> Option<String> {
    let format = table.text("format", faults)?;
    if let Some(message) = of.and_then(|of| fault(format, of)) {
        let span = table.get("format").map_or(0..0, toml::Spanned::span);
        faults.add(span, message, Some(HELP.to_owned()));
    }
    Some(format.to_owned())
}

fn sample() -> Zoned {
    Timestamp::from_second(SAMPLE).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::UTC)
}

/// Why no value that is written so could be read: what the format writes itself must lead back to the day.
fn unreadable(format: &str, of: Of) -> Option<&'static str> {
    const UNKNOWN: &str = "`format` cannot be read";
    let at = sample();
    let Ok(text) = strtime::format(format, &at) else { return Some(UNKNOWN) };
    if strtime::parse(format, &text).is_err() {
        return Some(UNKNOWN);
    }
    let day = match of {
        Of::Day => parse_date(&text, Some(format), &TimeZone::UTC),
        Of::Moment => parse_instant(&text, Some(format), &TimeZone::UTC)
            .map(|read| TimeZone::UTC.to_datetime(read).date()),
    };
    (day != Some(at.date())).then_some("`format` holds no whole day")
}

/// Why no day or moment could be written so. It need not be whole: a source may be asked for a year, and by `like` for what
/// begins so, with a percent sign at the end that stays one.
fn unwritable(format: &str, of: Of) -> Option<&'static str> {
    let signs = format.len() - format.trim_end_matches('%').len();
    let format = if signs % 2 == 1 { format.strip_suffix('%').unwrap_or(format) } else { format };
    let at = sample();
    let written = match of {
        Of::Day => strtime::format(format, at.date()),
        Of::Moment => strtime::format(format, &at),
    };
    match written {
        Err(_) => Some("`format` cannot be written"),
        Ok(text) if text == format => Some("`format` holds nothing of a day"),
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sources_write_is_taken() {
        for day in ["%Y%m%d", "%Y-%m-%d", "%d.%m.%Y", "%d/%m/%y", "%Y年%m月%d日", "%b %d, %Y", "%Y-%j", "%F"]
        {
            assert_eq!(unreadable(day, Of::Day), None, "{day}");
        }
        for moment in
            ["%Y%m%d%H%M%S", "%m/%d/%Y %I:%M:%S %p", "%Y-%m-%dT%H:%M:%S%z", "%F %T", "%s", "%Y/%m/%d %H:%M"]
        {
            assert_eq!(unreadable(moment, Of::Moment), None, "{moment}");
        }
        for (asked, of) in [
            ("%Y", Of::Day),
            ("%Y%m%d", Of::Day),
            ("%Y%m%d%H%M%S", Of::Moment),
            ("%Y-%m%", Of::Day),
            ("%Y%%", Of::Day),
        ] {
            assert_eq!(unwritable(asked, of), None, "{asked}");
        }
    }

    #[test]
    fn what_holds_no_day_or_cannot_be_written_is_told() {
        for of in [Of::Day, Of::Moment] {
            for none in ["YYYYMMDD", "%Y", "%Y%m", "%H:%M", "%d/%m", ""] {
                assert_eq!(unreadable(none, of), Some("`format` holds no whole day"), "{none}");
            }
            for unknown in ["%Y%m%d%Z", "%Y%m%d%!", "%Y%m%"] {
                assert_eq!(unreadable(unknown, of), Some("`format` cannot be read"), "{unknown}");
            }
            assert_eq!(unwritable("YYYYMMDD", of), Some("`format` holds nothing of a day"));
            assert_eq!(unwritable("%Y%!", of), Some("`format` cannot be written"));
            assert_eq!(unwritable("%", of), Some("`format` holds nothing of a day"));
        }
        // A day has no hour: to write one would fail.
        assert_eq!(unwritable("%Y%m%d%H", Of::Day), Some("`format` cannot be written"));
    }
}
