//! What `/ready` says while a source does not give what is mapped.

use crate::lab::{Kind, Lab};
use crate::servers::mapping;
use crate::town::{Host, adapter_config};
use serde_json::Value;
use yiwang_tests::scene::Scene;
use yiwang_tests::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_not_ready_while_a_mapping_has_drifted_and_comes_back_by_itself() {
    let mut scene = Scene::new(167).await;
    scene.adapter.take().unwrap().stop().await;
    let text = std::fs::read_to_string(&scene.police.mappings[0]).unwrap();
    let file = scene.world.dir.path().join("person.toml");
    std::fs::write(&file, text.replace("every = \"15s\"", "every = \"1s\"")).unwrap();
    scene.police.mappings = vec![file];
    let host = Host::start(&scene.world, &scene.police, &adapter_config(&scene.police)).await;
    host.until_ready().await;
    scene.app.meet().await.unwrap();
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let alter = |sql: &str| {
        rusqlite::Connection::open(&scene.police.settings.0["POLICE_DB"])
            .unwrap()
            .execute_batch(sql)
            .unwrap();
    };
    let state = async || {
        let status: Value = host.health("/status").await.json();
        (status["ready"].clone(), status["sources"][0]["operations"][0]["state"].clone())
    };

    alter("alter table T_RY rename column XM to MZ");
    assert_eq!(scene.outcome(&scene.signed()).await, "source_error");
    let said = "operation person.by_id of `police.person`: the source has drifted from its mapping: ";
    host.until(503, said).await;
    let ready = host.health("/ready").await;
    assert!(ready.body.contains("XM") && !ready.body.contains(&scene.mother), "{ready:?}");
    assert_eq!(state().await, (Value::Bool(false), Value::from("drifted")));
    assert_eq!(host.health("/live").await.status, 200);
    // A probe that is answered does not take it away.
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    assert_eq!(host.health("/ready").await.status, 503);

    // Nobody asks meanwhile.
    alter("alter table T_RY rename column MZ to XM");
    host.until_ready().await;
    assert_eq!(state().await, (Value::Bool(true), Value::from("serving")));
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    // An answer tells as well.
    alter("alter table T_RY rename column XM to MZ");
    assert_eq!(scene.outcome(&scene.signed()).await, "source_error");
    host.until(503, said).await;
    alter("alter table T_RY rename column MZ to XM");
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    assert_eq!(host.health("/ready").await.status, 200);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_not_ready_while_a_pool_is_exhausted() {
    let world = World::new(64).await;
    let city = world.city();
    let folder = tempfile::tempdir().unwrap();
    for (lab, id) in [(Kind::Postgres, "police"), (Kind::Mariadb, "civil-affairs")]
        .into_iter()
        .filter_map(|(kind, id)| Some((Lab::shared(kind)?, id)))
    {
        lab.people("exhausted");
        let mut member = world.department(&city, id, &[]).await;
        let file = folder.path().join(format!("{id}.toml"));
        // Its own probe has the only connection for four seconds of five.
        let probe = match lab.kind {
            Kind::Postgres => "select 1 from pg_sleep(4)",
            Kind::Mariadb => "select sleep(4)",
        };
        let more = format!(
            "pool = {{ max = 1, acquire = \"500ms\" }}\nhealth = {{ probe = \"{probe}\", every = \"1s\" }}\ntime_zone"
        );
        let text = mapping(lab.kind)
            .replace("owner = \"police\"", &format!("owner = \"{id}\""))
            .replace("time_zone", &more);
        std::fs::write(&file, text).unwrap();
        member.mappings = vec![file];
        member.settings.0.insert("URL".to_owned(), lab.url("exhausted", "pw-exhausted", "exhausted"));
        member.settings.0.insert("CA".to_owned(), lab.ca().to_owned());
        let host = Host::start(&world, &member, &adapter_config(&member)).await;
        let name = "source of `police.person`: its pool is exhausted: all 1 places are in use";
        host.until(503, name).await;
        host.until_ready().await;
        host.until(503, name).await;
        host.stop().await;
    }
}
