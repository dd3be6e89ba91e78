//! A source for throughput figures: one table of records of about 1 KiB each, class 2 at the most.

use std::path::{Path, PathBuf};

use rusqlite::params;

use crate::CityError;
use crate::id::check_character;
use crate::model::Sex;
use crate::prng::Prng;
use crate::servers::Kind;
use crate::sqlite::{self, blank_database};
use crate::words;

const STREAM: u64 = 6;
const SEED: u64 = 20_261_101;
const MAPPING: &str = include_str!("../../../adapters/departments/bench/person.toml");

/// A bench source on disk.
#[derive(Debug, Clone)]
pub struct Bench {
    /// The database; the mapping reads its path from `BENCH_DB`.
    pub database: PathBuf,
    pub rows: u64,
}

impl Bench {
    /// The resident id of a row, counted from 0; the rows repeat after the last.
    pub fn id(&self, row: u64) -> String {
        bench_id(row % self.rows.max(1))
    }
}

/// The mapping of the bench source for the member that provides it.
pub fn bench_mapping(owner: &str) -> String {
    MAPPING.replace("owner = \"bench\"", &format!("owner = \"{owner}\""))
}

/// The mapping of the same rows in a server, for the member that provides them: it has an operation of its own, so that
/// one adapter serves them from everywhere.
pub fn bench_mapping_of(kind: Kind, owner: &str) -> String {
    let name = match kind {
        Kind::Postgres => "postgres",
        Kind::Mariadb => "mariadb",
    };
    let variable = format!("BENCH_{}", name.to_uppercase());
    let server = format!(
        "[source.{name}]\nurl = {{ env = \"{variable}_URL\" }}\n\
         tls = {{ mode = \"verify-full\", ca = {{ env = \"{variable}_CA\" }} }}\n"
    );
    let text = bench_mapping(owner)
        .replace("[source.sqlite]\npath = { env = \"BENCH_DB\" }\nread_only = true\n", &server)
        .replace("\"bench.person\"", &format!("\"bench.person-{name}\""))
        .replace("\"person.by_id\"", &format!("\"{}\"", bench_operation(kind)))
        .replace("\"person.all\"", &format!("\"{}\"", bench_batch(kind)));
    let text = text.split("[[test]]").next().unwrap_or_default().to_owned();
    // In PostgreSQL a name without quotes is in lower case.
    if kind == Kind::Postgres { lower_columns(&text) } else { text }
}

/// The operation of [`bench_mapping_of`].
pub fn bench_operation(kind: Kind) -> &'static str {
    match kind {
        Kind::Postgres => "person.by_id_postgres",
        Kind::Mariadb => "person.by_id_mariadb",
    }
}

/// The batch of [`bench_mapping_of`]; the embedded one is `person.all`.
pub fn bench_batch(kind: Kind) -> &'static str {
    match kind {
        Kind::Postgres => "person.all_postgres",
        Kind::Mariadb => "person.all_mariadb",
    }
}

fn lower_columns(text: &str) -> String {
    let line = |line: &str| {
        if line.starts_with("sql = ") || line.starts_with("key = ") {
            return line.to_lowercase();
        }
        match line.split_once("from = \"").and_then(|(before, rest)| Some((before, rest.split_once('"')?))) {
            Some((before, (column, rest))) => format!("{before}from = \"{}\"{rest}", column.to_lowercase()),
            None => line.to_owned(),
        }
    };
    text.lines().map(|text| line(text) + "\n").collect()
}

/// Writes `bench.db` into `out_dir`: `rows` persons whose granted fields together are about 1 KiB of JSON.
pub fn build_bench(out_dir: &Path, rows: u64) -> Result<Bench, CityError> {
    let path = out_dir.join("bench.db");
    let mut db = blank_database(&path)?;
    let mut fill = || -> sqlite::Result<()> {
        let tx = db.transaction()?;
        tx.execute_batch(
            "create table REC (ID text primary key, NM text not null, GIVEN text not null, FAM text not null,
             SEX text not null, ADDR text not null, SUBURB text not null, STATE text not null, ZIP text not null,
             UPD text not null) without rowid;",
        )?;
        {
            let mut insert = tx.prepare("insert into REC values (?,?,?,?,?,?,?,?,?,?)")?;
            for row in 0..rows {
                let mut prng = Prng::stream(SEED, STREAM, row);
                let family = words::family(&mut prng);
                let sex = if row.is_multiple_of(2) { Sex::Female } else { Sex::Male };
                insert.execute(params![
                    bench_id(row),
                    words::full_name(family, &mut prng),
                    text(&mut prng, 24),
                    family.to_string(),
                    if sex == Sex::Male { "1" } else { "2" },
                    text(&mut prng, 640),
                    text(&mut prng, 96),
                    text(&mut prng, 24),
                    format!("{:06}", prng.below(1_000_000)),
                    "2026-11-20 08:00:00",
                ])?;
            }
        }
        tx.commit()
    };
    fill().map_err(CityError::sqlite(&path))?;
    Ok(Bench { database: path, rows })
}

fn bench_id(row: u64) -> String {
    let (area, month, day) = (row / 240_000 % 99 + 1, row / 20_000 % 12 + 1, row / 1000 % 20 + 1);
    let first17 = format!("9802{area:02}1990{month:02}{day:02}{:03}", row % 1000);
    format!("{first17}{}", check_character(&first17))
}

/// Words of letters: no repetition that a compressor or a cache could live on.
fn text(prng: &mut Prng, length: usize) -> String {
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let at = prng.below(7) as u8;
        text.push(if at == 0 { ' ' } else { char::from(b'a' + (prng.below(26) as u8)) });
    }
    text
}
