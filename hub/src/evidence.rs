//! Collects the evidence bundle of one exchange: everything that its offline verification needs, under
//! one checkpoint.

use crate::context::Hub;
use crate::ledger::Appended;
use crate::views::CaseStatus;
use std::collections::BTreeSet;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::Contract;
use yiwang_proto::entry::{self, Kind};
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::evidence::{ENTRIES_MAX, Evidence, FORMAT, ProvedEntry, document_of, statement_json};
use yiwang_proto::pb;
use yiwang_proto::receipt;
use yiwang_proto::request::Request;
use yiwang_proto::standing::Standing;
use yiwang_proto::tlog_proof::TlogProof;

/// The bundle of the exchange at an index.
pub fn collect(hub: &Hub, index: u64) -> Result<Evidence, Code> {
    let head = hub.ledger.head_for(index);
    let at = |index| hub.ledger.receipt_under(index, &head);
    let main = at(index)?;
    let decoded = entry::decode(&main.entry).map_err(|_| Code::Internal)?;
    let Some(Kind::Exchange(exchange)) = decoded.kind else { return Err(Code::NotFound) };
    let mut supporting = Vec::new();
    let (mut contract, mut delegations) = (serde_json::Value::Null, Vec::new());
    let keys = [
        exchange.app_delegation_index,
        exchange.adapter_delegation_index,
        exchange.officer_delegation_index,
        exchange.sealing_delegation_index,
    ];
    for support in supports(hub, &exchange, index) {
        let proved = at(support)?;
        let entry = entry::decode(&proved.entry).map_err(|_| Code::Internal)?;
        let json = document_of(&entry).and_then(|bytes| serde_json::from_slice(bytes).ok());
        match (&entry.kind, json) {
            (Some(Kind::Contract(_)), Some(json)) => contract = json,
            // The keys that signed request and answer, or seal them; those of standings stand with the entries only.
            (Some(Kind::Delegation(_)), Some(json)) if keys.contains(&support) => {
                delegations.push(json);
            }
            _ => {}
        }
        supporting.push(ProvedEntry::new(support, &proved.entry, &proved.proof));
    }
    Ok(Evidence {
        format: FORMAT.to_owned(),
        origin: hub.ledger.origin().to_owned(),
        checkpoint: String::from_utf8(head.note.to_vec()).map_err(|_| Code::Internal)?,
        tlog_proof: tlog_proof(&main)?,
        exchange: ProvedEntry::new(index, &main.entry, &main.proof),
        supporting,
        request: statement_json(&exchange.request),
        answer: statement_json(&exchange.answer),
        contract,
        delegations,
    })
}

fn tlog_proof(main: &Appended) -> Result<String, Code> {
    let hashes = receipt::hashes(&main.proof).map_err(|_| Code::Internal)?;
    let note = std::str::from_utf8(&main.checkpoint).map_err(|_| Code::Internal)?;
    TlogProof::new(main.index, hashes, note).map(|proof| proof.to_string()).map_err(|_| Code::Internal)
}

/// The entry of the key that signed the standing at an index.
fn standing_key(hub: &Hub, index: u64) -> Option<u64> {
    let entry = entry::decode(&hub.ledger.reader().read(index).ok()?).ok()?;
    let Some(Kind::Standing(standing)) = entry.kind else { return None };
    let signed = SignedStatement::parse(standing.statement).ok()?;
    let standing = Standing::parse(signed.unverified_payload()).ok()?;
    hub.ledger.views().delegation(&standing.delegation_digest).map(|view| view.index)
}

/// The entry of the record type that the contract at an index pins.
fn record_type(hub: &Hub, index: u64) -> Option<u64> {
    let entry = entry::decode(&hub.ledger.reader().read(index).ok()?).ok()?;
    let Some(Kind::Contract(document)) = entry.kind else { return None };
    let contract = Contract::open_bytes(document.document).ok()?;
    let pinned = contract.text.pinned_record_type()?;
    hub.ledger.views().record_type(&pinned).map(|view| view.index)
}

/// The entries that an exchange rests on: policy, both members' cards, delegations, contract, case.
fn supports(hub: &Hub, exchange: &pb::ExchangeEntry, index: u64) -> BTreeSet<u64> {
    let views = hub.ledger.views();
    let mut wanted: BTreeSet<u64> = [
        exchange.policy_index,
        exchange.contract_index,
        exchange.app_delegation_index,
        exchange.adapter_delegation_index,
        exchange.ticket_index,
        exchange.officer_delegation_index,
        exchange.sealing_delegation_index,
    ]
    .into_iter()
    .collect();
    for standing in &exchange.standing_indexes {
        wanted.insert(*standing);
        wanted.extend(standing_key(hub, *standing));
    }
    wanted.extend(record_type(hub, exchange.contract_index));
    // The origin entry comes first in every bundle: it names the ledger's key.
    wanted.insert(0);
    let signed = SignedStatement::parse(exchange.request.clone()).ok();
    let request = signed.and_then(|signed| Request::parse(signed.unverified_payload()).ok());
    if let Some(request) = request {
        for member in [&request.consumer, &request.provider] {
            wanted.extend(views.revocations_of(member).iter().map(|view| view.index));
        }
        let entries = match views.case(&request.case) {
            CaseStatus::Open(case) => case.entries.clone(),
            CaseStatus::Closed(entries) => entries,
            CaseStatus::Unknown => Vec::new(),
        };
        // Another member's case is none of the parties' business, even where a refused request named it.
        let own = crate::cases::member_of(hub, &request.case).as_ref() == Some(&request.consumer);
        wanted.extend(entries.into_iter().filter(|_| own));
        // Each document stands under the card that was in force when it was entered.
        let documents: Vec<u64> = wanted.iter().copied().chain([index]).collect();
        for view in [&request.consumer, &request.provider].into_iter().filter_map(|id| views.member(id)) {
            wanted.extend(documents.iter().filter_map(|document| view.card_before(*document)));
        }
    }
    // What came after the exchange does not bear on it, except that it must not hide anything: the case's
    // later statements are not part of this bundle.
    wanted.into_iter().filter(|support| *support < index).take(ENTRIES_MAX).collect()
}
