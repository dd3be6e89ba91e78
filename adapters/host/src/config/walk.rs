//! Walks the spanned TOML document, so that all faults are found at once, each with its place.

use super::missing;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use yiwang_adapter_sdk::mapping::{MappingFault, next_step};
use yiwang_proto::nearest::did_you_mean;

/// A value with its place.
pub(super) type Node<'i> = Spanned<DeValue<'i>>;

/// Collects faults. Messages name keys, never values.
pub(super) struct Faults<'t> {
    file: &'t Path,
    text: &'t str,
    list: Vec<MappingFault>,
}

impl<'t> Faults<'t> {
    pub(super) fn new(file: &'t Path, text: &'t str) -> Self {
        Self { file, text, list: Vec::new() }
    }

    pub(super) fn add(&mut self, span: Range<usize>, message: impl Into<String>, help: Option<&str>) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let message = message.into();
        let help = help.map_or_else(|| next_step(&message), str::to_owned);
        self.list.push(MappingFault {
            file: self.file.to_path_buf(),
            span,
            line: before.matches('\n').count() + 1,
            column: before.get(start..).unwrap_or_default().chars().count() + 1,
            message,
            help: Some(help),
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All faults in the order of the file.
    pub(super) fn finish(mut self) -> Vec<MappingFault> {
        self.list.sort_by(|a, b| (a.line, a.column, &a.message).cmp(&(b.line, b.column, &b.message)));
        self.list.dedup();
        self.list
    }
}

/// A table, and the name that faults call it by.
pub(super) struct Table<'a, 'i> {
    what: &'static str,
    span: Range<usize>,
    map: &'a DeTable<'i>,
}

impl<'a, 'i> Table<'a, 'i> {
    pub(super) fn root(map: &'a DeTable<'i>) -> Self {
        Self { what: "the file", span: 0..0, map }
    }

    pub(super) fn of(node: &'a Node<'i>, what: &'static str, faults: &mut Faults<'_>) -> Option<Self> {
        let DeValue::Table(map) = node.get_ref() else {
            faults.add(node.span(), format!("{what} is {}, not a table", kind(node)), None);
            return None;
        };
        Some(Self { what, span: node.span(), map })
    }

    /// Refuses every key that is not known.
    pub(super) fn only(&self, known: &[&str], faults: &mut Faults<'_>) {
        for key in self.map.keys() {
            let name: &str = key.get_ref().as_ref();
            if known.contains(&name) {
                continue;
            }
            let help = did_you_mean(name, known.iter().copied())
                .unwrap_or_else(|| format!("known keys: {}", known.join(", ")));
            // An address that was put into a key's place may hold a password.
            let name = if name.contains("://") { "…" } else { name };
            let shown: String = name.chars().filter(|c| !c.is_control()).take(32).collect();
            faults.add(key.span(), format!("unknown key `{shown}` in {}", self.what), Some(&help));
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Node<'i>> {
        self.map.get(key)
    }

    pub(super) fn key_span(&self, key: &str) -> Range<usize> {
        self.map.get_key_value(key).map_or_else(|| self.span.clone(), |(key, _)| key.span())
    }

    pub(super) fn need(&self, key: &str, faults: &mut Faults<'_>) -> Option<&'a Node<'i>> {
        let found = self.get(key);
        if found.is_none() {
            faults.add(self.span.clone(), format!("{} lacks `{key}`", self.what), missing::next_step(key));
        }
        found
    }

    pub(super) fn text(&self, key: &str, faults: &mut Faults<'_>) -> Option<(&'a str, Range<usize>)> {
        self.get(key).and_then(|node| text(node, key, faults))
    }

    pub(super) fn need_text(&self, key: &str, faults: &mut Faults<'_>) -> Option<(&'a str, Range<usize>)> {
        self.need(key, faults).and_then(|node| text(node, key, faults))
    }

    pub(super) fn boolean(&self, key: &str, faults: &mut Faults<'_>) -> Option<bool> {
        let node = self.get(key)?;
        let DeValue::Boolean(value) = node.get_ref() else {
            faults.add(node.span(), format!("`{key}` is {}, not true or false", kind(node)), None);
            return None;
        };
        Some(*value)
    }

    pub(super) fn list(&self, key: &str, faults: &mut Faults<'_>) -> Option<&'a [Node<'i>]> {
        let node = self.get(key)?;
        let DeValue::Array(array) = node.get_ref() else {
            faults.add(node.span(), format!("`{key}` is {}, not a list", kind(node)), None);
            return None;
        };
        Some(array)
    }
}

pub(super) fn text<'a>(
    node: &'a Node<'_>,
    key: &str,
    faults: &mut Faults<'_>,
) -> Option<(&'a str, Range<usize>)> {
    let DeValue::String(text) = node.get_ref() else {
        faults.add(node.span(), format!("`{key}` is {}, not a text", kind(node)), None);
        return None;
    };
    Some((text.as_ref(), node.span()))
}

fn kind(node: &Node<'_>) -> &'static str {
    match node.get_ref() {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
