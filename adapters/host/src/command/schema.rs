//! `schema`: a JSON Schema of mapping files, for editors: they complete keys and mark what is wrong while it is
//! written. It says what single keys and values may be; what goes together is told by `check`.

use serde_json::{Value, json};
use std::io::Write;
use yiwang_adapter_sdk::mapping::FORMAT;
use yiwang_proto::limits::ROWS_MAX;

pub(super) fn schema(out: &mut (dyn Write + Send)) -> std::io::Result<u8> {
    let text = serde_json::to_string_pretty(&document()).map_err(std::io::Error::other)?;
    writeln!(out, "{text}")?;
    Ok(super::OK)
}

fn text(about: &str) -> Value {
    json!({ "type": "string", "description": about })
}

fn words(words: &[&str], about: &str) -> Value {
    json!({ "enum": words, "description": about })
}

fn part(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

/// A table whose keys are these, and no others.
fn table(keys: &[(&str, Value)], needed: &[&str], about: &str) -> Value {
    let properties: serde_json::Map<String, Value> =
        keys.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    json!({
        "type": "object", "description": about, "properties": properties, "required": needed,
        "additionalProperties": false,
    })
}

/// A table with keys of the user's own.
fn open(values: &Value, about: &str) -> Value {
    json!({ "type": "object", "description": about, "additionalProperties": values })
}

fn list(items: &Value, about: &str) -> Value {
    json!({ "type": "array", "items": items, "description": about })
}

fn document() -> Value {
    let root = [
        ("format", words(&[FORMAT], "the version of the format")),
        (
            "mapping",
            json!({ "type": "string", "minLength": 3, "maxLength": 64, "description": "its own name, like police.person" }),
        ),
        ("record", text("the record type of the catalogue")),
        ("owner", text("the member whose data it is: the adapter's own")),
        ("source", source()),
        ("codes", open(&part("codes"), "tables of codes, by name")),
        (
            "operation",
            list(&json!({ "oneOf": [part("operation"), part("count"), part("batch")] }), "what can be asked"),
        ),
        ("test", list(&part("test"), "rows that a source could give, and what must come of them")),
    ];
    let needed = ["format", "mapping", "record", "owner", "source", "operation"];
    let mut document = table(&root, &needed, "how one record type of the catalogue is read from one source");
    if let Some(map) = document.as_object_mut() {
        map.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        map.insert("title".to_owned(), json!("mapping file"));
        map.insert("$defs".to_owned(), parts());
    }
    document
}

fn parts() -> Value {
    json!({
        "reference": reference(),
        "setting": { "oneOf": [{ "type": "string" }, reference()] },
        "duration": { "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$", "description": "like 2s, 250ms or 24h" },
        "health": table(
            &[
                ("probe", text("what is asked to see whether the source is there")),
                ("every", part("duration")),
                ("unhealthy_after", json!({ "type": "integer", "minimum": 1, "maximum": 100 })),
            ],
            &[],
            "how the source is probed",
        ),
        "freshness": table(
            &[
                ("probe", text("what gives the newest moment")),
                ("warn", part("duration")),
                ("fail", part("duration")),
            ],
            &["warn", "fail"],
            "how old data may be",
        ),
        "codes": {
            "type": "object", "description": "code of the source = word of the catalogue", "required": ["unknown"],
            "properties": { "unknown": words(&["fail", "null", "keep"], "what becomes of a code that is not listed") },
            "additionalProperties": { "type": "string" },
        },
        "operation": operation(),
        "count": count(),
        "dimension": dimension(),
        "batch": batch(),
        "param": param(),
        "field": field(),
        "test": test(),
        "auth": auth(),
    })
}

fn reference() -> Value {
    json!({
        "type": "object", "description": "what stands elsewhere: an environment variable or a file",
        "properties": { "env": { "type": "string" }, "file": { "type": "string" } },
        "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
    })
}

/// What every source may say.
fn common() -> Vec<(&'static str, Value)> {
    vec![
        ("time_zone", text("zone of times without one, like Asia/Shanghai")),
        ("health", part("health")),
        ("freshness", part("freshness")),
    ]
}

fn read_only() -> (&'static str, Value) {
    ("read_only", json!({ "const": true, "description": "a source is always read only" }))
}

fn with(
    mut keys: Vec<(&'static str, Value)>,
    more: impl IntoIterator<Item = (&'static str, Value)>,
) -> Vec<(&'static str, Value)> {
    keys.extend(more);
    keys
}

fn source() -> Value {
    let server = table(&server(), &["url", "tls", "time_zone"], "a database server");
    let sqlite = with(common(), [("path", part("setting")), read_only()]);
    let column = json!({ "oneOf": [column_type(), table(
        &[("type", column_type()), ("format", text("how days or moments are written, in strftime notation"))],
        &["type"],
        "a column with a form of its own",
    )] });
    let names = list(&text("a column"), "every column of the header, where all are texts");
    let csv = with(
        common(),
        [
            ("folder", part("setting")),
            ("files", text("names of files, with * and ?; *.csv where nothing is said")),
            ("encoding", words(&["utf-8", "gbk"], "of files without a byte order mark")),
            (
                "key",
                text(
                    "the column that names a row across files; later files, by name with numbers as numbers, replace rows",
                ),
            ),
            ("columns", json!({ "oneOf": [open(&column, "every column of the header"), names] })),
            read_only(),
        ],
    );
    let http =
        with(service(), [("openapi", text("an OpenAPI 3 document in JSON that `check` compares with"))]);
    let keys = [
        ("sqlite", table(&sqlite, &["path", "time_zone"], "an SQLite file")),
        ("postgres", server.clone()),
        ("mariadb", server),
        ("csv", table(&csv, &["folder", "encoding", "columns", "time_zone"], "a folder of CSV files")),
        ("http", table(&http, &["url", "time_zone"], "a JSON API")),
        ("fhir", table(&service(), &["url"], "a FHIR R4 server")),
    ];
    let mut source = table(&keys, &[], "exactly one kind of source");
    if let Some(map) = source.as_object_mut() {
        map.insert("minProperties".to_owned(), json!(1));
        map.insert("maxProperties".to_owned(), json!(1));
    }
    source
}

fn column_type() -> Value {
    words(&["string", "integer", "number", "bool", "date", "timestamp"], "what its texts must be")
}

fn server() -> Vec<(&'static str, Value)> {
    let pool = table(
        &[
            ("max", json!({ "type": "integer", "minimum": 1, "maximum": 64 })),
            ("idle", part("duration")),
            ("acquire", part("duration")),
        ],
        &[],
        "connections",
    );
    let tls = table(
        &[
            ("mode", words(&["verify-full", "off"], "off: a server on this machine only")),
            ("ca", part("reference")),
        ],
        &["mode"],
        "how the way to it is protected",
    );
    with(common(), [("url", part("reference")), ("tls", tls), ("pool", pool), read_only()])
}

fn service() -> Vec<(&'static str, Value)> {
    let file = table(&[("file", text("in PEM"))], &["file"], "a file");
    let tls = table(
        &[
            ("mode", words(&["verify-full", "off"], "off: a service that has none")),
            ("ca", file.clone()),
            ("cert", file.clone()),
            ("key", file),
        ],
        &[],
        "whom the adapter trusts",
    );
    let pool = table(
        &[("max", json!({ "type": "integer", "minimum": 1 })), ("acquire", part("duration"))],
        &[],
        "calls at once",
    );
    let retry = table(
        &[
            ("attempts", json!({ "type": "integer", "minimum": 1 })),
            ("first", part("duration")),
            ("only", list(&json!({ "type": "string" }), "statuses that are worth another call")),
        ],
        &[],
        "when a call is made again",
    );
    with(
        common(),
        [
            ("url", part("reference")),
            ("auth", part("auth")),
            ("tls", tls),
            ("proxy", part("reference")),
            ("pool", pool),
            ("retry", retry),
            ("max_bytes", json!({ "type": "integer", "minimum": 1, "description": "of one answer" })),
            read_only(),
        ],
    )
}

fn auth() -> Value {
    let kinds = ["header", "client-credentials", "smart-backend"];
    json!({
        "type": "object", "description": "how the adapter shows who it is", "required": ["kind"],
        "properties": {
            "kind": words(&kinds, "a fixed header, OAuth2 client credentials, or SMART backend services"),
            "name": text("of the header"), "value": part("reference"),
            "token_url": { "oneOf": [{ "type": "string" }, part("reference")] }, "client_id": text("its name there"),
            "client_secret": part("reference"), "key": part("reference"), "kid": text("the key's name at the service"),
            "scopes": list(&json!({ "type": "string" }), "what it asks for"),
        },
        "additionalProperties": false,
    })
}

fn operation() -> Value {
    let place = text("a value, or :name of a parameter");
    let keys = [
        ("name", text("like person.by_id")),
        ("kind", words(&["lookup", "search"], "a look-up finds what belongs to one key, by an index")),
        ("subject", text("the parameter that takes the person's identifier")),
        ("params", open(&part("param"), "its parameters, by name")),
        ("sql", text("databases: one select, with :name for parameters")),
        (
            "where",
            json!({ "type": "object", "description": "csv: column = value or :name; column@date compares the day, column@id an identity number however it is written" }),
        ),
        (
            "order",
            list(
                &text("a column of the statement, alone or with asc or desc"),
                "databases: in which order rows come",
            ),
        ),
        (
            "key",
            text(
                "databases: a search in pages; a column whose values are unique and never null, in whose order they come",
            ),
        ),
        (
            "pages",
            json!({ "type": "integer", "minimum": 1, "maximum": 20, "default": 10, "description": "of one question; needs key" }),
        ),
        ("method", words(&["GET", "POST"], "http")),
        ("path", text("http: beneath the source's address, with :name for a segment")),
        ("query", json!({ "type": "object", "description": "http: of the address" })),
        ("body", json!({ "description": "http: JSON with :name in it" })),
        ("rows", text("http: pointer to the rows in the answer")),
        ("next", text("http: pointer to the address of the next page")),
        ("not_found", words(&["none", "error"], "http: what the status 404 means")),
        ("idempotent", json!({ "type": "boolean", "description": "http: such a POST can be made again" })),
        ("resource", text("fhir: the type of resource")),
        ("search", open(&place, "fhir: search parameters")),
        (
            "elements",
            json!({ "const": true, "description": "fhir: only granted elements are asked for, always" }),
        ),
        limit(),
        ("timeout", part("duration")),
        ("fields", open(&part("field"), "fields of the record, and as_of")),
    ];
    table(&keys, &["name", "kind", "fields"], "one operation")
}

fn limit() -> (&'static str, Value) {
    (
        "limit",
        json!({ "type": "integer", "minimum": 1, "maximum": ROWS_MAX, "description": "rows at most; 20 where a look-up or search does not say" }),
    )
}

fn count() -> Value {
    let keys = [
        ("name", text("like incident.count")),
        ("kind", words(&["count"], "how many rows there are for each combination of values")),
        ("sql", text("databases: one select of the whole table, without parameters")),
        ("k", json!({ "type": "integer", "minimum": 10, "description": "smaller cells are not shown" })),
        ("by", open(&part("dimension"), "fields by which rows are counted, the most important first")),
        limit(),
        ("timeout", part("duration")),
    ];
    table(&keys, &["name", "kind", "by"], "a table of counts")
}

fn dimension() -> Value {
    let steps = ["trim", "nfc", "digits", "halfwidth", "upper", "lower"];
    let keys = [
        ("from", text("the column that it comes from")),
        ("type", words(&["string", "code"], "its type in the record")),
        ("steps", list(&words(&steps, "a step"), "what is done to a text before it is compared")),
        (
            "class",
            json!({ "type": "integer", "minimum": 0, "maximum": 4, "description": "raises the catalogue's" }),
        ),
        ("codes", codes("a table of [codes.…], or the table itself; its words are the values")),
        ("values", list(&text("a value"), "its values, where it has no code table")),
        ("empty", json!({ "type": "boolean", "description": "rows without a value are counted too" })),
    ];
    table(&keys, &["from", "type"], "a dimension of a count")
}

fn codes(about: &str) -> Value {
    json!({ "oneOf": [{ "type": "string" }, part("codes")], "description": about })
}

fn batch() -> Value {
    let keys = [
        ("name", text("like dwelling.all")),
        ("kind", words(&["batch"], "all rows, page by page")),
        ("key", text("a column whose values are unique and never null; pages follow its order")),
        ("subject", text("the field with the identifier of the row's person")),
        ("sql", text("one select, without parameters")),
        limit(),
        ("timeout", part("duration")),
        ("fields", open(&part("field"), "fields of the record, and as_of")),
    ];
    table(&keys, &["name", "kind", "key", "sql", "limit", "fields"], "an operation that hands over batches")
}

fn param() -> Value {
    let keys = [
        ("type", column_type()),
        ("pattern", text("what a text must match, as a whole")),
        ("min", json!({ "type": "integer" })),
        ("max", json!({ "type": "integer" })),
        ("format", text("how the source writes a day or moment, in strftime notation")),
        (
            "optional",
            json!({ "type": "boolean", "description": "it can be left out: null in sql; elsewhere what it stands in is left out too" }),
        ),
        ("in", words(&["body", "path", "query"], "http and fhir: where it stands in a call")),
    ];
    table(&keys, &["type"], "a parameter")
}

fn field() -> Value {
    let kinds = ["string", "integer", "number", "bool", "date", "timestamp", "code"];
    let steps = ["trim", "nfc", "digits", "halfwidth", "upper", "lower"];
    let keys = [
        ("from", text("the column that it comes from")),
        ("pointer", text("http and fhir: where it stands in a row, like /name/0/text")),
        ("type", words(&kinds, "its type in the record")),
        ("steps", list(&words(&steps, "a step"), "what is done to a text before it is converted")),
        ("required", json!({ "type": "boolean", "description": "a row without it is no record" })),
        (
            "class",
            json!({ "type": "integer", "minimum": 0, "maximum": 4, "description": "raises the catalogue's" }),
        ),
        ("codes", codes("a table of [codes.…], or the table itself")),
        ("format", text("how days or moments are written, in strftime notation")),
        ("expr", text("computes the value, in CEL: row.column, value")),
        ("check", text("must be true for the value, in CEL")),
    ];
    table(&keys, &["type"], "a field")
}

fn test() -> Value {
    let rows = list(&json!({ "type": "object" }), "made-up rows, column = value");
    let keys = [
        ("name", text("what it shows")),
        ("operation", text("the operation that it runs, where there are several")),
        ("args", json!({ "type": "object", "description": "its arguments, the subject's among them" })),
        ("rows", rows),
        ("expect", list(&json!({ "type": "object" }), "the records that must come out")),
        ("expect_error", text("words of the error that must come out")),
    ];
    table(&keys, &["name", "rows"], "a test")
}
