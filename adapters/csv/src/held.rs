//! What a folder holds back, read afresh, and what can be done about it: `retry` and `drop`.

use crate::dropped::{DropError, Dropped, OfFile, TakenIn, Trace, change, path, read};
use crate::file::{Parsed, parse};
use crate::folder::Folder;
use std::collections::BTreeSet;
use yiwang_adapter_sdk::mapping::{CsvDef, Mapping, SourceDef};
use yiwang_adapter_sdk::source::{Environment, Quarantined, SourceError};
use yiwang_proto::Digest;
use yiwang_proto::time::format_rfc3339;

/// What a mapping's folder holds back now, and what was dropped of it.
#[derive(Debug)]
pub struct Held {
    /// The files that the mapping reads, also those that are sound.
    pub files: Vec<String>,
    /// Rows and files, as far as they are kept with their reason.
    pub rows: Vec<Quarantined>,
    /// How many there are in all.
    pub count: usize,
    /// What was dropped, also what is not in the folder any more, in the order in which it was.
    pub dropped: Vec<Trace>,
}

/// Who does something, when and to what.
#[derive(Debug, Clone, Copy)]
pub struct Act<'a> {
    /// The file's name in its folder.
    pub file: &'a str,
    /// Its lines; all that are held back where none is named.
    pub lines: &'a [u64],
    /// Who.
    pub by: &'a str,
    /// When.
    pub at_ms: i64,
}

/// What became of one row or file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Became {
    /// It had been dropped, and is served again.
    TakenIn,
    /// It is held back still, and why.
    Stays(String),
    /// It had been dropped, would still be held back for this reason, and stays dropped.
    StaysDropped(String),
    /// It had been dropped, and is not in the file any more.
    Gone,
    /// It is dropped.
    Dropped,
}

/// A row or file by its line, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The line; 0 for the file as a whole.
    pub line: u64,
    /// What became of it.
    pub became: Became,
}

/// What an act did to one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// Each row or file that was looked at, by line.
    pub told: Vec<Told>,
    /// Rows of the file that are served now.
    pub served: usize,
    /// Rows that are held back beyond those that are kept with their reason.
    pub more: usize,
}

/// One file as it is now.
struct Look {
    content: Vec<u8>,
    /// What it holds, or why it is held back whole.
    parsed: Result<Parsed, String>,
    dropped_whole: bool,
}

fn look(folder: &Folder, def: &CsvDef, name: &str, dropped: &OfFile) -> Result<Look, SourceError> {
    let (content, _) = folder.read(name)?;
    let dropped_whole = dropped.has_file(&content);
    let parsed = if dropped_whole {
        Ok(Parsed::default())
    } else {
        parse(name, &content, def, dropped).map_err(|fault| fault.to_string())
    };
    Ok(Look { content, parsed, dropped_whole })
}

fn folder_of<'m>(
    mapping: &'m Mapping,
    environment: &dyn Environment,
) -> Result<(Folder, &'m CsvDef), SourceError> {
    let SourceDef::Csv(def) = mapping.source() else {
        return Err(SourceError::Setting("the mapping's source is not csv".to_owned()));
    };
    let path = mapping.base().join(def.folder.resolve(mapping.base(), environment)?);
    Ok((Folder::open(&path, &def.files)?, def))
}

/// Reads a mapping's folder, also one in which nothing fits the mapping.
///
/// # Errors
/// [`DropError`]: the folder, or the list of what was dropped, cannot be read.
pub fn held(mapping: &Mapping, environment: &dyn Environment) -> Result<Held, DropError> {
    let (folder, def) = folder_of(mapping, environment)?;
    let (dropped, _) = read(&path(mapping))?;
    let dropped_before = dropped.traces().to_vec();
    let mut held = Held { files: Vec::new(), rows: Vec::new(), count: 0, dropped: dropped_before };
    for entry in folder.list()? {
        held.files.push(entry.name.clone());
        let whole = |reason: String| Quarantined { file: entry.name.clone(), line: 0, reason };
        let looked = match entry.version {
            None => Err("is no plain file and is not opened".to_owned()),
            Some(_) => {
                let looked = look(&folder, def, &entry.name, &dropped.of(&entry.name));
                looked.map_err(|fault| fault.to_string()).and_then(|looked| looked.parsed)
            }
        };
        match looked {
            Ok(parsed) => {
                held.count += parsed.quarantined_count;
                held.rows.extend(parsed.quarantined);
            }
            Err(reason) => {
                held.count += 1;
                held.rows.push(whole(reason));
            }
        }
    }
    Ok(held)
}

/// Drops rows or a file that are held back: they count no more, and are left out also where they would fit a later
/// mapping. A trace stays. `salt` is used if nothing was dropped before.
///
/// # Errors
/// [`DropError::NotHeld`] and nothing is changed, if one of the lines is not held back; others as they say.
pub fn drop_held(
    mapping: &Mapping,
    environment: &dyn Environment,
    act: Act<'_>,
    reason: &str,
    salt: Digest,
) -> Result<Done, DropError> {
    let (folder, def) = folder_of(mapping, environment)?;
    change(mapping, |dropped| {
        let looked = look(&folder, def, act.file, &dropped.of(act.file))?;
        let at = format_rfc3339(act.at_ms);
        let mut done = Done::default();
        let mut add = |line, held: &str, bytes: &[u8]| {
            let trace = Trace::new((act.file, line), held, reason, act.by, &at);
            done.told.push(Told { line, became: Became::Dropped });
            dropped.add(trace, bytes, salt)
        };
        let wanted = |line: u64| act.lines.is_empty() || act.lines.contains(&line);
        match &looked.parsed {
            Err(held) if wanted(0) => add(0, held, &looked.content)?,
            Err(_) => {
                let what = format!("`{}` is held back as a whole; drop it without --line", act.file);
                return Err(DropError::NotHeld(what));
            }
            Ok(parsed) => {
                for (row, bytes) in parsed.held(&looked.content).filter(|(row, _)| wanted(row.line)) {
                    add(row.line, &row.reason, bytes)?;
                }
                done.served = parsed.rows.len();
                done.more = parsed.quarantined_count - parsed.quarantined.len();
            }
        }
        let told = |line: &u64| done.told.iter().any(|told| told.line == *line);
        match act.lines.iter().find(|line| !told(line)) {
            Some(line) => Err(DropError::NotHeld(format!("line {line} of `{}` is not held back", act.file))),
            None if done.told.is_empty() => {
                Err(DropError::NotHeld(format!("nothing of `{}` is held back", act.file)))
            }
            None => Ok(done),
        }
    })
}

/// Reads rows or a file again under today's mapping: what was dropped and is sound now is taken in, what is not stays
/// as it is, with its reason.
///
/// # Errors
/// [`DropError`]: the file cannot be read, or the list of what was dropped cannot be changed.
pub fn retry(mapping: &Mapping, environment: &dyn Environment, act: Act<'_>) -> Result<Done, DropError> {
    let (folder, def) = folder_of(mapping, environment)?;
    let wanted = |line: u64| act.lines.is_empty() || act.lines.contains(&line);
    change(mapping, |dropped| {
        let open: Vec<(usize, Trace)> = dropped
            .open(act.file)
            .filter(|(_, trace)| wanted(trace.line))
            .map(|(at, trace)| (at, trace.clone()))
            .collect();
        let without: BTreeSet<usize> = open.iter().map(|(at, _)| *at).collect();
        let looked = look(&folder, def, act.file, &dropped.of_but(act.file, &without))?;
        let mut done = Done::default();
        for (at, trace) in open {
            let became = outcome(dropped, &trace, &looked);
            if became == Became::TakenIn {
                dropped.take_in(at, TakenIn { by: act.by.to_owned(), at: format_rfc3339(act.at_ms) });
            }
            done.told.push(Told { line: trace.line, became });
        }
        // As it is served from now on.
        let now = look(&folder, def, act.file, &dropped.of(act.file))?;
        match &now.parsed {
            Err(held) => done.told.push(Told { line: 0, became: Became::Stays(held.clone()) }),
            Ok(parsed) => {
                let held = parsed.quarantined.iter().filter(|row| wanted(row.line));
                done.told.extend(
                    held.map(|row| Told { line: row.line, became: Became::Stays(row.reason.clone()) }),
                );
                done.served = parsed.rows.len();
                done.more = parsed.quarantined_count - parsed.quarantined.len();
            }
        }
        done.told.sort_by_key(|told| told.line);
        Ok(done)
    })
}

/// What becomes of something that was dropped, in a file that was read as though it had not been.
fn outcome(dropped: &Dropped, trace: &Trace, looked: &Look) -> Became {
    match (&looked.parsed, trace.line) {
        _ if looked.dropped_whole => Became::StaysDropped("its whole file was dropped".to_owned()),
        (_, 0) if !dropped.is_of(trace, &looked.content) => Became::Gone,
        (Ok(_), 0) => Became::TakenIn,
        (Err(held), _) => Became::StaysDropped(held.clone()),
        (Ok(parsed), _) => match trace.digest().and_then(|digest| parsed.watched.get(&digest)) {
            None => Became::Gone,
            Some(None) => Became::TakenIn,
            Some(Some(held)) => Became::StaysDropped(held.clone()),
        },
    }
}
