//! What is wrong in a mapping file: where, what, and what to do. Messages name keys, fields and columns,
//! never values: a mapping may hold a secret that somebody wrote into it by mistake.

use super::help::next_step;
use super::masked::{self, Line};
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

/// A fault at a byte range of a file.
pub fn fault_at(
    file: &Path,
    text: &str,
    span: Range<usize>,
    message: &str,
    help: Option<String>,
) -> MappingFault {
    let (line, column) = position(text, span.start);
    MappingFault { file: file.to_path_buf(), span, line, column, message: message.to_owned(), help }
}

/// A fault with the line it stands in, for a terminal: `file:line:col`, the line, a caret, the help.
///
/// Of the line only that is shown which the parser finds under a key that holds no secret and no person's data.
pub fn render(fault: &MappingFault, text: &str) -> String {
    with_line(fault, masked::line(text, fault))
}

/// A fault with its line as it stands, for a text in which everything is masked that may be secret, and in which lines and
/// columns are where they were.
pub fn render_masked(fault: &MappingFault, masked: &str) -> String {
    let line = masked.lines().nth(fault.line.saturating_sub(1)).map(|line| {
        let width = line.chars().count();
        let at = fault.column.saturating_sub(1).min(width);
        let spanned = masked.get(fault.span.clone()).and_then(|spanned| spanned.lines().next());
        let length = spanned.map_or(1, |first| first.chars().count());
        Line {
            text: line.trim_end().to_owned(),
            at,
            length: length.clamp(1, width.saturating_sub(at).max(1)),
        }
    });
    with_line(fault, line)
}

fn with_line(fault: &MappingFault, line: Option<Line>) -> String {
    let mut out = format!("{}:{}:{}: {}\n", fault.file.display(), fault.line, fault.column, fault.message);
    let number = fault.line.to_string();
    let margin = " ".repeat(number.len());
    if let Some(Line { text, at, length }) = line {
        let _ = writeln!(out, " {margin} |");
        let _ = writeln!(out, " {number} | {text}");
        let _ = writeln!(out, " {margin} | {}{}", " ".repeat(at), "^".repeat(length));
    }
    if let Some(help) = &fault.help {
        let _ = writeln!(out, " {margin} = help: {help}");
    }
    out
}
