//! How operations of `[source.http]` and `[source.fhir]` ask.

use super::def::{Access, ParamDef};
use super::fault::Faults;
use super::operation::unused;
use super::read::{Node, Table, kind, one_of, shown, text};
use super::service::{CallDef, Method, ParamPlace, Piece, SearchDef, Template, is_pointer, search_name};
use super::service_read::{is_path, is_resource};
use toml::de::DeValue;
use yiwang_proto::contract::Scalar;
use yiwang_proto::ids::FieldName;
use yiwang_proto::nearest::meant;

/// Keys of an operation of an HTTP source beside those that all have.
pub(crate) const CALL_KEYS: [&str; 8] =
    ["method", "path", "query", "body", "rows", "next", "not_found", "idempotent"];
/// Keys of an operation of a FHIR source beside those that all have.
pub(crate) const SEARCH_KEYS: [&str; 3] = ["resource", "search", "elements"];
/// Levels of a body: deeper ones no API that a mapping describes asks for.
const DEPTH_MAX: u32 = 8;
/// Entries of a query or a search, and of an object of a body.
const ENTRIES_MAX: usize = 32;
/// Resources of a page at most; servers cut it to what they allow.
const COUNT_MAX: i64 = 1000;
/// Search parameters that would let in more than the resource and the elements that are asked for, or that
/// search in free text.
const REFUSED: [&str; 13] = [
    "_elements",
    "_summary",
    "_include",
    "_revinclude",
    "_format",
    "_pretty",
    "_contained",
    "_containedType",
    "_total",
    "_query",
    "_filter",
    "_content",
    "_text",
];

pub(crate) fn call(table: &Table<'_, '_>, params: &[ParamDef], faults: &mut Faults<'_>) -> Option<Access> {
    let methods = [("GET", Method::Get), ("POST", Method::Post)];
    let method = table.need("method", faults).and_then(|node| one_of(node, "method", &methods, faults));
    let path = table.need("path", faults).and_then(|node| path(node, params, faults));
    let query = table.get("query").map(|node| query(node, params, faults)).unwrap_or_default();
    let body = table.get("body").and_then(|node| template(node, params, 0, faults));
    if method == Some(Method::Get) && table.get("body").is_some() {
        let help = Some("use `query`, or method = \"POST\"".to_owned());
        faults.add(table.key_span("body"), "a GET has no body", help);
    }
    let rows = table.text("rows", faults).unwrap_or_default();
    if !rows.is_empty() && !is_pointer(rows) {
        faults.add(table.key_span("rows"), "`rows` is not a JSON pointer, like \"/items\"", None);
    }
    let next = table.text("next", faults);
    if next.is_some_and(|next| !is_pointer(next)) {
        faults.add(table.key_span("next"), "`next` is not a JSON pointer, like \"/links/next\"", None);
    }
    let choices = [("none", true), ("error", false)];
    let absent = table.get("not_found").and_then(|node| one_of(node, "not_found", &choices, faults));
    let again = table.boolean("idempotent", faults);
    if method == Some(Method::Get) && again == Some(false) {
        let message = "a GET can always be made again";
        faults.add(table.key_span("idempotent"), message, Some("leave `idempotent` out".to_owned()));
    }
    let call = CallDef {
        method: method?,
        path: path?,
        query,
        body,
        rows: rows.to_owned(),
        next: next.map(str::to_owned),
        absent_404: absent.unwrap_or(false),
        idempotent: again.unwrap_or(method == Some(Method::Get)),
    };
    places(table, &call, params, faults);
    narrowed(table, params, faults);
    Some(Access::Call(call))
}

/// What is left out is not sent, and a service that is asked for nothing finds everybody.
fn narrowed(table: &Table<'_, '_>, params: &[ParamDef], faults: &mut Faults<'_>) {
    if !params.is_empty() && params.iter().all(|param| param.optional) {
        let help = Some("a parameter that is left out is not sent: make one of them required".to_owned());
        faults.add(table.key_span("params"), "every parameter can be left out", help);
    }
}

/// Each parameter stands where it is declared to stand: what stands in an address is kept by access logs
/// and proxies on the way, so that it takes a word of its own.
fn places(table: &Table<'_, '_>, call: &CallDef, params: &[ParamDef], faults: &mut Faults<'_>) {
    let mut used: Vec<&str> = Vec::new();
    let mut judge = |name: &FieldName, place: ParamPlace, key: &str| {
        let Some(param) = params.iter().find(|param| param.name == *name) else { return };
        if param.place == place {
            return;
        }
        let (message, help) = match place {
            ParamPlace::Body => (
                format!("parameter :{name} is declared for the address and stands in the body"),
                "take `in` out of its declaration".to_owned(),
            ),
            ParamPlace::Path | ParamPlace::Query => (
                format!("parameter :{name} would stand in the address, which logs keep"),
                format!("put it into `body`; if the API has no other way: params.{name}.in = \"{key}\""),
            ),
        };
        faults.add(table.key_span(key), message, Some(help));
    };
    for piece in &call.path {
        if let Piece::Param(name) = piece {
            judge(name, ParamPlace::Path, "path");
            used.push(name.as_str());
        }
    }
    for (_, piece) in &call.query {
        if let Piece::Param(name) = piece {
            judge(name, ParamPlace::Query, "query");
            used.push(name.as_str());
        }
    }
    let mut open: Vec<&Template> = call.body.iter().collect();
    while let Some(next) = open.pop() {
        match next {
            Template::Piece(Piece::Param(name)) => {
                judge(name, ParamPlace::Body, "body");
                used.push(name.as_str());
            }
            Template::Piece(Piece::Constant(_)) => {}
            Template::List(list) => open.extend(list),
            Template::Object(entries) => open.extend(entries.iter().map(|(_, value)| value)),
        }
    }
    // What is not declared is a fault already.
    if faults.is_empty() {
        unused(&used, params, table.key_span("path"), faults);
    }
}

fn path(node: &Node<'_>, params: &[ParamDef], faults: &mut Faults<'_>) -> Option<Vec<Piece>> {
    let given = text(node, "path", faults)?;
    if !is_path(given) || given.len() > 1 && given.ends_with('/') {
        let help = "write segments beneath the base address, like \"/v1/meters/:id\"".to_owned();
        faults.add(node.span(), "`path` is not a path", Some(help));
        return None;
    }
    let segments = given.trim_start_matches('/').split('/').filter(|segment| !segment.is_empty());
    segments
        .map(|segment| match segment.strip_prefix(':') {
            Some(name) => declared(name, node, params, faults).map(Piece::Param),
            None => Some(Piece::Constant(Scalar::Text(segment.to_owned()))),
        })
        .collect()
}

fn query(node: &Node<'_>, params: &[ParamDef], faults: &mut Faults<'_>) -> Vec<(String, Piece)> {
    let Some(table) = Table::of(node, "query", faults) else { return Vec::new() };
    let entries = table.entries();
    if entries.len() > ENTRIES_MAX {
        faults.add(node.span(), format!("`query` has over {ENTRIES_MAX} entries"), None);
    }
    entries
        .into_iter()
        .filter_map(|(key, _, node)| Some((key.to_owned(), piece(node, params, faults)?)))
        .collect()
}

fn template(node: &Node<'_>, params: &[ParamDef], depth: u32, faults: &mut Faults<'_>) -> Option<Template> {
    if depth > DEPTH_MAX {
        faults.add(node.span(), format!("`body` is over {DEPTH_MAX} levels deep"), None);
        return None;
    }
    match node.get_ref() {
        DeValue::Array(list) => {
            let items: Option<Vec<_>> =
                list.iter().map(|node| template(node, params, depth + 1, faults)).collect();
            items.map(Template::List)
        }
        DeValue::Table(_) => {
            let table = Table::of(node, "body", faults)?;
            let entries = table.entries();
            if entries.len() > ENTRIES_MAX {
                faults.add(node.span(), format!("`body` has over {ENTRIES_MAX} entries"), None);
            }
            let entries: Option<Vec<_>> = entries
                .into_iter()
                .map(|(key, _, node)| Some((key.to_owned(), template(node, params, depth + 1, faults)?)))
                .collect();
            entries.map(Template::Object)
        }
        _ => piece(node, params, faults).map(Template::Piece),
    }
}

/// A constant, or `":name"`.
fn piece(node: &Node<'_>, params: &[ParamDef], faults: &mut Faults<'_>) -> Option<Piece> {
    let constant = match node.get_ref() {
        DeValue::String(text) => match text.strip_prefix(':') {
            Some(name) => return declared(name, node, params, faults).map(Piece::Param),
            None => Scalar::Text(text.to_string()),
        },
        DeValue::Integer(number) => {
            Scalar::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()?)
        }
        DeValue::Boolean(value) => Scalar::Bool(*value),
        other => {
            let message = format!("a call holds {}, not a text, number or :parameter", kind(other));
            faults.add(node.span(), message, None);
            return None;
        }
    };
    Some(Piece::Constant(constant))
}

fn declared(name: &str, node: &Node<'_>, params: &[ParamDef], faults: &mut Faults<'_>) -> Option<FieldName> {
    let found = params.iter().find(|param| param.name.as_str() == name);
    if found.is_none() {
        let help = match meant(name, params.iter().map(|param| param.name.as_str())) {
            Some(near) => format!("did you mean :{near}?"),
            None => format!("declare it: params.{} = {{ type = … }}", shown(name)),
        };
        faults.add(node.span(), format!("parameter :{} is not declared", shown(name)), Some(help));
    }
    found.map(|param| param.name.clone())
}

pub(crate) fn search(table: &Table<'_, '_>, params: &[ParamDef], faults: &mut Faults<'_>) -> Option<Access> {
    let resource = table.need_text("resource", faults);
    if resource.is_some_and(|resource| !is_resource(resource)) {
        let help = Some("write its name as FHIR does, like \"Condition\"".to_owned());
        faults.add(table.key_span("resource"), "`resource` is not a type of resource", help);
    }
    if table.boolean("elements", faults) == Some(false) {
        let help = Some("write elements = true, or leave it out".to_owned());
        faults.add(table.key_span("elements"), "only the elements of granted fields are asked for", help);
    }
    for param in params.iter().filter(|param| param.place != ParamPlace::Body) {
        let message = format!("parameter :{} would stand in the address, which logs keep", param.name);
        let help = Some("a search is sent in the body: take `in` out".to_owned());
        faults.add(table.key_span("params"), message, help);
    }
    narrowed(table, params, faults);
    let node = table.need("search", faults)?;
    let inner = Table::of(node, "search", faults)?;
    let (mut entries, mut count, mut used) = (Vec::new(), None, Vec::new());
    if inner.entries().is_empty() || inner.entries().len() > ENTRIES_MAX {
        faults.add(node.span(), format!("`search` has 1 to {ENTRIES_MAX} entries"), None);
    }
    for (name, span, node) in inner.entries() {
        let sound = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_:.".contains(&b));
        if REFUSED.contains(&search_name(name)) || !sound || name.is_empty() || name.len() > 128 {
            let help =
                "it would let in more than is asked for, search in free text, or is no name".to_owned();
            faults.add(span, format!("search by `{}` is refused", shown(name)), Some(help));
            continue;
        }
        let Some(given) = text(node, name, faults) else { continue };
        if name == "_count" {
            count = given.parse().ok().filter(|count| (1..=COUNT_MAX).contains(count));
            if count.is_none() {
                let message = format!("`_count` is not a whole number from 1 to {COUNT_MAX}");
                faults.add(node.span(), message, None);
            }
            continue;
        }
        let Some(pieces) = pieces(given, node, params, faults) else { continue };
        used.extend(pieces.iter().filter_map(|piece| match piece {
            Piece::Param(name) => Some(name.clone()),
            Piece::Constant(_) => None,
        }));
        entries.push((name.to_owned(), pieces));
    }
    if faults.is_empty() {
        let used: Vec<&str> = used.iter().map(FieldName::as_str).collect();
        unused(&used, params, node.span(), faults);
    }
    Some(Access::Search(SearchDef {
        resource: resource?.to_owned(),
        search: entries,
        count: count.and_then(|count| u32::try_from(count).ok()),
    }))
}

/// Takes a value apart. A parameter stands at the beginning, after one of `| , $`, or after a comparison at
/// the beginning (`ge:since`), so that `urn:a|:id` has one and not two.
fn pieces(given: &str, node: &Node<'_>, params: &[ParamDef], faults: &mut Faults<'_>) -> Option<Vec<Piece>> {
    const COMPARISONS: [&str; 9] = ["eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"];
    if given.is_empty() || given.chars().any(char::is_control) {
        faults.add(node.span(), "a search value is empty or holds a control character", None);
        return None;
    }
    let (mut pieces, mut literal, mut rest) = (Vec::new(), String::new(), given);
    while let Some(next) = rest.chars().next() {
        let begins = literal.is_empty() && pieces.is_empty()
            || literal.ends_with(['|', ',', '$'])
            || pieces.is_empty() && COMPARISONS.contains(&literal.as_str());
        let after = rest.get(next.len_utf8()..).unwrap_or_default();
        if next == ':' && begins {
            let end = after.find(['|', ',', '$']).unwrap_or(after.len());
            let (name, tail) = after.split_at_checked(end)?;
            if !literal.is_empty() {
                pieces.push(Piece::Constant(Scalar::Text(std::mem::take(&mut literal))));
            }
            pieces.push(Piece::Param(declared(name, node, params, faults)?));
            rest = tail;
        } else {
            literal.push(next);
            rest = after;
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Constant(Scalar::Text(literal)));
    }
    Some(pieces)
}
