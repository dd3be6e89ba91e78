//! The gas company: meters as its API gives them, one JSON document a line.

use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::CityError;
use crate::day::{Day, TODAY};
use crate::fixed;
use crate::model::CityHousehold;
use crate::prng::Prng;

const STREAM: u64 = 9;

/// Writes the file; gives the number of meters.
pub(crate) fn write(
    path: &Path,
    seed: u64,
    households: impl Iterator<Item = CityHousehold>,
) -> Result<u64, CityError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(CityError::io(folder))?;
    }
    let file = std::fs::File::create(path).map_err(CityError::io(path))?;
    let mut out = std::io::BufWriter::new(file);
    let mut meters = 0;
    for (index, home) in households.enumerate() {
        let mut prng = Prng::stream(seed, STREAM, index as u64);
        let served = home.number == fixed::NUMBER || prng.chance(820);
        // The meter of the demo's household is still in the mother's name.
        let holder = home.members.iter().find(|member| member.id == fixed::MOTHER).or(home.members.first());
        if let Some(holder) = holder.filter(|_| served) {
            writeln!(out, "{}", meter(&mut prng, index, &home, &holder.id)).map_err(CityError::io(path))?;
            meters += 1;
        }
    }
    out.flush().map_err(CityError::io(path))?;
    Ok(meters)
}

fn meter(prng: &mut Prng, index: usize, home: &CityHousehold, holder: &str) -> Value {
    let fixed = home.number == fixed::NUMBER;
    let state = if fixed { "ON" } else { prng.pick(&["ON", "ON", "ON", "ON", "NEW", "OFF"]) };
    let applied = if fixed { Day::new(2019, 3, 4) } else { TODAY.plus(-prng.between(30, 3000)) };
    let changed = TODAY.plus(-prng.between(1, 60)).at(prng.below(86_400));
    let mut meter = json!({
        "meter_no": format!("G-{index:08}"), "holder": holder, "state": state,
        "address": {"code": home.address_code, "door": home.address},
        "applied": applied.to_string(), "inspections": [], "changed": changed,
        "readings": [prng.below(4000), prng.below(4000)],
    });
    if state != "NEW"
        && let Some(meter) = meter.as_object_mut()
    {
        let result = if prng.chance(60) && !fixed { "DEFECT" } else { "OK" };
        meter.insert("connected".to_owned(), json!(applied.plus(12).to_string()));
        meter.insert("inspections".to_owned(), json!([{"result": result, "by": "inspector 7"}]));
        meter.insert("next_inspection".to_owned(), json!(TODAY.plus(prng.between(20, 700)).compact()));
    }
    meter
}
