//! The witness role: this adapter cosigns the ledger's checkpoints, each only if it extends the one that it
//! cosigned before (C2SP `tlog-witness`). What it cosigned is durable before the answer leaves, and nothing
//! comes between looking at the record and replacing it.

use crate::adapter::Adapter;
use crate::journal::{KeptHead, Kind, Record};
use bytes::Bytes;
use tokio::sync::Mutex;
use yiwang_proto::note::CosignerKey;
use yiwang_proto::witness::{AddCheckpoint, ForkEvidence, Judged, Recorded, Refused};

/// Status for a record that cannot be made durable; the protocol has none of its own for it.
const CANNOT_RECORD: u16 = 503;

/// The role's state.
#[derive(Debug)]
pub(crate) struct Witness {
    key: CosignerKey,
    // INVARIANT: held from looking at the record until the next one is durable.
    recorded: Mutex<Option<Recorded>>,
}

/// What goes back for one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessAnswer {
    /// The protocol's status code.
    pub status: u16,
    /// The body: signature lines for 200, a size for 409, else words.
    pub body: Bytes,
}

impl Witness {
    pub(crate) fn new(key: CosignerKey, recorded: Option<Recorded>) -> Self {
        Self { key, recorded: Mutex::new(recorded) }
    }

    /// The checkpoint that was cosigned last. Not for the runtime's threads: it waits for the disk.
    pub(crate) fn recorded(&self) -> Option<Recorded> {
        self.recorded.blocking_lock().clone()
    }

    /// The key under which others verify its cosignatures.
    pub(crate) fn vkey(&self) -> String {
        self.key.verifier().to_string()
    }
}

fn answer(status: u16, body: impl Into<String>) -> WitnessAnswer {
    WitnessAnswer { status, body: Bytes::from(body.into()) }
}

impl Adapter {
    /// Answers one `add-checkpoint`. An adapter that is no witness knows no log.
    pub async fn add_checkpoint(&self, body: &[u8]) -> WitnessAnswer {
        let Some(witness) = &self.watch.witness else { return answer(404, "this adapter is no witness\n") };
        let call = match AddCheckpoint::parse(body) {
            Ok(call) => call,
            Err(error) => return answer(400, format!("{error}\n")),
        };
        let mut recorded = witness.recorded.lock().await;
        let ledger = self.ledger();
        let next = match call.judge(recorded.as_ref(), ledger.key(), ledger.origin()) {
            Judged::Cosign(next) => next,
            Judged::Refused(refused) => {
                self.keep_fork(&refused, recorded.as_ref(), &call);
                return answer(refused.status, refused.body);
            }
        };
        if self.contradicts_known(&next.checkpoint) {
            // Its own record is older than what the adapter verified for other reasons: both count.
            let what = "a checkpoint to cosign has another root than a head that is known here";
            self.keep_heads(what, call.checkpoint.as_bytes(), &[]);
            return answer(422, "another root of this size is known here\n");
        }
        if recorded.as_ref().is_none_or(|old| old.checkpoint != next.checkpoint) {
            let kept = KeptHead { checkpoint: Bytes::from(next.note.clone()) };
            let record = Record::new(self.now_ms(), Kind::Witnessed(kept));
            if let Err(error) = self.write_down(record).await {
                tracing::error!(%error, "a checkpoint is not cosigned, because it cannot be recorded");
                return answer(CANNOT_RECORD, "the checkpoint could not be recorded\n");
            }
        }
        // The whole text of the note, with extension lines where there are any.
        let text = next.note.rsplit_once("\n\n").map(|(text, _)| format!("{text}\n")).unwrap_or_default();
        let seconds = u64::try_from(self.now_ms().div_euclid(1000)).unwrap_or(0);
        *recorded = Some(next);
        self.counters().cosigned();
        answer(200, format!("{}\n", witness.key.cosign(&text, seconds)))
    }

    fn keep_fork(&self, refused: &Refused, recorded: Option<&Recorded>, call: &AddCheckpoint) {
        if !refused.fork {
            return;
        }
        let kept = recorded.map_or("", |recorded| recorded.note.as_str()).as_bytes();
        let what = format!(
            "a checkpoint to cosign does not extend the one cosigned before: {}",
            refused.body.trim()
        );
        let evidence =
            ForkEvidence::new(&what, self.now_ms(), kept, call.checkpoint.as_bytes(), b"", &call.proof);
        self.evidence().keep(&evidence);
    }
}
