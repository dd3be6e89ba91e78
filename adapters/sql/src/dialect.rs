//! What differs between databases in the text of a statement.

use yiwang_adapter_sdk::source::{SourceError, SourceFilter};
use yiwang_proto::contract::Scalar;

/// A statement that is ready to be prepared. Its parameters in order: the operation's own by name, then
/// `filter_values`, then the row limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Wrapped {
    /// The text.
    pub text: String,
    /// Values of the row filter.
    pub filter_values: Vec<Scalar>,
}

/// How one database writes names, placeholders and limits.
pub trait Dialect: Send + Sync {
    /// A quoted identifier. Errors: a name that cannot be quoted.
    fn quote(&self, name: &str) -> Result<String, SourceError>;

    /// The placeholder of an unnamed value; positions count from 1.
    fn placeholder(&self, position: usize) -> String;

    /// The clause that limits rows.
    fn limit(&self, placeholder: &str) -> String;

    /// The condition of a row filter, and its values.
    fn filter(&self, filter: &SourceFilter) -> Result<(String, Vec<Scalar>), SourceError>;

    /// `select <columns> from (<statement>) q where <filter> limit <n>`; without columns, all of them.
    /// `named` is how many parameters the statement has of its own.
    fn wrap(
        &self,
        statement: &str,
        columns: &[impl AsRef<str>],
        filter: Option<&SourceFilter>,
        named: usize,
    ) -> Result<Wrapped, SourceError>
    where
        Self: Sized,
    {
        let mut text = String::with_capacity(statement.len() + 64 + 24 * columns.len());
        text.push_str("select ");
        if columns.is_empty() {
            text.push('*');
        }
        for (at, column) in columns.iter().enumerate() {
            if at > 0 {
                text.push_str(", ");
            }
            text.push_str(&self.quote(column.as_ref())?);
        }
        // The line breaks end a comment in which the statement may end.
        text.push_str(" from (\n");
        text.push_str(statement);
        text.push_str("\n) q");
        let (condition, filter_values) = match filter {
            Some(filter) => self.filter(filter)?,
            None => (String::new(), Vec::new()),
        };
        if !condition.is_empty() {
            text.push_str(" where ");
            text.push_str(&condition);
        }
        text.push(' ');
        text.push_str(&self.limit(&self.placeholder(named + filter_values.len() + 1)));
        Ok(Wrapped { text, filter_values })
    }
}

/// SQLite 3.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sqlite;

impl Dialect for Sqlite {
    fn quote(&self, name: &str) -> Result<String, SourceError> {
        if name.is_empty() || name.contains('\0') {
            return Err(SourceError::Query("a column name is empty or holds a NUL".to_owned()));
        }
        Ok(format!("\"{}\"", name.replace('"', "\"\"")))
    }

    fn placeholder(&self, _position: usize) -> String {
        "?".to_owned()
    }

    fn limit(&self, placeholder: &str) -> String {
        format!("limit {placeholder}")
    }

    fn filter(&self, filter: &SourceFilter) -> Result<(String, Vec<Scalar>), SourceError> {
        let column = |field: &_| filter.column(field).map(|column| column.to_string());
        filter
            .filter()
            .to_sql(yiwang_policies::rows::Dialect::Sqlite, column)
            .map_err(|error| SourceError::Query(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_columns_are_selected_and_names_cannot_break_out() {
        let wrapped = Sqlite.wrap("select * from t -- all", &["A", "b\"c"], None, 1).unwrap();
        assert_eq!(wrapped.text, "select \"A\", \"b\"\"c\" from (\nselect * from t -- all\n) q limit ?");
        assert!(Sqlite.wrap("select 1", &["a\0b"], None, 0).is_err());
        assert!(Sqlite.wrap("select 1", &[""], None, 0).is_err());
    }
}
