//! Layer 2: every name that a mapping reads by, held against the lint for what is not built. Not only what the catalogue
//! sees counts: a list of persons stays one, whatever the record calls its fields.

use super::{Finding, Severity};
use crate::mapping::{
    Access, CallDef, Mapping, OperationDef, Piece, SourceDef, Template, WhereValue, names_in,
};
use std::collections::BTreeSet;
use std::ops::Range;
use yiwang_policies::lint_name;
use yiwang_proto::contract::Scalar;

/// Judges names of one mapping; each once at each place.
struct Judge<'f> {
    findings: &'f mut Vec<Finding>,
    seen: BTreeSet<(String, usize)>,
}

impl Judge<'_> {
    fn name(&mut self, name: &str, what: &str, span: &Range<usize>) {
        self.judged(name, &format!("{what} `{name}`"), span);
    }

    /// A value, which is not shown: it may be somebody's.
    fn value(&mut self, value: &str, what: &str, span: &Range<usize>) {
        self.judged(value, what, span);
    }

    fn scalar(&mut self, value: &Scalar, what: &str, span: &Range<usize>) {
        if let Scalar::Text(text) = value {
            self.value(text, what, span);
        }
    }

    fn judged(&mut self, name: &str, what: &str, span: &Range<usize>) {
        let Some(refusal) = lint_name(name) else { return };
        if self.seen.insert((name.to_owned(), span.start)) {
            let message = format!("{what}: {refusal}");
            self.findings.push(Finding::new(Severity::Error, "A-MAP-002", message).at(span.clone()));
        }
    }

    fn statement(&mut self, sql: &str, span: &Range<usize>) {
        let (names, texts) = names_in(sql);
        for name in names {
            self.name(name, "in the statement", span);
        }
        for text in texts {
            self.value(text, "a text in the statement", span);
        }
    }

    /// An address or a pointer: each of its parts, for together they are no name.
    fn path(&mut self, path: &str, what: &str, span: &Range<usize>) {
        for part in path.split(['/', '#', '?', '=', '&']).filter(|part| !part.is_empty()) {
            self.name(part, what, span);
        }
    }

    fn piece(&mut self, piece: &Piece, what: &str, span: &Range<usize>) {
        if let Piece::Constant(value) = piece {
            self.scalar(value, what, span);
        }
    }

    fn template(&mut self, template: &Template, span: &Range<usize>) {
        match template {
            Template::Piece(piece) => self.piece(piece, "a value in the body", span),
            Template::List(list) => list.iter().for_each(|item| self.template(item, span)),
            Template::Object(members) => {
                for (key, value) in members {
                    self.name(key, "in the body", span);
                    self.template(value, span);
                }
            }
        }
    }

    fn call(&mut self, call: &CallDef, span: &Range<usize>) {
        self.path(&call.shown_path(), "in the path", span);
        for (key, piece) in &call.query {
            self.name(key, "in the query", span);
            self.piece(piece, "a value in the query", span);
        }
        if let Some(body) = &call.body {
            self.template(body, span);
        }
        self.path(&call.rows, "in `rows`", span);
    }

    fn access(&mut self, access: &Access, span: &Range<usize>) {
        match access {
            Access::Sql(sql) => self.statement(sql, span),
            Access::Where(conditions) => {
                for condition in conditions {
                    self.name(&condition.column, "in `where`", span);
                    if let WhereValue::Constant(value) = &condition.value {
                        self.scalar(value, "a value in `where`", span);
                    }
                }
            }
            Access::Call(call) => self.call(call, span),
            Access::Search(search) => {
                self.name(&search.resource, "resource", span);
                for (name, pieces) in &search.search {
                    self.name(name, "in the search", span);
                    pieces.iter().for_each(|piece| self.piece(piece, "a value in the search", span));
                }
            }
        }
    }

    fn operation(&mut self, operation: &OperationDef) {
        self.name(operation.name.as_str(), "operation", &operation.span);
        for order in &operation.order {
            self.name(&order.column, "in `order`", &operation.span);
        }
        for field in operation.fields.iter().chain(operation.as_of.as_ref()) {
            self.name(field.name.as_str(), "field", &field.span);
            for column in field.columns() {
                self.name(&column, "column", &field.span);
            }
        }
        for param in &operation.params {
            self.name(param.name.as_str(), "parameter", &operation.span);
        }
        if let Some(page) = &operation.page {
            self.name(&page.key, "key", &operation.span);
        }
        let values = operation.count.iter().flat_map(|count| &count.values).flatten().flatten();
        for value in values {
            self.name(value, "value", &operation.span);
        }
        self.access(&operation.access, &operation.span);
    }
}

/// Everything of a mapping that has a name.
pub(super) fn judge(mapping: &Mapping, findings: &mut Vec<Finding>) {
    let mut judge = Judge { findings, seen: BTreeSet::new() };
    judge.name(mapping.name(), "mapping", &mapping.name_span());
    judge.name(mapping.record().as_str(), "record", &mapping.record_span());
    let common = mapping.source().common();
    let probes = [common.health.probe.as_ref(), common.freshness.as_ref().and_then(|one| one.probe.as_ref())];
    for probe in probes.into_iter().flatten() {
        match mapping.source() {
            SourceDef::Http(_) | SourceDef::Fhir(_) => judge.path(probe, "in a probe", &common.span),
            _ => judge.statement(probe, &common.span),
        }
    }
    if let SourceDef::Csv(csv) = mapping.source()
        && let Some(key) = &csv.key
    {
        judge.name(key, "key", &common.span);
    }
    for operation in mapping.operations() {
        judge.operation(operation);
    }
    for table in mapping.codes().values() {
        judge.name(&table.name, "code table", &table.span);
        for (code, word) in &table.words {
            judge.name(word, "code", &table.span);
            judge.name(code, "code of the source", &table.span);
        }
    }
}
