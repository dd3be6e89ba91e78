//! `test --update`: what tests expect becomes what comes, and nothing else of the file changes.

use crate::commands::call;
use crate::operate::{around, shown};
use crate::schema::mappings;
use serde_json::Value;
use yiwang_adapter::command::{CONFIG, FAILED, OK};

fn police() -> String {
    std::fs::read_to_string(yiwang_tests::departments().join("police/person.toml")).unwrap()
}

#[tokio::test]
async fn a_wrong_expectation_becomes_what_comes_and_every_other_byte_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    mappings(&yiwang_tests::departments(), &mut files);
    let mut changed = 0;
    for (at, file) in files.iter().enumerate() {
        let text = std::fs::read_to_string(file).unwrap();
        let Some((head, tests)) = text.split_once("\n[[test]]") else { continue };
        // The first text that a test expects.
        let Some((before, after)) = tests.split_once("expect = [") else { continue };
        let Some((name, value)) = after.split_once(" = \"").filter(|(name, _)| !name.contains('\n')) else {
            continue;
        };
        let wrong = format!("{head}\n[[test]]{before}expect = [{name} = \"wrong, {value}");
        let copy = dir.path().join(format!("{at}.toml"));
        std::fs::write(&copy, &wrong).unwrap();
        let path = shown(&copy);
        // Without the switch nothing is written.
        assert_eq!(call(&["test", &path], around(&[])).await.0, FAILED, "{path}");
        assert_eq!(std::fs::read_to_string(&copy).unwrap(), wrong);
        let (code, said) = call(&["test", &path, "--update"], around(&[])).await;
        assert!(code == OK && said.contains("was \"wrong, ") && said.contains("  written"), "{said}");
        assert_eq!(std::fs::read_to_string(&copy).unwrap(), text);
        assert_eq!(call(&["test", &path], around(&[])).await.0, OK);
        let (code, said) = call(&["test", &path, "--update"], around(&[])).await;
        assert!(code == OK && said.ends_with("  as it was\n"), "{said}");
        changed += 1;
    }
    assert!(changed >= 10, "{changed}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), changed, "nothing is left beside the files");
}

#[tokio::test]
async fn fields_that_come_or_go_are_told_and_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("m.toml");
    let path = shown(&file);
    let text = police();
    let at = text.find("[[test]]").unwrap();
    let (mapping, tests) = text.split_at(at);
    // A mapping that lost a step: what came trimmed does not any more.
    let looser = mapping.replace("\"trim\", ", "");
    assert_ne!(looser, mapping);
    // And a field that nobody expected yet.
    let tests = tests.replace("alive = true, ", "");
    std::fs::write(&file, looser.clone() + &tests).unwrap();
    let (code, said) = call(&["test", &path, "--update", "-o", "json"], around(&[])).await;
    let json: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &json["files"][0]["written"]), (OK, &Value::Bool(true)), "{said}");
    let after = std::fs::read_to_string(&file).unwrap();
    assert!(after.starts_with(&looser) && after.contains("name = \" 云甲 \""), "{after}");
    assert!(after.contains("as_of = \"2026-11-01T08:00:00+08:00\", alive = true }"), "{after}");
    assert_eq!(call(&["test", &path], around(&[])).await.0, OK);
}

#[tokio::test]
async fn what_does_not_hold_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("m.toml");
    let path = shown(&file);
    let text = police();
    let wrong = text.replace("sex = \"male\"", "sex = \"wrong\"");
    assert_ne!(wrong, text);
    let turned = |text: &str| {
        let at = text.rfind("expect_error = ").unwrap();
        let end = at + text[at..].find('\n').unwrap_or(text.len() - at);
        format!("{}expect = []{}", &text[..at], &text[end..])
    };
    for (broken, code, word) in [
        // Shape; names.
        (wrong.replace("kind = \"lookup\"", "kind = \"look\""), CONFIG, "kind"),
        (wrong.replace("record = \"Person\"", "record = \"Nobody\""), CONFIG, "A-TST-002"),
        // A refusal that became a record, or the reverse, is for a person to decide.
        (turned(&text), FAILED, "write `expect_error` by hand"),
    ] {
        std::fs::write(&file, &broken).unwrap();
        let (found, said) = call(&["test", &path, "--update"], around(&[])).await;
        assert!(found == code && said.contains(word), "{word}: {said}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), broken);
    }
}
