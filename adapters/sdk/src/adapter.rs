//! The adapter: the way of one request on one screen. Verify and decide, bind the subject, fetch, sign,
//! journal, and only then answer.

mod config;
mod serving;

pub use config::{AdapterConfig, AdapterError, AdapterLimits, ClockRule};

use crate::batch::{Ends, Handed, is_paged_search, said};
use crate::count::Counts;
use crate::decide::{ContractPolicy, Judged};
use crate::fetch::Ask;
use crate::health::{Counters, Snapshot};
use crate::journal::{
    AnswerJournal, Draft, Exchange, HeldHead, JournalError, KeptHead, Kind, Memory, Record,
};
use crate::material::{Cases, Documents, MaterialSource};
use crate::reply::{Refusal, Released, Reply, Signer, Statement};
use crate::sealing::SealingKey;
use crate::standings::Standings;
use crate::subjects::subject_key;
use crate::watch::{AnswerKey, Watch};
use bytes::Bytes;
use serving::Serving;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use yiwang_policies::Decider;
use yiwang_proto::adapter_journal::beside_statements;
use yiwang_proto::ambient::{Clock, Entropy};
use yiwang_proto::answer::Verdict;
use yiwang_proto::batch::Roots;
use yiwang_proto::body::RequestBody;
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::Method;
use yiwang_proto::delegation::Delegation;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::{SignedStatement, payload_type};
use yiwang_proto::ids::{AppId, MemberId};
use yiwang_proto::limits::CLOCK_SKEW_MS;
use yiwang_proto::peer_time::PeerTime;
use yiwang_proto::request::Request;
use yiwang_proto::tag::{Tag, TagKey};
use yiwang_proto::{Digest, pb};

/// A member's adapter: it answers requests from its sources and from nobody's word but signed ones.
pub struct Adapter {
    signer: Signer,
    pub(crate) tag_key: TagKey,
    pub(crate) ends: Ends,
    delegation_document: SignedDocument,
    sources: Serving,
    counts: Counts,
    ledger: Arc<CheckpointVerifier>,
    pub(crate) entropy: Arc<dyn Entropy>,
    memory: Mutex<Memory>,
    // Beside the lock: it is read and raised by every request.
    highest_ms: AtomicI64,
    head_kept_us: AtomicU64,
    members_time: Mutex<PeerTime>,
    records_read: u64,
    // Since the last snapshot.
    pub(crate) records: AtomicU64,
    counters: Arc<Counters>,
    pub(crate) roots: Roots,
    limits: AdapterLimits,
    pub(crate) delegation: Delegation,
    pub(crate) sealing: Option<SealingKey>,
    pub(crate) policy: ContractPolicy,
    pub(crate) decider: Arc<Decider>,
    pub(crate) documents: Documents,
    pub(crate) cases: Cases,
    pub(crate) standings: Standings,
    pub(crate) journal: AnswerJournal,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) watch: Watch,
    pub(crate) changes: tokio::sync::watch::Sender<()>,
}

/// A request whose form is checked and whose signature is not yet.
pub(crate) struct Incoming {
    pub(crate) signed: SignedStatement,
    pub(crate) request: Request,
    pub(crate) digest: Digest,
}

/// How far a request came; what its journal record says besides the statements.
#[derive(Default)]
pub(crate) struct Trail {
    pub(crate) counted: bool,
    /// The officer was counted by himself.
    pub(crate) proved: bool,
    /// The ticket of which this is a use.
    pub(crate) ticket: Option<Digest>,
    pub(crate) subject: Option<(Digest, Tag)>,
    /// Own tags of all whose rows a batch's page holds, ascending: the journal keeps them where the statement has only
    /// their root.
    pub(crate) handed: Vec<Tag>,
}

impl Incoming {
    fn parse(bytes: Bytes) -> Option<Self> {
        let signed = SignedStatement::parse(bytes).ok()?;
        signed.expect_type(payload_type::REQUEST).ok()?;
        let request = Request::of(&signed).ok()?;
        let digest = signed.digest();
        Some(Self { signed, request, digest })
    }
}

impl Adapter {
    /// Answers one request within the contract's deadline. `request` and `body` are the exact bytes from
    /// the hub; `material` hands over signed documents. When this returns, request and answer are durable.
    pub async fn handle(&self, request: Bytes, body: Bytes, material: &dyn MaterialSource) -> Reply {
        self.handle_within(request, body, material, u64::MAX).await
    }

    /// As [`Adapter::handle`], and after `left_ms` milliseconds nobody waits any more.
    pub async fn handle_within(
        &self,
        request: Bytes,
        body: Bytes,
        material: &dyn MaterialSource,
        left_ms: u64,
    ) -> Reply {
        let _in_flight = self.counters.begin();
        let _under_way = self.journal.begin();
        let started_us = self.clock.monotonic_us();
        let Some(incoming) = Incoming::parse(request) else {
            self.counters.unsigned();
            return Reply::unsigned();
        };
        let mut trail = Trail::default();
        let over_us = started_us.saturating_add(left_ms.saturating_mul(1000));
        let outcome = self.run(&incoming, &body, material, over_us, &mut trail).await;
        self.reply(&incoming, outcome, trail).await
    }

    /// Refuses a request that cannot be taken on, without looking at anything but its form.
    pub(crate) async fn turn_away(&self, request: Bytes, code: Code, clause: &str) -> Reply {
        let Some(incoming) = Incoming::parse(request) else {
            self.counters.unsigned();
            return Reply::unsigned();
        };
        let refusal = self.receipts_in_order().err().unwrap_or_else(|| Refusal::failed(code, clause));
        self.reply(&incoming, Err(refusal), Trail::default()).await
    }

    async fn run(
        &self,
        incoming: &Incoming,
        body: &Bytes,
        material: &dyn MaterialSource,
        over_us: u64,
        trail: &mut Trail,
    ) -> Result<Released, Refusal> {
        self.journal.ready().await?;
        self.receipts_in_order()?;
        let now_ms = self.judging_time()?;
        let judged = self.judge(incoming, body, material, now_ms, trail).await?;
        trail.subject = self.bind_subject(&incoming.request, &judged.body)?;
        let mut released = self.fetch(incoming, &judged, over_us).await?;
        trail.handed = std::mem::take(&mut released.handed);
        if released.rows > 0 {
            released.subject_tags.extend(trail.subject.iter().map(|(_, tag)| *tag));
        }
        (released.subject_tags, released.subject_tags_root) = said(released.subject_tags, &trail.handed);
        Ok(released)
    }

    /// Binds the consumer's tag to the subject of the body before any source is asked.
    fn bind_subject(&self, request: &Request, body: &RequestBody) -> Result<Option<(Digest, Tag)>, Refusal> {
        if body.subject.is_empty() {
            return Ok(None);
        }
        let [tag] = request.subject_tags.as_slice() else {
            let clause = "a request about a subject names exactly one tag";
            return Err(Refusal::denied(Code::SubjectNotInCase, clause));
        };
        let key = subject_key(&request.consumer, &request.case, tag);
        let own = self.tag_key.tag(&body.subject, &request.case);
        match self.memory().subjects.bind(&key, &own, self.now_ms()) {
            Ok(()) => Ok(Some((key, own))),
            Err(_) => Err(Refusal::denied(Code::TagMismatch, "the tag stands for another subject")),
        }
    }

    async fn fetch(&self, incoming: &Incoming, judged: &Judged, over_us: u64) -> Result<Released, Refusal> {
        let request = &incoming.request;
        let key = (request.record.clone(), request.operation.clone());
        let Some(source) = self.sources.source(&key) else {
            return Err(Refusal::failed(Code::SourceError, "no mapping serves this operation"));
        };
        let permit = &judged.permit;
        let (now_ms, now_us) = (self.now_ms(), self.clock.monotonic_us());
        let left = over_us.saturating_sub(now_us).saturating_div(1000).min(u64::from(permit.deadline_ms()));
        let ask = Ask {
            operation: &request.operation,
            fields: permit.fields(),
            rows: permit.rows(),
            subject: &judged.body.subject,
            arguments: &judged.body.arguments,
            limit: permit.row_limit(),
            now_ms,
            deadline_ms: now_ms.saturating_add(i64::try_from(left).unwrap_or(i64::MAX)),
            highest_class: permit.highest_class(),
        };
        let method = permit.contract().text.method;
        let paged = method == Method::Batch || is_paged_search(&source, ask.operation, method);
        let answered = match method {
            Method::Batch => self.page(&source, ask, request, incoming.digest).await,
            _ if paged => self.search_page(&source, ask, request, incoming.digest).await,
            _ => self.counts.answer(&source, ask, method).await.map(|mapped| (mapped, Handed::default())),
        };
        let took_us = self.clock.monotonic_us().saturating_sub(now_us);
        // What is wrong with an argument says nothing of the source; a page says for itself how long it took.
        let said = paged || answered.as_ref().is_err_and(|error| error.code == Code::ArgumentInvalid);
        if !said {
            source.note(&request.operation, took_us, self.now_ms(), answered.as_ref().err());
        }
        let (mapped, handed) = answered.map_err(|error| {
            tracing::warn!(code = error.code.as_str(), detail = %error.detail, "no answer from the source");
            match error.code {
                Code::ArgumentInvalid | Code::OperationNotGranted => {
                    Refusal::denied(error.code, &error.clause)
                }
                code => Refusal::failed(code, &error.clause),
            }
        })?;
        Ok(Released {
            fields: mapped.fields,
            withheld: mapped.withheld,
            rows: mapped.rows,
            subject_tags: Vec::new(),
            subject_tags_root: None,
            handed: handed.tags,
            resume: handed.resume,
            follows: handed.follows,
            as_of_ms: mapped.as_of_ms,
            mapping_digest: source.mapping().digest(),
            truncated: mapped.truncated,
            records: mapped.records,
            sealed_to: judged.sealed_to,
            together: judged.permit.contract().text.batch_signatures,
        })
    }

    /// Signs, journals and counts. INVARIANT: no answer leaves unless its record is durable, but for the refusal that says
    /// that no record can be made.
    async fn reply(&self, incoming: &Incoming, outcome: Result<Released, Refusal>, trail: Trail) -> Reply {
        let (head, now_ms) = (self.head().head, self.now_ms());
        let (request, digest) = (&incoming.request, incoming.digest);
        let outcome = match outcome {
            Ok(released) => self.signer.release(request, digest, released, head, now_ms, self.entropy()),
            Err(refusal) => Err(refusal),
        };
        let verdict = outcome.as_ref().map_or_else(|refusal| refusal.verdict.clone(), |_| Verdict::Answered);
        let (statement, body) = outcome.unwrap_or_else(|refusal| {
            let refused = self.signer.refuse(request, digest, &refusal, head, now_ms);
            (Statement::Signed(refused), Bytes::new())
        });
        let statement = match self.put_down(incoming, statement, trail, now_ms).await {
            Ok(statement) => statement,
            Err(error) => {
                let refusal = Refusal::from(error);
                self.count(&refusal.verdict);
                let statement = self.signer.refuse(request, digest, &refusal, head, now_ms);
                return Reply { answer: statement.bytes().clone(), body: Bytes::new() };
            }
        };
        self.records.fetch_add(1, Ordering::Relaxed);
        self.count(&verdict);
        let request = incoming.signed.bytes();
        // What is only refused because receipts are owed asks for none.
        if verdict == Verdict::Failed(Code::ReceiptsOwed) {
            self.watch.owed().ask_for_none(request, statement.bytes(), now_ms);
        } else {
            let (gives, now_us) = (verdict == Verdict::Answered, self.clock.monotonic_us());
            // Before the lock: hashing takes longer than what is done under it.
            let name = AnswerKey::of(request, statement.bytes());
            self.watch.owed().expect_named(name, (request, statement.bytes()), gives, (now_us, now_ms));
        }
        Reply { answer: statement.bytes().clone(), body }
    }

    /// Makes the record durable, and signs on the way what is signed with others.
    async fn put_down(
        &self,
        incoming: &Incoming,
        statement: Statement,
        trail: Trail,
        now_ms: i64,
    ) -> Result<SignedStatement, JournalError> {
        let settled = self.watch.owed().settled_batch();
        let request = incoming.signed.bytes().clone();
        match statement {
            Statement::Signed(signed) => {
                let record = record(request, &signed, &trail, settled, now_ms);
                self.journal.append(record).await.map(|()| signed)
            }
            Statement::Together(payload) => {
                let beside = beside_statements(settled.len(), trail.handed.len());
                let draft = Draft {
                    payload,
                    key: Arc::clone(&self.signer.key),
                    beside: request.len().saturating_add(beside),
                    record: Box::new(move |signed| record(request, signed, &trail, settled, now_ms)),
                };
                self.journal.append_answer(draft).await
            }
        }
    }

    fn count(&self, verdict: &Verdict) {
        match verdict {
            Verdict::Answered => self.counters.answered(),
            Verdict::Denied(code) => self.counters.denied(*code),
            Verdict::Failed(code) => self.counters.failed(*code),
        }
    }

    /// The time that counts: the own clock, never below the highest that was kept.
    pub(crate) fn now_ms(&self) -> i64 {
        let own = self.clock.now_ms();
        self.highest_ms.fetch_max(own, Ordering::AcqRel).max(own)
    }

    /// The time to judge by, unless the own clock cannot be right.
    fn judging_time(&self) -> Result<i64, Refusal> {
        let now_ms = self.now_ms();
        if self.behind_journal_ms() > CLOCK_SKEW_MS {
            return Err(Refusal::failed(Code::ClockSkew, "the adapter's clock is behind its own journal"));
        }
        Ok(now_ms)
    }

    fn behind_journal_ms(&self) -> i64 {
        self.highest_ms.load(Ordering::Acquire).saturating_sub(self.clock.now_ms())
    }

    /// Takes the time of a statement whose signature was verified, and refuses to go on if most consumers
    /// say that the own clock cannot be right.
    pub(crate) fn hear_time(&self, request: &Request) -> Result<(), Refusal> {
        let monotonic_us = self.clock.monotonic_us();
        self.members_time().hear(&request.consumer, request.issued_at_ms, monotonic_us);
        match self.off_members_ms() {
            None => Ok(()),
            Some(_) => {
                Err(Refusal::failed(Code::ClockSkew, "the adapter's clock is off what most members sign"))
            }
        }
    }

    fn members_time(&self) -> MutexGuard<'_, PeerTime> {
        self.members_time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn off_members_ms(&self) -> Option<i64> {
        let (now_ms, monotonic_us) = (self.clock.now_ms(), self.clock.monotonic_us());
        self.members_time().skew_ms(now_ms, monotonic_us)
    }

    /// By how much the own clock is off, milliseconds; negative where it is behind, 0 while it can be right.
    fn clock_skew_ms(&self) -> i64 {
        let behind = self.behind_journal_ms();
        let behind = if behind > CLOCK_SKEW_MS { -behind } else { 0 };
        self.off_members_ms().unwrap_or(behind)
    }

    /// Makes a verified head the one that answers name. The caller has checked that it continues the old.
    pub(crate) async fn keep_head(&self, head: HeldHead) -> Result<(), JournalError> {
        if self.head() != head {
            let kept = KeptHead { checkpoint: head.checkpoint.clone() };
            self.write_down(Record::new(self.now_ms(), Kind::Head(kept))).await?;
            self.note_head(&head.head);
            self.memory().head = head;
        }
        self.head_kept_us.store(self.clock.monotonic_us(), Ordering::Release);
        Ok(())
    }

    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest head of the ledger that this adapter verified and keeps.
    pub fn head(&self) -> HeldHead {
        self.memory().head.clone()
    }

    /// The member.
    pub fn member(&self) -> &MemberId {
        &self.signer.member
    }

    /// The adapter's name.
    pub fn name(&self) -> &AppId {
        &self.signer.adapter
    }

    /// The adapter's delegation document.
    pub fn delegation_document(&self) -> &SignedDocument {
        &self.delegation_document
    }

    /// The verifier of the pinned ledger.
    pub(crate) fn ledger(&self) -> &CheckpointVerifier {
        &self.ledger
    }

    pub(crate) fn entropy(&self) -> &dyn Entropy {
        self.entropy.as_ref()
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    /// What was configured.
    pub fn limits(&self) -> &AdapterLimits {
        &self.limits
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether the journal failed: nothing is answered with records until a new start.
    pub fn is_dead(&self) -> bool {
        self.journal.is_dead()
    }

    /// Records and operations that are served, in a fixed order.
    pub fn operations(&self) -> Vec<pb::ServedOperation> {
        let sources = self.sources.now();
        let mut served: Vec<_> = sources
            .iter()
            .map(|((record, operation), source)| pb::ServedOperation {
                record: record.as_str().to_owned(),
                operation: operation.as_str().to_owned(),
                mapping_digest: Bytes::copy_from_slice(&source.mapping().digest()),
            })
            .collect();
        served.sort_by(|a, b| (&a.record, &a.operation).cmp(&(&b.record, &b.operation)));
        served
    }

    /// Counts and states; no names of subjects, no values.
    pub fn health(&self) -> Snapshot {
        let kept_us = self.head_kept_us.load(Ordering::Acquire);
        let (standings, standing_age_ms) = self.standings.ages(self.now_ms());
        // Before the other look at what is owed: within one expression the lock would be held for it.
        let unreceipted = self.watch.owed().len() as u64;
        Snapshot {
            standings: standings as u64,
            standing_age_ms: u64::try_from(standing_age_ms).unwrap_or_default(),
            head_size: self.head().head.size,
            head_age_ms: self.clock.monotonic_us().saturating_sub(kept_us) / 1000,
            receipt_age_ms: self.counters.receipt_age_ms(self.clock.monotonic_us()),
            unreceipted,
            receipts_owed: self.receipts_stop(),
            clock_skew_ms: self.clock_skew_ms(),
            journal_read: self.records_read,
            journal_full: self.journal.is_full(),
            journal_dead: self.journal.is_dead(),
            ..self.counters.snapshot()
        }
    }
}

fn record(
    request: Bytes,
    answer: &SignedStatement,
    trail: &Trail,
    settled: Vec<Bytes>,
    now_ms: i64,
) -> Bytes {
    let half = |digest: Option<Digest>| digest.map(|d| Bytes::copy_from_slice(&d)).unwrap_or_default();
    let exchange = Exchange {
        request,
        answer: answer.bytes().clone(),
        counted: trail.counted,
        subject_key: half(trail.subject.map(|(key, _)| key)),
        provider_tag: half(trail.subject.map(|(_, tag)| tag)),
        settled,
        proved: trail.proved,
        ticket: half(trail.ticket),
        handed_tags: Bytes::from(trail.handed.concat()),
    };
    Record::new(now_ms, Kind::Exchange(exchange)).encode()
}

impl std::fmt::Debug for Adapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Adapter").field("member", &self.signer.member).finish_non_exhaustive()
    }
}
