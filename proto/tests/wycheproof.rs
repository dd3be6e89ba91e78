//! Ed25519 as the published Wycheproof vectors have it: our one behaviour (`verify_strict`) gives each verdict.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use serde_json::Value;
use std::path::PathBuf;
use yiwang_proto::keys::PublicKey;

/// Good signatures after which a key's multiples are at hand.
const OFTEN: usize = 400;

fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn every_ed25519_vector_gives_the_published_verdict() {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let folder = std::env::var_os("YIWANG_TEST_DATA").map_or(default, PathBuf::from);
    let file = folder.join("vectors/wycheproof/testvectors_v1/ed25519_test.json");
    let Ok(text) = std::fs::read_to_string(&file) else {
        println!("skipped: no test data");
        return;
    };
    let vectors: Value = serde_json::from_str(&text).unwrap();
    let (mut checked, mut often) = (0, 0);
    for group in vectors["testGroups"].as_array().unwrap() {
        let key = PublicKey::from_bytes(&bytes(&group["publicKey"]["pk"]));
        let tests = group["tests"].as_array().unwrap();
        let verify = |test: &Value| {
            key.as_ref().is_ok_and(|key| key.verify(&bytes(&test["msg"]), &bytes(&test["sig"])))
        };
        let all = || {
            for test in tests {
                let expected = test["result"] == "valid";
                assert_eq!(verify(test), expected, "vector {}: {}", test["tcId"], test["comment"]);
            }
        };
        all();
        // Keys that are seen often are checked by another way, which has to say the same.
        if let Some(good) = tests.iter().find(|test| test["result"] == "valid") {
            (0..OFTEN).for_each(|_| assert!(verify(good)));
            often += 1;
        }
        all();
        checked += tests.len();
    }
    assert_eq!(checked as u64, vectors["numberOfTests"].as_u64().unwrap());
    assert!(often > 1, "keys with good signatures");
    println!("{checked} vectors");
}
