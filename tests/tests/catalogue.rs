//! A record type that members add: signed by all who provide it, entered in the ledger, granted by contracts that pin
//! it, and judged by the same classes at hub, adapter, app and verifier.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use serde_json::{Value, json};
use std::sync::Arc;
use yiwang_client::client::Client;
use yiwang_client::error::ClientError;
use yiwang_client::exchange::{Ask, Ending};
use yiwang_policies::record_type::FORMAT;
use yiwang_proto::body::Arguments;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::Contract;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::payload_type;
use yiwang_proto::ids::{CaseId, FieldName, Matter, Operation};
use yiwang_tests::contracts::{Draft, draft};
use yiwang_tests::departments;
use yiwang_tests::member::Member;
use yiwang_tests::world::World;

/// What the police would call its own view of persons, with one field that the program's record does not have so high.
fn registrant(providers: &[&Member]) -> Value {
    json!({
        "format": FORMAT, "record": "Registrant", "version": 1, "owner": "police", "subject": "person",
        "about": "who somebody is, as the register of one city has it", "zh": "登记人",
        "fields": {
            "name": {"type": "string", "class": 2, "about": "full name"},
            "birth_date": {"type": "date", "class": 2, "about": "date of birth"},
            "sex": {"type": "code", "class": 2, "about": "sex as registered", "codes": ["male", "female"]},
        },
        "providers": providers.iter().map(|member| json!({
            "member": member.id().as_str(), "root": member.folder.root_public(),
        })).collect::<Vec<_>>(),
    })
}

fn sign(text: &Value, members: &[&Member]) -> SignedDocument {
    let roots: Vec<_> = members.iter().map(|member| member.folder.root_key().unwrap()).collect();
    let roots: Vec<_> = roots.iter().collect();
    SignedDocument::sign(payload_type::RECORD_TYPE, &serde_json::to_vec_pretty(text).unwrap(), &roots)
}

async fn publish(world: &World, member: &Member, document: &SignedDocument) -> Result<u64, Code> {
    let channel = member.folder.enrolled().unwrap().channel(Arc::clone(&world.clock)).await.unwrap();
    match yiwang_client::client::publish(channel, document, &member.checkpoints()).await {
        Ok(receipt) => Ok(receipt.index),
        Err(ClientError::Hub { code }) => Err(code),
        Err(other) => panic!("{other}"),
    }
}

/// The police's mapping of persons, as one of the added record.
fn mapping(world: &World) -> std::path::PathBuf {
    let text = std::fs::read_to_string(departments().join("police/person.toml")).unwrap();
    let bent = text.replace("record = \"Person\"", "record = \"Registrant\"");
    assert_ne!(bent, text);
    let path = world.dir.path().join("registrant.toml");
    std::fs::write(&path, bent).unwrap();
    path
}

fn about(contract: Draft, pinned: &SignedDocument) -> Draft {
    contract
        .record("Registrant", "person.by_id", &["birth_date", "name"], 2)
        .with("record_type", yiwang_proto::hex(&pinned.digest()).into())
}

fn ask(case: &CaseId, subject: &str, fields: &[&str]) -> Ask {
    Ask {
        operation: Operation::parse("person.by_id").unwrap(),
        fields: fields.iter().map(|field| FieldName::parse(field).unwrap()).collect(),
        case: case.clone(),
        officer: None,
        subject: subject.to_owned(),
        arguments: Arguments::new(),
        retry_of: None,
    }
}

fn verified(world: &World) -> yiwang_audit::Report {
    let key = std::fs::read_to_string(world.ledger_dir().join("verifier.key")).unwrap();
    let key = Some(yiwang_proto::note::VerifierKey::parse(key.trim()).unwrap());
    let options = yiwang_audit::Options { key, ..yiwang_audit::Options::default() };
    yiwang_audit::verify_ledger(&world.ledger_dir(), &options).unwrap()
}

/// A second version raises a class: a contract that is agreed now is agreed under it.
async fn a_class_rises(
    world: &World,
    (police, street): (&Member, &Member),
    app: &Client,
    added: &SignedDocument,
    (case, subject): (&CaseId, &str),
) {
    let now = world.clock.now_ms();
    let mut second = registrant(&[police]);
    second["version"] = json!(2);
    second["previous"] = yiwang_proto::hex(&added.digest()).into();
    second["fields"]["birth_date"]["class"] = json!(3);
    let raised = sign(&second, &[police]);
    publish(world, police, &raised).await.unwrap();
    let channel = || async {
        let channel = street.folder.enrolled().unwrap().channel(Arc::clone(&world.clock)).await.unwrap();
        (channel, street.checkpoints())
    };
    let old = about(draft(police, street, "police-street-late", now), added).sign(police, street);
    let (to, checkpoints) = channel().await;
    let refused = yiwang_client::client::publish(to, &old, &checkpoints).await.unwrap_err();
    assert!(matches!(refused, ClientError::Hub { code: Code::ContractInvalid }), "{refused}");
    let low = about(draft(police, street, "police-street-low", now), &raised).sign(police, street);
    let (to, checkpoints) = channel().await;
    let refused = yiwang_client::client::publish(to, &low, &checkpoints).await.unwrap_err();
    assert!(matches!(refused, ClientError::Hub { code: Code::ContractInvalid }), "{refused}");
    let high = draft(police, street, "police-street-high", now)
        .record("Registrant", "person.by_id", &["birth_date", "name"], 3)
        .with("record_type", yiwang_proto::hex(&raised.digest()).into());
    let high = Contract::open(&world.agree(&high, police, street).await).unwrap();
    let signed = app.sign(&high, &ask(case, subject, &["birth_date"]));
    let refused = app.exchange(&high, &signed).await.unwrap();
    let Ending::Denied { code, .. } = refused.ending else { panic!("{:?}", refused.ending) };
    assert_eq!(code, Code::SealingRequired.as_str(), "what rose to class 3 travels sealed only");
}

async fn survives_restarts(world: &mut World, contract: &Contract) {
    for views in ["kept", "dropped"] {
        if views == "dropped" {
            std::fs::remove_dir_all(world.hub_dir().join("views")).unwrap();
        }
        world.start_hub().await;
        let held = world.hub().hub.ledger.views().record_types();
        assert_eq!(held.iter().map(|view| view.version.text.version).collect::<Vec<_>>(), [2], "{views}");
        assert!(world.hub().hub.ledger.views().contract(&contract.text.id).is_some(), "{views}");
        world.stop_hub().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_type_that_members_added_is_granted_judged_and_verified_like_any_other() {
    let mut world = World::new(61).await;
    let city = world.city();
    let mut police = world.department(&city, "police", &["person"]).await;
    police.mappings = vec![mapping(&world)];
    let street = world.member("street-office").await;
    let added = sign(&registrant(&[&police]), &[&police]);
    let index = publish(&world, &police, &added).await.unwrap();
    assert_eq!(publish(&world, &police, &added).await, Ok(index), "the same again is the same entry");

    let now = world.clock.now_ms();
    let document = world
        .agree(&about(draft(&police, &street, "police-street-registrant", now), &added), &police, &street)
        .await;
    let adapter = police.run_adapter(&world).await;
    let app = street.app(&world, "assistance-desk").await;
    let mother = city.household().mother.clone();
    let matter = Matter::parse("social-assistance").unwrap();
    let (case, _) = app.open_case(&matter, std::slice::from_ref(&mother.id)).await.unwrap();
    let contract = Contract::open(&document).unwrap();
    assert!(app.record_of(&contract).is_none(), "nothing is known before a plan brought it");
    let planned =
        app.plan(&contract.text.purpose, std::slice::from_ref(&contract.text.record)).await.unwrap();
    assert_eq!(planned.len(), 1);
    let field = FieldName::parse("birth_date").unwrap();
    assert_eq!(app.record_of(&contract).unwrap().field(&field).map(|field| field.class), Some(2));

    let signed = app.sign(&contract, &ask(&case, &mother.id, &["name", "birth_date"]));
    let exchanged = app.exchange(&contract, &signed).await.unwrap();
    let Ending::Answered { records, .. } = exchanged.ending else { panic!("{:?}", exchanged.ending) };
    let records: Value = serde_json::from_slice(&records).unwrap();
    assert_eq!(records[0]["fields"]["name"], mother.name.as_str());
    let signed = app.sign(&contract, &ask(&case, &mother.id, &["name", "sex"]));
    let refused = app.exchange(&contract, &signed).await.unwrap();
    assert!(matches!(refused.ending, Ending::Denied { .. }), "{:?}", refused.ending);

    a_class_rises(&world, (&police, &street), &app, &added, (&case, &mother.id)).await;

    // Everything survives a restart, with views and without them.
    let evidence = app.evidence(exchanged.receipt.index).await.unwrap();
    drop(app);
    adapter.stop().await;
    world.stop_hub().await;
    let report = verified(&world);
    assert_eq!(report.findings.len(), 0, "{report:?}");
    assert_eq!(report.kinds.get("record-type"), Some(&2));
    assert!(report.decisions.contradicted == 0 && report.decisions.permitted_again >= 1, "{report:?}");
    let key = std::fs::read_to_string(world.ledger_dir().join("verifier.key")).unwrap();
    let key = Some(yiwang_proto::note::VerifierKey::parse(key.trim()).unwrap());
    let options = yiwang_audit::Options { key, ..yiwang_audit::Options::default() };
    let bundle = yiwang_audit::verify_evidence(&evidence, &options).unwrap();
    assert_eq!(bundle.findings.len(), 0, "{bundle:?}");
    assert_eq!(bundle.decisions.permitted_again, 1, "{bundle:?}");
    survives_restarts(&mut world, &contract).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_type_needs_all_signers_their_roots_and_its_turn() {
    let mut world = World::new(62).await;
    let (police, health) = (world.member("police").await, world.member("health").await);
    let street = world.member("street-office").await;
    let both = registrant(&[&police, &health]);
    let half = sign(&both, &[&police]);
    assert_eq!(publish(&world, &police, &half).await, Err(Code::SignatureInvalid));
    let more = sign(&both, &[&police, &health, &street]);
    assert_eq!(publish(&world, &police, &more).await, Err(Code::CatalogueInvalid));
    let whole = sign(&both, &[&police, &health]);
    assert_eq!(publish(&world, &street, &whole).await, Err(Code::WrongMember), "no provider publishes it");
    let mut stranger = both.clone();
    stranger["providers"][1]["root"] = json!(street.folder.root_public());
    let stranger = sign(&stranger, &[&police, &street]);
    assert_eq!(
        publish(&world, &police, &stranger).await,
        Err(Code::CatalogueInvalid),
        "not the member's root"
    );
    let mut builtin = both.clone();
    builtin["record"] = json!("Person");
    let builtin = sign(&builtin, &[&police, &health]);
    assert_eq!(publish(&world, &police, &builtin).await, Err(Code::CatalogueInvalid));
    let mut refused = both.clone();
    refused["fields"]["risk_score"] =
        json!({"type": "integer", "class": 2, "about": "how likely trouble is"});
    let refused = sign(&refused, &[&police, &health]);
    assert_eq!(
        publish(&world, &police, &refused).await,
        Err(Code::CatalogueInvalid),
        "the lint holds at the hub too"
    );
    let mut later = both.clone();
    later["version"] = json!(2);
    later["previous"] = yiwang_proto::hex(&whole.digest()).into();
    let second = sign(&later, &[&police, &health]);
    assert_eq!(publish(&world, &police, &second).await, Err(Code::CatalogueInvalid), "there is no version 1");
    publish(&world, &health, &whole).await.unwrap();
    publish(&world, &police, &second).await.unwrap();
    let mut lower = later.clone();
    lower["version"] = json!(3);
    lower["previous"] = yiwang_proto::hex(&second.digest()).into();
    lower["fields"]["name"]["class"] = json!(1);
    let lower = sign(&lower, &[&police, &health]);
    assert_eq!(publish(&world, &police, &lower).await, Err(Code::CatalogueInvalid), "classes only rise");
    // A contract whose provider did not sign the type, and one that pins what nobody entered.
    let now = world.clock.now_ms();
    let channel = street.folder.enrolled().unwrap().channel(Arc::clone(&world.clock)).await.unwrap();
    let market = world.member("market").await;
    for (provider, pinned) in [(&market, &second), (&police, &lower)] {
        let contract = about(draft(provider, &street, "a-contract", now), pinned).sign(provider, &street);
        let refused = yiwang_client::client::publish(channel.clone(), &contract, &street.checkpoints()).await;
        assert!(matches!(refused, Err(ClientError::Hub { code: Code::ContractInvalid })), "{refused:?}");
    }
    world.stop_hub().await;
    let report = verified(&world);
    assert_eq!(report.findings.len(), 0, "{report:?}");
}
