//! `yiwang member revoke`: what the member takes back, from now on and everywhere. The list is durable before
//! anything is sent; the hub's acknowledgement means that nothing decided before it is under way any more.

use crate::fail::{Failure, Outcome};
use crate::setup;
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use yiwang_client::error::ClientError;
use yiwang_client::folder::Folder;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::ContractText;
use yiwang_proto::delegation::Role;
use yiwang_proto::ids::{AppId, ContractId, Officer};
use yiwang_proto::nearest::did_you_mean;
use yiwang_proto::revocation::{Revocation, Revoked};

/// How long the hub may take to say whether it knows what is named; revoking must not wait for it.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is revoked.
#[derive(Args)]
pub struct Arguments {
    /// The member's folder.
    #[arg(long)]
    folder: PathBuf,
    /// A delegation, by the SHA-256 of its signed payload (64 hexadecimal digits).
    #[arg(long, value_name = "DIGEST")]
    delegation: Vec<String>,
    /// An app's key, as delegated in the folder.
    #[arg(long, value_name = "NAME")]
    app: Vec<AppId>,
    /// An adapter's key, as delegated in the folder.
    #[arg(long, value_name = "NAME")]
    adapter: Vec<AppId>,
    /// A contract: `ID` for every version, `ID@VERSION` for those up to a version.
    #[arg(long, value_name = "ID[@VERSION]")]
    contract: Vec<String>,
    /// An officer, by pseudonym.
    #[arg(long, value_name = "PSEUDONYM")]
    officer: Vec<Officer>,
    /// The member's root itself, with everything under it: for a root that was stolen. Go on under the next one afterwards
    /// (`yiwang member rotate-root`).
    #[arg(long)]
    root: bool,
    /// Signs it under the root too: for ever, above every standing, also when the standing key was stolen.
    #[arg(long)]
    with_root: bool,
    /// Also contracts and officers whose names are nearly those of others that the folder has.
    #[arg(long)]
    unknown: bool,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let folder = setup::folder(&arguments.folder)?;
    let list = list(&folder, arguments)?;
    if list.is_empty() && !arguments.root {
        return Err(Failure::usage("nothing is named: give --app, --contract, --officer or another"));
    }
    let runtime = setup::runtime()?;
    if !arguments.unknown {
        meant(&folder, &list)?;
    }
    if !list.is_empty() {
        folder.revoke(&list).map_err(Failure::environment)?;
        println!("kept: from now on every standing of `{}` says so", folder.member());
        runtime.block_on(contracts_known(&folder, &list));
    }
    if arguments.root || arguments.with_root {
        runtime.block_on(under_root(&folder, &list, arguments.root))?;
    }
    // After the root itself is revoked, no standing of it counts for anybody; and under one that the hub does not know yet
    // there is none.
    let unknown = folder.known_root().map_err(Failure::usage)?.is_some();
    if arguments.root || (arguments.with_root && unknown) {
        return Ok(());
    }
    runtime.block_on(standing(&folder))
}

fn list(folder: &Folder, arguments: &Arguments) -> Result<Revoked, Failure> {
    let mut list = Revoked { officers: arguments.officer.iter().cloned().collect(), ..Revoked::default() };
    for text in &arguments.delegation {
        let digest = yiwang_proto::digest_of_hex(text)
            .ok_or_else(|| Failure::usage(format!("`{text}` is not 64 hexadecimal digits")))?;
        list.delegations.insert(digest);
    }
    for (role, names) in [(Role::App, &arguments.app), (Role::Adapter, &arguments.adapter)] {
        for name in names {
            let (_, delegation) = setup::delegation(folder, role, name)?;
            list.delegations.insert(delegation.digest);
        }
    }
    for text in &arguments.contract {
        let (id, version) = match text.split_once('@') {
            None => (text.as_str(), None),
            Some((id, version)) => {
                let version = version.parse::<u32>().ok().filter(|version| *version > 0);
                let version =
                    version.ok_or_else(|| Failure::usage(format!("`{text}` is not `ID@VERSION`")))?;
                (id, Some(version))
            }
        };
        let one = [(ContractId::parse(id).map_err(Failure::usage)?, version)].into();
        list.merge(&Revoked { contracts: one, ..Revoked::default() });
    }
    Ok(list)
}

/// Refuses names that are nearly those of others that the folder has: what was meant would go on, and the list would say that it
/// does not. By the folder alone: whether something is taken back is for nobody else to say.
fn meant(folder: &Folder, list: &Revoked) -> Outcome {
    let delegated = folder.delegated(Role::Officer).unwrap_or_default();
    let officers = || delegated.iter().map(AppId::as_str);
    for officer in list.officers.iter().filter(|officer| officers().all(|name| name != officer.as_str())) {
        if let Some(near) = did_you_mean(officer.as_str(), officers()) {
            return Err(mistyped(&format!("no officer `{officer}` is delegated in"), folder, &near));
        }
        // Of officers whom apps only assert no folder knows.
        eprintln!("note: no officer `{officer}` is delegated in `{}`", folder.path().display());
    }
    let kept = kept(folder);
    let contracts = || kept.iter().map(|text| text.id.as_str());
    for id in list.contracts.keys().filter(|id| contracts().all(|name| name != id.as_str())) {
        if let Some(near) = did_you_mean(id.as_str(), contracts()) {
            return Err(mistyped(&format!("no contract `{id}` is kept in"), folder, &near));
        }
    }
    Ok(())
}

fn mistyped(what: &str, folder: &Folder, near: &str) -> Failure {
    let folder = folder.path().display();
    Failure::usage(format!(
        "{what} `{folder}`: nothing was taken back, and `--unknown` takes it back all the same; {near}"
    ))
}

/// The contracts that the folder keeps.
fn kept(folder: &Folder) -> Vec<ContractText> {
    let contracts = folder.contracts().unwrap_or_default();
    let texts = contracts.iter().map(|(_, document)| ContractText::parse(document.unverified_payload()));
    texts.filter_map(Result::ok).collect()
}

/// Says which contracts neither the folder nor the hub has. They are taken back by now: a hub that says so, or nothing, holds
/// nothing up.
async fn contracts_known(folder: &Folder, list: &Revoked) {
    let kept = kept(folder);
    let ids: Vec<&ContractId> =
        list.contracts.keys().filter(|id| kept.iter().all(|text| text.id != **id)).collect();
    if ids.is_empty() {
        return;
    }
    let missing = tokio::time::timeout(PATIENCE, missing(folder, &ids)).await;
    match missing.unwrap_or_else(|_elapsed| Err("the hub does not answer".to_owned())) {
        Err(why) => eprintln!("note: not checked that there is such a contract: {why}"),
        Ok(None) => {}
        Ok(Some(id)) => eprintln!(
            "note: the hub says that it knows no contract `{id}` of `{}`: if it was mistyped, what was meant goes on; its file, \
             or `/v1/permissions` of a gateway, has the id",
            folder.member()
        ),
    }
}

/// The first of these contracts that the hub does not know.
async fn missing<'i>(folder: &Folder, ids: &[&'i ContractId]) -> Result<Option<&'i ContractId>, String> {
    let enrolled = folder.enrolled().map_err(|error| error.to_string())?;
    let channel = enrolled.channel(setup::clock()).await.map_err(|error| error.to_string())?;
    for id in ids.iter().copied() {
        let known = yiwang_client::client::knows_contract(channel.clone(), id).await;
        if !known.map_err(|error| error.to_string())? {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

async fn under_root(folder: &Folder, list: &Revoked, whole: bool) -> Outcome {
    let signer = folder.root_key().map_err(Failure::usage)?;
    // Between a change of the root and its enrolment the next one speaks about the one that the hub knows.
    let root = folder.known_root().map_err(Failure::usage)?.unwrap_or_else(|| signer.public());
    let now_ms = setup::clock().now_ms();
    let document = Revocation::sign(&signer, &root, folder.member(), list, whole, now_ms);
    let checkpoints = setup::checkpoints(folder)?;
    let enrolled = folder.enrolled().map_err(Failure::usage)?;
    let channel = enrolled.channel(setup::clock()).await.map_err(Failure::environment)?;
    let (receipt, dropped) = yiwang_client::client::publish_acknowledged(channel, &document, &checkpoints)
        .await
        .map_err(|error| match error.code() {
            Some(Code::Replayed) => {
                Failure::refused(format!(
                    "replayed: the root {} is revoked already; replies from before that are gone after their deadline, a \
                     minute at the most",
                    root.to_base64()
                ))
            }
            _ => Failure::refused(error),
        })?;
    println!("revoked under the root {}, entry {}", root.to_base64(), receipt.index);
    println!("acknowledged: no earlier reply is under way{}", dropped_words(dropped));
    Ok(())
}

async fn standing(folder: &Folder) -> Outcome {
    let enrolled = folder.enrolled().map_err(Failure::usage)?;
    let clock = setup::clock();
    let sent = async {
        let channel =
            enrolled.channel(Arc::clone(&clock)).await.map_err(|e| ClientError::Transport(e.to_string()))?;
        yiwang_client::standing::issue_and_offer(folder, &channel, clock.as_ref()).await
    };
    match sent.await {
        Ok((_, done)) => {
            if let Some(index) = done.index {
                println!("the new standing is entry {index}");
            }
            println!("acknowledged: no earlier reply is under way{}", dropped_words(done.dropped));
            Ok(())
        }
        Err(error) => Err(Failure::environment(format!(
            "not acknowledged: {error}; the list is kept and the member's adapter host sends it on; \
             counterparts that hear nothing refuse when the last standing ends: 60 s after it was issued, or \
             as late as a contract allows"
        ))),
    }
}

fn dropped_words(dropped: u32) -> String {
    match dropped {
        0 => String::new(),
        1 => " (one was dropped: its reader did not take it)".to_owned(),
        n => format!(" ({n} were dropped: their readers did not take them)"),
    }
}
