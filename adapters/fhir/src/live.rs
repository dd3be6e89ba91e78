//! What `check` says of a FHIR server.

use crate::capability::Capability;
use std::sync::Arc;
use yiwang_adapter_sdk::check::{Finding, Severity};
use yiwang_adapter_sdk::mapping::{Access, OperationDef};
use yiwang_adapter_sdk::source::SourceError;

/// What the settings say of themselves.
pub(crate) fn settings(is_tls: bool) -> Vec<Finding> {
    let mut findings = vec![Finding::new(
        Severity::Note,
        "A-FHIR-010",
        "only searches are sent, in the body and with the elements of granted fields; whether the server lets \
         the credentials change anything is for its owner to say",
    )];
    if !is_tls {
        findings.push(
            Finding::new(
                Severity::Warning,
                "A-FHIR-003",
                "the server, or what gives its tokens, is called without TLS",
            )
            .help("have a certificate put before it: records and credentials can be read on the way"),
        );
    }
    findings
}

/// What the server declares, held against the operations.
pub(crate) fn declared(known: &Capability, operations: &[Arc<OperationDef>], findings: &mut Vec<Finding>) {
    if let Some(what) = known.unfit() {
        findings.push(Finding::new(Severity::Error, "A-FHIR-002", what));
        return;
    }
    let mut fit = 0;
    for operation in operations {
        let Access::Search(search) = &operation.access else { continue };
        match known.lacks(search) {
            None => fit += 1,
            Some(what) => findings.push(
                Finding::new(Severity::Error, "A-FHIR-004", format!("operation {}: {what}", operation.name))
                    .at(operation.span.clone())
                    .help("a server may leave out what it does not know, and find everybody"),
            ),
        }
    }
    let message = format!("FHIR {}; {fit} of {} searches are declared", known.version(), operations.len());
    findings.push(Finding::new(Severity::Note, "A-FHIR-005", message));
}

/// The server was not reached.
pub(crate) fn failed(error: &SourceError) -> Finding {
    Finding::new(Severity::Error, "A-FHIR-001", error.to_string())
        .help("check the address, the credentials and the authority that its certificate is from")
}
