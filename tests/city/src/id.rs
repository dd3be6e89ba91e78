//! Resident ids: 6 digits of area, 8 of birth, 3 of serial, one check character (mod 11-2).

/// The check character of the first 17 digits: weights are powers of two modulo 11.
pub(crate) fn check_character(first17: &str) -> char {
    let mut weight = 7u32; // 2^17 mod 11
    let mut sum = 0u32;
    for digit in first17.chars().filter_map(|c| c.to_digit(10)) {
        sum += digit * weight;
        weight = if weight.is_multiple_of(2) { weight / 2 } else { (weight + 11) / 2 };
    }
    match (12 - sum % 11) % 11 {
        10 => 'X',
        value => char::from_digit(value, 10).unwrap_or('X'),
    }
}

/// Whether an 18-character id has the form and the check character that it should have.
pub fn is_valid(id: &str) -> bool {
    let Some((first17, check)) = id.split_at_checked(17) else { return false };
    first17.bytes().all(|b| b.is_ascii_digit()) && check.chars().eq(std::iter::once(check_character(first17)))
}

/// The old form of 15 digits: no century, no check character.
pub(crate) fn old_form(id: &str) -> String {
    id.chars().enumerate().filter(|(at, _)| *at < 17 && *at != 6 && *at != 7).map(|(_, c)| c).collect()
}

/// The same id with a check character that is wrong.
pub(crate) fn with_wrong_check(id: &str) -> String {
    let first17: String = id.chars().take(17).collect();
    let wrong = match check_character(&first17) {
        'X' => '0',
        '9' => '1',
        digit => char::from_digit(digit.to_digit(10).unwrap_or(0) + 1, 10).unwrap_or('0'),
    };
    format!("{first17}{wrong}")
}

#[cfg(test)]
mod tests {
    use super::{check_character, is_valid, old_form, with_wrong_check};

    #[test]
    fn check_characters_of_known_numbers() {
        // Computed apart from this code, with the table of weights 7 9 10 5 8 4 2 1 6 3 7 9 10 5 8 4 2.
        assert_eq!(check_character("98010119900101001"), '7');
        assert_eq!(check_character("98010119491231002"), '6');
        assert_eq!(check_character("98010119900101005"), 'X');
        assert!(is_valid("980101199001010017"));
        assert!(!is_valid("98010119900101001"));
        assert!(!is_valid("98010119900101001x"));
    }

    #[test]
    fn spoiled_forms() {
        assert_eq!(old_form("980101199001010017"), "980101900101001");
        for id in ["98010119900101005X", "980101194912310026"] {
            assert!(is_valid(id));
            assert!(!is_valid(&with_wrong_check(id)));
        }
    }
}
