//! Values for placeholders. Their types are the server's own, taken from what they are compared with; a
//! value is sent as text and read by that type's own parser, after it was seen here to be of its kind.

use crate::server::Trouble;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};
use yiwang_adapter_sdk::mapping::ParamType;
use yiwang_adapter_sdk::source::SourceError;
use yiwang_proto::contract::Scalar;

/// A value in its text form.
#[derive(Debug)]
pub(super) struct Param(Option<String>);

impl Param {
    /// What any parameter takes.
    pub(super) const NULL: Self = Self(None);
}

impl ToSql for Param {
    fn to_sql(
        &self,
        _ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let Some(text) = &self.0 else { return Ok(IsNull::Yes) };
        out.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_ty: &Type) -> bool {
        true
    }

    fn encode_format(&self, _ty: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

fn is_whole(ty: &Type) -> bool {
    [Type::INT2, Type::INT4, Type::INT8].contains(ty)
}

fn is_number(ty: &Type) -> bool {
    is_whole(ty) || [Type::NUMERIC, Type::FLOAT4, Type::FLOAT8].contains(ty)
}

/// Whether a whole number can stand in such a column; no larger one equals anything there.
fn holds(ty: &Type, value: i64) -> bool {
    match *ty {
        Type::INT2 => i16::try_from(value).is_ok(),
        Type::INT4 => i32::try_from(value).is_ok(),
        _ => true,
    }
}

/// Why a mapping's parameter does not fit what it is compared with.
pub(super) fn unfit(kind: ParamType, wanted: &Type) -> Option<String> {
    let fits = match kind {
        // An identifier that is kept as a number is asked for in digits.
        ParamType::String => !(*wanted == Type::BOOL || (is_number(wanted) && !is_whole(wanted))),
        ParamType::Integer | ParamType::Number => is_number(wanted),
        ParamType::Bool => *wanted == Type::BOOL,
        ParamType::Date | ParamType::Timestamp => !is_number(wanted) && *wanted != Type::BOOL,
    };
    (!fits).then(|| format!("is compared with a column of type {wanted}"))
}

/// The values in the form of the types that the server wants; none if one of them can stand in no column of
/// its type, so that nothing equals it.
pub(super) fn encode(values: &[Option<Scalar>], wanted: &[Type]) -> Result<Option<Vec<Param>>, Trouble> {
    if values.len() != wanted.len() {
        let text = format!("{} values for {} placeholders", values.len(), wanted.len());
        return Err(Trouble::Kept(SourceError::Query(text)));
    }
    let mut encoded = Vec::with_capacity(values.len());
    for (at, (value, ty)) in values.iter().zip(wanted).enumerate() {
        let text = match value {
            None => None,
            Some(Scalar::Text(text)) if is_whole(ty) => {
                let Some(number) = text.parse::<i64>().ok().filter(|number| number.to_string() == *text)
                else {
                    return Ok(None);
                };
                if !holds(ty, number) {
                    return Ok(None);
                }
                Some(text.clone())
            }
            Some(Scalar::Text(text)) if !is_number(ty) && *ty != Type::BOOL => Some(text.clone()),
            Some(Scalar::Integer(value)) if is_number(ty) => {
                if !holds(ty, *value) {
                    return Ok(None);
                }
                Some(value.to_string())
            }
            Some(Scalar::Number(value)) if is_number(ty) && !is_whole(ty) => Some(value.to_string()),
            Some(Scalar::Bool(value)) if *ty == Type::BOOL => Some(value.to_string()),
            Some(_) => {
                let text = format!("placeholder {} is compared with a column of type {ty}", at + 1);
                return Err(Trouble::Kept(SourceError::Drift(text)));
            }
        };
        encoded.push(Param(text));
    }
    Ok(Some(encoded))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(value: Scalar, ty: Type) -> Option<String> {
        let mut all = encode(&[Some(value)], &[ty]).unwrap()?;
        all.pop().unwrap().0
    }

    #[test]
    fn a_value_takes_the_columns_type_or_equals_nothing_there() {
        let text = |text: &str| Scalar::Text(text.to_owned());
        assert_eq!(encoded(text("P1"), Type::BPCHAR).as_deref(), Some("P1"));
        assert_eq!(encoded(text("-17"), Type::INT4).as_deref(), Some("-17"));
        for odd in ["007", "+7", " 7", "7 ", "7e0", "", "x", "2147483648"] {
            assert_eq!(encoded(text(odd), Type::INT4), None, "{odd:?}");
        }
        assert_eq!(encoded(Scalar::Integer(70_000), Type::INT2), None);
        assert_eq!(encoded(Scalar::Number(1.5), Type::NUMERIC).as_deref(), Some("1.5"));
        for (value, ty) in [
            (text("1"), Type::NUMERIC),
            (text("true"), Type::BOOL),
            (Scalar::Integer(1), Type::TEXT),
            (Scalar::Bool(true), Type::INT4),
            (Scalar::Number(1.5), Type::INT8),
        ] {
            assert!(encode(&[Some(value)], &[ty]).is_err());
        }
        assert!(unfit(ParamType::String, &Type::INT8).is_none());
        assert!(unfit(ParamType::Integer, &Type::BPCHAR).is_some());
    }
}
