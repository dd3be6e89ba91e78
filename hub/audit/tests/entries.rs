//! Entries that a lying hub, consumer or provider makes up: each is found at its index, by its rule, and
//! the ledger around it stays clean. Everything is signed with the real key of the ledger.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "common/show.rs"]
mod show;
#[path = "common/verify.rs"]
mod verify;

use show::show;
use verify::verify;
use yiwang_audit::fixture::{Exchange, Party, STEP_MS, World, adapter, app, tag};
use yiwang_audit::{Report, Rule};
use yiwang_proto::answer::Verdict;
use yiwang_proto::case::Act;
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::Role;
use yiwang_proto::entry::Kind;
use yiwang_proto::ids::{CaseId, ContractId, FieldName, Matter, MemberId, Operation, Purpose};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::pb;

/// All findings are at this index, and one is of this rule.
#[track_caller]
fn found_only_at(report: &Report, index: u64, rule: Rule) {
    let hit = report.findings.iter().any(|finding| finding.index == Some(index) && finding.rule == rule);
    assert!(hit, "wanted {rule} at {index}: {}", show(report));
    assert!(report.findings.iter().all(|finding| finding.index == Some(index)), "{}", show(report));
}

/// An honest exchange, a spoilt one, an honest one: only the spoilt one is found.
#[track_caller]
fn spoilt(rule: Rule, spoil: impl FnOnce(&mut World, &mut Exchange)) {
    let mut world = World::new();
    world.answered();
    let mut exchange = world.exchange();
    spoil(&mut world, &mut exchange);
    let index = world.record(exchange);
    world.answered();
    found_only_at(&verify(&world), index, rule);
}

fn other_case() -> CaseId {
    CaseId::parse("01a31a5f-a400-7000-8000-000000000002").unwrap()
}

fn stranger() -> SecretKey {
    SecretKey::from_seed(&[77; 32])
}

#[test]
fn forged_signatures() {
    spoilt(Rule::Request, |_, exchange| exchange.app_key = stranger());
    spoilt(Rule::Answer, |_, exchange| exchange.adapter_key = stranger());
    // A provider that signs for a consumer, and the other way round.
    spoilt(Rule::Request, |world, exchange| exchange.app_key = world.provider.adapter.clone());
    spoilt(Rule::Answer, |world, exchange| exchange.adapter_key = world.consumer.app.clone());
}

#[test]
fn a_request_that_came_over_another_members_connection() {
    spoilt(Rule::Request, |_, exchange| exchange.entry.peer = "police".to_owned());
}

#[test]
fn what_the_contract_does_not_grant() {
    spoilt(Rule::Decision, |_, exchange| {
        *exchange = exchange.clone().with_fields(&["birth_date", "id_number"]);
    });
    spoilt(Rule::Decision, |_, exchange| {
        exchange.request.purpose = Purpose::parse("missing-person.search").unwrap();
    });
    spoilt(Rule::Decision, |_, exchange| exchange.request.contract_digest = [3; 32]);
    spoilt(Rule::Decision, |_, exchange| exchange.request.subject_tags.clear());
}

#[test]
fn an_answer_wider_than_its_request_or_contract() {
    spoilt(Rule::Answer, |_, exchange| {
        let answer = exchange.answer.as_mut().unwrap();
        answer.fields =
            ["address", "birth_date", "name"].map(|name| FieldName::parse(name).unwrap()).to_vec();
    });
    spoilt(Rule::Answer, |_, exchange| exchange.answer.as_mut().unwrap().rows = 6);
}

#[test]
fn an_answer_to_something_else() {
    spoilt(Rule::Answer, |_, exchange| exchange.answer.as_mut().unwrap().request_digest = [1; 32]);
    spoilt(Rule::Answer, |world, exchange| exchange.answer.as_mut().unwrap().request_id = world.next_id());
    spoilt(Rule::Answer, |_, exchange| {
        exchange.answer.as_mut().unwrap().provider = MemberId::parse("health").unwrap();
    });
    spoilt(Rule::Answer, |_, exchange| exchange.answer.as_mut().unwrap().answered_at_ms -= 3_600_000);
    // The entry says what its answer does not.
    spoilt(Rule::Answer, |_, exchange| {
        let answer = exchange.answer.as_mut().unwrap();
        answer.verdict = Verdict::Failed(Code::SourceError);
        answer.body_digest = None;
    });
    spoilt(Rule::Answer, |_, exchange| exchange.answer = None);
}

#[test]
fn cases_that_are_closed_unknown_or_do_not_list_the_subject() {
    spoilt(Rule::Decision, |_, exchange| exchange.request.subject_tags = vec![[2; 32]]);
    spoilt(Rule::Decision, |world, exchange| {
        exchange.request.case = other_case();
        exchange.request.subject_tags = vec![tag(1, &other_case())];
        exchange.entry.case_index = world.case_index;
    });
    let mut world = World::new();
    world.answered();
    let case = world.case.clone();
    world.close_case(&case);
    let index = world.answered();
    found_only_at(&verify(&world), index, Rule::Decision);
}

#[test]
fn an_addition_widens_a_case_and_a_closed_case_denies() {
    let mut world = World::new();
    let case = world.case.clone();
    let asks_for_three = |world: &mut World| {
        let mut exchange = world.exchange();
        exchange.request.subject_tags = vec![tag(3, &world.case)];
        exchange
    };
    let early = asks_for_three(&mut world).deny(Code::SubjectNotInCase);
    world.record(early);
    world.add_to_case(&case, &[3]);
    let now = asks_for_three(&mut world);
    world.record(now);
    world.close_case(&case);
    let late = asks_for_three(&mut world).deny(Code::CaseClosed);
    world.record(late);
    let report = verify(&world);
    assert!(report.is_clean(), "{}", show(&report));
    assert_eq!((report.decisions.permitted_again, report.decisions.denied_again), (1, 2));
}

#[test]
fn a_failure_while_its_case_closes_is_not_held_against_it() {
    let mut world = World::new();
    let mut exchange = world.exchange();
    exchange.request.issued_at_ms = world.now_ms - 1_000;
    exchange.answer = None;
    exchange.entry.set_outcome(pb::Outcome::Failed);
    exchange.entry.code = Code::DeadlineExceeded.as_str().to_owned();
    exchange.entry.adapter_delegation_index = 0;
    let case = world.case.clone();
    world.close_case(&case);
    world.record(exchange);
    let report = verify(&world);
    assert!(report.is_clean(), "{}", show(&report));
    assert!(show(&report).contains("under way when the case was closed"));
}

#[test]
fn a_denial_without_reason_is_found_and_one_with_a_hidden_reason_is_counted() {
    for code in
        [Code::FieldNotGranted, Code::NoCase, Code::NoContract, Code::StatementExpired, Code::WrongMember]
    {
        spoilt(Rule::Decision, |_, exchange| *exchange = exchange.clone().deny(code));
    }
    let mut world = World::new();
    world.answered();
    let denied = world.exchange().deny(Code::RowOutsideFilter);
    world.record(denied);
    let report = verify(&world);
    assert!(report.is_clean(), "{}", show(&report));
    assert_eq!(report.decisions.not_decided.values().sum::<u64>(), 1);
}

#[test]
fn a_denial_by_the_adapter_stands_and_must_be_the_adapters_word() {
    let denied = |world: &mut World| {
        let mut exchange = world.exchange();
        let answer = exchange.answer.as_mut().unwrap();
        answer.verdict = Verdict::Denied(Code::RowOutsideFilter);
        answer.clause = "rows".to_owned();
        (answer.body_digest, answer.rows) = (None, 0);
        answer.fields.clear();
        exchange.entry.set_outcome(pb::Outcome::Denied);
        exchange.entry.code = Code::RowOutsideFilter.as_str().to_owned();
        exchange.entry.clause = "rows".to_owned();
        exchange
    };
    let mut world = World::new();
    let exchange = denied(&mut world);
    world.record(exchange);
    assert!(verify(&world).is_clean(), "{}", show(&verify(&world)));
    spoilt(Rule::Answer, |world, exchange| {
        *exchange = denied(world);
        exchange.entry.code = Code::RateExceeded.as_str().to_owned();
    });
}

#[test]
fn statements_outside_their_time() {
    for hours in [-1, 1] {
        spoilt(Rule::Request, |_, exchange| {
            exchange.request.issued_at_ms += hours * 3_600_000;
            exchange.request.expires_at_ms += hours * 3_600_000;
            exchange.answer.as_mut().unwrap().answered_at_ms = exchange.request.issued_at_ms;
        });
    }
}

#[test]
fn a_request_id_counts_once() {
    let mut world = World::new();
    let exchange = world.exchange();
    world.record(exchange.clone());
    let index = world.record(exchange.clone());
    found_only_at(&verify(&world), index, Rule::Replay);
    // Refused, and naming a wrong first entry.
    let mut world = World::new();
    let exchange = world.exchange();
    world.record(exchange.clone());
    world.answered();
    let mut replay = exchange.deny(Code::Replayed);
    replay.entry.replay_of = world.entries.len() as u64;
    let index = world.record(replay);
    found_only_at(&verify(&world), index, Rule::Replay);
}

#[test]
fn a_contract_signed_by_one_side_or_under_other_roots() {
    let mut world = World::new();
    let text = world.contract_text(2);
    let (root, other) = (world.provider.root.clone(), stranger());
    let (_, index) = world.publish_signed_contract(&text, &[&root, &other]);
    found_only_at(&verify(&world), index, Rule::Contract);
    // A hub that makes a root of its own for the consumer, and signs both sides in the contract.
    let mut world = World::new();
    let mut text = world.contract_text(2);
    text["consumer"]["root"] = serde_json::to_value(other.public()).unwrap();
    let (_, index) = world.publish_signed_contract(&text, &[&root, &other]);
    found_only_at(&verify(&world), index, Rule::Contract);
}

#[test]
fn contract_versions_count_up_between_the_same_members() {
    let mut world = World::new();
    let (digest, index) = world.publish_contract(1, |text| text["retention_days"] = 5.into());
    found_only_at(&verify(&world), index, Rule::Contract);
    assert_ne!(digest, world.contract.0);
    let mut world = World::new();
    let old = world.exchange();
    world.contract = world.publish_contract(2, |text| text["fields"] = serde_json::json!(["name"]));
    let mut exchange = world.exchange().with_fields(&["name"]);
    world.record(exchange.clone());
    assert!(verify(&world).is_clean());
    // Under the version that was replaced, nothing is released any more.
    exchange.request = old.request;
    exchange.entry.contract_index = old.entry.contract_index;
    let index = world.record(exchange);
    found_only_at(&verify(&world), index, Rule::Decision);
}

#[test]
fn contracts_that_the_catalogue_refuses() {
    for (key, value) in [
        ("purpose", serde_json::json!("social.scoring")),
        ("record", serde_json::json!("FaceImage")),
        ("fields", serde_json::json!(["faith"])),
        ("class", serde_json::json!(0)),
    ] {
        let mut world = World::new();
        let (_, index) = world.publish_contract(2, |text| text[key] = value);
        found_only_at(&verify(&world), index, Rule::Contract);
    }
}

#[test]
fn a_delegation_of_another_root_gains_nothing() {
    let mut world = World::new();
    // The hub enrols a key of its own as the consumer, and asks.
    let false_root = Party { root: stranger(), ..world.consumer.clone() };
    let published = world.publish_delegation(&false_root, Role::App, &app(), &stranger(), 2);
    let mut exchange = world.exchange();
    exchange.app_key = stranger();
    exchange.request.delegation_digest = published.0;
    exchange.entry.app_delegation_index = published.1;
    let index = world.record(exchange);
    let report = verify(&world);
    let at = |index, rule| report.findings.iter().any(|f| f.index == Some(index) && f.rule == rule);
    assert!(at(published.1, Rule::Delegation) && at(index, Rule::Decision), "{}", show(&report));
    // The same with an adapter.
    let mut world = World::new();
    let false_root = Party { root: stranger(), ..world.provider.clone() };
    let published = world.publish_delegation(&false_root, Role::Adapter, &adapter(), &stranger(), 2);
    let mut exchange = world.exchange();
    exchange.adapter_key = stranger();
    exchange.answer.as_mut().unwrap().delegation_digest = published.0;
    exchange.entry.adapter_delegation_index = published.1;
    let index = world.record(exchange);
    let report = verify(&world);
    let at = |index, rule| report.findings.iter().any(|f| f.index == Some(index) && f.rule == rule);
    assert!(at(published.1, Rule::Delegation) && at(index, Rule::Answer), "{}", show(&report));
}

#[test]
fn roles_do_not_mix() {
    let mut world = World::new();
    let consumer = world.consumer.clone();
    let published = world.publish_delegation(&consumer, Role::Adapter, &app(), &stranger(), 2);
    let mut exchange = world.exchange();
    exchange.app_key = stranger();
    exchange.request.delegation_digest = published.0;
    exchange.entry.app_delegation_index = published.1;
    let index = world.record(exchange);
    found_only_at(&verify(&world), index, Rule::Decision);
    let mut world = World::new();
    let provider = world.provider.clone();
    let published = world.publish_delegation(&provider, Role::App, &adapter(), &stranger(), 2);
    let mut exchange = world.exchange();
    exchange.adapter_key = stranger();
    exchange.answer.as_mut().unwrap().delegation_digest = published.0;
    exchange.entry.adapter_delegation_index = published.1;
    let index = world.record(exchange);
    found_only_at(&verify(&world), index, Rule::Answer);
}

#[test]
fn case_statements_that_cannot_be() {
    let matter = || Act::Open { matter: Matter::parse("social-assistance").unwrap() };
    let close = || Act::Close { reason: "decided".to_owned() };
    let spoilt = |act: Act, case: CaseId, key: Option<SecretKey>, hours: i64, rule: Rule| {
        let mut world = World::new();
        let mut statement = world.case_statement(&case, act, &[]);
        statement.issued_at_ms += hours * 3_600_000;
        statement.expires_at_ms += hours * 3_600_000;
        let key = key.unwrap_or_else(|| world.consumer.app.clone());
        let index = world.record_case(&statement, &key);
        found_only_at(&verify(&world), index, rule);
    };
    let known = World::new().case;
    spoilt(matter(), known.clone(), None, 0, Rule::Case);
    spoilt(close(), other_case(), None, 0, Rule::Case);
    spoilt(matter(), other_case(), Some(stranger()), 0, Rule::Case);
    spoilt(close(), known.clone(), None, 1, Rule::Case);
    // Of another member, and after the end.
    let mut world = World::new();
    let provider = world.provider.clone();
    let delegation = world.publish_delegation(&provider, Role::App, &app(), &provider.app, 3);
    let mut statement = world.case_statement(&known, close(), &[]);
    statement.member = provider.id.clone();
    statement.delegation_digest = delegation.0;
    let index = world.record_case(&statement, &provider.app);
    found_only_at(&verify(&world), index, Rule::Case);
    let mut world = World::new();
    world.close_case(&known);
    let index = world.close_case(&known);
    found_only_at(&verify(&world), index, Rule::Case);
    // The same statement again.
    let mut world = World::new();
    let statement = world.case_statement(&other_case(), matter(), &[]);
    let key = world.consumer.app.clone();
    world.record_case(&statement, &key);
    let index = world.record_case(&statement, &key);
    found_only_at(&verify(&world), index, Rule::Replay);
}

#[test]
fn entries_that_say_what_they_cannot_know() {
    spoilt(Rule::Officer, |_, exchange| {
        exchange.entry.officer_proof = pb::OfficerProof::Signed.into();
    });
    spoilt(Rule::Exchange, |_, exchange| exchange.entry.trace_id = vec![1; 5].into());
    spoilt(Rule::Exchange, |_, exchange| exchange.entry.request_digest = vec![1; 32].into());
    spoilt(Rule::Exchange, |_, exchange| exchange.entry.code = "no_such_code".to_owned());
    let mut world = World::new();
    let index = world.denied_unkept(Code::SignatureInvalid);
    world.edit_exchange(index, |exchange| exchange.set_outcome(pb::Outcome::Failed));
    found_only_at(&verify(&world), index, Rule::Exchange);
    let mut world = World::new();
    let origin = pb::OriginEntry { origin: "x".to_owned(), ..pb::OriginEntry::default() };
    let index = world.push(Kind::Origin(origin));
    found_only_at(&verify(&world), index, Rule::Origin);
}

#[test]
fn an_entry_that_is_no_entry_is_found_and_the_rest_goes_on() {
    let mut world = World::new();
    world.answered();
    world.entries.push(bytes::Bytes::from_static(b"\xff\xff no entry"));
    let index = world.entries.len() as u64 - 1;
    world.now_ms += STEP_MS;
    world.answered();
    found_only_at(&verify(&world), index, Rule::Entry);
}

#[test]
fn under_another_policy_nothing_is_decided_again_and_the_report_says_so() {
    let mut world = World::new();
    world.edit(1, |entry| {
        entry.kind =
            Some(Kind::Policy(pb::PolicyEntry { digest: vec![1; 32].into(), version: "other".to_owned() }));
    });
    world.answered();
    let report = verify(&world);
    assert!(report.is_clean(), "{}", show(&report));
    assert_eq!(report.decisions.permitted_again, 0);
    assert_eq!(report.decisions.not_decided["decided by another policy"], 1);
    assert!(show(&report).contains("not the one of this program"));
}

#[test]
fn an_answer_that_was_withheld_is_clean_and_was_rightly_forwarded() {
    let withheld = |exchange: &mut Exchange, code: Code| {
        exchange.entry.set_outcome(pb::Outcome::Withheld);
        exchange.entry.code = code.as_str().to_owned();
    };
    let mut world = World::new();
    let mut exchange = world.exchange();
    withheld(&mut exchange, Code::CaseClosed);
    exchange.request.issued_at_ms = world.now_ms - 1_000;
    let case = world.case.clone();
    world.close_case(&case);
    world.record(exchange);
    let report = verify(&world);
    assert!(report.is_clean(), "{}", show(&report));
    assert_eq!((report.outcomes["withheld case_closed"], report.decisions.permitted_again), (1, 1));
    // Not released, says the hub; that it was forwarded at all was against the contract.
    spoilt(Rule::Decision, |_, exchange| {
        *exchange = exchange.clone().with_fields(&["birth_date", "id_number"]);
        exchange.answer.as_mut().unwrap().fields.truncate(1);
        withheld(exchange, Code::CaseClosed);
    });
}

/// A refusal in a ledger with an honest exchange before and after it.
fn refused(spoil: impl FnOnce(&mut Exchange)) -> (Report, u64) {
    let mut world = World::new();
    world.answered();
    let mut exchange = world.exchange().deny(Code::NoContract);
    spoil(&mut exchange);
    let index = world.record(exchange);
    world.answered();
    (verify(&world), index)
}

#[test]
fn a_refused_request_that_names_what_nobody_knows_is_not_kept() {
    type Spoil = fn(&mut Exchange);
    let made_up: [(Spoil, &str); 5] = [
        (|it| it.request.contract = ContractId::parse("x980121190001010000").unwrap(), "contract"),
        (|it| it.request.operation = Operation::parse("x980121190001010000").unwrap(), "operation"),
        (|it| it.request.provider = MemberId::parse("x980121190001010000").unwrap(), "provider"),
        (|it| it.request.purpose = Purpose::parse("x980121190001010000").unwrap(), "catalogue"),
        (|it| it.request.fields = vec![FieldName::parse("x980121190001010000").unwrap()], "catalogue"),
    ];
    for (spoil, what) in made_up {
        let (report, index) = refused(spoil);
        let said = |finding: &yiwang_audit::Finding| {
            finding.rule == Rule::Exchange && finding.index == Some(index) && finding.what.contains(what)
        };
        assert!(report.findings.iter().any(said), "{what}: {}", show(&report));
    }
    let (report, _) = refused(|it| it.request.provider = it.request.consumer.clone());
    let names = |finding: &yiwang_audit::Finding| finding.what.contains("its digest would do");
    assert!(!report.findings.iter().any(names), "{}", show(&report));
}
