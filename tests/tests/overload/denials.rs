//! T24: a member whose app is denied without end fills no ledger, and every denial is accounted for.
#![expect(clippy::indexing_slicing, clippy::panic, reason = "tests fail by panicking")]

use crate::{count, raw};
use base64::Engine as _;
use bytes::Bytes;
use clap::Parser as _;
use futures_util::future::join_all;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use yiwang_audit::reconcile::{Fault, Sources};
use yiwang_client::exchange::SignedRequest;
use yiwang_hub::context::TestSwitches;
use yiwang_hub::limits::DENIALS_VERBATIM;
use yiwang_journal::{Journal, Options, Reader};
use yiwang_proto::ambient::{Clock, ManualClock};
use yiwang_proto::codes::Code;
use yiwang_proto::entry::{self, Kind};
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::folded::{RECORD_MAX, Record, Said};
use yiwang_proto::ids::Officer;
use yiwang_proto::request::OfficerBy;
use yiwang_proto::{merkle, pb};
use yiwang_tests::scene::{Scene, judge, reconcile, verify_ledger};
use yiwang_tests::world::World;

const VERBATIM: usize = DENIALS_VERBATIM as usize;

/// A scene whose clock stands at the beginning of a minute.
async fn standing(seed: u64) -> (Scene, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(1_795_000_020_000));
    let world = World::with(seed, Arc::clone(&clock) as Arc<dyn Clock>, TestSwitches::default()).await;
    (Scene::build(world, |draft| draft).await, clock)
}

/// A signed request that names known things and rests on a ticket that there is not.
fn baseless(scene: &Scene) -> SignedRequest {
    let mut request = scene.signed().request;
    request.officer = Some(Officer::parse("o-aaaaaaaaaaaaaaaa").unwrap());
    request.officer_by = OfficerBy::Ticket([9; 32]);
    let (body, digest) = raw::empty_body().encode(scene.world.entropy.as_ref());
    request.body_digest = digest;
    scene.app.seal(request, body)
}

/// The same envelope with one bit of its signature turned.
fn missigned(envelope: &Bytes) -> Bytes {
    let sig = SignedStatement::parse(envelope.clone()).unwrap().envelope().signatures[0].sig.clone();
    let at = envelope.windows(sig.len()).position(|window| window == sig).unwrap();
    let mut bytes = envelope.to_vec();
    bytes[at] ^= 1;
    Bytes::from(bytes)
}

/// Denials in all lines of a report: an entry that folds them names no officer, whom its statements name.
fn denied(report: &str) -> u64 {
    let lines: Vec<serde_json::Value> = serde_json::from_str(report).unwrap();
    lines.iter().map(|line| line["denied"].as_u64().unwrap()).sum()
}

async fn flood(scene: &Scene, many: usize) -> Vec<String> {
    let mut outcomes = Vec::new();
    while outcomes.len() < many {
        let part = (many - outcomes.len()).min(250);
        let signed: Vec<_> = (0..part).map(|_| baseless(scene)).collect();
        outcomes.extend(join_all(signed.iter().map(|signed| scene.outcome(signed))).await);
    }
    outcomes
}

/// Denials that are entries, and the entries that fold others, with their indexes.
fn entered(scene: &Scene) -> (usize, Vec<(u64, pb::FoldedEntry)>) {
    let (mut denied, mut folds) = (0, Vec::new());
    let reader = Arc::clone(scene.world.hub().hub.ledger.reader());
    reader
        .scan(0, &mut |index, bytes, _| {
            match entry::decode(&bytes).unwrap().kind {
                Some(Kind::Exchange(raw)) if raw.outcome() == pb::Outcome::Denied => denied += 1,
                Some(Kind::Folded(raw)) => folds.push((index, raw)),
                _ => {}
            }
            true
        })
        .unwrap();
    (denied, folds)
}

async fn until_folded(scene: &Scene, many: usize) -> Vec<(u64, pb::FoldedEntry)> {
    for _ in 0..200 {
        let (_, folds) = entered(scene);
        if folds.len() >= many {
            return folds;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no minute was folded within 20 s");
}

fn audit(arguments: &[&str]) -> (i32, String) {
    #[derive(clap::Parser)]
    struct Line {
        #[command(subcommand)]
        command: yiwang_audit::command::Command,
    }
    let line = Line::parse_from([&["audit"], arguments].concat());
    let mut out = Vec::new();
    let code = yiwang_audit::command::run(&line.command, &mut out);
    (code, String::from_utf8(out).unwrap())
}

async fn stop(scene: &mut Scene) {
    if let Some(adapter) = scene.adapter.take() {
        adapter.stop().await;
    }
    scene.world.stop_hub().await;
}

fn options() -> Options {
    Options { max_record: RECORD_MAX, segment_bytes: 4 << 20, max_batch: 2 << 20, ..Options::default() }
}

fn hash(text: &str) -> merkle::Hash {
    yiwang_proto::digest_of_hex(text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t24_ten_thousand_denials_of_one_minute_are_sixty_entries_and_one_fold() {
    let (mut scene, clock) = standing(140).await;
    let outcomes = flood(&scene, 10_000).await;
    assert_eq!(count(&outcomes, "ticket_invalid"), VERBATIM);
    assert_eq!(count(&outcomes, "unrecorded: ticket_invalid"), 10_000 - VERBATIM);
    assert_eq!(entered(&scene), (VERBATIM, Vec::new()), "the minute still runs");
    let meters = &scene.world.hub().hub.meters;
    assert_eq!(meters.folded_codes().collect::<Vec<_>>(), [(Code::TicketInvalid, 9_940)]);
    assert_eq!(meters.unrecorded_codes().count(), 0);
    clock.advance_ms(60_000);
    let folds = until_folded(&scene, 1).await;
    let [(index, fold)] = folds.as_slice() else { panic!("{folds:?}") };
    assert_eq!(fold.minute_ms, 1_795_000_020_000);
    assert_eq!(
        (fold.consumer.as_str(), fold.app.as_str(), fold.code.as_str(), fold.count, fold.unkept),
        ("street-office", "assistance-desk", "ticket_invalid", 9_940, 0)
    );
    assert_eq!(scene.outcome(&baseless(&scene)).await, "ticket_invalid", "the next minute begins anew");
    stop(&mut scene).await;
    let (code, report) = verify_ledger(&scene.world);
    assert_eq!(code, 0, "{report}");
    assert!(report.contains("9940 statements of 1 entry recomputed"), "{report}");

    let ledger = scene.world.ledger_dir().display().to_string();
    let (code, shown) =
        audit(&["show", "--ledger", &ledger, &index.to_string(), "--statement", "5000", "-o", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((code, &shown["holds"]), (0, &serde_json::json!(true)), "{shown}");
    // What it prints is evidence by itself: statement, proof, and the root that the entry holds.
    let statement =
        base64::engine::general_purpose::STANDARD.decode(shown["entry"].as_str().unwrap()).unwrap();
    let proof: Vec<_> =
        shown["proof"].as_array().unwrap().iter().map(|item| hash(item.as_str().unwrap())).collect();
    let root: merkle::Hash = fold.root.as_ref().try_into().unwrap();
    merkle::verify_inclusion(5_000, 9_940, &merkle::leaf_hash(&statement), &proof, &root).unwrap();
    let (code, text) = audit(&["show", "--ledger", &ledger, &index.to_string(), "--statement", "9940"]);
    assert_eq!((code, text.as_str()), (2, ""), "there is no such statement");

    let (_, series) = audit(&["report", "--ledger", &ledger, "--kind", "denied-series", "--output", "json"]);
    assert_eq!(denied(&series), 10_001, "{series}");
    let index_file = scene.world.dir.path().join("search.sqlite").display().to_string();
    let search = ["search", "--ledger", &ledger, "--index", &index_file, "--outcome", "denied", "-o", "json"];
    let (_, hits) = audit(&[search.as_slice(), &["--code", "ticket_invalid"]].concat());
    assert!(hits.contains("9940 more in the minute of 2026-11-18"), "{hits}");
    let (_, askers) = audit(&["report", "--ledger", &ledger, "--kind", "top-askers", "--output", "json"]);
    assert_eq!(denied(&askers), 10_001, "{askers}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t24_a_restart_within_the_minute_goes_on_counting_and_knows_folded_ids() {
    let (mut scene, _clock) = standing(141).await;
    let outcomes = flood(&scene, VERBATIM + 9).await;
    assert_eq!(count(&outcomes, "unrecorded: ticket_invalid"), 9);
    let again = baseless(&scene);
    assert_eq!(scene.outcome(&again).await, "unrecorded: ticket_invalid");
    stop(&mut scene).await;
    scene.world.start_hub().await;
    scene.app.meet().await.unwrap();
    scene.adapter = Some(scene.police.run_adapter(&scene.world).await);
    let (denied, folds) = entered(&scene);
    assert_eq!((denied, folds.len(), folds[0].1.count), (VERBATIM, 1, 10), "a stop enters what there is");
    assert_eq!(scene.outcome(&again).await, "replayed", "its id is known");
    let outcomes = flood(&scene, 5).await;
    assert_eq!(count(&outcomes, "unrecorded: ticket_invalid"), 5, "the count of the minute goes on");
    stop(&mut scene).await;
    scene.world.start_hub().await;
    let (_, folds) = entered(&scene);
    let counts: Vec<_> = folds.iter().map(|(_, fold)| fold.count).collect();
    assert_eq!(counts, [10, 5], "two entries of one minute");
    stop(&mut scene).await;
    let (code, report) = verify_ledger(&scene.world);
    assert_eq!(code, 0, "{report}");
    let ledger = scene.world.ledger_dir().display().to_string();
    for (index, fold) in &folds {
        for place in 0..fold.count {
            let [index, place] = [index, &place].map(ToString::to_string);
            let (code, text) = audit(&["show", "--ledger", &ledger, &index, "--statement", &place]);
            assert!(code == 0 && text.contains("holds: true"), "{text}");
        }
    }
}

/// What the disk holds while the hub runs is what a crash leaves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t24_a_start_enters_the_minutes_that_a_crash_left() {
    let (mut scene, clock) = standing(148).await;
    flood(&scene, VERBATIM + 9).await;
    let (hub, left) = (scene.world.hub_dir(), scene.world.hub_dir().with_extension("left"));
    let copied = std::process::Command::new("cp").arg("-a").args([&hub, &left]).status().unwrap();
    assert!(copied.success());
    stop(&mut scene).await;
    std::fs::remove_dir_all(&hub).unwrap();
    std::fs::rename(&left, &hub).unwrap();
    clock.advance_ms(180_000);
    scene.world.start_hub().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(entered(&scene).1.is_empty(), "nobody has shown that this is no old copy");
    scene.app.meet().await.unwrap();
    scene.adapter = Some(scene.police.run_adapter(&scene.world).await);
    let folds = until_folded(&scene, 1).await;
    assert_eq!(folds.iter().map(|(_, fold)| fold.count).collect::<Vec<_>>(), [9]);
    stop(&mut scene).await;
    let (code, report) = verify_ledger(&scene.world);
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t24_who_enters_at_once_enters_each_fold_once() {
    let (mut scene, _clock) = standing(147).await;
    let mut expected = Vec::new();
    for round in 0..4 {
        flood(&scene, VERBATIM + 3).await;
        expected.push(if round == 0 { 3 } else { VERBATIM as u64 + 3 });
        let hub = Arc::clone(&scene.world.hub().hub);
        join_all((0..8).map(|_| yiwang_hub::denials::enter_all(&hub))).await;
    }
    let (_, folds) = entered(&scene);
    let counts: Vec<_> = folds.iter().map(|(_, fold)| fold.count).collect();
    assert_eq!(counts, expected);
    stop(&mut scene).await;
    let (code, report) = verify_ledger(&scene.world);
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t24_a_clock_that_steps_back_or_ahead_folds_each_denial_once() {
    let (mut scene, clock) = standing(146).await;
    let begun = clock.now_ms();
    flood(&scene, VERBATIM + 10).await;
    clock.set_ms(begun - 20_000);
    let outcomes = flood(&scene, 5).await;
    assert_eq!(
        count(&outcomes, "unrecorded: ticket_invalid"),
        5,
        "ledger time stands, and so does the minute"
    );
    clock.set_ms(begun + 3_600_000);
    let outcomes = flood(&scene, VERBATIM + 2).await;
    assert_eq!(count(&outcomes, "unrecorded: ticket_invalid"), 2, "{outcomes:?}");
    until_folded(&scene, 1).await;
    stop(&mut scene).await;
    scene.world.start_hub().await;
    let (denied, folds) = entered(&scene);
    let counts: Vec<_> = folds.iter().map(|(_, fold)| (fold.minute_ms - begun, fold.count)).collect();
    assert_eq!((denied, counts), (2 * VERBATIM, vec![(0, 15), (3_600_000, 2)]));
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t24_denials_without_a_good_signature_are_folded_under_the_connections_member() {
    let (mut scene, _clock) = standing(142).await;
    let mut outcomes = Vec::new();
    for _ in 0..VERBATIM + 7 {
        let mut signed = baseless(&scene);
        signed.message.request = missigned(&signed.message.request);
        outcomes.push(scene.outcome(&signed).await);
    }
    assert_eq!(count(&outcomes, "unrecorded: signature_invalid"), 7, "{outcomes:?}");
    stop(&mut scene).await;
    scene.world.start_hub().await;
    let (_, folds) = entered(&scene);
    let [(_, fold)] = folds.as_slice() else { panic!("{folds:?}") };
    assert_eq!((fold.consumer.as_str(), fold.app.as_str(), fold.count), ("street-office", "", 7));
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

/// Writes the journal again, as somebody would who has the hub's disk.
fn rewritten(folder: &Path, bend: impl Fn(usize, Bytes) -> Option<Bytes>) {
    let (reader, _) = Reader::open_readonly(folder, &options()).unwrap();
    let records: Vec<Bytes> =
        reader.scan(0).enumerate().filter_map(|(nth, item)| bend(nth, item.unwrap().1)).collect();
    std::fs::remove_dir_all(folder).unwrap();
    let (mut journal, _) = Journal::open(folder, options(), 0).unwrap();
    journal.append(&records).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t24_a_journal_of_folded_denials_that_was_tampered_with_is_caught() {
    let (mut scene, _clock) = standing(143).await;
    flood(&scene, VERBATIM + 20).await;
    stop(&mut scene).await;
    let (code, report) = verify_ledger(&scene.world);
    assert!(code == 0 && report.contains("20 statements of 1 entry"), "{report}");
    let folder = scene.world.ledger_dir().join("folded");
    let kept = scene.world.dir.path().join("kept-folded");
    let copy = |from: &Path, to: &Path| {
        let _ = std::fs::remove_dir_all(to);
        assert!(std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
    };
    copy(&folder, &kept);
    let judged = |what: &str| {
        let (code, report) = verify_ledger(&scene.world);
        assert!(code == 1 && report.contains(what), "{what}: {report}");
        copy(&kept, &folder);
    };
    // Another time in one statement; a statement that its app never signed; one that is gone; all in another order.
    let bent = |bytes: Bytes, bend: &dyn Fn(&mut pb::Entry)| {
        let Said::Denied(mut denied) = Record::read(&bytes).unwrap() else { return bytes };
        let mut read = entry::decode(&denied.entry).unwrap();
        bend(&mut read);
        denied.entry = entry::encode(&read).unwrap();
        Record::of(Said::Denied(denied))
    };
    rewritten(&folder, |nth, bytes| {
        Some(if nth == 7 { bent(bytes, &|entry| entry.time_ms += 1) } else { bytes })
    });
    judged("give another root");
    rewritten(&folder, |nth, bytes| {
        let unsigned = |entry: &mut pb::Entry| {
            let Some(Kind::Exchange(raw)) = &mut entry.kind else { return };
            raw.request = missigned(&raw.request);
        };
        Some(if nth == 7 { bent(bytes, &unsigned) } else { bytes })
    });
    judged("signature of app `assistance-desk`");
    rewritten(&folder, |nth, bytes| (nth != 7).then_some(bytes));
    judged("holds 19 of them");
    rewritten(&folder, |nth, bytes| {
        let forward = |entry: &mut pb::Entry| {
            let Some(Kind::Exchange(raw)) = &mut entry.kind else { return };
            raw.set_outcome(pb::Outcome::Answered);
        };
        Some(if nth == 7 { bent(bytes, &forward) } else { bytes })
    });
    judged("not a denial by the hub");
    // One flipped bit.
    let segment = folder.join("00000000000000000000.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[4096 + 200] ^= 4;
    std::fs::write(&segment, bytes).unwrap();
    judged("folded");
    // Without the journal: wrong, unless whoever verifies knows that it did not come along.
    std::fs::remove_dir_all(&folder).unwrap();
    judged("not at hand");
    std::fs::remove_dir_all(&folder).unwrap();
    let ledger = scene.world.ledger_dir().display().to_string();
    let (code, report) = audit(&["verify", "--ledger", &ledger, "--without-folded"]);
    assert!(code == 0 && report.contains("counts and roots were not computed again"), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t24_what_cannot_be_kept_is_counted_and_said() {
    let world = World::configured(144, |config| config.denials.kept_mib = 4).await;
    let scene = Scene::build(world, |draft| draft).await;
    let outcomes = flood(&scene, 2_500).await;
    assert_eq!(count(&outcomes, "ticket_invalid") % VERBATIM, 0, "sixty of each minute");
    let (kept, unkept) = scene.world.hub().hub.denials.kept();
    assert!(kept > 500 && unkept > 100, "{kept} kept, {unkept} not");
    let unrecorded: Vec<_> = scene.world.hub().hub.meters.unrecorded_codes().collect();
    assert_eq!(unrecorded, [(Code::TicketInvalid, unkept)]);
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let (code, report) = scene.verify_ledger().await;
    assert!(code == 0 && report.contains(&format!("{unkept} denials only counted")), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t24_the_oracle_accounts_for_what_an_app_was_denied() {
    let mut scene = Scene::new(145).await;
    let folder: PathBuf = scene.world.dir.path().join("kept");
    scene.app = scene.street.app_unpublished(&scene.world, "assistance-desk").await.keeping(&folder).unwrap();
    scene.app.meet().await.unwrap();
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let outcomes = flood(&scene, VERBATIM + 40).await;
    let folded = count(&outcomes, "unrecorded: ticket_invalid") as u64;
    assert!(folded > 0, "{outcomes:?}");
    let journal = scene.police.folder.path().join("journal");
    stop(&mut scene).await;
    let done = reconcile(&scene.world, std::slice::from_ref(&folder), std::slice::from_ref(&journal));
    assert!(done.is_clean(), "{done:#?}");
    assert_eq!((done.unanswered, done.folded, done.folded_denials), (folded, folded, folded));
    // A hub that drops a statement afterwards is caught by the ledger's own count.
    rewritten(&scene.world.ledger_dir().join("folded"), |nth, bytes| (nth != 0).then_some(bytes));
    let sources = Sources {
        ledger: scene.world.ledger_dir(),
        received: vec![folder],
        journals: vec![journal],
        ..Sources::default()
    };
    let done = judge(&sources);
    assert!(done.has(Fault::Ledger) && done.folded == folded - 1, "{done:#?}");
}
