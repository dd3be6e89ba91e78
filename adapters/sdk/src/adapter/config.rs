//! What an adapter is made from, checked before anything is served.

use super::Adapter;
use super::serving::{Serving, table};
use crate::batch::Ends;
use crate::count::Counts;
use crate::decide::ContractPolicy;
use crate::fetch::MappedSource;
use crate::health::Counters;
use crate::journal::{self, AnswerJournal, ClockAccepted, JournalError, Kind, Memory, MemoryError, Record};
use crate::material::{Cases, Documents};
use crate::reply::Signer;
use crate::standings::Standings;
use crate::watch::Watch;
use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use yiwang_journal::Reader;
use yiwang_journal::ground::Ground;
use yiwang_policies::Decider;
use yiwang_proto::ambient::{Clock, Entropy, random};
use yiwang_proto::batch::Roots;
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::delegation::{Delegation, DelegationError, Role};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::ids::{AppId, MemberId, Operation, RecordType};
use yiwang_proto::keys::{PublicKey, SecretKey};
use yiwang_proto::limits::CLOCK_SKEW_MS;
use yiwang_proto::note::CosignerKey;
use yiwang_proto::tag::TagKey;

/// Sizes and times of one adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdapterLimits {
    /// Exchanges that run at once; more are turned away with `provider_busy`.
    pub in_flight: u32,
    /// Bytes of request bodies that may be held at once, over all exchanges, half received or whole; what does not fit is
    /// turned away with `provider_busy`. Nobody has verified yet who sent them.
    pub buffered_bytes: usize,
    /// Milliseconds to wait for signed material from the hub.
    pub material_ms: u64,
    /// Milliseconds after which a case is looked up again, so that a closing shows.
    pub case_recheck_ms: u64,
    /// Milliseconds to wait for a connection and the hub's first frame.
    pub handshake_ms: u64,
    /// Milliseconds that exchanges under way have to finish when the adapter is stopped.
    pub drain_ms: u64,
    /// Milliseconds within which the next process is linked when the adapter is stopped, drain time included; the hub
    /// holds requests meanwhile. 0 where nobody can say so.
    pub back_ms: u32,
    /// Milliseconds to wait for another process that has the journal open and is about to end; 0 to refuse at once.
    pub journal_wait_ms: u64,
    /// Records after which what the journal says is put down in one place; see [`Adapter::keep_snapshot`].
    pub snapshot_records: u64,
    /// Bytes of one journal segment, preallocated; a multiple of 4096 and at least 3 MiB.
    pub segment_bytes: u64,
}

impl Default for AdapterLimits {
    fn default() -> Self {
        Self {
            // The hub keeps the last eighth for emergencies: 257 are for everybody.
            in_flight: 293,
            buffered_bytes: 32 << 20,
            material_ms: 3000,
            case_recheck_ms: 60_000,
            handshake_ms: 10_000,
            drain_ms: 5000,
            back_ms: 0,
            journal_wait_ms: 0,
            // Half a minute of a busy adapter: reading so many takes about a second.
            snapshot_records: 100_000,
            segment_bytes: 64 << 20,
        }
    }
}

/// What an adapter is made from.
#[derive(Debug)]
pub struct AdapterConfig {
    /// The member whose data this is.
    pub member: MemberId,
    /// This adapter's name, as its delegation has it.
    pub adapter: AppId,
    /// The member's own root, pinned here: contracts count only if it signed them as provider.
    pub root: PublicKey,
    /// Roots that the member had before: entries of what its apps asked under them may still come, and accuse nobody.
    pub former_roots: Vec<PublicKey>,
    /// The adapter's key.
    pub key: SecretKey,
    /// The delegation of that key, signed by the root.
    pub delegation: SignedDocument,
    /// The member's key for subject tags.
    pub tag_key: TagKey,
    /// Opens checkpoints of the pinned ledger.
    pub ledger: Arc<CheckpointVerifier>,
    /// Folder of the adapter's journal.
    pub journal_dir: PathBuf,
    /// Which contracts are accepted.
    pub contracts: ContractPolicy,
    /// Sizes and times.
    pub limits: AdapterLimits,
    /// The key under which this adapter cosigns the ledger's checkpoints, where it is a witness.
    pub witness: Option<CosignerKey>,
    /// Folder for evidence of a ledger with two histories.
    pub evidence_dir: PathBuf,
}

/// What to do where the journal holds a later time than the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockRule {
    /// Nothing is judged below the journal's time: the adapter waits until the clock has caught up.
    NeverBack,
    /// Goes on from the present clock: for an operator who knows that the clock had jumped ahead. The
    /// acceptance is journalled.
    AcceptPresent,
}

/// Why an adapter does not start.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// Its delegation does not hold.
    #[error("{0}")]
    Delegation(#[from] DelegationError),
    /// Its delegation is for somebody or something else, or over.
    #[error("the adapter's delegation does not fit: {0}; have the member's root sign a new one")]
    NotFor(&'static str),
    /// Two mappings serve the same operation of a record.
    #[error("two mappings serve `{operation}` of `{record}`: remove one")]
    ServedTwice {
        /// The record.
        record: RecordType,
        /// The operation.
        operation: Operation,
    },
    /// Two tables of one record are counted.
    #[error(
        "two tables of `{record}` are counted: keep one, since what one suppresses the other may give away"
    )]
    CountedTwice {
        /// The record.
        record: RecordType,
    },
    /// A mapping of another member.
    #[error("mapping `{mapping}` belongs to `{owner}`, not to this member")]
    OtherOwner {
        /// Its name.
        mapping: String,
        /// Whose it says it is.
        owner: MemberId,
    },
    /// The journal cannot be used.
    #[error("{0}")]
    Journal(#[from] JournalError),
    /// The journal contradicts the configuration.
    #[error("journal: {0}; is this the journal of another adapter or ledger?")]
    Memory(#[from] MemoryError),
}

impl Adapter {
    /// Checks the configuration and reads the journal; nothing is served before both are done. Blocks on
    /// the disk.
    ///
    /// # Errors
    /// [`AdapterError`] for the first thing that does not hold.
    pub fn open(
        config: AdapterConfig,
        sources: Vec<MappedSource>,
        decider: Arc<Decider>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, AdapterError> {
        Self::open_on(Ground::default(), ClockRule::NeverBack, config, sources, decider, clock, entropy)
    }

    /// Journals that the operator accepts the present clock, where the journal's time is over 30 s ahead of
    /// it, because the clock had jumped. The adapter must not run. Yields the time that no longer counts;
    /// none where there is nothing to accept. Blocks on the disk.
    ///
    /// # Errors
    /// As [`Adapter::open`].
    pub fn accept_clock(
        config: AdapterConfig,
        decider: Arc<Decider>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Option<i64>, AdapterError> {
        let ground = Ground::default();
        let now_ms = clock.now_ms();
        let (journal, memory, _) =
            open_journal(ground.clone(), ClockRule::NeverBack, &config, now_ms, entropy.as_ref())?;
        let before_ms = memory.highest_ms;
        // Closed before it is opened again: one journal is open once.
        drop(journal);
        if before_ms.saturating_sub(now_ms) <= CLOCK_SKEW_MS {
            return Ok(None);
        }
        Self::open_on(ground, ClockRule::AcceptPresent, config, Vec::new(), decider, clock, entropy)
            .map(|_| Some(before_ms))
    }

    /// [`Adapter::open`] with a rule for the clock, and the journal on any ground, for tests of its faults.
    ///
    /// # Errors
    /// As [`Adapter::open`].
    pub fn open_on(
        ground: Ground,
        rule: ClockRule,
        config: AdapterConfig,
        sources: Vec<MappedSource>,
        decider: Arc<Decider>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, AdapterError> {
        let delegation = Delegation::open_under(&config.delegation, &config.root)?;
        let now_ms = clock.now_ms();
        check_delegation(&delegation, &config, now_ms)?;
        let sources = Serving::new(table(sources, &config.member)?);
        let (journal, mut memory, read) = open_journal(ground, rule, &config, now_ms, entropy.as_ref())?;
        let standings =
            Standings::new(std::mem::take(&mut memory.floors), std::mem::take(&mut memory.revocations));
        let counters = Arc::new(Counters::default());
        let watch = Watch::new(&mut memory, config.witness, config.evidence_dir, &counters);
        let signer = Signer {
            member: config.member.clone(),
            adapter: config.adapter,
            key: Arc::new(config.key),
            delegation_digest: delegation.digest,
        };
        Ok(Self {
            signer,
            roots: Roots::default(),
            tag_key: config.tag_key,
            ends: Ends::default(),
            delegation_document: config.delegation,
            sources,
            entropy,
            standings,
            counts: Counts::beside(&config.journal_dir),
            highest_ms: AtomicI64::new(memory.highest_ms.max(now_ms)),
            head_kept_us: AtomicU64::new(clock.monotonic_us()),
            members_time: Mutex::default(),
            records_read: read,
            records: AtomicU64::new(read),
            memory: Mutex::new(memory),
            limits: config.limits,
            delegation,
            sealing: None,
            policy: config.contracts,
            documents: Documents::new(
                config.member,
                (config.root, config.former_roots),
                Arc::clone(&decider),
            ),
            cases: Cases::new(
                Arc::clone(&config.ledger),
                Arc::clone(&counters),
                config.limits.case_recheck_ms,
            ),
            ledger: config.ledger,
            counters,
            decider,
            journal,
            clock,
            watch,
            changes: tokio::sync::watch::Sender::new(()),
        })
    }
}

/// Opens the journal and reads what it remembers.
fn open_journal(
    ground: Ground,
    rule: ClockRule,
    config: &AdapterConfig,
    now_ms: i64,
    entropy: &dyn Entropy,
) -> Result<(AnswerJournal, Memory, u64), AdapterError> {
    let memory = RefCell::new(Memory::default());
    let mut taken = Ok(0);
    let options = journal::options(config.limits.segment_bytes, u64::from_le_bytes(random(entropy)));
    let read = |reader: &Reader| {
        taken = journal::read_into(reader, &mut memory.borrow_mut(), now_ms, &config.ledger)?;
        Ok(())
    };
    let accept = || {
        let before_ms = memory.borrow().highest_ms;
        if rule == ClockRule::NeverBack || before_ms <= now_ms {
            return None;
        }
        tracing::warn!(before_ms, now_ms, "the operator accepted a clock behind the journal's time");
        let record = Record::new(now_ms, Kind::ClockAccepted(ClockAccepted { before_ms }));
        // It changes memory as it will when the journal is read again.
        memory.borrow_mut().load(u64::MAX, &record, now_ms, &config.ledger).ok()?;
        Some(record.encode())
    };
    let patience = Duration::from_millis(config.limits.journal_wait_ms);
    let journal = AnswerJournal::open(ground, &config.journal_dir, options, patience, read, accept)?;
    Ok((journal, memory.into_inner(), taken?))
}

fn check_delegation(
    delegation: &Delegation,
    config: &AdapterConfig,
    now_ms: i64,
) -> Result<(), AdapterError> {
    let fits = |holds: bool, fault| if holds { Ok(()) } else { Err(AdapterError::NotFor(fault)) };
    fits(delegation.role == Role::Adapter, "its role is not `adapter`")?;
    fits(delegation.member == config.member, "it is for another member")?;
    fits(delegation.name == config.adapter, "it is for another adapter")?;
    fits(delegation.key == config.key.public(), "it is for another key")?;
    fits(delegation.valid_at(now_ms), "it is not in force now")
}
