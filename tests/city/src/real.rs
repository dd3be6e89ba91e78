//! Real open data as members: calls of a county, responses of a police force, two registers of the same persons.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params_from_iter};

use crate::CityError;
use crate::city::Source;
use crate::sqlite::{self, blank_database};

/// What the real sources hold, counted by a plain reader that shares nothing with the adapters.
#[derive(Debug, Clone)]
pub struct RealData {
    pub sources: Vec<Source>,
    pub montgomery_rows: u64,
    pub seattle_rows: u64,
    pub febrl_a_rows: u64,
    pub febrl_b_rows: u64,
    /// The township and day with the most emergency medical calls.
    pub busiest: TownshipDay,
    /// Ids in both registers with at least one field that both hold and that differs.
    pub conflicting: Vec<Conflict>,
    /// Ids in both registers where no field that both hold differs.
    pub agreeing: Vec<String>,
    pub only_in_a: Vec<String>,
    pub only_in_b: Vec<String>,
}

/// Calls of one township on one day of local time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TownshipDay {
    pub township: String,
    /// `2015-12-18`
    pub day: String,
    /// Calls whose title begins with `EMS:`.
    pub ems_calls: u64,
    pub all_calls: u64,
}

/// One person whom two registers describe differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    pub id: String,
    /// The canonical names of the fields that differ.
    pub fields: Vec<&'static str>,
}

type Row = BTreeMap<String, String>;

/// A register in its own words: table, and for each of the file's columns the name of its own.
struct Register {
    member: &'static str,
    variable: &'static str,
    file: &'static str,
    source: &'static str,
    table: &'static str,
    columns: [&'static str; 11],
}

const FEBRL: [&str; 11] = [
    "rec_id",
    "given_name",
    "surname",
    "street_number",
    "address_1",
    "address_2",
    "suburb",
    "postcode",
    "state",
    "date_of_birth",
    "soc_sec_id",
];
const REGISTER_A: Register = Register {
    member: "febrl-a",
    variable: "FEBRL_A_DB",
    file: "register.db",
    source: "febrl4a.csv",
    table: "enrolment",
    columns: [
        "record_no",
        "first_nm",
        "last_nm",
        "street_no",
        "street_nm",
        "building_nm",
        "suburb_nm",
        "post_cd",
        "state_cd",
        "birth_dt",
        "ssid",
    ],
};
const REGISTER_B: Register = Register {
    member: "febrl-b",
    variable: "FEBRL_B_DB",
    file: "clients.db",
    source: "febrl4b.csv",
    table: "CLIENT",
    columns: [
        "CLIENT_REF",
        "GIVEN",
        "FAMILY",
        "ADDR_NO",
        "ADDR_LINE1",
        "ADDR_LINE2",
        "LOCALITY",
        "PCODE",
        "REGION",
        "DOB",
        "SSN_NO",
    ],
};
/// Each canonical field of a person and the columns of the file that both mappings join to make it.
const COMPARED: [(&str, &[&str]); 8] = [
    ("name", &["given_name", "surname"]),
    ("given_name", &["given_name"]),
    ("surname", &["surname"]),
    ("birth_date", &["date_of_birth"]),
    ("address", &["street_number", "address_1"]),
    ("suburb", &["suburb"]),
    ("postcode", &["postcode"]),
    ("state", &["state"]),
];

/// Prepares members from the folders `montgomery-911`, `seattle-police` and `febrl` below `data_dir`.
pub fn attach_real(data_dir: &Path, out_dir: &Path) -> Result<RealData, CityError> {
    let (montgomery, montgomery_source) =
        drop_folder(data_dir, out_dir, "montgomery-911", "MONTGOMERY_CSV", "montgomery-911.csv")?;
    let (seattle, seattle_source) =
        drop_folder(data_dir, out_dir, "seattle-police", "SEATTLE_CSV", "seattle-police.csv")?;
    let (a, a_source) = register(data_dir, out_dir, &REGISTER_A)?;
    let (b, b_source) = register(data_dir, out_dir, &REGISTER_B)?;
    let busiest =
        busiest(&montgomery).ok_or_else(|| CityError::NoCalls { path: montgomery_source.path.clone() })?;
    let (a_by_id, b_by_id) = (by_id(&a), by_id(&b));
    let only = |these: &BTreeMap<&str, &Row>, those: &BTreeMap<&str, &Row>| {
        these.keys().filter(|id| !those.contains_key(**id)).map(|id| (*id).to_owned()).collect()
    };
    let (mut conflicting, mut agreeing) = (Vec::new(), Vec::new());
    for (id, in_a) in &a_by_id {
        let Some(in_b) = b_by_id.get(id) else { continue };
        let fields = differing(in_a, in_b);
        if fields.is_empty() {
            agreeing.push((*id).to_owned());
        } else {
            conflicting.push(Conflict { id: (*id).to_owned(), fields });
        }
    }
    Ok(RealData {
        montgomery_rows: montgomery.len() as u64,
        seattle_rows: seattle.len() as u64,
        febrl_a_rows: a.len() as u64,
        febrl_b_rows: b.len() as u64,
        busiest,
        conflicting,
        agreeing,
        only_in_a: only(&a_by_id, &b_by_id),
        only_in_b: only(&b_by_id, &a_by_id),
        sources: vec![montgomery_source, seattle_source, a_source, b_source],
    })
}

/// Copies a file as it is into the folder of a member.
fn drop_folder(
    data_dir: &Path,
    out_dir: &Path,
    member: &'static str,
    variable: &'static str,
    file: &str,
) -> Result<(Vec<Row>, Source), CityError> {
    let from = data_dir.join(member).join(file);
    let folder = out_dir.join(member).join("drop");
    std::fs::create_dir_all(&folder).map_err(CityError::io(&folder))?;
    // Read and write, not copy: the original may be read-only, and its copy must not be.
    let bytes = std::fs::read(&from).map_err(CityError::io(&from))?;
    let to = folder.join(file);
    std::fs::write(&to, bytes).map_err(CityError::io(&to))?;
    Ok((rows(&from)?, Source { member, variable, path: folder }))
}

fn rows(path: &Path) -> Result<Vec<Row>, CityError> {
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).map_err(CityError::csv(path))?;
    reader.deserialize().collect::<Result<_, _>>().map_err(CityError::csv(path))
}

fn value<'r>(row: &'r Row, column: &str) -> &'r str {
    row.get(column).map(String::as_str).unwrap_or_default()
}

fn busiest(calls: &[Row]) -> Option<TownshipDay> {
    let mut counts: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
    for call in calls {
        let day = value(call, "timeStamp").split(' ').next().unwrap_or_default();
        let count = counts.entry((value(call, "twp"), day)).or_default();
        count.0 += u64::from(value(call, "title").starts_with("EMS:"));
        count.1 += 1;
    }
    let named = counts.into_iter().filter(|((township, day), _)| !township.is_empty() && !day.is_empty());
    let ((township, day), (ems_calls, all_calls)) = named.max_by_key(|(_, (ems, _))| *ems)?;
    let found = TownshipDay { township: township.to_owned(), day: day.to_owned(), ems_calls, all_calls };
    (ems_calls > 0).then_some(found)
}

fn by_id(rows: &[Row]) -> BTreeMap<&str, &Row> {
    rows.iter().map(|row| (value(row, "soc_sec_id"), row)).filter(|(id, _)| !id.is_empty()).collect()
}

fn differing(a: &Row, b: &Row) -> Vec<&'static str> {
    let differs = |columns: &[&str]| match (joined(a, columns), joined(b, columns)) {
        (Some(a), Some(b)) => a != b,
        _ => false,
    };
    COMPARED.iter().filter(|(_, columns)| differs(columns)).map(|(field, _)| *field).collect()
}

fn joined(row: &Row, columns: &[&str]) -> Option<String> {
    let usable = |column: &str, text: &str| !text.is_empty() && (column != "date_of_birth" || is_day(text));
    let parts: Vec<&str> = columns
        .iter()
        .map(|column| (column, value(row, column)))
        .filter(|(c, v)| usable(c, v))
        .map(|(_, v)| v)
        .collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// Register B holds birth dates that no calendar has; the mappings leave them out, and so does the comparison.
fn is_day(text: &str) -> bool {
    let number = |from: usize, to: usize| text.get(from..to).and_then(|part| part.parse().ok());
    let (Some(year), Some(month), Some(day)) = (number(0, 4), number(4, 6), number(6, 8)) else {
        return false;
    };
    text.len() == 8 && crate::Day::new(year, month, day).parts() == (year, month, day)
}

fn register(data_dir: &Path, out_dir: &Path, register: &Register) -> Result<(Vec<Row>, Source), CityError> {
    let from = data_dir.join("febrl").join(register.source);
    let rows = rows(&from)?;
    if let (Some(first), path) = (rows.first(), from.clone())
        && let Some(column) = FEBRL.into_iter().find(|column| !first.contains_key(*column))
    {
        return Err(CityError::Column { path, column });
    }
    let path: PathBuf = out_dir.join(register.member).join(register.file);
    let mut db = blank_database(&path)?;
    import(&mut db, register, &rows).map_err(CityError::sqlite(&path))?;
    Ok((rows, Source { member: register.member, variable: register.variable, path }))
}

fn import(db: &mut Connection, register: &Register, rows: &[Row]) -> sqlite::Result<()> {
    let table = register.table;
    let key = register.columns.last().copied().unwrap_or_default();
    let tx = db.transaction()?;
    let columns = register.columns.map(|column| format!("{column} text")).join(", ");
    tx.execute_batch(&format!("create table {table} ({columns});"))?;
    {
        let marks = ["?"; FEBRL.len()].join(",");
        let mut insert = tx.prepare(&format!("insert into {table} values ({marks})"))?;
        for row in rows {
            let cells = FEBRL.iter().map(|column| Some(value(row, column)).filter(|text| !text.is_empty()));
            insert.execute(params_from_iter(cells))?;
        }
    }
    tx.execute_batch(&format!("create index {table}_id on {table} ({key});"))?;
    tx.commit()
}
