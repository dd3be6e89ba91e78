//! A FHIR server: for each type that it declares and the emergency summary has a section for, one search.

use super::field::PERSON;
use super::read::{Ask, InitError};
use super::text::quoted;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// A section of the summary: what is searched, and where R4 puts its text and its time.
struct Section {
    resource: &'static str,
    name: &'static str,
    field: &'static str,
    pointer: &'static str,
    as_of: &'static str,
    /// Parameters that are sent only where the server declares them.
    wishes: &'static [(&'static str, &'static str)],
}

const SECTIONS: [Section; 5] = [
    Section {
        resource: "Condition",
        name: "problems.by_person",
        field: "problems",
        pointer: "/code/text",
        as_of: "/recordedDate",
        wishes: &[("clinical-status", "active")],
    },
    Section {
        resource: "MedicationRequest",
        name: "medications.by_person",
        field: "medications",
        pointer: "/medicationCodeableConcept/text",
        as_of: "/authoredOn",
        wishes: &[("status", "active")],
    },
    Section {
        resource: "AllergyIntolerance",
        name: "allergies.by_person",
        field: "allergies",
        pointer: "/code/text",
        as_of: "/recordedDate",
        wishes: &[("clinical-status", "active")],
    },
    Section {
        resource: "Device",
        name: "devices.by_person",
        field: "devices",
        pointer: "/type/text",
        as_of: "/meta/lastUpdated",
        wishes: &[("status", "active")],
    },
    Section {
        resource: "Coverage",
        name: "coverage.by_person",
        field: "scheme",
        pointer: "/type/text",
        as_of: "/meta/lastUpdated",
        wishes: &[("status", "active")],
    },
];

fn record_of(section: &Section) -> &'static str {
    if section.resource == "Coverage" { "HealthCoverage" } else { "HealthSummary" }
}

/// Proposes searches for what a server declares.
pub(super) fn propose(
    ask: &Ask,
    declared: &BTreeMap<String, BTreeSet<String>>,
    source: &str,
) -> Result<String, InitError> {
    let record = ask.record.as_deref().unwrap_or("HealthSummary");
    let system = ask.system.as_deref().unwrap_or("urn:national-id");
    let person = |section: &Section| match section.resource {
        "Coverage" => "beneficiary",
        _ => "patient",
    };
    let can = |section: &&Section| {
        let known = declared.get(section.resource);
        record_of(section) == record && known.is_some_and(|params| params.contains(person(section)))
    };
    let sections: Vec<&Section> = SECTIONS.iter().filter(can).collect();
    if sections.is_empty() {
        return Err(InitError::Nothing(format!(
            "the server, which declares no search for a person's {} on any type that `{record}` is made of,",
            SECTIONS.map(|section| section.resource).join(", ")
        )));
    }
    let mut text = format!(
        "# Proposed from the server's CapabilityStatement; no resource was read. What is for you to decide is marked `choose:`.\n\
         # Then: yiwang-adapter check --offline FILE, yiwang-adapter test FILE, yiwang-adapter check FILE\n\
         format = \"adapter/1\"\nmapping = \"{}.{}\"\nrecord = \"{record}\"\nowner = \"{}\"\n\n{source}",
        ask.owner,
        super::text::snake(record),
        ask.owner
    );
    for section in &sections {
        let known = declared.get(section.resource);
        let wishes =
            section.wishes.iter().filter(|(name, _)| known.is_some_and(|known| known.contains(*name)));
        let mut search = format!("\"{}.identifier\" = {}", person(section), quoted(&format!("{system}|:id")));
        for (name, value) in wishes {
            let _ = write!(search, ", {name} = \"{value}\"");
        }
        let _ = write!(
            text,
            "\n[[operation]]\nname = \"{}\"\nkind = \"lookup\"\nsubject = \"id\"\n\
             params.id = {{ type = \"string\", pattern = \"^[0-9]{{17}}[0-9X]$\" }}\nresource = \"{}\"\n\
             search = {{ {search} }} # choose: the system under which persons are numbered\nlimit = 100\ntimeout = \"3s\"\n\
             \n[operation.fields]\n{} = {{ pointer = \"{}\", type = \"string\" }}\n\
             as_of = {{ pointer = \"{}\", type = \"timestamp\", required = true }}\n",
            section.name, section.resource, section.field, section.pointer, section.as_of
        );
    }
    for section in &sections {
        let values =
            BTreeMap::from([(section.pointer, "\"x\""), (section.as_of, "\"2026-11-01T00:00:00Z\"")]);
        let moment =
            super::field::moment_of("2026-11-01T00:00:00Z", &ask.time_zone).map_err(InitError::Program)?;
        let _ = write!(
            text,
            "\n[[test]]\nname = \"a resource that is made up: {}\"\noperation = \"{}\"\nargs = {{ id = \"{PERSON}\" }}\n\
             rows = [{}]\nexpect = [{{ {} = \"x\", as_of = {} }}]\n",
            section.resource,
            section.name,
            super::http::document(&values),
            section.field,
            quoted(&moment)
        );
    }
    Ok(text)
}
