//! Merging answers into one unified record. A pure function: nothing is fetched, nothing is guessed, and
//! two departments that disagree are shown as a conflict, never silently merged.

use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use yiwang_proto::ids::{ContractId, FieldName, MemberId, RecordType};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Source {
    /// The provider.
    pub member: MemberId,
    /// Under which contract.
    pub contract: ContractId,
    /// The ledger entry that records the access.
    pub receipt: Option<u64>,
    /// Since when the source's row is good; none where the source does not say.
    pub as_of: Option<String>,
}

/// One of several values in conflict.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Claim {
    /// What the source says.
    pub value: Value,
    /// Flags of the source's data, e.g. `bad_check_digit`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quality: Vec<String>,
    /// The source.
    pub source: Source,
}

/// What is known of one field.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum FieldState {
    /// All sources that have the record agree. `found` is false where no source has it.
    Value {
        /// The value; an array with one item per row where the record has several; null where not found.
        value: Value,
        /// Whether any source has the record.
        found: bool,
        /// Flags of the data.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        quality: Vec<String>,
        /// Sources that agree.
        sources: Vec<Source>,
        /// Sources that were asked and have no such record.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        missing_in: Vec<Source>,
    },
    /// A contract or rule keeps it back.
    Withheld {
        /// The service code.
        code: String,
        /// The clause that decided.
        clause: String,
        /// Who keeps it back.
        source: Option<Source>,
    },
    /// Nobody refused, but there is no answer.
    Unavailable {
        /// The service code.
        code: String,
        /// Since when the provider is not connected, RFC 3339, where that is known.
        since: Option<String>,
        /// Who is missing.
        source: Option<Source>,
    },
    /// Sources disagree.
    Conflict {
        /// What each says.
        claims: Vec<Claim>,
    },
}

/// One record in an answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row {
    /// Values by field.
    pub fields: BTreeMap<FieldName, Value>,
    /// When the row was last good.
    pub as_of: Option<String>,
    /// Flags by field.
    pub quality: BTreeMap<FieldName, Vec<String>>,
}

/// How one exchange ended.
#[derive(Debug, Clone, PartialEq)]
pub enum PartOutcome {
    /// Rows, and fields left out with the clause.
    Answered {
        /// The rows.
        rows: Vec<Row>,
        /// Fields left out.
        withheld: Vec<(FieldName, String)>,
    },
    /// Refused.
    Refused {
        /// The service code.
        code: String,
        /// The clause.
        clause: String,
    },
    /// No answer.
    Failed {
        /// The service code.
        code: String,
        /// Since when, RFC 3339.
        since: Option<String>,
    },
}

/// One exchange's contribution.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The record type.
    pub record: RecordType,
    /// Fields that were asked for.
    pub fields: Vec<FieldName>,
    /// The provider.
    pub member: MemberId,
    /// The contract.
    pub contract: ContractId,
    /// The entry.
    pub receipt: Option<u64>,
    /// How it ended.
    pub outcome: PartOutcome,
}

/// Fields of a unified record by record type and name.
pub type Unified = BTreeMap<RecordType, BTreeMap<FieldName, FieldState>>;

#[derive(Default)]
struct Gathered {
    claims: Vec<Claim>,
    missing: Vec<Source>,
    withheld: Vec<FieldState>,
    unavailable: Vec<FieldState>,
}

/// Merges parts. The result does not depend on the order in which answers came.
pub fn merge(parts: &[Part]) -> Unified {
    let mut gathered: BTreeMap<(RecordType, FieldName), Gathered> = BTreeMap::new();
    for part in parts {
        for field in &part.fields {
            let slot = gathered.entry((part.record.clone(), field.clone())).or_default();
            gather(slot, part, field);
        }
    }
    let mut unified = Unified::new();
    for ((record, field), slot) in gathered {
        unified.entry(record).or_default().insert(field, settle(slot));
    }
    unified
}

fn source(part: &Part, as_of: Option<String>) -> Source {
    Source { member: part.member.clone(), contract: part.contract.clone(), receipt: part.receipt, as_of }
}

fn gather(slot: &mut Gathered, part: &Part, field: &FieldName) {
    match &part.outcome {
        PartOutcome::Answered { rows, withheld } => {
            let told = withheld.iter().find(|(name, _)| name == field).map(|(_, clause)| clause);
            // Not the field is withheld then, but rows beside those that came.
            let left_out = told.filter(|clause| {
                let count = clause.strip_prefix("rows-left-out:").map(str::parse::<u64>);
                matches!(count, Some(Ok(_))) && rows.iter().any(|row| row.fields.contains_key(field))
            });
            if let Some(clause) = told.filter(|_| left_out.is_none()) {
                let source = Some(source(part, None));
                let code = "withheld".to_owned();
                slot.withheld.push(FieldState::Withheld { code, clause: clause.clone(), source });
            } else if rows.is_empty() {
                slot.missing.push(source(part, None));
            } else {
                let mut claim = claim(part, rows, field);
                claim.quality.extend(left_out.cloned());
                slot.claims.push(claim);
            }
        }
        PartOutcome::Refused { code, clause } => {
            let (code, clause, source) = (code.clone(), clause.clone(), Some(source(part, None)));
            slot.withheld.push(FieldState::Withheld { code, clause, source });
        }
        PartOutcome::Failed { code, since } => {
            let (code, since, source) = (code.clone(), since.clone(), Some(source(part, None)));
            slot.unavailable.push(FieldState::Unavailable { code, since, source });
        }
    }
}

/// What one source says: a value, or the list of values where it has several rows.
fn claim(part: &Part, rows: &[Row], field: &FieldName) -> Claim {
    let mut values: Vec<Value> =
        rows.iter().map(|row| row.fields.get(field).cloned().unwrap_or(Value::Null)).collect();
    let mut quality: Vec<String> =
        rows.iter().filter_map(|row| row.quality.get(field)).flatten().cloned().collect();
    quality.sort();
    quality.dedup();
    // The oldest row's time: the value is not better than its oldest part.
    let as_of = rows.iter().filter_map(|row| row.as_of.clone()).min();
    let value = if values.len() == 1 { values.pop().unwrap_or(Value::Null) } else { Value::Array(values) };
    Claim { value, quality, source: source(part, as_of) }
}

fn settle(mut slot: Gathered) -> FieldState {
    slot.claims.sort_by(|a, b| a.source.cmp(&b.source));
    slot.missing.sort();
    // A source that has the record but not this value does not contradict one that has it.
    let known: Vec<&Claim> = slot.claims.iter().filter(|claim| !claim.value.is_null()).collect();
    let agree = known.windows(2).all(|pair| match pair {
        [a, b] => a.value == b.value,
        _ => true,
    });
    if !agree {
        return FieldState::Conflict { claims: slot.claims };
    }
    if !slot.claims.is_empty() {
        let value = known.first().map_or(Value::Null, |claim| claim.value.clone());
        let mut quality: Vec<String> = slot.claims.iter().flat_map(|claim| claim.quality.clone()).collect();
        quality.sort();
        quality.dedup();
        let sources = slot.claims.into_iter().map(|claim| claim.source).collect();
        return FieldState::Value { value, found: true, quality, sources, missing_in: slot.missing };
    }
    // No value: what is missing, in the order of what helps most to know.
    let state = slot.unavailable.into_iter().min_by_key(order);
    let state = state.or_else(|| slot.withheld.into_iter().min_by_key(order));
    state.unwrap_or(FieldState::Value {
        value: Value::Null,
        found: false,
        quality: Vec::new(),
        sources: Vec::new(),
        missing_in: slot.missing,
    })
}

/// A fixed order, so that the choice does not depend on arrival.
fn order(state: &FieldState) -> String {
    format!("{state:?}")
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
