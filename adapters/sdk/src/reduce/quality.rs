//! Quality flags: what is odd about a value that is let out all the same, or why it is null.

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
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    match text.len() {
        15 if digits(text) => Some(OLD_FORMAT),
        18 => {
            let (body, last) = text.split_at_checked(17)?;
            if !digits(body) {
                return None;
            }
            (check_character(body) != last.chars().next()).then_some(BAD_CHECK_DIGIT)
        }
        _ => None,
    }
}

/// Powers of two modulo 11, as ISO 7064 MOD 11-2 weighs the 17 digits.
const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];

/// ISO 7064 MOD 11-2 over 17 digits.
fn check_character(body: &str) -> Option<char> {
    let weighed = body.bytes().zip(WEIGHTS).map(|(byte, weight)| u32::from(byte - b'0') * weight);
    let digit = (12 - weighed.sum::<u32>() % 11) % 11;
    if digit == 10 { Some('X') } else { char::from_digit(digit, 10) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_numbers() {
        // The examples of GB 11643-1999, annex A.
        assert_eq!(check_character("11010519491231002"), Some('X'));
        assert_eq!(check_character("44052418800101001"), Some('4'));
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
