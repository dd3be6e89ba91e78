use super::*;
use std::path::Path;
use std::sync::Arc;
use yiwang_adapter_sdk::mapping::Mapping;
use yiwang_adapter_sdk::reduce::Layout;
use yiwang_adapter_sdk::reduce::convert::{Converted, convert};
use yiwang_adapter_sdk::value::{Cell, Rows, zone};

const ALL: [Holds; 12] = [
    Holds::Text,
    Holds::Shaped,
    Holds::Document,
    Holds::Bytes,
    Holds::Whole,
    Holds::Exact,
    Holds::Fraction,
    Holds::Rounded,
    Holds::Bool,
    Holds::Day,
    Holds::Local,
    Holds::Moment,
];

/// A mapping with one operation that has these fields.
fn mapping(fields: &str) -> Mapping {
    let text = format!(
        "format = \"adapter/1\"\nmapping = \"a.b\"\nrecord = \"Person\"\nowner = \"police\"\n\
         [source.sqlite]\npath = \"x.db\"\ntime_zone = \"Asia/Shanghai\"\n\
         [codes.sex]\n\"1\" = \"male\"\n\"2\" = \"female\"\nunknown = \"fail\"\n\
         [codes.padded]\n\"01\" = \"male\"\nM = \"male\"\nunknown = \"null\"\n\
         [codes.kept]\nM = \"male\"\nunknown = \"keep\"\n\
         [codes.alive]\ntrue = \"alive\"\nunknown = \"fail\"\n\
         [[operation]]\nname = \"person.by_id\"\nkind = \"lookup\"\nsql = \"select 1\"\nlimit = 1\ntimeout = \"1s\"\n\
         [operation.fields]\n{fields}\n"
    );
    Mapping::parse(&text, Path::new("m.toml")).unwrap_or_else(|faults| panic!("{fields}: {faults:?}"))
}

/// What is said of a field over a column: never, doubtful or nothing.
fn said(holds: Holds, field: &str) -> Option<(bool, String)> {
    let mapping = mapping(&format!("name = {{ from = \"C\", {field} }}"));
    judge(holds, &mapping.operations()[0].fields[0]).map(|verdict| (verdict.never, verdict.why))
}

/// Cells as sources give them for such a column.
fn cells(holds: Holds) -> Vec<Cell<'static>> {
    let moment = Cell::Instant("2026-11-01T00:00:00Z".parse().unwrap());
    match holds {
        Holds::Text => ["1", "true", "1990-01-31", "1990-01-31 08:00:00", "19900131"].map(Cell::Text).into(),
        Holds::Shaped => {
            ["08:00:00", "08:00:00.5", "20240131-0000-4000-8000-000000000001"].map(Cell::Text).into()
        }
        Holds::Document => {
            ["{\"a\":1}", "1", "true", "\"1990-01-31\"", "\"1990-01-31T08:00:00Z\""].map(Cell::Text).into()
        }
        Holds::Bytes => vec![Cell::Opaque],
        Holds::Whole => [0, 1, -7, 19_900_131, 1_990_013_100, 20_261_101_080_000].map(Cell::Integer).into(),
        Holds::Exact => vec![Cell::Integer(1), Cell::Integer(19_900_131), Cell::Text("12.50")],
        Holds::Fraction => ["1.00", "0.50", "1990013.10", "19900131.00"].map(Cell::Text).into(),
        Holds::Rounded => [1.0, 0.1, 19_900_131.0, 199_001.31, 1e20, f64::NAN].map(Cell::Number).into(),
        Holds::Bool => vec![Cell::Bool(true), Cell::Bool(false)],
        Holds::Day => vec![Cell::Date("1990-01-31".parse().unwrap())],
        Holds::Local | Holds::Moment => vec![moment],
    }
}

fn converts(holds: Holds, field: &FieldDef) -> bool {
    let zone = zone("Asia/Shanghai").unwrap();
    let layout = Layout::new(vec![Arc::from("C")]);
    cells(holds).into_iter().any(|cell| {
        let mut rows = Rows::new(1);
        rows.push(cell).unwrap();
        convert(field, &rows, 0, &layout, &zone).is_ok_and(|(value, _)| value != Converted::Null)
    })
}

#[test]
fn what_is_never_read_is_what_the_conversion_never_reads() {
    let kinds: [(&str, &[&str]); 8] = [
        ("string", &[""]),
        ("integer", &[""]),
        ("number", &[""]),
        ("bool", &[""]),
        ("date", &[""]),
        ("timestamp", &[""]),
        ("date", &["%Y%m%d", "%Y%m%d.00", "%Y-%m-%d", "\"%Y-%m-%d\""]),
        ("timestamp", &["%Y%m%d", "%Y%m%d.00", "%Y-%m-%d", "\"%Y-%m-%d\"", "%s"]),
    ];
    for holds in ALL {
        for (kind, formats) in kinds {
            let fields = formats.iter().map(|format| match *format {
                "" => format!("type = \"{kind}\""),
                format => format!("type = \"{kind}\", format = '{format}'"),
            });
            let (mut read, mut never) = (false, true);
            for field in fields {
                let mapping = mapping(&format!("name = {{ from = \"C\", {field} }}"));
                let field = &mapping.operations()[0].fields[0];
                read |= converts(holds, field);
                never &= judge(holds, field).is_some_and(|verdict| verdict.never);
            }
            assert_eq!(never, !read, "{holds:?} as {kind} {formats:?}");
        }
    }
}

#[test]
fn what_is_lost_or_seems_what_it_is_not_is_doubtful() {
    for (holds, field, told) in [
        (Holds::Rounded, "type = \"string\"", "which rounds"),
        (Holds::Rounded, "type = \"code\", codes = \"sex\"", "which rounds"),
        (Holds::Rounded, "type = \"integer\"", "of which only what is whole can be read"),
        (Holds::Document, "type = \"string\"", "as it is written, with quotes"),
        (Holds::Fraction, "type = \"integer\", steps = [\"digits\"]", "step `digits` drops the point"),
        (Holds::Local, "type = \"date\"", "the time of day is left out"),
        (Holds::Moment, "type = \"date\"", "depends on the zone"),
    ] {
        let (never, why) = said(holds, field).unwrap_or_else(|| panic!("{holds:?} {field}"));
        assert!(!never && why.contains(told), "{holds:?} {field}: {why}");
    }
    for (holds, field) in [
        (Holds::Text, "type = \"date\""),
        (Holds::Shaped, "type = \"integer\", steps = [\"digits\"]"),
        (Holds::Whole, "type = \"string\""),
        (Holds::Whole, "type = \"bool\""),
        (Holds::Whole, "type = \"date\", format = \"%Y%m%d\""),
        (Holds::Exact, "type = \"integer\""),
        (Holds::Fraction, "type = \"number\""),
        (Holds::Rounded, "type = \"number\""),
        (Holds::Bool, "type = \"string\""),
        (Holds::Day, "type = \"date\", format = \"%Y%m%d\""),
        (Holds::Day, "type = \"timestamp\", format = \"%Y-%m-%d\""),
        (Holds::Moment, "type = \"timestamp\""),
        (Holds::Local, "type = \"string\""),
    ] {
        assert_eq!(said(holds, field), None, "{holds:?} {field}");
    }
}

#[test]
fn a_table_must_list_a_code_that_can_come() {
    let of = |holds, table: &str| said(holds, &format!("type = \"code\", codes = \"{table}\""));
    let told = |never, what: &str| Some((never, format!("and table {what}")));
    assert_eq!(of(Holds::Whole, "sex"), None);
    assert_eq!(of(Holds::Whole, "padded"), told(true, "`padded` lists no whole number"));
    assert_eq!(of(Holds::Whole, "kept"), told(false, "`kept` lists no whole number"));
    assert_eq!(of(Holds::Bool, "sex"), told(true, "`sex` lists no `true` or `false`"));
    assert_eq!(of(Holds::Bool, "alive"), None);
    assert_eq!(of(Holds::Text, "padded"), None);
}

#[test]
fn findings_name_field_and_column_and_refuse_only_what_is_sure() {
    let mapping = mapping(
        "name = { from = \"C\", type = \"string\" }\nbirth_date = { from = \"N\", type = \"date\" }\n\
         alive = { from = \"N\", type = \"bool\", expr = \"value == 1\" }\n\
         area_code = { from = \"GONE\", type = \"date\" }\nas_of = { from = \"D\", type = \"timestamp\" }",
    );
    let found = |sure| {
        let typed = |holds, name: &str| Typed { holds, name: name.to_owned(), sure };
        let types = [
            ("C", typed(Holds::Rounded, "float8")),
            ("N", typed(Holds::Whole, "int4")),
            ("D", typed(Holds::Day, "date")),
        ];
        let types = types.map(|(name, typed)| (name.to_owned(), typed)).into();
        let mut findings = Vec::new();
        compare_types(&mapping.operations()[0], &types, &mut findings);
        assert!(findings.iter().all(|finding| finding.help.is_some() && finding.span.is_some()));
        findings.into_iter().map(|finding| (finding.code, finding.message)).collect::<Vec<_>>()
    };
    let of = |code: &'static str, text: &str| (code, format!("operation person.by_id, field {text}"));
    let rounds =
        of("A-SQL-021", "`name`: column `C` is of type float8, which rounds: digits may be lost, and added");
    let date = "`birth_date`: column `N` is of type int4, and without a `format` no date can be read from such a value";
    let as_of = "`as_of`: column `D` is of type date, and no timestamp can be read from such a value";
    assert_eq!(found(true), [rounds.clone(), of("A-SQL-020", date), of("A-SQL-020", as_of)]);
    assert_eq!(found(false), [rounds, of("A-SQL-021", date), of("A-SQL-021", as_of)]);
}

#[test]
fn words_of_a_declaration_are_looked_for_as_sqlite_looks() {
    for (name, holds) in [
        ("INTEGER", Some(Holds::Whole)),
        ("unsigned big int", Some(Holds::Whole)),
        ("CHARINT", Some(Holds::Whole)),
        ("varchar(18)", Some(Holds::Text)),
        ("Clob", Some(Holds::Text)),
        ("BLOB", Some(Holds::Bytes)),
        ("double precision", Some(Holds::Rounded)),
        ("FLOAT", Some(Holds::Rounded)),
        ("DATETIME", None),
        ("BOOLEAN", None),
        ("DECIMAL(10,2)", None),
        ("", None),
    ] {
        assert_eq!(declared(name), holds, "{name}");
    }
}
