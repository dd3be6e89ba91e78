//! Walks the spanned TOML document, so that all faults of a file are found at once, each with its place.
//! serde would stop at the first one.

use super::fault::Faults;
use super::masked::is_address;
use std::ops::Range;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use yiwang_proto::nearest::did_you_mean;

/// A value with its place.
pub(crate) type Node<'i> = Spanned<DeValue<'i>>;

/// A table with its place and the name that faults call it by.
#[derive(Clone)]
pub(crate) struct Table<'a, 'i> {
    pub(crate) what: String,
    pub(crate) span: Range<usize>,
    map: &'a DeTable<'i>,
}

impl<'a, 'i> Table<'a, 'i> {
    pub(crate) fn root(map: &'a DeTable<'i>) -> Self {
        Self { what: "the mapping".to_owned(), span: 0..0, map }
    }

    pub(crate) fn of(node: &'a Node<'i>, what: impl Into<String>, faults: &mut Faults<'_>) -> Option<Self> {
        let what = what.into();
        match node.get_ref() {
            DeValue::Table(map) => Some(Self { what, span: node.span(), map }),
            other => {
                faults.add(node.span(), format!("{what} is {}, not a table", kind(other)), None);
                None
            }
        }
    }

    /// Refuses every key that is not known.
    pub(crate) fn only(&self, known: &[&str], faults: &mut Faults<'_>) {
        for key in self.map.keys() {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                let help = did_you_mean(name, known.iter().copied())
                    .unwrap_or_else(|| format!("known keys: {}", known.join(", ")));
                faults.add(key.span(), format!("unknown key `{}` in {}", shown(name), self.what), Some(help));
            }
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'a Node<'i>> {
        self.map.get(key)
    }

    pub(crate) fn key_span(&self, key: &str) -> Range<usize> {
        self.map.get_key_value(key).map_or_else(|| self.span.clone(), |(key, _)| key.span())
    }

    pub(crate) fn need(&self, key: &str, faults: &mut Faults<'_>) -> Option<&'a Node<'i>> {
        let found = self.map.get(key);
        if found.is_none() {
            faults.add(self.span.clone(), format!("{} lacks `{key}`", self.what), None);
        }
        found
    }

    /// Entries in the order of the file.
    pub(crate) fn entries(&self) -> Vec<(&'a str, Range<usize>, &'a Node<'i>)> {
        let mut entries: Vec<_> =
            self.map.iter().map(|(key, value)| (key.get_ref().as_ref(), key.span(), value)).collect();
        entries.sort_by_key(|(_, span, _)| span.start);
        entries
    }

    pub(crate) fn text(&self, key: &str, faults: &mut Faults<'_>) -> Option<&'a str> {
        self.get(key).and_then(|node| text(node, key, faults))
    }

    pub(crate) fn need_text(&self, key: &str, faults: &mut Faults<'_>) -> Option<&'a str> {
        self.need(key, faults).and_then(|node| text(node, key, faults))
    }

    pub(crate) fn boolean(&self, key: &str, faults: &mut Faults<'_>) -> Option<bool> {
        let node = self.get(key)?;
        match node.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            other => {
                faults.add(node.span(), format!("`{key}` is {}, not true or false", kind(other)), None);
                None
            }
        }
    }

    pub(crate) fn integer(&self, key: &str, range: Range<i64>, faults: &mut Faults<'_>) -> Option<i64> {
        let node = self.get(key)?;
        let value = match node.get_ref() {
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        let value = value.filter(|value| range.contains(value));
        if value.is_none() {
            let last = range.end.saturating_sub(1);
            let message = format!("`{key}` is not a whole number from {} to {last}", range.start);
            faults.add(node.span(), message, None);
        }
        value
    }

    pub(crate) fn duration(&self, key: &str, faults: &mut Faults<'_>) -> Option<Duration> {
        let node = self.get(key)?;
        let value = match node.get_ref() {
            DeValue::String(text) => duration(text),
            _ => None,
        };
        if value.is_none() {
            faults.add(
                node.span(),
                format!("`{key}` is not a duration"),
                Some("write a whole number and ms, s, m, h or d, like \"2s\"".to_owned()),
            );
        }
        value
    }

    pub(crate) fn list(&self, key: &str, faults: &mut Faults<'_>) -> Option<&'a [Node<'i>]> {
        let node = self.get(key)?;
        match node.get_ref() {
            DeValue::Array(array) => Some(array),
            other => {
                faults.add(node.span(), format!("`{key}` is {}, not a list", kind(other)), None);
                None
            }
        }
    }
}

/// A value that is one of a closed set.
pub(crate) fn one_of<T: Copy>(
    node: &Node<'_>,
    key: &str,
    choices: &[(&str, T)],
    faults: &mut Faults<'_>,
) -> Option<T> {
    let given = text(node, key, faults)?;
    let found = choices.iter().find(|(name, _)| *name == given).map(|(_, value)| *value);
    if found.is_none() {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let help = did_you_mean(given, names.iter().copied())
            .unwrap_or_else(|| format!("one of: {}", names.join(", ")));
        faults.add(node.span(), format!("`{key}` has a value that is not known"), Some(help));
    }
    found
}

pub(crate) fn text<'a>(node: &'a Node<'_>, key: &str, faults: &mut Faults<'_>) -> Option<&'a str> {
    match node.get_ref() {
        DeValue::String(text) => Some(text.as_ref()),
        other => {
            faults.add(node.span(), format!("`{key}` is {}, not a text", kind(other)), None);
            None
        }
    }
}

/// A text parsed as an identifier; its grammar is the help.
pub(crate) fn id<T: std::str::FromStr<Err = yiwang_proto::ids::IdError>>(
    given: &str,
    span: Range<usize>,
    key: &str,
    faults: &mut Faults<'_>,
) -> Option<T> {
    match given.parse() {
        Ok(id) => Some(id),
        Err(error) => {
            let error = error.to_string();
            // The part after "`…` is not " is the rule; the value itself is not repeated.
            let rule = error.split_once("` is not ").map_or("", |(_, rule)| rule);
            faults.add(span, format!("`{key}` is not well-formed"), Some(format!("write {rule}")));
            None
        }
    }
}

pub(crate) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A key as shown in a fault: bounded, without control characters, and no address that was put into its place.
pub(crate) fn shown(key: &str) -> String {
    if is_address(key) {
        return "…".to_owned();
    }
    key.chars().filter(|c| !c.is_control()).take(48).collect()
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    // Ten years: nothing in a mapping is longer, and sums stay far from overflow.
    number.checked_mul(ms).filter(|ms| (1..=315_360_000_000).contains(ms)).map(Duration::from_millis)
}
