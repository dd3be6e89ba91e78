//! Why a contract of a plan was not asked: without it, whoever misspelt a field reads that there is no contract.

use crate::client::Client;
use crate::error::ClientError;
use crate::record::{RecordQuery, takes_subject};
use std::fmt;
use yiwang_proto::contract::{ContractText, Method};
use yiwang_proto::ids::{AppId, ContractId, FieldName};

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
    /// The query asks for the next pages of others.
    NotResumed,
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
            Why::NoSubject => f.write_str(
                "is asked with a subject, as its operations are called by_id or by_person: name it, with --subject or as \
                 `subject` in the body; the provider's mapping file declares it as subject = \"id\" in that [[operation]]",
            ),
            Why::Subject => f.write_str(
                "is asked without a subject: leave it out; what is asked with one is called by_id or by_person, in `operations` \
                 of the contract and as `name` of its [[operation]] in the provider's mapping file, with subject = \"id\" there",
            ),
            Why::NotResumed => f.write_str(
                "is not named in `resume`, which asks for the next pages of the contracts that it names; leave it out to begin anew",
            ),
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
    if !query.resume.is_empty() && !query.resume.contains_key(&text.id) {
        return Some(Why::NotResumed);
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
        let texts = planned.iter().map(|plan| &plan.contract.text);
        Ok(left_out(texts, &self.identity.app, query))
    }
}

/// A hub may name contracts that are none of this app's business: those are not told of.
fn left_out<'c>(
    texts: impl Iterator<Item = &'c ContractText>,
    app: &AppId,
    query: &RecordQuery,
) -> Vec<Unasked> {
    let own = |text: &&ContractText| {
        text.apps.contains(app)
            && text.purpose == query.purpose
            && (query.fields.is_empty() || query.fields.contains_key(&text.record))
    };
    let one = |text: &ContractText| Some(Unasked { contract: text.id.clone(), why: why(text, query)? });
    texts.filter(own).filter_map(one).take(CONTRACTS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const TEXT: &[u8] =
        include_bytes!("../../../adapters/departments/civil-affairs/contracts/civil-street-person.json");

    fn query(subject: &str, fields: &[&str]) -> RecordQuery {
        let fields = fields.iter().map(|name| name.parse().unwrap()).collect();
        RecordQuery {
            subject: subject.to_owned(),
            purpose: "social-assistance.eligibility".parse().unwrap(),
            case: "01939000-0000-7000-8000-000000000000".parse().unwrap(),
            officer: None,
            fields: BTreeMap::from([("Person".parse().unwrap(), fields)]),
            arguments: BTreeMap::new(),
            resume: BTreeMap::new(),
        }
    }

    #[test]
    fn it_is_said_what_of_a_query_a_contract_does_not_serve() {
        let text = ContractText::parse(TEXT).unwrap();
        let count = ContractText { method: Method::Count, ..text.clone() };
        let desk: AppId = "assistance-desk".parse().unwrap();
        let said = |text: &ContractText, query: &RecordQuery| {
            left_out(std::iter::once(text), &desk, query).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let granted = "contract `civil-street-person` grants none of the fields that were asked for; it grants birth_date, name, sex";
        assert_eq!(said(&text, &query("x", &["nationality"])), [granted]);
        let nobody = said(&text, &query("", &["name"])).concat();
        assert!(
            nobody.starts_with("contract `civil-street-person` is asked with a subject, as "),
            "{nobody}"
        );
        assert!(nobody.contains("--subject") && nobody.contains("subject = \"id\" in that [[operation]]"));
        let listed = ContractText { operations: vec!["person.by_street".parse().unwrap()], ..text.clone() };
        let somebody = said(&listed, &query("x", &["name"])).concat();
        assert!(somebody.contains("is asked without a subject: leave it out; "), "{somebody}");
        assert!(somebody.contains("in the provider's mapping file, with subject = \"id\""), "{somebody}");
        assert_eq!(
            said(&count, &query("x", &["name"])),
            ["contract `civil-street-person` is for counts only"]
        );
        let next = |contract: &str| RecordQuery {
            resume: BTreeMap::from([(contract.parse().unwrap(), "token".to_owned())]),
            ..query("x", &["name"])
        };
        let others = said(&text, &next("civil-other-person")).concat();
        assert!(others.contains("is not named in `resume`"), "{others}");
        assert!(said(&text, &next("civil-street-person")).is_empty());
        assert!(said(&text, &query("x", &["name", "nationality"])).is_empty(), "one that serves");
    }

    #[test]
    fn a_hub_that_names_contracts_of_others_has_none_of_them_told() {
        let text = ContractText::parse(TEXT).unwrap();
        let query = query("x", &["nationality"]);
        let told = |text: &ContractText, app: &str| {
            left_out(std::iter::repeat_n(text, 100), &app.parse().unwrap(), &query).len()
        };
        assert_eq!(told(&text, "assistance-desk"), CONTRACTS, "few enough for a sentence");
        assert_eq!(told(&text, "other-desk"), 0);
        let other = ContractText { purpose: "public-health.surveillance".parse().unwrap(), ..text.clone() };
        assert_eq!(told(&other, "assistance-desk"), 0);
        let other = ContractText { record: "Dwelling".parse().unwrap(), ..text };
        assert_eq!(told(&other, "assistance-desk"), 0);
    }
}
