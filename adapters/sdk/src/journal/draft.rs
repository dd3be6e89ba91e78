//! What is to stand in the journal. Answers may be signed when their batch is written, so that all of one batch share a
//! signature: they wait for that batch anyway, and none waits longer.

use bytes::Bytes;
use std::sync::Arc;
use yiwang_proto::batch::sign_many;
use yiwang_proto::envelope::{SignedStatement, payload_type};
use yiwang_proto::keys::SecretKey;

/// An answer that is signed with the others of its batch.
pub(crate) struct Draft {
    /// The statement's payload.
    pub(crate) payload: Vec<u8>,
    /// The adapter's: one journal is one adapter's.
    pub(crate) key: Arc<SecretKey>,
    /// Bytes of its record beside the payload, at most.
    pub(crate) beside: usize,
    /// Makes the record.
    pub(crate) record: Box<dyn FnOnce(&SignedStatement) -> Bytes + Send>,
}

/// One thing to write.
pub(super) enum Wanted {
    Record(Bytes),
    Answer(Draft),
}

/// What is written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) record: Bytes,
    /// Of a [`Draft`].
    pub(super) answer: Option<SignedStatement>,
}

impl Wanted {
    /// Bytes in the journal, at most.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Record(record) => record.len(),
            Self::Answer(draft) => draft.payload.len().saturating_add(draft.beside),
        }
    }
}

/// Signs what is to be signed, and makes all records, in their order; none for none.
pub(super) fn write_out(mut wanted: Vec<Option<Wanted>>) -> Vec<Option<Written>> {
    let mut key = None;
    let mut payloads = Vec::new();
    for one in wanted.iter_mut().flatten() {
        if let Wanted::Answer(draft) = one {
            payloads.push(std::mem::take(&mut draft.payload));
            key = Some(Arc::clone(&draft.key));
        }
    }
    let signed = key.map(|key| sign_many(payload_type::ANSWER, payloads, &key));
    let mut signed = signed.unwrap_or_default().into_iter();
    let mut written = |one| match one {
        Wanted::Record(record) => Some(Written { record, answer: None }),
        Wanted::Answer(draft) => {
            signed.next().map(|answer| Written { record: (draft.record)(&answer), answer: Some(answer) })
        }
    };
    wanted.into_iter().map(|one| one.and_then(&mut written)).collect()
}
