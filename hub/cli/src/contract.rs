//! `yiwang contract`: draft, new, sign, publish, show.

mod draft;

use crate::fail::{Failure, Outcome, file};
use crate::{catalogue, hints, member, setup};
use clap::Subcommand;
use std::path::{Path, PathBuf};
use yiwang_policies::draft::{check_draft, placeholders};
use yiwang_policies::{Catalogue, RecordTypeVersion, check_contract};
use yiwang_proto::contract::{Contract, ContractError, ContractText};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::payload_type;
use yiwang_proto::keys::PublicKey;
use yiwang_proto::limits::CONTRACT_MAX;

#[derive(Subcommand)]
pub enum Command {
    /// Writes a draft; what only people know stays marked and is refused until it is replaced.
    Draft(draft::Draft),
    /// Checks a draft and puts both roots into it: the text that both heads sign.
    New {
        /// The draft (JSON): `yiwang contract draft` writes one.
        draft: PathBuf,
        /// The provider's root key, base64, told by another way than this network.
        #[arg(long)]
        provider_root: Option<String>,
        /// The consumer's root key.
        #[arg(long)]
        consumer_root: Option<String>,
        /// First valid day, RFC 3339; the draft's otherwise.
        #[arg(long)]
        valid_from: Option<String>,
        /// End, RFC 3339; the draft's otherwise.
        #[arg(long)]
        valid_until: Option<String>,
        /// The signed record type, for a record that members added; its digest is put into the text.
        #[arg(long, value_name = "FILE")]
        record_type: Option<PathBuf>,
        /// Where to write it; standard output otherwise.
        #[arg(long, short)]
        out: Option<PathBuf>,
    },
    /// Signs a contract with the member's root; the second member signs the first one's file.
    Sign {
        /// The member's folder, with root.key.
        #[arg(long)]
        folder: PathBuf,
        /// The text from `new`, or the envelope that the other member signed.
        contract: PathBuf,
        /// The signed record type that the contract pins, for a record that members added.
        #[arg(long, value_name = "FILE")]
        record_type: Option<PathBuf>,
        /// Where to write the envelope.
        #[arg(long, short)]
        out: PathBuf,
    },
    /// Enters a contract with both signatures in the ledger.
    Publish {
        /// The folder of one of the two members.
        #[arg(long)]
        folder: PathBuf,
        /// The envelope.
        contract: PathBuf,
    },
    /// Shows a contract: text, signatures, what does not hold.
    Show {
        /// The text or envelope.
        contract: PathBuf,
        /// The signed record type that the contract pins, for a record that members added.
        #[arg(long, value_name = "FILE")]
        record_type: Option<PathBuf>,
    },
}

/// A root as its member tells it.
fn root_of(argument: &str, text: &str) -> Result<PublicKey, Failure> {
    PublicKey::from_base64(text).map_err(|error| {
        Failure::usage(format!(
            "`--{argument}`: {error}; it is the public key of the member's root, as the member tells it; `yiwang contract draft` with a \
             folder of the member puts it into the draft"
        ))
    })
}

pub fn run(command: &Command) -> Outcome {
    match command {
        Command::Draft(asked) => draft::run(asked),
        Command::New { draft, provider_root, consumer_root, valid_from, valid_until, record_type, out } => {
            let added = added(record_type.as_deref())?;
            let mut text = read_draft(draft, added.as_ref())?;
            let parties = [
                ("provider-root", provider_root, &mut text.provider),
                ("consumer-root", consumer_root, &mut text.consumer),
            ];
            for (argument, root, party) in parties {
                if let Some(root) = root {
                    party.root = root_of(argument, root)?;
                }
            }
            if let Some(from) = valid_from {
                text.valid_from.clone_from(from);
            }
            if let Some(until) = valid_until {
                text.valid_until.clone_from(until);
            }
            check(&text, added.as_ref())?;
            let given = [
                ("provider-root", provider_root.is_some()),
                ("consumer-root", consumer_root.is_some()),
                ("valid-from", valid_from.is_some()),
                ("valid-until", valid_until.is_some()),
            ];
            let replaced: Vec<&str> =
                given.into_iter().filter_map(|(name, given)| given.then_some(name)).collect();
            // Beside the text, which may go to standard output.
            hints::kept(&text, &replaced).iter().for_each(|line| eprintln!("{line}"));
            one_approver(&text);
            let json = text.to_json();
            match out {
                Some(path) => std::fs::write(path, &json).map_err(file(path)),
                None => {
                    println!("{}", String::from_utf8_lossy(&json));
                    Ok(())
                }
            }
        }
        Command::Sign { folder, contract, record_type, out } => {
            sign(folder, contract, record_type.as_deref(), out)
        }
        Command::Publish { folder, contract } => {
            let document = read_envelope(contract)?;
            Contract::open(&document).map_err(|error| hints::not_signed(contract, error))?;
            member::publish_document(&setup::folder(folder)?, &document)
        }
        Command::Show { contract, record_type } => show(contract, added(record_type.as_deref())?.as_ref()),
    }
}

fn read_draft(path: &Path, added: Option<&RecordTypeVersion>) -> Result<ContractText, Failure> {
    let json = std::fs::read_to_string(path).map_err(file(path))?;
    let catalogue = Catalogue::builtin().map_err(Failure::environment)?;
    check_draft(&path.display().to_string(), &json, &catalogue, added).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Failure::usage(format!("the draft cannot stand:\n{}", faults.join("\n")))
    })
}

fn read_envelope(path: &Path) -> Result<SignedDocument, Failure> {
    let bytes = std::fs::read(path).map_err(file(path))?;
    SignedDocument::parse(bytes.clone().into(), CONTRACT_MAX)
        .map_err(|error| hints::unsigned(path, &bytes, error))
}

/// The record type that a contract pins.
fn added(path: Option<&Path>) -> Result<Option<RecordTypeVersion>, Failure> {
    path.map(crate::catalogue::read_signed).transpose()
}

/// All faults of text and catalogue at once.
fn check(text: &ContractText, added: Option<&RecordTypeVersion>) -> Outcome {
    let catalogue = Catalogue::builtin().map_err(Failure::environment)?;
    let mut faults = text.faults();
    faults.extend(check_contract(text, &catalogue, added).iter().map(ToString::to_string));
    faults.extend(placeholders(text).iter().map(ToString::to_string));
    if faults.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!("the contract cannot stand:\n  - {}", faults.join("\n  - "))))
}

fn sign(dir: &Path, path: &Path, record_type: Option<&Path>, out: &Path) -> Outcome {
    let folder = setup::folder(dir)?;
    let root = folder.root_key().map_err(Failure::usage)?;
    let bytes = std::fs::read(path).map_err(file(path))?;
    let signed = match SignedDocument::parse(bytes.clone().into(), CONTRACT_MAX) {
        Ok(envelope) if envelope.payload_type() == payload_type::CONTRACT => envelope.add_signature(&root),
        _ => SignedDocument::sign(payload_type::CONTRACT, &bytes, &[&root]),
    };
    let text = ContractText::parse(signed.unverified_payload()).map_err(Failure::usage)?;
    check(&text, added(record_type)?.as_ref())?;
    let own = [&text.provider, &text.consumer].into_iter().find(|party| party.member == *folder.member());
    match own {
        None => return Err(Failure::usage(format!("`{}` is no party of this contract", folder.member()))),
        Some(party) if party.root != root.public() => {
            let exchanged = [&text.provider, &text.consumer].into_iter().any(|one| one.root == root.public());
            let what = if exchanged {
                "the two roots are exchanged: do not sign it; `yiwang contract new` with each root at its own side makes \
                 another text"
            } else {
                "the contract names another root for this member: do not sign it"
            };
            return Err(Failure::usage(what));
        }
        Some(_) => {}
    }
    if let Some(record_type) = record_type.filter(|_| text.record_type.is_some()) {
        catalogue::newest_to_pin(&folder, record_type, &text.provider)?;
    }
    std::fs::write(out, signed.bytes()).map_err(file(out))?;
    one_approver(&text);
    let missing = match Contract::open(&signed) {
        Err(ContractError::NotSigned { member, .. }) => format!("; `{member}` still signs"),
        _ => String::new(),
    };
    println!("signed `{}` version {} for `{}`{missing}", text.id, text.version, folder.member());
    Ok(())
}

/// A word to whoever copied one head's pseudonym to both sides: each head answers for a side of its own.
fn one_approver(text: &ContractText) {
    let approver = &text.provider.approver;
    if *approver == text.consumer.approver {
        eprintln!("note: `{approver}` is the approver of both sides; each head has a pseudonym of its own");
    }
}

fn show(path: &Path, added: Option<&RecordTypeVersion>) -> Outcome {
    let bytes = std::fs::read(path).map_err(file(path))?;
    let (text, document) = match SignedDocument::parse(bytes.clone().into(), CONTRACT_MAX) {
        Ok(document) => {
            (ContractText::parse(document.unverified_payload()).map_err(Failure::usage)?, Some(document))
        }
        Err(_) => (ContractText::parse(&bytes).map_err(Failure::usage)?, None),
    };
    println!("{}", String::from_utf8_lossy(&text.to_json()));
    match document.map(|document| Contract::open(&document)) {
        Some(Ok(contract)) => {
            println!("signed by both members; digest {}", yiwang_proto::hex(&contract.digest))
        }
        Some(Err(error)) => println!("does not hold: {error}"),
        None => println!("a text without signatures"),
    }
    check(&text, added)
}
