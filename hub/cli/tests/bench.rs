//! The measurements run, over ledgers in which everything is good; how fast is for `yiwang bench` itself.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::process::Command;

fn bench(arguments: &[&str]) -> serde_json::Value {
    let output = Command::new(env!("CARGO_BIN_EXE_yiwang")).arg("bench").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn search_and_offline_verification_are_measured_over_signed_exchanges() {
    let found = bench(&["search", "--json", "--entries", "1500"]);
    for key in ["rebuild_per_s", "search_p95_us", "index_bytes_per_entry"] {
        assert!(found[key].as_u64().is_some_and(|figure| figure > 0), "{key}: {found}");
    }
    assert!(found["entries"].as_u64().unwrap() >= 1500, "{found}");
    let verified = bench(&["ledger", "--json", "--entries", "1000", "--signed-entries", "1500"]);
    for key in ["append_per_s", "verify_hashes_per_s", "verify_signatures_per_s", "verify_entries_per_s"] {
        assert!(verified[key].as_u64().is_some_and(|figure| figure > 0), "{key}: {verified}");
    }
}
