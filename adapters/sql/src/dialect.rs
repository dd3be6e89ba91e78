//! What differs between databases in the text of a statement.

use yiwang_adapter_sdk::mapping::{OrderDef, parameters};
use yiwang_adapter_sdk::source::{Page, SourceError, SourceFilter};
use yiwang_policies::rows;
use yiwang_proto::contract::Scalar;

/// A statement that is ready to be prepared. Its parameters in order: `named`, then `filter_values`, then
/// the row limit. Where the database knows names, `named` is empty and they are bound by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Wrapped {
    /// The text.
    pub text: String,
    /// Names of the operation's own parameters, one for each placeholder.
    pub named: Vec<String>,
    /// Values of the row filter.
    pub filter_values: Vec<Scalar>,
}

/// How a database knows an operation's own parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// By `:name`, as the mapping writes them.
    Names,
    /// By number: one for each name, however often it stands in the statement.
    Numbers,
    /// By place: one for each time that it stands in the statement.
    Places,
}

/// How one database writes names and placeholders.
pub trait Dialect: Send + Sync {
    /// Writes a quoted identifier. Errors: a name that cannot be quoted; nothing is written then.
    fn push_quoted(&self, text: &mut String, name: &str) -> Result<(), SourceError>;

    /// A quoted identifier. Errors: a name that cannot be quoted.
    fn quote(&self, name: &str) -> Result<String, SourceError> {
        let mut text = String::with_capacity(name.len() + 2);
        self.push_quoted(&mut text, name)?;
        Ok(text)
    }

    /// How it knows parameters.
    fn naming(&self) -> Naming;

    /// The placeholder of a value; positions count from 1.
    fn placeholder(&self, position: usize) -> String;

    /// The dialect of row filters, whose first placeholder has this position.
    fn rows(&self, first: usize) -> rows::Dialect;

    /// What puts rows without a key at the front, where a page sees them; nothing where they stand there anyway.
    fn nulls_first(&self) -> &'static str {
        ""
    }

    /// A probe's statement, held to its first row.
    fn first_row(&self, statement: &str) -> String {
        format!("select * from (\n{statement}\n) q limit 1")
    }

    /// `select <columns> from (<statement>) q where <filter> and <key> > ? order by <key> limit <n>`; without columns,
    /// all of them. What is no page comes in the order that is given, which stands outside because MariaDB forgets one
    /// inside.
    fn wrap(
        &self,
        statement: &str,
        columns: &[impl AsRef<str>],
        filter: Option<&SourceFilter>,
        page: Option<&Page>,
        order: &[OrderDef],
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
            self.push_quoted(&mut text, column.as_ref())?;
        }
        // The line breaks end a comment in which the statement may end.
        text.push_str(" from (\n");
        let named = own(self, statement, &mut text);
        text.push_str("\n) q");
        let mut filter_values = Vec::new();
        if let Some(filter) = filter {
            let column = |field: &_| filter.column(field).map(|column| column.to_string());
            let (condition, values) = filter
                .filter()
                .to_sql(self.rows(named.len() + 1), column)
                .map_err(|error| SourceError::Query(error.to_string()))?;
            text.push_str(" where (");
            text.push_str(&condition);
            text.push(')');
            filter_values = values;
        }
        if let Some(page) = page {
            let key = self.quote(&page.key)?;
            if let Some(after) = &page.after {
                text.push_str(if filter.is_some() { " and " } else { " where " });
                text.push_str(&key);
                text.push_str(" > ");
                text.push_str(&self.placeholder(named.len() + filter_values.len() + 1));
                filter_values.push(after.clone());
            }
            text.push_str(" order by ");
            text.push_str(&key);
            // Above a key there are none; and an index gives rows in its own order only, so that with these words every
            // page would sort all rows that are left.
            if page.after.is_none() {
                text.push_str(self.nulls_first());
            }
        } else {
            push_order(self, order, &mut text)?;
        }
        text.push_str(" limit ");
        text.push_str(&self.placeholder(named.len() + filter_values.len() + 1));
        Ok(Wrapped { text, named, filter_values })
    }
}

fn push_order(dialect: &impl Dialect, order: &[OrderDef], text: &mut String) -> Result<(), SourceError> {
    for (at, OrderDef { column, descending }) in order.iter().enumerate() {
        text.push_str(if at == 0 { " order by " } else { ", " });
        dialect.push_quoted(text, column)?;
        if *descending {
            text.push_str(" desc");
        }
    }
    Ok(())
}

/// Writes a mapping's statement with the database's placeholders; yields whose they are.
pub(crate) fn own(dialect: &impl Dialect, statement: &str, text: &mut String) -> Vec<String> {
    let naming = dialect.naming();
    if naming == Naming::Names {
        text.push_str(statement);
        return Vec::new();
    }
    let mut named: Vec<String> = Vec::new();
    let (pieces, rest) = parameters(statement);
    for (before, name) in pieces {
        text.push_str(before);
        let known = named.iter().position(|known| naming == Naming::Numbers && known == name);
        let at = known.unwrap_or_else(|| {
            named.push(name.to_owned());
            named.len() - 1
        });
        text.push_str(&dialect.placeholder(at + 1));
    }
    text.push_str(rest);
    named
}

fn push_quoted(text: &mut String, name: &str, quote: char) -> Result<(), SourceError> {
    if name.is_empty() || name.contains('\0') {
        return Err(SourceError::Query("a column name is empty or holds a NUL".to_owned()));
    }
    text.push(quote);
    for (at, part) in name.split(quote).enumerate() {
        if at > 0 {
            text.push(quote);
            text.push(quote);
        }
        text.push_str(part);
    }
    text.push(quote);
    Ok(())
}

/// SQLite 3.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sqlite;

impl Dialect for Sqlite {
    fn push_quoted(&self, text: &mut String, name: &str) -> Result<(), SourceError> {
        push_quoted(text, name, '"')
    }

    fn naming(&self) -> Naming {
        Naming::Names
    }

    fn placeholder(&self, _position: usize) -> String {
        "?".to_owned()
    }

    fn rows(&self, _first: usize) -> rows::Dialect {
        rows::Dialect::Sqlite
    }
}

/// PostgreSQL.
#[derive(Debug, Clone, Copy, Default)]
pub struct Postgres;

impl Dialect for Postgres {
    fn push_quoted(&self, text: &mut String, name: &str) -> Result<(), SourceError> {
        push_quoted(text, name, '"')
    }

    fn naming(&self) -> Naming {
        Naming::Numbers
    }

    fn placeholder(&self, position: usize) -> String {
        format!("${position}")
    }

    fn rows(&self, first: usize) -> rows::Dialect {
        rows::Dialect::Postgres { first }
    }

    fn nulls_first(&self) -> &'static str {
        " nulls first"
    }
}

/// MariaDB and MySQL.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mariadb;

impl Dialect for Mariadb {
    fn push_quoted(&self, text: &mut String, name: &str) -> Result<(), SourceError> {
        push_quoted(text, name, '`')
    }

    fn naming(&self) -> Naming {
        Naming::Places
    }

    fn placeholder(&self, _position: usize) -> String {
        "?".to_owned()
    }

    fn rows(&self, _first: usize) -> rows::Dialect {
        rows::Dialect::Mariadb
    }

    // In a derived table it forgets the order.
    fn first_row(&self, statement: &str) -> String {
        format!("(\n{statement}\n) limit 1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_columns_are_selected_and_names_cannot_break_out() {
        let wrapped = Sqlite.wrap("select * from t -- all", &["A", "b\"c"], None, None, &[]).unwrap();
        assert_eq!(wrapped.text, "select \"A\", \"b\"\"c\" from (\nselect * from t -- all\n) q limit ?");
        assert_eq!(
            Mariadb.wrap("select 1", &["a`b\"c"], None, None, &[]).unwrap().text,
            "select `a``b\"c` from (\nselect 1\n) q limit ?"
        );
        for name in ["a\0b", ""] {
            assert!(Sqlite.wrap("select 1", &[name], None, None, &[]).is_err());
            assert!(Postgres.wrap("select 1", &[name], None, None, &[]).is_err());
            assert!(Mariadb.wrap("select 1", &[name], None, None, &[]).is_err());
        }
    }

    #[test]
    fn a_page_goes_on_above_its_key_in_the_keys_order() {
        let page = |after: Option<Scalar>| Page { key: "id\"no".into(), after };
        let first = Postgres.wrap("select 1", &["x"], None, Some(&page(None)), &[]).unwrap();
        assert_eq!(
            first.text,
            "select \"x\" from (\nselect 1\n) q order by \"id\"\"no\" nulls first limit $1"
        );
        let statement = "select x from t where a = :id";
        let next =
            Postgres.wrap(statement, &["x"], None, Some(&page(Some(Scalar::Integer(7)))), &[]).unwrap();
        assert!(
            next.text.ends_with(") q where \"id\"\"no\" > $2 order by \"id\"\"no\" limit $3"),
            "{}",
            next.text
        );
        assert_eq!(next.filter_values, [Scalar::Integer(7)]);
    }

    #[test]
    fn an_order_stands_outside_of_the_statement_behind_the_filter() {
        let order = [("QS\"RQ", true), ("`B`", false)]
            .map(|(column, descending)| OrderDef { column: column.into(), descending });
        let text = |wrapped: Result<Wrapped, SourceError>| wrapped.unwrap().text;
        for (text, wanted) in [
            (text(Sqlite.wrap("select 1", &["x"], None, None, &order)), "\"QS\"\"RQ\" desc, \"`B`\" limit ?"),
            (
                text(Postgres.wrap("select 1", &["x"], None, None, &order)),
                "\"QS\"\"RQ\" desc, \"`B`\" limit $1",
            ),
            (text(Mariadb.wrap("select 1", &["x"], None, None, &order)), "`QS\"RQ` desc, ```B``` limit ?"),
        ] {
            assert!(text.ends_with(&format!("\n) q order by {wanted}")), "{text}");
        }
        let page = Page { key: "k".into(), after: None };
        let paged = Sqlite.wrap("select 1", &["x"], None, Some(&page), &order).unwrap();
        assert!(paged.text.ends_with("order by \"k\" limit ?"), "{}", paged.text);
    }

    #[test]
    fn a_name_becomes_the_placeholder_that_the_database_knows() {
        let statement = "select x from t where a = :id and b in (lower(:id), :day) and c = ':id'";
        let wrapped = Postgres.wrap(statement, &["x"], None, None, &[]).unwrap();
        assert_eq!(
            wrapped.text,
            "select \"x\" from (\nselect x from t where a = $1 and b in (lower($1), $2) and c = ':id'\n) q limit $3"
        );
        assert_eq!(wrapped.named, ["id", "day"]);
        let wrapped = Mariadb.wrap(statement, &["x"], None, None, &[]).unwrap();
        assert_eq!(
            wrapped.text,
            "select `x` from (\nselect x from t where a = ? and b in (lower(?), ?) and c = ':id'\n) q limit ?"
        );
        assert_eq!(wrapped.named, ["id", "id", "day"]);
        assert!(Sqlite.wrap(statement, &["x"], None, None, &[]).unwrap().text.contains(statement));
    }
}
