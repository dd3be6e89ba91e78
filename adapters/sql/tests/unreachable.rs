//! A server that is not there: told once, with what to look at.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use yiwang_adapter_sdk::check::{Finding, Level, Severity, check};
use yiwang_adapter_sdk::compliance;
use yiwang_adapter_sdk::mapping::Mapping;
use yiwang_adapter_sdk::source::Environment;
use yiwang_adapter_sql::{open_mariadb, open_postgres};

struct Url(String);

impl Environment for Url {
    fn var(&self, name: &str) -> Option<String> {
        (name == "URL").then(|| self.0.clone())
    }

    fn read(&self, _path: &Path) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_once_and_with_what_to_look_at() {
    // A port that was free a moment ago: nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for kind in ["postgres", "mariadb"] {
        let text = compliance::mapping(
            &format!(
                "[source.{kind}]\nurl = {{ env = \"URL\" }}\ntls = {{ mode = \"off\" }}\ntime_zone = \"UTC\""
            ),
            "sql = \"select 1 where :id = ''\"",
            "sql = \"select 1 where :area = ''\"",
        );
        let mapping =
            Mapping::parse(&text, Path::new("m.toml")).unwrap_or_else(|faults| panic!("{faults:?}"));
        let url = Url(format!("{kind}://role:hunter2@127.0.0.1:{port}/people"));
        let environment: Arc<dyn Environment> = Arc::new(url);
        let opened = match kind {
            "postgres" => open_postgres(&mapping, &environment),
            _ => open_mariadb(&mapping, &environment),
        };
        let source = opened.unwrap_or_else(|error| panic!("{error}"));
        let level = Level::Live { source: source.as_ref(), now_ms: compliance::NOW_MS };
        let findings = check(&mapping, level).await;
        let is_live = |one: &&Finding| one.severity == Severity::Error && !one.code.starts_with("A-MAP-");
        let told: Vec<&Finding> = findings.iter().filter(is_live).collect();
        let [only] = told.as_slice() else { panic!("{findings:?}") };
        assert_eq!(only.code, "A-SQL-001");
        let next = "connection refused; is it running, with the host and port of what `url` refers to?";
        assert!(only.message.ends_with(next) && !only.message.contains("hunter2"), "{}", only.message);
    }
}
