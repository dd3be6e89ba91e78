//! The publisher's other half: asks the witnesses for cosignatures and publishes what the policy accepts.
//! Receipts do not wait for it; intake does, when it is stuck for too long.

use crate::context::Hub;
use crate::ledger::publish::SignedHead;
use crate::limits::PUBLISH_EVERY;
use crate::links::Link;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use yiwang_proto::codes::Code;
use yiwang_proto::ids::MemberId;
use yiwang_proto::note::{NoteSignature, SignedNote, VerifierKey};
use yiwang_proto::witness::{AddCheckpoint, WitnessPolicy, add_lines, parse_lines};
use yiwang_proto::{pb, receipt};

/// Tries of one witness in one round: to learn what it has recorded, to go on from there, and one for a head
/// that came between.
const TRIES: usize = 3;
/// Signature lines that one witness may answer.
const LINES_MAX: usize = 8;
/// Once the quorum is there, slower witnesses have so long to add their lines.
const SLOWER: Duration = Duration::from_millis(200);

/// What the hub knows of its witnesses.
struct Rounds {
    hub: Arc<Hub>,
    policy: Arc<WitnessPolicy>,
    // By the witness's number in the policy and the member that claims its key: the size that it has recorded, as far as it
    // told. Whoever claims a key that is not its own must not speak for the one that has it.
    recorded: HashMap<(usize, MemberId), u64>,
}

/// What came of one witness.
struct Answered {
    number: usize,
    member: MemberId,
    recorded: u64,
    lines: Vec<NoteSignature>,
}

/// Publishes until the hub stops. Exchanges are refused when something waited for cosignatures for `limit`.
pub async fn collect(hub: Arc<Hub>, policy: Arc<WitnessPolicy>, limit: Duration) {
    let limit_us = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
    let mut rounds = Rounds { hub: Arc::clone(&hub), policy, recorded: HashMap::new() };
    let mut waiting_since: Option<u64> = None;
    loop {
        let now_us = hub.clock.monotonic_us();
        let head = hub.ledger.checkpoint();
        let published = hub.ledger.published().map_or(0, |published| published.size);
        if head.size <= published {
            waiting_since = None;
        } else if rounds.round(&head).await {
            // Something was published; what came meanwhile waits from now on.
            waiting_since = (hub.ledger.checkpoint().size > head.size).then_some(now_us);
        } else {
            waiting_since = waiting_since.or(Some(now_us));
        }
        let waited = waiting_since.map_or(0, |since| hub.clock.monotonic_us().saturating_sub(since));
        hub.ledger.set_publishing_stuck(waiting_since.is_some() && waited >= limit_us);
        if hub.stop.run_until_cancelled(tokio::time::sleep(PUBLISH_EVERY)).await.is_none() {
            return;
        }
    }
}

impl Rounds {
    /// Asks every linked witness for this head. True if it was published.
    async fn round(&mut self, head: &SignedHead) -> bool {
        let witnesses: Vec<(usize, VerifierKey)> =
            (0..).zip(self.policy.witnesses()).map(|(number, (_, key))| (number, key.clone())).collect();
        let mut asked = FuturesUnordered::new();
        for (number, key) in witnesses {
            for link in self.hub.links.witnesses(&key.to_string()) {
                let old = self.recorded.get(&(number, link.member().clone())).copied();
                asked.push(ask(Arc::clone(&self.hub), link, number, old, head.clone()));
            }
        }
        let mut lines = Vec::new();
        let mut met = self.cosigned(head, &lines);
        while let Some(answered) = next(&mut asked, met.is_some()).await {
            self.recorded.insert((answered.number, answered.member), answered.recorded);
            // Each answer by itself: lines that are no good must not spoil those of others.
            for line in self.good(head, &answered.lines) {
                if !lines.contains(&line) {
                    lines.push(line);
                }
            }
            met = self.cosigned(head, &lines);
        }
        let Some(note) = met else { return false };
        let (ledger, head) = (self.hub.ledger.clone(), SignedHead { note: note.into(), ..head.clone() });
        let publishing = self.hub.ledger.off_runtime(move || ledger.publish_witnessed(head));
        match publishing.await {
            Some(Ok(())) => true,
            Some(Err(error)) => {
                tracing::warn!(%error, "the cosigned checkpoint could not be written; it is tried again");
                false
            }
            None => false,
        }
    }

    /// Those lines that a witness of the policy signed under this head.
    fn good(&self, head: &SignedHead, lines: &[NoteSignature]) -> Vec<NoteSignature> {
        let all = add_lines(&head.note, lines).ok();
        let note = all.as_ref().and_then(|all| SignedNote::parse(all.as_bytes()).ok());
        note.map(|note| self.policy.good_lines(&note)).unwrap_or_default()
    }

    /// The head with these lines, if they satisfy the policy.
    fn cosigned(&self, head: &SignedHead, lines: &[NoteSignature]) -> Option<String> {
        let note = add_lines(&head.note, lines).ok()?;
        let (key, origin) = (self.hub.checkpoints.key(), self.hub.ledger.origin());
        self.policy.open(note.as_bytes(), key, origin).ok().map(|_| note)
    }
}

async fn next<F: Future<Output = Answered>>(asked: &mut FuturesUnordered<F>, met: bool) -> Option<Answered> {
    if met { tokio::time::timeout(SLOWER, asked.next()).await.ok().flatten() } else { asked.next().await }
}

/// One witness: from what it has recorded to this head.
async fn ask(
    hub: Arc<Hub>,
    link: Arc<Link>,
    number: usize,
    known: Option<u64>,
    head: SignedHead,
) -> Answered {
    let (member, recorded_size) = (link.member().clone(), known.unwrap_or(0));
    let mut answered = Answered { number, member, recorded: recorded_size, lines: Vec::new() };
    for _ in 0..TRIES {
        let Some(body) = body(&hub, answered.recorded, &head) else { break };
        let reply = match link.add_checkpoint(body).await {
            Ok(reply) => reply,
            Err(code) => {
                tracing::warn!(member = %link.member(), %code, "a witness does not answer");
                break;
            }
        };
        match reply.status {
            200 => {
                answered.lines = parse_lines(&reply.body, LINES_MAX).unwrap_or_default();
                answered.recorded = head.size;
                break;
            }
            409 => match recorded(&reply.body) {
                Some(size) if size <= head.size && size != answered.recorded => {
                    note_restored(&hub, &link, known, size);
                    answered.recorded = size;
                }
                Some(size) => {
                    refused(
                        &hub,
                        &link,
                        &reply,
                        &format!("it has recorded size {size}, this ledger has {}", head.size),
                    );
                    break;
                }
                None => break,
            },
            _ => {
                refused(&hub, &link, &reply, "it does not cosign");
                break;
            }
        }
    }
    answered
}

fn body(hub: &Hub, old_size: u64, head: &SignedHead) -> Option<Bytes> {
    let proof = if old_size == 0 { Vec::new() } else { hub.ledger.consistency(old_size, head.size).ok()? };
    let proof = receipt::hashes(&proof).ok()?;
    let checkpoint = String::from_utf8(head.note.to_vec()).ok()?;
    Some(Bytes::from(AddCheckpoint { old_size, proof, checkpoint }.to_string()))
}

fn recorded(body: &[u8]) -> Option<u64> {
    std::str::from_utf8(body).ok()?.strip_suffix('\n')?.parse().ok()
}

/// A witness that has recorded less than it cosigned was restored from an old copy. It goes on from there, and
/// others are told.
fn note_restored(hub: &Hub, link: &Link, known: Option<u64>, size: u64) {
    if known.is_some_and(|known| size < known) {
        hub.alarms.restored();
        tracing::error!(member = %link.member(), size, ?known, "a witness was restored from an old copy");
    }
}

fn refused(hub: &Hub, link: &Link, reply: &pb::WitnessReply, what: &str) {
    // Busy or unable to record: no word about this ledger.
    if reply.status != 503 {
        hub.alarms.witness();
    }
    let said: String =
        String::from_utf8_lossy(&reply.body).chars().filter(|c| !c.is_control()).take(200).collect();
    tracing::error!(member = %link.member(), status = reply.status, said, code = %Code::NotWitnessed, "a witness refuses: {what}");
}
