//! `yiwang member`: what a member's IT does once.

use crate::fail::{Failure, Outcome, file};
use crate::setup;
use clap::{Subcommand, ValueEnum};
use std::path::PathBuf;
use yiwang_client::folder::Folder;
use yiwang_client::token::EnrolToken;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::Role;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::payload_type;
use yiwang_proto::ids::{AppId, MemberId};
use yiwang_proto::limits::CONTRACT_MAX;
use yiwang_proto::time::format_rfc3339;

#[derive(Clone, Copy, ValueEnum)]
pub enum RoleArg {
    App,
    Adapter,
    Officer,
    Sealing,
    Standing,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::App => Role::App,
            RoleArg::Adapter => Role::Adapter,
            RoleArg::Officer => Role::Officer,
            RoleArg::Sealing => Role::Sealing,
            RoleArg::Standing => Role::Standing,
        }
    }
}

#[derive(Subcommand)]
pub enum Command {
    /// Makes a member's folder: root key, next root, tag key, card.
    Init {
        /// The member's folder.
        #[arg(long)]
        folder: PathBuf,
        /// Its id, e.g. civil-affairs.
        #[arg(long)]
        id: MemberId,
        /// What people call it.
        #[arg(long)]
        name: String,
    },
    /// Enrols at the hub that issued the token.
    Enrol {
        /// The member's folder.
        #[arg(long)]
        folder: PathBuf,
        /// The one-time token, or a file that holds it.
        #[arg(long)]
        token: String,
    },
    /// Gives a key a role, signed by the root; keeps key and delegation in the folder.
    Delegate {
        /// The member's folder.
        #[arg(long)]
        folder: PathBuf,
        /// What the key may do.
        #[arg(long)]
        role: RoleArg,
        /// Name of the app or adapter.
        #[arg(long)]
        name: AppId,
        /// Days until it ends; a standing key lives 7 at the most.
        #[arg(long)]
        days: Option<u32>,
        /// Makes a new key in the place of the one that the folder has.
        #[arg(long)]
        new_key: bool,
        /// Publishes it at once.
        #[arg(long)]
        publish: bool,
    },
    /// Goes on under the next root, for a root that was lost or stolen; then delegate and enrol anew.
    RotateRoot {
        /// The member's folder, with `next-root.key` in it.
        #[arg(long)]
        folder: PathBuf,
    },
    /// Takes back a key, an officer, a contract or the root; returns when nothing earlier is under way.
    Revoke(crate::revoke::Arguments),
    /// Publishes a signed document (delegation, contract) in the ledger.
    Publish {
        /// The member's folder.
        #[arg(long)]
        folder: PathBuf,
        /// The document.
        document: PathBuf,
    },
    /// Makes the key under which the member's adapter cosigns the ledger, and prints its verifier key.
    Witness {
        /// The member's folder.
        #[arg(long)]
        folder: PathBuf,
        /// Name of the witness; by default the ledger's origin with the member's id.
        #[arg(long)]
        name: Option<String>,
    },
    /// Shows a member's folder: its id, root, enrolment, certificate.
    Show {
        /// The member's folder.
        #[arg(long)]
        folder: PathBuf,
    },
}

const DAY_MS: i64 = 24 * 3600 * 1000;

pub fn run(command: &Command) -> Outcome {
    match command {
        Command::Init { folder, id, name } => {
            let (clock, entropy) = (setup::clock(), setup::entropy());
            let made =
                Folder::init(folder, id, name, entropy.as_ref(), clock.as_ref()).map_err(Failure::usage)?;
            println!("made member `{id}` in {}", folder.display());
            println!("root key: {}", made.root_public().to_base64());
            println!("keep root.key and next-root.key offline; tell partners the root key by another way");
            Ok(())
        }
        Command::Enrol { folder, token } => enrol(folder, token),
        Command::Delegate { role: RoleArg::Officer, .. } => Err(Failure::usage(
            "an officer's key is made by the officer and is not kept here: `yiwang officer keygen`, then `yiwang officer delegate`",
        )),
        Command::Delegate { folder, role, name, days, new_key, publish } => {
            let opened = setup::folder(folder)?;
            let now = setup::clock().now_ms();
            // A minute back, so that a partner's clock that is a little behind accepts it at once.
            let from = now - 60_000;
            let standing = matches!(role, RoleArg::Standing);
            let days = days.unwrap_or(if standing { 7 } else { 90 });
            if standing && days > 7 {
                return Err(Failure::usage("a standing key lives 7 days at the most"));
            }
            let until = from + i64::from(days) * DAY_MS;
            let entropy = setup::entropy();
            let document = if *new_key {
                opened.delegate_new((*role).into(), name, from, until, entropy.as_ref())
            } else {
                opened.delegate((*role).into(), name, from, until, entropy.as_ref())
            };
            let document = document.map_err(Failure::usage)?;
            let role = role.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
            println!("delegated {role} `{name}` until {}", format_rfc3339(until));
            if *publish { publish_document(&opened, &document) } else { Ok(()) }
        }
        Command::RotateRoot { folder } => rotate_root(folder),
        Command::Revoke(arguments) => crate::revoke::run(arguments),
        Command::Publish { folder, document } => {
            let bytes = std::fs::read(document).map_err(file(document))?;
            let document = SignedDocument::parse(bytes.into(), CONTRACT_MAX).map_err(Failure::usage)?;
            publish_document(&setup::folder(folder)?, &document)
        }
        Command::Witness { folder, name } => witness(folder, name.as_deref()),
        Command::Show { folder } => show(folder),
    }
}

fn rotate_root(dir: &std::path::Path) -> Outcome {
    let mut folder = setup::folder(dir)?;
    folder.rotate_root(setup::entropy().as_ref(), setup::clock().as_ref()).map_err(Failure::usage)?;
    println!("`{}` goes on under its next root: {}", folder.member(), folder.root_public().to_base64());
    println!("1. copy root.key and next-root.key to two other places: whoever loses both cannot go on");
    println!(
        "2. was the root before stolen? `yiwang member revoke --root` now, before step 3, ends all that is under it"
    );
    println!(
        "3. `yiwang member enrol` with a new token of the hub's operator: the hub knows this root from then on"
    );
    println!("   (did next-root.key lie beside a stolen root.key? Then rotate and enrol once more)");
    println!(
        "4. `yiwang member delegate` for each key, with `--publish`: standing, adapter, apps, officers; all are new"
    );
    println!(
        "5. start the member's hosts again; partners learn the root's key above by another way, and both sign"
    );
    println!(
        "   contracts with it, their `version` one higher; open cases are opened anew; root.key goes offline"
    );
    Ok(())
}

fn witness(dir: &std::path::Path, name: Option<&str>) -> Outcome {
    let folder = setup::folder(dir)?;
    let name = match name {
        Some(name) => name.to_owned(),
        None => {
            let enrolled = folder.enrolled().map_err(Failure::usage)?;
            format!("{}/witness/{}", enrolled.origin(), folder.member())
        }
    };
    let key = folder.make_witness_key(&name, setup::entropy().as_ref()).map_err(Failure::usage)?;
    println!("{key}");
    println!(
        "write `witness = true` in adapter.toml; give the line above to the hub's operator and to auditors"
    );
    Ok(())
}

fn enrol(dir: &std::path::Path, token: &str) -> Outcome {
    let text = if token.starts_with(yiwang_client::token::PREFIX) {
        token.to_owned()
    } else {
        let path = std::path::Path::new(token);
        if !path.exists() {
            // Not repeated: it may be a token that lost its beginning.
            return Err(Failure::usage(format!(
                "`--token` is neither a token, which begins with `{}`, nor a file; the hub's operator makes one with \
                 `yiwang hub token`",
                yiwang_client::token::PREFIX
            )));
        }
        std::fs::read_to_string(path).map_err(file(path))?
    };
    let token = EnrolToken::parse(&text).map_err(Failure::usage)?;
    let mut folder = setup::folder(dir)?;
    setup::runtime()?.block_on(folder.enrol(&token, setup::clock())).map_err(Failure::refused)?;
    println!("enrolled `{}` at {}", folder.member(), token.hub);
    Ok(())
}

/// Publishes over the member's own connection and verifies that it is in the ledger.
pub fn publish_document(folder: &Folder, document: &SignedDocument) -> Outcome {
    let checkpoints = setup::checkpoints(folder)?;
    let receipt = setup::runtime()?.block_on(async {
        let enrolled = folder.enrolled().map_err(Failure::usage)?;
        let channel = enrolled.channel(setup::clock()).await.map_err(Failure::environment)?;
        yiwang_client::client::publish(channel, document, &checkpoints).await.map_err(|error| {
            let known = error.code() == Some(Code::Replayed);
            if known && document.payload_type() == payload_type::CONTRACT {
                return Failure::refused(
                    "replayed: the ledger has another text of this version of the contract, or a newer version: write the \
                     next `version` into the draft, and both sign it",
                );
            }
            Failure::refused(error)
        })
    })?;
    println!("published as entry {} (as of size {})", receipt.index, receipt.head.size);
    if document.payload_type() == payload_type::CONTRACT { keep_contract(folder, document) } else { Ok(()) }
}

/// Keeps what the hub entered, so that the member's host and `adapter call` know it.
fn keep_contract(folder: &Folder, document: &SignedDocument) -> Outcome {
    let contract = Contract::open(document).map_err(Failure::refused)?;
    folder.save_contract(&contract, document).map_err(|error| {
        Failure::environment(format!(
            "it is published, and not kept in the folder: {error}; publish it again"
        ))
    })?;
    let other = [&contract.text.provider.member, &contract.text.consumer.member];
    if let Some(other) = other.into_iter().find(|member| *member != folder.member()) {
        println!(
            "kept in {}; `{other}` keeps it by publishing it too",
            folder.path().join("contracts").display()
        );
    }
    Ok(())
}

fn show(dir: &std::path::Path) -> Outcome {
    let folder = setup::folder(dir)?;
    println!("member:  {} ({})", folder.member(), folder.display_name());
    println!("root:    {}", folder.root_public().to_base64());
    if let Some(known) = folder.known_root().map_err(Failure::usage)? {
        println!("         which the hub does not know yet, but {}: enrol", known.to_base64());
    }
    match folder.enrolled() {
        Ok(enrolled) => {
            println!("hub:     {}", enrolled.hub());
            println!("ledger:  {}", enrolled.verifier_key());
            if let Ok(leaf) = enrolled.certificate() {
                println!("certificate ends {}", format_rfc3339(leaf.ends_ms));
            }
        }
        Err(_) => println!("not enrolled: yiwang member enrol --folder {} --token ...", dir.display()),
    }
    Ok(())
}
