//! How a role is made that can only read: what is wanted of whoever named one that can write.

use super::draft::Quote;
use super::read::{Ask, Kind};

/// Stands for the table where none was named that a statement could name.
const TABLE: &str = "TABLE";

/// What to do next, with the statements that an administrator of the database runs.
pub(super) fn reader(ask: &Ask, dialect: &dyn Quote) -> Vec<String> {
    let named = ask.table.as_deref().map(|name| match ask.kind {
        // Only PostgreSQL lists tables with their schema.
        Kind::Postgres => name.split_once('.').map_or((None, name), |(schema, name)| (Some(schema), name)),
        _ => (None, name),
    });
    let quote = |name: &str| dialect.quote(name);
    let (schema, table) = named.unwrap_or((None, ""));
    let schema = schema.and_then(quote);
    let table = Some(table).filter(|table| !table.is_empty()).and_then(quote);
    let table = table.unwrap_or_else(|| TABLE.to_owned());
    let statements = match ask.kind {
        Kind::Postgres => {
            let of = schema.as_ref().map(|schema| format!("{schema}.")).unwrap_or_default();
            vec![
                "create role yiwang_adapter login password '…';".to_owned(),
                format!(
                    "grant usage on schema {} to yiwang_adapter;",
                    schema.unwrap_or_else(|| "public".to_owned())
                ),
                format!("grant select on {of}{table} to yiwang_adapter;"),
            ]
        }
        _ => vec![
            "create user yiwang_adapter@'%' identified by '…';".to_owned(),
            format!("grant select on {table} to yiwang_adapter@'%';"),
        ],
    };
    let mut lines =
        vec!["help: have a role made that can only read, in the database of the address:".to_owned()];
    lines.extend(statements.into_iter().map(|statement| format!("  {statement}")));
    lines.push("then write it into the address and run the same line again; or take from this role what it can write".to_owned());
    lines.push(
        "what PUBLIC was granted counts, since every role has it: it is revoked from PUBLIC".to_owned(),
    );
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use yiwang_adapter_sdk::source::Setting;
    use yiwang_adapter_sql::{Mariadb, Postgres};
    use yiwang_proto::ids::MemberId;

    fn told(kind: Kind, table: Option<&str>) -> String {
        let ask = Ask {
            kind,
            setting: Setting::Env("REGISTER".to_owned()),
            ca: None,
            table: table.map(str::to_owned),
            files: String::new(),
            openapi: None,
            call: None,
            system: None,
            record: None,
            owner: MemberId::parse("police").unwrap(),
            key: None,
            time_zone: "UTC".to_owned(),
            file: "mapping.toml".into(),
            sample: None,
        };
        let dialect: &dyn Quote = if kind == Kind::Postgres { &Postgres } else { &Mariadb };
        reader(&ask, dialect).join("\n")
    }

    #[test]
    fn the_statements_are_those_of_the_database_and_of_the_table() {
        for (kind, table, line) in [
            (Kind::Postgres, Some("T_RY"), "  grant select on \"T_RY\" to yiwang_adapter;"),
            (Kind::Postgres, Some("reg.t_ry"), "  grant select on \"reg\".\"t_ry\" to yiwang_adapter;"),
            (Kind::Postgres, Some("reg.t_ry"), "  grant usage on schema \"reg\" to yiwang_adapter;"),
            (Kind::Postgres, None, "  grant usage on schema public to yiwang_adapter;"),
            (Kind::Postgres, None, "  grant select on TABLE to yiwang_adapter;"),
            (Kind::Mariadb, Some("T_RY"), "  grant select on `T_RY` to yiwang_adapter@'%';"),
            (Kind::Mariadb, None, "  grant select on TABLE to yiwang_adapter@'%';"),
        ] {
            let told = told(kind, table);
            assert!(told.lines().any(|one| one == line), "{line}\n{told}");
        }
    }
}
