//! A moment that is asked for, against texts of local time.

use super::*;

#[tokio::test]
async fn a_moment_is_compared_as_the_moment_that_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("visits.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(
        "create table VISIT (ID text, AT text);
         insert into VISIT values ('early', '2026-11-03 03:00:00'), ('late', '2026-11-03 09:00:00');",
    )
    .unwrap();
    let text = format!(
        "format = \"adapter/1\"\nmapping = \"moments.visit\"\nrecord = \"Person\"\nowner = \"police\"\n\
         [source.sqlite]\npath = '{}'\ntime_zone = \"Asia/Shanghai\"\n\
         [[operation]]\nname = \"person.by_time\"\nkind = \"search\"\nparams.since = {{ type = \"timestamp\" }}\n\
         sql = \"select ID, AT from VISIT where AT >= :since\"\norder = [\"ID\"]\nlimit = 10\ntimeout = \"5s\"\n\
         [operation.fields]\nname = {{ from = \"ID\", type = \"string\" }}\n",
        path.display()
    );
    let (mapping, source) = open_as(&path, &text);
    let mapped = MappedSource::new(mapping, source);
    let (operation, name) = (Operation::parse("person.by_time").unwrap(), FieldName::parse("name").unwrap());
    for (moment, wanted) in [
        ("2026-11-02T19:00:00Z", &["early", "late"][..]),
        ("2026-11-02T19:00:00.5Z", &["late"]),
        ("2026-11-03T00:00:00Z", &["late"]),
        ("2026-11-03T08:00:00+08:00", &["late"]),
        ("2026-11-03T01:00:01Z", &[]),
    ] {
        let since = FieldName::parse("since").unwrap();
        let arguments: Arguments = [(since, Scalar::Text(moment.to_owned()))].into();
        let ask = Ask {
            highest_class: (2, Code::SealingRequired),
            operation: &operation,
            fields: std::slice::from_ref(&name),
            rows: &[],
            subject: "",
            arguments: &arguments,
            limit: 10,
            now_ms: compliance::NOW_MS,
            deadline_ms: compliance::NOW_MS + 60_000,
        };
        let answer = mapped.answer(ask).await.unwrap();
        let records: Vec<serde_json::Value> = serde_json::from_slice(&answer.records).unwrap();
        let names: Vec<&str> =
            records.iter().filter_map(|record| record.pointer("/fields/name")?.as_str()).collect();
        assert_eq!(names, wanted, "{moment}");
    }
}
