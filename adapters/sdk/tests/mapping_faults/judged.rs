//! The lint judges all that a mapping reads by.

use super::*;

/// A mapping reads what is not built, and calls none of its fields so.
#[tokio::test]
async fn whatever_a_mapping_reads_by_is_judged_and_not_only_its_fields() {
    use yiwang_adapter_sdk::check::{Level, Severity, check};
    let where_id = "SFZH = :id";
    for (base, from, to, told) in [
        (
            SQLITE,
            "mapping = \"police.person\"",
            "mapping = \"police.blacklist\"",
            Some("mapping `police.blacklist`"),
        ),
        (
            SQLITE,
            "from T_RY where",
            "from zhongdian_renyuan where",
            Some("in the statement `zhongdian_renyuan`"),
        ),
        (SQLITE, where_id, "SFZH = :id and face_id is not null", Some("in the statement `face_id`")),
        (SQLITE, where_id, "SFZH = :id and `risk_score` > 80", Some("in the statement `risk_score`")),
        (SQLITE, where_id, "SFZH = :id and LB = '重点人员'", Some("a text in the statement: ")),
        (
            SQLITE,
            "select max(GXSJ) from T_RY",
            "select max(GXSJ) from watchlist",
            Some("in the statement `watchlist`"),
        ),
        (
            SQLITE,
            "\"1\" = \"male\"",
            "\"重点人员\" = \"male\"\n\"1\" = \"male\"",
            Some("code of the source `重点人员`"),
        ),
        (CSV, "where = { ", "where = { RISK_SCORE = \"9\", ", Some("in `where` `RISK_SCORE`")),
        (CSV, "where = { ", "where = { KIND = \"key person\", ", Some("a value in `where`: ")),
        (HTTP, "/connections/search", "/watchlist/search", Some("in the path `watchlist`")),
        (HTTP, "open = true", "face_id = true", Some("in the body `face_id`")),
        (HTTP, "open = true", "kind = \"blacklist\"", Some("a value in the body: ")),
        (HTTP, "sort = \"date\"", "trajectory = \"date\"", Some("in the query `trajectory`")),
        (FHIR, "recorded-date = ", "ethnicity = ", Some("in the search `ethnicity`")),
        // What is only commented out, or only a parameter, is judged elsewhere or is nothing.
        (SQLITE, where_id, "SFZH = :id /* face_id */", None),
    ] {
        assert!(base.contains(from), "{from}");
        let mut text = base.replacen(from, to, 1);
        if to.contains("= { RISK") || to.contains("= { KIND") {
            let column = if to.contains("RISK") { "RISK_SCORE" } else { "KIND" };
            text =
                text.replacen("AREA = \"string\"", &format!("AREA = \"string\"\n{column} = \"string\""), 1);
        }
        let mapping =
            Mapping::parse(&text, Path::new("m.toml")).unwrap_or_else(|faults| panic!("{to}: {faults:?}"));
        let findings = check(&mapping, Level::Offline).await;
        let found: Vec<_> = findings.iter().filter(|finding| finding.code == "A-MAP-002").collect();
        match told {
            None => assert_eq!(found, [].iter().collect::<Vec<_>>(), "{to}"),
            Some(told) => {
                let [one] = found.as_slice() else { panic!("{to}: {findings:?}") };
                assert!(one.message.starts_with(told) && one.severity == Severity::Error, "{to}: {one:?}");
                assert!(one.span.is_some(), "{to}");
                assert!(!told.ends_with(": ") || !one.message.contains('9'), "{one:?}");
            }
        }
    }
}
