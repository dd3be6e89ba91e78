//! Adapters read every mapping file of the departments, and the tests in them pass.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::{Path, PathBuf};

use yiwang_adapter_sdk::mapping::{Mapping, run_tests};
use yiwang_policies::Catalogue;

fn mapping_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            mapping_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
    }
}

#[test]
fn every_mapping_is_sound_and_its_tests_pass() {
    let catalogue = Catalogue::builtin().unwrap();
    let mut files = Vec::new();
    mapping_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../adapters/departments"), &mut files);
    assert!(files.len() >= 13, "{files:?}");
    let mut failures = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let mapping =
            Mapping::parse(&text, &file).unwrap_or_else(|faults| panic!("{}: {faults:#?}", file.display()));
        let record = catalogue.record(mapping.record()).unwrap();
        for field in mapping.operations().iter().flat_map(|operation| &operation.fields) {
            let known =
                record.field(&field.name).unwrap_or_else(|| panic!("{}: {}", file.display(), field.name));
            assert!(
                field.class.is_none_or(|class| class >= known.class),
                "{}: {}",
                file.display(),
                field.name
            );
        }
        let results = run_tests(&mapping);
        assert!(!results.is_empty(), "{} has no tests", file.display());
        let failed = results.into_iter().filter_map(|result| Some((result.name, result.failure?)));
        failures.extend(failed.map(|(name, failure)| format!("{}: {name}: {failure}", file.display())));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
