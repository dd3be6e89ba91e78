//! The departments' mappings and contract drafts, carried in the program so that the demo runs anywhere.

macro_rules! departments {
    ($($path:literal),* $(,)?) => {
        /// Path below `adapters/departments` and content.
        pub const FILES: &[(&str, &str)] = &[
            $(($path, include_str!(concat!("../../../../adapters/departments/", $path)))),*
        ];
    };
}

departments![
    "police/person.toml",
    "police/residence.toml",
    "police/mariadb/person.toml",
    "police/mariadb/residence.toml",
    "police/contracts/police-street-person.json",
    "police/contracts/police-street-residence.json",
    "civil-affairs/person.toml",
    "civil-affairs/benefit-status.toml",
    "civil-affairs/marriage.toml",
    "civil-affairs/postgres/person.toml",
    "civil-affairs/postgres/benefit-status.toml",
    "civil-affairs/postgres/marriage.toml",
    "civil-affairs/contracts/civil-street-benefit.json",
    "civil-affairs/contracts/civil-street-marriage.json",
    "civil-affairs/contracts/civil-street-person.json",
    "health/health-coverage.toml",
    "health/health-summary.toml",
    "health/mental-health-record.toml",
    "health/fhir/health-coverage.toml",
    "health/fhir/mental-health-record.toml",
    "health/contracts/health-street-coverage.json",
    "emergency-call/incident.toml",
    "emergency-call/sqlite/incident.toml",
    "emergency-call/contracts/emergency-street-incident.json",
    "housing/dwelling.toml",
    "housing/contracts/housing-street-dwelling.json",
    "urban-management/service-request.toml",
    "urban-management/contracts/urban-street-requests.json",
    "gas/connection.toml",
    "gas/openapi.json",
    "gas/contracts/gas-street-connection.json",
    "real/montgomery-911/mapping.toml",
    "real/montgomery-911/contracts/montgomery-health-incidents.json",
    "real/seattle-police/mapping.toml",
    "real/seattle-police/contracts/seattle-health-incidents.json",
    "real/febrl-a/mapping.toml",
    "real/febrl-a/contracts/febrl-a-registry-person.json",
    "real/febrl-b/mapping.toml",
    "real/febrl-b/contracts/febrl-b-registry-person.json",
];

/// The file at a path.
pub fn text(path: &str) -> &'static str {
    FILES.iter().find(|(name, _)| *name == path).map_or("", |(_, text)| text)
}

/// Paths of the mappings in a folder.
pub fn mappings(folder: &str) -> Vec<&'static str> {
    within(folder, ".toml")
}

/// Paths of the documents beside them, which they name.
pub fn documents(folder: &str) -> Vec<&'static str> {
    within(folder, ".json")
}

/// Paths of a member's contract drafts.
pub fn contracts(folder: &str) -> Vec<&'static str> {
    within(&format!("{folder}/contracts"), ".json")
}

/// What lies in a folder, and not further below: a department can have mappings for several systems.
fn within(folder: &str, ending: &str) -> Vec<&'static str> {
    let direct = |path: &str| {
        let rest = path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
        rest.is_some_and(|name| !name.contains('/') && name.ends_with(ending))
    };
    FILES.iter().map(|(path, _)| *path).filter(|path| direct(path)).collect()
}
