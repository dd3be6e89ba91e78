//! The household of the demo: the same persons in every city, whatever its seed and scale.

use crate::calls::Call;
use crate::day::{Day, TODAY};
use crate::model::{CityHousehold, CityPerson, Relation, Sex};

pub(crate) const NUMBER: &str = "H2100000000";
/// The county code 980121 belongs to no other household, so the ids can never meet those of others.
pub(crate) const MOTHER: &str = "980121194603180024";
pub(crate) const SON: &str = "980121197107090015";
pub(crate) const WIFE: &str = "980121197411250044";
/// Civil affairs wrote the mother's birthday down by the lunar calendar: the two registers disagree.
pub(crate) const MOTHER_BIRTH_CIVIL: Day = Day::new(1946, 2, 15);
const COMMUNITY: &str = "980101003007";

pub(crate) fn household() -> CityHousehold {
    let person = |id: &str, name: &str, sex, birth, relation, phone: &str, calls| CityPerson {
        id: id.to_owned(),
        name: name.to_owned(),
        sex,
        birth,
        alive: true,
        relation,
        phone: phone.to_owned(),
        in_civil: true,
        in_health: true,
        calls,
        dirt: None,
    };
    let members = vec![
        person(SON, "云甲", Sex::Male, Day::new(1971, 7, 9), Relation::Head, "10000000001", 1),
        person(WIFE, "荷丁", Sex::Female, Day::new(1974, 11, 25), Relation::Spouse, "10000000002", 1),
        person(MOTHER, "松乙", Sex::Female, Day::new(1946, 3, 18), Relation::Parent, "10000000003", 2),
    ];
    CityHousehold {
        number: NUMBER.to_owned(),
        county: 0,
        community: COMMUNITY.to_owned(),
        address_code: format!("{COMMUNITY}D00042"),
        address: "松风路42号301室".to_owned(),
        migrant: false,
        since: Day::new(1998, 5, 4),
        members,
        dirt: None,
    }
}

/// Scheme, status, first and last day, amount in yuan a month, as civil affairs writes them.
pub(crate) struct Benefit {
    pub scheme: &'static str,
    pub status: &'static str,
    pub from: Day,
    pub to: Option<Day>,
    pub amount: i64,
}

pub(crate) fn benefit(id: &str) -> Option<Benefit> {
    let benefit = |scheme, status, from, to, amount| Some(Benefit { scheme, status, from, to, amount });
    match id {
        SON => benefit("DB", "01", TODAY.plus(-7), None, 0),
        MOTHER => benefit("GL", "02", Day::new(2026, 4, 1), None, 100),
        WIFE => benefit("LS", "03", Day::new(2024, 1, 1), Some(Day::new(2024, 3, 31)), 400),
        _ => None,
    }
}

/// What the health register says of one person.
pub(crate) struct Medical {
    pub problems: &'static [&'static str],
    pub allergies: &'static [&'static str],
    pub medications: &'static [&'static str],
    pub blood: &'static str,
    pub sealed: Option<Sealed>,
}

/// The record that nobody sees without two approvals.
pub(crate) struct Sealed {
    pub diagnosis: &'static str,
    pub treatment: &'static str,
    pub need: &'static str,
}

pub(crate) fn medical(id: &str) -> Option<Medical> {
    let medical = |problems, allergies, medications, blood, sealed| {
        Some(Medical { problems, allergies, medications, blood, sealed })
    };
    match id {
        SON => medical(
            &["慢性肾脏病4期", "肾性贫血"],
            &["青霉素"],
            &["促红细胞生成素 3000IU 每周两次", "碳酸钙 0.5g 每日三次"],
            "A",
            None,
        ),
        MOTHER => medical(&["高血压", "骨质疏松"], &[], &["氨氯地平 5mg 每日一次"], "O", None),
        WIFE => medical(
            &["缺铁性贫血"],
            &[],
            &["琥珀酸亚铁 0.1g 每日两次"],
            "B",
            Some(Sealed {
                diagnosis: "MH-07", treatment: "门诊随访,仅限指定诊疗团队查阅", need: "HW"
            }),
        ),
        _ => None,
    }
}

pub(crate) fn calls(home: &CityHousehold) -> Vec<Call> {
    let at = |id: &str, day, second, kind: &'static str, state: &'static str, medical, note: &str| {
        let caller = home.members.iter().find(|member| member.id == SON);
        Call {
            day,
            second,
            kind,
            state,
            area: "980101".to_owned(),
            community: home.community.clone(),
            address: home.address.clone(),
            phone: caller.map(|person| person.phone.clone()).unwrap_or_default(),
            person: id.to_owned(),
            medical,
            note: note.to_owned(),
        }
    };
    vec![
        at(
            MOTHER,
            Day::new(2026, 9, 14),
            23_405,
            "JJ",
            "JS",
            "是",
            "老人在楼梯间滑倒,\r\n\"能说话\",请带担架",
        ),
        at(SON, Day::new(2026, 11, 3), 80_061, "JJ", "JS", "是", "透析后头晕"),
        at(WIFE, Day::new(2026, 10, 8), 40_962, "QZ", "JS", "否", "厨房水管漏水,请求帮助"),
        at(MOTHER, Day::new(2026, 11, 19), 30_722, "JJ", "CZ", "是", "胸闷"),
    ]
}
