//! What a city has beyond the four systems that every demo builds: the departments that run with servers.

use std::path::{Path, PathBuf};

use crate::{City, CityError, Source, calls, calls_db, fhir, gas, housing, urban};

/// The systems of the further departments, and the data that servers are filled with.
#[derive(Debug, Clone)]
pub struct More {
    /// Sources that are there without a server: the call centre's database, housing, urban management.
    pub sources: Vec<Source>,
    /// Resources of the health department's FHIR server, a folder of `*.ndjson`.
    pub fhir: PathBuf,
    /// Meters of the gas company, a JSON document a line.
    pub meters: PathBuf,
    /// How many patients, meters, dwellings and reports these hold.
    pub counts: [u64; 4],
}

impl City {
    /// Writes them below `out_dir`, of the same persons.
    ///
    /// # Errors
    /// [`CityError`]: a file or database cannot be written.
    pub fn more(&self, out_dir: &Path) -> Result<More, CityError> {
        let source =
            |member, variable, file: &str| Source { member, variable, path: out_dir.join(member).join(file) };
        let emergency = source("emergency-call", "EMERGENCY_DB", "calls.db");
        let housing = source("housing", "HOUSING_DB", "housing.db");
        let urban = source("urban-management", "URBAN_CSV", "events");
        let (fhir, meters) = (out_dir.join("health/fhir"), out_dir.join("gas/meters.ndjson"));
        let seed = self.plan().seed;
        calls_db::write(&emergency.path, &calls::collect(seed, self.households()))?;
        let dwellings = housing::write(&housing.path, seed, self.households())?;
        let reports = urban::write(&urban.path, seed, self.households())?;
        let count = gas::write(&meters, seed, self.households())?;
        let health = self.sources().iter().find(|source| source.member == "health");
        let patients = match health {
            Some(health) => fhir::write(&fhir, &health.path)?,
            None => 0,
        };
        let sources = vec![emergency, housing, urban];
        Ok(More { sources, fhir, meters, counts: [patients, count, dwellings, reports] })
    }
}
