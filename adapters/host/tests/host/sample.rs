//! `init --sample`: real rows are read only where that is asked for, of as few columns as can be, and no value of them is
//! shown or written but plain codes.

use crate::commands::call;
use crate::lab::{Kind, Lab};
use crate::operate::{around, shown};
use std::path::Path;
use std::time::Duration;
use yiwang_adapter::command::{CONFIG, OK};

/// Rows: names and numbers that must be nowhere, two codes, days as an old program writes them.
fn rows() -> Vec<[String; 5]> {
    let row = |at: usize| {
        let (sex, day) = (1 + at % 2, 1 + at % 28);
        [
            format!("98019919900101{at:04}"),
            format!("canary-{at}"),
            sex.to_string(),
            format!("1990/02/{day:02}"),
            "2026/11/01 08:00:00".to_owned(),
        ]
    };
    (0..40).map(row).collect()
}

/// What was read is in the proposal as formats and codes, on the screen as shapes, and nowhere else.
fn told(file: &Path, said: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    for piece in [text.as_str(), said] {
        assert!(!piece.contains("canary") && !piece.contains("9801991990"), "{piece}");
        assert!(!piece.contains("1990/02/"), "{piece}");
    }
    for line in [
        "rows were read, of `XB`, `CSRQ`, `GXSJ` only, because --sample said so",
        "choose: on the right the word of the catalogue (male, female, other, unknown, not stated); on the left the codes of 40 rows that were read",
        "codes = { \"1\" = \"male\", \"2\" = \"female\", unknown = \"fail\" }",
        "format = \"%Y/%m/%d\" }",
        "format = \"%Y/%m/%d %H:%M:%S\", required = true }",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    for line in [
        "XB: 40 values, `9` 40 times; 2 codes, which the proposal lists",
        "CSRQ: 40 values, `9999/99/99` 40 times; format %Y/%m/%d",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
}

/// What nobody asked to sample says nothing of rows.
fn silent(file: &Path) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains("no row was read") && !text.contains("codes = { \"1\""), "{text}");
}

#[tokio::test]
async fn files_and_a_database_file_are_sampled_only_where_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("register.db");
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection
        .execute_batch("create table T_RY (SFZH char(18) primary key, XM varchar(50), XB char(1), CSRQ varchar(10), GXSJ datetime)")
        .unwrap();
    std::fs::create_dir(folder.path().join("drop")).unwrap();
    let mut lines = "SFZH,XM,XB,CSRQ,GXSJ\n".to_owned();
    for row in rows() {
        connection.execute("insert into T_RY values (?, ?, ?, ?, ?)", row.clone()).unwrap();
        lines.push_str(&format!("{}\n", row.join(",")));
    }
    drop(connection);
    std::fs::write(folder.path().join("drop/people.csv"), lines).unwrap();
    for (name, source) in [
        ("sqlite", &["sqlite", "--path", "register.db", "--table", "T_RY"][..]),
        ("csv", &["csv", "--path", "drop", "--record", "Person"]),
    ] {
        let file = folder.path().join(format!("{name}.toml"));
        let out = shown(&file);
        let asked = [&["init"], source, &["--owner", "police", "-o", &out]].concat();
        let (code, said) = call(&asked, around(&[])).await;
        assert_eq!((code, said.lines().count()), (OK, 2), "{said}");
        silent(&file);
        let (code, said) = call(&[&asked[..], &["--force", "--sample", "1000"]].concat(), around(&[])).await;
        assert_eq!(code, OK, "{said}");
        told(&file, &said);
        let (code, said) = call(&["test", &out], around(&[])).await;
        assert_eq!(code, OK, "{said}");
        // Under twenty rows nothing is told of a column.
        let (code, said) = call(&[&asked[..], &["--force", "--sample", "10"]].concat(), around(&[])).await;
        assert!(
            code == OK
                && said.contains("XB: 10 values, `9` 10 times; nothing that is sure: 20 values tell it"),
            "{said}"
        );
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains("codes = { \"1\"") && !text.contains("%Y/"), "{text}");
    }
    let service =
        ["init", "fhir", "--env", "NOWHERE", "--owner", "health", "-o", "none.toml", "--sample", "5"];
    let (code, said) = call(&service, around(&[])).await;
    assert!(code == CONFIG && said.contains("A-INI-008"), "{said}");
}

/// Statements in a server's log that read the table itself.
async fn reads(lab: &Lab, from: usize, wanted: usize) -> Vec<String> {
    let start = match lab.kind {
        Kind::Postgres => "LOG:  ",
        Kind::Mariadb => "\t",
    };
    let mut found = Vec::new();
    // A log may be written a moment later.
    for _ in 0..50 {
        let log = lab.log();
        let log = log.get(from.min(log.len())..).unwrap_or_default().replace('\n', " ");
        let is_read = |text: &&str| {
            let text = text.to_lowercase().replace(['"', '`'], "");
            let run = text.contains("execute") || lab.kind == Kind::Mariadb && text.starts_with("select");
            run && (text.contains("from ry_sample") || text.contains("from sampled.ry_sample"))
        };
        found = log.split(start).filter(is_read).map(str::to_owned).collect();
        if wanted > 0 && found.len() >= wanted {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_servers_own_log_shows_no_read_without_the_switch_and_one_of_few_columns_with_it() {
    for kind in [Kind::Postgres, Kind::Mariadb] {
        // A server of its own: its log is nobody else's.
        let Some(lab) = Lab::own(kind) else { continue };
        let name = "sampled";
        let (source, quote) = if kind == Kind::Postgres { ("postgres", '"') } else { ("mariadb", '`') };
        lab.admin("postgres", &format!("create database {name};"));
        lab.admin(name, &table(kind, name, quote));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), lab.ca()).unwrap();
        let url = lab.url(name, "pw-sampled", name);
        let settings = [("REGISTER", url.as_str())];
        let file = folder.path().join("person.toml");
        let out = shown(&file);
        let asked = [
            "init",
            source,
            "--env",
            "REGISTER",
            "--ca",
            "ca.pem",
            "--table",
            "RY_SAMPLE",
            "--owner",
            "police",
            "-o",
            &out,
        ];
        let before = lab.log().len();
        let (code, said) = call(&asked, around(&settings)).await;
        assert_eq!(code, OK, "{said}");
        silent(&file);
        // The log is there: it shows how the table was described.
        let described = if kind == Kind::Postgres { "pg_attribute" } else { "ry_sample" };
        let log = lab.log();
        assert!(log.get(before..).unwrap().to_lowercase().contains(described), "{log}");
        assert_eq!(reads(&lab, before, 0).await, Vec::<String>::new());
        let (code, said) =
            call(&[&asked[..], &["--force", "--sample", "100"]].concat(), around(&settings)).await;
        assert_eq!(code, OK, "{said}");
        told(&file, &said);
        let found = reads(&lab, before, 1).await;
        assert!(!found.is_empty(), "{}", lab.log());
        for statement in &found {
            assert!(
                statement.contains("XB") && !statement.contains("XM") && !statement.contains("SFZH"),
                "{statement}"
            );
        }
    }
}

/// A table with rows, and a role that may read it.
fn table(kind: Kind, name: &str, quote: char) -> String {
    let q = |name: &str| format!("{quote}{name}{quote}");
    let table = q("RY_SAMPLE");
    let mut sql = format!(
        "create table {table} ({} char(18) primary key, {} varchar(50), {} varchar(1), {} varchar(10), {} varchar(30));\n",
        q("SFZH"),
        q("XM"),
        q("XB"),
        q("CSRQ"),
        q("GXSJ"),
    );
    for row in rows() {
        sql.push_str(&format!("insert into {table} values ('{}');\n", row.join("', '")));
    }
    sql.push_str(&match kind {
        Kind::Postgres => {
            format!("create role {name} login password 'pw-{name}'; grant select on {table} to {name};")
        }
        Kind::Mariadb => format!(
            "create user {name}@'%' identified by 'pw-{name}'; grant select on {name}.{table} to {name}@'%';"
        ),
    });
    sql
}
