//! The checks. Each gives an error in words instead of failing an assertion, so that a department's own
//! source can be checked by its own program.

use super::Fixture;
use super::data::{HOSTILE, NOW_MS, hostile_texts, stored};
use crate::check::{Level, Severity, check};
use crate::fetch::{AnswerError, Ask, Mapped};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use yiwang_proto::body::Arguments;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::{RowClause, RowOperator, Scalar};
use yiwang_proto::ids::{FieldName, Operation};

type Verdict = Result<(), String>;

/// One question of the suite.
#[derive(Clone)]
struct Question {
    operation: &'static str,
    fields: Vec<&'static str>,
    rows: Vec<RowClause>,
    subject: String,
    arguments: Vec<(&'static str, Scalar)>,
    limit: u32,
    deadline_ms: i64,
}

fn by_id(id: &str, fields: &[&'static str]) -> Question {
    Question {
        operation: "person.by_id",
        fields: fields.to_vec(),
        rows: Vec::new(),
        subject: id.to_owned(),
        arguments: Vec::new(),
        limit: 100,
        deadline_ms: NOW_MS + 10_000,
    }
}

fn by_area(area: &str, fields: &[&'static str]) -> Question {
    Question {
        operation: "person.by_area",
        subject: String::new(),
        arguments: vec![("area", Scalar::Text(area.to_owned()))],
        ..by_id("", fields)
    }
}

fn wrong(what: impl std::fmt::Display) -> String {
    what.to_string()
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, wanted: &T) -> Verdict {
    if found == wanted { Ok(()) } else { Err(format!("{what}: {found:?}, expected {wanted:?}")) }
}

fn field(name: &str) -> Result<FieldName, String> {
    FieldName::parse(name).map_err(wrong)
}

async fn ask(fixture: &Fixture, question: &Question) -> Result<Result<Mapped, AnswerError>, String> {
    let operation = Operation::parse(question.operation).map_err(wrong)?;
    let fields: Result<Vec<FieldName>, String> = question.fields.iter().map(|name| field(name)).collect();
    let arguments: Result<Arguments, String> =
        question.arguments.iter().map(|(name, value)| Ok((field(name)?, value.clone()))).collect();
    Ok(fixture
        .mapped
        .answer(Ask {
            highest_class: (2, Code::SealingRequired),
            operation: &operation,
            fields: &fields?,
            rows: &question.rows,
            subject: &question.subject,
            arguments: &arguments?,
            limit: question.limit,
            now_ms: NOW_MS,
            deadline_ms: question.deadline_ms,
        })
        .await)
}

async fn answer(fixture: &Fixture, question: &Question) -> Result<Mapped, String> {
    ask(fixture, question).await?.map_err(|error| format!("{}: {error}", question.operation))
}

async fn records(fixture: &Fixture, question: &Question) -> Result<Vec<Value>, String> {
    let mapped = answer(fixture, question).await?;
    let records: Vec<Value> = serde_json::from_slice(&mapped.records).map_err(wrong)?;
    same("rows", &(mapped.rows as usize), &records.len())?;
    Ok(records)
}

async fn refused(fixture: &Fixture, question: &Question, code: Code) -> Result<AnswerError, String> {
    match ask(fixture, question).await? {
        Ok(mapped) => Err(format!("{} rows, expected {code}", mapped.rows)),
        Err(error) => same("code", &error.code, &code).map(|()| error),
    }
}

fn clause(name: &str, op: RowOperator, value: &str) -> Result<RowClause, String> {
    Ok(RowClause {
        field: field(name)?,
        op,
        value: Some(Scalar::Text(value.to_owned())),
        values: Vec::new(),
        from: None,
        to: None,
        param: None,
    })
}

pub(super) async fn granted(fixture: &Fixture) -> Verdict {
    let all = ["pseudonym", "name", "sex", "birth_date", "area_code", "amount"];
    let wanted = json!([{
        "fields": { "pseudonym": "P1", "name": "云甲", "sex": "male", "birth_date": "1990-01-31",
            "area_code": "980101", "amount": 12 },
        "as_of": "2026-11-01T08:00:00+08:00",
    }]);
    let found = Value::Array(records(fixture, &by_id("P1", &all)).await?);
    same("record", &found, &wanted)?;
    for one in all {
        let found = records(fixture, &by_id("P1", &[one])).await?;
        let names: Vec<&String> = found
            .iter()
            .filter_map(|record| record.get("fields")?.as_object())
            .flat_map(|f| f.keys())
            .collect();
        same("fields", &names, &vec![&one.to_owned()])?;
    }
    let mapped = answer(fixture, &by_id("P1", &["name"])).await?;
    same("as-of", &mapped.as_of_ms, &1_793_491_200_000)
}

pub(super) async fn columns(fixture: &Fixture) -> Verdict {
    let read = |columns: &[&str]| -> BTreeSet<String> { columns.iter().map(|c| (fixture.name)(c)).collect() };
    for (question, wanted) in [
        (by_id("P1", &["name"]), read(&["NM", "UPD"])),
        (by_id("P1", &["sex", "birth_date"]), read(&["SEX", "BORN", "UPD"])),
        (by_id("P1", &["grid", "area_code"]), read(&["AREA", "UPD"])),
        (by_id("P1", &["grid"]), read(&[])),
    ] {
        let before = fixture.recording.queries().len();
        answer(fixture, &question).await?;
        let queries = fixture.recording.queries();
        let seen: BTreeSet<String> = queries
            .iter()
            .skip(before)
            .flat_map(|query| query.columns.iter().map(ToString::to_string))
            .collect();
        same("columns", &seen, &wanted)?;
    }
    Ok(())
}

pub(super) async fn withheld(fixture: &Fixture) -> Verdict {
    let mapped = answer(fixture, &by_id("P1", &["name", "nationality", "grid", "sealed"])).await?;
    let reasons: Vec<(&str, &str)> =
        mapped.withheld.iter().map(|(name, why)| (name.as_str(), why.as_str())).collect();
    let wanted = vec![
        ("grid", "computed from `area_code`, which is not granted"),
        ("nationality", "not mapped"),
        ("sealed", "class 4: approvals_required"),
    ];
    same("withheld", &reasons, &wanted)?;
    same("fields", &mapped.fields, &vec![field("name")?])?;
    let found = records(fixture, &by_id("P1", &["grid", "area_code"])).await?;
    same("grid", &found.first().and_then(|record| record.pointer("/fields/grid")), &Some(&json!("g-980101")))
}

pub(super) async fn nothing_to_let_out(fixture: &Fixture) -> Verdict {
    let mapped = answer(fixture, &by_id("P1", &["nationality", "sealed"])).await?;
    same("rows", &mapped.rows, &0)?;
    same("records", &mapped.records.as_ref(), &b"[]".as_ref())?;
    same("queries", &fixture.recording.queries().len(), &0)
}

pub(super) async fn hostile(fixture: &Fixture) -> Verdict {
    let long = "x".repeat(200);
    for text in HOSTILE.iter().copied().chain([long.as_str()]) {
        if fixture.drops(text) {
            refused(fixture, &by_area(text, &["area_code"]), Code::ArgumentInvalid).await?;
        } else {
            let found = records(fixture, &by_area(text, &["area_code"])).await?;
            let wanted = usize::from(stored().any(|kept| kept == text));
            same(&format!("rows for {text:?}"), &found.len(), &wanted)?;
            for record in &found {
                same("area", &record.pointer("/fields/area_code"), &Some(&json!(text)))?;
            }
        }
        // As a constant of the row filter, it is data as well.
        let mut question = by_area("980199", &["name"]);
        if !text.is_empty() {
            question.rows = vec![clause("pseudonym", RowOperator::Eq, text)?];
            same("filtered rows", &records(fixture, &question).await?.len(), &0)?;
            question.rows = vec![clause("pseudonym", RowOperator::Prefix, text)?];
            same("filtered rows", &records(fixture, &question).await?.len(), &0)?;
        }
    }
    same("rows after all", &records(fixture, &by_area("980199", &["name"])).await?.len(), &20)
}

/// Each as a parameter, as a subject and, where it is a name that could be one, as an operation and a field: what is
/// asked finds what is stored under that very text and nothing else, and what is refused says so without it.
pub(super) async fn thousand(fixture: &Fixture) -> Verdict {
    let texts = hostile_texts();
    if texts.len() < 1000 {
        return Err(format!("only {} hostile texts", texts.len()));
    }
    let mut asked = 0;
    for text in &texts {
        let error = if fixture.drops(text) || text.chars().count() > 200 {
            Some(refused(fixture, &by_area(text, &["area_code"]), Code::ArgumentInvalid).await?)
        } else {
            let found = records(fixture, &by_area(text, &["area_code"])).await?;
            let wanted = usize::from(stored().any(|kept| kept == text));
            same(&format!("rows for {text:?}"), &found.len(), &wanted)?;
            asked += 1;
            None
        };
        let subject = refused(fixture, &by_id(text, &["name"]), Code::ArgumentInvalid).await?;
        for error in error.into_iter().chain([subject]) {
            if error.clause.is_empty() || text.len() > 4 && error.to_string().contains(text.as_str()) {
                return Err(format!("an error is empty or repeats an argument: {error}"));
            }
        }
        if FieldName::parse(text).is_ok() || Operation::parse(text).is_ok() {
            return Err(format!("{text:?} passes for a name"));
        }
    }
    if asked < 300 {
        return Err(format!("only {asked} reached the source"));
    }
    // Ten megabytes, and a bomb, reach nobody.
    let before = fixture.recording.queries().len();
    for huge in ["x".repeat(10 << 20), "[".repeat(10 << 20), "{\"a\":".repeat(1 << 20), "𠮷".repeat(300)] {
        let error = refused(fixture, &by_area(&huge, &["area_code"]), Code::ArgumentInvalid).await?;
        same("clause", &error.clause.as_str(), &"argument `area` is over 1024 bytes")?;
    }
    same("queries of huge arguments", &fixture.recording.queries().len(), &before)?;
    same("rows after all", &records(fixture, &by_area("980199", &["name"])).await?.len(), &20)
}

pub(super) async fn arguments(fixture: &Fixture) -> Verdict {
    let area = |value: Scalar| Question { arguments: vec![("area", value)], ..by_area("", &["name"]) };
    let questions = [
        area(Scalar::Integer(980_199)),
        area(Scalar::Bool(true)),
        area(Scalar::Text("y".repeat(201))),
        area(Scalar::Text("y".repeat(2000))),
        Question { arguments: Vec::new(), ..by_area("", &["name"]) },
        Question { subject: "P1".to_owned(), ..by_area("980199", &["name"]) },
        Question { arguments: vec![("area", Scalar::Text("980199".to_owned()))], ..by_id("P1", &["name"]) },
        Question { arguments: vec![("id", Scalar::Text("P1".to_owned()))], ..by_id("P1", &["name"]) },
        by_id("", &["name"]),
        by_id("P1' or '1'='1", &["name"]),
        by_id("P1\n", &["name"]),
    ];
    for question in questions {
        let error = refused(fixture, &question, Code::ArgumentInvalid).await?;
        if error.clause.contains("980199") || error.detail.contains("980199") {
            return Err("an error repeats an argument".to_owned());
        }
    }
    let unknown = Question { operation: "person.by_moon", ..by_id("P1", &["name"]) };
    refused(fixture, &unknown, Code::OperationNotGranted).await?;
    same("queries", &fixture.recording.queries().len(), &0)
}

pub(super) async fn row_filter(fixture: &Fixture) -> Verdict {
    let outside =
        Question { rows: vec![clause("area_code", RowOperator::Eq, "980102")?], ..by_id("P1", &["name"]) };
    same("rows outside", &records(fixture, &outside).await?.len(), &0)?;
    let inside =
        Question { rows: vec![clause("area_code", RowOperator::Prefix, "9801")?], ..by_id("P1", &["name"]) };
    let found = records(fixture, &inside).await?;
    same("rows inside", &found.len(), &1)?;
    same("filter field", &found.first().and_then(|record| record.pointer("/fields/area_code")), &None)?;
    let between = RowClause {
        value: None,
        from: Some(Scalar::Text("L05".to_owned())),
        to: Some(Scalar::Text("L09".to_owned())),
        ..clause("pseudonym", RowOperator::Range, "")?
    };
    let among = RowClause {
        value: None,
        values: ["L08", "L09", "L10", "P1"].map(|id| Scalar::Text(id.to_owned())).to_vec(),
        ..clause("pseudonym", RowOperator::In, "")?
    };
    let question = Question { rows: vec![between, among], ..by_area("980199", &["pseudonym"]) };
    same("rows between and among", &records(fixture, &question).await?.len(), &2)?;
    let unknown =
        Question { rows: vec![clause("nationality", RowOperator::Eq, "x")?], ..by_id("P1", &["name"]) };
    refused(fixture, &unknown, Code::SourceError).await?;
    let param =
        RowClause { value: None, param: Some(field("scope")?), ..clause("area_code", RowOperator::Eq, "")? };
    let mut question = Question { rows: vec![param], ..by_id("P1", &["name"]) };
    refused(fixture, &question, Code::ArgumentInvalid).await?;
    question.arguments = vec![("scope", Scalar::Text("980101".to_owned()))];
    same("rows in scope", &records(fixture, &question).await?.len(), &1)?;
    question.arguments = vec![("scope", Scalar::Text("980102".to_owned()))];
    same("rows out of scope", &records(fixture, &question).await?.len(), &0)
}

pub(super) async fn converted_filter(fixture: &Fixture) -> Verdict {
    let women =
        Question { rows: vec![clause("sex", RowOperator::Eq, "female")?], ..by_area("980199", &["name"]) };
    same("women", &records(fixture, &women).await?.len(), &10)?;
    let few = Question { limit: 4, ..women.clone() };
    let mapped = answer(fixture, &few).await?;
    same("rows", &(mapped.rows, mapped.truncated), &(4, true))?;
    let raw = Question { rows: vec![clause("sex", RowOperator::Eq, "2")?], ..by_area("980199", &["name"]) };
    same("by the source's code", &records(fixture, &raw).await?.len(), &0)?;
    let born = RowClause {
        value: None,
        from: Some(Scalar::Text("1990-01-01".to_owned())),
        to: Some(Scalar::Text("1990-12-31".to_owned())),
        ..clause("birth_date", RowOperator::Range, "")?
    };
    let question = Question { rows: vec![born], ..by_id("P1", &["name"]) };
    same("born in 1990", &records(fixture, &question).await?.len(), &1)
}

pub(super) async fn bounds(fixture: &Fixture) -> Verdict {
    for (limit, wanted) in
        [(1, (1, true)), (3, (3, true)), (19, (19, true)), (20, (20, false)), (1000, (20, false))]
    {
        let mapped = answer(fixture, &Question { limit, ..by_area("980199", &["name"]) }).await?;
        same(&format!("limit {limit}"), &(mapped.rows, mapped.truncated), &wanted)?;
    }
    for query in fixture.recording.queries() {
        if query.limit > 101 {
            return Err(format!("the source was asked for {} rows", query.limit));
        }
    }
    Ok(())
}

pub(super) async fn absent(fixture: &Fixture) -> Verdict {
    let mapped = answer(fixture, &by_id("P999", &["name"])).await?;
    same("records", &mapped.records.as_ref(), &b"[]".as_ref())?;
    same("as-of", &(mapped.rows, mapped.as_of_ms, mapped.truncated), &(0, NOW_MS, false))
}

pub(super) async fn bad_values(fixture: &Fixture) -> Verdict {
    let fields = ["birth_date", "amount"];
    let found = Value::Array(records(fixture, &by_id("P2", &fields)).await?);
    let wanted = json!([{
        "fields": { "amount": null, "birth_date": null },
        "as_of": "2026-11-02T08:00:00+08:00",
        "quality": { "amount": ["unreadable"], "birth_date": ["placeholder_date"] },
    }]);
    same("record", &found, &wanted)?;
    let found = Value::Array(records(fixture, &by_id("P5", &fields)).await?);
    let wanted = json!([{
        "fields": { "amount": null, "birth_date": null },
        "as_of": "2026-11-02T08:00:00+08:00",
        "quality": { "birth_date": ["unreadable"] },
    }]);
    same("record", &found, &wanted)?;
    for (id, name, value) in [("P3", "name", "P3"), ("P4", "sex", "9"), ("P6", "name", "secret")] {
        let error = refused(fixture, &by_id(id, &[name]), Code::SourceError).await?;
        if error.clause.contains(value) || error.detail.contains(value) {
            return Err(format!("an error repeats a value of the source: {error}"));
        }
    }
    Ok(())
}

pub(super) async fn deadline(fixture: &Fixture) -> Verdict {
    for deadline_ms in [NOW_MS, NOW_MS - 1, 0, i64::MIN] {
        let question = Question { deadline_ms, ..by_id("P1", &["name"]) };
        refused(fixture, &question, Code::DeadlineExceeded).await?;
    }
    same("queries", &fixture.recording.queries().len(), &0)
}

pub(super) async fn parallel(fixture: &Fixture) -> Verdict {
    let questions: Vec<(String, Question)> =
        (0..20).map(|at| (format!("many {at}"), by_id(&format!("L{at:02}"), &["name"]))).collect();
    let asked = questions.iter().map(|(name, question)| async move {
        let found = records(fixture, question).await?;
        same("name", &found.first().and_then(|record| record.pointer("/fields/name")), &Some(&json!(name)))
    });
    futures_util::future::join_all(asked).await.into_iter().collect()
}

pub(super) async fn live(fixture: &Fixture) -> Verdict {
    let source = fixture.mapped.source().as_ref();
    let findings = check(fixture.mapped.mapping(), Level::Live { source, now_ms: NOW_MS }).await;
    // The suite's table is nobody's record, so only what speaks of the source counts.
    let errors: Vec<String> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error && !finding.code.starts_with("A-MAP"))
        .map(|finding| format!("{}: {}", finding.code, finding.message))
        .collect();
    same("errors", &errors, &Vec::new())
}
