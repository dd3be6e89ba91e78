use super::*;
use crate::testing::{self, argument};
use proptest::prelude::*;
use rusqlite::types::{Value as Cell, ValueRef};

fn field(name: &str) -> FieldName {
    FieldName::parse(name).unwrap()
}

fn clause(json: &str) -> RowClause {
    let clause: RowClause = serde_json::from_str(json).unwrap();
    clause.check().unwrap();
    clause
}

fn text(text: &str) -> Scalar {
    Scalar::Text(text.to_owned())
}

#[test]
fn arguments_inside_the_filter_pass_and_outside_are_refused() {
    let clauses = [
        clause(r#"{"field": "area_code", "op": "prefix", "value": "9801"}"#),
        clause(r#"{"field": "kind", "op": "in", "values": ["a", "b"]}"#),
        clause(r#"{"field": "level", "op": "range", "from": 1, "to": 3}"#),
        clause(r#"{"field": "day", "op": "eq", "param": "on"}"#),
        clause(r#"{"field": "kind", "op": "eq", "param": "which"}"#),
    ];
    let good = || Arguments::from([argument("on", text("2026-11-03")), argument("which", text("a"))]);
    let check = |more: Vec<(FieldName, Scalar)>| {
        let mut arguments = good();
        arguments.extend(more);
        check_arguments(&clauses, &arguments).map_err(|fault| fault.to_string())
    };
    assert_eq!(check(vec![]), Ok(()));
    assert_eq!(check(vec![argument("area_code", text("980101"))]), Ok(()));
    assert_eq!(check(vec![argument("level", Scalar::Number(2.5))]), Ok(()));
    assert_eq!(check(vec![argument("other", text("anything"))]), Ok(()));
    for (name, value) in [
        ("area_code", text("980201")),
        ("area_code", text("98")),
        ("area_code", Scalar::Integer(980_101)),
        ("kind", text("c")),
        ("level", Scalar::Integer(4)),
        ("level", text("2")),
        ("which", text("c")),
    ] {
        let error = check(vec![argument(name, value)]).unwrap_err();
        assert!(error.contains("lies outside") && error.contains(name), "{error}");
    }
    assert_eq!(
        check_arguments(&clauses, &Arguments::from([argument("which", text("a"))])).unwrap_err().code(),
        Code::ArgumentInvalid,
        "`on` is missing"
    );
}

#[test]
fn a_prefix_argument_is_a_text_that_restricts() {
    let clauses = [clause(r#"{"field": "code", "op": "prefix", "param": "code"}"#)];
    for (value, fine) in [(text("9"), true), (text(""), false), (Scalar::Integer(9), false)] {
        assert_eq!(check_arguments(&clauses, &Arguments::from([argument("code", value)])).is_ok(), fine);
    }
    let clauses = [clause(r#"{"field": "code", "op": "eq", "param": "code"}"#)];
    let nan = Arguments::from([argument("code", Scalar::Number(f64::NAN))]);
    assert!(check_arguments(&clauses, &nan).is_err());
}

#[test]
fn sql_binds_values_quotes_columns_and_refuses_what_it_cannot_name() {
    let clauses = [
        clause(r#"{"field": "code", "op": "prefix", "value": "98'; drop table x; --"}"#),
        clause(r#"{"field": "kind", "op": "eq", "param": "kind"}"#),
    ];
    let arguments = Arguments::from([argument("kind", text("\" or 1=1"))]);
    let filter = RowFilter::compile(&clauses, &arguments).unwrap();
    let (sql, values) = filter.to_sql(Dialect::Sqlite, |name| Some(format!("co\"l {name}"))).unwrap();
    assert!(!sql.contains("drop") && !sql.contains("1=1") && sql.contains(r#""co""l kind""#), "{sql}");
    assert_eq!(values.len(), sql.matches('?').count());
    let missing = filter.to_sql(Dialect::Sqlite, |name| (name.as_str() == "kind").then(|| "k".to_owned()));
    assert_eq!(missing, Err(SqlError::NoColumn(field("code"))));
    assert!(filter.to_sql(Dialect::Sqlite, |_| Some("a\0b".to_owned())).is_err());
    let none = RowFilter::compile(&[], &Arguments::new()).unwrap();
    assert_eq!(none.to_sql(Dialect::Sqlite, |_| None).unwrap().0, "1 = 1");
    assert!(none.is_empty() && none.matches(&BTreeMap::new()));
}

#[test]
fn every_dialect_binds_values_and_quotes_columns() {
    let clauses = [
        clause(r#"{"field": "code", "op": "prefix", "value": "98'; drop table x; --"}"#),
        clause(r#"{"field": "kind", "op": "in", "values": ["a' or 1=1", 7]}"#),
        clause(r#"{"field": "level", "op": "range", "from": 1, "to": 3}"#),
    ];
    let filter = RowFilter::compile(&clauses, &Arguments::new()).unwrap();
    let name = |name: &FieldName| Some(format!("co\"l` {name}"));
    let (sql, values) = filter.to_sql(Dialect::Postgres { first: 3 }, name).unwrap();
    assert!(sql.contains(r#""co""l` kind""#) && sql.contains("$3") && sql.contains("$7"), "{sql}");
    assert!(!sql.contains("$8") && !sql.contains("drop") && !sql.contains("1=1"), "{sql}");
    assert_eq!(values.len(), 5);
    let (sql, values) = filter.to_sql(Dialect::Mariadb, name).unwrap();
    assert!(sql.contains("`co\"l`` kind`") && !sql.contains("drop") && !sql.contains("1=1"), "{sql}");
    assert_eq!((values.len(), sql.matches('?').count()), (6, 6));
}

#[test]
fn a_text_with_a_nul_equals_nothing_that_postgresql_holds() {
    let written = |json: &str| {
        let filter = RowFilter::compile(&[clause(json)], &Arguments::new()).unwrap();
        filter.to_sql(Dialect::Postgres { first: 1 }, |name| Some(name.to_string())).unwrap()
    };
    assert_eq!(written(r#"{"field": "a", "op": "eq", "value": "x\u0000"}"#), ("false".to_owned(), vec![]));
    assert_eq!(
        written(r#"{"field": "a", "op": "prefix", "value": "x\u0000"}"#),
        ("false".to_owned(), vec![])
    );
    let (sql, values) = written(r#"{"field": "a", "op": "in", "values": ["x\u0000", "y"]}"#);
    assert!(sql.contains("in ($1)"), "{sql}");
    assert_eq!(values, [text("y")]);
    let (sql, values) = written(r#"{"field": "a", "op": "range", "from": "b\u0000c", "to": "d\u0000"}"#);
    assert!(sql.contains("> $1") && sql.contains("<= $2"), "{sql}");
    assert_eq!(values, [text("b"), text("d")]);
}

#[test]
fn null_missing_and_nested_values_never_match() {
    let clauses = [clause(r#"{"field": "a", "op": "in", "values": ["x", 1, true]}"#)];
    let filter = RowFilter::compile(&clauses, &Arguments::new()).unwrap();
    let json = |text: &str| serde_json::from_str::<serde_json::Map<_, _>>(text).unwrap();
    for (record, matches) in [
        (r#"{}"#, false),
        (r#"{"a": null}"#, false),
        (r#"{"a": ["x"]}"#, false),
        (r#"{"a": {"x": 1}}"#, false),
        (r#"{"a": "x"}"#, true),
        (r#"{"a": 1}"#, true),
        (r#"{"a": 1.0}"#, true),
        (r#"{"a": true}"#, true),
        (r#"{"a": "1"}"#, false),
        (r#"{"a": "X"}"#, false),
        (r#"{"b": "x"}"#, false),
    ] {
        assert_eq!(filter.matches_json(&json(record)), matches, "{record}");
    }
}

#[test]
fn whole_numbers_and_fractions_compare_exactly() {
    for (integer, number, order) in [
        (1, 1.5, Ordering::Less),
        (-1, -1.5, Ordering::Greater),
        (2, 2.0, Ordering::Equal),
        (i64::MAX, 9_223_372_036_854_775_808.0, Ordering::Less),
        (i64::MIN, -9_223_372_036_854_775_808.0, Ordering::Equal),
        (9_007_199_254_740_993, 9_007_199_254_740_992.0, Ordering::Greater),
        (0, -0.0, Ordering::Equal),
        (0, 1e300, Ordering::Less),
        (0, -1e300, Ordering::Greater),
    ] {
        assert_eq!(integer_to_number(integer, number), Some(order), "{integer} {number}");
    }
    assert_eq!(integer_to_number(0, f64::NAN), None);
}

#[test]
fn the_successor_of_a_prefix_is_the_least_text_above_all_that_begin_with_it() {
    for (prefix, next) in [
        ("a", Some("b")),
        ("az", Some("a{")),
        ("\u{d7ff}", Some("\u{e000}")),
        ("a\u{10ffff}", Some("b")),
        ("\u{10ffff}", None),
        ("", None),
    ] {
        assert_eq!(sql::successor(prefix).as_deref(), next);
    }
}

/// Every declared type that changes how SQLite compares, and a collation that does.
const COLUMNS: [(&str, &str); 6] = [
    ("t", "text"),
    ("i", "integer"),
    ("r", "real"),
    ("n", "numeric"),
    ("b", "blob"),
    ("c", "text collate nocase"),
];

fn scalar() -> impl Strategy<Value = Scalar> {
    prop_oneof![
        prop_oneof![
            Just(""),
            Just("a"),
            Just("A"),
            Just("ab"),
            Just("aB"),
            Just("b"),
            Just("5"),
            Just("5.0"),
            Just("05"),
            Just("5x"),
            Just("0x5"),
            Just(" 5"),
            Just("1e1"),
            Just("10"),
            Just("é"),
            Just("\u{10ffff}"),
            Just("a\0b"),
            Just("2026-11-03"),
            Just("2026-11-04"),
            Just("9223372036854775807")
        ]
        .prop_map(text),
        "[0-9a-bA-B.]{0,3}".prop_map(Scalar::Text),
        prop_oneof![
            -12i64..12,
            Just(i64::MAX),
            Just(i64::MIN),
            Just(9_007_199_254_740_993),
            Just(9_007_199_254_740_992)
        ]
        .prop_map(Scalar::Integer),
        prop_oneof![
            (-24i32..24).prop_map(|n| f64::from(n) / 2.0),
            Just(9.007_199_254_740_992e15),
            Just(9.223_372_036_854_776e18),
            Just(-0.0),
            Just(1e300)
        ]
        .prop_map(Scalar::Number),
        any::<bool>().prop_map(Scalar::Bool),
    ]
}

fn cell(scalar: &Option<Scalar>) -> Cell {
    match scalar {
        None => Cell::Null,
        Some(Scalar::Text(text)) => Cell::Text(text.clone()),
        Some(Scalar::Integer(integer)) => Cell::Integer(*integer),
        Some(Scalar::Number(number)) => Cell::Real(*number),
        Some(Scalar::Bool(truth)) => Cell::Integer(i64::from(*truth)),
    }
}

fn any_clause() -> impl Strategy<Value = (RowClause, Option<Scalar>)> {
    let name = (0..COLUMNS.len()).prop_map(|at| field(COLUMNS[at].0));
    let param = field("argument");
    (name, 0..6u8, proptest::collection::vec(scalar(), 1..5)).prop_filter_map(
        "operands fit",
        move |(field, op, all)| {
            let first = all[0].clone();
            let mut clause = RowClause {
                field,
                op: RowOperator::Eq,
                value: None,
                values: vec![],
                from: None,
                to: None,
                param: None,
            };
            let mut argument = None;
            match op {
                0 => clause.value = Some(first),
                1 => (clause.op, clause.values) = (RowOperator::In, all),
                2 => (clause.op, clause.value) = (RowOperator::Prefix, Some(first)),
                3 => {
                    let last = all.last().cloned();
                    (clause.op, clause.from, clause.to) = (RowOperator::Range, Some(first), last);
                }
                4 => (clause.param, argument) = (Some(param.clone()), Some(first)),
                _ => {
                    clause.op = RowOperator::Prefix;
                    (clause.param, argument) = (Some(param.clone()), Some(first));
                }
            }
            clause.check().is_ok().then_some((clause, argument))
        },
    )
}

fn select(table: &rusqlite::Connection, condition: &str, values: &[Scalar]) -> Vec<i64> {
    let mut statement =
        table.prepare(&format!("select rowid from rows where {condition} order by rowid")).unwrap();
    let cells: Vec<Cell> = values.iter().map(|value| cell(&Some(value.clone()))).collect();
    let found = statement.query_map(rusqlite::params_from_iter(cells), |row| row.get(0)).unwrap();
    found.collect::<Result<Vec<i64>, _>>().unwrap()
}

/// What an adapter reads back, which is what it would send.
fn read_back(table: &rusqlite::Connection) -> Vec<(i64, BTreeMap<FieldName, serde_json::Value>)> {
    let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
    let mut statement =
        table.prepare(&format!("select rowid, {} from rows order by rowid", names.join(", "))).unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut all = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let mut record = BTreeMap::new();
        for (at, name) in names.iter().enumerate() {
            let value = match row.get_ref(at + 1).unwrap() {
                ValueRef::Null => serde_json::Value::Null,
                ValueRef::Integer(integer) => integer.into(),
                ValueRef::Real(real) => real.into(),
                ValueRef::Text(text) => String::from_utf8(text.to_vec()).unwrap().into(),
                ValueRef::Blob(_) => unreachable!("no blobs are stored"),
            };
            record.insert(field(name), value);
        }
        all.push((row.get(0).unwrap(), record));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: testing::cases(5000), ..ProptestConfig::default() })]

    #[test]
    fn f26_sql_and_evaluator_let_out_the_same_rows(
        rows in proptest::collection::vec(proptest::collection::vec(proptest::option::weighted(0.9, scalar()), 6), 1..12),
        clauses in proptest::collection::vec(any_clause(), 1..3),
        indexed in any::<bool>(),
    ) {
        let table = rusqlite::Connection::open_in_memory().unwrap();
        let columns: Vec<String> = COLUMNS.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
        table.execute_batch(&format!("create table rows ({})", columns.join(", "))).unwrap();
        if indexed {
            for (name, _) in COLUMNS {
                table.execute_batch(&format!("create index by_{name} on rows ({name})")).unwrap();
            }
        }
        for row in &rows {
            let cells: Vec<Cell> = row.iter().map(cell).collect();
            table.execute("insert into rows values (?, ?, ?, ?, ?, ?)", rusqlite::params_from_iter(cells)).unwrap();
        }
        // One argument for all: the last wins, as in a body.
        let arguments: Arguments =
            clauses.iter().filter_map(|(_, value)| value.clone().map(|value| (field("argument"), value))).collect();
        let clauses: Vec<RowClause> = clauses.into_iter().map(|(clause, _)| clause).collect();
        if let Ok(filter) = RowFilter::compile(&clauses, &arguments) {
            let (condition, values) = filter.to_sql(Dialect::Sqlite, |name| Some(name.as_str().to_owned())).unwrap();
            let by_sql = select(&table, &condition, &values);
            let by_hand: Vec<i64> =
                read_back(&table).into_iter().filter(|(_, record)| filter.matches(record)).map(|(id, _)| id).collect();
            prop_assert_eq!(by_sql, by_hand, "{} {:?}", condition, values);
        }
    }
}
