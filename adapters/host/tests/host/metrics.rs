//! The pages of metrics, read by somebody else's parser.

use crate::http::get;
use crate::town::Town;
use serde_json::{Value, json};
use std::io::Write as _;
use std::process::{Command, Stdio};

/// The Python that has the judges' packages; none where it is not installed and need not be.
pub fn python(package: &str) -> Option<String> {
    let python = std::env::var("YIWANG_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let there = Command::new(&python)
        .args(["-c", &format!("import {package}")])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !there {
        assert!(std::env::var("YIWANG_REQUIRE_SERVICES").is_err(), "`{package}` is not installed");
        println!("skipped: {package} not installed");
        return None;
    }
    Some(python)
}

fn parsed(python: &str, pages: &[String]) -> Vec<Vec<Value>> {
    let mut judge = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/metrics.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    judge.stdin.take().unwrap().write_all(json!(pages).to_string().as_bytes()).unwrap();
    let output = judge.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn value(samples: &[Value], name: &str, labels: &Value) -> f64 {
    let found = samples.iter().find(|sample| sample[0] == name && sample[1] == *labels);
    found.unwrap_or_else(|| panic!("{name} {labels} is missing in {samples:?}"))[2].as_f64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pages_say_what_happened_and_nothing_about_persons() {
    let town = Town::new(71).await;
    let home = town.city.household();
    let case = town.open_case(&[&home.mother.id]).await;
    assert_eq!(town.query(&case, &home.mother.id).await.status, 200);
    // Refused by the hub: the case does not list him. Refused by the gateway: there is no such purpose.
    assert_eq!(town.query(&case, &home.son.id).await.status, 200);
    town.post("/v1/records/query", &json!({ "purpose": "x", "case": case })).await.problem(422, "invalid");
    let hub = town.world.hub().health_address;
    let hosts = [town.office.addresses.health, town.police_host.as_ref().unwrap().addresses.health];
    let mut pages = Vec::new();
    for address in [Some(hub)].into_iter().chain(hosts) {
        let answer = get(address.unwrap(), "/metrics").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        pages.push(answer.body);
    }
    for person in [&home.mother, &home.son] {
        for secret in [&person.id, &person.name, &case] {
            assert!(pages.iter().all(|page| !page.contains(secret.as_str())), "{secret}");
        }
    }
    if let Some(python) = python("prometheus_client") {
        let [hub, office, police] = parsed(&python, &pages).try_into().unwrap();
        assert_eq!(value(&hub, "yiwang_exchanges_total", &json!({ "outcome": "answered" })), 2.0);
        assert_eq!(value(&hub, "yiwang_exchanges_total", &json!({ "outcome": "denied" })), 2.0);
        let refused = json!({ "code": "subject_not_in_case", "recorded": "yes" });
        assert_eq!(value(&hub, "yiwang_refusals_total", &refused), 2.0);
        for (stage, passed) in [("accept", 4.0), ("authenticate", 4.0), ("forward", 2.0), ("reply", 2.0)] {
            let count = value(&hub, "yiwang_stage_seconds_count", &json!({ "stage": stage }));
            assert_eq!(count, passed, "{stage}");
        }
        assert_eq!(value(&hub, "yiwang_links_up", &json!({})), 2.0);
        assert_eq!(value(&hub, "yiwang_link_running", &json!({ "member": "police" })), 0.0);
        for member in ["police", "street-office"] {
            let age = value(&hub, "yiwang_standing_age_seconds", &json!({ "member": member }));
            assert!((0.0..60.0).contains(&age), "{member}: {age}");
        }
        let size = town.world.hub().hub.ledger.checkpoint().size;
        #[expect(clippy::cast_precision_loss, reason = "a small ledger")]
        let size = size as f64;
        assert_eq!(value(&hub, "yiwang_ledger_entries", &json!({})), size);
        assert_eq!(value(&hub, "yiwang_ledger_published_entries", &json!({})), size);
        for alarm in ["head_contradicts", "witness", "restored", "late", "offers_refused"] {
            assert_eq!(value(&hub, "yiwang_alarms_total", &json!({ "alarm": alarm })), 0.0, "{alarm}");
        }
        assert_eq!(value(&hub, "yiwang_ledger_ready", &json!({})), 1.0);
        assert_eq!(value(&office, "yiwang_gateway_problems_total", &json!({ "code": "invalid" })), 1.0);
        let route = json!({ "route": "/v1/records/query" });
        assert_eq!(value(&office, "yiwang_gateway_request_seconds_count", &route), 3.0);
        let answered = json!({ "app": "assistance-desk" });
        assert_eq!(value(&office, "yiwang_gateway_answered_total", &answered), 3.0);
        assert_eq!(value(&police, "yiwang_adapter_answers_total", &json!({ "outcome": "answered" })), 1.0);
        assert_eq!(value(&police, "yiwang_adapter_given_up_total", &json!({})), 0.0);
        assert_eq!(value(&police, "yiwang_links_up", &json!({})), 1.0);
        for page in [&hub, &office, &police] {
            assert!(value(page, "process_resident_memory_bytes", &json!({})) > 1e6);
            assert!(value(page, "process_open_fds", &json!({})) > 3.0);
        }
    }
    town.stop().await;
}
