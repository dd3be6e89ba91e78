//! The schema that editors are given, held against the parser and against every mapping of the departments.

use crate::commands::call;
use crate::operate::around;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use yiwang_adapter::command::OK;
use yiwang_adapter_sdk::mapping::Mapping;

async fn schema() -> Value {
    let (code, said) = call(&["schema"], around(&[])).await;
    assert_eq!(code, OK, "{said}");
    serde_json::from_str(&said).unwrap()
}

/// As much of JSON Schema as ours uses; what it does not know it does not pass over.
struct Checker<'s>(&'s Value);

impl Checker<'_> {
    fn faults(&self, value: &Value, schema: &Value, path: &str, out: &mut Vec<String>) {
        for (key, rule) in schema.as_object().unwrap() {
            let holds = match key.as_str() {
                "$ref" => {
                    let target = self.0.pointer(rule.as_str().unwrap().strip_prefix('#').unwrap()).unwrap();
                    self.faults(value, target, path, out);
                    true
                }
                "type" => match rule.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "integer" => value.is_i64(),
                    "boolean" => value.is_boolean(),
                    other => panic!("type {other}"),
                },
                "enum" => rule.as_array().unwrap().contains(value),
                "const" => rule == value,
                "oneOf" => {
                    let fits = |schema: &&Value| {
                        let mut faults = Vec::new();
                        self.faults(value, schema, path, &mut faults);
                        faults.is_empty()
                    };
                    rule.as_array().unwrap().iter().filter(fits).count() == 1
                }
                "pattern" => {
                    assert_eq!(rule, "^[0-9]+(ms|s|m|h|d)$");
                    let text = value.as_str().unwrap_or_default();
                    let digits = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
                    let unit = &text[digits.len()..];
                    !digits.is_empty()
                        && digits.bytes().all(|b| b.is_ascii_digit())
                        && ["ms", "s", "m", "h", "d"].contains(&unit)
                }
                "minimum" => value.as_i64() >= rule.as_i64(),
                "maximum" => value.as_i64() <= rule.as_i64(),
                "minLength" => value.as_str().is_some_and(|text| text.len() as u64 >= rule.as_u64().unwrap()),
                "maxLength" => value.as_str().is_some_and(|text| text.len() as u64 <= rule.as_u64().unwrap()),
                "minProperties" => {
                    value.as_object().is_some_and(|map| map.len() as u64 >= rule.as_u64().unwrap())
                }
                "maxProperties" => {
                    value.as_object().is_some_and(|map| map.len() as u64 <= rule.as_u64().unwrap())
                }
                "required" => {
                    rule.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some())
                }
                "items" => {
                    for (at, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.faults(item, rule, &format!("{path}/{at}"), out);
                    }
                    true
                }
                "properties" | "additionalProperties" => {
                    self.members(value, schema, key, path, out);
                    true
                }
                "description" | "title" | "$schema" | "$defs" => true,
                other => panic!("keyword {other}"),
            };
            if !holds {
                out.push(format!("{path}: {key}"));
            }
        }
    }

    fn members(&self, value: &Value, schema: &Value, key: &str, path: &str, out: &mut Vec<String>) {
        let none = Map::new();
        let known = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
        for (name, inner) in value.as_object().into_iter().flatten() {
            let path = format!("{path}/{name}");
            match (known.get(name), key) {
                (Some(rule), "properties") => self.faults(inner, rule, &path, out),
                (None, "additionalProperties") => match &schema["additionalProperties"] {
                    Value::Bool(false) => out.push(format!("{path}: not known")),
                    rule => self.faults(inner, rule, &path, out),
                },
                _ => {}
            }
        }
    }
}

fn checked(schema: &Value, text: &str) -> Vec<String> {
    let table: toml::Table = toml::from_str(text).unwrap();
    let mut faults = Vec::new();
    Checker(schema).faults(&serde_json::to_value(table).unwrap(), schema, "", &mut faults);
    faults
}

pub(crate) fn mappings(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            mappings(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
    }
}

#[tokio::test]
async fn every_mapping_of_the_departments_fits_the_schema_and_a_broken_one_does_not() {
    let schema = schema().await;
    let mut files = Vec::new();
    mappings(&yiwang_tests::departments(), &mut files);
    assert!(files.len() >= 13);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(checked(&schema, &text), [""; 0], "{}", file.display());
    }
    let text = std::fs::read_to_string(yiwang_tests::departments().join("police/person.toml")).unwrap();
    for (from, to) in [
        ("kind = \"lookup\"", "kind = \"look-up\""),
        ("timeout = \"2s\"", "timeout = \"2 s\""),
        ("limit = 1\n", "limit = 0\n"),
        ("read_only = true", "read_only = false"),
        ("owner = ", "owned_by = "),
        ("type = \"bool\"", "type = \"boolean\""),
        ("path = { env = \"POLICE_DB\" }", "path = { env = \"POLICE_DB\", file = \"f\" }"),
    ] {
        let broken = text.replace(from, to);
        assert_ne!(broken, text);
        assert_ne!(checked(&schema, &broken), [""; 0], "{to}");
    }
    let count = "emergency-call/incident-count.toml";
    for (file, from, to) in [
        (count, "k = 10", "k = 3"),
        (count, "[operation.by]", "[operation.per]"),
        ("housing/dwelling.toml", "key = \"fw_bh\"\n", ""),
    ] {
        let text = std::fs::read_to_string(yiwang_tests::departments().join(file)).unwrap();
        let broken = text.replace(from, to);
        assert_ne!(broken, text);
        assert_ne!(checked(&schema, &broken), [""; 0], "{to}");
    }
}

/// The keys that the parser knows, by what it calls the table: it lists them where it meets another one.
fn parsed() -> BTreeMap<String, BTreeSet<String>> {
    const OTHER: &str = "zzzzzzzzzzzz = 1";
    let common = format!("health = {{ {OTHER} }}\nfreshness = {{ {OTHER} }}\n");
    let service = |auth: &str| {
        format!(
            "url = {{ env = \"U\" }}\ntime_zone = \"UTC\"\n{common}tls = {{ {OTHER} }}\npool = {{ {OTHER} }}\nretry = {{ {OTHER} }}\nauth = {{ kind = \"{auth}\", {OTHER} }}\n"
        )
    };
    let server = format!("{common}tls = {{ {OTHER} }}\npool = {{ {OTHER} }}\n");
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (kind, more) in [
        ("sqlite", common.clone()),
        ("postgres", server.clone()),
        ("mariadb", server),
        (
            "csv",
            format!(
                "{common}folder = \"d\"\nfiles = \"*\"\nencoding = \"gbk\"\ntime_zone = \"UTC\"\ncolumns = {{ A = \"string\" }}\n"
            ),
        ),
        ("http", service("header")),
        ("http", service("client-credentials")),
        ("http", service("smart-backend")),
        ("fhir", service("smart-backend")),
    ] {
        // A source that is sound as such, so that operations are read as its own.
        let sound = match kind {
            "http" | "fhir" => format!("[source.{kind}]\nurl = {{ env = \"U\" }}\ntime_zone = \"UTC\"\n"),
            "sqlite" => "[source.sqlite]\npath = \"p\"\ntime_zone = \"UTC\"\n".to_owned(),
            _ => String::new(),
        };
        let rest = format!(
            "[[operation]]\n{OTHER}\nparams.id = {{ {OTHER} }}\nfields.name = {{ {OTHER} }}\n[[test]]\n{OTHER}\n"
        );
        for text in [format!("{OTHER}\n[source.{kind}]\n{OTHER}\n{more}{rest}"), format!("{sound}{rest}")] {
            for fault in Mapping::parse(&text, Path::new("m")).unwrap_err() {
                let Some((_, what)) = fault.message.split_once("unknown key `zzzzzzzzzzzz` in ") else {
                    continue;
                };
                let list = fault.help.as_deref().and_then(|help| help.strip_prefix("known keys: "));
                let keys = list.unwrap().split(", ").map(str::to_owned);
                known.entry(what.to_owned()).or_default().extend(keys);
            }
        }
    }
    known
}

#[tokio::test]
async fn the_schema_has_the_keys_that_the_parser_knows() {
    let schema = schema().await;
    let keys = |places: &[&str]| -> BTreeSet<String> {
        let found = places.iter().map(|place| schema.pointer(place).unwrap_or_else(|| panic!("{place}")));
        found.flat_map(|table| table["properties"].as_object().unwrap().keys().cloned()).collect()
    };
    let source = |kind: &str| format!("/properties/source/properties/{kind}");
    let inner = |kinds: [&str; 2], name: &str| -> BTreeSet<String> {
        let all = kinds.map(|kind| format!("{}/properties/{name}", source(kind)));
        keys(&all.each_ref().map(String::as_str))
    };
    let parsed = parsed();
    let mut compared = 0;
    let mut same = |what: &str, keys: BTreeSet<String>| {
        assert_eq!(parsed.get(what), Some(&keys), "{what}");
        compared += 1;
    };
    same("the mapping", keys(&[""]));
    for kind in ["sqlite", "postgres", "mariadb", "csv", "http", "fhir"] {
        same(&format!("source.{kind}"), keys(&[&source(kind)]));
    }
    same("an operation", keys(&["/$defs/operation"]));
    same("parameter `id`", keys(&["/$defs/param"]));
    same("field `name`", keys(&["/$defs/field"]));
    same("a test", keys(&["/$defs/test"]));
    same("health", keys(&["/$defs/health"]));
    same("freshness", keys(&["/$defs/freshness"]));
    for name in ["tls", "pool"] {
        same(&format!("`{name}`"), inner(["postgres", "mariadb"], name));
    }
    for name in ["tls", "pool", "retry"] {
        same(name, inner(["http", "fhir"], name));
    }
    same("auth", keys(&["/$defs/auth"]));
    assert!(compared >= 17);
}
