//! The cost of one decision, with few and with many contracts.

use crate::fail::Failure;
use crate::setup;
use serde_json::{Value, json};
use std::sync::Arc;
use yiwang_policies::{CaseFacts, Context, Counts, Decider, OfficerEvidence, Prepared, Site};
use yiwang_proto::ambient::{Clock as _, SeededEntropy, SystemClock};
use yiwang_proto::body::{Arguments, RequestBody};
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::payload_type;
use yiwang_proto::ids::{AppId, CaseId, Matter, MemberId, Operation, RequestId};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::request::{Head, OfficerBy, Request};
use yiwang_proto::time::format_rfc3339;

/// Decisions per figure.
const ROUNDS: usize = 50_000;
const DAY_MS: i64 = 24 * 3600 * 1000;

struct Parties {
    provider: SecretKey,
    consumer: SecretKey,
    app: SecretKey,
    now_ms: i64,
}

pub fn measure() -> Result<Value, Failure> {
    let parties = Parties {
        provider: SecretKey::from_seed(&[1; 32]),
        consumer: SecretKey::from_seed(&[2; 32]),
        app: SecretKey::from_seed(&[3; 32]),
        now_ms: setup::clock().now_ms(),
    };
    let decider = Decider::builtin().map_err(Failure::environment)?;
    let many: Result<Vec<_>, Failure> = (0..10_000).map(|n| prepare(&decider, &parties, n)).collect();
    let many = many?;
    let few = many.get(..10).unwrap_or_default();
    // Each contract is asked for the first time; later such requests are of a kind that was granted before.
    let first = time(&decider, &parties, &many, many.len())?;
    // In alternation, so that noise hits both.
    let (mut at_10, mut at_10000) = (u64::MAX, u64::MAX);
    for _ in 0..3 {
        at_10 = at_10.min(time(&decider, &parties, few, ROUNDS)?);
        at_10000 = at_10000.min(time(&decider, &parties, &many, ROUNDS)?);
    }
    let us = |ns: u64| super::measure::ratio(ns, 1000);
    Ok(
        json!({"us_at_10": us(at_10), "us_at_10000": us(at_10000), "us_first": us(first), "decisions": ROUNDS}),
    )
}

fn prepare(decider: &Decider, parties: &Parties, number: usize) -> Result<Prepared, Failure> {
    let text = json!({
        "format": "yiwang-contract/1", "id": format!("bench-{number}"), "version": 1,
        "provider": {"member": "police", "root": parties.provider.public(), "approver": "o-aaaaaaaaaaaaaaaa"},
        "consumer": {"member": "street-office", "root": parties.consumer.public(), "approver": "o-bbbbbbbbbbbbbbbb"},
        "legal_basis": "a law, art. 1", "scenario": "measuring decisions",
        "purpose": "social-assistance.eligibility", "matters": ["social-assistance"], "method": "query",
        "record": "Person", "operations": ["person.by_id"], "fields": ["birth_date", "name", "sex"],
        "rows": [], "apps": ["assistance-desk"],
        "valid_from": format_rfc3339(parties.now_ms - DAY_MS), "valid_until": format_rfc3339(parties.now_ms + DAY_MS),
        "limits": {"rows": 1, "per_app_per_minute": 1_000_000, "per_officer_per_day": 1_000_000, "deadline_ms": 2000},
        "retention_days": 1, "disposal_days": 1, "onward_sharing": "none", "class": 2, "notice": "immediate"
    });
    let keys = [&parties.provider, &parties.consumer];
    let document = SignedDocument::sign(payload_type::CONTRACT, text.to_string().as_bytes(), &keys);
    let contract = Contract::open(&document).map_err(Failure::environment)?;
    decider.prepare(Arc::new(contract), None).map_err(|faults| Failure::environment(format!("{faults:?}")))
}

/// Mean nanoseconds of a decision over all contracts in turn.
fn time(decider: &Decider, parties: &Parties, contracts: &[Prepared], rounds: usize) -> Result<u64, Failure> {
    let entropy = SeededEntropy::new(1);
    let case = CaseId::new(parties.now_ms, &entropy);
    let member = MemberId::parse("street-office").map_err(Failure::environment)?;
    let name = AppId::parse("assistance-desk").map_err(Failure::environment)?;
    let matter = Matter::parse("social-assistance").map_err(Failure::environment)?;
    let document = Delegation::sign(
        &parties.consumer,
        &member,
        Role::App,
        &name,
        parties.app.public(),
        1,
        parties.now_ms - DAY_MS,
        parties.now_ms + DAY_MS,
    );
    let delegation = Delegation::open(&document).map_err(Failure::environment)?;
    let body = RequestBody { subject: "980101199001010017".to_owned(), arguments: Arguments::new() };
    let operation = Operation::parse("person.by_id").map_err(Failure::environment)?;
    let Some(first) = contracts.first() else { return Err(Failure::environment("no contracts")) };
    let text = &first.contract().text;
    // A request comes to its decision fresh from the parser; only the contract lies where it was left. So one
    // request is turned to each contract, at the same small price for few and for many.
    let mut request = Request {
        id: RequestId::new(parties.now_ms, &entropy),
        consumer: member.clone(),
        app: name.clone(),
        provider: text.provider.member.clone(),
        contract: text.id.clone(),
        contract_digest: first.contract().digest,
        purpose: text.purpose.clone(),
        case: case.clone(),
        record: text.record.clone(),
        operation: operation.clone(),
        fields: text.fields.clone(),
        subject_tags: vec![[7; 32]],
        issued_at_ms: parties.now_ms,
        expires_at_ms: parties.now_ms + 60_000,
        body_digest: [0; 32],
        head: Head::default(),
        retry_of: None,
        officer: None,
        delegation_digest: delegation.digest,
        officer_by: OfficerBy::Asserted,
        sealing: None,
        in_batch: false,
    };
    let context = Context {
        site: Site::Hub,
        now_ms: parties.now_ms + 1,
        delegation: &delegation,
        case: Some(CaseFacts { member: &member, matter: &matter, open: true, lists_all_tags: true }),
        body: Some(&body),
        counts: Some(Counts { app_this_minute: 1, officer_today: 1 }),
        sealed: false,
        officer: OfficerEvidence::Asserted,
    };
    // Beside the contracts, as a statement is: what names a contract is not read from it.
    let names: Vec<_> =
        contracts.iter().map(|one| (one.contract().text.id.clone(), one.contract().digest)).collect();
    let clock = SystemClock::default();
    let start = clock.monotonic_us();
    for (prepared, (id, digest)) in contracts.iter().zip(&names).cycle().take(rounds) {
        request.contract.clone_from(id);
        request.contract_digest = *digest;
        decider.decide(&request, prepared, &context).map_err(|denial| {
            Failure::environment(format!("a decision that must permit denies: {denial:?}"))
        })?;
    }
    let took = clock.monotonic_us() - start;
    Ok(took * 1000 / u64::try_from(rounds).unwrap_or(1))
}
