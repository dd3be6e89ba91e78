//! Record types that members add to the catalogue: a reviewed file, JSON in a DSSE envelope, signed under the
//! roots of all members that will provide it, and entered in the ledger whole. A contract for such a record pins
//! the version that it grants by its digest, so hub, adapter, app and verifier judge by the same classes.
//!
//! A later version may add fields and codes and raise classes; it takes nothing back, so that whoever reads by an
//! older one is never misled. What comes with the program changes with the program only.

use crate::catalogue::{Catalogue, FieldDef, RecordDef, SubjectKind, check_record};
use crate::lint::lint_name;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use yiwang_proto::Digest;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::{EnvelopeError, payload_type};
use yiwang_proto::ids::{FieldName, MemberId, RecordType};
use yiwang_proto::keys::PublicKey;
use yiwang_proto::limits::FIELDS_MAX;
use yiwang_proto::ticket::from_hex;

/// Value of `format` in a record type's file.
pub const FORMAT: &str = "yiwang-record-type/1";
/// Members that provide one record type: as many as an envelope has room for signatures.
pub const PROVIDERS_MAX: usize = 8;
/// Codes of all fields of one record type: those of a large register of matters, twice.
const CODES_MAX: usize = 1024;
/// Bytes of a record type's envelope: 64 fields with their words.
pub const RECORD_TYPE_MAX: usize = 24 * 1024;
/// Versions of one record type: a new one every month for ten years.
pub const VERSIONS_MAX: u32 = 120;

/// Why a record type is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordTypeError {
    /// Form of the envelope.
    #[error("record type: {0}")]
    Envelope(#[from] EnvelopeError),
    /// The JSON does not have the right shape; line and column stand in the text.
    #[error("record type: {0}; mend the JSON at that place")]
    Text(String),
    /// What it says cannot stand; all faults at once.
    #[error("record type cannot stand: {}", .0.join("; "))]
    Faults(Vec<String>),
    /// A member that will provide it did not sign.
    #[error(
        "record type is not signed under the root of `{0}`, which will provide it; have it run `yiwang catalogue sign`"
    )]
    NotSigned(MemberId),
}

/// A member that will provide records of the type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypeProvider {
    /// The member.
    pub member: MemberId,
    /// Its root key.
    pub root: PublicKey,
}

/// The file's JSON, as members write and review it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordTypeText {
    /// `yiwang-record-type/1`.
    pub format: String,
    /// Its name.
    pub record: RecordType,
    /// Counts up from 1.
    pub version: u32,
    /// SHA-256 of the version before, hexadecimal; none for version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Who usually keeps it, in words.
    pub owner: String,
    /// What it is about: `person`, `none` or `either`.
    pub subject: SubjectKind,
    /// What it is, in a few words.
    pub about: String,
    /// Its Chinese name, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zh: Option<String>,
    /// Its fields; each once, since readers differ in which of two they take.
    #[serde(deserialize_with = "once_each")]
    pub fields: BTreeMap<FieldName, FieldDef>,
    /// Who will provide it; all of them sign.
    pub providers: Vec<TypeProvider>,
}

fn once_each<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<FieldName, FieldDef>, D::Error> {
    struct Once;
    impl<'de> Visitor<'de> for Once {
        type Value = BTreeMap<FieldName, FieldDef>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object of fields, each once")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut fields = BTreeMap::new();
            while let Some((name, field)) = map.next_entry::<FieldName, FieldDef>()? {
                let place = format!("field `{name}` stands twice");
                if fields.insert(name, field).is_some() {
                    return Err(A::Error::custom(place));
                }
            }
            Ok(fields)
        }
    }
    from.deserialize_map(Once)
}

/// A version whose text was checked and whose signatures were verified. Whether the roots are the members' is for
/// the caller.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordTypeVersion {
    /// All that it says.
    pub text: RecordTypeText,
    /// SHA-256 of the signed payload; contracts pin it.
    pub digest: Digest,
    /// The same as a record of the catalogue.
    pub def: Arc<RecordDef>,
}

impl RecordTypeText {
    /// Reads the JSON of a draft or a signed payload.
    ///
    /// # Errors
    /// [`RecordTypeError::Text`] with line and column.
    pub fn parse(json: &[u8]) -> Result<Self, RecordTypeError> {
        serde_json::from_slice(json).map_err(|error| RecordTypeError::Text(error.to_string()))
    }

    /// The pretty JSON that the heads read and sign.
    pub fn to_json(&self) -> Vec<u8> {
        // A struct of strings, numbers and maps with text keys always serialises.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    fn def(&self) -> RecordDef {
        RecordDef {
            name: self.record.clone(),
            owner: self.owner.clone(),
            subject: self.subject,
            about: self.about.clone(),
            zh: self.zh.clone(),
            fields: self.fields.clone(),
        }
    }

    /// What breaks the form, in words; empty when it is sound. This never depends on the program's catalogue or lint, so
    /// that what was entered once can be read for ever.
    fn form(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut want = |holds: bool, fault: &str| {
            if !holds {
                faults.push(fault.to_owned());
            }
        };
        want(self.format == FORMAT, "format is not `yiwang-record-type/1`");
        want((1..=VERSIONS_MAX).contains(&self.version), "version is 1 to 120");
        want(
            self.previous.is_some() == (self.version > 1),
            "previous is the digest of the version before, and version 1 has none",
        );
        want(
            self.previous.as_deref().is_none_or(|text| from_hex(text).is_some()),
            "previous is not 64 hexadecimal digits",
        );
        want((1..=FIELDS_MAX).contains(&self.fields.len()), "fields has 1 to 64");
        want(self.fields.values().all(|field| field.class <= 4), "fields: class is 0 to 4");
        let codes: usize = self.fields.values().map(|field| field.codes.len()).sum();
        want(codes <= CODES_MAX, "codes are at most 1024 in all fields together");
        want((1..=PROVIDERS_MAX).contains(&self.providers.len()), "providers lists 1 to 8 members");
        let members: BTreeSet<&MemberId> = self.providers.iter().map(|provider| &provider.member).collect();
        let roots: BTreeSet<&[u8; 32]> =
            self.providers.iter().map(|provider| provider.root.as_bytes()).collect();
        want(
            members.len() == self.providers.len() && roots.len() == self.providers.len(),
            "providers lists a member or root twice",
        );
        let texts = [&self.owner, &self.about].into_iter().chain(&self.zh);
        let texts =
            texts.chain(self.fields.values().flat_map(|field| [&field.about].into_iter().chain(&field.zh)));
        want(
            texts.into_iter().all(|text| is_words(text)),
            "about, owner and zh are 1 to 200 visible characters of one line",
        );
        want(
            self.fields.values().flat_map(|field| &field.codes).all(|code| is_words(code)),
            "codes are visible characters of one line",
        );
        faults
    }

    /// All that cannot stand in a file that is to be entered, in words; empty when it is sound. `builtin` is the catalogue
    /// of the program: its names are taken, and its classes are the least for fields of the same name.
    pub fn faults(&self, builtin: &Catalogue) -> Vec<String> {
        let mut faults = self.form();
        let taken = |record: &RecordDef| record.name.as_str().eq_ignore_ascii_case(self.record.as_str());
        if let Some(record) = builtin.records().find(|record| taken(record)) {
            faults.push(format!(
                "record: `{}` comes with the program, and changes with it only; choose another name",
                record.name
            ));
        }
        for (name, field) in &self.fields {
            let least =
                builtin.records().filter_map(|record| record.field(name)).map(|known| known.class).min();
            if let Some(least) = least.filter(|least| field.class < *least) {
                faults.push(format!(
                    "fields: `{name}` is of class {least} or more in the records of the program; write {least}, or another name"
                ));
            }
        }
        let words = [&self.about, &self.owner].into_iter().chain(&self.zh);
        for words in
            words.chain(self.fields.values().flat_map(|field| [&field.about].into_iter().chain(&field.zh)))
        {
            faults.extend(lint_name(words).map(|refusal| format!("`{words}`: {refusal}")));
        }
        if let Err(error) = check_record(("record type", ""), &self.def()) {
            faults.push(format!("{}; {}", error.0.message, error.0.help));
        }
        faults
    }

    /// What a version may not do to the one before it; empty where it follows. A member may have another root by now;
    /// `dismissed` are those who are no longer of the network and need not sign.
    pub fn breaks(&self, old: &RecordTypeVersion, dismissed: impl Fn(&MemberId) -> bool) -> Vec<String> {
        let mut faults = Vec::new();
        let before = &old.text;
        if self.record != before.record {
            faults
                .push(format!("record: is `{}`, the version before is of `{}`", self.record, before.record));
        }
        if self.version != before.version.saturating_add(1) {
            faults.push(format!("version: is {}, the version before is {}", self.version, before.version));
        }
        if self.previous.as_deref().and_then(from_hex) != Some(old.digest) {
            let right = yiwang_proto::hex(&old.digest);
            faults
                .push(format!("previous: is not the digest of version {}; write `{right}`", before.version));
        }
        if self.subject != before.subject {
            faults.push("subject: what a record is about never changes; choose another record".to_owned());
        }
        for provider in &before.providers {
            let member = &provider.member;
            let stays = self.providers.iter().any(|one| one.member == *member);
            if !stays && !dismissed(member) {
                faults.push(format!(
                    "providers: `{member}` provides the version before and must sign this one too"
                ));
            }
        }
        for (name, was) in &before.fields {
            let Some(now) = self.fields.get(name) else {
                faults.push(format!("fields: `{name}` is gone; contracts may grant it, so it stays"));
                continue;
            };
            if now.kind != was.kind {
                let (now, was) = (now.kind.as_str(), was.kind.as_str());
                faults.push(format!("fields: `{name}` was {was} and is {now}; a type never changes"));
            }
            if now.class < was.class {
                let (now, was) = (now.class, was.class);
                faults.push(format!(
                    "fields: `{name}` was of class {was} and is of class {now}; classes only rise"
                ));
            }
            // No codes means any text: a list must not come after, nor lose a code.
            if was.codes.iter().any(|code| !now.codes.contains(code))
                || (was.codes.is_empty() && !now.codes.is_empty())
            {
                faults.push(format!("fields: `{name}` loses a code; a list of codes only grows"));
            }
        }
        faults
    }

    /// What is new against the version before, a line each.
    pub fn changes(&self, old: &RecordTypeText) -> Vec<String> {
        let mut lines = Vec::new();
        if self.record != old.record || self.subject != old.subject {
            lines.push("~ another record, or about something else".to_owned());
        }
        for (name, now) in &self.fields {
            match old.fields.get(name) {
                None => {
                    lines.push(format!("+ {name}: {}, class {}, {}", now.kind.as_str(), now.class, now.about))
                }
                Some(was) => {
                    if now.class != was.class {
                        lines.push(format!("~ {name}: class {} becomes {}", was.class, now.class));
                    }
                    if now.kind != was.kind {
                        lines.push(format!("~ {name}: {} becomes {}", was.kind.as_str(), now.kind.as_str()));
                    }
                    let codes = now.codes.iter().filter(|code| !was.codes.contains(code));
                    lines.extend(codes.map(|code| format!("+ {name}: code `{code}`")));
                    let codes = was.codes.iter().filter(|code| !now.codes.contains(code));
                    lines.extend(codes.map(|code| format!("- {name}: code `{code}`")));
                    if now.about != was.about || now.zh != was.zh {
                        lines.push(format!("~ {name}: other words"));
                    }
                }
            }
        }
        let gone = old.fields.keys().filter(|name| !self.fields.contains_key(*name));
        lines.extend(gone.map(|name| format!("- {name}")));
        let new = self.providers.iter().filter(|provider| !old.providers.contains(provider));
        lines.extend(new.map(|provider| format!("+ provider {}", provider.member)));
        let left = old.providers.iter().filter(|provider| !self.providers.contains(provider));
        lines.extend(left.map(|provider| format!("- provider {}", provider.member)));
        if (&self.about, &self.owner, &self.zh) != (&old.about, &old.owner, &old.zh) {
            lines.push("~ about, owner or zh".to_owned());
        }
        lines
    }
}

/// Text of one line that people see as it is: it is read before it is signed, and stands in the ledger for ever. What
/// changes the direction of reading, or is not seen, would show something else.
fn is_words(text: &str) -> bool {
    let unseen = |c: char| {
        c.is_control()
            || matches!(
                c,
                '\u{ad}'
                    | '\u{61c}'
                    | '\u{115f}'
                    | '\u{1160}'
                    | '\u{180e}'
                    | '\u{3164}'
                    | '\u{feff}'
                    | '\u{ffa0}'
            )
            || ('\u{200b}'..='\u{200f}').contains(&c)
            || ('\u{2028}'..='\u{202e}').contains(&c)
            || ('\u{2060}'..='\u{206f}').contains(&c)
            || ('\u{fe00}'..='\u{fe0f}').contains(&c)
            || ('\u{e0000}'..='\u{e0fff}').contains(&c)
    };
    (1..=200).contains(&text.chars().count()) && !text.chars().any(unseen)
}

impl RecordTypeVersion {
    /// Reads a document that was verified before it was entered: its form only.
    ///
    /// # Errors
    /// [`RecordTypeError`].
    pub fn read(document: &SignedDocument) -> Result<Self, RecordTypeError> {
        let text = RecordTypeText::parse(document.unverified_payload())?;
        let faults = text.form();
        if !faults.is_empty() {
            return Err(RecordTypeError::Faults(faults));
        }
        Ok(Self { def: Arc::new(text.def()), digest: document.digest(), text })
    }

    /// Verifies a document: its form, and the signatures of exactly the members that it lists. Whether the catalogue and
    /// the lint let it be entered is [`RecordTypeText::faults`].
    ///
    /// # Errors
    /// [`RecordTypeError`].
    pub fn open(document: &SignedDocument) -> Result<Self, RecordTypeError> {
        let version = Self::read(document)?;
        let text = &version.text;
        let keys: Vec<&PublicKey> = text.providers.iter().map(|provider| &provider.root).collect();
        document.verify_all(payload_type::RECORD_TYPE, &keys).map_err(|error| match &error {
            EnvelopeError::BadSignature { key_id } => {
                text.providers.iter().find(|provider| provider.root.key_id() == *key_id).map_or_else(
                    || error.clone().into(),
                    |provider| RecordTypeError::NotSigned(provider.member.clone()),
                )
            }
            _ => error.into(),
        })?;
        Ok(version)
    }

    /// Whether a member signed it, under the root that it had then.
    pub fn is_provided_by(&self, member: &MemberId) -> bool {
        self.text.providers.iter().any(|provider| provider.member == *member)
    }
}

#[cfg(test)]
#[path = "record_type_tests.rs"]
mod tests;
