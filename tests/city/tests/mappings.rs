//! The departments' mapping files fit the systems that the city builds: tables, columns and headers are there, the
//! look-ups find the household of the demo, and they use an index.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use toml::{Table, Value};
use yiwang_city::{CityPlan, Dirt, Source, attach_real, build, build_bench, demo_household};

fn departments() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../adapters/departments"))
}

fn mappings(member: &str) -> Vec<(String, Table)> {
    let folder = [departments().join(member), departments().join("real").join(member)];
    let folder = folder.iter().find(|folder| folder.is_dir()).unwrap();
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| {
            (path.display().to_string(), toml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap())
        })
        .collect();
    assert!(!found.is_empty(), "{member} has no mapping");
    found
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_else(|| panic!("no {key} in {value}"))
}

fn columns_asked(operation: &Value) -> BTreeSet<String> {
    // A count has dimensions in their place.
    let fields = operation.get("fields").or_else(|| operation.get("by")).unwrap();
    fields.as_table().unwrap().values().map(|field| text(field, "from").to_owned()).collect()
}

/// Rows of a look-up by subject.
fn rows(db: &Connection, operation: &Value, id: &str) -> usize {
    let mut statement = db.prepare(text(operation, "sql")).unwrap();
    let names: BTreeSet<String> = statement.column_names().map(str::to_owned).collect();
    assert!(columns_asked(operation).is_subset(&names), "{:?} of {names:?}", columns_asked(operation));
    let mut rows = statement.query([(":id", id)].as_slice()).unwrap();
    let mut count = 0;
    while rows.next().unwrap().is_some() {
        count += 1;
    }
    count
}

fn check_sql(source: &Source, mapping: &Table, subjects: &[(&str, usize)]) {
    let db = Connection::open_with_flags(&source.path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    assert_eq!(text(&mapping["source"]["sqlite"]["path"], "env"), source.variable);
    let sealed = mapping["record"].as_str() == Some("MentalHealthRecord");
    for operation in mapping["operation"].as_array().unwrap() {
        if text(operation, "kind") == "batch" {
            let mut all = db.prepare(text(operation, "sql")).unwrap();
            let given: BTreeSet<String> = all.column_names().map(str::to_owned).collect();
            let asked = columns_asked(operation).into_iter().chain([text(operation, "key").to_owned()]);
            assert!(asked.into_iter().all(|column| given.contains(&column)), "{given:?}");
            assert!(all.query([]).unwrap().next().unwrap().is_some(), "{}", text(operation, "name"));
            continue;
        }
        for (id, least) in subjects {
            // Of the household only the wife has a sealed record.
            let least = if sealed { usize::from(*id == demo_household().wife.id) } else { *least };
            assert!(rows(&db, operation, id) == least, "{} finds no {id}", text(operation, "name"));
        }
        assert_eq!(rows(&db, operation, "000000000000000000"), 0);
        let mut plan = db.prepare(&format!("explain query plan {}", text(operation, "sql"))).unwrap();
        let steps = plan.query_map([(":id", "1")].as_slice(), |row| row.get::<_, String>(3)).unwrap();
        let scans: Vec<_> = steps.map(|step| step.unwrap()).filter(|step| step.starts_with("SCAN")).collect();
        assert!(scans.is_empty(), "{}: {scans:?}", text(operation, "name"));
    }
}

fn check_csv(source: &Source, mapping: &Table) {
    let csv_source = &mapping["source"]["csv"];
    assert_eq!(text(&csv_source["folder"], "env"), source.variable);
    let typed: BTreeSet<&str> =
        csv_source["columns"].as_table().unwrap().keys().map(String::as_str).collect();
    for file in std::fs::read_dir(&source.path).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let encoding =
            if text(csv_source, "encoding") == "gbk" { encoding_rs::GBK } else { encoding_rs::UTF_8 };
        let decoded = encoding.decode(&bytes).0;
        let mut reader = csv::Reader::from_reader(decoded.as_bytes());
        assert_eq!(reader.headers().unwrap().iter().collect::<BTreeSet<_>>(), typed);
    }
    for operation in mapping["operation"].as_array().unwrap() {
        let conditions = operation.get("where").and_then(Value::as_table);
        assert!(conditions.is_some() || text(operation, "kind") == "count", "{operation}");
        let filtered =
            conditions.into_iter().flat_map(Table::keys).map(|key| key.trim_end_matches("@date").to_owned());
        for column in columns_asked(operation).into_iter().chain(filtered) {
            assert!(typed.contains(column.as_str()), "{column}");
        }
    }
}

fn check(source: &Source, subjects: &[(&str, usize)]) {
    for (file, mapping) in mappings(source.member) {
        println!("{file}");
        assert_eq!(mapping["owner"].as_str(), Some(source.member));
        if mapping["source"].get("csv").is_some() {
            check_csv(source, &mapping);
        } else {
            check_sql(source, &mapping, subjects);
        }
    }
}

#[test]
fn mappings_of_the_departments_fit_the_city() {
    let folder = tempfile::tempdir().unwrap();
    let city = build(CityPlan { seed: 5, scale: 0.0003 }, folder.path()).unwrap();
    let home = city.household();
    for source in city.sources() {
        let subjects = [&home.son, &home.mother, &home.wife].map(|member| (member.id.as_str(), 1));
        check(source, &subjects);
    }
}

#[test]
fn mappings_of_the_further_departments_fit_the_city() {
    let folder = tempfile::tempdir().unwrap();
    let city = build(CityPlan { seed: 5, scale: 0.0003 }, folder.path()).unwrap();
    let more = city.more(folder.path()).unwrap();
    let home = city.household();
    let subjects = [&home.son, &home.mother, &home.wife].map(|member| (member.id.as_str(), 1));
    for source in more.sources.iter().filter(|source| source.member != "emergency-call") {
        check(source, &subjects);
    }
    // The call centre's database holds the calls of the exports, each once.
    let calls = more.sources.iter().find(|source| source.member == "emergency-call").unwrap();
    let (_, mapping) = mappings("emergency-call/sqlite").remove(0);
    assert_eq!(text(&mapping["source"]["sqlite"]["path"], "env"), calls.variable);
    let db = Connection::open(&calls.path).unwrap();
    assert_eq!(rows(&db, &mapping["operation"][0], &home.mother.id), 2);
    let count: i64 = db.query_row("select count(*) from CALL_LOG", [], |row| row.get(0)).unwrap();
    assert_eq!(u64::try_from(count).unwrap(), city.facts().calls);
    let mut by_day = db.prepare(text(&mapping["operation"][1], "sql")).unwrap();
    let day = [(":area", "980101"), (":day", "2026-11-19")];
    let found = by_day.query_map(day.as_slice(), |row| row.get::<_, String>("CALL_TIME")).unwrap();
    let found: Vec<String> = found.map(|time| time.unwrap()).collect();
    assert!(!found.is_empty() && found.iter().all(|time| time.starts_with("2026-11-19")), "{found:?}");
}

#[test]
fn what_servers_are_filled_with_tells_the_same_of_everybody() {
    let folder = tempfile::tempdir().unwrap();
    let city = build(CityPlan { seed: 5, scale: 0.0003 }, folder.path()).unwrap();
    let more = city.more(folder.path()).unwrap();
    let lines = |path: &Path| -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let patients = lines(&more.fhir.join("Patient.ndjson"));
    assert_eq!(patients.len() as u64, city.facts().health_persons);
    let wife = city.household().wife;
    let patient = patients.iter().find(|patient| patient["identifier"][0]["value"] == *wife.id).unwrap();
    let reference = format!("Patient/{}", patient["id"].as_str().unwrap());
    assert!(!reference.contains(&wife.id));
    let of = |file: &str, member: &str| -> Vec<serde_json::Value> {
        let found = lines(&more.fhir.join(file)).into_iter();
        found.filter(|resource| resource[member]["reference"] == *reference).collect()
    };
    assert_eq!(of("Coverage.ndjson", "beneficiary")[0]["status"], "active");
    assert_eq!(of("Condition.ndjson", "subject")[0]["extension"][0]["valueCode"], "HW");
    let meters = lines(&more.meters);
    assert_eq!(meters.len() as u64, more.counts[1]);
    let own = meters.iter().find(|meter| meter["holder"] == *city.household().mother.id).unwrap();
    assert_eq!(own["state"], "ON");
}

#[test]
fn look_ups_find_what_is_dirty() {
    let folder = tempfile::tempdir().unwrap();
    let city = build(CityPlan { seed: 5, scale: 0.0003 }, folder.path()).unwrap();
    for member in ["police", "civil-affairs"] {
        let source = city.sources().iter().find(|source| source.member == member).unwrap();
        let db = Connection::open(&source.path).unwrap();
        let (_, mapping) =
            mappings(member).into_iter().find(|(file, _)| file.ends_with("person.toml")).unwrap();
        for kind in Dirt::ALL {
            let id = city.specimen(kind).unwrap().id;
            assert_eq!(rows(&db, &mapping["operation"][0], &id), 1, "{member} {kind:?}");
        }
    }
    let db = Connection::open(&city.sources()[0].path).unwrap();
    let (_, mapping) =
        mappings("police").into_iter().find(|(file, _)| file.ends_with("residence.toml")).unwrap();
    let mut statement = db.prepare(text(&mapping["operation"][0], "sql")).unwrap();
    let moved = city.specimen(Dirt::OldAreaCode).unwrap().id;
    let code: String =
        statement.query_row([(":id", moved.as_str())].as_slice(), |row| row.get("DZBM")).unwrap();
    assert!(code.starts_with("98010") || code.starts_with("98011"), "{code}");
}

#[test]
fn the_bench_mapping_fits_the_bench_source() {
    let folder = tempfile::tempdir().unwrap();
    let bench = build_bench(folder.path(), 10).unwrap();
    let source = Source { member: "bench", variable: "BENCH_DB", path: bench.database.clone() };
    check(&source, &[(bench.id(9).as_str(), 1)]);
    assert!(yiwang_city::bench_mapping("health").contains("owner = \"health\""));
}

#[test]
fn mappings_of_the_real_data_fit() {
    let shared = std::env::var_os("YIWANG_TEST_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    if !shared.join("data/febrl").is_dir() {
        println!("skipped: no test data");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let real = attach_real(&shared.join("data"), folder.path()).unwrap();
    let both = real.conflicting.first().unwrap();
    for source in &real.sources {
        check(source, &[(both.id.as_str(), 1)]);
    }
}
