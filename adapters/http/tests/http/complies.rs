//! The compliance suite, with what is asked in the body and with what is asked in the address.

use crate::double::{self, BY_AREA, BY_ID, Double, mapping_text, parse, settings};
use std::path::Path;
use std::sync::Arc;
use yiwang_adapter_sdk::compliance;
use yiwang_adapter_sdk::mapping::Mapping;
use yiwang_adapter_sdk::source::Source;

fn open(text: &str, folder: &Path, url: &str) -> (Arc<Mapping>, Arc<dyn Source>) {
    let mapping = parse(text, folder);
    let source = double::source(&mapping, &settings(url)).unwrap();
    (Arc::new(mapping), Arc::new(source))
}

fn place(column: &str) -> String {
    format!("/{column}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_complies_and_no_argument_stands_in_an_address() {
    let folder = tempfile::tempdir().unwrap();
    let Some(api) = Double::api(folder.path()) else { return };
    let text = mapping_text("pool = { max = 4, acquire = \"10s\" }", BY_ID, BY_AREA);
    let outcomes = compliance::run_named(|| open(&text, folder.path(), &api.url()), place).await;
    assert!(outcomes.len() >= 14);
    assert_eq!(compliance::failures(&outcomes), "");
    let lines = api.lines();
    assert!(lines.len() > 50);
    assert!(lines.iter().all(|line| line == "POST /v1/people/search HTTP/1.1"), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_that_takes_arguments_in_the_address_complies_page_by_page() {
    let folder = tempfile::tempdir().unwrap();
    let Some(api) = Double::api(folder.path()) else { return };
    let by_id = "method = \"GET\"\npath = \"/v1/people/:id\"\nnot_found = \"none\"\n";
    let by_area = "method = \"GET\"\npath = \"/v1/people\"\nquery = { area = \":area\" }\nrows = \"/items\"\nnext = \"/links/next\"\n";
    let settings = "pool = { max = 4, acquire = \"10s\" }\nhealth = { probe = \"/health\" }\nfreshness = { probe = \"/status#/updated_at\", warn = \"24h\", fail = \"72h\" }";
    let text = mapping_text(settings, by_id, by_area)
        .replace("[0-9]{1,4}\" }", "[0-9]{1,4}\", in = \"path\" }")
        .replace("(?s).{0,200}\" }", "(?s).{0,200}\", in = \"query\" }");
    let outcomes = compliance::run_named(|| open(&text, folder.path(), &api.url()), place).await;
    assert_eq!(compliance::failures(&outcomes), "");
    // Twenty rows in pages of seven.
    assert!(api.lines().iter().any(|line| line == "GET /v1/people?area=980199&start=14 HTTP/1.1"));
}
