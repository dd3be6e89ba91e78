//! Building a city and telling what was built.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::calls::{self, BAD_ROWS_PER_FILE, MONTHS, REPEATED_ROWS};
use crate::fixed;
use crate::model::{self, CityHousehold, CityPerson, Sex};
use crate::{CityError, Dirt, civil, health, police};

/// Households of a city at scale 1: 1.05 million persons.
const HOUSEHOLDS: f64 = 350_000.0;

/// What to build. `scale` 1.0 is the whole city, 0.01 the laptop profile; tests take 0.0002.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CityPlan {
    pub seed: u64,
    pub scale: f64,
}

impl CityPlan {
    fn households(&self) -> Result<u64, CityError> {
        if !(self.scale > 0.0 && self.scale <= 1.0) {
            return Err(CityError::Scale(self.scale));
        }
        // Never fewer than it takes to have a specimen of each kind of dirt and some clean persons.
        Ok(((HOUSEHOLDS * self.scale).round() as u64).max(60))
    }
}

/// A city on disk.
#[derive(Debug, Clone)]
pub struct City {
    plan: CityPlan,
    households: u64,
    facts: Facts,
    sources: Vec<Source>,
}

/// One member's source: where it lies, and the variable by which its mapping files find it.
#[derive(Debug, Clone)]
pub struct Source {
    pub member: &'static str,
    pub variable: &'static str,
    pub path: PathBuf,
}

/// Counts of what was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub households: u64,
    pub persons: u64,
    pub civil_persons: u64,
    pub health_persons: u64,
    pub sealed_records: u64,
    /// Calls, rows that repeat one of them in a later export, and rows that a reader must put aside.
    pub calls: u64,
    pub repeated_call_rows: u64,
    pub bad_call_rows: u64,
    /// Households by kind of dirt; a household has one kind at most, its head shows it.
    pub dirt: BTreeMap<Dirt, u64>,
}

/// The household of the demo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Household {
    pub number: String,
    pub address_code: String,
    pub address: String,
    pub mother: Member,
    /// Ill, head of the household and applicant.
    pub son: Member,
    /// Has a sealed health record.
    pub wife: Member,
}

/// One person of the household, with the values that each department holds in canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub id: String,
    pub name: String,
    /// `male` or `female`
    pub sex: &'static str,
    /// As police and health hold it, `1971-07-09`.
    pub birth_date: String,
    /// As civil affairs holds it: the mother's differs.
    pub birth_date_civil: String,
}

/// Writes the departments' systems of a city below `out_dir`, one folder a member.
pub fn build(plan: CityPlan, out_dir: &Path) -> Result<City, CityError> {
    let count = plan.households()?;
    let source =
        |member, variable, file: &str| Source { member, variable, path: out_dir.join(member).join(file) };
    let police = source("police", "POLICE_DB", "police.db");
    let civil = source("civil-affairs", "CIVIL_DB", "civil.db");
    let health = source("health", "HEALTH_DB", "health.db");
    let emergency = source("emergency-call", "EMERGENCY_CSV", "calls");
    let all = || households(plan.seed, count);
    let persons = police::write(&police.path, plan.seed, all())?;
    let civil_persons = civil::write(&civil.path, plan.seed, all())?;
    let (health_persons, sealed_records) = health::write(&health.path, plan.seed, all())?;
    let calls = calls::write(&emergency.path, plan.seed, all())?;
    let mut dirt = BTreeMap::new();
    for kind in all().filter_map(|home| home.dirt) {
        *dirt.entry(kind).or_default() += 1;
    }
    let facts = Facts {
        households: count + 1,
        persons,
        civil_persons,
        health_persons,
        sealed_records,
        calls,
        repeated_call_rows: REPEATED_ROWS,
        bad_call_rows: BAD_ROWS_PER_FILE * MONTHS.len() as u64,
        dirt,
    };
    Ok(City { plan, households: count, facts, sources: vec![police, civil, health, emergency] })
}

/// Number 0 is the household of the demo.
fn households(seed: u64, count: u64) -> impl Iterator<Item = CityHousehold> {
    std::iter::once_with(fixed::household).chain((1..=count).map(move |index| model::household(seed, index)))
}

impl City {
    pub fn plan(&self) -> CityPlan {
        self.plan
    }

    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// All households, the one of the demo first; made again one by one, never held in memory.
    pub fn households(&self) -> impl Iterator<Item = CityHousehold> + use<> {
        households(self.plan.seed, self.households)
    }

    /// Persons that every department knows, without dirt: any query for them has an answer everywhere.
    pub fn persons(&self) -> impl Iterator<Item = CityPerson> + use<> {
        let clean = self.households().filter(|home| home.dirt.is_none());
        clean.flat_map(|home| home.members).filter(CityPerson::everywhere_and_clean)
    }

    /// The person who shows a kind of dirt.
    pub fn specimen(&self, dirt: Dirt) -> Option<CityPerson> {
        let home = self.households().find(|home| home.dirt == Some(dirt))?;
        home.members.into_iter().next()
    }

    pub fn household(&self) -> Household {
        demo_household()
    }
}

/// The household of the demo; the same in every city.
pub fn demo_household() -> Household {
    let home = fixed::household();
    let member = |id: &str| {
        let person = home.members.iter().find(|member| member.id == id);
        let birth = person.map(|person| person.birth.to_string()).unwrap_or_default();
        let civil = if id == fixed::MOTHER { fixed::MOTHER_BIRTH_CIVIL.to_string() } else { birth.clone() };
        Member {
            id: id.to_owned(),
            name: person.map(|person| person.name.clone()).unwrap_or_default(),
            sex: if person.is_some_and(|person| person.sex == Sex::Male) { "male" } else { "female" },
            birth_date: birth,
            birth_date_civil: civil,
        }
    };
    Household {
        mother: member(fixed::MOTHER),
        son: member(fixed::SON),
        wife: member(fixed::WIFE),
        number: home.number,
        address_code: home.address_code,
        address: home.address,
    }
}
