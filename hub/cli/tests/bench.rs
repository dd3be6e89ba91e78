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

#[test]
fn a_short_soak_ends_with_the_oracles_word() {
    // Twenty seconds settle no memory, so only the figures and the oracle are looked at here.
    let output = Command::new(env!("CARGO_BIN_EXE_yiwang"))
        .args(["bench", "soak", "--json", "--seconds", "20", "--rate", "40"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let done: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    assert_eq!(done["oracle"]["clean"], true, "{done}");
    assert_eq!(output.status.success(), done["passed"].as_bool().unwrap(), "{done}: {said}");
    for key in [
        "/answered",
        "/upgrades/adapter",
        "/rounds/denials",
        "/rounds/revocations",
        "/rounds/renewals",
        "/rounds/unread_queries",
    ] {
        assert!(done.pointer(key).unwrap().as_u64().unwrap() > 0, "{key}: {done}");
    }
    for part in ["hub", "adapter"] {
        assert!(done[part]["rss_at_end_mib"].as_f64().unwrap() > 1.0, "{done}");
        assert!(done[part]["files_min"].as_u64().unwrap() > 3, "{done}");
    }
    assert_eq!(
        (&done["unverified"], &done["rounds"]["released_after_revocation"]),
        (&0.into(), &0.into()),
        "{done}"
    );
    assert_eq!(done["oracle"]["mismatches"], serde_json::json!([]), "{done}");
}

#[test]
fn recoveries_are_timed_and_nothing_is_released_after_a_revocation() {
    let done = bench(&["fault", "--json", "--kills", "1", "--revocations", "3", "--without-cut-off"]);
    for key in ["hub_restart_ms", "adapter_restart_ms"] {
        let times = done[key].as_array().unwrap();
        assert!(times.len() == 1 && times[0].as_u64().unwrap() > 0, "{key}: {done}");
    }
    let revocation = &done["revocation"];
    assert_eq!((&revocation["count"], &revocation["released_after"]), (&3.into(), &0.into()), "{done}");
    assert!(revocation["p99_ms"].as_u64().is_some() && done["exchanges"].as_u64().unwrap() > 0, "{done}");
    assert_eq!((&done["oracle_clean"], &done["unverified"]), (&true.into(), &0.into()), "{done}");
}

#[test]
fn a_network_grows_and_the_exchange_stays() {
    let done = bench(&[
        "scale",
        "--json",
        "--contracts",
        "30",
        "--adapters",
        "5",
        "--seconds",
        "1",
        "--in-flight",
        "4",
    ]);
    assert_eq!(done["adapters_connected"], 5, "{done}");
    for step in ["small", "many_contracts", "many_contracts_and_adapters", "many_contracts_again"] {
        assert!(done[step]["full_per_s"].as_u64().unwrap() > 0, "{step}: {done}");
        assert!(done[step]["cpu_us_total"].as_f64().unwrap() > 0.0, "{step}: {done}");
    }
}

#[test]
fn a_lookup_through_the_adapter_is_measured_beside_its_query() {
    let done = bench(&["adapter", "--json", "--seconds", "1", "--turns", "1", "--in-flight", "4"]);
    for source in ["sqlite", "postgres", "mariadb"] {
        if let Some(why) = done[source].as_str() {
            assert_ne!(std::env::var("YIWANG_REQUIRE_SERVICES").as_deref(), Ok("1"), "{why}");
            println!("SKIPPED: {source}: {why}");
            continue;
        }
        for key in ["lookups", "queries"] {
            assert!(done[source][key].as_u64().unwrap() > 0, "{source} {key}: {done}");
        }
        for key in ["adapter_us", "query_us", "ratio"] {
            assert!(done[source][key].as_f64().unwrap() > 0.0, "{source} {key}: {done}");
        }
    }
    assert!(done["adapter_idle_mb"].as_f64().unwrap() > 1.0, "{done}");
}

#[test]
fn a_whole_batch_is_measured_beside_its_pages_by_themselves() {
    let done = bench(&["batch", "--json", "--megabytes", "3"]);
    for source in ["sqlite", "postgres", "mariadb"] {
        if let Some(why) = done[source].as_str() {
            assert_ne!(std::env::var("YIWANG_REQUIRE_SERVICES").as_deref(), Ok("1"), "{why}");
            println!("SKIPPED: {source}: {why}");
            continue;
        }
        assert_eq!(done[source]["pages"], 3, "{source}: {done}");
        assert!(done[source]["megabytes"].as_u64().unwrap() >= 2, "{source}: {done}");
        for key in ["mb_per_s", "alone_mb_per_s", "ratio"] {
            assert!(done[source][key].as_f64().unwrap() > 0.0, "{source} {key}: {done}");
        }
    }
    // However noisy the machine, pages do not add up in memory.
    assert!(done["adapter_extra_mb"].as_f64().unwrap() < 64.0, "{done}");
}
