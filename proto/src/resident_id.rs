//! Resident ids (GB 11643): six digits of area, eight of birth, three of serial and a check character. Where one is
//! given as a subject's identifier, one whose check character does not fit was most likely mistyped, and is never made right:
//! it is not for a program to choose another person. Some were issued so. Identifiers of the same form that fit their own
//! standard are no resident ids: an organisation's credit code (GB 32100) may be 18 digits too.

/// Powers of two modulo 11, as ISO 7064 MOD 11-2 weighs the 17 digits.
const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];

/// What of a resident id does not hold. Holds nothing of the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResidentIdError {
    /// The check character would fit, were it a capital: in sources and tags it is another text.
    #[error("is a resident id whose last character is a small `x`, which GB 11643 writes as a capital")]
    Small,
    /// The check character does not fit the digits.
    #[error(
        "has the form of a resident id, and its check character, the 18th, does not fit the 17 digits (GB 11643)"
    )]
    Check,
}

impl ResidentIdError {
    /// What to do next; `say_so` is how the one who is told lets a number stand that was issued so.
    #[must_use]
    pub fn next(self, say_so: &str) -> String {
        match self {
            Self::Small => "write `X`".to_owned(),
            Self::Check => format!(
                "compare it with the document that it was read from, and {say_so} where it stands there so"
            ),
        }
    }
}

/// The check character of 17 digits: ISO 7064 MOD 11-2. None for what is not 17 digits.
#[must_use]
pub fn check_character(body: &str) -> Option<char> {
    if body.len() != WEIGHTS.len() {
        return None;
    }
    let mut weighed = 0;
    for (digit, weight) in body.chars().zip(WEIGHTS) {
        weighed += digit.to_digit(10)? * weight;
    }
    let check = (12 - weighed % 11) % 11;
    if check == 10 { Some('X') } else { char::from_digit(check, 10) }
}

/// What stands in a unified social credit code, each for its place here (GB 32100).
const CREDIT_CHARACTERS: &str = "0123456789ABCDEFGHJKLMNPQRTUWXY";

/// Whether 17 digits and their check character are an organisation's credit code: weights are the powers of 3 modulo 31. Where
/// they hold a day of birth they are taken for a person's: one mistyped id in 31 would fit.
fn is_credit_code(body: &str, last: &str) -> bool {
    let number = |from: usize, to: usize| body.get(from..to).and_then(|digits| digits.parse::<u16>().ok());
    let within = |part: Option<u16>, least, most| part.is_some_and(|part| (least..=most).contains(&part));
    if within(number(6, 10), 1800, 2199) && within(number(10, 12), 1, 12) && within(number(12, 14), 1, 31) {
        return false;
    }
    let (mut weighed, mut weight) = (0, 1);
    for digit in body.chars() {
        weighed += digit.to_digit(10).unwrap_or_default() * weight;
        weight = weight * 3 % 31;
    }
    let check = CREDIT_CHARACTERS.chars().nth(((31 - weighed % 31) % 31) as usize);
    check.is_some_and(|check| last.starts_with(check))
}

/// Looks at an identifier that may be a resident id. What has not the form of one (17 digits, and a digit or X) is
/// another kind of identifier and passes, as does a credit code.
///
/// # Errors
/// [`ResidentIdError`] if its check character does not fit.
pub fn check(identifier: &str) -> Result<(), ResidentIdError> {
    let Some((body, last)) = identifier.split_at_checked(WEIGHTS.len()) else { return Ok(()) };
    let Some(fitting) = check_character(body) else { return Ok(()) };
    let mut rest = last.chars();
    match (rest.next(), rest.next()) {
        (Some('0'..='9' | 'X' | 'x'), None) if last.starts_with(fitting) => Ok(()),
        (Some('0'..='9' | 'X'), None) if is_credit_code(body, last) => Ok(()),
        (Some('x'), None) if fitting == 'X' => Err(ResidentIdError::Small),
        (Some('0'..='9' | 'X' | 'x'), None) => Err(ResidentIdError::Check),
        _ => Ok(()),
    }
}

/// [`check`], where somebody may have said that the identifier stands in its document just so. A small `x` stands in none, and
/// would make another tag of the same person's: sources that hold it so are asked for both.
///
/// # Errors
/// [`ResidentIdError`] if it was most likely mistyped.
pub fn check_given(identifier: &str, as_issued: bool) -> Result<(), ResidentIdError> {
    match check(identifier) {
        Err(ResidentIdError::Check) if as_issued => Ok(()),
        checked => checked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_characters_of_the_standard() {
        // The examples of GB 11643-1999, annex A.
        assert_eq!(check_character("11010519491231002"), Some('X'));
        assert_eq!(check_character("44052418800101001"), Some('4'));
        for other in ["", "4405241880010100", "440524188001010014", "4405241880010100a", "４40524188001010"]
        {
            assert_eq!(check_character(other), None, "{other}");
        }
    }

    #[test]
    fn what_does_not_fit_is_told_and_other_identifiers_pass() {
        for right in ["11010519491231002X", "440524188001010014", "980101199001010017"] {
            assert_eq!(check(right), Ok(()), "{right}");
        }
        for wrong in ["440524188001010015", "44052418800101001X", "44052418800101001x", "110105194912310020"]
        {
            let error = check(wrong).unwrap_err();
            assert_eq!(error, ResidentIdError::Check, "{wrong}");
            assert!(!error.to_string().contains(wrong));
        }
        assert_eq!(check("11010519491231002x"), Err(ResidentIdError::Small));
        let (wrong, small) = ("440524188001010015", "11010519491231002x");
        assert_eq!(check_given(wrong, false), Err(ResidentIdError::Check));
        assert_eq!(check_given(small, false), Err(ResidentIdError::Small));
        assert_eq!(check_given(wrong, true), Ok(()));
        assert_eq!(check_given(small, true), Err(ResidentIdError::Small));
        // A credit code of digits only; one digit more or less in it, and it is neither.
        assert_eq!(check("990000000000000021"), Ok(()));
        assert_eq!(check("990000000000000022"), Err(ResidentIdError::Check));
        for other in [
            "",
            "5304218",
            "980101900101001",
            "44052418800101001Y",
            "4405241880010100150",
            "12345678901234567é",
        ] {
            assert_eq!(check(other), Ok(()), "{other}");
        }
    }
}
