//! A gas company's API through the mapping that stands among the departments'.

use crate::double::{Double, file, open_with, settings};
use serde_json::{Value, json};
use std::path::Path;
use yiwang_adapter_sdk::check::{Level, Severity, check};
use yiwang_adapter_sdk::compliance::NOW_MS;
use yiwang_adapter_sdk::fetch::Ask;
use yiwang_proto::codes::Code;
use yiwang_proto::ids::{FieldName, Operation};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gas_companys_connections_come_as_records_of_the_catalogue() {
    let folder = tempfile::tempdir().unwrap();
    let Some(api) = Double::api(folder.path()) else { return };
    let department = Path::new(env!("CARGO_MANIFEST_DIR")).join("../departments/gas");
    let secret = file(folder.path(), "secret", "s3cret:/+ é");
    let text = std::fs::read_to_string(department.join("connection.toml"))
        .unwrap()
        .replace("/run/secrets/gas-api", &secret.display().to_string());
    let mut settings = settings("");
    settings.vars =
        [("GAS_API".to_owned(), api.url()), ("GAS_TOKENS".to_owned(), format!("{}/token", api.url()))].into();
    // Its OpenAPI document stands beside the mapping.
    let mapped = open_with(&text, &department, &settings);
    let level = Level::Live { source: mapped.source().as_ref(), now_ms: NOW_MS };
    let findings = check(mapped.mapping(), level).await;
    assert!(findings.iter().all(|finding| finding.severity != Severity::Error), "{findings:#?}");
    assert!(findings.iter().any(|finding| finding.code == "A-HTTP-006"), "{findings:#?}");
    assert!(findings.iter().any(|finding| finding.code == "A-SRC-006"), "{findings:#?}");
    let operation = Operation::parse("connection.by_person").unwrap();
    let fields =
        ["address_code", "kind", "state", "safety_check"].map(|name| FieldName::parse(name).unwrap());
    let arguments = [].into();
    let ask = Ask {
        highest_class: (2, Code::SealingRequired),
        operation: &operation,
        fields: &fields,
        rows: &[],
        subject: "980101199001010017",
        arguments: &arguments,
        limit: 20,
        now_ms: NOW_MS,
        deadline_ms: NOW_MS + 20_000,
    };
    // A field computed from what no field holds is let out; one of a list's first item is null where it is empty.
    let records: Vec<Value> = serde_json::from_slice(&mapped.answer(ask).await.unwrap().records).unwrap();
    let wanted = json!([
        { "fields": { "address_code": "A-1", "kind": "gas", "safety_check": "passed", "state": "connected" },
          "as_of": "2026-11-20T09:30:00+08:00" },
        { "fields": { "address_code": "A-2", "kind": "gas", "safety_check": null, "state": "applied" },
          "as_of": "2026-11-01T08:00:00+08:00" },
    ]);
    assert_eq!(Value::Array(records), wanted);
    let lines = api.lines();
    assert!(lines.iter().all(|line| !line.contains("9801011990")), "{lines:?}");
}
