//! The auditor's own witness policy: a checkpoint without enough cosignatures does not stand.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use yiwang_audit::fixture::World;
use yiwang_audit::{Options, Report, Rule, verify_evidence, verify_ledger, verify_proof};
use yiwang_proto::note::{CosignerKey, SignedNote};
use yiwang_proto::witness::{WitnessPolicy, add_lines};

fn witness(number: u8) -> CosignerKey {
    CosignerKey::from_seed(&format!("witness.example/w{number}"), &[number; 32]).unwrap()
}

fn policy_text(world: &World, quorum: &str) -> String {
    let mut text = format!("log {}\n", world.key());
    for number in 1..=3 {
        text += &format!("witness w{number} {}\n", witness(number).verifier());
    }
    text + "group two 2 w1 w2 w3\nquorum " + quorum + "\n"
}

fn options(world: &World, quorum: &str) -> Options {
    let policy = WitnessPolicy::parse(policy_text(world, quorum).as_bytes()).unwrap();
    Options { key: Some(world.key()), threads: 1, policy: Some(policy), ..Options::default() }
}

fn cosigned(note: &str, by: &[u8]) -> String {
    let text = SignedNote::parse(note.as_bytes()).unwrap().text().to_owned();
    let lines: Vec<_> = by.iter().map(|number| witness(*number).cosign(&text, 1_790_000_000)).collect();
    add_lines(note.as_bytes(), &lines).unwrap()
}

fn lacks_witnesses(report: &Report) -> bool {
    assert!(report.findings.iter().all(|finding| finding.rule == Rule::Witness), "{report:?}");
    !report.is_clean()
}

#[test]
fn t09_a_ledger_stands_only_under_enough_cosignatures() {
    let mut world = World::new();
    world.answered();
    let folder = tempfile::tempdir().unwrap();
    world.write(folder.path());
    let note = world.checkpoint(world.entries.len());
    let check = |by: &[u8], quorum: &str| {
        std::fs::write(folder.path().join("checkpoint"), cosigned(&note, by)).unwrap();
        verify_ledger(folder.path(), &options(&world, quorum)).unwrap()
    };
    for by in [&[][..], &[1], &[2, 77]] {
        assert!(lacks_witnesses(&check(by, "two")), "{by:?}");
    }
    let good = check(&[1, 3], "two");
    assert!(good.is_clean(), "{good:?}");
    assert_eq!(good.witnesses, ["w1", "w3"]);
    assert!(check(&[], "none").is_clean());
    // A cosignature over another text makes the whole note bad.
    let moved = witness(1).cosign("log.example/other\n1\nAAAA\n", 5);
    let bad = add_lines(cosigned(&note, &[2, 3]).as_bytes(), &[moved]).unwrap();
    std::fs::write(folder.path().join("checkpoint"), bad).unwrap();
    assert!(lacks_witnesses(&verify_ledger(folder.path(), &options(&world, "two")).unwrap()));
}

#[test]
fn evidence_and_proofs_stand_only_under_enough_cosignatures() {
    let mut world = World::new();
    let index = world.answered();
    let plain = world.evidence(index);
    let with = |by: &[u8]| {
        let mut bundle = plain.clone();
        bundle.checkpoint = cosigned(&plain.checkpoint, by);
        bundle.tlog_proof = plain.tlog_proof.replace(&plain.checkpoint, &bundle.checkpoint);
        bundle
    };
    let check = |by: &[u8]| {
        verify_evidence(&serde_json::to_vec(&with(by)).unwrap(), &options(&world, "two")).unwrap()
    };
    assert!(lacks_witnesses(&check(&[2])));
    assert!(check(&[1, 2, 3]).is_clean(), "{:?}", check(&[1, 2, 3]));
    let entry = world.entries.get(usize::try_from(index).unwrap()).unwrap();
    let proof =
        |by: &[u8]| verify_proof(with(by).tlog_proof.as_bytes(), entry, &options(&world, "two")).unwrap();
    assert!(lacks_witnesses(&proof(&[3])));
    assert!(proof(&[3, 1]).is_clean());
}

#[test]
fn the_command_takes_a_policy_file_and_names_its_faults() {
    use clap::Parser as _;
    #[derive(clap::Parser)]
    struct Cli {
        #[command(subcommand)]
        command: yiwang_audit::command::Command,
    }
    let mut world = World::new();
    world.answered();
    let folder = tempfile::tempdir().unwrap();
    world.write(folder.path());
    let policy = folder.path().join("witnesses.policy");
    let run = |text: &str| {
        std::fs::write(&policy, text).unwrap();
        let key = world.key().to_string();
        let line = ["audit", "verify", "--ledger", folder.path().to_str().unwrap(), "--key", &key];
        let cli = Cli::parse_from(line.into_iter().chain(["--policy", policy.to_str().unwrap()]));
        yiwang_audit::command::run(&cli.command, &mut Vec::new())
    };
    assert_eq!(run(&policy_text(&world, "none")), 0);
    assert_eq!(run(&policy_text(&world, "two")), 1, "nobody has cosigned");
    assert_eq!(run("quorum nobody\n"), 2, "a policy that does not hold judges nothing");
}
