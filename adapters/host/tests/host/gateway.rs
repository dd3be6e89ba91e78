//! The gateway's good ways: a unified record over plain HTTP, and the life of a case.

use crate::http::{get, send};
use crate::town::{TOKEN, Town};
use serde_json::json;
use yiwang_proto::entry::{Kind, decode};
use yiwang_tests::world::folder_holds;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_http_client_gets_one_record_from_two_departments() {
    let town = Town::new(11).await;
    let mother = town.city.household().mother;
    let case = town.open_case(&[&mother.id]).await;
    let answer = town.query(&case, &mother.id).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let record = answer.json();
    assert_eq!(record["complete"], true, "{record:#}");
    let person = &record["records"]["Person"];
    assert_eq!(person["name"]["state"], "value");
    assert_eq!(person["name"]["value"], mother.name);
    assert_eq!(person["name"]["sources"].as_array().unwrap().len(), 2);
    // The two registers wrote the birthday down by different calendars.
    assert_eq!(person["birth_date"]["state"], "conflict", "{record:#}");
    let claims = person["birth_date"]["claims"].as_array().unwrap();
    let mut values: Vec<&str> = claims.iter().map(|claim| claim["value"].as_str().unwrap()).collect();
    values.sort_unstable();
    assert_eq!(values, [mother.birth_date_civil.as_str(), mother.birth_date.as_str()]);
    assert!(claims.iter().all(|claim| claim["source"]["receipt"].is_u64()), "{record:#}");
    assert_eq!(person.as_object().unwrap().len(), 2, "granted fields and nothing else");
    let hub = town.world.hub_dir();
    town.office.until_ready().await;
    let status = town.office.health("/status").await.json();
    assert_eq!(status["gateway"]["apps"][0]["answered"], 2, "{status:#}");
    assert!(status["certificate_ends"].is_string());
    let served = town.police_host.as_ref().unwrap().health("/status").await.json();
    assert_eq!((&served["adapter"]["answered"], &served["adapter"]["link"]), (&json!(1), &json!("up")));
    assert!(!status.to_string().contains(&mother.id) && !served.to_string().contains(&mother.id));
    assert!(!folder_holds(&hub, mother.id.as_bytes()), "the hub keeps no identifier");
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_case_is_opened_added_to_shown_and_closed() {
    let town = Town::new(12).await;
    let home = town.city.household();
    let case = town.open_case(&[&home.mother.id]).await;
    let asked = town.query(&case, &home.son.id).await.json();
    assert_eq!(asked["records"]["Person"]["name"]["code"], "subject_not_in_case", "{asked:#}");
    let add = json!({ "subjects": [home.son.id], "reason": "household-member" });
    let added = town.post(&format!("/v1/cases/{case}/add"), &add).await;
    assert_eq!(added.status, 200, "{added:?}");
    let asked = town.query(&case, &home.son.id).await.json();
    assert_eq!(asked["records"]["Person"]["name"]["value"], home.son.name, "{asked:#}");
    let token = format!("authorization: Bearer {TOKEN}");
    let path = format!("/v1/cases/{case}");
    let shown = send(town.office.gateway(), "GET", &path, &[&token], "").await.json();
    assert_eq!((&shown["state"], &shown["subjects"]), (&json!("open"), &json!(2)), "{shown:#}");
    assert_eq!(shown["receipts"].as_array().unwrap().len(), 2);
    assert_eq!(shown["matter"], "social-assistance");
    let closed = town.post(&format!("{path}/close"), &json!({ "reason": "decided" })).await;
    assert_eq!(closed.status, 200, "{closed:?}");
    town.post(&format!("{path}/close"), &json!({ "reason": "decided" })).await.problem(409, "case_closed");
    let shown = send(town.office.gateway(), "GET", &path, &[&token], "").await.json();
    assert_eq!(shown["state"], "closed");
    assert!(shown["closed_at"].is_string());
    let asked = town.query(&case, &home.mother.id).await.json();
    assert_eq!(asked["complete"], false);
    assert_eq!(asked["records"]["Person"]["name"]["state"], "withheld", "{asked:#}");
    assert_eq!(asked["records"]["Person"]["name"]["code"], "case_closed", "{asked:#}");
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_fields_that_were_asked_for_come_and_a_type_explains_itself() {
    let town = Town::new(13).await;
    let mother = town.city.household().mother;
    let case = town.open_case(&[&mother.id]).await;
    let body = json!({
        "subject": mother.id, "purpose": "social-assistance.eligibility", "case": case,
        "officer": "o-abcdefghijklmnop", "fields": { "Person": ["name", "sex"] },
    });
    let record = town.post("/v1/records/query", &body).await.json();
    let person = record["records"]["Person"].as_object().unwrap();
    assert_eq!(person["name"]["value"], mother.name);
    assert_eq!(person["sex"]["state"], "withheld", "no contract grants it: {record:#}");
    assert_eq!(person["sex"]["code"], "field_not_granted");
    assert_eq!(person.len(), 2);
    let problem = get(town.office.gateway(), "/problems/case_closed").await;
    assert_eq!((problem.status, &problem.json()["code"]), (200, &json!("case_closed")));
    get(town.office.gateway(), "/problems/nothing").await.problem(404, "not_found");
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_names_the_trace_of_the_caller() {
    let town = Town::new(14).await;
    let mother = town.city.household().mother;
    let case = town.open_case(&[&mother.id]).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let token = format!("authorization: Bearer {TOKEN}");
    let parent = format!("traceparent: 00-{trace}-00f067aa0ba902b7-01");
    let body = json!({ "subject": mother.id, "purpose": "social-assistance.eligibility", "case": case });
    let headers = [token.as_str(), parent.as_str(), "content-type: application/json"];
    let at = town.office.gateway();
    let record = send(at, "POST", "/v1/records/query", &headers, &body.to_string()).await.json();
    let sources = record["sources"].as_array().unwrap();
    assert_eq!(sources.len(), 2, "{record:#}");
    for source in sources {
        let index = source["receipt"].as_u64().unwrap();
        let entry = decode(&town.world.hub().hub.ledger.reader().read(index).unwrap()).unwrap();
        let Some(Kind::Exchange(exchange)) = entry.kind else { panic!("no exchange: {entry:?}") };
        assert_eq!(yiwang_proto::hex(&exchange.trace_id), trace);
    }
    // A refusal names the trace as well.
    let refused = send(at, "POST", "/v1/records/query", &headers, "{}").await.problem(422, "invalid");
    assert_eq!(refused["trace_id"], trace);
    town.stop().await;
}
