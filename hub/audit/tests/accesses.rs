//! Who saw a person: by statements, and in pages of batches through the provider's journal, which is believed only where
//! it gives the root in the entry.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use bytes::Bytes;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;
use yiwang_audit::fixture::World;
use yiwang_journal::Journal;
use yiwang_proto::adapter_journal::{Exchange, Kind, RECORD_MAX, Record};
use yiwang_proto::entry::{self, Kind as EntryKind};
use yiwang_proto::ids::CaseId;
use yiwang_proto::merkle::{Frontier, leaf_hash};
use yiwang_proto::pb;
use yiwang_proto::tag::{Tag, TagKey};

fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_yiwang-audit")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// The entry of the exchange about one person; the pages follow.
const ONE: u64 = 8;
const PAGE: u64 = ONE + 1;
const LAST: u64 = PAGE + 1;

/// The key under which the provider tags its subjects.
const KEY: [u8; 32] = [44; 32];

fn base64(bytes: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)
}

fn subject(number: usize) -> String {
    format!("98010119900101{number:04}")
}

fn provider_tag(number: usize, case: &CaseId) -> Tag {
    TagKey::new(KEY).tag(&subject(number), case)
}

struct Town {
    world: World,
    journal: Vec<Exchange>,
    case: CaseId,
}

impl Town {
    /// An exchange about one person, and two pages of a hundred: persons 0 to 99 and 100 to 199.
    fn new() -> Self {
        let mut world = World::new();
        let draft = world.exchange();
        let case = draft.request.case.clone();
        let mut town = Self { world, journal: Vec::new(), case };
        let mut single = town.world.exchange();
        single.answer.as_mut().unwrap().subject_tags = vec![provider_tag(7, &town.case)];
        town.record(single, Bytes::new());
        town.page(0..100);
        town.page(100..200);
        town
    }

    fn page(&mut self, persons: std::ops::Range<usize>) -> u64 {
        let mut tags: Vec<Tag> = persons.map(|number| provider_tag(number, &self.case)).collect();
        tags.sort_unstable();
        let mut tree = Frontier::new();
        tags.iter().for_each(|tag| tree.push(leaf_hash(tag)));
        let mut exchange = self.world.exchange();
        exchange.request.subject_tags.clear();
        let answer = exchange.answer.as_mut().unwrap();
        answer.subject_tags.clear();
        answer.subject_tags_root = Some(tree.root());
        answer.rows = 100;
        self.record(exchange, tags.concat().into())
    }

    fn record(&mut self, exchange: yiwang_audit::fixture::Exchange, handed_tags: Bytes) -> u64 {
        let index = self.world.record(exchange);
        let raw = self.entry(index);
        self.journal.push(Exchange {
            request: raw.request,
            answer: raw.answer,
            counted: true,
            handed_tags,
            ..Exchange::default()
        });
        index
    }

    fn entry(&self, index: u64) -> pb::ExchangeEntry {
        match entry::decode(&self.world.entries[usize::try_from(index).unwrap()]).unwrap().kind.unwrap() {
            EntryKind::Exchange(raw) => raw,
            _ => unreachable!("an exchange"),
        }
    }

    fn write(&self, folder: &Path) -> (String, String) {
        let (ledger, journal) = (folder.join("ledger"), folder.join("journal"));
        for path in [&ledger, &journal] {
            let _ = std::fs::remove_dir_all(path);
            std::fs::create_dir_all(path).unwrap();
        }
        self.world.write(&ledger);
        let options = yiwang_journal::Options {
            segment_bytes: 1 << 20,
            max_record: RECORD_MAX,
            max_batch: 256 << 10,
            background: false,
            ..yiwang_journal::Options::default()
        };
        let (mut writer, _) = Journal::open(&journal, options, 0).unwrap();
        let record = |exchange: &Exchange| Record::new(0, Kind::Exchange(exchange.clone())).encode();
        writer.append(&self.journal.iter().map(record).collect::<Vec<Bytes>>()).unwrap();
        let text = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
        (text(ledger), text(journal))
    }

    /// Exit code and the answer in JSON about a person, by tag.
    fn who_saw(&self, number: usize, with_journal: bool) -> (i32, Value) {
        let folder = TempDir::new().unwrap();
        let (ledger, journal) = self.write(folder.path());
        let hex = yiwang_proto::hex(&provider_tag(number, &self.case));
        let mut arguments = vec!["accesses", "--ledger", &ledger, "--tag", &hex, "-o", "json"];
        if with_journal {
            arguments.extend(["--adapter-journal", &journal]);
        }
        let (code, out, error) = run(&arguments);
        assert!(code < 2, "{error}");
        (code, serde_json::from_str(&out).unwrap())
    }
}

/// A file with this text; its path.
fn put(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Entries of the hits, and where each tag stands.
fn hits(found: &Value) -> Vec<(u64, &str)> {
    let hits = found["hits"].as_array().unwrap().iter();
    hits.map(|hit| (hit["index"].as_u64().unwrap(), hit["found_in"].as_str().unwrap())).collect()
}

#[test]
fn a_journal_opens_the_pages_that_statements_only_have_a_root_of() {
    let town = Town::new();
    let (code, found) = town.who_saw(7, true);
    assert_eq!((code, hits(&found)), (0, vec![(ONE, "statement"), (PAGE, "journal")]), "{found}");
    assert_eq!((&found["opened"], &found["closed"]), (&2.into(), &serde_json::json!([])));
    let (code, found) = town.who_saw(150, true);
    assert_eq!((code, hits(&found)), (0, vec![(LAST, "journal")]), "{found}");
    let (code, found) = town.who_saw(200, true);
    assert_eq!(
        (code, hits(&found)),
        (0, vec![]),
        "a hundred pages would not make one of another person: {found}"
    );
    // Without the journal it is said what nobody looked into.
    let (code, found) = town.who_saw(7, false);
    assert_eq!((code, hits(&found)), (0, vec![(ONE, "statement")]), "{found}");
    let closed = serde_json::json!([{ "provider": "police", "missing": "journal", "pages": 2, "first": PAGE, "last": LAST }]);
    assert_eq!((&found["opened"], &found["closed"]), (&0.into(), &closed));
}

#[test]
fn a_tampered_journal_is_a_finding_and_no_answer() {
    type Spoil = fn(&mut Vec<u8>);
    let spoilt: [(&str, Spoil); 4] = [
        ("one byte", |tags| tags[40] ^= 1),
        ("somebody taken out", |tags| drop(tags.drain(..32))),
        ("somebody put in", |tags| tags.extend([0; 32])),
        ("a torn tag", |tags| tags.truncate(tags.len() - 1)),
    ];
    for (what, spoil) in spoilt {
        let mut town = Town::new();
        let mut tags = town.journal[1].handed_tags.to_vec();
        spoil(&mut tags);
        town.journal[1].handed_tags = tags.into();
        let (code, found) = town.who_saw(7, true);
        assert_eq!((code, hits(&found)), (1, vec![(ONE, "statement")]), "{what}: {found}");
        let finding = &found["findings"][0];
        assert_eq!((&finding["index"], &finding["fault"]), (&PAGE.into(), &"tags-altered".into()), "{what}");
        assert_eq!((&found["opened"], &found["findings_total"]), (&1.into(), &1.into()), "{what}");
    }
}

#[test]
fn what_the_given_journal_does_not_hold_is_a_finding() {
    // The record is gone, or holds no tags.
    let mut gone = Town::new();
    gone.journal.remove(1);
    let mut empty = Town::new();
    empty.journal[1].handed_tags = Bytes::new();
    for town in [gone, empty] {
        let (code, found) = town.who_saw(7, true);
        assert_eq!((code, hits(&found)), (1, vec![(ONE, "statement")]), "{found}");
        let finding = &found["findings"][0];
        assert_eq!((&finding["index"], &finding["fault"]), (&PAGE.into(), &"tags-missing".into()));
        assert!(finding["what"].as_str().unwrap().contains("the journal of `police`"), "{finding}");
    }
}

#[test]
fn a_person_is_found_by_identifier_with_the_members_key_and_in_every_form() {
    let town = Town::new();
    let folder = TempDir::new().unwrap();
    let (ledger, journal) = town.write(folder.path());
    let file = |name: &str, text: &str| put(folder.path(), name, text);
    let key_path = file("tags.key", &format!("{}\n", base64(&KEY)));
    let key = format!("police={key_path}");
    let who = file("subject", &format!("{}\n", subject(7)));
    let all = ["accesses", "--ledger", &ledger, "--subject", &who, "--tag-key", &key];
    let (code, out, _) = run(&[&all[..], &["--adapter-journal", &journal]].concat());
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("| tag in the statement") && out.contains("| tag in the journal"), "{out}");
    assert!(out.contains("2 exchanges as of size 11, 2 pages of batches opened"), "{out}");
    assert!(!out.contains(&subject(7)), "{out}");
    let (code, out, error) = run(&[&all[..], &["-o", "csv"]].concat());
    assert_eq!((code, out.lines().count()), (0, 2), "{out}");
    assert!(out.lines().next().unwrap().ends_with(",found_in"), "{out}");
    assert!(error.contains("not looked into: 2 pages of batches by `police`, entries 9 to 10"), "{error}");
    for (subject, key, says) in
        [(&key_path, &who, "no key of subject tags"), (&file("empty", "\n"), &key_path, "no identifier")]
    {
        let key = format!("police={key}");
        let (code, _, error) =
            run(&["accesses", "--ledger", &ledger, "--subject", subject, "--tag-key", &key]);
        assert!(code == 2 && error.contains(says), "{error}");
    }
    let (code, _, error) = run(&["accesses", "--ledger", &ledger, "--subject", &who, "--tag-key", &key_path]);
    assert!(code == 2 && error.contains("say whose key it is"), "{error}");
    let (code, _, error) = run(&["accesses", "--ledger", &ledger]);
    assert!(code == 2 && error.contains("say who"), "{error}");
}

#[test]
fn pages_and_exchanges_of_members_whose_key_is_missing_are_said_and_never_opened_in_vain() {
    let town = Town::new();
    let folder = TempDir::new().unwrap();
    let (ledger, journal) = town.write(folder.path());
    let file = |name: &str, text: &str| put(folder.path(), name, text);
    let (police, other) = (file("police.key", &base64(&KEY)), file("other.key", &base64(&[45; 32])));
    let who = file("subject", &subject(7));
    let all = ["accesses", "--ledger", &ledger, "--adapter-journal", &journal, "--subject", &who];
    // The key of a member who is no party of anything here.
    let fire = format!("fire-brigade={other}");
    let (code, out, error) = run(&[&all[..], &["-o", "json", "--tag-key", &fire]].concat());
    let found: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{error}"));
    assert_eq!((code, hits(&found), &found["opened"]), (0, vec![], &0.into()), "{found}");
    let closed = serde_json::json!([{ "provider": "police", "missing": "key", "pages": 2, "first": PAGE, "last": LAST }]);
    assert_eq!((&found["closed"], &found["without_key"]), (&closed, &1.into()), "{found}");
    let (_, out, _) = run(&[&all[..], &["--tag-key", &fire]].concat());
    assert!(
        out.contains("`--tag-key police=FILE`") && out.contains("1 exchange between members whose keys"),
        "{out}"
    );
    // With the provider's key beside it everything is looked into.
    let key = format!("police={police}");
    let (code, out, _) = run(&[&all[..], &["-o", "json", "--tag-key", &fire, "--tag-key", &key]].concat());
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, hits(&found)), (0, vec![(ONE, "statement"), (PAGE, "journal")]), "{found}");
    assert_eq!((&found["closed"], &found["without_key"]), (&serde_json::json!([]), &0.into()), "{found}");
}

#[test]
fn a_key_that_is_not_its_members_finds_nothing_and_that_is_said() {
    let town = Town::new();
    let folder = TempDir::new().unwrap();
    let (ledger, journal) = town.write(folder.path());
    let file = |name: &str, text: &str| put(folder.path(), name, text);
    let (right, wrong) = (file("right.key", &base64(&KEY)), file("wrong.key", &base64(&[45; 32])));
    let who = file("subject", &subject(7));
    let all = ["accesses", "--ledger", &ledger, "--adapter-journal", &journal, "--subject", &who];
    let with = |keys: &[(&str, &str)], output: &str| {
        let keys: Vec<String> = keys.iter().map(|(member, file)| format!("{member}={file}")).collect();
        let keys = keys.iter().flat_map(|key| ["--tag-key", key.as_str()]);
        run(&all.into_iter().chain(["-o", output]).chain(keys).collect::<Vec<&str>>())
    };
    for output in ["table", "json", "csv"] {
        let (code, out, error) = with(&[("police", &wrong)], output);
        assert!(code == 0 && error.contains("compare the files with those of `police`"), "{out}{error}");
        let (code, _, error) = with(&[("police", &right)], output);
        assert!(code == 0 && !error.contains("compare the files"), "{error}");
    }
    let (code, _, error) = with(&[("police", &right), ("street-office", &right)], "table");
    assert!(code == 2 && error.contains("the one that is given for `police`"), "{error}");
    let (code, _, error) = with(&[("police", &right), ("police", &wrong)], "table");
    assert!(code == 2 && error.contains("given twice for `police`"), "{error}");
}

#[test]
fn searches_by_tag_say_how_many_pages_they_cannot_look_into() {
    let town = Town::new();
    let folder = TempDir::new().unwrap();
    let (ledger, _) = town.write(folder.path());
    let hex = yiwang_proto::hex(&provider_tag(7, &town.case));
    let note = "not looked into: 2 pages of batches with more persons than an entry names";
    let (code, out, _) = run(&["report", "--ledger", &ledger, "--tag", &hex]);
    assert!(code == 0 && out.contains(note) && out.contains("\n1 exchange"), "{out}");
    let (code, _, error) = run(&["report", "--ledger", &ledger, "--tag", &hex, "-o", "csv"]);
    assert!(code == 0 && error.contains(note), "{error}");
    let (_, out, error) = run(&["report", "--ledger", &ledger]);
    assert!(!out.contains("of batches with") && error.is_empty(), "who lists all misses none: {out}{error}");
    for (more, pages) in [
        (&[][..], 2),
        (&["--cursor", "9"], 1),
        (&["--provider", "police", "--case", town.case.as_str()], 2),
        (&["--provider", "street-office"], 0),
        (&["--officer", "o-abcdefghijklmnop"], 0),
        (&["--case", "01a31a5f-a400-7000-8000-000000000009"], 0),
    ] {
        let (code, out, error) =
            run(&[&["search", "--ledger", &ledger, "--tag", &hex, "-o", "json"], more].concat());
        let found: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((code, &found["closed_pages"]), (0, &pages.into()), "{more:?}: {out}");
        assert_eq!(error.contains("of batches with more persons"), pages > 0, "{error}");
    }
    // The mark of such pages is no tag that anybody has.
    let (code, out, error) = run(&["search", "--ledger", &ledger, "--tag", &"0".repeat(64)]);
    assert!(code == 0 && out.contains("0 exchanges") && !error.contains("made again"), "{out}{error}");
    let (code, out, _) = run(&["index", "rebuild", "--ledger", &ledger, "--compare"]);
    assert!(code == 0 && out.contains(": 0 differences"), "{out}");
}
