//! `yiwang officer`: the officer's own tool. The key is made here and stays here; the member's IT delegates
//! its public half, and neither gateway nor app ever sees the private one.

use crate::fail::{Failure, Outcome, file};
use crate::{member, setup};
use clap::Subcommand;
use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::ids::{AppId, CaseId, Officer, RequestId};
use yiwang_proto::keys::{PublicKey, SecretKey};
use yiwang_proto::limits::{DOCUMENT_MAX, PREPARED_BYTES_MAX};
use yiwang_proto::prepared::Prepared;
use yiwang_proto::ticket::Draft;
use yiwang_proto::time::format_rfc3339;

#[derive(Subcommand)]
pub enum Command {
    /// Makes an officer's key and pseudonym; prints what the member's IT delegates.
    Keygen {
        /// Where the key is written; only its owner can read it.
        #[arg(long, short)]
        out: PathBuf,
    },
    /// The member's root delegates an officer's key under the officer's pseudonym (member's IT).
    Delegate {
        /// The member's folder.
        #[arg(long)]
        folder: PathBuf,
        /// The pseudonym that `keygen` printed.
        #[arg(long)]
        officer: Officer,
        /// The public key that `keygen` printed.
        #[arg(long)]
        key: String,
        /// Days until it ends.
        #[arg(long, default_value_t = 90)]
        days: u32,
        /// Publishes it at once.
        #[arg(long)]
        publish: bool,
        /// Where the delegation is written, for the officer.
        #[arg(long, short)]
        out: PathBuf,
    },
    /// Signs a ticket: one app, one case, a number of queries, for data of class up to 2.
    Ticket {
        #[command(flatten)]
        signer: Signer,
        /// For which app.
        #[arg(long)]
        app: AppId,
        /// In which case.
        #[arg(long)]
        case: CaseId,
        /// How many queries; one unified record is one for each department.
        #[arg(long, default_value_t = 20)]
        uses: u32,
        /// Hours until it ends, at most 12.
        #[arg(long, default_value_t = 8)]
        hours: u32,
        /// Where to write it.
        #[arg(long, short)]
        out: PathBuf,
    },
    /// Shows prepared requests and signs them.
    Sign {
        #[command(flatten)]
        signer: Signer,
        /// What `yiwang query prepare` or the gateway's `/v1/records/prepare` gave.
        prepared: PathBuf,
        /// Where to write them signed.
        #[arg(long, short)]
        out: PathBuf,
    },
}

/// Who signs.
#[derive(clap::Args)]
pub struct Signer {
    /// The officer's key.
    #[arg(long)]
    key: PathBuf,
    /// Its delegation.
    #[arg(long)]
    delegation: PathBuf,
}

const DAY_MS: i64 = 24 * 3600 * 1000;
const HOUR_MS: i64 = 3600 * 1000;

pub fn run(command: &Command) -> Outcome {
    match command {
        Command::Keygen { out } => keygen(out),
        Command::Delegate { folder, officer, key, days, publish, out } => {
            let opened = setup::folder(folder)?;
            let key = PublicKey::from_base64(key).map_err(Failure::usage)?;
            let name = AppId::parse(officer.as_str()).map_err(Failure::usage)?;
            let now = setup::clock().now_ms();
            let until = now + i64::from(*days) * DAY_MS;
            let document = opened
                .delegate_key(Role::Officer, &name, key, now - 60_000, until)
                .map_err(Failure::usage)?;
            std::fs::write(out, document.bytes()).map_err(file(out))?;
            println!("delegated officer `{officer}` until {}", format_rfc3339(until));
            println!("delegation: {}", yiwang_proto::hex(&document.digest()));
            if *publish { member::publish_document(&opened, &document) } else { Ok(()) }
        }
        Command::Ticket { signer, app, case, uses, hours, out } => {
            let (key, delegation) = load(signer)?;
            let now = setup::clock().now_ms();
            let draft = Draft {
                member: delegation.member.clone(),
                officer: Officer::parse(delegation.name.as_str()).map_err(Failure::usage)?,
                app: app.clone(),
                case: case.clone(),
                uses: *uses,
                issued_at_ms: now,
                expires_at_ms: now + i64::from(*hours) * HOUR_MS,
                delegation_digest: delegation.digest,
            };
            let ticket = draft.sign(RequestId::new(now, setup::entropy().as_ref()), &key);
            yiwang_proto::ticket::Ticket::verify(&ticket, &delegation).map_err(Failure::usage)?;
            std::fs::write(out, ticket.bytes()).map_err(file(out))?;
            println!("ticket: {}", yiwang_proto::hex(&ticket.digest()));
            println!("publish it: yiwang member publish, or the gateway's /v1/tickets");
            Ok(())
        }
        Command::Sign { signer, prepared, out } => sign(signer, prepared, out),
    }
}

fn keygen(out: &Path) -> Outcome {
    let entropy = setup::entropy();
    let (key, officer) = (SecretKey::generate(entropy.as_ref()), Officer::new(entropy.as_ref()));
    let mut created =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(out).map_err(file(out))?;
    created.write_all(format!("{}\n", key.to_base64()).as_bytes()).map_err(file(out))?;
    created.sync_all().map_err(file(out))?;
    let public = key.public().to_base64();
    println!("officer: {officer}");
    println!("key: {public}");
    println!(
        "the member's IT delegates it: yiwang officer delegate --folder DIR --officer {officer} --key {public} --publish \
         --out officer.json"
    );
    Ok(())
}

fn load(signer: &Signer) -> Result<(SecretKey, Delegation), Failure> {
    let path = &signer.key;
    let mode = std::fs::metadata(path).map_err(file(path))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Failure::usage(format!(
            "`{}` can be read by others: run `chmod 600` on it",
            path.display()
        )));
    }
    let key = SecretKey::from_base64(&std::fs::read_to_string(path).map_err(file(path))?);
    let bytes = std::fs::read(&signer.delegation).map_err(file(&signer.delegation))?;
    let document = SignedDocument::parse(bytes.into(), DOCUMENT_MAX).map_err(Failure::usage)?;
    let delegation = Delegation::open(&document).map_err(Failure::usage)?;
    let key = key.map_err(Failure::usage)?;
    if delegation.role != Role::Officer || delegation.key != key.public() {
        return Err(Failure::usage("the delegation is not for this key, or not for an officer"));
    }
    Ok((key, delegation))
}

fn sign(signer: &Signer, prepared: &Path, out: &Path) -> Outcome {
    let (key, delegation) = load(signer)?;
    let mut text = Vec::new();
    let opened = std::fs::File::open(prepared).map_err(file(prepared))?;
    opened.take(PREPARED_BYTES_MAX as u64 + 1).read_to_end(&mut text).map_err(file(prepared))?;
    let requests = Prepared::parse(&text).map_err(Failure::usage)?;
    for one in requests.check().map_err(Failure::usage)? {
        let request = &one.request;
        let fields: Vec<&str> = request.fields.iter().map(|field| field.as_str()).collect();
        println!(
            "{} of {} by {}: {}",
            request.record,
            one.opened.subject,
            request.provider,
            fields.join(", ")
        );
        println!("  for {} in case {}, under contract {}", request.purpose, request.case, request.contract);
        println!("  until {}", format_rfc3339(request.expires_at_ms));
    }
    let signed = requests.sign(&delegation, &key).map_err(Failure::usage)?;
    let json = serde_json::to_vec_pretty(&signed).map_err(Failure::environment)?;
    std::fs::write(out, json).map_err(file(out))?;
    println!("signed; send it before it ends: yiwang query send, or the gateway's /v1/records/send");
    Ok(())
}
