//! One entry of `[operation.fields]`.

use super::date_format::{self, Of};
use super::def::{CodeTable, FieldDef, FieldType, Step};
use super::expression::Expression;
use super::fault::Faults;
use super::parse;
use super::read::{Node, Table, id, one_of, shown};
use super::service::is_pointer;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use toml::de::DeValue;
use yiwang_proto::nearest::did_you_mean;

const TYPES: [(&str, FieldType); 7] = [
    ("string", FieldType::String),
    ("integer", FieldType::Integer),
    ("number", FieldType::Number),
    ("bool", FieldType::Bool),
    ("date", FieldType::Date),
    ("timestamp", FieldType::Timestamp),
    ("code", FieldType::Code),
];

const STEPS: [(&str, Step); 6] = [
    ("trim", Step::Trim),
    ("nfc", Step::Nfc),
    ("digits", Step::Digits),
    ("halfwidth", Step::Halfwidth),
    ("upper", Step::Upper),
    ("lower", Step::Lower),
];

pub(crate) fn read(
    name: &str,
    span: Range<usize>,
    node: &Node<'_>,
    documents: bool,
    codes: &BTreeMap<String, Arc<CodeTable>>,
    faults: &mut Faults<'_>,
) -> Option<FieldDef> {
    let table = Table::of(node, format!("field `{}`", shown(name)), faults)?;
    // A column has a name, a place in a document has a pointer.
    let origin = if documents { "pointer" } else { "from" };
    table.only(&[origin, "type", "steps", "required", "class", "codes", "format", "expr", "check"], faults);
    let given_name = name;
    let name: Option<yiwang_proto::ids::FieldName> = id(name, span.clone(), &shown(name), faults);
    let kind = table.need("type", faults).and_then(|node| one_of(node, "type", &TYPES, faults));
    let from = table.text(origin, faults);
    if documents && from.is_some_and(|from| !is_pointer(from)) {
        let help = Some("write it like \"/period/start\" or \"/name/0/text\"".to_owned());
        faults.add(table.key_span(origin), "`pointer` is not a JSON pointer", help);
    }
    if !documents && from.is_some_and(|from| from.is_empty() || from.len() > 128 || from.contains('\0')) {
        faults.add(table.key_span("from"), "`from` is not a column name of 1 to 128 bytes", None);
    }
    let expr = expression(&table, "expr", documents, faults);
    let check = expression(&table, "check", documents, faults);
    if from.is_none() && table.get("expr").is_none() && table.get(origin).is_none() {
        let help = if documents { "say where it stands" } else { "say from which column it comes" };
        let help = format!("{help}, or compute it with expr");
        faults.add(span.clone(), format!("{} has neither `{origin}` nor `expr`", table.what), Some(help));
    }
    let steps = steps(&table, faults);
    let class = table.integer("class", 0..5, faults).and_then(|class| u8::try_from(class).ok());
    let written = match kind {
        Some(FieldType::Date) => Some(Of::Day),
        Some(FieldType::Timestamp) => Some(Of::Moment),
        _ => None,
    };
    let format = date_format::of_values(&table, written, faults);
    if format.is_some() && !matches!(kind, Some(FieldType::Date | FieldType::Timestamp) | None) {
        faults.add(table.key_span("format"), "only a date or timestamp has a format", None);
    }
    let codes = code_table(given_name, &table, kind, codes, faults);
    let required = table.boolean("required", faults).unwrap_or(false);
    if name.as_ref().is_some_and(|name| name.as_str() == "as_of")
        && kind.is_some_and(|kind| kind != FieldType::Timestamp)
    {
        faults.add(span.clone(), "`as_of` is not a timestamp", None);
    }
    Some(FieldDef {
        name: name?,
        from: from.map(Arc::from),
        kind: kind?,
        steps,
        required,
        class,
        codes,
        format,
        expr,
        check,
        span,
    })
}

fn expression(
    table: &Table<'_, '_>,
    key: &str,
    documents: bool,
    faults: &mut Faults<'_>,
) -> Option<Expression> {
    let text = table.text(key, faults)?;
    let compiled = if documents { Expression::compile_document(text) } else { Expression::compile(text) };
    match compiled {
        Ok(expression) => Some(expression),
        Err((message, help)) => {
            let span = table.get(key).map_or(0..0, toml::Spanned::span);
            faults.add(span, format!("{}: {message}", table.what), help);
            None
        }
    }
}

pub(super) fn steps(table: &Table<'_, '_>, faults: &mut Faults<'_>) -> Vec<Step> {
    let list = table.list("steps", faults).unwrap_or_default();
    if list.len() > STEPS.len() {
        faults.add(table.key_span("steps"), format!("a field has at most {} steps", STEPS.len()), None);
    }
    list.iter().filter_map(|node| one_of(node, "steps", &STEPS, faults)).collect()
}

/// The table that a field names, or that stands in the field itself.
pub(super) fn code_table(
    field: &str,
    table: &Table<'_, '_>,
    kind: Option<FieldType>,
    codes: &BTreeMap<String, Arc<CodeTable>>,
    faults: &mut Faults<'_>,
) -> Option<Arc<CodeTable>> {
    let is_code = kind == Some(FieldType::Code);
    let span = table.get("codes").map_or(0..0, toml::Spanned::span);
    if kind.is_some() && !is_code && table.get("codes").is_some() {
        faults.add(span.clone(), "only a field of type code has `codes`", None);
    }
    if let Some(node) = table.get("codes")
        && matches!(node.get_ref(), DeValue::Table(_))
    {
        let own = Table::of(node, format!("codes of `{}`", shown(field)), faults)?;
        return Some(Arc::new(parse::code_table(field, span, &own, faults)));
    }
    let Some(given) = table.text("codes", faults) else {
        if is_code && table.get("codes").is_none() {
            let help = "write them, like codes = { \"1\" = \"male\", unknown = \"fail\" }, or name a table of the file, \
                        like codes = \"sex\" for [codes.sex]"
                .to_owned();
            faults.add(table.span.clone(), format!("{} lacks `codes`", table.what), Some(help));
        }
        return None;
    };
    let found = codes.get(given).cloned();
    if found.is_none() {
        let help = did_you_mean(given, codes.keys().map(String::as_str))
            .unwrap_or_else(|| format!("add a table [codes.{}]", shown(given)));
        faults.add(span, format!("code table `{}` is not there", shown(given)), Some(help));
    }
    found
}
