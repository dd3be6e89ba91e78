//! The catalogue: which record types exist, their fields, and how sensitive each field is. The class
//! stands here alone; a mapping may raise it and never lower it.
//!
//! | class | content | rule |
//! |---|---|---|
//! | 0 | public | none |
//! | 1 | internal, no person | contract |
//! | 2 | personal | contract, case, field list |
//! | 3 | sensitive | and assessment, named officers, sealed bodies |
//! | 4 | sealed | and two approvals of two organisations |

use crate::bundle;
use crate::lint::lint_name;
use crate::place::{Located, without_values};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use yiwang_proto::contract::Scalar;
use yiwang_proto::ids::{FieldName, Matter, Purpose, RecordType};

/// Why a catalogue file is refused: where, what, and what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct CatalogueError(pub Located);

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SubjectKind {
    /// Always a person or household: the case must list its tag, whatever the fields.
    Person,
    /// Never a person.
    None,
    /// A thing or place, and a person where fields of class 2 and above are asked for.
    Either,
}

/// Type of a field's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// Any text.
    String,
    /// A text from a closed list of the canonical code table.
    Code,
    /// `2026-11-03`.
    Date,
    /// An RFC 3339 time.
    Timestamp,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// true or false.
    Bool,
}

impl FieldType {
    /// The word in the files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Code => "code",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Bool => "bool",
        }
    }

    /// Whether values are texts in clauses and JSON.
    pub fn is_text(self) -> bool {
        matches!(self, Self::String | Self::Code | Self::Date | Self::Timestamp)
    }

    /// Whether a scalar can be a value of this type.
    pub fn accepts(self, scalar: &Scalar) -> bool {
        match scalar {
            Scalar::Text(text) => match self {
                Self::String | Self::Code | Self::Timestamp => true,
                Self::Date => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
                _ => false,
            },
            Scalar::Integer(_) => matches!(self, Self::Integer | Self::Number),
            Scalar::Number(number) => self == Self::Number && number.is_finite(),
            Scalar::Bool(_) => self == Self::Bool,
        }
    }
}

/// One field of a record type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldDef {
    /// Type of its values.
    #[serde(rename = "type")]
    pub kind: FieldType,
    /// Sensitivity, 0 to 4.
    pub class: u8,
    /// What it is, in a few words.
    pub about: String,
    /// Its Chinese name, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zh: Option<String>,
    /// The code table of a field of type `code`: the values that it may have; empty where any may come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<String>,
}

/// One record type.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordDef {
    /// Its name.
    pub name: RecordType,
    /// Who usually keeps it; a hint, no rule.
    pub owner: String,
    /// What it is about.
    pub subject: SubjectKind,
    /// What it is, in a few words.
    pub about: String,
    /// Its Chinese name, where it has one.
    #[serde(default)]
    pub zh: Option<String>,
    /// Its fields.
    pub fields: BTreeMap<FieldName, FieldDef>,
}

impl RecordDef {
    /// A field of the record.
    pub fn field(&self, name: &FieldName) -> Option<&FieldDef> {
        self.fields.get(name)
    }

    /// The highest class of some fields; none if one of them is unknown, or none are given.
    pub fn highest_class<'f>(&self, fields: impl IntoIterator<Item = &'f FieldName>) -> Option<u8> {
        let classes: Option<Vec<u8>> =
            fields.into_iter().map(|name| self.field(name).map(|field| field.class)).collect();
        classes?.into_iter().max()
    }
}

/// All record types, purposes and matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    records: BTreeMap<RecordType, Arc<RecordDef>>,
    purposes: BTreeMap<Purpose, String>,
    matters: BTreeMap<Matter, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordFile {
    record: Vec<RecordDef>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item<T> {
    id: T,
    about: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PurposeFile {
    purpose: Vec<Item<Purpose>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MatterFile {
    matter: Vec<Item<Matter>>,
}

/// A file under its path.
type File<'f> = (&'f str, &'f str);

fn read<T: serde::de::DeserializeOwned>((file, text): File<'_>) -> Result<T, CatalogueError> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let (message, help) = without_values(error.message());
        let offset = error.span().map_or(0, |span| span.start);
        CatalogueError(Located::at(file, text, offset, message, help))
    })
}

/// A fault of a record, a field (`Record.field`), a purpose or a matter.
fn fault((file, text): File<'_>, name: &str, fault: &str, help: &str) -> CatalogueError {
    let message = format!("`{name}`: {fault}");
    CatalogueError(Located::at(file, text, place(text, name), message, help))
}

/// Where a name stands: the last place, since what stands twice is at fault there.
fn place(text: &str, name: &str) -> usize {
    if let Some(at) = text.rfind(&format!("\"{name}\"")) {
        return at;
    }
    let Some((record, field)) = name.split_once('.') else { return 0 };
    let Some(begin) = text.rfind(&format!("\"{record}\"")) else { return 0 };
    let rest = text.get(begin..).unwrap_or_default();
    let mut offset = begin;
    for line in rest.split_inclusive('\n') {
        let shown = line.trim_start();
        let key = shown.strip_prefix("fields.").unwrap_or(shown);
        if key.strip_prefix(field).is_some_and(|after| after.trim_start().starts_with('=')) {
            return offset + line.len() - shown.len();
        }
        offset += line.len();
    }
    begin
}

fn list<T: Ord + AsRef<str>>(
    file: File<'_>,
    items: Vec<Item<T>>,
) -> Result<BTreeMap<T, String>, CatalogueError> {
    let mut all = BTreeMap::new();
    for item in items {
        let name = item.id.as_ref().to_owned();
        if item.about.is_empty() {
            return Err(fault(file, &name, "about is empty", "say in a few words what it is"));
        }
        if all.insert(item.id, item.about).is_some() {
            return Err(fault(file, &name, "stands twice", TWICE));
        }
    }
    Ok(all)
}

const TWICE: &str = "take one of the two out";

impl Catalogue {
    /// The catalogue of the embedded files.
    pub fn builtin() -> Result<Self, CatalogueError> {
        Self::load(bundle::RECORDS, bundle::PURPOSES, bundle::MATTERS)
    }

    /// A catalogue of files, each `(path, text)`.
    pub fn load(
        records: &[(&str, &str)],
        purposes: (&str, &str),
        matters: (&str, &str),
    ) -> Result<Self, CatalogueError> {
        let mut all = BTreeMap::new();
        for file in records {
            for record in read::<RecordFile>(*file)?.record {
                check_record(*file, &record)?;
                let name = record.name.clone();
                if all.insert(name.clone(), Arc::new(record)).is_some() {
                    return Err(fault(*file, name.as_str(), "stands twice", TWICE));
                }
            }
        }
        Ok(Self {
            records: all,
            purposes: list(purposes, read::<PurposeFile>(purposes)?.purpose)?,
            matters: list(matters, read::<MatterFile>(matters)?.matter)?,
        })
    }

    /// A record type.
    pub fn record(&self, name: &RecordType) -> Option<&RecordDef> {
        self.records.get(name).map(Arc::as_ref)
    }

    /// A record type, shared.
    pub fn shared(&self, name: &RecordType) -> Option<Arc<RecordDef>> {
        self.records.get(name).cloned()
    }

    /// The same catalogue with one more record type, or another version of one.
    #[must_use]
    pub fn with(mut self, record: Arc<RecordDef>) -> Self {
        self.records.insert(record.name.clone(), record);
        self
    }

    /// All record types, by name.
    pub fn records(&self) -> impl Iterator<Item = &RecordDef> {
        self.records.values().map(Arc::as_ref)
    }

    /// A field of a record type.
    pub fn field(&self, record: &RecordType, field: &FieldName) -> Option<&FieldDef> {
        self.record(record)?.field(field)
    }

    /// The highest class of some fields; none if record or a field is unknown, or no fields are given.
    pub fn highest_class<'f>(
        &self,
        record: &RecordType,
        fields: impl IntoIterator<Item = &'f FieldName>,
    ) -> Option<u8> {
        self.record(record)?.highest_class(fields)
    }

    /// All purposes with what they mean.
    pub fn purposes(&self) -> impl Iterator<Item = (&Purpose, &str)> {
        self.purposes.iter().map(|(id, about)| (id, about.as_str()))
    }

    /// All matters with what they mean.
    pub fn matters(&self) -> impl Iterator<Item = (&Matter, &str)> {
        self.matters.iter().map(|(id, about)| (id, about.as_str()))
    }

    /// Whether a purpose is in the closed list.
    pub fn has_purpose(&self, purpose: &Purpose) -> bool {
        self.purposes.contains_key(purpose)
    }

    /// Whether a matter is in the closed list.
    pub fn has_matter(&self, matter: &Matter) -> bool {
        self.matters.contains_key(matter)
    }
}

pub(crate) fn check_record(file: File<'_>, record: &RecordDef) -> Result<(), CatalogueError> {
    let name = record.name.as_str();
    let refused = |name: &str, place: &str| match lint_name(name) {
        Some(found) => {
            let what = format!("refused by rule {} for `{}`: {}", found.rule, found.word, found.reason);
            Err(fault(file, place, &what, &format!("instead: {}", found.counterpart)))
        }
        None => Ok(()),
    };
    refused(name, name)?;
    if record.fields.is_empty() || record.about.is_empty() || record.owner.is_empty() {
        return Err(fault(file, name, "fields, about or owner is empty", "write all three"));
    }
    for (field, def) in &record.fields {
        let place = format!("{name}.{field}");
        if def.class > 4 {
            return Err(fault(
                file,
                &place,
                "class is 0 to 4",
                "0 is public, 2 personal, 3 sensitive, 4 sealed",
            ));
        }
        if record.subject == SubjectKind::None && def.class >= 2 {
            let what = "class 2 and above is about persons, the record is about none";
            return Err(fault(file, &place, what, "write class 0 or 1, or subject = \"either\""));
        }
        if def.about.is_empty() {
            return Err(fault(file, &place, "about is empty", "say in a few words what it is"));
        }
        if field.as_str() == "as_of" {
            let what = "`as_of` stands beside the fields of every record";
            return Err(fault(file, &place, what, "take it out"));
        }
        refused(field.as_str(), &place)?;
        check_codes(file, &place, def)?;
    }
    Ok(())
}

/// Values of one code table: those of a large register of matters.
const CODES_MAX: usize = 512;

fn check_codes(file: File<'_>, place: &str, def: &FieldDef) -> Result<(), CatalogueError> {
    if !def.codes.is_empty() && def.kind != FieldType::Code {
        let what = "only a field of type `code` has codes";
        return Err(fault(file, place, what, "write type = \"code\", or take the codes out"));
    }
    let distinct: BTreeSet<&String> = def.codes.iter().collect();
    let sound =
        |code: &&String| (1..=64).contains(&code.chars().count()) && !code.chars().any(char::is_control);
    if def.codes.len() > CODES_MAX
        || distinct.len() != def.codes.len()
        || !def.codes.iter().all(|code| sound(&code))
    {
        let what = "codes are at most 512, each once, of 1 to 64 characters";
        return Err(fault(file, place, what, "write each code once"));
    }
    match def.codes.iter().find_map(|code| lint_name(code)) {
        Some(found) => {
            let what = format!("a code is refused by rule {}: {}", found.rule, found.reason);
            Err(fault(file, place, &what, &format!("instead: {}", found.counterpart)))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "catalogue_tests.rs"]
mod tests;
