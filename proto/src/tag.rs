//! Subject tags: `HMAC(HMAC(key of member and year, subject), case)`. Equal within one case, not
//! linkable across cases or members without the key, which never leaves the member.

use crate::ids::{AppId, CaseId};
use hmac::{Hmac, KeyInit as _, Mac as _};
use zeroize::Zeroize as _;

/// A subject's tag in one case.
pub type Tag = [u8; 32];

/// A member's key for tags. Wiped when dropped, never shown.
pub struct TagKey([u8; 32]);

impl TagKey {
    /// From the member's 32 secret bytes.
    pub fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// The tag of a subject, given by its canonical identifier, in a case. The year comes from the case
    /// id, so that a case that runs over new year keeps its tags.
    pub fn tag(&self, subject: &str, case: &CaseId) -> Tag {
        self.in_case(case).tag(subject)
    }

    /// What the tags of one case have in common, for whoever needs many of them.
    pub fn in_case<'c>(&self, case: &'c CaseId) -> CaseTags<'c> {
        let year = crate::time::year(case.time_ms());
        let yearly = mac(&self.0, format!("yiwang-subject-tag/{year}").as_bytes());
        CaseTags { yearly: keyed(&yearly), case }
    }

    /// The key under which the member's adapters seal what a batch's next page begins after: it goes through the
    /// consumer's hands, who must learn nothing from it.
    pub fn resume_key(&self) -> [u8; 32] {
        mac(&self.0, b"yiwang-batch-resume")
    }

    /// The id of the case that an app opens under an idempotency key on a day: the same for the same key, so
    /// that the register refuses a second opening, and without meaning for anybody who lacks this key.
    /// `day_ms` is the beginning of the day, milliseconds; it is the time in the id.
    pub fn case_id(&self, app: &AppId, key: &str, day_ms: i64) -> CaseId {
        let of_cases = mac(&self.0, b"yiwang-case-of-key");
        // Names and keys hold no NUL, so no two triples give one message.
        let digest = mac(&of_cases, format!("{app}\0{key}\0{day_ms}").as_bytes());
        let mut random = [0; 10];
        for (to, from) in random.iter_mut().zip(digest) {
            *to = from;
        }
        CaseId::of(day_ms, random)
    }
}

/// Makes the tags of one case.
pub struct CaseTags<'c> {
    yearly: Hmac<sha2::Sha256>,
    case: &'c CaseId,
}

impl CaseTags<'_> {
    /// The tag of a subject, given by its canonical identifier.
    #[must_use]
    pub fn tag(&self, subject: &str) -> Tag {
        let of_subject = finish(self.yearly.clone(), subject.as_bytes());
        mac(&of_subject, self.case.as_str().as_bytes())
    }
}

impl std::fmt::Debug for CaseTags<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CaseTags(..)")
    }
}

fn keyed(key: &[u8; 32]) -> Hmac<sha2::Sha256> {
    // HMAC fills a key up to its block with zeros; a whole block always fits.
    let mut block = [0; 64];
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    Hmac::new(&block.into())
}

fn finish(mut mac: Hmac<sha2::Sha256>, message: &[u8]) -> [u8; 32] {
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn mac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    finish(keyed(key), message)
}

impl Drop for TagKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for TagKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TagKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_an_app_and_day_gives_one_case_id() {
        let (a, b) = (TagKey::new([1; 32]), TagKey::new([2; 32]));
        let (one, two) = (AppId::parse("desk-a").unwrap(), AppId::parse("desk-b").unwrap());
        let id = a.case_id(&one, "key-0123456789", 86_400_000);
        assert_eq!(id, a.case_id(&one, "key-0123456789", 86_400_000));
        assert_eq!(CaseId::parse(id.as_str()).unwrap().time_ms(), 86_400_000);
        for other in [
            a.case_id(&two, "key-0123456789", 86_400_000),
            a.case_id(&one, "key-0123456780", 86_400_000),
            a.case_id(&one, "key-0123456789", 2 * 86_400_000),
            b.case_id(&one, "key-0123456789", 86_400_000),
        ] {
            assert_ne!(id, other);
        }
    }

    #[test]
    fn a_key_of_32_bytes_gives_what_hmac_gives() {
        // RFC 4231, test case 1, whose key is 20 bytes: filled up with zeros it is the same key.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let expected = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        assert_eq!(crate::hex(&mac(&key, b"Hi There")), expected);
    }

    #[test]
    fn t32_tags_are_equal_within_a_case_and_differ_across_cases_members_and_subjects() {
        let (a, b) = (TagKey::new([1; 32]), TagKey::new([2; 32]));
        let one = CaseId::parse("0190a5c3-0000-7000-8000-000000000001").unwrap();
        let two = CaseId::parse("0190a5c3-0000-7000-8000-000000000002").unwrap();
        assert_eq!(a.tag("980101199001010017", &one), a.tag("980101199001010017", &one));
        assert_ne!(a.tag("980101199001010017", &one), a.tag("980101199001010017", &two));
        assert_ne!(a.tag("980101199001010017", &one), b.tag("980101199001010017", &one));
        assert_ne!(a.tag("980101199001010017", &one), a.tag("980101199001010018", &one));
    }
}
