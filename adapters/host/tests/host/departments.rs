//! Departments that are stopped, slow or without their source, and a hub that goes and comes back.

use crate::http::post;
use crate::town::{Host, TOKEN, Town, adapter_config};
use serde_json::{Value, json};
use yiwang_adapter::HostError;

async fn ask(town: &Town, case: &str, subject: &str) -> Value {
    let answer = town.query(case, subject).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn state_of(record: &Value, member: &str) -> String {
    let sources = record["sources"].as_array().unwrap();
    let source = sources.iter().find(|source| source["member"] == member).unwrap();
    source["state"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_department_is_unavailable_and_harms_no_other() {
    let mut town = Town::new(31).await;
    let mother = town.city.household().mother;
    let case = town.open_case(&[&mother.id]).await;
    town.police_host.take().unwrap().stop().await;
    let record = ask(&town, &case, &mother.id).await;
    assert_eq!(record["complete"], false);
    assert_eq!(state_of(&record, "police"), "provider_unavailable", "{record:#}");
    assert_eq!(state_of(&record, "civil-affairs"), "answered");
    assert_eq!(record["records"]["Person"]["name"]["value"], mother.name);
    town.civil_host.take().unwrap().stop().await;
    let record = ask(&town, &case, &mother.id).await;
    let name = &record["records"]["Person"]["name"];
    assert_eq!((&name["state"], &name["code"]), (&json!("unavailable"), &json!("provider_unavailable")));
    assert!(name["since"].is_string(), "{record:#}");
    // It comes back by itself.
    let police = Host::start(&town.world, &town.police, &adapter_config(&town.police)).await;
    police.until_ready().await;
    let record = ask(&town, &case, &mother.id).await;
    assert_eq!(state_of(&record, "police"), "answered", "{record:#}");
    town.police_host = Some(police);
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_source_is_given_up_at_the_contracts_deadline() {
    let mut town = Town::new(32).await;
    let mother = town.city.household().mother;
    let case = town.open_case(&[&mother.id]).await;
    town.police_host.take().unwrap().stop().await;
    // The same register behind a statement that counts for minutes.
    let text = std::fs::read_to_string(&town.police.mappings[0]).unwrap();
    let slow = "(with recursive c(x) as (select 1 union all select x + 1 from c where x < 1000000000) \
                select count(*) from c) > 0 and R.ZXBZ = '0'";
    let slow = text.replacen("R.ZXBZ = '0'", slow, 1);
    assert_ne!(slow, text);
    let path = town.world.dir.path().join("slow.toml");
    std::fs::write(&path, slow).unwrap();
    town.police.mappings = vec![path];
    let police = Host::start(&town.world, &town.police, &adapter_config(&town.police)).await;
    police.until_ready().await;
    let record = ask(&town, &case, &mother.id).await;
    assert_eq!(state_of(&record, "police"), "deadline_exceeded", "{record:#}");
    assert_eq!(state_of(&record, "civil-affairs"), "answered");
    town.police_host = Some(police);
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_hub_the_gateway_says_so_and_goes_on_when_it_is_back() {
    let mut town = Town::new(33).await;
    let mother = town.city.household().mother;
    let case = town.open_case(&[&mother.id]).await;
    town.world.stop_hub().await;
    let refused = town.query(&case, &mother.id).await;
    refused.problem(503, "hub_unreachable");
    assert!(refused.header("retry-after").is_some());
    let body = json!({ "matter": "social-assistance", "subjects": [mother.id] });
    post(town.office.gateway(), "/v1/cases", TOKEN, &body).await.problem(503, "hub_unreachable");
    town.police_host.as_ref().unwrap().until(503, "link: ").await;
    town.office.until(503, "`assistance-desk` has not met the hub").await;
    assert_eq!(town.office.health("/live").await.status, 200);
    town.world.start_hub().await;
    for host in [&town.office, town.police_host.as_ref().unwrap(), town.civil_host.as_ref().unwrap()] {
        host.until_ready().await;
    }
    let record = ask(&town, &case, &mother.id).await;
    assert_eq!(record["complete"], true, "{record:#}");
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_away_at_the_start_is_opened_when_it_comes() {
    let mut town = Town::new(34).await;
    let mother = town.city.household().mother;
    let case = town.open_case(&[&mother.id]).await;
    town.police_host.take().unwrap().stop().await;
    let text = std::fs::read_to_string(&town.police.mappings[0]).unwrap();
    let path = town.world.dir.path().join("often.toml");
    std::fs::write(&path, text.replace("every = \"15s\"", "every = \"1s\"")).unwrap();
    town.police.mappings = vec![path];
    let database = town.police.settings.0["POLICE_DB"].clone();
    let aside = format!("{database}.aside");
    std::fs::rename(&database, &aside).unwrap();
    let police = Host::start(&town.world, &town.police, &adapter_config(&town.police)).await;
    town.world.until_linked(town.police.id()).await;
    police.until(503, "source of `police.person`").await;
    let record = ask(&town, &case, &mother.id).await;
    assert_eq!(state_of(&record, "police"), "source_error", "{record:#}");
    assert_eq!(state_of(&record, "civil-affairs"), "answered");
    std::fs::rename(&aside, &database).unwrap();
    police.until_ready().await;
    let record = ask(&town, &case, &mother.id).await;
    assert_eq!(state_of(&record, "police"), "answered", "{record:#}");
    town.police_host = Some(police);
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_cannot_serve_does_not_start() {
    let town = Town::new(35).await;
    let config = adapter_config(&town.police);
    let start = async |config: String| {
        let started = Host::try_start(&town.world, &town.civil, &config).await;
        started.err().unwrap_or_else(|| panic!("it started"))
    };
    // Mappings of another member; a journal that another host holds is not tried: that is the same folder.
    assert!(matches!(start(config.clone()).await, HostError::Source { .. } | HostError::Adapter(_)));
    let own = adapter_config(&town.civil);
    let unknown = own.replace("adapter = \"main\"", "adapter = \"spare\"");
    let refused = start(unknown).await;
    assert!(matches!(&refused, HostError::Unnamed { .. }));
    assert!(refused.to_string().ends_with("; the folder has adapter `main`"), "{refused}");
    let mistyped = start(own.replace("adapter = \"main\"", "adapter = \"mian\"")).await;
    assert!(mistyped.to_string().ends_with("; did you mean `main`?"), "{mistyped}");
    let missing = own.replace("person.toml", "nobody.toml");
    assert!(matches!(start(missing).await, HostError::Read { .. }));
    let address = town.office.gateway();
    let taken = own.replace("listen = \"127.0.0.1:0\"", &format!("listen = \"{address}\""));
    let taken = taken.replace("journal = \"journal\"", "journal = \"journal-2\"");
    assert!(matches!(start(taken).await, HostError::Listen { .. }));
    town.stop().await;
}
