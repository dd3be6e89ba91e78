//! Bodies of requests: raw → checked. Unknown keys are refused, all faults are told at once, and no fault
//! repeats a value.

use super::problem::{BODY_TIMEOUT, INVALID, NOT_A_JSON_TYPE, NOT_JSON, Problem, TOO_LARGE};
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde::{Deserialize as _, Deserializer};
use serde_json::Value;
use serde_json::error::Category;
use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;
use yiwang_policies::RecordDef;
use yiwang_proto::body::Arguments;
use yiwang_proto::contract::Scalar;
use yiwang_proto::ids::{ContractId, FieldName, IdError, RecordType};
use yiwang_proto::limits::{ARGUMENT_BYTES_MAX, ARGUMENTS_MAX, FIELDS_MAX, SUBJECT_MAX};
use yiwang_proto::nearest::did_you_mean;
use yiwang_proto::resident_id;

/// Bytes of a request's body: the largest case with 256 subjects has half of it.
const BODY_MAX: usize = 64 * 1024;
/// From the end of the header to the end of the body.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Record types in one query: more than the catalogue has.
pub(super) const RECORDS_MAX: usize = 64;

/// Reads a body as one JSON object without unknown keys.
pub(super) async fn read<T: DeserializeOwned>(request: Request) -> Result<T, Problem> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) {
        return Err(Problem::new(&NOT_A_JSON_TYPE));
    }
    let bytes = match tokio::time::timeout(BODY_TIME, collect(request.into_body())).await {
        Ok(bytes) => bytes?,
        Err(_elapsed) => return Err(Problem::new(&BODY_TIMEOUT)),
    };
    parse(&bytes)
}

async fn collect(body: Body) -> Result<Bytes, Problem> {
    match Limited::new(body, BODY_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Problem::new(&TOO_LARGE)),
        Err(_) => Err(Problem::new(&NOT_JSON).detail("the body ended early")),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let bytes = bytes.trim_ascii();
    if bytes.first().is_some_and(|first| *first != b'{') {
        return Err(Problem::new(&NOT_JSON).detail("the body is not an object"));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        if error.classify() == Category::Data {
            // Members are read as any value, so the only faults of shape are keys, and their words hold
            // no value.
            let words = error.to_string();
            let words = words.split(" at line ").next().unwrap_or_default();
            let key = words.starts_with("unknown field") || words.starts_with("duplicate field");
            let detail = if key { words } else { "not an object of the known keys" };
            return Problem::new(&INVALID).errors(vec![("#".to_owned(), format!("{detail} ({place})"))]);
        }
        Problem::new(&NOT_JSON).detail(format!("the body stops being JSON at {place}"))
    })
}

/// A member that is there, also if it is null: only what is left out is left out.
pub(super) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Collects what is wrong with the values of a body.
#[derive(Default)]
pub(super) struct Faults(Vec<(String, String)>);

impl Faults {
    pub(super) fn add(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.0.push((pointer.into(), detail.into()));
    }

    /// The checked value, or all faults.
    pub(super) fn finish<T>(self, checked: Option<T>) -> Result<T, Problem> {
        match checked {
            Some(checked) if self.0.is_empty() => Ok(checked),
            _ => Err(Problem::new(&INVALID).errors(self.0)),
        }
    }

    /// An identifier that must be there.
    pub(super) fn id<T: FromStr<Err = IdError>>(&mut self, key: &str, value: Option<&Value>) -> Option<T> {
        if value.is_none() {
            self.add("#", format!("`{key}` is missing"));
        }
        self.optional_id(key, value)
    }

    /// An identifier that may be left out.
    pub(super) fn optional_id<T: FromStr<Err = IdError>>(
        &mut self,
        key: &str,
        value: Option<&Value>,
    ) -> Option<T> {
        self.parsed(&format!("#/{key}"), value?)
    }

    fn parsed<T: FromStr<Err = IdError>>(&mut self, pointer: &str, value: &Value) -> Option<T> {
        let Some(text) = value.as_str() else {
            self.add(pointer, "is not a text");
            return None;
        };
        text.parse().map_err(|error: IdError| self.add(pointer, rule(&error))).ok()
    }

    /// What may be left out, true or false; left out is false.
    pub(super) fn flag(&mut self, key: &str, value: Option<&Value>) -> bool {
        let Some(value) = value else { return false };
        if !value.is_boolean() {
            self.add(format!("#/{key}"), "is not true or false");
        }
        value == &Value::Bool(true)
    }

    /// A subject's identifier. One that was most likely mistyped would be of nobody, and neither a case nor a query
    /// would say why.
    pub(super) fn subject(&mut self, pointer: &str, value: &Value, as_issued: bool) -> Option<String> {
        let fits =
            |text: &&str| (1..=SUBJECT_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
        let subject = value.as_str().filter(fits);
        if subject.is_none() {
            self.add(
                pointer,
                format!("is not a text of 1 to {SUBJECT_MAX} bytes without control characters"),
            );
        }
        let subject = subject?;
        if let Err(error) = resident_id::check_given(subject, as_issued) {
            self.add(pointer, format!("{error}: {}", error.next("send `\"as_issued\": true`")));
            return None;
        }
        Some(subject.to_owned())
    }

    /// Records with the names of their fields.
    pub(super) fn fields(&mut self, value: Option<&Value>) -> Option<BTreeMap<RecordType, Vec<FieldName>>> {
        let Some(value) = value else { return Some(BTreeMap::new()) };
        let Some(records) = value.as_object().filter(|records| records.len() <= RECORDS_MAX) else {
            self.add("#/fields", format!("is not an object of at most {RECORDS_MAX} record types"));
            return None;
        };
        let mut checked = BTreeMap::new();
        for (record, names) in records {
            let Ok(record) = RecordType::parse(record) else {
                self.add(
                    "#/fields",
                    "has a key that is no record type: letters and digits, beginning with a capital",
                );
                continue;
            };
            if let Some(names) = self.names(&format!("#/fields/{record}"), names) {
                checked.insert(record, names);
            }
        }
        Some(checked)
    }

    /// Names of fields.
    pub(super) fn names(&mut self, pointer: &str, value: &Value) -> Option<Vec<FieldName>> {
        let Some(names) = value.as_array().filter(|names| names.len() <= FIELDS_MAX) else {
            self.add(pointer, format!("is not a list of at most {FIELDS_MAX} fields"));
            return None;
        };
        let names = names.iter().enumerate();
        Some(names.filter_map(|(at, name)| self.parsed(&format!("{pointer}/{at}"), name)).collect())
    }

    /// Adds what a record has no field for.
    pub(super) fn known(&mut self, pointer: &str, record: &RecordDef, names: &[FieldName]) {
        for name in names.iter().filter(|name| record.field(name).is_none()) {
            let near = did_you_mean(name.as_str(), record.fields.keys().map(FieldName::as_str));
            let near = near.map(|near| format!("; {near}")).unwrap_or_default();
            self.add(pointer, format!("record `{}` has no field `{name}`{near}", record.name));
        }
    }

    /// Arguments by name.
    pub(super) fn arguments(&mut self, value: Option<&Value>) -> Option<Arguments> {
        let Some(value) = value else { return Some(Arguments::new()) };
        let Some(arguments) = value.as_object().filter(|given| given.len() <= ARGUMENTS_MAX) else {
            self.add("#/arguments", format!("is not an object of at most {ARGUMENTS_MAX} arguments"));
            return None;
        };
        let mut checked = Arguments::new();
        for (name, value) in arguments {
            let Ok(name) = FieldName::parse(name) else {
                self.add(
                    "#/arguments",
                    "has a key that is no parameter: 1 to 40 of a-z, 0-9 and underscores",
                );
                continue;
            };
            match scalar(value) {
                Some(value) => drop(checked.insert(name, value)),
                None => self.add(
                    format!("#/arguments/{name}"),
                    format!("is not a text of at most {ARGUMENT_BYTES_MAX} bytes, a number, true or false"),
                ),
            }
        }
        Some(checked)
    }

    /// Tokens of next pages by contract. An empty object is refused, for it would begin anew: whoever loops until nothing is
    /// left is told.
    pub(super) fn resume(&mut self, value: Option<&Value>) -> Option<BTreeMap<ContractId, String>> {
        let Some(value) = value else { return Some(BTreeMap::new()) };
        let given = value.as_object().filter(|given| (1..=RECORDS_MAX).contains(&given.len()));
        let Some(given) = given else {
            let what =
                "is not an object of contracts and what their sources gave; leave it out for the first pages";
            self.add("#/resume", what);
            return None;
        };
        let token = |value: &Value| value.as_str().filter(|text| is_token(text)).map(str::to_owned);
        let checked: Option<BTreeMap<ContractId, String>> = given
            .iter()
            .map(|(contract, value)| Some((ContractId::parse(contract).ok()?, token(value)?)))
            .collect();
        if checked.is_none() {
            self.add("#/resume", "has a contract or a token that no answer gave");
        }
        checked
    }
}

/// Base64 without padding, as providers write what a next page is asked for with.
pub(super) fn is_token(text: &str) -> bool {
    (1..=ARGUMENT_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn scalar(value: &Value) -> Option<Scalar> {
    match value {
        Value::Bool(value) => Some(Scalar::Bool(*value)),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Some(Scalar::Integer(whole)),
            None => number.as_f64().filter(|number| number.is_finite()).map(Scalar::Number),
        },
        Value::String(text) if text.len() <= ARGUMENT_BYTES_MAX => Some(Scalar::Text(text.clone())),
        _ => None,
    }
}

/// The rule that an identifier breaks, without the identifier.
fn rule(error: &IdError) -> String {
    let text = error.to_string();
    text.rsplit_once("` is not ")
        .map_or_else(|| "is not well-formed".to_owned(), |(_, rule)| format!("is not {rule}"))
}
