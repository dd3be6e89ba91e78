//! The scene that most tests begin with: police provides persons, the street office asks for them.

use crate::contracts::{Draft, draft};
use crate::member::{Member, RunningAdapter};
use crate::world::World;
use std::path::PathBuf;
use yiwang_audit::reconcile::{Reconciled, Sources};
use yiwang_city::City;
use yiwang_client::client::Client;
use yiwang_client::error::ClientError;
use yiwang_client::exchange::{Ask, Ending, SignedRequest};
use yiwang_proto::body::Arguments;
use yiwang_proto::contract::Contract;
use yiwang_proto::ids::{CaseId, FieldName, Matter, Operation};
use yiwang_proto::note::VerifierKey;

/// The scene.
pub struct Scene {
    /// The world.
    pub world: World,
    /// Its city.
    pub city: City,
    /// The provider.
    pub police: Member,
    /// The consumer.
    pub street: Member,
    /// The provider's adapter.
    pub adapter: Option<RunningAdapter>,
    /// The consumer's app.
    pub app: Client,
    /// The contract in force.
    pub contract: Contract,
    /// An open case about the demo's mother.
    pub case: CaseId,
    /// The mother's id.
    pub mother: String,
}

impl Scene {
    /// With the standard contract.
    pub async fn new(seed: u64) -> Self {
        Self::bent(seed, |draft| draft).await
    }

    /// With a contract that the test bends.
    pub async fn bent(seed: u64, bend: impl FnOnce(Draft) -> Draft) -> Self {
        Self::build(World::new(seed).await, bend).await
    }

    /// In a given world.
    pub async fn build(world: World, bend: impl FnOnce(Draft) -> Draft) -> Self {
        let city = world.city();
        let police = world.department(&city, "police", &["person"]).await;
        let street = world.member("street-office").await;
        let text = bend(draft(&police, &street, "police-street-person", world.clock.now_ms()));
        let document = world.agree(&text, &police, &street).await;
        let adapter = police.run_adapter(&world).await;
        let app = street.app(&world, "assistance-desk").await;
        let mother = city.household().mother.id;
        let matter = Matter::parse("social-assistance").unwrap();
        let (case, _) = app.open_case(&matter, std::slice::from_ref(&mother)).await.unwrap();
        let contract = Contract::open(&document).unwrap();
        Self { world, city, police, street, adapter: Some(adapter), app, contract, case, mother }
    }

    /// The question that the contract allows.
    pub fn ask(&self) -> Ask {
        Ask {
            operation: Operation::parse("person.by_id").unwrap(),
            fields: fields(&["birth_date", "name"]),
            case: self.case.clone(),
            officer: None,
            subject: self.mother.clone(),
            arguments: Arguments::new(),
            retry_of: None,
        }
    }

    /// A signed request that the contract allows.
    pub fn signed(&self) -> SignedRequest {
        self.app.sign(&self.contract, &self.ask())
    }

    /// Sends a request: `answered`, or the code of the recorded refusal, or `unrecorded: <code>`.
    pub async fn outcome(&self, signed: &SignedRequest) -> String {
        outcome(&self.app, &self.contract, signed).await
    }

    /// Stops everything and verifies the ledger from its files.
    pub async fn verify_ledger(mut self) -> (i32, String) {
        if let Some(adapter) = self.adapter.take() {
            adapter.stop().await;
        }
        self.world.stop_hub().await;
        verify_ledger(&self.world)
    }

    /// Stops everything; then the ledger is verified and held against the provider's journal.
    pub async fn judge(mut self) -> Reconciled {
        if let Some(adapter) = self.adapter.take() {
            adapter.stop().await;
        }
        self.world.stop_hub().await;
        reconcile(&self.world, &[], &[self.police.folder.path().join("journal")])
    }
}

/// Holds what apps kept, the ledger of a stopped hub and adapters' journals against each other.
pub fn reconcile(world: &World, received: &[PathBuf], journals: &[PathBuf]) -> Reconciled {
    let sources = Sources {
        ledger: world.ledger_dir(),
        received: received.to_vec(),
        journals: journals.to_vec(),
        ..Sources::default()
    };
    judge(&sources)
}

/// Reconciles with the key that the ledger's folder names: for worlds whose hub did not forge it.
pub fn judge(sources: &Sources) -> Reconciled {
    let key = std::fs::read_to_string(sources.ledger.join("verifier.key")).unwrap();
    let key = VerifierKey::parse(key.trim()).unwrap();
    let options = yiwang_audit::Options { key: Some(key), ..yiwang_audit::Options::default() };
    yiwang_audit::reconcile::reconcile(sources, &options).unwrap()
}

/// Field names.
pub fn fields(names: &[&str]) -> Vec<FieldName> {
    names.iter().map(|name| FieldName::parse(name).unwrap()).collect()
}

/// Sends a request and puts its outcome into one word.
pub async fn outcome(app: &Client, contract: &Contract, signed: &SignedRequest) -> String {
    match app.exchange(contract, signed).await {
        Ok(exchanged) => match exchanged.ending {
            Ending::Answered { .. } => "answered".to_owned(),
            Ending::Denied { code, .. } | Ending::Failed { code } => code,
        },
        Err(ClientError::Hub { code }) => format!("unrecorded: {code}"),
        Err(other) => format!("error: {other}"),
    }
}

/// Runs the offline verifier over a stopped hub's ledger.
pub fn verify_ledger(world: &World) -> (i32, String) {
    use clap::Parser as _;
    #[derive(clap::Parser)]
    struct Line {
        #[command(subcommand)]
        command: yiwang_audit::command::Command,
    }
    let ledger = world.ledger_dir().display().to_string();
    let key = std::fs::read_to_string(world.ledger_dir().join("verifier.key")).unwrap();
    let line = Line::parse_from(["audit", "verify", "--ledger", &ledger, "--key", key.trim()]);
    let mut out = Vec::new();
    let code = yiwang_audit::command::run(&line.command, &mut out);
    (code, String::from_utf8(out).unwrap())
}
