//! What of a mapping a fault may show. A secret or a person's data may stand anywhere, written in any of the ways
//! that TOML has for one key; so what is shown is what the parser found under a key that is known to hold neither,
//! and everything else is masked.

use super::fault::MappingFault;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// A line as it may be shown, with the place of the fault in it, in characters.
pub(super) struct Line {
    pub(super) text: String,
    pub(super) at: usize,
    pub(super) length: usize,
}

/// How much of a value may be shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    Whole,
    /// A statement: its names, and no constant.
    Statement,
    /// What is compared or sent: its parameters.
    Parameters,
    Nothing,
}

/// A piece of the file, and what is shown for it.
type Piece = (Range<usize>, String);

/// Keys of an operation, and of what is under it, that say how something is read and hold nothing that is read.
const OPERATION: [&str; 36] = [
    "name",
    "kind",
    "subject",
    "order",
    "pages",
    "limit",
    "timeout",
    "key",
    "k",
    "by",
    "type",
    "pattern",
    "min",
    "max",
    "format",
    "optional",
    "in",
    "from",
    "pointer",
    "steps",
    "required",
    "class",
    "codes",
    "expr",
    "check",
    "values",
    "empty",
    "method",
    "path",
    "rows",
    "next",
    "not_found",
    "idempotent",
    "resource",
    "elements",
    "unknown",
];

/// Keys below a kind of source that hold no secret, and those below them.
const SOURCE: [&str; 8] =
    ["read_only", "time_zone", "files", "encoding", "max_bytes", "health", "freshness", "pool"];
const SOURCE_INNER: [&str; 8] =
    ["every", "unhealthy_after", "warn", "fail", "max", "idle", "acquire", "attempts"];

/// Words that a line may begin with where the file cannot be read as TOML.
const WORDS: [&str; 44] = [
    "format",
    "mapping",
    "record",
    "owner",
    "source",
    "operation",
    "codes",
    "test",
    "sqlite",
    "postgres",
    "mariadb",
    "csv",
    "http",
    "fhir",
    "url",
    "path",
    "folder",
    "files",
    "encoding",
    "columns",
    "tls",
    "pool",
    "auth",
    "proxy",
    "retry",
    "read_only",
    "time_zone",
    "health",
    "freshness",
    "client_id",
    "client_secret",
    "token_url",
    "name",
    "kind",
    "subject",
    "params",
    "fields",
    "sql",
    "where",
    "order",
    "limit",
    "timeout",
    "args",
    "rows",
];

fn show(path: &[&str]) -> Show {
    let known = |keys: &[&str]| {
        if path.last().is_some_and(|key| keys.contains(key)) { Show::Whole } else { Show::Nothing }
    };
    match path {
        ["format" | "mapping" | "record" | "owner"] | ["codes", ..] | ["test", "name"] => Show::Whole,
        ["source", _, "health" | "freshness", "probe"] | ["operation", "sql"] => Show::Statement,
        ["source", "csv", "columns", ..] | ["source", "csv", "key"] => Show::Whole,
        ["source", _, _] => known(&SOURCE),
        ["source", _, "health" | "freshness" | "pool" | "retry", _] => known(&SOURCE_INNER),
        ["operation", "where" | "body" | "query" | "search", ..] => Show::Parameters,
        // A table of codes that stands in its field.
        ["operation", _, _, "codes", _] => Show::Whole,
        ["operation", ..] => known(&OPERATION),
        _ => Show::Nothing,
    }
}

/// The line that a fault stands in, if the file has it.
pub(super) fn line(text: &str, fault: &MappingFault) -> Option<Line> {
    let start = match fault.line.saturating_sub(1) {
        0 => 0,
        breaks => text.match_indices('\n').nth(breaks - 1).map(|(at, _)| at + 1)?,
    };
    let whole = text.get(start..)?.lines().next()?;
    let range = start..start + whole.len();
    let (document, errors) = DeTable::parse_recoverable(text);
    let pieces = if errors.is_empty() {
        let mut values = Vec::new();
        walk(document.get_ref(), &mut Vec::new(), &mut values);
        values.sort_by_key(|(span, _)| span.start);
        pieces(text, &range, &values)
    } else {
        vec![(range.clone(), beginning(text, &range))]
    };
    let at = column(text, &pieces, fault.span.start.clamp(range.start, range.end));
    let end = column(text, &pieces, fault.span.end.clamp(range.start, range.end));
    let shown: String = pieces.into_iter().map(|(_, shown)| shown).collect();
    let shown = shown.trim_end();
    let at = at.min(shown.chars().count());
    let rest = shown.chars().count().saturating_sub(at).max(1);
    Some(Line { text: shown.to_owned(), at, length: end.saturating_sub(at).clamp(1, rest) })
}

/// Every value that is no table and no list, with how much of it may be shown.
fn walk<'t>(table: &'t DeTable<'_>, path: &mut Vec<&'t str>, out: &mut Vec<(Range<usize>, Show)>) {
    for (key, value) in table {
        path.push(key.get_ref());
        walk_value(value.get_ref(), value.span(), path, out);
        path.pop();
    }
}

fn walk_value<'t>(
    value: &'t DeValue<'_>,
    span: Range<usize>,
    path: &mut Vec<&'t str>,
    out: &mut Vec<(Range<usize>, Show)>,
) {
    match value {
        DeValue::Table(table) => walk(table, path, out),
        DeValue::Array(list) => {
            for item in list {
                walk_value(item.get_ref(), item.span(), path, out);
            }
        }
        DeValue::Boolean(_) if show(path) == Show::Parameters => out.push((span, Show::Whole)),
        _ => out.push((span, show(path))),
    }
}

/// A line in pieces: the values in it, and between them keys and signs, up to a comment.
fn pieces(text: &str, line: &Range<usize>, values: &[(Range<usize>, Show)]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut at = line.start;
    let within = |span: &Range<usize>| span.start < line.end && span.end > line.start;
    for (span, show) in values.iter().filter(|(span, _)| within(span)) {
        let (piece, commented) = between(text, at..span.start.max(at));
        pieces.push(piece);
        if commented {
            return pieces;
        }
        let part = span.start.max(line.start)..span.end.min(line.end);
        let shown = value(text, span, &part, *show);
        at = part.end;
        pieces.push((part, shown));
    }
    pieces.push(between(text, at..line.end).0);
    pieces
}

fn between(text: &str, range: Range<usize>) -> (Piece, bool) {
    let raw = text.get(range.clone()).unwrap_or_default();
    let (shown, commented) = raw.split_once('#').map_or((raw, false), |(before, _)| (before, true));
    // Also a key may be an address that somebody put into the wrong place.
    let shown = if is_address(shown) { "…" } else { shown };
    ((range, shown.to_owned()), commented)
}

/// Whether a text may be an address, which may hold a password; also one that is mistyped.
pub(super) fn is_address(text: &str) -> bool {
    text.contains("//") || text.contains('@') && text.contains(':')
}

/// What is shown of the part of a value that stands in the line.
fn value(text: &str, span: &Range<usize>, part: &Range<usize>, show: Show) -> String {
    let raw = text.get(span.clone()).unwrap_or_default();
    let masked = match show {
        _ if is_address(raw) || raw.contains('@') => None,
        Show::Nothing => None,
        Show::Whole => Some(raw.to_owned()),
        // What is written as an escape is not read here.
        Show::Statement if ["\\u", "\\U", "\\x"].iter().any(|escape| raw.contains(escape)) => None,
        Show::Statement => Some(inside(raw, statement)),
        Show::Parameters => Some(inside(raw, parameters)),
    };
    let Some(masked) = masked else { return "…".to_owned() };
    let chars = |range: Range<usize>| text.get(range).unwrap_or_default().chars().count();
    masked.chars().skip(chars(span.start..part.start)).take(chars(part.clone())).collect()
}

/// A value whose text between the quotes of TOML is masked, character by character.
fn inside(raw: &str, mask: fn(&str) -> String) -> String {
    let quote =
        ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| raw.starts_with(quote)).unwrap_or_default();
    match raw.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
        Some(text) => format!("{quote}{}{quote}", mask(text)),
        None => mask(raw),
    }
}

const HIDDEN: char = '·';

/// Only the parameters, which stand alone or behind a constant of a search that ends with `|`.
fn parameters(text: &str) -> String {
    let (mut named, mut before) = (false, '|');
    text.chars()
        .map(|c| {
            named = c == ':' && before == '|' || named && (c.is_alphanumeric() || c == '_');
            before = c;
            if named || c == '\n' { c } else { HIDDEN }
        })
        .collect()
}

/// A statement without its texts, numbers and comments; what stands between double quotes is a text for some
/// databases. Where a quote does not end it is not known what is a text and what is not, and nothing is shown.
fn statement(sql: &str) -> String {
    if ['\'', '"'].iter().any(|quote| sql.matches(*quote).count() % 2 == 1) {
        return sql.chars().map(|c| if c == '\n' { c } else { HIDDEN }).collect();
    }
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(next) = rest.chars().next() {
        let after = rest.get(next.len_utf8()..).unwrap_or_default();
        let word = |text: &str| text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
        let up_to = |end: &str| after.find(end).map_or(rest.len(), |at| next.len_utf8() + at + end.len());
        let (length, hidden) = match next {
            '\'' => (up_to("'"), true),
            '"' => (up_to("\""), true),
            '-' if after.starts_with('-') => (rest.find('\n').unwrap_or(rest.len()), true),
            '/' if after.starts_with('*') => (up_to("*/"), true),
            // What some databases quote by, up to a word of the writer's choice.
            '$' => (rest.len(), true),
            c if c.is_numeric() => (word(rest), true),
            c if c.is_alphabetic() || c == '_' => (word(rest), false),
            c => (c.len_utf8(), false),
        };
        let (piece, left) = rest.split_at_checked(length).unwrap_or((rest, ""));
        let shows = |c: char| !hidden || c == '\n' || matches!(c, '\'' | '"' | '\\');
        out.extend(piece.chars().map(|c| if shows(c) { c } else { HIDDEN }));
        rest = left;
    }
    out
}

/// Where a byte of the line came to stand, in characters.
fn column(text: &str, pieces: &[Piece], offset: usize) -> usize {
    let mut columns = 0;
    for (range, shown) in pieces {
        let width = shown.chars().count();
        if offset < range.end {
            let before = text.get(range.start..offset.max(range.start)).unwrap_or_default().chars().count();
            return columns + before.min(width);
        }
        columns += width;
    }
    columns
}

/// Of a file that is no TOML: the words that the line begins with, where a mapping has them, for any other line may
/// be part of a text.
fn beginning(text: &str, line: &Range<usize>) -> String {
    let raw = text.get(line.clone()).unwrap_or_default();
    let known = |words: &str| words.split('.').all(|word| WORDS.contains(&word.trim()));
    let trimmed = raw.trim();
    let header = trimmed.trim_start_matches('[').trim_end_matches(']');
    match raw.split_once('=') {
        _ if trimmed.is_empty() => String::new(),
        _ if trimmed.starts_with('[') && known(header) => raw.to_owned(),
        Some((key, _)) if known(key) => format!("{key}= …"),
        _ => "…".to_owned(),
    }
}
