//! The unified record: plan → verify contracts → sign → one call → verify → merge.

use crate::batch::RESUME;
use crate::client::{Client, MESSAGE_MAX, call};
use crate::error::ClientError;
use crate::exchange::{Ask, Ending, Exchanged, SignedRequest};
use crate::merge::{FieldState, Part, PartOutcome, Row, Unified, merge};
use crate::paging::{self, GROUPS, follows_on, group_of};
use crate::sealed::Manner;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use yiwang_proto::body::Arguments;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::{Contract, Method, Scalar};
use yiwang_proto::ids::{CaseId, ContractId, FieldName, Officer, Operation, Purpose, RecordType};
use yiwang_proto::pb;
use yiwang_proto::request::{OfficerBy, Request};
use yiwang_proto::time::format_rfc3339;
use yiwang_rpc::record_service_client::RecordServiceClient;

/// What is asked of all departments at once.
#[derive(Debug, Clone)]
pub struct RecordQuery {
    /// The subject's canonical identifier; empty where the records are about none.
    pub subject: String,
    /// Why.
    pub purpose: Purpose,
    /// In which case.
    pub case: CaseId,
    /// Who acts.
    pub officer: Option<Officer>,
    /// Records and fields; empty = everything that contracts grant.
    pub fields: BTreeMap<RecordType, Vec<FieldName>>,
    /// Further arguments.
    pub arguments: Arguments,
    /// For the next pages of searches: what the answers before said under `resume`, by contract. Only these are asked then,
    /// and only for the fields whose answer said it, with the same question; empty for the first pages.
    pub resume: BTreeMap<ContractId, String>,
}

/// How one source did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceState {
    /// The provider.
    pub member: String,
    /// The contract.
    pub contract: String,
    /// The record.
    pub record: String,
    /// `answered`, or the service code.
    pub state: String,
    /// The clause that decided, if any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub clause: String,
    /// The ledger entry.
    pub receipt: Option<u64>,
    /// Whether more rows existed than the answer holds.
    pub truncated: bool,
    /// What this contract's next page is asked for with; none where there is none, or where the provider gives no pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume: Option<String>,
}

/// One record over all departments.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UnifiedRecord {
    /// Whether every source answered.
    pub complete: bool,
    /// Fields by record and name.
    pub records: Unified,
    /// How each source did.
    pub sources: Vec<SourceState>,
}

/// A contract of a plan that was verified.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The contract.
    pub contract: Arc<Contract>,
    /// Since when its provider is not connected.
    pub unavailable_since: Option<String>,
    /// Whether it is connected.
    pub connected: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRow {
    fields: BTreeMap<FieldName, Value>,
    #[serde(default)]
    as_of: Option<String>,
    #[serde(default)]
    quality: BTreeMap<FieldName, Vec<String>>,
}

/// By convention of the catalogue, operations that take a subject end in `by_id` or `by_person`.
pub(crate) fn takes_subject(operation: &Operation) -> bool {
    let name = operation.as_str();
    name.ends_with("by_id") || name.ends_with("by_person")
}

impl Client {
    /// The contracts that could serve, each verified: both signatures, and this member's own root.
    pub async fn plan(&self, purpose: &Purpose, records: &[RecordType]) -> Result<Vec<Planned>, ClientError> {
        let mut service =
            RecordServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_MAX);
        let request = pb::PlanRequest {
            consumer: self.identity.member.as_str().to_owned(),
            app: self.identity.app.as_str().to_owned(),
            purpose: purpose.as_str().to_owned(),
            records: records.iter().map(|record| record.as_str().to_owned()).collect(),
        };
        let plan = service.plan(call(request)).await?.into_inner();
        let mut planned = Vec::with_capacity(plan.contracts.len());
        for item in plan.contracts {
            let contract = Contract::open_bytes(item.contract).map_err(ClientError::unverified)?;
            let consumer = &contract.text.consumer;
            if consumer.member != self.identity.member || consumer.root != self.identity.root {
                return Err(ClientError::Unverified(format!(
                    "contract `{}` names another root for this member: agree on its next version where that one was replaced; \
                     else the hub may have enrolled a false one",
                    contract.text.id
                )));
            }
            self.learn_record_type(&contract, item.record_type);
            let since = item.disconnected_since_ms;
            planned.push(Planned {
                contract: Arc::new(contract),
                connected: item.connected,
                unavailable_since: (since > 0).then(|| format_rfc3339(since)),
            });
        }
        Ok(planned)
    }

    /// The contracts for a query.
    pub(crate) async fn plan_of(&self, query: &RecordQuery) -> Result<Vec<Planned>, ClientError> {
        let records: Vec<RecordType> = query.fields.keys().cloned().collect();
        self.plan(&query.purpose, &records).await
    }

    /// Asks all departments and merges their answers.
    pub async fn query_record(&self, query: &RecordQuery) -> Result<UnifiedRecord, ClientError> {
        self.query_record_by(query, OfficerBy::Asserted).await
    }

    /// As [`Client::query_record`], with a proof of the officer: a published ticket, by its digest.
    pub async fn query_record_by(
        &self,
        query: &RecordQuery,
        officer_by: OfficerBy,
    ) -> Result<UnifiedRecord, ClientError> {
        let planned = self.plan_of(query).await?;
        let mut requests = Vec::new();
        for plan in &planned {
            for (ask, sealed) in self.asks(&plan.contract, query) {
                let manner = Manner { officer_by, sealed: sealed && self.can_seal() };
                requests
                    .push(async move { (plan, self.prepare_together(&plan.contract, &ask, manner).await) });
            }
        }
        // At the same time, so that those which may be are signed together.
        let asks = futures_util::future::join_all(requests).await;
        paging::all_asked(query, &asks.iter().map(|(plan, _)| &plan.contract.text.id).collect())?;
        self.exchange_all(asks, Some(query)).await
    }

    /// Seals what must be sealed, sends all, verifies and merges.
    pub(crate) async fn exchange_all(
        &self,
        asks: Vec<(&Planned, SignedRequest)>,
        query: Option<&RecordQuery>,
    ) -> Result<UnifiedRecord, ClientError> {
        let mut parts = Vec::new();
        let mut sources = Vec::new();
        let mut sent = Vec::with_capacity(asks.len());
        let mut begins_after = Vec::with_capacity(asks.len());
        for (plan, signed) in asks {
            let unsealed = signed.clone();
            match self.seal_body(&plan.contract, signed).await {
                Ok(sealed) => {
                    sent.push((plan, sealed));
                    begins_after.push(paging::begins_after(&unsealed.message.body));
                }
                // Without the provider's key nothing is sent, least of all in the open.
                Err(ClientError::Hub { code }) => {
                    let code = if plan.connected { code } else { Code::ProviderUnavailable };
                    let (part, state) = self.part(plan, &unsealed, (Err(code), ""));
                    parts.push(part);
                    sources.push(state);
                }
                // A key that does not hold is the fault of who handed it out: the others are asked.
                Err(error @ ClientError::Unverified(_)) => {
                    let provider = &plan.contract.text.provider.member;
                    tracing::error!(%error, %provider, "a key for sealing does not hold");
                    let code =
                        if plan.connected { Code::SealingKeyUnknown } else { Code::ProviderUnavailable };
                    let (part, state) = self.part(plan, &unsealed, (Err(code), ""));
                    parts.push(part);
                    sources.push(state);
                }
                Err(error) => return Err(error),
            }
        }
        let endings = self.send_all(&sent).await?;
        for (((plan, signed), ending), after) in sent.iter().zip(endings).zip(&begins_after) {
            let (part, state) = self.part(plan, signed, (ending, after));
            parts.push(part);
            sources.push(state);
        }
        let mut unified = merge(&parts);
        // Of a next page the others' fields were told with the first.
        if let Some(query) = query.filter(|query| query.resume.is_empty()) {
            fill_ungranted(&mut unified, query);
        }
        let complete = !sources.is_empty() && sources.iter().all(|source| source.state == "answered");
        Ok(UnifiedRecord { complete, records: unified, sources })
    }

    /// One request for what may travel in the open, one for what an officer must sign, one for what needs
    /// approvals, so that a field which must be withheld does not withhold the others; each with whether it
    /// is to be sealed.
    pub(crate) fn asks(&self, contract: &Contract, query: &RecordQuery) -> Vec<(Ask, bool)> {
        let text = &contract.text;
        // What is about nobody is asked by `Client::count`.
        if text.method != Method::Query {
            return Vec::new();
        }
        let wanted = query.fields.get(&text.record).filter(|fields| !fields.is_empty());
        let fields: Vec<FieldName> = text
            .fields
            .iter()
            .filter(|field| wanted.is_none_or(|wanted| wanted.contains(field)))
            .cloned()
            .collect();
        let (mut arguments, mut only) = (query.arguments.clone(), None);
        if !query.resume.is_empty() {
            // The others gave all that they have, or are asked for their next page by themselves.
            let named = query.resume.get(&text.id).and_then(|named| paging::read(named));
            let (Some((group, token)), Ok(name)) = (named, FieldName::parse(RESUME)) else {
                return Vec::new();
            };
            arguments.insert(name, Scalar::Text(token.to_owned()));
            only = Some(group);
        }
        let by_subject = !query.subject.is_empty();
        let operation = text.operations.iter().find(|operation| takes_subject(operation) == by_subject);
        let Some(operation) = operation else { return Vec::new() };
        let record = self.record_of(contract);
        let mut groups: [Vec<FieldName>; GROUPS] = Default::default();
        for field in fields {
            let class =
                record.as_ref().and_then(|record| record.field(&field)).map_or(4, |known| known.class);
            groups.get_mut(group_of(class)).into_iter().for_each(|fields| fields.push(field.clone()));
        }
        let sealed = [text.sealed, true, true];
        groups
            .into_iter()
            .zip(sealed)
            .enumerate()
            .filter(|(group, (fields, _))| !fields.is_empty() && only.is_none_or(|only| only == *group))
            .map(|(_, (fields, sealed))| {
                let ask = Ask {
                    operation: operation.clone(),
                    fields,
                    case: query.case.clone(),
                    officer: query.officer.clone(),
                    subject: query.subject.clone(),
                    arguments: arguments.clone(),
                    retry_of: None,
                };
                (ask, sealed)
            })
            .collect()
    }

    /// Over the stream that is open, each by itself.
    async fn stream_all(
        &self,
        asks: &[(&Planned, SignedRequest)],
    ) -> Result<Vec<Result<Exchanged, Code>>, ClientError> {
        let sent = asks.iter().map(|(plan, signed)| self.exchange(&plan.contract, signed));
        let endings = futures_util::future::join_all(sent).await.into_iter();
        endings
            .map(|ending| match ending {
                Err(ClientError::Hub { code }) => Ok(Err(code)),
                // The stream ended before this one came; the others' answers stand.
                Err(ClientError::Transport(_)) => Ok(Err(Code::DeadlineExceeded)),
                Err(error) => Err(error),
                Ok(exchanged) => Ok(Ok(exchanged)),
            })
            .collect()
    }

    async fn send_all(
        &self,
        asks: &[(&Planned, SignedRequest)],
    ) -> Result<Vec<Result<Exchanged, Code>>, ClientError> {
        if self.streams.is_some() {
            return self.stream_all(asks).await;
        }
        let mut endings: Vec<Result<Exchanged, Code>> =
            asks.iter().map(|_| Err(Code::DeadlineExceeded)).collect();
        if asks.is_empty() {
            return Ok(endings);
        }
        for (_, signed) in asks {
            self.keep_request(signed)?;
        }
        let exchanges = asks.iter().map(|(_, signed)| signed.message.clone()).collect();
        let mut service =
            RecordServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_MAX);
        let mut answers = service.query(call(pb::QueryRequest { exchanges })).await?.into_inner();
        while let Some(answer) = answers.message().await? {
            let at = usize::try_from(answer.position).unwrap_or(usize::MAX);
            let (Some((plan, signed)), Some(slot)) = (asks.get(at), endings.get_mut(at)) else {
                return Err(ClientError::unverified("the hub answered a request that was not sent"));
            };
            *slot = match answer.result {
                Some(pb::query_response::Result::Answered(response)) => {
                    self.keep_response(signed, &response)?;
                    Ok(self.verify(&plan.contract, signed, response).await?)
                }
                Some(pb::query_response::Result::Failed(failure)) => {
                    let code = Code::parse(&failure.code).unwrap_or(Code::Internal);
                    self.heed(code, &signed.request.provider);
                    Err(code)
                }
                None => return Err(ClientError::unverified("an answer of the hub is empty")),
            };
        }
        Ok(endings)
    }

    /// What an app is given to ask for the next page of this request with.
    fn next_page(&self, contract: &Contract, request: &Request, token: &str) -> Option<String> {
        let record = self.record_of(contract).filter(|_| !token.is_empty())?;
        let class = request.fields.first().and_then(|field| record.field(field))?.class;
        Some(paging::named(group_of(class), token))
    }

    /// What became of one request, which begins after the page that gave `after`, if it is not empty.
    fn part(
        &self,
        plan: &Planned,
        signed: &SignedRequest,
        (ending, after): (Result<Exchanged, Code>, &str),
    ) -> (Part, SourceState) {
        let text = &plan.contract.text;
        let receipt = ending.as_ref().ok().map(|exchanged| exchanged.receipt.index);
        let since = plan.unavailable_since.clone();
        let (mut truncated, mut next) = (false, None);
        let (outcome, state, clause) = match ending {
            Ok(Exchanged { ending: Ending::Answered { answer, records }, resume, follows, .. }) => {
                let rows = if follows_on(follows, &resume, after) {
                    open_rows(&records, &answer)
                } else {
                    Err(ClientError::unverified("the page begins after another one than was asked for"))
                };
                match rows {
                    Ok(rows) => {
                        truncated = answer.truncated;
                        next = self.next_page(&plan.contract, &signed.request, &resume);
                        let withheld = answer.withheld.clone();
                        (PartOutcome::Answered { rows, withheld }, "answered".to_owned(), String::new())
                    }
                    // What the provider signed contradicts itself. That is its fault alone: the others' answers
                    // stand, and nothing of this one is used.
                    Err(error) => {
                        tracing::error!(%error, provider = %text.provider.member, "an answer does not hold");
                        let code = Code::AnswerInvalid.as_str().to_owned();
                        (PartOutcome::Failed { code: code.clone(), since }, code, String::new())
                    }
                }
            }
            Ok(Exchanged { ending: Ending::Denied { code, clause }, .. }) => {
                (PartOutcome::Refused { code: code.clone(), clause: clause.clone() }, code, clause)
            }
            Ok(Exchanged { ending: Ending::Failed { code }, .. }) => {
                (PartOutcome::Failed { code: code.clone(), since }, code, String::new())
            }
            // One of many denials in a minute has no receipt, and is one all the same.
            Err(code) if code.is_denial() => {
                let (code, clause) = (code.as_str().to_owned(), String::new());
                (PartOutcome::Refused { code: code.clone(), clause: clause.clone() }, code, clause)
            }
            Err(code) => {
                let code = code.as_str().to_owned();
                (PartOutcome::Failed { code: code.clone(), since }, code, String::new())
            }
        };
        let part = Part {
            record: text.record.clone(),
            fields: signed.request.fields.clone(),
            member: text.provider.member.clone(),
            contract: text.id.clone(),
            receipt,
            outcome,
        };
        let source = SourceState {
            member: part.member.as_str().to_owned(),
            contract: part.contract.as_str().to_owned(),
            record: part.record.as_str().to_owned(),
            state,
            clause,
            receipt,
            truncated,
            resume: next,
        };
        (part, source)
    }
}

/// The rows of an answer, which must hold what its statement says and nothing else.
pub fn open_rows(records: &[u8], answer: &yiwang_proto::answer::Answer) -> Result<Vec<Row>, ClientError> {
    let wire: Vec<WireRow> = serde_json::from_slice(records)
        .map_err(|_| ClientError::unverified("the records are not a JSON array of records"))?;
    if u32::try_from(wire.len()).ok() != Some(answer.rows) {
        return Err(ClientError::unverified("the body holds another number of rows than its statement says"));
    }
    let named = wire.iter().flat_map(|row| row.fields.keys().chain(row.quality.keys()));
    let foreign = named.into_iter().any(|field| !answer.fields.contains(field));
    if foreign {
        return Err(ClientError::unverified("the body holds a field that its statement does not name"));
    }
    Ok(wire
        .into_iter()
        .map(|row| Row { fields: row.fields, as_of: row.as_of, quality: row.quality })
        .collect())
}

/// Fields that were wanted and that no contract of the plan grants.
fn fill_ungranted(unified: &mut Unified, query: &RecordQuery) {
    for (record, fields) in &query.fields {
        for field in fields {
            unified.entry(record.clone()).or_default().entry(field.clone()).or_insert_with(|| {
                FieldState::Withheld {
                    code: Code::FieldNotGranted.as_str().to_owned(),
                    clause: "no contract in force grants it".to_owned(),
                    source: None,
                }
            });
        }
    }
}
