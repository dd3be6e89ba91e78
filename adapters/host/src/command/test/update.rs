//! `test --update`: expectations of `[[test]]`s become what comes now. Nothing else of the file changes, and what it
//! says apart from that is compared before it is written.

use super::edit::changed;
use crate::command::replace::replace;
use crate::command::{CONFIG, ENVIRONMENT, FAILED, OK, Output, Test, fault_at};
use crate::record_types;
use crate::sources::read_mapping;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use yiwang_adapter_sdk::check::{Level, Severity, check_by};
use yiwang_adapter_sdk::mapping::{Mapping, TestChange, TestUpdate, render, run_tests, test_updates};
use yiwang_policies::Catalogue;

/// What became of one file.
struct File {
    shown: String,
    /// Why nothing of it was changed, and the exit code.
    refused: Option<(u8, String)>,
    tests: Vec<TestUpdate>,
    written: bool,
}

pub(super) async fn update(arguments: &Test, out: &mut (dyn Write + Send)) -> std::io::Result<u8> {
    let catalogue = match record_types::catalogue(&arguments.record_types) {
        Ok(catalogue) => catalogue,
        Err(error) => {
            writeln!(out, "A-TST-001 {error}")?;
            return Ok(CONFIG);
        }
    };
    let mut all = Vec::new();
    for path in &arguments.files {
        all.push(one(path, &catalogue).await);
    }
    let code = all.iter().map(code).max().unwrap_or(OK);
    match arguments.output {
        Output::Json => {
            let files: Vec<Value> = all.iter().map(as_json).collect();
            writeln!(out, "{}", json!({ "ok": code == OK, "exit": code, "files": files }))?;
        }
        Output::Text => all.iter().try_for_each(|file| write(file, out))?,
    }
    Ok(code)
}

fn code(file: &File) -> u8 {
    match &file.refused {
        Some((code, _)) => *code,
        None if file.tests.iter().any(|test| test.changes.is_err()) => FAILED,
        None => OK,
    }
}

async fn one(path: &Path, catalogue: &Catalogue) -> File {
    let mut file =
        File { shown: path.display().to_string(), refused: None, tests: Vec::new(), written: false };
    let (text, mapping) = match sound(path, catalogue).await {
        Ok(sound) => sound,
        Err(why) => {
            file.refused = Some((CONFIG, why));
            return file;
        }
    };
    file.tests = test_updates(&mapping);
    let after = match after(&text, path, &mut file.tests) {
        Ok(after) => after,
        Err(why) => {
            file.refused =
                Some((CONFIG, format!("A-TST-003 `{}`: {why}; nothing was written\n", path.display())));
            return file;
        }
    };
    if after == text {
        return file;
    }
    let writing = match read_mapping(path) {
        Ok(now) if now == text => replace(path, &after).map_err(|error| error.to_string()),
        Ok(_) => Err("it was changed meanwhile; try again".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    match writing {
        Ok(()) => file.written = true,
        Err(why) => {
            file.refused = Some((ENVIRONMENT, format!("A-TST-004 `{}`: {why}\n", path.display())));
        }
    }
    file
}

/// The mapping, if it passes the first two layers of `check`, but for its tests.
async fn sound(path: &Path, catalogue: &Catalogue) -> Result<(String, Mapping), String> {
    let text = read_mapping(path).map_err(|error| format!("{error}\n"))?;
    let mapping = Mapping::parse(&text, path)
        .map_err(|faults| faults.iter().map(|fault| render(fault, &text)).collect::<String>())?;
    let findings = check_by(&mapping, catalogue, Level::Offline).await;
    let faults: String = findings
        .into_iter()
        .filter(|finding| finding.severity == Severity::Error && finding.code != "A-MAP-010")
        .map(|finding| {
            let message = format!("{}: {}", finding.code, finding.message);
            render(&fault_at(path, &text, finding.span.unwrap_or(0..0), &message, finding.help), &text)
        })
        .collect();
    if faults.is_empty() {
        return Ok((text, mapping));
    }
    let help = "what comes from a mapping that does not hold is nothing to expect; mend it first";
    Err(format!("{faults}A-TST-002 `{}`: {help}\n", path.display()))
}

/// The text with all changes. A test of which one change cannot be made stays as it was, and says why.
fn after(text: &str, path: &Path, tests: &mut [TestUpdate]) -> Result<String, String> {
    let mut after = text.to_owned();
    for (at, test) in tests.iter_mut().enumerate() {
        let Ok(changes) = &test.changes else { continue };
        let made = changes.iter().try_fold(after.clone(), |text, change| changed(&text, at, change));
        match made {
            Ok(text) => after = text,
            Err(why) => test.changes = Err(why),
        }
    }
    let odd = "its text would say something else; this is a fault of the program, please report it";
    if rest(text).is_none() || rest(text) != rest(&after) {
        return Err(odd.to_owned());
    }
    let mapping = Mapping::parse(&after, path).map_err(|_| odd.to_owned())?;
    let fails = |(result, test): (yiwang_adapter_sdk::mapping::TestResult, &TestUpdate)| {
        result.failure.is_some() && test.changes.is_ok()
    };
    if run_tests(&mapping).into_iter().zip(tests.iter()).any(fails) {
        return Err(odd.to_owned());
    }
    Ok(after)
}

/// What a mapping says apart from the expectations of its tests.
fn rest(text: &str) -> Option<toml::Table> {
    let mut table: toml::Table = text.parse().ok()?;
    let tests = table.get_mut("test").and_then(toml::Value::as_array_mut);
    for test in tests.into_iter().flatten().filter_map(toml::Value::as_table_mut) {
        for key in ["expect", "expect_error"] {
            if let Some(value) = test.get_mut(key) {
                *value = toml::Value::Boolean(true);
            }
        }
    }
    Some(table)
}

fn words(change: &TestChange) -> String {
    match change {
        TestChange::Set { record, field, was, value } => {
            format!("record {record}: `{field}` was {was}, is {value}")
        }
        TestChange::Add { record, field, value } => format!("record {record}: `{field}` is new: {value}"),
        TestChange::Remove { record, field } => format!("record {record}: `{field}` does not come any more"),
        TestChange::AddRecord(fields) => format!("a record is new: {}", Value::Object(fields.clone())),
        TestChange::RemoveLastRecord => "the last record does not come any more".to_owned(),
        TestChange::Error { was, value } => format!("the error was `{was}`, is `{value}`"),
    }
}

fn as_json(file: &File) -> Value {
    let test = |test: &TestUpdate| match &test.changes {
        Ok(changes) => json!({ "name": test.name, "changes": changes.iter().map(words).collect::<Vec<_>>() }),
        Err(why) => json!({ "name": test.name, "refused": why }),
    };
    json!({
        "file": file.shown,
        "error": file.refused.as_ref().map(|(_, why)| why.trim_end()),
        "written": file.written,
        "tests": file.tests.iter().map(test).collect::<Vec<_>>(),
    })
}

fn write(file: &File, out: &mut (dyn Write + Send)) -> std::io::Result<()> {
    writeln!(out, "{}", file.shown)?;
    for test in &file.tests {
        match &test.changes {
            Ok(changes) if changes.is_empty() => writeln!(out, "  ✓ {}", test.name)?,
            Ok(changes) => {
                writeln!(out, "  ~ {}", test.name)?;
                changes.iter().try_for_each(|change| writeln!(out, "      {}", words(change)))?;
            }
            Err(why) => writeln!(out, "  ✗ {}\n      {why}", test.name)?,
        }
    }
    if let Some((_, why)) = &file.refused {
        return out.write_all(why.as_bytes());
    }
    match file.written {
        true => writeln!(out, "  written; look at each change: it says what comes, not what is right"),
        false => writeln!(out, "  as it was"),
    }
}
