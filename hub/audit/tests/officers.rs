//! What a lying hub says of officers and sealed bodies: found at its index.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "common/verify.rs"]
mod verify;

use verify::verify;
use yiwang_audit::Rule;
use yiwang_audit::fixture::{Exchange, World, app};
use yiwang_proto::Digest;
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::Role;
use yiwang_proto::entry::Kind;
use yiwang_proto::ids::{AppId, Officer};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::pb;
use yiwang_proto::request::OfficerBy;
use yiwang_proto::revocation::Revoked;
use yiwang_proto::ticket::Draft;

const NAME: &str = "o-aaaabbbbccccdddd";

fn officers_key() -> SecretKey {
    SecretKey::from_seed(&[88; 32])
}

fn name() -> Officer {
    Officer::parse(NAME).unwrap()
}

#[track_caller]
fn clean(world: &World) {
    let report = verify(world);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[track_caller]
fn found(world: &World, index: u64, rule: Rule) {
    let report = verify(world);
    let hit = |finding: &yiwang_audit::Finding| finding.index == Some(index) && finding.rule == rule;
    assert!(report.findings.iter().any(hit), "wanted {rule} at {index}: {:?}", report.findings);
    assert!(report.findings.iter().all(|finding| finding.index == Some(index)), "{:?}", report.findings);
}

/// A world with an officer, and the entry of the delegation.
fn with_officer() -> (World, (Digest, u64)) {
    let mut world = World::new();
    let consumer = world.consumer.clone();
    let delegation =
        world.publish_delegation(&consumer, Role::Officer, &AppId::parse(NAME).unwrap(), &officers_key(), 2);
    (world, delegation)
}

fn ticket(world: &mut World, delegation: Digest, uses: u32, by: &SecretKey) -> (Digest, u64) {
    let draft = Draft {
        member: world.consumer.id.clone(),
        officer: name(),
        app: app(),
        case: world.case.clone(),
        uses,
        issued_at_ms: world.now_ms - 100,
        expires_at_ms: world.now_ms + 3_600_000,
        delegation_digest: delegation,
    };
    let id = world.next_id();
    let document = draft.sign(id, by);
    let entry = pb::DocumentEntry { document: document.bytes().clone() };
    (document.digest(), world.push(Kind::Ticket(entry)))
}

fn by_ticket(world: &mut World, ticket: (Digest, u64), officer: u64) -> Exchange {
    let mut exchange = world.exchange();
    exchange.request.officer = Some(name());
    exchange.request.officer_by = OfficerBy::Ticket(ticket.0);
    exchange.entry.set_officer_proof(pb::OfficerProof::Ticket);
    (exchange.entry.ticket_index, exchange.entry.officer_delegation_index) = (ticket.1, officer);
    exchange
}

fn signed(world: &mut World, officer: (Digest, u64)) -> Exchange {
    let mut exchange = world.exchange();
    exchange.request.officer = Some(name());
    exchange.request.officer_by = OfficerBy::Signature(officer.0);
    exchange.officer_key = Some(officers_key());
    exchange.entry.set_officer_proof(pb::OfficerProof::Signed);
    exchange.entry.officer_delegation_index = officer.1;
    exchange
}

#[test]
fn honest_tickets_and_signatures_verify() {
    let (mut world, officer) = with_officer();
    let ticket = ticket(&mut world, officer.0, 2, &officers_key());
    for _ in 0..2 {
        let exchange = by_ticket(&mut world, ticket, officer.1);
        world.record(exchange);
    }
    let exchange = signed(&mut world, officer);
    world.record(exchange);
    clean(&world);
}

#[test]
fn a_ticket_that_is_used_too_often_is_found() {
    let (mut world, officer) = with_officer();
    let ticket = ticket(&mut world, officer.0, 1, &officers_key());
    let first = by_ticket(&mut world, ticket, officer.1);
    world.record(first);
    let second = by_ticket(&mut world, ticket, officer.1);
    let index = world.record(second);
    found(&world, index, Rule::Officer);
}

#[test]
fn t13_a_forged_ticket_is_found() {
    let (mut world, officer) = with_officer();
    let (_, index) = ticket(&mut world, officer.0, 1, &SecretKey::from_seed(&[77; 32]));
    found(&world, index, Rule::Officer);
}

#[test]
fn a_signature_that_is_not_the_officers_is_found() {
    let (mut world, officer) = with_officer();
    let mut exchange = signed(&mut world, officer);
    exchange.officer_key = Some(SecretKey::from_seed(&[77; 32]));
    let index = world.record(exchange);
    found(&world, index, Rule::Officer);
    let (mut world, officer) = with_officer();
    let mut exchange = signed(&mut world, officer);
    exchange.officer_key = None;
    let index = world.record(exchange);
    found(&world, index, Rule::Officer);
}

#[test]
fn an_entry_that_says_more_than_its_statement_is_found() {
    let (mut world, _) = with_officer();
    let mut exchange = world.exchange();
    exchange.entry.set_officer_proof(pb::OfficerProof::Signed);
    let index = world.record(exchange);
    found(&world, index, Rule::Officer);
    let (mut world, officer) = with_officer();
    let mut exchange = signed(&mut world, officer);
    exchange.entry.officer_delegation_index = 1;
    let index = world.record(exchange);
    found(&world, index, Rule::Reference);
    let (mut world, _) = with_officer();
    let mut exchange = world.exchange();
    exchange.entry.sealed = true;
    let index = world.record(exchange);
    found(&world, index, Rule::Exchange);
    let (mut world, officer) = with_officer();
    let mut exchange = signed(&mut world, officer).deny(Code::CaseClosed);
    let case = world.case.clone();
    world.close_case(&case);
    exchange.request.issued_at_ms = world.now_ms - 100;
    exchange.request.expires_at_ms = world.now_ms + 20_000;
    let index = world.record(exchange);
    found(&world, index, Rule::Officer);
}

/// A contract of class 3, and a request for its field.
fn class_3(world: &mut World, officer: (Digest, u64), sealing: (Digest, u64)) -> Exchange {
    let mut exchange = signed(world, officer);
    exchange.request.record = "HealthSummary".parse().unwrap();
    exchange.request.operation = "summary.by_person".parse().unwrap();
    exchange = exchange.with_fields(&["problems"]);
    exchange.request.sealing = Some(sealing.0);
    exchange.answer.as_mut().unwrap().sealed_to = Some(sealing.0);
    exchange.entry.sealed = true;
    exchange.entry.sealing_delegation_index = sealing.1;
    exchange
}

fn health_world() -> (World, (Digest, u64), (Digest, u64)) {
    let (mut world, officer) = with_officer();
    let consumer = world.consumer.clone();
    let key = SecretKey::from_seed(&[89; 32]);
    let sealing = world.publish_delegation(&consumer, Role::Sealing, &app(), &key, 3);
    world.contract = world.publish_contract(2, |json| {
        json["record"] = "HealthSummary".into();
        json["operations"] = serde_json::json!(["summary.by_person"]);
        json["fields"] = serde_json::json!(["problems"]);
        json["rows"] = serde_json::json!([]);
        json["class"] = 3.into();
        json["assessment"] = "IA-2026-001".into();
    });
    (world, officer, sealing)
}

#[test]
fn t12_class_3_that_passed_open_or_unsigned_is_found() {
    let (mut world, officer, sealing) = health_world();
    let exchange = class_3(&mut world, officer, sealing);
    world.record(exchange);
    clean(&world);
    // In an open body.
    let (mut world, officer, sealing) = health_world();
    let mut exchange = class_3(&mut world, officer, sealing);
    exchange.request.sealing = None;
    exchange.answer.as_mut().unwrap().sealed_to = None;
    (exchange.entry.sealed, exchange.entry.sealing_delegation_index) = (false, 0);
    let index = world.record(exchange);
    found(&world, index, Rule::Decision);
    // Asked sealed, answered in the open.
    let (mut world, officer, sealing) = health_world();
    let mut exchange = class_3(&mut world, officer, sealing);
    exchange.answer.as_mut().unwrap().sealed_to = None;
    let index = world.record(exchange);
    found(&world, index, Rule::Answer);
    // Without the officer.
    let (mut world, officer, sealing) = health_world();
    let mut exchange = class_3(&mut world, officer, sealing);
    (exchange.request.officer_by, exchange.officer_key) = (OfficerBy::Asserted, None);
    exchange.entry.set_officer_proof(pb::OfficerProof::Asserted);
    exchange.entry.officer_delegation_index = 0;
    let index = world.record(exchange);
    found(&world, index, Rule::Decision);
}

/// Which key is taken back, by its member's standing or under its root.
fn take_back(world: &mut World, digest: Digest, by_root: bool) {
    let consumer = world.consumer.clone();
    let list = Revoked { delegations: [digest].into(), ..Revoked::default() };
    if by_root {
        world.revoke(&consumer, &consumer.root, &list, false);
    } else {
        let standing = world.standing(&consumer, 2, &list);
        world.record_standing(&consumer, &standing);
    }
}

#[test]
fn f14_an_answer_under_an_officers_key_or_a_key_for_sealing_that_was_taken_back_is_found() {
    for by_root in [false, true] {
        // A second signature and a sealed body.
        for of_officer in [true, false] {
            let (mut world, officer, sealing) = health_world();
            world.both_say(1);
            let before = class_3(&mut world, officer, sealing);
            world.record(before);
            clean(&world);
            take_back(&mut world, if of_officer { officer.0 } else { sealing.0 }, by_root);
            clean(&world);
            let denied = class_3(&mut world, officer, sealing).deny(Code::Revoked);
            let mut denied = Exchange { officer_key: Some(officers_key()), ..denied };
            denied.entry.set_officer_proof(pb::OfficerProof::Asserted);
            (denied.entry.officer_delegation_index, denied.entry.sealing_delegation_index) = (0, 0);
            world.record(denied);
            clean(&world);
            let after = class_3(&mut world, officer, sealing);
            let index = world.record(after);
            found(&world, index, Rule::Decision);
        }
        // A ticket, used and signed anew.
        let (mut world, officer) = with_officer();
        world.both_say(1);
        let held = ticket(&mut world, officer.0, 2, &officers_key());
        let before = by_ticket(&mut world, held, officer.1);
        world.record(before);
        take_back(&mut world, officer.0, by_root);
        clean(&world);
        let after = by_ticket(&mut world, held, officer.1);
        let index = world.record(after);
        found(&world, index, Rule::Decision);
        let (mut world, officer) = with_officer();
        take_back(&mut world, officer.0, by_root);
        let (_, index) = ticket(&mut world, officer.0, 2, &officers_key());
        found(&world, index, Rule::Officer);
    }
}

#[test]
fn a_refusal_for_a_key_that_only_the_body_names_needs_a_revoked_one_of_the_provider() {
    for revoked in [true, false] {
        let (mut world, officer, sealing) = health_world();
        world.both_say(1);
        let provider = world.provider.clone();
        let key = SecretKey::from_seed(&[90; 32]);
        let main = AppId::parse("main").unwrap();
        let opens = world.publish_delegation(&provider, Role::Sealing, &main, &key, 4);
        if revoked {
            let list = Revoked { delegations: [opens.0].into(), ..Revoked::default() };
            let standing = world.standing(&provider, 2, &list);
            world.record_standing(&provider, &standing);
        }
        let mut exchange = class_3(&mut world, officer, sealing);
        exchange.entry.set_outcome(pb::Outcome::Withheld);
        Code::Revoked.as_str().clone_into(&mut exchange.entry.code);
        let index = world.record(exchange);
        if revoked { clean(&world) } else { found(&world, index, Rule::Decision) }
    }
}

#[test]
fn each_way_to_take_back_a_key_that_only_the_body_names_counts_and_nothing_else_does() {
    for way in 0..5 {
        let (mut world, officer, sealing) = health_world();
        world.both_say(1);
        let provider = world.provider.clone();
        let publish = |world: &mut World, role: Role, serial: u64| {
            let (main, key) = (AppId::parse("main").unwrap(), SecretKey::from_seed(&[90; 32]));
            world.publish_delegation(&provider, role, &main, &key, serial).0
        };
        let say = |world: &mut World, sequence: u64, list: &Revoked, serials: &[u64]| {
            let mut standing = world.standing(&provider, sequence, list);
            standing.revoked_serials = serials.to_vec();
            world.record_standing(&provider, &standing);
        };
        let (nothing, list) =
            (Revoked::default(), |key: Digest| Revoked { delegations: [key].into(), ..Revoked::default() });
        // Entered after its root took it back, or before.
        let later = (way == 2).then(|| publish(&mut health_world().0, Role::Sealing, 4));
        if let Some(key) = later {
            world.revoke(&provider, &provider.root, &list(key), false);
        }
        let key = publish(&mut world, Role::Sealing, 4);
        match way {
            0 => say(&mut world, 2, &nothing, &[4]),
            1 => drop(world.revoke(&provider, &provider.root, &list(key), false)),
            2 => assert_eq!(later, Some(key)),
            // Taken back, and then no more.
            3 => {
                say(&mut world, 2, &list(key), &[]);
                say(&mut world, 3, &nothing, &[]);
            }
            // A key for something else.
            _ => {
                publish(&mut world, Role::App, 5);
                say(&mut world, 2, &nothing, &[5]);
            }
        }
        let mut exchange = class_3(&mut world, officer, sealing);
        exchange.entry.set_outcome(pb::Outcome::Withheld);
        Code::Revoked.as_str().clone_into(&mut exchange.entry.code);
        let index = world.record(exchange);
        if way < 3 { clean(&world) } else { found(&world, index, Rule::Decision) }
    }
}
