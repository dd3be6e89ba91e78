//! The ledger: one log, many views. Stages hand in drafts; the sequencer orders them, makes them durable
//! and answers with receipts.

mod clock;
pub mod heads;
mod known;
pub mod publish;
mod reads;
mod recover;
mod sequence;
mod stall;
pub mod store;
pub mod store_files;
pub mod tree;
mod witnessed;

use crate::limits::SEQUENCE_QUEUE;
use crate::views::Views;
use bytes::Bytes;
pub use clock::ClockDraft;
use heads::{Heads, Shown};
use publish::SignedHead;
pub use reads::{Place, ReadFor};
pub use recover::{LedgerConfig, OpenLedgerError, open};
use sequence::{Command, Message};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard};
use store::{EntryReader, StoreError};
use tokio::sync::{mpsc, oneshot};
use tree::{Hashes, Tiles};
use yiwang_journal::ground::Workers;
use yiwang_journal::{Gather, UnderWay};
use yiwang_proto::ambient::Clock;
use yiwang_proto::checkpoint::Checkpoint;
use yiwang_proto::codes::Code;
use yiwang_proto::entry::Kind;
use yiwang_proto::ids::MemberId;
use yiwang_proto::merkle::{self, Tree};
use yiwang_proto::note::SignerKey;
use yiwang_proto::pb;
use yiwang_proto::peer_time::PeerTime;

/// What a draft sees in the step that assigns its index.
pub struct Linear<'a> {
    /// The index that the entry will have.
    pub index: u64,
    /// Ledger time, milliseconds; never decreases, except by the entry that accepts a clock.
    pub time_ms: i64,
    /// The highest time of an entry before, milliseconds.
    pub latest_ms: i64,
    /// State after all entries with lower indexes.
    pub views: &'a Views,
}

/// An entry that is not yet finished. `finish` runs in the sequencer: it must be quick and do no IO.
pub trait Draft: Send {
    /// Re-checks everything that may have changed and yields the entry, or refuses to write any.
    fn finish(self: Box<Self>, at: &Linear<'_>) -> Result<Kind, Code>;

    /// The consumer and provider of an exchange whose statement is kept; spares parsing it again.
    fn parties(&self) -> Option<(MemberId, MemberId)> {
        None
    }

    /// Whether it may be written before members have shown their heads. Only for the hub's own first entries.
    fn before_heads(&self) -> bool {
        false
    }

    /// Whether it takes the time of the clock as it is, even if that is behind the entry before.
    fn accepts_clock(&self) -> bool {
        false
    }
}

/// A durable entry with its proof.
#[derive(Debug, Clone)]
pub struct Appended {
    /// Its index.
    pub index: u64,
    /// Its exact bytes.
    pub entry: Bytes,
    /// Inclusion proof under the checkpoint.
    pub proof: Vec<Bytes>,
    /// The signed note.
    pub checkpoint: Bytes,
}

impl Appended {
    /// As the message for the parties.
    pub fn to_receipt(&self) -> pb::Receipt {
        pb::Receipt {
            index: self.index,
            entry: self.entry.clone(),
            proof: self.proof.clone(),
            checkpoint: self.checkpoint.clone(),
        }
    }

    /// The same, of what nobody else needs.
    pub fn into_receipt(self) -> pb::Receipt {
        let Self { index, entry, proof, checkpoint } = self;
        pb::Receipt { index, entry, proof, checkpoint }
    }
}

struct Shared {
    reader: Arc<dyn EntryReader>,
    tree: RwLock<Tree>,
    tiles: Tiles,
    views: Arc<Views>,
    heads: Heads,
    clock: Arc<dyn Clock>,
    last_time: AtomicI64,
    members_time: Mutex<PeerTime>,
    full: AtomicBool,
    publishing_behind: Arc<AtomicBool>,
    reads: reads::Reads,
    failed: AtomicBool,
    batch: stall::InHand,
    publication: stall::InHand,
    gather: Gather,
    workers: Workers,
    signer: SignerKey,
    origin: String,
    checkpoint: RwLock<SignedHead>,
    known: known::KnownRoots,
    published: witnessed::Published,
}

impl Shared {
    fn set_full(&self, full: bool) {
        if self.full.swap(full, Ordering::Relaxed) != full {
            if full {
                tracing::error!("no space for ledger entries: exchanges are refused until there is");
            } else {
                tracing::info!("the ledger has space again and goes on");
            }
        }
    }

    fn hashes(&self) -> Hashes<'_> {
        Hashes { tree: &self.tree, tiles: &self.tiles }
    }

    fn write_tree(&self) -> RwLockWriteGuard<'_, Tree> {
        self.tree.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// INVARIANT: called only by the sequencer, with the size and root of the one tree, after its entries
    /// are durable; so no two signed heads can be inconsistent.
    fn sign_head(&self, size: u64, root: merkle::Hash) -> Result<SignedHead, StoreError> {
        let checkpoint = Checkpoint { origin: self.origin.clone(), size, root };
        let note = checkpoint.sign(&self.signer).map_err(|error| StoreError::Fatal(error.to_string()))?;
        Ok(SignedHead { size, root, note: Bytes::from(note) })
    }

    fn set_checkpoint(&self, head: &SignedHead) {
        self.known.note(head.size, head.root);
        *self.checkpoint.write().unwrap_or_else(PoisonError::into_inner) = head.clone();
    }
}

impl publish::HeadSource for Shared {
    fn head(&self) -> (SignedHead, Vec<merkle::FinishedTile>) {
        // The sequencer sets the checkpoint while it holds this lock: both are of one moment.
        let tree = self.tree.read().unwrap_or_else(PoisonError::into_inner);
        let head = self.checkpoint.read().unwrap_or_else(PoisonError::into_inner).clone();
        (head, tree.partials())
    }

    fn needed(&self) -> Vec<std::path::PathBuf> {
        self.needed_partials()
    }

    fn writing(&self, writes: bool) {
        if writes {
            self.publication.begin(self.clock.as_ref());
        } else {
            self.publication.end(self.clock.as_ref());
        }
    }
}

/// A handle on the running ledger. Cheap to clone; usable from many tasks.
#[derive(Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Message>,
}

impl Ledger {
    /// Something began that will hand in a draft: under load a batch waits a little for more of them.
    pub fn begin(&self) -> UnderWay {
        self.shared.gather.begin()
    }

    /// Hands in a draft and waits until its entry is durable. A full queue is refused at once.
    pub async fn append(&self, draft: Box<dyn Draft>) -> Result<Appended, Code> {
        self.send(draft)?.await.unwrap_or(Err(Code::Internal))
    }

    /// Like [`Ledger::append`], for threads outside of the runtime.
    pub fn append_blocking(&self, draft: Box<dyn Draft>) -> Result<Appended, Code> {
        self.send(draft)?.blocking_recv().unwrap_or(Err(Code::Internal))
    }

    fn send(&self, draft: Box<dyn Draft>) -> Result<oneshot::Receiver<Result<Appended, Code>>, Code> {
        let (reply, answer) = oneshot::channel();
        match self.queue.try_send(Message::Append(Command { draft, reply })) {
            Ok(()) => Ok(answer),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Code::Overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Code::Internal),
        }
    }

    /// Appends nothing more, publishes the last head and waits until both are done.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.queue.send(Message::Stop(done)).await.is_ok() {
            // A sequencer that failed has said so already.
            let _ = closed.await;
        }
    }

    /// Whether members have shown that nothing newer is known: before, hardly anything is appended.
    pub fn appends(&self) -> bool {
        self.shared.heads.appending()
    }

    /// Whether an exchange may begin: what cannot be recorded must not be forwarded.
    pub fn ready(&self) -> Result<(), Code> {
        // A sequencer that panicked has said nothing; only its end of the queue is gone.
        if self.shared.failed.load(Ordering::Relaxed) || self.queue.is_closed() {
            Err(Code::Internal)
        } else if self.shared.full.load(Ordering::Relaxed) {
            Err(Code::LedgerFull)
        } else if !self.appends() {
            Err(Code::LedgerNotAppending)
        } else if self.shared.published.is_stuck() {
            Err(Code::NotWitnessed)
        } else if self.stalled().is_some() || self.queue.capacity() == 0 {
            Err(Code::Overloaded)
        } else {
            self.clock_ready()
        }
    }

    /// Drafts that wait for the sequencer.
    pub fn waiting(&self) -> usize {
        QUEUE.saturating_sub(self.queue.capacity())
    }

    /// Ledger time of the newest entry, milliseconds.
    pub fn last_time_ms(&self) -> i64 {
        self.shared.last_time.load(Ordering::Relaxed)
    }

    /// Asks the store whether it has room again; called by the health task while the ledger is full,
    /// because refused exchanges no longer reach the sequencer.
    pub async fn probe_room(&self) {
        if self.shared.full.load(Ordering::Relaxed) {
            let _ = self.append(Box::new(Probe)).await;
        }
    }

    /// Why nothing is appended, if so.
    pub fn waiting_reason(&self) -> Option<String> {
        self.shared.heads.reason().or_else(|| self.clock_reason()).or_else(|| self.stall_reason())
    }

    /// Whether tile and checkpoint files lag because of an error, or of a disk that hangs.
    pub fn publishing_behind(&self) -> bool {
        self.shared.publishing_behind.load(Ordering::Relaxed) || self.shared.publishing_hangs()
    }

    /// The newest signed head.
    pub fn checkpoint(&self) -> SignedHead {
        self.shared.checkpoint.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The stored entries.
    pub fn reader(&self) -> &Arc<dyn EntryReader> {
        &self.shared.reader
    }

    /// State after all appended entries.
    pub fn views(&self) -> &Arc<Views> {
        &self.shared.views
    }

    /// The time to judge by: the clock's, never below the newest entry's. A clock that was set back revives
    /// nothing that is over.
    pub fn now_ms(&self) -> i64 {
        self.shared.last_time.load(Ordering::SeqCst).max(self.shared.clock.now_ms())
    }

    /// The ledger's name.
    pub fn origin(&self) -> &str {
        &self.shared.origin
    }

    /// The exact bytes of an entry that a head covers.
    pub fn entry(&self, index: u64) -> Result<Bytes, Code> {
        if index >= self.checkpoint().size {
            return Err(Code::NotFound);
        }
        self.shared.reader.read(index).map_err(|error| internal(&error))
    }

    /// An entry with its proof under the newest head.
    pub fn receipt(&self, index: u64) -> Result<Appended, Code> {
        self.receipt_under(index, &self.checkpoint())
    }

    /// An entry with its proof under a head that this ledger signed.
    pub fn receipt_under(&self, index: u64, head: &SignedHead) -> Result<Appended, Code> {
        if index >= head.size {
            return Err(Code::NotFound);
        }
        let entry = self.shared.reader.read(index).map_err(|error| internal(&error))?;
        let proof = merkle::inclusion_proof(&self.shared.hashes(), index, head.size)
            .map_err(|error| internal(&error))?;
        Ok(Appended { index, entry, proof: tree::to_wire(&proof), checkpoint: head.note.clone() })
    }

    /// A consistency proof between two sizes, at most the newest head's.
    pub fn consistency(&self, from: u64, to: u64) -> Result<Vec<Bytes>, Code> {
        if from > to || to > self.checkpoint().size {
            return Err(Code::NotFound);
        }
        merkle::consistency_proof(&self.shared.hashes(), from, to)
            .map(|proof| tree::to_wire(&proof))
            .map_err(|error| internal(&error))
    }

    /// A hash tile for readers, from memory or file.
    pub fn tile(&self, level: u8, index: u64, width: u16) -> Option<Bytes> {
        use merkle::HashReader as _;
        let known = merkle_size_covers(self.checkpoint().size, level, index, width);
        known.then(|| self.shared.hashes().tile(level, index, width).ok()).flatten()
    }

    /// A member showed the newest head it has verified. Returns whether the ledger appends.
    pub fn show_head(&self, member: &MemberId, shown: &Checkpoint) -> Result<bool, Code> {
        let head = self.checkpoint();
        let consistent = shown.size <= head.size && self.root_at(shown.size)? == shown.root;
        let verdict = if consistent { Shown::Consistent } else { Shown::Contradicts };
        Ok(self.shared.heads.show(member, shown.size, verdict))
    }

    fn root_at(&self, size: u64) -> Result<merkle::Hash, Code> {
        merkle::root_from_tiles(&self.shared.hashes(), size).map_err(|error| internal(&error))
    }
}

fn merkle_size_covers(size: u64, level: u8, index: u64, width: u16) -> bool {
    let hashes = size.checked_shr(8 * u32::from(level)).unwrap_or(0);
    index
        .checked_mul(256)
        .and_then(|first| first.checked_add(u64::from(width)))
        .is_some_and(|end| end <= hashes)
}

fn internal(error: &dyn std::fmt::Display) -> Code {
    tracing::error!(%error, "the ledger could not be read");
    Code::Internal
}

/// Makes the sequencer look for room; never becomes an entry.
struct Probe;

impl Draft for Probe {
    fn finish(self: Box<Self>, _at: &Linear<'_>) -> Result<Kind, Code> {
        Err(Code::NotFound)
    }

    fn before_heads(&self) -> bool {
        true
    }

    fn accepts_clock(&self) -> bool {
        true
    }
}

/// Capacity of the queue in front of the sequencer.
const QUEUE: usize = SEQUENCE_QUEUE;
