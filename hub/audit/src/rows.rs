//! Rows for people, programs and spreadsheets.

use crate::accesses::{Access, COLUMNS, Filter, Listed, accesses, closed_words};
use crate::error::AuditError;
use crate::report::visible;
use serde_json::{Map, Value};
use std::io::Write;
use std::path::Path;
use yiwang_proto::plural::counted;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Rows {
    /// Lines for people.
    Table,
    /// An array of objects; of a search one object, with `hits` and `next`.
    Json,
    /// Comma-separated values with a header; a cell that a spreadsheet would take for a formula gets an
    /// apostrophe before it.
    Csv,
}

/// Writes the exchanges that pass the filter; returns how many there were, and what a search by tag cannot see.
///
/// # Errors
/// [`AuditError`] for an unreadable entry, or when the output cannot be written.
pub fn write_accesses(
    folder: &Path,
    filter: &Filter,
    rows: Rows,
    out: &mut dyn Write,
) -> Result<Listed, AuditError> {
    match rows {
        Rows::Table => table(folder, filter, out),
        Rows::Json => json(folder, filter, out),
        Rows::Csv => csv(folder, filter, out),
    }
}

/// One exchange as a line for people.
pub(crate) fn line(row: &Access) -> String {
    let who = if row.consumer.is_empty() {
        format!("{} (request not kept)", row.peer)
    } else if row.officer.is_empty() {
        format!("{}/{} -> {}", row.consumer, row.app, row.provider)
    } else {
        format!("{}/{} {} -> {}", row.consumer, row.app, row.officer, row.provider)
    };
    let end = [row.outcome.as_str(), &row.code, &row.clause];
    let end: Vec<&str> = end.into_iter().filter(|part| !part.is_empty()).collect();
    let line = format!(
        "{} {} {who} | contract {} | purpose {} | case {} | {} {} | asked {} | given {} | {} | rows {}",
        row.index,
        row.time,
        row.contract,
        row.purpose,
        row.case,
        row.record,
        row.operation,
        row.asked,
        row.given,
        end.join(" "),
        row.rows
    );
    visible(&line)
}

fn table(folder: &Path, filter: &Filter, out: &mut dyn Write) -> Result<Listed, AuditError> {
    let found = accesses(folder, filter, &mut |row| Ok(writeln!(out, "{}", line(&row))?))?;
    if let Some(words) = closed_words(found.closed_pages) {
        writeln!(out, "{words}")?;
    }
    let rows = counted(found.rows, "exchange");
    writeln!(out, "{rows}; not verified by this command, run `verify` first")?;
    Ok(found)
}

fn json(folder: &Path, filter: &Filter, out: &mut dyn Write) -> Result<Listed, AuditError> {
    let mut separator = "[";
    let found = accesses(folder, filter, &mut |row| {
        write!(out, "{separator}")?;
        separator = ",\n";
        Ok(serde_json::to_writer(&mut *out, &row).map_err(std::io::Error::from)?)
    })?;
    writeln!(out, "{}]", if found.rows == 0 { "[" } else { "" })?;
    Ok(found)
}

fn failed(error: csv::Error) -> AuditError {
    AuditError::Output(error.into())
}

fn csv(folder: &Path, filter: &Filter, out: &mut dyn Write) -> Result<Listed, AuditError> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(out);
    writer.write_record(COLUMNS).map_err(failed)?;
    let found =
        accesses(folder, filter, &mut |row| writer.write_record(row.cells().map(plain)).map_err(failed))?;
    writer.flush()?;
    Ok(found)
}

/// Rows that are all at hand.
#[derive(Debug, Default)]
pub(crate) struct Sheet {
    pub columns: Vec<&'static str>,
    pub rows: Vec<Vec<Value>>,
}

impl Sheet {
    /// A sheet of exchanges.
    pub fn of(rows: &[Access]) -> Self {
        let cells = |row: &Access| row.cells().into_iter().map(Value::from).collect();
        Self { columns: COLUMNS.to_vec(), rows: rows.iter().map(cells).collect() }
    }

    /// The rows as objects.
    pub fn objects(&self) -> Vec<Value> {
        let object = |row: &Vec<Value>| {
            let pairs = self.columns.iter().zip(row);
            let map: Map<String, Value> =
                pairs.map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            Value::Object(map)
        };
        self.rows.iter().map(object).collect()
    }

    /// Writes the rows; the last line of the form for people is `end`.
    pub fn write(&self, rows: Rows, end: &str, out: &mut dyn Write) -> Result<(), AuditError> {
        match rows {
            Rows::Json => writeln!(out, "{}", Value::Array(self.objects()))?,
            Rows::Csv => self.csv(out)?,
            Rows::Table => {
                self.columns_aligned(out)?;
                writeln!(out, "{end}")?;
            }
        }
        Ok(())
    }

    /// As comma-separated values.
    pub fn csv(&self, out: &mut dyn Write) -> Result<(), AuditError> {
        let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(out);
        writer.write_record(&self.columns).map_err(failed)?;
        for row in &self.rows {
            writer.write_record(row.iter().map(|value| plain(text(value)))).map_err(failed)?;
        }
        writer.flush()?;
        Ok(())
    }

    fn columns_aligned(&self, out: &mut dyn Write) -> Result<(), AuditError> {
        let head: Vec<String> = self.columns.iter().map(|name| (*name).to_owned()).collect();
        let body = self.rows.iter().map(|row| row.iter().map(|value| visible(&text(value))).collect());
        let lines: Vec<Vec<String>> = std::iter::once(head).chain(body).collect();
        let mut widths = vec![0; self.columns.len()];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.chars().count().max(*width);
            }
        }
        for line in &lines {
            let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A cell that no spreadsheet runs.
fn plain(cell: String) -> String {
    if cell
        .starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'])
    {
        format!("'{cell}")
    } else {
        cell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t18_cells_are_no_formulas() {
        for bad in ["=1+1", "+1", "-1", "@x", "\t=1", "\u{ff1d}1"] {
            assert_eq!(plain(bad.to_owned()), format!("'{bad}"));
        }
        assert_eq!(plain("police".to_owned()), "police");
        assert_eq!(COLUMNS.len(), Access::default().cells().len());
    }
}
