//! Every limit on what crosses a border, with its reason.

/// A ledger entry: C2SP tlog-tiles stores entries with a 16-bit length.
pub const ENTRY_MAX: usize = 65_535;
/// A contract document: it must fit an entry whole, with room for the entry's own fields.
pub const CONTRACT_MAX: usize = 48 * 1024;
/// Any other signed document (member card, delegation, revocation): they hold a handful of short fields.
pub const DOCUMENT_MAX: usize = 8 * 1024;
/// An encoded statement envelope: a request with 64 fields and 64 tags stays under 8 KiB; two of them fit an entry.
pub const STATEMENT_MAX: usize = 16 * 1024;
/// A request or answer body: larger results are batch pages, each an exchange of its own.
pub const BODY_MAX: usize = 4 * 1024 * 1024;
/// Bytes of body in one link frame: small enough that one body does not hold up the frames of others.
pub const CHUNK_MAX: usize = 64 * 1024;
/// Bytes of body that a side may send per exchange before the other grants credit.
pub const WINDOW: u32 = 256 * 1024;
/// Fields in one request or contract: the widest record of the catalogue has fewer than 30.
pub const FIELDS_MAX: usize = 64;
/// Subject tags in one statement; above that an answer carries a Merkle root.
pub const TAGS_MAX: usize = 64;
/// Subject tags in one case statement: a household, a class or a building, never a register.
pub const CASE_TAGS_MAX: usize = 256;
/// How long a synchronous statement may live; longer would only widen the window for replays.
pub const STATEMENT_LIFETIME_MS: i64 = 60_000;
/// Largest difference between two parties' clocks that is tolerated.
pub const CLOCK_SKEW_MS: i64 = 30_000;
/// The longest that an exchange may take, in milliseconds: with the tolerance of clocks it ends within its statement's lifetime.
pub const DEADLINE_MAX_MS: u32 = 30_000;
/// Signatures in one statement envelope: app and officer. More than are verified are refused, whatever this says.
pub const SIGNATURES_MAX: usize = 2;
/// Arguments in one request body.
pub const ARGUMENTS_MAX: usize = 16;
/// Bytes of one argument: look-up keys, codes and dates are far shorter.
pub const ARGUMENT_BYTES_MAX: usize = 1024;
/// Bytes of a subject identifier.
pub const SUBJECT_MAX: usize = 128;
/// Exchanges in one query call: a unified record over every department of a city.
pub const QUERY_MAX: usize = 64;
/// Rows in one answer, whatever a contract says; more are batch pages.
pub const ROWS_MAX: u32 = 1000;
/// Sizes to which the plaintext of a sealed body is padded, so that its length says little of what is in it:
/// seven classes tell an observer at most 2.8 bits, and a step of four wastes at most three quarters. The
/// largest leaves room for key, tag and framing under [`BODY_MAX`].
pub const SEALED_SIZES: [usize; 7] =
    [1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, BODY_MAX - (1 << 10)];
/// Queries on one ticket: a day's work of one officer on one case.
pub const TICKET_USES_MAX: u32 = 200;
/// How long a ticket may live: one shift. What it was used for is counted again from the ledger after a
/// restart, so that this also bounds how far is read back.
pub const TICKET_LIFETIME_MS: i64 = 12 * 3600 * 1000;
/// Requests in one prepared document: as many as one query call takes.
pub const PREPARED_MAX: usize = QUERY_MAX;
/// Bytes of a prepared document: each request is a statement of some kilobytes and a plain body of at most
/// twenty, both in base64.
pub const PREPARED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Further sizes for which one question asks consistency proofs: an answer of 256 of them stays under a megabyte.
pub const CONSISTENCY_SIZES_MAX: usize = 256;
