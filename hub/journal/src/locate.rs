//! Where a record of an older segment stands. No index of old segments is kept: a record names its own index and
//! carries a checksum, so a few looks into the file lead to any of them, however many segments there are and however
//! long ago the journal was opened.

use std::io;

use crate::segment::{DATA_START, extent};
use crate::shared::HOLE;
use crate::walk::{At, Cursor, Search};

/// Looks before a walk over the whole segment is taken instead. Every third one halves what is left of a segment of
/// at most 1 GiB, so a sound segment needs far fewer.
const LOOKS: u32 = 96;

/// Offset of record `index` in a sealed segment that ends before record `next`. `None` if anything on the way does not
/// fit, as damage leaves it: [`all`] then tells what can still be read.
///
/// A look may meet bytes inside of a record's data that were made to look like a record. So the place counts only if
/// an unbroken chain of records leads to it over more bytes than the largest record has, or from the segment's start:
/// whatever is inside of a record ends with it, and from there on the chain is the true one.
pub(crate) fn seek(cursor: &mut Cursor, index: u64, next: u64) -> io::Result<Option<u32>> {
    let header = *cursor.header();
    let reach = extent(u64::from(header.max_record));
    let Some(near) = approach(cursor, index, next, reach)? else { return Ok(None) };
    let (mut at, mut expected) = (DATA_START, header.first_index);
    let from = near.saturating_sub(2 * reach);
    if from > DATA_START {
        let found = cursor.find(from, near, |record| record.index <= index)?;
        let Search::Found(offset, record) = found else { return Ok(None) };
        (at, expected) = (offset, record.index);
    }
    let begun = at;
    loop {
        let step = match cursor.at(at)? {
            At::Record(record, _) if record.index == expected => extent(u64::from(record.len)),
            _ => return Ok(None),
        };
        if expected == index {
            let sure = begun == DATA_START || at - begun >= reach;
            return Ok(u32::try_from(at).ok().filter(|_| sure));
        }
        (at, expected) = (at + step, expected + 1);
    }
}

/// An offset at or before record `index`, at most about two of the largest records away from it.
fn approach(cursor: &mut Cursor, index: u64, next: u64, reach: u64) -> io::Result<Option<u64>> {
    let header = *cursor.header();
    let (mut low, mut low_index) = (DATA_START, header.first_index);
    let (mut high, mut high_index) = (header.capacity, next);
    for look in 0..LOOKS {
        let bytes = high - low;
        if bytes <= 2 * reach {
            return Ok(Some(low));
        }
        let records = high_index.saturating_sub(low_index).max(1);
        let ahead = u128::from(bytes) * u128::from(index - low_index) / u128::from(records);
        let guess = low.saturating_add(u64::try_from(ahead).unwrap_or(bytes));
        // Records are of much the same size, so a guess is near: once from below, once from above, and to be sure of
        // an end the middle.
        let probe = match look % 3 {
            0 => guess.saturating_sub(reach),
            1 => guess.saturating_add(reach),
            _ => low + bytes / 2,
        };
        let probe = probe.clamp(low + reach / 2, high - reach / 2).next_multiple_of(8);
        match cursor.find(probe, high, |record| record.index > low_index && record.index < next)? {
            Search::Found(offset, record) if record.index <= index => {
                (low, low_index) = (offset, record.index);
            }
            Search::Found(_, record) => (high, high_index) = (probe, record.index),
            Search::None => high = probe,
            Search::GaveUp => return Ok(None),
        }
    }
    Ok(None)
}

/// Offsets of all records up to index `next`, by a walk over the whole segment; those that damage hides are [`HOLE`].
pub(crate) fn all(cursor: &mut Cursor, next: u64) -> io::Result<Vec<u32>> {
    let header = *cursor.header();
    let mut offsets = Vec::new();
    let mut at = DATA_START;
    let mut index = header.first_index;
    while index < next {
        let step = match cursor.at(at)? {
            At::Record(record, _) if record.index == index => Some(extent(u64::from(record.len))),
            _ => None,
        };
        if let Some(step) = step {
            offsets.push(u32::try_from(at).unwrap_or(HOLE));
            (at, index) = (at + step, index + 1);
            continue;
        }
        let behind =
            cursor.find(at, header.capacity, |record| record.index > index && record.index < next)?;
        let Search::Found(offset, record) = behind else { break };
        while index < record.index {
            offsets.push(HOLE);
            index += 1;
        }
        at = offset;
    }
    Ok(offsets)
}
