//! The fuzzers' seeds: what our own code writes in one exchange.

use bytes::Bytes;
use prost::Message as _;
use std::path::{Path, PathBuf};
use yiwang_policies::RecordTypeVersion;
use yiwang_proto::answer::Answer;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::entry::{self, Kind};
use yiwang_proto::envelope::{SignedStatement, payload_type};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::pb;
use yiwang_tests::scene::Scene;

/// The harness itself, so that it is built and run with every test.
#[path = "../../fuzz/src/record_type.rs"]
mod record_type;

/// The harness's key, under which its seeds list their provider.
fn key() -> SecretKey {
    SecretKey::from_seed(&[7; 32])
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn targets() -> Vec<String> {
    let names = std::fs::read_dir(fuzz().join("fuzz_targets")).unwrap();
    let names = names.map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn f20_every_fuzz_target_is_declared_and_has_seeds_and_a_dictionary() {
    let manifest = std::fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    let script = std::fs::read_to_string(fuzz().join("../../.ci/long")).unwrap();
    assert_eq!(targets().len(), 27);
    for target in targets() {
        assert!(manifest.contains(&format!("name = \"{target}\"")), "{target} is not in the manifest");
        assert!(
            fuzz().join("dictionaries").join(format!("{target}.dict")).is_file(),
            "{target}: no dictionary"
        );
        let seeds = std::fs::read_dir(fuzz().join("seeds").join(&target));
        assert!(seeds.is_ok_and(|seeds| seeds.count() > 0), "{target} has no seeds");
    }
    assert!(script.contains("fuzz_targets"), "the long run takes every target");
}

/// The seeds reach what a record type is judged by, and no byte that is changed, cut or put in breaks what the harness asks.
#[test]
fn f20_record_types_hold_what_their_harness_asks() {
    let mut opened = 0;
    for seed in std::fs::read_dir(fuzz().join("seeds/record_type")).unwrap() {
        let seed = std::fs::read(seed.unwrap().path()).unwrap();
        let signed = SignedDocument::sign(payload_type::RECORD_TYPE, &seed, &[&key()]);
        opened += usize::from(RecordTypeVersion::open(&signed).is_ok());
        record_type::record_type(&seed);
        for (at, byte) in (0..seed.len()).zip([b'0', b'"', b'}', b' ', 0xff].into_iter().cycle()) {
            let mut bent = seed.clone();
            bent[at] = byte;
            record_type::record_type(&bent);
            bent.insert(at, byte);
            record_type::record_type(&bent);
            record_type::record_type(&seed[..at]);
        }
    }
    assert!(opened >= 2, "{opened} seeds are record types of the harness's key");
}

struct Seeds(PathBuf);

impl Seeds {
    fn write(&self, target: &str, name: &str, bytes: &[u8]) {
        let folder = self.0.join("seeds").join(target);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), bytes).unwrap();
    }

    fn entries(&self, scene: &Scene) {
        let ledger = &scene.world.hub().hub.ledger;
        for index in 0..ledger.checkpoint().size {
            let given = ledger.receipt(index).unwrap();
            self.write("entry", &format!("{index:02}"), &given.entry);
            self.write("receipt", &format!("{index:02}"), &given.to_receipt().encode_to_vec());
            let entry = entry::decode(&given.entry).unwrap();
            match entry.kind {
                Some(Kind::Member(member)) => self.write("delegation", &format!("{index:02}"), &member.card),
                Some(Kind::Delegation(given)) => {
                    self.write("delegation", &format!("{index:02}"), &given.document);
                }
                Some(Kind::Contract(given)) => self.write("contract", "signed", &given.document),
                Some(Kind::CaseStatement(given)) => {
                    self.write("envelope", "case", &given.statement);
                    let signed = SignedStatement::parse(given.statement).unwrap();
                    self.write("case", "open", signed.unverified_payload());
                }
                Some(Kind::Exchange(given)) if !given.answer.is_empty() => {
                    self.write("envelope", "answer", &given.answer);
                    let signed = SignedStatement::parse(given.answer).unwrap();
                    assert!(Answer::parse(signed.unverified_payload()).is_ok());
                    self.write("answer", &format!("{index:02}"), signed.unverified_payload());
                }
                _ => {}
            }
        }
        self.write("note", "checkpoint", &ledger.checkpoint().note);
    }
}

/// Does nothing unless asked to write the seeds anew, with `YIWANG_WRITE_SEEDS=1`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f20_seeds_are_written_when_asked_for() {
    if std::env::var_os("YIWANG_WRITE_SEEDS").is_none() {
        return;
    }
    let (scene, seeds) = (Scene::new(20).await, Seeds(fuzz()));
    let signed = scene.signed();
    seeds.write("envelope", "request", &signed.message.request);
    seeds.write("body", "request", &signed.message.body);
    seeds.write(
        "request",
        "query",
        &signed.request.sign(&scene.app.identity().key).unverified_payload().clone(),
    );
    seeds.write("frames", "request", &signed.message.encode_to_vec());
    let exchanged = scene.app.exchange(&scene.contract, &signed).await.unwrap();
    let bundle = scene.app.evidence(exchanged.receipt.index).await.unwrap();
    let json: serde_json::Value = serde_json::from_slice(&bundle).unwrap();
    seeds.write("tlog_proof", "exchange", json["tlog_proof"].as_str().unwrap().as_bytes());
    seeds.write("evidence", "exchange", &bundle);
    seeds.write("contract", "text", &scene.contract.text.to_json());
    let draft = std::fs::read(fuzz().join("seeds/record_type/first")).unwrap();
    let document = SignedDocument::sign(payload_type::RECORD_TYPE, &draft, &[&key()]);
    seeds.write("record_type", "signed", document.bytes());
    seeds.entries(&scene);
    let chunk = pb::RequestChunk { request: signed.message.request.clone(), ..pb::RequestChunk::default() };
    let frame = pb::HubFrame { kind: Some(pb::hub_frame::Kind::Request(chunk)) };
    seeds.write("frames", "hub", &frame.encode_to_vec());
    let answer = pb::AnswerBody {
        salt: Bytes::from(vec![1; 16]),
        records: Bytes::from_static(b"[]"),
        resume: String::new(),
        follows: Bytes::new(),
    };
    seeds.write("body", "answer", &answer.encode_to_vec());
    let rows = r#"{"rows":[{"field":"area_code","op":"prefix","value":"9801"},{"field":"level","op":"range","from":1,"to":3},
        {"field":"kind","op":"in","values":["a",true,2.5]},{"field":"day","op":"eq","param":"on"}],
        "arguments":{"on":"2026-11-03"},"record":{"area_code":"980101","level":2,"kind":"a","day":"2026-11-03"}}"#;
    seeds.write("rows", "all", rows.as_bytes());
    let (plain, rows) =
        ("CALL_NO,CALL_TIME,AREA\n", "1,2026-11-03 08:00:00,980101\n\"2\n\",bad,\"980,101\"\n");
    seeds.write("csv", "plain", format!("\u{feff}{plain}{rows}").as_bytes());
    for name in
        ["police/person", "emergency-call/incident", "health/health-summary", "real/montgomery-911/mapping"]
    {
        let text = std::fs::read(yiwang_tests::departments().join(format!("{name}.toml"))).unwrap();
        seeds.write("mapping", &name.replace('/', "-"), &text);
    }
    let key = std::fs::read_to_string(scene.world.ledger_dir().join("verifier.key")).unwrap();
    std::fs::write(fuzz().join("ledger.vkey"), key.trim()).unwrap();
}
