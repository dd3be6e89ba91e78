//! The town as it is before anything goes wrong: made once by the real programs over real sockets, copied for each
//! seed.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use yiwang_hub::context::TestSwitches;
use yiwang_policies::Decider;
use yiwang_proto::ambient::{Clock, ManualClock};
use yiwang_proto::contract::Contract;
use yiwang_proto::note::CosignerKey;
use yiwang_tests::contracts::{Draft, draft};
use yiwang_tests::member::Member;
use yiwang_tests::world::World;

/// Wall clock when the town was made, and two minutes later, when each simulation begins: no standing lives so long.
const MADE_MS: i64 = 1_798_000_000_000;
pub const BEGIN_MS: i64 = MADE_MS + 120_000;

/// The members; the last two cosign.
pub const POLICE: &str = "police";
pub const HEALTH: &str = "health";
pub const STREET: &str = "street-office";
/// Apps of the street office.
pub const APPS: [&str; 2] = ["assistance-desk", "archive-desk"];

/// What a contract allows to ask.
pub struct Question {
    pub contract: Contract,
    pub operation: &'static str,
    pub fields: &'static [&'static str],
}

pub struct Template {
    world: World,
    pub questions: Vec<Question>,
    pub decider: Arc<Decider>,
}

/// Name and seed of a witness's key.
pub fn witness_of(member: &str) -> Option<(String, [u8; 32])> {
    let number: u8 = match member {
        HEALTH => 1,
        STREET => 2,
        _ => return None,
    };
    Some((format!("log.city.example/yiwang/witness/w{number}"), [200 + number; 32]))
}

fn policy() -> String {
    let line = |(number, member)| {
        let (name, seed) = witness_of(member).unwrap();
        format!("witness w{number} {}\n", CosignerKey::from_seed(&name, &seed).unwrap().verifier())
    };
    let lines: String = [(1, HEALTH), (2, STREET)].into_iter().map(line).collect();
    lines + "group one 1 w1 w2\nquorum one\n"
}

async fn agree(
    world: &World,
    provider: &Member,
    consumer: &Member,
    id: &str,
    bend: impl FnOnce(Draft) -> Draft,
    (operation, fields): (&'static str, &'static [&'static str]),
) -> Question {
    let text = draft(provider, consumer, id, world.clock.now_ms()).with("apps", APPS.as_slice().into());
    let document = world.agree(&bend(text), provider, consumer).await;
    Question { contract: Contract::open(&document).unwrap(), operation, fields }
}

impl Template {
    /// Starts the real programs, lets them agree, and stops them.
    pub fn make() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.unwrap().block_on(async {
            let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(MADE_MS));
            let mut world = World::with(1, clock, TestSwitches::default()).await;
            let police = world.member(POLICE).await;
            let health = world.member(HEALTH).await;
            let street = world.member(STREET).await;
            for name in APPS {
                street.app(&world, name).await;
            }
            let person = ("person.by_id", ["birth_date", "name"].as_slice());
            let coverage = ("coverage.by_person", ["insured"].as_slice());
            let insured = |draft: Draft| draft.record("HealthCoverage", coverage.0, coverage.1, 2);
            let together = |draft: Draft| draft.with("batch_signatures", true.into());
            let questions = vec![
                agree(&world, &police, &street, "police-street-person", |draft| draft, person).await,
                agree(&world, &health, &street, "health-street-coverage", insured, coverage).await,
                agree(&world, &police, &street, "police-street-second", together, person).await,
            ];
            drop((police, health, street));
            world.stop_hub().await;
            world.demand_witnesses(&policy(), 300);
            Self { world, questions, decider: Arc::new(Decider::builtin().unwrap()) }
        })
    }

    /// A copy of all folders.
    pub fn copy_to(&self, dir: &Path) {
        for name in ["hub", "members"] {
            let from = self.world.dir.path().join(name);
            let copied = Command::new("cp").arg("-a").arg(from).arg(dir).status().unwrap();
            assert!(copied.success());
        }
    }
}
