//! Keys of batches: only what a server compares as it stands can be gone on after.

use crate::lab::{Kind, Lab};
use crate::{People, quoted, source_section};
use std::sync::Arc;
use std::time::Duration;
use yiwang_adapter_sdk::check::{Finding, Level, Severity, check};
use yiwang_adapter_sdk::compliance;
use yiwang_adapter_sdk::mapping::Mapping;
use yiwang_adapter_sdk::source::{FetchQuery, Page, Source, SourceError};
use yiwang_adapter_sdk::value::{Cell, TEXT_MAX};
use yiwang_proto::contract::Scalar;

/// Columns, what each is declared as, and whether pages may go on after it.
const POSTGRES: [(&str, &str, bool); 13] = [
    ("NUMBER", "bigint", true),
    ("SMALL", "smallint", true),
    ("WORDS", "text", true),
    ("SHORT", "varchar(20)", true),
    ("FIXED", "char(5)", true),
    ("PLAIN", "text collate \"C\"", true),
    ("MADE", "uuid", true),
    ("OWN", "code_text", true),
    ("FOLDED", "text collate nd", false),
    ("OWN_FOLDED", "folded_text", false),
    ("LISTED", "mood", false),
    ("ROUNDED", "double precision", false),
    ("EXACT", "numeric(10,2)", false),
];

const MARIADB: [(&str, &str, bool); 11] = [
    ("NUMBER", "bigint", true),
    ("SMALL", "smallint unsigned", true),
    ("WORDS", "varchar(20) character set utf8mb4 collate utf8mb4_bin", true),
    ("FIXED", "char(5) character set latin1 collate latin1_bin", true),
    ("FOLDED", "varchar(20) character set utf8mb4 collate utf8mb4_general_ci", false),
    ("FOLDED_TOO", "char(5) character set utf8mb4 collate utf8mb4_unicode_ci", false),
    ("LISTED", "enum('b','a') character set utf8mb4 collate utf8mb4_bin", false),
    ("SEVERAL", "set('b','a') character set utf8mb4 collate utf8mb4_bin", false),
    ("ROUNDED", "double", false),
    ("ROUNDED_TOO", "float", false),
    ("EXACT", "decimal(10,2)", false),
];

fn mapping(lab: &Lab, expression: &str) -> String {
    let table = quoted(lab.kind, "KEYS");
    format!(
        "format = \"adapter/1\"\nmapping = \"police.keys\"\nrecord = \"Person\"\nowner = \"police\"\n{}\n\
         [[operation]]\nname = \"person.all\"\nkind = \"batch\"\nkey = \"K\"\n\
         sql = '''select {expression} as {}, {} from {table} -- all'''\nlimit = 5\ntimeout = \"5s\"\n\
         [operation.fields]\nname = {{ from = \"NM\", type = \"string\" }}\n",
        source_section(lab.kind),
        quoted(lab.kind, "K"),
        quoted(lab.kind, "NM"),
    )
}

fn asked(mapping: &Mapping, after: Option<Scalar>, limit: u32) -> FetchQuery {
    FetchQuery {
        operation: Arc::clone(mapping.operations().first().unwrap()),
        columns: vec![Arc::from("NM"), Arc::from("K")],
        params: Vec::new(),
        filter: None,
        page: Some(Page { key: Arc::from("K"), after }),
        limit,
        timeout: Duration::from_secs(10),
    }
}

async fn page(mapping: &Mapping, source: &dyn Source) -> Result<usize, SourceError> {
    source.fetch(asked(mapping, None, 5)).await.map(|fetched| fetched.rows.len())
}

/// What is said of a key, by the check and by the first page.
async fn said(people: &People<'_>, expression: &str) -> (Vec<String>, Result<usize, SourceError>) {
    let (mapping, source) = people.open_text(&mapping(people.lab, expression));
    let level = Level::Live { source: source.as_ref(), now_ms: compliance::NOW_MS };
    let findings = check(&mapping, level).await;
    let wrong = |code: &str| matches!(code, "A-SQL-001" | "A-SQL-002" | "A-SQL-003");
    assert!(!findings.iter().any(|finding| wrong(finding.code)), "{findings:?}");
    let unfit = findings.into_iter().filter(|finding| finding.code == "A-SQL-019");
    (unfit.map(|finding| finding.message).collect(), page(&mapping, source.as_ref()).await)
}

pub async fn unfit(lab: &Lab) {
    let people = People::new(lab, "unfitkeys");
    let columns = if lab.kind == Kind::Postgres { &POSTGRES[..] } else { &MARIADB[..] };
    let declared: Vec<String> =
        columns.iter().map(|(name, kind, _)| format!("{} {kind} unique", quoted(lab.kind, name))).collect();
    let (before, to) = match lab.kind {
        Kind::Postgres => (
            "create collation nd (provider = icu, locale = 'und-u-ks-level2', deterministic = false); \
             create type mood as enum ('b', 'a'); create domain code_text as text; \
             create domain folded_text as text collate nd;",
            "unfitkeys",
        ),
        Kind::Mariadb => ("", "unfitkeys@'%'"),
    };
    let table = quoted(lab.kind, "KEYS");
    let name = quoted(lab.kind, "NM");
    lab.admin(
        "unfitkeys",
        &format!(
            "{before} create table {table} ({name} varchar(10), {}); grant select on {table} to {to};",
            declared.join(", ")
        ),
    );
    for (column, kind, fit) in columns {
        let (told, paged) = said(&people, &quoted(lab.kind, column)).await;
        assert_eq!(told.is_empty(), *fit, "{column} {kind}: {told:?}");
        match paged {
            Ok(rows) => assert!(*fit && rows == 0, "{column} {kind}"),
            Err(SourceError::Drift(what)) => {
                assert!(
                    !fit && what.contains("the key `K`") && told.iter().all(|told| told.contains(&what)),
                    "{what}"
                );
            }
            Err(other) => panic!("{column} {kind}: {other}"),
        }
    }
    // What the statement makes of a column is what counts.
    let column = quoted(lab.kind, "FOLDED");
    let (as_it_stands, folded) = match lab.kind {
        Kind::Postgres => (format!("{column} collate \"C\""), format!("lower({column})")),
        Kind::Mariadb => (format!("binary {column}"), format!("lower({column})")),
    };
    if lab.kind == Kind::Postgres {
        assert_eq!(said(&people, &as_it_stands).await, (Vec::new(), Ok(0)));
    }
    assert_eq!(said(&people, &folded).await.0.len(), 1);
    altered(&people).await;
}

/// A column that is altered while the adapter serves is seen after its next probe.
async fn altered(people: &People<'_>) {
    let lab = people.lab;
    let (mapping, source) = people.open_text(&mapping(lab, &quoted(lab.kind, "WORDS")));
    assert_eq!(page(&mapping, source.as_ref()).await, Ok(0));
    let (table, column) = (quoted(lab.kind, "KEYS"), quoted(lab.kind, "WORDS"));
    lab.admin(
        "unfitkeys",
        &match lab.kind {
            Kind::Postgres => format!("alter table {table} alter column {column} type text collate nd;"),
            Kind::Mariadb => format!(
                "alter table {table} modify {column} varchar(20) character set utf8mb4 collate utf8mb4_general_ci;"
            ),
        },
    );
    source.probe().await.unwrap();
    let refused = page(&mapping, source.as_ref()).await;
    assert!(matches!(&refused, Err(SourceError::Drift(what)) if what.contains("the key")), "{refused:?}");
}

/// Rows of more text than is fetched at once: the page ends before those that do not fit, and the source serves on.
pub async fn full_page(lab: &Lab) {
    let people = People::new(lab, "fullpages");
    let (text, to) = match lab.kind {
        Kind::Postgres => ("text", "fullpages"),
        Kind::Mariadb => ("longtext", "fullpages@'%'"),
    };
    let [table, name, number] = ["KEYS", "NM", "NUMBER"].map(|name| quoted(lab.kind, name));
    let bytes = TEXT_MAX / 7 * 2;
    let rows: Vec<String> = (1..=4).map(|key| format!("(repeat('x', {bytes}), {key})")).collect();
    lab.admin(
        "fullpages",
        &format!(
            "create table {table} ({name} {text}, {number} bigint unique); grant select on {table} to {to}; \
             insert into {table} values {};",
            rows.join(", ")
        ),
    );
    let (mapping, source) = people.open_text(&mapping(lab, &number));
    for _ in 0..6 {
        assert_eq!(page(&mapping, source.as_ref()).await, Ok(3));
    }
}

/// A search in pages: what is looked for stands in the statement beside the key that the next page begins after.
pub async fn searched(lab: &Lab) {
    let people = People::new(lab, "searchedkeys");
    let (table, name) = (quoted(lab.kind, "KEYS"), quoted(lab.kind, "NM"));
    let (number, folded) = (quoted(lab.kind, "NUMBER"), quoted(lab.kind, "FOLDED"));
    let (before, kind, to) = match lab.kind {
        Kind::Postgres => (
            "create collation nd (provider = icu, locale = 'und-u-ks-level2', deterministic = false);",
            "text collate nd",
            "searchedkeys",
        ),
        Kind::Mariadb => {
            ("", "varchar(20) character set utf8mb4 collate utf8mb4_general_ci", "searchedkeys@'%'")
        }
    };
    let rows: Vec<String> =
        (1..=7).map(|at| format!("('{}', {at}, 'k{at}')", if at == 4 { "b" } else { "a" })).collect();
    lab.admin(
        "searchedkeys",
        &format!(
            "{before} create table {table} ({name} varchar(10), {number} bigint unique, {folded} {kind} unique); \
             insert into {table} values {}; grant select on {table} to {to};",
            rows.join(", ")
        ),
    );
    // What the parameter is in one place says what it is in the others.
    let typed = match lab.kind {
        Kind::Postgres => "(cast(:many as int) is null or abs(:many) > 0)",
        Kind::Mariadb => "1 in (select * from (select 1 limit :many) one)",
    };
    let text = |expression: &str| {
        mapping(lab, expression)
            .replace(
                "kind = \"batch\"",
                "kind = \"search\"\nparams.who = { type = \"string\", pattern = \"^[a-z]$\" }\nparams.many = { type = \"integer\" }",
            )
            .replace(" -- all'''", &format!(" where {name} = :who and {name} in (:who, 'x') and {typed}'''"))
    };
    let (mapping, source) = people.open_text(&text(&number));
    let level = Level::Live { source: source.as_ref(), now_ms: compliance::NOW_MS };
    let findings = check(&mapping, level).await;
    let wrong = |finding: &Finding| finding.severity == Severity::Error && finding.code.starts_with("A-SQL");
    assert!(!findings.iter().any(wrong), "{findings:?}");
    let (mut after, mut came) = (None, Vec::new());
    for _ in 0..4 {
        let fetched = source
            .fetch(FetchQuery { params: who(), ..asked(&mapping, after.take(), 2) })
            .await
            .unwrap()
            .rows;
        for row in 0..fetched.len() {
            let Cell::Integer(key) = fetched.cell(row, 1) else { panic!("{:?}", fetched.cell(row, 1)) };
            came.push(key);
            after = Some(Scalar::Integer(key));
        }
    }
    assert_eq!(came, [1, 2, 3, 5, 6, 7], "{}", lab.kind.name());
    // A key that is folded is found with the parameter in the statement as well.
    let (mapping, source) = people.open_text(&text(&folded));
    let level = Level::Live { source: source.as_ref(), now_ms: compliance::NOW_MS };
    let findings = check(&mapping, level).await;
    assert!(findings.iter().any(|finding| finding.code == "A-SQL-019"), "{findings:?}");
    let refused = source.fetch(FetchQuery { params: who(), ..asked(&mapping, None, 2) }).await;
    assert!(matches!(refused, Err(SourceError::Drift(_))), "{:?}", refused.map(|fetched| fetched.rows.len()));
}

fn who() -> Vec<(Arc<str>, Option<Scalar>)> {
    let text = Scalar::Text("a".to_owned());
    vec![(Arc::from("who"), Some(text)), (Arc::from("many"), Some(Scalar::Integer(1)))]
}
