//! `yiwang catalogue` from a draft to the ledger and back, with a hub of its own, as a member's IT types it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "catalogue/town.rs"]
mod town;

use serde_json::{Value, json};
use std::path::Path;
use town::{Running, good, hub, member, yiwang};

fn write(path: &Path, json: &Value) -> String {
    std::fs::write(path, serde_json::to_vec_pretty(json).unwrap()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A mapping of the added record is held against its fields and codes.
fn a_mapping_of_it(dir: &Path, signed: &str) {
    let mapping = |word: &str, unknown: &str| {
        let text = format!(
            r#"format = "adapter/1"
mapping = "transport.pass"
record = "BusPass"
owner = "transport"
[source.sqlite]
path = {{ env = "PASS_DB" }}
time_zone = "Asia/Shanghai"
[codes.kind]
"1" = "adult"
"2" = "{word}"
unknown = "{unknown}"
[[operation]]
name = "pass.by_person"
kind = "lookup"
subject = "id"
params.id = {{ type = "string", pattern = "^[0-9]{{17}}[0-9X]$" }}
sql = "select kind_cd, upd_ts from pass where id_no = :id"
limit = 5
timeout = "2s"
[operation.fields]
kind = {{ from = "kind_cd", type = "code", codes = "kind" }}
as_of = {{ from = "upd_ts", type = "timestamp", required = true }}
[[test]]
name = "a pass"
operation = "pass.by_person"
args = {{ id = "980101199001010017" }}
rows = [{{ kind_cd = "1", upd_ts = "2026-11-01T08:00:00+08:00" }}]
expect = [{{ kind = "adult", as_of = "2026-11-01T08:00:00+08:00" }}]
"#
        );
        let path = dir.join(format!("pass-{word}-{unknown}.toml"));
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let check = |file: &str, types: &[&str]| {
        yiwang(&[&["adapter", "check", "--offline", "-o", "json", file], types].concat())
    };
    let good = mapping("senior", "fail");
    let unknown = check(&good, &[]);
    assert!(unknown.code == 2 && unknown.out.contains("A-MAP-003"), "{}{}", unknown.out, unknown.error);
    let known = check(&good, &["--record-type", signed]);
    assert_eq!(known.code, 0, "{}{}", known.out, known.error);
    let word = check(&mapping("seniour", "fail"), &["--record-type", signed]);
    assert!(
        word.code == 2 && word.out.contains("A-MAP-012") && word.out.contains("did you mean `senior`"),
        "{}",
        word.out
    );
    let kept = check(&mapping("senior", "keep"), &["--record-type", signed]);
    assert!(kept.code == 2 && kept.out.contains("A-MAP-013"), "{}", kept.out);
    let draft = dir.join("bus-pass.json");
    let unsigned = check(&good, &["--record-type", draft.to_str().unwrap()]);
    assert!(unsigned.code == 2 && unsigned.out.contains("yiwang catalogue sign"), "{}", unsigned.out);
}

/// Whoever has met a newer version signs no contract that pins an older one: the consumer hears of it from the hub, and the
/// provider, which entered it, knows without asking.
fn an_older_version_is_not_agreed_anew(dir: &Path, running: Running, members: (&str, &str), signed: &str) {
    let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (bus, street) = members;
    let sign = |folder: &str| {
        let (text, out) = (at("text.json"), at("late.json"));
        yiwang(&["contract", "sign", "--folder", folder, &text, "--record-type", signed, "-o", &out])
    };
    let second = at("second.signed.json");
    good(&["catalogue", "sign", "--folder", bus, &at("second.json"), "-o", &second]);
    good(&["catalogue", "add", "--folder", bus, &second]);
    let told = |folder: &str| {
        let refused = sign(folder);
        assert_eq!(refused.code, 1, "{}{}", refused.out, refused.error);
        assert!(
            refused.error.contains("version 1 of `BusPass` is older than version 2"),
            "{}",
            refused.error
        );
        assert!(refused.error.contains("catalogue show"), "{}", refused.error);
        assert!(!std::path::Path::new(&at("late.json")).exists(), "nothing was signed");
    };
    told(street);
    // Nor where the hub is out of reach, or would say nothing of it.
    drop(running);
    for folder in [bus, street] {
        told(folder);
    }
    let refused = yiwang(&["catalogue", "add", "--folder", bus, signed]);
    assert!(refused.code == 1 && refused.error.contains("is older than version 2"), "{}", refused.error);
}

/// The next version: what it changes, and what it may not.
fn another_version(dir: &Path, mut draft: Value, digest: &str, signed: &str) {
    draft["version"] = json!(2);
    draft["previous"] = json!(digest);
    draft["fields"]["kind"]["class"] = json!(3);
    let second = write(&dir.join("second.json"), &draft);
    let diff = good(&["catalogue", "diff", signed, &second]);
    assert!(diff.contains("~ kind: class 2 becomes 3"), "{diff}");
    draft["fields"]["kind"]["class"] = json!(1);
    let lower = write(&dir.join("lower.json"), &draft);
    let refused = yiwang(&["catalogue", "diff", signed, &lower]);
    assert!(refused.code == 1 && refused.error.contains("classes only rise"), "{}", refused.error);
    let refused = yiwang(&["catalogue", "check", &lower, "--previous", signed]);
    assert!(refused.code == 2 && refused.error.contains("classes only rise"), "{}", refused.error);
    checks_are_told_as_json_too(dir, digest, signed, &lower);
    changes_are_told_as_json_too(dir, signed, &second, &lower);
}

/// One line of JSON, with the exit code of the text.
fn told(arguments: &[&str], code: i32) -> Value {
    let ran = yiwang(&[&["catalogue"], arguments, &["-o", "json"]].concat());
    assert_eq!((ran.code, ran.out.lines().count()), (code, 1), "{}{}", ran.out, ran.error);
    serde_json::from_str(&ran.out).unwrap()
}

fn checks_are_told_as_json_too(dir: &Path, digest: &str, signed: &str, lower: &str) {
    let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let whole = json!({
        "ok": true, "record": "BusPass", "version": 1, "previous": null, "fields": 1, "faults": [],
        "signed": true, "unsigned": null, "digest": digest,
    });
    assert_eq!(told(&["check", signed], 0), whole);
    let draft = told(&["check", &at("bus-pass.json")], 0);
    assert_eq!((&draft["signed"], &draft["digest"]), (&json!(false), &Value::Null), "{draft}");
    assert!(draft["unsigned"].as_str().unwrap().contains("a draft, for 1 provider to sign"), "{draft}");
    let refused = told(&["check", &at("bad.json")], 2);
    assert_eq!((&refused["ok"], &refused["fields"]), (&json!(false), &json!(2)), "{refused}");
    assert!(refused["faults"].to_string().contains("refused by rule"), "{refused}");
    let refused = told(&["check", lower, "--previous", signed], 2);
    assert_eq!((&refused["version"], &refused["previous"]), (&json!(2), &json!(1)), "{refused}");
    assert!(refused["faults"].to_string().contains("classes only rise"), "{refused}");
}

fn changes_are_told_as_json_too(dir: &Path, signed: &str, second: &str, lower: &str) {
    let follows = json!({
        "ok": true, "record": "BusPass", "from": 1, "to": 2, "changes": ["~ kind: class 2 becomes 3"],
        "may_follow": true, "faults": [],
    });
    assert_eq!(told(&["diff", signed, second], 0), follows);
    let refused = told(&["diff", signed, lower], 1);
    assert_eq!(refused["may_follow"], false, "{refused}");
    assert!(refused["faults"][0].as_str().unwrap().contains("classes only rise"), "{refused}");
    // Of a draft it cannot be told.
    let draft = told(&["diff", dir.join("bus-pass.json").to_str().unwrap(), second], 2);
    assert_eq!((&draft["may_follow"], &draft["faults"]), (&Value::Null, &json!([])), "{draft}");
    // A version that cannot stand is told with its faults.
    let bad = told(&["diff", signed, dir.join("bad.json").to_str().unwrap()], 2);
    assert_eq!(bad["ok"], false, "{bad}");
    assert!(bad["faults"].to_string().contains("refused by rule"), "{bad}");
}

#[test]
fn a_record_type_goes_from_draft_to_ledger_and_a_contract_pins_it() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let running = hub(dir.path());
    let (bus, bus_root) = member(dir.path(), "transport");
    let (street, street_root) = member(dir.path(), "street-office");
    let draft = json!({
        "format": "yiwang-record-type/1", "record": "BusPass", "version": 1, "owner": "transport", "subject": "person",
        "about": "a pass for public transport", "zh": "公交卡",
        "fields": {"kind": {"type": "code", "class": 2, "about": "what it allows", "codes": ["adult", "senior"]}},
        "providers": [{"member": "transport", "root": bus_root}],
    });
    let file = write(&dir.path().join("bus-pass.json"), &draft);
    assert!(good(&["catalogue", "check", &file]).contains("it can stand"));
    let mut bad = draft.clone();
    bad["fields"]["risk_score"] = json!({"type": "integer", "class": 1, "about": "a score"});
    let refused = yiwang(&["catalogue", "check", &write(&dir.path().join("bad.json"), &bad)]);
    assert_eq!(refused.code, 2);
    assert!(refused.error.contains("refused by rule"), "{}", refused.error);
    let stranger = yiwang(&["catalogue", "sign", "--folder", &street, &file, "-o", &at("no.json")]);
    assert!(stranger.error.contains("no provider of this record type"), "{}", stranger.error);
    let unsigned = yiwang(&["catalogue", "add", "--folder", &bus, &file]);
    assert!(unsigned.error.contains("yiwang catalogue sign"), "{}", unsigned.error);
    let signed = at("bus-pass.signed.json");
    good(&["catalogue", "sign", "--folder", &bus, &file, "-o", &signed]);
    let added = good(&["catalogue", "add", "--folder", &bus, &signed]);
    let digest = added.split('"').nth(3).unwrap().to_owned();
    assert_eq!(digest.len(), 64, "{added}");
    let listed: Value =
        serde_json::from_str(&good(&["catalogue", "list", "--folder", &street, "-o", "json"])).unwrap();
    assert_eq!(listed["added"][0]["record"], "BusPass");
    assert_eq!(listed["added"][0]["digest"], digest);
    let fetched = at("fetched.json");
    good(&["catalogue", "show", "--folder", &street, "BusPass", "-o", &fetched]);
    assert_eq!(std::fs::read(&fetched).unwrap(), std::fs::read(&signed).unwrap());
    let none = yiwang(&["catalogue", "show", "--folder", &street, "TramPass"]);
    assert!(none.code == 1 && none.error.contains("catalogue list"), "{}", none.error);

    // A contract for it pins the version.
    let contract = json!({
        "format": "yiwang-contract/1", "id": "transport-street-pass", "version": 1,
        "provider": {"member": "transport", "root": bus_root, "approver": "o-aaaaaaaaaaaaaaaa"},
        "consumer": {"member": "street-office", "root": street_root, "approver": "o-bbbbbbbbbbbbbbbb"},
        "legal_basis": "Interim Measures for Social Assistance, art. 58",
        "scenario": "whether an applicant has a pass for public transport",
        "purpose": "social-assistance.eligibility", "matters": ["social-assistance"], "method": "query",
        "record": "BusPass", "operations": ["pass.by_person"], "fields": ["kind"], "apps": ["desk"],
        "valid_from": "2020-01-01T00:00:00Z", "valid_until": "2099-01-01T00:00:00Z",
        "limits": {"rows": 5, "per_app_per_minute": 60, "per_officer_per_day": 100, "deadline_ms": 5000},
        "retention_days": 30, "disposal_days": 10, "onward_sharing": "none", "class": 2, "notice": "immediate",
    });
    let plain = write(&dir.path().join("contract.json"), &contract);
    let missing = yiwang(&["contract", "new", &plain]);
    assert!(missing.code == 2 && missing.error.contains("`record_type`"), "{}", missing.error);
    let text = at("text.json");
    good(&["contract", "new", &plain, "--record-type", &fetched, "-o", &text]);
    assert!(std::fs::read_to_string(&text).unwrap().contains(&digest));
    let blind = yiwang(&["contract", "sign", "--folder", &bus, &text, "-o", &at("no.json")]);
    assert!(blind.code == 2 && blind.error.contains("--record-type"), "{}", blind.error);
    let (half, whole) = (at("half.json"), at("whole.json"));
    good(&["contract", "sign", "--folder", &bus, &text, "--record-type", &signed, "-o", &half]);
    good(&["contract", "sign", "--folder", &street, &half, "--record-type", &fetched, "-o", &whole]);
    good(&["contract", "publish", "--folder", &street, &whole]);

    a_mapping_of_it(dir.path(), &signed);
    another_version(dir.path(), draft, &digest, &signed);
    an_older_version_is_not_agreed_anew(dir.path(), running, (&bus, &street), &signed);
}
