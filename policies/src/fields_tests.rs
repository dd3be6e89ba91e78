use super::*;
use crate::testing::{contract_json, text};

fn faults(change: impl FnOnce(&mut serde_json::Value)) -> Vec<String> {
    let catalogue = Catalogue::builtin().unwrap();
    let mut json = contract_json();
    change(&mut json);
    check_contract(&text(&json), &catalogue, None).iter().map(Fault::to_string).collect()
}

fn only(faults: Vec<String>, said: &str) {
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains(said), "{faults:?} lacks `{said}`");
}

#[test]
fn a_sound_contract_has_no_faults() {
    assert_eq!(faults(|_| {}), Vec::<String>::new());
}

#[test]
fn each_fault_is_found_and_says_what_to_do() {
    only(faults(|json| json["record"] = "BenefitStatu".into()), "did you mean `BenefitStatus`");
    only(faults(|json| json["record"] = "Telescope".into()), "choose a record type");
    only(
        faults(|json| json["purpose"] = "social-assistance.eligibilty".into()),
        "did you mean `social-assistance.eligibility`",
    );
    only(
        faults(|json| json["matters"] = serde_json::json!(["social-assistance", "gossip"])),
        "`gossip` is not in the closed list",
    );
    only(faults(|json| json["class"] = 2.into()), "highest class of the granted fields is 3");
    only(faults(|json| json["method"] = "batch".into()), "is not handed over in batches");
    only(faults(|json| json["method"] = "count".into()), "a count has no row filter");
    let count = |fields: &[&str]| {
        let fields = serde_json::json!(fields);
        faults(|json| {
            json["method"] = "count".into();
            json["rows"] = serde_json::json!([]);
            json["class"] = 3.into();
            json["fields"] = fields;
        })
    };
    assert!(count(&["amount_band", "scheme"]).is_empty());
    only(
        count(&["amount_band", "area_code", "from", "household", "scheme", "status", "to"]),
        "at most 6 dimensions",
    );
    only(faults(|json| json["break_glass"] = true.into()), "emergency access");
    only(
        faults(|json| json["fields"] = serde_json::json!(["amount_band", "shceme"])),
        "record `BenefitStatus` has no field `shceme`; did you mean `scheme`",
    );
    only(faults(|json| json["id"] = "police-face-search".into()), "rule N1");
    only(faults(|json| json["operations"] = serde_json::json!(["person.search"])), "rule N5");
}

#[test]
fn rows_hold_no_personal_constants_and_fit_the_fields() {
    let rows = |rows: serde_json::Value| faults(|json| json["rows"] = rows);
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    only(rows(json(r#"[{"field": "household", "op": "eq", "value": "H1"}]"#)), "would stand in the ledger");
    only(rows(json(r#"[{"field": "scheme", "op": "in", "values": ["a", "b"]}]"#)), "class 2");
    only(
        rows(json(r#"[{"field": "from", "op": "range", "from": "2026-01-01", "to": "2026-12-31"}]"#)),
        "use `param`",
    );
    assert!(rows(json(r#"[{"field": "household", "op": "eq", "param": "household"}]"#)).is_empty());
    only(rows(json(r#"[{"field": "area", "op": "eq", "param": "area"}]"#)), "has no field `area`");
    only(rows(json(r#"[{"field": "area_code", "op": "eq", "value": 980101}]"#)), "which is code");
    only(
        rows(json(r#"[{"field": "area_code", "op": "in", "values": ["980101", "key_person"]}]"#)),
        "rule N3",
    );
    only(rows(json(r#"[{"field": "area_code", "op": "prefix", "value": ""}]"#)), "restricts nothing");
    only(
        rows(json(r#"[{"field": "race", "op": "eq", "param": "race"}]"#).clone())
            .into_iter()
            .filter(|f| f.contains("N7"))
            .collect(),
        "rule N7",
    );
}

#[test]
fn a_prefix_needs_a_text_and_a_range_no_bool() {
    let incident = |rows: &str| {
        faults(|json| {
            json["record"] = "Incident".into();
            json["class"] = 1.into();
            json["fields"] = serde_json::json!(["incident_id", "type"]);
            json["rows"] = serde_json::from_str(rows).unwrap();
        })
    };
    assert!(incident(r#"[{"field": "township", "op": "eq", "value": "NEW HANOVER"}]"#).is_empty());
    assert!(incident(r#"[{"field": "opened_at", "op": "prefix", "param": "day"}]"#).is_empty());
    assert!(incident(r#"[{"field": "priority", "op": "range", "from": 1, "to": 3}]"#).is_empty());
    only(incident(r#"[{"field": "priority", "op": "prefix", "param": "p"}]"#), "prefix needs a text");
    only(incident(r#"[{"field": "priority", "op": "range", "from": 1.5, "to": 3.5}]"#), "which is integer");
    let lift = faults(|json| {
        json["record"] = "Dwelling".into();
        json["class"] = 1.into();
        json["fields"] = serde_json::json!(["use"]);
        json["rows"] =
            serde_json::from_str(r#"[{"field": "lift", "op": "range", "from": false, "to": true}]"#).unwrap();
    });
    only(lift, "a range of true and false");
}

#[test]
fn all_faults_come_at_once() {
    let all = faults(|json| {
        json["purpose"] = "gossip.daily".into();
        json["matters"] = serde_json::json!(["gossip"]);
        json["fields"] = serde_json::json!(["status", "risk_score"]);
        json["method"] = "batch".into();
        json["break_glass"] = true.into();
        json["rows"] = serde_json::json!([{"field": "status", "op": "eq", "value": 1}]);
    });
    assert_eq!(all.len(), 9, "{all:#?}");
}
