//! Typed identifiers. Their grammars are narrow on purpose: what stands in a statement goes into the
//! ledger for ever, so no id can carry a name or a citizen's number by accident.

use std::sync::Arc;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: {rule}")]
pub struct IdError {
    what: &'static str,
    rule: &'static str,
    text: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the grammar; texts are compared byte by byte and never normalised.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let check: fn(&[u8]) -> bool = $check;
                if check(text.as_bytes()) {
                    Ok(Self(Arc::from(text)))
                } else {
                    let text = text.chars().take(48).collect();
                    Err(IdError { what: $what, rule: $rule, text })
                }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

fn words(bytes: &[u8], longest: usize, separators: &[u8]) -> bool {
    let ends_well = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    bytes.len() <= longest
        && bytes.first().is_some_and(u8::is_ascii_lowercase)
        && ends_well(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || separators.contains(b))
        && !bytes.windows(2).any(|pair| pair.iter().all(|b| separators.contains(b)))
}

fn uuid(bytes: &[u8]) -> bool {
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(byte),
        })
}

id!(
    /// A member organisation, e.g. `civil-affairs`.
    MemberId, "a member id", "2 to 32 of a-z, 0-9 and single hyphens, beginning with a letter",
    |b| b.len() >= 2 && words(b, 32, b"-")
);
id!(
    /// An app or adapter of a member, e.g. `assistance-desk`.
    AppId, "an app id", "2 to 32 of a-z, 0-9 and single hyphens, beginning with a letter",
    |b| b.len() >= 2 && words(b, 32, b"-")
);
id!(
    /// A contract, e.g. `police-street-person`.
    ContractId, "a contract id", "3 to 64 of a-z, 0-9 and single hyphens, beginning with a letter",
    |b| b.len() >= 3 && words(b, 64, b"-")
);
id!(
    /// A purpose, e.g. `social-assistance.eligibility`.
    Purpose, "a purpose", "3 to 64 of a-z, 0-9, single hyphens and dots, beginning with a letter",
    |b| b.len() >= 3 && words(b, 64, b"-.")
);
id!(
    /// The kind of matter that a case is about, from the closed list.
    Matter, "a matter", "3 to 64 of a-z, 0-9, single hyphens and dots, beginning with a letter",
    |b| b.len() >= 3 && words(b, 64, b"-.")
);
id!(
    /// An operation of a mapping, e.g. `person.by_id`.
    Operation, "an operation", "3 to 64 of a-z, 0-9, underscores and dots, beginning with a letter",
    |b| b.len() >= 3 && words(b, 64, b"_.")
);
id!(
    /// A field of a record, e.g. `birth_date`.
    FieldName, "a field name", "1 to 40 of a-z, 0-9 and single underscores, beginning with a letter",
    |b| words(b, 40, b"_")
);
id!(
    /// A canonical record type, e.g. `BenefitStatus`.
    RecordType, "a record type", "2 to 40 letters and digits, beginning with a capital",
    |b| (2..=40).contains(&b.len())
        && b.first().is_some_and(u8::is_ascii_uppercase)
        && b.iter().all(u8::is_ascii_alphanumeric)
);
id!(
    /// A request, chosen by the app; a UUID so that it can carry no meaning.
    RequestId, "a request id", "a lower-case UUID", uuid
);
id!(
    /// A case of the register; a UUID of version 7, whose time tells the year of its tag keys.
    CaseId, "a case id", "a lower-case UUID of version 7",
    |b| uuid(b) && b.get(14) == Some(&b'7')
);
id!(
    /// A pseudonym of an officer, issued by the member; only the member can resolve it.
    Officer, "an officer's pseudonym", "`o-` and 16 of a-z, 2-7",
    |b| b.len() == 18
        && b.starts_with(b"o-")
        && b.iter().skip(2).all(|c| c.is_ascii_lowercase() || (b'2'..=b'7').contains(c))
);

/// A UUID of version 7 from a time in milliseconds and random bytes.
pub fn uuid_v7(now_ms: i64, random: [u8; 10]) -> String {
    let [a, b, rest @ ..] = random;
    let [c, tail @ ..] = rest;
    let time = crate::hex(&now_ms.max(0).to_be_bytes());
    let time = time.get(4..16).unwrap_or_default();
    let (high, low) = time.split_at(8.min(time.len()));
    format!(
        "{high}-{low}-7{:03x}-{:02x}{:02x}-{}",
        u16::from_be_bytes([a, b]) & 0x0fff,
        (c & 0x3f) | 0x80,
        tail.first().copied().unwrap_or_default(),
        crate::hex(tail.get(1..7).unwrap_or_default())
    )
}

impl CaseId {
    /// A new id from the time and random bytes.
    pub fn new(now_ms: i64, entropy: &dyn crate::ambient::Entropy) -> Self {
        Self(Arc::from(uuid_v7(now_ms, crate::ambient::random(entropy))))
    }

    /// An id from a time in milliseconds and ten bytes that stand for random ones.
    pub fn of(time_ms: i64, random: [u8; 10]) -> Self {
        Self(Arc::from(uuid_v7(time_ms, random)))
    }

    /// The moment in the id, milliseconds; it tells which year's tag key is used.
    pub fn time_ms(&self) -> i64 {
        let digits: String = self.0.chars().filter(|c| *c != '-').take(12).collect();
        i64::from_str_radix(&digits, 16).unwrap_or_default()
    }
}

impl RequestId {
    /// A new id from the time and random bytes.
    pub fn new(now_ms: i64, entropy: &dyn crate::ambient::Entropy) -> Self {
        Self(Arc::from(uuid_v7(now_ms, crate::ambient::random(entropy))))
    }
}

impl Officer {
    /// A pseudonym from ten random bytes.
    pub fn new(entropy: &dyn crate::ambient::Entropy) -> Self {
        let alphabet = b"abcdefghijklmnopqrstuvwxyz234567";
        let random: [u8; 16] = crate::ambient::random(entropy);
        let text: String = random
            .iter()
            .map(|byte| char::from(alphabet.get(usize::from(byte & 31)).copied().unwrap_or(b'a')))
            .collect();
        Self(Arc::from(format!("o-{text}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::SeededEntropy;

    #[test]
    fn ids_that_are_made_satisfy_their_grammar() {
        let entropy = SeededEntropy::new(1);
        for now in [0, 1_795_000_000_000, i64::MAX / 4] {
            let case = CaseId::new(now, &entropy);
            assert!(CaseId::parse(case.as_str()).is_ok(), "{case}");
            let request = RequestId::new(now, &entropy);
            assert!(RequestId::parse(request.as_str()).is_ok());
            assert!(Officer::parse(Officer::new(&entropy).as_str()).is_ok());
        }
        assert_eq!(CaseId::new(1_795_000_000_123, &entropy).time_ms(), 1_795_000_000_123);
    }

    #[test]
    fn look_alikes_are_refused_and_never_normalised() {
        for bad in [
            "Police",
            "police ",
            "ｐolice",
            "-police",
            "police-",
            "po--lice",
            "p",
            "",
            "p\u{0}lice",
            "9police",
        ] {
            assert!(MemberId::parse(bad).is_err(), "{bad:?}");
        }
        for bad in ["980101199001010017", "urn:uuid:0190a5c3-0000-7000-8000-000000000000"] {
            assert!(CaseId::parse(bad).is_err() && RequestId::parse(bad).is_err());
        }
        assert!(CaseId::parse("0190a5c3-0000-4000-8000-000000000000").is_err(), "version 4 has no year");
        assert!(FieldName::parse("birth_date").is_ok() && FieldName::parse("birth__date").is_err());
        assert!(RecordType::parse("HealthCoverage").is_ok() && RecordType::parse("health").is_err());
    }
}
