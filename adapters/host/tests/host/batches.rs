//! A batch whose key the source folds does not start, and the check says why.

use crate::commands::call;
use crate::operate::{around, shown};
use crate::town::{Host, adapter_config};
use yiwang_adapter::command::ENVIRONMENT;
use yiwang_tests::scene::Scene;

const MAPPING: &str = r#"format = "adapter/1"
mapping = "police.keys"
record = "Person"
owner = "police"
[source.sqlite]
path = "keys.db"
time_zone = "Asia/Shanghai"
[[operation]]
name = "person.all"
kind = "batch"
key = "NO"
subject = "id_number"
sql = "select NO, ID, SEEN from KEYS"
limit = 100
timeout = "2s"
[operation.fields]
id_number = { from = "ID", type = "string" }
as_of = { from = "SEEN", type = "timestamp", required = true }
[[test]]
name = "a row"
operation = "person.all"
rows = [{ ID = "980101199001010017", SEEN = "2026-11-01 08:00:00" }]
expect = [{ id_number = "980101199001010017", as_of = "2026-11-01T08:00:00+08:00" }]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_the_source_folds_is_refused_by_the_check_and_at_the_start() {
    let mut scene = Scene::new(165).await;
    scene.adapter.take().unwrap().stop().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.toml");
    std::fs::write(&file, MAPPING).unwrap();
    scene.police.mappings = vec![file.clone()];
    let database = rusqlite::Connection::open(dir.path().join("keys.db")).unwrap();
    let table = |key: &str| {
        database
            .execute_batch(&format!(
                "drop table if exists KEYS; create table KEYS (NO {key} unique not null, ID text, SEEN text)"
            ))
            .unwrap();
    };
    let path = shown(&file);
    table("varchar(20) collate nocase");
    let (code, said) = call(&["check", &path], around(&[])).await;
    assert!(code == ENVIRONMENT && said.contains("A-SQL-019") && said.contains("collation NOCASE"), "{said}");
    assert!(said.contains("help: page after a column that is compared as it stands"), "{said}");
    let config = adapter_config(&scene.police);
    let refused = Host::try_start(&scene.world, &scene.police, &config).await.err().unwrap().to_string();
    assert!(refused.contains("`police.keys`") && refused.contains("A-SQL-019"), "{refused}");
    table("varchar(20)");
    let (_, said) = call(&["check", &path], around(&[])).await;
    assert!(!said.contains("A-SQL-019"), "{said}");
    let host = Host::start(&scene.world, &scene.police, &config).await;
    host.until_ready().await;
    host.stop().await;
}
