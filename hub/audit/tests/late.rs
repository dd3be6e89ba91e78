//! Answers that were not released: late ones point at the one entry in which their exchange had ended; withheld
//! ones have a reason that held.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use yiwang_audit::fixture::{Exchange, World};
use yiwang_audit::{Options, Report, Rule, verify_ledger};
use yiwang_proto::codes::Code;
use yiwang_proto::pb;

fn verify(world: &World) -> Report {
    let folder = tempfile::tempdir().unwrap();
    world.write(folder.path());
    let options = Options { key: Some(world.key()), threads: 1, ..Options::default() };
    verify_ledger(folder.path(), &options).unwrap()
}

fn unanswered(exchange: &Exchange) -> Exchange {
    let mut failed = exchange.clone();
    failed.answer = None;
    failed.entry.set_outcome(pb::Outcome::Failed);
    failed.entry.code = Code::ProviderUnavailable.as_str().to_owned();
    failed.entry.adapter_delegation_index = 0;
    failed
}

fn late(exchange: &Exchange, of: u64) -> Exchange {
    let mut late = withheld(exchange, Code::DeadlineExceeded);
    late.entry.late_of = of;
    late
}

fn withheld(exchange: &Exchange, code: Code) -> Exchange {
    let mut withheld = exchange.clone();
    withheld.entry.set_outcome(pb::Outcome::Withheld);
    withheld.entry.code = code.as_str().to_owned();
    withheld
}

#[track_caller]
fn found(report: &Report, rule: Rule) {
    assert!(report.findings.iter().any(|finding| finding.rule == rule), "{report:?}");
}

#[test]
fn a_late_answer_is_clean_hours_after_its_exchange() {
    let mut world = World::new();
    let exchange = world.exchange();
    let first = world.record(unanswered(&exchange));
    world.answered();
    world.now_ms += 5 * 3_600_000;
    let case = world.case.clone();
    world.close_case(&case);
    world.record(late(&exchange, first + 1));
    let report = verify(&world);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.outcomes["withheld deadline_exceeded"], 1);
}

#[test]
fn at_most_one_late_answer_belongs_to_an_exchange_that_had_none() {
    let twice = |world: &mut World| {
        let exchange = world.exchange();
        let first = world.record(unanswered(&exchange));
        world.record(late(&exchange, first + 1));
        world.record(late(&exchange, first + 1));
    };
    let to_an_answered_one = |world: &mut World| {
        let exchange = world.exchange();
        let first = world.record(exchange.clone());
        world.record(late(&exchange, first + 1));
    };
    let to_anothers = |world: &mut World| {
        let other = world.exchange();
        let first = world.record(unanswered(&other));
        let exchange = world.exchange();
        world.record(late(&exchange, first + 1));
    };
    let to_none = |world: &mut World| {
        let exchange = world.exchange();
        world.record(late(&exchange, 3));
    };
    let released = |world: &mut World| {
        let exchange = world.exchange();
        let first = world.record(unanswered(&exchange));
        let mut released = exchange.clone();
        released.entry.late_of = first + 1;
        world.record(released);
    };
    let cases: [&dyn Fn(&mut World); 5] = [&twice, &to_an_answered_one, &to_anothers, &to_none, &released];
    for build in cases {
        let mut world = World::new();
        build(&mut world);
        found(&verify(&world), Rule::Replay);
    }
}

/// A crash between answer and record leaves one entry, recorded when the adapter offers its answer.
#[test]
fn an_answer_that_was_recorded_only_when_it_was_offered_is_clean() {
    let mut world = World::new();
    let exchange = world.exchange();
    world.now_ms += 3_600_000;
    world.record(withheld(&exchange, Code::DeadlineExceeded));
    let report = verify(&world);
    assert!(report.is_clean(), "{report:?}");
    let mut world = World::new();
    let mut forged = world.exchange();
    forged.adapter_key = world.consumer.adapter.clone();
    world.now_ms += 3_600_000;
    world.record(withheld(&forged, Code::DeadlineExceeded));
    found(&verify(&world), Rule::Answer);
    // It uses its id up like every other.
    let mut world = World::new();
    let exchange = world.exchange();
    world.record(withheld(&exchange, Code::DeadlineExceeded));
    world.record(exchange);
    found(&verify(&world), Rule::Replay);
}

#[test]
fn the_reason_of_a_withheld_answer_must_have_held() {
    for code in [Code::CaseClosed, Code::NoContract, Code::ContractExpired, Code::DelegationInvalid] {
        let mut world = World::new();
        let exchange = withheld(&world.exchange(), code);
        world.record(exchange);
        found(&verify(&world), Rule::Decision);
    }
    let mut world = World::new();
    let head = withheld(&world.exchange(), Code::HeadContradicts);
    world.record(head);
    let mut closed = withheld(&world.exchange(), Code::CaseClosed);
    closed.request.issued_at_ms = world.now_ms - 1_000;
    let case = world.case.clone();
    world.close_case(&case);
    world.record(closed);
    let report = verify(&world);
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn a_case_entry_names_the_one_before_it_of_its_member() {
    let mut world = World::new();
    world.answered();
    let case = world.case.clone();
    let index = world.add_to_case(&case, &[3]);
    assert!(verify(&world).is_clean());
    world.edit(index, |entry| {
        let Some(pb::entry::Kind::CaseStatement(case)) = &mut entry.kind else { return };
        case.previous_of_member += 1;
    });
    found(&verify(&world), Rule::Chain);
}
