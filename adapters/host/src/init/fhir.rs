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
    more: &'static [More],
}

/// A field more, with a made-up place of the resource and what comes of it.
struct More {
    name: &'static str,
    field: &'static str,
    place: (&'static str, &'static str),
    expect: &'static str,
    choose: &'static str,
}

/// Whose coverage is not active has none, also where the server does not leave such out; its scheme would not say so.
const COVERAGE: [More; 2] = [
    More {
        name: "insured",
        field: "{ expr = \"row.status == 'active'\", type = \"bool\", required = true }",
        place: ("/status", "\"active\""),
        expect: "true",
        choose: " # choose: whether one whose period is over is still `active` there",
    },
    More {
        name: "since",
        field: "{ pointer = \"/period/start\", type = \"date\" }",
        place: ("/period/start", "\"2020-01-01\""),
        expect: "\"2020-01-01\"",
        choose: "",
    },
];

const SECTIONS: [Section; 5] = [
    Section {
        resource: "Condition",
        name: "problems.by_person",
        field: "problems",
        pointer: "/code/text",
        as_of: "/recordedDate",
        wishes: &[("clinical-status", "active")],
        more: &[],
    },
    Section {
        resource: "MedicationRequest",
        name: "medications.by_person",
        field: "medications",
        pointer: "/medicationCodeableConcept/text",
        as_of: "/authoredOn",
        wishes: &[("status", "active")],
        more: &[],
    },
    Section {
        resource: "AllergyIntolerance",
        name: "allergies.by_person",
        field: "allergies",
        pointer: "/code/text",
        as_of: "/recordedDate",
        wishes: &[("clinical-status", "active")],
        more: &[],
    },
    Section {
        resource: "Device",
        name: "devices.by_person",
        field: "devices",
        pointer: "/type/text",
        as_of: "/meta/lastUpdated",
        wishes: &[("status", "active")],
        more: &[],
    },
    Section {
        resource: "Coverage",
        name: "coverage.by_person",
        field: "scheme",
        pointer: "/type/text",
        as_of: "/meta/lastUpdated",
        wishes: &[("status", "active")],
        more: &COVERAGE,
    },
];

fn record_of(section: &Section) -> &'static str {
    if section.resource == "Coverage" { "HealthCoverage" } else { "HealthSummary" }
}

/// Parameters by which R4 finds whose a resource is; a server declares one or both of a Coverage's.
fn persons(section: &Section) -> &'static [&'static str] {
    if section.resource == "Coverage" { &["beneficiary", "patient"] } else { &["patient"] }
}

/// The first of them that the server declares.
fn person(section: &Section, declared: &BTreeMap<String, BTreeSet<String>>) -> Option<&'static str> {
    let params = declared.get(section.resource)?;
    persons(section).iter().find(|name| params.contains(**name)).copied()
}

/// What is missing for a record, in plain words, and what would do.
fn lacks(record: &str, declared: &BTreeMap<String, BTreeSet<String>>) -> String {
    let of_record = || SECTIONS.iter().filter(|section| record_of(section) == record);
    let lack = |section: &Section| match declared.contains_key(section.resource) {
        true => format!("`{}` without `{}`", section.resource, persons(section).join("` or `")),
        false => format!("no search on `{}`", section.resource),
    };
    let lacking: Vec<String> = of_record().map(lack).collect();
    if lacking.is_empty() {
        return "of a FHIR server `HealthSummary` and `HealthCoverage` are proposed, name one with --record; for others begin \
                with adapters/departments/health/fhir"
            .to_owned();
    }
    let others: BTreeSet<&str> = SECTIONS
        .iter()
        .filter(|section| person(section, declared).is_some())
        .map(record_of)
        .filter(|other| *other != record)
        .collect();
    let next = match others.first() {
        Some(other) => format!("; it does for `--record {other}`"),
        None => "; one of them with that parameter would do".to_owned(),
    };
    format!("its CapabilityStatement has {}{next}", lacking.join(", "))
}

/// Proposes searches for what a server declares.
pub(super) fn propose(
    ask: &Ask,
    declared: &BTreeMap<String, BTreeSet<String>>,
    source: &str,
) -> Result<String, InitError> {
    let record = ask.record.as_deref().unwrap_or("HealthSummary");
    let system = ask.system.as_deref().unwrap_or("urn:national-id");
    let sections: Vec<(&Section, &str)> = SECTIONS
        .iter()
        .filter(|section| record_of(section) == record)
        .filter_map(|section| Some((section, person(section, declared)?)))
        .collect();
    if sections.is_empty() {
        return Err(InitError::NoSearch { record: record.to_owned(), lacks: lacks(record, declared) });
    }
    let mut text = format!(
        "# Proposed from the server's CapabilityStatement; no resource was read. What is for you to decide is marked `choose:`.\n\
         # Then: yiwang-adapter check --offline FILE, yiwang-adapter test FILE, yiwang-adapter check FILE\n\
         format = \"adapter/1\"\nmapping = \"{}.{}\"\nrecord = \"{record}\"\nowner = \"{}\"\n\n{source}",
        ask.owner,
        super::text::snake(record),
        ask.owner
    );
    for (section, person) in &sections {
        let known = declared.get(section.resource);
        let wishes =
            section.wishes.iter().filter(|(name, _)| known.is_some_and(|known| known.contains(*name)));
        let mut search = format!("\"{person}.identifier\" = {}", quoted(&format!("{system}|:id")));
        for (name, value) in wishes {
            let _ = write!(search, ", {name} = \"{value}\"");
        }
        let _ = write!(
            text,
            "\n[[operation]]\nname = \"{}\"\nkind = \"lookup\"\nsubject = \"id\"\n\
             params.id = {{ type = \"string\", pattern = \"^[0-9]{{17}}[0-9X]$\" }}\nresource = \"{}\"\n\
             search = {{ {search} }} # choose: the system under which persons are numbered\nlimit = 100\ntimeout = \"3s\"\n\
             \n[operation.fields]\n{} = {{ pointer = \"{}\", type = \"string\" }}\n",
            section.name, section.resource, section.field, section.pointer
        );
        for more in section.more {
            let _ = writeln!(text, "{} = {}{}", more.name, more.field, more.choose);
        }
        let _ = writeln!(
            text,
            "as_of = {{ pointer = \"{}\", type = \"timestamp\", required = true }}",
            section.as_of
        );
    }
    for (section, _) in &sections {
        let mut values =
            BTreeMap::from([(section.pointer, "\"x\""), (section.as_of, "\"2026-11-01T00:00:00Z\"")]);
        values.extend(section.more.iter().map(|more| more.place));
        let more = section.more.iter().map(|more| format!("{} = {}, ", more.name, more.expect));
        let more: String = more.collect();
        let moment =
            super::field::moment_of("2026-11-01T00:00:00Z", &ask.time_zone).map_err(InitError::Program)?;
        let _ = write!(
            text,
            "\n[[test]]\nname = \"a resource that is made up: {}\"\noperation = \"{}\"\nargs = {{ id = \"{PERSON}\" }}\n\
             rows = [{}]\nexpect = [{{ {} = \"x\", {more}as_of = {} }}]\n",
            section.resource,
            section.name,
            super::http::document(&values),
            section.field,
            quoted(&moment)
        );
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::read::Kind;
    use super::*;
    use yiwang_adapter_sdk::source::Setting;
    use yiwang_proto::ids::MemberId;

    fn of(record: &str, declared: &[(&str, &[&str])]) -> Result<String, InitError> {
        let ask = Ask {
            kind: Kind::Fhir,
            setting: Setting::Env("FHIR".to_owned()),
            ca: None,
            table: None,
            files: String::new(),
            openapi: None,
            call: None,
            system: None,
            record: Some(record.to_owned()),
            owner: MemberId::parse("health").unwrap(),
            key: None,
            time_zone: "UTC".to_owned(),
            file: "mapping.toml".into(),
            sample: None,
        };
        let params =
            |params: &[&str]| -> BTreeSet<String> { params.iter().map(|name| (*name).to_owned()).collect() };
        let declared = declared.iter().map(|(name, list)| ((*name).to_owned(), params(list))).collect();
        propose(&ask, &declared, &ask.source())
    }

    #[test]
    fn a_coverage_is_found_by_whichever_parameter_is_declared() {
        for (params, wanted) in [
            (&["patient"][..], "\"patient.identifier\""),
            (&["beneficiary"][..], "\"beneficiary.identifier\""),
            (&["beneficiary", "patient"][..], "\"beneficiary.identifier\""),
        ] {
            let text = of("HealthCoverage", &[("Coverage", params)]).unwrap();
            assert!(text.contains(&format!("search = {{ {wanted} = ")), "{text}");
            let mapping =
                yiwang_adapter_sdk::mapping::Mapping::parse(&text, std::path::Path::new("mapping.toml"));
            let results = yiwang_adapter_sdk::mapping::run_tests(&mapping.unwrap());
            assert!(results.len() == 1 && results[0].failure.is_none(), "{results:?}");
            for line in
                ["insured = { expr", "since = { pointer = \"/period/start\"", "insured = true, since = "]
            {
                assert!(text.contains(line), "{line}\n{text}");
            }
        }
    }

    #[test]
    fn what_is_missing_is_said_of_the_record_that_was_asked_for_alone() {
        let said = of("HealthCoverage", &[("Coverage", &["status"][..])]).unwrap_err().to_string();
        assert!(
            said.starts_with("A-INI-004 ") && said.contains("`Coverage` without `beneficiary` or `patient`"),
            "{said}"
        );
        assert!(!said.contains("Condition"), "{said}");
        let said = of("HealthSummary", &[("Coverage", &["patient"][..]), ("Device", &["type"][..])])
            .unwrap_err()
            .to_string();
        for part in ["no search on `Condition`", "`Device` without `patient`", "`--record HealthCoverage`"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains("`Coverage`"), "{said}");
        let said = of("Person", &[]).unwrap_err().to_string();
        assert!(said.contains("`HealthSummary` and `HealthCoverage` are proposed"), "{said}");
    }
}
