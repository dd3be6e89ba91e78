//! T5: whoever sits between the parties alters one byte of a recorded exchange, under or above TLS.

use bytes::Bytes;
use prost::Message as _;
use std::collections::BTreeMap;
use yiwang_proto::pb;
use yiwang_rpc::exchange_service_client::ExchangeServiceClient;
use yiwang_tests::scene::Scene;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t05_no_altered_byte_of_an_answer_is_accepted() {
    let scene = Scene::new(50).await;
    let signed = scene.signed();
    let channel = scene.street.folder.enrolled().unwrap().channel(scene.world.clock.clone()).await.unwrap();
    let mut service = ExchangeServiceClient::new(channel);
    let response = service.exchange(signed.message.clone()).await.unwrap().into_inner();
    let recorded = scene.app.verify(&scene.contract, &signed, response.clone()).await.unwrap();
    let bytes = response.encode_to_vec();
    let mut ended = BTreeMap::<&str, u32>::new();
    for at in 0..bytes.len() {
        for bit in [1, 0x80] {
            let mut altered = bytes.clone();
            altered[at] ^= bit;
            let outcome = match pb::ExchangeResponse::decode(Bytes::from(altered)) {
                Err(_) => "no message",
                Ok(message) if message == response => "the same message",
                Ok(message) => match scene.app.verify(&scene.contract, &signed, message).await {
                    Err(_) => "refused",
                    Ok(accepted) => {
                        // Other lines of a signed note are not the hub's; what was signed is the same.
                        assert_eq!(accepted, recorded, "byte {at} of the answer");
                        "accepted with the same content"
                    }
                },
            };
            *ended.entry(outcome).or_default() += 1;
        }
    }
    println!("{} bytes of an answer, each altered twice: {ended:?}", bytes.len());
    assert!(ended["refused"] > u32::try_from(bytes.len()).unwrap(), "{ended:?}");
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t05_no_altered_byte_of_a_request_is_served_as_another() {
    let scene = Scene::new(51).await;
    let length = scene.signed().message.encode_to_vec().len();
    let mut ended = BTreeMap::<String, u32>::new();
    for at in 0..length {
        // A request of its own each time: an id that was used once is refused for that alone.
        let honest = scene.signed();
        let bytes = honest.message.encode_to_vec();
        assert_eq!(bytes.len(), length);
        let mut altered = bytes.clone();
        altered[at] ^= 0x40;
        let Ok(message) = pb::ExchangeRequest::decode(Bytes::from(altered)) else { continue };
        let mut sent = honest.clone();
        sent.message = message;
        let got = scene.outcome(&sent).await;
        // The keyid is a hint that nobody signs or follows: only a request with another hint is the same one.
        let hint = scene.app.identity().key.key_id().as_bytes();
        let from = bytes.windows(16).position(|window| window == hint).unwrap();
        assert!(got != "answered" || (from..from + 16).contains(&at), "byte {at} of the request");
        *ended.entry(got).or_default() += 1;
    }
    println!("{length} bytes of a request, each altered: {ended:?}");
    assert!(ended.len() > 2, "{ended:?}");
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}
