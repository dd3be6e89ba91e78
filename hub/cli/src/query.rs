//! `yiwang query`: a unified record, or one signed request for other programs to send.

mod answer;

use self::answer::Asker;
use crate::batch::{self, Batch};
use crate::case::Issued;
use crate::fail::{Failure, Outcome, file};
use crate::hints;
use crate::setup::{self, AppArgs};
use clap::{Args, Subcommand};
use prost::Message as _;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use yiwang_client::batch::RESUME;
use yiwang_client::count::CountQuery;
use yiwang_client::exchange::Ask;
use yiwang_client::paging::read;
use yiwang_client::record::RecordQuery;
use yiwang_proto::body::Arguments;
use yiwang_proto::contract::{Contract, Scalar};
use yiwang_proto::delegation::Delegation;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::ids::{CaseId, ContractId, FieldName, Officer, Operation, Purpose, RecordType};
use yiwang_proto::limits::DOCUMENT_MAX;
use yiwang_proto::plural::counted;
use yiwang_proto::prepared::{Checked, Prepared};
use yiwang_proto::request::OfficerBy;
use yiwang_proto::ticket::from_hex;

#[derive(Args)]
pub struct Common {
    /// The subject's identifier; none where the operations are about no person.
    #[arg(long, default_value = "", hide_default_value = true)]
    subject: String,
    #[command(flatten)]
    issued: Issued,
    /// The open case.
    #[arg(long)]
    case: CaseId,
    /// Pseudonym of the acting officer.
    #[arg(long)]
    officer: Option<Officer>,
    /// A further argument, NAME=VALUE; may be given several times.
    #[arg(long = "arg", value_name = "NAME=VALUE")]
    arguments: Vec<String>,
    /// The next page of a search: what its source said under `resume`; only the contracts that are named so are asked. May
    /// be given several times.
    #[arg(long = "resume", value_name = "CONTRACT=TOKEN")]
    resume: Vec<String>,
}

impl Common {
    /// The subject, if it was most likely not mistyped.
    fn subject(&self) -> Result<String, Failure> {
        hints::subjects(std::slice::from_ref(&self.subject), self.issued.as_issued)?;
        Ok(self.subject.clone())
    }
}

/// Exit codes of what asks departments.
const ENDS: &str = "Ends with 0 where anything was answered, also that nobody has such a record; 4 where every field is withheld or \
unavailable, with the reasons; 1 where nobody could be asked; 2 and 3 for arguments and surroundings.";

#[derive(Subcommand)]
pub enum Command {
    /// Asks every department that a contract allows, and merges the answers.
    #[command(after_help = ENDS)]
    Record {
        #[command(flatten)]
        app: AppArgs,
        #[command(flatten)]
        common: Common,
        /// The purpose, e.g. social-assistance.eligibility.
        #[arg(long)]
        purpose: Purpose,
        /// A field, RECORD.FIELD, or a whole RECORD; all that contracts grant without any.
        #[arg(long = "field", value_name = "RECORD[.FIELD]")]
        fields: Vec<String>,
        /// Saves the evidence bundle of every exchange into this folder.
        #[arg(long)]
        evidence: Option<PathBuf>,
        /// Keeps every exchange, request and response, in this folder, for `yiwang audit reconcile`.
        #[arg(long, value_name = "DIR")]
        keep: Option<PathBuf>,
        /// The officer's published ticket, by the digest that `yiwang officer ticket` printed.
        #[arg(long)]
        ticket: Option<String>,
    },
    /// Asks how many, by which values: needs a contract for counts and a case, and names nobody.
    Count {
        #[command(flatten)]
        app: AppArgs,
        /// The open case.
        #[arg(long)]
        case: CaseId,
        /// Pseudonym of the acting officer.
        #[arg(long)]
        officer: Option<Officer>,
        /// The officer's published ticket, by the digest that `yiwang officer ticket` printed.
        #[arg(long, requires = "officer")]
        ticket: Option<String>,
        /// The purpose, e.g. public-health.planning.
        #[arg(long)]
        purpose: Purpose,
        /// The record.
        record: RecordType,
        /// A field to count by; may be given several times; all that the contract grants without any.
        #[arg(long = "by", value_name = "FIELD")]
        by: Vec<FieldName>,
    },
    /// All rows of a contract for batches into a file, page by page; goes on where it was.
    Batch(Batch),
    /// Prepares the requests of a record for an officer's signature: `yiwang officer sign`, then `send`.
    Prepare {
        #[command(flatten)]
        app: AppArgs,
        #[command(flatten)]
        common: Common,
        /// The purpose.
        #[arg(long)]
        purpose: Purpose,
        /// A field, RECORD.FIELD, or a whole RECORD; all that contracts grant without any.
        #[arg(long = "field", value_name = "RECORD[.FIELD]")]
        fields: Vec<String>,
        /// The delegation of the officer's key.
        #[arg(long)]
        delegation: PathBuf,
        /// Where to write them.
        #[arg(long, short)]
        out: PathBuf,
    },
    /// Sends prepared requests that the officer signed, and merges the answers.
    #[command(after_help = ENDS)]
    Send {
        #[command(flatten)]
        app: AppArgs,
        /// What `yiwang officer sign` wrote.
        signed: PathBuf,
        /// Saves the evidence bundle of every exchange into this folder.
        #[arg(long)]
        evidence: Option<PathBuf>,
    },
    /// Signs one request and writes it as an encoded `ExchangeRequest`, for any gRPC client to send.
    Sign {
        #[command(flatten)]
        app: AppArgs,
        #[command(flatten)]
        common: Common,
        /// The contract document.
        #[arg(long)]
        contract: PathBuf,
        /// The operation; the contract's first otherwise.
        #[arg(long)]
        operation: Option<Operation>,
        /// A field; may be given several times.
        #[arg(long = "field", required = true)]
        fields: Vec<FieldName>,
        /// Where to write it.
        #[arg(long, short)]
        out: PathBuf,
    },
    /// Fetches the evidence bundle of an exchange.
    Evidence {
        #[command(flatten)]
        app: AppArgs,
        /// The exchange's entry.
        index: u64,
        /// Where to write it.
        #[arg(long, short)]
        out: PathBuf,
    },
}

fn arguments(raw: &[String]) -> Result<Arguments, Failure> {
    raw.iter()
        .map(|text| {
            let (name, value) =
                text.split_once('=').ok_or_else(|| Failure::usage("an argument is written as NAME=VALUE"))?;
            Ok((FieldName::parse(name).map_err(Failure::usage)?, Scalar::Text(value.to_owned())))
        })
        .collect()
}

fn resume(raw: &[String]) -> Result<BTreeMap<ContractId, String>, Failure> {
    let read: Vec<(ContractId, String)> = raw
        .iter()
        .map(|text| {
            let (contract, token) =
                text.split_once('=').filter(|(_, token)| !token.is_empty()).ok_or_else(|| {
                    Failure::usage("what a next page is asked for with is written as CONTRACT=TOKEN")
                })?;
            Ok((ContractId::parse(contract).map_err(Failure::usage)?, token.to_owned()))
        })
        .collect::<Result<_, Failure>>()?;
    let mut resume = BTreeMap::new();
    for (contract, token) in read {
        if resume.insert(contract.clone(), token).is_some() {
            let what =
                format!("`--resume` names contract `{contract}` twice: ask for each of its pages by itself");
            return Err(Failure::usage(what));
        }
    }
    Ok(resume)
}

/// The arguments of one request, with what its page begins after.
fn with_resume(common: &Common, contract: &Contract) -> Result<Arguments, Failure> {
    let (mut arguments, resume) = (arguments(&common.arguments)?, resume(&common.resume)?);
    if let Some(other) = resume.keys().find(|id| **id != contract.text.id) {
        let what =
            format!("`--resume` names contract `{other}`, and the request is for `{}`", contract.text.id);
        return Err(Failure::usage(what));
    }
    for named in resume.into_values() {
        let (_, token) =
            read(&named).ok_or_else(|| Failure::usage("`--resume` has a token that no answer gave"))?;
        arguments.insert(FieldName::parse(RESUME).map_err(Failure::usage)?, Scalar::Text(token.to_owned()));
    }
    Ok(arguments)
}

fn wanted(fields: &[String]) -> Result<BTreeMap<RecordType, Vec<FieldName>>, Failure> {
    let mut wanted: BTreeMap<RecordType, Vec<FieldName>> = BTreeMap::new();
    for text in fields {
        let (record, field) = hints::field(text)?;
        wanted.entry(record).or_default().extend(field);
    }
    Ok(wanted)
}

fn query(common: &Common, purpose: &Purpose, fields: &[String]) -> Result<RecordQuery, Failure> {
    hints::purpose(purpose)?;
    Ok(RecordQuery {
        subject: common.subject()?,
        purpose: purpose.clone(),
        case: common.case.clone(),
        officer: common.officer.clone(),
        fields: wanted(fields)?,
        arguments: arguments(&common.arguments)?,
        resume: resume(&common.resume)?,
    })
}

async fn prepare(app: &AppArgs, query: &RecordQuery, delegation: &Path, out: &Path) -> Outcome {
    let bytes = std::fs::read(delegation).map_err(file(delegation))?;
    let document = SignedDocument::parse(bytes.into(), DOCUMENT_MAX).map_err(Failure::usage)?;
    let officer = Delegation::open(&document).map_err(Failure::usage)?;
    let client = setup::met_client(app).await?;
    let prepared = client.prepare_record(query, officer.digest).await.map_err(Failure::refused)?;
    if prepared.requests.is_empty() {
        return Err(hints::nobody_asked(&client, app, query).await);
    }
    let json = serde_json::to_vec_pretty(&prepared).map_err(Failure::environment)?;
    std::fs::write(out, json).map_err(file(out))?;
    println!("prepared: {}, to be sent within 60 s", counted(prepared.requests.len(), "request"));
    println!(
        "the officer signs: yiwang officer sign --key FILE --delegation {} {} --out signed.json",
        delegation.display(),
        out.display()
    );
    Ok(())
}

/// How the officer is proved: by a ticket's digest, or not at all.
pub fn officer_by(ticket: Option<&str>) -> Result<OfficerBy, Failure> {
    let Some(text) = ticket else { return Ok(OfficerBy::Asserted) };
    let digest = from_hex(text).ok_or_else(|| Failure::usage("a ticket is 64 hexadecimal digits"))?;
    Ok(OfficerBy::Ticket(digest))
}

/// Where a record's exchanges are kept and whose ticket they use.
struct Extras<'a> {
    evidence: Option<&'a Path>,
    keep: Option<&'a Path>,
    ticket: Option<&'a str>,
}

async fn record(app: &AppArgs, query: &RecordQuery, extras: Extras<'_>) -> Outcome {
    let by = officer_by(extras.ticket)?;
    let mut client = setup::met_client(app).await?;
    if let Some(dir) = extras.keep {
        client = client.keeping(dir).map_err(Failure::environment)?;
    }
    let record = client.query_record_by(query, by).await.map_err(Failure::refused)?;
    if record.sources.is_empty() {
        return Err(hints::nobody_asked(&client, app, query).await);
    }
    let asker = Asker { member: &client.identity().member, folder: &app.folder };
    let shown = answer::show(&record, asker);
    if let Some(dir) = extras.evidence {
        answer::evidence(&client, &record, dir).await?;
    }
    setup::settled(&client).await?;
    shown
}

async fn send(app: &AppArgs, signed: &Path, evidence: Option<&Path>) -> Outcome {
    let text = std::fs::read(signed).map_err(file(signed))?;
    let prepared = Prepared::parse(&text).map_err(Failure::usage)?;
    // Before anything is said to the hub: a request that was sent is used up, also where it was refused.
    if prepared.check().map_err(Failure::usage)?.iter().any(Checked::lacks_officer) {
        return Err(Failure::usage(format!(
            "`{}`: no officer signed it: `yiwang officer sign --key FILE --delegation FILE {} --out signed.json`; nothing was \
             sent",
            signed.display(),
            signed.display()
        )));
    }
    let client = setup::met_client(app).await?;
    let record = client.send_prepared(&prepared).await.map_err(Failure::refused)?;
    let asker = Asker { member: &client.identity().member, folder: &app.folder };
    let shown = answer::show(&record, asker);
    if let Some(dir) = evidence {
        answer::evidence(&client, &record, dir).await?;
    }
    setup::settled(&client).await?;
    shown
}

async fn count(app: &AppArgs, query: &CountQuery) -> Outcome {
    let client = setup::met_client(app).await?;
    let counted = client.count(query).await.map_err(Failure::refused)?;
    if counted.is_empty() {
        return Err(Failure::refused(
            "no contract in force lets this app count such records for this purpose",
        ));
    }
    println!("{}", serde_json::to_string_pretty(&counted).map_err(Failure::environment)?);
    setup::settled(&client).await
}

pub fn run(command: &Command) -> Outcome {
    setup::runtime()?.block_on(async {
        match command {
            Command::Record { app, common, purpose, fields, evidence, keep, ticket } => {
                let extras = Extras {
                    evidence: evidence.as_deref(),
                    keep: keep.as_deref(),
                    ticket: ticket.as_deref(),
                };
                record(app, &query(common, purpose, fields)?, extras).await
            }
            Command::Count { app, case, officer, ticket, purpose, record, by } => {
                let query = CountQuery {
                    record: record.clone(),
                    by: by.clone(),
                    purpose: purpose.clone(),
                    case: case.clone(),
                    officer: officer.clone(),
                    officer_by: officer_by(ticket.as_deref())?,
                };
                count(app, &query).await
            }
            Command::Batch(batch) => batch::run(batch).await,
            Command::Prepare { app, common, purpose, fields, delegation, out } => {
                prepare(app, &query(common, purpose, fields)?, delegation, out).await
            }
            Command::Send { app, signed, evidence } => send(app, signed, evidence.as_deref()).await,
            Command::Sign { app, common, contract, operation, fields, out } => {
                let subject = common.subject()?;
                let client = setup::client(app)?;
                let bytes = std::fs::read(contract).map_err(file(contract))?;
                let contract = Contract::open_bytes(bytes.into()).map_err(Failure::refused)?;
                let first = contract.text.operations.first().cloned();
                let operation = operation
                    .clone()
                    .or(first)
                    .ok_or_else(|| Failure::usage("the contract names no operation"))?;
                let ask = Ask {
                    operation,
                    fields: fields.clone(),
                    case: common.case.clone(),
                    officer: common.officer.clone(),
                    subject,
                    arguments: with_resume(common, &contract)?,
                    retry_of: None,
                };
                let signed = client.sign(&contract, &ask);
                std::fs::write(out, signed.message.encode_to_vec()).map_err(file(out))?;
                println!("request {} is signed; it can be sent until it expires in 60 s", signed.request.id);
                Ok(())
            }
            Command::Evidence { app, index, out } => {
                let client = setup::met_client(app).await?;
                let bundle = client.evidence(*index).await.map_err(Failure::refused)?;
                std::fs::write(out, bundle).map_err(file(out))?;
                println!("verify it offline: yiwang audit verify --evidence {}", out.display());
                Ok(())
            }
        }
    })
}
