//! Hostile values.

use crate::double::{World, by_area, by_id, world};
use serde_json::json;
use yiwang_adapter_http::unfit;
use yiwang_adapter_sdk::compliance::HOSTILE;
use yiwang_proto::codes::Code;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t17_a_thousand_hostile_values_reach_the_server_as_one_value() {
    let Some(world) = world("") else { return };
    let glue = ["|", ",", "$", "&_elements=", "\\", "\r\n\r\nGET /", "%26", "&manufacturer:exact=", ";", "?"];
    let payloads: Vec<String> = HOSTILE
        .iter()
        .flat_map(|first| HOSTILE.iter().map(move |second| (first, second)))
        .enumerate()
        .flat_map(|(at, (first, second))| {
            [glue[at % 10], glue[(at + 3) % 10]].map(|glue| format!("{first}{glue}{second}"))
        })
        .collect();
    assert!(payloads.len() >= 1000);
    let (payloads, mut sent) = (&payloads[..1000], Vec::new());
    for payload in payloads {
        let asked = by_area(&world.mapped, payload, 20_000).await;
        if unfit(payload).is_some() {
            assert_eq!(asked.unwrap_err().code, Code::ArgumentInvalid, "{payload:?}");
        } else {
            assert_eq!(asked.unwrap(), Vec::<String>::new(), "{payload:?}");
            sent.push(payload);
        }
        let refused = by_id(&world.mapped, payload).await.unwrap_err();
        assert_eq!(refused.code, Code::ArgumentInvalid);
    }
    let log = world.server.log();
    assert!(sent.len() > 500 && log.len() == sent.len() + 1, "{} of {} sent", log.len(), sent.len());
    for (entry, payload) in log.iter().skip(1).zip(sent) {
        assert_eq!(entry["line"], "POST /fhir/Device/_search HTTP/1.1");
        // One parameter of that name, whose value is the payload with FHIR's marks escaped.
        let mut escaped = String::new();
        for c in payload.chars() {
            if "\\,|$".contains(c) {
                escaped.push('\\');
            }
            escaped.push(c);
        }
        let wanted =
            json!([["manufacturer:exact", escaped], ["_count", "7"], ["_elements", "modelNumber,note"]]);
        assert_eq!(entry["form"], wanted);
    }
    empty_and_huge(&world).await;
}

/// Neither asks anybody.
async fn empty_and_huge(world: &World) {
    world.server.control(&json!({ "clear": true }));
    for empty in ["", " ", "\t\n", "\u{3000}"] {
        let refused = by_area(&world.mapped, empty, 20_000).await.unwrap_err();
        assert_eq!(refused.code, Code::ArgumentInvalid, "{empty:?}");
        assert!(refused.clause.contains("a search without a value finds everybody"), "{refused}");
    }
    for huge in ["x".repeat(10 << 20), "{\"a\":".repeat(1 << 20), "|".repeat(1025)] {
        let refused = by_area(&world.mapped, &huge, 20_000).await.unwrap_err();
        assert_eq!(refused.code, Code::ArgumentInvalid);
    }
    assert_eq!(world.server.log().len(), 0);
}
