//! A clock that jumps ahead for a moment, at the hub and at an adapter.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use yiwang_adapter_sdk::adapter::Adapter;
use yiwang_hub::config::Config;
use yiwang_hub::context::TestSwitches;
use yiwang_hub::lifecycle;
use yiwang_hub::orders::Order;
use yiwang_policies::Decider;
use yiwang_proto::ambient::{Clock, SystemClock};
use yiwang_proto::codes::Code;
use yiwang_proto::ids::Matter;
use yiwang_tests::scene::Scene;
use yiwang_tests::world::World;

const JUMP_MS: i64 = 10 * 60_000;

/// The system's clock, moved by hand. The monotonic clock is not moved, as in life.
#[derive(Default)]
struct Moved {
    system: SystemClock,
    by_ms: AtomicI64,
}

impl Moved {
    fn by(&self, ms: i64) {
        self.by_ms.store(ms, Ordering::SeqCst);
    }
}

impl Clock for Moved {
    fn now_ms(&self) -> i64 {
        self.system.now_ms() + self.by_ms.load(Ordering::SeqCst)
    }

    fn monotonic_us(&self) -> u64 {
        self.system.monotonic_us()
    }
}

async fn ready(scene: &Scene) -> String {
    let mut stream = tokio::net::TcpStream::connect(scene.world.hub().health_address).await.unwrap();
    stream.write_all(b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

async fn order_acceptance(scene: &Scene) -> Result<String, String> {
    let config = Config::read(&scene.world.hub_dir()).unwrap();
    let orders = lifecycle::orders(&config).unwrap();
    let said = orders.give(&Order::AcceptClock {}, scene.world.entropy.as_ref()).await;
    said.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_jumped_ahead_goes_on_once_its_clock_is_accepted() {
    let clock = Arc::new(Moved::default());
    let mut world = World::with(61, Arc::clone(&clock) as Arc<dyn Clock>, TestSwitches::default()).await;
    // The members keep the right time.
    world.clock = Arc::new(SystemClock::default());
    let mut scene = Scene::build(world, |draft| draft).await;
    let ledger = scene.world.hub().hub.ledger.clone();
    assert!(order_acceptance(&scene).await.unwrap_err().contains("nothing to accept"));

    // One member has spoken, which stops nobody: one entry gets the wrong time.
    clock.by(JUMP_MS);
    assert_eq!(scene.outcome(&scene.signed()).await, "statement_expired");
    clock.by(0);
    let before = ledger.checkpoint().size;
    assert_eq!(scene.outcome(&scene.signed()).await, "unrecorded: clock_skew");
    let matter = Matter::parse("social-assistance").unwrap();
    assert!(scene.app.open_case(&matter, std::slice::from_ref(&scene.mother)).await.is_err());
    assert_eq!(ledger.checkpoint().size, before, "nothing is recorded under a time that is not");
    let text = ready(&scene).await;
    assert!(text.starts_with("HTTP/1.1 503") && text.contains("clock_skew"), "{text}");
    assert!(text.contains("accept-clock"), "{text}");

    let said = order_acceptance(&scene).await.unwrap();
    assert!(said.contains("accepts the clock"), "{said}");
    assert!(ready(&scene).await.starts_with("HTTP/1.1 200"));
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let (case, _) = scene.app.open_case(&matter, std::slice::from_ref(&scene.mother)).await.unwrap();
    scene.case = case;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered", "the adapter takes a case of now");

    // Two members have spoken: the next jump is seen before anything is recorded under it.
    let before = ledger.checkpoint().size;
    clock.by(JUMP_MS);
    assert_eq!(ledger.ready(), Err(Code::ClockSkew));
    let text = ready(&scene).await;
    assert!(text.contains("off what most members sign"), "{text}");
    assert!(order_acceptance(&scene).await.unwrap_err().contains("set it right"));
    assert_eq!(scene.outcome(&scene.signed()).await, "unrecorded: clock_skew");
    assert_eq!(ledger.checkpoint().size, before);
    clock.by(0);
    assert_eq!(scene.outcome(&scene.signed()).await, "answered", "set right, it goes on by itself");

    // A restart goes on from the last entry's time, not from the highest.
    scene.adapter.take().unwrap().stop().await;
    scene.world.stop_hub().await;
    scene.world.start_hub().await;
    scene.app.meet().await.unwrap();
    scene.adapter = Some(scene.police.run_adapter(&scene.world).await);
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
    assert!(report.contains("accepted a clock"), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adapter_that_jumped_ahead_goes_on_once_its_clock_is_accepted() {
    let mut scene = Scene::new(66).await;
    scene.adapter.take().unwrap().stop().await;
    let clock = Arc::new(Moved::default());
    scene.world.clock = Arc::clone(&clock) as Arc<dyn Clock>;
    let adapter = scene.police.run_adapter(&scene.world).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    clock.by(JUMP_MS);
    // The hub lets no word of a wrong clock into the ledger, not even its refusals.
    assert_eq!(scene.outcome(&scene.signed()).await, "answer_invalid");
    clock.by(0);
    assert_eq!(scene.outcome(&scene.signed()).await, "answer_invalid", "its own time does not go back");
    assert!(adapter.adapter.health().clock_skew_ms < -30_000);
    adapter.stop().await;
    let accept = || {
        let (clock, entropy) = (Arc::clone(&scene.world.clock), Arc::clone(&scene.world.entropy));
        let decider = Arc::new(Decider::builtin().unwrap());
        Adapter::accept_clock(scene.police.adapter_config(), decider, clock, entropy).unwrap()
    };
    assert!(accept().is_some());
    assert_eq!(accept(), None, "accepted once");
    let adapter = scene.police.run_adapter(&scene.world).await;
    assert_eq!(adapter.adapter.health().clock_skew_ms, 0);
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    adapter.stop().await;
}
