//! T5: other people's scanner looks at the doors: TLS 1.3 and nothing below.

use crate::town::{Places, Town};
use std::process::Command;

fn scan(address: &str) -> Option<String> {
    match Command::new("sslscan").args(["--no-colour", "--no-heartbleed", address]).output() {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(reason) => {
            println!("SKIPPED: sslscan is not installed: {reason}");
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t05_a_scanner_finds_tls_1_3_only() {
    let town = Town::new(Places::default()).await;
    for door in [town.addresses.listen, town.addresses.enrol] {
        let Some(found) = scan(&door.to_string()) else { return };
        let says = |protocol: &str, what: &str| {
            found.lines().any(|line| line.split_whitespace().eq([protocol, what]))
        };
        for old in ["SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1", "TLSv1.2"] {
            assert!(says(old, "disabled"), "{old} at {door}:\n{found}");
        }
        assert!(says("TLSv1.3", "enabled"), "{found}");
        let weak = found.lines().filter(|line| line.starts_with("Accepted") || line.starts_with("Preferred"));
        assert!(weak.clone().count() > 0, "{found}");
        for line in weak {
            let strong = ["TLS_AES_", "TLS_CHACHA20_POLY1305"];
            assert!(line.contains("TLSv1.3") && strong.iter().any(|name| line.contains(name)), "{line}");
        }
        println!("{door}: TLS 1.3 only, by sslscan");
    }
}
