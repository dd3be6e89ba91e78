//! Texts that break what splices them, as parameters, as identifiers and as statements.

use crate::lab::{Kind, Lab};
use crate::{People, ask, query, select};
use std::sync::Arc;
use yiwang_adapter_sdk::check::{Level, Severity, check};
use yiwang_adapter_sdk::compliance::{self, HOSTILE};
use yiwang_adapter_sdk::source::SourceError;
use yiwang_adapter_sql::{Dialect as _, Mariadb, Postgres};

const GLUE: [&str; 3] = ["", "'", "\\"];

/// What must be there before and after.
fn witness(lab: &Lab, name: &str) -> String {
    let person = match lab.kind {
        Kind::Postgres => "select count(*), min(a) from \"PERSON\", canary",
        Kind::Mariadb => "select count(*), min(a) from PERSON, canary",
    };
    lab.admin(name, person)
}

pub async fn hostile(lab: &Lab) {
    let people = People::new(lab, "hostile");
    let before = witness(lab, "hostile");
    assert!(before.contains("38") && before.contains("alive"), "{before}");
    let mapped = people.mapped();
    let mut asked = 0;
    for first in HOSTILE {
        for second in HOSTILE {
            for glue in GLUE {
                let payload = format!("{first}{glue}{second}");
                let found = ask(&mapped, "person.by_area", "", Some(&payload), &["name"], &[]).await;
                let rows = found.unwrap_or_else(|error| panic!("{payload:?}: {error}")).rows;
                assert_eq!(rows, 0, "{payload:?}");
                asked += 1;
            }
        }
    }
    assert!(asked >= 1000, "{asked}");
    // Past the pattern and the size limit of the way: straight to the source.
    let (mapping, source) = people.open();
    let long = "x'".repeat(5 * 1024 * 1024);
    for payload in [long.as_str(), "\0", "P1\0", "' or ''='", "Ｐ１", "P1\u{200b}", "\u{1f600}"] {
        let found = source.fetch(query(&mapping, payload, &["NM"])).await;
        match found {
            Ok(found) => assert_eq!(found.rows.len(), 0, "{}", payload.len()),
            Err(error) => assert!(!error.to_string().contains("x'"), "{error}"),
        }
    }
    assert_eq!(source.fetch(query(&mapping, "P1", &["NM"])).await.unwrap().rows.len(), 1, "it serves on");
    identifiers(&people).await;
    assert_eq!(witness(lab, "hostile"), before);
}

/// No column name leaves its quotes: each is a column that is not there.
async fn identifiers(people: &People<'_>) {
    let (mapping, source) = people.open();
    let mut asked = 0;
    for first in HOSTILE {
        for second in HOSTILE {
            for glue in GLUE {
                // Where one name is too long, another is only cut: the database's own affair.
                let name: String = format!("{first}{glue}{second}").chars().take(40).collect();
                let statement = query(&mapping, "P1", &[]);
                let quoted = match people.lab.kind {
                    Kind::Postgres => Postgres.wrap("select 1", &[name.as_str()], None, None, &[]),
                    Kind::Mariadb => Mariadb.wrap("select 1", &[name.as_str()], None, None, &[]),
                };
                asked += 1;
                if asked % 8 != 0 && quoted.is_ok() {
                    continue;
                }
                let query = yiwang_adapter_sdk::source::FetchQuery {
                    columns: vec![Arc::from(name.as_str())],
                    ..statement
                };
                let error = source.fetch(query).await.unwrap_err();
                assert!(matches!(error, SourceError::Drift(_) | SourceError::Query(_)), "{name:?}: {error}");
            }
        }
    }
    assert!(asked >= 1000, "{asked}");
}

/// Statements of a mapping that would write, leave their place or read a file.
pub async fn writes(lab: &Lab) {
    let people = People::new(lab, "writes");
    let before = witness(lab, "writes");
    match lab.kind {
        // Run with its owner's rights, and it writes.
        Kind::Postgres => lab.admin(
            "writes",
            "create function plant() returns text language sql security definer as \
             $$ insert into canary values ('planted') returning a $$;",
        ),
        Kind::Mariadb => lab.admin(
            "writes",
            "delimiter //\ncreate function plant() returns varchar(10) modifies sql data begin \
             insert into canary values ('planted'); return 'x'; end//",
        ),
    };
    if lab.kind == Kind::Mariadb {
        lab.admin("writes", "grant execute on function writes.plant to writes@'%'");
    }
    let good = select(lab.kind, "ID", ":id");
    let rest = "'' as NM, '' as SEX, '' as BORN, '' as AREA, '' as AMT, '' as STATE, '' as UPD";
    let rest = if lab.kind == Kind::Postgres {
        rest.replace("as ", "as \"").replace(',', "\",") + "\""
    } else {
        rest.to_owned()
    };
    let id = crate::quoted(lab.kind, "ID");
    let statements = [
        format!("select plant() as {id}, {rest} where :id <> ''"),
        format!(
            "with x as (insert into canary values ('x') returning a) select a as {id}, {rest} from x where :id <> ''"
        ),
        format!("select 1 as {id}) q; delete from canary where '' <> (:id"),
        format!("select pg_read_file('/etc/passwd') as {id}, {rest} where :id <> ''"),
        format!("select load_file('/etc/passwd') as {id}, {rest} where :id <> ''"),
        format!("{good} into outfile '/tmp/yiwang-planted'"),
        format!("{good} for update"),
        format!("select set_config('transaction_read_only', 'off', false) as {id}, {rest} where :id <> ''"),
    ];
    for statement in statements {
        let text = people.text.replace(&good, &statement);
        // Some are refused when the mapping is read, the others by the server, or nothing of them stays.
        let Ok(mapping) = yiwang_adapter_sdk::mapping::Mapping::parse(&text, std::path::Path::new("m.toml"))
        else {
            continue;
        };
        let (_, source) = people.open_text(&text);
        if let Ok(found) = source.fetch(query(&mapping, "P1", &["ID"])).await {
            let cell = found.rows.cell(0, 0);
            assert!(!format!("{cell:?}").contains("root:"), "{statement}");
        }
        let level = Level::Live { source: source.as_ref(), now_ms: compliance::NOW_MS };
        let findings = check(&mapping, level).await;
        let lent = findings.iter().find(|finding| finding.code == "A-SQL-015").unwrap();
        assert!(lent.severity == Severity::Warning && lent.message.contains("plant"), "{lent:?}");
    }
    assert_eq!(witness(lab, "writes"), before);
    assert!(!std::path::Path::new("/tmp/yiwang-planted").exists());
}
