//! What a server's own log says was asked.

use crate::lab::{Kind, Lab};
use crate::{People, ask, field, name_of, quoted, text};
use yiwang_proto::contract::{RowClause, RowOperator};

/// Statements of a test's role, or over its table, that read persons.
fn asked(lab: &Lab, from: usize, name: &str) -> Vec<String> {
    let log = lab.log();
    let log = log.get(from.min(log.len())..).unwrap_or_default().replace("\n", " ");
    let start = match lab.kind {
        Kind::Postgres => format!("{name} LOG:  execute "),
        Kind::Mariadb => "Execute\t".to_owned(),
    };
    log.split(&start).skip(1).map(str::to_owned).filter(|text| text.contains("PERSON")).collect()
}

pub async fn log(lab: &Lab) {
    // A server of its own: MariaDB's log does not say whose a statement is.
    let Some(own) = Lab::own(lab.kind) else { return };
    let lab = &own;
    let people = People::new(lab, "minimal");
    let mapped = people.mapped();
    let before = lab.log().len();
    let found = name_of(&mapped, "P1").await.unwrap();
    assert_eq!(found.rows, 1);
    let clause = RowClause {
        field: field("area_code"),
        op: RowOperator::Prefix,
        value: Some(text("9801")),
        values: Vec::new(),
        from: None,
        to: None,
        param: None,
    };
    let found = ask(&mapped, "person.by_area", "", Some("980199"), &["sex"], &[clause]).await.unwrap();
    assert_eq!(found.rows, 20);
    drop(mapped);
    // A log may be written a moment later.
    let mut statements = Vec::new();
    for _ in 0..50 {
        statements = asked(lab, before, "minimal");
        if statements.len() >= 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let column = |name: &str| quoted(lab.kind, name);
    assert_eq!(statements.len(), 2, "{statements:#?}");
    let selects = |statement: &str, columns: &[&str]| {
        let list = columns.iter().map(|name| column(name)).collect::<Vec<_>>().join(", ");
        assert!(statement.contains(&format!("select {list} from (")), "{statement}");
    };
    // What is granted, and the time of the row.
    selects(statements.first().unwrap(), &["NM", "UPD"]);
    // What is granted, what the contract's rows compare, and the time of the row.
    selects(statements.get(1).unwrap(), &["AREA", "SEX", "UPD"]);
    let filter = match lab.kind {
        Kind::Postgres => "starts_with((\"AREA\")::text, $2)",
        Kind::Mariadb => "cast(convert(`AREA` using utf8mb4) as binary) >= '9801'",
    };
    assert!(statements.get(1).unwrap().contains(filter), "{statements:#?}");
    match lab.kind {
        // The values came apart from the text.
        Kind::Postgres => assert!(statements.first().unwrap().contains("\"ID\" = $1")),
        // The log of MariaDB shows what was bound in its place.
        Kind::Mariadb => assert!(lab.log().contains("Prepare\tselect `NM`, `UPD` from (")),
    }
}
