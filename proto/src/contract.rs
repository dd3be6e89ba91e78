//! The data-sharing contract: JSON in a DSSE envelope signed under both members' roots. It carries the
//! five mandatory items (legal basis, scenario, scope, method, time limit; State Council Decree 809,
//! art. 20) and everything the decision needs. No constants of class 2 and above: a contract is in the
//! ledger whole.

use crate::document::SignedDocument;
use crate::envelope::{EnvelopeError, SignedStatement, payload_type};
use crate::ids::{AppId, ContractId, FieldName, Matter, MemberId, Officer, Operation, Purpose, RecordType};
use crate::keys::PublicKey;
use crate::limits::{CONTRACT_MAX, DEADLINE_MAX_MS, FIELDS_MAX, ROWS_MAX};
use crate::time::{TimeError, parse_rfc3339};
use serde::{Deserialize, Serialize};

/// Value of `format` in a contract document.
pub const FORMAT: &str = "yiwang-contract/1";

/// Why a contract is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// Form or signature of the envelope.
    #[error("contract: {0}")]
    Envelope(#[from] EnvelopeError),
    /// The JSON does not have the right shape.
    #[error("contract text: {0}")]
    Text(String),
    /// A time does not parse.
    #[error("contract: {0}")]
    Time(#[from] TimeError),
    /// What it says cannot stand; all faults at once.
    #[error("contract cannot stand: {}", .0.join("; "))]
    Faults(Vec<String>),
    /// One side did not sign.
    #[error("contract is not signed under the root of {side} `{member}`")]
    NotSigned {
        /// `provider` or `consumer`.
        side: &'static str,
        /// Whose signature is missing.
        member: MemberId,
    },
}

/// One side of a contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Party {
    /// The member.
    pub member: MemberId,
    /// Its root key, compared out of band before the heads sign.
    pub root: PublicKey,
    /// Pseudonym of the head who approved.
    pub approver: Officer,
}

/// How data is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Single look-ups and bounded searches through the hub.
    Query,
    /// Pages, each an exchange of its own.
    Batch,
    /// Counts over declared tables.
    Count,
}

/// Whether the consumer may hand the data on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnwardSharing {
    /// Never.
    None,
}

/// When the subject learns of an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Notice {
    /// At once.
    Immediate,
    /// After a time that law allows; the reason stands in the legal basis.
    Delayed,
}

/// How a row clause compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowOperator {
    /// Equal to one value.
    Eq,
    /// Equal to one of several values.
    In,
    /// Begins with a text.
    Prefix,
    /// Between two values, both included; texts compare by bytes, numbers by size.
    Range,
}

/// A scalar in a row clause or argument.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// true or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction; never NaN in a document, JSON has none.
    Number(f64),
    /// A text; dates and times are texts in ISO form, which sort by bytes.
    Text(String),
}

/// One clause of the row filter: all clauses must hold for a row to be let out.
///
/// Exactly one of `value` (eq, prefix), `values` (in), `from`+`to` (range) and `param` is given; `param`
/// takes the value from the request's arguments (operators eq, prefix).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowClause {
    /// Field of the record that is compared; it need not be granted.
    pub field: FieldName,
    /// How.
    pub op: RowOperator,
    /// The constant of `eq` and `prefix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Scalar>,
    /// The constants of `in`, at most 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Scalar>,
    /// The lower bound of `range`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Scalar>,
    /// The upper bound of `range`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Scalar>,
    /// Name of the argument that gives the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub param: Option<FieldName>,
}

/// Ceilings of a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Rows in one answer.
    pub rows: u32,
    /// Exchanges of one app per minute.
    pub per_app_per_minute: u32,
    /// Exchanges of one officer per day (UTC); all asserted officers of an app count as one.
    pub per_officer_per_day: u32,
    /// Milliseconds until an answer is too late.
    pub deadline_ms: u32,
}

/// The document's JSON, as members write it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContractText {
    /// `yiwang-contract/1`.
    pub format: String,
    /// Names the contract; the same through all versions.
    pub id: ContractId,
    /// Counts up from 1; a higher version replaces a lower one.
    pub version: u32,
    /// Who gives.
    pub provider: Party,
    /// Who gets.
    pub consumer: Party,
    /// Law and article.
    pub legal_basis: String,
    /// What happens with the data, in words.
    pub scenario: String,
    /// The closed purpose that every request must name.
    pub purpose: Purpose,
    /// Matters that a case may have.
    pub matters: Vec<Matter>,
    /// How data is handed over.
    pub method: Method,
    /// The record type of the catalogue.
    pub record: RecordType,
    /// For a record type that members added: SHA-256 of the version that is granted, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_type: Option<String>,
    /// Operations of the provider's mapping that may be called.
    pub operations: Vec<Operation>,
    /// Fields that may leave the source.
    pub fields: Vec<FieldName>,
    /// Which rows; empty = all that the operation finds.
    #[serde(default)]
    pub rows: Vec<RowClause>,
    /// Apps of the consumer that may ask.
    pub apps: Vec<AppId>,
    /// First valid moment.
    pub valid_from: String,
    /// First moment that is no longer valid.
    pub valid_until: String,
    /// Ceilings.
    pub limits: Limits,
    /// Days that the consumer may keep the data.
    pub retention_days: u32,
    /// Days after which it must be disposed of when the purpose is met.
    pub disposal_days: u32,
    /// Handing on.
    pub onward_sharing: OnwardSharing,
    /// The highest class of the fields.
    pub class: u8,
    /// Impact assessment; needed from class 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assessment: Option<String>,
    /// When the subject learns of an access.
    pub notice: Notice,
    /// Whether emergency access without a case is foreseen.
    #[serde(default)]
    pub break_glass: bool,
    /// Whether all bodies travel sealed, whatever their class; from class 3 they do without it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sealed: bool,
    /// How many seconds old a party's standing may be, 60 to 86400; 60 where nothing is said. More is for
    /// parties that must go on while the network is down, at the price of later revocations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing_seconds: Option<u32>,
    /// Whether statements under it may be signed together with others ([`crate::batch`]), which both sides need tools
    /// for; without it each is signed alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub batch_signatures: bool,
}

/// A contract whose text was checked and whose two signatures were verified.
#[derive(Debug, Clone, PartialEq)]
pub struct Contract {
    /// All that it says.
    pub text: ContractText,
    /// First valid moment, milliseconds.
    pub valid_from_ms: i64,
    /// First moment that is no longer valid, milliseconds.
    pub valid_until_ms: i64,
    /// SHA-256 of the signed payload; requests name it.
    pub digest: crate::Digest,
}

impl ContractText {
    /// Reads the JSON of a draft or a signed payload.
    pub fn parse(json: &[u8]) -> Result<Self, ContractError> {
        serde_json::from_slice(json).map_err(|error| ContractError::Text(error.to_string()))
    }

    /// All that cannot stand, in words; empty when the text is sound. What needs the catalogue (classes,
    /// known fields) is checked by the policies crate.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut want = |holds: bool, fault: &str| {
            if !holds {
                faults.push(fault.to_owned());
            }
        };
        want(self.format == FORMAT, "format is not `yiwang-contract/1`");
        want(self.version >= 1, "version begins at 1");
        want(self.provider.member != self.consumer.member, "provider and consumer are the same member");
        want(self.provider.root != self.consumer.root, "provider and consumer have the same root");
        want(sentence(&self.legal_basis), "legal_basis names law and article in 5 to 500 characters");
        want(sentence(&self.scenario), "scenario says what happens in 5 to 500 characters");
        want((1..=16).contains(&self.matters.len()), "matters lists 1 to 16 kinds of case");
        want((1..=16).contains(&self.operations.len()), "operations lists 1 to 16");
        want((1..=FIELDS_MAX).contains(&self.fields.len()), "fields lists 1 to 64");
        want(unique(&self.fields), "fields lists a field twice");
        want((1..=16).contains(&self.apps.len()), "apps lists 1 to 16");
        want(self.rows.len() <= 16, "rows has at most 16 clauses");
        want((1..=ROWS_MAX).contains(&self.limits.rows), "limits.rows is 1 to 1000");
        want(self.limits.per_app_per_minute >= 1, "limits.per_app_per_minute is at least 1");
        want(self.limits.per_officer_per_day >= 1, "limits.per_officer_per_day is at least 1");
        want((50..=DEADLINE_MAX_MS).contains(&self.limits.deadline_ms), "limits.deadline_ms is 50 to 30000");
        want(self.class <= 4, "class is 0 to 4");
        want(self.class < 3 || self.assessment.is_some(), "assessment is needed from class 3");
        want(
            self.assessment.as_deref().is_none_or(|id| (3..=64).contains(&id.len()) && id.is_ascii()),
            "assessment is an id of 3 to 64 characters",
        );
        want(
            self.standing_seconds.is_none_or(|seconds| (60..=86_400).contains(&seconds)),
            "standing_seconds is 60 to 86400",
        );
        if self.record_type.as_deref().is_some_and(|text| crate::ticket::from_hex(text).is_none()) {
            faults.push("record_type is not 64 hexadecimal digits".to_owned());
        }
        for clause in &self.rows {
            if let Err(fault) = clause.check() {
                faults.push(format!("rows: `{}`: {fault}", clause.field));
            }
        }
        match (parse_rfc3339(&self.valid_from), parse_rfc3339(&self.valid_until)) {
            (Ok(from), Ok(until)) if from < until => {}
            (Ok(_), Ok(_)) => faults.push("valid_until is not after valid_from".to_owned()),
            (from, until) => {
                for error in [from.err(), until.err()].into_iter().flatten() {
                    faults.push(error.to_string());
                }
            }
        }
        faults
    }

    /// The digest of the version of a record type that is pinned, if one is.
    pub fn pinned_record_type(&self) -> Option<crate::Digest> {
        self.record_type.as_deref().and_then(crate::ticket::from_hex)
    }

    /// How old a party's standing may be, milliseconds.
    pub fn standing_age_ms(&self) -> i64 {
        self.standing_seconds.map_or(crate::standing::LIFE_MS, |seconds| i64::from(seconds) * 1000)
    }

    /// Whether a statement may be signed the way it is.
    pub fn allows(&self, signed: &SignedStatement) -> bool {
        self.batch_signatures || !signed.is_in_batch()
    }

    /// The pretty JSON that the heads read and sign.
    pub fn to_json(&self) -> Vec<u8> {
        // A struct of strings, numbers and lists always serialises.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }
}

impl RowClause {
    /// Whether operator and operands fit together.
    pub fn check(&self) -> Result<(), &'static str> {
        let given = usize::from(self.value.is_some())
            + usize::from(!self.values.is_empty())
            + usize::from(self.from.is_some() || self.to.is_some())
            + usize::from(self.param.is_some());
        if given != 1 {
            return Err("give exactly one of value, values, from and to, param");
        }
        let text = |scalar: &Option<Scalar>| matches!(scalar, Some(Scalar::Text(_)));
        let fits = match self.op {
            RowOperator::Eq => self.value.is_some() || self.param.is_some(),
            RowOperator::Prefix => text(&self.value) || self.param.is_some(),
            RowOperator::In => (1..=256).contains(&self.values.len()),
            RowOperator::Range => match (&self.from, &self.to) {
                (Some(from), Some(to)) => std::mem::discriminant(from) == std::mem::discriminant(to),
                _ => false,
            },
        };
        if fits { Ok(()) } else { Err("the operator does not fit what is given beside it") }
    }
}

fn sentence(text: &str) -> bool {
    (5..=500).contains(&text.chars().count()) && !text.chars().any(|c| c.is_control() && c != '\n')
}

fn unique<T: Ord>(items: &[T]) -> bool {
    let set: std::collections::BTreeSet<&T> = items.iter().collect();
    set.len() == items.len()
}

impl Contract {
    /// Verifies a contract document: text and both signatures, each under the root that the text names.
    /// Whether those roots are the right ones is for the caller: a party compares with its own root.
    pub fn open(document: &SignedDocument) -> Result<Self, ContractError> {
        let text = ContractText::parse(document.unverified_payload())?;
        let faults = text.faults();
        if !faults.is_empty() {
            return Err(ContractError::Faults(faults));
        }
        let sides = [("provider", &text.provider), ("consumer", &text.consumer)];
        let signed = document.verify_all(payload_type::CONTRACT, &sides.map(|(_, party)| &party.root));
        signed.map_err(|error| match &error {
            EnvelopeError::BadSignature { key_id } => sides
                .into_iter()
                .find(|(_, party)| party.root.key_id() == *key_id)
                .map(|(side, party)| ContractError::NotSigned { side, member: party.member.clone() })
                .unwrap_or_else(|| error.into()),
            _ => error.into(),
        })?;
        Ok(Self {
            valid_from_ms: parse_rfc3339(&text.valid_from)?,
            valid_until_ms: parse_rfc3339(&text.valid_until)?,
            digest: document.digest(),
            text,
        })
    }

    /// Parses and verifies exact bytes.
    pub fn open_bytes(bytes: bytes::Bytes) -> Result<Self, ContractError> {
        Self::open(&SignedDocument::parse(bytes, CONTRACT_MAX)?)
    }

    /// The root of one of the two members, or none for anybody else.
    pub fn root_of(&self, member: &MemberId) -> Option<&PublicKey> {
        [&self.text.provider, &self.text.consumer]
            .into_iter()
            .find(|party| party.member == *member)
            .map(|party| &party.root)
    }
}

#[cfg(test)]
#[path = "contract_tests.rs"]
mod tests;
