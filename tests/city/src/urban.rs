//! Urban management: what grid workers and residents report of places, as one CSV file a month. Parts and events of
//! the city, no persons.

use std::path::Path;

use crate::CityError;
use crate::day::{Day, TODAY};
use crate::fixed;
use crate::model::CityHousehold;
use crate::prng::Prng;

const STREAM: u64 = 8;
const FIRST_DAY: Day = Day::new(2026, 10, 1);
const MONTHS: [i64; 2] = [10, 11];
const HEADER: [&str; 12] = [
    "EVENT_NO",
    "CLASS",
    "STAGE",
    "COMMUNITY",
    "AREA",
    "ADDR",
    "UNIT",
    "REPORTED",
    "PROMISED",
    "CHANGED",
    "REWORK",
    "STATE",
];

struct Event {
    day: Day,
    cells: [String; 11],
}

/// Writes the folder; gives the number of reports.
pub(crate) fn write(
    folder: &Path,
    seed: u64,
    households: impl Iterator<Item = CityHousehold>,
) -> Result<u64, CityError> {
    std::fs::create_dir_all(folder).map_err(CityError::io(folder))?;
    let mut events = Vec::new();
    for (index, home) in households.enumerate() {
        let mut prng = Prng::stream(seed, STREAM, index as u64);
        // Something is reported near one household in twelve, and in front of that of the demo.
        if prng.chance(83) || home.number == fixed::NUMBER {
            events.push(event(&mut prng, &home));
        }
    }
    events.sort_by(|a, b| (a.day, &a.cells).cmp(&(b.day, &b.cells)));
    for month in MONTHS {
        let path = folder.join(format!("events-2026-{month:02}.csv"));
        let mut table = csv::Writer::from_path(&path).map_err(CityError::csv(&path))?;
        table.write_record(HEADER).map_err(CityError::csv(&path))?;
        for (event, number) in events.iter().filter(|event| event.day.parts().1 == month).zip(1..) {
            let number = format!("E2026{month:02}{number:06}");
            let row = std::iter::once(number.as_str()).chain(event.cells.iter().map(String::as_str));
            table.write_record(row).map_err(CityError::csv(&path))?;
        }
        table.flush().map_err(CityError::io(&path))?;
    }
    Ok(events.len() as u64)
}

fn event(prng: &mut Prng, home: &CityHousehold) -> Event {
    let day = FIRST_DAY.plus(prng.between(0, 52)).min(TODAY.plus(-1));
    let second = prng.below(80_000);
    let (class, unit) = prng.pick(&[
        ("0105", "排水管理所"),
        ("0201", "市容环卫中心"),
        ("0203", "市容环卫中心"),
        ("0107", "路灯管理所"),
        ("0501", "园林绿化所"),
    ]);
    let stage = prng.pick(&["JA", "JA", "JA", "CL", "HC", "PQ"]);
    let street: String = home.address.chars().take_while(|c| !c.is_ascii_digit()).collect();
    let rework = u64::from(prng.chance(80));
    Event {
        day,
        cells: [
            class.to_owned(),
            stage.to_owned(),
            home.community.clone(),
            home.community.chars().take(6).collect(),
            street,
            unit.to_owned(),
            day.at(second),
            day.plus(prng.between(1, 5)).at(second),
            day.at((second + 3600).min(86_399)),
            rework.to_string(),
            if stage == "JA" { "0" } else { "1" }.to_owned(),
        ],
    }
}
