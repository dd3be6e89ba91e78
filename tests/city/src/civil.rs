//! Civil affairs: words in full instead of codes, an older register of persons, benefits and marriages.

use std::path::Path;

use rusqlite::{Statement, params};

use crate::day::TODAY;
use crate::dirt::Dirt;
use crate::fixed::{self, Benefit};
use crate::id::old_form;
use crate::model::{CityHousehold, CityPerson, Relation, Sex};
use crate::police::typed_phone;
use crate::prng::Prng;
use crate::sqlite::{self, build};
use crate::{CityError, words};

const STREAM: u64 = 3;

const SCHEMA: &str = "
create table mz_grxx (gr_id integer primary key, xm text not null, sfzh text not null, xb text not null,
  csrq text, lxdh text, gxsj text not null);
create table mz_jzdx (yw_bh text primary key, sfzh text not null, jt_bh text not null, jzlb text not null,
  zt text not null, ks_rq text not null, js_rq text, je integer not null, xzqh text not null, gxsj text not null);
create table mz_hydj (djz_bh text primary key, nan_sfzh text, nv_sfzh text, dj_rq text not null, zt text not null,
  gxsj text not null);";

const INDEXES: &str = "
create index ix_grxx_sfzh on mz_grxx (sfzh);
create index ix_jzdx_sfzh on mz_jzdx (sfzh);
create index ix_hydj_nan on mz_hydj (nan_sfzh);
create index ix_hydj_nv on mz_hydj (nv_sfzh);";

struct Tables<'c> {
    person: Statement<'c>,
    benefit: Statement<'c>,
    marriage: Statement<'c>,
    seed: u64,
    serial: u64,
}

pub(crate) fn write(
    path: &Path,
    seed: u64,
    households: impl Iterator<Item = CityHousehold>,
) -> Result<u64, CityError> {
    build(path, SCHEMA, INDEXES, |tx| {
        let mut tables = Tables {
            person: tx.prepare("insert into mz_grxx values (null,?,?,?,?,?,?)")?,
            benefit: tx.prepare("insert into mz_jzdx values (?,?,?,?,?,?,?,?,?,?)")?,
            marriage: tx.prepare("insert into mz_hydj values (?,?,?,?,?,?)")?,
            seed,
            serial: 0,
        };
        let mut rows = 0;
        for (index, household) in households.enumerate() {
            rows += tables.household(index as u64, &household)?;
        }
        Ok(rows)
    })
}

impl Tables<'_> {
    fn household(&mut self, index: u64, home: &CityHousehold) -> sqlite::Result<u64> {
        let mut prng = Prng::stream(self.seed, STREAM, index);
        let mut rows = 0;
        for person in home.members.iter().filter(|person| person.in_civil) {
            self.person(&mut prng, person)?;
            rows += 1;
        }
        self.benefits(&mut prng, home)?;
        self.marriages(&mut prng, home)?;
        Ok(rows)
    }

    fn person(&mut self, prng: &mut Prng, person: &CityPerson) -> sqlite::Result<()> {
        let birth = match person.dirt {
            _ if person.id == fixed::MOTHER => fixed::MOTHER_BIRTH_CIVIL.slashed(),
            Some(Dirt::Birth1900) => "1900/01/01".to_owned(),
            Some(Dirt::FullWidthDigits) => words::full_width(&person.birth.slashed()),
            _ => person.birth.slashed(),
        };
        let name = match person.dirt {
            Some(Dirt::TraditionalName) => {
                let (simple, traditional) = words::SIMPLE_AND_TRADITIONAL;
                person.name.replace(simple, &traditional.to_string())
            }
            _ => person.name.clone(),
        };
        let sex = if person.sex == Sex::Male { "男" } else { "女" };
        let updated = TODAY.plus(-prng.between(10, 1500)).at(prng.below(86_400));
        let id = stored_id(person);
        self.person.execute(params![name, id, sex, birth, typed_phone(person), updated])?;
        Ok(())
    }

    fn benefits(&mut self, prng: &mut Prng, home: &CityHousehold) -> sqlite::Result<()> {
        if home.number == fixed::NUMBER {
            for person in &home.members {
                if let Some(benefit) = fixed::benefit(&person.id) {
                    self.benefit(prng, home, person, &benefit)?;
                }
            }
            return Ok(());
        }
        for person in home.members.iter().filter(|person| person.in_civil) {
            if person.age() >= 80 {
                let from = person.birth.plus(365 * 80 + 50);
                let scheme = Benefit { scheme: "GL", status: "02", from, to: None, amount: 100 };
                self.benefit(prng, home, person, &scheme)?;
            }
        }
        let Some(head) = home.members.first().filter(|head| head.in_civil && prng.chance(60)) else {
            return Ok(());
        };
        let from = TODAY.plus(-prng.between(100, 2500));
        let ended = prng.chance(300);
        let benefit = Benefit {
            scheme: prng.pick(&["DB", "TK", "LS", "YL"]),
            status: if ended { "03" } else { "02" },
            from,
            to: ended.then(|| from.plus(90)),
            amount: prng.between(3, 14) * 100,
        };
        self.benefit(prng, home, head, &benefit)
    }

    fn benefit(
        &mut self,
        prng: &mut Prng,
        home: &CityHousehold,
        person: &CityPerson,
        benefit: &Benefit,
    ) -> sqlite::Result<()> {
        self.serial += 1;
        self.benefit.execute(params![
            format!("JZ{:08}", self.serial),
            stored_id(person),
            home.number,
            benefit.scheme,
            benefit.status,
            benefit.from.slashed(),
            benefit.to.map(crate::Day::slashed),
            benefit.amount,
            home.community.chars().take(6).collect::<String>(),
            TODAY.plus(-prng.between(1, 7)).at(prng.below(86_400)),
        ])?;
        Ok(())
    }

    fn marriages(&mut self, prng: &mut Prng, home: &CityHousehold) -> sqlite::Result<()> {
        let parents: Vec<_> =
            home.members.iter().filter(|member| member.relation == Relation::Parent).collect();
        if let [parent] = parents.as_slice() {
            self.serial += 1;
            let number = format!("HY{:08}", self.serial);
            let id = stored_id(parent);
            let (man, woman) = if parent.sex == Sex::Male { (Some(id), None) } else { (None, Some(id)) };
            let since = TODAY.plus(-prng.between(400, 4000)).slashed();
            self.marriage.execute(params![number, man, woman, since, "SO", TODAY.plus(-3).at(36_000)])?;
        }
        let of = |relation| home.members.iter().find(|member| member.relation == relation);
        let Some(head) = of(Relation::Head) else { return Ok(()) };
        let spouse = of(Relation::Spouse);
        let divorced = prng.chance(80) && home.number != fixed::NUMBER;
        if spouse.is_none() && !divorced {
            return Ok(());
        }
        let (head_id, spouse_id) = (Some(stored_id(head)), spouse.map(stored_id));
        let (man, woman) = if head.sex == Sex::Male { (head_id, spouse_id) } else { (spouse_id, head_id) };
        let status = if spouse.is_none() { "LH" } else { "JH" };
        let married = head.birth.plus(365 * 24 + prng.between(0, 700)).min(TODAY.plus(-40));
        self.serial += 1;
        let number = format!("HY{:08}", self.serial);
        let updated = TODAY.plus(-prng.between(1, 30)).at(prng.below(86_400));
        self.marriage.execute(params![number, man, woman, married.slashed(), status, updated])?;
        Ok(())
    }
}

fn stored_id(person: &CityPerson) -> String {
    match person.dirt {
        Some(Dirt::OldId15) => old_form(&person.id),
        Some(Dirt::LowerCaseX) => person.id.to_ascii_lowercase(),
        _ => person.id.clone(),
    }
}
