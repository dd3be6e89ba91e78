//! Headers and tokens.

use crate::double::{BY_AREA, BY_ID, Double, World, file, mapping_text, name_of, open_with, settings, world};
use serde_json::json;
use yiwang_adapter_sdk::check::Severity;

const FOUND: &str = "云甲";

fn with_token() -> Option<World> {
    let folder = tempfile::tempdir().unwrap();
    let api = Double::api(folder.path())?;
    file(folder.path(), "secret", "s3cret:/+ é\n");
    let auth = "auth = { kind = \"client-credentials\", token_url = { env = \"TOKENS\" }, client_id = \"hub-adapter\", client_secret = { file = \"secret\" }, scopes = [\"people.read\"] }";
    let text = mapping_text(auth, BY_ID, BY_AREA);
    let mut settings = settings(&api.url());
    settings.vars.insert("TOKENS".to_owned(), format!("{}/token", api.url()));
    let mapped = open_with(&text, folder.path(), &settings);
    Some(World { api, mapped, folder })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fixed_header_goes_with_every_call() {
    let auth = "auth = { kind = \"header\", name = \"X-Api-Key\", value = { file = \"../key\" } }";
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    file(folder.path(), "key", "key-1\n");
    let Some(api) = Double::api(folder.path()) else { return };
    let mapped = open_with(&mapping_text(auth, BY_ID, BY_AREA), &inner, &settings(&api.url()));
    assert_eq!(name_of(&mapped, "P1").await.unwrap(), [FOUND]);
    assert!(api.log().iter().all(|entry| entry["key"] == "key-1" && entry["authorization"] == ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_was_changed_in_its_file_is_used_without_a_restart() {
    let auth = "auth = { kind = \"header\", name = \"X-Api-Key\", value = { file = \"key\" } }";
    let folder = tempfile::tempdir().unwrap();
    file(folder.path(), "key", "key-1\n");
    let Some(api) = Double::api(folder.path()) else { return };
    let mapped = open_with(&mapping_text(auth, BY_ID, BY_AREA), folder.path(), &settings(&api.url()));
    api.control(&json!({ "key": "key-1" }));
    assert_eq!(name_of(&mapped, "P1").await.unwrap(), [FOUND]);
    // The service takes another one, and the file has the old one, or one that is half written.
    for content in ["key-1\n", "", "key-2\r\nX-Other: 1"] {
        file(folder.path(), "key", content);
        api.control(&json!({ "key": "key-2", "clear": true }));
        let error = name_of(&mapped, "P1").await.unwrap_err();
        assert!(error.detail.contains("credentials (status 401)"), "{error}");
        assert!(!format!("{error:?}").contains("key-"), "{error:?}");
        assert_eq!(api.log().len(), 1, "the same value is not shown again");
    }
    file(folder.path(), "key", "key-2\n");
    let ask = || name_of(&mapped, "P1");
    let (first, second, third) = tokio::join!(ask(), ask(), ask());
    for names in [first, second, third] {
        assert_eq!(names.unwrap(), [FOUND]);
    }
    api.control(&json!({ "clear": true }));
    assert_eq!(ask().await.unwrap(), [FOUND]);
    assert_eq!(api.log().len(), 1, "what was read is kept");
    // Another one that is refused too: one more call, and no more.
    file(folder.path(), "key", "key-3\n");
    api.control(&json!({ "key": "key-4", "clear": true }));
    assert!(ask().await.is_err());
    let shown: Vec<_> = api.log().iter().map(|entry| entry["key"].clone()).collect();
    assert_eq!(shown, ["key-2", "key-3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_was_changed_in_its_file_is_used_without_a_restart() {
    let Some(world) = with_token() else { return };
    let paths = || -> Vec<String> {
        world.api.lines().iter().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect()
    };
    assert_eq!(name_of(&world.mapped, "P1").await.unwrap(), [FOUND]);
    world.api.control(&json!({ "secret": "another", "forget": true, "clear": true }));
    let error = name_of(&world.mapped, "P1").await.unwrap_err();
    assert!(error.detail.contains("it says invalid_client"), "{error}");
    assert_eq!(paths(), ["/v1/people/search", "/token"]);
    file(world.folder.path(), "secret", "another\n");
    world.api.control(&json!({ "clear": true }));
    assert_eq!(name_of(&world.mapped, "P1").await.unwrap(), [FOUND]);
    assert_eq!(paths(), ["/token", "/token", "/v1/people/search"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_path_to_probe_a_token_is_asked_for_and_a_header_is_said_to_be_untried() {
    let Some(world) = with_token() else { return };
    let source = world.mapped.source();
    source.probe().await.unwrap();
    let findings = source.check(world.mapped.mapping().operations().to_vec()).await;
    assert!(findings.iter().all(|finding| finding.severity != Severity::Error), "{findings:?}");
    assert_eq!(world.api.lines(), ["POST /token HTTP/1.1"]);
    let Some(refused) = with_token() else { return };
    refused.api.control(&json!({ "secret": "another" }));
    let source = refused.mapped.source();
    let error = source.probe().await.unwrap_err().to_string();
    assert!(error.contains("no access token: it says invalid_client"), "{error}");
    let findings = source.check(refused.mapped.mapping().operations().to_vec()).await;
    let found = findings.iter().find(|finding| finding.code == "A-HTTP-001").unwrap();
    assert!(found.severity == Severity::Error && found.message.contains("no access token"), "{found:?}");
    file(world.folder.path(), "key", "key-1\n");
    let auth = "auth = { kind = \"header\", name = \"X-Api-Key\", value = { file = \"key\" } }";
    for (more, untried) in
        [("", true), ("\nhealth = { probe = \"/health\" }", false), ("\nhealth = { every = \"9s\" }", true)]
    {
        let text = mapping_text(&format!("{auth}{more}"), BY_ID, BY_AREA);
        let mapped = open_with(&text, world.folder.path(), &settings(&world.api.url()));
        let findings = mapped.source().check(mapped.mapping().operations().to_vec()).await;
        let warned = findings.iter().find(|finding| finding.code == "A-HTTP-007");
        assert_eq!(warned.map(|finding| finding.severity), untried.then_some(Severity::Warning), "{more}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_asked_for_once_and_kept() {
    let Some(world) = with_token() else { return };
    let asked = (0..20).map(|_| name_of(&world.mapped, "P1"));
    for asked in asked {
        assert_eq!(asked.await.unwrap(), [FOUND]);
    }
    let log = world.api.log();
    let tokens: Vec<_> = log.iter().filter(|entry| entry["line"] == "POST /token HTTP/1.1").collect();
    assert_eq!((log.len(), tokens.len()), (21, 1));
    assert_eq!(tokens[0]["body"], "grant_type=client_credentials&scope=people.read");
    assert!(log[1..].iter().all(|entry| entry["authorization"] == "Bearer token-1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_refused_is_renewed_once() {
    let Some(world) = with_token() else { return };
    assert_eq!(name_of(&world.mapped, "P1").await.unwrap(), [FOUND]);
    // The server forgot it, as after a restart.
    world.api.control(&json!({ "forget": true, "clear": true }));
    assert_eq!(name_of(&world.mapped, "P1").await.unwrap(), [FOUND]);
    let lines: Vec<String> =
        world.api.lines().iter().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect();
    assert_eq!(lines, ["/v1/people/search", "/token", "/v1/people/search"]);
    // A server that refuses every token: one new one, and no more.
    world.api.fault("status", 99, "401");
    let error = name_of(&world.mapped, "P1").await.unwrap_err();
    assert!(error.detail.contains("credentials (status 401)"), "{error}");
    let lines: Vec<String> =
        world.api.lines().iter().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect();
    assert_eq!(lines, ["/v1/people/search", "/token", "/v1/people/search"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_does_not_last_is_not_kept() {
    let Some(world) = with_token() else { return };
    world.api.control(&json!({ "life": 0 }));
    for _ in 0..3 {
        assert_eq!(name_of(&world.mapped, "P1").await.unwrap(), [FOUND]);
    }
    assert_eq!(world.api.lines().iter().filter(|line| line.contains("/token")).count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_client_is_told_in_known_words_only() {
    let Some(world) = with_token() else { return };
    for (said, told) in
        [("invalid_scope", "it says invalid_scope"), ("hunter2", "refuses the call (status 400)")]
    {
        world.api.fault("token", 1, said);
        let error = name_of(&world.mapped, "P1").await.unwrap_err();
        assert!(error.detail.contains("no access token") && error.detail.contains(told), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
    file(world.folder.path(), "secret", "another");
    let Some(plain) = world_with_secret(&world) else { return };
    let error = name_of(&plain, "P1").await.unwrap_err();
    assert!(error.detail.contains("no access token"), "{error}");
    assert!(!format!("{error:?}").contains("another"));
}

fn world_with_secret(world: &World) -> Option<yiwang_adapter_sdk::fetch::MappedSource> {
    let auth = "auth = { kind = \"client-credentials\", token_url = { env = \"TOKENS\" }, client_id = \"hub-adapter\", client_secret = { file = \"secret\" } }";
    let mut settings = settings(&world.api.url());
    settings.vars.insert("TOKENS".to_owned(), format!("{}/token", world.api.url()));
    Some(open_with(&mapping_text(auth, BY_ID, BY_AREA), world.folder.path(), &settings))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_credentials_none_are_shown() {
    let Some(world) = world("") else { return };
    assert_eq!(name_of(&world.mapped, "P1").await.unwrap(), [FOUND]);
    assert!(world.api.log().iter().all(|entry| entry["authorization"] == "" && entry["key"] == ""));
}
