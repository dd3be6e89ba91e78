//! An OpenAPI 3 document in JSON, as far as a mapping can be held against it.

mod describe;

pub use describe::{DescribedCall, DescribedPlace, describe};

use serde_json::Value;
use std::io::Read as _;
use std::path::Path;
use yiwang_adapter_sdk::mapping::{CallDef, FieldType, Method, OperationDef, Piece, Template};
use yiwang_adapter_sdk::source::SourceError;

/// Bytes of a document: large APIs have some megabytes.
const DOCUMENT_MAX: u64 = 8 * 1024 * 1024;
/// References followed one after the other: a document may name itself.
const HOPS_MAX: u32 = 16;

/// A document.
#[derive(Debug)]
pub(crate) struct Document(Value);

impl Document {
    pub(crate) fn read(file: &Path) -> Result<Self, SourceError> {
        let fault = |what: String| SourceError::Setting(format!("openapi: `{}`: {what}", file.display()));
        let mut bytes = Vec::new();
        std::fs::File::open(file)
            .and_then(|opened| opened.take(DOCUMENT_MAX + 1).read_to_end(&mut bytes))
            .map_err(|error| fault(error.to_string()))?;
        if bytes.len() as u64 > DOCUMENT_MAX {
            return Err(fault("is over 8 MiB".to_owned()));
        }
        let document: Value = serde_json::from_slice(&bytes)
            .map_err(|_| fault("is not JSON: convert YAML first".to_owned()))?;
        let version = document.get("openapi").and_then(Value::as_str).unwrap_or_default();
        if !version.starts_with("3.") {
            return Err(fault("is not OpenAPI 3".to_owned()));
        }
        Ok(Self(document))
    }

    /// What of an operation is not as the document says.
    pub(crate) fn compare(&self, operation: &OperationDef, call: &CallDef) -> Vec<String> {
        let shown = call.shown_path();
        let Some(item) = self.path(call) else { return vec![format!("the document has no path `{shown}`")] };
        let method = match call.method {
            Method::Get => "get",
            Method::Post => "post",
        };
        let Some(described) = item.get(method) else {
            return vec![format!("path `{shown}` has no {}", method.to_ascii_uppercase())];
        };
        let mut faults = Vec::new();
        self.query(item, described, call, &mut faults);
        self.body(described, call, &mut faults);
        self.answer(described, operation, call, &mut faults);
        faults
    }

    fn resolve<'d>(&'d self, mut value: &'d Value) -> &'d Value {
        for _ in 0..HOPS_MAX {
            let Some(reference) = value.get("$ref").and_then(Value::as_str) else { return value };
            let Some(found) = reference.strip_prefix('#').and_then(|at| self.0.pointer(at)) else {
                return value;
            };
            value = found;
        }
        value
    }

    fn path(&self, call: &CallDef) -> Option<&Value> {
        let fits = |template: &str| {
            let segments: Vec<&str> =
                template.trim_matches('/').split('/').filter(|s| !s.is_empty()).collect();
            segments.len() == call.path.len()
                && segments.iter().zip(&call.path).all(|(segment, piece)| match piece {
                    Piece::Param(_) => segment.starts_with('{') && segment.ends_with('}'),
                    Piece::Constant(scalar) => crate::request::text(scalar) == *segment,
                })
        };
        let paths = self.0.get("paths")?.as_object()?;
        paths.iter().find(|(template, _)| fits(template)).map(|(_, item)| self.resolve(item))
    }

    fn query(&self, item: &Value, described: &Value, call: &CallDef, faults: &mut Vec<String>) {
        let known: Vec<(&str, bool)> = [item, described]
            .into_iter()
            .filter_map(|level| level.get("parameters")?.as_array())
            .flatten()
            .map(|parameter| self.resolve(parameter))
            .filter(|parameter| parameter.get("in").and_then(Value::as_str) == Some("query"))
            .filter_map(|parameter| {
                let required = parameter.get("required").and_then(Value::as_bool).unwrap_or(false);
                Some((parameter.get("name")?.as_str()?, required))
            })
            .collect();
        for (name, _) in &call.query {
            if !known.iter().any(|(known, _)| known == name) {
                faults.push(format!("the document has no query parameter `{name}`"));
            }
        }
        for (name, _) in known.iter().filter(|(_, required)| *required) {
            if !call.query.iter().any(|(given, _)| given == name) {
                faults.push(format!("the document asks for the query parameter `{name}`"));
            }
        }
    }

    fn body(&self, described: &Value, call: &CallDef, faults: &mut Vec<String>) {
        let body = described.get("requestBody").map(|body| self.resolve(body));
        let given: Vec<&str> = match &call.body {
            Some(Template::Object(entries)) => entries.iter().map(|(name, _)| name.as_str()).collect(),
            _ => Vec::new(),
        };
        let Some(body) = body else {
            if call.body.is_some() {
                faults.push("the document has no body here".to_owned());
            }
            return;
        };
        if call.body.is_none() {
            if body.get("required").and_then(Value::as_bool).unwrap_or(false) {
                faults.push("the document asks for a body".to_owned());
            }
            return;
        }
        let Some(schema) = self.json(body) else {
            faults.push("the document takes no JSON here".to_owned());
            return;
        };
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            for name in given.iter().filter(|name| !properties.contains_key(**name)) {
                faults.push(format!("the document has no `{name}` in the body"));
            }
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for name in required.filter_map(Value::as_str).filter(|name| !given.contains(name)) {
            faults.push(format!("the document asks for `{name}` in the body"));
        }
    }

    /// The schema of the JSON of a body or an answer.
    fn json<'d>(&'d self, holder: &'d Value) -> Option<&'d Value> {
        let content = holder.get("content")?.as_object()?;
        let is_json = |kind: &str| {
            let kind = kind.split(';').next().unwrap_or_default().trim();
            kind == "application/json" || kind.starts_with("application/") && kind.ends_with("+json")
        };
        let media = content.iter().find(|(kind, _)| is_json(kind)).map(|(_, media)| media)?;
        media.get("schema").map(|schema| self.resolve(schema))
    }

    fn answer(&self, described: &Value, operation: &OperationDef, call: &CallDef, faults: &mut Vec<String>) {
        let responses = described.get("responses");
        let answer = ["200", "2XX", "default"].iter().find_map(|status| responses?.get(status));
        let Some(schema) = answer.and_then(|answer| self.json(self.resolve(answer))) else {
            faults.push("the document has no JSON as the answer".to_owned());
            return;
        };
        let Some(rows) = self.place(schema, &call.rows) else {
            faults.push(format!("the document's answer has nothing at `{}`", call.rows));
            return;
        };
        let row = rows.get("items").map_or(rows, |items| self.resolve(items));
        for field in operation.fields.iter().chain(operation.as_of.as_ref()) {
            for column in field.columns() {
                let Some(found) = self.place(row, &column) else {
                    faults.push(format!(
                        "field `{}`: the document's row has nothing at `{column}`",
                        field.name
                    ));
                    continue;
                };
                let plain = field.from.as_ref() == Some(&column) && field.expr.is_none();
                if plain && !fits(field.kind, found) {
                    let kind = field.kind.as_str();
                    faults
                        .push(format!("field `{}` is a {kind}, and the document says otherwise", field.name));
                }
            }
        }
    }

    /// The schema of a place; what a schema leaves open is any place.
    fn place<'d>(&'d self, schema: &'d Value, pointer: &str) -> Option<&'d Value> {
        let mut at = schema;
        for step in pointer.split('/').skip(1) {
            let step = step.replace("~1", "/").replace("~0", "~");
            let inner = match at.get("properties") {
                Some(properties) => properties.get(&step)?,
                None if step.bytes().all(|b| b.is_ascii_digit()) && at.get("items").is_some() => {
                    at.get("items")?
                }
                // Composed or open schemas say nothing that could be held against the mapping.
                None if at.get("type").is_none()
                    || at.get("type").and_then(Value::as_str) == Some("object") =>
                {
                    return Some(&Value::Null);
                }
                None => return None,
            };
            at = self.resolve(inner);
        }
        Some(at)
    }
}

fn fits(kind: FieldType, schema: &Value) -> bool {
    let wanted: &[&str] = match kind {
        FieldType::String | FieldType::Date | FieldType::Timestamp => &["string"],
        FieldType::Code => &["string", "integer"],
        FieldType::Integer => &["integer"],
        FieldType::Number => &["number", "integer"],
        FieldType::Bool => &["boolean"],
    };
    match schema.get("type") {
        Some(Value::String(said)) => wanted.contains(&said.as_str()),
        // OpenAPI 3.1 lists types, `null` among them.
        Some(Value::Array(said)) => said.iter().filter_map(Value::as_str).any(|said| wanted.contains(&said)),
        _ => true,
    }
}
