//! Servers that stop, change, slow down or let nobody in.

use crate::lab::{Kind, Lab, other_authority};
use crate::{People, ask, name_of, query, quoted, select};
use std::sync::Arc;
use std::time::Duration;
use yiwang_adapter_sdk::source::SourceError;
use yiwang_proto::codes::Code;

/// Longer than the pause between two tries to connect.
const PAUSE: Duration = Duration::from_millis(600);

pub async fn password(lab: &Lab) {
    let people = People::new(lab, "rotated");
    let mapped = people.mapped();
    assert_eq!(name_of(&mapped, "P1").await.unwrap().rows, 1);
    let secret = "n3w%25:/@'\"";
    let shown = "n3w%2525%3A%2F%40%27%22";
    lab.change_password("rotated", secret);
    let refused = name_of(&mapped, "P1").await.unwrap_err();
    assert_eq!(refused.code, Code::SourceError);
    assert!(refused.detail.contains("refuses the role or its password"), "{refused:?}");
    assert!(!refused.detail.contains("pw-rotated") && !refused.clause.contains("role"), "{refused:?}");
    people.settings.set("URL", &lab.url("rotated", shown, "rotated"));
    tokio::time::sleep(PAUSE).await;
    assert_eq!(name_of(&mapped, "P1").await.unwrap().rows, 1);
}

pub async fn altered(lab: &Lab) {
    let people = People::new(lab, "altered");
    let mapped = Arc::new(people.mapped());
    let stop = tokio_util::sync::CancellationToken::new();
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (mapped, stop) = (Arc::clone(&mapped), stop.clone());
        askers.spawn(async move {
            let (mut good, mut bad) = (0, Vec::new());
            while !stop.is_cancelled() {
                match name_of(&mapped, "P1").await {
                    Ok(found) => {
                        assert_eq!(found.rows, 1);
                        good += 1;
                    }
                    Err(error) => bad.push(error),
                }
            }
            (good, bad)
        });
    }
    let (person, name) = (quoted(lab.kind, "PERSON"), quoted(lab.kind, "NM"));
    for _ in 0..5 {
        // Another type, as texts still: served without a word.
        lab.admin(
            "altered",
            &match lab.kind {
                Kind::Postgres => format!("alter table {person} alter column {name} type varchar(300)"),
                Kind::Mariadb => format!("alter table {person} modify {name} varchar(300)"),
            },
        );
        lab.admin(
            "altered",
            &match lab.kind {
                Kind::Postgres => format!("alter table {person} alter column {name} type text"),
                Kind::Mariadb => format!("alter table {person} modify {name} text"),
            },
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Gone, and back.
    let other = quoted(lab.kind, "XM");
    lab.admin("altered", &format!("alter table {person} rename column {name} to {other}"));
    let mut drifted = name_of(&mapped, "P1").await;
    for _ in 0..50 {
        if drifted.is_err() {
            break;
        }
        drifted = name_of(&mapped, "P1").await;
    }
    let drifted = drifted.unwrap_err();
    assert!(drifted.detail.contains("has drifted") && drifted.detail.contains("NM"), "{drifted:?}");
    assert!(!drifted.clause.contains("NM"), "{drifted:?}");
    lab.admin("altered", &format!("alter table {person} rename column {other} to {name}"));
    assert_eq!(name_of(&mapped, "P1").await.unwrap().rows, 1);
    stop.cancel();
    let mut good = 0;
    while let Some(asked) = askers.join_next().await {
        let (served, bad) = asked.unwrap();
        good += served;
        for error in bad {
            assert!(
                error.detail.contains("has drifted") || error.detail.contains("query failed"),
                "{error:?}"
            );
        }
    }
    assert!(good > 0);
}

/// The mapping with a statement that takes half a minute; for `fast` it takes no time.
fn slow_text(people: &People<'_>) -> String {
    let kind = people.lab.kind;
    let by_id = select(kind, "ID", ":id");
    let slow = match kind {
        Kind::Postgres => {
            format!("{} and (:id = 'P2' or pg_sleep(30) is not null)", by_id.replace(":id", "'P1'"))
        }
        Kind::Mariadb => format!("{} and (:id = 'P2' or sleep(30) = 0)", by_id.replace(":id", "'P1'")),
    };
    people.text.replace(&by_id, &slow)
}

/// How many statements of a role run at the server.
fn running(lab: &Lab, role: &str) -> String {
    lab.admin("postgres", &match lab.kind {
        Kind::Postgres => format!(
            "select count(*) from pg_stat_activity where usename = '{role}' and state = 'active' and query like '%pg_sleep%'"
        ),
        Kind::Mariadb => format!(
            "select count(*) from information_schema.processlist where user = '{role}' and info like '%sleep%'"
        ),
    })
}

async fn runs_nothing(lab: &Lab, role: &str) {
    for _ in 0..100 {
        if running(lab, role) == "0" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it still runs: {}", running(lab, role));
}

pub async fn slow(lab: &Lab) {
    let people = People::new(lab, "slow");
    let (mapping, source) = people.open_text(&slow_text(&people));
    let mut asked = query(&mapping, "P1", &["NM"]);
    asked.timeout = Duration::from_millis(300);
    // More than there are connections: each is given back.
    for _ in 0..6 {
        let error = source.fetch(asked.clone()).await.unwrap_err();
        assert_eq!(error, SourceError::Timeout(Duration::from_millis(300)));
    }
    runs_nothing(lab, "slow").await;
    // Nobody waits any more: dropped, and stopped at the server.
    let (task, wanted) = (Arc::clone(&source), query(&mapping, "P1", &["NM"]));
    let dropped = tokio::spawn(async move { task.fetch(wanted).await });
    for _ in 0..100 {
        if running(lab, "slow") == "1" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(running(lab, "slow"), "1");
    dropped.abort();
    runs_nothing(lab, "slow").await;
    // Its own limit ends it where nobody does.
    let text = slow_text(&people).replace("timeout = \"10s\"", "timeout = \"400ms\"");
    let (mapping, source) = people.open_text(&text);
    let error = source.fetch(query(&mapping, "P1", &["NM"])).await.unwrap_err();
    assert_eq!(error, SourceError::Timeout(Duration::from_millis(400)));
}

pub async fn full(lab: &Lab) {
    let people = People::new(lab, "brimful");
    let text = slow_text(&people)
        .replace("acquire = \"2s\"", "acquire = \"200ms\"")
        .replace("timeout = \"10s\"", "timeout = \"30s\"");
    let (mapping, source) = people.open_text(&text);
    let mut held = query(&mapping, "P1", &["NM"]);
    held.timeout = Duration::from_secs(30);
    let mut holders = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (source, query) = (Arc::clone(&source), held.clone());
        holders.spawn(async move { source.fetch(query).await });
    }
    for _ in 0..200 {
        if running(lab, "brimful") == "4" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(running(lab, "brimful"), "4", "as many as the pool has, and no more");
    let mut others = tokio::task::JoinSet::new();
    for _ in 0..400 {
        let (source, query) = (Arc::clone(&source), query(&mapping, "P1", &["NM"]));
        others.spawn(async move { source.fetch(query).await });
    }
    while let Some(other) = others.join_next().await {
        assert!(matches!(other.unwrap(), Err(SourceError::Busy { .. })));
    }
    assert_eq!(running(lab, "brimful"), "4");
    let usage = source.usage().unwrap();
    assert!(usage.exhausted && usage.busy == 4, "{usage:?}");
    holders.shutdown().await;
    runs_nothing(lab, "brimful").await;
    let mut asked = query(&mapping, "P2", &["NM"]);
    asked.timeout = Duration::from_secs(10);
    for _ in 0..20 {
        if let Ok(found) = source.fetch(asked.clone()).await {
            assert_eq!(found.rows.len(), 1);
            assert!(!source.usage().unwrap().exhausted);
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the pool does not come back");
}

pub async fn certificate(lab: &Lab) {
    let people = People::new(lab, "tls");
    people.settings.set("CA", &other_authority());
    let (mapping, source) = people.open();
    let error = source.fetch(query(&mapping, "P1", &["NM"])).await.unwrap_err();
    assert!(error.to_string().contains("TLS to the server failed"), "{error}");
    // The right authority, another name than the certificate's.
    people.settings.set("CA", lab.ca());
    let named = lab.url("tls", "pw-tls", "tls").replace("@localhost:", "@127.0.0.1:");
    people.settings.set("URL", &named);
    tokio::time::sleep(PAUSE).await;
    let error = source.fetch(query(&mapping, "P1", &["NM"])).await.unwrap_err();
    assert!(error.to_string().contains("TLS to the server failed"), "{error}");
    people.settings.set("URL", &lab.url("tls", "pw-tls", "tls"));
    tokio::time::sleep(PAUSE).await;
    assert_eq!(source.fetch(query(&mapping, "P1", &["NM"])).await.unwrap().rows.len(), 1);
    let encrypted = match lab.kind {
        Kind::Postgres => lab.admin("tls", "select bool_and(s.ssl) from pg_stat_ssl s join pg_stat_activity a using (pid) where usename = 'tls'"),
        // What a statement of the session itself would show; here that the server counted one.
        Kind::Mariadb => lab.admin("tls", "select if(variable_value > 0, 't', 'f') from information_schema.global_status where variable_name = 'Ssl_accepts'"),
    };
    assert_eq!(encrypted, "t");
}

pub async fn older(lab: &Lab) {
    // MariaDB takes its versions when it is started, and is started for all tests in one way.
    if lab.kind != Kind::Postgres {
        return;
    }
    let Some(own) = Lab::own(lab.kind) else { return };
    own.admin("postgres", "alter system set ssl_max_protocol_version = 'TLSv1.2'");
    own.stop();
    own.start();
    let people = People::new(&own, "older");
    let (mapping, source) = people.open();
    assert_eq!(source.fetch(query(&mapping, "P1", &["NM"])).await.unwrap().rows.len(), 1);
    let spoken = own.admin(
        "older",
        "select distinct version from pg_stat_ssl join pg_stat_activity using (pid) where usename = 'older'",
    );
    assert_eq!(spoken, "TLSv1.2");
    // Another authority's certificate is refused there too.
    people.settings.set("CA", &other_authority());
    let (mapping, source) = people.open();
    let error = source.fetch(query(&mapping, "P1", &["NM"])).await.unwrap_err();
    assert!(error.to_string().contains("TLS to the server failed"), "{error}");
}

pub async fn restarted(lab: &Lab) {
    let Some(own) = Lab::own(lab.kind) else { return };
    let people = People::new(&own, "restarted");
    let mapped = people.mapped();
    assert_eq!(name_of(&mapped, "P1").await.unwrap().rows, 1);
    // Restarted behind an idle connection: nobody notices.
    own.stop();
    own.start();
    assert_eq!(name_of(&mapped, "P1").await.unwrap().rows, 1);
    // Away: an error that says so, without a wait for a timeout, to the probe as well.
    own.stop();
    for _ in 0..3 {
        let refused = name_of(&mapped, "P1").await.unwrap_err();
        assert_eq!((refused.code, refused.clause.as_str()), (Code::SourceError, "the source failed"));
        assert!(refused.detail.contains("unavailable"), "{refused:?}");
    }
    assert!(matches!(mapped.source().probe().await.unwrap_err(), SourceError::Unavailable(_)));
    own.start();
    tokio::time::sleep(PAUSE).await;
    mapped.source().probe().await.unwrap();
    assert_eq!(name_of(&mapped, "P1").await.unwrap().rows, 1);
}

pub async fn huge(lab: &Lab) {
    let people = People::new(lab, "huge");
    let person = quoted(lab.kind, "PERSON");
    // More than an answer may hold, in one cell, and in many.
    let (name, one) = (quoted(lab.kind, "NM"), yiwang_adapter_sdk::value::TEXT_MAX + 1);
    if lab.kind == Kind::Mariadb {
        lab.admin("huge", &format!("alter table {person} modify {name} longtext"));
    }
    lab.admin(
        "huge",
        &format!("update {person} set {name} = repeat('x', {one}) where {} = 'P1'", quoted(lab.kind, "ID")),
    );
    lab.admin(
        "huge",
        &format!(
            "update {person} set {name} = repeat('y', {}) where {} = '980199'",
            one / 10,
            quoted(lab.kind, "AREA")
        ),
    );
    let mapped = people.mapped();
    for _ in 0..6 {
        let refused = name_of(&mapped, "P1").await.unwrap_err();
        assert_eq!(refused.code, Code::TooLarge, "{refused:?}");
        let refused = ask(&mapped, "person.by_area", "", Some("980199"), &["name"], &[]).await.unwrap_err();
        assert_eq!(refused.code, Code::TooLarge, "{refused:?}");
        assert_eq!(name_of(&mapped, "P2").await.unwrap().rows, 1, "it serves on");
    }
}
