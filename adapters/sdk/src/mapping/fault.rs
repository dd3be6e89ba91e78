//! What is wrong in a mapping file: where, what, and what to do. Messages name keys, fields and columns,
//! never values: a mapping may hold a secret that somebody wrote into it by mistake.

use super::help::next_step;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One fault of a mapping file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}:{column}: {message}", file.display())]
pub struct MappingFault {
    /// The file, as it was named to the parser.
    pub file: PathBuf,
    /// Byte range in the file's text.
    pub span: Range<usize>,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do next.
    pub help: Option<String>,
}

/// Collects faults while a file is read.
pub(crate) struct Faults<'t> {
    file: &'t Path,
    text: &'t str,
    list: Vec<MappingFault>,
}

impl<'t> Faults<'t> {
    pub(crate) fn new(file: &'t Path, text: &'t str) -> Self {
        Self { file, text, list: Vec::new() }
    }

    pub(crate) fn text(&self) -> &'t str {
        self.text
    }

    /// Adds a fault; one without a help of its own gets what its message asks for.
    pub(crate) fn add(&mut self, span: Range<usize>, message: impl Into<String>, help: Option<String>) {
        let (line, column) = position(self.text, span.start);
        let message = message.into();
        let help = help.or_else(|| Some(next_step(&message)));
        self.list.push(MappingFault { file: self.file.to_path_buf(), span, line, column, message, help });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All faults in the order of the file.
    pub(crate) fn finish(mut self) -> Vec<MappingFault> {
        self.list.sort_by(|a, b| (a.line, a.column, &a.message).cmp(&(b.line, b.column, &b.message)));
        self.list.dedup();
        self.list
    }
}

/// Line and column (in characters) of a byte offset, both from 1.
pub(crate) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (line, before.get(start..).unwrap_or_default().chars().count() + 1)
}

/// A fault with the line it stands in, for a terminal: `file:line:col`, the line, a caret, the help.
///
/// Lines of the source section and of tests are shown without what follows their `=`, because a secret or
/// a person's data may stand there; of other lines comments and constants that are compared or sent are left
/// out.
pub fn render(fault: &MappingFault, text: &str) -> String {
    let mut out = format!("{}:{}:{}: {}\n", fault.file.display(), fault.line, fault.column, fault.message);
    let number = fault.line.to_string();
    let margin = " ".repeat(number.len());
    if let Some(line) = text.lines().nth(fault.line.saturating_sub(1)) {
        let shown = masked(text, fault.line, line);
        let width = shown.chars().count();
        let at = fault.column.saturating_sub(1).min(width);
        let length = text
            .get(fault.span.clone())
            .and_then(|spanned| spanned.lines().next())
            .map_or(1, |first| first.chars().count())
            .clamp(1, width.saturating_sub(at).max(1));
        let _ = writeln!(out, " {margin} |");
        let _ = writeln!(out, " {number} | {shown}");
        let _ = writeln!(out, " {margin} | {}{}", " ".repeat(at), "^".repeat(length));
    }
    if let Some(help) = &fault.help {
        let _ = writeln!(out, " {margin} = help: {help}");
    }
    out
}

/// Keys of a source section whose values are never secret, so that the reader may see them.
const OPEN_KEYS: [&str; 10] = [
    "read_only",
    "time_zone",
    "health",
    "freshness",
    "files",
    "encoding",
    "name",
    "pool",
    "retry",
    "max_bytes",
];

fn masked(text: &str, number: usize, line: &str) -> String {
    let mut private = false;
    let mut columns = false;
    // The key of a table of files is a column's name; elsewhere a key is a secret.
    let mut csv = false;
    // Within a statement of many lines, and at either end of it.
    let (mut inside, mut statement) = (false, false);
    for earlier in text.lines().take(number) {
        let trimmed = earlier.trim_start();
        if trimmed.starts_with('[') {
            columns = trimmed.starts_with("[source.csv.columns]");
            csv = trimmed.starts_with("[source.csv]");
            private = trimmed.starts_with("[source") || trimmed.starts_with("[[test");
        }
        // A text over many lines begins and ends with three quotes.
        let turns = earlier.matches("\"\"\"").count() % 2 == 1;
        statement = inside;
        if turns && (inside || trimmed.starts_with("sql")) {
            inside = !inside;
            statement = true;
        }
    }
    if !private || columns || line.trim_start().starts_with('[') {
        return without_constants(line, statement);
    }
    let Some((key, _)) = line.split_once('=') else {
        return if line.trim().is_empty() { String::new() } else { "…".to_owned() };
    };
    if OPEN_KEYS.contains(&key.trim()) || csv && key.trim() == "key" {
        without_constants(line, false)
    } else {
        format!("{key}= …")
    }
}

/// Keys whose texts are compared or sent: a constant among them may be a person's data or a credential.
const SENT_KEYS: [&str; 4] = ["where", "body", "query", "search"];

/// A line with every character that may be of a value turned into `·`, so that columns stay where they are.
fn without_constants(line: &str, statement: bool) -> String {
    let key = line.split_once('=').map_or("", |(key, _)| key.trim());
    let sql = statement || key == "sql";
    let sent = SENT_KEYS.contains(&key);
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(next) = rest.chars().next() {
        let after = rest.get(next.len_utf8()..).unwrap_or_default();
        let quoted = match next {
            // In a statement single quotes are texts; outside of one they are texts of TOML or of an expression.
            '\'' if sql => Some(true),
            '"' if !statement => Some(false),
            _ => None,
        };
        if next == '#' && !statement {
            break;
        }
        out.push(next);
        rest = after;
        let Some(literal) = quoted else { continue };
        // The quotes of an SQL text stand inside those of the TOML text, which is read on through.
        if sql && !literal {
            continue;
        }
        let (inside, end) = after.split_once(next).map_or((after, None), |(inside, end)| (inside, Some(end)));
        let is_key = end.is_some_and(|end| end.trim_start().starts_with('='));
        if literal || (sent && !is_key && !inside.contains(':')) {
            out.extend(inside.chars().map(|_| '·'));
        } else {
            out.push_str(inside);
        }
        match end {
            Some(end) => {
                out.push(next);
                rest = end;
            }
            None => rest = "",
        }
    }
    out.truncate(out.trim_end().len());
    out
}
