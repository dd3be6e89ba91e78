//! The hub's own limits, each with its reason. Limits of messages stand in `yiwang_proto::limits`.

use std::time::Duration;
use yiwang_proto::limits::DEADLINE_MAX_MS;

/// Drafts waiting for the sequencer: at 50,000 entries per second this is less than a tenth of a second.
pub const SEQUENCE_QUEUE: usize = 4096;
/// Entries in one batch: one sync is shared by many, yet nobody waits for more than a few hundred hashes.
pub const BATCH_MAX: usize = 512;
/// Exchanges running at once over all members; more are refused at once, not queued.
pub const EXCHANGES_MAX: usize = 8192;
/// Of these, how many only emergency purposes may use: an eighth, as many as all ambulances of a large city.
pub const EMERGENCY_EXCHANGES: usize = EXCHANGES_MAX / 8;
/// Of the exchanges towards one adapter, the part that only emergency purposes may use: one in so many.
pub const LINK_EMERGENCY_PART: usize = 8;
/// Token buckets remembered: a thousand members with every purpose of the catalogue.
pub const BUCKETS_MAX: usize = 32_768;
/// When a caller that was turned away may try again: most queues are empty after a second.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Streams of exchanges that one member may have open: its gateways and a few apps that sign themselves.
pub const STREAMS_OF_MEMBER: usize = 16;
/// Exchanges under way on one stream, those included whose answers its reader has not taken: as many as a connection
/// has requests. Further ones wait unread.
pub const STREAM_IN_FLIGHT: usize = 256;
/// Exchanges running at once towards one adapter, or as many as its hello says if that is fewer. One slow department must
/// not hold the hub's memory.
pub const LINK_IN_FLIGHT_MAX: usize = 1024;
/// How long requests wait for an adapter that changes its link: a handshake takes milliseconds. Shorter than
/// the usual deadline of contracts (2 s), so that who is away is called away.
pub const LINK_HOLD: Duration = Duration::from_millis(1500);
/// Requests that wait so, over all adapters: as many as one link carries.
pub const LINK_HELD_MAX: usize = LINK_IN_FLIGHT_MAX;
/// Of these, for one adapter: what a busy department is asked in its second of change.
pub const LINK_HELD_OF_MEMBER: usize = LINK_HELD_MAX / 4;
/// Of these, the last ones, which only emergency purposes may take.
pub const LINK_HELD_EMERGENCY: usize = LINK_HELD_MAX / 8;
/// Of one adapter's, the last ones, which only emergency purposes may take: an ambulance finds room however much else
/// is asked of the department that is being upgraded.
pub const LINK_HELD_OF_MEMBER_EMERGENCY: usize = LINK_HELD_OF_MEMBER / 8;
/// Bytes of statements and bodies that wait so: as many as one link may hold of answers, sixteen of the largest bodies.
pub const LINK_HELD_BYTES_MAX: usize = LINK_BODY_BYTES_MAX;
/// Of these, for one adapter, and the last ones for emergencies: the same parts as of the places.
pub const LINK_HELD_BYTES_OF_MEMBER: usize = LINK_HELD_BYTES_MAX / 4;
/// See [`LINK_HELD_BYTES_OF_MEMBER`].
pub const LINK_HELD_BYTES_EMERGENCY: usize = LINK_HELD_BYTES_MAX / 8;
/// See [`LINK_HELD_BYTES_OF_MEMBER`].
pub const LINK_HELD_BYTES_OF_MEMBER_EMERGENCY: usize = LINK_HELD_BYTES_OF_MEMBER / 8;
/// How long requests wait for an adapter whose process is replaced, whatever it says of itself: the old one has five
/// seconds for what it began, and the next one starts in one or two. Longer is no upgrade but an outage.
pub const LINK_BACK_MAX: Duration = Duration::from_secs(10);
/// Frames waiting for one adapter's connection.
pub const LINK_QUEUE: usize = 2048;
/// Bytes of answer bodies that one link may hold in memory while they are put together.
pub const LINK_BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of answers, over all members, that wait for their readers: sixty of the largest bodies at once, or a
/// hundred thousand ordinary ones. An honest reader takes its answer within a round trip.
pub const REPLY_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Of these, how many one member's readers may keep waiting: a member that does not read must not take the room
/// of the others.
pub const REPLY_BYTES_OF_MEMBER: usize = REPLY_BYTES_MAX / 4;
/// Of these, how many are left to emergency purposes.
pub const REPLY_BYTES_EMERGENCY: usize = REPLY_BYTES_MAX / 8;
/// How long a reader may take nothing of an answer until its connection ends. Two pings of the connection fit in,
/// and a pause of the reader's machine.
pub const REPLY_STALLED: Duration = Duration::from_secs(30);
/// Bytes that a connection takes at least in each such time while answers wait on it: 32 KiB a second, 256 kbit/s,
/// less than any office's line carries. Below that it is no slow line but somebody who holds on to room.
pub const REPLY_TAKEN_MIN: u64 = 32 * 1024 * REPLY_STALLED.as_secs();
/// How long a response may be under way whatever else its connection takes: at that rate all that its member may keep
/// waiting is taken by then, 35 minutes.
pub const REPLY_TAKEN_WITHIN: Duration =
    Duration::from_secs(REPLY_STALLED.as_secs() * (1 + REPLY_BYTES_OF_MEMBER as u64 / REPLY_TAKEN_MIN));
/// How long it may take nothing at all where the budget is nearly full: many round trips, and short enough that
/// the others, told to come back after a second, get their answers at one of the next tries.
pub const REPLY_STALLED_PRESSED: Duration = Duration::from_secs(5);
/// From here the budget is nearly full: three members' whole parts, so a fourth that reads nothing would leave
/// no room for anybody.
pub const REPLY_BYTES_PRESSED: usize = REPLY_BYTES_MAX / 4 * 3;
/// The piece in which answers are given to a connection, so that it shows what of a large one was taken: a frame
/// of HTTP/2 carries no more unless its reader asks for it.
pub const REPLY_PIECE: usize = 16 * 1024;
/// Between two looks for readers that take nothing.
pub const REPLY_LOOK: Duration = Duration::from_secs(1);
/// Looks of one adapter that wait for their material: each of its exchanges has at most one under way.
pub const MATERIAL_QUEUE: usize = LINK_IN_FLIGHT_MAX;
/// Digests, and cases, in one look: an exchange needs a contract, a case and its signers' delegations.
pub const MATERIAL_KEYS_MAX: usize = 64;
/// Bytes of material in one frame; it travels in a message of its own, of at most 8 MiB.
pub const MATERIAL_BYTES_MAX: usize = 4 << 20;
/// How long an answer may take where the contract allows more.
pub const DEADLINE_MAX: Duration = Duration::from_millis(DEADLINE_MAX_MS as u64);
/// Time within which a link's first frame must come.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a link is pinged; a link that does not answer within three is dropped.
pub const PING_EVERY: Duration = Duration::from_secs(10);
/// Request ids remembered per hub: a minute of statements at 50,000 per second would be three million.
pub const REPLAY_MAX: usize = 4_000_000;
/// Entries read back at start to fill ids and counters; older ones cannot matter.
pub const LOOK_BACK_MAX: u64 = 5_000_000;
/// How often checkpoint file and partial tiles are written: readers of files may lag this much.
pub const PUBLISH_EVERY: Duration = Duration::from_millis(200);
/// Reads of entries and tiles that run at once, for callers and for links each: they use a processor for a tenth of a
/// millisecond and may wait for a disk; more would take the processors from exchanges.
pub const READS_AT_ONCE: usize = 2;
/// Reads that wait for their turn: at some thousand reads per second this is a tenth of a second.
pub const READS_WAITING: usize = 512;
/// Searches of auditors that run at once: they share one index, and each may take into it what came since.
pub const SEARCHES_AT_ONCE: usize = 1;
/// Searches that run or wait for their turn: offices of auditors are few, and at some milliseconds a search this is a
/// tenth of a second.
pub const SEARCHES_WAITING: usize = 16;
/// How long a read waits for its turn, where the disk is slow.
pub const READ_WAIT: Duration = Duration::from_secs(5);
/// Walks back through the ledger that run at once for answers that adapters offer: after a crash all of them offer, and
/// more would take the processors and the disk from exchanges. As many as other reads of links.
pub const OFFER_WALKS_AT_ONCE: usize = READS_AT_ONCE;
/// Entries that such a walk reads until the next one has its turn: about a second.
pub const OFFER_WALK_GO: usize = 65_536;
/// How long an offer waits for its turns, and for offers of its provider before it: half of what an adapter waits for its
/// receipts until it stops serving. What was read till then is kept.
pub const OFFER_WALK_WAIT: Duration = Duration::from_secs(30);
/// How long a batch of the ledger may take until nothing new is taken: a thousand times what a good disk needs for its
/// sync, and no longer than the usual deadline of contracts, so that little is asked for that could not be recorded.
pub const BATCH_STALLED: Duration = Duration::from_secs(2);
/// How often views are written behind the ledger.
pub const VIEWS_EVERY: Duration = Duration::from_millis(200);
/// Members active within this time must show their heads after a restart.
pub const ACTIVE_MEMBER_MS: i64 = 24 * 3600 * 1000;
/// Cases that one member may have open: a large bureau opens some 3,000 a day and closes them in a month.
pub const OPEN_CASES_MAX: usize = 100_000;
/// Tags of one member's open cases, 32 bytes each in memory: ten subjects per case.
pub const CASE_TAGS_MAX: usize = 1_000_000;
/// Delegations of one member: keys of some hundred apps and officers' tickets apart, renewed once a month.
pub const DELEGATIONS_MAX: usize = 1_000;
/// Contracts of one member: every other department of a city, with a dozen records each.
pub const CONTRACTS_MAX: usize = 2_000;
/// Versions of record types of one member: a dozen records, changed a few times a year for years.
pub const RECORD_TYPES_OF_MEMBER: usize = 64;
/// Revocations under the roots of one member, which its counterparts keep for ever: keys that were stolen over decades,
/// since leavers' keys go by the member's own list. An adapter keeps twice as many of each root.
pub const REVOCATIONS_OF_MEMBER: usize = 1_024;
/// Bytes of those: usual ones have half a kilobyte, and a link that begins sends all of them.
pub const REVOCATION_BYTES_OF_MEMBER: usize = 1 << 20;
/// Record types that members added, over the whole network: ten times what the program brings.
pub const RECORD_TYPES_MAX: usize = 256;
/// How long what was published counts, even if it is over: else a flood of short-lived documents would not.
pub const PUBLISHED_COUNTS_MS: i64 = 30 * 24 * 3600 * 1000;
/// Case statements and documents per member and second: 400,000 a day, four times the largest bureau's peak.
pub const ADDED_PER_SECOND: u32 = 5;
/// The same at once: what an office enters in the first hour of a day, or a migration in one go.
pub const ADDED_BURST: u32 = 5_000;
/// Denials of one app, code and minute that are entries of their own: one a second shows an auditor every pattern, and
/// 60 entries a minute are less than one second of a busy hub.
pub const DENIALS_VERBATIM: u32 = yiwang_proto::folded::VERBATIM;
/// Apps and codes that are counted one by one in a minute, about 150 bytes each: a thousand apps of which each is
/// denied for sixteen reasons. Further apps are counted with their member.
pub const DENIAL_KEYS_MAX: usize = 16_384;
/// Denials that wait for the journal: each exchange that runs has at most one. It can be full all the same, by those of
/// exchanges whose callers went away while a disk is slow; a denial that finds no place here becomes an entry.
pub const DENIALS_QUEUE: usize = EXCHANGES_MAX;
/// Denials in one batch of their journal, and its bytes: as for the ledger's batches.
pub const DENIALS_BATCH: usize = BATCH_MAX;
/// See [`DENIALS_BATCH`].
pub const DENIALS_BATCH_BYTES: u64 = 1 << 20;
/// Largest segment of that journal: made within a fraction of a second when a flood begins, full after a quarter of a minute of
/// the worst one.
pub const FOLDED_SEGMENT_BYTES: u64 = 16 << 20;
/// Mebibytes of folded statements that are kept: at a kilobyte each four million, which is an hour of a member that floods
/// at its full share, and years of usual denials.
pub const FOLDED_KEPT_MIB: u64 = 4096;
/// A member has one part of so many of that: three that flood at once leave the last quarter to all others.
pub const FOLDED_MEMBERS_PART: u64 = 4;
/// Mebibytes that the disk must have free for the journal to grow: the ledger itself goes on with less.
pub const FOLDED_LEAVE_FREE_MIB: u64 = 1024;
/// Highest limit that may be set for either: four terabytes, the largest disk that one machine of a city has.
pub const FOLDED_KEPT_MIB_MAX: u64 = 4 << 20;
/// How often minutes that are over are looked for: an entry comes at most this much later.
pub const FOLDS_EVERY: Duration = Duration::from_secs(1);
/// How often a hub that was started looks whether its ledger appends by now, to enter what a crash left: one that crashes every
/// second would enter nothing with a longer time.
pub const FOLDS_AFTER_START: Duration = Duration::from_millis(50);
/// Entries of a minute's end that are handed in at once: an eighth of a batch, so that exchanges keep their place.
pub const FOLDS_AT_ONCE: usize = BATCH_MAX / 8;
/// Life of a member's certificate; renewed at two thirds.
pub const CERTIFICATE_LIFE_MS: i64 = 7 * 24 * 3600 * 1000;
