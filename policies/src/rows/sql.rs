//! Row filters as conditions for `where`. Each dialect compares as the evaluator does, whatever the
//! column's declared type or collation; that is why there is no common one.

use super::{Dialect, Test};
use yiwang_proto::contract::Scalar;

/// Gives out placeholders and keeps their values.
pub(super) struct Marks {
    dialect: Dialect,
    pub(super) values: Vec<Scalar>,
}

impl Marks {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, values: Vec::new() }
    }

    fn mark(&mut self, value: Scalar) -> String {
        let before = self.values.len();
        self.values.push(value);
        match self.dialect {
            Dialect::Postgres { first } => format!("${}", first + before),
            Dialect::Sqlite | Dialect::Mariadb => "?".to_owned(),
        }
    }

    fn list(&mut self, values: impl IntoIterator<Item = Scalar>) -> String {
        values.into_iter().map(|value| self.mark(value)).collect::<Vec<_>>().join(", ")
    }

    /// A column's name, quoted.
    pub(super) fn quote(&self, name: &str) -> String {
        match self.dialect {
            Dialect::Sqlite | Dialect::Postgres { .. } => format!("\"{}\"", name.replace('"', "\"\"")),
            Dialect::Mariadb => format!("`{}`", name.replace('`', "``")),
        }
    }

    pub(super) fn condition(&mut self, column: &str, test: &Test) -> String {
        match self.dialect {
            Dialect::Sqlite => sqlite(column, test, self),
            Dialect::Postgres { .. } => postgres(column, test, self),
            Dialect::Mariadb => mariadb(column, test, self),
        }
    }
}

fn is_text(scalar: &Scalar) -> bool {
    matches!(scalar, Scalar::Text(_))
}

/// SQLite converts by a column's declared type before it compares, and may compare by a declared
/// collation. `typeof` and `collate binary` undo that where an index can still be used (`=`, `in`); for
/// order the unary plus takes the declared type away.
fn sqlite(column: &str, test: &Test, marks: &mut Marks) -> String {
    const TEXT: &str = "= 'text'";
    const NUMBER: &str = "in ('integer', 'real')";
    let kind = |scalar: &Scalar| if is_text(scalar) { TEXT } else { NUMBER };
    match test {
        Test::Among(all) => {
            let mut either = Vec::new();
            for wanted in [TEXT, NUMBER] {
                let of_kind: Vec<Scalar> =
                    all.iter().filter(|scalar| kind(scalar) == wanted).cloned().collect();
                if of_kind.is_empty() {
                    continue;
                }
                let list = marks.list(of_kind);
                either.push(format!("({column} collate binary in ({list}) and typeof({column}) {wanted})"));
            }
            format!("({})", either.join(" or "))
        }
        Test::Prefix(prefix) => {
            let from = marks.mark(Scalar::Text(prefix.clone()));
            let upper = match successor(prefix) {
                Some(next) => format!(" and +{column} collate binary < {}", marks.mark(Scalar::Text(next))),
                None => String::new(),
            };
            format!("(+{column} collate binary >= {from}{upper} and typeof({column}) {TEXT})")
        }
        Test::Between(from, to) => {
            let kind = kind(from);
            let (from, to) = (marks.mark(from.clone()), marks.mark(to.clone()));
            format!("(+{column} collate binary between {from} and {to} and typeof({column}) {kind})")
        }
    }
}

/// What a column holds is known when the statement is prepared, so `pg_typeof` stands where a cast must not
/// be tried. Texts are compared in the collation `C`, by bytes; enumerations, days and the like as texts,
/// because so they stand in records. A text with a NUL can stand in no column: it equals nothing, and in
/// order it lies just above what is before its NUL.
fn postgres(column: &str, test: &Test, marks: &mut Marks) -> String {
    const NUMBERS: &str =
        "array['smallint', 'integer', 'bigint', 'numeric', 'real', 'double precision']::regtype[]";
    let text = format!("({column})::text collate \"C\"");
    let is_text = format!("pg_typeof({column}) <> all ({NUMBERS} || 'boolean'::regtype)");
    let number = format!(
        "case when pg_typeof({column}) = any ({NUMBERS}) then ({column})::text::numeric \
         when pg_typeof({column}) = 'boolean'::regtype then (({column})::text::boolean)::integer::numeric end"
    );
    let as_number = |scalar: &Scalar| match scalar {
        Scalar::Bool(truth) => Scalar::Integer(i64::from(*truth)),
        other => other.clone(),
    };
    match test {
        Test::Among(all) => {
            let mut either = Vec::new();
            let texts: Vec<Scalar> = all
                .iter()
                .filter(|scalar| matches!(scalar, Scalar::Text(text) if !text.contains('\0')))
                .cloned()
                .collect();
            if !texts.is_empty() {
                either.push(format!("({is_text} and {text} in ({}))", marks.list(texts)));
            }
            let numbers: Vec<Scalar> =
                all.iter().filter(|scalar| !self::is_text(scalar)).map(as_number).collect();
            if !numbers.is_empty() {
                either.push(format!("({number}) in ({})", marks.list(numbers)));
            }
            if either.is_empty() { "false".to_owned() } else { format!("({})", either.join(" or ")) }
        }
        Test::Prefix(prefix) if prefix.contains('\0') => "false".to_owned(),
        Test::Prefix(prefix) => {
            let mark = marks.mark(Scalar::Text(prefix.clone()));
            format!("({is_text} and starts_with(({column})::text, {mark}))")
        }
        Test::Between(Scalar::Text(from), Scalar::Text(to)) => {
            let (above, from) = match from.split_once('\0') {
                Some((before, _)) => (">", before),
                None => (">=", from.as_str()),
            };
            let to = to.split_once('\0').map_or(to.as_str(), |(before, _)| before);
            let from = marks.mark(Scalar::Text(from.to_owned()));
            let to = marks.mark(Scalar::Text(to.to_owned()));
            format!("({is_text} and {text} {above} {from} and {text} <= {to})")
        }
        Test::Between(from, to) if self::is_text(from) || self::is_text(to) => "false".to_owned(),
        Test::Between(from, to) => {
            let (from, to) = (marks.mark(as_number(from)), marks.mark(as_number(to)));
            format!("(({number}) between {from} and {to})")
        }
    }
}

/// MariaDB and MySQL compare texts by the column's collation, which takes `a` for `A` and drops spaces at
/// the end, and a number with a text as if both were numbers. So texts are compared as their bytes in
/// UTF-8, and numbers only with what is a number by its coercibility (5; that of a column of texts is 2).
fn mariadb(column: &str, test: &Test, marks: &mut Marks) -> String {
    let bytes = format!("cast(convert({column} using utf8mb4) as binary)");
    let is_number = format!("coercibility({column}) = 5");
    match test {
        Test::Among(all) => {
            let mut either = Vec::new();
            let texts: Vec<Scalar> = all.iter().filter(|scalar| is_text(scalar)).cloned().collect();
            if !texts.is_empty() {
                either.push(format!("{bytes} in ({})", marks.list(texts)));
            }
            let numbers: Vec<Scalar> = all.iter().filter(|scalar| !is_text(scalar)).cloned().collect();
            if !numbers.is_empty() {
                either.push(format!("({is_number} and {column} in ({}))", marks.list(numbers)));
            }
            format!("({})", either.join(" or "))
        }
        Test::Prefix(prefix) => {
            let from = marks.mark(Scalar::Text(prefix.clone()));
            let upper = match successor(prefix) {
                Some(next) => format!(" and {bytes} < {}", marks.mark(Scalar::Text(next))),
                None => String::new(),
            };
            format!("({bytes} >= {from}{upper})")
        }
        Test::Between(from, to) => {
            let text = is_text(from);
            let (from, to) = (marks.mark(from.clone()), marks.mark(to.clone()));
            if text {
                format!("({bytes} between {from} and {to})")
            } else {
                format!("({is_number} and {column} between {from} and {to})")
            }
        }
    }
}

/// The least text above every text that begins with this one; none if there is none.
pub(super) fn successor(prefix: &str) -> Option<String> {
    let mut letters: Vec<char> = prefix.chars().collect();
    while let Some(last) = letters.pop() {
        let next = match last {
            char::MAX => None,
            // The gap of the surrogates.
            '\u{d7ff}' => Some('\u{e000}'),
            _ => char::from_u32(u32::from(last).saturating_add(1)),
        };
        if let Some(next) = next {
            letters.push(next);
            return Some(letters.into_iter().collect());
        }
    }
    None
}
