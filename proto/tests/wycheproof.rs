//! Ed25519 as the published Wycheproof vectors have it: our one behaviour (`verify_strict`) gives each verdict.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use serde_json::Value;
use std::path::PathBuf;
use yiwang_proto::keys::PublicKey;

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
    let mut checked = 0;
    for group in vectors["testGroups"].as_array().unwrap() {
        let key = PublicKey::from_bytes(&bytes(&group["publicKey"]["pk"]));
        for test in group["tests"].as_array().unwrap() {
            let good = key.as_ref().is_ok_and(|key| key.verify(&bytes(&test["msg"]), &bytes(&test["sig"])));
            assert_eq!(good, test["result"] == "valid", "vector {}: {}", test["tcId"], test["comment"]);
            checked += 1;
        }
    }
    assert_eq!(checked, vectors["numberOfTests"].as_i64().unwrap());
    println!("{checked} vectors");
}
