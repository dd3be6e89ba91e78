//! Answers that were not recorded in time: the adapter offers them, and each gets its entry.

use super::*;
use yiwang_client::sealed::Manner;
use yiwang_hub::context::Hub;
use yiwang_hub::ledger::Appended;
use yiwang_hub::offers;
use yiwang_proto::entry::{exchange_parties, recorded_parties};
use yiwang_proto::ids::MemberId;
use yiwang_proto::request::OfficerBy;
use yiwang_tests::clinic::Clinic;
use yiwang_tests::scene::outcome;

async fn settled(hub: &Arc<Hub>, provider: &MemberId, offer: pb::AnswerOffer) -> Result<Appended, Code> {
    offers::settle(hub, provider, &[offer]).await.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_after_its_exchange_becomes_one_late_entry() {
    let mut scene = Scene::new(74).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    // Nobody is linked: the exchange ends without an answer. The adapter answers it all the same.
    let adapter = scene.adapter.take().unwrap();
    let kept = Arc::clone(&adapter.adapter);
    adapter.stop().await;
    let signed = scene.signed();
    assert_eq!(scene.outcome(&signed).await, "provider_unavailable");
    let message = signed.message.clone();
    let answer = kept.handle(message.request, message.body, &Nothing).await.answer;
    assert_eq!(kept.health().unreceipted, 1);
    scene.adapter = Some(scene.police.run_this(&scene.world, kept));
    let kept = Arc::clone(&scene.adapter.as_ref().unwrap().adapter);
    until("the receipt of the offered answer", || kept.health().unreceipted == 0).await;
    let of_it: Vec<_> =
        entries(&scene).into_iter().filter(|entry| entry.request == signed.message.request).collect();
    assert_eq!(of_it.len(), 2);
    assert_eq!((of_it[0].outcome(), of_it[0].late_of), (pb::Outcome::Failed, 0));
    assert_eq!(of_it[1].outcome(), pb::Outcome::Withheld);
    assert!(of_it[1].late_of > 0 && of_it[1].answer == answer);
    // It was asked once, also for a hub that starts anew and reads that back.
    scene.world.stop_hub().await;
    scene.world.start_hub().await;
    scene.world.until_linked(scene.police.id()).await;
    scene.app.meet().await.unwrap();
    assert_eq!(scene.outcome(&signed).await, "replayed");
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

/// A hub that crashed between answer and record: the adapter's offer makes the entry, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_the_hub_never_recorded_becomes_its_only_entry() {
    let mut scene = Scene::new(75).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let signed = scene.signed();
    let answer = answered_behind_the_hub(&scene, &signed).await;
    // A restart of the adapter in between: its journal knows the answer.
    scene.adapter.take().unwrap().stop().await;
    scene.adapter = Some(scene.police.run_adapter(&scene.world).await);
    let adapter = Arc::clone(&scene.adapter.as_ref().unwrap().adapter);
    until("the receipt of the offered answer", || adapter.health().unreceipted == 0).await;
    assert_eq!(scene.outcome(&signed).await, "replayed", "its id is used up");
    let of_it: Vec<_> =
        entries(&scene).into_iter().filter(|entry| entry.request == signed.message.request).collect();
    assert_eq!((of_it[0].outcome(), of_it[0].late_of), (pb::Outcome::Withheld, 0));
    assert_eq!((&of_it[0].answer, of_it[0].code.as_str()), (&answer, "deadline_exceeded"));
    assert_eq!(of_it.iter().filter(|entry| !entry.answer.is_empty()).count(), 1);
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

/// What it rests on is in its entry like in any other: keys, signature, ticket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_never_recorded_names_officer_ticket_and_keys_for_sealing() {
    let mut clinic = Clinic::new(88).await;
    let ticket = clinic.ticket(|ticket| ticket.uses = 3).await;
    let by_ticket = |clinic: &Clinic| {
        let manner = Manner { officer_by: OfficerBy::Ticket(ticket.digest()), sealed: false };
        clinic.app.prepare(&clinic.coverage, &clinic.ask("coverage.by_person", &["insured"]), manner)
    };
    let mut lost = Vec::new();
    for recorded in [true, false] {
        let sealed = clinic.signed(&clinic.summary, &clinic.blood_group(), &clinic.officer.key).await;
        let ticketed = by_ticket(&clinic);
        for (contract, signed) in [(&clinic.summary, sealed), (&clinic.coverage, ticketed)] {
            if recorded {
                assert_eq!(outcome(&clinic.app, contract, &signed).await, "answered");
                continue;
            }
            let adapter = &clinic.adapter.as_ref().unwrap().adapter;
            let message = signed.message.clone();
            assert!(!adapter.handle(message.request, message.body, &Nothing).await.answer.is_empty());
            lost.push(signed);
        }
    }
    // The ticket's last use: what nobody got was one too.
    assert_eq!(outcome(&clinic.app, &clinic.coverage, &by_ticket(&clinic)).await, "answered");
    assert_eq!(outcome(&clinic.app, &clinic.coverage, &by_ticket(&clinic)).await, "ticket_used_up");
    clinic.adapter.take().unwrap().stop().await;
    clinic.adapter = Some(clinic.health.run_adapter(&clinic.world).await);
    let adapter = Arc::clone(&clinic.adapter.as_ref().unwrap().adapter);
    until("receipts of the offered answers", || adapter.health().unreceipted == 0).await;
    drop(adapter);
    let of = |signed: &SignedRequest| {
        let entries = entries_of(&clinic.world);
        entries.into_iter().find(|entry| entry.request == signed.message.request).unwrap()
    };
    let [sealed, ticketed] = [of(&lost[0]), of(&lost[1])];
    assert_eq!([sealed.outcome(), ticketed.outcome()], [pb::Outcome::Withheld; 2]);
    assert!(sealed.sealed && sealed.officer_delegation_index > 0 && sealed.sealing_delegation_index > 0);
    assert_eq!(sealed.officer_proof(), pb::OfficerProof::Signed);
    assert!(ticketed.ticket_index > 0 && ticketed.officer_delegation_index > 0 && !ticketed.sealed);
    assert_eq!(ticketed.officer_proof(), pb::OfficerProof::Ticket);
    clinic.end().await;
}

/// Offers in any order, between other exchanges, with what was read for the ones before: each gets its own entry, and a
/// late one is made once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offers_that_come_together_are_found_by_one_look_through_the_entries() {
    let mut scene = Scene::new(79).await;
    let mut asked = Vec::new();
    for _ in 0..40 {
        let signed = scene.signed();
        assert_eq!(scene.outcome(&signed).await, "answered");
        asked.push(signed.message.request);
    }
    let recorded = entries(&scene);
    for entry in &recorded {
        let parties = recorded_parties(entry);
        assert!(parties.is_some() && parties == exchange_parties(entry), "a start counts who takes part");
    }
    let offer = |request: &Bytes| {
        let entry = recorded.iter().find(|entry| entry.request == *request).unwrap();
        pb::AnswerOffer { request: request.clone(), answer: entry.answer.clone() }
    };
    let (hub, police) = (Arc::clone(&scene.world.hub().hub), scene.police.id().clone());
    // The newest first, so that later ones lie further back; then again, when nothing is new.
    for request in asked.iter().rev().chain(asked.iter().step_by(3)) {
        let receipt = settled(&hub, &police, offer(request)).await.unwrap();
        let entry = yiwang_proto::entry::decode(&receipt.entry).unwrap();
        let Some(Kind::Exchange(entry)) = entry.kind else { panic!("another entry") };
        assert_eq!(entry.request, *request);
    }
    // What comes meanwhile is found too, and one that nobody recorded becomes late, once.
    let newer = scene.signed();
    assert_eq!(scene.outcome(&newer).await, "answered");
    let entry = entries(&scene).pop().unwrap();
    let newest = pb::AnswerOffer { request: entry.request.clone(), answer: entry.answer.clone() };
    let receipt = settled(&hub, &police, newest).await.unwrap();
    let kept = Arc::clone(&scene.adapter.as_ref().unwrap().adapter);
    scene.adapter.take().unwrap().stop().await;
    let signed = scene.signed();
    assert_eq!(scene.outcome(&signed).await, "provider_unavailable");
    let (request, body) = (signed.message.request.clone(), signed.message.body.clone());
    let answer = kept.handle(request.clone(), body, &Nothing).await.answer;
    let late = pb::AnswerOffer { request, answer };
    let first = settled(&hub, &police, late.clone()).await.unwrap();
    assert!(first.index > receipt.index);
    assert_eq!(settled(&hub, &police, late.clone()).await.unwrap().index, first.index);
    hub.offers.forget();
    assert_eq!(settled(&hub, &police, late.clone()).await.unwrap().index, first.index);
    drop(hub);
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

/// While exchanges go on, the newest entry is never durable yet: no reason to put an adapter off that is owed receipts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offers_get_their_receipts_while_exchanges_go_on() {
    let scene = Scene::new(80).await;
    for _ in 0..20 {
        assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    }
    let recorded = entries(&scene);
    let (hub, police) = (Arc::clone(&scene.world.hub().hub), scene.police.id().clone());
    let going_on = async {
        loop {
            let asked = futures_util::future::join_all((0..8).map(|_| async {
                let signed = scene.signed();
                scene.outcome(&signed).await
            }));
            assert!(asked.await.iter().all(|outcome| outcome == "answered"));
        }
    };
    let offers = async {
        for entry in &recorded {
            let offer = pb::AnswerOffer { request: entry.request.clone(), answer: entry.answer.clone() };
            // As after a start of the hub: nothing is known of it yet.
            hub.offers.forget();
            let receipt = settled(&hub, &police, offer).await.unwrap();
            let found = yiwang_proto::entry::decode(&receipt.entry).unwrap();
            assert!(matches!(found.kind, Some(Kind::Exchange(found)) if found.request == entry.request));
        }
    };
    tokio::select! {
        () = going_on => unreachable!("it has no end"),
        () = offers => {}
    }
    drop(hub);
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

/// As after a crash of a busy hub: what many exchanges left is entered together, each once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_answers_without_a_record_get_their_entries_together() {
    let mut scene = Scene::new(81).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let kept = Arc::clone(&scene.adapter.as_ref().unwrap().adapter);
    scene.adapter.take().unwrap().stop().await;
    let mut offers = Vec::new();
    for _ in 0..60 {
        let signed = scene.signed();
        // Of every third the hub knows that nobody answered; the others it never saw.
        if offers.len() % 3 == 0 {
            assert_eq!(scene.outcome(&signed).await, "provider_unavailable");
        }
        let (request, body) = (signed.message.request.clone(), signed.message.body.clone());
        let answer = kept.handle(request.clone(), body, &Nothing).await.answer;
        offers.push(pb::AnswerOffer { request, answer });
    }
    let sound = offers.len();
    offers.push(offers[5].clone());
    offers.push(pb::AnswerOffer { request: Bytes::from_static(b"x"), answer: offers[0].answer.clone() });
    let (hub, police) = (Arc::clone(&scene.world.hub().hub), scene.police.id().clone());
    let mut indexes = Vec::new();
    for _ in 0..2 {
        let before = hub.ledger.checkpoint().size;
        let settled = offers::settle(&hub, &police, &offers).await;
        let heads: std::collections::HashSet<_> =
            settled.iter().flatten().map(|one| one.checkpoint.clone()).collect();
        if hub.ledger.checkpoint().size > before {
            assert!(heads.len() < sound / 3, "{} batches for {sound} entries", heads.len());
        }
        let codes: Vec<_> = settled[sound..].iter().map(|one| one.as_ref().err().copied()).collect();
        assert_eq!(codes, [Some(Code::Overloaded), Some(Code::Malformed)], "a second one, and none");
        let entered: Vec<u64> = settled[..sound].iter().map(|one| one.as_ref().unwrap().index).collect();
        if indexes.is_empty() {
            indexes.clone_from(&entered);
        }
        assert_eq!(entered, indexes, "offered again, they have the entries that they have");
    }
    let distinct: std::collections::HashSet<_> = indexes.iter().collect();
    assert_eq!(distinct.len(), sound);
    let entries = entries(&scene);
    for (offer, place) in offers[..sound].iter().zip(0..) {
        let of_it: Vec<_> = entries.iter().filter(|entry| entry.request == offer.request).collect();
        assert_eq!(of_it.len(), if place % 3 == 0 { 2 } else { 1 }, "{place}");
        assert_eq!(of_it.iter().filter(|entry| entry.answer == offer.answer).count(), 1);
    }
    drop(hub);
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

/// Two adapters of one member, or an old link and its successor, offer the same answers in the same moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_two_links_offer_at_once_are_entered_once() {
    let mut scene = Scene::new(82).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let kept = Arc::clone(&scene.adapter.as_ref().unwrap().adapter);
    scene.adapter.take().unwrap().stop().await;
    let mut offers = Vec::new();
    for number in 0..30 {
        let signed = scene.signed();
        // Of every second the hub knows that nobody answered.
        if number % 2 == 0 {
            assert_eq!(scene.outcome(&signed).await, "provider_unavailable");
        }
        let message = signed.message;
        let answer = kept.handle(message.request.clone(), message.body, &Nothing).await.answer;
        offers.push(pb::AnswerOffer { request: message.request, answer });
    }
    let (hub, police) = (Arc::clone(&scene.world.hub().hub), scene.police.id().clone());
    let mut backwards = offers.clone();
    backwards.reverse();
    let links = [offers.clone(), backwards].map(|offers| {
        let (hub, police) = (Arc::clone(&hub), police.clone());
        tokio::spawn(async move { offers::settle(&hub, &police, &offers).await })
    });
    let [one, other] = links;
    let indexes = |settled: Vec<Result<Appended, Code>>| -> Vec<u64> {
        settled.into_iter().map(|one| one.unwrap().index).collect()
    };
    let (one, mut other) = (indexes(one.await.unwrap()), indexes(other.await.unwrap()));
    other.reverse();
    assert_eq!(one, other, "both got the same entries");
    let entries = entries(&scene);
    for (number, offer) in offers.iter().enumerate() {
        let of_it = entries.iter().filter(|entry| entry.request == offer.request);
        let late: Vec<bool> = of_it.map(|entry| entry.late_of > 0).collect();
        assert_eq!(late, if number % 2 == 0 { vec![false, true] } else { vec![false] }, "{number}");
    }
    drop(hub);
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

/// After a crash an adapter may be back, and offer, before the members whose heads the hub waits for: what could not be entered
/// then is entered when it can, and not as late as its statement would end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_cannot_be_entered_yet_is_entered_when_it_can() {
    let mut scene = Scene::new(83).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let signed = scene.signed();
    let answer = answered_behind_the_hub(&scene, &signed).await;
    let kept = Arc::clone(&scene.adapter.as_ref().unwrap().adapter);
    scene.adapter.take().unwrap().stop().await;
    scene.world.stop_hub().await;
    scene.world.start_hub().await;
    let offer = pb::AnswerOffer { request: signed.message.request.clone(), answer };
    let hub = Arc::clone(&scene.world.hub().hub);
    let early = settled(&hub, scene.police.id(), offer).await;
    assert_eq!(early.err(), Some(Code::LedgerNotAppending), "no member has shown its head");
    drop(hub);
    scene.app.meet().await.unwrap();
    scene.adapter = Some(scene.police.run_this(&scene.world, kept));
    let adapter = Arc::clone(&scene.adapter.as_ref().unwrap().adapter);
    until("the receipt of the offered answer", || adapter.health().unreceipted == 0).await;
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

/// The same request comes again after the crash, before its answer was offered: the adapter says that it had answered it. That
/// answer comes late, and nobody is accused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_whose_request_came_again_before_it_was_offered_is_late() {
    let mut scene = Scene::new(84).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let signed = scene.signed();
    let answer = answered_behind_the_hub(&scene, &signed).await;
    assert_eq!(scene.outcome(&signed).await, "replayed");
    scene.adapter.take().unwrap().stop().await;
    scene.adapter = Some(scene.police.run_adapter(&scene.world).await);
    let adapter = Arc::clone(&scene.adapter.as_ref().unwrap().adapter);
    until("the receipt of the offered answer", || adapter.health().unreceipted == 0).await;
    drop(adapter);
    let of_it: Vec<_> =
        entries(&scene).into_iter().filter(|entry| entry.request == signed.message.request).collect();
    assert_eq!(of_it.len(), 2);
    assert_eq!((of_it[0].outcome(), of_it[0].late_of), (pb::Outcome::Denied, 0));
    assert_eq!((of_it[1].outcome(), &of_it[1].answer), (pb::Outcome::Withheld, &answer));
    assert!(of_it[1].late_of > 0 && !of_it[0].answer.is_empty());
    let judged = scene.judge().await;
    assert!(judged.is_clean(), "{judged:?}");
}
