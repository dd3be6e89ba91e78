//! The order of durable steps. One thread owns the store; the step that assigns an index is the
//! linearisation point of everything that the ledger decides.
//!
//! For each batch: gather under load → finish drafts (re-check, assign index and time) → append with one sync → grow the tree
//! → sign the head → hand out receipts → pass tiles and head to the publisher. A crash before the sync
//! loses drafts that nobody was told about; a crash after it loses nothing, because recovery grows the
//! tree from the stored entries by the same code.

use super::publish::Publisher;
use super::store::{EntryStore, StoreError};
use super::{Appended, Draft, Linear, Shared};
use crate::limits::BATCH_MAX;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{mpsc, oneshot};
use yiwang_proto::codes::Code;
use yiwang_proto::merkle::inclusion_proof;
use yiwang_proto::{entry, pb};

/// A draft on its way to the ledger, and who waits for it.
pub struct Command {
    pub(super) draft: Box<dyn Draft>,
    pub(super) reply: oneshot::Sender<Result<Appended, Code>>,
}

/// What reaches the sequencer.
pub enum Message {
    /// A draft.
    Append(Command),
    /// Publish the last head and end; what waits behind this is refused.
    Stop(oneshot::Sender<()>),
}

struct Built {
    bytes: Bytes,
    reply: oneshot::Sender<Result<Appended, Code>>,
}

pub(super) struct Sequencer<S: EntryStore> {
    pub(super) store: S,
    pub(super) shared: Arc<Shared>,
    pub(super) publisher: Publisher,
}

/// Bytes after which a batch is closed; one more entry of the largest size still fits the store's batch.
const BATCH_BYTES: usize = 1 << 20;

impl<S: EntryStore> Sequencer<S> {
    /// Runs until all senders are gone or the store fails. A store failure is fatal for the process:
    /// its outcome is unknown, so nothing may be acknowledged after it.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Message>) -> Result<(), StoreError> {
        while let Some(message) = queue.recv().await {
            let first = match message {
                Message::Append(command) => command,
                Message::Stop(done) => {
                    self.publisher.finish();
                    // Whoever waits may open the folder again: its lock must be free by then.
                    drop(self);
                    let _ = done.send(());
                    return Ok(());
                }
            };
            self.shared.gather.wait(|| queue.len() + 1);
            self.shared.begin_batch();
            let room = self.store.ensure_room();
            self.shared.set_full(matches!(room, Err(StoreError::NoSpace)));
            match room {
                Ok(()) => {
                    if let Some(done) = self.batch(first, &mut queue)? {
                        self.publisher.finish();
                        drop(self);
                        let _ = done.send(());
                        return Ok(());
                    }
                }
                Err(StoreError::NoSpace) => refuse(first, Code::LedgerFull),
                Err(fatal) => return Err(fatal),
            }
            self.shared.end_batch();
        }
        self.publisher.finish();
        Ok(())
    }

    /// Builds and commits one batch; yields whoever asked to stop meanwhile.
    fn batch(
        &mut self,
        first: Command,
        queue: &mut mpsc::Receiver<Message>,
    ) -> Result<Option<oneshot::Sender<()>>, StoreError> {
        let mut stop = None;
        let mut built = Vec::with_capacity(64);
        let mut bytes = 0;
        let start = self.shared.reader.len();
        let mut next = Some(first);
        let clock_is_off = self.shared.clock_is_off();
        while let Some(command) = next.take() {
            if clock_is_off && !command.draft.accepts_clock() {
                refuse(command, Code::ClockSkew);
            } else if !self.shared.heads.appending() && !command.draft.before_heads() {
                refuse(command, Code::LedgerNotAppending);
            } else if let Some(item) = self.build(command, start + built.len() as u64) {
                bytes += item.bytes.len();
                built.push(item);
            }
            if built.len() < BATCH_MAX && bytes < BATCH_BYTES {
                match queue.try_recv() {
                    Ok(Message::Append(command)) => next = Some(command),
                    Ok(Message::Stop(done)) => stop = Some(done),
                    Err(_) => {}
                }
            }
        }
        if !built.is_empty() {
            self.commit(start, built)?;
        }
        Ok(stop)
    }

    /// Finishes one draft at the index it will have. Views change here, before the entry is durable:
    /// whatever is decided on them gets a higher index and is released only after its own, later sync.
    fn build(&self, command: Command, index: u64) -> Option<Built> {
        let Command { draft, reply } = command;
        let latest_ms = self.shared.last_time.load(Ordering::SeqCst);
        let accepts_clock = draft.accepts_clock();
        let time_ms = if accepts_clock { self.shared.clock.now_ms() } else { self.shared.next_time() };
        let at = Linear { index, time_ms, latest_ms, views: &self.shared.views };
        let parties = draft.parties();
        let finished = draft.finish(&at).and_then(|kind| {
            let message = pb::Entry { time_ms, kind: Some(kind) };
            let bytes = entry::encode(&message).map_err(|_| Code::TooLarge)?;
            if let Some((consumer, provider)) = parties {
                self.shared.views.apply_exchange_of(index, &consumer, &provider);
                return Ok(bytes);
            }
            self.shared.views.apply(index, &message).map_err(|error| {
                tracing::error!(%error, "an entry that was checked could not be applied");
                Code::Internal
            })?;
            Ok(bytes)
        });
        if accepts_clock && finished.is_ok() {
            self.shared.last_time.store(time_ms, Ordering::SeqCst);
        }
        match finished {
            Ok(bytes) => Some(Built { bytes, reply }),
            Err(code) => {
                // The waiting task may have given up; nothing was appended, so nothing is lost.
                let _ = reply.send(Err(code));
                None
            }
        }
    }

    fn commit(&mut self, start: u64, built: Vec<Built>) -> Result<(), StoreError> {
        let entries: Vec<Bytes> = built.iter().map(|item| item.bytes.clone()).collect();
        let leaves = match self.store.append(&entries) {
            Ok(leaves) => leaves,
            // Room was ensured above: lack of space inside a segment means that its blocks are not ours.
            Err(error) => return Err(StoreError::Fatal(error.to_string())),
        };
        let (checkpoint, proofs) = {
            let mut tree = self.shared.write_tree();
            let finished = tree.append(&leaves);
            let checkpoint = self.shared.sign_head(tree.size(), tree.root())?;
            // The edge in memory holds all that a batch needs: no file is read while the tree is locked.
            let proofs: Vec<_> =
                (start..).zip(&built).map(|(index, _)| inclusion_proof(&*tree, index, tree.size())).collect();
            self.shared.set_checkpoint(&checkpoint);
            self.publisher.publish(finished);
            (checkpoint, proofs)
        };
        for ((index, item), proof) in (start..).zip(built).zip(proofs) {
            let answer = match proof {
                Ok(proof) => Ok(Appended {
                    index,
                    entry: item.bytes,
                    proof: super::tree::to_wire(&proof),
                    checkpoint: checkpoint.note.clone(),
                }),
                Err(error) => {
                    tracing::error!(%error, index, "an entry is durable but its proof cannot be made");
                    Err(Code::Internal)
                }
            };
            // A waiting task that gave up finds its entry by its request id; the entry stands.
            let _ = item.reply.send(answer);
        }
        Ok(())
    }
}

fn refuse(command: Command, code: Code) {
    let _ = command.reply.send(Err(code));
}
