//! Database servers as the program sees them: `check`, `show` and `run` over real ones.

use crate::commands::call;
use crate::lab::{Kind, Lab, Settings};
use crate::town::{Host, adapter_config};
use std::sync::Arc;
use std::time::Duration;
use yiwang_adapter::command::{ENVIRONMENT, OK};
use yiwang_adapter::run::Surroundings;
use yiwang_proto::ambient::{SystemClock, SystemEntropy};
use yiwang_tests::world::World;

pub fn mapping(kind: Kind) -> String {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_ready_once_its_databases_roles_can_only_read() {
    let world = World::new(61).await;
    let city = world.city();
    let folder = tempfile::tempdir().unwrap();
    for (lab, id) in [(Kind::Postgres, "police"), (Kind::Mariadb, "civil-affairs")]
        .into_iter()
        .filter_map(|(kind, id)| Some((Lab::shared(kind)?, id)))
    {
        lab.people("served");
        let to = if lab.kind == Kind::Postgres { "served" } else { "served@'%'" };
        lab.admin("served", &format!("grant insert on canary to {to}"));
        let mut member = world.department(&city, id, &[]).await;
        let file = folder.path().join(format!("{id}.toml"));
        // Patient with a source that was there once: what is wrong from the start is told at once all the same.
        let text = mapping(lab.kind)
            .replace("owner = \"police\"", &format!("owner = \"{id}\""))
            .replace("time_zone", "health = { every = \"1s\", unhealthy_after = 100 }\ntime_zone");
        std::fs::write(&file, text).unwrap();
        member.mappings = vec![file];
        member.settings.0.insert("URL".to_owned(), lab.url("served", "pw-served", "served"));
        member.settings.0.insert("CA".to_owned(), lab.ca().to_owned());
        let host = Host::start(&world, &member, &adapter_config(&member)).await;
        host.until(503, "can write: insert on ").await;
        lab.admin("served", &format!("revoke insert on canary from {to}"));
        host.until_ready().await;
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_turns_the_adapter_away_is_told_soon_after_its_first_failed_probe() {
    let world = World::new(63).await;
    let city = world.city();
    let folder = tempfile::tempdir().unwrap();
    for (lab, id) in [(Kind::Postgres, "police"), (Kind::Mariadb, "civil-affairs")]
        .into_iter()
        .filter_map(|(kind, id)| Some((Lab::shared(kind)?, id)))
    {
        lab.people("turned");
        let mut member = world.department(&city, id, &[]).await;
        let file = folder.path().join(format!("{id}.toml"));
        // Three probes at their own pace are sixteen seconds and more.
        let text = mapping(lab.kind)
            .replace("owner = \"police\"", &format!("owner = \"{id}\""))
            .replace("time_zone", "health = { every = \"8s\", unhealthy_after = 3 }\ntime_zone");
        std::fs::write(&file, text).unwrap();
        member.mappings = vec![file];
        member.settings.0.insert("URL".to_owned(), lab.url("turned", "pw-turned", "turned"));
        member.settings.0.insert("CA".to_owned(), lab.ca().to_owned());
        let host = Host::start(&world, &member, &adapter_config(&member)).await;
        host.until_ready().await;
        lab.change_password("turned", "another");
        let told = host.until(503, "refuses the role or its password");
        tokio::time::timeout(Duration::from_secs(14), told).await.unwrap();
        lab.change_password("turned", "pw-turned");
        host.until_ready().await;
        host.stop().await;
    }
}
