//! From an operation and its arguments to the form of a search.

use std::collections::BTreeSet;
use yiwang_adapter_http::unfit;
use yiwang_adapter_sdk::mapping::{Piece, SearchDef, search_name};
use yiwang_adapter_sdk::source::{FetchQuery, SourceError};
use yiwang_proto::contract::Scalar;

/// Resources of a page where the mapping does not say: servers commonly allow as many.
const COUNT: u32 = 100;

/// Elements of R4 that can have several types, whose type is part of their name in JSON.
const CHOICES: [&str; 14] = [
    "value",
    "onset",
    "abatement",
    "effective",
    "deceased",
    "medication",
    "occurrence",
    "performed",
    "multipleBirth",
    "reported",
    "product",
    "serviced",
    "timing",
    "scheduled",
];

/// Types that a choice can have.
const TYPES: [&str; 19] = [
    "Boolean",
    "Integer",
    "Decimal",
    "String",
    "Uri",
    "Date",
    "DateTime",
    "Time",
    "Instant",
    "Code",
    "Coding",
    "CodeableConcept",
    "Quantity",
    "Age",
    "Range",
    "Period",
    "Ratio",
    "Reference",
    "Timing",
];

/// The form of a search: what the mapping says with the arguments in it, the size of a page, the elements.
pub(crate) fn form(def: &SearchDef, query: &FetchQuery) -> Result<Vec<(String, String)>, SourceError> {
    let mut form = Vec::with_capacity(def.search.len() + 2);
    for (name, pieces) in &def.search {
        if let Some(value) = value(pieces, query)? {
            form.push((name.clone(), value));
        }
    }
    let count = def.count.unwrap_or(COUNT).min(query.limit);
    form.push(("_count".to_owned(), count.to_string()));
    form.push(("_elements".to_owned(), elements(query)));
    Ok(form)
}

/// Whether a name in an address is one of the search's, with or without a modifier, in whatever case.
pub(crate) fn names(def: &SearchDef, name: &str) -> bool {
    def.search.iter().any(|(known, _)| search_name(known).eq_ignore_ascii_case(search_name(name.trim())))
}

/// The elements that hold the columns, each by the name that a server knows it by.
pub(crate) fn elements(query: &FetchQuery) -> String {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for column in &query.columns {
        let Some(element) = column.split('/').nth(1) else { continue };
        // Types of choices are named in JSON, and not named in FHIR's own list of elements.
        let choice = CHOICES
            .into_iter()
            .find(|choice| element.strip_prefix(choice).is_some_and(|kind| TYPES.contains(&kind)));
        names.extend(choice);
        names.insert(element);
    }
    names.into_iter().collect::<Vec<_>>().join(",")
}

/// One value; none if an optional parameter of it was not given.
fn value(pieces: &[Piece], query: &FetchQuery) -> Result<Option<String>, SourceError> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Constant(Scalar::Text(constant)) => text.push_str(constant),
            Piece::Constant(_) => {}
            Piece::Param(name) => {
                let found = query.params.iter().find(|(known, _)| known.as_ref() == name.as_str());
                let Some(value) = found.and_then(|(_, value)| value.as_ref()) else { return Ok(None) };
                let value = shown(value);
                if value.trim().is_empty() {
                    // A server leaves out a parameter without a value, and finds everybody.
                    let what = "is empty, and a search without a value finds everybody";
                    return Err(SourceError::Argument { name: name.clone(), what });
                }
                if let Some(what) = unfit(&value) {
                    return Err(SourceError::Argument { name: name.clone(), what });
                }
                escape(&mut text, &value);
            }
        }
    }
    Ok(Some(text))
}

pub(crate) fn shown(scalar: &Scalar) -> String {
    match scalar {
        Scalar::Text(text) => text.clone(),
        Scalar::Integer(number) => number.to_string(),
        Scalar::Number(number) => number.to_string(),
        Scalar::Bool(value) => value.to_string(),
    }
}

/// FHIR's own marks inside a value are data (R4, section 3.1.1.4.0.1 "escaping search parameters").
fn escape(text: &mut String, value: &str) {
    for c in value.chars() {
        if matches!(c, '\\' | ',' | '|' | '$') {
            text.push('\\');
        }
        text.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t17_marks_of_the_search_language_in_a_value_are_escaped() {
        let escaped = |value: &str| {
            let mut text = String::new();
            escape(&mut text, value);
            text
        };
        assert_eq!(escaped("a,b|c$d\\e&f=g"), "a\\,b\\|c\\$d\\\\e&f=g");
        // What is escaped is found again as one value, whatever stood in it.
        for value in ["\\", "\\,", "||", "$,$", "\\\\|", "plain"] {
            let text = escaped(value);
            let (mut out, mut chars) = (String::new(), text.chars());
            while let Some(c) = chars.next() {
                assert!(!matches!(c, ',' | '|' | '$'), "{text}");
                out.push(if c == '\\' { chars.next().unwrap() } else { c });
            }
            assert_eq!(out, value);
        }
    }
}
