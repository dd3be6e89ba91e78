//! What a source says of itself, held short: it reaches logs, health and terminals.

/// Characters of a source's words: a sentence that names a table and a column has fewer.
const WORDS_MAX: usize = 200;

/// A source's own words: so many at most, and nothing in them that a log or a terminal would obey.
pub fn words(text: &str) -> String {
    cleaned(text, WORDS_MAX)
}

/// The same of so many characters, for our own sentences that hold such words.
pub fn cleaned(text: &str, most: usize) -> String {
    let mut cleaned: String =
        text.chars().take(most).map(|c| if is_obeyed(c) { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(most).is_some() {
        cleaned.push('…');
    }
    cleaned
}

/// Whether a log or a terminal would obey it: control characters, and what turns the direction of a line or breaks it.
pub fn is_obeyed(c: char) -> bool {
    let turns =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t19_a_servers_words_are_short_and_hold_nothing_that_a_log_obeys() {
        assert_eq!(words("column \"NM\" does not exist"), "column \"NM\" does not exist");
        assert_eq!(words("a\r\nlevel=error \u{1b}[2J\u{202e}b"), "a��level=error �[2J�b");
        assert_eq!(words(&"云".repeat(200)), "云".repeat(200));
        assert_eq!(words(&"x".repeat(1 << 20)), format!("{}…", "x".repeat(200)));
    }
}
