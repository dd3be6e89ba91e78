//! What `check` says of an API.

use crate::client::Client;
use crate::openapi::Document;
use yiwang_adapter_sdk::check::{Finding, Severity};
use yiwang_adapter_sdk::mapping::{Access, AuthDef, HttpDef, OperationDef};
use yiwang_adapter_sdk::source::SourceError;

/// What the settings say of themselves.
pub(crate) fn settings(def: &HttpDef, client: &Client) -> Vec<Finding> {
    let mut findings = vec![Finding::new(
        Severity::Note,
        "A-HTTP-010",
        "only the mapping's own calls are made, GET and POST; whether the API lets its credentials change \
         anything is for its owner to say",
    )];
    if !client.is_tls() {
        findings.push(
            Finding::new(
                Severity::Warning,
                "A-HTTP-003",
                "the API, or what gives its tokens, is called without TLS",
            )
            .help("have a certificate put before it: records and credentials can be read on the way"),
        );
    }
    let freshness = def.common.freshness.as_ref().and_then(|known| known.probe.as_ref());
    let asked = def.common.health.probe.as_ref().or(freshness);
    if matches!(def.service.auth, AuthDef::Header { .. }) && asked.is_none() {
        findings.push(
            Finding::new(
                Severity::Warning,
                "A-HTTP-007",
                "the credential is not tried: without a path to probe it is first shown with a real question",
            )
            .help("name a path that the API gives to nobody without it: health = { probe = \"/path\" }"),
        );
    }
    if def.openapi.is_none() {
        let message = "no OpenAPI document is named, so that paths and types are not compared";
        findings.push(Finding::new(Severity::Note, "A-HTTP-005", message));
    }
    findings
}

/// What is wrong with one operation.
pub(crate) fn operation(operation: &OperationDef, document: Option<&Document>, findings: &mut Vec<Finding>) {
    let Access::Call(call) = &operation.access else { return };
    for name in call.in_address() {
        let subject =
            if operation.subject.as_ref() == Some(name) { "the subject's identifier, " } else { "" };
        let message = format!(
            "operation {}: {subject}parameter `{name}`, stands in the address, which access logs and proxies keep",
            operation.name
        );
        findings.push(
            Finding::new(Severity::Warning, "A-HTTP-002", message)
                .at(operation.span.clone())
                .help("ask the API's owner for a call that takes it in the body"),
        );
    }
    let Some(document) = document else { return };
    let faults = document.compare(operation, call);
    if faults.is_empty() {
        let message =
            format!("operation {}: path, parameters and types are the OpenAPI document's", operation.name);
        findings.push(Finding::new(Severity::Note, "A-HTTP-006", message));
    }
    for fault in faults {
        let message = format!("operation {}: {fault}", operation.name);
        findings.push(
            Finding::new(Severity::Error, "A-HTTP-004", message)
                .at(operation.span.clone())
                .help("compare the mapping with the API's document, or have the document mended"),
        );
    }
}

/// The API was not reached.
pub(crate) fn failed(error: &SourceError) -> Finding {
    Finding::new(Severity::Error, "A-HTTP-001", error.to_string())
        .help("check the address, the proxy, the credentials and the authority that its certificate is from")
}
