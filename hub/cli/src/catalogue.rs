//! `yiwang catalogue`: record types that members add, from draft to ledger.

mod review;

use crate::fail::{Failure, Outcome, file};
use crate::{member, setup};
use clap::Subcommand;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use yiwang_client::folder::{Folder, StaleError, not_older};
use yiwang_client::record_type::record_types;
use yiwang_policies::record_type::RECORD_TYPE_MAX;
use yiwang_policies::{Catalogue, RecordDef, RecordTypeText, RecordTypeVersion, SubjectKind};
use yiwang_proto::contract::Party;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::payload_type;
use yiwang_proto::ids::{MemberId, RecordType};
use yiwang_proto::nearest::did_you_mean;
use yiwang_proto::pb;
use yiwang_proto::plural::counted;

#[derive(Subcommand)]
pub enum Command {
    /// Checks a draft or signed file: form, lint, and that it follows the version before.
    Check {
        /// The draft (JSON) or envelope.
        file: PathBuf,
        /// The version before, draft or envelope.
        #[arg(long, value_name = "FILE")]
        previous: Option<PathBuf>,
        /// How the result is written.
        #[arg(long, short, value_enum, default_value = "text")]
        output: Output,
    },
    /// Signs a record type with the member's root; the next provider signs the first one's file.
    Sign {
        /// The member's folder, with root.key.
        #[arg(long)]
        folder: PathBuf,
        /// The draft, or the envelope that others signed.
        file: PathBuf,
        /// Where to write the envelope.
        #[arg(long, short)]
        out: PathBuf,
    },
    /// Enters a record type with all signatures in the ledger.
    Add {
        /// The folder of one of its providers.
        #[arg(long)]
        folder: PathBuf,
        /// The envelope.
        file: PathBuf,
    },
    /// Says what a version changes; exit code 1 where it may not follow.
    Diff {
        /// The version before.
        old: PathBuf,
        /// The new one.
        new: PathBuf,
        /// How the result is written.
        #[arg(long, short, value_enum, default_value = "text")]
        output: Output,
    },
    /// Lists the record types with fields, types and classes, those of the program and with a folder those that members
    /// added; then purposes and matters.
    List {
        /// A member's folder.
        #[arg(long)]
        folder: Option<PathBuf>,
        /// How the list is written.
        #[arg(long, short, value_enum, default_value = "text")]
        output: Output,
    },
    /// Shows a record type: one of the program, or with a folder the newest version of one that members added, fetched
    /// and verified.
    Show {
        /// A member's folder, for a record type that members added.
        #[arg(long)]
        folder: Option<PathBuf>,
        /// The record.
        record: RecordType,
        /// Where to write the envelope; its text goes to standard output otherwise.
        #[arg(long, short)]
        out: Option<PathBuf>,
    },
}

/// How a list or result is written.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One line of JSON.
    Json,
}

pub fn run(command: &Command) -> Outcome {
    let builtin = Catalogue::builtin().map_err(Failure::environment)?;
    match command {
        Command::Check { file, previous, output } => {
            review::check(file, previous.as_deref(), *output, &builtin)
        }
        Command::Sign { folder, file, out } => sign(folder, file, out, &builtin),
        Command::Add { folder, file } => {
            let document = envelope(file)?;
            let version = RecordTypeVersion::open(&document).map_err(Failure::refused)?;
            let folder = setup::folder(folder)?;
            not_behind(&folder, &version)?;
            member::publish_document(&folder, &document)?;
            folder.keep_record_type(&document, &version).map_err(Failure::environment)?;
            println!(
                "`{}` version {}; contracts pin it with \"record_type\": \"{}\"; those of older versions stay as they were agreed",
                version.text.record,
                version.text.version,
                yiwang_proto::hex(&version.digest)
            );
            Ok(())
        }
        Command::Diff { old, new, output } => review::diff(old, new, *output, &builtin),
        Command::List { folder, output } => list(folder.as_deref(), *output, &builtin),
        Command::Show { folder, record, out } => match builtin.record(record) {
            // What members added under the name before the program had it is still to be had, as its envelope.
            Some(own) if folder.is_none() || out.is_none() => show_own(own, out.is_some()),
            _ => show(folder.as_deref(), record, out.as_deref(), &builtin),
        },
    }
}

/// A signed record type that a contract pins, verified.
pub fn read_signed(path: &Path) -> Result<RecordTypeVersion, Failure> {
    open_signed(path).map(|(version, _)| version)
}

fn open_signed(path: &Path) -> Result<(RecordTypeVersion, SignedDocument), Failure> {
    let document = envelope(path)?;
    let version = RecordTypeVersion::open(&document)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    Ok((version, document))
}

/// Holds a version against the newest that this member met.
fn not_behind(folder: &Folder, version: &RecordTypeVersion) -> Outcome {
    match folder.record_type(&version.text.record).map_err(Failure::usage)? {
        Some(known) => not_older(version, &known).map_err(Failure::refused),
        None => Ok(()),
    }
}

/// How long a head that signs waits for the hub's list: it is asked besides, and may be out of reach.
const LIST_WAIT: Duration = Duration::from_secs(5);

/// Before a head signs a contract that pins a version: no newer one may be known, neither here nor to the hub. A version
/// counts if the contract's provider signed it under the root in the contract: a hub can make up no newer one.
pub fn newest_to_pin(folder: &Folder, path: &Path, provider: &Party) -> Outcome {
    let (version, document) = open_signed(path)?;
    let record = &version.text.record;
    let counts = |one: &RecordTypeVersion| {
        one.text.providers.iter().any(|by| by.member == provider.member && by.root == provider.root)
    };
    let stale = |error: StaleError| {
        let next = format!(
            "`yiwang catalogue show --folder {} {record} -o FILE` fetches the newest; write the contract anew with it",
            folder.path().display()
        );
        Failure::refused(format!("{error}: do not sign; {next}"))
    };
    if let Some(known) = folder.record_type(record).map_err(Failure::usage)?.filter(counts) {
        not_older(&version, &known).map_err(stale)?;
    }
    match newest_of_hub(folder, record) {
        Ok(None) => {}
        Ok(Some((newest, newest_document))) if counts(&newest) => {
            folder.keep_record_type(&newest_document, &newest).map_err(Failure::environment)?;
            not_older(&version, &newest).map_err(stale)?;
        }
        Ok(Some(_)) => {
            let provider = &provider.member;
            eprintln!(
                "note: the hub's newest `{record}` is not signed under the root of `{provider}` in the contract"
            );
        }
        // The root may lie where there is no network.
        Err(why) => eprintln!("note: the hub was not asked whether there is a newer `{record}`: {why}"),
    }
    if counts(&version) {
        folder.keep_record_type(&document, &version).map_err(Failure::environment)?;
    }
    Ok(())
}

/// The newest version that the hub shows; none where it shows none.
fn newest_of_hub(
    folder: &Folder,
    record: &RecordType,
) -> Result<Option<(RecordTypeVersion, SignedDocument)>, String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let enrolled = folder.enrolled().map_err(|error| words(&error))?;
    let runtime = setup::runtime().map_err(|_| "no runtime".to_owned())?;
    let asked = runtime.block_on(async {
        let asking = async {
            let channel = enrolled.channel(setup::clock()).await.map_err(|error| words(&error))?;
            record_types(channel, &[record]).await.map_err(|error| words(&error))
        };
        tokio::time::timeout(LIST_WAIT, asking).await.map_err(|_| "no answer in time".to_owned())?
    })?;
    let Some(document) = asked.documents.into_iter().next() else { return Ok(None) };
    let signed = SignedDocument::parse(document, RECORD_TYPE_MAX).map_err(|error| words(&error))?;
    let version = RecordTypeVersion::open(&signed).map_err(|error| words(&error))?;
    if version.text.record != *record {
        return Err("it sent another record type than was asked for".to_owned());
    }
    Ok(Some((version, signed)))
}

/// The bytes of a file that may be a record type.
fn bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    if std::fs::metadata(path).map_err(file(path))?.len() > RECORD_TYPE_MAX as u64 {
        return Err(Failure::usage(format!(
            "{}: is over {RECORD_TYPE_MAX} bytes, which no record type has",
            path.display()
        )));
    }
    std::fs::read(path).map_err(file(path))
}

fn envelope(path: &Path) -> Result<SignedDocument, Failure> {
    let signed = SignedDocument::parse(bytes(path)?.into(), RECORD_TYPE_MAX).map_err(|error| {
        let next = "`yiwang catalogue sign` makes the envelope from a draft";
        Failure::usage(format!("{}: {error}; {next}", path.display()))
    })?;
    if signed.payload_type() != payload_type::RECORD_TYPE {
        return Err(Failure::usage(format!("{}: is signed, and no record type", path.display())));
    }
    Ok(signed)
}

/// The text of a draft or envelope, and the envelope if it is one.
fn read(path: &Path) -> Result<(RecordTypeText, Option<SignedDocument>), Failure> {
    let bytes = bytes(path)?;
    let signed = SignedDocument::parse(bytes.clone().into(), RECORD_TYPE_MAX)
        .ok()
        .filter(|signed| signed.payload_type() == payload_type::RECORD_TYPE);
    let json = signed.as_ref().map_or(bytes.as_slice(), |signed| signed.unverified_payload());
    let text = RecordTypeText::parse(json)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    Ok((text, signed))
}

fn stands(faults: &[String]) -> Outcome {
    if faults.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!("the record type cannot stand:\n  - {}", faults.join("\n  - "))))
}

fn sign(dir: &Path, path: &Path, out: &Path, builtin: &Catalogue) -> Outcome {
    let folder = setup::folder(dir)?;
    let root = folder.root_key().map_err(Failure::usage)?;
    let (text, signed) = read(path)?;
    stands(&text.faults(builtin))?;
    match text.providers.iter().find(|provider| provider.member == *folder.member()) {
        None => {
            let what =
                format!("`{}` is no provider of this record type; add it to `providers`", folder.member());
            return Err(Failure::usage(what));
        }
        Some(provider) if provider.root != root.public() => {
            return Err(Failure::usage("the record type names another root for this member: do not sign it"));
        }
        Some(_) => {}
    }
    let signed = match signed {
        Some(signed) => signed.add_signature(&root),
        None => SignedDocument::sign(payload_type::RECORD_TYPE, &text.to_json(), &[&root]),
    };
    std::fs::write(out, signed.bytes()).map_err(file(out))?;
    println!(
        "signed `{}` version {} for `{}`: {} of {} signatures",
        text.record,
        text.version,
        folder.member(),
        signed.signature_count(),
        text.providers.len()
    );
    Ok(())
}

/// Asks the member's hub.
fn ask(dir: &Path, records: &[&RecordType]) -> Result<pb::GetRecordTypesResponse, Failure> {
    let folder = setup::folder(dir)?;
    setup::runtime()?.block_on(async {
        let enrolled = folder.enrolled().map_err(Failure::usage)?;
        let channel = enrolled.channel(setup::clock()).await.map_err(Failure::environment)?;
        record_types(channel, records).await.map_err(Failure::refused)
    })
}

fn list(dir: Option<&Path>, output: Output, builtin: &Catalogue) -> Outcome {
    let added =
        dir.map(|dir| ask(dir, &[])).transpose()?.map(|answer| answer.record_types).unwrap_or_default();
    if output == Output::Json {
        let of_program: Vec<_> = builtin
            .records()
            .map(|record| json!({"record": record.name.as_str(), "about": record.about, "fields": record.fields}))
            .collect();
        let of_members: Vec<_> = added
            .iter()
            .map(|one| {
                json!({"record": one.record, "version": one.version, "digest": yiwang_proto::hex(&one.digest),
                    "entry": one.index, "providers": one.providers})
            })
            .collect();
        let of_purposes: BTreeMap<&str, &str> =
            builtin.purposes().map(|(id, about)| (id.as_str(), about)).collect();
        let of_matters: BTreeMap<&str, &str> =
            builtin.matters().map(|(id, about)| (id.as_str(), about)).collect();
        println!(
            "{}",
            json!({"program": of_program, "added": of_members, "purposes": of_purposes, "matters": of_matters})
        );
        return Ok(());
    }
    for record in builtin.records() {
        let count = counted(record.fields.len(), "field");
        println!("{:<24} {count}; {}", record.name.as_str(), record.about);
        let fields = record.fields.iter();
        let fields = fields.map(|(name, field)| format!("{name} {}/{}", field.kind.as_str(), field.class));
        println!("  {}", fields.collect::<Vec<_>>().join(", "));
    }
    for one in &added {
        // The hub's words: names that are none are not shown.
        let named = RecordType::parse(&one.record).is_ok()
            && one.providers.iter().all(|id| MemberId::parse(id).is_ok());
        if !named {
            return Err(Failure::refused("the hub's list holds what is no name of a record or member"));
        }
        println!(
            "{:<24} version {}, entry {}, by {}; {}",
            one.record,
            one.version,
            one.index,
            one.providers.join(", "),
            yiwang_proto::hex(&one.digest)
        );
    }
    println!("after each field: its type and class; `yiwang catalogue show RECORD` says what each is");
    for (id, about) in builtin.purposes() {
        println!("purpose {:<36} {about}", id.as_str());
    }
    for (id, about) in builtin.matters() {
        println!("matter  {:<36} {about}", id.as_str());
    }
    Ok(())
}

/// A record type that comes with the program, field by field.
fn show_own(record: &RecordDef, written: bool) -> Outcome {
    if written {
        let what = format!("`{}` comes with the program and has no envelope to write", record.name);
        return Err(Failure::usage(format!("{what}; leave `--out` out")));
    }
    let zh = record.zh.as_deref().map(|zh| format!(" ({zh})")).unwrap_or_default();
    println!("{}{zh}: {}", record.name, record.about);
    let subject = match record.subject {
        SubjectKind::Person => "always about a person: the case must list whose it is",
        SubjectKind::None => "never about a person",
        SubjectKind::Either => {
            "about a thing or place, and about a person where a field of class 2 and above is asked for"
        }
    };
    println!("{subject}; usually kept by {}; comes with the program", record.owner);
    for (name, field) in &record.fields {
        let zh = field.zh.as_deref().map(|zh| format!(" ({zh})")).unwrap_or_default();
        println!(
            "  {:<24} {:<10} class {}  {}{zh}",
            name.as_str(),
            field.kind.as_str(),
            field.class,
            field.about
        );
        if !field.codes.is_empty() {
            println!("  {:<24} codes: {}", "", field.codes.join(", "));
        }
    }
    Ok(())
}

fn show(dir: Option<&Path>, record: &RecordType, out: Option<&Path>, builtin: &Catalogue) -> Outcome {
    let Some(dir) = dir else {
        let known = builtin.records().map(|own| own.name.as_str());
        let next = did_you_mean(record.as_str(), known)
            .unwrap_or_else(|| "`yiwang catalogue list` names what does".to_owned());
        return Err(Failure::usage(format!(
            "`{record}` does not come with the program; where members added it, say `--folder DIR`; {next}"
        )));
    };
    let Some(document) = ask(dir, &[record])?.documents.into_iter().next() else {
        let next = "`yiwang catalogue list --folder DIR` names those that there are";
        return Err(Failure::refused(format!("members added no record type `{record}`; {next}")));
    };
    let signed = SignedDocument::parse(document, RECORD_TYPE_MAX).map_err(Failure::refused)?;
    let version = RecordTypeVersion::open(&signed).map_err(Failure::refused)?;
    if version.text.record != *record {
        return Err(Failure::refused("the hub sent another record type than was asked for"));
    }
    stands(&version.text.faults(builtin))?;
    // A hub that goes back to an older version, or to another text, is told here. What it shows is not kept: whose roots
    // these are is known with a contract only.
    not_behind(&setup::folder(dir)?, &version)?;
    let said = format!("version {}, digest {}", version.text.version, yiwang_proto::hex(&version.digest));
    match out {
        Some(path) => {
            std::fs::write(path, signed.bytes()).map_err(file(path))?;
            println!("`{record}` {said}, signed by all its providers");
        }
        None => {
            println!("{}", String::from_utf8_lossy(&version.text.to_json()));
            eprintln!("{said}");
        }
    }
    Ok(())
}
