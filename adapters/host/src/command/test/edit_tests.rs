use super::*;
use serde_json::json;

const TEXT: &str = r#"# a mapping
[[test]] # one
expect = [
  # the first
  { name = "a", sex = "male" }, # kept
  { name = 'b', list = [1, 2], sex = "x" },
]

[[test]]
expect_error = "old"

[[test]]
expect = []

[[test]]
[[test.expect]]
name = "a" # why
sex = "male"
"#;

fn set(record: usize, field: &str, value: serde_json::Value) -> TestChange {
    TestChange::Set { record, field: field.to_owned(), was: json!(null), value }
}

fn add(record: usize, field: &str) -> TestChange {
    TestChange::Add { record, field: field.to_owned(), value: json!(7) }
}

fn remove(record: usize, field: &str) -> TestChange {
    TestChange::Remove { record, field: field.to_owned() }
}

#[test]
fn each_change_is_made_at_its_place_and_comments_stay() {
    let new = || TestChange::AddRecord(json!({ "name": "c" }).as_object().unwrap().clone());
    for (test, change, old, becomes) in [
        (
            0,
            set(0, "name", json!("it's")),
            r#"name = "a", sex = "male" }, # kept"#,
            r#"name = "it's", sex = "male" }, # kept"#,
        ),
        (0, set(1, "list", json!([3])), "[1, 2]", "[3]"),
        (0, add(0, "age"), r#"sex = "male" }, # kept"#, r#"sex = "male", age = 7 }, # kept"#),
        (0, remove(0, "name"), r#"{ name = "a", sex"#, "{ sex"),
        (0, remove(0, "sex"), r#"a", sex = "male" },"#, r#"a" },"#),
        (0, remove(1, "list"), "list = [1, 2], sex", "sex"),
        (0, remove(1, "sex"), r#"2], sex = "x" }"#, "2] }"),
        (0, TestChange::RemoveLastRecord, "  { name = 'b', list = [1, 2], sex = \"x\" },\n", "  \n"),
        (0, new(), "sex = \"x\" },\n]", "sex = \"x\" },\n  { name = \"c\" },\n]"),
        (2, new(), "expect = []", r#"expect = [{ name = "c" }]"#),
        (
            1,
            TestChange::Error { was: "old".to_owned(), value: "new `x`".to_owned() },
            "\"old\"",
            "\"new `x`\"",
        ),
        (3, set(0, "name", json!("b")), "name = \"a\" # why", "name = \"b\" # why"),
        (3, add(0, "age"), "sex = \"male\"\n", "sex = \"male\"\nage = 7\n"),
        (3, remove(0, "sex"), "# why\nsex = \"male\"\n", "# why\n"),
        (3, remove(0, "name"), "name = \"a\" # why", " # why"),
    ] {
        // The last place of what is looked for in the piece of its test.
        let at = TEXT.rfind(old).unwrap_or_else(|| panic!("{old}"));
        let wanted = [&TEXT[..at], becomes, &TEXT[at + old.len()..]].concat();
        let came = changed(TEXT, test, &change).unwrap();
        assert_eq!(came, wanted, "{change:?}");
        came.parse::<toml::Table>().unwrap();
    }
}

#[test]
fn several_changes_of_one_record_join_and_what_is_not_known_is_refused() {
    let mut text = TEXT.to_owned();
    for change in [remove(1, "sex"), remove(1, "list"), remove(1, "name"), add(1, "age"), remove(0, "sex")] {
        text = changed(&text, 0, &change).unwrap();
    }
    assert!(text.contains("  { name = \"a\" }, # kept\n  { age = 7 },\n]"), "{text}");
    for (test, change) in [
        (0, set(5, "name", json!(1))),
        (0, set(0, "none", json!(1))),
        (9, add(0, "age")),
        (1, add(0, "age")),
        (2, TestChange::RemoveLastRecord),
        (3, TestChange::RemoveLastRecord),
        (3, TestChange::AddRecord(serde_json::Map::new())),
        (0, set(0, "name", json!({ "a": null, "b": [null] }))),
    ] {
        assert!(changed(TEXT, test, &change).is_err(), "{change:?}");
    }
}
