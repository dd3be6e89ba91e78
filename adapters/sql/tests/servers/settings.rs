//! What a mapping makes the adapter read of its machine: the settings that it names, and nothing else.

use crate::lab::{Kind, Lab, Settings};
use crate::{People, name_of, parse};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use yiwang_adapter_sdk::fetch::MappedSource;
use yiwang_adapter_sdk::source::Environment;
use yiwang_adapter_sql::{open_mariadb, open_postgres};

/// Remembers what is asked of it.
struct Asked {
    inner: Arc<Settings>,
    url: Option<&'static str>,
    names: Mutex<BTreeSet<String>>,
}

impl Environment for Asked {
    fn var(&self, name: &str) -> Option<String> {
        self.names.lock().unwrap().insert(name.to_owned());
        self.url.filter(|_| name == "URL").map(str::to_owned).or_else(|| self.inner.var(name))
    }

    fn read(&self, path: &Path) -> std::io::Result<String> {
        self.names.lock().unwrap().insert(path.display().to_string());
        Err(std::io::ErrorKind::NotFound.into())
    }
}

/// An answer, or the words of the refusal, and what was read for it.
async fn asked(people: &People<'_>, url: Option<&'static str>) -> (Result<u32, String>, BTreeSet<String>) {
    let asked = Arc::new(Asked { inner: Arc::clone(&people.settings), url, names: Mutex::default() });
    let environment: Arc<dyn Environment> = Arc::clone(&asked) as _;
    let mapping = parse(&people.text);
    let opened = match people.lab.kind {
        Kind::Postgres => open_postgres(&mapping, &environment),
        Kind::Mariadb => open_mariadb(&mapping, &environment),
    };
    let outcome = match opened {
        Ok(source) => {
            let answer = name_of(&MappedSource::new(mapping, source), "P1").await;
            answer.map(|answer| answer.rows).map_err(|error| format!("{error} {}", error.clause))
        }
        Err(error) => Err(error.to_string()),
    };
    let names = asked.names.lock().unwrap().clone();
    (outcome, names)
}

pub async fn named(lab: &Lab) {
    let people = People::new(lab, "settings");
    let wanted = BTreeSet::from(["CA".to_owned(), "URL".to_owned()]);
    assert_eq!(asked(&people, None).await, (Ok(1), wanted.clone()));
    for bad in [
        "file:///etc/passwd",
        "/etc/passwd",
        "postgres://u:hunter2@localhost:1/x?sslcert=/etc/passwd",
        "postgres://u:hunter2@localhost:1/x?passfile=/etc/passwd&host=/tmp",
        "mariadb://u:hunter2@localhost:1/x?local-infile=1",
        "${HOME}",
        "{ env = \"HOME\" }",
        "hunter2",
    ] {
        let (outcome, names) = asked(&people, Some(bad)).await;
        let error = outcome.unwrap_err();
        assert!(names.is_subset(&wanted), "{bad}: {names:?}");
        assert!(!error.contains("hunter2") && !error.contains("root:"), "{error}");
    }
}
