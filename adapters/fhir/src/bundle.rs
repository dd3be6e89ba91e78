//! One page of a search's answer.

use crate::outcome;
use serde_json::Value;
use yiwang_adapter_sdk::source::SourceError;

/// One page.
pub(crate) struct Page<'b> {
    /// Resources that the search found.
    pub(crate) found: Vec<&'b Value>,
    /// The address of the next page.
    pub(crate) next: Option<&'b str>,
}

fn drift(what: &str) -> SourceError {
    SourceError::Drift(format!("the server's answer {what}"))
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Reads a page. Resources that were only included are left out. A server that says of its search that it
/// is not what was asked (an outcome worse than information) gives no answer at all.
pub(crate) fn page<'b>(bundle: &'b Value, resource: &str) -> Result<Page<'b>, SourceError> {
    if text(bundle, "/resourceType") != "Bundle" || text(bundle, "/type") != "searchset" {
        return Err(drift("is no searchset"));
    }
    let mut found = Vec::new();
    let entries = match bundle.get("entry") {
        None | Some(Value::Null) => &[],
        Some(Value::Array(entries)) => entries.as_slice(),
        Some(_) => return Err(drift("holds no list of entries")),
    };
    for entry in entries {
        let Some(inner) = entry.get("resource") else { return Err(drift("holds an entry without resource")) };
        let kind = text(inner, "/resourceType");
        match (text(entry, "/search/mode"), kind) {
            ("outcome", _) | (_, "OperationOutcome") => {
                if let Some(kind) = outcome::worst(inner) {
                    return Err(outcome::of_type(kind, &format!("beside its answer, issue {kind}")));
                }
            }
            ("include", _) => {}
            (_, kind) if kind == resource => found.push(inner),
            _ => return Err(drift("holds a resource of another type")),
        }
    }
    let links = bundle.get("link").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let next = links.iter().find(|link| text(link, "/relation") == "next");
    let next = match next.map(|link| link.get("url").and_then(Value::as_str)) {
        None => None,
        Some(Some(url)) => Some(url),
        Some(None) => return Err(drift("has a next page without address")),
    };
    Ok(Page { found, next })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pages_hold_what_was_asked_for_and_nothing_else() {
        let bundle = |entry: Value| json!({ "resourceType": "Bundle", "type": "searchset", "entry": entry });
        let condition = json!({ "resourceType": "Condition", "id": "1" });
        let patient = json!({ "resourceType": "Patient", "id": "2" });
        let outcome = |severity: &str| {
            json!({ "resourceType": "OperationOutcome",
                "issue": [{ "severity": severity, "code": "not-supported" }] })
        };
        let count = |entry: Value| page(&bundle(entry), "Condition").map(|page| page.found.len()).ok();
        assert_eq!(count(Value::Null), Some(0));
        assert_eq!(count(json!([{ "resource": condition }, { "resource": condition }])), Some(2));
        let included = json!([{ "resource": condition, "search": { "mode": "match" } },
            { "resource": patient, "search": { "mode": "include" } }]);
        assert_eq!(count(included), Some(1));
        assert_eq!(count(json!([{ "resource": patient }])), None);
        assert_eq!(count(json!([{ "fullUrl": "x" }])), None);
        assert_eq!(count(json!("x")), None);
        let beside = |severity: &str| {
            json!([{ "resource": condition },
                { "resource": outcome(severity), "search": { "mode": "outcome" } }])
        };
        assert_eq!(count(beside("information")), Some(1));
        // The server left a parameter out: what it found is not what was asked.
        assert_eq!(count(beside("warning")), None);
        let history = json!({ "resourceType": "Bundle", "type": "history" });
        assert!(page(&history, "Condition").is_err());
        let odd = json!({ "resourceType": "Bundle", "type": "searchset", "link": [{ "relation": "next" }] });
        assert!(page(&odd, "Condition").is_err());
    }
}
