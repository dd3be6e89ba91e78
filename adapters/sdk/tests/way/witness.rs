//! The witness role: every status of the protocol, what survives a restart, and what a lying hub leaves
//! behind.

use crate::hub::{Ledger, ORIGIN};
use crate::world::World;
use yiwang_adapter_sdk::adapter::Adapter;
use yiwang_journal::simulated::Failure;
use yiwang_proto::entry::Kind;
use yiwang_proto::note::{CosignerKey, SignedNote};
use yiwang_proto::pb;
use yiwang_proto::witness::{AddCheckpoint, ForkEvidence, WitnessPolicy, add_lines, parse_lines};

const KEY: u8 = 55;

fn witness_world(entries: u64) -> World {
    let world = World { witness: Some(KEY), ..World::new() };
    grow(&world.ledger, entries);
    world
}

fn grow(ledger: &Ledger, to: u64) {
    while ledger.len() < to {
        ledger.append(0, Kind::Policy(pb::PolicyEntry::default()));
    }
}

fn call(ledger: &Ledger, old_size: u64, size: u64) -> AddCheckpoint {
    let proof = if old_size == 0 { Vec::new() } else { ledger.consistency(old_size, size) };
    let proof = proof.iter().map(|hash| hash.as_ref().try_into().unwrap()).collect();
    let checkpoint = String::from_utf8(ledger.checkpoint_at(size).to_vec()).unwrap();
    AddCheckpoint { old_size, proof, checkpoint }
}

async fn status(adapter: &Adapter, call: &AddCheckpoint) -> u16 {
    adapter.add_checkpoint(call.to_string().as_bytes()).await.status
}

fn evidence(world: &World) -> Vec<ForkEvidence> {
    let files = std::fs::read_dir(world.evidence.path()).unwrap().flatten();
    files.map(|file| serde_json::from_str(&std::fs::read_to_string(file.path()).unwrap()).unwrap()).collect()
}

#[tokio::test]
async fn every_status_of_the_protocol_with_restarts_in_between() {
    let world = witness_world(20);
    let ledger = &world.ledger;
    let adapter = world.open();
    // 200, and the line is good under the witness's key over the whole text.
    let first = call(ledger, 0, 5);
    let answer = adapter.add_checkpoint(first.to_string().as_bytes()).await;
    assert_eq!(answer.status, 200);
    let lines = parse_lines(&answer.body, 1).unwrap();
    let note = add_lines(first.checkpoint.as_bytes(), &lines).unwrap();
    let key = CosignerKey::from_seed("witness.example/w", &[KEY; 32]).unwrap();
    let policy = format!("witness w {}\nquorum w\n", key.verifier());
    let policy = WitnessPolicy::parse(policy.as_bytes()).unwrap();
    let witnessed = policy.open(note.as_bytes(), &ledger.verifier_key(), ORIGIN).unwrap();
    assert_eq!(witnessed.newest_s, Some(u64::try_from(crate::world::NOW / 1000).unwrap()));
    assert!(SignedNote::parse(note.as_bytes()).unwrap().signatures().len() == 2);
    drop(adapter);
    let adapter = world.open();
    // 409 with the recorded size, after the restart too.
    let conflict = adapter.add_checkpoint(call(ledger, 0, 9).to_string().as_bytes()).await;
    assert_eq!((conflict.status, conflict.body.as_ref()), (409, b"5\n".as_ref()));
    assert_eq!(status(&adapter, &call(ledger, 5, 9)).await, 200);
    assert_eq!(status(&adapter, &call(ledger, 9, 9)).await, 200, "the same head again");
    // 400
    assert_eq!(adapter.add_checkpoint(b"old 9\n").await.status, 400);
    assert_eq!(status(&adapter, &AddCheckpoint { old_size: 12, ..call(ledger, 9, 9) }).await, 400);
    // 403: another key under this origin. 404: another origin.
    let stranger = Ledger::new(6);
    grow(&stranger, 12);
    assert_eq!(status(&adapter, &call(&stranger, 9, 12)).await, 403);
    let mut elsewhere = call(ledger, 9, 12);
    elsewhere.checkpoint = elsewhere.checkpoint.replacen(ORIGIN, "ledger.test.example/other", 1);
    assert_eq!(status(&adapter, &elsewhere).await, 404);
    // 422
    let mut unproved = call(ledger, 9, 12);
    unproved.proof[0][0] ^= 1;
    assert_eq!(status(&adapter, &unproved).await, 422);
    drop(adapter);
    let adapter = world.open();
    assert_eq!(status(&adapter, &call(ledger, 9, 20)).await, 200);
    assert_eq!(adapter.health().cosigned, 1);
}

#[tokio::test]
async fn an_adapter_that_is_no_witness_knows_no_log() {
    let world = World::new();
    assert_eq!(status(&world.open(), &call(&world.ledger, 0, 2)).await, 404);
}

/// A hub that shows its witness a second history gets nothing for it, and leaves the proof behind.
#[tokio::test]
async fn t09_a_second_history_is_refused_and_both_heads_are_kept() {
    let world = witness_world(10);
    let adapter = world.open();
    assert_eq!(status(&adapter, &call(&world.ledger, 0, 10)).await, 200);
    let fork = Ledger::new(5);
    grow(&fork, 14);
    // The same size with another root, then a longer one that does not continue.
    assert_eq!(status(&adapter, &AddCheckpoint { old_size: 10, ..call(&fork, 0, 10) }).await, 422);
    assert_eq!(status(&adapter, &call(&fork, 10, 14)).await, 422);
    let kept = evidence(&world);
    assert_eq!(kept.len(), 2);
    assert!(adapter.health().alarms >= 2);
    let honest = String::from_utf8(world.ledger.checkpoint_at(10).to_vec()).unwrap();
    assert!(kept.iter().all(|piece| piece.kept == honest && !piece.shown.is_empty()));
    let key = world.ledger.verifier_key();
    assert!(kept.iter().any(|piece| piece.proves_fork(&key, ORIGIN)), "equal sizes prove it alone");
    // It goes on with the history that it knows.
    grow(&world.ledger, 14);
    assert_eq!(status(&adapter, &call(&world.ledger, 10, 14)).await, 200);
}

/// What was not made durable is not cosigned, whichever way the write fails; a power cut between two calls
/// loses no record that was answered.
#[tokio::test]
async fn f18_nothing_is_cosigned_that_is_not_recorded() {
    let world = witness_world(20);
    let adapter = world.open();
    assert_eq!(status(&adapter, &call(&world.ledger, 0, 5)).await, 200);
    world.disk.fail_at(world.disk.operations().len(), Failure::Lost);
    let answer = adapter.add_checkpoint(call(&world.ledger, 5, 9).to_string().as_bytes()).await;
    assert_eq!(answer.status, 503);
    assert!(!answer.body.starts_with("\u{2014}".as_bytes()));
    drop(adapter);
    world.disk.cut_power(|_| 0);
    let adapter = world.open();
    // Whether the failed write came through or not: never less than what was answered.
    let conflict = adapter.add_checkpoint(call(&world.ledger, 0, 9).to_string().as_bytes()).await;
    assert_eq!(conflict.status, 409);
    let size: u64 = std::str::from_utf8(&conflict.body).unwrap().trim().parse().unwrap();
    assert!(size == 5 || size == 9);
    assert_eq!(status(&adapter, &call(&world.ledger, size, 20)).await, 200);
}

/// Two-faced hub against three witnesses, two of which must cosign: whatever it asks of whom in whatever
/// order, no two histories of one size both get two cosignatures.
#[tokio::test]
async fn t09_two_of_three_witnesses_never_accept_two_histories() {
    use yiwang_proto::ambient::{Entropy as _, SeededEntropy};
    let honest = witness_world(40);
    let fork = Ledger::new(5);
    grow(&fork, 40);
    let ledgers = [&*honest.ledger, &fork];
    for seed in 0..60 {
        let entropy = SeededEntropy::new(seed);
        let mut worlds = Vec::new();
        for _ in 0..3 {
            worlds.push(witness_world(3));
        }
        let witnesses: Vec<Adapter> = worlds.iter().map(World::open).collect();
        let mut accepted =
            std::collections::HashMap::<(u64, usize), std::collections::BTreeSet<usize>>::new();
        let mut recorded = [0_u64; 3];
        for _ in 0..40 {
            let mut random = [0; 8];
            entropy.fill(&mut random);
            let (who, face) = (usize::from(random[0] % 3), usize::from(random[1] % 2));
            let size = recorded[who].max(4) + u64::from(random[2] % 4);
            if size > 40 {
                break;
            }
            if status(&witnesses[who], &call(ledgers[face], recorded[who], size)).await == 200 {
                recorded[who] = size;
                accepted.entry((size, face)).or_default().insert(who);
            }
        }
        for size in 4..=40 {
            let quorum = |face| accepted.get(&(size, face)).is_some_and(|by| by.len() >= 2);
            assert!(!(quorum(0) && quorum(1)), "seed {seed}, size {size}");
        }
    }
}
