//! Third-party judges: Python's DSSE and gRPC stacks, and other people's crates for signed notes and tiled
//! logs. They share no code with us.

use prost::Message as _;
use serde_json::{Value, json};
use signed_note::{Note, StandardVerifier, VerifierList};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tlog_tiles::{Hash, HashReader, Tile, TileHashReader, TileReader};
use yiwang_client::exchange::Ending;
use yiwang_proto::delegation::Role;
use yiwang_proto::evidence::Evidence;
use yiwang_proto::ids::{AppId, Matter};
use yiwang_proto::keys::PublicKey;
use yiwang_proto::pb;
use yiwang_tests::contracts::draft;
use yiwang_tests::scene::{Scene, verify_ledger};

/// A Python that has these modules; where services are required, one must be there.
fn python(modules: &[&str]) -> Option<String> {
    let python = std::env::var("YIWANG_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    for module in modules {
        let tried = std::process::Command::new(&python).args(["-c", &format!("import {module}")]).output();
        if !tried.is_ok_and(|output| output.status.success()) {
            let required = std::env::var("YIWANG_REQUIRE_SERVICES").is_ok_and(|value| value == "1");
            assert!(!required, "`{python}` has no module `{module}`");
            println!("skipped: {module} not installed");
            return None;
        }
    }
    Some(python)
}

/// Runs a script that stands beside this file; it must end well. Yields what it printed.
async fn run(python: &str, script: &str, arguments: &[&Path]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/whole").join(script);
    let mut command = tokio::process::Command::new(python);
    let running = command.arg(script).args(arguments).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(120), running).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn key(key: &PublicKey) -> Value {
    let public: String = key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    json!({"keyid": key.key_id(), "public": public})
}

fn case(what: &str, envelope: &Value, keys: &[Value], threshold: u32) -> Value {
    json!({"what": what, "envelope": envelope, "keys": keys, "threshold": threshold})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn securesystemslib_verifies_contract_and_evidence_envelopes() {
    let Some(python) = python(&["cryptography", "securesystemslib.dsse"]) else { return };
    let scene = Scene::new(70).await;
    let exchanged = scene.app.exchange(&scene.contract, &scene.signed()).await.unwrap();
    assert!(matches!(exchanged.ending, Ending::Answered { .. }));
    let bundle = scene.app.evidence(exchanged.receipt.index).await.unwrap();
    let evidence: Evidence = serde_json::from_slice(&bundle).unwrap();

    let roots = [&scene.police, &scene.street].map(|member| key(&member.folder.root_public()));
    let app = key(&scene.app.identity().key.public());
    let main = AppId::parse("main").unwrap();
    let adapter = key(&scene.police.folder.load_key(Role::Adapter, &main).unwrap().public());
    let text = draft(&scene.police, &scene.street, "police-street-judged", scene.world.clock.now_ms());
    let document = text.sign(&scene.police, &scene.street);
    let document: Value = serde_json::from_slice(document.bytes()).unwrap();
    let mut cases = vec![
        case("contract document", &document, &roots, 2),
        case("contract in evidence", &evidence.contract, &roots, 2),
        case("request", &evidence.request, &[app], 1),
        case("answer", &evidence.answer, &[adapter], 1),
    ];
    assert!(evidence.delegations.len() >= 2, "the app's and the adapter's");
    cases.extend(evidence.delegations.iter().map(|delegation| case("delegation", delegation, &roots, 1)));

    let file = scene.world.dir.path().join("envelopes.json");
    std::fs::write(&file, serde_json::to_vec(&cases).unwrap()).unwrap();
    let said = run(&python, "dsse.py", &[&file]).await;
    assert_eq!(said, format!("verified {}", cases.len()));
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_python_grpc_client_sends_a_signed_request_and_gets_a_signed_answer() {
    let Some(python) = python(&["grpc"]) else { return };
    let scene = Scene::new(71).await;
    let signed = scene.signed();
    let dir = scene.world.dir.path();
    let (request, response) = (dir.join("request.bin"), dir.join("response.bin"));
    std::fs::write(&request, signed.message.encode_to_vec()).unwrap();

    let tls = scene.street.folder.path().join("tls");
    let (ca, key, chain) = (tls.join("ca.pem"), tls.join("key.pem"), tls.join("chain.pem"));
    let address = PathBuf::from(scene.world.hub().address.to_string());
    let said = run(&python, "grpc_exchange.py", &[&address, &ca, &key, &chain, &request, &response]).await;
    assert_eq!(said, "answered");

    let answer = pb::ExchangeResponse::decode(std::fs::read(&response).unwrap().as_slice()).unwrap();
    let exchanged = scene.app.verify(&scene.contract, &signed, answer).await.unwrap();
    let Ending::Answered { records, .. } = exchanged.ending else { panic!("{:?}", exchanged.ending) };
    let records: Value = serde_json::from_slice(&records).unwrap();
    assert_eq!(records[0]["fields"]["name"], scene.city.household().mother.name.as_str());
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

/// Tiles of a log's folder, for `tlog_tiles`: C2SP paths name no tile height.
struct Tiles(PathBuf);

impl Tiles {
    fn read(&self, tile: &Tile) -> Vec<u8> {
        let path = tile.path();
        let path = path.strip_prefix("tile/8/").unwrap();
        std::fs::read(self.0.join("tile").join(path)).unwrap_or_else(|error| panic!("tile {path}: {error}"))
    }
}

impl TileReader for Tiles {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        Ok(tiles.iter().map(|tile| self.read(tile)).collect())
    }

    fn save_tiles(&self, _tiles: &[Tile], _data: &[Vec<u8>]) {}
}

/// A tree that `tlog_tiles` makes from leaf hashes alone.
struct Rebuilt(Vec<Hash>);

impl HashReader for Rebuilt {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|index| self.0[usize::try_from(*index).unwrap()]).collect())
    }
}

impl Rebuilt {
    fn from_tiles(tiles: &Tiles, size: u64) -> Self {
        let mut tree = Self(Vec::new());
        for first in (0..size).step_by(256) {
            let width = u32::try_from((size - first).min(256)).unwrap();
            let bytes = tiles.read(&Tile::new(8, 0, first / 256, width, false));
            assert_eq!(bytes.len(), 32 * usize::try_from(width).unwrap());
            for (at, leaf) in (first..).zip(bytes.chunks_exact(32)) {
                let leaf = Hash(leaf.try_into().unwrap());
                let stored = tlog_tiles::stored_hashes_for_record_hash(at, leaf, &tree).unwrap();
                tree.0.extend(stored);
            }
        }
        tree
    }
}

fn open_checkpoint(note: &[u8], verifier_key: &str) -> tlog_tiles::Checkpoint {
    let note = Note::from_bytes(note).unwrap();
    let known = VerifierList::new(vec![Box::new(StandardVerifier::new(verifier_key).unwrap())]);
    let (verified, _) = note.verify(&known).unwrap();
    assert_eq!(verified.len(), 1);
    tlog_tiles::Checkpoint::from_bytes(note.text()).unwrap()
}

fn proof(hashes: &[bytes::Bytes]) -> Vec<Hash> {
    hashes.iter().map(|hash| Hash(hash.as_ref().try_into().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signed_note_and_tlog_tiles_open_our_ledger_and_check_a_thousand_proofs() {
    let mut scene = Scene::new(72).await;
    let matter = Matter::parse("social-assistance").unwrap();
    let ledger_dir = scene.world.ledger_dir();
    let verifier_key = std::fs::read_to_string(ledger_dir.join("verifier.key")).unwrap().trim().to_owned();
    let mut heads = vec![scene.world.hub().hub.ledger.checkpoint()];
    for number in 1..=300 {
        scene.app.open_case(&matter, std::slice::from_ref(&scene.mother)).await.unwrap();
        if number % 50 == 0 {
            heads.push(scene.world.hub().hub.ledger.checkpoint());
        }
    }

    // Proofs that the hub makes, from the beginning of every head kept and between them.
    let ledger = &scene.world.hub().hub.ledger;
    let mut checked = 0;
    let mut leaves = std::collections::BTreeMap::new();
    for head in &heads {
        let checkpoint = open_checkpoint(&head.note, &verifier_key);
        let (size, root) = (checkpoint.size(), *checkpoint.hash());
        for index in 0..size {
            let receipt = ledger.receipt_under(index, head).unwrap();
            let leaf = tlog_tiles::record_hash(&receipt.entry);
            tlog_tiles::check_record(&proof(&receipt.proof), size, root, index, leaf).unwrap();
            let other = tlog_tiles::record_hash(b"something else");
            assert!(tlog_tiles::check_record(&proof(&receipt.proof), size, root, index, other).is_err());
            leaves.insert(index, leaf);
            checked += 1;
        }
    }
    assert!(checked >= 1000, "{checked} proofs");
    for pair in heads.windows(2) {
        let [old, new] = [&pair[0], &pair[1]].map(|head| open_checkpoint(&head.note, &verifier_key));
        let grown = proof(&ledger.consistency(old.size(), new.size()).unwrap());
        tlog_tiles::check_tree(&grown, new.size(), *new.hash(), old.size(), *old.hash()).unwrap();
    }

    // The folder alone: checkpoint and tiles.
    scene.adapter.take().unwrap().stop().await;
    scene.world.stop_hub().await;
    let note = std::fs::read(ledger_dir.join("checkpoint")).unwrap();
    let checkpoint = open_checkpoint(&note, &verifier_key);
    let (size, root) = (checkpoint.size(), *checkpoint.hash());
    assert_eq!(checkpoint.origin(), "log.city.example/yiwang");
    assert!(size > 300);
    let tiles = Tiles(ledger_dir);
    let rebuilt = Rebuilt::from_tiles(&tiles, size);
    assert_eq!(tlog_tiles::tree_hash(size, &rebuilt).unwrap(), root, "root from leaf hashes");
    let reader = TileHashReader::new(size, root, &tiles);
    for (index, leaf) in &leaves {
        let from_tiles = tlog_tiles::prove_record(size, *index, &reader).unwrap();
        tlog_tiles::check_record(&from_tiles, size, root, *index, *leaf).unwrap();
    }
    println!("{checked} proofs of the hub, {} from tiles", leaves.len());
    let (code, report) = verify_ledger(&scene.world);
    assert_eq!(code, 0, "{report}");
}
