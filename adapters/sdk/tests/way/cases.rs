//! Cases: no case, no query; and a tag stands for one subject.

use crate::hub::Ledger;
use crate::world::{
    APP, CONSUMER_ROOT, NOW, ONE, PROVIDER_ROOT, STRANGER, TWO, World, delegate, key, member, open_act,
};
use bytes::Bytes;
use std::sync::atomic::Ordering;
use yiwang_proto::case::Act;
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::Role;
use yiwang_proto::ids::CaseId;
use yiwang_proto::pb;

async fn refused(world: &World) -> Code {
    let adapter = world.open();
    let said = world.look_up(&adapter, ONE).await;
    assert_eq!(world.touched(), 0);
    said.denied()
}

fn reason(text: &str) -> String {
    text.to_owned()
}

fn show(world: &World, change: impl FnOnce(&mut Vec<pb::Receipt>)) {
    change(world.stock.cases.lock().unwrap().get_mut(&world.case).unwrap());
}

#[tokio::test]
async fn without_a_case_nothing_is_asked() {
    let world = World::new();
    world.stock.cases.lock().unwrap().clear();
    assert_eq!(refused(&world).await, Code::NoCase);
}

#[tokio::test]
async fn a_closed_case_is_refused_and_stays_closed_even_if_the_hub_hides_the_closing() {
    let world = World::new();
    let adapter = world.open();
    world.look_up(&adapter, ONE).await.answered();
    let opening = world.stock.cases.lock().unwrap()[&world.case].clone();
    let close = world.case_act(Act::Close { reason: reason("decided") }, &[]);
    world.stock.enter(&world.ledger, &world.case, &[(NOW, close.sign(&key(APP)))]);
    world.clock.advance_ms(61_000);
    assert_eq!(
        world.look_up(&adapter, ONE).await.denied(),
        Code::CaseClosed,
        "looked up again after a minute"
    );
    show(&world, |shown| *shown = opening);
    world.clock.advance_ms(61_000);
    assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::CaseClosed);
    assert_eq!(world.touched(), 1);
}

#[tokio::test]
async fn a_tag_that_the_case_does_not_list_is_refused_until_it_is_added() {
    let world = World::new();
    let adapter = world.open();
    let third = "980101199001010033";
    assert_eq!(world.look_up(&adapter, third).await.denied(), Code::SubjectNotInCase);
    assert_eq!(world.touched(), 0);
    let add = world.case_act(Act::Add { reason: reason("household-member") }, &[third]);
    world.stock.enter(&world.ledger, &world.case, &[(NOW, add.sign(&key(APP)))]);
    world.look_up(&adapter, third).await.answered();
    // Shown again without the addition, the case does not shrink.
    show(&world, |shown| shown.truncate(1));
    assert_eq!(world.look_up(&adapter, "980101199001010041").await.denied(), Code::SubjectNotInCase);
    world.look_up(&adapter, third).await.answered();
}

#[tokio::test]
async fn a_case_of_another_member_is_none() {
    let world = World::new();
    let mut open = world.case_act(open_act(), &[ONE]);
    open.member = member("county");
    world.stock.cases.lock().unwrap().clear();
    world.stock.enter(&world.ledger, &world.case, &[(NOW, open.sign(&key(APP)))]);
    assert_eq!(refused(&world).await, Code::NoCase);
}

#[tokio::test]
async fn a_case_for_another_matter_does_not_fit() {
    let world = World::new();
    let open = world.case_act(Act::Open { matter: "birth".parse().unwrap() }, &[ONE]);
    world.stock.cases.lock().unwrap().clear();
    world.stock.enter(&world.ledger, &world.case, &[(NOW, open.sign(&key(APP)))]);
    assert_eq!(refused(&world).await, Code::MatterMismatch);
}

#[tokio::test]
async fn an_opening_that_nobody_delegated_signed_is_none() {
    let world = World::new();
    let open = world.case_act(open_act(), &[ONE]);
    world.stock.cases.lock().unwrap().clear();
    world.stock.enter(&world.ledger, &world.case, &[(NOW, open.sign(&key(STRANGER)))]);
    assert_eq!(refused(&world).await, Code::NoCase);
    // The same with a delegation that the hub made up, or of the provider's own root.
    for root in [STRANGER, PROVIDER_ROOT] {
        let world = World::new();
        let false_app = delegate(root, "street-office", Role::App, "assistance-desk", STRANGER);
        world.stock.publish(&false_app);
        let mut open = world.case_act(open_act(), &[ONE]);
        open.delegation_digest = false_app.digest();
        world.stock.cases.lock().unwrap().clear();
        world.stock.enter(&world.ledger, &world.case, &[(NOW, open.sign(&key(STRANGER)))]);
        assert_eq!(refused(&world).await, Code::NoCase);
    }
}

#[tokio::test]
async fn another_app_of_the_consumer_may_have_opened_the_case() {
    let world = World::new();
    let register = delegate(CONSUMER_ROOT, "street-office", Role::App, "register", 41);
    world.stock.publish(&register);
    let mut open = world.case_act(open_act(), &[ONE]);
    open.app = "register".parse().unwrap();
    open.delegation_digest = register.digest();
    world.stock.cases.lock().unwrap().clear();
    world.stock.enter(&world.ledger, &world.case, &[(NOW, open.sign(&key(41)))]);
    let adapter = world.open();
    world.look_up(&adapter, ONE).await.answered();
    assert_eq!(
        world.stock.asked.load(Ordering::SeqCst),
        2,
        "once for all, once for the other app's delegation"
    );
}

#[tokio::test]
async fn an_opening_outside_the_ledger_is_none() {
    // A proof that does not lead to the root, an entry that was changed, an index that was changed.
    let bends: [fn(&mut pb::Receipt); 4] = [
        |receipt| receipt.proof[0] = Bytes::from(vec![0; 32]),
        |receipt| receipt.proof.clear(),
        |receipt| {
            let mut entry = receipt.entry.to_vec();
            let last = entry.len() - 1;
            entry[last] ^= 1;
            receipt.entry = entry.into();
        },
        |receipt| receipt.index = 0,
    ];
    for bend in bends {
        let world = World::new();
        show(&world, |shown| bend(&mut shown[0]));
        assert_eq!(refused(&world).await, Code::NoCase);
    }
    // A whole ledger of somebody else's, with good proofs under another key.
    let world = World::new();
    let open = world.case_act(open_act(), &[ONE]).sign(&key(APP));
    world.stock.cases.lock().unwrap().clear();
    world.stock.enter(&Ledger::new(6), &world.case, &[(NOW, open)]);
    assert_eq!(refused(&world).await, Code::NoCase);
}

#[tokio::test]
async fn statements_in_an_impossible_order_are_none() {
    let close = |world: &World| world.case_act(Act::Close { reason: reason("ended") }, &[]).sign(&key(APP));
    let add =
        |world: &World| world.case_act(Act::Add { reason: reason("new-party") }, &[TWO]).sign(&key(APP));
    let open = |world: &World| world.case_act(open_act(), &[ONE]).sign(&key(APP));
    for acts in
        [vec![add, open], vec![open, open], vec![open, close, add], vec![close]] as [Vec<fn(&World) -> _>; 4]
    {
        let world = World::new();
        world.stock.cases.lock().unwrap().clear();
        let statements: Vec<_> = acts.iter().map(|act| (NOW, act(&world))).collect();
        world.stock.enter(&world.ledger, &world.case, &statements);
        assert_eq!(refused(&world).await, Code::NoCase);
    }
}

#[tokio::test]
async fn a_case_statement_from_outside_its_time_is_none() {
    let world = World::new();
    let open = world.case_act(open_act(), &[ONE]).sign(&key(APP));
    world.stock.cases.lock().unwrap().clear();
    // Entered an hour after it ended: somebody kept it.
    world.stock.enter(&world.ledger, &world.case, &[(NOW + crate::world::HOUR, open)]);
    assert_eq!(refused(&world).await, Code::NoCase);
}

#[tokio::test]
async fn the_entries_of_another_case_prove_nothing() {
    let mut world = World::new();
    let other = CaseId::new(NOW, world.entropy.as_ref());
    let shown = world.stock.cases.lock().unwrap()[&world.case].clone();
    world.stock.cases.lock().unwrap().insert(other.clone(), shown);
    world.case = other;
    assert_eq!(refused(&world).await, Code::NoCase);
}

#[tokio::test]
async fn one_tag_never_meets_two_subjects_also_after_a_restart() {
    let world = World::new();
    let adapter = world.open();
    world.look_up(&adapter, ONE).await.answered();
    let (mut request, body) = world.request(TWO);
    request.subject_tags = vec![world.tag(ONE)];
    assert_eq!(world.ask(&adapter, &request, &body).await.denied(), Code::TagMismatch);
    assert_eq!(world.touched(), 1);
    drop(adapter);
    world.disk.cut_power(|_| 0);
    let adapter = world.open();
    let (mut request, body) = world.request(TWO);
    request.subject_tags = vec![world.tag(ONE)];
    assert_eq!(world.ask(&adapter, &request, &body).await.denied(), Code::TagMismatch);
    assert_eq!(world.touched(), 1);
    world.look_up(&adapter, ONE).await.answered();
    world.look_up(&adapter, TWO).await.answered();
}

#[tokio::test]
async fn a_person_is_named_by_exactly_one_tag() {
    let world = World::new();
    let adapter = world.open();
    let (mut request, body) = world.request(ONE);
    request.subject_tags = vec![world.tag(ONE), world.tag(TWO)];
    assert_eq!(world.ask(&adapter, &request, &body).await.denied(), Code::SubjectNotInCase);
    let (mut request, body) = world.request(ONE);
    request.subject_tags.clear();
    assert_eq!(world.ask(&adapter, &request, &body).await.denied(), Code::SubjectNotInCase);
    let (mut request, body) = world.request("");
    request.subject_tags = vec![world.tag(ONE)];
    assert_eq!(world.ask(&adapter, &request, &body).await.denied(), Code::ArgumentInvalid);
    assert_eq!(world.touched(), 0);
}

#[tokio::test]
async fn a_hub_that_hands_nothing_over_stops_the_request_and_no_more() {
    let world = World::new();
    let adapter = world.open();
    world.stock.late.store(true, Ordering::SeqCst);
    assert_eq!(world.look_up(&adapter, ONE).await.failed(), Code::DeadlineExceeded);
    world.stock.late.store(false, Ordering::SeqCst);
    world.look_up(&adapter, ONE).await.answered();
}
