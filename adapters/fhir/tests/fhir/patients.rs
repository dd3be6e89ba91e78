//! Synthetic patients with full records, through the mapping that a hospital would write.

use crate::double::{Double, Question, ask, open_with, patients, settings};
use serde_json::Value;
use std::path::Path;
use yiwang_adapter_sdk::check::{Level, Severity, check};
use yiwang_adapter_sdk::compliance::NOW_MS;

const MAPPING: &str = include_str!("../../../departments/hospital/summary.toml");

/// The double numbers patients in the order of its files; those with full records come after the population.
fn number(folder: &Path, at: usize) -> String {
    let population = std::fs::read_to_string(folder.join("Patient-population.ndjson")).unwrap();
    format!("98010119900101{:03}X", population.lines().count() + at)
}

fn lines(folder: &Path, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hospitals_problems_and_medications_come_with_granted_elements_only() {
    let Some(folder) = patients() else { return };
    let Some(server) = Double::start(&folder, &[]) else { return };
    let mapped = open_with(MAPPING, &folder, &settings(&server.url()));
    let mut found = 0;
    for (at, patient) in lines(&folder, "Patient.ndjson").iter().enumerate() {
        let id = number(&folder, at);
        let reference = format!("Patient/{}", patient["id"].as_str().unwrap());
        for (operation, field, file, status) in [
            ("problems.by_person", "problems", "Condition.ndjson", "/clinicalStatus/coding/0/code"),
            ("medications.by_person", "medications", "MedicationRequest.ndjson", "/status"),
        ] {
            let (fields, arguments) = (&[field][..], &[][..]);
            let question = Question { operation, fields, subject: &id, arguments, within_ms: 20_000 };
            let records = ask(&mapped, question).await.unwrap();
            let wanted = lines(&folder, file)
                .iter()
                .filter(|one| one.pointer("/subject/reference").unwrap() == &reference)
                .filter(|one| one.pointer(status).unwrap() == "active")
                .count();
            assert_eq!(records.len(), wanted.min(100), "{operation}");
            assert!(records.iter().all(|record| record["fields"].as_object().unwrap().len() == 1));
            found += records.len();
        }
    }
    assert!(found > 50, "{found}");
    // Nobody, and a person whom the server does not know.
    let question = Question {
        operation: "problems.by_person",
        fields: &["problems"],
        subject: "980101199001019999",
        arguments: &[],
        within_ms: 20_000,
    };
    assert_eq!(ask(&mapped, question).await.unwrap(), Vec::<Value>::new());
    for entry in server.log() {
        let line = entry["line"].as_str().unwrap();
        assert!(!line.contains("98010119900101"), "{line}");
        if line.starts_with("POST") {
            let form = entry["form"].as_array().unwrap();
            let elements = form.iter().find(|pair| pair[0] == "_elements").unwrap();
            let wanted = ["code,recordedDate", "authoredOn,medication,medicationCodeableConcept"];
            assert!(wanted.contains(&elements[1].as_str().unwrap()), "{elements}");
        }
    }
    let level = Level::Live { source: mapped.source().as_ref(), now_ms: NOW_MS };
    let findings = check(mapped.mapping(), level).await;
    assert!(findings.iter().all(|finding| finding.severity != Severity::Error), "{findings:#?}");
}
