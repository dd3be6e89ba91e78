//! Who signs for a member: cards that replace one another, roots that an auditor pinned, and a hub that lets one member's
//! key speak for another.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "common/show.rs"]
mod show;
#[path = "common/verify.rs"]
mod verify;

use show::show;
use tempfile::TempDir;
use verify::verify;
use yiwang_audit::fixture::{World, app};
use yiwang_audit::{Options, Rule, verify_ledger};
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::Role;
use yiwang_proto::keys::SecretKey;

fn stranger() -> SecretKey {
    SecretKey::from_seed(&[77; 32])
}

#[test]
fn a_refusal_is_kept_of_whom_the_request_names_and_of_nobody_else() {
    for code in [Code::RateExceeded, Code::NoCase] {
        let mut world = World::new();
        // Another member's app of the same name signs what names the street office.
        let provider = world.provider.clone();
        let published = world.publish_delegation(&provider, Role::App, &app(), &stranger(), 2);
        let mut exchange = world.exchange().deny(code);
        exchange.app_key = stranger();
        exchange.request.delegation_digest = published.0;
        exchange.entry.app_delegation_index = published.1;
        let index = world.record(exchange);
        let report = verify(&world);
        let hit = report.findings.iter().any(|one| (one.index, one.rule) == (Some(index), Rule::Request));
        assert!(hit, "{code}: {}", show(&report));
    }
}

#[test]
fn a_card_replaces_another_only_as_that_one_promised() {
    let mut world = World::new();
    let police = world.provider.clone();
    let index = world.publish_card(&police.id, &stranger(), &police.next_root);
    let report = verify(&world);
    let places: Vec<_> = report.findings.iter().map(|finding| (finding.index, finding.rule)).collect();
    assert_eq!(places, [(Some(index), Rule::Member)], "{}", show(&report));
    let mut world = World::new();
    world.answered();
    world.publish_card(&police.id, &police.next_root, &stranger());
    assert!(verify(&world).is_clean(), "{}", show(&verify(&world)));
    // Every root that counted is pinned, or told: a false one enrolled first could promise the real one as its next.
    let folder = TempDir::new().unwrap();
    world.write(folder.path());
    let pinned = |keys: &[&SecretKey]| {
        let roots = keys.iter().map(|key| (police.id.clone(), key.public())).collect();
        let options = Options { key: Some(world.key()), roots, ..Options::default() };
        let report = verify_ledger(folder.path(), &options).unwrap();
        assert!(report.findings.iter().all(|finding| finding.rule == Rule::Pin), "{}", show(&report));
        report.findings.iter().map(|finding| finding.index).collect::<Vec<_>>()
    };
    let (first, last) = (pinned(&[&police.next_root]), pinned(&[&police.root]));
    assert!(
        matches!((&first[..], &last[..]), ([Some(first)], [Some(last)]) if first < last),
        "{first:?} {last:?}"
    );
    assert_eq!(pinned(&[&police.root, &police.next_root]), []);
    assert_eq!(pinned(&[&police.next_root, &police.root]), []);
}
