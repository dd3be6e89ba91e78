use super::*;
use crate::config::{Config, Overload, RawConfig};
use crate::context::TestSwitches;
use crate::denials::DenialLimits;
use crate::lifecycle::{self, Ambient, Machine};
use crate::orders::Order;
use crate::quotas::QuotaLimits;
use crate::tls::accept::{AcceptLimits, SystemNetwork};
use std::path::Path;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus as Said;
use tonic_health::pb::health_server::Health as _;
use tonic_health::server::{HealthService, health_reporter};
use yiwang_journal::ground::{Ground, Workers};
use yiwang_journal::simulated::SimulatedDisk;
use yiwang_proto::ambient::{Clock, ManualClock, SeededEntropy};

fn made(dir: &Path, ambient: &Ambient) -> Config {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let raw = RawConfig {
        format: "hub/1".to_owned(),
        origin: "log.city.example/yiwang".to_owned(),
        trust_domain: "city.example".to_owned(),
        listen: anywhere,
        enrol_listen: anywhere,
        health_listen: anywhere,
        names: vec!["localhost".to_owned()],
        public_port: 0,
        segment_bytes: 4 << 20,
        witness_policy: None,
        stop_intake_after_s: 300,
        otlp: None,
        overload: Overload::default(),
        quotas: QuotaLimits::default(),
        denials: DenialLimits::default(),
    };
    lifecycle::init(dir, &raw, ambient).unwrap();
    Config::read(dir).unwrap()
}

/// What gRPC health says, with the clock moved on at each look, until it is this.
async fn until(service: &HealthService, clock: &ManualClock, wanted: Said) {
    for _ in 0..1000 {
        let answer = service.check(tonic::Request::new(HealthCheckRequest::default())).await.unwrap();
        if answer.into_inner().status() == wanted {
            return;
        }
        clock.advance_ms(20);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("health never says {wanted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_told_while_what_the_hub_itself_appends_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, clock) = (SimulatedDisk::new(), Arc::new(ManualClock::new(1_795_000_000_000)));
    let ambient =
        Ambient { clock: Arc::clone(&clock) as Arc<dyn Clock>, entropy: Arc::new(SeededEntropy::new(11)) };
    let config = made(&dir.path().join("hub"), &ambient);
    let ground = Ground { disk: Arc::new(disk.clone()), workers: Workers::Threads };
    let machine = Machine { ground, network: SystemNetwork };
    let (switches, limits) = (TestSwitches::default(), AcceptLimits::default());
    let running = lifecycle::start_on(&machine, &config, &ambient, switches, limits).await.unwrap();
    let (reporter, _) = health_reporter();
    let service = HealthService::from_health_reporter(reporter.clone());
    let hub = Arc::clone(&running.hub);
    hub.tasks.spawn(watch(Arc::clone(&hub), reporter));
    until(&service, &clock, Said::Serving).await;

    disk.stall(true);
    let orders = hub.orders.clone();
    let (reason, unknown) = ("left the network".to_owned(), true);
    let order = Order::Dismiss { who: "member:clinic".to_owned(), reason, unknown };
    let given = tokio::spawn(async move { orders.give(&order, &SeededEntropy::new(12)).await });
    while disk.stalled() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    until(&service, &clock, Said::NotServing).await;
    assert!(!given.is_finished(), "nothing is acknowledged");
    disk.stall(false);
    assert!(given.await.unwrap().unwrap().contains("dismisses member:clinic"));
    until(&service, &clock, Said::Serving).await;
    running.stop(Duration::from_secs(5)).await.unwrap();
}
