//! The lint for names of what is not built (rules N1 to N9): it judges names of records, fields,
//! operations, columns and contracts, by whole words, in English, pinyin and Chinese characters.

use crate::bundle;
use serde::Deserialize;
use std::sync::LazyLock;

/// Why the lint's file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{file}`: {fault}")]
pub struct LintError {
    file: String,
    fault: String,
}

/// A name that is not to be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("refused by rule {rule} for `{word}`: {reason}; instead: {counterpart}")]
pub struct Refusal {
    /// `N1` to `N9`.
    pub rule: String,
    /// The words that were found.
    pub word: String,
    /// Why such a thing is not built.
    pub reason: String,
    /// What is built instead.
    pub counterpart: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    id: String,
    reason: String,
    counterpart: String,
    phrases: Vec<String>,
    unless: Vec<String>,
    han: Vec<String>,
    han_unless: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    rule: Vec<RawRule>,
}

/// Words in a row. The last may stand for any ending.
#[derive(Debug)]
struct Phrase {
    text: String,
    words: Vec<String>,
    open_end: bool,
}

#[derive(Debug)]
struct Rule {
    id: String,
    reason: String,
    counterpart: String,
    phrases: Vec<Phrase>,
    unless: Vec<Phrase>,
    han: Vec<String>,
    han_unless: Vec<String>,
}

/// The compiled rules.
#[derive(Debug)]
pub struct Lint {
    rules: Vec<Rule>,
}

static BUILTIN: LazyLock<Result<Lint, LintError>> = LazyLock::new(|| Lint::load(bundle::LINT));

/// Judges a name by the embedded rules; none if it may be used. Unreadable rules refuse every name.
pub fn lint_name(name: &str) -> Option<Refusal> {
    match Lint::builtin() {
        Ok(lint) => lint.refuse(name),
        Err(error) => Some(Refusal {
            rule: "lint".to_owned(),
            word: String::new(),
            reason: error.to_string(),
            counterpart: "repair the rules of the lint".to_owned(),
        }),
    }
}

impl Phrase {
    fn read(text: &str) -> Result<Self, String> {
        let (plain, open_end) = match text.strip_suffix('*') {
            Some(plain) => (plain, true),
            None => (text, false),
        };
        let words: Vec<String> = plain.split(' ').map(str::to_owned).collect();
        let sound = |word: &String| {
            word.len() >= 2 && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        if words.iter().all(sound) {
            Ok(Self { text: text.to_owned(), words, open_end })
        } else {
            Err(format!("`{text}` is not words of a-z and 0-9 with single spaces"))
        }
    }

    /// Whether the phrase begins at the first of these words, and how many of them it takes. The words
    /// of a phrase may also be written as one.
    fn matches(&self, words: &[String]) -> Option<usize> {
        let same = |word: &String, pattern: &String, last: bool| {
            word == pattern || (last && self.open_end && word.starts_with(pattern.as_str()))
        };
        let apart =
            words.len() >= self.words.len()
                && words.iter().zip(&self.words).enumerate().all(|(at, (word, pattern))| {
                    same(word, pattern, at.saturating_add(1) == self.words.len())
                });
        if apart {
            return Some(self.words.len());
        }
        let first = words.first()?;
        let joined = same(first, &self.words.concat(), true);
        (self.words.len() > 1 && joined).then_some(1)
    }
}

impl Lint {
    /// The embedded rules, read once.
    pub fn builtin() -> Result<&'static Self, LintError> {
        BUILTIN.as_ref().map_err(Clone::clone)
    }

    fn load((file, text): (&str, &str)) -> Result<Self, LintError> {
        let fault = |fault: String| LintError { file: file.to_owned(), fault };
        let raw: RawFile = toml::from_str(text).map_err(|error| fault(error.to_string()))?;
        let read = |phrases: &[String]| {
            phrases.iter().map(|text| Phrase::read(text)).collect::<Result<Vec<_>, _>>().map_err(fault)
        };
        let mut rules = Vec::with_capacity(raw.rule.len());
        for rule in raw.rule {
            rules.push(Rule {
                phrases: read(&rule.phrases)?,
                unless: read(&rule.unless)?,
                id: rule.id,
                reason: rule.reason,
                counterpart: rule.counterpart,
                han: rule.han,
                han_unless: rule.han_unless,
            });
        }
        Ok(Self { rules })
    }

    /// Judges a name. Where several rules refuse it, the one that takes most of it speaks: it knows the
    /// counterpart best.
    pub fn refuse(&self, name: &str) -> Option<Refusal> {
        let seen: String = name.chars().filter(|letter| !is_unseen(*letter)).map(narrow).collect();
        let words = words(&seen);
        let mut strongest: Option<(usize, &Rule, &str)> = None;
        for rule in &self.rules {
            let found = rule.find(&words).into_iter().chain(rule.find_han(&seen));
            for word in found {
                let size = word.chars().count();
                if strongest.is_none_or(|(most, ..)| size > most) {
                    strongest = Some((size, rule, word));
                }
            }
        }
        strongest.map(|(_, rule, word)| Refusal {
            rule: rule.id.clone(),
            word: word.to_owned(),
            reason: rule.reason.clone(),
            counterpart: rule.counterpart.clone(),
        })
    }
}

impl Rule {
    fn find(&self, words: &[String]) -> Option<&str> {
        let mut rest = words;
        while !rest.is_empty() {
            let innocent = self.unless.iter().find_map(|phrase| phrase.matches(rest));
            if innocent.is_none()
                && let Some(phrase) = self.phrases.iter().find(|phrase| phrase.matches(rest).is_some())
            {
                return Some(&phrase.text);
            }
            rest = rest.get(innocent.unwrap_or(1)..).unwrap_or_default();
        }
        None
    }

    fn find_han(&self, name: &str) -> Option<&str> {
        if name.is_ascii() {
            return None;
        }
        let rest = self.han_unless.iter().fold(name.to_owned(), |rest, phrase| rest.replace(phrase, " "));
        self.han.iter().map(String::as_str).filter(|han| rest.contains(han)).max_by_key(|han| han.len())
    }
}

/// Cuts a name into lower-case words at everything that is no letter, at digits, and before capitals.
fn words(name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut previous = ' ';
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        let next_is_small = letters.peek().is_some_and(char::is_ascii_lowercase);
        let begins = letter.is_ascii_uppercase()
            && (previous.is_ascii_lowercase() || (previous.is_ascii_uppercase() && next_is_small));
        if begins || !letter.is_ascii_alphabetic() {
            push(&mut words, &mut word);
        }
        if letter.is_ascii_alphabetic() {
            word.push(letter.to_ascii_lowercase());
        }
        previous = letter;
    }
    push(&mut words, &mut word);
    words
}

fn push(words: &mut Vec<String>, word: &mut String) {
    if !word.is_empty() {
        words.push(std::mem::take(word));
    }
}

/// What a reader does not see cuts no word.
fn is_unseen(letter: char) -> bool {
    matches!(letter, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

/// Letters of full width, and those of other alphabets that look the same, are the same letters to whoever
/// reads the name.
fn narrow(letter: char) -> char {
    match letter {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(letter).saturating_sub(0xfee0)).unwrap_or(letter),
        'а' | 'α' => 'a',
        'е' | 'ε' => 'e',
        'о' | 'ο' => 'o',
        'р' | 'ρ' => 'p',
        'с' | 'ϲ' => 'c',
        'х' | 'χ' => 'x',
        'у' => 'y',
        'і' | 'ι' | 'ı' => 'i',
        'ѕ' => 's',
        'ј' => 'j',
        'к' | 'κ' => 'k',
        'т' | 'τ' => 't',
        'в' => 'b',
        'ѡ' | 'ω' => 'w',
        'А' | 'Α' => 'A',
        'В' | 'Β' => 'B',
        'Е' | 'Ε' => 'E',
        'К' | 'Κ' => 'K',
        'О' | 'Ο' => 'O',
        'Р' | 'Ρ' => 'P',
        'С' => 'C',
        'Т' | 'Τ' => 'T',
        'І' | 'Ι' => 'I',
        'Ѕ' => 'S',
        'М' | 'Μ' => 'M',
        'Н' | 'Η' => 'H',
        'Ν' => 'N',
        _ => letter,
    }
}

#[cfg(test)]
#[path = "lint_tests.rs"]
mod tests;
