//! Durable entries per second, and their verification by the offline verifier.

use crate::fail::Failure;
use crate::setup;
use serde_json::{Value, json};
use std::sync::Arc;
use yiwang_hub::ledger::{self, Draft, LedgerConfig, Linear};
use yiwang_hub::views::{Persisted, SealKey, Views};
use yiwang_journal::ground::Ground;
use yiwang_policies::Decider;
use yiwang_proto::codes::Code;
use yiwang_proto::entry::Kind;
use yiwang_proto::keys::SecretKey;
use yiwang_proto::note::SignerKey;
use yiwang_proto::pb;

/// Tasks that append at once.
const WRITERS: u64 = 512;
/// Bytes of text that make an entry 900 bytes long.
const TEXT: usize = 880;

struct Filler(String);

impl Draft for Filler {
    fn finish(self: Box<Self>, _at: &Linear<'_>) -> Result<Kind, Code> {
        Ok(Kind::Policy(pb::PolicyEntry { digest: vec![0; 32].into(), version: self.0 }))
    }
}

pub fn measure(entries: u64, signed_entries: usize) -> Result<Value, Failure> {
    let dir = tempfile::tempdir().map_err(Failure::environment)?;
    let clock = setup::clock();
    let seed = [9; 32];
    let signer = SignerKey::from_seed("bench.example/log", &seed).map_err(Failure::environment)?;
    let verifier = signer.verifier().to_string();
    let decider = Arc::new(Decider::builtin().map_err(Failure::environment)?);
    let stored = Persisted::open(&dir.path().join("views"), 0, &SealKey::derive(&seed))
        .map_err(Failure::environment)?;
    let views = Views::load(decider, stored, &|_| None).map_err(Failure::environment)?;
    let config = LedgerConfig {
        dir: dir.path().join("ledger"),
        segment_bytes: 64 << 20,
        salt: 1,
        signer,
        policy: None,
        ground: Ground::default(),
    };
    let ledger = ledger::open(config, Arc::new(views), Arc::clone(&clock), |error| eprintln!("{error}"))
        .map_err(Failure::environment)?;
    let text: String = SecretKey::from_seed(&seed).to_base64().chars().cycle().take(TEXT - 40).collect();
    let start = clock.monotonic_us();
    let runtime = setup::runtime()?;
    runtime.block_on(append(&ledger, entries, &text))?;
    let appended_us = clock.monotonic_us() - start;
    runtime.block_on(ledger.close());
    let bytes = ledger.reader().read(entries / 2).map_err(Failure::environment)?.len();
    drop(ledger);
    let start = clock.monotonic_us();
    let verified = verify(&dir.path().join("ledger"), entries)?;
    let verified_us = clock.monotonic_us() - start;
    drop(dir);
    let signed = if signed_entries == 0 { Value::Null } else { offline(signed_entries)? };
    Ok(json!({
        "verify_hashes_per_s": signed.get("hashes_per_s"),
        "verify_signatures_per_s": signed.get("signatures_per_s"),
        "verify_entries_per_s": signed.get("entries_per_s"),
        "signed_entries": signed.get("entries"),
        "append_per_s": entries * 1_000_000 / appended_us.max(1),
        "verify_per_s": verified * 1_000_000 / verified_us.max(1),
        "entry_bytes": bytes,
        "entries": entries,
        "writers": WRITERS,
        "verifier_key": verifier,
    }))
}

/// The offline verifier over a ledger of signed exchanges: by hashes alone, then with every signature and
/// decision. Rates are of entries, but for signatures.
fn offline(entries: usize) -> Result<Value, Failure> {
    let dir = tempfile::tempdir().map_err(Failure::environment)?;
    let (key, size) = super::synthetic::write(dir.path(), entries)?;
    let clock = setup::clock();
    let verify = |hashes_only| {
        let options =
            yiwang_audit::Options { key: Some(key.clone()), hashes_only, ..yiwang_audit::Options::default() };
        let start = clock.monotonic_us();
        let report = yiwang_audit::verify_ledger(dir.path(), &options).map_err(Failure::environment)?;
        let took_us = clock.monotonic_us().saturating_sub(start).max(1);
        match report.findings.first() {
            Some(finding) => Err(Failure::refused(format!("entry {:?}: {}", finding.index, finding.what))),
            None => Ok((report, took_us)),
        }
    };
    let (_, hashes_us) = verify(true)?;
    let (report, whole_us) = verify(false)?;
    Ok(json!({
        "entries": size,
        "hashes_per_s": size * 1_000_000 / hashes_us,
        "signatures_per_s": report.signatures * 1_000_000 / whole_us,
        "entries_per_s": size * 1_000_000 / whole_us,
    }))
}

async fn append(ledger: &ledger::Ledger, entries: u64, text: &str) -> Result<(), Failure> {
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (ledger, text) = (ledger.clone(), text.to_owned());
        let share = entries / WRITERS + u64::from(writer < entries % WRITERS);
        tasks.spawn(async move {
            for number in 0..share {
                let filler = Filler(format!("{text}{writer:08}{number:08}"));
                ledger.append(Box::new(filler)).await?;
            }
            Ok::<(), Code>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(Failure::environment)?.map_err(Failure::environment)?;
    }
    Ok(())
}

/// Reads every entry back as a verifier does: checksum, leaf hash, decoding, tree, against the signed head.
fn verify(dir: &std::path::Path, entries: u64) -> Result<u64, Failure> {
    let options = yiwang_hub::ledger::store_files::options(64 << 20);
    let (reader, _) = yiwang_journal::Reader::open_readonly(&dir.join("segments"), &options)
        .map_err(Failure::environment)?;
    let mut tree = yiwang_proto::merkle::Frontier::new();
    for item in reader.scan(0) {
        let (_, bytes, leaf) = item.map_err(Failure::environment)?;
        yiwang_proto::entry::decode(&bytes).map_err(Failure::environment)?;
        tree.push(leaf);
    }
    if tree.size() == entries { Ok(entries) } else { Err(Failure::refused("entries are missing")) }
}
