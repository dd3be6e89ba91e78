//! What the ledger says of exchanges.

use super::heads::Heads;
use super::journals::Journals;
use super::{Fault, Reconciled};
use crate::error::AuditError;
use crate::source::{Entries as _, Source};
use bytes::Bytes;
use std::collections::HashMap;
use yiwang_proto::Digest;
use yiwang_proto::answer::{Answer, Verdict};
use yiwang_proto::case::CaseStatement;
use yiwang_proto::codes::Code;
use yiwang_proto::entry::{Kind, decode};
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::MemberId;
use yiwang_proto::pb;
use yiwang_proto::request::{Head, Request};

/// One exchange entry, by the digest of its request.
#[derive(Debug)]
pub(super) struct Exchange {
    pub index: u64,
    /// SHA-256 of the answer's envelope, and whose answer it is; none where the entry keeps none.
    pub answer: Option<(Digest, MemberId)>,
    pub released: bool,
    pub late: bool,
    /// What an adapter says whose journal cannot be written stands in no journal: it releases nothing.
    unkept: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    by_request: HashMap<Digest, Vec<Exchange>>,
}

impl Recorded {
    pub fn read(source: &Source, heads: &mut Heads, done: &mut Reconciled) -> Result<Self, AuditError> {
        let mut recorded = Self::default();
        let mut ids: HashMap<(MemberId, String), u64> = HashMap::new();
        done.entries = source.len();
        source.each(source.first(), &mut |index, bytes, _| {
            // What does not decode is a finding of the verification already.
            match decode(&bytes).ok().and_then(|entry| entry.kind) {
                Some(Kind::Exchange(raw)) => recorded.take(index, &raw, heads, &mut ids, done),
                Some(Kind::CaseStatement(raw)) => case_head(index, &raw.statement, heads),
                _ => {}
            }
            true
        })?;
        Ok(recorded)
    }

    fn take(
        &mut self,
        index: u64,
        raw: &pb::ExchangeEntry,
        heads: &mut Heads,
        ids: &mut HashMap<(MemberId, String), u64>,
        done: &mut Reconciled,
    ) {
        let released = raw.outcome() == pb::Outcome::Answered;
        done.answered += u64::from(released);
        let answer = payload(&raw.answer).and_then(|payload| Answer::parse(&payload).ok());
        if let Some(answer) = &answer {
            heads.add(answer.head, || {
                format!("adapter `{}` of `{}` in entry {index}", answer.adapter, answer.provider)
            });
        }
        let digest = if raw.request.is_empty() {
            let Ok(digest) = raw.request_digest.as_ref().try_into() else { return };
            digest
        } else {
            let Some(payload) = payload(&raw.request) else { return };
            let digest = yiwang_proto::sha256(&payload);
            if let Ok(request) = Request::parse(&payload) {
                let whose = || format!("app `{}` of `{}` in entry {index}", request.app, request.consumer);
                heads.add(request.head, whose);
                // An id took effect when a provider acted on it; an answer that came late belongs to the same act.
                if answer.is_some() && raw.late_of == 0 {
                    let id = (request.consumer.clone(), request.id.to_string());
                    if let Some(first) = ids.insert(id, index) {
                        let what = format!("request `{}` was carried out in entry {first} too", request.id);
                        done.add(Fault::DoubleEffect, Some(index), what);
                    }
                }
            }
            digest
        };
        let unkept = answer.as_ref().is_some_and(|answer| {
            matches!(answer.verdict, Verdict::Failed(Code::Internal | Code::LedgerFull))
        });
        let answer = answer.map(|answer| (yiwang_proto::sha256(&raw.answer), answer.provider));
        let exchange = Exchange { index, answer, released, late: raw.late_of != 0, unkept };
        self.by_request.entry(digest).or_default().push(exchange);
    }

    /// The entries of a request.
    pub fn of(&self, request: &Digest) -> &[Exchange] {
        self.by_request.get(request).map(Vec::as_slice).unwrap_or_default()
    }

    /// Every recorded answer stands in its adapter's journal, where that journal is at hand; but for the word of
    /// an adapter that its journal failed.
    pub fn against(&self, journals: &Journals, done: &mut Reconciled) {
        let mut unknown: Vec<(u64, &MemberId)> = self
            .by_request
            .values()
            .flatten()
            .filter(|exchange| !exchange.unkept)
            .filter_map(|exchange| {
                let (digest, provider) = exchange.answer.as_ref()?;
                (journals.covers(provider) && !journals.holds(digest)).then_some((exchange.index, provider))
            })
            .collect();
        unknown.sort_unstable();
        for (index, provider) in unknown {
            let what = format!(
                "the journal of `{provider}` does not hold this answer: it is an old copy, or somebody else signed"
            );
            done.add(Fault::AnswerUnknown, Some(index), what);
        }
    }
}

fn payload(bytes: &Bytes) -> Option<Bytes> {
    Some(SignedStatement::parse(bytes.clone()).ok()?.unverified_payload().clone())
}

fn case_head(index: u64, statement: &Bytes, heads: &mut Heads) {
    let statement = payload(statement).and_then(|payload| CaseStatement::parse(&payload).ok());
    if let Some(statement) = statement {
        let Head { size, root } = statement.head;
        heads.add(Head { size, root }, || {
            format!("app `{}` of `{}` in entry {index}", statement.app, statement.member)
        });
    }
}

/// An entry that somebody has a receipt for must stand at its index, to the byte.
pub(super) fn acknowledged(
    source: &Source,
    index: u64,
    entry: &Bytes,
    whose: &str,
    done: &mut Reconciled,
) -> Result<(), AuditError> {
    done.receipts += 1;
    let what = match source.read(index) {
        Ok((bytes, _)) if bytes == *entry => return Ok(()),
        Ok(_) => format!("{whose} is of another entry at this index"),
        Err(AuditError::NoEntry { len, .. }) => {
            format!("{whose} is of an entry that the ledger does not have: it has {len}")
        }
        Err(AuditError::BadEntry { fault, .. }) => format!("{whose} is of an entry that is damaged: {fault}"),
        Err(other) => return Err(other),
    };
    done.add(Fault::AcknowledgedLost, Some(index), what);
    Ok(())
}
