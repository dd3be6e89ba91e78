//! What an operator gives up. An answer that left, and whose entry the ledger holds otherwise or not at all, would be owed
//! for ever; that it is owed no more is the operator's word, and never a proof.

use super::{Key, Open, Owed, half};
use crate::journal::GivenUp;
use bytes::Bytes;
use yiwang_proto::answer::Answer;
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::{Digest, sha256};

/// An answer that gave something out and that nobody proved to be in the ledger yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwedAnswer {
    /// SHA-256 of the request's signed payload: its name in the answer and in the ledger.
    pub request: Digest,
    /// SHA-256 of the answer's envelope.
    pub answer: Digest,
    /// When it was made, milliseconds since 1970.
    pub answered_ms: i64,
}

impl OwedAnswer {
    fn of(open: &Open) -> Self {
        let answer = SignedStatement::parse(open.offer.answer.clone()).ok();
        let answer = answer.and_then(|signed| Answer::parse(signed.unverified_payload()).ok());
        let request = SignedStatement::parse(open.offer.request.clone());
        Self {
            // What cannot be read has a name all the same, so that it can be given up.
            request: request.map_or_else(|_| sha256(&open.offer.request), |signed| signed.digest()),
            answer: sha256(&open.offer.answer),
            answered_ms: answer.map_or(open.answered_ms, |answer| answer.answered_at_ms),
        }
    }
}

impl Owed {
    /// The answers that stop the service for want of a receipt, oldest first.
    pub(crate) fn giving(&self) -> impl Iterator<Item = OwedAnswer> {
        self.giving_open().map(|(_, open)| OwedAnswer::of(open))
    }

    fn giving_open(&self) -> impl Iterator<Item = (&Key, &Open)> {
        let open = self.order.iter().filter_map(move |key| self.open.get_key_value(key));
        open.filter(|(_, open)| open.gives && !open.receipted)
    }

    /// The answer to this request, if it is owed, and what the journal says of it when it is given up.
    pub(crate) fn to_give_up(&self, request: &Digest, reason: &str) -> Option<(OwedAnswer, GivenUp)> {
        let mut all = self.giving_open().map(|(key, open)| (key, OwedAnswer::of(open)));
        let (key, owed) = all.find(|(_, owed)| owed.request == *request)?;
        let given_up = GivenUp {
            request: Bytes::copy_from_slice(&owed.request),
            envelope: Bytes::copy_from_slice(key),
            answer: Bytes::copy_from_slice(&owed.answer),
            reason: reason.to_owned(),
        };
        Some((owed, given_up))
    }

    /// Takes in what a record of the journal says was given up. It is known when its entry comes after all; the journal does
    /// not call it settled.
    pub(crate) fn load_given_up(&mut self, given_up: &GivenUp) {
        let (Ok(key), Ok(answer)) =
            (Key::try_from(given_up.envelope.as_ref()), Digest::try_from(given_up.answer.as_ref()))
        else {
            return;
        };
        let answer = half(&answer);
        // Another answer to the request was not given up with this one.
        if self.open.get(&key).is_none_or(|open| open.answer != answer) {
            return;
        }
        if let Some(open) = self.open.remove(&key) {
            self.uncount(&open);
            self.remember(key, Some(answer), open.answered_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Exchange;

    fn exchange(answer: &'static [u8]) -> Exchange {
        let (request, answer) = (Bytes::from_static(b"request"), Bytes::from_static(answer));
        Exchange { request, answer, counted: true, ..Exchange::default() }
    }

    #[test]
    fn what_is_given_up_is_owed_no_more_and_not_called_settled() {
        let mut owed = Owed::default();
        owed.load(&exchange(b"data"), 7);
        let known: Vec<_> = owed.giving().collect();
        let name = sha256(b"request");
        assert_eq!(known, [OwedAnswer { request: name, answer: sha256(b"data"), answered_ms: 7 }]);
        assert!(owed.to_give_up(&sha256(b"other"), "ticket 12").is_none());
        let (answer, record) = owed.to_give_up(&name, "ticket 12").unwrap();
        assert_eq!((Some(&answer), owed.len()), (known.first(), 1), "not before it is in the journal");
        owed.load_given_up(&record);
        owed.linked(1, 0);
        assert_eq!((owed.len(), owed.stops(u64::MAX), owed.giving().next()), (0, None, None));
        assert!(owed.offers().is_empty() && owed.due(u64::MAX).is_empty());
        assert!(owed.settled_batch().is_empty(), "nobody proved it");
        let entry = |answer: &'static [u8]| yiwang_proto::pb::ExchangeEntry {
            request: Bytes::from_static(b"request"),
            answer: Bytes::from_static(answer),
            ..Default::default()
        };
        assert!(owed.was_settled(&entry(b"data")), "no alarm where its entry comes after all");
        assert!(!owed.was_settled(&entry(b"other")));
    }

    #[test]
    fn another_answer_to_the_request_stays_owed() {
        let mut first = Owed::default();
        first.load(&exchange(b"data"), 7);
        let (_, record) = first.to_give_up(&sha256(b"request"), "ticket 12").unwrap();
        let mut owed = Owed::default();
        owed.load(&exchange(b"newer"), 8);
        owed.load_given_up(&record);
        owed.load_given_up(&GivenUp { answer: Bytes::new(), ..record });
        assert_eq!(owed.len(), 1);
    }
}
