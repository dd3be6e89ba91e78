//! What the check says of a column's type is what becomes of its values.

use crate::lab::{Kind, Lab};
use crate::{People, ask, source_section};
use yiwang_adapter_sdk::check::{Level, check};
use yiwang_adapter_sdk::compliance;
use yiwang_adapter_sdk::fetch::MappedSource;

/// From which column a field comes, how it is typed, what the check says of it, whether it has a value.
type Field = (&'static str, &'static str, &'static str, bool);

const NEVER: &str = "A-SQL-020";
const DOUBTFUL: &str = "A-SQL-021";

const BOTH: [Field; 31] = [
    ("nr", "type = \"string\"", "", true),
    ("nr", "type = \"date\"", NEVER, false),
    ("nr", "type = \"date\", format = \"%Y%m%d\"", "", true),
    ("nr", "type = \"timestamp\"", NEVER, false),
    ("nr", "type = \"code\", codes = \"letters\"", NEVER, false),
    ("one", "type = \"bool\"", "", true),
    ("one", "type = \"code\", codes = \"digits\"", "", true),
    ("one", "type = \"number\"", "", true),
    ("day", "type = \"string\"", "", true),
    ("day", "type = \"date\"", "", true),
    ("day", "type = \"timestamp\"", NEVER, false),
    ("day", "type = \"timestamp\", format = \"%Y-%m-%d\"", "", true),
    ("day", "type = \"integer\"", NEVER, false),
    ("local_at", "type = \"date\"", DOUBTFUL, true),
    ("local_at", "type = \"timestamp\"", "", true),
    ("local_at", "type = \"integer\"", NEVER, false),
    ("moment", "type = \"date\"", DOUBTFUL, true),
    ("moment", "type = \"timestamp\"", "", true),
    ("moment", "type = \"bool\"", NEVER, false),
    ("half", "type = \"string\"", DOUBTFUL, true),
    ("half", "type = \"number\"", "", true),
    ("half", "type = \"integer\"", DOUBTFUL, false),
    ("three", "type = \"integer\"", DOUBTFUL, true),
    ("amount", "type = \"number\"", "", true),
    ("amount", "type = \"string\"", "", true),
    ("plain", "type = \"integer\"", "", true),
    ("plain", "type = \"bool\"", "", true),
    ("at_time", "type = \"string\"", "", true),
    ("at_time", "type = \"date\"", NEVER, false),
    ("text", "type = \"date\"", "", true),
    // What stands in a text nobody knows before it is read.
    ("text", "type = \"integer\"", "", false),
];

const POSTGRES: [Field; 7] = [
    ("amount", "type = \"integer\"", NEVER, false),
    ("flag", "type = \"bool\"", "", true),
    ("flag", "type = \"integer\"", NEVER, false),
    ("flag", "type = \"code\", codes = \"digits\"", NEVER, false),
    ("made", "type = \"string\"", "", true),
    ("made", "type = \"integer\"", NEVER, false),
    ("document", "type = \"string\"", DOUBTFUL, true),
];

const MARIADB: [Field; 6] = [
    // A statement can announce places and give none, so this is not refused.
    ("amount", "type = \"integer\"", DOUBTFUL, false),
    ("flag", "type = \"bool\"", "", true),
    ("flag", "type = \"integer\"", "", true),
    ("flag", "type = \"code\", codes = \"digits\"", "", true),
    ("only_year", "type = \"integer\"", "", true),
    ("only_year", "type = \"date\"", NEVER, false),
];

fn table(kind: Kind) -> String {
    let (double, moment, more, values, to) = match kind {
        Kind::Postgres => (
            "double precision",
            "timestamptz",
            "made uuid, document json",
            "'550e8400-e29b-41d4-a716-446655440000', '{\"a\":1}'",
            "select on kinds to typed",
        ),
        Kind::Mariadb => {
            ("double", "timestamp null", "only_year year", "1990", "select on typed.kinds to typed@'%'")
        }
    };
    let text = if kind == Kind::Postgres { "\"text\"" } else { "`text`" };
    format!(
        "create table kinds (id varchar(20) primary key, nr int, one smallint, day date, local_at {local}, \
           moment {moment}, half {double}, three {double}, amount numeric(10, 2), plain numeric(10), at_time time, \
           {text} varchar(20), flag boolean, {more});
         insert into kinds values ('K1', 19900131, 1, '1990-01-31', '2026-11-03 08:00:00', '2026-11-03 08:00:00', 0.5, 3, \
           12.00, 1, '08:00:00', '1990-01-31', true, {values});
         grant {to};",
        local = if kind == Kind::Postgres { "timestamp" } else { "datetime" },
    )
}

pub async fn compared(lab: &Lab) {
    let people = People::new(lab, "typed");
    lab.admin("typed", &table(lab.kind));
    let own = if lab.kind == Kind::Postgres { &POSTGRES[..] } else { &MARIADB[..] };
    let fields: Vec<(String, &Field)> =
        BOTH.iter().chain(own).enumerate().map(|(at, field)| (format!("f{at}"), field)).collect();
    let lines: String = fields
        .iter()
        .map(|(name, (column, kind, ..))| format!("{name} = {{ from = \"{column}\", {kind} }}\n"))
        .collect();
    let text = format!(
        "format = \"adapter/1\"\nmapping = \"typed.kinds\"\nrecord = \"Person\"\nowner = \"police\"\n{}\n\
         [codes.letters]\nM = \"male\"\nunknown = \"null\"\n[codes.digits]\n\"1\" = \"male\"\nunknown = \"null\"\n\
         [[operation]]\nname = \"person.by_id\"\nkind = \"lookup\"\nsubject = \"id\"\n\
         params.id = {{ type = \"string\", pattern = \".*\" }}\n\
         sql = \"select * from kinds where id = :id\"\nlimit = 1\ntimeout = \"5s\"\n[operation.fields]\n{lines}",
        source_section(lab.kind)
    );
    let (mapping, source) = people.open_text(&text);
    let level = Level::Live { source: source.as_ref(), now_ms: compliance::NOW_MS };
    let findings = check(&mapping, level).await;
    let said = |name: &str| {
        let about = format!("operation person.by_id, field `{name}`: column ");
        let types = findings.iter().filter(|finding| [NEVER, DOUBTFUL].contains(&finding.code));
        types
            .filter(|finding| finding.message.starts_with(&about))
            .map(|finding| finding.code)
            .collect::<String>()
    };
    let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    let mapped = MappedSource::new(mapping, source);
    let answer = ask(&mapped, "person.by_id", "K1", None, &names, &[]).await.unwrap();
    let records: serde_json::Value = serde_json::from_slice(&answer.records).unwrap();
    for (name, (column, kind, code, has_value)) in &fields {
        assert_eq!(said(name), *code, "{column} as {kind}: {findings:?}");
        let value = records.pointer(&format!("/0/fields/{name}")).unwrap();
        assert_eq!(!value.is_null(), *has_value, "{column} as {kind}: {value}");
    }
}
