//! Entries of what a member asked before its root changed.

use super::watch::{batch, evidence, taken};
use super::{FakeHub, Served};
use crate::restarts::open;
use crate::world::{APP, CONSUMER_ROOT, NOW, ONE, STRANGER, World, delegate, key};
use std::sync::Arc;
use yiwang_adapter_sdk::adapter::AdapterConfig;
use yiwang_proto::delegation::Role;
use yiwang_proto::entry::Kind;
use yiwang_proto::pb;

/// Under a root that the member had before its app was answered until its standing ended: the entry may come after the change.
#[tokio::test]
async fn t07_a_request_under_a_root_that_the_member_had_before_accuses_nobody() {
    let world = World::new();
    let config = AdapterConfig { former_roots: vec![key(STRANGER).public()], ..world.config() };
    let adapter = Arc::new(open(&world, config).unwrap());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    let mut from = world.ledger.len();
    let under = |root| {
        let delegation = delegate(root, "civil-affairs", Role::App, "assistance-desk", APP);
        world.stock.publish(&delegation);
        let (mut request, _) = world.request(ONE);
        (request.consumer, request.provider) = ("civil-affairs".parse().unwrap(), "police".parse().unwrap());
        request.delegation_digest = delegation.digest();
        request
    };
    let mut before = 0;
    // By an app under the root before; by somebody else in its name; under a root that was never the member's.
    for (root, signer, alarms) in [(STRANGER, APP, 0), (STRANGER, STRANGER, 1), (CONSUMER_ROOT, APP, 2)] {
        let entry = pb::ExchangeEntry {
            request: under(root).sign(&key(signer)).bytes().clone(),
            outcome: pb::Outcome::Failed.into(),
            previous_of_consumer: before,
            ..Default::default()
        };
        let index = world.ledger.append(NOW, Kind::Exchange(entry));
        conn.send(batch(&world.ledger, from, &[index])).await;
        assert_eq!(taken(&mut conn).await, index + 1);
        assert_eq!((adapter.health().alarms, evidence(&world).len()), (alarms, alarms as usize));
        (before, from) = (index + 1, world.ledger.len());
    }
    served.stop().await;
}
