//! Which of the provider's subjects a consumer's tag stands for. A tag that meets two of them would hide
//! an access from one of the two subjects, so it is refused.

use std::collections::HashMap;
use yiwang_proto::ids::{CaseId, MemberId};
use yiwang_proto::tag::Tag;
use yiwang_proto::{Digest, sha256};

/// A tag was used for another subject before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tag stands for another subject of this case")]
pub struct TagMismatch;

/// Names one tag of one case of one consumer.
pub fn subject_key(consumer: &MemberId, case: &CaseId, tag: &Tag) -> Digest {
    let mut bytes = Vec::with_capacity(128);
    // Both ids have grammars without a zero byte, so the parts cannot run into each other.
    bytes.extend_from_slice(consumer.as_str().as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(case.as_str().as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(tag);
    sha256(&bytes)
}

/// Days after which a pair that nobody used is forgotten. A tag stands for a subject within one case, and a
/// case that is done is closed, after which every request in it is refused; what is lost is the alarm about
/// a case that was left alone for a month and is then asked about somebody else under an old tag. The
/// journal still has both requests, so an audit of it finds that.
const KEPT_DAYS: i64 = 30;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// All pairs of the last month. Half of each digest is kept: 32 bytes per pair, and still no two that
/// anybody could make equal to their advantage (an equal key can only cause a refusal).
#[derive(Debug, Default)]
pub struct Subjects {
    // The own tag, and the day of the last use.
    pairs: HashMap<[u8; 16], ([u8; 16], i64)>,
}

fn half(digest: &Digest) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = *digest;
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

impl Subjects {
    /// Binds a tag to a subject, or finds it bound to the same one.
    ///
    /// # Errors
    /// [`TagMismatch`] where it is bound to another.
    pub fn bind(&mut self, key: &Digest, provider_tag: &Tag, now_ms: i64) -> Result<(), TagMismatch> {
        let (wanted, today) = (half(provider_tag), now_ms.div_euclid(DAY_MS));
        let (bound, day) = self.pairs.entry(half(key)).or_insert((wanted, today));
        *day = today.max(*day);
        if *bound == wanted { Ok(()) } else { Err(TagMismatch) }
    }

    /// Forgets the pairs that nobody used for 30 days.
    pub fn forget(&mut self, now_ms: i64) {
        let oldest = now_ms.div_euclid(DAY_MS).saturating_sub(KEPT_DAYS);
        self.pairs.retain(|_, (_, day)| *day >= oldest);
    }

    /// All pairs, for a snapshot: key, own tag, day of the last use.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = ([u8; 16], [u8; 16], i64)> {
        self.pairs.iter().map(|(key, (tag, day))| (*key, *tag, *day))
    }

    /// Takes back what a snapshot kept.
    pub(crate) fn restore(&mut self, key: [u8; 16], tag: [u8; 16], day: i64) {
        self.pairs.insert(key, (tag, day));
    }

    /// How many pairs are known.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_keeps_its_subject_and_a_subject_may_have_many_tags() {
        let consumer = MemberId::parse("street").unwrap();
        let one = CaseId::parse("0190a5c3-0000-7000-8000-000000000001").unwrap();
        let two = CaseId::parse("0190a5c3-0000-7000-8000-000000000002").unwrap();
        let mut subjects = Subjects::default();
        let key = subject_key(&consumer, &one, &[1; 32]);
        assert_eq!(subjects.bind(&key, &[7; 32], 0), Ok(()));
        assert_eq!(subjects.bind(&key, &[7; 32], 0), Ok(()));
        assert_eq!(subjects.bind(&key, &[8; 32], 0), Err(TagMismatch));
        assert_eq!(subjects.bind(&key, &[7; 32], 0), Ok(()), "a refusal changes nothing");
        assert_eq!(subjects.bind(&subject_key(&consumer, &one, &[2; 32]), &[7; 32], 0), Ok(()));
        assert_eq!(subjects.bind(&subject_key(&consumer, &two, &[1; 32]), &[8; 32], 0), Ok(()));
        let other = MemberId::parse("county").unwrap();
        assert_eq!(subjects.bind(&subject_key(&other, &one, &[1; 32]), &[9; 32], 0), Ok(()));
        assert_eq!(subjects.len(), 4);
    }

    #[test]
    fn a_pair_that_nobody_used_for_a_month_is_forgotten() {
        let mut subjects = Subjects::default();
        subjects.bind(&[1; 32], &[7; 32], 0).unwrap();
        subjects.bind(&[2; 32], &[7; 32], 0).unwrap();
        subjects.bind(&[2; 32], &[7; 32], 20 * DAY_MS).unwrap();
        subjects.forget(30 * DAY_MS);
        assert_eq!(subjects.len(), 2);
        subjects.forget(31 * DAY_MS);
        assert_eq!(subjects.len(), 1);
        assert_eq!(subjects.bind(&[2; 32], &[8; 32], 31 * DAY_MS), Err(TagMismatch));
    }
}
