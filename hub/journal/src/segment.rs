//! The bytes of a segment file: its header, its record headers and how both are checked.

use sha2::{Digest, Sha256};

/// First bytes of every segment file. The line end catches transfers in text mode.
pub const MAGIC: [u8; 8] = *b"ywjrnl\r\n";
/// Version of the layout.
pub const VERSION: u32 = 1;
/// Bytes of the segment header that carry meaning.
pub const SEGMENT_HEADER_BYTES: usize = 64;
/// Where records begin: the header has a page of its own, so that writing records never rewrites it.
pub const DATA_START: u64 = 4096;
/// Bytes in front of each record's data.
pub const RECORD_HEADER_BYTES: usize = 64;
/// Every record begins at a multiple of this.
pub const ALIGN: u64 = 8;
/// The unit that a disk writes whole or not at all.
pub const SECTOR: u64 = 512;
/// Largest segment file: keeps offsets in 32 bits and what a foreign file can cost bounded.
pub const MAX_SEGMENT_BYTES: u64 = 1 << 30;
/// Largest record that any configuration may allow.
pub const MAX_RECORD_BYTES: u32 = 16 << 20;
/// End of a segment file's name.
pub const SUFFIX: &str = ".seg";

/// Hash of a leaf: SHA-256 of a zero byte and the data (RFC 6962, 2.1).
#[must_use]
pub fn leaf_hash(data: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update([0u8]).chain_update(data).finalize().into()
}

/// Name of the segment file whose first record has this index.
#[must_use]
pub fn file_name(first_index: u64) -> String {
    format!("{first_index:020}{SUFFIX}")
}

/// First index according to a file name; `None` if no journal gives such names.
#[must_use]
pub fn parse_file_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let well_formed = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    if well_formed { digits.parse().ok() } else { None }
}

/// Bytes that a record with `len` bytes of data takes in the file.
#[must_use]
pub const fn extent(len: u64) -> u64 {
    (RECORD_HEADER_BYTES as u64 + len).next_multiple_of(ALIGN)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Why a segment header is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// Other first bytes than [`MAGIC`], or too short.
    #[error("it is not a segment file")]
    Magic,
    /// Written by another version of this program.
    #[error("it has layout version {0}, this program reads version 1")]
    Version(u32),
    /// The checksum of the header is wrong.
    #[error("the checksum of its header is wrong")]
    Checksum,
    /// Sizes outside what this program writes.
    #[error("its header names impossible sizes")]
    Sizes,
}

/// Header of a segment file, 64 bytes, little endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Largest data of one record in this segment, bytes.
    pub max_record: u32,
    /// Length of the file, bytes.
    pub capacity: u64,
    /// Index of its first record.
    pub first_index: u64,
    /// Number of its first batch.
    pub first_batch: u64,
    /// Number of the segment, counted from 0 without gaps.
    pub number: u64,
    /// Mixed into the checksum of each record, so that a copy of a record within a record is not taken for one.
    pub salt: u64,
}

impl SegmentHeader {
    /// The bytes for the file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.max_record.to_le_bytes());
        for value in [self.capacity, self.first_index, self.first_batch, self.number, self.salt] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        out.extend_from_slice(&[0; 4]);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads and checks the bytes at the start of a file.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        if bytes.get(..MAGIC.len()) != Some(&MAGIC) {
            return Err(HeaderFault::Magic);
        }
        let whole = Self::fields(bytes).ok_or(HeaderFault::Magic)?;
        let (version, header, crc, body) = whole;
        if crc != crc32c::crc32c(body) {
            return Err(HeaderFault::Checksum);
        }
        if version != VERSION {
            return Err(HeaderFault::Version(version));
        }
        let possible = header.max_record <= MAX_RECORD_BYTES
            && (DATA_START..=MAX_SEGMENT_BYTES).contains(&header.capacity)
            && header.first_index < u64::MAX / 2
            && header.first_batch < u64::MAX / 2
            && header.number < u64::MAX / 2;
        if possible { Ok(header) } else { Err(HeaderFault::Sizes) }
    }

    fn fields(bytes: &[u8]) -> Option<(u32, Self, u32, &[u8])> {
        let header = Self {
            max_record: u32_at(bytes, 12)?,
            capacity: u64_at(bytes, 16)?,
            first_index: u64_at(bytes, 24)?,
            first_batch: u64_at(bytes, 32)?,
            number: u64_at(bytes, 40)?,
            salt: u64_at(bytes, 48)?,
        };
        Some((u32_at(bytes, 8)?, header, u32_at(bytes, 60)?, bytes.get(..60)?))
    }

    /// Start value of the checksums of this segment's records.
    #[must_use]
    pub fn seed(&self) -> u32 {
        crc32c::crc32c(&self.salt.to_le_bytes())
    }

    /// Whether a record of this segment could carry these numbers. Bounds what foreign bytes can cost.
    #[must_use]
    pub fn could_hold(&self, record: &RecordHeader) -> bool {
        let most = self.capacity / RECORD_HEADER_BYTES as u64;
        let near = |first: u64, value: u64| value >= first && value - first <= most;
        near(self.first_index, record.index)
            && near(self.first_batch, record.batch)
            && record.len <= self.max_record
            && record.position < record.count
    }
}

/// Header of a record, 64 bytes, little endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// Bytes of data.
    pub len: u32,
    /// CRC-32C of salt, length, the rest of this header and the data.
    pub crc: u32,
    /// Index of the record in the journal.
    pub index: u64,
    /// Number of its batch.
    pub batch: u64,
    /// Place within its batch, from 0.
    pub position: u32,
    /// Records in its batch.
    pub count: u32,
    /// Leaf hash of the data.
    pub leaf: [u8; 32],
}

impl RecordHeader {
    /// Reads the numbers; says nothing about their truth.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            len: u32_at(bytes, 0)?,
            crc: u32_at(bytes, 4)?,
            index: u64_at(bytes, 8)?,
            batch: u64_at(bytes, 16)?,
            position: u32_at(bytes, 24)?,
            count: u32_at(bytes, 28)?,
            leaf: *bytes.get(32..)?.first_chunk()?,
        })
    }

    /// Appends header, data and padding to `out`, with the checksum set.
    pub fn encode_into(&self, out: &mut Vec<u8>, seed: u32, data: &[u8]) {
        let rest = self.rest();
        let crc = self.checksum_with(&rest, seed, data);
        out.extend_from_slice(&self.len.to_le_bytes());
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&rest);
        out.extend_from_slice(data);
        let padding = (extent(data.len() as u64) as usize).saturating_sub(RECORD_HEADER_BYTES + data.len());
        out.resize(out.len() + padding, 0);
    }

    /// The checksum that this header and data must carry.
    #[must_use]
    pub fn checksum(&self, seed: u32, data: &[u8]) -> u32 {
        self.checksum_with(&self.rest(), seed, data)
    }

    fn checksum_with(&self, rest: &[u8; 56], seed: u32, data: &[u8]) -> u32 {
        let crc = crc32c::crc32c_append(seed, &self.len.to_le_bytes());
        crc32c::crc32c_append(crc32c::crc32c_append(crc, rest), data)
    }

    fn rest(&self) -> [u8; 56] {
        let mut rest = [0u8; 56];
        let parts: [&[u8]; 5] = [
            &self.index.to_le_bytes(),
            &self.batch.to_le_bytes(),
            &self.position.to_le_bytes(),
            &self.count.to_le_bytes(),
            &self.leaf,
        ];
        let mut free = rest.as_mut_slice();
        for part in parts {
            // Never: the parts are as long as all of it.
            let Some((place, left)) = std::mem::take(&mut free).split_at_mut_checked(part.len()) else {
                break;
            };
            place.copy_from_slice(part);
            free = left;
        }
        rest
    }

    /// Data bytes as a size in memory; lengths are bounded by [`MAX_RECORD_BYTES`] before this is used.
    #[must_use]
    pub const fn data_len(&self) -> usize {
        self.len as usize
    }
}
