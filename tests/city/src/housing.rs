//! Housing: dwellings and who holds them, in one SQLite file with the columns of a surveyor's office.

use std::path::Path;

use rusqlite::params;

use crate::CityError;
use crate::day::TODAY;
use crate::fixed;
use crate::model::CityHousehold;
use crate::prng::Prng;
use crate::sqlite::build;

const STREAM: u64 = 7;

const SCHEMA: &str = "
create table fw_fwxx (fw_bh text primary key, dz_bm text not null, yt text not null, cs integer not null,
  dt integer not null, xzq text not null);
create table fw_qlr (ql_bh integer primary key, fw_bh text not null, zjh text not null, qlr_mc text not null,
  ql_lx text not null, qs_rq text not null, zz_rq text, bg_sj text not null);";

const INDEXES: &str = "create index ix_qlr_zjh on fw_qlr (zjh);";

/// Writes the database; gives the number of dwellings.
pub(crate) fn write(
    path: &Path,
    seed: u64,
    households: impl Iterator<Item = CityHousehold>,
) -> Result<u64, CityError> {
    build(path, SCHEMA, INDEXES, |tx| {
        let mut dwellings = 0;
        let mut dwelling = tx.prepare("insert into fw_fwxx values (?,?,?,?,?,?)")?;
        let mut right = tx.prepare("insert into fw_qlr values (null,?,?,?,?,?,?,?)")?;
        for (index, home) in households.enumerate() {
            let mut prng = Prng::stream(seed, STREAM, index as u64);
            let number = format!("FW{index:08}");
            let floors = prng.pick(&[6, 6, 7, 11, 18, 26]).max(1);
            let area: String = home.community.chars().take(6).collect();
            let public = home.number == fixed::NUMBER;
            let use_code = if prng.chance(30) { "1109" } else { "1101" };
            // The household of the demo lives in a public dwelling without a lift, on the third floor.
            let (floors, lift) = if public { (6, 0) } else { (floors, i64::from(floors > 7)) };
            dwelling.execute(params![number, home.address_code, use_code, floors, lift, area])?;
            let kind = match () {
                () if public => "GZ",
                () if home.migrant => "ZL",
                () => prng.pick(&["CQ", "CQ", "CQ", "ZL", "GZ"]),
            };
            let until = (kind == "ZL").then(|| TODAY.plus(prng.between(30, 700)).to_string());
            let changed = TODAY.plus(-prng.between(1, 400)).at(prng.below(86_400));
            for holder in home.members.iter().filter(|member| member.age() >= 18) {
                let since = home.since.max(holder.birth).to_string();
                right.execute(params![number, holder.id, holder.name, kind, since, until, changed])?;
            }
            dwellings += 1;
        }
        Ok(dwellings)
    })
}
