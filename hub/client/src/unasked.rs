//! Why a contract of a plan was not asked: without it, whoever misspelt a field reads that there is no contract.

use crate::client::Client;
use crate::error::ClientError;
use crate::record::{RecordQuery, takes_subject};
use std::fmt;
use yiwang_proto::contract::{ContractText, Method};
use yiwang_proto::ids::{ContractId, FieldName};

/// Fields that a sentence names.
const NAMED: usize = 12;
/// Contracts that are named.
const CONTRACTS: usize = 4;

/// A contract in force for app, purpose and record, and what in the query it does not serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unasked {
    /// The contract.
    pub contract: ContractId,
    /// Why it was left out.
    pub why: Why,
}

/// What in a query a contract does not serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// None of the fields that were asked for; with those that it grants.
    Fields(Vec<FieldName>),
    /// It is about one person or thing, and the query names none.
    NoSubject,
    /// It is about none, and the query names one.
    Subject,
    /// It is for counts or batches.
    Method(Method),
}

impl fmt::Display for Unasked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "contract `{}` ", self.contract)?;
        match &self.why {
            Why::Fields(granted) => {
                let named: Vec<&str> = granted.iter().take(NAMED).map(FieldName::as_str).collect();
                let more = if granted.len() > NAMED { ", …" } else { "" };
                write!(
                    f,
                    "grants none of the fields that were asked for; it grants {}{more}",
                    named.join(", ")
                )
            }
            Why::NoSubject => f.write_str("is asked with a subject"),
            Why::Subject => f.write_str("is asked without a subject"),
            Why::Method(Method::Count) => f.write_str("is for counts only"),
            Why::Method(Method::Batch) => f.write_str("is for batches only"),
            Why::Method(Method::Query) => f.write_str("is for queries only"),
        }
    }
}

fn why(text: &ContractText, query: &RecordQuery) -> Option<Why> {
    if text.method != Method::Query {
        return Some(Why::Method(text.method));
    }
    let by_subject = !query.subject.is_empty();
    if !text.operations.iter().any(|operation| takes_subject(operation) == by_subject) {
        return Some(if by_subject { Why::Subject } else { Why::NoSubject });
    }
    let wanted = query.fields.get(&text.record).filter(|fields| !fields.is_empty())?;
    let granted = text.fields.iter().any(|field| wanted.contains(field));
    (!granted).then(|| Why::Fields(text.fields.clone()))
}

impl Client {
    /// The contracts for a query's app, purpose and records that it leaves out, each with the reason.
    ///
    /// # Errors
    /// [`ClientError`], as for any plan.
    pub async fn unasked(&self, query: &RecordQuery) -> Result<Vec<Unasked>, ClientError> {
        let planned = self.plan_of(query).await?;
        // A hub may name contracts that are none of this app's business.
        let own = |text: &&ContractText| {
            text.apps.contains(&self.identity.app)
                && text.purpose == query.purpose
                && (query.fields.is_empty() || query.fields.contains_key(&text.record))
        };
        let one = |text: &ContractText| Some(Unasked { contract: text.id.clone(), why: why(text, query)? });
        let texts = planned.iter().map(|plan| &plan.contract.text).filter(own);
        Ok(texts.filter_map(one).take(CONTRACTS).collect())
    }
}
