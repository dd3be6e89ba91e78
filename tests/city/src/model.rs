//! The true city behind the departments' systems: any household can be made again from seed and index alone.

use crate::day::{Day, TODAY};
use crate::dirt::Dirt;
use crate::id::{check_character, with_wrong_check};
use crate::prng::Prng;
use crate::words;

pub(crate) const COUNTIES: u64 = 12;
/// Births of one county: days of a year times serials of one sex.
const BIRTHS: u64 = 365 * 500;
/// Has no factor in common with `BIRTHS` (2, 3, 5, 73), so multiplying by it permutes the births.
const SHUFFLE: u64 = 77_777;
const HOUSEHOLD_STREAM: u64 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sex {
    Male,
    Female,
}

/// Relation to the head of the household.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    Head,
    Spouse,
    Child,
    Parent,
}

/// One person as nature made it; what each department holds of it may differ.
#[derive(Debug, Clone)]
pub struct CityPerson {
    /// The issued resident id, 18 characters.
    pub id: String,
    pub name: String,
    pub sex: Sex,
    pub birth: Day,
    pub alive: bool,
    pub relation: Relation,
    pub phone: String,
    /// Known to civil affairs, to health, number of emergency calls: police knows everybody.
    pub in_civil: bool,
    pub in_health: bool,
    pub calls: u64,
    pub dirt: Option<Dirt>,
}

impl CityPerson {
    /// Known to all departments, and clean in each of them.
    pub fn everywhere_and_clean(&self) -> bool {
        self.dirt.is_none() && self.alive && self.in_civil && self.in_health && self.calls > 0
    }

    pub(crate) fn has(&self, dirt: Dirt) -> bool {
        self.dirt == Some(dirt)
    }

    pub fn age(&self) -> i64 {
        let ((y, m, d), (by, bm, bd)) = (TODAY.parts(), self.birth.parts());
        y - by - i64::from((m, d) < (bm, bd))
    }
}

#[derive(Debug, Clone)]
pub struct CityHousehold {
    pub number: String,
    /// Six digits; `99` in front for households that moved in.
    pub county: u64,
    /// Twelve digits: the community.
    pub community: String,
    pub address_code: String,
    pub address: String,
    pub migrant: bool,
    pub since: Day,
    pub members: Vec<CityPerson>,
    pub dirt: Option<Dirt>,
}

/// The household with a number from 1 on.
pub(crate) fn household(seed: u64, index: u64) -> CityHousehold {
    let mut prng = Prng::stream(seed, HOUSEHOLD_STREAM, index);
    let dirt = Dirt::of_household(index, prng.below(110 * 9));
    let county = index % COUNTIES;
    let migrant = prng.chance(33) && dirt.is_none();
    let community = format!("9801{:02}{:03}{:03}", county + 1, prng.below(8) + 1, prng.below(12) + 1);
    let mut members = Vec::new();
    let size = size_of(&mut prng);
    let family = first_family(&mut prng, dirt);
    let head_age = prng.between(28, 74);
    let head_sex = if prng.chance(620) { Sex::Male } else { Sex::Female };
    for slot in 0..size {
        let birth_number = (index / COUNTIES * 6 + slot) % BIRTHS;
        let born = Birth { seed, county, migrant, number: birth_number };
        let dirt = dirt.filter(|_| slot == 0);
        members.push(member(&mut prng, slot, &born, (family, head_age, head_sex), dirt));
    }
    let dwelling = prng.below(900) + 1;
    let house = prng.below(180) + 1;
    let room = (prng.below(18) + 1) * 100 + prng.below(4) + 1;
    let no_number = dirt == Some(Dirt::NoHouseNumber);
    let street = words::street(county + house);
    CityHousehold {
        number: format!("H{county:02}{index:08}"),
        county,
        address_code: format!("{community}D{:05}", if no_number { 0 } else { dwelling }),
        address: if no_number { format!("{street}路") } else { format!("{street}路{house}号{room}室") },
        community,
        migrant,
        since: TODAY.plus(-prng.between(30, 9000)),
        members,
        dirt,
    }
}

/// Sizes 1 to 6 with a mean of exactly three persons.
fn size_of(prng: &mut Prng) -> u64 {
    match prng.below(100) {
        0..12 => 1,
        12..35 => 2,
        35..68 => 3,
        68..88 => 4,
        88..97 => 5,
        _ => 6,
    }
}

fn first_family(prng: &mut Prng, dirt: Option<Dirt>) -> char {
    if dirt == Some(Dirt::TraditionalName) { words::SIMPLE_AND_TRADITIONAL.0 } else { words::family(prng) }
}

struct Birth {
    seed: u64,
    county: u64,
    migrant: bool,
    number: u64,
}

fn member(
    prng: &mut Prng,
    slot: u64,
    born: &Birth,
    head: (char, i64, Sex),
    dirt: Option<Dirt>,
) -> CityPerson {
    let (family, head_age, head_sex) = head;
    let other = if head_sex == Sex::Male { Sex::Female } else { Sex::Male };
    let either = if prng.chance(500) { Sex::Male } else { Sex::Female };
    let (relation, age, sex) = match slot {
        0 => (Relation::Head, head_age, head_sex),
        1 => (Relation::Spouse, (head_age + prng.between(-4, 4)).max(24), other),
        2 | 3 => (Relation::Child, (head_age - prng.between(22, 34)).max(1), either),
        4 => (Relation::Parent, (head_age + prng.between(21, 30)).min(101), either),
        _ => (Relation::Parent, (head_age + prng.between(21, 30)).min(101), other),
    };
    let family = if matches!(relation, Relation::Spouse) { words::family(prng) } else { family };
    let wants_x = dirt == Some(Dirt::LowerCaseX);
    let (mut id, birth) = born.id(TODAY.parts().0 - age, sex, wants_x);
    if dirt == Some(Dirt::WrongCheckDigit) {
        id = with_wrong_check(&id);
    }
    let rare = dirt == Some(Dirt::RareCharacter);
    CityPerson {
        name: if rare { words::rare_name(family, prng) } else { words::full_name(family, prng) },
        id,
        sex,
        birth,
        alive: slot < 4 || prng.chance(850),
        relation,
        // No subscriber can have it: mobile numbers do not begin with 100.
        phone: format!("100{:08}", prng.below(100_000_000)),
        in_civil: dirt.is_some() || prng.chance(700),
        in_health: dirt.is_some() || prng.chance(920),
        calls: if prng.chance(220) {
            prng.below(2) + 1
        } else {
            u64::from(dirt == Some(Dirt::FullWidthDigits))
        },
        dirt,
    }
}

impl Birth {
    /// INVARIANT: two births never share county, day of the year and serial, because `number` is below `BIRTHS` and
    /// unique in its county, and the shuffle is a permutation; so ids never collide, without any list of ids given.
    fn id(&self, year: i64, sex: Sex, wants_x: bool) -> (String, Day) {
        let shuffled = (self.number * SHUFFLE + self.seed % BIRTHS) % BIRTHS;
        let (day_of_year, half) = (shuffled % 365, shuffled / 365);
        let serial = half * 2 + u64::from(sex == Sex::Male);
        let area = if self.migrant { 9901 } else { 9801 };
        let with_year = |year: i64| {
            let birth = Day::new(year, 1, 1).plus(day_of_year as i64);
            let first17 = format!("{area}{:02}{}{serial:03}", self.county + 1, birth.compact());
            let check = check_character(&first17);
            (format!("{first17}{check}"), birth)
        };
        let candidates = (0..40).map(|earlier| with_year(year - earlier));
        let mut fitting = candidates.filter(|(id, _)| !wants_x || id.ends_with('X'));
        fitting.next().unwrap_or_else(|| with_year(year))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::household;

    #[test]
    fn ids_of_a_whole_city_never_collide() {
        let mut seen: HashSet<u64> = HashSet::new();
        let mut persons = 0;
        for person in (1..=350_000).flat_map(|index| household(42, index).members) {
            // The check character follows from the rest.
            seen.insert(person.id[..17].parse().unwrap());
            persons += 1;
        }
        assert_eq!(seen.len(), persons);
        assert!((1_045_000..1_055_000).contains(&persons), "{persons} persons");
    }
}
