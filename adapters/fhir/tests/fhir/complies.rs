//! The compliance suite, and what it left in the server's access log.

use crate::double::{self, Double, parse, place, settings, suite, suite_mapping};
use serde_json::json;
use std::sync::Arc;
use yiwang_adapter_fhir::FhirSource;
use yiwang_adapter_sdk::check::Severity;
use yiwang_adapter_sdk::compliance;
use yiwang_adapter_sdk::fetch::MappedSource;
use yiwang_adapter_sdk::source::{Environment, Source};
use yiwang_proto::ambient::{ManualClock, SystemEntropy};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fhir_server_complies_and_its_log_shows_no_identifier() {
    let folder = tempfile::tempdir().unwrap();
    suite(folder.path());
    let Some(server) = Double::start(folder.path(), &[]) else { return };
    let text = suite_mapping("pool = { max = 4, acquire = \"10s\" }");
    let make = || {
        let mapping = parse(&text, folder.path());
        let source = double::source(&mapping, &settings(&server.url())).unwrap();
        (Arc::new(mapping), Arc::new(source) as Arc<dyn Source>)
    };
    let outcomes = compliance::run_named(make, place).await;
    assert!(outcomes.len() >= 14);
    assert_eq!(compliance::failures(&outcomes), "");
    let log = server.log();
    assert!(log.len() > 50);
    for entry in &log {
        let line = entry["line"].as_str().unwrap();
        let page = line.strip_prefix("GET /fhir/Device?_cursor=").is_some_and(|rest| rest.len() == 45);
        assert!(
            page || ["POST /fhir/Device/_search HTTP/1.1", "GET /fhir/metadata HTTP/1.1"].contains(&line),
            "{line}"
        );
        if line.starts_with("POST") {
            let form = entry["form"].as_array().unwrap();
            assert!(form.iter().any(|pair| pair[0] == "_elements"), "{entry}");
            assert_eq!(entry["prefer"], "handling=strict");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_another_version_or_without_the_search_is_not_asked() {
    let folder = tempfile::tempdir().unwrap();
    suite(folder.path());
    let Some(server) = Double::start(folder.path(), &[]) else { return };
    let open = |text: &str| {
        let mapping = parse(text, folder.path());
        let source = double::source(&mapping, &settings(&server.url())).unwrap();
        (mapping, source)
    };
    server.control(&serde_json::json!({ "version": "4.3.0" }));
    let (mapping, source) = open(&suite_mapping(""));
    assert!(source.probe().await.unwrap_err().to_string().contains("it speaks FHIR `4.3.0`"));
    let findings = source.check(mapping.operations().to_vec()).await;
    assert!(findings.iter().any(|finding| finding.code == "A-FHIR-002"), "{findings:?}");
    server.control(&serde_json::json!({ "version": "4.0.1", "clear": true }));
    for (from, to, what) in [
        ("manufacturer:exact", "model:exact", "it does not declare the search parameter `model` of `Device`"),
        ("\"Device\"", "\"Patient\"", "it does not declare the type `Patient`"),
    ] {
        let (mapping, source) = open(&suite_mapping("").replace(from, to));
        let findings = source.check(mapping.operations().to_vec()).await;
        let found = findings.iter().find(|finding| finding.severity == Severity::Error).unwrap();
        assert!(found.code == "A-FHIR-004" && found.message.contains(what), "{}", found.message);
        let mapped = crate::double::open_with(
            &suite_mapping("").replace(from, to),
            folder.path(),
            &settings(&server.url()),
        );
        let error = crate::double::by_area(&mapped, "980199", 20_000).await.unwrap_err();
        assert!(error.detail.contains(what), "{error}");
    }
    assert!(server.lines().iter().all(|line| line == "GET /fhir/metadata HTTP/1.1"), "{:?}", server.lines());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_declared_is_asked_again_after_a_while_and_when_it_refuses_a_search() {
    let folder = tempfile::tempdir().unwrap();
    suite(folder.path());
    let Some(server) = Double::start(folder.path(), &[]) else { return };
    // Its probe does not ask for what the server declares.
    let mapping = parse(&suite_mapping("health = { probe = \"/Device\" }"), folder.path());
    let (clock, environment) = (Arc::new(ManualClock::new(compliance::NOW_MS)), settings(&server.url()));
    let environment: Arc<dyn Environment> = Arc::new(environment);
    let source = FhirSource::with(&mapping, &environment, clock.clone(), Arc::new(SystemEntropy)).unwrap();
    let mapped = MappedSource::new(Arc::new(mapping), Arc::new(source));
    let asked = || server.lines().iter().filter(|line| line.contains("/metadata")).count();
    let minutes = |count: u64| clock.advance_ms(count * 60_000);
    for _ in 0..2 {
        assert_eq!(double::by_id(&mapped, "P1").await.unwrap().len(), 1);
        minutes(4);
        mapped.source().probe().await.unwrap();
    }
    assert_eq!(asked(), 1);
    server.control(&json!({ "version": "4.3.0" }));
    minutes(2);
    let error = double::by_id(&mapped, "P1").await.unwrap_err();
    assert!(error.detail.contains("it speaks FHIR `4.3.0`"), "{error}");
    server.control(&json!({ "version": "4.0.1" }));
    minutes(10);
    assert_eq!(double::by_id(&mapped, "P1").await.unwrap().len(), 1);
    assert_eq!(asked(), 3);
    for (issue, more) in [("invalid", 0), ("not-supported", 1)] {
        server.fault("outcome", 1, issue);
        assert!(double::by_id(&mapped, "P1").await.is_err());
        assert_eq!(double::by_id(&mapped, "P1").await.unwrap().len(), 1);
        assert_eq!(asked(), more, "{issue}");
    }
}
