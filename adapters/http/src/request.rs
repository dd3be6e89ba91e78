//! From an operation and its arguments to a call. Each argument is a value at its declared place: a JSON
//! value in the body, one encoded segment of the path, one encoded value of the query.

use crate::client::{Base, Call};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};
use yiwang_adapter_sdk::mapping::{CallDef, Piece, Template};
use yiwang_adapter_sdk::source::{BoundParam, SourceError};
use yiwang_proto::contract::Scalar;
use yiwang_proto::ids::FieldName;

/// Everything but what RFC 3986 calls unreserved.
const STRICT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The call that an operation makes with these arguments.
pub(crate) fn call(def: &CallDef, params: &[BoundParam], base: &Base) -> Result<Call, SourceError> {
    let mut path = String::new();
    for piece in &def.path {
        path.push('/');
        match piece {
            Piece::Constant(Scalar::Text(text)) => path.push_str(text),
            Piece::Constant(_) => {}
            Piece::Param(name) => path.push_str(&segment(name, value(name, params))?),
        }
    }
    let mut mark = '?';
    for (key, piece) in &def.query {
        let text = match piece {
            Piece::Constant(scalar) => text(scalar),
            Piece::Param(name) => match sound(name, params)? {
                Some(scalar) => text(scalar),
                None => continue,
            },
        };
        path.push(mark);
        mark = '&';
        path.extend(utf8_percent_encode(key, STRICT));
        path.push('=');
        path.extend(utf8_percent_encode(&text, STRICT));
    }
    let content = match &def.body {
        None => None,
        Some(template) => {
            let body = filled(template, params)?.unwrap_or(Value::Null);
            Some(("application/json", Bytes::from(body.to_string())))
        }
    };
    Ok(Call {
        method: def.method,
        target: base.target(&path),
        content,
        accept: "application/json",
        headers: Vec::new(),
        idempotent: def.idempotent,
    })
}

fn value<'p>(name: &FieldName, params: &'p [BoundParam]) -> Option<&'p Scalar> {
    params.iter().find(|(known, _)| known.as_ref() == name.as_str()).and_then(|(_, value)| value.as_ref())
}

/// The value of a parameter for a query or a body.
fn sound<'p>(name: &FieldName, params: &'p [BoundParam]) -> Result<Option<&'p Scalar>, SourceError> {
    let value = value(name, params);
    match value {
        Some(Scalar::Text(text)) => match unfit(text) {
            Some(what) => Err(SourceError::Argument { name: name.clone(), what }),
            None => Ok(value),
        },
        _ => Ok(value),
    }
}

/// Why a text is not sent to a service: what many of them drop or cut, and then find everybody.
pub fn unfit(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("is empty, and a question without a value finds everybody");
    }
    if text.contains(char::is_control) {
        return Some("holds a control character, which services drop or cut at");
    }
    if !text.contains(char::is_alphanumeric) {
        return Some("has neither letter nor digit, which services drop");
    }
    None
}

pub(crate) fn text(scalar: &Scalar) -> String {
    match scalar {
        Scalar::Text(text) => text.clone(),
        Scalar::Integer(number) => number.to_string(),
        Scalar::Number(number) => number.to_string(),
        Scalar::Bool(value) => value.to_string(),
    }
}

/// One segment of a path. What servers and proxies on the way decode, cut or climb by is refused, however
/// it were encoded: `%2F` and `..` mean different things to different ones of them.
fn segment(name: &FieldName, value: Option<&Scalar>) -> Result<String, SourceError> {
    let text = value.map(text).unwrap_or_default();
    let odd = |c: char| c.is_control() || matches!(c, '/' | '\\' | '%' | ';');
    if text.is_empty() || text == "." || text == ".." || text.contains(odd) {
        let what = "is empty, or holds what cannot stand in a path";
        return Err(SourceError::Argument { name: name.clone(), what });
    }
    Ok(utf8_percent_encode(&text, STRICT).to_string())
}

/// A body; an entry whose optional parameter was not given is left out.
fn filled(template: &Template, params: &[BoundParam]) -> Result<Option<Value>, SourceError> {
    let json = |scalar: &Scalar| match scalar {
        Scalar::Text(text) => Value::from(text.as_str()),
        Scalar::Integer(number) => Value::from(*number),
        Scalar::Number(number) => Value::from(*number),
        Scalar::Bool(value) => Value::from(*value),
    };
    Ok(match template {
        Template::Piece(Piece::Constant(scalar)) => Some(json(scalar)),
        Template::Piece(Piece::Param(name)) => sound(name, params)?.map(json),
        Template::List(list) => {
            let items = list.iter().filter_map(|item| filled(item, params).transpose());
            Some(Value::Array(items.collect::<Result<_, _>>()?))
        }
        Template::Object(entries) => {
            let entries = entries.iter().filter_map(|(key, item)| {
                Some(filled(item, params).transpose()?.map(|item| (key.clone(), item)))
            });
            Some(Value::Object(entries.collect::<Result<Map<_, _>, SourceError>>()?))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t17_a_text_that_a_service_may_drop_is_not_sent() {
        for bad in ["", " ", "\u{3000}", "'", "/*", "\u{feff}", "\0", "a\0b", "line\nbreak", "a\u{85}"] {
            assert!(unfit(bad).is_some(), "{bad:?}");
        }
        for good in ["a", "7", "张三", "𠮷", "' or '1'='1", "a b"] {
            assert_eq!(unfit(good), None, "{good:?}");
        }
    }

    #[test]
    fn t18_a_segment_of_a_path_never_climbs_or_splits() {
        let name = FieldName::parse("id").unwrap();
        let segment = |text: &str| segment(&name, Some(&Scalar::Text(text.to_owned()))).ok();
        assert_eq!(segment("A 1+?#&=é").as_deref(), Some("A%201%2B%3F%23%26%3D%C3%A9"));
        assert_eq!(segment("...").as_deref(), Some("..."));
        for odd in ["", ".", "..", "../x", "a/b", "a\\b", "%2e%2e", "a%2fb", "a\0", "a\r\nHost: b", "a;b"] {
            assert_eq!(segment(odd), None, "{odd:?}");
        }
        // Look-alikes of dots and slashes stay what they are.
        assert_eq!(segment("．．／").as_deref(), Some("%EF%BC%8E%EF%BC%8E%EF%BC%8F"));
    }
}
