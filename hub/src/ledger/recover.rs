//! Opening a ledger: believe nothing. Entries are recovered by the store, the tree is restored from tiles
//! and compared with the signed head, and grown over the rest by the same code that runs after a commit.

use super::heads::Heads;
use super::known::KnownRoots;
use super::publish::{HeadSource, Publisher, SignedHead, Unsynced, clear_partials, write_durably};
use super::reads::Reads;
use super::sequence::Sequencer;
use super::stall::InHand;
use super::store::{EntryReader, EntryStore, StoreError};
use super::store_files::FileStore;
use super::tree::{TileFolder, Tiles};
use super::witnessed::Published;
use super::{Ledger, QUEUE, Shared};
use crate::limits::{ACTIVE_MEMBER_MS, LOOK_BACK_MAX};
use crate::views::Views;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use tokio::sync::mpsc;
use yiwang_journal::Gather;
use yiwang_journal::ground::Ground;
use yiwang_proto::ambient::Clock;
use yiwang_proto::checkpoint::Checkpoint;
use yiwang_proto::entry::{self, Kind};
use yiwang_proto::ids::MemberId;
use yiwang_proto::merkle::{EMPTY_ROOT, Hash, Tree};
use yiwang_proto::note::{SignerKey, VerifierKey};
use yiwang_proto::witness::WitnessPolicy;

/// Where a ledger lives and who signs it.
pub struct LedgerConfig {
    /// The ledger's folder.
    pub dir: PathBuf,
    /// Bytes per segment file.
    pub segment_bytes: u64,
    /// A random number for new segments.
    pub salt: u64,
    /// Signs heads; its name is the origin.
    pub signer: SignerKey,
    /// Which witnesses must have cosigned a checkpoint before it is published; none needs none.
    pub policy: Option<Arc<WitnessPolicy>>,
    /// Disk and threads.
    pub ground: Ground,
}

/// The newest head of the hub's own, where the published checkpoint is another.
const OWN_HEAD: &str = "head";
const CHECKPOINT: &str = "checkpoint";

/// Why a ledger does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenLedgerError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file cannot be read or written.
    #[error("ledger file `{path}`: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The stored head does not hold.
    #[error("stored checkpoint `{path}` does not hold: {detail}; restore the ledger's folder from a copy")]
    Checkpoint {
        /// Which file.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// Entries are not what was signed.
    #[error(
        "the entries do not lead to the signed head of size {size}: the ledger was changed; restore it from a copy"
    )]
    RootMismatch {
        /// Size of the head.
        size: u64,
    },
    /// An entry cannot be applied.
    #[error("entry {index} cannot be applied: {detail}")]
    Entry {
        /// Which.
        index: u64,
        /// Why.
        detail: String,
    },
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> OpenLedgerError {
    let path = path.to_owned();
    move |source| OpenLedgerError::Io { path, source }
}

/// Takes away a head that was published before witnesses were demanded; the own head that covers it is durable.
fn forget_unwitnessed(dir: &Path, is_there: bool) {
    if is_there {
        let _ = std::fs::remove_file(dir.join(CHECKPOINT));
    }
}

/// Opens the embedded ledger and starts its threads. `failed` is called if the sequencer ends by a fault.
pub fn open(
    config: LedgerConfig,
    views: Arc<Views>,
    clock: Arc<dyn Clock>,
    failed: impl FnOnce(StoreError) + Send + 'static,
) -> Result<Ledger, OpenLedgerError> {
    let origin = config.signer.verifier().name().to_owned();
    let published = stored_head(&config, &origin, CHECKPOINT)?;
    let own = stored_head(&config, &origin, OWN_HEAD)?;
    let floored = [&published, &own].into_iter().flatten().map(|(head, _)| head);
    let stored = floored.max_by_key(|head| head.size).cloned();
    let floor = stored.as_ref().map_or(0, |head| head.size);
    std::fs::create_dir_all(&config.dir).map_err(io(&config.dir))?;
    let (store, recovery) = FileStore::open_on(
        &config.ground,
        &config.dir.join("segments"),
        config.segment_bytes,
        config.salt,
        floor,
    )?;
    if let Some(torn) = &recovery.torn {
        tracing::warn!(?torn, "cut a torn batch that was never acknowledged");
    }
    let reader = store.reader();
    let tiles = Tiles::new(&config.dir, Arc::clone(&reader));
    let tree = restore_tree(stored.as_ref(), reader.as_ref(), &tiles)?;
    clear_partials(tiles.folder(), tree.size());
    catch_up(&views, reader.as_ref())?;
    let (active, last_time) = active_members(reader.as_ref())?;
    let publishing_behind = Arc::new(AtomicBool::new(false));
    let (size, root) = (tree.size(), tree.root());
    let verifier = config.signer.verifier().clone();
    let shared = Arc::new(Shared {
        reader,
        tree: RwLock::new(tree),
        tiles,
        views,
        heads: Heads::waiting_for(active),
        clock,
        last_time: AtomicI64::new(last_time),
        members_time: Mutex::default(),
        full: AtomicBool::new(false),
        publishing_behind: Arc::clone(&publishing_behind),
        reads: Reads::default(),
        failed: AtomicBool::new(false),
        batch: InHand::default(),
        publication: InHand::default(),
        gather: Gather::default(),
        workers: config.ground.workers,
        signer: config.signer,
        origin,
        checkpoint: RwLock::new(SignedHead { size: 0, root: EMPTY_ROOT, note: Bytes::new() }),
        known: KnownRoots::default(),
        published: Published::new(
            config.policy.is_some(),
            config.dir.clone(),
            cosigned(published, config.policy.as_deref(), &verifier),
        ),
    });
    // Every entry that recovery kept is durable, so a head over all of them may be signed.
    let head = shared.sign_head(size, root)?;
    let head_file = if config.policy.is_some() { OWN_HEAD } else { CHECKPOINT };
    write_durably(&config.dir.join(head_file), &head.note).map_err(io(&config.dir))?;
    forget_unwitnessed(&config.dir, config.policy.is_some() && shared.published.head().is_none());
    write_key(&config.dir, &verifier)?;
    shared.set_checkpoint(&head);
    let heads: Arc<dyn HeadSource> = Arc::clone(&shared) as _;
    let publisher = Publisher::start(
        &config.dir,
        head_file,
        Some(store.reserve()),
        publishing_behind,
        heads,
        shared.workers,
    )
    .map_err(io(&config.dir))?;
    start(store, shared, publisher, failed).map_err(io(&config.dir))
}

fn write_key(dir: &Path, verifier: &VerifierKey) -> Result<(), OpenLedgerError> {
    let path = dir.join("verifier.key");
    let key = format!("{verifier}\n");
    // A full disk keeps no hub from starting: nothing is written that is there already.
    if std::fs::read(&path).ok().as_deref() == Some(key.as_bytes()) {
        return Ok(());
    }
    write_durably(&path, key.as_bytes()).map_err(io(&path))
}

/// The stored checkpoint, if it has the cosignatures that are demanded now.
fn cosigned(
    stored: Option<(Checkpoint, Bytes)>,
    policy: Option<&WitnessPolicy>,
    key: &VerifierKey,
) -> Option<SignedHead> {
    let ((head, note), policy) = (stored?, policy?);
    policy.open(&note, key, &head.origin).ok()?;
    Some(SignedHead { size: head.size, root: head.root, note })
}

fn start(
    store: FileStore,
    shared: Arc<Shared>,
    publisher: Publisher,
    failed: impl FnOnce(StoreError) + Send + 'static,
) -> std::io::Result<Ledger> {
    let (queue, commands) = mpsc::channel(QUEUE);
    let sequencer = Sequencer { store, shared: Arc::clone(&shared), publisher };
    let watch = Arc::clone(&shared);
    shared.workers.start("ledger-sequence", async move {
        if let Err(error) = sequencer.run(commands).await {
            watch.failed.store(true, Ordering::Relaxed);
            failed(error);
        }
    })?;
    Ok(Ledger { shared, queue })
}

fn stored_head(
    config: &LedgerConfig,
    origin: &str,
    file: &str,
) -> Result<Option<(Checkpoint, Bytes)>, OpenLedgerError> {
    let path = config.dir.join(file);
    let note = match std::fs::read(&path) {
        Ok(note) => note,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(&path)(error)),
    };
    Checkpoint::open(&note, config.signer.verifier(), origin)
        .map(|head| Some((head, Bytes::from(note))))
        .map_err(|error| OpenLedgerError::Checkpoint { path, detail: error.to_string() })
}

/// The tree over all stored entries. Tiles are only a shortcut: what they yield must have the signed root. What is
/// missing at the edge is made again from below; if that does not lead to the root, all levels are made from the
/// lowest one and its newest tiles from the entries; only after that everything from the first entry on.
fn restore_tree(
    head: Option<&Checkpoint>,
    reader: &dyn EntryReader,
    tiles: &Tiles,
) -> Result<Tree, OpenLedgerError> {
    let signed = head.map_or((0, EMPTY_ROOT), |head| (head.size, head.root));
    let restore = |trusting| {
        let tree = Tree::restore(signed.0, &tiles.edge(signed.0, trusting, RESTORE_ENTRIES)).ok();
        tree.filter(|tree| tree.root() == signed.1)
    };
    let again = || {
        tracing::warn!("hash tiles are bad; their upper levels are made again");
        restore(false)
    };
    let mut tree = restore(true).or_else(again).unwrap_or_default();
    if tree.size() < signed.0 {
        tracing::warn!("hash tiles are missing or bad; all are made again from the entries");
    }
    grow(&mut tree, signed, reader, tiles.folder())?;
    if tree.size() < signed.0 {
        return Err(OpenLedgerError::RootMismatch { size: signed.0 });
    }
    Ok(tree)
}

/// Entries that may be read to make missing tiles at the edge again; with more, a walk over all is quicker.
const RESTORE_ENTRIES: u64 = 1 << 20;
/// Tiles that are written before they are synced.
const GROW_UNSYNCED: usize = 1024;

fn grow(
    tree: &mut Tree,
    signed: (u64, Hash),
    reader: &dyn EntryReader,
    tiles: &TileFolder,
) -> Result<(), OpenLedgerError> {
    let mut failure = None;
    let mut unsynced = Unsynced::default();
    // Not fatal: a tile that is missing is made again when it is read.
    let complain = |error: std::io::Error| tracing::warn!(%error, "a hash tile could not be written");
    reader.scan(tree.size(), &mut |_, _, leaf| {
        for tile in tree.append(&[leaf]) {
            unsynced.write(tiles, &tile).unwrap_or_else(complain);
        }
        if unsynced.waiting() >= GROW_UNSYNCED {
            unsynced.sync().unwrap_or_else(complain);
        }
        if tree.size() == signed.0 && tree.root() != signed.1 {
            failure = Some(OpenLedgerError::RootMismatch { size: signed.0 });
        }
        failure.is_none()
    })?;
    unsynced.sync().unwrap_or_else(complain);
    failure.map_or(Ok(()), Err)
}

/// Applies the entries that the stored views do not yet reflect.
fn catch_up(views: &Views, reader: &dyn EntryReader) -> Result<(), OpenLedgerError> {
    let mut failure = None;
    reader.scan(views.size(), &mut |index, bytes, _| {
        let applied = entry::decode(&bytes)
            .map_err(|error| error.to_string())
            .and_then(|entry| views.apply(index, &entry).map_err(|error| error.to_string()));
        failure = applied.err().map(|detail| OpenLedgerError::Entry { index, detail });
        failure.is_none()
    })?;
    failure.map_or(Ok(()), Err)
}

/// Members with an entry in the ledger's last day, and the time of the newest entry.
fn active_members(reader: &dyn EntryReader) -> Result<(BTreeSet<MemberId>, i64), OpenLedgerError> {
    let (mut active, mut dismissed) = (BTreeSet::new(), BTreeSet::new());
    let (mut newest, mut seen) = (None, 0_u64);
    reader.scan_back(&mut |_, bytes| {
        let Ok(entry) = entry::decode(&bytes) else { return false };
        // The last entry's own: those before may be later, where a clock was accepted.
        let newest = *newest.get_or_insert(entry.time_ms);
        match &entry.kind {
            Some(Kind::Exchange(exchange)) => {
                let parties = entry::recorded_parties(exchange);
                // A provider counts as active only where it answered.
                let answered = !exchange.answer.is_empty();
                let parties = parties.into_iter().flat_map(|(consumer, provider)| {
                    [Some(consumer), answered.then_some(provider)].into_iter().flatten()
                });
                active.extend(parties.filter(|member| !dismissed.contains(member)));
            }
            // The newest entry comes first: what a member did before its dismissal asks for no head of it,
            // because it cannot show one any more.
            Some(Kind::Dismissal(raw)) => {
                let member = raw.who.strip_prefix("member:").map(MemberId::parse);
                dismissed.extend(member.and_then(Result::ok));
            }
            _ => {}
        }
        seen += 1;
        // The ledger's last day ends at its newest entry: a hub that was off for a week still asks.
        seen < LOOK_BACK_MAX && newest - entry.time_ms < ACTIVE_MEMBER_MS
    })?;
    Ok((active, newest.unwrap_or_default()))
}

#[cfg(test)]
mod tests;
