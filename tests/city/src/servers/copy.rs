//! A department's embedded database, copied into a server: the same rows in a server's types.

use std::fmt::Write as _;
use std::io::{Error, Write};
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::{Database, Kind, ServerError};

/// Rows of one statement: few round trips, and far below what a server takes as one.
const TOGETHER: usize = 500;

/// A table as the server has it.
#[derive(Debug)]
pub struct Table {
    /// Its name there and in the embedded database.
    pub name: &'static str,
    /// Columns with their types, in the order of the embedded table.
    pub columns: &'static [(&'static str, &'static str)],
    /// The key, where it has one.
    pub key: Option<&'static str>,
    /// Columns with an index each.
    pub indexes: &'static [&'static str],
}

impl Database {
    /// Makes a database with the tables of an embedded one, and a role that may read these and nothing else. Yields the
    /// address by which the role connects.
    ///
    /// # Errors
    /// [`ServerError`]: the server refuses, or the embedded database cannot be read.
    pub fn fill(
        &self,
        name: &str,
        tables: &[Table],
        embedded: &Path,
        (role, password): (&str, &str),
    ) -> Result<String, ServerError> {
        let create = match self.kind {
            Kind::Postgres => format!("create database {name};"),
            Kind::Mariadb => {
                format!("create database {name} character set utf8mb4 collate utf8mb4_bin;")
            }
        };
        self.admin("postgres", &create)?;
        let data = |source| ServerError::Data { path: embedded.to_owned(), source };
        let db = Connection::open_with_flags(embedded, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(data)?;
        self.load(name, &mut |out| {
            self.begin(out)?;
            for table in tables {
                self.table(out, &db, table)?;
            }
            self.role(out, (name, role, password), tables)
        })?;
        Ok(self.url(role, password, name))
    }

    fn begin(&self, out: &mut dyn Write) -> std::io::Result<()> {
        match self.kind {
            Kind::Postgres => out.write_all(b"set client_min_messages = warning;\nbegin;\n"),
            // A backslash in a text is itself.
            Kind::Mariadb => {
                out.write_all(b"set sql_mode = 'NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES';\nbegin;\n")
            }
        }
    }

    fn table(&self, out: &mut dyn Write, db: &Connection, table: &Table) -> std::io::Result<()> {
        let mut columns: Vec<String> =
            table.columns.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
        columns.extend(table.key.map(|key| format!("primary key ({key})")));
        writeln!(out, "create table {} ({});", table.name, columns.join(", "))?;
        let names: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
        let select = format!("select {} from {}", names.join(", "), table.name);
        let mut select = db.prepare(&select).map_err(Error::other)?;
        let mut rows = select.query([]).map_err(Error::other)?;
        let (mut statement, mut count) = (String::new(), 0);
        while let Some(row) = rows.next().map_err(Error::other)? {
            let opening = format!("insert into {} values\n(", table.name);
            statement.push_str(if count == 0 { &opening } else { ",\n(" });
            for at in 0..names.len() {
                statement.push_str(if at == 0 { "" } else { ", " });
                literal(&mut statement, row.get_ref(at).map_err(Error::other)?)?;
            }
            statement.push(')');
            count += 1;
            if count == TOGETHER {
                writeln!(out, "{statement};")?;
                (statement, count) = (String::new(), 0);
            }
        }
        if count > 0 {
            writeln!(out, "{statement};")?;
        }
        for column in table.indexes {
            writeln!(out, "create index ix_{0}_{column} on {0} ({column});", table.name)?;
        }
        Ok(())
    }

    fn role(
        &self,
        out: &mut dyn Write,
        (database, role, password): (&str, &str, &str),
        tables: &[Table],
    ) -> std::io::Result<()> {
        match self.kind {
            Kind::Postgres => writeln!(out, "create role {role} login password '{password}';")?,
            Kind::Mariadb => writeln!(out, "create user {role}@'%' identified by '{password}' require ssl;")?,
        }
        for table in tables {
            match self.kind {
                Kind::Postgres => writeln!(out, "grant select on {} to {role};", table.name)?,
                Kind::Mariadb => writeln!(out, "grant select on {database}.{} to {role}@'%';", table.name)?,
            }
        }
        // What the planner knows of the rows.
        match self.kind {
            Kind::Postgres => writeln!(out, "commit;\nanalyze;"),
            Kind::Mariadb => writeln!(out, "commit;"),
        }
    }
}

fn literal(out: &mut String, value: ValueRef<'_>) -> std::io::Result<()> {
    match value {
        ValueRef::Null => out.push_str("null"),
        ValueRef::Integer(number) => {
            let _ = write!(out, "{number}");
        }
        ValueRef::Real(number) => {
            let _ = write!(out, "{number}");
        }
        ValueRef::Text(text) => {
            let text = std::str::from_utf8(text).map_err(Error::other)?;
            let _ = write!(out, "'{}'", text.replace('\'', "''"));
        }
        ValueRef::Blob(_) => return Err(Error::other("a department's table holds bytes")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{ValueRef, literal};

    #[test]
    fn texts_are_data() {
        let mut out = String::new();
        for value in [
            ValueRef::Null,
            ValueRef::Integer(-7),
            ValueRef::Text("o'x\\'; drop table T_RY; --".as_bytes()),
            ValueRef::Text("𠮷".as_bytes()),
        ] {
            literal(&mut out, value).unwrap();
            out.push('|');
        }
        assert_eq!(out, "null|-7|'o''x\\''; drop table T_RY; --'|'𠮷'|");
        assert!(literal(&mut out, ValueRef::Blob(b"x")).is_err());
    }
}
