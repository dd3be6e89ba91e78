//! What is to stand in the journal. Answers may be signed when their batch is written, so that those of one batch share a
//! signature (one for every 64 of them): they wait for that batch anyway, and a signature takes less than its sync.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gets_its_own_record_at_its_own_place() {
        let key = Arc::new(SecretKey::from_seed(&[1; 32]));
        let record = |name: &'static str| Some(Wanted::Record(Bytes::from_static(name.as_bytes())));
        let answer = |number: u8| {
            Some(Wanted::Answer(Draft {
                payload: vec![number],
                key: Arc::clone(&key),
                beside: 1024,
                record: Box::new(move |signed| [&[number], signed.bytes().as_ref()].concat().into()),
            }))
        };
        let wanted = vec![record("a"), answer(1), None, record("b"), answer(2)];
        let sizes: Vec<_> = wanted.iter().flatten().map(Wanted::size).collect();
        let written = write_out(wanted);
        assert_eq!(written.len(), 5);
        assert!(written[2].is_none());
        let written: Vec<_> = written.into_iter().flatten().collect();
        assert!(written.iter().zip(sizes).all(|(written, size)| written.record.len() <= size));
        for (at, name) in [(0, "a"), (2, "b")] {
            assert_eq!((written[at].record.as_ref(), written[at].answer.is_none()), (name.as_bytes(), true));
        }
        for (at, number) in [(1, 1), (3, 2)] {
            let signed = written[at].answer.as_ref().unwrap();
            assert_eq!(signed.verify(payload_type::ANSWER, &key.public()).unwrap().as_ref(), [number]);
            assert_eq!(written[at].record, [&[number], signed.bytes().as_ref()].concat());
            assert!(signed.is_in_batch());
        }
    }
}
