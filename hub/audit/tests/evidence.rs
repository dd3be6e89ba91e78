//! Evidence bundles and proof files: an honest one passes, a changed one is refused.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "common/show.rs"]
mod show;

use show::show;
use yiwang_audit::fixture::{ORIGIN, World};
use yiwang_audit::{Options, Report, Rule, verify_evidence, verify_proof};
use yiwang_proto::codes::Code;
use yiwang_proto::evidence::Evidence;
use yiwang_proto::ids::MemberId;
use yiwang_proto::keys::SecretKey;
use yiwang_proto::note::SignerKey;

fn options(world: &World) -> Options {
    Options { key: Some(world.key()), threads: 1, ..Options::default() }
}

/// A ledger with some exchanges, and the index of the last one.
fn world() -> (World, u64) {
    let mut world = World::new();
    world.answered();
    let index = world.answered();
    world.answered();
    (world, index)
}

fn check(world: &World, bundle: &Evidence) -> Report {
    verify_evidence(&serde_json::to_vec(bundle).unwrap(), &options(world)).unwrap()
}

#[track_caller]
fn refused(world: &World, bundle: &Evidence, rule: Rule) {
    let report = check(world, bundle);
    assert!(report.findings.iter().any(|finding| finding.rule == rule), "wanted {rule}: {}", show(&report));
}

#[test]
fn an_honest_bundle_is_clean_and_says_as_of_what() {
    let (world, index) = world();
    let report = check(&world, &world.evidence(index));
    assert!(report.is_clean(), "{}", show(&report));
    assert_eq!(report.decisions.permitted_again, 1);
    assert_eq!(report.signatures, 3, "case, request, answer");
    let text = show(&report);
    assert!(
        text.starts_with(&format!("evidence: CLEAN\nas of size {}, root ", world.entries.len())),
        "{text}"
    );
}

#[test]
fn a_bundle_of_the_fewest_entries_is_enough_and_each_of_them_is_needed() {
    let (world, index) = world();
    // The first of them is the policy: without it nothing would be decided again.
    let needed = [1, 2, 3, 4, 5, 6, 7];
    let report = check(&world, &world.evidence_with(index, &needed));
    assert!(report.is_clean(), "{}", show(&report));
    assert_eq!(report.decisions.permitted_again, 1);
    for left_out in needed {
        let rest: Vec<u64> = needed.into_iter().filter(|at| *at != left_out).collect();
        assert!(!check(&world, &world.evidence_with(index, &rest)).is_clean(), "without entry {left_out}");
    }
}

#[test]
fn a_pinned_root_stands_in_for_a_card_and_speaks_against_a_false_one() {
    let (world, index) = world();
    let bundle = serde_json::to_vec(&world.evidence_with(index, &[1, 3, 4, 5, 6, 7])).unwrap();
    let pinned = |key: &SecretKey| {
        let roots = vec![(world.provider.id.clone(), key.public())];
        verify_evidence(&bundle, &Options { roots, ..options(&world) }).unwrap()
    };
    assert!(pinned(&world.provider.root).is_clean(), "{}", show(&pinned(&world.provider.root)));
    assert!(!pinned(&world.provider.next_root).is_clean());
    // Nothing without its card tells which of a member's roots was in force: every one that is pinned counts.
    let police = &world.provider;
    for keys in [[&police.root, &police.next_root], [&police.next_root, &police.root]] {
        let roots = keys.map(|key| (police.id.clone(), key.public())).to_vec();
        let report = verify_evidence(&bundle, &Options { roots, ..options(&world) }).unwrap();
        assert!(report.is_clean(), "{}", show(&report));
    }
    let whole = serde_json::to_vec(&world.evidence(index)).unwrap();
    let roots = vec![(MemberId::parse("police").unwrap(), world.provider.next_root.public())];
    let report = verify_evidence(&whole, &Options { roots, ..options(&world) }).unwrap();
    assert!(report.findings.iter().any(|finding| finding.rule == Rule::Pin), "{}", show(&report));
}

#[test]
fn key_and_origin_are_the_auditors_own() {
    let (world, index) = world();
    let bundle = serde_json::to_vec(&world.evidence(index)).unwrap();
    assert!(verify_evidence(&bundle, &Options::default()).is_err(), "no key, no verdict");
    let other = SignerKey::from_seed(ORIGIN, &[5; 32]).unwrap();
    let forged = Options { key: Some(other.verifier().clone()), ..Options::default() };
    assert!(!verify_evidence(&bundle, &forged).unwrap().is_clean());
    let origin = Some("elsewhere.test/ledger".to_owned());
    assert!(!verify_evidence(&bundle, &Options { origin, ..options(&world) }).unwrap().is_clean());
}

#[test]
fn evidence_of_another_ledger_is_told_as_such_and_nothing_else_is_found() {
    let (world, index) = world();
    let bundle = world.evidence(index);
    let told = |bundle: &Evidence, options: &Options| {
        let report = verify_evidence(&serde_json::to_vec(bundle).unwrap(), options).unwrap();
        assert!(!report.is_clean() && report.findings_total == 1, "{}", show(&report));
        show(&report)
    };
    let other = SignerKey::from_seed("other.test/ledger", &[5; 32]).unwrap();
    let theirs = Options { key: Some(other.verifier().clone()), ..Options::default() };
    let text = told(&bundle, &theirs);
    let words =
        format!("it is of `{ORIGIN}`, and your key is of `other.test/ledger`: is it the right `--key`?");
    assert!(text.contains(&words) && !text.contains("newest checkpoint"), "{text}");
    let pinned = Options { origin: Some("other.test/ledger".to_owned()), ..options(&world) };
    assert!(told(&bundle, &pinned).contains("is it the right `--origin`?"));
    // Whoever made the bundle chose these words.
    for origin in ["", "call 555\u{1b}[2J", "x".repeat(300).as_str()] {
        let mut bundle = world.evidence(index);
        origin.clone_into(&mut bundle.origin);
        let text = told(&bundle, &options(&world));
        assert!(text.contains("its origin is not the one that counts here"), "{text}");
    }
}

#[test]
fn parts_of_other_bundles_do_not_fit() {
    let (world, index) = world();
    let honest = world.evidence(index);
    let other = world.evidence(index + 1);
    refused(&world, &Evidence { request: other.request.clone(), ..honest.clone() }, Rule::Evidence);
    refused(&world, &Evidence { answer: other.answer.clone(), ..honest.clone() }, Rule::Evidence);
    refused(&world, &Evidence { answer: serde_json::Value::Null, ..honest.clone() }, Rule::Evidence);
    refused(&world, &Evidence { contract: other.request.clone(), ..honest.clone() }, Rule::Evidence);
    refused(&world, &Evidence { delegations: Vec::new(), ..honest.clone() }, Rule::Evidence);
    refused(&world, &Evidence { tlog_proof: other.tlog_proof.clone(), ..honest.clone() }, Rule::Proof);
    let mut twice = honest.clone();
    twice.supporting.push(twice.supporting[0].clone());
    refused(&world, &twice, Rule::Evidence);
    let mut two = honest.clone();
    two.supporting.push(other.exchange.clone());
    refused(&world, &two, Rule::Evidence);
    let mut moved = honest.clone();
    moved.exchange.index += 1;
    refused(&world, &moved, Rule::Proof);
    let mut many = honest;
    many.supporting = vec![many.supporting[0].clone(); 65];
    refused(&world, &many, Rule::Evidence);
}

#[test]
fn a_lying_exchange_is_found_in_its_bundle_too() {
    let mut world = World::new();
    let wide = world.exchange().with_fields(&["birth_date", "id_number"]);
    let index = world.record(wide);
    refused(&world, &world.evidence(index), Rule::Decision);
    let mut world = World::new();
    let case = world.case.clone();
    world.close_case(&case);
    let index = world.answered();
    refused(&world, &world.evidence(index), Rule::Decision);
    let mut world = World::new();
    let mut forged = world.exchange();
    forged.app_key = SecretKey::from_seed(&[1; 32]);
    let index = world.record(forged);
    refused(&world, &world.evidence(index), Rule::Request);
}

#[test]
fn the_bundle_of_a_denial_says_what_can_be_said() {
    let mut world = World::new();
    let denied = world.exchange().with_fields(&["id_number", "name"]).deny(Code::FieldNotGranted);
    let index = world.record(denied);
    let report = check(&world, &world.evidence(index));
    assert!(report.is_clean(), "{}", show(&report));
    assert_eq!(report.decisions.denied_again, 1);
    // As hubs make it: a denial points at nothing, so its bundle holds cards, policy and case only.
    let mut world = World::new();
    let mut denied = world.exchange().deny(Code::FieldNotGranted);
    let (contract, delegation) = (denied.entry.contract_index, denied.entry.app_delegation_index);
    (denied.entry.contract_index, denied.entry.app_delegation_index, denied.entry.case_index) = (0, 0, 0);
    let index = world.record(denied);
    let mut bundle = world.evidence(index);
    bundle.supporting.retain(|entry| ![contract, delegation, 4, 7].contains(&entry.index));
    (bundle.contract, bundle.delegations) = (serde_json::Value::Null, Vec::new());
    let report = check(&world, &bundle);
    assert!(report.is_clean(), "{}", show(&report));
    assert_eq!(report.decisions.not_decided.values().sum::<u64>(), 1);
}

/// A bundle that still passes after a change must say the same.
#[test]
fn no_byte_of_a_bundle_can_change_what_it_says() {
    let (world, index) = world();
    let honest = world.evidence_with(index, &[1, 2, 3, 4, 5, 6, 7]);
    let bytes = serde_json::to_vec(&honest).unwrap();
    let options = options(&world);
    let step = bytes.len() / 900 + 1;
    let mut tried = 0;
    for at in (0..bytes.len()).step_by(step) {
        for change in [1, 0x20] {
            let mut changed = bytes.clone();
            changed[at] ^= change;
            tried += 1;
            if !verify_evidence(&changed, &options).unwrap().is_clean() {
                continue;
            }
            let same: Evidence = serde_json::from_slice(&changed).unwrap();
            let decoded = |bundle: &Evidence| {
                let entries = std::iter::once(&bundle.exchange).chain(&bundle.supporting);
                entries.map(|entry| entry.decode().unwrap()).collect::<Vec<_>>()
            };
            assert_eq!(decoded(&same), decoded(&honest), "byte {at} ^ {change}");
            let same =
                Evidence { exchange: honest.exchange.clone(), supporting: honest.supporting.clone(), ..same };
            assert_eq!(same, honest, "byte {at} ^ {change}");
        }
    }
    assert!(tried > 1_000);
    // White space between values carries nothing.
    let pretty = serde_json::to_vec_pretty(&honest).unwrap();
    assert!(verify_evidence(&pretty, &options).unwrap().is_clean());
}

#[test]
fn an_older_checkpoint_of_the_same_size_must_be_the_same() {
    let (world, index) = world();
    let bundle = serde_json::to_vec(&world.evidence(index)).unwrap();
    let with = |older: String| Options { older: Some(older.into_bytes()), ..options(&world) };
    let same = verify_evidence(&bundle, &with(world.checkpoint(world.entries.len()))).unwrap();
    assert_eq!(same.continues, Some(world.entries.len() as u64));
    let mut fork = World::new();
    for _ in 0..3 {
        let exchange = fork.exchange().deny(Code::RateExceeded);
        fork.record(exchange);
    }
    let report = verify_evidence(&bundle, &with(fork.checkpoint(fork.entries.len()))).unwrap();
    assert!(report.findings.iter().any(|finding| finding.rule == Rule::Older));
}

#[test]
fn proof_files_hold_for_their_entry_only() {
    let (world, index) = world();
    let entry = |index: u64| world.entries[usize::try_from(index).unwrap()].as_ref();
    let proof = world.tlog_proof(index);
    let good = verify_proof(proof.as_bytes(), entry(index), &options(&world)).unwrap();
    assert!(good.is_clean() && good.size == Some(world.entries.len() as u64), "{}", show(&good));
    assert_eq!(good.kinds["exchange"], 1);
    let check = |proof: &[u8], entry: &[u8]| verify_proof(proof, entry, &options(&world)).unwrap().is_clean();
    assert!(!check(proof.as_bytes(), entry(index + 1)));
    assert!(!check(world.tlog_proof(index + 1).as_bytes(), entry(index)));
    assert!(!check(b"nonsense", entry(index)));
    for at in (0..proof.len()).step_by(3) {
        let mut changed = proof.clone().into_bytes();
        changed[at] ^= 1;
        assert!(!check(&changed, entry(index)), "byte {at}");
    }
    assert!(verify_proof(proof.as_bytes(), entry(index), &Options::default()).is_err(), "no key, no verdict");
}
