//! F15: clocks that are wrong, jump or go back, at one party after the other.

use std::sync::Arc;
use yiwang_hub::context::TestSwitches;
use yiwang_proto::ambient::{Clock, ManualClock, SystemClock};
use yiwang_proto::pb;
use yiwang_tests::raw::RawLink;
use yiwang_tests::scene::Scene;
use yiwang_tests::world::World;

const HOUR_MS: i64 = 3_600_000;
const SHIFTS: [i64; 4] = [HOUR_MS, -HOUR_MS, 24 * HOUR_MS, -75_000];

/// Clocks may differ within the tolerance: of a deadline by the hub's own an adapter would make one that is over, or none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f15_a_request_says_how_long_its_hub_still_waits() {
    let mut scene = Scene::bent(160, |draft| draft.limit("deadline_ms", 3000)).await;
    scene.adapter.take().unwrap().stop().await;
    let mut link = RawLink::open(&scene.world, &scene.police, |_| {}).await;
    scene.world.until_linked(scene.police.id()).await;
    let signed = scene.signed();
    let came = async {
        loop {
            for frame in link.incoming.message().await.unwrap().unwrap().frames {
                if let Some(pb::hub_frame::Kind::Request(request)) = frame.kind {
                    return request.wait_ms;
                }
            }
        }
    };
    let (outcome, wait_ms) = tokio::join!(scene.outcome(&signed), came);
    assert_eq!(outcome, "deadline_exceeded");
    assert!((1..=3000).contains(&wait_ms), "{wait_ms} ms");
}

/// A scene whose parties have clocks of their own, all right at first.
struct Clocks {
    scene: Scene,
    hub: Arc<ManualClock>,
    adapter: Arc<ManualClock>,
    app: Arc<ManualClock>,
}

impl Clocks {
    async fn new(seed: u64) -> Self {
        let now = SystemClock::default().now_ms();
        let [hub, adapter, app] = std::array::from_fn(|_| Arc::new(ManualClock::new(now)));
        let world = World::with(seed, hub.clone(), TestSwitches::default()).await;
        let mut scene = Scene::build(world, |draft| draft).await;
        // Everybody was made by the hub's clock; now the adapter and the app get their own.
        scene.adapter.take().unwrap().stop().await;
        scene.world.clock = adapter.clone();
        scene.adapter = Some(scene.police.run_adapter(&scene.world).await);
        scene.world.clock = app.clone();
        scene.app = scene.street.app(&scene.world, "assistance-desk").await;
        Self { scene, hub, adapter, app }
    }

    fn all(&self) -> [&ManualClock; 3] {
        [&self.hub, &self.adapter, &self.app]
    }

    fn advance(&self, ms: u64) {
        for clock in self.all() {
            clock.advance_ms(ms);
        }
    }

    /// One exchange, sent and judged at the clocks' present moment.
    async fn outcome(&self) -> String {
        self.scene.outcome(&self.scene.signed()).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f15_a_wrong_clock_at_one_party_gives_no_wrong_accept() {
    for (seed, shift) in (150..).zip(SHIFTS) {
        for party in 0..3 {
            let clocks = Clocks::new(seed).await;
            assert_eq!(clocks.outcome().await, "answered", "while all clocks agree");
            let wrong = clocks.all()[party];
            wrong.set_ms(wrong.now_ms() + shift);
            let got = clocks.outcome().await;
            // Whoever judges never goes below the highest time it kept: set back, it still judges by the time
            // of the exchange before, and that exchange was a moment ago.
            let kept_right = shift < 0 && party < 2;
            // The hub releases no word of an adapter that says it is an hour later than it is.
            let refusals = [
                "statement_expired",
                "clock_skew",
                "answer_invalid",
                "standing_stale",
                "unrecorded: clock_skew",
            ];
            let refused = refusals.contains(&got.as_str());
            assert!(refused || (kept_right && got == "answered"), "party {party}, {shift} ms: {got}");
            let (code, report) = clocks.scene.verify_ledger().await;
            assert_eq!(code, 0, "party {party}, {shift} ms: {report}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f15_clocks_set_back_revive_no_expired_statement() {
    let clocks = Clocks::new(158).await;
    let old = clocks.scene.signed();
    let replayed = clocks.scene.signed();
    assert_eq!(clocks.scene.outcome(&replayed).await, "answered");
    clocks.advance(120_000);
    // Their words of before are over; their hosts look several times a second.
    for member in [&clocks.scene.street, &clocks.scene.police] {
        member.issuing.until_after(clocks.hub.now_ms()).await;
    }
    assert_eq!(clocks.outcome().await, "answered", "time went on for all");
    assert_eq!(clocks.scene.outcome(&old).await, "statement_expired");
    let another = clocks.scene.app.seal(old.request.clone(), old.message.body.clone());
    for clock in clocks.all() {
        clock.set_ms(clock.now_ms() - 120_000);
    }
    for signed in [&old, &replayed, &another] {
        let got = clocks.scene.outcome(signed).await;
        let refusals = ["statement_expired", "replayed", "unrecorded: clock_skew"];
        assert!(refusals.contains(&got.as_str()), "{got}");
    }
    let fresh = clocks.outcome().await;
    assert_ne!(fresh, "answered", "a statement of a time that is over");
    let (code, report) = clocks.scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f15_a_clock_that_drifts_tenfold_is_refused_when_it_is_too_far_ahead() {
    let clocks = Clocks::new(159).await;
    let mut outcomes = Vec::new();
    for _ in 0..20 {
        clocks.hub.advance_ms(1000);
        clocks.adapter.advance_ms(1000);
        clocks.app.advance_ms(10_000);
        outcomes.push(clocks.outcome().await);
    }
    let ahead = |second: usize| 9000 * (second + 1);
    for (second, got) in outcomes.iter().enumerate() {
        let wanted = if ahead(second) <= 30_000 { "answered" } else { "clock_skew" };
        assert_eq!(got, wanted, "{} ms ahead", ahead(second));
    }
    let (code, report) = clocks.scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}
