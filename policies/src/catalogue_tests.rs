use super::*;
use crate::lint::lint_name;

fn record(name: &str) -> RecordType {
    RecordType::parse(name).unwrap()
}

fn field(name: &str) -> FieldName {
    FieldName::parse(name).unwrap()
}

#[test]
fn the_first_catalogue_loads_whole() {
    let catalogue = Catalogue::builtin().unwrap();
    let names: Vec<&str> = catalogue.records().map(|record| record.name.as_str()).collect();
    for name in [
        "Person",
        "Household",
        "Residence",
        "Address",
        "Dwelling",
        "Organisation",
        "Grid",
        "Marriage",
        "BenefitStatus",
        "IncomeAssetCheck",
        "SocialInsurance",
        "Property",
        "Vehicle",
        "DisabilityCertificate",
        "HealthSummary",
        "HealthCoverage",
        "BirthEvent",
        "UtilityConnection",
        "ServiceRequest",
        "Incident",
        "Alert",
        "EvidenceReference",
        "Dispute",
        "VolunteerOffer",
        "VolunteerNeed",
        "AccessRecord",
        "CorrectionCase",
        "MentalHealthRecord",
        "BenchRecord",
    ] {
        assert!(names.contains(&name), "{name} is missing");
    }
    assert_eq!(names.len(), 29);
    assert!(catalogue.purposes().count() >= 19 && catalogue.matters().count() >= 19);
}

#[test]
fn classes_are_those_of_the_table() {
    let catalogue = Catalogue::builtin().unwrap();
    for (name, column, class) in [
        ("Person", "id_number", 2),
        ("Person", "given_name", 2),
        ("Household", "household_id", 1),
        ("Organisation", "uscc", 0),
        ("BenefitStatus", "amount_band", 3),
        ("Property", "count", 3),
        ("HealthSummary", "allergies", 3),
        ("HealthCoverage", "family_doctor_site", 1),
        ("BirthEvent", "weight", 3),
        ("Incident", "township", 1),
        ("Incident", "location", 2),
        ("Incident", "caller", 2),
        ("Incident", "medical_flag", 3),
        ("Alert", "severity", 0),
        ("MentalHealthRecord", "diagnosis", 4),
        ("BenchRecord", "text_8", 2),
        ("BenchRecord", "id", 2),
    ] {
        assert_eq!(catalogue.field(&record(name), &field(column)).unwrap().class, class, "{name}.{column}");
    }
    let person = record("Person");
    assert_eq!(catalogue.highest_class(&person, [&field("name"), &field("area_code")]), Some(2));
    assert_eq!(catalogue.highest_class(&person, [&field("area_code")]), Some(1));
    assert_eq!(catalogue.highest_class(&person, [&field("name"), &field("photo")]), None);
    assert_eq!(catalogue.highest_class(&record("Nothing"), [&field("name")]), None);
    assert_eq!(catalogue.highest_class(&person, []), None);
}

#[test]
fn no_name_of_the_catalogue_meets_the_lint() {
    let catalogue = Catalogue::builtin().unwrap();
    for record in catalogue.records() {
        assert_eq!(lint_name(record.name.as_str()), None);
        for (name, def) in &record.fields {
            assert_eq!(lint_name(name.as_str()), None, "{}.{name}", record.name);
            assert!(def.about.is_ascii());
        }
    }
}

const GOOD: &str = r#"
[[record]]
name = "Tree"
owner = "parks"
subject = "none"
about = "a tree"
fields.height = { type = "number", class = 1, about = "metres" }
"#;

fn load(text: &str) -> Result<Catalogue, CatalogueError> {
    let purposes = ("purposes.toml", "purpose = [{ id = \"parks.care\", about = \"care\" }]");
    let matters = ("matters.toml", "matter = [{ id = \"parks\", about = \"trees\" }]");
    Catalogue::load(&[("records.toml", text)], purposes, matters)
}

#[test]
fn what_is_unknown_or_unsound_is_refused_with_its_place() {
    assert!(load(GOOD).is_ok());
    for (what, with, said) in [
        ("owner = \"parks\"", "owner = \"parks\"\ncolour = 1", "unknown key `colour`"),
        ("class = 1", "class = 1, mask = true", "unknown key `mask`"),
        ("class = 1", "class = 5", "class is 0 to 4"),
        ("class = 1", "class = 2", "the record is about none"),
        ("\"number\"", "\"float\"", "write one of `string`"),
        ("\"none\"", "\"nobody\"", "write one of `person`"),
        ("\"Tree\"", "\"tree\"", "write a record type"),
        ("\"Tree\"", "\"FaceImage\"", "rule N1"),
        ("height", "risk_score", "rule N2"),
        ("height", "as_of", "`as_of` stands beside"),
        ("about = \"metres\"", "about = \"\"", "about is empty"),
    ] {
        let error = load(&GOOD.replace(what, with)).unwrap_err().to_string();
        assert!(error.contains(said) && error.starts_with("records.toml:"), "{with}: {error}");
        let line: usize = error.split(':').nth(1).unwrap().parse().unwrap();
        assert!((2..=8).contains(&line), "{with}: {error}");
    }
    let twice = format!("{GOOD}{GOOD}");
    assert!(load(&twice).unwrap_err().to_string().contains("stands twice"));
    let purposes = ("purposes.toml", "purpose = [{ id = \"parks.care\", about = \"care\", legal = 1 }]");
    let error = Catalogue::load(&[], purposes, ("matters.toml", "matter = []")).unwrap_err();
    assert!(error.to_string().contains("unknown key `legal`"));
}

#[test]
fn types_accept_their_values_only() {
    let text = |text: &str| Scalar::Text(text.to_owned());
    assert!(FieldType::Date.accepts(&text("2026-11-03")));
    for bad in ["2026-11-3", "2026-02-30", "3.11.2026", "2026-11-03T00:00:00Z"] {
        assert!(!FieldType::Date.accepts(&text(bad)), "{bad}");
    }
    assert!(
        FieldType::Number.accepts(&Scalar::Integer(1)) && FieldType::Number.accepts(&Scalar::Number(0.5))
    );
    assert!(!FieldType::Number.accepts(&Scalar::Number(f64::NAN)));
    assert!(!FieldType::Integer.accepts(&Scalar::Number(1.0)) && !FieldType::Integer.accepts(&text("1")));
    assert!(FieldType::Bool.accepts(&Scalar::Bool(true)) && !FieldType::Code.accepts(&Scalar::Bool(true)));
}
