//! Cutting rows from bytes, by the letter of RFC 4180 where quotes are concerned: a quote begins a cell or stands
//! doubled inside a quoted one, and the one that ends it is followed by a comma, a line's end or the file's. A
//! reader that takes more than that makes one row of two where somebody's name holds a quote.
//!
//! Sound for GBK and GB 18030 as well: no later byte of their characters is a comma, a quote or a line break.

use std::borrow::Cow;
use std::ops::Range;
use yiwang_proto::plural::counted;

/// The cells of one row.
#[derive(Debug, Default)]
pub(crate) struct Cells<'d>(Vec<Cell<'d>>);

#[derive(Debug)]
struct Cell<'d> {
    /// Without the quotes around it.
    raw: &'d [u8],
    quoted: bool,
    /// Doubled quotes stand in it.
    doubled: bool,
}

impl Cells<'_> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Cow<'_, [u8]>> {
        self.0.iter().map(Cell::bytes)
    }

    /// A cell; empty where there is none.
    pub(crate) fn get(&self, at: usize) -> Cow<'_, [u8]> {
        self.0.get(at).map_or(Cow::Borrowed(&[]), Cell::bytes)
    }

    /// Whether the row reads as well as several, of which one has a quote at the beginning of a column and a later one
    /// at the end of the same column. Between two columns that is also how a remark of some lines looks.
    fn is_ambiguous(&self) -> bool {
        let width = self.len();
        let at_once = |(at, cell): (usize, &Cell<'_>)| {
            let mut lines = cell.raw.split(|byte| is_end(*byte));
            let commas = |line: &[u8]| line.iter().filter(|byte| **byte == b',').count();
            match (lines.next(), lines.next_back()) {
                (Some(first), Some(last)) => at + commas(first) + 1 == width && commas(last) == at,
                _ => false,
            }
        };
        width > 1 && self.0.iter().enumerate().filter(|(_, cell)| cell.quoted).any(at_once)
    }
}

impl<'d> Cell<'d> {
    fn bytes(&self) -> Cow<'d, [u8]> {
        if !self.doubled {
            return Cow::Borrowed(self.raw);
        }
        let mut bytes = Vec::with_capacity(self.raw.len());
        let mut rest = self.raw.iter();
        while let Some(byte) = rest.next() {
            bytes.push(*byte);
            // The second of two.
            if *byte == b'"' {
                rest.next();
            }
        }
        Cow::Owned(bytes)
    }
}

/// One row as it was cut.
#[derive(Debug)]
pub(crate) struct Cut {
    /// The line on which it begins, from 1.
    pub(crate) line: u64,
    /// Its bytes without the line's end; of one that is no row, those of the line on which it begins.
    pub(crate) place: Range<usize>,
    /// Why it is no row.
    pub(crate) fault: Option<String>,
}

/// Cuts rows from bytes and counts lines.
///
/// What is no row costs the line on which it begins, and the next line is a beginning again. That takes no more than
/// two looks at a byte: where a quoted cell is open, so that a cut goes over many lines, one that begins on a later of
/// them is outside of quotes and ends on its own.
#[derive(Debug)]
pub(crate) struct Cutter<'d> {
    data: &'d [u8],
    at: usize,
    line: u64,
}

impl<'d> Cutter<'d> {
    pub(crate) fn new(data: &'d [u8]) -> Self {
        Self { data, at: 0, line: 1 }
    }

    /// The next row, which has so many cells where a width is given; blank lines are no rows.
    pub(crate) fn next(&mut self, cells: &mut Cells<'d>, width: Option<usize>) -> Option<Cut> {
        let blank = self.data.get(self.at..)?.iter().take_while(|byte| is_end(**byte)).count();
        self.go_to(self.at + blank);
        let (line, start) = (self.line, self.at);
        if start == self.data.len() {
            return None;
        }
        let first_end = || start + find(self.rest(start), is_end);
        let (place, fault) = match self.cells(start, cells) {
            Err(at) => {
                let over = self.data.get(start..at).is_some_and(|passed| passed.iter().any(|b| is_end(*b)));
                let open = over || at == self.data.len();
                let what = if open { "has a quote that does not end" } else { "has a quote within a cell" };
                (start..first_end(), Some(what.to_owned()))
            }
            Ok(_) if width.is_some_and(|width| width != cells.len()) => {
                let width = width.unwrap_or_default();
                let what = format!("has {}, and the header has {width}", counted(cells.len(), "cell"));
                (start..first_end(), Some(what))
            }
            // Left out as a whole: were its lines read as rows, whoever writes a remark could write rows.
            Ok(end) if cells.is_ambiguous() => {
                let what = "has a quoted cell over lines that could be rows of their own".to_owned();
                (start..end, Some(what))
            }
            Ok(end) => (start..end, None),
        };
        self.go_to(place.end);
        Some(Cut { line, place, fault })
    }

    fn go_to(&mut self, at: usize) {
        let passed = self.data.get(self.at..at).unwrap_or_default();
        self.line += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.at = at;
    }

    fn rest(&self, at: usize) -> &'d [u8] {
        self.data.get(at..).unwrap_or_default()
    }

    /// Fills in the cells of the row that begins there and yields where it ends. Errors: where it ceases to be one.
    fn cells(&self, start: usize, cells: &mut Cells<'d>) -> Result<usize, usize> {
        cells.0.clear();
        let mut at = start;
        loop {
            let (cell, end) = match self.data.get(at) {
                Some(b'"') => self.quoted(at + 1)?,
                _ => {
                    let end = at + find(self.rest(at), |byte| is_end(byte) || matches!(byte, b',' | b'"'));
                    if self.data.get(end) == Some(&b'"') {
                        return Err(end);
                    }
                    (Cell { raw: self.slice(at..end), quoted: false, doubled: false }, end)
                }
            };
            cells.0.push(cell);
            if self.data.get(end) != Some(&b',') {
                return Ok(end);
            }
            at = end + 1;
        }
    }

    /// The quoted cell that begins after its quote, and where what follows it begins.
    fn quoted(&self, start: usize) -> Result<(Cell<'d>, usize), usize> {
        let (mut at, mut doubled) = (start, false);
        loop {
            let quote = at + find(self.rest(at), |byte| byte == b'"');
            match (self.data.get(quote), self.data.get(quote + 1)) {
                (None, _) => return Err(quote),
                (_, Some(b'"')) => {
                    doubled = true;
                    at = quote + 2;
                }
                (_, Some(next)) if *next != b',' && !is_end(*next) => return Err(quote),
                _ => return Ok((Cell { raw: self.slice(start..quote), quoted: true, doubled }, quote + 1)),
            }
        }
    }

    fn slice(&self, range: Range<usize>) -> &'d [u8] {
        self.data.get(range).unwrap_or_default()
    }
}

fn is_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// Where the first such byte is; the end where there is none.
fn find(bytes: &[u8], is: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|byte| is(*byte)).unwrap_or(bytes.len())
}
