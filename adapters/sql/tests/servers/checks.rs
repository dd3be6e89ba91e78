//! What the live check says, and roles that can write.

use crate::lab::{Kind, Lab};
use crate::{People, name_of, query, quoted, select};
use yiwang_adapter_sdk::check::{Finding, Level, check};
use yiwang_adapter_sdk::compliance;
use yiwang_adapter_sdk::source::SourceError;

async fn findings(people: &People<'_>, text: &str) -> Vec<Finding> {
    let (mapping, source) = people.open_text(text);
    check(&mapping, Level::Live { source: source.as_ref(), now_ms: compliance::NOW_MS }).await
}

fn with(findings: &[Finding], code: &str) -> Vec<String> {
    findings.iter().filter(|finding| finding.code == code).map(|finding| finding.message.clone()).collect()
}

pub async fn finds(lab: &Lab) {
    let people = People::new(lab, "finds");
    fill(lab);
    let person = quoted(lab.kind, "PERSON");
    let sound = findings(&people, &people.text).await;
    let proved = with(&sound, "A-SQL-010");
    assert!(proved.iter().all(|text| text.contains("finds")) && proved.len() == 1, "{sound:?}");
    for code in [
        "A-SQL-002",
        "A-SQL-003",
        "A-SQL-006",
        "A-SQL-008",
        "A-SQL-012",
        "A-SQL-016",
        "A-SQL-017",
        "A-SQL-020",
        "A-SQL-021",
    ] {
        assert_eq!(with(&sound, code), Vec::<String>::new(), "{sound:?}");
    }
    let by_id = select(lab.kind, "ID", ":id");
    let scan = findings(&people, &people.text.replace(&by_id, &select(lab.kind, "NM", ":id"))).await;
    assert_eq!(with(&scan, "A-SQL-008"), ["operation person.by_id: reads `PERSON` in full"], "{scan:?}");
    let column = people.text.replace("from = \"AMT\"", "from = \"AMOUNT\"");
    let missing = findings(&people, &column).await;
    assert_eq!(
        with(&missing, "A-SQL-003"),
        [
            "operation person.by_id: the statement gives no column `AMOUNT`",
            "operation person.by_area: the statement gives no column `AMOUNT`"
        ]
    );
    assert_eq!(
        with(&missing, "A-SQL-005").first().map(String::as_str),
        Some("operation person.by_id: column `AMT` is selected and no field uses it")
    );
    let other = quoted(lab.kind, "PERSONS");
    let table = findings(&people, &people.text.replace(&by_id, &by_id.replace(&person, &other))).await;
    let said = with(&table, "A-SQL-002");
    assert!(
        said.len() == 1 && said.iter().all(|text| text.contains("PERSONS") || text.contains("is not there")),
        "{table:?}"
    );
    let image = by_id.replace(
        &quoted(lab.kind, "AMT"),
        &format!("{} as {}", quoted(lab.kind, "IMG"), quoted(lab.kind, "AMT")),
    );
    let binary = findings(&people, &people.text.replace(&by_id, &image)).await;
    assert!(
        with(&binary, "A-SQL-016").iter().all(|text| text.contains("column `AMT` is of type"))
            && !with(&binary, "A-SQL-016").is_empty(),
        "{binary:?}"
    );
    numbers(&people).await;
    tiny(&people, &by_id).await;
}

/// Enough rows that a plan is no matter of taste, and a column that no field can take.
fn fill(lab: &Lab) {
    let person = quoted(lab.kind, "PERSON");
    lab.admin(
        "finds",
        &match lab.kind {
            Kind::Postgres => format!(
                "insert into {person} (\"ID\", \"NM\") select 'F' || i, 'x' from generate_series(1, 5000) i; \
                 alter table {person} add column \"IMG\" bytea; analyze {person};"
            ),
            Kind::Mariadb => format!(
                "insert into {person} (ID, NM) select concat('F', seq), 'x' from seq_1_to_5000; \
                 alter table {person} add column IMG blob; analyze table {person};"
            ),
        },
    );
}

/// A number where the column is a text: no index serves.
async fn numbers(people: &People<'_>) {
    let lab = people.lab;
    let number = people
        .text
        .replace("subject = \"id\"\n", "")
        .replace("{ type = \"string\", pattern = \"[A-Z][0-9]{1,4}\" }", "{ type = \"integer\" }");
    let unfit = findings(people, &number).await;
    match lab.kind {
        Kind::Postgres => assert_eq!(
            with(&unfit, "A-SQL-017"),
            ["operation person.by_id: parameter :id is compared with a column of type bpchar"],
            "{unfit:?}"
        ),
        Kind::Mariadb => assert_eq!(
            with(&unfit, "A-SQL-008"),
            ["operation person.by_id: reads `PERSON` in full"],
            "{unfit:?}"
        ),
    }
}

/// A table that has hardly a row today, and will have many: what counts is whether an index serves.
async fn tiny(people: &People<'_>, by_id: &str) {
    let (kind, person) = (people.lab.kind, quoted(people.lab.kind, "PERSON"));
    people.lab.admin(
        people.name,
        &match kind {
            Kind::Postgres => format!(
                "create table tiny (like {person} including indexes); \
                 insert into tiny select * from {person} where \"ID\" = 'P1'; \
                 analyze tiny; grant select on tiny to {};",
                people.name
            ),
            Kind::Mariadb => format!(
                "create table tiny like PERSON; insert into tiny select * from PERSON where ID in ('P1', 'P2'); \
                 analyze table tiny; grant select on {0}.tiny to {0}@'%';",
                people.name
            ),
        },
    );
    let small = people.text.replace(by_id, &by_id.replace(&person, "tiny"));
    let said = findings(people, &small).await;
    assert_eq!(with(&said, "A-SQL-008"), Vec::<String>::new(), "{said:?}");
    let by_name = select(kind, "NM", ":id").replace(&person, "tiny");
    let said = findings(people, &people.text.replace(by_id, &by_name)).await;
    assert_eq!(with(&said, "A-SQL-008"), ["operation person.by_id: reads `tiny` in full"], "{said:?}");
    // PostgreSQL prepares what the role may not read, and refuses only when it is asked.
    people.lab.admin(
        people.name,
        &match kind {
            Kind::Postgres => format!("revoke select on tiny from {}", people.name),
            Kind::Mariadb => format!("revoke select on {0}.tiny from {0}@'%'", people.name),
        },
    );
    let said = findings(people, &small).await;
    let code = if kind == Kind::Postgres { "A-SQL-018" } else { "A-SQL-002" };
    assert_eq!(with(&said, code).len(), 1, "{said:?}");
}

/// A right that lets a role write, how it is taken away again, what is said of it.
type Right = (&'static str, &'static str, &'static str);

fn rights(kind: Kind) -> Vec<Right> {
    match kind {
        Kind::Postgres => postgres_rights(),
        Kind::Mariadb => mariadb_rights(),
    }
}

fn postgres_rights() -> Vec<Right> {
    vec![
        ("grant insert on canary to writers", "revoke insert on canary from writers", "insert on canary"),
        (
            "grant update (a) on canary to writers",
            "revoke update (a) on canary from writers",
            "update on canary",
        ),
        ("grant truncate on canary to public", "revoke truncate on canary from public", "truncate on canary"),
        ("alter table canary owner to writers", "alter table canary owner to postgres", "it owns canary"),
        (
            "grant create on schema public to public",
            "revoke create on schema public from public",
            "create in schema public",
        ),
        (
            "grant create on database writers to writers",
            "revoke create on database writers from writers",
            "create in database writers",
        ),
        ("alter role writers superuser", "alter role writers nosuperuser", "role writers is a superuser"),
        ("alter role writers createrole", "alter role writers nocreaterole", "role writers may make roles"),
        (
            "grant pg_write_all_data to writers",
            "revoke pg_write_all_data from writers",
            "it is in pg_write_all_data",
        ),
        (
            "grant pg_execute_server_program to writers",
            "revoke pg_execute_server_program from writers",
            "it is in pg_execute_server_program",
        ),
        (
            "create role deputy noinherit; grant delete on canary to deputy; alter role writers noinherit; grant deputy to writers",
            "revoke deputy from writers",
            "delete on canary",
        ),
        (
            "create sequence s; grant usage on sequence s to writers",
            "revoke usage on sequence s from writers",
            "next value of s",
        ),
    ]
}

fn mariadb_rights() -> Vec<Right> {
    vec![
        (
            "grant delete on writers.canary to public",
            "revoke delete on writers.canary from public",
            "delete on writers.canary",
        ),
        (
            "grant insert on writers.canary to writers@'%'",
            "revoke insert on writers.canary from writers@'%'",
            "insert on writers.canary",
        ),
        (
            "grant update (a) on writers.canary to writers@'%'",
            "revoke update (a) on writers.canary from writers@'%'",
            "update on writers.canary",
        ),
        (
            "grant create temporary tables on writers.* to writers@'%'",
            "revoke create temporary tables on writers.* from writers@'%'",
            "create temporary tables on writers.*",
        ),
        ("grant file on *.* to writers@'%'", "revoke file on *.* from writers@'%'", "file on *.*"),
        (
            "grant all privileges on *.* to writers@'%'",
            "revoke all privileges on *.* from writers@'%'",
            "all privileges on *.*",
        ),
        (
            "create role deputy; grant delete on writers.canary to deputy; grant deputy to writers@'%'",
            "revoke deputy from writers@'%'",
            "delete on writers.canary",
        ),
        (
            "grant select on writers.canary to writers@'%' with grant option",
            "revoke grant option on writers.canary from writers@'%'",
            "giving away rights on writers.canary",
        ),
    ]
}

pub async fn writers(lab: &Lab) {
    let people = People::new(lab, "writers");
    let mapped = people.mapped();
    assert_eq!(name_of(&mapped, "P1").await.unwrap().rows, 1);
    for (give, take, told) in rights(lab.kind) {
        lab.admin("writers", give);
        // Open connections are looked at again by the probe, and nothing is served until the right is gone.
        let error = mapped.source().probe().await.unwrap_err().to_string();
        assert!(error.contains("can write: ") && error.contains(told), "{give}: {error}");
        assert!(error.contains("a role of its own"), "{error}");
        let refused = name_of(&mapped, "P1").await.unwrap_err();
        assert!(refused.detail.contains("can write"), "{give}: {refused}");
        assert!(!refused.clause.contains("write"), "{refused}");
        // So it is from the start.
        let (mapping, fresh) = people.open();
        let error = fresh.fetch(query(&mapping, "P1", &["NM"])).await.unwrap_err();
        assert!(matches!(error, SourceError::Unavailable(_)), "{error}");
        let said = findings(&people, &people.text).await;
        assert!(with(&said, "A-SQL-012").iter().any(|text| text.contains(told)), "{give}: {said:?}");
        lab.admin("writers", take);
        // A pause lies between two tries.
        tokio::time::sleep(std::time::Duration::from_millis(600)).await;
        mapped.source().probe().await.unwrap_or_else(|error| panic!("{take}: {error}"));
        assert_eq!(name_of(&mapped, "P1").await.unwrap().rows, 1, "{take}");
    }
    // A role that reads through another is none that writes.
    lab.admin(
        "writers",
        match lab.kind {
            Kind::Postgres => {
                "create role reader; grant select on \"PERSON\" to reader; alter role writers inherit; \
                           revoke select on \"PERSON\" from writers; grant reader to writers"
            }
            Kind::Mariadb => {
                "create role reader; grant select on writers.PERSON to reader; \
                          revoke select on writers.PERSON from writers@'%'; grant reader to writers@'%'; \
                          set default role reader for writers@'%'"
            }
        },
    );
    let through = people.mapped();
    for _ in 0..3 {
        through.source().probe().await.unwrap();
        assert_eq!(name_of(&through, "P1").await.unwrap().rows, 1);
    }
}
