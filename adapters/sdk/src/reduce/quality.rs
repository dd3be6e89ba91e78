//! Quality flags: what is odd about a value that is let out all the same, or why it is null.

use yiwang_proto::resident_id::check_character;

/// The value cannot be read as its type; it is null.
pub const UNREADABLE: &str = "unreadable";
/// The code is not in its table.
pub const UNKNOWN_CODE: &str = "unknown_code";
/// The value does not pass the mapping's check; it is null.
pub const FAILED_CHECK: &str = "failed_check";
/// A resident identity number whose last character does not fit the others (GB 11643).
pub const BAD_CHECK_DIGIT: &str = "bad_check_digit";
/// A resident identity number of 15 digits, as they were given out until 1999.
pub const OLD_FORMAT: &str = "old_format";
/// 1900-01-01, which stands for an unknown date in old systems; the value is null.
pub const PLACEHOLDER_DATE: &str = "placeholder_date";

/// An identity number in digits of full width, as a person types them; carried as it stands.
pub const FULL_WIDTH: &str = "full_width";

/// The flag of an identity number, if it deserves one. Texts of other lengths are other kinds of number
/// and are left alone.
pub fn of_identity_number(text: &str) -> Option<&'static str> {
    if !text.is_ascii() && text.chars().any(|c| matches!(c, '\u{ff01}'..='\u{ff5e}')) {
        return Some(FULL_WIDTH);
    }
    match text.len() {
        15 if text.bytes().all(|byte| byte.is_ascii_digit()) => Some(OLD_FORMAT),
        18 => {
            let (body, last) = text.split_at_checked(17)?;
            let fitting = check_character(body)?;
            (!last.starts_with(fitting)).then_some(BAD_CHECK_DIGIT)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_numbers() {
        assert_eq!(of_identity_number("440524188001010014"), None);
        assert_eq!(of_identity_number("440524188001010015"), Some(BAD_CHECK_DIGIT));
        assert_eq!(of_identity_number("11010519491231002x"), Some(BAD_CHECK_DIGIT));
        assert_eq!(of_identity_number("980101900101001"), Some(OLD_FORMAT));
        assert_eq!(of_identity_number("４40524188001010014"), Some(FULL_WIDTH));
        for other in ["5304218", "", "12345678901234567é", "ABCDEFGHIJKLMNOPQR"] {
            assert_eq!(of_identity_number(other), None, "{other}");
        }
    }
}
