//! Numbers with their words.

use std::fmt::Display;

/// `1 error`, `2 errors`, `2 entries`, `2 mismatches`.
#[must_use]
pub fn counted<N: Display + PartialEq + From<u8>>(number: N, word: &str) -> String {
    if number == N::from(1) {
        return format!("{number} {word}");
    }
    match word.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u'])) {
        Some(stem) => format!("{number} {stem}ies"),
        None if word.ends_with("ch") => format!("{number} {word}es"),
        None => format!("{number} {word}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_told_in_the_singular_and_all_else_in_the_plural() {
        for (number, word, told) in [
            (1, "entry", "1 entry"),
            (0, "entry", "0 entries"),
            (2, "day", "2 days"),
            (2, "more mismatch", "2 more mismatches"),
            (3, "row", "3 rows"),
        ] {
            assert_eq!(counted(number, word), told);
        }
    }
}
