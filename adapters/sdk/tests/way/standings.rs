//! What is still in force: the consumer's standing, revocations under its root, and the own member's list. The
//! hub hands all of it over, and hides or forges what it likes.

use crate::officers::{draft, issue, look_up, officer_delegation, sign_as_officer};
use crate::sealed::{adapter_sealing, app_sealing, ask, open, sealed_request};
use crate::world::{
    APP, CONSUMER_ROOT, HOUR, NOW, ONE, PROVIDER_ROOT, STANDING, STRANGER, Said, World, key, member, standing,
};
use yiwang_adapter_sdk::adapter::Adapter;
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::Delegation;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::ids::Officer;
use yiwang_proto::limits::DOCUMENT_MAX;
use yiwang_proto::revocation::{Revocation, Revoked};
use yiwang_proto::standing::LIFE_MS;

fn contract_of(world: &World) -> yiwang_proto::contract::Contract {
    yiwang_proto::contract::Contract::open(&world.contract).unwrap()
}

fn app_key(world: &World) -> Revoked {
    Revoked { delegations: [world.delegation.digest()].into(), ..Revoked::default() }
}

fn under_root(signer: u8, root: u8, revoked: &Revoked, whole: bool) -> SignedDocument {
    Revocation::sign(&key(signer), &key(root).public(), &member("street-office"), revoked, whole, NOW)
}

async fn officer_asks(world: &World, adapter: &Adapter, officer: &Officer) -> crate::world::Said {
    let (mut request, body) = world.request(ONE);
    request.officer = Some(officer.clone());
    world.ask(adapter, &request, &body).await
}

#[tokio::test]
async fn t27_without_the_consumers_word_nothing_is_asked() {
    let mut world = World::new();
    world.honest = false;
    let adapter = world.open();
    assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::StandingStale);
    assert_eq!(world.touched(), 0);
    adapter.take_standing(&world.word()).await.unwrap();
    world.look_up(&adapter, ONE).await.answered();
}

#[tokio::test]
async fn t27_a_hub_that_hides_a_revocation_gains_the_rest_of_one_standings_life() {
    let mut world = World::new();
    world.honest = false;
    let adapter = world.open();
    adapter.take_standing(&world.word_of(1, NOW, NOW + LIFE_MS)).await.unwrap();
    // From here on the consumer revokes its app's key, and the hub keeps that to itself.
    world.clock.advance_ms(59_999);
    world.look_up(&adapter, ONE).await.answered();
    world.clock.advance_ms(1);
    assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::StandingStale);
    assert_eq!(world.touched(), 1);
}

#[tokio::test]
async fn a_contract_may_allow_older_standings_and_the_standing_may_end_sooner() {
    let mut world = World::new();
    let mut json = crate::world::contract_json();
    json["standing_seconds"] = 3600.into();
    world.use_contract(crate::world::sign_contract(&json, &[1, CONSUMER_ROOT]));
    world.honest = false;
    let adapter = world.open();
    adapter.take_standing(&world.word_of(1, NOW, NOW + 2 * HOUR)).await.unwrap();
    world.clock.advance_ms(3_599_999);
    world.look_up(&adapter, ONE).await.answered();
    world.clock.advance_ms(1);
    assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::StandingStale);
    let soon = NOW + HOUR;
    adapter.take_standing(&world.word_of(2, soon, soon + 1000)).await.unwrap();
    world.look_up(&adapter, ONE).await.answered();
    world.clock.advance_ms(1000);
    assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::StandingStale);
}

#[tokio::test]
async fn f14_what_the_consumer_revoked_is_refused_from_its_next_word_on() {
    let world = World::new();
    let id = contract_of(&world).text.id;
    let officer = Officer::parse("o-aaaaaaaaaaaaaaaa").unwrap();
    let lists = [
        app_key(&world),
        Revoked { contracts: [(id.clone(), None)].into(), ..Revoked::default() },
        Revoked { contracts: [(id.clone(), Some(2))].into(), ..Revoked::default() },
        Revoked { officers: [officer.clone()].into(), ..Revoked::default() },
    ];
    for (at, list) in lists.into_iter().enumerate() {
        let world = World::new();
        let adapter = world.open();
        officer_asks(&world, &adapter, &officer).await.answered();
        *world.revoked.lock().unwrap() = list;
        world.clock.advance_ms(20_000);
        assert_eq!(officer_asks(&world, &adapter, &officer).await.denied(), Code::Revoked, "list {at}");
        assert_eq!(world.touched(), 1, "list {at}");
    }
    // What names something else harms nobody.
    *world.revoked.lock().unwrap() = Revoked {
        delegations: [[1; 32]].into(),
        contracts: [(id, Some(1))].into(),
        officers: [Officer::parse("o-bbbbbbbbbbbbbbbb").unwrap()].into(),
    };
    let adapter = world.open();
    officer_asks(&world, &adapter, &officer).await.answered();
}

#[tokio::test]
async fn t27_an_older_standing_is_refused_also_after_a_restart() {
    let mut world = World::new();
    world.honest = false;
    let adapter = world.open();
    *world.revoked.lock().unwrap() = app_key(&world);
    let revoking = world.word_of(10, NOW, NOW + LIFE_MS);
    *world.revoked.lock().unwrap() = Revoked::default();
    let older = world.word_of(9, NOW, NOW + LIFE_MS);
    let twin = world.word_of(10, NOW, NOW + LIFE_MS);
    adapter.take_standing(&revoking).await.unwrap();
    assert!(adapter.take_standing(&older).await.is_err());
    assert!(adapter.take_standing(&twin).await.is_err(), "another text under the same number");
    assert_eq!(adapter.health().alarms, 1);
    drop(adapter);
    let adapter = world.open();
    assert!(adapter.take_standing(&older).await.is_err());
    assert!(adapter.take_standing(&twin).await.is_err());
    assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::StandingStale);
    adapter.take_standing(&revoking).await.unwrap();
    assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::Revoked);
    adapter.take_standing(&world.word_of(11, NOW, NOW + LIFE_MS)).await.unwrap();
    world.look_up(&adapter, ONE).await.answered();
}

#[tokio::test]
async fn t27_a_word_of_another_root_or_key_counts_for_nothing() {
    let mut world = World::new();
    world.honest = false;
    let adapter = world.open();
    // A hub that enrolled a root of its own for the consumer's name.
    let none = Revoked::default();
    adapter.take_standing(&standing(STRANGER, 99, NOW, NOW + LIFE_MS, &none)).await.unwrap();
    assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::StandingStale);
    // The right delegation with a word of another key.
    let mut mixed = world.word();
    mixed.standing = standing(STRANGER, 99, NOW, NOW + LIFE_MS, &none).standing;
    assert!(adapter.take_standing(&mixed).await.is_err());
    let ahead = world.word_of(5, NOW + 30_001, NOW + 60_000);
    assert!(adapter.take_standing(&ahead).await.is_err(), "issued over 30 s ahead");
    let over = world.word_of(5, NOW - LIFE_MS, NOW);
    assert!(adapter.take_standing(&over).await.is_err(), "over");
    assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::StandingStale);
    assert_eq!(world.touched(), 0);
}

#[tokio::test]
async fn t3_a_revocation_under_the_root_outranks_every_standing_for_ever() {
    for whole in [false, true] {
        let world = World::new();
        let adapter = world.open();
        world.look_up(&adapter, ONE).await.answered();
        let list = if whole { Revoked::default() } else { app_key(&world) };
        let forged = under_root(STRANGER, CONSUMER_ROOT, &list, whole);
        assert!(adapter.take_revocation(forged.bytes().clone()).await.is_err(), "by another root");
        world.look_up(&adapter, ONE).await.answered();
        let document = under_root(CONSUMER_ROOT, CONSUMER_ROOT, &list, whole);
        adapter.take_revocation(document.bytes().clone()).await.unwrap();
        // The standing that comes with each question says nothing of it.
        world.clock.advance_ms(20_000);
        assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::Revoked);
        drop(adapter);
        let adapter = world.open();
        assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::Revoked, "after a restart");
        assert_eq!(world.touched(), 2);
    }
}

#[tokio::test]
async fn t3_a_root_that_revokes_without_end_ends_itself_and_no_other() {
    let world = World::new();
    let adapter = world.open();
    world.look_up(&adapter, ONE).await.answered();
    let one = |number: u64, root: u8| {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_be_bytes());
        let list = Revoked { delegations: [digest].into(), ..Revoked::default() };
        under_root(root, root, &list, false).bytes().clone()
    };
    for first in (0..2_048_u64).step_by(256) {
        let taken = (first..first + 256).map(|number| adapter.take_revocation(one(number, STRANGER)));
        assert!(futures_util::future::join_all(taken).await.iter().all(Result::is_ok));
    }
    assert!(adapter.take_revocation(one(2_048, STRANGER)).await.is_err());
    // Another root's word is heard, and nothing else of it is in doubt.
    adapter.take_revocation(one(0, CONSUMER_ROOT)).await.unwrap();
    world.look_up(&adapter, ONE).await.answered();
    for first in (1..2_048_u64).step_by(256) {
        let taken = (first..first + 256).map(|number| adapter.take_revocation(one(number, CONSUMER_ROOT)));
        futures_util::future::join_all(taken).await;
    }
    assert!(adapter.take_revocation(one(2_049, CONSUMER_ROOT)).await.is_err());
    // Which of its keys it took back with what was not kept is not known.
    assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::Revoked);
}

#[tokio::test]
async fn t3_a_stolen_standing_key_says_nothing_once_the_root_revoked_it() {
    let world = World::new();
    let adapter = world.open();
    world.look_up(&adapter, ONE).await.answered();
    let word = world.word();
    let signed = SignedDocument::parse(word.delegation.clone(), DOCUMENT_MAX).unwrap();
    let delegation = Delegation::open(&signed).unwrap();
    assert_eq!(delegation.key, key(STANDING).public());
    let list = Revoked { delegations: [delegation.digest].into(), ..Revoked::default() };
    let document = under_root(CONSUMER_ROOT, CONSUMER_ROOT, &list, false);
    adapter.take_revocation(document.bytes().clone()).await.unwrap();
    assert!(adapter.take_standing(&world.word_of(u64::MAX, NOW, NOW + LIFE_MS)).await.is_err());
    assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::StandingStale);
}

#[tokio::test]
async fn f14_the_own_members_list_wins_over_everything() {
    let id = contract_of(&World::new()).text.id;
    let own_key = World::new().config().delegation.digest();
    let lists = [
        Revoked { contracts: [(id, None)].into(), ..Revoked::default() },
        Revoked { delegations: [own_key].into(), ..Revoked::default() },
    ];
    for list in lists {
        let world = World::new();
        let adapter = world.open();
        world.look_up(&adapter, ONE).await.answered();
        adapter.obey(&list);
        assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::Revoked);
        // A list that holds less than before takes nothing back.
        adapter.obey(&Revoked::default());
        assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::Revoked);
        assert_eq!(world.touched(), 1);
    }
}

fn of(document: &SignedDocument) -> Revoked {
    Revoked { delegations: [document.digest()].into(), ..Revoked::default() }
}

/// A sealed request that the officer signed too, so that it rests on all keys that there are.
async fn signed_and_sealed(world: &World, adapter: &Adapter) -> Said {
    let (mut request, body) = sealed_request(world, &["amount_band"]);
    let signed = sign_as_officer(&mut request);
    ask(world, adapter, &signed, &body).await
}

#[tokio::test]
async fn f14_an_officers_key_and_a_key_for_sealing_are_dead_from_the_consumers_next_word_on() {
    for (key, clause) in
        [(officer_delegation(), "officer"), (app_sealing(), "sealing"), (adapter_sealing(), "")]
    {
        let world = World::new();
        let adapter = open(&world);
        signed_and_sealed(&world, &adapter).await.answered();
        *world.revoked.lock().unwrap() = of(&key);
        world.clock.advance_ms(20_000);
        let said = signed_and_sealed(&world, &adapter).await;
        if clause.is_empty() {
            // The consumer's word says nothing of the provider's keys.
            said.answered();
            continue;
        }
        assert_eq!(said.denied(), Code::Revoked);
        assert!(said.answer.clause.contains(clause), "{}", said.answer.clause);
        assert_eq!(world.touched(), 1);
        // What does not rest on that key goes on.
        world.look_up(&adapter, ONE).await.answered();
    }
    let world = World::new();
    let adapter = open(&world);
    let ticket = issue(&world, &draft(&world), crate::officers::OFFICER);
    look_up(&world, &adapter, &ticket).await.answered();
    *world.revoked.lock().unwrap() = of(&officer_delegation());
    world.clock.advance_ms(20_000);
    assert_eq!(look_up(&world, &adapter, &ticket).await.denied(), Code::Revoked);
    assert_eq!(world.touched(), 1);
}

#[tokio::test]
async fn t3_a_root_takes_back_officers_keys_and_keys_for_sealing_for_ever() {
    for (key, root, name) in [
        (officer_delegation(), CONSUMER_ROOT, "street-office"),
        (app_sealing(), CONSUMER_ROOT, "street-office"),
        (adapter_sealing(), PROVIDER_ROOT, "civil-affairs"),
    ] {
        let world = World::new();
        let adapter = open(&world);
        signed_and_sealed(&world, &adapter).await.answered();
        let signer = crate::world::key(root);
        let document = Revocation::sign(&signer, &signer.public(), &member(name), &of(&key), false, NOW);
        adapter.take_revocation(document.bytes().clone()).await.unwrap();
        assert_eq!(signed_and_sealed(&world, &adapter).await.denied(), Code::Revoked);
        drop(adapter);
        let adapter = open(&world);
        assert_eq!(signed_and_sealed(&world, &adapter).await.denied(), Code::Revoked, "after a restart");
        assert_eq!(world.touched(), 1);
    }
}

#[tokio::test]
async fn f14_the_own_key_for_sealing_ends_by_the_own_members_list() {
    let world = World::new();
    let adapter = open(&world);
    signed_and_sealed(&world, &adapter).await.answered();
    adapter.obey(&of(&adapter_sealing()));
    assert_eq!(signed_and_sealed(&world, &adapter).await.denied(), Code::Revoked);
    let (request, body) = sealed_request(&world, &["scheme"]);
    assert_eq!(ask(&world, &adapter, &request.sign(&key(APP)), &body).await.denied(), Code::Revoked);
    assert_eq!(world.touched(), 1);
    // Open bodies need no key for sealing.
    world.look_up(&adapter, ONE).await.answered();
}
