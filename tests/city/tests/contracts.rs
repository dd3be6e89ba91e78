//! The departments' contract drafts can be read, stand, and ask for nothing that their mapping does not have.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::Table;
use yiwang_policies::{Catalogue, check_contract};
use yiwang_proto::contract::{ContractText, Method};

fn departments() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../adapters/departments")
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

fn toml(path: &Path) -> Table {
    toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn drafts_stand_and_fit_their_mappings() {
    let catalogue = Catalogue::builtin().unwrap();
    let mut drafts = 0;
    let mut ids = BTreeSet::new();
    for member in [
        "police",
        "civil-affairs",
        "health",
        "emergency-call",
        "housing",
        "urban-management",
        "gas",
        "real/montgomery-911",
        "real/seattle-police",
        "real/febrl-a",
        "real/febrl-b",
    ] {
        let folder = departments().join(member);
        let mappings: Vec<Table> = files(&folder, "toml").iter().map(|path| toml(path)).collect();
        let paths = files(&folder.join("contracts"), "json");
        assert!(!paths.is_empty(), "{member} has no drafts");
        for path in paths {
            let text = ContractText::parse(&std::fs::read(&path).unwrap()).unwrap();
            assert_eq!(text.faults(), Vec::<String>::new(), "{}", path.display());
            assert_eq!(path.file_stem().unwrap().to_str(), Some(text.id.as_str()));
            assert!(ids.insert(text.id.clone()), "{} twice", text.id);
            assert_eq!(check_contract(&text, &catalogue, None), [], "{}", path.display());
            let of_record = |mapping: &&Table| {
                mapping.get("record").unwrap().as_str() == Some(text.record.as_str())
                    && mapping.get("owner").unwrap().as_str() == Some(text.provider.member.as_str())
            };
            let operations: Vec<&toml::Value> = mappings
                .iter()
                .filter(of_record)
                .flat_map(|mapping| mapping.get("operation").unwrap().as_array().unwrap())
                .collect();
            for name in &text.operations {
                let named = |operation: &&&toml::Value| {
                    operation.get("name").unwrap().as_str() == Some(name.as_str())
                };
                let operation = operations.iter().find(named).unwrap();
                let counts = operation.get("kind").unwrap().as_str() == Some("count");
                assert_eq!(counts, text.method == Method::Count, "{}", path.display());
                let fields = operation.get(if counts { "by" } else { "fields" }).unwrap().as_table().unwrap();
                for field in text.fields.iter().chain(text.rows.iter().map(|clause| &clause.field)) {
                    assert!(fields.contains_key(field.as_str()), "{}: {field}", path.display());
                }
                let limit = operation.get("limit").map_or(1000, |limit| limit.as_integer().unwrap());
                assert!(i64::from(text.limits.rows) <= limit, "{}", path.display());
            }
            drafts += 1;
        }
    }
    assert!(drafts >= 16, "{drafts}");
}
