//! Faults of the journal's disk: nothing leaves that is not recorded.

use crate::world::{ONE, World};
use yiwang_adapter_sdk::journal::Kind;
use yiwang_journal::simulated::{Failure, Operation};
use yiwang_proto::codes::Code;

fn exchanges(world: &World) -> usize {
    let is_exchange =
        |record: &&yiwang_adapter_sdk::journal::Record| matches!(record.kind, Some(Kind::Exchange(_)));
    crate::restarts::records(world).iter().filter(is_exchange).count()
}

#[tokio::test]
async fn a_full_disk_stops_the_source_and_goes_on_by_itself() {
    let mut world = World::new();
    world.limits.segment_bytes = (2 << 20) + 8192;
    let adapter = world.open();
    world.look_up(&adapter, ONE).await.answered();
    world.disk.set_capacity(Some(0));
    // Until the segments that are allocated already are used up.
    let mut answered = 1;
    let failure = loop {
        let said = world.look_up(&adapter, ONE).await;
        if said.body.is_empty() {
            break said;
        }
        answered += 1;
    };
    assert_eq!(failure.failed(), Code::LedgerFull);
    assert!(adapter.health().journal_full);
    let touched = world.touched();
    for _ in 0..3 {
        assert_eq!(world.look_up(&adapter, ONE).await.failed(), Code::LedgerFull);
    }
    assert_eq!(world.touched(), touched, "the source is not asked while nothing can be recorded");
    world.disk.set_capacity(None);
    world.look_up(&adapter, ONE).await.answered();
    assert!(!adapter.health().journal_full);
    drop(adapter);
    assert!(exchanges(&world) > answered, "every answer that was given is recorded");
}

#[tokio::test]
async fn a_failed_sync_releases_nothing_and_ends_the_service() {
    for failure in [Failure::Lost, Failure::KeptButReported, Failure::Half] {
        for kind in [Operation::Write, Operation::SyncData] {
            let world = World::new();
            let adapter = world.open();
            world.look_up(&adapter, ONE).await.answered();
            let done = world.disk.operations();
            // A batch is one write and one sync: the next operations on the disk.
            let next = done.len() + usize::from(kind == Operation::SyncData);
            world.disk.fail_at(next, failure);
            let said = world.look_up(&adapter, ONE).await;
            assert_eq!(said.failed(), Code::Internal, "{failure:?} {kind:?}");
            assert!(adapter.is_dead() && adapter.health().journal_dead);
            let touched = world.touched();
            assert_eq!(world.look_up(&adapter, ONE).await.failed(), Code::Internal);
            assert_eq!(world.touched(), touched);
            drop(adapter);
            world.disk.cut_power(|_| 0);
            let adapter = world.open();
            world.look_up(&adapter, ONE).await.answered();
            drop(adapter);
            assert!(exchanges(&world) >= 2);
        }
    }
}

#[tokio::test]
async fn a_kill_at_any_point_loses_no_answer_that_was_given() {
    for stop in 0..12 {
        let world = World::new();
        let adapter = world.open();
        world.look_up(&adapter, ONE).await.answered();
        world.disk.stop_at(world.disk.operations().len() + stop);
        let mut given = 1;
        for _ in 0..4 {
            given += usize::from(!world.look_up(&adapter, ONE).await.body.is_empty());
        }
        drop(adapter);
        world.disk.kill();
        let adapter = world.open();
        drop(adapter);
        assert!(exchanges(&world) >= given, "stopped at {stop}");
    }
}
