//! Hostile values and hostile mappings.

use crate::double::{
    BY_AREA, BY_ID, Settings, file, mapping_text, names, open_with, parse, settings, source, world,
};
use serde_json::{Value, json};
use yiwang_adapter_http::unfit;
use yiwang_adapter_sdk::compliance::HOSTILE;
use yiwang_proto::codes::Code;

/// Over a thousand: pairs of the suite's, glued by what parts things in addresses and JSON.
fn payloads() -> Vec<String> {
    let glue = ["", "/", "%2f..%2f", "\",\"id\":\"", "?x=", "\r\nHost: elsewhere\r\n\r\n"];
    let mut all: Vec<String> = HOSTILE
        .iter()
        .flat_map(|first| HOSTILE.iter().map(move |second| (first, second)))
        .enumerate()
        .flat_map(|(at, (first, second))| {
            [glue[at % 6], glue[(at + 1) % 6]].map(|glue| format!("{first}{glue}{second}"))
        })
        .collect();
    all.extend(
        ["．．／etc", "％２ｅ", "{\"$ne\":null}", "[".repeat(200).as_str(), "/", "..", "."]
            .map(str::to_owned),
    );
    assert!(all.len() >= 1000);
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t17_a_thousand_hostile_values_reach_the_api_as_values_only() {
    let Some(world) = world("") else { return };
    let (mut sent, payloads) = (Vec::new(), payloads());
    for payload in &payloads {
        let asked = names(&world.mapped, "", Some(payload), 20_000).await;
        if unfit(payload).is_some() {
            assert_eq!(asked.unwrap_err().code, Code::ArgumentInvalid, "{payload:?}");
        } else {
            assert!(asked.is_ok(), "{payload:?}");
            sent.push(payload);
        }
        // As a subject none of them fits the declared pattern, and the API is not asked.
        let refused = names(&world.mapped, payload, None, 20_000).await.unwrap_err();
        assert_eq!(refused.code, Code::ArgumentInvalid);
        assert!(!refused.detail.contains(payload.as_str()) || payload.len() < 3, "{refused}");
    }
    let log = world.api.log();
    assert!(sent.len() > 500 && log.len() == sent.len(), "{} of {} sent", log.len(), sent.len());
    for (entry, payload) in log.iter().zip(sent) {
        assert_eq!(entry["line"], "POST /v1/people/search HTTP/1.1");
        let body: Value = serde_json::from_str(entry["body"].as_str().unwrap()).unwrap();
        assert_eq!(body, json!({ "area": payload }));
    }
    // Ten megabytes, and a bomb, are refused before anything is asked.
    world.api.fault("", 0, "");
    for huge in ["x".repeat(10 << 20), "[".repeat(10 << 20), "𠮷".repeat(300)] {
        let refused = names(&world.mapped, "", Some(&huge), 20_000).await.unwrap_err();
        assert_eq!(
            (refused.code, refused.clause.as_str()),
            (Code::ArgumentInvalid, "argument `area` is over 1024 bytes")
        );
    }
    assert!(world.api.log().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t18_a_thousand_hostile_values_stay_one_segment_of_a_path_or_are_refused() {
    let Some(world) = world("") else { return };
    let by_area = "method = \"GET\"\npath = \"/v1/people/:area\"\nnot_found = \"none\"\n";
    let text =
        mapping_text("", BY_ID, by_area).replace("(?s).{0,200}\" }", "(?s).{0,200}\", in = \"path\" }");
    let mapped = open_with(&text, world.folder.path(), &settings(&world.api.url()));
    let (mut sent, mut refused) = (Vec::new(), 0);
    for payload in payloads() {
        match names(&mapped, "", Some(&payload), 20_000).await {
            Ok(_) => sent.push(payload),
            Err(error) => {
                assert_eq!(error.code, Code::ArgumentInvalid, "{payload:?}: {error}");
                assert_eq!(error.clause, "argument `area` is empty, or holds what cannot stand in a path");
                refused += 1;
            }
        }
    }
    assert!(refused > 500 && sent.len() > 100, "{refused} refused, {} sent", sent.len());
    let lines = world.api.lines();
    assert_eq!(lines.len(), sent.len());
    for (line, value) in lines.iter().zip(&sent) {
        let segment = line.strip_prefix("GET /v1/people/").unwrap().strip_suffix(" HTTP/1.1").unwrap();
        assert!(segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)), "{line}");
        assert_eq!(decoded(segment), *value);
    }
}

fn decoded(segment: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), segment.bytes());
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            _ => byte,
        });
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn t36_a_mapping_reads_no_setting_and_no_file_that_it_does_not_name() {
    let folder = tempfile::tempdir().unwrap();
    file(folder.path(), "key", "hunter2\n");
    let auth = "auth = { kind = \"header\", name = \"X-Api-Key\", value = { file = \"key\" } }";
    let text = mapping_text(auth, BY_ID, BY_AREA);
    let settings = settings("http://127.0.0.1:9");
    source(&parse(&text, folder.path()), &settings).unwrap();
    let key = folder.path().join("key").display().to_string();
    assert_eq!(*settings.read.lock().unwrap(), ["API".to_owned(), key]);
    // What a setting holds is an address or a header, never a further reference, and never shown.
    for bad in
        ["file:///etc/passwd", "${HOME}", "http://a/{env}", "hunter2", "", "http://[", "https://a\r\nb"]
    {
        let vars = [("API".to_owned(), bad.to_owned())].into();
        let settings = Settings { vars, ..Settings::default() };
        let error = source(&parse(&text, folder.path()), &settings).err().unwrap().to_string();
        assert!(bad.is_empty() || !error.contains(bad), "{error}");
    }
    file(folder.path(), "key", "hunter2\r\nX-Other: 1");
    let error = source(&parse(&text, folder.path()), &settings).err().unwrap().to_string();
    assert!(error.contains("cannot be a header") && !error.contains("hunter2"), "{error}");
}
