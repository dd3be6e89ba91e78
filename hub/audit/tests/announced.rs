//! What must have been announced in the ledger before it counts: mappings, the head that a ledger goes on from.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "common/verify.rs"]
mod verify;

use bytes::Bytes;
use tempfile::TempDir;
use verify::verify;
use yiwang_audit::fixture::World;
use yiwang_audit::{Options, Rule, verify_ledger};
use yiwang_proto::entry::Kind;
use yiwang_proto::pb;

#[test]
fn an_answer_comes_through_a_mapping_that_was_announced() {
    let announce = |world: &mut World, digest: u8| {
        world.push(Kind::Mapping(pb::MappingEntry {
            member: "police".to_owned(),
            mapping: "person.by_id".to_owned(),
            digest: Bytes::from(vec![digest; 32]),
        }));
    };
    let mut world = World::new();
    world.answered();
    let report = verify(&world);
    assert!(report.is_clean() && report.notes.iter().any(|note| note.contains("never announced a mapping")));
    announce(&mut world, 8);
    world.answered();
    announce(&mut world, 7);
    world.answered();
    let report = verify(&world);
    assert!(report.is_clean(), "{report:#?}");
    assert!(report.notes.iter().any(|note| note.starts_with("1 answer under a mapping that was replaced")));
    let mut world = World::new();
    announce(&mut world, 7);
    let index = world.answered();
    let report = verify(&world);
    let found: Vec<_> = report.findings.iter().map(|finding| (finding.index, finding.rule)).collect();
    assert_eq!(found, [(Some(index), Rule::Answer)]);
}

#[test]
fn a_ledger_goes_on_from_a_head_of_another_origin_only() {
    let old_head = |text: String| {
        let mut world = World::new();
        world.edit(0, |entry| match &mut entry.kind {
            Some(Kind::Origin(origin)) => origin.old_head = Bytes::from(text),
            _ => panic!("the first entry names the origin"),
        });
        verify(&world)
    };
    let own = World::new().checkpoint(3);
    let report = old_head(own.clone());
    assert!(report.findings.iter().any(|finding| finding.rule == Rule::Origin), "{report:#?}");
    assert!(old_head("no note".to_owned()).findings.iter().any(|finding| finding.rule == Rule::Origin));
    let report = old_head(own.replacen("ledger.test/yiwang", "ledger.test/older", 1));
    assert!(report.is_clean(), "{report:#?}");
    assert!(report.notes.iter().any(|note| note.contains("goes on from `ledger.test/older` at size 3")));
}

#[test]
fn by_hashes_alone_a_lie_is_not_seen_and_the_report_says_so() {
    let mut world = World::new();
    let mut exchange = world.exchange();
    exchange.app_key = yiwang_proto::keys::SecretKey::from_seed(&[77; 32]);
    world.record(exchange);
    let folder = TempDir::new().unwrap();
    world.write(folder.path());
    let options = Options { key: Some(world.key()), hashes_only: true, ..Options::default() };
    let report = verify_ledger(folder.path(), &options).unwrap();
    assert!(report.is_clean() && report.signatures == 0, "{report:#?}");
    assert!(report.tiles > 0 && report.notes.iter().any(|note| note.contains("no signature")), "{report:#?}");
    let mut other = World::new();
    other.answered();
    std::fs::write(folder.path().join("checkpoint"), other.checkpoint(9)).unwrap();
    let report = verify_ledger(folder.path(), &options).unwrap();
    assert!(report.findings.iter().any(|finding| finding.rule == Rule::Root), "{report:#?}");
    assert!(!verify(&world).is_clean());
}
