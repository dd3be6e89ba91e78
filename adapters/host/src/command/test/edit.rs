//! Changes expectations in the text of a mapping, and nothing else of it: each change is made at its place, after the
//! text was read again, so that comments and blanks around it stay.

use serde_json::Value;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml_parser::Source;
use toml_parser::lexer::TokenKind;
use yiwang_adapter_sdk::mapping::TestChange;

type Node<'i> = Spanned<DeValue<'i>>;

/// What a place of the text becomes.
struct Edit {
    span: Range<usize>,
    text: String,
}

/// The text with one change of the expectation of the test at a place in the file.
pub(super) fn changed(text: &str, test: usize, change: &TestChange) -> Result<String, String> {
    let document = DeTable::parse(text).map_err(|error| format!("not TOML: {}", error.message()))?;
    let edit = edit(text, document.get_ref(), test, change)?;
    let (Some(before), Some(after)) = (text.get(..edit.span.start), text.get(edit.span.end..)) else {
        return Err("its place is not in the text".to_owned());
    };
    Ok([before, &edit.text, after].concat())
}

fn edit(text: &str, root: &DeTable<'_>, test: usize, change: &TestChange) -> Result<Edit, String> {
    let missing = || "its expectation is written in a way that is not known; change it by hand".to_owned();
    let test = elements(root.get("test")).get(test).copied().and_then(table).ok_or_else(missing)?;
    if let TestChange::Error { value, .. } = change {
        let node = test.get("expect_error").ok_or_else(missing)?;
        return Ok(Edit { span: node.span(), text: literal(&Value::from(value.as_str()))? });
    }
    let expect = test.get("expect").ok_or_else(missing)?;
    let records = elements(Some(expect));
    let of = |record: usize| records.get(record).copied().ok_or_else(missing);
    match change {
        TestChange::Set { record, field, value, .. } => {
            let node =
                table(of(*record)?).and_then(|record| record.get(field.as_str())).ok_or_else(missing)?;
            Ok(Edit { span: node.span(), text: literal(value)? })
        }
        TestChange::Add { record, field, value } => {
            let new = format!("{field} = {}", literal(value)?);
            let record = of(*record)?;
            let last = entries(record).last().map(|(_, value)| value.end);
            match (last, inline(text, record, '{')) {
                (Some(at), true) => Ok(Edit { span: at..at, text: format!(", {new}") }),
                (Some(at), false) => Ok(Edit { span: at..at, text: format!("\n{new}") }),
                (None, true) => Ok(Edit { span: record.span(), text: format!("{{ {new} }}") }),
                (None, false) => Err(missing()),
            }
        }
        TestChange::Remove { record, field } => {
            let record = of(*record)?;
            let named = table(record).and_then(|record| record.get_key_value(field.as_str()));
            let (key, value) = named.ok_or_else(missing)?;
            let span = key.span().start..value.span().end;
            if !inline(text, record, '{') {
                return Ok(Edit { span: line_of(text, span), text: String::new() });
            }
            Ok(Edit { span: with_comma(text, span, record.span()), text: String::new() })
        }
        TestChange::AddRecord(fields) => {
            let fields: Result<Vec<String>, String> =
                fields.iter().map(|(name, value)| Ok(format!("{name} = {}", literal(value)?))).collect();
            let new = format!("{{ {} }}", fields?.join(", "));
            match (records.last(), inline(text, expect, '[')) {
                (_, false) => Err(missing()),
                (None, true) => Ok(Edit { span: expect.span(), text: format!("[{new}]") }),
                (Some(last), true) => {
                    let at = last.span().end;
                    Ok(Edit { span: at..at, text: format!(",{}{new}", before(text, last.span().start)) })
                }
            }
        }
        TestChange::RemoveLastRecord => match (records.last(), inline(text, expect, '[')) {
            (Some(last), true) => {
                Ok(Edit { span: with_comma(text, last.span(), expect.span()), text: String::new() })
            }
            _ => Err(missing()),
        },
        TestChange::Error { .. } => Err(missing()),
    }
}

fn table<'a, 'i>(node: &'a Node<'i>) -> Option<&'a DeTable<'i>> {
    match node.get_ref() {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

fn elements<'a, 'i>(node: Option<&'a Node<'i>>) -> Vec<&'a Node<'i>> {
    match node.map(Spanned::get_ref) {
        Some(DeValue::Array(list)) => list.iter().collect(),
        _ => Vec::new(),
    }
}

/// Places of keys and values in the order of the text.
fn entries(node: &Node<'_>) -> Vec<(Range<usize>, Range<usize>)> {
    let mut entries: Vec<_> = table(node)
        .into_iter()
        .flat_map(|table| table.iter().map(|(key, value)| (key.span(), value.span())))
        .collect();
    entries.sort_by_key(|(key, _)| key.start);
    entries
}

/// Whether a value stands in brackets and not under a header.
fn inline(text: &str, node: &Node<'_>, open: char) -> bool {
    let raw = text.get(node.span()).unwrap_or_default();
    let close = if open == '[' { ']' } else { '}' };
    raw.starts_with(open) && !raw.starts_with("[[") && raw.ends_with(close) && raw.len() > 1
}

/// An entry with the comma that it no longer needs: the one after it, or else the one before it.
fn with_comma(text: &str, entry: Range<usize>, whole: Range<usize>) -> Range<usize> {
    let after = text.get(entry.end..whole.end).unwrap_or_default();
    if let Some(comma) = commas(after).next() {
        let rest = after.get(comma + 1..).unwrap_or_default();
        let blank = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        return entry.start..entry.end + comma + 1 + blank;
    }
    let before = text.get(whole.start..entry.start).unwrap_or_default();
    // What stands between a comma and the entry is kept where it is a comment.
    match commas(before).last() {
        Some(comma) if before.get(comma + 1..).unwrap_or_default().trim().is_empty() => {
            whole.start + comma..entry.end
        }
        _ => entry,
    }
}

/// Places of the commas up to the end of a piece of text; of nested values only those after it or before it are met,
/// because the piece begins or ends at an entry.
fn commas(piece: &str) -> impl DoubleEndedIterator<Item = usize> {
    let mut depth = 0_usize;
    let mut found = Vec::new();
    for token in Source::new(piece).lex() {
        match token.kind() {
            TokenKind::LeftCurlyBracket | TokenKind::LeftSquareBracket => depth += 1,
            TokenKind::RightCurlyBracket | TokenKind::RightSquareBracket => depth = depth.saturating_sub(1),
            // The bracket of the whole itself is the first of the piece before an entry.
            TokenKind::Comma if depth <= 1 => found.push(token.span().start()),
            _ => {}
        }
    }
    found.into_iter()
}

/// The line of an entry under a header, where nothing else stands on it; else the entry alone.
fn line_of(text: &str, entry: Range<usize>) -> Range<usize> {
    let start = text.get(..entry.start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let rest = text.get(entry.end..).unwrap_or_default();
    let line = rest.find('\n').map_or(rest.len(), |at| at + 1);
    let alone = |piece: Option<&str>| piece.is_some_and(|piece| piece.trim().is_empty());
    if alone(text.get(start..entry.start)) && alone(rest.get(..line)) {
        start..entry.end + line
    } else {
        entry
    }
}

/// The blanks before an element of a list that stands on its own line; one blank otherwise.
fn before(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or_default();
    let line = before.rfind('\n').map_or("", |end| before.get(end..).unwrap_or_default());
    if line.starts_with('\n') && line.trim().is_empty() { line.to_owned() } else { " ".to_owned() }
}

/// A value as TOML writes it within a line.
fn literal(value: &Value) -> Result<String, String> {
    let written = toml::Value::try_from(value).map(|value| value.to_string());
    written.map_err(|_| {
        "a value that comes cannot be written in TOML; change the expectation by hand".to_owned()
    })
}

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
