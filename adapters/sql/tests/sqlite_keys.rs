//! Keys of batches in SQLite: what it folds or rounds cannot be gone on after.

use rusqlite::Connection;
use std::sync::Arc;
use std::time::Duration;
use yiwang_adapter_sdk::check::{Finding, Level, check};
use yiwang_adapter_sdk::compliance;
use yiwang_adapter_sdk::mapping::Mapping;
use yiwang_adapter_sdk::source::{FetchQuery, Page, ProcessEnvironment, Source as _, SourceError};
use yiwang_adapter_sdk::value::{Cell, TEXT_MAX};
use yiwang_adapter_sql::SqliteSource;
use yiwang_proto::contract::Scalar;

#[tokio::test]
async fn a_key_that_sqlite_folds_or_rounds_is_no_key_of_a_batch() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.db");
    let columns = [
        ("NUMBER", "integer", true),
        ("WORDS", "varchar(20)", true),
        ("BARE", "", true),
        ("CUT", "text collate rtrim", true),
        ("FOLDED", "text collate nocase", false),
        ("ROUNDED", "real", false),
        ("ROUNDED_TOO", "double precision", false),
        // What is a whole number by SQLite's rules, whatever it is called.
        ("POINT", "floating point", true),
    ];
    let declared: Vec<String> = columns.map(|(name, kind, _)| format!("{name} {kind} unique")).to_vec();
    let db = Connection::open(&path).unwrap();
    db.execute_batch(&format!("create table KEYS (NM text, {})", declared.join(", "))).unwrap();
    let expressions = columns.map(|(name, _, fit)| (name.to_owned(), fit));
    let made = [("FOLDED collate binary".to_owned(), true), ("WORDS collate nocase".to_owned(), false)];
    for (expression, fit) in expressions.into_iter().chain(made) {
        let text = format!(
            "format = \"adapter/1\"\nmapping = \"police.keys\"\nrecord = \"Person\"\nowner = \"police\"\n\
             [source.sqlite]\npath = '{}'\ntime_zone = \"Asia/Shanghai\"\n[[operation]]\nname = \"person.all\"\n\
             kind = \"batch\"\nkey = \"K\"\nsql = \"select {expression} as K, NM from KEYS where ROUNDED is null\"\n\
             limit = 5\ntimeout = \"5s\"\n[operation.fields]\nname = {{ from = \"NM\", type = \"string\" }}\n",
            path.display()
        );
        let mapping = Mapping::parse(&text, &folder.path().join("keys.toml"))
            .unwrap_or_else(|faults| panic!("{faults:?}"));
        let source = SqliteSource::open(&mapping, &ProcessEnvironment).unwrap();
        let findings = check(&mapping, Level::Live { source: &source, now_ms: compliance::NOW_MS }).await;
        let unfit: Vec<&Finding> = findings.iter().filter(|finding| finding.code == "A-SQL-019").collect();
        assert_eq!(unfit.is_empty(), fit, "{expression}: {findings:?}");
        let query = FetchQuery {
            operation: Arc::clone(mapping.operations().first().unwrap()),
            columns: vec![Arc::from("NM"), Arc::from("K")],
            params: Vec::new(),
            filter: None,
            page: Some(Page { key: Arc::from("K"), after: None }),
            limit: 5,
            timeout: Duration::from_secs(5),
        };
        let paged = source.fetch(query).await;
        assert_eq!(paged.is_ok(), fit, "{expression}: {paged:?}");
    }
}

#[tokio::test]
async fn a_page_ends_before_the_row_whose_text_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.db");
    let db = Connection::open(&path).unwrap();
    // All but the last fit beside each other, and that one not even alone.
    db.execute_batch("create table T (K integer primary key, NM text)").unwrap();
    for (key, bytes) in [TEXT_MAX / 4, TEXT_MAX / 4, TEXT_MAX / 4, 9, TEXT_MAX + 1].into_iter().enumerate() {
        db.execute("insert into T values (?, ?)", (i64::try_from(key).unwrap(), "x".repeat(bytes))).unwrap();
    }
    let text = format!(
        "format = \"adapter/1\"\nmapping = \"police.large\"\nrecord = \"Person\"\nowner = \"police\"\n\
         [source.sqlite]\npath = '{}'\ntime_zone = \"Asia/Shanghai\"\n[[operation]]\nname = \"person.all\"\n\
         kind = \"batch\"\nkey = \"K\"\nsql = \"select K, NM from T\"\n\
         limit = 5\ntimeout = \"5s\"\n[operation.fields]\nname = {{ from = \"NM\", type = \"string\" }}\n",
        path.display()
    );
    let mapping =
        Mapping::parse(&text, &folder.path().join("t.toml")).unwrap_or_else(|faults| panic!("{faults:?}"));
    let source = SqliteSource::open(&mapping, &ProcessEnvironment).unwrap();
    let fetch = async |page: Option<Page>| {
        let query = FetchQuery {
            operation: Arc::clone(mapping.operations().first().unwrap()),
            columns: vec![Arc::from("NM"), Arc::from("K")],
            params: Vec::new(),
            filter: None,
            page,
            limit: 6,
            timeout: Duration::from_secs(5),
        };
        source.fetch(query).await.map(|fetched| fetched.rows)
    };
    let after = |key: i64| Some(Page { key: Arc::from("K"), after: Some(Scalar::Integer(key)) });
    let rows = fetch(Some(Page { key: Arc::from("K"), after: None })).await.unwrap();
    assert_eq!((rows.len(), rows.ended_early(), rows.cell(3, 1)), (4, true, Cell::Integer(3)));
    // Nothing would be left of a page that begins with it, or is of one row before it.
    for key in [2, 3] {
        assert!(matches!(fetch(after(key)).await, Err(SourceError::TooLarge(_))), "{key}");
    }
    assert_eq!(fetch(after(1)).await.unwrap().len(), 2);
}
