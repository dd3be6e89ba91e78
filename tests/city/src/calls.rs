//! Emergency calls: a folder of CSV exports, one a month, as three shifts with three programs leave them.

use std::path::Path;

use encoding_rs::GBK;

use crate::CityError;
use crate::day::{Day, TODAY};
use crate::dirt::Dirt;
use crate::fixed;
use crate::model::{CityHousehold, CityPerson};
use crate::police::typed_phone;
use crate::prng::Prng;

const STREAM: u64 = 5;
const FIRST_DAY: Day = Day::new(2026, 9, 1);
pub(crate) const HEADER: [&str; 12] = [
    "CALL_NO",
    "CALL_TYPE",
    "STATE",
    "CALL_TIME",
    "AREA_CODE",
    "COMMUNITY",
    "ADDR",
    "CALLER_TEL",
    "PERSON_ID",
    "MED_FLAG",
    "REMARK",
    "UPD_TIME",
];
const BOM: &[u8] = b"\xEF\xBB\xBF";
/// Rows that no reader can use: too short, and a moment that never was. One pair in each file.
pub(crate) const BAD_ROWS_PER_FILE: u64 = 2;
pub(crate) const MONTHS: [(i64, bool); 3] = [(9, false), (10, true), (11, false)];

/// One call before it has a number.
pub(crate) struct Call {
    pub day: Day,
    pub second: u64,
    pub kind: &'static str,
    pub state: &'static str,
    pub area: String,
    pub community: String,
    pub address: String,
    pub phone: String,
    pub person: String,
    pub medical: &'static str,
    pub note: String,
}

/// The first export of a month repeats the last call of the month before, which was still open then.
pub(crate) const REPEATED_ROWS: u64 = MONTHS.len() as u64 - 1;

/// Writes the folder; gives the number of calls.
pub(crate) fn write(
    folder: &Path,
    seed: u64,
    households: impl Iterator<Item = CityHousehold>,
) -> Result<u64, CityError> {
    std::fs::create_dir_all(folder).map_err(CityError::io(folder))?;
    let calls = collect(seed, households);
    let mut repeated = None;
    for (month, utf8) in MONTHS {
        let path = folder.join(format!("calls-2026-{month:02}.csv"));
        repeated = write_month(&path, month, utf8, repeated, of_month(&calls, month))?;
    }
    Ok(calls.len() as u64)
}

/// All calls of a city in the order in which they came.
pub(crate) fn collect(seed: u64, households: impl Iterator<Item = CityHousehold>) -> Vec<Call> {
    let mut calls = Vec::new();
    for (index, home) in households.enumerate() {
        if home.number == fixed::NUMBER {
            calls.extend(fixed::calls(&home));
            continue;
        }
        let mut prng = Prng::stream(seed, STREAM, index as u64);
        for person in &home.members {
            for _ in 0..person.calls {
                calls.push(call(&mut prng, &home, person));
            }
        }
    }
    calls.sort_by(|a, b| (a.day, a.second, &a.person).cmp(&(b.day, b.second, &b.person)));
    calls
}

fn of_month(calls: &[Call], month: i64) -> impl Iterator<Item = &Call> {
    calls.iter().filter(move |call| call.day.parts().1 == month)
}

/// Every call as a row under [`HEADER`], numbered as the exports number it.
pub(crate) fn rows(calls: &[Call]) -> impl Iterator<Item = Vec<String>> {
    MONTHS.into_iter().flat_map(move |(month, _)| {
        of_month(calls, month).zip(1..).map(move |(call, number)| row(month, number, call))
    })
}

fn call(prng: &mut Prng, home: &CityHousehold, person: &CityPerson) -> Call {
    let kind = prng.pick(&["JJ", "JJ", "JJ", "BJ", "BJ", "HJ", "JT", "QZ"]);
    let medical = match kind {
        "JJ" => "是",
        _ => prng.pick(&["否", "否", ""]),
    };
    // The shift writes the name into the remark, sometimes with a line break and a quotation.
    let note = match prng.below(10) {
        0 => format!("{}来电,\r\n称\"情况紧急\",请尽快", person.name),
        1 => format!("{}, 二次来电", person.name),
        _ => format!("{}来电", person.name),
    };
    let phone = match person.dirt {
        Some(Dirt::FullWidthDigits) => typed_phone(person),
        _ if prng.chance(300) => dashed(&person.phone),
        _ => person.phone.clone(),
    };
    Call {
        day: FIRST_DAY.plus(prng.between(0, 82)).min(TODAY.plus(-1)),
        second: prng.below(86_400),
        kind,
        state: prng.pick(&["JS", "JS", "JS", "QX"]),
        area: home.community.chars().take(6).collect(),
        community: home.community.clone(),
        address: home.address.clone(),
        phone,
        person: person.id.clone(),
        medical,
        note,
    }
}

fn dashed(phone: &str) -> String {
    let digits: Vec<char> = phone.chars().collect();
    let parts: Vec<String> = digits.chunks(4).map(|part| part.iter().collect()).collect();
    parts.join("-")
}

/// Gives the last row of the month.
fn write_month<'a>(
    path: &Path,
    month: i64,
    utf8: bool,
    repeated: Option<Vec<String>>,
    calls: impl Iterator<Item = &'a Call>,
) -> Result<Option<Vec<String>>, CityError> {
    let ending = if utf8 { csv::Terminator::Any(b'\n') } else { csv::Terminator::CRLF };
    let mut table = csv::WriterBuilder::new().terminator(ending).flexible(true).from_writer(Vec::new());
    let mut rows = vec![HEADER.map(str::to_owned).to_vec()];
    rows.extend(repeated);
    rows.extend(bad_rows(month));
    rows.extend(calls.zip(1..).map(|(call, number)| row(month, number, call)));
    for row in &rows {
        table.write_record(row).map_err(CityError::csv(path))?;
    }
    let text = table.into_inner().map_err(|error| CityError::io(path)(error.into_error()))?;
    let bytes = if utf8 { [BOM, &text].concat() } else { to_gbk(&String::from_utf8_lossy(&text)) };
    std::fs::write(path, bytes).map_err(CityError::io(path))?;
    Ok(rows.pop())
}

fn row(month: i64, number: u64, call: &Call) -> Vec<String> {
    let time = call.day.at(call.second);
    let updated = call.day.at((call.second + 1800).min(86_399));
    vec![
        format!("C2026{month:02}{number:07}"),
        call.kind.to_owned(),
        call.state.to_owned(),
        time,
        call.area.clone(),
        call.community.clone(),
        call.address.clone(),
        call.phone.clone(),
        call.person.clone(),
        call.medical.to_owned(),
        call.note.clone(),
        updated,
    ]
}

fn bad_rows(month: i64) -> [Vec<String>; BAD_ROWS_PER_FILE as usize] {
    let short = vec![format!("C2026{month:02}9999998"), "JJ".to_owned(), "JS".to_owned()];
    let mut never: Vec<String> = HEADER.iter().map(|_| String::new()).collect();
    let at = |column: &str| HEADER.iter().position(|name| *name == column);
    for (column, value) in [
        ("CALL_NO", format!("C2026{month:02}9999999")),
        ("CALL_TIME", format!("2026-{month:02}-32 25:61:00")),
    ] {
        if let Some(cell) = at(column).and_then(|at| never.get_mut(at)) {
            *cell = value;
        }
    }
    [short, never]
}

/// GBK as an old export program writes it: what the code page lacks becomes a question mark.
fn to_gbk(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (whole, _, lossy) = GBK.encode(line);
        if !lossy {
            bytes.extend_from_slice(&whole);
            continue;
        }
        for character in line.chars() {
            let mut buffer = [0; 4];
            let (encoded, _, lossy) = GBK.encode(character.encode_utf8(&mut buffer));
            bytes.extend_from_slice(if lossy { b"?" } else { &encoded });
        }
    }
    bytes
}
