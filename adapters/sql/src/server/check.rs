//! The live check of a server, and what a freshness probe gave.

use super::{Link, MAY_NOT_READ, Server, Trouble, without_rows, wrap};
use crate::findings::{
    about, compare_columns, failed, may_not_read, no_plan, not_prepared, reads_in_full, unfit_key,
};
use crate::types::compare_types;
use std::sync::Arc;
use yiwang_adapter_sdk::check::{Finding, Severity};
use yiwang_adapter_sdk::mapping::{OperationDef, OperationKind, ParamType, SourceCommon};
use yiwang_adapter_sdk::source::SourceError;
use yiwang_adapter_sdk::value::{Cell, Rows, parse_instant};

/// The moment that a freshness probe gave.
pub(super) fn newest(rows: &Rows, common: &SourceCommon) -> Result<Option<i64>, SourceError> {
    let no_time = || SourceError::Drift("freshness probe: its value is not a time".to_owned());
    match rows.cell(0, 0) {
        Cell::Null => Ok(None),
        Cell::Instant(at) => Ok(Some(at.as_millisecond())),
        Cell::Text(text) => {
            let at = parse_instant(text, None, &common.zone).ok_or_else(no_time)?;
            Ok(Some(at.as_millisecond()))
        }
        _ => Err(no_time()),
    }
}

/// Looks at a server over a connection of its own, so that a role that can write is told of, and not only
/// refused.
pub(super) async fn check<S: Server>(server: &S, operations: &[Arc<OperationDef>]) -> Vec<Finding> {
    let mut link = match server.connect().await {
        Ok(link) => link,
        Err(error) => return vec![failed(&error)],
    };
    let mut findings = match link.rights().await {
        Ok(rights) => rights.findings(),
        Err(error) => return vec![failed(&error)],
    };
    for operation in operations {
        check_operation::<S>(&mut link, operation, &mut findings).await;
    }
    findings
}

async fn check_operation<S: Server>(
    link: &mut S::Link,
    operation: &OperationDef,
    findings: &mut Vec<Finding>,
) {
    let all: &[&str] = &[];
    let wrapped = match wrap::<S>(operation, all, None) {
        Ok(wrapped) => wrapped,
        Err(error) => return findings.push(not_prepared(operation, &error.to_string())),
    };
    let kinds: Vec<ParamType> = wrapped
        .named
        .iter()
        .filter_map(|name| operation.params.iter().find(|param| param.name.as_str() == name.as_str()))
        .map(|param| param.kind)
        .collect();
    let described = match link.describe(&wrapped, &kinds).await {
        Ok(described) => described,
        Err(trouble) => {
            let what = match SourceError::from(trouble) {
                SourceError::Drift(what) => what,
                other => other.to_string(),
            };
            return findings.push(not_prepared(operation, &what));
        }
    };
    compare_columns(operation, &described.names, findings);
    compare_types(operation, &described.types, findings);
    let declared = operation.columns();
    for (column, kind) in described.opaque {
        if declared.iter().any(|known| known.as_ref() == column.as_str()) {
            let message = format!("column `{column}` is of type {kind}, which no field can take");
            findings.push(
                about(operation, Severity::Error, "A-SQL-016", &message)
                    .help(format!("cast it in the statement, like cast({column} as varchar(40))")),
            );
        }
    }
    for (name, what) in described.unfit {
        let message = format!("parameter :{name} {what}");
        findings.push(
            about(operation, Severity::Error, "A-SQL-017", &message)
                .help("give the parameter the column's type: else no index is used, or nothing is found"),
        );
    }
    if operation.page.is_some() {
        let unfit = match without_rows(&S::Dialect::default(), operation) {
            Ok((none, values)) => link.unfit_key(&none, values).await.map_err(SourceError::from),
            Err(error) => Err(error),
        };
        match unfit {
            Ok(None) => {}
            Ok(Some(what)) => findings.push(unfit_key(operation, &what)),
            Err(error) => findings.push(not_prepared(operation, &error.to_string())),
        }
    }
    if operation.kind == OperationKind::Lookup {
        plan::<S>(link, operation, &kinds, findings).await;
    }
}

async fn plan<S: Server>(
    link: &mut S::Link,
    operation: &OperationDef,
    kinds: &[ParamType],
    findings: &mut Vec<Finding>,
) {
    let columns: Vec<_> = operation.columns().into_iter().collect();
    let Ok(wrapped) = wrap::<S>(operation, &columns, None) else { return };
    match link.scans(&wrapped, kinds).await {
        Ok(Some(tables)) => {
            findings.extend(tables.iter().map(|table| reads_in_full(operation, table)));
        }
        Err(Trouble::Kept(error)) if error.to_string().contains(MAY_NOT_READ) => {
            findings.push(may_not_read(operation));
        }
        // MariaDB shows no plan of a view to a role that may read the view alone.
        Ok(None) | Err(_) => findings.push(no_plan(operation)),
    }
}
