use super::*;
use serde_json::{Value, json};
use yiwang_proto::keys::SecretKey;

fn key(number: u8) -> SecretKey {
    SecretKey::from_seed(&[number; 32])
}

fn draft(providers: &[u8]) -> Value {
    json!({
        "format": FORMAT, "record": "BusPass", "version": 1, "owner": "transport", "subject": "person",
        "about": "a pass for public transport", "zh": "公交卡",
        "fields": {
            "kind": {"type": "code", "class": 2, "about": "what it allows", "codes": ["adult", "senior"]},
            "in_force": {"type": "bool", "class": 2, "about": "whether it is valid today"},
        },
        "providers": providers.iter().map(|number| json!({
            "member": format!("member-{number}"), "root": key(*number).public().to_base64(),
        })).collect::<Vec<_>>(),
    })
}

fn text(json: &Value) -> RecordTypeText {
    RecordTypeText::parse(json.to_string().as_bytes()).unwrap()
}

fn faults(json: &Value) -> String {
    text(json).faults(&Catalogue::builtin().unwrap()).join("; ")
}

fn signed(json: &Value, keys: &[u8]) -> Result<RecordTypeVersion, RecordTypeError> {
    let keys: Vec<SecretKey> = keys.iter().map(|number| key(*number)).collect();
    let keys: Vec<&SecretKey> = keys.iter().collect();
    let document = SignedDocument::sign(payload_type::RECORD_TYPE, &text(json).to_json(), &keys);
    RecordTypeVersion::open(&document)
}

#[test]
fn all_providers_sign_and_nobody_else() {
    let both = draft(&[1, 2]);
    let version = signed(&both, &[1, 2]).unwrap();
    assert_eq!(version.def.fields.len(), 2);
    assert!(version.is_provided_by(&MemberId::parse("member-1").unwrap()));
    assert!(!version.is_provided_by(&MemberId::parse("member-3").unwrap()));
    let missing = signed(&both, &[1]).unwrap_err();
    assert_eq!(missing, RecordTypeError::NotSigned(MemberId::parse("member-2").unwrap()));
    assert!(matches!(signed(&both, &[1, 2, 3]), Err(RecordTypeError::Envelope(_))));
    assert!(matches!(signed(&both, &[1, 3]), Err(RecordTypeError::NotSigned(_))));
}

#[test]
fn a_bad_text_is_refused_with_every_reason() {
    assert_eq!(faults(&draft(&[1])), "");
    let cases = [
        ("/record", json!("PERSON"), "comes with the program"),
        ("/record", json!("RiskScore"), "refused by rule"),
        ("/version", json!(0), "version is 1 to 120"),
        ("/version", json!(2), "previous is the digest"),
        ("/previous", json!("abc"), "previous is the digest"),
        ("/owner", json!(""), "owner"),
        ("/about", json!("two\nlines"), "one line"),
        ("/about", json!("abc\u{202e}def"), "one line"),
        ("/about", json!("scores of risk: risk score of persons"), "refused by rule"),
        ("/zh", json!("重点人员名单"), "refused by rule"),
        ("/fields", json!({}), "fields has 1 to 64"),
        ("/providers", json!([]), "providers lists 1 to 8"),
        ("/subject", json!("none"), "the record is about none"),
        ("/fields/in_force/class", json!(5), "class is 0 to 4"),
        ("/fields/in_force/codes", json!(["yes"]), "only a field of type `code`"),
        ("/fields/kind/codes", json!(["adult", "adult"]), "each once"),
        ("/fields/kind/zh", json!("人脸特征"), "refused by rule"),
        (
            "/fields/birth_date",
            json!({"type": "date", "class": 1, "about": "date of birth"}),
            "of class 2 or more in the records of the program",
        ),
    ];
    for (place, value, reason) in cases {
        let mut json = draft(&[1]);
        if place == "/previous" {
            json["previous"] = value;
        } else if let Some((parent, name)) = place.rsplit_once('/') {
            json.pointer_mut(parent).unwrap()[name] = value;
        }
        assert!(faults(&json).contains(reason), "{place}: {}", faults(&json));
    }
    let twice = draft(&[1, 1]);
    assert!(faults(&twice).contains("twice"), "{}", faults(&twice));
    let doubled = r#"{"format": "yiwang-record-type/1", "record": "BusPass", "version": 1, "owner": "t", "subject": "none",
        "about": "a", "fields": {"a_b": {"type": "bool", "class": 1, "about": "x"}, "a_b": {"type": "bool", "class": 0, "about": "x"}},
        "providers": []}"#;
    let error = RecordTypeText::parse(doubled.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("field `a_b` stands twice"), "{error}");
    let unknown = r#"{"format": "yiwang-record-type/1", "whim": 1}"#;
    assert!(matches!(RecordTypeText::parse(unknown.as_bytes()), Err(RecordTypeError::Text(_))));
}

#[test]
fn a_later_version_adds_and_raises_and_takes_nothing_back() {
    let first = signed(&draft(&[1]), &[1]).unwrap();
    let next = |change: &dyn Fn(&mut Value)| {
        let mut json = draft(&[1]);
        json["version"] = json!(2);
        json["previous"] = json!(yiwang_proto::hex(&first.digest));
        change(&mut json);
        text(&json).breaks(&first, |_| false).join("; ")
    };
    assert_eq!(next(&|_| {}), "");
    assert_eq!(
        next(&|json| {
            json["fields"]["since"] = json!({"type": "date", "class": 2, "about": "first day"});
            json["fields"]["in_force"]["class"] = json!(3);
            json["fields"]["kind"]["codes"] = json!(["adult", "senior", "pupil"]);
        }),
        ""
    );
    type Broken<'a> = (&'a dyn Fn(&mut Value), &'a str);
    let broken: [Broken<'_>; 10] = [
        (&|json| json["fields"]["in_force"]["class"] = json!(1), "classes only rise"),
        (&|json| json["fields"]["in_force"]["type"] = json!("string"), "a type never changes"),
        (&|json| drop(json["fields"].as_object_mut().unwrap().remove("in_force")), "is gone"),
        (&|json| json["fields"]["kind"]["codes"] = json!(["adult"]), "loses a code"),
        (&|json| drop(json["fields"]["kind"].as_object_mut().unwrap().remove("codes")), "loses a code"),
        (&|json| json["version"] = json!(3), "the version before is 1"),
        (&|json| json["previous"] = json!("00".repeat(32)), "is not the digest of version 1"),
        (&|json| json["subject"] = json!("either"), "never changes"),
        (&|json| json["providers"] = draft(&[2])["providers"].clone(), "must sign this one too"),
        (&|json| json["record"] = json!("TramPass"), "the version before is of"),
    ];
    for (change, reason) in broken {
        assert!(next(change).contains(reason), "{reason}: {}", next(change));
    }
}

#[test]
fn a_member_with_another_root_goes_on_and_a_dismissed_one_holds_nobody_up() {
    let first = signed(&draft(&[1, 2]), &[1, 2]).unwrap();
    let next = |providers: Value| {
        let mut json = draft(&[1]);
        json["version"] = json!(2);
        json["previous"] = json!(yiwang_proto::hex(&first.digest));
        json["providers"] = providers;
        text(&json)
    };
    let mut turned = draft(&[1, 2])["providers"].clone();
    turned[0]["root"] = json!(key(9).public().to_base64());
    assert_eq!(next(turned).breaks(&first, |_| false), [""; 0]);
    let alone = next(draft(&[1])["providers"].clone());
    assert_eq!(alone.breaks(&first, |_| false).len(), 1);
    assert_eq!(alone.breaks(&first, |member| member.as_str() == "member-2"), [""; 0]);
}

#[test]
fn changes_are_told_one_by_one() {
    let mut json = draft(&[1, 2]);
    json["fields"]["in_force"]["class"] = json!(3);
    json["fields"]["since"] = json!({"type": "date", "class": 2, "about": "first day"});
    json["fields"]["kind"]["codes"] = json!(["adult", "pupil"]);
    let changes = text(&json).changes(&text(&draft(&[1])));
    assert_eq!(
        changes,
        [
            "~ in_force: class 2 becomes 3",
            "+ kind: code `pupil`",
            "- kind: code `senior`",
            "+ since: date, class 2, first day",
            "+ provider member-2"
        ]
    );
    assert_eq!(text(&json).changes(&text(&json)), [""; 0]);
}
