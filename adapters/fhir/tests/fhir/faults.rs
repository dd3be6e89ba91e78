//! A server that is down, slow, broken, or leads elsewhere.

use crate::double::{Double, by_area, by_id, open_with, settings, suite_mapping, world};
use serde_json::json;
use yiwang_adapter_sdk::fetch::AnswerError;
use yiwang_proto::codes::Code;

/// Nothing of the server's own words, and nothing that was asked.
fn silent(error: &AnswerError) {
    let text = format!("{error:?}");
    assert!(!text.contains("hunter2") && !text.contains("P1"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_and_broken_answers_are_told_in_our_words_and_the_next_is_served() {
    let Some(world) = world("max_bytes = 4000000\nretry = { attempts = 3, first = \"10ms\" }") else {
        return;
    };
    assert_eq!(by_id(&world.mapped, "P1").await.unwrap().len(), 1);
    for (kind, to, code, what) in [
        ("outcome", "invalid", Code::SourceError, "refuses the search (status 400, issue invalid)"),
        (
            "outcome",
            "not-supported",
            Code::SourceError,
            "does not know the search (status 400, issue not-supported)",
        ),
        ("outcome", "forbidden", Code::SourceError, "refuses the adapter's credentials"),
        ("outcome", "exception", Code::SourceError, "the server fails (status 400, issue exception)"),
        ("outcome", "throttled", Code::ProviderBusy, "turns queries away"),
        ("outcome", "hunter2", Code::SourceError, "issue of no known type"),
        ("beside", "not-supported", Code::SourceError, "beside its answer, issue not-supported"),
        ("other", "Patient", Code::SourceError, "holds a resource of another type"),
        ("status", "500", Code::SourceError, "it fails (status 500)"),
        ("status", "404", Code::SourceError, "does not know the type of resource"),
        ("status", "201", Code::SourceError, "is no JSON"),
        ("json", "", Code::SourceError, "is broken JSON"),
        ("type", "", Code::SourceError, "is no JSON by its content type"),
        ("deep", "", Code::SourceError, "is nested too deeply"),
        ("wide", "", Code::SourceError, "holds too many values"),
        ("endless", "", Code::TooLarge, "rows hold more text"),
        ("redirect", "/fhir/Patient", Code::SourceError, "another address is never followed"),
        ("retry-after", "3600", Code::ProviderBusy, "turns queries away"),
    ] {
        world.server.fault(kind, 1, to);
        let error = by_id(&world.mapped, "P1").await.unwrap_err();
        assert_eq!(error.code, code, "{kind} {to}: {error}");
        assert!(error.detail.contains(what), "{kind} {to}: {error}");
        silent(&error);
        assert_eq!(world.server.log().len(), 1, "{kind} {to} is not asked again");
        assert_eq!(by_id(&world.mapped, "P1").await.unwrap().len(), 1, "{kind} {to}");
    }
    for (kind, to) in [("status", "503"), ("retry-after", "1")] {
        world.server.fault(kind, 1, to);
        assert_eq!(by_id(&world.mapped, "P1").await.unwrap().len(), 1);
        assert_eq!(world.server.log().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_server_is_given_up_and_one_that_is_down_served_again() {
    let Some(mut world) = world("retry = { attempts = 2, first = \"10ms\" }") else { return };
    assert_eq!(by_id(&world.mapped, "P1").await.unwrap().len(), 1);
    world.server.fault("slow", 1, "30");
    let error = by_area(&world.mapped, "980199", 1_000).await.unwrap_err();
    assert_eq!(error.code, Code::DeadlineExceeded);
    world.server.kill();
    let error = by_id(&world.mapped, "P1").await.unwrap_err();
    assert_eq!(error.code, Code::SourceError);
    assert!(error.detail.contains("source is unavailable"), "{error}");
    assert!(world.mapped.source().probe().await.is_err());
    world.server.restart();
    assert!(world.mapped.source().probe().await.is_ok());
    assert_eq!(by_id(&world.mapped, "P1").await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_not_the_base_is_told_as_that() {
    let Some(world) = world("") else { return };
    let url = world.server.url();
    let settings = settings(url.strip_suffix("/fhir").unwrap());
    let beside = open_with(&suite_mapping(""), world.folder.path(), &settings);
    let error = by_id(&beside, "P1").await.unwrap_err().detail;
    assert!(error.contains("(status 404) for `/metadata`: the address must be the base"), "{error}");
    assert!(!error.contains("127.0.0.1"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t19_next_pages_elsewhere_are_never_followed() {
    let Some(world) = world("") else { return };
    assert_eq!(by_area(&world.mapped, "980199", 20_000).await.unwrap().len(), 20);
    let elsewhere = Double::start(world.folder.path(), &[]).unwrap();
    let host = format!("127.0.0.1:{}", elsewhere.port);
    for to in [
        format!("http://{host}/fhir/Device?_cursor=1"),
        format!("//{host}/fhir/Device"),
        format!("http://127.0.0.1:{}@{host}/fhir", world.server.port),
        format!("http://127.0.0.1:{}/other/Device", world.server.port),
        format!("http://127.0.0.1:{}/fhir/../other", world.server.port),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "file:///etc/passwd".to_owned(),
        "Device?_cursor=1".to_owned(),
    ] {
        world.server.control(&json!({ "clear": true, "paging": to }));
        let error = by_area(&world.mapped, "980199", 20_000).await.unwrap_err();
        assert!(error.detail.contains("the address of the next page"), "{to}: {error}");
        assert_eq!(world.server.log().len(), 1);
    }
    assert!(elsewhere.log().is_empty());
    // A server whose next page repeats the search: it is sent in the body again, with our elements.
    world.server.control(&json!({ "clear": true, "paging": "repeat" }));
    assert_eq!(by_area(&world.mapped, "980199", 20_000).await.unwrap().len(), 20);
    let log = world.server.log();
    assert_eq!(log.len(), 3);
    for entry in &log {
        assert_eq!(entry["line"], "POST /fhir/Device/_search HTTP/1.1");
        let form = entry["form"].as_array().unwrap();
        let elements: Vec<_> = form.iter().filter(|pair| pair[0] == "_elements").collect();
        assert_eq!(elements, [&json!(["_elements", "modelNumber,note"])]);
    }
    // So it is where only its name tells, or the link is to the base.
    for place in ["Device", "Device/", "Device/_search", "", "/"] {
        let odd = format!("{}/{place}?Manufacturer:exact=7&_start=7", world.server.url());
        let odd = if place.is_empty() { odd.replace("/?", "?") } else { odd.replace("//?", "/?") };
        world.server.control(&json!({ "clear": true, "paging": odd }));
        drop(by_area(&world.mapped, "980199", 20_000).await);
        // A search that is refused makes it ask again what the server declares.
        let mut log = world.server.log();
        log.retain(|entry| entry["line"] != "GET /fhir/metadata HTTP/1.1");
        assert!(log.len() > 1, "{odd}");
        for entry in &log {
            assert_eq!(entry["line"], "POST /fhir/Device/_search HTTP/1.1", "{odd}");
        }
    }
    // One that repeats it at another place is not followed.
    let odd = format!("{}/$page?area=980199", world.server.url());
    world.server.control(&json!({ "clear": true, "paging": odd }));
    let error = by_area(&world.mapped, "980199", 20_000).await.unwrap_err();
    assert!(error.detail.contains("carries an argument"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_next_page_that_was_given_before_is_no_answer_of_the_same_rows() {
    let Some(world) = world("") else { return };
    assert_eq!(by_area(&world.mapped, "980199", 20_000).await.unwrap().len(), 20);
    let repeated = "manufacturer:exact=980199&_count=7&_start=7";
    // As it stands, and where it is sent as the search was: seven rows a page are enough long before 100 pages.
    for (link, sent) in [("_start=7", "GET"), (repeated, "POST")] {
        let link = format!("{}/Device?{link}", world.server.url());
        world.server.control(&json!({ "clear": true, "paging": link }));
        let error = by_area(&world.mapped, "980199", 20_000).await.unwrap_err();
        assert_eq!(error.code, Code::SourceError);
        assert!(error.detail.contains("its next page is one that it gave before"), "{link}: {error}");
        let lines = world.server.lines();
        assert_eq!(lines.len(), 2, "{link}");
        assert!(lines[1].starts_with(sent), "{lines:?}");
    }
}
