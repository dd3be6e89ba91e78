//! A request's arguments against an operation's parameters. What reaches a source was checked here and is
//! bound by name; nothing is ever spliced into a statement.

use super::AnswerError;
use crate::mapping::{OperationDef, ParamDef, ParamType};
use crate::source::BoundParam;
use crate::value::parse_date;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::sync::Arc;
use yiwang_proto::body::Arguments;
use yiwang_proto::contract::Scalar;
use yiwang_proto::ids::FieldName;
use yiwang_proto::limits::{ARGUMENT_BYTES_MAX, SUBJECT_MAX};

/// Every parameter of the operation with its value. `filter_params` are arguments that the contract's row
/// filter takes; they need not be parameters of the operation.
pub(crate) fn bind(
    operation: &OperationDef,
    subject: &str,
    arguments: &Arguments,
    filter_params: &[&FieldName],
    source_zone: &TimeZone,
) -> Result<Vec<BoundParam>, AnswerError> {
    for name in arguments.keys() {
        let declared = operation.params.iter().any(|param| param.name == *name);
        if !declared && !filter_params.contains(&name) {
            return Err(invalid(name, "is not a parameter of the operation"));
        }
    }
    if operation.subject.is_none() && !subject.is_empty() {
        let what =
            "the operation is about no subject, but one is named; to be asked so its mapping needs `subject`";
        return Err(AnswerError::argument(what.to_owned()));
    }
    operation
        .params
        .iter()
        .map(|param| {
            let name: Arc<str> = Arc::from(param.name.as_str());
            let value = if operation.subject.as_ref() == Some(&param.name) {
                if arguments.contains_key(&param.name) {
                    return Err(invalid(&param.name, "is the subject's and cannot be an argument"));
                }
                if subject.is_empty() || subject.len() > SUBJECT_MAX {
                    return Err(invalid(&param.name, "takes the subject, and none is named"));
                }
                Some(check(param, &Scalar::Text(subject.to_owned()), source_zone)?)
            } else {
                match arguments.get(&param.name) {
                    Some(value) => Some(check(param, value, source_zone)?),
                    None if param.optional => None,
                    None => return Err(invalid(&param.name, "is missing")),
                }
            };
            Ok((name, value))
        })
        .collect()
}

/// Checks the arguments of a mapping's test: all in one table, the subject's among them.
pub(crate) fn bind_test(
    operation: &OperationDef,
    args: &BTreeMap<FieldName, Scalar>,
    source_zone: &TimeZone,
) -> Result<Vec<BoundParam>, AnswerError> {
    let mut arguments = args.clone();
    let subject = operation.subject.as_ref().and_then(|name| arguments.remove(name));
    let subject = match subject {
        Some(Scalar::Text(text)) => text,
        _ => String::new(),
    };
    bind(operation, &subject, &arguments, &[], source_zone)
}

fn invalid(name: &FieldName, what: &str) -> AnswerError {
    AnswerError::argument(format!("argument `{name}` {what}"))
}

fn check(param: &ParamDef, value: &Scalar, source_zone: &TimeZone) -> Result<Scalar, AnswerError> {
    let refuse = |what: &str| Err(invalid(&param.name, what));
    match (param.kind, value) {
        (ParamType::String, Scalar::Text(text)) => {
            if text.len() > ARGUMENT_BYTES_MAX {
                return refuse("is over 1024 bytes");
            }
            match &param.pattern {
                Some(pattern) if pattern.is_match(text) => Ok(value.clone()),
                _ => refuse("does not match its pattern"),
            }
        }
        (ParamType::Integer, Scalar::Integer(number)) => {
            if param.min.is_some_and(|min| *number < min) || param.max.is_some_and(|max| *number > max) {
                return refuse("is out of range");
            }
            Ok(value.clone())
        }
        (ParamType::Number, Scalar::Integer(_) | Scalar::Number(_)) => {
            let number = match value {
                // Bounds are whole numbers, so the nearest double decides right at any size that matters.
                Scalar::Integer(whole) => *whole as f64,
                Scalar::Number(number) => *number,
                _ => return refuse("is not a number"),
            };
            let below = param.min.is_some_and(|min| number < min as f64);
            let above = param.max.is_some_and(|max| number > max as f64);
            if !number.is_finite() || below || above { refuse("is out of range") } else { Ok(value.clone()) }
        }
        (ParamType::Bool, Scalar::Bool(_)) => Ok(value.clone()),
        (ParamType::Date, Scalar::Text(text)) if text.len() == 10 => match parse_date(text, None) {
            Some(day) => match &param.format {
                Some(format) => Ok(Scalar::Text(day.strftime(format).to_string())),
                None => Ok(Scalar::Text(day.to_string())),
            },
            None => refuse("is not a day like 2027-01-31"),
        },
        (ParamType::Timestamp, Scalar::Text(text)) => match text.parse::<jiff::Timestamp>() {
            Ok(at) => match &param.format {
                Some(format) => {
                    Ok(Scalar::Text(at.to_zoned(source_zone.clone()).strftime(format).to_string()))
                }
                None => Ok(value.clone()),
            },
            Err(_) => refuse("is not a time like 2027-01-31T00:00:00Z"),
        },
        (kind, _) => refuse(match kind {
            ParamType::String => "is not a text",
            ParamType::Integer => "is not a whole number",
            ParamType::Number => "is not a number",
            ParamType::Bool => "is not true or false",
            ParamType::Date => "is not a day like 2027-01-31",
            ParamType::Timestamp => "is not a time like 2027-01-31T00:00:00Z",
        }),
    }
}
