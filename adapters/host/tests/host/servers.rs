//! Database servers as the program sees them: `check` and `show` over real ones.

use crate::commands::call;
use crate::lab::{Kind, Lab, Settings};
use std::sync::Arc;
use yiwang_adapter::command::{ENVIRONMENT, OK};
use yiwang_adapter::run::Surroundings;
use yiwang_proto::ambient::{SystemClock, SystemEntropy};

fn mapping(kind: Kind) -> String {
    let (source, quote) = match kind {
        Kind::Postgres => ("postgres", '"'),
        Kind::Mariadb => ("mariadb", '`'),
    };
    format!(
        "format = \"adapter/1\"\nmapping = \"police.person\"\nrecord = \"Person\"\nowner = \"police\"\n\
         [source.{source}]\nurl = {{ env = \"URL\" }}\n\
         tls = {{ mode = \"verify-full\", ca = {{ env = \"CA\" }} }}\ntime_zone = \"Asia/Shanghai\"\n\
         [[operation]]\nname = \"person.by_id\"\nkind = \"lookup\"\nsubject = \"id\"\n\
         params.id = {{ type = \"string\", pattern = \"[A-Z0-9]{{1,18}}\" }}\n\
         sql = '''select {quote}NM{quote}, {quote}UPD{quote} from {quote}PERSON{quote} where {quote}ID{quote} = :id'''\n\
         limit = 1\ntimeout = \"2s\"\n[operation.fields]\n\
         name = {{ from = \"NM\", type = \"string\" }}\nas_of = {{ from = \"UPD\", type = \"timestamp\" }}\n\
         [[test]]\nname = \"a person\"\noperation = \"person.by_id\"\nargs = {{ id = \"P1\" }}\n\
         rows = [{{ NM = \"云甲\", UPD = \"2026-11-01 08:00:00\" }}]\nexpect = [{{ name = \"云甲\", as_of = \"2026-11-01T08:00:00+08:00\" }}]\n"
    )
}

fn around(settings: &Arc<Settings>) -> Surroundings {
    Surroundings {
        clock: Arc::new(SystemClock::default()),
        entropy: Arc::new(SystemEntropy),
        environment: Arc::clone(settings) as _,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_server_is_checked_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    for lab in [Kind::Postgres, Kind::Mariadb].into_iter().filter_map(Lab::shared) {
        lab.people("checked");
        let settings = Settings::with(&lab.url("checked", "pw-checked", "checked"), lab.ca());
        let file = folder.path().join("person.toml");
        std::fs::write(&file, mapping(lab.kind)).unwrap();
        let file = file.display().to_string();

        let (code, said) = call(&["check", &file], around(&settings)).await;
        assert_eq!(code, OK, "{said}");
        assert!(said.contains("A-SQL-010 proved: role `checked"), "{said}");

        let (code, shown) = call(&["show", &file], around(&settings)).await;
        assert_eq!(code, OK, "{shown}");
        assert!(shown.contains("env = \"URL\"") && shown.contains("verify-full"), "{shown}");
        assert!(!shown.contains("pw-checked"), "{shown}");

        let to = if lab.kind == Kind::Postgres { "checked" } else { "checked@'%'" };
        lab.admin("checked", &format!("grant insert on canary to {to}"));
        let (code, said) = call(&["check", &file], around(&settings)).await;
        assert_eq!(code, ENVIRONMENT, "{said}");
        assert!(said.contains("A-SQL-012") && said.contains("can write: insert on "), "{said}");
        assert!(said.contains("a role of its own"), "{said}");

        settings.set("URL", &lab.url("checked", "hunter2", "checked"));
        let (code, said) = call(&["check", &file], around(&settings)).await;
        assert_eq!(code, ENVIRONMENT, "{said}");
        assert!(said.contains("refuses the role or its password") && !said.contains("hunter2"), "{said}");
    }
}
