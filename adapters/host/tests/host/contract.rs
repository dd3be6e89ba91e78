//! The gateway's contract with developers: its document, what may be asked, idempotent cases, examples.

use crate::batch_example::query::{Gateway, household};
use crate::http::{Answer, get, raw, send};
use crate::town::{OTHER_TOKEN, TOKEN, Town, gateway_config};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Command;
use yiwang_adapter::gateway::openapi;

const JSON: &str = "content-type: application/json";

fn document() -> Value {
    serde_json::from_str(&openapi::json()).unwrap()
}

#[test]
fn the_document_is_the_one_that_developers_were_given() {
    insta::assert_snapshot!(openapi::json());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_is_in_the_document_and_vice_versa() {
    let town = Town::new(61).await;
    let at = town.office.gateway();
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let served = get(at, "/v1/openapi.json").await;
    assert_eq!((served.status, served.json()), (200, document.clone()));
    let paths = document["paths"].as_object().unwrap();
    let token = format!("authorization: Bearer {TOKEN}");
    let mut operations = 0;
    for (path, item) in paths {
        let address =
            path.replace("{case}", "01939000-0000-7000-8000-000000000000").replace("{code}", "busy");
        let address = address.replace("{record}", "Person");
        let described: Vec<String> =
            item.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "HEAD"] {
            let answer = send(at, method, &address, &[&token, JSON], "{}").await;
            framed(&answer);
            let known = described.iter().any(|known| known == method || (method == "HEAD" && known == "GET"));
            if !known {
                assert_eq!(answer.status, 405, "{method} {path} is not in the document: {answer:?}");
                continue;
            }
            operations += 1;
            assert_ne!(answer.status, 405, "{method} {path} is in the document: {answer:?}");
            if method != "HEAD" {
                let responses = &item[method.to_lowercase()]["responses"];
                assert!(responses[answer.status.to_string()].is_object(), "{method} {path}: {answer:?}");
            }
        }
    }
    assert!(operations >= paths.len());
    // The table of routes and the document name the same.
    let mut routes = openapi::routes_of_table();
    routes.sort();
    let mut described: Vec<(String, String)> = paths
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(|method| (path.clone(), method.clone())).collect::<Vec<_>>()
        })
        .collect();
    described.sort();
    assert_eq!(routes, described);
    town.stop().await;
}

/// Every answer names its request and its trace.
fn framed(answer: &Answer) {
    let id = answer.header("x-request-id").unwrap_or_else(|| panic!("{answer:?}"));
    assert_eq!(id.len(), 36, "{answer:?}");
    assert_eq!(answer.header("x-trace-id").map(str::len), Some(32), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_is_a_problem_with_ids() {
    let town = Town::new(62).await;
    let at = town.office.gateway();
    let token = format!("authorization: Bearer {TOKEN}");
    let large = format!("{{\"subject\": \"{}\"}}", "9".repeat(70_000));
    for (method, path, headers, body, status, code) in [
        ("GET", "/nowhere", &[token.as_str()][..], "", 404, "not_found"),
        ("GET", "/v1/cases/%FF%FE", &[&token], "", 404, "not_found"),
        ("GET", "/problems/%FF", &[], "", 404, "not_found"),
        ("DELETE", "/v1/cases", &[&token], "", 405, "method_not_allowed"),
        ("POST", "/v1/cases", &[&token, "content-type: text/xml"], "{}", 415, "unsupported_media_type"),
        ("POST", "/v1/cases", &[&token, JSON], "{\"matter\"", 400, "not_json"),
        ("POST", "/v1/cases", &[&token, JSON], &large, 413, "too_large"),
        ("POST", "/v1/cases", &[JSON], "{}", 401, "unauthenticated"),
        (
            "POST",
            "/v1/cases",
            &[&token, JSON, "idempotency-key: short"],
            "{}",
            400,
            "idempotency_key_invalid",
        ),
    ] {
        let answer = send(at, method, path, headers, body).await;
        framed(&answer);
        answer.problem(status, code);
    }
    // Two requests never have one id.
    let [a, b] = [get(at, "/nowhere").await, get(at, "/nowhere").await];
    assert_ne!(a.header("x-request-id"), b.header("x-request-id"));
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_sees_what_it_may_ask_and_nothing_of_others() {
    let town = Town::new(63).await;
    let at = town.office.gateway();
    let of = async |token: &str| {
        let token = format!("authorization: Bearer {token}");
        send(at, "GET", "/v1/permissions", &[&token], "").await.json()
    };
    let allowed = of(TOKEN).await;
    assert_eq!((&allowed["member"], &allowed["app"]), (&json!("street-office"), &json!("assistance-desk")));
    let contracts = allowed["contracts"].as_array().unwrap();
    let ids: Vec<&str> = contracts.iter().map(|one| one["contract"].as_str().unwrap()).collect();
    assert_eq!(ids, ["civil-street-person", "police-street-person"]);
    let police = &contracts[1];
    assert_eq!(police["purpose"], "social-assistance.eligibility");
    assert_eq!((&police["record"], &police["method"]), (&json!("Person"), &json!("query")));
    let fields: Vec<&str> =
        police["fields"].as_array().unwrap().iter().map(|field| field["name"].as_str().unwrap()).collect();
    assert!(fields.contains(&"name") && !fields.contains(&"sex"), "{police:#}");
    assert_eq!(police["limits"]["deadline_ms"], 1500);
    assert!(police["valid_until"].is_string() && police["connected"] == true, "{police:#}");
    assert_eq!(of(OTHER_TOKEN).await["contracts"], json!([]), "no contract names the other app");
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_opens_one_case_also_after_a_restart() {
    let mut town = Town::new(64).await;
    let home = town.city.household();
    let body = json!({ "matter": "social-assistance", "subjects": [home.mother.id] });
    let key = "idempotency-key: 4f8f2f6c-household-1";
    let size = town.world.hub().hub.ledger.checkpoint().size;
    let first = open(&town, TOKEN, key, &body).await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (201, None), "{first:?}");
    let again = open(&town, TOKEN, key, &body).await;
    assert_eq!((again.status, again.json()), (201, first.json()), "{again:?}");
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    // At once: one case, whoever comes first.
    let crowd = "idempotency-key: 4f8f2f6c-household-2";
    let (a, b) = tokio::join!(open(&town, TOKEN, crowd, &body), open(&town, TOKEN, crowd, &body));
    let opened: std::collections::BTreeSet<String> = [&a, &b]
        .into_iter()
        .filter(|answer| answer.status == 201)
        .map(|answer| answer.json()["case"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(opened.len(), 1, "{a:?} {b:?}");
    for answer in [&a, &b] {
        if answer.status != 201 {
            answer.problem(409, "idempotency_key_in_flight");
        }
    }
    // Another body under the key is refused, and the order of subjects is no other body.
    let other = json!({ "matter": "social-assistance", "subjects": [home.son.id] });
    open(&town, TOKEN, key, &other).await.problem(422, "idempotency_key_reused");
    // Another app's key is another key.
    assert_ne!(open(&town, OTHER_TOKEN, key, &body).await.json()["case"], first.json()["case"]);
    // The gateway keeps nothing: a new one knows as much.
    let street = town.street.take().unwrap();
    town.office.stop().await;
    town.office = crate::town::Host::start(&town.world, &street, &gateway_config()).await;
    town.office.until_ready().await;
    let later = open(&town, TOKEN, key, &body).await;
    assert_eq!((later.status, later.json()), (201, first.json()), "{later:?}");
    let grown = town.world.hub().hub.ledger.checkpoint().size - size;
    assert_eq!(grown, 3, "three keys, three openings");
    town.stop().await;
}

async fn open(town: &Town, token: &str, key: &str, body: &Value) -> Answer {
    let token = format!("authorization: Bearer {token}");
    send(town.office.gateway(), "POST", "/v1/cases", &[&token, JSON, key], &body.to_string()).await
}

/// What an example prints, with the gateway at an address and further settings; none where its program is missing.
pub fn example(name: &str, program: &str, gateway: SocketAddr, settings: &[(&str, &str)]) -> Option<String> {
    if Command::new(program).arg("--version").output().is_err() {
        assert!(std::env::var("YIWANG_REQUIRE_SERVICES").is_err(), "`{program}` is not installed");
        println!("skipped: {program} not installed");
        return None;
    }
    let path = format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"));
    let program = if program == "curl" { "bash" } else { program };
    let output = Command::new(program)
        .arg(path)
        .env("GATEWAY", format!("http://{gateway}"))
        .env("TOKEN", TOKEN)
        .envs(settings.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{name}: {text}{}", String::from_utf8_lossy(&output.stderr));
    Some(text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_the_readme_run() {
    let town = Town::new(65).await;
    let mother = town.city.household().mother;
    let (at, id) = (town.office.gateway(), mother.id.clone());
    let texts = tokio::task::spawn_blocking(move || {
        let subject = [("SUBJECT", id.as_str())];
        [example("query.sh", "curl", at, &subject), example("query.py", "python3", at, &subject)]
    });
    for text in texts.await.unwrap().into_iter().flatten() {
        assert!(text.contains(&mother.name), "{text}");
    }
    let gateway = Gateway { address: town.office.gateway().to_string(), token: TOKEN.to_owned() };
    let record = household(&gateway, &mother.id, "rust-example-000001").await.unwrap();
    assert_eq!(record["records"]["Person"]["name"]["value"], mother.name, "{record:#}");
    let refused = household(&gateway, "", "rust-example-000002").await.unwrap_err().to_string();
    assert!(refused.contains("invalid"), "{refused}");
    let nonsense =
        raw(town.office.gateway(), b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    nonsense.problem(404, "not_found");
    town.stop().await;
}
