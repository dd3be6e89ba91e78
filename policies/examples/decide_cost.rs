//! What one decision costs, in microseconds: `cargo run -p yiwang-policies --example decide_cost`.
//! `yiwang bench decide` is the figure that counts; this one needs nothing but this crate.

use std::sync::Arc;
use yiwang_policies::{CaseFacts, Context, Counts, Decider, OfficerEvidence, Site};
use yiwang_proto::ambient::{Clock as _, SystemClock};
use yiwang_proto::body::RequestBody;
use yiwang_proto::contract::{Contract, ContractText};
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::ids::{CaseId, RequestId};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::request::{Head, OfficerBy, Request};

const NOW: i64 = 1_795_000_000_000;
const ROUNDS: u32 = 20_000;

fn contract() -> Result<Contract, Box<dyn std::error::Error>> {
    let root = |seed| SecretKey::from_seed(&[seed; 32]).public();
    let json = serde_json::json!({
        "format": "yiwang-contract/1", "id": "bench-contract", "version": 1,
        "provider": {"member": "civil-affairs", "root": root(1), "approver": "o-aaaaaaaaaaaaaaaa"},
        "consumer": {"member": "street-office", "root": root(2), "approver": "o-bbbbbbbbbbbbbbbb"},
        "legal_basis": "made up for a measurement", "scenario": "measure the decision",
        "purpose": "bench.throughput", "matters": ["bench"], "method": "query",
        "record": "BenchRecord", "operations": ["bench.by_id"],
        "fields": ["id", "text_1", "text_2", "text_3", "text_4", "text_5", "text_6", "text_7", "text_8"],
        "apps": ["bench-app"], "valid_from": "2026-01-01T00:00:00Z", "valid_until": "2027-01-01T00:00:00Z",
        "limits": {"rows": 5, "per_app_per_minute": 600, "per_officer_per_day": 100, "deadline_ms": 2000},
        "retention_days": 1, "disposal_days": 1, "onward_sharing": "none", "class": 2, "notice": "immediate"
    });
    let text = ContractText::parse(json.to_string().as_bytes())?;
    Ok(Contract {
        valid_from_ms: yiwang_proto::time::parse_rfc3339(&text.valid_from)?,
        valid_until_ms: yiwang_proto::time::parse_rfc3339(&text.valid_until)?,
        digest: [3; 32],
        text,
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let decider = Decider::builtin()?;
    let contract = Arc::new(contract()?);
    let prepared = decider.prepare(Arc::clone(&contract), None).map_err(|faults| format!("{faults:?}"))?;
    let said = &contract.text;
    let app = said.apps.first().ok_or("no app")?;
    let delegation = Delegation {
        member: said.consumer.member.clone(),
        root: said.consumer.root,
        role: Role::App,
        name: app.clone(),
        key: said.consumer.root,
        serial: 1,
        valid_from_ms: 0,
        valid_until_ms: i64::MAX,
        digest: [7; 32],
    };
    let request = Request {
        id: RequestId::parse("0190a5c3-0000-7000-8000-000000000001")?,
        consumer: said.consumer.member.clone(),
        app: app.clone(),
        provider: said.provider.member.clone(),
        contract: said.id.clone(),
        contract_digest: contract.digest,
        purpose: said.purpose.clone(),
        case: CaseId::parse("0190a5c3-0000-7000-8000-000000000002")?,
        record: said.record.clone(),
        operation: said.operations.first().ok_or("no operation")?.clone(),
        fields: said.fields.clone(),
        subject_tags: vec![[1; 32]],
        issued_at_ms: NOW,
        expires_at_ms: NOW + 60_000,
        body_digest: [0; 32],
        head: Head::default(),
        retry_of: None,
        officer: None,
        delegation_digest: [7; 32],
        officer_by: OfficerBy::Asserted,
        sealing: None,
        in_batch: false,
    };
    let body = RequestBody { subject: "980101199001010017".to_owned(), arguments: Default::default() };
    let matter = said.matters.first().ok_or("no matter")?;
    let context = Context {
        site: Site::Hub,
        now_ms: NOW,
        delegation: &delegation,
        case: Some(CaseFacts { member: &said.consumer.member, matter, open: true, lists_all_tags: true }),
        body: Some(&body),
        counts: Some(Counts { app_this_minute: 1, officer_today: 1 }),
        sealed: false,
        officer: OfficerEvidence::Asserted,
    };
    let clock = SystemClock::default();
    for _ in 0..3 {
        let start = clock.monotonic_us();
        for _ in 0..ROUNDS {
            decider.decide(&request, &prepared, &context)?;
        }
        let spent = clock.monotonic_us().saturating_sub(start);
        println!("{:.2} us per decision over {} fields", spent as f64 / f64::from(ROUNDS), said.fields.len());
    }
    Ok(())
}
