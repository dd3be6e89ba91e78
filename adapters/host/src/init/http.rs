//! A call of a JSON API, as an OpenAPI document describes it.

use super::draft::{self, Access};
use super::names::Names;
use super::read::{Ask, InitError};
use super::text::quoted;
use super::{Described, Hint};
use std::collections::BTreeMap;
use std::path::Path;
use yiwang_adapter_http::{DescribedCall, DescribedPlace, describe};
use yiwang_adapter_sdk::mapping::Method;
use yiwang_adapter_sql::ColumnKind;

fn word(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Post => "POST",
    }
}

/// Proposes a mapping for the call `GET /path` or `POST /path` of a document.
pub(super) fn propose(ask: &Ask, document: &Path, source: &str) -> Result<String, InitError> {
    let calls = describe(document)?;
    let shown = |call: &DescribedCall| format!("{} {}", word(call.method), call.path);
    let call = ask.call.as_ref().and_then(|wanted| calls.iter().find(|call| shown(call) == *wanted));
    let Some(call) = call else {
        let known = calls.iter().map(shown).collect();
        return Err(InitError::Which { what: "--call", asked: ask.call.clone(), known });
    };
    let hints = call.fields.iter().map(hint).collect();
    let what = format!("`{}` of the OpenAPI document", shown(call));
    let named = call.path.split('/').rfind(|part| !part.is_empty() && !part.starts_with('{'));
    let name = named.unwrap_or_default().to_owned();
    draft::write(
        ask,
        &Described { what, name, hints, keys: Vec::new(), sampled: Vec::new() },
        source,
        &Access::Call(call),
    )
}

fn hint(place: &DescribedPlace) -> Hint {
    let kind = match (place.kind.as_str(), place.format.as_deref()) {
        ("integer", _) => ColumnKind::Integer,
        ("number", _) => ColumnKind::Number,
        ("boolean", _) => ColumnKind::Bool,
        (_, Some("date")) => ColumnKind::Date,
        (_, Some("date-time")) => ColumnKind::Moment,
        _ => ColumnKind::Text,
    };
    let format = place.format.as_deref().map(|format| format!(" ({format})")).unwrap_or_default();
    let own = place.path.last().cloned();
    let mut path = vec![place.path.join("_")];
    path.extend(own.filter(|own| Some(own) != path.first()));
    Hint {
        from: place.pointer(),
        path,
        type_name: format!("{}{format}", place.kind),
        kind,
        length: None,
        comment: place.about.clone(),
        words: place.words.clone(),
        sampled: None,
    }
}

/// The keys of an operation that say how the call is made, with the parameter `id` in it once.
pub(super) fn asked(call: &DescribedCall) -> Result<String, InitError> {
    let names = Names::builtin().map_err(InitError::Program)?;
    let mut text = String::new();
    let in_path = call.path_params.first();
    let place = match in_path {
        Some(_) => ", in = \"path\"",
        None if call.method == Method::Get => ", in = \"query\"",
        None => "",
    };
    let warned = if place.is_empty() {
        ""
    } else {
        " # choose: an address stays in logs; is there a call that takes it in the body?"
    };
    text.push_str(&format!(
        "params.id = {{ type = \"string\", pattern = \"^[0-9]{{17}}[0-9X]$\"{place} }}{warned}\nmethod = \"{}\"\n",
        word(call.method)
    ));
    let mut path = call.path.clone();
    for (at, param) in call.path_params.iter().enumerate() {
        let to = if at == 0 { ":id" } else { "CHOOSE" };
        path = path.replace(&format!("{{{param}}}"), to);
    }
    let many = if call.path_params.len() > 1 { " # choose: what stands for CHOOSE" } else { "" };
    text.push_str(&format!("path = {}{many}\n", quoted(&path)));
    if call.method == Method::Get {
        let mut query: Vec<String> = Vec::new();
        for (at, name) in call.query.iter().enumerate() {
            let value = if at == 0 && in_path.is_none() { ":id" } else { "CHOOSE" };
            query.push(format!("{} = {}", quoted(name), quoted(value)));
        }
        if query.is_empty() && in_path.is_none() {
            query.push("CHOOSE = \":id\"".to_owned());
        }
        if !query.is_empty() {
            text.push_str(&format!("query = {{ {} }} # choose: names and values\n", query.join(", ")));
        }
    } else if in_path.is_none() {
        text.push_str(&body(call, &names));
    }
    if !call.rows.is_empty() {
        text.push_str(&format!("rows = {}\n", quoted(&call.rows)));
    }
    if call.method == Method::Post {
        text.push_str("idempotent = true # choose: leave it out where such a call changes anything\n");
    }
    Ok(text)
}

/// A body with the identifier at the place that is called like one.
fn body(call: &DescribedCall, names: &Names) -> String {
    let hints: Vec<Hint> = call.body.iter().map(hint).collect();
    let (at, sure) = match names.person_id(&hints, |hint| hint.kind == ColumnKind::Text) {
        Some((at, guessed)) => (Some(at), !guessed),
        None => (hints.iter().position(|hint| hint.kind == ColumnKind::Text), false),
    };
    let Some(place) = at.and_then(|at| call.body.get(at)) else {
        return "body = { CHOOSE = \":id\" } # choose: where the document says that the identifier stands\n"
            .to_owned();
    };
    let mut inner = quoted(":id");
    for step in place.path.iter().rev() {
        inner = format!("{{ {} = {inner} }}", quoted(step));
    }
    let choose = if sure { "" } else { " # choose: is this where the identifier stands?" };
    format!("body = {inner}{choose}\n")
}

#[derive(Default)]
struct Node<'a> {
    value: Option<&'a str>,
    inner: BTreeMap<String, Node<'a>>,
}

impl Node<'_> {
    fn text(&self) -> String {
        if let Some(value) = self.value {
            return value.to_owned();
        }
        // What a pointer counts is a list.
        if self.inner.keys().enumerate().all(|(at, key)| *key == at.to_string()) {
            let parts: Vec<String> = self.inner.values().map(Self::text).collect();
            return format!("[{}]", parts.join(", "));
        }
        self.table()
    }

    fn table(&self) -> String {
        let parts: Vec<String> =
            self.inner.iter().map(|(name, node)| format!("{} = {}", quoted(name), node.text())).collect();
        format!("{{ {} }}", parts.join(", "))
    }
}

/// The document that has these values at these pointers.
pub(super) fn document(values: &BTreeMap<&str, &str>) -> String {
    let mut root = Node::default();
    for (pointer, value) in values {
        let mut at = &mut root;
        for step in pointer.split('/').skip(1) {
            at = at.inner.entry(step.replace("~1", "/").replace("~0", "~")).or_default();
        }
        at.value = Some(value);
    }
    root.table()
}
