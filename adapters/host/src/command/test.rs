//! `test`: the tests that stand in mapping files, through the same code as real answers.

use super::{CONFIG, FAILED, OK};
use crate::sources::read_mapping;
use std::io::Write;
use std::path::PathBuf;
use yiwang_adapter_sdk::mapping::{Mapping, render, run_tests};

pub(super) fn test(files: &[PathBuf], out: &mut (dyn Write + Send)) -> std::io::Result<u8> {
    let (mut passed, mut failed, mut unreadable) = (0, 0, 0);
    for file in files {
        let text = match read_mapping(file) {
            Ok(text) => text,
            Err(error) => {
                unreadable += 1;
                writeln!(out, "{error}")?;
                continue;
            }
        };
        let mapping = match Mapping::parse(&text, file) {
            Ok(mapping) => mapping,
            Err(faults) => {
                unreadable += 1;
                for fault in faults {
                    out.write_all(render(&fault, &text).as_bytes())?;
                }
                continue;
            }
        };
        writeln!(out, "{}", file.display())?;
        if mapping.tests().is_empty() {
            writeln!(out, "  ! no tests")?;
        }
        for result in run_tests(&mapping) {
            match result.failure {
                None => {
                    passed += 1;
                    writeln!(out, "  ✓ {}", result.name)?;
                }
                Some(failure) => {
                    failed += 1;
                    writeln!(out, "  ✗ {}\n      {failure}", result.name)?;
                }
            }
        }
    }
    writeln!(out, "{passed} tests passed, {failed} failed")?;
    Ok(match (unreadable, failed) {
        (0, 0) => OK,
        (0, _) => FAILED,
        _ => CONFIG,
    })
}
