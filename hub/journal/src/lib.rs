//! Durable, append-only journals in preallocated segment files.
//!
//! One [`Journal`] writes, any number of [`Reader`]s read. A batch is acknowledged once it is durable, and is there
//! whole or not at all after a crash. All calls block: give the writer a thread of its own.
//!
//! # Files
//! | file | content |
//! |---|---|
//! | `00000000000000000000.seg` | a segment, named after the index of its first record, so that names sort |
//! | `spare.new` | the next segment while it has no header yet: zeros on blocks of its own |
//! | `tiles.reserve` | space kept for hash tiles, see [`Reserve`] |
//! | `journal.lock` | locked by the process that writes |
//!
//! A segment has a fixed length, is all zero on real blocks before it gets its name, and holds, little endian:
//!
//! | offset | bytes | segment header |
//! |---|---|---|
//! | 0 | 8 | `ywjrnl\r\n` |
//! | 8 | 4 | layout version, 1 |
//! | 12 | 4 | largest data of one record |
//! | 16 | 8 | length of the file |
//! | 24 | 8 | index of the first record |
//! | 32 | 8 | number of the first batch |
//! | 40 | 8 | number of the segment, counted without gaps |
//! | 48 | 8 | salt of the records' checksums |
//! | 56 | 4 | zero |
//! | 60 | 4 | CRC-32C of the 60 bytes before |
//!
//! Records follow from offset 4096, each at a multiple of 8, without gaps; a batch never spans two segments:
//!
//! | offset | bytes | record |
//! |---|---|---|
//! | 0 | 4 | length of the data |
//! | 4 | 4 | CRC-32C of salt, length, the rest of this header, data |
//! | 8 | 8 | index |
//! | 16 | 8 | batch number, counted without gaps |
//! | 24 | 4 | place within the batch, from 0 |
//! | 28 | 4 | records in the batch |
//! | 32 | 32 | leaf hash: SHA-256 of a zero byte and the data (RFC 6962) |
//! | 64 | | data, then zeros up to a multiple of 8 |
//!
//! # Reading
//! Places of records are kept in memory for the newest segment and those written or walked over lately. In any other
//! a record is found by a few looks into its file, since each record names its own index: opening costs the same with
//! ten segments as with ten thousand, and no file beside them can be missing, old or false.
//!
//! # Order of writing
//! Batch n + 1 is written only after `fdatasync` of batch n returned. A segment gets its header, then a sync, then its
//! name, then a sync of the folder, then records. Any failure but lack of space while a segment is allocated ends the
//! journal until it is opened again: nothing is retried, because a failed sync may have dropped what it should have
//! written.
//!
//! # Recovery
//! Opening checks the headers of all segments and reads the last one, and the one before it, in full. What stands
//! behind the last complete batch is cut if all of this holds, and is a reason to refuse otherwise:
//!
//! 1. It is in the newest segment. Older ones must lead exactly to the first record of the next.
//! 2. No sound record of a higher batch follows: such a one proves that the damaged batch was durable once. (A power
//!    cut may keep a late page of an unsynced batch and lose an early one; that is a torn batch, not damage.)
//! 3. No head was signed that counts a record behind the cut (`floor`).
//! 4. A lost write explains it: space that was zero before still is zero, in whole sectors or from some byte on.
//!    A flipped bit leaves no such trace. (An operator may waive this one: [`Options::give_up_damaged_tail`].)
//!
//! A batch goes as a whole. Then the rest of the segment is zeroed and synced before anything is appended, so that
//! old bytes of the torn batch cannot complete a new one. Even a clean end is settled in the same way: the last batch
//! is written again and one batch of zeros behind it, since the page cache may show what a failed sync never wrote.
//! A power cut while a segment is made leaves only `spare.new`, which counts for nothing and is zeroed before use.

pub mod disk;
mod fsck;
mod gather;
pub mod ground;
mod locate;
mod options;
mod reader;
mod recover;
pub mod segment;
mod shared;
#[cfg(any(test, feature = "simulated"))]
pub mod simulated;
mod spare;
#[cfg(test)]
mod tests;
mod walk;
mod writer;

pub use fsck::{Fault, FsckReport, fsck, fsck_with};
pub use gather::{Gather, UnderWay};
pub use options::Options;
pub use reader::{ReadError, Reader, Scan, ScanBack};
pub use recover::{OpenError, Recovery, Torn};
pub use segment::leaf_hash;
pub use shared::CACHED_SEGMENTS;
pub use spare::Reserve;
pub use writer::{AppendError, Appended, Journal};
