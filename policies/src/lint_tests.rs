use super::*;

#[test]
fn t15_every_rule_refuses_its_examples_in_every_spelling() {
    for (rule, names) in [
        (
            "N1",
            "face_id FaceImage faceImage face biometricTemplate renlian_tezheng RENLIAN 人脸特征 fingerprint_2",
        ),
        ("N1", "ｆａｃｅ＿ｉｄ face1 dna voiceprintHash"),
        (
            "N2",
            "risk_score riskScore RiskScore RISK_SCORE person_risk_rank riskscore fengxian_pingfen 风险评分",
        ),
        ("N2", "fengxianpingfen social-credit-score"),
        (
            "N3",
            "special_groups key_person KeyPersons watchlist watch_list_2 zhongdian_renyuan 重点人员清单 blacklisted",
        ),
        ("N4", "trajectory movement_trail location_history vehicle.trail guiji 活动轨迹"),
        ("N5", "dossier one_person_one_file person.search PersonProfile yirenyidang 一人一档"),
        ("N6", "suspicious_person accent beard_mark 可疑人员"),
        (
            "N7",
            "ethnicity faith political_view party_member race minzu 政治面貌 degree_of_concern zongjiao_xinyang",
        ),
        ("N7", "relatives_in_detention"),
        ("N8", "worker_track gps_trail staff.location workerTracking"),
        ("N9", "petitioner_list repeat_callers key_petitioner 上访人员"),
    ] {
        for name in names.split(' ') {
            let refusal = lint_name(name).unwrap_or_else(|| panic!("{name} passes"));
            assert_eq!(refusal.rule, rule, "{name}: {refusal}");
            assert!(!refusal.reason.is_empty() && !refusal.counterpart.is_empty());
        }
    }
}

#[test]
fn innocent_names_pass() {
    for names in [
        "surface surface_area interface typeface face_value faceToFace face-to-face traceability",
        "trace_id audit_trail trail_length score_of_game score credit race_condition embrace",
        "good_faith religious_affairs key key_fingerprint personal person.by_id person_count group",
        "special_needs target_date location location_code history track fuselage accentuate",
        "accent_color missing-person.search petition petitioner caller police-street-person",
        "risk_assessment_id flood_risk party parties partner_pseudonym policy concern staff",
        "worker_role data DNAT as_of T_RY XM 地址 姓名",
    ] {
        for name in names.split(' ') {
            assert_eq!(lint_name(name), None, "{name}");
        }
    }
}

#[test]
fn words_are_cut_where_a_reader_cuts_them() {
    for (name, cut) in [
        ("riskScore", "risk score"),
        ("HTTPServer2Go", "http server go"),
        ("a.b-c_d e", "a b c d e"),
        ("ABC", "abc"),
        ("__", ""),
        ("", ""),
        ("人face脸", "face"),
    ] {
        assert_eq!(words(name).join(" "), cut, "{name}");
    }
}

#[test]
fn the_file_is_read_strictly_and_every_rule_is_there() {
    let lint = Lint::builtin().unwrap();
    let ids: Vec<&str> = lint.rules.iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(ids, ["N1", "N2", "N3", "N4", "N5", "N6", "N7", "N8", "N9"]);
    let rule = "[[rule]]\nid = \"N1\"\nreason = \"r\"\ncounterpart = \"c\"\nunless = []\nhan = []\nhan_unless = []\n";
    assert!(Lint::load(("x", &format!("{rule}phrases = [\"a word\"]"))).is_err(), "a word of one letter");
    assert!(Lint::load(("x", &format!("{rule}phrases = [\"Word\"]"))).is_err());
    assert!(Lint::load(("x", &format!("{rule}phrases = [\"two  words\"]"))).is_err());
    assert!(Lint::load(("x", &format!("{rule}phrases = []\nregex = []"))).is_err());
    assert!(
        Lint::load(("x", &format!("{rule}phrases = [\"word*\"]"))).unwrap().refuse("sword words").is_some()
    );
}

#[test]
fn long_and_odd_names_are_judged_in_linear_time() {
    let long = "face_to_".repeat(5001);
    assert!(lint_name(&long).is_some());
    let long = "surface_".repeat(5000);
    assert_eq!(lint_name(&long), None);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    rule: String,
    names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Harmless {
    like: String,
    names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Names {
    refused: Vec<Refused>,
    harmless: Vec<Harmless>,
}

#[test]
fn t15_a_hundred_names_are_refused_and_a_hundred_that_look_like_them_pass() {
    let names: Names = toml::from_str(include_str!("lint_names.toml")).unwrap();
    let lint = Lint::builtin().unwrap();
    let (mut refused, mut passed) = (0, 0);
    let mut wrong = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for group in &names.refused {
        let rule = lint.rules.iter().find(|rule| rule.id == group.rule).unwrap();
        for name in &group.names {
            assert!(seen.insert(name), "{name} stands twice");
            refused += 1;
            match lint.refuse(name) {
                Some(found) if found.rule == group.rule => {
                    let said = found.to_string();
                    assert!(said.contains(&rule.reason) && said.contains(&rule.counterpart), "{said}");
                    assert!(!found.word.is_empty() && said.contains(&group.rule), "{said}");
                }
                found => wrong.push(format!("{name}: {} is asked for, it is {found:?}", group.rule)),
            }
        }
    }
    for group in &names.harmless {
        assert!(lint.rules.iter().any(|rule| rule.id == group.like), "{}", group.like);
        for name in &group.names {
            assert!(seen.insert(name), "{name} stands twice");
            passed += 1;
            wrong.extend(lint.refuse(name).map(|found| format!("{name} (like {}): {found}", group.like)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(refused >= 100 && passed >= 100, "{refused} refused, {passed} passed");
}

#[test]
fn the_rule_that_takes_most_of_a_name_speaks() {
    for (name, rule) in
        [("巡查轨迹", "N8"), ("轨迹", "N4"), ("caller_risk_score", "N9"), ("risk_score", "N2")]
    {
        assert_eq!(lint_name(name).unwrap().rule, rule, "{name}");
    }
}

#[test]
fn characters_that_look_like_latin_ones_or_like_none_hide_nothing() {
    for name in ["fасе", "f\u{200b}a\u{2060}ce", "ｆａｃｅ", "FАСЕ_ID", "人\u{200d}脸", "wаtсhlist"]
    {
        assert!(lint_name(name).is_some(), "{name:?} passes");
    }
    assert_eq!(lint_name("лицо"), None, "a word of another alphabet stays one");
}
