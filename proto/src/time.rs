//! Times in documents: RFC 3339 with an offset; in statements: milliseconds since 1970.

/// Why a text is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time: write it as 2027-01-31T00:00:00Z, with an offset")]
pub struct TimeError(String);

/// Milliseconds since 1970-01-01T00:00:00Z of an RFC 3339 time.
pub fn parse_rfc3339(text: &str) -> Result<i64, TimeError> {
    let shown = || TimeError(text.chars().take(40).collect());
    text.parse::<jiff::Timestamp>().map(|at| at.as_millisecond()).map_err(|_| shown())
}

/// An RFC 3339 time in UTC; out of range times are shown as the nearest representable one.
pub fn format_rfc3339(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .unwrap_or(if ms < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX })
        .to_string()
}

/// The calendar year (UTC) of a moment.
pub fn year(ms: i64) -> i16 {
    jiff::Timestamp::from_millisecond(ms)
        .map(|at| at.to_zoned(jiff::tz::TimeZone::UTC).year())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusals() {
        let at = parse_rfc3339("2027-01-31T08:00:00+08:00").unwrap();
        assert_eq!(format_rfc3339(at), "2027-01-31T00:00:00Z");
        assert_eq!(year(at), 2027);
        for bad in ["2027-01-31", "2027-01-31T08:00:00", "tomorrow", ""] {
            assert!(parse_rfc3339(bad).is_err(), "{bad}");
        }
    }
}
