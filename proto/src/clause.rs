//! The clause of a refusal: which rule, place or field decided. It stands in the ledger for ever, and adapters of
//! other people's making write it; so it is no text but a name in a closed grammar, with no room for a value, an
//! identifier or a sentence about a person:
//!
//! ```text
//! clause = word *( ( "-" / ":" / "." ) word )     at most 96 characters, at most 4 digits in all
//! word   = 1*( a-z / 0-9 / "_" )                  the first word begins with a letter
//! ```

/// Longest clause, in characters: place, rule and the names of some fields.
pub const CLAUSE_MAX: usize = 96;
/// Digits in one clause: rules name classes and seconds; any number that names a person or telephone is longer.
pub const DIGITS_MAX: usize = 4;
/// The largest count that a clause says; it stands for itself and for any above it.
pub const COUNT_MAX: usize = 9_999;

const JOINTS: [char; 3] = ['-', ':', '.'];

/// Whether a text is a clause, or empty where there is none.
pub fn is_clause(text: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    text.is_empty()
        || (text.len() <= CLAUSE_MAX
            && text.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
            && text.bytes().filter(u8::is_ascii_digit).count() <= DIGITS_MAX
            && text.split(JOINTS).all(word))
}

/// The clause that says what these words say: `fields: name, birth_date` becomes `fields:name-birth_date`. What
/// does not fit the grammar is left out. A clause stays as it is.
pub fn clause_of(words: &str) -> String {
    let mut clause = String::with_capacity(words.len().min(CLAUSE_MAX));
    let (mut joint, mut digits) = (None, 0);
    for c in words.chars().map(|c| c.to_ascii_lowercase()) {
        match c {
            // Marks inside and around names, which part no words.
            '\'' | '`' => {}
            'a'..='z' | '0'..='9' | '_' if !clause.is_empty() || c.is_ascii_lowercase() => {
                digits += usize::from(c.is_ascii_digit());
                if c.is_ascii_digit() && digits > DIGITS_MAX {
                    continue;
                }
                if clause.len() + usize::from(joint.is_some()) >= CLAUSE_MAX {
                    break;
                }
                clause.extend(joint.take().filter(|_| !clause.is_empty()));
                clause.push(c);
            }
            ':' | '.' => joint = Some(c),
            _ => joint = joint.or(Some('-')),
        }
    }
    clause
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_a_clause_and_a_clause_stays_as_it_is() {
        for (words, clause) in [
            ("", ""),
            ("fields: `name`, `birth_date`", "fields:name-birth_date"),
            ("limits.per_app_per_minute", "limits.per_app_per_minute"),
            ("statement: issued_at is over 30 s ahead", "statement:issued_at-is-over-30-s-ahead"),
            ("provider: this member's own list", "provider:this-members-own-list"),
            ("class 3: sealing_required", "class-3:sealing_required"),
            ("Zhang \u{4e09} 13800138000", "zhang-1380"),
            ("1: a", "a"),
            ("- . :", ""),
        ] {
            assert_eq!(clause_of(words), clause);
            assert!(is_clause(clause), "{clause}");
            assert_eq!(clause_of(clause), clause);
        }
        let long = clause_of(&"ab ".repeat(100));
        assert!(long.len() <= CLAUSE_MAX && is_clause(&long) && clause_of(&long) == long);
        // Any words at all, by a small generator.
        let mut seed = 1_u32;
        for _ in 0..2000 {
            let mut words = String::new();
            for _ in 0..40 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                words.push(char::from_u32((seed >> 16) % 0x250).unwrap_or(' '));
            }
            let clause = clause_of(&words);
            assert!(is_clause(&clause) && clause_of(&clause) == clause, "{words:?}: {clause}");
        }
    }

    #[test]
    fn what_could_say_something_of_a_person_is_no_clause() {
        for text in [
            "the holder Zhang San lives in Changan road 4",
            "fields: name",
            "980101199001010017",
            "id.980101199001010017",
            "tel:138-0013-8000",
            "Fields",
            "fields:",
            ":fields",
            "a..b",
            "a b",
            "\u{5f20}\u{4e09}",
            "a\n",
        ] {
            assert!(!is_clause(text), "{text}");
        }
        assert!(!is_clause(&"a".repeat(CLAUSE_MAX + 1)) && is_clause(&"a".repeat(CLAUSE_MAX)));
    }
}
