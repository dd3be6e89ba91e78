//! A row filter as a server compares it, against its evaluator.

use crate::lab::{Kind, Lab};
use crate::{field, text};
use serde_json::{Map, Value, json};
use yiwang_policies::rows::{Dialect, RowFilter};
use yiwang_proto::contract::{RowClause, RowOperator, Scalar};

const TEXTS: [&str; 14] =
    ["", "a", "A", "a ", "ab", "á", "ａ", "b", "9801", "98010", "𠮷野", "%", "a'b", "\u{feff}"];

/// Values that stand in columns: texts in one, numbers in the others.
fn rows() -> Vec<(String, i64, String)> {
    let numbers = [0, 1, -1, 5, 9801, i64::MAX];
    let texts = TEXTS.iter().enumerate();
    texts
        .map(|(at, text)| {
            let number = numbers.get(at % numbers.len()).copied().unwrap_or_default();
            ((*text).to_owned(), number, format!("{}.50", at))
        })
        .collect()
}

fn clauses() -> Vec<RowClause> {
    let base = |name: &str, op| RowClause {
        field: field(name),
        op,
        value: None,
        values: Vec::new(),
        from: None,
        to: None,
        param: None,
    };
    let mut all = Vec::new();
    for one in TEXTS {
        if !one.is_empty() {
            all.push(RowClause { value: Some(text(one)), ..base("txt", RowOperator::Prefix) });
        }
        all.push(RowClause { value: Some(text(one)), ..base("txt", RowOperator::Eq) });
        for other in TEXTS {
            let (from, to) = (Some(text(one)), Some(text(other)));
            all.push(RowClause { from, to, ..base("txt", RowOperator::Range) });
        }
    }
    all.push(RowClause {
        values: vec![text("a"), text("ab"), Scalar::Integer(1)],
        ..base("txt", RowOperator::In)
    });
    for number in [0, 1, 5, 9801, i64::MAX] {
        all.push(RowClause { value: Some(Scalar::Integer(number)), ..base("num", RowOperator::Eq) });
        let (from, to) = (Some(Scalar::Integer(-1)), Some(Scalar::Integer(number)));
        all.push(RowClause { from, to, ..base("num", RowOperator::Range) });
        all.push(RowClause { value: Some(Scalar::Integer(number)), ..base("txt", RowOperator::Eq) });
    }
    for number in [0.5, 3.5, 3.25] {
        all.push(RowClause { value: Some(Scalar::Number(number)), ..base("amt", RowOperator::Eq) });
    }
    all
}

fn literal(kind: Kind, scalar: &Scalar) -> String {
    match scalar {
        Scalar::Text(text) => match kind {
            Kind::Postgres => format!("'{}'", text.replace('\'', "''")),
            Kind::Mariadb => format!("'{}'", text.replace('\'', "''")),
        },
        Scalar::Integer(number) => number.to_string(),
        Scalar::Number(number) => number.to_string(),
        Scalar::Bool(truth) => truth.to_string(),
    }
}

/// The condition with its values written in: the administrator's program has no placeholders.
fn filled(kind: Kind, condition: &str, values: &[Scalar]) -> String {
    let mut text = condition.to_owned();
    for (at, value) in values.iter().enumerate().rev() {
        let value = literal(kind, value);
        text = match kind {
            Kind::Postgres => text.replace(&format!("${}", at + 1), &value),
            Kind::Mariadb => {
                let place = text.rfind('?').unwrap();
                format!("{}{value}{}", text.get(..place).unwrap(), text.get(place + 1..).unwrap())
            }
        };
    }
    text
}

pub async fn same(lab: &Lab) {
    let kind = lab.kind;
    lab.people("filters");
    let mut sql = match kind {
        Kind::Postgres => {
            "create table f (id int, txt varchar(40) , num bigint, amt numeric(10, 2));\n".to_owned()
        }
        // A collation that takes one letter for another.
        Kind::Mariadb => {
            "create table f (id int, txt varchar(40) character set utf8mb4 collate utf8mb4_unicode_ci, \
                          num bigint, amt decimal(10, 2));\n"
                .to_owned()
        }
    };
    for (at, (text, number, amount)) in rows().iter().enumerate() {
        let text = text.replace('\'', "''");
        sql.push_str(&format!("insert into f values ({at}, '{text}', {number}, {amount});\n"));
    }
    sql.push_str("insert into f values (99, null, null, null);\n");
    lab.admin("filters", &sql);
    let dialect = match kind {
        Kind::Postgres => Dialect::Postgres { first: 1 },
        Kind::Mariadb => Dialect::Mariadb,
    };
    let mut questions = String::new();
    let mut wanted = Vec::new();
    for clause in clauses() {
        let filter = RowFilter::compile(&[clause], &[].into()).unwrap();
        let (condition, values) = filter.to_sql(dialect, |name| Some(name.to_string())).unwrap();
        let condition = filled(kind, &condition, &values);
        let list = match kind {
            Kind::Postgres => "coalesce(string_agg(id::text, ',' order by id), '')",
            Kind::Mariadb => "coalesce(group_concat(id order by id separator ','), '')",
        };
        questions.push_str(&format!("select concat('=', {list}) from f where {condition};\n"));
        let matching: Vec<String> = rows()
            .iter()
            .enumerate()
            .filter(|(_, (text, number, amount))| {
                let amount: f64 = amount.parse().unwrap();
                let record: Map<String, Value> =
                    [("txt", json!(text)), ("num", json!(number)), ("amt", json!(amount))]
                        .map(|(name, value)| (name.to_owned(), value))
                        .into_iter()
                        .collect();
                filter.matches_json(&record)
            })
            .map(|(at, _)| at.to_string())
            .collect();
        wanted.push((condition, format!("={}", matching.join(","))));
    }
    let answers = lab.admin("filters", &questions);
    let answers: Vec<&str> = answers.lines().collect();
    assert_eq!(answers.len(), wanted.len());
    for (found, (condition, wanted)) in answers.iter().zip(&wanted) {
        assert_eq!(*found, wanted, "{condition}");
    }
    assert!(wanted.len() > 200);
}
