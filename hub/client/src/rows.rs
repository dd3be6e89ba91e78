//! Rows that are handed on as they came. A page has a thousand: to keep each value apart costs more than to verify who
//! gave them, so they are read through and nothing is kept.

use crate::error::ClientError;
use crate::record::open_rows;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;
use yiwang_proto::answer::Answer;
use yiwang_proto::ids::FieldName;

/// Holds the rows of an answer against its statement, as strictly as [`open_rows`].
///
/// # Errors
/// [`ClientError::Unverified`].
pub fn check_rows(records: &[u8], answer: &Answer) -> Result<(), ClientError> {
    let plain = plain_rows(records, &answer.fields).is_some_and(|rows| rows == answer.rows);
    // What is not plainly right is looked at closely, and the error says what is wrong.
    if plain { Ok(()) } else { open_rows(records, answer).map(drop) }
}

/// How many rows these are, if they are plainly rows of no other fields.
fn plain_rows(records: &[u8], fields: &[FieldName]) -> Option<u32> {
    let mut reader = serde_json::Deserializer::from_slice(records);
    let rows = Rows(fields).deserialize(&mut reader).ok()?;
    reader.end().ok().map(|()| rows)
}

/// All rows of a page; the fields that they may have.
struct Rows<'f>(&'f [FieldName]);

/// One of them.
#[derive(Clone, Copy)]
struct Row<'f>(&'f [FieldName]);

/// Something under the names of fields: values, or else lists of texts.
struct Named<'f> {
    fields: &'f [FieldName],
    values: bool,
}

impl<'de> DeserializeSeed<'de> for Rows<'_> {
    type Value = u32;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u32, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Rows<'_> {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<u32, A::Error> {
        let mut rows = 0_u32;
        while list.next_element_seed(Row(self.0))?.is_some() {
            rows = rows.checked_add(1).ok_or_else(|| A::Error::custom("too many rows"))?;
        }
        Ok(rows)
    }
}

impl<'de> DeserializeSeed<'de> for Row<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Row<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut row: A) -> Result<(), A::Error> {
        let [mut has_fields, mut has_as_of, mut has_quality] = [false; 3];
        while let Some(name) = row.next_key::<&str>()? {
            let seen = match name {
                "fields" => &mut has_fields,
                "as_of" => &mut has_as_of,
                "quality" => &mut has_quality,
                _ => return Err(A::Error::custom("not of a row")),
            };
            if std::mem::replace(seen, true) {
                return Err(A::Error::custom("twice in a row"));
            }
            match name {
                "as_of" => {
                    row.next_value::<Option<Text>>()?;
                }
                named => row.next_value_seed(Named { fields: self.0, values: named == "fields" })?,
            }
        }
        if has_fields { Ok(()) } else { Err(A::Error::custom("no fields")) }
    }
}

impl<'de> DeserializeSeed<'de> for Named<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Named<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // Both are nearly always in one order, so that the next name is where the last one was left.
        let mut next = 0;
        while let Some(name) = map.next_key::<&str>()? {
            let is = |field: &FieldName| field.as_str() == name;
            let at = match self.fields.get(next).filter(|field| is(field)) {
                Some(_) => Some(next),
                None => self.fields.iter().position(is),
            };
            next = at.ok_or_else(|| A::Error::custom("not among the answer's fields"))? + 1;
            if self.values {
                map.next_value::<Read>()?;
            } else {
                map.next_value::<Vec<Text>>()?;
            }
        }
        Ok(())
    }
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
        while map.next_entry::<Key, Read>()?.is_some() {}
        Ok(())
    }
}

/// The name of something within a value. Some names the library reads as marks of its own and makes another value of what
/// stands under them: such rows are looked at closely, as whoever keeps the values does.
struct Key;

/// How the library's own marks begin.
const MARK: &str = "$serde_json::private::";

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Self)
    }
}

impl Visitor<'_> for Key {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self, E> {
        if name.starts_with(MARK) { Err(E::custom("a mark")) } else { Ok(self) }
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
        plain_rows(records.as_bytes(), &answer(0).fields).is_some()
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
            r#"[{"fields":{"name":"x"},"quality":{"id_number":["cut"]}}]"#,
            r#"[{"fields":{"name":"x"},"fields":{"name":"x"}}]"#,
            r#"[{"fields":{"name":1e999}}]"#,
            r#"[{"fields":{"name":"\ud800"}}]"#,
            r#"[{"fields":{"name":[1,{"a":"\ud800"}]}}]"#,
            r#"[{"fields":{"name":"x"}}"#,
            r#"[{"fields":{"name":"x"}}] "#.trim_end_matches(' ').trim_end_matches(']'),
            r#"{"fields":{"name":"x"}}"#,
            r#"[{"as_of":null}]"#,
            r#"[{"fields":{"name":{"$serde_json::private::RawValue":"no json"}}}]"#,
            r#"[{"fields":{"name":[{"\u0024serde_json::private::RawValue":"no json"}]}}]"#,
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
        assert!(good > 700, "{good}");
    }
}
