use super::*;
use crate::check::Finding;
use crate::mapping::Mapping;
use crate::source::{BoxFuture, FetchQuery, Fetched, Probe, Source};
use proptest::prelude::*;
use std::path::Path;
use yiwang_proto::body::Arguments;

/// Persons by number, each with the same text in two columns and another value in the last.
struct Register(Vec<String>, fn(usize) -> Cell<'static>);

impl Source for Register {
    fn fetch(&self, query: FetchQuery) -> BoxFuture<'_, Result<Fetched, SourceError>> {
        let after = match query.page.and_then(|page| page.after) {
            None => 0,
            Some(Scalar::Integer(after)) => usize::try_from(after).unwrap(),
            Some(other) => panic!("{other:?}"),
        };
        let mut rows = Rows::new(query.columns.len());
        for (number, text) in self.0.iter().enumerate().skip(after).take(query.limit as usize) {
            for column in &query.columns {
                let key = Cell::Integer(i64::try_from(number).unwrap() + 1);
                let pushed = rows.push(match column.as_ref() {
                    "NR" => key,
                    "C" => self.1(number),
                    _ => Cell::Text(text),
                });
                if pushed.is_err() {
                    let ended = rows.end_early().map_err(SourceError::TooLarge);
                    return Box::pin(async move { ended.map(|()| Fetched { rows }) });
                }
            }
        }
        Box::pin(async { Ok(Fetched { rows }) })
    }

    fn probe(&self) -> BoxFuture<'_, Result<Probe, SourceError>> {
        Box::pin(async { Ok(Probe::default()) })
    }

    fn check(&self, _: Vec<Arc<OperationDef>>) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(async { Vec::new() })
    }
}

/// Values that are no texts, some of which take the most bytes as such.
fn other(number: usize) -> Cell<'static> {
    match number % 7 {
        0 => Cell::Number(-1.234_567_890_123_456_7e-308),
        1 => Cell::Number(f64::MIN),
        2 => Cell::Instant(jiff::Timestamp::MIN),
        3 => Cell::Date(jiff::civil::Date::MIN),
        4 => Cell::Integer(i64::MIN),
        5 => Cell::Bool(false),
        _ => Cell::Opaque,
    }
}

fn register(texts: Vec<String>, more: &str) -> MappedSource {
    register_of(Register(texts, other), more)
}

fn register_of(register: Register, more: &str) -> MappedSource {
    let text = format!(
        r#"format = "adapter/1"
mapping = "a.b"
record = "Person"
owner = "police"
[source.sqlite]
path = "x.db"
time_zone = "Asia/Shanghai"
[codes.sex]
"1" = "male"
unknown = "keep"
[[operation]]
name = "person.all"
kind = "batch"
key = "NR"
subject = "id_number"
sql = "select NR, A, B, C from T"
limit = 100
timeout = "1s"
[operation.fields]
id_number = {{ from = "A", type = "string" }}
name = {{ from = "A", type = "string", steps = ["nfc", "halfwidth"] }}
sex = {{ from = "B", type = "code", codes = "sex" }}
birth_date = {{ from = "B", type = "date" }}
surname = {{ from = "C", type = "string" }}
given_name = {{ from = "C", type = "string", steps = ["trim"] }}
{more}
"#
    );
    let mapping = Mapping::parse(&text, Path::new("m.toml")).unwrap_or_else(|faults| panic!("{faults:?}"));
    MappedSource::new(Arc::new(mapping), Arc::new(register))
}

struct Paged {
    pages: usize,
    /// Of which it was certain where they end.
    ahead: usize,
    rows: usize,
}

fn batch_of(source: &MappedSource) -> (&Arc<OperationDef>, &PageDef) {
    source.paged(&"person.all".parse().unwrap(), OperationKind::Batch).unwrap()
}

fn asking<'a>(operation: &'a Operation, fields: &'a [FieldName], arguments: &'a Arguments) -> Ask<'a> {
    Ask {
        operation,
        fields,
        rows: &[],
        subject: "",
        arguments,
        limit: 1000,
        now_ms: 0,
        deadline_ms: 1000,
        highest_class: (2, Code::FieldNotGranted),
    }
}

async fn all(source: &MappedSource) -> Paged {
    let operation = "person.all".parse().unwrap();
    let names: Vec<FieldName> =
        source.mapping.operations()[0].fields.iter().map(|field| field.name.clone()).collect();
    let (arguments, mut after) = (Arguments::new(), None);
    let mut paged = Paged { pages: 0, ahead: 0, rows: 0 };
    loop {
        let page =
            source.page(asking(&operation, &names, &arguments), batch_of(source), after).await.unwrap();
        let most = bytes_at_most(&page.plan.fields, &page.rows);
        let ahead = page.end_ahead().unwrap();
        let (mapped, end) = page.write().unwrap();
        assert!(most.is_none_or(|most| mapped.records.len() <= most), "{most:?} {}", mapped.records.len());
        assert!(ahead.as_ref().is_none_or(|ahead| *ahead == end.next), "{ahead:?} {:?}", end.next);
        assert_eq!(end.subjects.len(), mapped.rows as usize);
        paged.pages += 1;
        paged.ahead += usize::from(ahead.is_some());
        paged.rows += mapped.rows as usize;
        after = end.next;
        if after.is_none() {
            return paged;
        }
    }
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[tokio::test]
async fn where_a_page_ends_is_told_ahead_only_if_it_is_certain() {
    let short = all(&register(vec!["云甲".to_owned(); 250], "")).await;
    assert_eq!((short.pages, short.ahead, short.rows), (3, 3, 250));
    // Pages that are full of bytes before they are full of rows end where they are written to, all but the last.
    let long = all(&register(vec!["x".repeat(40_000); 250], "")).await;
    assert_eq!((long.ahead, long.rows), (1, 250));
    assert!(long.pages > 3, "{}", long.pages);
    let longer = all(&register(vec!["x".repeat(5_000); 250], "")).await;
    assert_eq!((longer.pages, longer.ahead), (3, 3));
    // JSON makes these six times as long, which is known before.
    let escaped = all(&register(vec!["\u{1}".repeat(5_000); 250], "")).await;
    assert_eq!((escaped.ahead, escaped.rows), (1, 250));
    assert!(escaped.pages > 3, "{}", escaped.pages);
    // The longest of numbers in every row.
    let long = |_| Cell::Number(-1.234_567_890_123_456_7e-308);
    assert_eq!(all(&register_of(Register(vec!["x".to_owned(); 250], long), "")).await.ahead, 3);
    let computed = r#"ward = { type = "string", expr = "row.A + row.A" }"#;
    let computed = all(&register(vec!["x".to_owned(); 250], computed)).await;
    assert_eq!((computed.pages, computed.ahead), (3, 0), "what is computed can be of any length");
}

#[tokio::test]
async fn a_row_that_does_not_fit_behind_others_begins_the_next_page() {
    // Each text stands in three fields of its record: about half of a page, and all of one but what surrounds it.
    let large = |bytes: usize| "x".repeat(bytes);
    let texts = [650_000, 10, 1_200_000, 10, PAGE_MAX / 3 - 1_000, 10, 10].map(large);
    let paged = all(&register(texts.to_vec(), "")).await;
    assert_eq!(paged.rows, 7);
    assert!(paged.pages > 2, "{}", paged.pages);
}

#[tokio::test]
async fn rows_of_more_text_than_a_fetch_takes_come_in_more_pages() {
    // Each stands in two columns: a hundred of them are more than is fetched at once, and so are four of the larger.
    for (bytes, rows) in [(50_000, 110), (1_300_000, 6)] {
        let paged = all(&register(vec!["x".repeat(bytes); rows], "")).await;
        assert_eq!(paged.rows, rows, "{bytes}");
    }
    // One alone of which there is too much, behind others, is told when it is its turn.
    let mut texts = vec!["x".to_owned(); 5];
    texts.push("x".repeat(crate::value::TEXT_MAX + 1));
    let source = register(texts, "");
    let operation = "person.all".parse().unwrap();
    let names = ["id_number", "name"].map(|name| name.parse().unwrap());
    let arguments = Arguments::new();
    let ask = || asking(&operation, &names, &arguments);
    let (first, end) = source.page(ask(), batch_of(&source), None).await.unwrap().write().unwrap();
    assert_eq!((first.rows, end.next.clone()), (4, Some(Scalar::Integer(4))));
    let error = source.page(ask(), batch_of(&source), end.next).await.map(|_| ()).unwrap_err();
    assert_eq!((error.code, error.detail.as_str()), (Code::TooLarge, "rows hold more text than they may"));
}

#[tokio::test]
async fn a_row_that_is_larger_than_a_page_says_so() {
    let source = register(vec!["x".to_owned(), "x".repeat(PAGE_MAX / 2)], "");
    let operation = "person.all".parse().unwrap();
    let names = ["id_number", "name"].map(|name| name.parse().unwrap());
    let arguments = Arguments::new();
    let ask = || asking(&operation, &names, &arguments);
    let (first, end) = source.page(ask(), batch_of(&source), None).await.unwrap().write().unwrap();
    assert_eq!(first.rows, 1);
    assert!(end.next.is_some());
    let error =
        source.page(ask(), batch_of(&source), end.next).await.unwrap().write().map(|_| ()).unwrap_err();
    assert!(error.detail.contains("large") || error.clause.contains("large"), "{error:?}");
}

#[tokio::test]
async fn a_row_that_does_not_hold_is_left_out_and_counted_and_the_page_goes_on() {
    // In the first, one in the middle, and the last row of a page; and one nobody stands in.
    let texts: Vec<String> =
        (1..=150).map(|row| if [1, 40, 100].contains(&row) { "9" } else { "1" }.to_owned()).collect();
    let mut texts = texts;
    texts[120].clear();
    let source =
        register(texts, r#"code = { from = "B", type = "code", codes = { "1" = "one", unknown = "fail" } }"#);
    let operation = "person.all".parse().unwrap();
    let names: Vec<FieldName> = ["code", "id_number"].map(|name| name.parse().unwrap()).to_vec();
    let arguments = Arguments::new();
    let ask = || asking(&operation, &names, &arguments);
    let (first, end) = source.page(ask(), batch_of(&source), None).await.unwrap().write().unwrap();
    assert_eq!((first.rows, end.subjects.len(), end.next.clone()), (97, 97, Some(Scalar::Integer(100))));
    let records: Vec<serde_json::Value> = serde_json::from_slice(&first.records).unwrap();
    assert!(
        records.len() == 97 && records.iter().all(|record| record["fields"]["code"] == "one"),
        "{records:?}"
    );
    let rows: Vec<usize> = end.left_out.iter().map(|(row, _)| *row).collect();
    assert_eq!(rows, [1, 40, 100]);
    assert_eq!(first.withheld, [(names[0].clone(), "rows left out: 3".to_owned())]);
    let (last, end) = source.page(ask(), batch_of(&source), end.next).await.unwrap().write().unwrap();
    assert_eq!((last.rows, end.subjects.len(), end.next), (49, 49, None));
    assert_eq!(last.withheld, [(names[1].clone(), "rows left out: 1".to_owned())]);
    // A field that was not asked for is told under one that was.
    let ask = Ask { fields: &names[..1], ..asking(&operation, &names, &arguments) };
    let (last, _) =
        source.page(ask, batch_of(&source), Some(Scalar::Integer(100))).await.unwrap().write().unwrap();
    assert_eq!(last.withheld, [(names[0].clone(), "rows left out: 1".to_owned())]);
}

proptest! {
    #[test]
    fn records_never_take_more_than_they_may(
        texts in prop::collection::vec("(\\PC|[\\x00-\\x1f\"\\\\\u{344}\u{1d160}\u{ff02}\u{ff3c}]|1){1,20}", 1..150)
    ) {
        let rows = texts.len();
        prop_assert_eq!(block(all(&register(texts, ""))).rows, rows);
    }
}
