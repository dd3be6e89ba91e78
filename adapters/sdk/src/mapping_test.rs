use super::*;

fn departments() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../departments");
    let mut folders = vec![root];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "toml") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

#[test]
fn every_departments_mapping_parses_and_passes_its_own_tests() {
    let mut mappings = 0;
    for file in departments() {
        let text = std::fs::read_to_string(&file).unwrap();
        if !text.contains("format = \"adapter/1\"") {
            continue;
        }
        mappings += 1;
        let mapping = Mapping::parse(&text, &file).unwrap_or_else(|faults| {
            panic!("{}", faults.iter().map(|fault| render(fault, &text)).collect::<String>())
        });
        assert!(!mapping.tests().is_empty(), "{} has no test", file.display());
        for result in run_tests(&mapping) {
            assert_eq!(result.failure, None, "{}: {}", file.display(), result.name);
        }
    }
    assert!(mappings >= 10, "only {mappings} mappings found");
}

#[tokio::test]
async fn every_departments_mapping_fits_the_catalogue_and_the_lint() {
    for file in departments() {
        let text = std::fs::read_to_string(&file).unwrap();
        if !text.contains("format = \"adapter/1\"") {
            continue;
        }
        let mapping = Mapping::parse(&text, &file).unwrap();
        let findings = crate::check::check(&mapping, crate::check::Level::Offline).await;
        let errors: Vec<_> =
            findings.iter().filter(|finding| finding.severity == crate::check::Severity::Error).collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", file.display());
    }
}

/// A folder of files with as little said as can be.
const SHORT: &str = r#"
format = "adapter/1"
mapping = "police.person"
record = "Person"
owner = "police"
[source.csv]
folder = "drop"
encoding = "gbk"
time_zone = "Asia/Shanghai"
columns = ["公民身份号码", "性别", "更新时间"]
[[operation]]
name = "person.by_id"
kind = "lookup"
subject = "id"
params.id = { type = "string", pattern = "^[0-9]{17}[0-9X]$" }
where = { "公民身份号码" = ":id" }
[operation.fields]
sex = { from = "性别", type = "code", codes = { "男" = "male", "女" = "female", unknown = "fail" } }
as_of = { from = "更新时间", type = "timestamp", required = true }
[[test]]
name = "words"
args = { id = "980101199001010017" }
rows = [{ "公民身份号码" = "980101199001010017", "性别" = "女", "更新时间" = "2026-11-01 08:00:00" }]
expect = [{ sex = "female", as_of = "2026-11-01T08:00:00+08:00" }]
"#;

#[tokio::test]
async fn what_is_said_nowhere_is_what_most_mappings_say() {
    let path = Path::new("short.toml");
    let mapping = Mapping::parse(SHORT, path).unwrap();
    let [operation] = mapping.operations() else { panic!("{mapping:?}") };
    assert_eq!((operation.limit, operation.timeout), (LIMIT, TIMEOUT));
    let results = run_tests(&mapping);
    assert!(results.len() == 1 && results[0].failure.is_none(), "{results:?}");
    // A table that stands in a field is judged like one of the file.
    let off = SHORT.replace("\"female\", unknown", "\"femail\", unknown");
    let mapping = Mapping::parse(&off, path).unwrap();
    let findings = crate::check::check(&mapping, crate::check::Level::Offline).await;
    let found = findings.iter().find(|finding| finding.code == "A-MAP-012").unwrap();
    assert_eq!(found.help.as_deref(), Some("did you mean `female`?"));
    let place = found.span.clone().unwrap();
    assert!(off[place].starts_with("{ \"男\""), "{found:?}");
    // A second operation makes a test say which one it runs.
    let second = SHORT
        .split("[[operation]]")
        .nth(1)
        .and_then(|text| text.split("[[test]]").next())
        .map(|text| format!("[[operation]]{}", text.replace("person.by_id", "person.again")))
        .unwrap();
    for (change, said) in [
        (SHORT.replace("[[test]]", &format!("{second}[[test]]")), "a test lacks `operation`"),
        (SHORT.replace("\"性别\", \"更新", "\"性别\", \"性别\", \"更新"), "column `性别` is listed twice"),
        (
            SHORT.replace("[\"公民身份号码\"", "[1, \"公民身份号码\""),
            "`columns` is a whole number, not a text",
        ),
        (
            SHORT.replace("[\"公民身份号码\"", "[\"a@b\", \"公民身份号码\""),
            "a column name has 1 to 128 bytes",
        ),
        (SHORT.replace(", unknown = \"fail\" }", " }"), "codes of `sex` lacks `unknown`"),
        (SHORT.replace("\"男\" = \"male\", \"女\" = \"female\", ", ""), "codes of `sex` lists no code"),
        (SHORT.replace("type = \"code\"", "type = \"string\""), "only a field of type code has `codes`"),
    ] {
        let faults = Mapping::parse(&change, path).unwrap_err();
        assert!(faults.iter().any(|fault| fault.message.contains(said)), "{said}: {faults:?}");
    }
}
