//! What several commands need: clock, entropy, runtime, a member's folder, a client of an app.

use crate::fail::Failure;
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use yiwang_client::client::{AppIdentity, Client};
use yiwang_client::error::ClientError;
use yiwang_client::folder::{Folder, FolderError, FolderHeads};
use yiwang_proto::ambient::{Clock, Entropy, SystemClock, SystemEntropy};
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::ids::AppId;

/// Names that a message lists; who has more looks into the folder.
const NAMES_SHOWN: usize = 10;

/// The system's clock.
pub fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::default())
}

/// The system's entropy.
pub fn entropy() -> Arc<dyn Entropy> {
    Arc::new(SystemEntropy)
}

/// A runtime for commands that speak with a hub.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::environment)
}

/// Which app of which member acts.
#[derive(Args)]
pub struct AppArgs {
    /// The member's folder.
    #[arg(long, value_name = "DIR")]
    pub folder: PathBuf,
    /// The app's name; its key and delegation lie in the folder.
    #[arg(long)]
    pub app: AppId,
}

/// Opens a member folder.
pub fn folder(dir: &Path) -> Result<Folder, Failure> {
    Folder::open(dir).map_err(Failure::usage)
}

/// Opens checkpoints of the ledger that the folder pinned.
pub fn checkpoints(folder: &Folder) -> Result<Arc<CheckpointVerifier>, Failure> {
    let enrolled = folder.enrolled().map_err(Failure::usage)?;
    Ok(Arc::new(CheckpointVerifier::new(enrolled.verifier_key().clone(), enrolled.origin(), 16)))
}

/// The delegation of an app or adapter.
pub fn delegation(
    folder: &Folder,
    role: Role,
    name: &AppId,
) -> Result<(SignedDocument, Delegation), Failure> {
    folder.load_delegation(role, name).map_err(|error| not_loaded(folder, role, name, &error))
}

/// Why a key or delegation of an app or adapter was not read; for a name that the folder does not have, which it has.
fn not_loaded(folder: &Folder, role: Role, name: &AppId, error: &FolderError) -> Failure {
    let missing =
        matches!(error, FolderError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound);
    let names = match folder.delegated(role) {
        Ok(names) if missing => names,
        _ => return Failure::usage(error),
    };
    let word = if role == Role::App { "app" } else { "adapter" };
    let dir = folder.path().display();
    let make = format!("`yiwang member delegate --folder {dir} --role {word} --name {name}`");
    if names.contains(name) {
        return Failure::usage(format!(
            "{error}: {word} `{name}` is delegated, and its key is elsewhere; bring the key here, or {make} makes one"
        ));
    }
    if names.is_empty() {
        return Failure::usage(format!(
            "`{dir}` has no {word} `{name}`, and no other: {make} makes it, with `--publish` for the hub too"
        ));
    }
    let shown: Vec<String> = names.iter().take(NAMES_SHOWN).map(|name| format!("`{name}`")).collect();
    let more = names.len() - shown.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Failure::usage(format!(
        "`{dir}` has no {word} `{name}`; name one that it has: {}{more}; or {make} makes it",
        shown.join(", ")
    ))
}

/// Who an app is, from its member's folder.
fn identity(folder: &Folder, app: &AppId) -> Result<AppIdentity, Failure> {
    Ok(AppIdentity {
        member: folder.member().clone(),
        app: app.clone(),
        key: folder.load_key(Role::App, app).map_err(|error| not_loaded(folder, Role::App, app, &error))?,
        delegation: delegation(folder, Role::App, app)?.0,
        root: folder.root_public(),
        tags: folder.tag_key().map_err(Failure::usage)?,
        checkpoints: checkpoints(folder)?,
    })
}

/// A client that has not yet spoken with the hub; the first call connects.
pub fn client(args: &AppArgs) -> Result<Client, Failure> {
    let folder = folder(&args.folder)?;
    let enrolled = folder.enrolled().map_err(Failure::usage)?;
    let channel = enrolled.channel_lazy(clock()).map_err(Failure::environment)?;
    let heads = Arc::new(FolderHeads::open(enrolled.clone()).map_err(Failure::usage)?);
    let client = Client::new(identity(&folder, &args.app)?, channel, heads, clock(), entropy())
        .map_err(Failure::usage)?;
    match folder.load_sealing(&args.app).map_err(Failure::usage)? {
        Some((key, document)) => client.with_sealing(key, &document).map_err(Failure::usage),
        None => Ok(client),
    }
}

/// A client that has met the hub: heads compared, the newer one kept.
pub async fn met_client(args: &AppArgs) -> Result<Client, Failure> {
    let client = client(args)?;
    client.meet().await.map_err(Failure::refused)?;
    Ok(client)
}

/// Has the heads of all receipts proved before the program ends: it remembers none of them, so nobody else would. A hub
/// that does not prove them just now is told of, and what was shown stands.
pub async fn settled(client: &Client) -> Result<(), Failure> {
    match client.settle().await {
        Ok(()) => Ok(()),
        Err(error @ ClientError::Unverified(_)) => Err(Failure::refused(error)),
        Err(error) => {
            eprintln!(
                "the hub did not prove that its receipts are of the one ledger: {error}; if it goes on so, give the numbers of the entries to an auditor"
            );
            Ok(())
        }
    }
}
