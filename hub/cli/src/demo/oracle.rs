//! The last judge of the story: what an app kept, the ledger, and the departments' own journals.

use super::build::Network;
use std::path::{Path, PathBuf};
use yiwang_client::client::Client;
use yiwang_proto::ids::Matter;

/// An app asks once more by `yiwang query record --keep`, in a case of its own; yields the folder that it kept.
pub async fn keep(network: &Network, client: &Client, folder: &Path) -> Result<PathBuf, String> {
    let kept = network.dir.join("kept");
    let matter = Matter::parse("social-assistance").map_err(|error| error.to_string())?;
    let subject = network.city.household().mother.id;
    let opened = client.open_case(&matter, std::slice::from_ref(&subject)).await;
    let (case, _) = opened.map_err(|error| error.to_string())?;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = tokio::process::Command::new(program)
        .args(["query", "record", "--app", "assistance-desk", "--purpose", "social-assistance.eligibility"])
        .args(["--case", case.as_str(), "--subject", &subject])
        .arg("--folder")
        .arg(folder)
        .arg("--keep")
        .arg(&kept)
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| error.to_string())?;
    if output.status.success() { Ok(kept) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// The words of `yiwang audit reconcile` for this network: every journal that an adapter has written.
pub fn words(network: &Network, kept: &Path) -> Vec<String> {
    let text = |path: &Path| path.display().to_string();
    let mut words = vec!["--ledger".to_owned(), text(&network.dir.join("hub/ledger"))];
    words.extend(["--received".to_owned(), text(kept)]);
    for site in network.sites.values() {
        let journal = site.folder.join("journal");
        if journal.is_dir() {
            words.extend(["--adapter-journal".to_owned(), text(&journal)]);
        }
    }
    words.extend(["--key".to_owned(), network.verifier_key.clone()]);
    words
}
