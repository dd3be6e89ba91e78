//! Columns of every type that departments have, read through the whole way.

use crate::lab::{Kind, Lab};
use crate::{People, query, source_section};
use yiwang_adapter_sdk::value::Cell;

const NAMES: [&str; 12] = [
    "whole", "small", "exact", "plain", "double", "single", "day", "local_at", "moment", "padded", "flag",
    "kind",
];

fn table(kind: Kind) -> &'static str {
    match kind {
        Kind::Postgres => {
            "create type mood as enum ('calm');
             create table thing (id bigint primary key, whole bigint, small smallint, exact numeric(20, 2),
               plain numeric(10), double double precision, single real, day date, local_at timestamp,
               moment timestamptz, padded char(8), flag boolean, kind mood);
             insert into thing values (7, 9223372036854775807, -3, 123456789012345678.90, 42, 0.1, 0.1, '1990-01-31',
               '2026-11-03 08:00:00', '2026-11-03 08:00:00+08', 'ab', true, 'calm');
             insert into thing (id, exact, day, local_at) values (8, 'NaN', 'infinity', '-infinity');
             grant select on thing to things;"
        }
        Kind::Mariadb => {
            "set sql_mode = '';
             set time_zone = '+08:00';
             create table thing (id bigint primary key, whole bigint, small smallint, exact decimal(20, 2),
               plain decimal(10), `double` double, single float, day date, local_at datetime,
               moment timestamp null, padded char(8), flag boolean, kind enum('calm'));
             insert into thing values (7, 9223372036854775807, -3, 123456789012345678.90, 42, 0.1, 0.1, '1990-01-31',
               '2026-11-03 08:00:00', '2026-11-03 08:00:00', 'ab', true, 'calm');
             insert into thing (id, day, local_at) values (8, '0000-00-00', '0000-00-00 00:00:00');
             grant select on things.thing to things@'%';"
        }
    }
}

pub async fn read(lab: &Lab) {
    let mut people = People::new(lab, "things");
    lab.admin("things", table(lab.kind));
    let fields: String =
        NAMES.iter().map(|name| format!("{name} = {{ from = \"{name}\", type = \"string\" }}\n")).collect();
    people.text = format!(
        "format = \"adapter/1\"\nmapping = \"things.thing\"\nrecord = \"Person\"\nowner = \"police\"\n{}\n\
         [[operation]]\nname = \"person.by_id\"\nkind = \"lookup\"\n\
         params.id = {{ type = \"string\", pattern = \".*\" }}\n\
         sql = \"select * from thing where id = :id\"\nlimit = 1\ntimeout = \"5s\"\n[operation.fields]\n{fields}",
        source_section(lab.kind)
    );
    let (mapping, source) = people.open();
    let found = source.fetch(query(&mapping, "7", &NAMES)).await.unwrap();
    let at = "2026-11-03T00:00:00Z".parse().unwrap();
    let flag = if lab.kind == Kind::Postgres { Cell::Bool(true) } else { Cell::Integer(1) };
    let wanted = [
        Cell::Integer(i64::MAX),
        Cell::Integer(-3),
        Cell::Text("123456789012345678.90"),
        Cell::Integer(42),
        Cell::Number(0.1),
        Cell::Number(0.1),
        Cell::Date("1990-01-31".parse().unwrap()),
        Cell::Instant(at),
        Cell::Instant(at),
        Cell::Text("ab"),
        flag,
        Cell::Text("calm"),
    ];
    for (column, (name, wanted)) in NAMES.iter().zip(wanted).enumerate() {
        assert_eq!(found.rows.cell(0, column), wanted, "{name}");
    }
    // What the server holds and no field can say is unreadable, not another value.
    let odd = source.fetch(query(&mapping, "8", &["exact", "day", "local_at", "flag"])).await.unwrap();
    let exact = if lab.kind == Kind::Postgres { Cell::Opaque } else { Cell::Null };
    for (column, wanted) in [exact, Cell::Opaque, Cell::Opaque, Cell::Null].into_iter().enumerate() {
        assert_eq!(odd.rows.cell(0, column), wanted, "{column}");
    }
    if lab.kind == Kind::Postgres {
        // An identifier kept as a number is found by its own digits and by no others.
        for other in ["07", "+7", " 7", "7.0", "7e0", "seven", "99999999999999999999"] {
            assert_eq!(
                source.fetch(query(&mapping, other, &["whole"])).await.unwrap().rows.len(),
                0,
                "{other}"
            );
        }
    }
}
