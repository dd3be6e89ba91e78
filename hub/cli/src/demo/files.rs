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
    "police/contracts/police-street-person.json",
    "police/contracts/police-street-residence.json",
    "civil-affairs/person.toml",
    "civil-affairs/benefit-status.toml",
    "civil-affairs/marriage.toml",
    "civil-affairs/contracts/civil-street-benefit.json",
    "civil-affairs/contracts/civil-street-marriage.json",
    "civil-affairs/contracts/civil-street-person.json",
    "health/health-coverage.toml",
    "health/health-summary.toml",
    "health/mental-health-record.toml",
    "health/contracts/health-street-coverage.json",
    "emergency-call/incident.toml",
    "emergency-call/contracts/emergency-street-incident.json",
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

/// Paths of a member's mappings.
pub fn mappings(folder: &str) -> Vec<&'static str> {
    below(folder, ".toml")
}

/// Paths of a member's contract drafts.
pub fn contracts(folder: &str) -> Vec<&'static str> {
    below(folder, ".json")
}

fn below(folder: &str, ending: &str) -> Vec<&'static str> {
    FILES
        .iter()
        .map(|(path, _)| *path)
        .filter(|path| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')))
        .filter(|path| path.ends_with(ending))
        .collect()
}
