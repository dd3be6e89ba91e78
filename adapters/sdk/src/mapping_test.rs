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
