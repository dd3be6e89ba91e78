//! Probes of health and freshness, and the proof of rights that goes before them.

use crate::lab::{Kind, Lab};
use crate::{People, name_of, quoted};
use yiwang_adapter_sdk::fetch::MappedSource;

fn mapped(people: &People<'_>, section: &str) -> MappedSource {
    let zone = "time_zone = \"Asia/Shanghai\"";
    let (mapping, source) = people.open_text(&people.text.replace(zone, &format!("{zone}\n{section}")));
    MappedSource::new(mapping, source)
}

fn health(statement: &str) -> String {
    format!("health = {{ probe = '''{statement}''' }}")
}

pub async fn rights(lab: &Lab) {
    let people = People::new(lab, "unproved");
    let slow = match lab.kind {
        Kind::Postgres => "select pg_sleep(30)",
        Kind::Mariadb => "select sleep(30)",
    };
    let (give, take) = match lab.kind {
        Kind::Postgres => ("grant insert on canary to unproved", "revoke insert on canary from unproved"),
        Kind::Mariadb => (
            "grant insert on unproved.canary to unproved@'%'",
            "revoke insert on unproved.canary from unproved@'%'",
        ),
    };
    for statement in ["select nothing from nowhere", slow] {
        let mapped = mapped(&people, &health(statement));
        assert_eq!(name_of(&mapped, "P1").await.unwrap().rows, 1);
        let error = mapped.source().probe().await.unwrap_err().to_string();
        assert!(!error.contains("can write"), "{error}");
        lab.admin("unproved", give);
        let error = mapped.source().probe().await.unwrap_err().to_string();
        assert!(error.contains("can write: "), "{statement}: {error}");
        let refused = name_of(&mapped, "P1").await.unwrap_err();
        assert!(refused.detail.contains("can write"), "{statement}: {refused}");
        lab.admin("unproved", take);
    }
}

pub async fn first_row(lab: &Lab) {
    let people = People::new(lab, "firstrow");
    let (person, id) = (quoted(lab.kind, "PERSON"), quoted(lab.kind, "ID"));
    // More rows than there is time for.
    let all = ["a", "b", "c", "d", "e", "f", "g", "h", "i"].map(|name| format!("{person} {name}"));
    mapped(&people, &health(&format!("select a.{id} from {} -- all", all.join(", "))))
        .source()
        .probe()
        .await
        .unwrap();
    // The first is the one that the statement says.
    let day = |order: &str| {
        let probe = format!(
            "select d from (select '2026-01-02 00:00:00' as d union all select '2026-03-04 00:00:00' \
             union all select '2026-02-03 00:00:00') x order by d {order}"
        );
        format!("freshness = {{ probe = '''{probe}''', warn = \"24h\", fail = \"72h\" }}")
    };
    for (order, wanted) in [
        ("asc", "2026-01-01T16:00:00Z"),
        ("desc", "2026-03-03T16:00:00Z"),
        ("desc limit 1", "2026-03-03T16:00:00Z"),
        ("desc limit 5", "2026-03-03T16:00:00Z"),
    ] {
        let wanted: jiff::Timestamp = wanted.parse().unwrap();
        let newest = mapped(&people, &day(order)).source().probe().await.unwrap().newest_ms;
        assert_eq!(newest, Some(wanted.as_millisecond()), "{order}");
    }
}
