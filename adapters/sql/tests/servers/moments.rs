//! A moment that is asked for, against columns of local time, of moments, and of texts.

use crate::lab::{Kind, Lab};
use crate::{People, field, source_section, text};
use yiwang_adapter_sdk::compliance;
use yiwang_adapter_sdk::fetch::{Ask, MappedSource};
use yiwang_proto::codes::Code;
use yiwang_proto::ids::Operation;

const COLUMNS: [&str; 3] = ["local_at", "moment", "noted"];

fn table(kind: Kind) -> String {
    let (zone, local, moment, to) = match kind {
        Kind::Postgres => ("set time zone 'Asia/Shanghai'", "timestamp", "timestamptz", "visit to moments"),
        Kind::Mariadb => {
            ("set time_zone = '+08:00'", "datetime", "timestamp null", "moments.visit to moments@'%'")
        }
    };
    let row = |id: &str, at: &str| format!("insert into visit values ('{id}', '{at}', '{at}', '{at}');\n");
    format!(
        "{zone};
         create table visit (id varchar(10) primary key, local_at {local}, moment {moment}, noted varchar(30));
         {}{}grant select on {to};",
        row("early", "2026-11-03 03:00:00"),
        row("late", "2026-11-03 09:00:00"),
    )
}

fn mapping(kind: Kind) -> String {
    let operation = |column: &str| {
        format!(
            "[[operation]]\nname = \"person.by_{column}\"\nkind = \"search\"\n\
             params.since = {{ type = \"timestamp\" }}\n\
             sql = \"select id from visit where {column} >= :since\"\norder = [\"id\"]\nlimit = 10\n\
             timeout = \"5s\"\n[operation.fields]\nname = {{ from = \"id\", type = \"string\" }}\n"
        )
    };
    format!(
        "format = \"adapter/1\"\nmapping = \"moments.visit\"\nrecord = \"Person\"\nowner = \"police\"\n{}\n{}",
        source_section(kind),
        COLUMNS.map(operation).concat()
    )
}

async fn since(mapped: &MappedSource, column: &str, moment: &str) -> Vec<String> {
    let name = field("name");
    let arguments = [(field("since"), text(moment))].into();
    let ask = Ask {
        highest_class: (2, Code::SealingRequired),
        operation: &Operation::parse(&format!("person.by_{column}")).unwrap(),
        fields: std::slice::from_ref(&name),
        rows: &[],
        subject: "",
        arguments: &arguments,
        limit: 10,
        now_ms: compliance::NOW_MS,
        deadline_ms: compliance::NOW_MS + 20_000,
    };
    let answer = mapped.answer(ask).await.unwrap();
    let records: Vec<serde_json::Value> = serde_json::from_slice(&answer.records).unwrap();
    records
        .iter()
        .map(|record| record.pointer("/fields/name").and_then(|name| name.as_str()).unwrap().to_owned())
        .collect()
}

pub async fn compared(lab: &Lab) {
    let people = People::new(lab, "moments");
    lab.admin("moments", &table(lab.kind));
    let (mapping, source) = people.open_text(&mapping(lab.kind));
    let mapped = MappedSource::new(mapping, source);
    for (moment, wanted) in [
        ("2026-11-02T19:00:00Z", &["early", "late"][..]),
        ("2026-11-02T19:00:01Z", &["late"]),
        ("2026-11-03T00:00:00Z", &["late"]),
        ("2026-11-03T08:00:00+08:00", &["late"]),
        ("2026-11-03T01:00:00Z", &["late"]),
        ("2026-11-03T01:00:01Z", &[]),
    ] {
        for column in COLUMNS {
            assert_eq!(since(&mapped, column, moment).await, wanted, "{column} {moment}");
        }
    }
}
