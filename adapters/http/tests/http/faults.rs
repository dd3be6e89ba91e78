//! An API that is down, slow, broken, or leads elsewhere.

use crate::double::{BY_AREA, BY_ID, Double, mapping_text, name_of, names, open_with, settings, world};
use yiwang_adapter_sdk::fetch::AnswerError;
use yiwang_proto::codes::Code;

const FOUND: &str = "云甲";

/// Nothing of the API's own words, and nothing that was asked.
fn silent(error: &AnswerError) {
    let text = format!("{error:?}");
    assert!(!text.contains("hunter2") && !text.contains("P1"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_refused_and_the_next_answer_is_served() {
    let Some(world) = world("") else { return };
    for (kind, to, what) in [
        ("status", "500", "it fails (status 500)"),
        ("status", "403", "refuses the adapter's credentials (status 403)"),
        ("status", "404", "refuses the call (status 404)"),
        ("status", "400", "refuses the call (status 400)"),
        ("json", "", "is broken JSON"),
        ("type", "", "is no JSON by its content type"),
        ("gzip", "", "is compressed"),
        ("shape", "", "no rows at `/items`"),
        ("nothing", "", "has nothing at `/items`"),
        ("half", "", "the connection broke within an answer"),
    ] {
        world.api.fault(kind, 1, to);
        let error = name_of(&world.mapped, "P1").await.unwrap_err();
        assert_eq!(error.code, Code::SourceError, "{kind}: {error}");
        assert!(error.detail.contains(what), "{kind}: {error}");
        silent(&error);
        assert_eq!(world.api.log().len(), 1, "{kind} is not asked again");
        assert_eq!(name_of(&world.mapped, "P1").await.unwrap(), [FOUND], "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t19_bombs_are_refused_within_their_limits() {
    let Some(world) = world("max_bytes = 3000000") else { return };
    for (kind, what) in [
        ("deep", "is nested too deeply"),
        ("wide", "holds too many values"),
        ("endless", "rows hold more text"),
        ("headers", "source is unavailable"),
        ("garbage", "source is unavailable"),
    ] {
        world.api.fault(kind, 9, "");
        let error = name_of(&world.mapped, "P1").await.unwrap_err();
        assert!(error.detail.contains(what), "{kind}: {error}");
        silent(&error);
        world.api.fault("", 0, "");
        assert_eq!(name_of(&world.mapped, "P1").await.unwrap(), [FOUND], "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_made_again_only_where_that_changes_nothing_and_helps() {
    let Some(world) = world("retry = { attempts = 3, first = \"10ms\" }") else { return };
    world.api.fault("status", 2, "503");
    assert_eq!(name_of(&world.mapped, "P1").await.unwrap(), [FOUND]);
    assert_eq!(world.api.log().len(), 3);
    world.api.fault("status", 99, "503");
    let error = name_of(&world.mapped, "P1").await.unwrap_err();
    assert!(error.detail.contains("it fails (status 503)"), "{error}");
    assert_eq!(world.api.log().len(), 3);
    // Left alone for as long as it asks; where that is too long, not at all.
    world.api.fault("retry-after", 1, "1");
    assert_eq!(name_of(&world.mapped, "P1").await.unwrap(), [FOUND]);
    assert_eq!(world.api.log().len(), 2);
    for long in ["3600", "18446744073709551615"] {
        world.api.fault("retry-after", 9, long);
        let error = name_of(&world.mapped, "P1").await.unwrap_err();
        assert_eq!((error.code, world.api.log().len()), (Code::ProviderBusy, 1), "{error}");
    }
    // A call that may change something is made once.
    let text = mapping_text("retry = { attempts = 3, first = \"10ms\" }", BY_ID, BY_AREA)
        .replace("idempotent = true", "idempotent = false");
    let once = open_with(&text, world.folder.path(), &settings(&world.api.url()));
    world.api.fault("status", 1, "503");
    assert!(name_of(&once, "P1").await.is_err());
    assert_eq!(world.api.log().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_api_is_given_up_at_the_deadline_and_a_full_queue_at_once() {
    let Some(world) = world("pool = { max = 1, acquire = \"50ms\" }") else { return };
    world.api.fault("slow", 1, "30");
    let (slow, busy) = tokio::join!(names(&world.mapped, "P1", None, 1_000), async {
        // The first one has the only turn.
        while world.api.log().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let busy = name_of(&world.mapped, "P2").await;
        assert!(world.mapped.source().usage().unwrap().exhausted);
        busy
    });
    assert!(!world.mapped.source().usage().unwrap().exhausted);
    assert_eq!(slow.unwrap_err().code, Code::DeadlineExceeded);
    assert_eq!(busy.unwrap_err().code, Code::ProviderBusy);
    assert_eq!(name_of(&world.mapped, "P1").await.unwrap(), [FOUND]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_that_is_down_is_served_again_when_it_is_back() {
    let Some(mut world) = world("retry = { attempts = 2, first = \"10ms\" }") else { return };
    for _ in 0..3 {
        assert_eq!(name_of(&world.mapped, "P1").await.unwrap(), [FOUND]);
        world.api.kill();
        let error = name_of(&world.mapped, "P1").await.unwrap_err();
        assert_eq!(error.code, Code::SourceError);
        assert!(error.detail.contains("source is unavailable"), "{error}");
        assert!(world.mapped.source().probe().await.is_err());
        world.api.restart();
        assert!(world.mapped.source().probe().await.is_ok());
    }
    assert_eq!(name_of(&world.mapped, "P1").await.unwrap(), [FOUND]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t19_redirects_and_next_pages_elsewhere_are_never_followed() {
    let Some(world) = world("auth = { kind = \"header\", name = \"X-Api-Key\", value = { env = \"API\" } }")
    else {
        return;
    };
    let elsewhere = Double::api(world.folder.path()).unwrap();
    let host = format!("127.0.0.1:{}", elsewhere.port);
    for to in [elsewhere.url(), format!("{}/v1/people/search", world.api.url()), "/v1/people".to_owned()] {
        world.api.fault("redirect", 1, &to);
        let error = name_of(&world.mapped, "P1").await.unwrap_err();
        assert!(error.detail.contains("another address is never followed"), "{error}");
        assert_eq!(world.api.log().len(), 1);
    }
    for to in [
        format!("http://{host}/v1/page"),
        format!("//{host}/v1/page"),
        format!("http://127.0.0.1:{}@{host}/v1/page", world.api.port),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "file:///etc/passwd".to_owned(),
        "../page".to_owned(),
        "/v1/../../page".to_owned(),
        "http:///".to_owned(),
    ] {
        world.api.fault("next", 1, &to);
        let error = names(&world.mapped, "", Some("980199"), 20_000).await.unwrap_err();
        assert!(error.detail.contains("the address of the next page"), "{to}: {error}");
        assert_eq!(world.api.log().len(), 1);
    }
    assert!(elsewhere.log().is_empty());
    // Its own next page is followed, unless the address repeats what was sent in the body.
    world.api.fault("next", 1, &format!("{}/v1/page?cursor=7", world.api.url()));
    assert_eq!(names(&world.mapped, "", Some("980199"), 20_000).await.unwrap(), [FOUND, "松乙"]);
    world.api.fault("next", 1, "/v1/page?area=9801%39%39");
    let error = names(&world.mapped, "", Some("980199"), 20_000).await.unwrap_err();
    assert!(error.detail.contains("carries an argument"), "{error}");
    // Pages without end end.
    world.api.fault("next", u32::MAX, "/v1/page?cursor={n}");
    let error = names(&world.mapped, "", Some("980199"), 20_000).await.unwrap_err();
    assert!(error.detail.contains("over 100 pages"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_next_page_that_was_given_before_is_no_answer_of_the_same_rows() {
    let Some(world) = world("") else { return };
    // So few that they would be full before the pages are too many.
    let text = mapping_text("", BY_ID, BY_AREA).replace("limit = 100", "limit = 5");
    let few = open_with(&text, world.folder.path(), &settings(&world.api.url()));
    world.api.fault("next", u32::MAX, "/v1/page?cursor=7");
    let error = names(&few, "", Some("980199"), 20_000).await.unwrap_err();
    assert_eq!(error.code, Code::SourceError);
    assert!(error.detail.contains("its next page is one that it gave before"), "{error}");
    silent(&error);
    assert_eq!(world.api.log().len(), 2);
    // Pages that go on are taken until they are enough.
    world.api.fault("next", u32::MAX, "/v1/page?cursor={n}");
    assert_eq!(names(&few, "", Some("980199"), 20_000).await.unwrap().len(), 5);
}
