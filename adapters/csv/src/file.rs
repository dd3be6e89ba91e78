//! One CSV file: header, rows, quarantine.
//!
//! Rows are cut from bytes and decoded cell by cell, so that one broken cell costs its row and not its
//! file.

use crate::cells::write;
use crate::cut::{Cells, Cutter};
use crate::dropped::{Known, OfFile};
use crate::folder::FOLDER_MAX;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use yiwang_adapter_sdk::mapping::{ColumnDef, Compared, CsvDef, Encoding};
use yiwang_adapter_sdk::source::{Quarantined, SourceError};
use yiwang_adapter_sdk::value::{Rows, typed_column};
use yiwang_adapter_sdk::words::is_obeyed;
use yiwang_proto::Digest;

/// Bytes of one cell: the longest remark of an operator has some hundred characters.
const CELL_MAX: usize = 64 * 1024;
/// Quarantined rows that are kept of one file with their reason; more are only counted.
const KEPT_MAX: usize = 1000;

/// A file that was read.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    /// Columns of the mapping in the order of its table, whatever the order of the file.
    pub(crate) rows: Rows,
    pub(crate) quarantined: Vec<Quarantined>,
    /// All that were quarantined, kept or not.
    pub(crate) quarantined_count: usize,
    /// Where each of the kept ones stands in the file's content.
    places: Vec<Range<usize>>,
    /// Keys of rows that are held back, each with how many sound rows stand before it.
    pub(crate) held_keys: Vec<(usize, Vec<u8>)>,
    /// Rows that were dropped by hand and left out.
    pub(crate) dropped: usize,
    /// How the watched rows did: why they are held back, none for a sound one.
    pub(crate) watched: BTreeMap<Digest, Option<String>>,
}

impl Parsed {
    fn refuse(&mut self, file: &str, line: u64, reason: String, place: Range<usize>) {
        self.quarantined_count += 1;
        if self.quarantined.len() < KEPT_MAX {
            self.quarantined.push(Quarantined { file: file.to_owned(), line, reason });
            self.places.push(place);
        }
    }

    /// Notes the key of a row that is held back, where it can be read: what an older row of that key says may hold no more.
    fn hold_key(&mut self, cells: &Cells<'_>, places: &[usize], encoding: Encoding, def: &CsvDef) {
        let Some((column, kind)) = def.key.as_ref().and_then(|key| def.columns.get_key_value(key)) else {
            return;
        };
        let at = def.columns.keys().position(|known| known == column);
        let Some(place) = at.and_then(|at| places.get(at)) else { return };
        let bytes = cells.get(*place);
        let Some(text) = decode(&bytes, encoding).filter(|text| text.len() <= CELL_MAX) else { return };
        let mut key = Vec::new();
        if let Ok(cell) = typed_column(&text, kind, &def.common.zone)
            && write(&mut key, cell, Compared::Whole, def)
        {
            self.held_keys.push((self.rows.len(), key));
        }
    }

    /// The kept rows that are held back, with their bytes.
    pub(crate) fn held<'p>(&'p self, content: &'p [u8]) -> impl Iterator<Item = (&'p Quarantined, &'p [u8])> {
        let places = self.places.iter().map(|place| content.get(place.clone()).unwrap_or_default());
        self.quarantined.iter().zip(places)
    }
}

/// Reads a file's content.
///
/// Errors: a header that does not fit the mapping, an encoding that is not supported or not the stated one.
pub(crate) fn parse(
    name: &str,
    content: &[u8],
    def: &CsvDef,
    dropped: &OfFile,
) -> Result<Parsed, SourceError> {
    let drift = |what: String| SourceError::Drift(format!("file `{name}`: {what}"));
    let (data, encoding) = encoding(content, def.encoding).map_err(drift)?;
    let mark = content.len() - data.len();
    let text_max = usize::try_from(FOLDER_MAX).unwrap_or(usize::MAX);
    let mut parsed = Parsed { rows: Rows::with_text_max(def.columns.len(), text_max), ..Parsed::default() };
    let mut cutter = Cutter::new(data);
    let mut cells = Cells::default();
    let Some(first) = cutter.next(&mut cells, None) else {
        return Err(drift("is empty, without even a header".to_owned()));
    };
    if let Some(fault) = first.fault {
        return Err(drift(format!("its header {fault}")));
    }
    let places = header(&cells, encoding, def).map_err(drift)?;
    while let Some(cut) = cutter.next(&mut cells, Some(places.len())) {
        let known = dropped.row(data.get(cut.place.clone()).unwrap_or_default());
        let refused = if known == Known::Dropped {
            parsed.dropped += 1;
            Ok(())
        } else if let Some(fault) = cut.fault {
            Err(fault)
        } else {
            row(&cells, &places, encoding, def, &mut parsed.rows)
        };
        if let Known::Watched(digest) = known {
            parsed.watched.insert(digest, refused.clone().err());
        }
        if let Err(reason) = refused {
            parsed.hold_key(&cells, &places, encoding, def);
            parsed.refuse(name, cut.line, reason, mark + cut.place.start..mark + cut.place.end);
        }
    }
    Ok(parsed)
}

/// The content without its byte order mark, and its encoding.
fn encoding(data: &[u8], wanted: Encoding) -> Result<(&[u8], Encoding), String> {
    if data.starts_with(&[0xff, 0xfe]) || data.starts_with(&[0xfe, 0xff]) {
        return Err("is in UTF-16; save it as UTF-8 or GBK".to_owned());
    }
    match data.strip_prefix(&[0xef, 0xbb, 0xbf]) {
        None if wanted == Encoding::Gbk && is_utf8_of_han(data) => {
            let what = "is in UTF-8 without a byte order mark, and its mapping says `gbk`: write `encoding = \"utf-8\"` \
                        there, or have it saved as GBK";
            Err(what.to_owned())
        }
        None => Ok((data, wanted)),
        // Some exports put the mark of UTF-8 before GBK.
        Some(rest) if wanted == Encoding::Gbk && std::str::from_utf8(rest).is_err() => Ok((rest, wanted)),
        Some(rest) => Ok((rest, Encoding::Utf8)),
    }
}

/// Whether all of it is UTF-8 and one character has three bytes or more, as those of Chinese have. One of two is no sign:
/// `路` in GBK reads as such.
fn is_utf8_of_han(data: &[u8]) -> bool {
    std::str::from_utf8(data).is_ok_and(|text| text.chars().any(|c| c.len_utf8() > 2))
}

fn decode(bytes: &[u8], encoding: Encoding) -> Option<Cow<'_, str>> {
    match encoding {
        Encoding::Utf8 => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Encoding::Gbk => encoding_rs::GB18030.decode_without_bom_handling_and_without_replacement(bytes),
    }
}

/// For each column of the mapping, in the order of its table, its place in the file.
fn header(cells: &Cells<'_>, encoding: Encoding, def: &CsvDef) -> Result<Vec<usize>, String> {
    let names: Vec<Option<String>> =
        cells.iter().map(|cell| decode(&cell, encoding).map(Cow::into_owned)).collect();
    let known = names.iter().flatten().filter(|name| def.columns.contains_key(name.as_str())).count();
    // A line of data must not be taken for a header and shown in an error.
    if known * 2 < def.columns.len().min(names.len()) || known == 0 {
        return Err("its first line is not the header that the mapping names".to_owned());
    }
    let mut seen = BTreeSet::new();
    for name in &names {
        let Some(name) = name else { return Err("its header is not in the stated encoding".to_owned()) };
        if !def.columns.contains_key(name.as_str()) {
            let shown: String = name.chars().filter(|c| !is_obeyed(*c)).take(64).collect();
            return Err(format!("column `{shown}` is not in the mapping"));
        }
        if !seen.insert(name.as_str()) {
            return Err(format!("column `{name}` is there twice"));
        }
    }
    let place = |column: &Arc<str>| {
        let at = names.iter().position(|name| name.as_deref() == Some(column.as_ref()));
        at.ok_or_else(|| format!("column `{column}` is missing"))
    };
    def.columns.keys().map(place).collect()
}

/// Adds a row; on failure nothing of it stays.
fn row(
    cells: &Cells<'_>,
    places: &[usize],
    encoding: Encoding,
    def: &CsvDef,
    rows: &mut Rows,
) -> Result<(), String> {
    let whole = rows.len();
    for ((column, kind), place) in def.columns.iter().zip(places) {
        if let Err(reason) = cell(&cells.get(*place), column, kind, encoding, def, rows) {
            rows.cut_to(whole);
            return Err(reason);
        }
    }
    let key = def.key.as_ref().and_then(|key| def.columns.keys().position(|column| column == key));
    if let Some(at) = key
        && rows.cell(whole, at) == yiwang_adapter_sdk::value::Cell::Null
    {
        rows.cut_to(whole);
        return Err("has no key".to_owned());
    }
    Ok(())
}

fn cell(
    bytes: &[u8],
    column: &Arc<str>,
    kind: &ColumnDef,
    encoding: Encoding,
    def: &CsvDef,
    rows: &mut Rows,
) -> Result<(), String> {
    if bytes.len() > CELL_MAX {
        return Err(format!("column `{column}` is over {CELL_MAX} bytes"));
    }
    let text =
        decode(bytes, encoding).ok_or_else(|| format!("column `{column}` is not in the file's encoding"))?;
    let cell =
        typed_column(&text, kind, &def.common.zone).map_err(|fault| format!("column `{column}` {fault}"))?;
    rows.push(cell).map_err(|fault| fault.to_string())
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
