//! An auditor's search: checked, recorded, then answered from the index, each hit read again from the ledger
//! with its proof. What lies outside of the scope is passed over without a trace.

use super::is_shown;
use crate::context::Hub;
use crate::ledger::ReadFor;
use crate::ledger::store::{EntryReader, StoreError};
use bytes::Bytes;
use std::sync::{Arc, PoisonError};
use yiwang_audit::{AuditError, Ended, Entries, Filter, SearchIndex};
use yiwang_proto::codes::Code;
use yiwang_proto::ids::AppId;
use yiwang_proto::merkle::leaf_hash;
use yiwang_proto::pb;
use yiwang_proto::time::format_rfc3339;

/// Hits of one page.
pub const SEARCH_MAX: u32 = 256;
/// Entries that one search takes into the index; at 50,000 a second this is four seconds.
const CATCH_UP_MAX: u64 = 200_000;

struct Stored(Arc<dyn EntryReader>);

fn unread(error: &StoreError, index: u64) -> AuditError {
    AuditError::BadEntry { index, fault: error.to_string() }
}

impl Entries for Stored {
    fn size(&self) -> u64 {
        self.0.len()
    }

    fn oldest(&self) -> u64 {
        0
    }

    fn entry(&self, index: u64) -> Result<(Bytes, [u8; 32]), AuditError> {
        if index >= self.0.len() {
            return Err(AuditError::NoEntry { index, len: self.0.len() });
        }
        let bytes = self.0.read(index).map_err(|error| unread(&error, index))?;
        let leaf = leaf_hash(&bytes);
        Ok((bytes, leaf))
    }

    fn each(&self, from: u64, take: &mut dyn FnMut(u64, Bytes, [u8; 32]) -> bool) -> Result<(), AuditError> {
        self.0.scan(from, take).map_err(|error| unread(&error, from))
    }
}

/// A checked search.
struct Asked {
    filter: Filter,
    after: Option<u64>,
    limit: usize,
}

/// Checks, records and answers a search.
pub async fn search(
    hub: &Arc<Hub>,
    auditor: AppId,
    raw: &pb::SearchRequest,
) -> Result<pb::SearchResponse, Code> {
    let asked = check(raw).ok_or(Code::ArgumentInvalid)?;
    let size = hub.ledger.checkpoint().size;
    let query = query(&asked);
    let place = hub.ledger.place(ReadFor::Search)?;
    hub.record_look(&auditor, "search", (0, size.saturating_sub(1)), query).await?;
    let searching = Arc::clone(hub);
    let answered = hub.ledger.reading_at(place, move |_| {
        answer(&searching, &auditor, &asked).map_err(|error| {
            tracing::error!(%error, "an auditor's search failed");
            Code::Internal
        })
    });
    answered.await
}

/// `None` for a value that is none.
fn check(raw: &pb::SearchRequest) -> Option<Asked> {
    fn id<T: std::str::FromStr>(text: &str) -> Option<Option<T>> {
        if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) }
    }
    let outcome = match raw.outcome() {
        pb::Outcome::Unspecified if raw.outcome == 0 => None,
        pb::Outcome::Unspecified => return None,
        pb::Outcome::Answered => Some(Ended::Answered),
        pb::Outcome::Denied => Some(Ended::Denied),
        pb::Outcome::Failed => Some(Ended::Failed),
        pb::Outcome::Withheld => Some(Ended::Withheld),
    };
    let tag = match raw.subject_tag.len() {
        0 => None,
        _ => Some(raw.subject_tag.as_ref().try_into().ok()?),
    };
    let code = if raw.code.is_empty() { None } else { Some(Code::parse(&raw.code)?) };
    let bound = |ms: i64| (ms != 0).then_some(ms);
    (1..=SEARCH_MAX).contains(&raw.limit).then_some(())?;
    Some(Asked {
        filter: Filter {
            member: None,
            consumer: id(&raw.consumer)?,
            provider: id(&raw.provider)?,
            contract: id(&raw.contract_id)?,
            case: id(&raw.case_id)?,
            officer: id(&raw.officer)?,
            purpose: id(&raw.purpose)?,
            record: id(&raw.record)?,
            outcome,
            code,
            tag,
            since_ms: bound(raw.from_ms),
            until_ms: bound(raw.to_ms),
            scope: None,
        },
        after: if raw.cursor.is_empty() { None } else { Some(raw.cursor.parse().ok()?) },
        limit: usize::try_from(raw.limit).ok()?,
    })
}

/// The search as the ledger keeps it: ids, pseudonyms and keyed tags, as entries hold them anyway.
fn query(asked: &Asked) -> String {
    let filter = &asked.filter;
    let parts = [
        ("consumer", filter.consumer.as_ref().map(ToString::to_string)),
        ("provider", filter.provider.as_ref().map(ToString::to_string)),
        ("contract", filter.contract.as_ref().map(ToString::to_string)),
        ("case", filter.case.as_ref().map(ToString::to_string)),
        ("officer", filter.officer.as_ref().map(ToString::to_string)),
        ("purpose", filter.purpose.as_ref().map(ToString::to_string)),
        ("record", filter.record.as_ref().map(ToString::to_string)),
        ("outcome", filter.outcome.map(|outcome| outcome.as_str().to_owned())),
        ("code", filter.code.map(|code| code.as_str().to_owned())),
        ("tag", filter.tag.map(|tag| yiwang_proto::hex(&tag))),
        ("from", filter.since_ms.map(format_rfc3339)),
        ("to", filter.until_ms.map(format_rfc3339)),
        ("cursor", asked.after.map(|after| after.to_string())),
        ("limit", Some(asked.limit.to_string())),
    ];
    let set = parts.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
    set.collect::<Vec<_>>().join(" ")
}

fn answer(hub: &Hub, auditor: &AppId, asked: &Asked) -> Result<pb::SearchResponse, AuditError> {
    let entries = Stored(Arc::clone(hub.ledger.reader()));
    let mut slot = hub.auditors.index.lock().unwrap_or_else(PoisonError::into_inner);
    let index = match &mut *slot {
        Some(index) => {
            index.catch_up(&entries, CATCH_UP_MAX)?;
            index
        }
        None => slot.insert(SearchIndex::open(&hub.auditors.path, &entries, CATCH_UP_MAX)?),
    };
    let scope = hub.scope_of(auditor);
    // The index passes over what is hidden: a cursor or a number of pages would tell of it.
    let filter = Filter { scope: Some(scope.clone()).filter(|scope| !scope.all), ..asked.filter.clone() };
    let head = hub.ledger.checkpoint();
    let page = index.search(&entries, &filter, asked.after, asked.limit)?;
    let mut response = pb::SearchResponse { size: page.size.min(head.size), ..pb::SearchResponse::default() };
    for hit in &page.hits {
        // Durable a moment ago and not yet under the head: the next search finds it.
        if hit.index >= head.size {
            return Ok(response);
        }
        let proved = hub
            .ledger
            .receipt_under(hit.index, &head)
            .map_err(|code| AuditError::BadEntry { index: hit.index, fault: code.as_str().to_owned() })?;
        if is_shown(&scope, auditor, &proved.entry) {
            response.hits.push(proved.to_receipt());
        }
    }
    response.cursor = page.next.map(|next| next.to_string()).unwrap_or_default();
    Ok(response)
}
