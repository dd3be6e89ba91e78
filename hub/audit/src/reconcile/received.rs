//! What apps received: the folders that they kept.

use super::heads::Heads;
use super::recorded::{Recorded, acknowledged};
use super::{Fault, Reconciled};
use crate::error::AuditError;
use crate::files::read_at_most;
use crate::source::Source;
use bytes::Bytes;
use prost::Message as _;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use yiwang_proto::Digest;
use yiwang_proto::answer::Answer;
use yiwang_proto::body::AnswerBody;
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::entry::{Kind, decode};
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::limits::{BODY_MAX, ENTRY_MAX, STATEMENT_MAX};
use yiwang_proto::pb;
use yiwang_proto::receipt;
use yiwang_proto::request::Head;
use yiwang_proto::sealing::Sealed;

/// Bytes of one file: two bodies, a statement, an entry with its proof and checkpoint, and room for fields.
const FILE_MAX: usize = 2 * BODY_MAX + STATEMENT_MAX + 2 * ENTRY_MAX + 65_536;

/// One kept exchange.
#[derive(Debug)]
struct Kept {
    file: String,
    request: Digest,
    /// Somebody got something: an answer or a body.
    released: bool,
    /// Whether anything came back.
    answered: bool,
    /// SHA-256 of the answer's envelope.
    answer: Option<Digest>,
    /// Index and bytes of the entry, where the receipt is good.
    receipt: Option<(u64, Bytes)>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Received(Vec<Kept>);

impl Received {
    pub fn read(
        folders: &[PathBuf],
        verifier: &CheckpointVerifier,
        heads: &mut Heads,
        done: &mut Reconciled,
    ) -> Result<Self, AuditError> {
        let mut received = Vec::new();
        for folder in folders {
            let unreadable = |error: std::io::Error| AuditError::Unreadable {
                path: folder.clone(),
                fault: error.to_string(),
            };
            let mut paths = Vec::new();
            for item in std::fs::read_dir(folder).map_err(unreadable)? {
                let path = item.map_err(unreadable)?.path();
                let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
                if !hidden && path.extension().is_some_and(|ending| ending == "exchange") {
                    paths.push(path);
                }
            }
            paths.sort();
            for path in paths {
                received.push(read(&path, verifier, heads, done)?);
            }
        }
        done.received = received.len() as u64;
        Ok(Self(received))
    }

    /// Requests to which nothing came back.
    pub fn unanswered(&self) -> impl Iterator<Item = Digest> {
        self.0.iter().filter(|kept| !kept.answered).map(|kept| kept.request)
    }

    pub fn against(
        &self,
        source: &Source,
        recorded: &Recorded,
        done: &mut Reconciled,
    ) -> Result<(), AuditError> {
        let mut answers: HashMap<Digest, Digest> = HashMap::new();
        for kept in &self.0 {
            if let Some((index, entry)) = &kept.receipt {
                acknowledged(source, *index, entry, &format!("the receipt in `{}`", kept.file), done)?;
            }
            if let Some(answer) = kept.answer
                && let Some(first) = answers.insert(kept.request, answer)
                && first != answer
            {
                let what = format!("`{}` holds a second, other answer to one request", kept.file);
                done.add(Fault::DoubleEffect, None, what);
            }
            let recorded = recorded.of(&kept.request);
            let fits = recorded.iter().any(|exchange| {
                exchange.released
                    && kept
                        .answer
                        .is_none_or(|answer| exchange.answer.as_ref().is_some_and(|(is, _)| *is == answer))
            });
            if kept.released && !fits {
                let (index, how) = match recorded.first() {
                    Some(exchange) => {
                        (Some(exchange.index), "its entry says that this answer was not released")
                    }
                    None => (None, "no entry has its request"),
                };
                let what = format!("the answer in `{}` is not in the ledger: {how}", kept.file);
                done.add(Fault::ReleasedUnrecorded, index, what);
            }
        }
        Ok(())
    }
}

fn read(
    path: &Path,
    verifier: &CheckpointVerifier,
    heads: &mut Heads,
    done: &mut Reconciled,
) -> Result<Kept, AuditError> {
    let unreadable = |fault: String| AuditError::Unreadable { path: path.to_owned(), fault };
    let bytes = read_at_most(path, FILE_MAX).map_err(|error| unreadable(error.to_string()))?;
    let raw = pb::KeptExchange::decode(bytes.as_slice())
        .map_err(|_| unreadable("is no kept exchange".to_owned()))?;
    let request = raw.request.ok_or_else(|| unreadable("holds no request".to_owned()))?;
    let signed = SignedStatement::parse(request.request)
        .map_err(|error| unreadable(format!("its request: {error}")))?;
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let answered = raw.response.is_some();
    let request = signed.digest();
    let mut kept = Kept { file, request, released: false, answered, answer: None, receipt: None };
    match raw.response {
        Some(response) => take(&mut kept, response, verifier, heads, done),
        None => done.unanswered += 1,
    }
    Ok(kept)
}

/// Takes a response apart as far as it goes; a bad receipt does not hide what was released with it.
fn take(
    kept: &mut Kept,
    response: pb::ExchangeResponse,
    verifier: &CheckpointVerifier,
    heads: &mut Heads,
    done: &mut Reconciled,
) {
    kept.released = !response.body.is_empty();
    let Some(raw) = response.receipt else { return };
    if let Ok(verified) = receipt::verify(&raw, |note| verifier.open(note)) {
        let Head { size, root } = verified.head;
        heads.add(Head { size, root }, || format!("the receipt in `{}`", kept.file));
        kept.receipt = Some((verified.index, raw.entry.clone()));
    }
    let Ok(Some(Kind::Exchange(entry))) = decode(&raw.entry).map(|entry| entry.kind) else { return };
    if entry.answer.is_empty() {
        return;
    }
    kept.answer = Some(yiwang_proto::sha256(&entry.answer));
    kept.released |= entry.outcome() == pb::Outcome::Answered;
    let answer = SignedStatement::parse(entry.answer)
        .ok()
        .and_then(|signed| Answer::parse(signed.unverified_payload()).ok());
    if kept.released && !answer.is_some_and(|answer| is_its_body(&answer, &response.body)) {
        let what = format!("the body in `{}` is not the one that its answer names", kept.file);
        done.add(Fault::Body, Some(raw.index), what);
    }
}

/// Whether a body is the one that its answer names. Of a sealed one only form and key can be seen here: it is
/// kept as it came, and whoever reconciles has no key that opens it.
fn is_its_body(answer: &Answer, body: &Bytes) -> bool {
    match (answer.body_digest, answer.sealed_to) {
        (Some(digest), None) => AnswerBody::open(body, &digest).is_ok(),
        (Some(_), Some(to)) => Sealed::parse(body).is_ok_and(|sealed| sealed.sealed_to == to),
        (None, _) => false,
    }
}
