//! Officers' keys: tickets and second signatures, and everything that is neither.

use crate::sealed::{app_sealing, open};
use crate::world::{
    APP, CONSUMER_ROOT, HOUR, NOW, ONE, PROVIDER_ROOT, STRANGER, Said, World, changed_contract, delegate,
    key, member,
};
use yiwang_adapter_sdk::adapter::Adapter;
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::Role;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::{AppId, CaseId, Officer, RequestId};
use yiwang_proto::request::{OfficerBy, Request};
use yiwang_proto::ticket::Draft;

/// Seed of the officer's key.
pub const OFFICER: u8 = 70;
const NAME: &str = "o-aaaabbbbccccdddd";
const OTHER: &str = "o-zzzzbbbbccccdddd";

pub fn officer_delegation() -> SignedDocument {
    delegate(CONSUMER_ROOT, "street-office", Role::Officer, NAME, OFFICER)
}

fn named(name: &str) -> Option<Officer> {
    Some(Officer::parse(name).unwrap())
}

/// Names the officer in the statement, and signs it with both keys.
pub fn sign_as_officer(request: &mut Request) -> SignedStatement {
    request.officer = named(NAME);
    request.officer_by = OfficerBy::Signature(officer_delegation().digest());
    request.sign_with_officer(&key(APP), &key(OFFICER))
}

pub fn draft(world: &World) -> Draft {
    Draft {
        member: member("street-office"),
        officer: named(NAME).unwrap(),
        app: AppId::parse("assistance-desk").unwrap(),
        case: world.case.clone(),
        uses: 2,
        issued_at_ms: NOW - 1000,
        expires_at_ms: NOW + HOUR,
        delegation_digest: officer_delegation().digest(),
    }
}

pub fn issue(world: &World, draft: &Draft, by: u8) -> SignedDocument {
    let ticket = draft.sign(RequestId::new(NOW, world.entropy.as_ref()), &key(by));
    world.stock.publish(&ticket);
    ticket
}

pub async fn look_up(world: &World, adapter: &Adapter, ticket: &SignedDocument) -> Said {
    let (mut request, body) = world.request(ONE);
    request.officer = named(NAME);
    request.officer_by = OfficerBy::Ticket(ticket.digest());
    world.ask(adapter, &request, &body).await
}

#[tokio::test]
async fn t13_a_ticket_serves_as_often_as_it_says_also_after_a_restart() {
    let world = World::new();
    let adapter = open(&world);
    let ticket = issue(&world, &draft(&world), OFFICER);
    look_up(&world, &adapter, &ticket).await.answered();
    drop(adapter);
    let adapter = open(&world);
    look_up(&world, &adapter, &ticket).await.answered();
    assert_eq!(look_up(&world, &adapter, &ticket).await.denied(), Code::TicketUsedUp);
    drop(adapter);
    let adapter = open(&world);
    assert_eq!(
        look_up(&world, &adapter, &ticket).await.denied(),
        Code::TicketUsedUp,
        "after a restart as well"
    );
    let fresh = issue(&world, &draft(&world), OFFICER);
    look_up(&world, &adapter, &fresh).await.answered();
    world.look_up(&adapter, ONE).await.answered();
    assert_eq!(world.touched(), 4);
}

#[tokio::test]
async fn a_ticket_for_something_else_is_refused_and_not_used_up_by_it() {
    let world = World::new();
    let adapter = open(&world);
    let bends: [fn(&mut Draft); 5] = [
        |d| d.app = AppId::parse("other-desk").unwrap(),
        |d| d.case = CaseId::parse("0190a5c3-0000-7000-8000-000000000009").unwrap(),
        |d| d.member = member("county"),
        |d| (d.issued_at_ms, d.expires_at_ms) = (NOW - HOUR, NOW),
        |d| (d.issued_at_ms, d.expires_at_ms) = (NOW + 1000, NOW + HOUR),
    ];
    for (number, bend) in bends.into_iter().enumerate() {
        let mut bent = draft(&world);
        bend(&mut bent);
        let ticket = issue(&world, &bent, OFFICER);
        let code = look_up(&world, &adapter, &ticket).await.denied();
        // A ticket of another member is not even one of this officer's key.
        let wanted = if number == 2 { Code::OfficerInvalid } else { Code::TicketInvalid };
        assert_eq!(code, wanted, "{number}");
    }
    let ticket = issue(&world, &draft(&world), OFFICER);
    for _ in 0..4 {
        let (mut request, body) = world.request(ONE);
        request.officer = named(OTHER);
        request.officer_by = OfficerBy::Ticket(ticket.digest());
        assert_eq!(world.ask(&adapter, &request, &body).await.denied(), Code::OfficerInvalid);
    }
    assert_eq!(world.touched(), 0);
    look_up(&world, &adapter, &ticket).await.answered();
    look_up(&world, &adapter, &ticket).await.answered();
}

#[tokio::test]
async fn t13_a_forged_ticket_is_none() {
    let world = World::new();
    let adapter = open(&world);
    for by in [STRANGER, APP, CONSUMER_ROOT] {
        let ticket = issue(&world, &draft(&world), by);
        assert_eq!(look_up(&world, &adapter, &ticket).await.denied(), Code::OfficerInvalid);
    }
    // A hub that makes an officer of its own, and one whose key is delegated for something else.
    for document in [
        delegate(STRANGER, "street-office", Role::Officer, NAME, STRANGER),
        delegate(PROVIDER_ROOT, "street-office", Role::Officer, NAME, STRANGER),
        delegate(CONSUMER_ROOT, "street-office", Role::App, NAME, STRANGER),
        delegate(CONSUMER_ROOT, "street-office", Role::Officer, OTHER, STRANGER),
    ] {
        world.stock.publish(&document);
        let draft = Draft { delegation_digest: document.digest(), ..draft(&world) };
        let ticket = issue(&world, &draft, STRANGER);
        assert_eq!(look_up(&world, &adapter, &ticket).await.denied(), Code::OfficerInvalid);
    }
    // A delegation or contract offered as a ticket, and a ticket that nobody published.
    for document in [officer_delegation(), world.contract.clone(), app_sealing()] {
        assert_eq!(look_up(&world, &adapter, &document).await.denied(), Code::TicketInvalid);
    }
    let hidden = draft(&world).sign(RequestId::new(NOW, world.entropy.as_ref()), &key(OFFICER));
    assert_eq!(look_up(&world, &adapter, &hidden).await.denied(), Code::TicketInvalid);
    assert_eq!(world.touched(), 0);
}

#[tokio::test]
async fn a_second_signature_counts_only_for_the_officer_whom_the_statement_names() {
    let world = World::new();
    let adapter = open(&world);
    let (mut request, body) = world.request(ONE);
    let signed = sign_as_officer(&mut request);
    world.ask_signed(&adapter, &signed, &body).await.answered();
    let (mut request, body) = world.request(ONE);
    sign_as_officer(&mut request);
    request.officer = named(OTHER);
    let signed = request.sign_with_officer(&key(APP), &key(OFFICER));
    assert_eq!(world.ask_signed(&adapter, &signed, &body).await.denied(), Code::OfficerInvalid);
    // One key that is both app and officer would sign twice with one hand.
    let both = delegate(CONSUMER_ROOT, "street-office", Role::Officer, NAME, APP);
    world.stock.publish(&both);
    let (mut request, body) = world.request(ONE);
    request.officer = named(NAME);
    request.officer_by = OfficerBy::Signature(both.digest());
    let signed = request.sign(&key(APP));
    assert_eq!(world.ask_signed(&adapter, &signed, &body).await.denied(), Code::OfficerInvalid);
    assert_eq!(world.touched(), 1);
}

#[tokio::test]
async fn a_proved_officer_has_a_ceiling_of_their_own_also_after_a_restart() {
    let mut world = World::new();
    world.use_contract(changed_contract(|json| json["limits"]["per_officer_per_day"] = 1.into()));
    let adapter = open(&world);
    world.look_up(&adapter, ONE).await.answered();
    assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::RateExceeded, "asserted officers are one");
    let ticket = issue(&world, &draft(&world), OFFICER);
    look_up(&world, &adapter, &ticket).await.answered();
    assert_eq!(look_up(&world, &adapter, &ticket).await.denied(), Code::RateExceeded);
    drop(adapter);
    let adapter = open(&world);
    let fresh = issue(&world, &draft(&world), OFFICER);
    assert_eq!(look_up(&world, &adapter, &fresh).await.denied(), Code::RateExceeded);
}
