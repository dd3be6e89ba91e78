//! Health: English abbreviations, zoned timestamps, sealed records in a table of their own.

use std::path::Path;

use rusqlite::{Statement, params};

use crate::CityError;
use crate::day::TODAY;
use crate::dirt::Dirt;
use crate::fixed;
use crate::model::{CityHousehold, CityPerson, Sex};
use crate::police::typed_phone;
use crate::prng::Prng;
use crate::sqlite::{self, build};

const STREAM: u64 = 4;
const PROBLEMS: [&str; 10] = [
    "高血压",
    "2型糖尿病",
    "骨质疏松",
    "哮喘",
    "慢性胃炎",
    "腰椎间盘突出",
    "白内障",
    "过敏性鼻炎",
    "甲状腺功能减退",
    "偏头痛",
];
const ALLERGIES: [&str; 5] = ["青霉素", "磺胺类", "花生", "海鲜", "碘造影剂"];
const MEDICATIONS: [&str; 6] = [
    "氨氯地平 5mg 每日一次",
    "二甲双胍 0.5g 每日两次",
    "沙丁胺醇气雾剂 必要时",
    "奥美拉唑 20mg 每日一次",
    "左甲状腺素 50μg 每日一次",
    "维生素D 400IU 每日一次",
];

const SCHEMA: &str = "
create table pt_mstr (pt_id integer primary key, nat_id text not null, full_nm text not null, sex_cd text not null,
  dob text not null, tel text, upd_ts text not null);
create table ins_cov (cov_id integer primary key, nat_id text not null, ins_flg text not null, schm_cd text,
  eff_dt text, fam_site text, adm_cd text not null, upd_ts text not null);
create table sum_hdr (nat_id text primary key, bld_grp text not null, upd_ts text not null);
create table sum_item (nat_id text not null, item_ty text not null, item_txt text not null);
create table seal_rec (nat_id text not null, seal_ty text not null, dx_cd text not null, tx_txt text not null,
  site_cd text not null, need_cd text, seal_ts text not null);";

const INDEXES: &str = "
create index ix_pt_nat on pt_mstr (nat_id);
create index ix_cov_nat on ins_cov (nat_id);
create index ix_item_nat on sum_item (nat_id, item_ty);
create index ix_seal_nat on seal_rec (nat_id);";

struct Tables<'c> {
    patient: Statement<'c>,
    coverage: Statement<'c>,
    summary: Statement<'c>,
    item: Statement<'c>,
    sealed: Statement<'c>,
}

/// Rows of patients, and how many persons have a sealed record.
pub(crate) fn write(
    path: &Path,
    seed: u64,
    households: impl Iterator<Item = CityHousehold>,
) -> Result<(u64, u64), CityError> {
    build(path, SCHEMA, INDEXES, |tx| {
        let mut tables = Tables {
            patient: tx.prepare("insert into pt_mstr values (null,?,?,?,?,?,?)")?,
            coverage: tx.prepare("insert into ins_cov values (null,?,?,?,?,?,?,?)")?,
            summary: tx.prepare("insert into sum_hdr values (?,?,?)")?,
            item: tx.prepare("insert into sum_item values (?,?,?)")?,
            sealed: tx.prepare("insert into seal_rec values (?,?,?,?,?,?,?)")?,
        };
        let (mut rows, mut sealed) = (0, 0);
        for (index, household) in households.enumerate() {
            let mut prng = Prng::stream(seed, STREAM, index as u64);
            for person in household.members.iter().filter(|person| person.in_health) {
                tables.patient(&mut prng, person)?;
                tables.coverage(&mut prng, &household, person)?;
                sealed += u64::from(tables.summary(&mut prng, person)?);
                rows += 1;
            }
        }
        Ok((rows, sealed))
    })
}

fn stamp(prng: &mut Prng, days: i64) -> String {
    format!("{}Z", TODAY.plus(-prng.between(1, days)).at(prng.below(86_400)).replace(' ', "T"))
}

impl Tables<'_> {
    fn patient(&mut self, prng: &mut Prng, person: &CityPerson) -> sqlite::Result<()> {
        let sex = match person.sex {
            _ if prng.chance(5) => "U",
            Sex::Male => "M",
            Sex::Female => "F",
        };
        let birth = person.birth.to_string();
        if person.has(Dirt::Reregistered) {
            let (older, phone) = (TODAY.plus(-prng.between(2000, 4000)), typed_phone(person));
            let older = format!("{older}T08:00:00Z");
            self.patient.execute(params![person.id, person.name, sex, birth, phone, older])?;
        }
        let updated = stamp(prng, 365);
        self.patient.execute(params![person.id, person.name, sex, birth, typed_phone(person), updated])?;
        Ok(())
    }

    fn coverage(&mut self, prng: &mut Prng, home: &CityHousehold, person: &CityPerson) -> sqlite::Result<()> {
        let insured = home.number == fixed::NUMBER || prng.chance(960);
        let scheme = prng.pick(&["UE", "UR", "NR"]);
        let since = person.birth.plus(prng.between(30, 4000)).min(TODAY.plus(-30));
        let site: String = home.community.chars().take(9).collect();
        self.coverage.execute(params![
            person.id,
            if insured { "Y" } else { "N" },
            insured.then_some(scheme),
            insured.then(|| since.to_string()),
            insured.then(|| format!("CHC-{site}")),
            home.community.chars().take(6).collect::<String>(),
            stamp(prng, 200),
        ])?;
        Ok(())
    }

    /// Whether the person has a sealed record.
    fn summary(&mut self, prng: &mut Prng, person: &CityPerson) -> sqlite::Result<bool> {
        if let Some(medical) = fixed::medical(&person.id) {
            self.summary.execute(params![person.id, medical.blood, "2026-11-20T01:30:00Z"])?;
            for (kind, texts) in
                [("P", medical.problems), ("A", medical.allergies), ("M", medical.medications)]
            {
                for text in texts {
                    self.item.execute(params![person.id, kind, text])?;
                }
            }
            if let Some(sealed) = &medical.sealed {
                let (diagnosis, treatment, need) = (sealed.diagnosis, sealed.treatment, sealed.need);
                let since = "2019-06-03T02:00:00Z";
                self.sealed.execute(params![
                    person.id,
                    "MH",
                    diagnosis,
                    treatment,
                    "MHC-980101",
                    need,
                    since
                ])?;
            }
            return Ok(medical.sealed.is_some());
        }
        self.summary.execute(params![person.id, prng.pick(&["A", "B", "AB", "O", "U"]), stamp(prng, 900)])?;
        for (kind, texts, per_mille) in [
            ("P", PROBLEMS.as_slice(), 350),
            ("A", ALLERGIES.as_slice(), 80),
            ("M", MEDICATIONS.as_slice(), 300),
        ] {
            while prng.chance(per_mille) {
                self.item.execute(params![person.id, kind, prng.pick(texts)])?;
            }
        }
        // The article's city keeps 8,900 such records for 1.05 million persons.
        let sealed = prng.below(105_000) < 890;
        if sealed {
            let kind = prng.pick(&["MH", "DT", "CC"]);
            let (code, site) =
                (format!("{kind}-{:02}", prng.below(40)), format!("MHC-9801{:02}", prng.below(12) + 1));
            let need = prng.pick(&[None, Some("HW"), Some("TR")]);
            let since = format!("{}T02:00:00Z", TODAY.plus(-prng.between(60, 3000)));
            self.sealed.execute(params![person.id, kind, code, "仅限指定诊疗团队查阅", site, need, since])?;
        }
        Ok(sealed)
    }
}
