//! What a document says of its calls, for whoever writes a mapping.

use super::Document;
use serde_json::Value;
use std::path::Path;
use yiwang_adapter_sdk::mapping::Method;
use yiwang_adapter_sdk::source::SourceError;

/// Objects within objects that are looked into: records are flat.
const DEPTH_MAX: usize = 3;
/// Places of one body or row: more than any record has fields.
const PLACES_MAX: usize = 256;
/// Calls of one document.
const CALLS_MAX: usize = 500;

/// A call that a mapping can make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedCall {
    /// How.
    pub method: Method,
    /// The path, as the document writes it.
    pub path: String,
    /// Parameters in the path.
    pub path_params: Vec<String>,
    /// Parameters of the query that must be there.
    pub query: Vec<String>,
    /// Places of the body that take a value.
    pub body: Vec<DescribedPlace>,
    /// Pointer to the rows in the answer.
    pub rows: String,
    /// Places of a row.
    pub fields: Vec<DescribedPlace>,
}

/// A place that holds one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedPlace {
    /// Names of the objects around it, and its own.
    pub path: Vec<String>,
    /// `string`, `integer`, `number` or `boolean`.
    pub kind: String,
    /// `date`, `date-time` and so on.
    pub format: Option<String>,
    /// What the document says of it.
    pub about: Option<String>,
    /// The words of an enumeration.
    pub words: Vec<String>,
}

impl DescribedPlace {
    /// The JSON pointer.
    #[must_use]
    pub fn pointer(&self) -> String {
        self.path.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1"))).collect()
    }
}

/// The calls of an OpenAPI 3 document in JSON that answer with JSON. Blocks on the disk.
///
/// # Errors
/// A document that cannot be read.
pub fn describe(file: &Path) -> Result<Vec<DescribedCall>, SourceError> {
    let document = Document::read(file)?;
    let mut calls = Vec::new();
    let paths = document.0.get("paths").and_then(Value::as_object);
    for (path, item) in paths.into_iter().flatten() {
        let item = document.resolve(item);
        for (word, method) in [("get", Method::Get), ("post", Method::Post)] {
            let Some(described) = item.get(word).filter(|_| calls.len() < CALLS_MAX) else { continue };
            calls.extend(document.call(item, described, method, path));
        }
    }
    Ok(calls)
}

impl Document {
    fn call(&self, item: &Value, described: &Value, method: Method, path: &str) -> Option<DescribedCall> {
        let responses = described.get("responses");
        let answer = ["200", "2XX", "default"].iter().find_map(|status| responses?.get(status))?;
        let schema = self.json(self.resolve(answer))?;
        let (rows, row) = self.rows(schema);
        let mut call = DescribedCall {
            method,
            path: path.to_owned(),
            path_params: segments(path),
            query: self.required(item, described),
            body: Vec::new(),
            rows,
            fields: Vec::new(),
        };
        self.places(row, &mut Vec::new(), &mut call.fields);
        if let Some(body) = described.get("requestBody").and_then(|body| self.json(self.resolve(body))) {
            self.places(body, &mut Vec::new(), &mut call.body);
        }
        (!call.fields.is_empty()).then_some(call)
    }

    /// Where the rows stand: the answer itself, or its one list of objects.
    fn rows<'d>(&'d self, schema: &'d Value) -> (String, &'d Value) {
        if let Some(items) = schema.get("items") {
            return (String::new(), self.resolve(items));
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        let mut lists = properties.into_iter().flatten().filter_map(|(name, inner)| {
            let row = self.resolve(self.resolve(inner).get("items")?);
            row.get("properties").map(|_| (name, row))
        });
        match (lists.next(), lists.next()) {
            (Some((name, row)), None) => (format!("/{}", name.replace('~', "~0").replace('/', "~1")), row),
            _ => (String::new(), schema),
        }
    }

    fn required(&self, item: &Value, described: &Value) -> Vec<String> {
        let levels = [item, described].into_iter().filter_map(|level| level.get("parameters")?.as_array());
        let required = |parameter: &&Value| {
            parameter.get("in").and_then(Value::as_str) == Some("query")
                && parameter.get("required").and_then(Value::as_bool) == Some(true)
        };
        let parameters = levels.flatten().map(|parameter| self.resolve(parameter)).filter(required);
        parameters.filter_map(|parameter| Some(parameter.get("name")?.as_str()?.to_owned())).collect()
    }

    fn places(&self, schema: &Value, path: &mut Vec<String>, found: &mut Vec<DescribedPlace>) {
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, inner) in properties.into_iter().flatten() {
            if found.len() >= PLACES_MAX {
                return;
            }
            let inner = self.resolve(inner);
            path.push(name.clone());
            if inner.get("properties").is_some() {
                if path.len() < DEPTH_MAX {
                    self.places(inner, path, found);
                }
            } else if let Some(kind) = kind(inner) {
                let text = |key: &str| inner.get(key).and_then(Value::as_str).map(str::to_owned);
                let words = inner.get("enum").and_then(Value::as_array).into_iter().flatten();
                found.push(DescribedPlace {
                    path: path.clone(),
                    kind,
                    format: text("format"),
                    about: text("description"),
                    words: words.filter_map(|word| word.as_str().map(str::to_owned)).collect(),
                });
            }
            path.pop();
        }
    }
}

/// The type of a plain value; OpenAPI 3.1 lists types, `null` among them.
fn kind(schema: &Value) -> Option<String> {
    let plain = |kind: &&str| matches!(*kind, "string" | "integer" | "number" | "boolean");
    match schema.get("type")? {
        Value::String(kind) => Some(kind.as_str()).filter(plain).map(str::to_owned),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(plain).map(str::to_owned),
        _ => None,
    }
}

fn segments(path: &str) -> Vec<String> {
    let inner = |segment: &str| Some(segment.strip_prefix('{')?.strip_suffix('}')?.to_owned());
    path.split('/').filter_map(inner).collect()
}
