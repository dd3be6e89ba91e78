use super::*;
use serde_json::json;

fn part(member: &str, outcome: PartOutcome) -> Part {
    Part {
        record: RecordType::parse("Person").unwrap(),
        fields: vec![FieldName::parse("name").unwrap()],
        member: MemberId::parse(member).unwrap(),
        contract: ContractId::parse(&format!("{member}-person")).unwrap(),
        receipt: Some(7),
        outcome,
    }
}

fn answered(values: &[Value]) -> PartOutcome {
    let name = FieldName::parse("name").unwrap();
    let row = |value: &Value| Row {
        fields: BTreeMap::from([(name.clone(), value.clone())]),
        as_of: Some("2026-01-01T00:00:00Z".to_owned()),
        quality: BTreeMap::new(),
    };
    PartOutcome::Answered { rows: values.iter().map(row).collect(), withheld: Vec::new() }
}

fn name_of(parts: &[Part]) -> FieldState {
    let unified = merge(parts);
    let forward = unified.values().next().unwrap().values().next().unwrap().clone();
    let mut reversed = parts.to_vec();
    reversed.reverse();
    assert_eq!(merge(&reversed), unified, "the order of answers does not matter");
    forward
}

#[test]
fn sources_that_agree_give_one_value_with_all_sources() {
    let state = name_of(&[
        part("police", answered(&[json!("松乙")])),
        part("civil-affairs", answered(&[json!("松乙")])),
    ]);
    assert!(
        matches!(state, FieldState::Value { value, sources, found: true, .. } if value == "松乙" && sources.len() == 2)
    );
}

#[test]
fn rows_that_a_source_left_out_are_told_beside_those_that_came() {
    let PartOutcome::Answered { rows, .. } = answered(&[json!("松乙"), json!("云甲")]) else { panic!() };
    let withheld = vec![(FieldName::parse("name").unwrap(), "rows-left-out:2".to_owned())];
    let state = name_of(&[part("police", PartOutcome::Answered { rows, withheld })]);
    assert!(
        matches!(&state, FieldState::Value { value, quality, .. } if *value == json!(["松乙", "云甲"]) && *quality == ["rows-left-out:2"]),
        "{state:?}"
    );
}

#[test]
fn sources_that_disagree_are_a_conflict_with_both_values() {
    let state = name_of(&[
        part("police", answered(&[json!("松乙")])),
        part("civil-affairs", answered(&[json!("松一")])),
    ]);
    assert!(matches!(state, FieldState::Conflict { claims } if claims.len() == 2));
}

#[test]
fn a_source_without_the_record_is_named_and_contradicts_nobody() {
    let state = name_of(&[part("police", answered(&[json!("松乙")])), part("civil-affairs", answered(&[]))]);
    assert!(matches!(state, FieldState::Value { missing_in, found: true, .. } if missing_in.len() == 1));
    let nowhere = name_of(&[part("police", answered(&[])), part("civil-affairs", answered(&[]))]);
    assert!(
        matches!(nowhere, FieldState::Value { found: false, value: Value::Null, missing_in, .. } if missing_in.len() == 2)
    );
}

#[test]
fn a_missing_department_shows_only_where_nobody_else_knows() {
    let failed = || PartOutcome::Failed { code: "provider_unavailable".to_owned(), since: None };
    let alone = name_of(&[part("police", failed())]);
    assert!(matches!(alone, FieldState::Unavailable { .. }));
    let other = name_of(&[part("police", failed()), part("civil-affairs", answered(&[json!("松乙")]))]);
    assert!(matches!(other, FieldState::Value { .. }));
}

#[test]
fn a_refusal_names_its_clause_and_several_rows_become_a_list() {
    let refused = PartOutcome::Refused { code: "sealing_required".to_owned(), clause: "class".to_owned() };
    let state = name_of(&[part("health", refused)]);
    assert!(matches!(state, FieldState::Withheld { clause, .. } if clause == "class"));
    let state = name_of(&[part("police", answered(&[json!("a"), json!("b")]))]);
    assert!(matches!(state, FieldState::Value { value, .. } if value == json!(["a", "b"])));
}
