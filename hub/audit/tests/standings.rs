//! Standings and revocations in a ledger: decisions are made again in view of them, and a hub that looks away
//! is found at its entry.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "common/show.rs"]
mod show;
#[path = "common/verify.rs"]
mod verify;

use show::show;
use tempfile::TempDir;
use verify::verify;
use yiwang_audit::fixture::{Party, World, app};
use yiwang_audit::{Options, Report, Rule, verify_evidence, verify_ledger};
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::Role;
use yiwang_proto::ids::{MemberId, Officer};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::pb;
use yiwang_proto::revocation::Revoked;

#[track_caller]
fn clean(report: &Report) {
    assert!(report.findings.is_empty(), "{}", show(report));
}

#[track_caller]
fn found_at(report: &Report, index: u64, rule: Rule) {
    let only = report.findings.iter().all(|finding| finding.index == Some(index));
    assert!(only && report.findings.iter().any(|finding| finding.rule == rule), "{}", show(report));
}

fn app_key(world: &World) -> Revoked {
    Revoked { delegations: [world.consumer.app_delegation.0].into(), ..Revoked::default() }
}

/// A ledger in which both members have spoken and one exchange was answered.
fn spoken() -> World {
    let mut world = World::new();
    world.both_say(1);
    world.answered();
    world
}

#[test]
fn a_ledger_with_standings_is_clean_and_what_they_revoke_is_denied_again() {
    let mut world = spoken();
    let consumer = world.consumer.clone();
    let standing = world.standing(&consumer, 2, &app_key(&world));
    world.record_standing(&consumer, &standing);
    let denied = world.exchange().deny(Code::Revoked);
    world.record(denied);
    let report = verify(&world);
    clean(&report);
    assert!(report.decisions.denied_again >= 1, "{}", show(&report));
    // Exchanges that rest on nobody's word are said to.
    let mut silent = World::new();
    silent.answered();
    let report = verify(&silent);
    clean(&report);
    assert!(show(&report).contains("without a standing"), "{}", show(&report));
}

#[test]
fn an_answer_on_nobodys_word_is_found_once_anybody_spoke_or_where_standings_are_demanded() {
    // A hub that enters another member's standings and keeps those of these two back.
    let mut world = World::new();
    let other = Party {
        id: MemberId::parse("health").unwrap(),
        root: SecretKey::from_seed(&[60; 32]),
        next_root: SecretKey::from_seed(&[61; 32]),
        ..world.consumer.clone()
    };
    world.publish_card(&other.id, &other.root, &other.next_root);
    world.answered();
    clean(&verify(&world));
    let standing = world.standing(&other, 1, &Revoked::default());
    world.record_standing(&other, &standing);
    let index = world.answered();
    found_at(&verify(&world), index, Rule::Decision);
    // One that keeps all of them back.
    let demanding = |world: &World| Options { key: Some(world.key()), standings: true, ..Options::default() };
    let strictly = |world: &World| {
        let folder = TempDir::new().unwrap();
        world.write(folder.path());
        verify_ledger(folder.path(), &demanding(world)).unwrap()
    };
    clean(&strictly(&spoken()));
    let mut silent = World::new();
    let index = silent.answered();
    clean(&verify(&silent));
    found_at(&strictly(&silent), index, Rule::Decision);
    let bundle = serde_json::to_vec(&silent.evidence(index)).unwrap();
    found_at(&verify_evidence(&bundle, &demanding(&silent)).unwrap(), index, Rule::Decision);
}

#[test]
fn f14_an_answer_after_the_revocation_of_key_officer_contract_or_root_is_found() {
    let officer = Officer::parse("o-aaaaaaaaaaaaaaaa").unwrap();
    let contract = || Revoked {
        contracts: [("police-street-person".parse().unwrap(), Some(1))].into(),
        ..Revoked::default()
    };
    let adapter_key = |world: &World| Revoked {
        delegations: [world.provider.adapter_delegation.0].into(),
        ..Revoked::default()
    };
    let by_officer = Revoked { officers: [officer.clone()].into(), ..Revoked::default() };
    for at in 0..6 {
        let mut world = spoken();
        let (consumer, provider) = (world.consumer.clone(), world.provider.clone());
        match at {
            0 | 1 => {
                let list = if at == 0 { app_key(&world) } else { by_officer.clone() };
                let standing = world.standing(&consumer, 2, &list);
                world.record_standing(&consumer, &standing);
            }
            2 | 3 => {
                let list = if at == 2 { contract() } else { adapter_key(&world) };
                let standing = world.standing(&provider, 2, &list);
                world.record_standing(&provider, &standing);
            }
            4 => drop(world.revoke(&consumer, &consumer.root, &app_key(&world), false)),
            _ => drop(world.revoke(&provider, &provider.next_root, &Revoked::default(), true)),
        }
        let mut exchange = world.exchange();
        exchange.request.officer = Some(officer.clone());
        let index = world.record(exchange);
        found_at(&verify(&world), index, Rule::Decision);
    }
}

#[test]
fn t27_an_answer_without_a_standing_in_force_is_found() {
    let mut world = spoken();
    world.now_ms += 60_000;
    let index = world.answered();
    found_at(&verify(&world), index, Rule::Decision);
    // The same exchange, withheld for it, is right; withheld without reason it is not.
    for (wait, clean_then) in [(60_000, true), (0, false)] {
        let mut world = spoken();
        world.now_ms += wait;
        let mut exchange = world.exchange();
        exchange.entry.set_outcome(pb::Outcome::Withheld);
        Code::StandingStale.as_str().clone_into(&mut exchange.entry.code);
        world.record(exchange);
        assert_eq!(verify(&world).findings.is_empty(), clean_then);
    }
}

#[test]
fn an_entry_that_names_other_standings_than_the_newest_is_found() {
    let spoils: [fn(&mut pb::ExchangeEntry); 4] = [
        |entry| entry.standing_digests.clear(),
        |entry| entry.standing_indexes.reverse(),
        |entry| entry.standing_digests[0] = vec![7; 32].into(),
        |entry| {
            entry.standing_digests.truncate(1);
            entry.standing_indexes.truncate(1);
        },
    ];
    for spoil in spoils {
        let mut world = spoken();
        let mut exchange = world.exchange();
        spoil(&mut exchange.entry);
        let index = world.record(exchange);
        found_at(&verify(&world), index, Rule::Standing);
    }
}

#[test]
fn forged_and_older_standings_and_revocations_are_found() {
    let mut world = spoken();
    let consumer = world.consumer.clone();
    let older = world.standing(&consumer, 1, &Revoked::default());
    let index = world.record_standing(&consumer, &older);
    found_at(&verify(&world), index, Rule::Standing);

    // A key that may sign requests, and one that lives for a year, sign no standing.
    for role in [Role::App, Role::Standing] {
        let mut world = spoken();
        let key = SecretKey::from_seed(&yiwang_proto::sha256(consumer.root.public().as_bytes()));
        let (digest, _) = world.publish_delegation(&consumer, role, &app(), &key, 44);
        let mut standing = world.standing(&consumer, 2, &Revoked::default());
        standing.delegation_digest = digest;
        let index = world.record_standing(&consumer, &standing);
        found_at(&verify(&world), index, Rule::Standing);
    }
    let mut world = spoken();
    let stranger = SecretKey::from_seed(&[77; 32]);
    let index = world.revoke(&consumer, &stranger, &app_key(&world), false);
    found_at(&verify(&world), index, Rule::Revocation);
    // A case statement of a key that was revoked before.
    let mut world = spoken();
    let standing = world.standing(&consumer, 2, &app_key(&world));
    world.record_standing(&consumer, &standing);
    let case = world.case.clone();
    let index = world.close_case(&case);
    found_at(&verify(&world), index, Rule::Case);
    // Denied as revoked, and nobody revoked it.
    let mut world = spoken();
    let denied = world.exchange().deny(Code::Revoked);
    let index = world.record(denied);
    found_at(&verify(&world), index, Rule::Decision);
}

/// What a member's word took back under one root is not known any more once it speaks under the next one: a denial that was
/// decided before that and entered after it is no lie. Each root counts its words for itself.
#[test]
fn a_denial_as_revoked_under_a_root_that_was_replaced_is_no_lie() {
    for replaced in [true, false] {
        let mut world = spoken();
        let mut consumer = world.consumer.clone();
        let standing = world.standing(&consumer, 5, &app_key(&world));
        world.record_standing(&consumer, &standing);
        if replaced {
            let next = SecretKey::from_seed(&[62; 32]);
            world.publish_card(&consumer.id, &consumer.next_root, &next);
            (consumer.root, consumer.next_root) = (consumer.next_root, next);
        }
        // The first one under the next root; else one that comes too late.
        let standing = world.standing(&consumer, 3, &Revoked::default());
        let late = world.record_standing(&consumer, &standing);
        let denied = world.exchange().deny(Code::Revoked);
        world.record(denied);
        let report = verify(&world);
        let places: Vec<_> = report.findings.iter().map(|finding| finding.index).collect();
        assert_eq!(places, if replaced { vec![] } else { vec![Some(late)] }, "{}", show(&report));
    }
}
