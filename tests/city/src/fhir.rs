//! Health as a FHIR R4 server holds it: patients, insurance as `Coverage`, sealed records as `Condition` of a category
//! of their own. Read back from the department's database, so that both tell the same of everybody.

use std::io::Write as _;
use std::path::Path;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::CityError;

/// The system of identifiers that mappings name.
const NATIONAL: &str = "urn:national-id";

/// Writes `Patient.ndjson`, `Coverage.ndjson` and `Condition.ndjson` below `folder`; gives the number of patients.
pub(crate) fn write(folder: &Path, health: &Path) -> Result<u64, CityError> {
    std::fs::create_dir_all(folder).map_err(CityError::io(folder))?;
    let db = Connection::open_with_flags(health, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
        .map_err(CityError::sqlite(health))?;
    let patients = resources(&db, health, &folder.join("Patient.ndjson"), PATIENTS, |text| {
        json!({
            "resourceType": "Patient", "id": text(0), "birthDate": text(2),
            "identifier": [{"system": NATIONAL, "value": text(3)}],
            "name": [{"text": text(1)}],
        })
    })?;
    resources(&db, health, &folder.join("Coverage.ndjson"), COVERAGES, |text| {
        let insured = text(1).as_deref() == Some("Y");
        let mut coverage = json!({
            "resourceType": "Coverage", "id": format!("cov-{}", text(0).unwrap_or_default()),
            "meta": {"lastUpdated": text(6)},
            "status": if insured { "active" } else { "cancelled" },
            "beneficiary": {"reference": format!("Patient/{}", text(0).unwrap_or_default())},
            // The county's insurance fund pays.
            "payor": [{"identifier": {"system": "urn:area-code", "value": text(5)}}],
        });
        if let Some(coverage) = coverage.as_object_mut().filter(|_| insured) {
            coverage
                .insert("type".to_owned(), json!({"coding": [{"system": "urn:scheme", "code": text(2)}]}));
            coverage.insert("period".to_owned(), json!({"start": text(3)}));
            coverage.insert("network".to_owned(), json!(text(4)));
        }
        coverage
    })?;
    resources(&db, health, &folder.join("Condition.ndjson"), SEALED, |text| {
        let person = text(0).unwrap_or_default();
        let mut sealed = json!({
            "resourceType": "Condition", "id": format!("sealed-{person}"),
            "category": [{"coding": [{"system": "urn:sealed", "code": "mental-health"}]}],
            "code": {"coding": [{"system": "urn:diagnosis", "code": text(1)}]},
            "subject": {"reference": format!("Patient/{person}")},
            "recorder": {"identifier": {"system": "urn:site", "value": text(3)}},
            "note": [{"text": text(2)}], "recordedDate": text(5),
        });
        if let (Some(need), Some(sealed)) = (text(4), sealed.as_object_mut()) {
            sealed.insert("extension".to_owned(), json!([{"url": "urn:support-need", "valueCode": need}]));
        }
        sealed
    })?;
    Ok(patients)
}

// Of somebody who was registered twice, the later registration counts. Resources have ids of the server's own.
const PATIENTS: &str = "select 'pt-' || max(pt_id), full_nm, dob, nat_id from pt_mstr group by nat_id";
const COVERAGES: &str = "select (select 'pt-' || max(pt_id) from pt_mstr p where p.nat_id = c.nat_id),
    ins_flg, schm_cd, eff_dt, fam_site, adm_cd, upd_ts from ins_cov c";
const SEALED: &str = "select (select 'pt-' || max(pt_id) from pt_mstr p where p.nat_id = s.nat_id),
    dx_cd, tx_txt, site_cd, need_cd, seal_ts from seal_rec s where seal_ty = 'MH'";

/// One resource for each row, a line each.
fn resources(
    db: &Connection,
    database: &Path,
    path: &Path,
    sql: &str,
    make: impl Fn(&dyn Fn(usize) -> Option<String>) -> Value,
) -> Result<u64, CityError> {
    let file = std::fs::File::create(path).map_err(CityError::io(path))?;
    let mut out = std::io::BufWriter::new(file);
    let mut select = db.prepare(sql).map_err(CityError::sqlite(database))?;
    let mut rows = select.query([]).map_err(CityError::sqlite(database))?;
    let mut count = 0;
    while let Some(row) = rows.next().map_err(CityError::sqlite(database))? {
        let resource = make(&|at| row.get(at).unwrap_or_default());
        writeln!(out, "{resource}").map_err(CityError::io(path))?;
        count += 1;
    }
    out.flush().map_err(CityError::io(path))?;
    Ok(count)
}
