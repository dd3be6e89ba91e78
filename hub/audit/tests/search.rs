//! The search index against the ledger: the same hits as a naive pass, pages that stay, doubts that drop it.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;
use yiwang_audit::fixture::{STEP_MS, World, tag};
use yiwang_audit::{Access, Ended, Filter, SearchIndex, accesses};
use yiwang_proto::audit_scope::AuditScope;
use yiwang_proto::codes::Code;
use yiwang_proto::entry::Kind;
use yiwang_proto::ids::{CaseId, Officer};
use yiwang_proto::pb;
use yiwang_proto::tile::encode_bundle;

fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_yiwang-audit")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn officer(number: usize) -> Officer {
    let letters =
        format!("{number:016}").replace('0', "a").replace('1', "b").replace('8', "h").replace('9', "i");
    Officer::parse(&format!("o-{letters}")).unwrap()
}

fn second_case() -> CaseId {
    CaseId::parse("01a31a5f-a400-7000-8000-000000000002").unwrap()
}

/// Exchanges that differ in officer, case, subject and outcome.
fn grow(world: &mut World, exchanges: usize) {
    for number in 0..exchanges {
        let mut exchange = world.exchange();
        exchange.request.officer = (!number.is_multiple_of(4)).then(|| officer(number % 3));
        if number.is_multiple_of(3) {
            exchange.request.case = second_case();
            exchange.request.subject_tags = vec![tag(u32::try_from(number % 2).unwrap() + 1, &second_case())];
        }
        let exchange = match number % 5 {
            3 => exchange.deny(Code::RateExceeded),
            4 => exchange.deny(Code::FieldNotGranted),
            _ => exchange,
        };
        world.record(exchange);
        if number % 7 == 6 {
            world.denied_unkept(Code::SignatureInvalid);
        }
    }
}

fn ledger() -> (World, TempDir, PathBuf) {
    let mut world = World::new();
    world.open_case(&second_case(), &[1, 2]);
    grow(&mut world, 60);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ledger");
    write(&world, &path);
    (world, folder, path)
}

fn write(world: &World, path: &Path) {
    let _ = std::fs::remove_dir_all(path);
    std::fs::create_dir_all(path).unwrap();
    world.write(path);
}

fn naive(path: &Path, filter: &Filter) -> Vec<u64> {
    let mut hits = Vec::new();
    accesses(path, filter, &mut |row| {
        hits.push(row.index);
        Ok(())
    })
    .unwrap();
    hits
}

struct Page {
    hits: Vec<Access>,
    next: Option<u64>,
    size: u64,
    notes: String,
}

fn search(path: &Path, more: &[&str]) -> Page {
    let arguments = [&["search", "--ledger", path.to_str().unwrap(), "-o", "json"], more].concat();
    let (code, out, notes) = run(&arguments);
    assert_eq!(code, 0, "{notes}");
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    let hits = value["hits"].as_array().unwrap().iter().map(|hit| Access {
        index: hit["index"].as_u64().unwrap(),
        officer: hit["officer"].as_str().unwrap().to_owned(),
        time: hit["time"].as_str().unwrap().to_owned(),
        ..Access::default()
    });
    Page { hits: hits.collect(), next: value["next"].as_u64(), size: value["size"].as_u64().unwrap(), notes }
}

fn indexes(page: &Page) -> Vec<u64> {
    page.hits.iter().map(|hit| hit.index).collect()
}

#[test]
fn a_span_of_time_is_found_also_where_an_accepted_clock_went_back() {
    let mut world = World::new();
    let began_ms = world.now_ms;
    world.answered();
    world.now_ms = began_ms + 900_000;
    world.answered();
    let old_ms = world.now_ms - STEP_MS;
    world.now_ms = began_ms + 300_000;
    world.push(Kind::Clock(pb::ClockEntry { old_ms, new_ms: world.now_ms }));
    world.answered();
    world.now_ms = began_ms + 920_000;
    world.answered();
    let folder = TempDir::new().unwrap();
    world.write(folder.path());
    let rfc = |after_ms: i64| yiwang_proto::time::format_rfc3339(began_ms + after_ms);
    for (from, to, hits) in
        [(890_000, 1_000_000, 2), (250_000, 910_000, 2), (0, 350_000, 2), (910_000, 990_000, 1)]
    {
        let (since, until) = (rfc(from), rfc(to));
        let page = search(folder.path(), &["--from", &since, "--to", &until]);
        assert_eq!(page.hits.len(), hits, "{from} {to}: {:?}", indexes(&page));
    }
}

#[test]
fn every_filter_finds_what_a_naive_pass_finds() {
    let (_, _folder, path) = ledger();
    let tag = tag(1, &second_case());
    let hex = yiwang_proto::hex(&tag);
    let (one, other) = (officer(1), officer(2));
    let second = second_case();
    let since = yiwang_proto::time::format_rfc3339(yiwang_audit::fixture::START_MS + 120_000);
    let until = yiwang_proto::time::format_rfc3339(yiwang_audit::fixture::START_MS + 240_000);
    let parse = |text: &str| yiwang_proto::time::parse_rfc3339(text).unwrap();
    // Each condition alone and with each other one.
    type Condition<'a> = (Vec<&'a str>, Box<dyn Fn(&mut Filter) + 'a>);
    let conditions: Vec<Condition<'_>> = vec![
        (vec![], Box::new(|_| {})),
        (vec!["--officer", one.as_str()], Box::new(|filter| filter.officer = Some(one.clone()))),
        (vec!["--officer", other.as_str()], Box::new(|filter| filter.officer = Some(other.clone()))),
        (vec!["--case", second.as_str()], Box::new(|filter| filter.case = Some(second.clone()))),
        (vec!["--outcome", "denied"], Box::new(|filter| filter.outcome = Some(Ended::Denied))),
        (vec!["--outcome", "answered"], Box::new(|filter| filter.outcome = Some(Ended::Answered))),
        (vec!["--code", "rate_exceeded"], Box::new(|filter| filter.code = Some(Code::RateExceeded))),
        (vec!["--code", "signature_invalid"], Box::new(|filter| filter.code = Some(Code::SignatureInvalid))),
        (vec!["--tag", &hex], Box::new(|filter| filter.tag = Some(tag))),
        (vec!["--from", &since], Box::new(|filter| filter.since_ms = Some(parse(&since)))),
        (vec!["--to", &until], Box::new(|filter| filter.until_ms = Some(parse(&until)))),
        (
            vec!["--consumer", "street-office"],
            Box::new(|filter| filter.consumer = "street-office".parse().ok()),
        ),
        (
            vec!["--provider", "street-office"],
            Box::new(|filter| filter.provider = "street-office".parse().ok()),
        ),
    ];
    let mut found = 0;
    for (at, (words, change)) in conditions.iter().enumerate() {
        for (others, other_change) in &conditions[at..] {
            let mut filter = Filter::default();
            change(&mut filter);
            other_change(&mut filter);
            let same = words.first().is_some_and(|word| others.first() == Some(word));
            if same {
                continue;
            }
            let page = search(&path, &[&words[..], &others[..]].concat());
            assert_eq!(indexes(&page), naive(&path, &filter), "{words:?} {others:?}");
            found += page.hits.len();
        }
    }
    assert!(found > 500, "the filters find something: {found}");
}

#[test]
fn a_search_within_a_scope_finds_what_the_scope_shows_of_each_entry() {
    let (_, folder, path) = ledger();
    let scope = |members: &[&str], records: &[&str]| {
        let text = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let raw = yiwang_proto::pb::AuditScope { all: false, members: text(members), records: text(records) };
        AuditScope::check(Some(&raw)).unwrap()
    };
    let entries = yiwang_audit::folder_entries(&path).unwrap();
    let mut index =
        SearchIndex::open(&folder.path().join("scoped.sqlite"), entries.as_ref(), u64::MAX).unwrap();
    let all: Vec<u64> = naive(&path, &Filter::default());
    let mut counts = Vec::new();
    for scope in [
        AuditScope::everything(),
        scope(&["police"], &[]),
        scope(&["street-office"], &[]),
        scope(&["health"], &[]),
        scope(&[], &["Person"]),
        scope(&[], &["Residence"]),
        scope(&["street-office"], &["Person"]),
        scope(&["street-office"], &["Residence"]),
        AuditScope::default(),
    ] {
        let shows = |index: &u64| {
            let (bytes, _) = entries.entry(*index).unwrap();
            scope.shows("court", &yiwang_proto::entry::decode(&bytes).unwrap())
        };
        let shown: Vec<u64> = all.iter().copied().filter(shows).collect();
        counts.push(shown.len());
        let filter = Filter { scope: Some(scope.clone()), ..Filter::default() };
        assert_eq!(naive(&path, &filter), shown, "{scope:?}");
        let in_case = Filter { case: Some(second_case()), ..filter.clone() };
        let case = naive(&path, &Filter { case: Some(second_case()), ..Filter::default() });
        let shown_of_case: Vec<u64> = case.into_iter().filter(shows).collect();
        for (filter, shown) in [(filter, shown), (in_case, shown_of_case)] {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let page = index.search(entries.as_ref(), &filter, after, 7).unwrap();
                seen.extend(page.hits.iter().map(|hit| hit.index));
                after = page.next;
                assert!(after.is_none_or(|next| shows(&next)), "a cursor is an entry that is shown");
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(seen, shown, "{scope:?}");
        }
    }
    // The requests that were not kept are the connection's member's, and about no record.
    assert_eq!(counts, [68, 60, 68, 0, 60, 0, 68, 8, 0]);
}

#[test]
fn pages_join_without_gap_or_repeat_while_the_ledger_grows() {
    let (mut world, _folder, path) = ledger();
    let before = naive(&path, &Filter { outcome: Some(Ended::Answered), ..Filter::default() });
    let mut seen = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut words = vec!["--outcome", "answered", "--limit", "7"];
        if let Some(cursor) = &cursor {
            words.extend(["--cursor", cursor.as_str()]);
        }
        let page = search(&path, &words);
        assert!(page.notes.is_empty(), "it catches up and is not made again: {}", page.notes);
        assert_eq!(page.size, world.entries.len() as u64);
        seen.extend(indexes(&page));
        if seen.len() < before.len() {
            grow(&mut world, 3);
            write(&world, &path);
        }
        match page.next {
            Some(next) => cursor = Some(next.to_string()),
            None => break,
        }
    }
    assert_eq!(seen, naive(&path, &Filter { outcome: Some(Ended::Answered), ..Filter::default() }));
    assert!(seen.len() > before.len());
}

#[test]
fn any_doubt_drops_the_index_and_what_is_shown_is_right() {
    let (world, _folder, path) = ledger();
    let index = path.with_file_name("ledger.search.sqlite");
    let right = indexes(&search(&path, &[]));
    let ledger_of_others = {
        let mut other = World::new();
        other.answered();
        other
    };
    type Spoiler<'a> = (&'a str, Box<dyn Fn() + 'a>);
    let spoilers: Vec<Spoiler<'_>> = vec![
        ("bytes", Box::new(|| std::fs::write(&index, b"no database").unwrap())),
        ("empty", Box::new(|| std::fs::write(&index, b"").unwrap())),
        (
            "wrong row",
            Box::new(|| execute(&index, "UPDATE exchanges SET time_ms = time_ms + 1 WHERE idx = 12")),
        ),
        ("wrong shape", Box::new(|| execute(&index, "UPDATE exchanges SET shape = 99 WHERE idx = 12"))),
        (
            "row too many",
            Box::new(|| {
                execute(
                    &index,
                    "INSERT INTO exchanges SELECT 3, time_ms, shape, officer, case_id FROM exchanges WHERE idx = 12",
                )
            }),
        ),
        ("version", Box::new(|| execute(&index, "UPDATE meta SET value = 'x' WHERE name = 'format'"))),
        ("no size", Box::new(|| execute(&index, "DELETE FROM meta WHERE name = 'size'"))),
        ("no table", Box::new(|| execute(&index, "DROP TABLE officers"))),
        (
            "other ledger",
            Box::new(|| {
                let folder = TempDir::new().unwrap();
                let path = folder.path().join("ledger");
                write(&ledger_of_others, &path);
                search(&path, &[]);
                std::fs::copy(folder.path().join("ledger.search.sqlite"), &index).unwrap();
            }),
        ),
    ];
    for (what, spoil) in spoilers {
        spoil();
        let page = search(&path, &[]);
        assert_eq!(indexes(&page), right, "{what}");
        assert!(
            page.notes.contains("the index was made again") || what == "other ledger",
            "{what}: {}",
            page.notes
        );
        assert!(search(&path, &[]).notes.is_empty(), "{what}: it stays good");
    }
    // A ledger that became shorter, or another one.
    let mut shorter = World::new();
    shorter.answered();
    write(&shorter, &path);
    let page = search(&path, &[]);
    assert_eq!((indexes(&page), page.size), (vec![8], shorter.entries.len() as u64));
    write(&world, &path);
    assert_eq!(indexes(&search(&path, &[])), right);
}

fn execute(index: &Path, sql: &str) {
    let changed = rusqlite::Connection::open(index).unwrap().execute(sql, []).unwrap();
    assert!(changed == 1 || sql.starts_with("DROP"), "{sql}");
}

#[test]
fn compare_finds_missing_and_wrong_rows_and_rebuild_mends_them() {
    let (_, _folder, path) = ledger();
    let text = path.to_str().unwrap();
    let index = path.with_file_name("ledger.search.sqlite");
    let compare = || run(&["index", "rebuild", "--ledger", text, "--compare"]);
    let (code, out, _) = compare();
    assert_eq!(code, 1, "there is none yet: {out}");
    let (code, out, err) = compare();
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains(": 0 differences"), "{out}");
    for (sql, what) in [
        ("DELETE FROM exchanges WHERE idx = 12", "entry 12: there is no row"),
        ("UPDATE exchanges SET officer = NULL WHERE idx = 14", "entry 14: another officer"),
        ("UPDATE exchanges SET case_id = x'00' WHERE idx = 12", "entry 12: another case"),
        (
            "DELETE FROM tags WHERE rowid = (SELECT min(rowid) FROM tags WHERE idx = 12)",
            "entry 12: a tag is missing",
        ),
        ("INSERT INTO tags VALUES (1, 12)", "whole: it holds"),
        ("INSERT INTO exchanges (idx, time_ms, shape) VALUES (3, 1, 1)", "whole: it holds"),
    ] {
        execute(&index, sql);
        let (code, out, _) = compare();
        assert_eq!(code, 1, "{sql}");
        assert!(out.contains(what), "{sql}: {out}");
        assert_eq!(compare().0, 0, "{sql}: mended");
    }
}

#[test]
fn mirrored_bundles_are_searched_like_the_ledger_and_not_believed() {
    let (world, folder, path) = ledger();
    let mirror = folder.path().join("mirror");
    std::fs::create_dir_all(&mirror).unwrap();
    world.write_tiles(&mirror);
    std::fs::write(mirror.join("checkpoint"), world.checkpoint(world.entries.len())).unwrap();
    let bundle = encode_bundle(world.entries.iter().map(AsRef::as_ref)).unwrap();
    let file = mirror.join(format!("tile/entries/000.p/{}", world.entries.len()));
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, &bundle).unwrap();
    let denied = ["--outcome", "denied"];
    assert_eq!(indexes(&search(&mirror, &denied)), indexes(&search(&path, &denied)));
    let mut spoiled = bundle;
    let last = spoiled.len() - 1;
    spoiled[last] ^= 1;
    std::fs::write(&file, spoiled).unwrap();
    let (code, _, err) = run(&["search", "--ledger", mirror.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(err.contains("is not what its leaf hash in the hash tile says"), "{err}");
}

#[test]
fn an_index_that_cannot_be_written_is_held_in_memory() {
    let (_, folder, path) = ledger();
    let nowhere = folder.path().join("missing/index");
    let page = search(&path, &["--index", nowhere.to_str().unwrap(), "--limit", "3"]);
    assert_eq!(page.hits.len(), 3);
    assert!(page.notes.contains("cannot be written"), "{}", page.notes);
    let text = path.to_str().unwrap();
    for wrong in
        [["--limit", "0"], ["--limit", "10001"], ["--tag", "00"], ["--code", "none"], ["--from", "now"]]
    {
        assert_eq!(run(&[&["search", "--ledger", text], &wrong[..]].concat()).0, 2, "{wrong:?}");
    }
}

#[test]
fn a_name_that_no_exchange_has_is_told_with_the_one_that_was_meant() {
    let (_, _folder, path) = ledger();
    let text = path.to_str().unwrap();
    for command in ["report", "search"] {
        let told = |filter: &[&str]| {
            let (code, out, error) = run(&[&[command, "--ledger", text], filter].concat());
            assert!(code == 0 && out.contains("0 exchanges"), "{filter:?}: {out}{error}");
            error
        };
        for (filter, what, wanted, meant) in [
            ("--consumer", "consumer", "street-offic", "street-office"),
            ("--provider", "provider", "polise", "police"),
            ("--member", "member", "polise", "police"),
            ("--contract", "contract", "police-street-persn", "police-street-person"),
            ("--record", "record", "Persn", "Person"),
        ] {
            let error = told(&[filter, wanted]);
            let words = format!("note: no exchange names {what} `{wanted}`; did you mean `{meant}`?");
            assert!(error.contains(&words), "{command}: {error}");
        }
        for filter in
            [["--case", "01a31a5f-a400-7000-8000-000000000009"], ["--officer", "o-zzzzzzzzzzzzzzzz"]]
        {
            assert!(
                told(&filter).contains(&format!("names {} `{}`", &filter[0][2..], filter[1])),
                "{filter:?}"
            );
        }
        let purpose = told(&["--purpose", "public-health.planning"]);
        assert!(purpose.contains("no exchange names purpose `public-health.planning`; "), "{purpose}");
        // Names that are there, and nothing that has them together.
        let one = officer(1);
        let second = second_case();
        let filter = ["--provider", "street-office", "--officer", one.as_str(), "--case", second.as_str()];
        assert_eq!(told(&filter), "");
        let (since, until) = ("2027-01-15T09:00:00Z", "2027-01-15T08:00:00Z");
        for until in [until, since] {
            let span = [command, "--ledger", text, "--since", since, "--until", until];
            let (code, _, error) = run(&span);
            assert!(code == 2 && error.contains("before `--until`"), "{error}");
        }
    }
}
