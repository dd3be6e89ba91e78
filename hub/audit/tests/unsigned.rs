//! What nobody signed and nobody verified, in entries of a hub that let it pass: found at its index.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use bytes::Bytes;
use prost::Message as _;
use tempfile::TempDir;
use yiwang_audit::fixture::{Exchange, World};
use yiwang_audit::{Options, Rule, verify_ledger};
use yiwang_proto::answer::Verdict;
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::Role;
use yiwang_proto::entry::{self, Kind};
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::{AppId, Officer};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::pb;
use yiwang_proto::request::OfficerBy;

const NAME: &str = "Zhang San of Changan road";
const OFFICER: &str = "o-aaaabbbbccccdddd";

#[track_caller]
fn found(world: &World, index: u64, rules: &[Rule]) {
    let folder = TempDir::new().unwrap();
    world.write(folder.path());
    let options = Options { key: Some(world.key()), threads: 2, ..Options::default() };
    let report = verify_ledger(folder.path(), &options).unwrap();
    let hit =
        |rule: &Rule| report.findings.iter().any(|found| found.index == Some(index) && found.rule == *rule);
    assert!(rules.iter().all(hit), "wanted {rules:?} at {index}: {:?}", report.findings);
    assert!(!rules.is_empty() || report.findings.is_empty(), "{:?}", report.findings);
}

fn bent(envelope: &Bytes, change: fn(&mut Vec<pb::Signature>)) -> Bytes {
    let mut envelope = SignedStatement::parse(envelope.clone()).unwrap().envelope().clone();
    change(&mut envelope.signatures);
    envelope.encode_to_vec().into()
}

fn note(signatures: &mut Vec<pb::Signature>) {
    signatures.push(pb::Signature { sig: vec![7; 64].into(), keyid: String::new() });
}

#[expect(clippy::ptr_arg, reason = "of one type with `note`")]
fn hint(signatures: &mut Vec<pb::Signature>) {
    signatures[0].keyid = "13800138000".to_owned();
}

#[test]
fn a_signature_or_hint_beside_the_verified_ones_is_found() {
    for change in [note as fn(&mut Vec<pb::Signature>), hint] {
        let mut world = World::new();
        let index = world.answered();
        world.edit_exchange(index, |entry| entry.request = bent(&entry.request, change));
        found(&world, index, &[Rule::Request]);
        let mut world = World::new();
        let index = world.answered();
        world.edit_exchange(index, |entry| entry.answer = bent(&entry.answer, change));
        found(&world, index, &[Rule::Answer]);
        let mut world = World::new();
        let case = world.case.clone();
        let index = world.close_case(&case);
        world.edit(index, |entry| {
            let Some(Kind::CaseStatement(case)) = &mut entry.kind else { return };
            case.statement = bent(&case.statement, change);
        });
        found(&world, index, &[Rule::Case]);
        let mut world = World::new();
        world.both_say(1);
        let consumer = world.consumer.clone();
        let standing = world.standing(&consumer, 2, &yiwang_proto::revocation::Revoked::default());
        let index = world.record_standing(&consumer, &standing);
        world.edit(index, |entry| {
            let Some(Kind::Standing(said)) = &mut entry.kind else { return };
            said.statement = bent(&said.statement, change);
        });
        found(&world, index, &[Rule::Standing]);
    }
}

/// A request that rests on the officer's signature, denied by the hub.
fn denied(world: &mut World, officer: yiwang_proto::Digest, by: SecretKey) -> Exchange {
    let mut exchange = world.exchange().deny(Code::OfficerInvalid);
    exchange.request.officer = Some(Officer::parse(OFFICER).unwrap());
    exchange.request.officer_by = OfficerBy::Signature(officer);
    exchange.officer_key = Some(by);
    exchange
}

#[test]
fn a_second_signature_of_a_denied_request_that_is_nobodys_is_found() {
    let key = SecretKey::from_seed(&[88; 32]);
    for (by, known, rules) in [
        (key.clone(), true, &[][..]),
        (SecretKey::from_seed(&[77; 32]), true, &[Rule::Officer][..]),
        (key.clone(), false, &[Rule::Officer][..]),
    ] {
        let mut world = World::new();
        let consumer = world.consumer.clone();
        let name = AppId::parse(OFFICER).unwrap();
        let officer = world.publish_delegation(&consumer, Role::Officer, &name, &key, 2).0;
        let exchange = denied(&mut world, if known { officer } else { [3; 32] }, by);
        let index = world.record(exchange);
        found(&world, index, rules);
    }
}

#[test]
fn a_clause_that_says_more_than_which_rule_decided_is_found() {
    let mut world = World::new();
    let mut exchange = world.exchange().deny(Code::SealingKeyUnknown);
    "officer:no-delegation".clone_into(&mut exchange.entry.clause);
    let index = world.record(exchange.clone());
    found(&world, index, &[]);
    exchange.request.id = world.next_id();
    NAME.clone_into(&mut exchange.entry.clause);
    let index = world.record(exchange);
    found(&world, index, &[Rule::Exchange]);
    // The adapter's words, which the entry repeats.
    let mut world = World::new();
    let mut exchange = world.exchange();
    let answer = exchange.answer.as_mut().unwrap();
    (answer.verdict, answer.body_digest) = (Verdict::Denied(Code::RowOutsideFilter), None);
    (answer.rows, answer.fields) = (0, Vec::new());
    NAME.clone_into(&mut answer.clause);
    exchange.entry.set_outcome(pb::Outcome::Denied);
    "row_outside_filter".clone_into(&mut exchange.entry.code);
    NAME.clone_into(&mut exchange.entry.clause);
    let index = world.record(exchange);
    found(&world, index, &[Rule::Exchange, Rule::Answer]);
}

#[test]
fn members_and_signatures_that_a_documents_signer_did_not_mean_are_found() {
    let bends: [fn(&mut serde_json::Value); 4] = [
        |json| json["note"] = NAME.into(),
        |json| json["signatures"][0]["cert"] = NAME.into(),
        |json| json["signatures"][0]["keyid"] = NAME.into(),
        |json| {
            let again = json["signatures"][0].clone();
            json["signatures"].as_array_mut().unwrap().push(again);
        },
    ];
    for bend in bends {
        let world = World::new();
        for (index, bytes) in (0..).zip(&world.entries) {
            let kind = entry::decode(bytes).unwrap().kind.unwrap();
            let (document, rule) = match &kind {
                Kind::Member(raw) => (raw.card.clone(), Rule::Member),
                Kind::Delegation(raw) => (raw.document.clone(), Rule::Delegation),
                Kind::Contract(raw) => (raw.document.clone(), Rule::Contract),
                _ => continue,
            };
            let mut json: serde_json::Value = serde_json::from_slice(&document).unwrap();
            bend(&mut json);
            let document = Bytes::from(json.to_string());
            let mut world = World::new();
            world.edit(index, |entry| {
                entry.kind = Some(match &kind {
                    Kind::Member(_) => Kind::Member(pb::MemberEntry { card: document }),
                    Kind::Delegation(_) => Kind::Delegation(pb::DocumentEntry { document }),
                    _ => Kind::Contract(pb::DocumentEntry { document }),
                });
            });
            found(&world, index, &[rule]);
        }
    }
}

#[test]
fn of_a_request_that_it_does_not_keep_a_hub_says_no_more_than_it_can() {
    let denied = |code: Code, bend: fn(&mut pb::ExchangeEntry), rules: &[Rule]| {
        let mut world = World::new();
        let index = world.denied_unkept(code);
        world.edit_exchange(index, bend);
        found(&world, index, rules);
    };
    for code in [
        Code::SignatureInvalid,
        Code::KeyUnknown,
        Code::WrongMember,
        Code::NoContract,
        Code::StandingStale,
        Code::OperationNotGranted,
        Code::RateExceeded,
    ] {
        denied(code, |_| {}, &[]);
    }
    denied(Code::Replayed, |entry| entry.replay_of = 8, &[]);
    denied(Code::Replayed, |entry| entry.replay_of = 9, &[Rule::Replay]);
    for code in [Code::TagMismatch, Code::ProviderUnavailable, Code::AnswerInvalid, Code::Throttled] {
        denied(code, |_| {}, &[Rule::Exchange]);
    }
    let bends: [fn(&mut pb::ExchangeEntry); 6] = [
        |entry| entry.contract_index = 6,
        |entry| entry.case_index = 7,
        |entry| entry.previous_of_consumer = 8,
        |entry| entry.standing_indexes.push(3),
        |entry| entry.replay_of = 3,
        |entry| "fields:birth_date".clone_into(&mut entry.clause),
    ];
    for bend in bends {
        denied(Code::SignatureInvalid, bend, &[Rule::Exchange]);
    }
}
