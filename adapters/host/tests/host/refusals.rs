//! What the gateway refuses, and how it says so.

use crate::http::{post, raw, send};
use crate::town::{OTHER_TOKEN, TOKEN, Town};
use serde_json::{Value, json};

const JSON: &str = "content-type: application/json";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_do_not_hold_are_refused_without_repeating_a_value() {
    let town = Town::new(21).await;
    let at = town.office.gateway();
    let token = format!("authorization: Bearer {TOKEN}");
    strangers(&town).await;
    // Nothing of the address is taken as an argument.
    let id = town.city.household().mother.id;
    let query = "/v1/records/query";
    send(at, "POST", &format!("{query}?subject={id}"), &[&token, JSON], "{}")
        .await
        .problem(400, "query_string");
    send(at, "GET", "/v1/records", &[&token], "").await.problem(404, "not_found");
    let wrong = send(at, "GET", query, &[&token], "").await;
    wrong.problem(405, "method_not_allowed");
    assert_eq!(wrong.header("allow"), Some("POST"));
    send(at, "POST", query, &[&token, "content-type: text/plain"], "{}")
        .await
        .problem(415, "unsupported_media_type");
    send(at, "POST", query, &[&token], "{}").await.problem(415, "unsupported_media_type");
    for bad in ["{", "[]", "\"x\"", "{\"case\": }", "null"] {
        send(at, "POST", query, &[&token, JSON], bad).await.problem(400, "not_json");
    }
    let large = format!("{{\"subject\": \"{}\"}}", "9".repeat(70_000));
    send(at, "POST", query, &[&token, JSON], &large).await.problem(413, "too_large");
    values(&town, &id).await;
    mistyped(&town, &id).await;
    meant(&town, &id).await;
    town.stop().await;
}

async fn strangers(town: &Town) {
    let at = town.office.gateway();
    let body = "{}";
    for headers in [
        &[][..],
        &["authorization: Bearer nobody"],
        &["authorization: Bearer "],
        &["authorization: Basic YTpi"],
        &["authorization: Bearer a-token-of-the-assistance-desk", "authorization: Bearer x"],
    ] {
        let refused = send(at, "POST", "/v1/records/query", headers, body).await;
        refused.problem(401, "unauthenticated");
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    }
    let status = town.office.health("/status").await.json();
    assert_eq!(status["gateway"]["unauthenticated"], 5);
}

async fn values(town: &Town, id: &str) {
    let at = town.office.gateway();
    let case = town.open_case(&[id]).await;
    let refuse = async |body: Value, words: &[&str]| {
        let answer = post(at, "/v1/records/query", TOKEN, &body).await;
        let problem = answer.problem(422, "invalid");
        assert!(problem["trace_id"].is_string());
        assert!(!answer.body.contains("980121194603180024"), "no value comes back: {answer:?}");
        for word in words {
            assert!(answer.body.contains(word), "{word}: {answer:?}");
        }
    };
    let good = json!({ "subject": id, "purpose": "social-assistance.eligibility", "case": case });
    let with = |key: &str, value: Value| {
        let mut body = good.clone();
        body[key] = value;
        body
    };
    refuse(with("subjct", json!(id)), &["unknown field `subjct`"]).await;
    refuse(json!({}), &["`purpose` is missing", "`case` is missing"]).await;
    refuse(with("subject", json!([id])), &["#/subject"]).await;
    refuse(with("subject", json!("")), &["#/subject"]).await;
    refuse(with("officer", Value::Null), &["#/officer"]).await;
    refuse(with("fields", Value::Null), &["#/fields"]).await;
    refuse(with("purpose", json!(id)), &["#/purpose", "a purpose"]).await;
    refuse(with("purpose", json!("curiosity")), &["catalogue of purposes"]).await;
    refuse(with("case", json!(id)), &["#/case", "UUID"]).await;
    refuse(with("officer", json!(id)), &["#/officer"]).await;
    refuse(with("fields", json!(["name"])), &["#/fields"]).await;
    refuse(with("fields", json!({ "Person": "name" })), &["#/fields/Person"]).await;
    refuse(with("fields", json!({ "Person": ["nmae"] })), &["has no field `nmae`; did you mean `name`?"])
        .await;
    refuse(with("fields", json!({ "Nobody": ["name"] })), &["no record of the catalogue"]).await;
    refuse(with("fields", json!({ "Persn": ["name"] })), &["#/fields/Persn", "did you mean `Person`?"]).await;
    refuse(with("arguments", json!({ "area_code": [id] })), &["#/arguments/area_code"]).await;
    // Whoever loops until nothing is left to ask for is told, and does not begin anew.
    for resume in [Value::Null, json!({}), json!("x"), json!([id])] {
        refuse(with("resume", resume), &["#/resume", "leave it out for the first pages"]).await;
    }
    for resume in [json!({ "No Contract": "x" }), json!({ "a-contract": "" }), json!({ "a-contract": "a b" })]
    {
        refuse(with("resume", resume), &["#/resume", "that no answer gave"]).await;
    }
    let other = post(at, "/v1/records/query", TOKEN, &with("resume", json!({ "a-contract": "token" }))).await;
    other.problem(403, "no_contract");
    assert!(other.body.contains("is not named in `resume`"), "{other:?}");
    let several = json!({ "subject": 5, "purpose": "x", "case": "y", "officer": "z" });
    refuse(several, &["#/subject", "#/purpose", "#/case", "#/officer"]).await;
    let twice = format!("{{\"case\": \"{case}\", \"case\": \"{case}\"}}");
    let token = format!("authorization: Bearer {TOKEN}");
    let answer = send(at, "POST", "/v1/records/query", &[&token, JSON], &twice).await;
    answer.problem(422, "invalid");
    assert!(answer.body.contains("duplicate field `case`"), "{answer:?}");
    // Cases as well.
    town.post("/v1/cases", &json!({ "matter": "gossip", "subjects": [id] })).await.problem(422, "invalid");
    town.post("/v1/cases", &json!({ "matter": "social-assistance", "subjects": id }))
        .await
        .problem(422, "invalid");
    town.post("/v1/cases/none/close", &json!({ "reason": "decided" })).await.problem(404, "not_found");
    let unknown = "01939000-0000-7000-8000-000000000000";
    town.post(&format!("/v1/cases/{unknown}/close"), &json!({ "reason": "decided" }))
        .await
        .problem(404, "no_case");
    town.post(&format!("/v1/cases/{case}/close"), &json!({ "reason": "bored" }))
        .await
        .problem(422, "invalid");
    town.post(&format!("/v1/cases/{case}/add"), &json!({ "subjects": [], "reason": "new-party" }))
        .await
        .problem(422, "invalid");
}

/// Of purposes and matters that nobody has, the nearest of this app's own contracts is named, and no other.
async fn meant(town: &Town, id: &str) {
    let case = town.open_case(&[id]).await;
    let permissions = "`GET /v1/permissions` lists those of this app's contracts";
    for (purpose, words) in [
        ("social-assistance.eligiblity", "did you mean `social-assistance.eligibility`?"),
        ("public-health.planing", permissions),
        ("curiosity", permissions),
    ] {
        let body = json!({ "subject": id, "purpose": purpose, "case": case });
        for path in ["/v1/records/query", "/v1/counts/Person", "/v1/batches/Person"] {
            let mut body = body.clone();
            if path != "/v1/records/query" {
                body.as_object_mut().unwrap().remove("subject");
            }
            let answer = town.post(path, &body).await;
            answer.problem(422, "invalid");
            assert!(answer.body.contains(words) && !answer.body.contains("planning"), "{answer:?}");
        }
    }
    for (matter, words) in [
        ("social-asistance", "did you mean `social-assistance`?"),
        ("missing-persn", permissions),
        ("gossip", permissions),
    ] {
        let answer = town.post("/v1/cases", &json!({ "matter": matter, "subjects": [id] })).await;
        answer.problem(422, "invalid");
        assert!(answer.body.contains(words) && !answer.body.contains("missing-person"), "{answer:?}");
    }
    for (path, near) in [
        ("/v1/counts/Incdent", "; did you mean `Incident`?"),
        ("/v1/batches/Dweling", "; did you mean `Dwelling`?"),
        ("/v1/counts/Telescope", "has this name\""),
    ] {
        let answer = town.post(path, &json!({})).await;
        answer.problem(404, "not_found");
        assert!(answer.body.contains(near), "{path}: {answer:?}");
    }
}

/// A number that was mistyped is of nobody: neither a case nor a query would say so.
async fn mistyped(town: &Town, right: &str) {
    let case = town.open_case(&[right]).await;
    let wrong = format!("{}{}", &right[..17], if right.ends_with('5') { '6' } else { '5' });
    let purpose = "social-assistance.eligibility";
    let add = format!("/v1/cases/{case}/add");
    for (path, pointer, body) in [
        (
            "/v1/records/query",
            "#/subject\"",
            json!({ "subject": wrong, "purpose": purpose, "case": case, "as_issued": false }),
        ),
        ("/v1/cases", "#/subjects/1", json!({ "matter": "social-assistance", "subjects": [right, wrong] })),
        (add.as_str(), "#/subjects/0", json!({ "subjects": [wrong], "reason": "new-party" })),
    ] {
        let answer = town.post(path, &body).await;
        answer.problem(422, "invalid");
        for words in [pointer, "GB 11643", "compare it with the document", "as_issued"] {
            assert!(answer.body.contains(words), "{words}: {answer:?}");
        }
        assert!(!answer.body.contains(&wrong), "{answer:?}");
        // Some were issued so.
        let mut issued = body;
        issued["as_issued"] = json!(true);
        let answer = town.post(path, &issued).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        issued["as_issued"] = json!("yes");
        town.post(path, &issued).await.problem(422, "invalid");
    }
    // Another kind of identifier has no check character.
    town.open_case(&["E-1990-17"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_gets_nothing_under_a_contract_of_another_app() {
    let town = Town::new(22).await;
    let mother = town.city.household().mother;
    let case = town.open_case(&[&mother.id]).await;
    let body = json!({ "subject": mother.id, "purpose": "social-assistance.eligibility", "case": case });
    let at = town.office.gateway();
    post(at, "/v1/records/query", OTHER_TOKEN, &body).await.problem(403, "no_contract");
    // Who asks for what its contracts do not grant reads what they grant, not that there is none.
    let ungranted = json!({
        "subject": mother.id, "purpose": "social-assistance.eligibility", "case": case,
        "fields": { "Person": ["nationality"] },
    });
    let problem = post(at, "/v1/records/query", TOKEN, &ungranted).await.problem(403, "no_contract");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("grants none of the fields that were asked for; it grants ")
            && detail.contains("name"),
        "{detail}"
    );
    let nobody =
        json!({ "purpose": "social-assistance.eligibility", "case": case, "fields": { "Person": ["name"] } });
    let problem = post(at, "/v1/records/query", TOKEN, &nobody).await.problem(403, "no_contract");
    assert!(problem["detail"].as_str().unwrap().contains("is asked with a subject"), "{problem}");
    let other = json!({ "subject": mother.id, "purpose": "public-health.surveillance", "case": case });
    let known = post(at, "/v1/records/query", TOKEN, &other).await;
    assert!(matches!(known.status, 403 | 422), "{known:?}");
    // A header that never ends does not hold a place for ever, and what is no HTTP gets no record.
    let nonsense = raw(at, b"HELLO\r\n\r\n").await;
    assert_eq!(nonsense.status, 400);
    town.stop().await;
}
