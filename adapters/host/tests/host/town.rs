//! A small town: departments and a street office, each with a host of its own, around a real hub.

use crate::http::{Answer, get, post};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use yiwang_adapter::HostError;
use yiwang_adapter::config::Config;
use yiwang_adapter::run::{Addresses, Surroundings, run};
use yiwang_proto::{hex, sha256};
use yiwang_tests::contracts::draft;
use yiwang_tests::member::Member;
use yiwang_tests::world::World;

pub const TOKEN: &str = "a-token-of-the-assistance-desk";
pub const OTHER_TOKEN: &str = "a-token-of-another-desk";

/// A host that runs.
pub struct Host {
    pub addresses: Addresses,
    stop: CancellationToken,
    task: JoinHandle<Result<(), HostError>>,
}

impl Host {
    pub async fn start(world: &World, member: &Member, config: &str) -> Self {
        Self::try_start(world, member, config).await.unwrap()
    }

    pub async fn try_start(world: &World, member: &Member, config: &str) -> Result<Self, HostError> {
        let path = write_config(member, config);
        let config = Config::read(&path)?;
        let surroundings = surroundings(world, member);
        let stop = CancellationToken::new();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let ready = move |addresses| sender.send(addresses).unwrap();
        let task = tokio::spawn(run(config, surroundings, stop.clone(), ready));
        match receiver.await {
            Ok(addresses) => Ok(Self { addresses, stop, task }),
            Err(_) => Err(task.await.unwrap().unwrap_err()),
        }
    }

    pub fn gateway(&self) -> SocketAddr {
        self.addresses.gateway.unwrap()
    }

    pub async fn health(&self, path: &str) -> Answer {
        get(self.addresses.health.unwrap(), path).await
    }

    /// Waits until `/ready` says so.
    pub async fn until_ready(&self) {
        self.until(200, "ready").await;
    }

    /// Waits until `/ready` answers with this status and text.
    pub async fn until(&self, status: u16, text: &str) {
        let mut last = String::new();
        for _ in 0..600 {
            let answer = self.health("/ready").await;
            if answer.status == status && answer.body.contains(text) {
                return;
            }
            last = answer.body;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("after 30 s still: {last}");
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

pub fn surroundings(world: &World, member: &Member) -> Surroundings {
    Surroundings {
        clock: Arc::clone(&world.clock),
        entropy: Arc::clone(&world.entropy),
        environment: Arc::new(member.settings.clone()),
    }
}

pub fn write_config(member: &Member, config: &str) -> PathBuf {
    let path = member.folder.path().join("adapter.toml");
    std::fs::write(&path, config).unwrap();
    path
}

/// The configuration of a department that only answers.
pub fn adapter_config(member: &Member) -> String {
    let mappings: Vec<String> =
        member.mappings.iter().map(|path| format!("{:?}", path.display().to_string())).collect();
    format!(
        "format = \"adapter-host/1\"\nmember_folder = \".\"\nadapter = \"main\"\njournal = \"journal\"\n\
         segment_bytes = 4194304\nmappings = [{}]\n[health]\nlisten = \"127.0.0.1:0\"\n",
        mappings.join(", ")
    )
}

/// The configuration of an office that only asks.
pub fn gateway_config() -> String {
    format!(
        "format = \"adapter-host/1\"\nmember_folder = \".\"\n[health]\nlisten = \"127.0.0.1:0\"\n\
         [gateway]\nlisten = \"127.0.0.1:0\"\n\
         [[gateway.app]]\nname = \"assistance-desk\"\ntoken_sha256 = \"{}\"\n\
         [[gateway.app]]\nname = \"other-desk\"\ntoken_sha256 = \"{}\"\n",
        hex(&sha256(TOKEN.as_bytes())),
        hex(&sha256(OTHER_TOKEN.as_bytes())),
    )
}

/// Police and civil affairs with hosts, a street office with a gateway, two contracts.
pub struct Town {
    pub world: World,
    pub city: yiwang_city::City,
    pub police: Member,
    pub civil: Member,
    /// Taken by tests that start the office's host again.
    pub street: Option<Member>,
    pub police_host: Option<Host>,
    pub civil_host: Option<Host>,
    pub office: Host,
}

impl Town {
    pub async fn new(seed: u64) -> Self {
        let world = World::new(seed).await;
        let city = world.city();
        let police = world.department(&city, "police", &["person"]).await;
        let civil = world.department(&city, "civil-affairs", &["person"]).await;
        let street = world.member("street-office").await;
        let now = world.clock.now_ms();
        for (provider, id) in [(&police, "police-street-person"), (&civil, "civil-street-person")] {
            let contract = draft(provider, &street, id, now).limit("deadline_ms", 1500);
            world.agree(&contract, provider, &street).await;
        }
        for app in ["assistance-desk", "other-desk"] {
            street.app(&world, app).await;
        }
        let police_host = Host::start(&world, &police, &adapter_config(&police)).await;
        let civil_host = Host::start(&world, &civil, &adapter_config(&civil)).await;
        let office = Host::start(&world, &street, &gateway_config()).await;
        for host in [&police_host, &civil_host, &office] {
            host.until_ready().await;
        }
        let (police_host, civil_host) = (Some(police_host), Some(civil_host));
        Self { world, city, police, civil, street: Some(street), police_host, civil_host, office }
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        post(self.office.gateway(), path, TOKEN, body).await
    }

    pub async fn open_case(&self, subjects: &[&str]) -> String {
        let opened =
            self.post("/v1/cases", &json!({ "matter": "social-assistance", "subjects": subjects })).await;
        assert_eq!(opened.status, 201, "{opened:?}");
        let case = opened.json()["case"].as_str().unwrap().to_owned();
        assert_eq!(opened.header("location"), Some(format!("/v1/cases/{case}").as_str()));
        case
    }

    /// Asks for everything that contracts grant about a person.
    pub async fn query(&self, case: &str, subject: &str) -> Answer {
        let body = json!({ "subject": subject, "purpose": "social-assistance.eligibility", "case": case });
        self.post("/v1/records/query", &body).await
    }

    pub async fn stop(mut self) {
        self.office.stop().await;
        for host in [self.police_host.take(), self.civil_host.take()].into_iter().flatten() {
            host.stop().await;
        }
        self.world.stop_hub().await;
    }
}
