//! What an expression gives as it stands is of its field's type.

use super::*;

#[tokio::test]
async fn a_constant_that_is_not_of_its_fields_type_is_warned_of() {
    use yiwang_adapter_sdk::check::{Level, Severity, check};
    let base = SQLITE.split("[[test]]").next().unwrap_or_default();
    let begin = "birth_date = { ";
    assert!(base.contains(begin), "{base}");
    for (field, told) in [
        ("{ expr = \"row.XM == 'a' ? 'yes' : 'no'\", type = \"bool\" }", 1),
        ("{ expr = \"row.XM == 'a' ? true : row.XM == 'b' ? 'maybe' : null\", type = \"bool\" }", 1),
        ("{ expr = \"row.XM == 'a' ? true : false\", type = \"bool\" }", 0),
        ("{ expr = \"row.XM == 'a' ? 1 : '0'\", type = \"bool\" }", 0),
        ("{ expr = \"row.XM == 'a'\", type = \"bool\" }", 0),
        ("{ expr = \"row.XM == 'a' ? 'none' : row.XM\", type = \"integer\" }", 1),
        ("{ expr = \"row.XM == 'a' ? 1.5 : 2\", type = \"integer\" }", 1),
        ("{ expr = \"row.XM == 'a' ? 1.5 : '2'\", type = \"number\" }", 0),
        ("{ expr = \"row.XM == 'a' ? '01/01/1900' : row.XM\", type = \"date\" }", 1),
        ("{ expr = \"row.XM == 'a' ? '19000101' : row.XM\", type = \"date\", format = \"%Y%m%d\" }", 0),
        ("{ expr = \"row.XM == 'a' ? 1 : true\", type = \"string\" }", 0),
    ] {
        let text = base.replacen(begin, &format!("marked = {field}\n{begin}"), 1);
        let mapping =
            Mapping::parse(&text, Path::new("m.toml")).unwrap_or_else(|faults| panic!("{field}: {faults:?}"));
        let findings = check(&mapping, Level::Offline).await;
        let about: Vec<_> = findings.iter().filter(|finding| finding.code == "A-MAP-018").collect();
        assert_eq!(about.len(), told, "{field}: {findings:?}");
        assert!(about.iter().all(|one| one.severity == Severity::Warning && one.help.is_some()));
        assert!(about.iter().all(|one| one.message.contains("`marked`")), "{findings:?}");
    }
}
