//! `init`: what it proposes holds, from the first check to the live one, and holds no row.

use crate::commands::call;
use crate::fhir_double::{self, Double};
use crate::lab::{Kind, Lab};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use yiwang_adapter::command::{CONFIG, ENVIRONMENT, OK};
use yiwang_adapter::run::Surroundings;
use yiwang_proto::ambient::{SystemClock, SystemEntropy};
use yiwang_tests::member::Settings;

/// Values that stand in rows, and so in nothing that is proposed.
const ROWS: [&str; 3] = ["canary-name", "980101199001015555", "canary-street"];

fn around(settings: &[(&str, &str)]) -> Surroundings {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Surroundings {
        clock: Arc::new(SystemClock::default()),
        entropy: Arc::new(SystemEntropy),
        environment: Arc::new(Settings(settings.collect())),
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Checks, tests and, live, checks a proposal that nobody edited.
async fn holds(file: &Path, settings: &[(&str, &str)]) -> String {
    let path = shown(file);
    let text = std::fs::read_to_string(file).unwrap();
    assert!(ROWS.iter().all(|value| !text.contains(value)), "{text}");
    let (code, said) = call(&["check", "--offline", &path], around(&[])).await;
    assert_eq!(code, OK, "{said}{text}");
    // What is for somebody to decide is told, line by line, and hinders nothing.
    let open = text.lines().filter(|line| line.contains("choose: ")).count();
    // So is what is handed on as it stands where the catalogue has a list, and what is asked about a subject and has none.
    let warnings =
        open + ["A-MAP-015 ", "A-MAP-016 "].map(|code| said.matches(code).count()).iter().sum::<usize>();
    let warnings = if warnings == 1 { "1 warning\n".to_owned() } else { format!("{warnings} warnings\n") };
    assert!(said.contains(&format!("0 errors, {warnings}")), "{said}{text}");
    assert_eq!(said.matches("A-MAP-014 ").count(), open, "{said}");
    for (_, what) in text.lines().filter_map(|line| line.split_once("choose: ")) {
        let begins: String = what.chars().take(40).collect();
        assert!(said.contains(&format!("a choice is still open: {begins}")), "{what}\n{said}");
    }
    let (code, said) = call(&["test", &path], around(&[])).await;
    assert!(code == OK && said.contains("0 failed") && !said.contains("no tests"), "{said}{text}");
    let (code, said) = call(&["check", &path], around(settings)).await;
    assert_eq!(code, OK, "{said}{text}");
    assert!(said.contains("✓ live"), "{said}");
    text
}

/// A screen shows all of it that counts.
fn is_short(text: &str) {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
    assert!(lines <= 30, "{lines} lines\n{text}");
}

pub(crate) fn sqlite(folder: &Path) -> PathBuf {
    let path = folder.join("register.db");
    let database = rusqlite::Connection::open(&path).unwrap();
    database
        .execute_batch(
            "create table T_RY (SFZH char(18) primary key, XM varchar(50), XB char(1), CSRQ char(8), MINZU char(2),
               XZQH char(6), DZ varchar(200), BZXX blob, GXSJ datetime);
             create table widget (a integer primary key, label varchar(40), made date);
             create table zhongdian_renyuan (SFZH char(18) primary key, XM varchar(50));
             insert into T_RY values ('980101199001015555', 'canary-name', '1', '19900101', '01', '980101',
               'canary-street', null, '2026-11-01 08:00:00');",
        )
        .unwrap();
    path
}

#[tokio::test]
async fn a_table_whose_columns_have_known_names_is_mapped_without_an_edit() {
    let folder = tempfile::tempdir().unwrap();
    let database = shown(&sqlite(folder.path()));
    let settings = [("REGISTER_DB", database.as_str())];
    let file = folder.path().join("person.toml");
    let out = shown(&file);
    let asked =
        ["init", "sqlite", "--env", "REGISTER_DB", "--table", "T_RY", "--owner", "police", "-o", &out];
    let (code, said) = call(&asked, around(&settings)).await;
    assert_eq!(code, OK, "{said}");
    let text = holds(&file, &settings).await;
    for line in [
        "record = \"Person\"",
        "path = { env = \"REGISTER_DB\" }",
        "name = { from = \"XM\", type = \"string\", steps = [\"trim\", \"nfc\"] } # class 2: full name",
        "birth_date = { from = \"CSRQ\", type = \"date\", format = \"%Y%m%d\" }",
        "sex = { from = \"XB\", type = \"code\", codes = { \"male\" = \"male\", \"female\" = \"female\", ",
        "choose: on the left the code of the source for each word of the catalogue (male, female, ",
        "# With the codes of `sex`, `area_code` change the test: a code in `rows`, its word in `expect`.\n[[test]]",
        "\"XB\" = \"male\"",
        "sex = \"male\"",
        "params.id = { type = \"string\", pattern = \"^[0-9]{17}[0-9X]$\" }",
        "where \"SFZH\" in (:id, lower(:id))",
        "limit = 1",
        "as_of = { from = \"GXSJ\", type = \"timestamp\", required = true }",
        "# MINZU: refused by rule N7",
        "# FIELD = { from = \"BZXX\"",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("from = \"MINZU\"") && !text.contains(&database), "{text}");
    is_short(&text);
    // What is there is not written over, unless that is said.
    let (code, said) = call(&asked, around(&settings)).await;
    assert!(code == CONFIG && said.starts_with("A-INI-007 ") && said.contains("--force"), "{said}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    let (code, _) = call(&[&asked[..], &["--force"]].concat(), around(&settings)).await;
    assert_eq!((code, std::fs::read_to_string(&file).unwrap()), (OK, text.clone()));
    // To standard output it is the same text.
    let (code, said) = call(&asked[..8], around(&settings)).await;
    assert_eq!((code, said), (OK, text));
}

#[tokio::test]
async fn what_cannot_be_told_is_left_to_choose_and_what_is_refused_is_not_proposed() {
    let folder = tempfile::tempdir().unwrap();
    let database = shown(&sqlite(folder.path()));
    let settings = [("REGISTER_DB", database.as_str())];
    let init = async |more: &[&str]| {
        let asked = ["init", "sqlite", "--env", "REGISTER_DB", "--owner", "works"];
        call(&[&asked[..], more].concat(), around(&settings)).await
    };
    let (code, said) = init(&[]).await;
    assert!(code == CONFIG && said.starts_with("A-INI-001 --table names nothing"), "{said}");
    assert!(said.contains("`T_RY`, `widget`"), "{said}");
    // Capitals alone are no other table, and a proposal that is written to a file says whose it is.
    let file = folder.path().join("folded.toml");
    let (code, said) = init(&["--table", "t_ry", "-o", &shown(&file)]).await;
    assert!(code == OK && said.contains("table `T_RY` was taken for --table t_ry"), "{said}");
    assert!(std::fs::read_to_string(&file).unwrap().contains("from \"T_RY\""));
    let (code, said) = init(&["--table", "T_RY", "-o", &shown(&file), "--force"]).await;
    assert!(code == OK && !said.contains("was taken for"), "{said}");
    let (code, said) = init(&["--table", "t_ri"]).await;
    assert!(code == CONFIG && said.contains("did you mean `T_RY`?"), "{said}");
    let (code, said) = init(&["--table", "T_RY", "--time-zone", "Asia/Shangai"]).await;
    assert!(code == CONFIG && said.contains("--time-zone: `Asia/Shangai`"), "{said}");
    // Also among more tables than are listed.
    let more: String = (0..600).map(|number| format!("create table A{number:03} (a int);\n")).collect();
    rusqlite::Connection::open(&database).unwrap().execute_batch(&format!("begin; {more} commit")).unwrap();
    let (code, said) = init(&["--table", "t_ry", "-o", &shown(&file), "--force"]).await;
    assert!(code == OK && said.contains("table `T_RY` was taken for --table t_ry"), "{said}");
    let (code, said) = init(&["--table", "T_RY", "--record", "Persom"]).await;
    assert!(
        code == CONFIG && said.contains("A-INI-003") && said.contains("did you mean `Person`?"),
        "{said}"
    );
    let (code, said) = init(&["--table", "zhongdian_renyuan"]).await;
    assert!(code == CONFIG && said.contains("A-INI-002") && said.contains("rule N3"), "{said}");
    let (code, said) = call(
        &["init", "sqlite", "--env", "NOWHERE", "--owner", "works", "--table", "T_RY"],
        around(&settings),
    )
    .await;
    assert!(code == ENVIRONMENT && said.contains("`NOWHERE` is not set"), "{said}");
    let (code, said) = call(
        &["init", "postgres", "--path", "postgres://r:hunter2@h/d", "--owner", "works"],
        around(&settings),
    )
    .await;
    assert!(code == CONFIG && said.contains("A-INI-005") && !said.contains("hunter2"), "{said}");
    // No record is called like this: the user says which, and uncomments what is meant.
    let (code, text) = init(&["--table", "widget"]).await;
    assert_eq!(code, OK, "{text}");
    let file = folder.path().join("widget.toml");
    std::fs::write(&file, &text).unwrap();
    let (code, said) = call(&["check", "--offline", &shown(&file)], around(&[])).await;
    assert!(code == CONFIG && said.contains("A-MAP-003"), "{said}{text}");
    assert!(said.contains("help: `yiwang catalogue list` names those that there are"), "{said}");
    assert!(
        text.contains("choose = { from = \"label\", type = \"string\" } # varchar(40); choose: "),
        "{text}"
    );
    assert!(text.contains("# FIELD = { from = \"made\", type = \"string\" }"), "{text}");
    let edited = text.replace("record = \"Choose\"", "record = \"Organisation\"");
    let edited = edited.replace("choose = {", "name = {").replace("{ choose = \"x\" }", "{ name = \"x\" }");
    std::fs::write(&file, &edited).unwrap();
    let (code, said) = call(&["check", &shown(&file)], around(&settings)).await;
    assert_eq!(code, OK, "{said}{edited}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_servers_are_mapped_by_their_names_and_comments() {
    for lab in [Kind::Postgres, Kind::Mariadb].into_iter().filter_map(Lab::shared) {
        let name = "proposed";
        let (source, database) = match lab.kind {
            Kind::Postgres => ("postgres", format!("create database {name};")),
            Kind::Mariadb => ("mariadb", format!("create database {name} character set utf8mb4;")),
        };
        lab.admin("postgres", &database);
        lab.admin(name, &(many(lab.kind) + &tables(lab.kind, name)));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), lab.ca()).unwrap();
        let url = lab.url(name, "pw-proposed", name);
        let settings = [("REGISTER", url.as_str())];
        let file = folder.path().join("person.toml");
        let out = shown(&file);
        let asked =
            ["init", source, "--env", "REGISTER", "--ca", "ca.pem", "--table", "RY_XX", "--owner", "police"];
        let (code, said) = call(&[&asked[..], &["-o", &out]].concat(), around(&settings)).await;
        assert_eq!(code, OK, "{said}");
        let text = holds(&file, &settings).await;
        for line in [
            "record = \"Person\"",
            "sex = { from = \"XB\", type = \"code\", codes = { \"M\" = \"male\", \"F\" = \"female\", unknown = \"fail\" } }",
            "choose: on the right the word of the catalogue (male, female, other, unknown, not stated)",
            "birth_date = { from = \"RQ\", type = \"date\" }",
            "name = { from = \"C2\", type = \"string\", steps = [\"trim\", \"nfc\"] }",
            "id_number = { from = \"C1\", type = \"string\", steps = [\"trim\", \"upper\"] }",
            "as_of = { from = \"UPD_TIME\", type = \"timestamp\", required = true }",
            if lab.kind == Kind::Postgres {
                "where \"C1\" in (:id, cast(lower(cast(:id as character(18))) as character(18)))"
            } else {
                "where `C1` in (:id, lower(:id))"
            },
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        is_short(&text);
        // Programs write names without quotes, so with other capitals than the catalogue has.
        let folded: Vec<&str> =
            asked.iter().map(|word| if *word == "RY_XX" { "Ry_xX" } else { *word }).collect();
        let (code, said) = call(&[&folded[..], &["-o", &out, "--force"]].concat(), around(&settings)).await;
        assert!(code == OK && said.contains("table `RY_XX` was taken for --table Ry_xX"), "{said}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        // Of two that differ by nothing else none is taken.
        let two: Vec<&str> = asked.iter().map(|word| if *word == "RY_XX" { "twin" } else { *word }).collect();
        let (code, said) = call(&[&two[..], &["-o", &out, "--force"]].concat(), around(&settings)).await;
        assert!(code == CONFIG && said.contains("A-INI-001 --table names `twin`"), "{said}");
        assert!(
            said.contains("did you mean `T") && said.contains("`TWIN`") && said.contains("`Twin`"),
            "{said}"
        );
        // The role that may write is refused before anything is read.
        let to = if lab.kind == Kind::Postgres { name.to_owned() } else { format!("{name}@'%'") };
        let table = if lab.kind == Kind::Postgres { "\"RY_XX\"" } else { "`RY_XX`" };
        lab.admin(name, &format!("grant insert on {table} to {to}"));
        let again = [&asked[..], &["-o", &out, "--force"]].concat();
        let (code, said) = call(&again, around(&settings)).await;
        assert!(code == ENVIRONMENT && said.contains("can write: insert on "), "{said}");
        assert!(said.contains("what PUBLIC was granted counts"), "{said}");
        // It is there, and told apart from one that is not; what to do is a line to copy.
        assert!(said.starts_with("A-INI-006 role `") && !said.contains("unavailable"), "{said}");
        let grant = format!("grant select on {table} to yiwang_adapter");
        assert!(said.contains(&grant) && said.contains("proposes nothing"), "{said}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    }
}

/// More tables than are listed, before the others in their order: an old program has thousands.
fn many(kind: Kind) -> String {
    let (quote, engine) = if kind == Kind::Postgres { ('"', "") } else { ('`', " engine = memory") };
    (0..600).map(|number| format!("create table {quote}A{number:03}{quote} (a int){engine};\n")).collect()
}

/// A table whose columns say in comments what they are, and a role that may read it.
fn tables(kind: Kind, name: &str) -> String {
    match kind {
        Kind::Postgres => format!(
            "create type sex as enum ('M', 'F');
             create table \"RY_XX\" (nr serial primary key, \"C1\" char(18), \"C2\" varchar(60), \"XB\" sex, \"RQ\" date,
               \"UPD_TIME\" timestamp);
             create index by_c1 on \"RY_XX\" (\"C1\");
             comment on column \"RY_XX\".\"C1\" is '身份证号码';
             comment on column \"RY_XX\".\"C2\" is '姓名（全名）';
             comment on column \"RY_XX\".\"RQ\" is '出生日期';
             insert into \"RY_XX\" values (1, '980101199001015555', 'canary-name', 'M', '1990-01-01', '2026-11-01 08:00:00');
             create table \"Twin\" (a int);
             create table \"TWIN\" (a int);
             create role {name} login password 'pw-{name}';
             grant select on all tables in schema public to {name};"
        ),
        Kind::Mariadb => format!(
            "create table `RY_XX` (nr int primary key auto_increment, `C1` char(18) comment '身份证号码',
               `C2` varchar(60) comment '姓名（全名）', `XB` enum('M','F'), `RQ` date comment '出生日期', `UPD_TIME` datetime,
               index by_c1 (`C1`));
             insert into `RY_XX` values (1, '980101199001015555', 'canary-name', 'M', '1990-01-01', '2026-11-01 08:00:00');
             create table `Twin` (a int);
             create table `TWIN` (a int);
             create user {name}@'%' identified by 'pw-{name}';
             grant select on {name}.* to {name}@'%';"
        ),
    }
}

#[tokio::test]
async fn a_folder_of_files_is_mapped_by_its_header_in_its_encoding() {
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("drop");
    std::fs::create_dir(&files).unwrap();
    // 接警编号 is no known name; in GBK, as the old program writes it.
    let (text, _, _) = encoding_rs::GBK.encode(
        "CALL_NO,类型,状态,报警时间,地点,宗教,更新时间\n\
         canary-name,JJ,ZP,2026-11-01 08:00:00,canary-street,x,2026-11-01 08:00:00\n",
    );
    std::fs::write(files.join("calls-2026-11.csv"), &text).unwrap();
    let file = folder.path().join("incident.toml");
    let out = shown(&file);
    let asked = [
        "init",
        "csv",
        "--path",
        "drop",
        "--files",
        "calls-*.csv",
        "--key",
        "CALL_NO",
        "--owner",
        "emergency-call",
        "-o",
        &out,
    ];
    let (code, said) = call(&asked, around(&[])).await;
    assert_eq!(code, OK, "{said}");
    let text = holds(&file, &[]).await;
    for line in [
        "record = \"Incident\"",
        "encoding = \"gbk\"",
        "folder = \"drop\"",
        "where = { \"CALL_NO\" = \":id\" }",
        "opened_at = { from = \"报警时间\", type = \"timestamp\" }",
        "# 宗教: refused by rule N7",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn dwellings_with_their_holders_number_are_found_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("drop");
    std::fs::create_dir(&files).unwrap();
    let header = "房屋编号,地址编码,房屋用途,楼层数,有无电梯,身份证号,更新时间\n\
                  H1,canary-street,1101,6,1,980101199001015555,2026-11-01 08:00:00\n";
    std::fs::write(files.join("houses-1.csv"), header).unwrap();
    // As the README writes it: beside a folder of mappings that is not there yet.
    let file = folder.path().join("m/mappings/dwelling.toml");
    let out = shown(&file);
    let asked = [
        "init",
        "csv",
        "--path",
        "../../drop",
        "--files",
        "houses-*.csv",
        "--owner",
        "housing",
        "--record",
        "Dwelling",
    ];
    let (code, said) = call(&[&asked[..], &["-o", &out]].concat(), around(&[])).await;
    assert_eq!(code, OK, "{said}");
    let text = holds(&file, &[]).await;
    for line in [
        "name = \"dwelling.by_person\"",
        "subject = \"id\"",
        "where = { \"身份证号@id\" = \":id\" }",
        "use = { from = \"房屋用途\"",
        "floors = { from = \"楼层数\", type = \"integer\" }",
        "lift = { from = \"有无电梯\", type = \"bool\" }",
        "\ncolumns = [\"房屋编号\", \"地址编码\", \"房屋用途\", \"楼层数\", \"有无电梯\", \"身份证号\", \"更新时间\"]\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    is_short(&text);
    // By another column it is a house that is looked up, and nobody.
    let by_house = [&asked[..], &["--key", "房屋编号", "-o", &out, "--force"]].concat();
    let (code, said) = call(&by_house, around(&[])).await;
    assert_eq!(code, OK, "{said}");
    let text = holds(&file, &[]).await;
    assert!(text.contains("dwelling.by_id") && !text.contains("\nsubject ="), "{text}");
    // Apps name one to whatever is called so: what to write is a line that only has to be let in.
    let line = "# subject = \"id\" # choose: apps ask dwelling.by_id about one person or thing: ";
    assert!(text.contains(line) && text.contains("--key and a column that does: "), "{text}");
    assert!(call(&["check", "--offline", &out], around(&[])).await.1.contains("A-MAP-016 "), "{text}");
    std::fs::write(&file, text.replace("# subject =", "subject =")).unwrap();
    let (code, said) = call(&["check", "--offline", &out], around(&[])).await;
    assert!(code == OK && !said.contains("A-MAP-016 "), "{said}");
    // A number that is known by the end of its name only is one to confirm.
    let header = "房屋编号,楼层数,持证人身份证号,更新时间\nH1,6,980101199001015555,2026-11-01 08:00:00\n";
    std::fs::write(files.join("houses-1.csv"), header).unwrap();
    let (code, said) = call(&[&asked[..], &["-o", &out, "--force"]].concat(), around(&[])).await;
    assert_eq!(code, OK, "{said}");
    let text = holds(&file, &[]).await;
    assert!(text.contains("\nsubject = \"id\" # choose: does `持证人身份证号` hold "), "{text}");
    assert!(text.contains("where = { \"持证人身份证号@id\" = \":id\" }"), "{text}");
    // A header that is too long for a line goes on in the next ones.
    let long: Vec<String> = (1..=20).map(|number| format!("房屋的附加说明{number}")).collect();
    let header = format!("{},身份证号,更新时间\n", long.join(","));
    std::fs::write(files.join("houses-1.csv"), header).unwrap();
    let (code, said) = call(&[&asked[..], &["-o", &out, "--force"]].concat(), around(&[])).await;
    assert_eq!(code, OK, "{said}");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("\ncolumns = [\n  \"房屋的附加说明1\", ") && text.contains(",\n]\n"), "{text}");
}

#[tokio::test]
async fn an_authority_that_is_not_there_is_told_with_the_place_where_it_was_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let out = shown(&folder.path().join("mappings/person.toml"));
    let settings = [("REGISTER", "postgres://role:pw-canary@register.example/people")];
    let asked = ["init", "postgres", "--env", "REGISTER", "--ca", "ca.pem", "--owner", "police", "-o", &out];
    let (code, said) = call(&asked, around(&settings)).await;
    let looked = shown(&folder.path().join("mappings/ca.pem"));
    assert!(code == ENVIRONMENT && said.starts_with("A-INI-006 ") && said.contains(&looked), "{said}");
    assert!(!said.contains("pw-canary"), "{said}");
}

#[tokio::test]
async fn a_call_of_an_openapi_document_is_mapped() {
    let folder = tempfile::tempdir().unwrap();
    let document = yiwang_tests::departments().join("gas/openapi.json");
    std::fs::copy(document, folder.path().join("openapi.json")).unwrap();
    let file = folder.path().join("connection.toml");
    let out = shown(&file);
    let asked =
        ["init", "http", "--env", "GAS_API", "--openapi", "openapi.json", "--owner", "gas", "-o", &out];
    let (code, said) = call(&asked, around(&[])).await;
    assert!(code == CONFIG && said.contains("A-INI-001 --call names nothing"), "{said}");
    assert!(said.contains("`POST /v2/meters/search`"), "{said}");
    let asked = [&asked[..], &["--call", "POST /v2/meters/search"]].concat();
    let (code, said) = call(&asked, around(&[])).await;
    assert_eq!(code, OK, "{said}");
    let text = std::fs::read_to_string(&file).unwrap();
    // The document lists codes, and nobody but the department knows which of the catalogue's words each is.
    let (code, said) = call(&["check", "--offline", &out], around(&[])).await;
    assert!(code == CONFIG && said.contains("A-MAP-012") && said.contains("1 error,"), "{said}{text}");
    let mut chosen = text.clone();
    for (code, word) in [("NEW", "applied"), ("ON", "connected"), ("OFF", "closed")] {
        chosen = chosen.replace(&format!("\"{code}\" = \"{code}\""), &format!("\"{code}\" = \"{word}\""));
    }
    std::fs::write(&file, chosen.replace("state = \"NEW\"", "state = \"applied\"")).unwrap();
    let (code, said) = call(&["check", "--offline", &out], around(&[])).await;
    assert_eq!(code, OK, "{said}{text}");
    let (code, said) = call(&["test", &out], around(&[])).await;
    assert_eq!(code, OK, "{said}{text}");
    for line in [
        "record = \"UtilityConnection\"",
        "body = { \"holder\" = { \"national_id\" = \":id\" } }",
        "rows = \"/meters\"",
        "address_code = { pointer = \"/address/code\", type = \"string\" }",
        "applied_on = { pointer = \"/applied\", type = \"date\" }",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fhir_servers_declaration_becomes_searches() {
    let Some(patients) = fhir_double::patients() else { return };
    let Some(server) = Double::start(&patients, &[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("summary.toml");
    let (out, url) = (shown(&file), server.url());
    let settings = [("FHIR_BASE_URL", url.as_str())];
    let asked =
        ["init", "fhir", "--env", "FHIR_BASE_URL", "--owner", "health", "--time-zone", "UTC", "-o", &out];
    let (code, said) = call(&asked, around(&settings)).await;
    assert_eq!(code, OK, "{said}");
    // Nothing but the declaration was asked for.
    let lines = server.lines();
    assert!(lines.iter().all(|line| line.contains("/metadata")), "{lines:?}");
    let text = holds(&file, &settings).await;
    for line in
        ["resource = \"Condition\"", "problems = { pointer = \"/code/text\"", "\"urn:national-id|:id\""]
    {
        assert!(text.contains(line), "{line}\n{text}");
    }
}
