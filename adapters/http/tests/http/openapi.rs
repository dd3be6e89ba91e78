//! `check` with an OpenAPI document.

use crate::double::{self, BY_ID, Double, file, mapping_text, parse, settings};
use serde_json::{Value, json};
use std::path::Path;
use yiwang_adapter_sdk::check::{Finding, Severity};
use yiwang_adapter_sdk::source::Source as _;

/// The test's API as its makers would describe it.
fn document() -> Value {
    let text = json!({ "type": "string" });
    let columns = yiwang_adapter_sdk::compliance::COLUMNS;
    let properties: serde_json::Map<String, Value> =
        columns.iter().map(|column| ((*column).to_owned(), text.clone())).collect();
    json!({
        "openapi": "3.1.0",
        "paths": {
            "/v1/people/search": { "post": {
                "requestBody": { "content": { "application/json": { "schema": {
                    "type": "object", "properties": { "id": text, "area": text } } } } },
                "responses": { "200": { "$ref": "#/components/responses/People" } },
            } },
            "/v1/people": {
                "parameters": [{ "name": "area", "in": "query", "required": true }],
                "get": { "responses": { "200": { "$ref": "#/components/responses/People" } } },
            },
        },
        "components": {
            "responses": { "People": { "content": { "application/json; charset=utf-8": { "schema": {
                "type": "object",
                "properties": { "items": { "type": "array", "items": { "$ref": "#/components/schemas/Person" } } },
            } } } } },
            "schemas": { "Person": { "type": "object", "properties": properties } },
        },
    })
}

const BY_AREA: &str =
    "method = \"GET\"\npath = \"/v1/people\"\nquery = { area = \":area\" }\nrows = \"/items\"\n";

async fn findings(folder: &Path, url: &str, document: &Value) -> Vec<Finding> {
    file(folder, "api.json", &document.to_string());
    let text = mapping_text("openapi = \"api.json\"", BY_ID, BY_AREA)
        .replace("(?s).{0,200}\" }", "(?s).{0,200}\", in = \"query\" }")
        .replace("pointer = \"/AMT\", type = \"integer\"", "pointer = \"/AMT\", type = \"string\"");
    let mapping = parse(&text, folder);
    let source = double::source(&mapping, &settings(url)).unwrap();
    source.check(mapping.operations().to_vec()).await
}

fn errors(findings: &[Finding]) -> Vec<&str> {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    errors.map(|finding| finding.message.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_parameters_and_types_are_held_against_the_document() {
    let folder = tempfile::tempdir().unwrap();
    let Some(api) = Double::api(folder.path()) else { return };
    let sound = findings(folder.path(), &api.url(), &document()).await;
    assert_eq!(errors(&sound), Vec::<&str>::new());
    // A parameter in the address is worth a word, also where the API leaves no other way.
    let warned = sound.iter().find(|finding| finding.code == "A-HTTP-002").unwrap();
    assert_eq!(warned.severity, Severity::Warning);
    assert!(warned.message.contains("`area`, stands in the address"), "{}", warned.message);
    let broken = |pointer: &str, value: Value| {
        let mut document = document();
        let (parent, last) = pointer.rsplit_once('/').unwrap();
        document.pointer_mut(parent).unwrap()[last.replace("~1", "/")] = value;
        document
    };
    let schema = "/paths/~1v1~1people~1search/post/requestBody/content/application~1json/schema";
    for (document, what) in [
        (broken("/paths", json!({})), "the document has no path `/v1/people/search`"),
        (broken("/paths/~1v1~1people", json!({ "post": {} })), "path `/v1/people` has no GET"),
        (
            broken(
                "/paths/~1v1~1people/parameters",
                json!([{ "name": "zone", "in": "query", "required": true }]),
            ),
            "the document has no query parameter `area`",
        ),
        (
            broken(
                "/paths/~1v1~1people/parameters",
                json!([{ "name": "zone", "in": "query", "required": true }]),
            ),
            "the document asks for the query parameter `zone`",
        ),
        (
            broken(&format!("{schema}/properties"), json!({ "nid": {} })),
            "the document has no `id` in the body",
        ),
        (
            broken(&format!("{schema}/required"), json!(["reason"])),
            "the document asks for `reason` in the body",
        ),
        (
            broken("/components/schemas/Person/properties/AMT", json!({ "type": "integer" })),
            "field `amount` is a string, and the document says otherwise",
        ),
        (
            broken("/components/schemas/Person/properties", json!({ "ID": {} })),
            "field `name`: the document's row has nothing at `/NM`",
        ),
        (
            broken("/components/responses/People", json!({ "$ref": "#/components/responses/People" })),
            "no JSON as the answer",
        ),
    ] {
        let found = findings(folder.path(), &api.url(), &document).await;
        assert!(errors(&found).iter().any(|error| error.contains(what)), "{what}: {:#?}", errors(&found));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_is_none_is_refused_when_the_source_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let text = mapping_text("openapi = \"api.json\"", BY_ID, crate::double::BY_AREA);
    let mapping = parse(&text, folder.path());
    let open = || double::source(&mapping, &settings("http://127.0.0.1:9")).err().unwrap().to_string();
    assert!(open().contains("openapi: "));
    for (content, what) in [
        ("openapi: 3.0.0", "is not JSON"),
        ("{\"swagger\":\"2.0\"}", "is not OpenAPI 3"),
        ("[", "is not JSON"),
    ] {
        file(folder.path(), "api.json", content);
        assert!(open().contains(what), "{}", open());
    }
    // Where the API is away, the check says so.
    file(folder.path(), "api.json", &document().to_string());
    let source = double::source(&mapping, &settings("http://127.0.0.1:9")).unwrap();
    let found = source.check(mapping.operations().to_vec()).await;
    assert!(found.iter().any(|finding| finding.code == "A-HTTP-001" && finding.severity == Severity::Error));
}
