use super::*;
use crate::mapping::Mapping;
use std::path::Path;
use std::sync::Arc;

fn with_field<T>(field: &str, test: impl FnOnce(&FieldDef) -> T) -> T {
    let text = format!(
        r#"format = "adapter/1"
mapping = "a.b"
record = "Person"
owner = "police"
[source.sqlite]
path = "x.db"
time_zone = "Asia/Shanghai"
[codes.keep]
"1" = "one"
unknown = "keep"
[codes.null]
"1" = "one"
unknown = "null"
[codes.fail]
"1" = "one"
unknown = "fail"
[[operation]]
name = "person.by_id"
kind = "lookup"
sql = "select 1"
limit = 1
timeout = "1s"
[operation.fields]
{field}
"#
    );
    let mapping = Mapping::parse(&text, Path::new("m.toml")).unwrap_or_else(|faults| panic!("{faults:?}"));
    test(&mapping.operations()[0].fields[0])
}

fn run(field: &str, cell: Cell<'_>) -> Result<(String, Option<&'static str>), RowFault> {
    with_field(field, |field| {
        let mut rows = Rows::new(2);
        rows.push(cell).unwrap();
        rows.push(Cell::Text("beside")).unwrap();
        let layout = Layout::new(vec![Arc::from("A"), Arc::from("B")]);
        let zone = crate::value::zone("Asia/Shanghai").unwrap();
        let (value, flag) = convert(field, &rows, 0, &layout, &zone)?;
        let mut out = Vec::new();
        super::super::write_value(&mut out, &value, &zone);
        Ok((String::from_utf8(out).unwrap(), flag))
    })
}

fn value(field: &str, cell: Cell<'_>) -> (String, Option<&'static str>) {
    run(field, cell).unwrap()
}

fn text(cell: &str) -> Cell<'_> {
    Cell::Text(cell)
}

fn plain(value: &str) -> (String, Option<&'static str>) {
    (value.to_owned(), None)
}

fn null(flag: &'static str) -> (String, Option<&'static str>) {
    ("null".to_owned(), Some(flag))
}

#[test]
fn texts_and_their_steps() {
    let steps = |steps: &str, cell: &str| {
        value(&format!("name = {{ from = \"A\", type = \"string\", steps = [{steps}] }}"), text(cell))
    };
    assert_eq!(steps("", " a "), plain("\" a \""));
    assert_eq!(steps("\"trim\"", "\u{3000} a "), plain("\"a\""));
    assert_eq!(steps("\"trim\"", "   "), plain("null"));
    assert_eq!(steps("\"nfc\"", "e\u{301}"), plain("\"é\""));
    assert_eq!(steps("\"halfwidth\"", "１３８－ＡＢ　ｃ"), plain("\"138-AB c\""));
    assert_eq!(steps("\"halfwidth\", \"digits\"", "１３８-0000 0000"), plain("\"13800000000\""));
    assert_eq!(steps("\"digits\"", "unknown"), null("unreadable"));
    assert_eq!(steps("\"digits\"", ""), plain("null"));
    assert_eq!(steps("\"upper\"", "12x"), plain("\"12X\""));
    assert_eq!(steps("\"lower\"", "ÄB"), plain("\"Äb\""));
    assert_eq!(steps("", "q\"\\\n\u{1}"), plain(r#""q\"\\\n\u0001""#));
    assert_eq!(value("name = { from = \"A\", type = \"string\" }", Cell::Integer(7)), plain("\"7\""));
    assert_eq!(value("name = { from = \"A\", type = \"string\" }", Cell::Opaque), null("unreadable"));
}

#[test]
fn numbers_and_truths() {
    let as_type =
        |kind: &str, cell: Cell<'_>| value(&format!("name = {{ from = \"A\", type = \"{kind}\" }}"), cell);
    assert_eq!(as_type("integer", text("-5")), plain("-5"));
    assert_eq!(as_type("integer", Cell::Integer(i64::MIN)), plain("-9223372036854775808"));
    assert_eq!(as_type("integer", Cell::Number(5.0)), plain("5"));
    assert_eq!(as_type("integer", Cell::Number(5.5)), null("unreadable"));
    assert_eq!(as_type("integer", text("99999999999999999999")), null("unreadable"));
    assert_eq!(as_type("integer", text("5x")), null("unreadable"));
    assert_eq!(as_type("number", text("0.25")), plain("0.25"));
    assert_eq!(as_type("number", Cell::Number(f64::NAN)), null("unreadable"));
    assert_eq!(as_type("number", text("inf")), null("unreadable"));
    assert_eq!(as_type("bool", Cell::Integer(1)), plain("true"));
    assert_eq!(as_type("bool", text("0")), plain("false"));
    assert_eq!(as_type("bool", text("yes")), null("unreadable"));
    assert_eq!(as_type("bool", Cell::Null), plain("null"));
}

#[test]
fn dates_moments_and_their_placeholders() {
    let date = |cell: Cell<'_>| value("birth_date = { from = \"A\", type = \"date\" }", cell);
    assert_eq!(date(text("1990-01-31")), plain("\"1990-01-31\""));
    assert_eq!(date(text("1900-01-01")), null("placeholder_date"));
    assert_eq!(date(text("1990-02-31")), null("unreadable"));
    assert_eq!(date(Cell::Integer(19_900_131)), null("unreadable"));
    let format = "birth_date = { from = \"A\", type = \"date\", format = \"%Y%m%d\" }";
    assert_eq!(value(format, Cell::Integer(19_900_131)), plain("\"1990-01-31\""));
    let moment = |cell: Cell<'_>| value("at = { from = \"A\", type = \"timestamp\" }", cell);
    assert_eq!(moment(text("2026-11-01 08:00:00")), plain("\"2026-11-01T08:00:00+08:00\""));
    assert_eq!(moment(text("1900-01-01 00:00:00")), null("placeholder_date"));
    assert_eq!(moment(text("2026-11-01")), null("unreadable"));
    let required = "birth_date = { from = \"A\", type = \"date\", required = true }";
    assert!(matches!(run(required, text("1900-01-01")), Err(RowFault::Unreadable(_))));
    assert!(matches!(run(required, Cell::Null), Err(RowFault::Empty(_))));
}

#[test]
fn codes_are_words_or_what_their_table_says() {
    let code = |table: &str, cell| {
        run(&format!("sex = {{ from = \"A\", type = \"code\", codes = \"{table}\" }}"), cell)
    };
    assert_eq!(code("fail", text("1")), Ok(plain("\"one\"")));
    assert_eq!(code("fail", Cell::Integer(1)), Ok(plain("\"one\"")));
    assert_eq!(code("keep", text("7")), Ok(("\"7\"".to_owned(), Some("unknown_code"))));
    assert_eq!(code("null", text("7")), Ok(null("unknown_code")));
    assert_eq!(code("fail", Cell::Null), Ok(plain("null")));
    let fault = code("fail", text("7")).unwrap_err();
    assert_eq!(fault.with_value(), "code 7 is not in codes.fail");
    assert!(!fault.to_string().contains('7'));
}

#[test]
fn identity_numbers_are_let_out_with_a_flag() {
    let id = |cell| value("id_number = { from = \"A\", type = \"string\" }", text(cell));
    assert_eq!(id("440524188001010014"), plain("\"440524188001010014\""));
    assert_eq!(id("440524188001010015"), ("\"440524188001010015\"".to_owned(), Some("bad_check_digit")));
    assert_eq!(id("980101900101001"), ("\"980101900101001\"".to_owned(), Some("old_format")));
    assert_eq!(id("5304218"), plain("\"5304218\""));
    // The same text in a field that is no identity number is just a text.
    assert_eq!(value("name = { from = \"A\", type = \"string\" }", text("980101900101001")).1, None);
}

#[test]
fn expressions_and_checks() {
    let grid = "grid = { from = \"A\", type = \"string\", expr = \"'g-' + row.A + row.B\" }";
    assert_eq!(value(grid, text("1")), plain("\"g-1beside\""));
    assert_eq!(value(grid, Cell::Null), plain("null"));
    assert_eq!(value(grid, Cell::Integer(1)), null("unreadable"));
    let phone =
        "phone = { from = \"A\", type = \"string\", steps = [\"digits\"], check = \"value.size() >= 7\" }";
    assert_eq!(value(phone, text("138-0000")), plain("\"1380000\""));
    assert_eq!(value(phone, text("12")), null("failed_check"));
    assert_eq!(value(phone, Cell::Null), plain("null"));
    let required = phone.replace("steps", "required = true, steps");
    assert!(matches!(run(&required, text("12")), Err(RowFault::Check(_))));
    let typed = "alive = { type = \"bool\", expr = \"row.A == 'y'\" }";
    assert_eq!(value(typed, text("y")), plain("true"));
    assert_eq!(value(typed, text("n")), plain("false"));
    let wrong = "amount = { type = \"integer\", expr = \"row.A\" }";
    assert_eq!(value(wrong, text("y")), null("unreadable"));
}

/// Nobody is dead, uninsured or unmarried because nothing was written.
#[test]
fn nothing_comes_of_nothing_unless_the_mapping_says_what_it_means() {
    for silent in
        ["value == '0'", "value != '0'", "row.A == '0'", "!(row.A == '0')", "value == '0' ? true : false"]
    {
        let alive = format!("alive = {{ from = \"A\", type = \"bool\", expr = \"{silent}\" }}");
        assert_eq!(value(&alive, Cell::Null), plain("null"), "{silent}");
        assert_ne!(value(&alive, text("0")), plain("null"), "{silent}");
        let needed = alive.replace("type", "required = true, type");
        assert!(matches!(run(&needed, Cell::Null), Err(RowFault::Empty(_))), "{silent}");
    }
    for (told, means) in [
        ("value == null", "true"),
        ("row.A == null || row.A == '0'", "true"),
        ("has(row.A) && row.A == '0'", "false"),
    ] {
        let alive = format!("alive = {{ from = \"A\", type = \"bool\", expr = \"{told}\" }}");
        assert_eq!(value(&alive, Cell::Null), plain(means), "{told}");
    }
    // What does not depend on the row is not nothing, and one column that is there is something.
    assert_eq!(value("kind = { type = \"string\", expr = \"'meter'\" }", Cell::Null), plain("\"meter\""));
    let two = "alive = { type = \"bool\", expr = \"row.A == 'y' || row.B == 'beside'\" }";
    assert_eq!(value(two, Cell::Null), plain("true"));
}
