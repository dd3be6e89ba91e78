//! Who takes part in the demo, and from what each answers.

use super::files;
use crate::fail::{Failure, file};
use std::path::Path;
use yiwang_city::Source;

/// Id, display name, folder of its files below `adapters/departments`, apps.
pub type Member = (&'static str, &'static str, &'static str, &'static [&'static str]);

/// The members of every demo; their systems are files.
pub const MEMBERS: &[Member] = &[
    ("police", "Police (公安)", "police", &[]),
    ("civil-affairs", "Civil affairs (民政)", "civil-affairs", &[]),
    ("health", "Health commission (卫健)", "health", &["planning-desk"]),
    ("emergency-call", "Emergency call centre (120)", "emergency-call", &[]),
    ("street-office", "Street office (街道办)", "", &["assistance-desk"]),
];

/// Those that come with `--services`.
pub const FURTHER_MEMBERS: &[Member] = &[
    ("urban-management", "Urban management (城管)", "urban-management", &[]),
    ("housing", "Housing (住建)", "housing", &[]),
    ("gas", "Gas company (燃气)", "gas", &[]),
];

/// Those that come with real data.
pub const REAL_MEMBERS: &[Member] = &[
    ("montgomery-911", "Montgomery County 911", "real/montgomery-911", &[]),
    ("seattle-police", "Seattle police", "real/seattle-police", &[]),
    ("febrl-a", "Person register A (FEBRL 4a)", "real/febrl-a", &[]),
    ("febrl-b", "Person register B (FEBRL 4b)", "real/febrl-b", &[]),
    ("civil-registry", "Civil registry", "", &["registry-desk"]),
];

/// One member, and what its host is started with.
pub struct Part {
    /// Its id.
    pub id: &'static str,
    /// Its display name.
    pub name: &'static str,
    /// Folder of its contract drafts.
    pub contracts: &'static str,
    /// Folder of its mappings; empty where it only asks.
    pub mappings: &'static str,
    /// Its apps.
    pub apps: &'static [&'static str],
    /// What its host finds in its environment.
    pub settings: Vec<(String, String)>,
    /// Places that its mappings name, and where these are here.
    pub places: Vec<(&'static str, String)>,
}

impl Part {
    /// Members with the sources that are theirs.
    pub fn of(members: &[Member], sources: &[Source]) -> Vec<Self> {
        let part = |&(id, name, folder, apps): &Member| Self {
            id,
            name,
            contracts: folder,
            mappings: folder,
            apps,
            settings: sources
                .iter()
                .filter(|source| source.member == id)
                .map(|source| (source.variable.to_owned(), source.path.display().to_string()))
                .collect(),
            places: Vec::new(),
        };
        members.iter().map(part).collect()
    }

    /// Writes one of the carried files into a folder; its name.
    pub fn write(&self, path: &'static str, folder: &Path) -> Result<&'static str, Failure> {
        let name = path.rsplit('/').next().unwrap_or(path);
        let mut text = files::text(path).to_owned();
        for (place, here) in &self.places {
            text = text.replace(place, here);
        }
        let to = folder.join(name);
        std::fs::write(&to, text).map_err(file(&to))?;
        Ok(name)
    }
}
