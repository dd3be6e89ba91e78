//! The police: one SQLite file, names in pinyin initials, dates without separators, ids as they were typed in.

use std::path::Path;

use rusqlite::{Statement, Transaction, params};

use crate::day::TODAY;
use crate::dirt::Dirt;
use crate::model::{COUNTIES, CityHousehold, CityPerson, Relation, Sex};
use crate::prng::Prng;
use crate::sqlite::{self, build};
use crate::{CityError, words};

const STREAM: u64 = 2;

const SCHEMA: &str = "
create table D_XB (DM text primary key, MC text not null);
insert into D_XB values ('0','未知的性别'),('1','男性'),('2','女性'),('9','未说明的性别');
create table D_JZLX (DM text primary key, MC text not null);
insert into D_JZLX values ('1','户籍地'),('2','实际居住地'),('3','居住证');
create table T_XZQH (XZQHDM text primary key, XDM text, QYRQ text not null, TYRQ text);
create table T_HU (HH text primary key, HZSFZH text, HLX text not null, LHRQ text not null, DZBM text not null);
create table T_RY (RYBH integer primary key, HH text not null, XM text not null, XB text, CSRQ text, SFZH text,
  GJ text not null, YHZGX text not null, SWBZ text not null, ZXBZ text not null, GXSJ text not null);
create table T_JZ (JZBH integer primary key, SFZH text not null, DZBM text not null, JZLX text not null,
  QSRQ text not null, ZZRQ text, GXSJ text not null);
create table T_DZ (DZBM text not null, DZMC text not null, XZQH text not null);";

const INDEXES: &str = "
create index I_RY_SFZH on T_RY (SFZH);
create index I_RY_HH on T_RY (HH);
create index I_JZ_SFZH on T_JZ (SFZH);
create index I_DZ on T_DZ (DZBM);";

struct Tables<'c> {
    person: Statement<'c>,
    household: Statement<'c>,
    residence: Statement<'c>,
    address: Statement<'c>,
    seed: u64,
}

pub(crate) fn write(
    path: &Path,
    seed: u64,
    households: impl Iterator<Item = CityHousehold>,
) -> Result<u64, CityError> {
    build(path, SCHEMA, INDEXES, |tx| {
        area_codes(tx)?;
        let mut tables = Tables {
            person: tx.prepare("insert into T_RY values (null,?,?,?,?,?,'156',?,?,'0',?)")?,
            household: tx.prepare("insert into T_HU values (?,?,?,?,?)")?,
            residence: tx.prepare("insert into T_JZ values (null,?,?,?,?,?,?)")?,
            address: tx.prepare("insert into T_DZ values (?,?,?)")?,
            seed,
        };
        let mut rows = 0;
        for (index, household) in households.enumerate() {
            rows += tables.household(index as u64, &household)?;
        }
        Ok(rows)
    })
}

/// Each county was renumbered in 2016; what was written before carries the older code.
fn area_codes(tx: &Transaction<'_>) -> sqlite::Result<()> {
    let mut insert = tx.prepare("insert into T_XZQH values (?,?,?,?)")?;
    for county in 1..=COUNTIES {
        let new = format!("9801{county:02}");
        insert.execute(params![format!("9801{:02}", county + 50), new, "1984-01-01", "2015-12-31"])?;
        insert.execute(params![new, None::<&str>, "2016-01-01", None::<&str>])?;
    }
    Ok(())
}

fn old_code(address_code: &str, county: u64) -> String {
    let rest: String = address_code.chars().skip(6).collect();
    format!("9801{:02}{rest}", county + 51)
}

impl Tables<'_> {
    fn household(&mut self, index: u64, home: &CityHousehold) -> sqlite::Result<u64> {
        let mut prng = Prng::stream(self.seed, STREAM, index);
        let headless = home.dirt == Some(Dirt::HouseholdWithoutHead);
        let head = home.members.iter().find(|member| member.relation == Relation::Head && !headless);
        let code = match home.dirt {
            Some(Dirt::OldAreaCode) => old_code(&home.address_code, home.county),
            _ => home.address_code.clone(),
        };
        let kind = if home.migrant { "集体户" } else { "家庭户" };
        self.household.execute(params![
            home.number,
            head.map(stored_id),
            kind,
            home.since.compact(),
            code
        ])?;
        let area: String = code.chars().take(6).collect();
        self.address.execute(params![code, home.address, area])?;
        for person in &home.members {
            self.person(&mut prng, home, person, headless)?;
            self.residences(&mut prng, home, person, &code)?;
        }
        Ok(home.members.len() as u64)
    }

    fn person(
        &mut self,
        prng: &mut Prng,
        home: &CityHousehold,
        person: &CityPerson,
        headless: bool,
    ) -> sqlite::Result<()> {
        let sex = match person.sex {
            Sex::Male => "1",
            Sex::Female => "2",
        };
        let relation = match person.relation {
            Relation::Head if headless => "99",
            Relation::Head => "01",
            Relation::Spouse => "10",
            Relation::Child if person.sex == Sex::Male => "20",
            Relation::Child => "30",
            Relation::Parent => "50",
        };
        let dead = if person.alive { "0" } else { "1" };
        let updated = TODAY.plus(-prng.between(1, 365)).at(prng.below(86_400));
        let id = stored_id(person);
        // Clerks leave blanks around names.
        let name = if prng.chance(20) { format!(" {} ", person.name) } else { person.name.clone() };
        if person.has(Dirt::Reregistered) {
            let older = TODAY.plus(-prng.between(2000, 6000)).at(prng.below(86_400));
            let number = format!("{}A", home.number);
            let birth = person.birth.compact();
            self.person.execute(params![number, name, sex, birth, id, relation, dead, older])?;
        }
        let birth = person.birth.compact();
        self.person.execute(params![home.number, name, sex, birth, id, relation, dead, updated])?;
        Ok(())
    }

    fn residences(
        &mut self,
        prng: &mut Prng,
        home: &CityHousehold,
        person: &CityPerson,
        code: &str,
    ) -> sqlite::Result<()> {
        let id = stored_id(person);
        let from = home.since.max(person.birth);
        let updated = TODAY.plus(-prng.between(1, 365)).at(prng.below(86_400));
        if home.migrant {
            let end = from.plus(365 * 5).to_string();
            self.residence.execute(params![id, code, "2", from.to_string(), None::<&str>, updated])?;
            self.residence.execute(params![id, code, "3", from.plus(15).to_string(), end, updated])?;
            return Ok(());
        }
        self.residence.execute(params![id, code, "1", from.to_string(), None::<&str>, updated])?;
        Ok(())
    }
}

/// What stands in the column for the id, which is not always the id.
fn stored_id(person: &CityPerson) -> String {
    match person.dirt {
        Some(Dirt::LowerCaseX) => person.id.to_ascii_lowercase(),
        _ => person.id.clone(),
    }
}

/// A telephone number as typed with the input method left in full width.
pub(crate) fn typed_phone(person: &CityPerson) -> String {
    if person.has(Dirt::FullWidthDigits) { words::full_width(&person.phone) } else { person.phone.clone() }
}
