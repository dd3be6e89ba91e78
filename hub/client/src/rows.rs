//! Rows that are handed on as they came. A page has a thousand: to keep each value apart costs more than to verify who
//! gave them, so they are read through and nothing is kept.

use crate::error::ClientError;
use crate::record::open_rows;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use yiwang_proto::answer::Answer;

/// Holds the rows of an answer against its statement, as strictly as [`open_rows`].
///
/// # Errors
/// [`ClientError::Unverified`].
pub(crate) fn check_rows(records: &[u8], answer: &Answer) -> Result<(), ClientError> {
    let plain = serde_json::from_slice::<Vec<Row<'_>>>(records).is_ok_and(|rows| {
        let named = |name: &str| answer.fields.iter().any(|field| field.as_str() == name);
        let fits = |row: &Row<'_>| {
            row.fields.keys().all(|name| named(name)) && row.quality.keys().all(|name| named(name))
        };
        u32::try_from(rows.len()).ok() == Some(answer.rows) && rows.iter().all(fits)
    });
    // What is not plainly right is looked at closely, and the error says what is wrong.
    if plain { Ok(()) } else { open_rows(records, answer).map(drop) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row<'a> {
    #[serde(borrow)]
    fields: BTreeMap<&'a str, Read>,
    #[serde(default, rename = "as_of")]
    _as_of: Option<Text>,
    #[serde(borrow, default)]
    quality: BTreeMap<&'a str, Vec<Text>>,
}

/// A text that was read and let go.
struct Text;

/// A value that was read, with all that is in it, and let go: a number that is none or half a character is an error.
struct Read;

struct Reading {
    /// Whether only a text will do.
    text: bool,
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Reading { text: true }).map(|()| Self)
    }
}

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reading { text: false }).map(|()| Self)
    }
}

impl Reading {
    fn other<E: Error>(&self) -> Result<(), E> {
        if self.text { Err(E::custom("not a text")) } else { Ok(()) }
    }
}

impl<'de> Visitor<'de> for Reading {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.text { "a text" } else { "any value" })
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.other()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.other()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.other()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.other()
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.other()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.other::<A::Error>()?;
        while list.next_element::<Read>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.other::<A::Error>()?;
        while map.next_entry::<Text, Read>()?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yiwang_proto::answer::Verdict;
    use yiwang_proto::request::Head;

    fn answer(rows: u32) -> Answer {
        Answer {
            request_id: "0190a5c3-0000-7000-8000-000000000001".parse().unwrap(),
            request_digest: [1; 32],
            provider: "police".parse().unwrap(),
            adapter: "main".parse().unwrap(),
            verdict: Verdict::Answered,
            clause: String::new(),
            fields: vec!["name".parse().unwrap(), "lift".parse().unwrap()],
            withheld: Vec::new(),
            rows,
            subject_tags: Vec::new(),
            subject_tags_root: None,
            answered_at_ms: 0,
            as_of_ms: 0,
            body_digest: None,
            mapping_digest: [0; 32],
            head: Head { size: 0, root: [0; 32] },
            delegation_digest: [2; 32],
            truncated: false,
            sealed_to: None,
        }
    }

    /// What `check_rows` reads by itself, without the closer look.
    fn plainly(records: &str) -> bool {
        serde_json::from_str::<Vec<Row<'_>>>(records).is_ok()
    }

    #[test]
    fn rows_are_held_against_their_statement() {
        let good = r#"[{"fields":{"name":"云甲","lift":true},"as_of":"2026-11-01T08:00:00+08:00","quality":{"name":["cut"]}},
            {"fields":{"name":null}},{"fields":{"name":{"a":[1,-2.5e3,"\u4e91\n"]}}}]"#;
        assert!(plainly(good));
        assert!(check_rows(good.as_bytes(), &answer(3)).is_ok());
        assert!(check_rows(good.as_bytes(), &answer(2)).is_err());
        // An escape in a name takes the closer look, and is the same name.
        assert!(check_rows(br#"[{"fields":{"n\u0061me":"a"}}]"#, &answer(1)).is_ok());
        for bad in [
            r#"[{"fields":{"id_number":"x"}}]"#,
            r#"[{"fields":{"name":"x"},"more":1}]"#,
            r#"[{"fields":{"name":"x"},"as_of":5}]"#,
            r#"[{"fields":{"name":"x"},"quality":{"name":[5]}}]"#,
            r#"[{"fields":{"name":1e999}}]"#,
            r#"[{"fields":{"name":"\ud800"}}]"#,
            r#"[{"fields":{"name":[1,{"a":"\ud800"}]}}]"#,
            r#"[{"fields":{"name":"x"}}"#,
            r#"[{"fields":{"name":"x"}}] "#.trim_end_matches(' ').trim_end_matches(']'),
            r#"{"fields":{"name":"x"}}"#,
            r#"[{"as_of":null}]"#,
            r#"[5]"#,
        ] {
            assert!(check_rows(bad.as_bytes(), &answer(1)).is_err(), "{bad}");
            assert!(open_rows(bad.as_bytes(), &answer(1)).is_err(), "{bad}");
        }
    }

    #[test]
    fn both_ways_agree_whatever_is_bent() {
        let whole = br#"[{"fields":{"name":"a","lift":false},"as_of":"2026","quality":{"lift":["x"]}},{"fields":{"name":[1,null,{"b":2.5}]}}]"#;
        let (mut good, mut bent) = (0, whole.to_vec());
        for at in 0..whole.len() {
            for byte in 0..=u8::MAX {
                bent[at] = byte;
                let both = [check_rows(&bent, &answer(2)), open_rows(&bent, &answer(2)).map(drop)];
                let [plain, close] = both.map(|one| one.is_ok());
                assert_eq!(plain, close, "{}", String::from_utf8_lossy(&bent));
                good += u32::from(plain);
            }
            bent[at] = whole[at];
        }
        assert!(good > 900, "{good}");
    }
}
