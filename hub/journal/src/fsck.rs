//! Read-only check of every record of every segment.

use std::path::{Path, PathBuf};

use crate::disk::{Disk, RealDisk};
use crate::recover::{MAX_SEGMENTS, OpenError, Torn, open_segment};
use crate::segment::{
    DATA_START, RecordHeader, SEGMENT_HEADER_BYTES, SUFFIX, SegmentHeader, extent, parse_file_name,
};
use crate::walk::{At, Cursor, Search, Tail, Walk};

/// Faults listed one by one; more are only counted.
const MAX_FAULTS: usize = 1000;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, or the folder.
    pub path: PathBuf,
    /// Where in the file.
    pub offset: u64,
    /// The record that should stand there, if it is about one.
    pub index: Option<u64>,
    /// What is wrong.
    pub what: String,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FsckReport {
    /// Segment files that were looked at.
    pub segments: u64,
    /// Index of the first record of the first segment.
    pub first: u64,
    /// Index after the last record of a complete batch.
    pub len: u64,
    /// Sound records.
    pub records: u64,
    /// What is wrong, in the order of the files; at most 1,000.
    pub faults: Vec<Fault>,
    /// Faults beyond those.
    pub more_faults: u64,
    /// An interrupted batch at the very end. No fault: the next opening for writing cuts it.
    pub torn: Option<Torn>,
}

impl FsckReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    fn fault(&mut self, path: &Path, offset: u64, index: Option<u64>, what: impl Into<String>) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(Fault { path: path.to_owned(), offset, index, what: what.into() });
        } else {
            self.more_faults += 1;
        }
    }
}

/// Checks the journal in `dir`; writes nothing, takes no lock, goes on after damage.
#[must_use]
pub fn fsck(dir: &Path) -> FsckReport {
    fsck_with(&RealDisk, dir)
}

/// [`fsck`] on another disk.
#[must_use]
pub fn fsck_with(disk: &dyn Disk, dir: &Path) -> FsckReport {
    let mut report = FsckReport::default();
    let mut names = match disk.list(dir, SUFFIX, MAX_SEGMENTS) {
        Ok(names) => names,
        Err(error) => {
            report.fault(dir, 0, None, format!("cannot be listed: {error}"));
            return report;
        }
    };
    names.sort_unstable();
    report.segments = names.len() as u64;
    let mut expected: Option<Expected> = None;
    for (at, name) in names.iter().enumerate() {
        let path = dir.join(name);
        let next = names.get(at + 1).and_then(|name| parse_file_name(name));
        if at == 0 {
            report.first = parse_file_name(name).unwrap_or(0);
            report.len = report.first;
        }
        expected = check_segment(disk, &path, name, next, at + 1 == names.len(), expected, &mut report);
    }
    report
}

/// What the next segment must begin with.
#[derive(Debug, Clone, Copy)]
struct Expected {
    number: u64,
    first_index: u64,
    /// Unknown if damage hides the end of the segment before.
    first_batch: Option<u64>,
}

fn check_segment(
    disk: &dyn Disk,
    path: &Path,
    name: &str,
    next: Option<u64>,
    newest: bool,
    expected: Option<Expected>,
    report: &mut FsckReport,
) -> Option<Expected> {
    let (header, file) = match open_segment(disk, path, false) {
        Ok(opened) => opened,
        Err(error) => {
            let what = match error {
                OpenError::Io { doing, source, .. } => format!("cannot {doing} it: {source}"),
                OpenError::Header { fault, .. } => fault.to_string(),
                OpenError::Sequence { what, .. } => format!("it {what}"),
                other => other.to_string(),
            };
            report.fault(path, 0, None, what);
            return None;
        }
    };
    if parse_file_name(name) != Some(header.first_index) {
        report.fault(
            path,
            0,
            None,
            format!("its header says that it begins with record {}", header.first_index),
        );
    }
    if let Some(expected) = expected {
        let follows = header.number == expected.number
            && header.first_index == expected.first_index
            && expected.first_batch.is_none_or(|batch| batch == header.first_batch);
        if !follows {
            report.fault(path, 0, None, "it does not follow the segment before it");
        }
    }
    let mut head = vec![0u8; DATA_START as usize];
    let padding_is_zero = file.read_at(&mut head, 0).is_ok()
        && head.get(SEGMENT_HEADER_BYTES..).is_some_and(|rest| rest.iter().all(|byte| *byte == 0));
    if !padding_is_zero {
        report.fault(path, SEGMENT_HEADER_BYTES as u64, None, "bytes behind the header are not zero");
    }
    let mut cursor = Cursor::new(file, header);
    let checked = if newest {
        check_newest(&mut cursor, path, report)
    } else {
        check_sealed(&mut cursor, path, next, report)
    };
    match checked {
        Ok(expected) => Some(expected),
        Err(error) => {
            report.fault(path, 0, None, format!("cannot read it: {error}"));
            None
        }
    }
}

fn check_newest(cursor: &mut Cursor, path: &Path, report: &mut FsckReport) -> std::io::Result<Expected> {
    let header = *cursor.header();
    let (walk, tail) = cursor.examine()?;
    check_padding(cursor, path, &walk, report)?;
    report.len = walk.next_index;
    match tail {
        Tail::Clean => report.records += walk.offsets.len() as u64,
        Tail::Torn { last_byte } => {
            report.records += walk.offsets.len() as u64;
            report.torn = Some(Torn {
                segment: header.first_index,
                offset: walk.end,
                index: walk.next_index,
                bytes: last_byte + 1 - walk.end,
            });
        }
        Tail::Damaged { offset, index, what, last_byte, .. } => {
            report.fault(path, offset, Some(index), format!("found {what}"));
            let survey = survey(cursor, path, None, last_byte + 1, report)?;
            report.len = survey.index;
        }
    }
    Ok(Expected {
        number: header.number + 1,
        first_index: walk.next_index,
        first_batch: Some(walk.next_batch),
    })
}

fn check_sealed(
    cursor: &mut Cursor,
    path: &Path,
    next: Option<u64>,
    report: &mut FsckReport,
) -> std::io::Result<Expected> {
    let header = *cursor.header();
    let walk = cursor.batches(next.unwrap_or(u64::MAX))?;
    let first_index = next.unwrap_or(walk.next_index);
    report.len = first_index;
    let number = header.number + 1;
    check_padding(cursor, path, &walk, report)?;
    if walk.next_index == first_index {
        report.records += walk.offsets.len() as u64;
        if cursor.last_byte(walk.end)?.is_some() {
            report.fault(path, walk.end, None, "bytes behind the last record are not zero");
        }
        return Ok(Expected { number, first_index, first_batch: Some(walk.next_batch) });
    }
    let survey = survey(cursor, path, next, header.capacity, report)?;
    if survey.index < first_index {
        let what = format!("{} records are missing at its end", first_index - survey.index);
        report.fault(path, survey.offset, Some(survey.index), what);
    }
    Ok(Expected { number, first_index, first_batch: None })
}

fn check_padding(
    cursor: &mut Cursor,
    path: &Path,
    walk: &Walk,
    report: &mut FsckReport,
) -> std::io::Result<()> {
    for (index, offset) in (cursor.header().first_index..).zip(&walk.offsets) {
        if !cursor.is_padded_with_zeros(u64::from(*offset))? {
            report.fault(
                path,
                u64::from(*offset),
                Some(index),
                "bytes behind the data of the record are not zero",
            );
        }
    }
    Ok(())
}

/// How far a survey came.
struct Survey {
    index: u64,
    offset: u64,
}

/// Record by record, over damage: counts the sound ones and reports each gap.
fn survey(
    cursor: &mut Cursor,
    path: &Path,
    next: Option<u64>,
    to: u64,
    report: &mut FsckReport,
) -> std::io::Result<Survey> {
    let header: SegmentHeader = *cursor.header();
    let limit = next.unwrap_or(u64::MAX);
    let mut at = Survey { index: header.first_index, offset: DATA_START };
    let mut batch = header.first_batch;
    while at.index < limit && at.offset < to {
        let found: Result<RecordHeader, String> = match cursor.verified_at(at.offset)? {
            At::Record(record, _) if record.index == at.index && record.batch >= batch => Ok(record),
            At::Record(record, _) => Err(format!("record {} of batch {}", record.index, record.batch)),
            At::Nothing => Err("nothing".to_owned()),
            At::Bad(what) => Err(what.to_owned()),
        };
        match found {
            Ok(record) => {
                report.records += 1;
                batch = record.batch;
                at = Survey { index: at.index + 1, offset: at.offset + extent(u64::from(record.len)) };
            }
            Err(what) => {
                let after = |record: &RecordHeader| record.index > at.index && record.index < limit;
                let behind = cursor.find(at.offset, to, after)?;
                let Search::Found(offset, record) = behind else {
                    report.fault(
                        path,
                        at.offset,
                        Some(at.index),
                        format!("found {what}, and no sound record behind"),
                    );
                    break;
                };
                let what =
                    format!("found {what}; the next sound record is {} at offset {offset}", record.index);
                report.fault(path, at.offset, Some(at.index), what);
                at = Survey { index: record.index, offset };
            }
        }
    }
    Ok(at)
}
