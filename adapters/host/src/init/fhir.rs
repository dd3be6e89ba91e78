//! A FHIR server: for each type that it declares and a section is known for, one search.

use super::field::PERSON;
use super::read::{Ask, InitError};
use super::text::quoted;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use yiwang_adapter_sdk::mapping::search_name;

/// A search of one type of resource for a record: the first field, and where R4 puts the time.
struct Section {
    record: &'static str,
    resource: &'static str,
    name: &'static str,
    /// Parameters by which R4 finds whose a resource is; a server declares one or more of them.
    persons: &'static [&'static str],
    first: More,
    as_of: &'static str,
    /// Parameters that are sent only where the server declares them.
    wishes: &'static [(&'static str, &'static str)],
    more: &'static [More],
}

/// A field, with a made-up place of the resource and what comes of it.
struct More {
    name: &'static str,
    field: &'static str,
    place: (&'static str, &'static str),
    expect: &'static str,
    choose: &'static str,
    /// Whether it has a table of codes.
    is_code: bool,
}

impl More {
    /// A text, as it stands at its place.
    const fn text(name: &'static str, field: &'static str, pointer: &'static str) -> Self {
        Self { name, field, place: (pointer, "\"x\""), expect: "\"x\"", choose: "", is_code: false }
    }
}

/// Whose coverage is not active has none, also where the server does not leave such out; its scheme would not say so.
const COVERAGE: [More; 2] = [
    More {
        name: "insured",
        field: "{ expr = \"row.status == 'active'\", type = \"bool\", required = true }",
        place: ("/status", "\"active\""),
        expect: "true",
        choose: " # choose: whether one whose period is over is still `active` there",
        is_code: false,
    },
    More {
        name: "since",
        field: "{ pointer = \"/period/start\", type = \"date\" }",
        place: ("/period/start", "\"2020-01-01\""),
        expect: "\"2020-01-01\"",
        choose: "",
        is_code: false,
    },
];

/// Which scheme it is stands in a code that every insurer makes for itself.
const SCHEME: More = More {
    name: "scheme",
    field: "{ pointer = \"/type/coding/0/code\", type = \"code\", codes = { \"x\" = \"x\", unknown = \"fail\" } }",
    place: ("/type/coding/0/code", "\"x\""),
    expect: "\"x\"",
    choose: " # choose: each code of the server, and what it means; `x` is made up",
    is_code: true,
};

/// R4 closes the list of genders, so that what the table does not have is `unknown`, or nothing that R4 knows.
const PERSON_FIELDS: [More; 6] = [
    More::text("surname", "{ pointer = \"/name/0/family\", type = \"string\" }", "/name/0/family"),
    More::text("given_name", "{ pointer = \"/name/0/given/0\", type = \"string\" }", "/name/0/given/0"),
    More {
        name: "sex",
        field: "{ pointer = \"/gender\", type = \"code\", codes = { \"male\" = \"male\", \"female\" = \"female\", \"other\" = \"other\", unknown = \"null\" } }",
        place: ("/gender", "\"female\""),
        expect: "\"female\"",
        choose: " # choose: whether it is the sex as registered; R4 means the administrative gender",
        is_code: true,
    },
    More {
        name: "birth_date",
        field: "{ pointer = \"/birthDate\", type = \"date\" }",
        place: ("/birthDate", "\"1990-01-01\""),
        expect: "\"1990-01-01\"",
        choose: "",
        is_code: false,
    },
    More::text("address", "{ pointer = \"/address/0/text\", type = \"string\" }", "/address/0/text"),
    More::text(
        "postcode",
        "{ pointer = \"/address/0/postalCode\", type = \"string\" }",
        "/address/0/postalCode",
    ),
];

/// Whom a patient is called by: of several names and addresses the first, whatever its use.
const NAME: More = More {
    choose: " # choose: whether the first name and address that the server gives are those of today",
    ..More::text("name", "{ pointer = \"/name/0/text\", type = \"string\" }", "/name/0/text")
};

const SECTIONS: [Section; 6] = [
    Section {
        record: "HealthSummary",
        resource: "Condition",
        name: "problems.by_person",
        persons: &["patient.identifier"],
        first: More::text("problems", "{ pointer = \"/code/text\", type = \"string\" }", "/code/text"),
        as_of: "/recordedDate",
        wishes: &[("clinical-status", "active")],
        more: &[],
    },
    Section {
        record: "HealthSummary",
        resource: "MedicationRequest",
        name: "medications.by_person",
        persons: &["patient.identifier"],
        first: More::text(
            "medications",
            "{ pointer = \"/medicationCodeableConcept/text\", type = \"string\" }",
            "/medicationCodeableConcept/text",
        ),
        as_of: "/authoredOn",
        wishes: &[("status", "active")],
        more: &[],
    },
    Section {
        record: "HealthSummary",
        resource: "AllergyIntolerance",
        name: "allergies.by_person",
        persons: &["patient.identifier"],
        first: More::text("allergies", "{ pointer = \"/code/text\", type = \"string\" }", "/code/text"),
        as_of: "/recordedDate",
        wishes: &[("clinical-status", "active")],
        more: &[],
    },
    Section {
        record: "HealthSummary",
        resource: "Device",
        name: "devices.by_person",
        persons: &["patient.identifier"],
        first: More::text("devices", "{ pointer = \"/type/text\", type = \"string\" }", "/type/text"),
        as_of: "/meta/lastUpdated",
        wishes: &[("status", "active")],
        more: &[],
    },
    Section {
        record: "HealthCoverage",
        resource: "Coverage",
        name: "coverage.by_person",
        persons: &["beneficiary.identifier", "patient.identifier"],
        first: SCHEME,
        as_of: "/meta/lastUpdated",
        wishes: &[("status", "active")],
        more: &COVERAGE,
    },
    // A patient who is not marked as active may be one all the same, so that is not asked for.
    Section {
        record: "Person",
        resource: "Patient",
        name: "person.by_id",
        persons: &["identifier"],
        first: NAME,
        as_of: "/meta/lastUpdated",
        wishes: &[],
        more: &PERSON_FIELDS,
    },
];

impl Section {
    fn fields(&self) -> impl Iterator<Item = &More> {
        std::iter::once(&self.first).chain(self.more)
    }

    /// By whom it is found, as a server declares it.
    fn declares(&self) -> Vec<&'static str> {
        self.persons.iter().map(|name| search_name(name)).collect()
    }
}

/// The first of a section's parameters that the server declares.
fn person(section: &Section, declared: &BTreeMap<String, BTreeSet<String>>) -> Option<&'static str> {
    let params = declared.get(section.resource)?;
    section.persons.iter().find(|name| params.contains(search_name(name))).copied()
}

/// What is missing for a record, in plain words, and what would do.
fn lacks(record: &str, declared: &BTreeMap<String, BTreeSet<String>>) -> String {
    let of_record = || SECTIONS.iter().filter(|section| section.record == record);
    let lack = |section: &Section| match declared.contains_key(section.resource) {
        true => format!("`{}` without `{}`", section.resource, section.declares().join("` or `")),
        false => format!("no search on `{}`", section.resource),
    };
    let lacking: Vec<String> = of_record().map(lack).collect();
    if lacking.is_empty() {
        return "of a FHIR server `HealthSummary`, `HealthCoverage` and `Person` are proposed, name one with --record; for others begin \
                with adapters/departments/health/fhir"
            .to_owned();
    }
    let others: BTreeSet<&str> = SECTIONS
        .iter()
        .filter(|section| person(section, declared).is_some())
        .map(|section| section.record)
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
        .filter(|section| section.record == record)
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
        let mut search = format!("\"{person}\" = {}", quoted(&format!("{system}|:id")));
        for (name, value) in wishes {
            let _ = write!(search, ", {name} = \"{value}\"");
        }
        let _ = write!(
            text,
            "\n[[operation]]\nname = \"{}\"\nkind = \"lookup\"\nsubject = \"id\"\n\
             params.id = {{ type = \"string\", pattern = \"^[0-9]{{17}}[0-9X]$\" }}\nresource = \"{}\"\n\
             search = {{ {search} }} # choose: the system under which persons are numbered\nlimit = 100\ntimeout = \"3s\"\n\
             \n[operation.fields]\n",
            section.name, section.resource
        );
        for more in section.fields() {
            let _ = writeln!(text, "{} = {}{}", more.name, more.field, more.choose);
        }
        let _ = writeln!(
            text,
            "as_of = {{ pointer = \"{}\", type = \"timestamp\", required = true }}",
            section.as_of
        );
    }
    for (section, _) in &sections {
        text.push_str(&test(section, &ask.time_zone)?);
    }
    Ok(text)
}

/// A resource that is made up, and the record that must come of it.
fn test(section: &Section, zone: &str) -> Result<String, InitError> {
    let mut values = BTreeMap::from([(section.as_of, "\"2026-11-01T00:00:00Z\"")]);
    values.extend(section.fields().map(|more| more.place));
    let expect: String = section.fields().map(|more| format!("{} = {}, ", more.name, more.expect)).collect();
    let coded: Vec<&str> = section.fields().filter(|more| more.is_code).map(|more| more.name).collect();
    let moment = super::field::moment_of("2026-11-01T00:00:00Z", zone).map_err(InitError::Program)?;
    Ok(format!(
        "\n{}[[test]]\nname = \"a resource that is made up: {}\"\noperation = \"{}\"\nargs = {{ id = \"{PERSON}\" }}\n\
         rows = [{}]\nexpect = [{{ {expect}as_of = {} }}]\n",
        super::draft::follows(&coded),
        section.resource,
        section.name,
        super::http::document(&values),
        quoted(&moment)
    ))
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
            // Which scheme it is is a code in the catalogue.
            for line in [
                "scheme = { pointer = \"/type/coding/0/code\", type = \"code\", codes = {",
                "# With the codes of `scheme` change the test",
            ] {
                assert!(text.contains(line), "{line}\n{text}");
            }
        }
    }

    #[test]
    fn a_person_is_a_patient_that_is_found_by_its_identifier() {
        let text = of("Person", &[("Patient", &["name", "identifier"][..])]).unwrap();
        for line in [
            "mapping = \"health.person\"\nrecord = \"Person\"\n",
            "name = \"person.by_id\"",
            "resource = \"Patient\"\nsearch = { \"identifier\" = \"urn:national-id|:id\" }",
            "birth_date = { pointer = \"/birthDate\", type = \"date\" }",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let mapping =
            yiwang_adapter_sdk::mapping::Mapping::parse(&text, std::path::Path::new("mapping.toml")).unwrap();
        let results = yiwang_adapter_sdk::mapping::run_tests(&mapping);
        assert!(results.len() == 1 && results[0].failure.is_none(), "{results:?}\n{text}");
        // A name that is a list in a resource is one in the test.
        assert!(text.contains("\"given\" = [\"x\"]"), "{text}");
        // Without that search nobody is found, whatever else is declared.
        let said = of("Person", &[("Patient", &["name"][..])]).unwrap_err().to_string();
        assert!(said.starts_with("A-INI-004 ") && said.contains("`Patient` without `identifier`"), "{said}");
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
        let said = of("Vehicle", &[]).unwrap_err().to_string();
        assert!(said.contains("`HealthSummary`, `HealthCoverage` and `Person` are proposed"), "{said}");
    }
}
