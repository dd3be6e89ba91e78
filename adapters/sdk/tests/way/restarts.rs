//! What an adapter checks and remembers when it starts.

use crate::hub::ORIGIN;
use crate::world::{
    ADAPTER, APP, CONSUMER_ROOT, HOUR, NOW, ONE, PROVIDER_ROOT, STRANGER, World, delegate, key, member,
};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use yiwang_adapter_sdk::adapter::{Adapter, AdapterConfig, AdapterError, ClockRule};
use yiwang_adapter_sdk::fetch::MappedSource;
use yiwang_adapter_sdk::health::LinkState;
use yiwang_adapter_sdk::journal::{Kind, RECORD_MAX, Record, StoppedJournal};
use yiwang_journal::ground::{Ground, Workers};
use yiwang_journal::{Options, Reader};
use yiwang_policies::Decider;
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::{Delegation, Role};

/// Requests while a snapshot is written: enough that it was taken before the last of them.
const DURING: usize = 100;

/// All records of the world's journal.
pub fn records(world: &World) -> Vec<Record> {
    let options = Options { max_record: RECORD_MAX, ..Options::default() };
    let disk = Arc::new(world.disk.clone());
    let (reader, _) = Reader::open_readonly_with(disk, Path::new("/journal"), &options).unwrap();
    reader.scan(0).map(|item| Record::decode(item.unwrap().1).unwrap()).collect()
}

pub fn open(world: &World, config: AdapterConfig) -> Result<Adapter, AdapterError> {
    open_by(world, ClockRule::NeverBack, config, vec![world.source()])
}

fn open_by(
    world: &World,
    rule: ClockRule,
    config: AdapterConfig,
    sources: Vec<MappedSource>,
) -> Result<Adapter, AdapterError> {
    let decider = Arc::new(Decider::builtin().unwrap());
    let ground = Ground { disk: Arc::new(world.disk.clone()), workers: Workers::Threads };
    let (clock, entropy) = (world.clock.clone(), world.entropy.clone());
    Adapter::open_on(ground, rule, config, sources, decider, clock, entropy)
}

#[test]
fn a_delegation_that_does_not_fit_the_adapter_is_seen_at_the_start() {
    let world = World::new();
    let with = |document| AdapterConfig { delegation: document, ..world.config() };
    let of_root = |root, name: &str, role, app: &str, of| with(delegate(root, name, role, app, of));
    let not_for = |config| matches!(open(&world, config), Err(AdapterError::NotFor(_)));
    assert!(not_for(of_root(PROVIDER_ROOT, "civil-affairs", Role::App, "main", ADAPTER)));
    assert!(not_for(of_root(PROVIDER_ROOT, "police", Role::Adapter, "main", ADAPTER)));
    assert!(not_for(of_root(PROVIDER_ROOT, "civil-affairs", Role::Adapter, "other", ADAPTER)));
    assert!(not_for(of_root(PROVIDER_ROOT, "civil-affairs", Role::Adapter, "main", APP)));
    let root = key(PROVIDER_ROOT);
    let name = "main".parse().unwrap();
    let (from, until) = (NOW - 2 * HOUR, NOW - HOUR);
    let over = Delegation::sign(
        &root,
        &member("civil-affairs"),
        Role::Adapter,
        &name,
        key(ADAPTER).public(),
        1,
        from,
        until,
    );
    assert!(not_for(with(over)));
    for other in [STRANGER, CONSUMER_ROOT] {
        let config = of_root(other, "civil-affairs", Role::Adapter, "main", ADAPTER);
        assert!(matches!(open(&world, config), Err(AdapterError::Delegation(_))));
    }
    assert!(open(&world, world.config()).is_ok());
}

#[test]
fn two_mappings_for_one_operation_and_a_mapping_of_another_member_are_seen_at_the_start() {
    let world = World::new();
    let start = |config, sources| open_by(&world, ClockRule::NeverBack, config, sources);
    let twice = start(world.config(), vec![world.source(), world.source()]);
    assert!(matches!(twice, Err(AdapterError::ServedTwice { .. })));
    let police = AdapterConfig {
        member: member("police"),
        delegation: delegate(PROVIDER_ROOT, "police", Role::Adapter, "main", ADAPTER),
        ..world.config()
    };
    assert!(matches!(start(police, vec![world.source()]), Err(AdapterError::OtherOwner { .. })));
}

#[tokio::test]
async fn the_journal_of_another_ledger_is_refused() {
    let world = World::new();
    let adapter = Arc::new(world.open());
    let hub = crate::link::FakeHub::start(&world).await;
    let served = crate::link::Served::start(&adapter, &hub);
    let conn = hub.linked().await;
    crate::link::until(|| adapter.health().link == LinkState::Up).await;
    drop(conn);
    served.stop().await;
    drop(adapter);
    let head = records(&world).into_iter().any(|record| matches!(record.kind, Some(Kind::Head(_))));
    assert!(head, "the head of the handshake is kept");
    let other = crate::hub::Ledger::new(6);
    let ledger = Arc::new(CheckpointVerifier::new(other.verifier_key(), ORIGIN, 4));
    let config = AdapterConfig { ledger, ..world.config() };
    assert!(matches!(open(&world, config), Err(AdapterError::Memory(_))));
    assert_eq!(world.open().head().head.size, world.ledger.len());
}

#[tokio::test]
async fn a_clock_that_had_jumped_ahead_is_accepted_by_the_operator_and_opens_no_replay() {
    let world = World::new();
    let ahead = NOW + 20 * HOUR;
    world.clock.set_ms(ahead);
    let adapter = world.open();
    let (request, body) = world.request(ONE);
    world.ask(&adapter, &request, &body).await.answered();
    drop(adapter);
    world.clock.set_ms(NOW);
    let adapter = world.open();
    assert_eq!(world.look_up(&adapter, ONE).await.failed(), Code::ClockSkew);
    drop(adapter);
    let accepted =
        || open_by(&world, ClockRule::AcceptPresent, world.config(), vec![world.source()]).unwrap();
    let adapter = accepted();
    world.look_up(&adapter, ONE).await.answered();
    drop(adapter);
    let kinds: Vec<_> = records(&world).into_iter().filter_map(|record| record.kind).collect();
    assert!(kinds.iter().any(|kind| matches!(kind, Kind::ClockAccepted(kept) if kept.before_ms >= ahead)));
    // Accepted once, it needs no acceptance again; and what was answered under the wrong clock is used up.
    let adapter = world.open();
    world.look_up(&adapter, ONE).await.answered();
    world.clock.set_ms(ahead);
    assert_eq!(world.ask(&adapter, &request, &body).await.denied(), Code::Replayed);
    drop(adapter);
    world.clock.set_ms(ahead + 1);
    let adapter = accepted();
    assert_eq!(world.ask(&adapter, &request, &body).await.denied(), Code::Replayed);
}

#[tokio::test]
async fn one_journal_is_open_once() {
    let mut world = World::new();
    let adapter = world.open();
    assert!(matches!(world.try_open(), Err(AdapterError::Journal(error)) if error.is_environment()));
    // One that takes over waits for its end, and no longer than it was told.
    world.limits.journal_wait_ms = 100;
    assert!(matches!(world.try_open(), Err(AdapterError::Journal(_))));
    world.look_up(&adapter, ONE).await.answered();
    drop(adapter);
    world.open();
}

#[tokio::test]
async fn a_start_reads_from_the_last_snapshot_and_forgets_nothing_that_counts() {
    let mut world = World::new();
    world.limits.snapshot_records = 20;
    let adapter = Arc::new(world.open());
    let (first, first_body) = world.request(ONE);
    world.ask(&adapter, &first, &first_body).await.answered();
    assert!(!adapter.keep_snapshot().await.unwrap(), "nothing to spare yet");
    for _ in 0..30 {
        world.look_up(&adapter, ONE).await.answered();
    }
    assert!(adapter.keep_snapshot().await.unwrap());
    assert!(!adapter.keep_snapshot().await.unwrap(), "once");
    let (last, last_body) = world.request(ONE);
    world.ask(&adapter, &last, &last_body).await.answered();
    drop(adapter);
    world.disk.cut_power(|_| 0);
    let adapter = Arc::new(world.open());
    let all = records(&world).len() as u64;
    // What lies shortly before a snapshot is looked through for heads and versions only.
    assert!(adapter.health().journal_read <= 2 * all);
    for (request, body) in [(&first, &first_body), (&last, &last_body)] {
        assert_eq!(world.ask(&adapter, request, body).await.denied(), Code::Replayed);
    }
    // The tag of one subject for another.
    let (mut other, body) = world.request(crate::world::TWO);
    other.subject_tags = vec![world.tag(ONE)];
    assert_eq!(world.ask(&adapter, &other, &body).await.denied(), Code::TagMismatch);
    world.look_up(&adapter, ONE).await.answered();
    drop(adapter);
    // An older version stays refused, though its record lies before the snapshot.
    let mut older = crate::world::contract_json();
    older["version"] = 1.into();
    world.use_contract(crate::world::sign_contract(&older, &[PROVIDER_ROOT, CONSUMER_ROOT]));
    let adapter = world.open();
    assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::NoContract);
}

#[tokio::test]
async fn what_is_answered_while_a_snapshot_is_written_stays_used_up() {
    let mut world = World::new();
    world.limits.snapshot_records = 1;
    let adapter = Arc::new(world.open());
    world.look_up(&adapter, ONE).await.answered();
    let mut asked = Vec::new();
    {
        // The memory is cut on a thread of its own; that it is done is seen after all that is asked meanwhile.
        let mut writing = pin!(adapter.keep_snapshot());
        let begun = std::future::poll_fn(|context| Poll::Ready(writing.as_mut().poll(context))).await;
        assert!(begun.is_pending());
        for _ in 0..DURING {
            let (request, body) = world.request(ONE);
            world.ask(&adapter, &request, &body).await.answered();
            asked.push((request, body));
        }
        assert!(writing.await.unwrap());
    }
    drop(adapter);
    world.disk.cut_power(|_| 0);
    let adapter = world.open();
    for (request, body) in &asked {
        assert_eq!(world.ask(&adapter, request, body).await.denied(), Code::Replayed);
    }
}

#[tokio::test]
async fn an_answer_that_the_operator_gave_up_is_owed_no_more_and_not_settled() {
    let mut world = World::new();
    world.limits.snapshot_records = 1;
    let config = world.config();
    let ground = Ground { disk: Arc::new(world.disk.clone()), workers: Workers::Threads };
    let stopped = StoppedJournal::new(config.journal_dir, config.ledger, config.limits.segment_bytes);
    let stopped = stopped.on(ground);
    let entropy = world.entropy.clone();
    let adapter = world.open();
    let running = stopped.owed(NOW, entropy.as_ref());
    assert!(matches!(running, Err(AdapterError::Journal(error)) if error.is_environment()));
    world.look_up(&adapter, ONE).await.answered();
    world.look_up(&adapter, ONE).await.answered();
    drop(adapter);
    let owed = stopped.owed(NOW, entropy.as_ref()).unwrap();
    let [first, second] = owed.as_slice() else { panic!("{owed:?}") };
    let before = records(&world).len();
    assert_eq!(stopped.give_up(&[9; 32], "ticket 12", NOW, entropy.as_ref()).unwrap(), None);
    assert_eq!(records(&world).len(), before, "nothing to give up, nothing written");
    // A clock that went back does not take the journal's time with it.
    let given_up = stopped.give_up(&first.request, "ticket 12", NOW - HOUR, entropy.as_ref()).unwrap();
    assert_eq!(given_up, Some(*first));
    world.disk.cut_power(|_| 0);
    let last = records(&world).pop().unwrap();
    assert!(last.time_ms >= NOW);
    let Some(Kind::GivenUp(record)) = last.kind else { panic!("{last:?}") };
    assert_eq!((&record.request[..], &record.answer[..]), (&first.request[..], &first.answer[..]));
    assert_eq!(record.reason, "ticket 12");
    // Nor does it come back with a snapshot, before which exchange and order lie.
    let adapter = Arc::new(world.open());
    assert_eq!(adapter.health().unreceipted, 1);
    assert!(adapter.keep_snapshot().await.unwrap());
    drop(adapter);
    assert_eq!(stopped.owed(NOW, entropy.as_ref()).unwrap(), [*second]);
    assert_eq!(stopped.give_up(&first.request, "again", NOW, entropy.as_ref()).unwrap(), None);
    let settled = |kind: Option<Kind>| match kind {
        Some(Kind::Exchange(exchange)) => exchange.settled.len(),
        Some(Kind::Followed(followed)) => followed.settled.len(),
        _ => 0,
    };
    assert_eq!(records(&world).into_iter().map(|record| settled(record.kind)).sum::<usize>(), 0);
}
