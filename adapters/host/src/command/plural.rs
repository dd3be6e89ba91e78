//! Numbers with their words.

use std::fmt::Display;

/// `1 error`, `2 errors`; for words that take an `s`.
pub(super) fn counted<N: Display + PartialEq + From<u8>>(number: N, word: &str) -> String {
    let ending = if number == N::from(1) { "" } else { "s" };
    format!("{number} {word}{ending}")
}
