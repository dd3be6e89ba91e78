//! `test`: the tests that stand in mapping files, through the same code as real answers.

mod edit;
mod update;

use super::{CONFIG, FAILED, OK, Output, Test};
use crate::sources::read_mapping;
use serde::Serialize;
use serde_json::json;
use std::io::Write;
use std::path::Path;
use yiwang_adapter_sdk::mapping::{Mapping, render, run_tests};
use yiwang_proto::plural::counted;

/// What became of one file.
#[derive(Serialize)]
struct File {
    file: String,
    /// Why it cannot be tested.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    tests: Vec<One>,
}

/// What became of one test. A failure shows values, which are made up.
#[derive(Serialize)]
struct One {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

pub(super) async fn test(arguments: &Test, out: &mut (dyn Write + Send)) -> std::io::Result<u8> {
    if arguments.update {
        return update::update(arguments, out).await;
    }
    let tested: Vec<File> = arguments.files.iter().map(|file| run(file)).collect();
    let failed = |file: &File| file.tests.iter().filter(|one| one.failure.is_some()).count();
    let (all, failed): (usize, usize) =
        (tested.iter().map(|file| file.tests.len()).sum(), tested.iter().map(failed).sum());
    let code = match (tested.iter().any(|file| file.error.is_some()), failed) {
        (true, _) => CONFIG,
        (false, 0) => OK,
        (false, _) => FAILED,
    };
    if arguments.output == Output::Json {
        let json = json!({ "ok": code == OK, "exit": code, "failed": failed, "files": tested });
        writeln!(out, "{json}")?;
        return Ok(code);
    }
    for file in &tested {
        if let Some(error) = &file.error {
            writeln!(out, "{}", error.trim_end())?;
            continue;
        }
        writeln!(out, "{}", file.file)?;
        if file.tests.is_empty() {
            writeln!(out, "  ! no tests")?;
        }
        for one in &file.tests {
            match &one.failure {
                None => writeln!(out, "  ✓ {}", one.name)?,
                Some(failure) => writeln!(out, "  ✗ {}\n      {failure}", one.name)?,
            }
        }
    }
    writeln!(out, "{} passed, {failed} failed", counted(all - failed, "test"))?;
    Ok(code)
}

fn run(path: &Path) -> File {
    let file = path.display().to_string();
    let unfit = |error: String| File { file: file.clone(), error: Some(error), tests: Vec::new() };
    let text = match read_mapping(path) {
        Ok(text) => text,
        Err(error) => return unfit(error.to_string()),
    };
    match Mapping::parse(&text, path) {
        Err(faults) => unfit(faults.iter().map(|fault| render(fault, &text)).collect()),
        Ok(mapping) => {
            let tests = run_tests(&mapping).into_iter();
            let tests = tests.map(|result| One { name: result.name, failure: result.failure }).collect();
            File { file, error: None, tests }
        }
    }
}
