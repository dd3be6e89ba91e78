//! What a server declares of itself (CapabilityStatement).

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use yiwang_adapter_sdk::mapping::{SearchDef, search_name};
use yiwang_adapter_sdk::source::SourceError;

/// What counts of a server's declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Capability {
    version: String,
    types: BTreeMap<String, Type>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Type {
    searchable: bool,
    params: BTreeSet<String>,
}

fn names<'v>(value: &'v Value, list: &str, name: &str) -> impl Iterator<Item = &'v str> {
    let list = value.get(list).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let name = name.to_owned();
    list.iter().filter_map(move |item| item.get(&name)?.as_str())
}

impl Capability {
    pub(crate) fn parse(statement: &Value) -> Result<Self, SourceError> {
        if statement.get("resourceType").and_then(Value::as_str) != Some("CapabilityStatement") {
            return Err(SourceError::Drift("its metadata is no CapabilityStatement".to_owned()));
        }
        let version = statement.get("fhirVersion").and_then(Value::as_str).unwrap_or_default();
        let mut types: BTreeMap<String, Type> = BTreeMap::new();
        let sides = statement.get("rest").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for side in sides.iter().filter(|side| side.get("mode").and_then(Value::as_str) == Some("server")) {
            let everywhere: BTreeSet<String> =
                names(side, "searchParam", "name").map(str::to_owned).collect();
            let list = side.get("resource").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            for declared in list {
                let Some(name) = declared.get("type").and_then(Value::as_str) else { continue };
                let known = types.entry(name.to_owned()).or_default();
                known.searchable |= names(declared, "interaction", "code").any(|code| code == "search-type");
                known.params.extend(names(declared, "searchParam", "name").map(str::to_owned));
                known.params.extend(everywhere.iter().cloned());
            }
        }
        Ok(Self { version: version.chars().filter(|c| c.is_ascii_graphic()).take(16).collect(), types })
    }

    /// The version of FHIR that the server speaks.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Types that can be searched, each with its search parameters.
    pub(crate) fn searchable(&self) -> BTreeMap<String, BTreeSet<String>> {
        let types = self.types.iter().filter(|(_, declared)| declared.searchable);
        types.map(|(name, declared)| (name.clone(), declared.params.clone())).collect()
    }

    /// Why the server cannot be asked at all.
    pub(crate) fn unfit(&self) -> Option<String> {
        let fits = self.version == "4.0" || self.version.starts_with("4.0.");
        (!fits).then(|| format!("it speaks FHIR `{}`, and this source R4 (4.0)", self.version))
    }

    /// Why it cannot be asked this.
    pub(crate) fn lacks(&self, search: &SearchDef) -> Option<String> {
        let Some(known) = self.types.get(&search.resource) else {
            return Some(format!("it does not declare the type `{}`", search.resource));
        };
        if !known.searchable {
            return Some(format!("it does not declare a search on `{}`", search.resource));
        }
        // What begins with `_` says how to answer, and servers seldom declare it.
        let missing = search.search.iter().map(|(name, _)| search_name(name));
        let missing =
            missing.filter(|name| !name.starts_with('_')).find(|name| !known.params.contains(*name));
        missing
            .map(|name| format!("it does not declare the search parameter `{name}` of `{}`", search.resource))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_server_does_not_declare_is_not_asked_of_it() {
        let statement = |version: &str| {
            json!({ "resourceType": "CapabilityStatement", "fhirVersion": version, "rest": [
                { "mode": "client", "resource": [{ "type": "Device", "interaction": [{ "code": "search-type" }] }] },
                { "mode": "server", "resource": [
                    { "type": "Condition", "interaction": [{ "code": "read" }, { "code": "search-type" }],
                      "searchParam": [{ "name": "patient" }, { "name": "recorded-date" }] },
                    { "type": "Patient", "interaction": [{ "code": "read" }], "searchParam": [{ "name": "name" }] },
                ]},
            ]})
        };
        let search = |resource: &str, names: &[&str]| SearchDef {
            resource: resource.to_owned(),
            search: names.iter().map(|name| ((*name).to_owned(), Vec::new())).collect(),
            count: None,
        };
        let known = Capability::parse(&statement("4.0.1")).unwrap();
        assert_eq!(known.unfit(), None);
        assert_eq!(
            known.lacks(&search("Condition", &["patient.identifier", "recorded-date", "_sort"])),
            None
        );
        assert_eq!(known.lacks(&search("Condition", &["patient:exact"])), None);
        assert!(known.lacks(&search("Condition", &["code"])).is_some());
        assert!(known.lacks(&search("Patient", &["name"])).is_some());
        assert!(known.lacks(&search("Device", &[])).is_some());
        for other in ["4.3.0", "3.0.2", "5.0.0", "4.01", ""] {
            assert!(Capability::parse(&statement(other)).unwrap().unfit().is_some(), "{other}");
        }
        assert!(Capability::parse(&json!({ "resourceType": "Bundle" })).is_err());
    }
}
