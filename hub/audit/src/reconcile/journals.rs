//! What adapters journalled before they answered.

use super::heads::Heads;
use super::recorded::Recorded;
use super::{Fault, Reconciled};
use crate::error::AuditError;
use crate::journal;
use bytes::Bytes;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use yiwang_proto::Digest;
use yiwang_proto::adapter_journal::{Exchange, Kind};
use yiwang_proto::answer::{Answer, Verdict};
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::MemberId;
use yiwang_proto::request::Request;

/// All answers of all journals.
#[derive(Debug, Default)]
pub(super) struct Journals {
    providers: HashSet<MemberId>,
    /// SHA-256 of each answer's envelope.
    answers: HashSet<Digest>,
    /// Answers with data: the request's digest and the answer's.
    given: Vec<(Digest, Digest)>,
    /// All answers by what journals call their request when it is settled.
    answered: HashMap<Key, Vec<Answered>>,
    /// Requests of which an answer was proved to be in the ledger.
    settled: BTreeSet<Key>,
}

/// The first half of the SHA-256 of a request's envelope.
type Key = [u8; 16];

/// An answer of a journal.
#[derive(Debug)]
struct Answered {
    at: u64,
    /// SHA-256 of the request's payload.
    request: Digest,
    /// SHA-256 of the answer's envelope.
    answer: Digest,
}

impl Journals {
    pub fn read(
        folders: &[PathBuf],
        verifier: &CheckpointVerifier,
        heads: &mut Heads,
        done: &mut Reconciled,
    ) -> Result<Self, AuditError> {
        let mut journals = Self::default();
        for folder in folders {
            journals.take_folder(folder, verifier, heads, done)?;
        }
        done.journalled = journals.answers.len() as u64;
        Ok(journals)
    }

    fn take_folder(
        &mut self,
        folder: &Path,
        verifier: &CheckpointVerifier,
        heads: &mut Heads,
        done: &mut Reconciled,
    ) -> Result<(), AuditError> {
        let mut used: HashMap<(MemberId, String), u64> = HashMap::new();
        journal::each(folder, &mut |at, record| match record.kind {
            Some(Kind::Exchange(exchange)) => {
                self.settle(&exchange.settled);
                self.take(at, &exchange, heads, &mut used, done);
            }
            Some(Kind::Followed(followed)) => self.settle(&followed.settled),
            Some(Kind::Head(kept) | Kind::Witnessed(kept)) => {
                let whose = format!("record {at} of the journal `{}`", folder.display());
                heads.note(verifier, &whose, &kept.checkpoint, done);
            }
            _ => {}
        })
    }

    fn settle(&mut self, keys: &[Bytes]) {
        self.settled.extend(keys.iter().filter_map(|key| Key::try_from(key.as_ref()).ok()));
    }

    fn take(
        &mut self,
        at: u64,
        exchange: &Exchange,
        heads: &mut Heads,
        used: &mut HashMap<(MemberId, String), u64>,
        done: &mut Reconciled,
    ) {
        let payload =
            |bytes: &Bytes| Some(SignedStatement::parse(bytes.clone()).ok()?.unverified_payload().clone());
        let request = payload(&exchange.request);
        let answer = payload(&exchange.answer).and_then(|payload| Answer::parse(&payload).ok());
        let parsed = request.as_ref().and_then(|payload| Request::parse(payload).ok());
        if exchange.counted
            && let Some(request) = parsed
            && let Some(first) = used.insert((request.consumer, request.id.to_string()), at)
        {
            let what =
                format!("request `{}` was carried out in records {first} and {at} of a journal", request.id);
            done.add(Fault::DoubleEffect, None, what);
        }
        let (Some(request), Some(answer)) = (request, answer) else { return };
        heads.add(answer.head, || {
            format!("adapter `{}` of `{}`, record {at}", answer.adapter, answer.provider)
        });
        let digest = yiwang_proto::sha256(&exchange.answer);
        self.answers.insert(digest);
        let request = yiwang_proto::sha256(&request);
        if let Some(key) = yiwang_proto::sha256(&exchange.request).first_chunk() {
            self.answered.entry(*key).or_default().push(Answered { at, request, answer: digest });
        }
        if answer.verdict == Verdict::Answered {
            self.given.push((request, digest));
        }
        self.providers.insert(answer.provider);
    }

    /// Whether a journal of this provider is at hand.
    pub fn covers(&self, provider: &MemberId) -> bool {
        self.providers.contains(provider)
    }

    /// Whether some journal holds the answer.
    pub fn holds(&self, answer: &Digest) -> bool {
        self.answers.contains(answer)
    }

    /// Counts what was made and never recorded: no fault while no app has it, since the hub may have ended in between.
    /// Where the adapter had its receipt, it was recorded, and is lost.
    pub fn against(&self, recorded: &Recorded, done: &mut Reconciled) {
        let is_recorded = |request: &Digest, answer: &Digest| {
            let of_request = recorded.of(request).iter();
            of_request.filter_map(|exchange| exchange.answer.as_ref()).any(|(digest, _)| digest == answer)
        };
        let mut lost = HashSet::new();
        for answers in self.settled.iter().filter_map(|key| self.answered.get(key)) {
            // Of two answers to one request the journal does not say which has the receipt.
            if answers.iter().any(|one| is_recorded(&one.request, &one.answer)) {
                continue;
            }
            lost.extend(answers.iter().map(|one| one.answer));
            let records: Vec<String> = answers.iter().map(|one| one.at.to_string()).collect();
            let what = format!(
                "a journal says that its answer in record {} was proved to be in the ledger, and no entry holds it: it is lost, \
                 or the ledger is an older copy than the journal",
                records.join(" or ")
            );
            done.add(Fault::AcknowledgedLost, None, what);
        }
        for (request, answer) in &self.given {
            let late = || recorded.of(request).iter().any(|exchange| exchange.late);
            let known = lost.contains(answer) || is_recorded(request, answer) || late();
            done.journalled_unrecorded += u64::from(!known);
        }
    }
}
