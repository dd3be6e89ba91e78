//! Schemathesis (Python) against the gateway: whatever the document allows or forbids, answers have the shapes and
//! statuses that it declares, and nothing fails inside.

use crate::metrics::python;
use crate::town::{TOKEN, Town};

/// The one check that is left out: it wants everything to be taken that the document allows, and limits in bytes
/// cannot be written there.
const SKIPPED: &str = "positive_data_acceptance";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t31_answers_are_as_the_document_says_for_any_input() {
    let Some(python) = python("schemathesis") else { return };
    let town = Town::new(91).await;
    let gateway = town.office.gateway();
    let output = tokio::process::Command::new(python)
        .args(["-c", "from schemathesis.cli import schemathesis; schemathesis()", "run"])
        .arg(format!("http://{gateway}/v1/openapi.json"))
        .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
        .args(["--seed", "20261125", "--max-examples", "100", "--checks", "all"])
        .args(["--exclude-checks", SKIPPED, "--no-color"])
        .current_dir(std::env::temp_dir())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{text}");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    // The gateway served all the while, and still does.
    let mother = town.city.household().mother;
    let case = town.open_case(&[&mother.id]).await;
    assert_eq!(town.query(&case, &mother.id).await.status, 200);
    town.stop().await;
}
