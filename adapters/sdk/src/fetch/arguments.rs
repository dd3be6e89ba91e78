//! A request's arguments against an operation's parameters. What reaches a source was checked here and is
//! bound by name; nothing is ever spliced into a statement.

use super::AnswerError;
use crate::mapping::{Access, OperationDef, ParamDef, ParamType};
use crate::source::BoundParam;
use crate::value::parse_date;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::sync::Arc;
use yiwang_proto::body::Arguments;
use yiwang_proto::contract::Scalar;
use yiwang_proto::ids::FieldName;
use yiwang_proto::limits::{ARGUMENT_BYTES_MAX, SUBJECT_MAX};

/// How a database's columns of local time, and texts that hold it, are compared with a moment.
const LOCAL_TIME: &str = "%Y-%m-%d %H:%M:%S%.f";

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
    let moments = matches!(operation.access, Access::Sql(_)).then_some(LOCAL_TIME);
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
                Some(check(param, &Scalar::Text(subject.to_owned()), source_zone, moments)?)
            } else {
                match arguments.get(&param.name) {
                    Some(value) => Some(check(param, value, source_zone, moments)?),
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

/// `moments` is how a moment is written where the parameter does not say; without it, as it came.
fn check(
    param: &ParamDef,
    value: &Scalar,
    source_zone: &TimeZone,
    moments: Option<&str>,
) -> Result<Scalar, AnswerError> {
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
        (ParamType::Date, Scalar::Text(text)) if text.len() == 10 => {
            match parse_date(text, None, source_zone) {
                Some(day) => match &param.format {
                    Some(format) => Ok(Scalar::Text(day.strftime(format).to_string())),
                    None => Ok(Scalar::Text(day.to_string())),
                },
                None => refuse("is not a day like 2027-01-31"),
            }
        }
        (ParamType::Timestamp, Scalar::Text(text)) => match text.parse::<jiff::Timestamp>() {
            Ok(at) => match param.format.as_deref().or(moments) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::Mapping;
    use std::path::Path;

    /// What reaches a source where a moment is asked for.
    fn sent(source: &str, access: &str, more: &str, moment: &str) -> Scalar {
        let text = format!(
            "format = \"adapter/1\"\nmapping = \"a.b\"\nrecord = \"Person\"\nowner = \"police\"\n{source}\n\
             [[operation]]\nname = \"person.since\"\nkind = \"search\"\n\
             params.since = {{ type = \"timestamp\"{more} }}\n{access}\nlimit = 1\ntimeout = \"1s\"\n\
             [operation.fields]\nname = {{ from = \"A\", type = \"string\" }}\n"
        );
        let mapping =
            Mapping::parse(&text, Path::new("m.toml")).unwrap_or_else(|faults| panic!("{faults:?}"));
        let name = FieldName::parse("since").unwrap();
        let arguments = [(name, Scalar::Text(moment.to_owned()))].into();
        let zone = &mapping.source().common().zone;
        let mut bound = bind(&mapping.operations()[0], "", &arguments, &[], zone).unwrap();
        bound.pop().unwrap().1.unwrap()
    }

    #[test]
    fn a_database_is_sent_the_sources_local_time_and_a_folder_the_moment() {
        let sql = "[source.sqlite]\npath = \"x.db\"\ntime_zone = \"Asia/Shanghai\"";
        let statement = "sql = \"select A from T where UPD >= :since\"";
        for (moment, more, wanted) in [
            ("2026-11-03T00:00:00Z", "", "2026-11-03 08:00:00"),
            ("2026-11-02T20:00:00.25Z", "", "2026-11-03 04:00:00.25"),
            ("2026-11-03T08:00:00+08:00", "", "2026-11-03 08:00:00"),
            ("2026-11-03T00:00:00Z", ", format = \"%Y%m%d%H%M%S\"", "20261103080000"),
        ] {
            assert_eq!(sent(sql, statement, more, moment), Scalar::Text(wanted.to_owned()), "{moment}");
        }
        let csv = "[source.csv]\nfolder = \".\"\nfiles = \"*.csv\"\nencoding = \"utf-8\"\n\
                   time_zone = \"Asia/Shanghai\"\n[source.csv.columns]\nA = \"string\"\nUPD = \"timestamp\"";
        let moment = "2026-11-03T00:00:00Z";
        let found = sent(csv, "where = { UPD = \":since\" }", "", moment);
        assert_eq!(found, Scalar::Text(moment.to_owned()));
    }
}
