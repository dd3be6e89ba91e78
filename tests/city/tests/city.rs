//! What a city promises: the same for the same seed, dirty in every known way, and nobody real.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use yiwang_city::{City, CityPlan, Dirt, build, build_bench, is_valid};

const TINY: f64 = 0.0003;

fn tiny(seed: u64) -> (tempfile::TempDir, City) {
    let folder = tempfile::tempdir().unwrap();
    let city = build(CityPlan { seed, scale: TINY }, folder.path()).unwrap();
    (folder, city)
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_path_buf(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn path(city: &City, member: &str) -> PathBuf {
    city.sources().iter().find(|source| source.member == member).unwrap().path.clone()
}

fn database(city: &City, member: &str) -> Connection {
    Connection::open_with_flags(path(city, member), rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

fn count(db: &Connection, sql: &str) -> i64 {
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn text(db: &Connection, sql: &str, id: &str) -> Vec<Option<String>> {
    let mut statement = db.prepare(sql).unwrap();
    statement.query_map([id], |row| row.get(0)).unwrap().map(|value| value.unwrap()).collect()
}

fn specimen(city: &City, dirt: Dirt) -> String {
    city.specimen(dirt).unwrap().id
}

/// Rows of all months as a plain reader sees them; short ones too.
fn calls(city: &City) -> Vec<csv::StringRecord> {
    let mut rows = Vec::new();
    for (_, bytes) in files(&path(city, "emergency-call")) {
        let (text, _, broken) = encoding_rs::GBK.decode(&bytes);
        assert!(!broken);
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
        rows.extend(reader.records().map(|row| row.unwrap()));
    }
    rows
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_does_not() {
    let (first, again, other) = (tiny(7), tiny(7), tiny(8));
    assert_eq!(files(first.0.path()), files(again.0.path()));
    assert_eq!(first.1.facts(), again.1.facts());
    let other_files = files(other.0.path());
    for (name, bytes) in files(first.0.path()) {
        assert_ne!(other_files.get(&name), Some(&bytes), "{}", name.display());
    }
}

#[test]
fn building_again_in_the_same_folder_replaces_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    build(CityPlan { seed: 1, scale: TINY }, folder.path()).unwrap();
    let before = files(folder.path());
    build(CityPlan { seed: 2, scale: TINY }, folder.path()).unwrap();
    build(CityPlan { seed: 1, scale: TINY }, folder.path()).unwrap();
    assert_eq!(before, files(folder.path()));
}

#[test]
fn a_scale_outside_its_range_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for scale in [0.0, -1.0, 1.1, f64::NAN, f64::INFINITY] {
        assert!(build(CityPlan { seed: 1, scale }, folder.path()).is_err(), "{scale}");
    }
}

#[test]
fn ids_are_unique_synthetic_and_valid_where_they_should_be() {
    let (_folder, city) = tiny(3);
    let mut seen = BTreeSet::new();
    for home in city.households() {
        for person in home.members {
            assert!(person.id.starts_with("98") || person.id.starts_with("99"), "{}", person.id);
            assert_eq!(is_valid(&person.id), person.dirt != Some(Dirt::WrongCheckDigit), "{}", person.id);
            assert_eq!(person.id.get(6..14).unwrap(), person.birth.compact());
            assert!(seen.insert(person.id.clone()), "{} twice", person.id);
        }
    }
    assert_eq!(seen.len() as u64, city.facts().persons);
}

#[test]
fn the_laptop_profile_has_its_size_and_its_share_of_sealed_records() {
    let folder = tempfile::tempdir().unwrap();
    let city = build(CityPlan { seed: 11, scale: 0.01 }, folder.path()).unwrap();
    let facts = city.facts();
    assert_eq!(facts.households, 3501);
    assert!((10_000..11_000).contains(&facts.persons), "{facts:?}");
    assert!(city.persons().count() > 800);
    let rate = facts.sealed_records * 100_000 / facts.health_persons;
    assert!((400..1400).contains(&rate), "{rate} sealed records for 100,000 persons");
}

#[test]
fn every_kind_of_dirt_is_in_the_registers() {
    let (_folder, city) = tiny(5);
    for kind in Dirt::ALL {
        assert!(city.facts().dirt.get(&kind).copied().unwrap_or_default() >= 1, "{kind:?}");
    }
    let (police, civil) = (database(&city, "police"), database(&city, "civil-affairs"));
    let health = database(&city, "health");

    let id = specimen(&city, Dirt::OldId15);
    let old = format!("{}{}", id.get(..6).unwrap(), id.get(8..17).unwrap());
    assert_eq!(text(&civil, "select sfzh from mz_grxx where sfzh = ?", &old).len(), 1);
    assert!(text(&civil, "select sfzh from mz_grxx where sfzh = ?", &id).is_empty());

    let id = specimen(&city, Dirt::WrongCheckDigit);
    assert!(!is_valid(&id));
    assert_eq!(text(&police, "select SFZH from T_RY where SFZH = ?", &id).len(), 1);

    let id = specimen(&city, Dirt::LowerCaseX);
    assert!(id.ends_with('X'));
    assert_eq!(text(&police, "select SFZH from T_RY where SFZH = lower(?)", &id).len(), 1);

    let id = specimen(&city, Dirt::Reregistered);
    assert_eq!(text(&police, "select SFZH from T_RY where SFZH = ?", &id).len(), 2);
    assert_eq!(text(&health, "select nat_id from pt_mstr where nat_id = ?", &id).len(), 2);

    let id = specimen(&city, Dirt::NoHouseNumber);
    let address = "select DZMC from T_DZ d join T_JZ j on j.DZBM = d.DZBM where j.SFZH = ?";
    let addresses = text(&police, address, &id);
    assert!(!addresses.is_empty() && addresses.iter().flatten().all(|text| !text.contains('号')));

    let id = specimen(&city, Dirt::OldAreaCode);
    let replaced =
        "select q.XDM from T_JZ j join T_XZQH q on q.XZQHDM = substr(j.DZBM, 1, 6) where j.SFZH = ?";
    assert!(text(&police, replaced, &id).iter().all(Option::is_some));

    assert!(count(&police, "select count(*) from T_HU where HZSFZH is null") >= 1);
    let without = "select count(*) from T_HU h where not exists (select 1 from T_RY r where r.HH = h.HH and r.YHZGX = '01')";
    assert!(count(&police, without) >= 1);
}

#[test]
fn names_and_dates_are_dirty_too() {
    let (_folder, city) = tiny(5);
    let civil = database(&city, "civil-affairs");

    let rare = city.specimen(Dirt::RareCharacter).unwrap();
    let (encoded, _, lossy) = encoding_rs::GBK.encode(&rare.name);
    assert!(lossy || encoded.len() > 4, "{}", rare.name);

    let person = city.specimen(Dirt::TraditionalName).unwrap();
    let spelled = text(&civil, "select xm from mz_grxx where sfzh = ?", &person.id);
    let spelled = spelled.first().unwrap().clone().unwrap();
    assert!(spelled.starts_with('雲') && person.name.starts_with('云'), "{spelled}");

    let birth = "select csrq from mz_grxx where sfzh = ?";
    assert_eq!(text(&civil, birth, &specimen(&city, Dirt::Birth1900)), [Some("1900/01/01".to_owned())]);
    let wide = text(&civil, birth, &specimen(&city, Dirt::FullWidthDigits));
    assert!(wide.iter().flatten().all(|date| date.contains('／') && !date.contains('/')), "{wide:?}");
}

#[test]
fn the_calls_are_gbk_with_a_mark_breaks_and_bad_rows() {
    let (_folder, city) = tiny(5);
    let exports = files(&path(&city, "emergency-call"));
    assert_eq!(exports.len(), 3);
    let marked = exports.values().filter(|bytes| bytes.starts_with(b"\xEF\xBB\xBF")).count();
    assert_eq!(marked, 1);
    assert_eq!(exports.values().filter(|bytes| std::str::from_utf8(bytes).is_err()).count(), 2);

    let rows = calls(&city);
    let good: Vec<_> = rows.iter().filter(|row| row.len() == 12 && row.get(3).unwrap().len() == 19).collect();
    let (good, bad): (Vec<_>, Vec<_>) =
        good.into_iter().partition(|row| !row.get(3).unwrap().contains("-32 "));
    let short = rows.iter().filter(|row| row.len() != 12).count();
    assert_eq!(good.len() as u64, city.facts().calls + city.facts().repeated_call_rows);
    assert_eq!((bad.len() + short) as u64, city.facts().bad_call_rows);
    assert!(good.iter().any(|row| row.get(10).unwrap().contains('\n')));
    assert!(good.iter().any(|row| row.get(10).unwrap().contains('"')));
    assert!(good.iter().all(|row| !row.get(3).unwrap().contains(['T', 'Z', '+'])));
    assert!(good.iter().any(|row| row.get(7).unwrap().contains('１')));
    let numbers: BTreeSet<_> = good.iter().map(|row| row.get(0).unwrap()).collect();
    assert_eq!(numbers.len() as u64, city.facts().calls);
}

#[test]
fn the_household_of_the_demo_is_everywhere_and_the_same_in_every_city() {
    let ((_one, city), (_two, other)) = (tiny(1), tiny(99));
    let home = city.household();
    assert_eq!(home, other.household());
    let (police, civil) = (database(&city, "police"), database(&city, "civil-affairs"));
    let health = database(&city, "health");
    for member in [&home.mother, &home.son, &home.wife] {
        assert!(is_valid(&member.id));
        assert_eq!(
            text(&police, "select XM from T_RY where SFZH = ?", &member.id),
            [Some(member.name.clone())]
        );
        assert_eq!(
            text(&police, "select DZBM from T_JZ where SFZH = ?", &member.id),
            [Some(home.address_code.clone())]
        );
        let birth = member.birth_date_civil.replace('-', "/");
        assert_eq!(text(&civil, "select csrq from mz_grxx where sfzh = ?", &member.id), [Some(birth)]);
        assert_eq!(text(&civil, "select jt_bh from mz_jzdx where sfzh = ?", &member.id).len(), 1);
        assert_eq!(
            text(&health, "select ins_flg from ins_cov where nat_id = ?", &member.id),
            [Some("Y".to_owned())]
        );
        assert_eq!(text(&health, "select bld_grp from sum_hdr where nat_id = ?", &member.id).len(), 1);
        let sealed = text(&health, "select dx_cd from seal_rec where nat_id = ?", &member.id);
        assert_eq!(sealed.len(), usize::from(member.id == home.wife.id));
        assert!(calls(&city).iter().any(|row| row.get(8) == Some(member.id.as_str())));
    }
    assert_ne!(home.mother.birth_date, home.mother.birth_date_civil);
    let mother =
        city.households().next().unwrap().members.into_iter().find(|person| person.id == home.mother.id);
    assert_eq!(mother.unwrap().age(), 80);
}

#[test]
fn sampled_persons_are_known_to_all_departments() {
    let (_folder, city) = tiny(5);
    let (police, civil) = (database(&city, "police"), database(&city, "civil-affairs"));
    let health = database(&city, "health");
    let rows = calls(&city);
    let sample: Vec<_> = city.persons().take(40).collect();
    assert!(sample.len() >= 10, "{} persons", sample.len());
    for person in sample {
        let id = &person.id;
        assert_eq!(text(&police, "select SFZH from T_RY where SFZH = ?", id).len(), 1);
        assert_eq!(text(&civil, "select sfzh from mz_grxx where sfzh = ?", id).len(), 1);
        assert_eq!(text(&health, "select nat_id from pt_mstr where nat_id = ?", id).len(), 1);
        assert!(rows.iter().any(|row| row.get(8) == Some(id.as_str())), "{id}");
    }
}

#[test]
fn lookups_use_an_index() {
    let (_folder, city) = tiny(5);
    for (member, sql) in [
        ("police", "select XM from T_RY where SFZH in (:id, lower(:id))"),
        ("police", "select JZLX from T_JZ where SFZH in (:id, lower(:id))"),
        (
            "civil-affairs",
            "select zt from mz_hydj where nan_sfzh in (:id, lower(:id)) or nv_sfzh in (:id, lower(:id))",
        ),
        ("health", "select schm_cd from ins_cov where nat_id = :id"),
    ] {
        let db = database(&city, member);
        let plan = text_of_plan(&db, sql);
        assert!(!plan.contains("SCAN"), "{sql}: {plan}");
    }
}

fn text_of_plan(db: &Connection, sql: &str) -> String {
    let mut statement = db.prepare(&format!("explain query plan {sql}")).unwrap();
    let lines = statement
        .query_map([(":id", "980101199001010017")].as_slice(), |row| row.get::<_, String>(3))
        .unwrap();
    lines.map(|line| line.unwrap()).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_bench_record_is_about_one_kibibyte() {
    let folder = tempfile::tempdir().unwrap();
    let bench = build_bench(folder.path(), 2500).unwrap();
    let db = Connection::open(&bench.database).unwrap();
    assert_eq!(count(&db, "select count(*) from REC"), 2500);
    for row in [0, 999, 1000, 2499] {
        assert!(is_valid(&bench.id(row)));
        let json = "select json_object('id_number', ID, 'name', NM, 'given_name', GIVEN, 'surname', FAM, 'sex', SEX,
            'address', ADDR, 'suburb', SUBURB, 'state', STATE, 'postcode', ZIP, 'as_of', UPD) from REC where ID = ?";
        let record = text(&db, json, &bench.id(row));
        let length = record.first().unwrap().as_ref().unwrap().len();
        assert!((950..1100).contains(&length), "{length} bytes");
    }
    assert_eq!(bench.id(0), bench.id(2500));
}
