use super::*;
use crate::keys::SecretKey;

fn keys() -> (SecretKey, SecretKey) {
    (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]))
}

fn draft() -> serde_json::Value {
    let (provider, consumer) = keys();
    serde_json::json!({
        "format": FORMAT, "id": "police-street-person", "version": 1,
        "provider": {"member": "police", "root": provider.public(), "approver": "o-aaaaaaaaaaaaaaaa"},
        "consumer": {"member": "street-office", "root": consumer.public(), "approver": "o-bbbbbbbbbbbbbbbb"},
        "legal_basis": "Interim Measures for Social Assistance, art. 58",
        "scenario": "check who lives in a household that applies for assistance",
        "purpose": "social-assistance.eligibility", "matters": ["social-assistance"],
        "method": "query", "record": "Person", "operations": ["person.by_id"],
        "fields": ["birth_date", "name"], "rows": [{"field": "area_code", "op": "prefix", "value": "980101"}],
        "apps": ["assistance-desk"],
        "valid_from": "2026-01-01T00:00:00Z", "valid_until": "2027-01-01T00:00:00Z",
        "limits": {"rows": 1, "per_app_per_minute": 600, "per_officer_per_day": 100, "deadline_ms": 2000},
        "retention_days": 30, "disposal_days": 10, "onward_sharing": "none", "class": 2, "notice": "immediate"
    })
}

fn sign(value: &serde_json::Value, keys: &[&SecretKey]) -> SignedDocument {
    SignedDocument::sign(payload_type::CONTRACT, value.to_string().as_bytes(), keys)
}

#[test]
fn both_signatures_are_needed() {
    let (provider, consumer) = keys();
    let both = sign(&draft(), &[&provider, &consumer]);
    let contract = Contract::open(&both).unwrap();
    assert_eq!(contract.text.id.as_str(), "police-street-person");
    for one in [&provider, &consumer] {
        assert!(matches!(Contract::open(&sign(&draft(), &[one])), Err(ContractError::NotSigned { .. })));
        assert!(matches!(Contract::open(&sign(&draft(), &[one, one])), Err(ContractError::NotSigned { .. })));
    }
}

#[test]
fn a_contract_changed_after_signing_is_refused() {
    let (provider, consumer) = keys();
    let both = sign(&draft(), &[&provider, &consumer]);
    let json = String::from_utf8(both.bytes().to_vec()).unwrap();
    let mut changed: serde_json::Value = serde_json::from_str(&json).unwrap();
    let mut other = draft();
    other["fields"] = serde_json::json!(["birth_date", "id_number", "name"]);
    changed["payload"] = crate::document::base64_of(other.to_string().as_bytes()).into();
    assert!(Contract::open_bytes(changed.to_string().into()).is_err());
}

#[test]
fn all_faults_are_told_at_once() {
    let mut bad = draft();
    bad["version"] = 0.into();
    bad["limits"]["rows"] = 0.into();
    bad["class"] = 3.into();
    bad["rows"] = serde_json::json!([{"field": "area_code", "op": "in", "value": "x"}]);
    bad["valid_until"] = "2025-01-01T00:00:00Z".into();
    let faults = ContractText::parse(bad.to_string().as_bytes()).unwrap().faults();
    assert_eq!(faults.len(), 5, "{faults:?}");
}

#[test]
fn unknown_keys_and_duplicates_are_refused() {
    let mut bad = draft();
    bad["wildcard"] = true.into();
    assert!(matches!(ContractText::parse(bad.to_string().as_bytes()), Err(ContractError::Text(_))));
    let mut bad = draft();
    bad["fields"] = serde_json::json!(["name", "name"]);
    assert!(!ContractText::parse(bad.to_string().as_bytes()).unwrap().faults().is_empty());
    let twice = draft().to_string().replacen("\"version\":1", "\"version\":1,\"version\":2", 1);
    assert!(ContractText::parse(twice.as_bytes()).is_err(), "a key that stands twice");
}
