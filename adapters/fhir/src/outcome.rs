//! What a server says of a failure (OperationOutcome), in our words: the codes of FHIR's closed list only,
//! since its texts may repeat what was asked.

use http::StatusCode;
use serde_json::Value;
use yiwang_adapter_sdk::source::SourceError;

/// FHIR's issue types (R4, code system issue-type).
const TYPES: [&str; 31] = [
    "invalid",
    "structure",
    "required",
    "value",
    "invariant",
    "security",
    "login",
    "unknown",
    "expired",
    "forbidden",
    "suppressed",
    "processing",
    "not-supported",
    "duplicate",
    "multiple-matches",
    "not-found",
    "deleted",
    "too-long",
    "code-invalid",
    "extension",
    "too-costly",
    "business-rule",
    "conflict",
    "transient",
    "lock-error",
    "no-store",
    "exception",
    "timeout",
    "incomplete",
    "throttled",
    "informational",
];

/// The worst issue of an outcome: whether it is more than information, and its type.
pub(crate) fn worst(outcome: &Value) -> Option<&'static str> {
    let issues = outcome.get("issue")?.as_array()?;
    ["fatal", "error", "warning"].into_iter().find_map(|severity| {
        let issue = issues.iter().find(|issue| text(issue, "severity") == severity)?;
        let code = text(issue, "code");
        Some(TYPES.into_iter().find(|known| *known == code).unwrap_or("of no known type"))
    })
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The error of a refusal.
pub(crate) fn refusal(status: StatusCode, json: Option<&Value>) -> SourceError {
    let kind = json.filter(|json| text(json, "resourceType") == "OperationOutcome").and_then(worst);
    let number = status.as_u16();
    match kind {
        None if status == StatusCode::NOT_FOUND => {
            SourceError::Drift(format!("the server does not know the type of resource (status {number})"))
        }
        None => SourceError::Query(format!("the server refuses the search (status {number})")),
        Some(kind) => of_type(kind, &format!("status {number}, issue {kind}")),
    }
}

/// The error of an issue.
pub(crate) fn of_type(kind: &str, shown: &str) -> SourceError {
    match kind {
        "throttled" => SourceError::Throttled,
        "security" | "login" | "expired" | "forbidden" | "suppressed" => {
            SourceError::Unavailable(format!("the server refuses the adapter's credentials ({shown})"))
        }
        "transient" | "lock-error" | "no-store" | "exception" | "timeout" | "incomplete" => {
            SourceError::Unavailable(format!("the server fails ({shown})"))
        }
        "not-supported" | "not-found" => {
            SourceError::Drift(format!("the server does not know the search ({shown})"))
        }
        _ => SourceError::Query(format!("the server refuses the search ({shown})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_known_types_of_issues_are_told() {
        let outcome = |severity: &str, code: &str| {
            json!({ "resourceType": "OperationOutcome", "issue": [
                { "severity": "information", "code": "informational" },
                { "severity": severity, "code": code, "diagnostics": "hunter2", "details": { "text": "hunter2" } },
            ]})
        };
        let told = |status: StatusCode, json: &Value| refusal(status, Some(json));
        let bad = StatusCode::BAD_REQUEST;
        assert_eq!(told(bad, &outcome("error", "throttled")), SourceError::Throttled);
        assert!(matches!(told(bad, &outcome("error", "not-supported")), SourceError::Drift(_)));
        assert!(matches!(told(bad, &outcome("fatal", "exception")), SourceError::Unavailable(_)));
        assert!(matches!(told(bad, &outcome("error", "forbidden")), SourceError::Unavailable(_)));
        assert!(matches!(told(bad, &outcome("error", "invalid")), SourceError::Query(_)));
        for kind in ["hunter2", "invalid", "throttled", "too-costly"] {
            let error = told(bad, &outcome("error", kind));
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        assert_eq!(worst(&outcome("information", "informational")), None);
        assert_eq!(worst(&json!({ "issue": "hunter2" })), None);
        let other = json!({ "resourceType": "Patient" });
        assert!(matches!(told(StatusCode::NOT_FOUND, &other), SourceError::Drift(_)));
    }
}
