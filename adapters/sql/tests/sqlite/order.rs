//! Rows come in the order that a mapping asks for.

use super::*;

#[tokio::test]
async fn rows_come_in_the_order_that_the_mapping_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(folder.path());
    let of =
        |order: &str| suite_mapping(&path).replace("limit = 100", &format!("order = {order}\nlimit = 3"));
    let (operation, name) = (Operation::parse("person.by_area").unwrap(), FieldName::parse("name").unwrap());
    let area = FieldName::parse("area").unwrap();
    let arguments: Arguments = [(area, Scalar::Text("980199".to_owned()))].into();
    for (order, wanted) in [
        ("[\"SEX desc\", \"ID desc\"]", ["many 19", "many 17", "many 15"]),
        ("[\"SEX\", \"ID asc\"]", ["many 0", "many 2", "many 4"]),
    ] {
        let (mapping, source) = open_as(&path, &of(order));
        let ask = Ask {
            highest_class: (2, Code::SealingRequired),
            operation: &operation,
            fields: std::slice::from_ref(&name),
            rows: &[],
            subject: "",
            arguments: &arguments,
            limit: 100,
            now_ms: compliance::NOW_MS,
            deadline_ms: compliance::NOW_MS + 60_000,
        };
        let answer = MappedSource::new(mapping, source).answer(ask).await.unwrap();
        let records: Vec<serde_json::Value> = serde_json::from_slice(&answer.records).unwrap();
        let names: Vec<&str> =
            records.iter().filter_map(|record| record.pointer("/fields/name")?.as_str()).collect();
        assert_eq!((names.as_slice(), answer.truncated), (&wanted[..], true), "{order}");
    }
    for (order, code) in [("[\"ID desc\"]", None), ("[\"NOBODY\"]", Some("A-SQL-003"))] {
        let (mapping, source) = open_as(&path, &of(order));
        let findings = source.check(mapping.operations().to_vec()).await;
        let told = findings.iter().find(|finding| finding.message.contains("NOBODY"));
        assert_eq!(told.map(|finding| finding.code), code, "{findings:?}");
    }
}
