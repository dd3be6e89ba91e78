//! One entry for people: everything that it says, digests in hexadecimal, statements taken apart.

use crate::error::AuditError;
use crate::folded::Proved;
use crate::ledger::{open, segments};
use crate::report::visible;
use bytes::Bytes;
use prost::Message as _;
use serde_json::{Map, Value, json};
use std::path::Path;
use yiwang_journal::ReadError;
use yiwang_proto::document::{SignedDocument, base64_of};
use yiwang_proto::entry::{Kind, decode, kind_name};
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::limits::ENTRY_MAX;
use yiwang_proto::time::format_rfc3339;
use yiwang_proto::{hex, merkle, pb};

/// Reads and takes apart one entry of a ledger folder. Nothing is verified but its checksum.
///
/// # Errors
/// [`AuditError`] when the entry is not there, damaged, or no entry.
pub fn show(folder: &Path, index: u64) -> Result<Value, AuditError> {
    let segments = segments(folder)?;
    let bad = |fault: String| AuditError::BadEntry { index, fault };
    let (reader, _) = open(&segments).map_err(|error| bad(error.to_string()))?;
    let bytes = reader.read(index).map_err(|error| match error {
        ReadError::Beyond { index, len } => AuditError::NoEntry { index, len },
        error => bad(error.to_string()),
    })?;
    let entry = decode(&bytes).map_err(|error| bad(error.to_string()))?;
    let kind = entry.kind.ok_or_else(|| bad("no kind".to_owned()))?;
    Ok(json!({
        "index": index,
        "kind": kind_name(&kind),
        "time": time(entry.time_ms),
        "time_ms": entry.time_ms,
        "bytes": bytes.len(),
        "leaf_hash": hex(&merkle::leaf_hash(&bytes)),
        "content": content(&kind),
    }))
}

/// Reads and takes apart one statement that a folded entry counts, with its proof under the entry's root. `holds` says
/// whether the proof leads to that root.
///
/// # Errors
/// [`AuditError`] when the entry folds no denials, or the hub's journal of them is not at hand.
pub fn show_folded(folder: &Path, index: u64, place: u64) -> Result<Value, AuditError> {
    let folded = show(folder, index)?;
    let Proved { denied, proof, root } = crate::folded::prove(folder, index, place)?;
    let bad = |fault: String| AuditError::BadEntry { index, fault };
    let entry = decode(&denied.entry).map_err(|error| bad(error.to_string()))?;
    let kind = entry.kind.ok_or_else(|| bad("no kind".to_owned()))?;
    let [count, said] = ["count", "root"].map(|name| folded.get("content").and_then(|all| all.get(name)));
    let of = count.and_then(Value::as_u64).unwrap_or_default();
    let included = merkle::verify_inclusion(place, of, &denied.leaf(), &proof, &root).is_ok();
    let holds = included && said.and_then(Value::as_str) == Some(hex(&root).as_str());
    Ok(json!({
        "folded_into": folded,
        "statement": place,
        "of": of,
        "time": time(entry.time_ms),
        "time_ms": entry.time_ms,
        "leaf_hash": hex(&denied.leaf()),
        "proof": proof.iter().map(|hash| hex(hash)).collect::<Vec<_>>(),
        "root": hex(&root),
        "holds": holds,
        "entry": base64_of(&denied.entry),
        "content": content(&kind),
    }))
}

fn time(ms: i64) -> String {
    format_rfc3339(ms)
}

fn content(kind: &Kind) -> Value {
    match kind {
        Kind::Origin(raw) => json!({
            "origin": raw.origin,
            "verifier_key": raw.verifier_key,
            "old_head": String::from_utf8_lossy(&raw.old_head),
        }),
        Kind::Member(raw) => document(&raw.card),
        Kind::Delegation(raw)
        | Kind::Contract(raw)
        | Kind::Revocation(raw)
        | Kind::Ticket(raw)
        | Kind::RecordType(raw) => document(&raw.document),
        Kind::CaseStatement(raw) => statement(&raw.statement, case),
        Kind::Exchange(raw) => exchange(raw),
        Kind::Policy(raw) => json!({ "digest": hex(&raw.digest), "version": raw.version }),
        Kind::Lookup(raw) => json!({
            "auditor": raw.auditor, "what": raw.what, "from_index": raw.from_index, "to_index": raw.to_index,
            "query": raw.query,
        }),
        Kind::Auditor(raw) => {
            let scope = raw.scope.clone().unwrap_or_default();
            json!({
                "auditor": raw.auditor, "all": scope.all, "members": scope.members, "records": scope.records,
            })
        }
        Kind::Mapping(raw) => {
            json!({ "member": raw.member, "mapping": raw.mapping, "digest": hex(&raw.digest) })
        }
        Kind::Folded(raw) => json!({
            "consumer": raw.consumer, "app": raw.app, "code": raw.code, "minute": time(raw.minute_ms),
            "count": raw.count, "root": hex(&raw.root), "unkept": raw.unkept,
        }),
        Kind::Clock(raw) => json!({ "old": time(raw.old_ms), "new": time(raw.new_ms) }),
        Kind::Dismissal(raw) => json!({ "who": raw.who, "reason": raw.reason }),
        Kind::Standing(raw) => statement(&raw.statement, standing),
        Kind::Snapshot(raw) => json!({ "digest": hex(&raw.digest), "size": raw.size }),
    }
}

fn document(bytes: &Bytes) -> Value {
    match SignedDocument::parse(bytes.clone(), ENTRY_MAX) {
        Ok(document) => json!({
            "payload_type": document.payload_type(),
            "digest": hex(&document.digest()),
            "signatures": document.signature_count(),
            "payload": serde_json::from_slice::<Value>(document.unverified_payload()).unwrap_or(Value::Null),
        }),
        Err(error) => json!({ "malformed": error.to_string() }),
    }
}

fn statement(bytes: &Bytes, fields: fn(&Bytes) -> Option<Value>) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    match SignedStatement::parse(bytes.clone()) {
        Ok(signed) => json!({
            "payload_type": signed.payload_type(),
            "digest": hex(&signed.digest()),
            "signed_by_key": signed.envelope().signatures.iter().map(|s| s.keyid.clone()).collect::<Vec<_>>(),
            "statement": fields(signed.unverified_payload()).unwrap_or(Value::Null),
        }),
        Err(error) => json!({ "malformed": error.to_string() }),
    }
}

fn digests(list: &[Bytes]) -> Vec<String> {
    list.iter().map(|digest| hex(digest)).collect()
}

fn head(head: Option<&pb::LedgerHead>) -> Value {
    head.map_or(Value::Null, |head| json!({ "size": head.size, "root": hex(&head.root) }))
}

fn case(payload: &Bytes) -> Option<Value> {
    let raw = pb::CaseStatement::decode(payload.clone()).ok()?;
    Some(json!({
        "statement_id": raw.statement_id, "case_id": raw.case_id, "member": raw.member, "app": raw.app,
        "act": raw.act().as_str_name(), "matter": raw.matter, "reason": raw.reason,
        "subject_tags": digests(&raw.subject_tags),
        "issued_at": time(raw.issued_at_ms), "expires_at": time(raw.expires_at_ms),
        "delegation_digest": hex(&raw.delegation_digest), "head": head(raw.head.as_ref()),
    }))
}

fn standing(payload: &Bytes) -> Option<Value> {
    let raw = pb::Standing::decode(payload.clone()).ok()?;
    let ended: Vec<Value> = raw
        .ended_versions
        .iter()
        .map(|ended| json!({ "contract_id": ended.contract_id, "up_to_version": ended.version }))
        .collect();
    Some(json!({
        "member": raw.member, "root_digest": hex(&raw.root_digest), "sequence": raw.sequence,
        "revoked_delegations": digests(&raw.revoked_delegations), "revoked_serials": raw.revoked_serials,
        "ended_contracts": raw.ended_contracts, "ended_versions": ended,
        "revoked_officers": raw.revoked_officers, "delegation_digest": hex(&raw.delegation_digest),
        "issued_at": time(raw.issued_at_ms), "expires_at": time(raw.expires_at_ms),
    }))
}

fn request(payload: &Bytes) -> Option<Value> {
    let raw = pb::RequestStatement::decode(payload.clone()).ok()?;
    Some(json!({
        "request_id": raw.request_id, "consumer": raw.consumer, "app": raw.app, "provider": raw.provider,
        "contract_id": raw.contract_id, "contract_digest": hex(&raw.contract_digest), "purpose": raw.purpose,
        "case_id": raw.case_id, "record": raw.record, "operation": raw.operation, "fields": raw.fields,
        "subject_tags": digests(&raw.subject_tags),
        "issued_at": time(raw.issued_at_ms), "expires_at": time(raw.expires_at_ms),
        "body_digest": hex(&raw.body_digest), "head": head(raw.head.as_ref()), "retry_of": raw.retry_of,
        "officer": raw.officer, "delegation_digest": hex(&raw.delegation_digest),
        "ticket_digest": hex(&raw.ticket_digest), "sealing_digest": hex(&raw.sealing_digest),
        "officer_delegation_digest": hex(&raw.officer_delegation_digest),
    }))
}

fn answer(payload: &Bytes) -> Option<Value> {
    let raw = pb::AnswerStatement::decode(payload.clone()).ok()?;
    let withheld: Vec<Value> =
        raw.withheld.iter().map(|item| json!({ "field": item.field, "clause": item.clause })).collect();
    Some(json!({
        "request_id": raw.request_id, "request_digest": hex(&raw.request_digest), "provider": raw.provider,
        "adapter": raw.adapter, "outcome": raw.outcome().as_str_name(), "code": raw.code, "clause": raw.clause,
        "fields": raw.fields, "withheld": withheld, "rows": raw.rows, "truncated": raw.truncated,
        "subject_tags": digests(&raw.subject_tags), "subject_tags_root": hex(&raw.subject_tags_root),
        "answered_at": time(raw.answered_at_ms),
        "as_of": if raw.as_of_ms == 0 { Value::Null } else { time(raw.as_of_ms).into() },
        "body_digest": hex(&raw.body_digest), "mapping_digest": hex(&raw.mapping_digest),
        "head": head(raw.head.as_ref()), "delegation_digest": hex(&raw.delegation_digest),
        "sealed_to": hex(&raw.sealed_to),
    }))
}

fn exchange(raw: &pb::ExchangeEntry) -> Value {
    // "plus one" in the message: 0 is none.
    let before = |n: u64| n.checked_sub(1).map_or(Value::Null, Value::from);
    let points_at = |n: u64| if n == 0 { Value::Null } else { n.into() };
    json!({
        "peer": raw.peer, "outcome": raw.outcome().as_str_name(), "code": raw.code, "clause": raw.clause,
        "request": statement(&raw.request, request),
        "request_digest": hex(&raw.request_digest),
        "answer": statement(&raw.answer, answer),
        "policy_index": points_at(raw.policy_index),
        "contract_index": points_at(raw.contract_index),
        "app_delegation_index": points_at(raw.app_delegation_index),
        "adapter_delegation_index": points_at(raw.adapter_delegation_index),
        "case_index": points_at(raw.case_index),
        "previous_of_consumer": before(raw.previous_of_consumer),
        "previous_of_provider": before(raw.previous_of_provider),
        "late_of": before(raw.late_of), "replay_of": before(raw.replay_of),
        "officer_proof": raw.officer_proof().as_str_name(), "sealed": raw.sealed,
        "ticket_index": points_at(raw.ticket_index),
        "officer_delegation_index": points_at(raw.officer_delegation_index),
        "sealing_delegation_index": points_at(raw.sealing_delegation_index),
        "standing_digests": digests(&raw.standing_digests),
        "standing_indexes": raw.standing_indexes,
        "trace_id": hex(&raw.trace_id),
    })
}

/// The same as lines for people: one value a line, nested by two spaces; nothing that is empty.
#[must_use]
pub fn show_text(value: &Value) -> String {
    let mut text = String::new();
    if let Value::Object(map) = value {
        lines(map, 0, &mut text);
    }
    text
}

fn lines(map: &Map<String, Value>, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    for (name, value) in map {
        let name = visible(name);
        match value {
            Value::Null => {}
            Value::String(said) if said.is_empty() => {}
            Value::Array(list) if list.is_empty() => {}
            Value::String(said) => text.push_str(&format!("{indent}{name}: {}\n", visible(said))),
            Value::Array(list) if list.iter().all(|item| !item.is_object()) => {
                let items: Vec<String> = list.iter().map(scalar).collect();
                text.push_str(&format!("{indent}{name}: {}\n", items.join(" ")));
            }
            Value::Array(list) => {
                text.push_str(&format!("{indent}{name}:\n"));
                for item in list {
                    match item {
                        Value::Object(map) => lines(map, depth + 1, text),
                        other => text.push_str(&format!("{indent}  {}\n", scalar(other))),
                    }
                }
            }
            Value::Object(map) => {
                text.push_str(&format!("{indent}{name}:\n"));
                lines(map, depth + 1, text);
            }
            other => text.push_str(&format!("{indent}{name}: {other}\n")),
        }
    }
}

fn scalar(value: &Value) -> String {
    value.as_str().map_or_else(|| visible(&value.to_string()), visible)
}
