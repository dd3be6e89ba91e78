//! `yiwang auditor`: what an enrolled auditor asks of the hub. What it has as files is judged by `yiwang audit`.

use crate::fail::{Failure, Outcome};
use crate::setup;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use yiwang_client::auditor::AuditorClient;
use yiwang_client::folder::AuditorFolder;
use yiwang_client::token::EnrolToken;
use yiwang_policies::Catalogue;
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::codes::Code;
use yiwang_proto::entry::Kind;
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::{CaseId, ContractId, MemberId, Officer, Purpose, RecordType};
use yiwang_proto::nearest::meant_or_known;
use yiwang_proto::pb;
use yiwang_proto::request::Request;
use yiwang_proto::time::{format_rfc3339, parse_rfc3339};

/// How long a note on a search that found nothing may take.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Args)]
pub struct Filters {
    /// Only requests of this member.
    #[arg(long)]
    consumer: Option<MemberId>,
    /// Only requests to this member.
    #[arg(long)]
    provider: Option<MemberId>,
    /// Only under this contract.
    #[arg(long)]
    contract: Option<ContractId>,
    /// Only in this case.
    #[arg(long)]
    case: Option<CaseId>,
    /// Only by this officer, a pseudonym.
    #[arg(long)]
    officer: Option<Officer>,
    /// Only for this purpose.
    #[arg(long)]
    purpose: Option<Purpose>,
    /// Only of this record.
    #[arg(long)]
    record: Option<RecordType>,
    /// Only with this outcome: answered, denied, failed, withheld.
    #[arg(long, value_parser = outcome)]
    outcome: Option<pb::Outcome>,
    /// Only with this service code.
    #[arg(long, value_parser = code)]
    code: Option<Code>,
    /// Only about the subject with this tag, 64 hexadecimal digits.
    #[arg(long, value_name = "HEX")]
    tag: Option<String>,
    /// Only from this moment on, e.g. 2027-01-31T00:00:00Z.
    #[arg(long, value_name = "TIME", visible_alias = "since")]
    from: Option<String>,
    /// Only before this moment.
    #[arg(long, value_name = "TIME", visible_alias = "until")]
    to: Option<String>,
    /// Hits of one page, at most 256.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    /// Where the page before ended, as it said.
    #[arg(long, default_value = "", hide_default_value = true)]
    cursor: String,
}

#[derive(Subcommand)]
pub enum Command {
    /// Enrols with a token of the hub's operator (`yiwang hub token --for auditor:NAME ...`).
    Enrol {
        /// The auditor's folder; made if missing.
        #[arg(long, value_name = "DIR")]
        folder: PathBuf,
        /// The token.
        #[arg(long)]
        token: String,
    },
    /// Searches the exchanges of the auditor's scope; the search is recorded before it is answered.
    Search {
        /// The auditor's folder.
        #[arg(long, value_name = "DIR")]
        folder: PathBuf,
        #[command(flatten)]
        filters: Filters,
    },
    /// Reads entries: those of the scope whole, of the others the leaf hash. One JSON object a line.
    Entries {
        /// The auditor's folder.
        #[arg(long, value_name = "DIR")]
        folder: PathBuf,
        /// The first.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// How many, at most 256.
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
}

fn outcome(text: &str) -> Result<pb::Outcome, String> {
    match text {
        "answered" => Ok(pb::Outcome::Answered),
        "denied" => Ok(pb::Outcome::Denied),
        "failed" => Ok(pb::Outcome::Failed),
        "withheld" => Ok(pb::Outcome::Withheld),
        _ => Err("is none of answered, denied, failed, withheld".to_owned()),
    }
}

fn code(text: &str) -> Result<Code, String> {
    Code::parse(text).ok_or_else(|| "is no service code".to_owned())
}

fn tag(text: &str) -> Result<bytes::Bytes, Failure> {
    let fault = || Failure::usage("`--tag` is not 64 hexadecimal digits");
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(fault());
    }
    let pairs = (0..32).map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok());
    pairs.collect::<Option<Vec<u8>>>().map(bytes::Bytes::from).ok_or_else(fault)
}

impl Filters {
    fn request(&self) -> Result<pb::SearchRequest, Failure> {
        fn text<T: ToString>(id: Option<&T>) -> String {
            id.map(ToString::to_string).unwrap_or_default()
        }
        let moment = |text: Option<&String>| -> Result<i64, Failure> {
            text.map_or(Ok(0), |text| parse_rfc3339(text).map_err(Failure::usage))
        };
        let (from_ms, to_ms) = (moment(self.from.as_ref())?, moment(self.to.as_ref())?);
        if self.from.is_some() && self.to.is_some() && from_ms >= to_ms {
            return Err(Failure::usage("no moment is from `--from` on and before `--to`: exchange the two"));
        }
        Ok(pb::SearchRequest {
            consumer: text(self.consumer.as_ref()),
            provider: text(self.provider.as_ref()),
            contract_id: text(self.contract.as_ref()),
            case_id: text(self.case.as_ref()),
            officer: text(self.officer.as_ref()),
            purpose: text(self.purpose.as_ref()),
            record: text(self.record.as_ref()),
            outcome: self.outcome.unwrap_or(pb::Outcome::Unspecified).into(),
            code: self.code.map(|code| code.as_str().to_owned()).unwrap_or_default(),
            subject_tag: self.tag.as_deref().map(tag).transpose()?.unwrap_or_default(),
            from_ms,
            to_ms,
            limit: self.limit,
            cursor: self.cursor.clone(),
        })
    }
}

impl Filters {
    /// What is named and nobody has, a sentence each; for a search that found nothing, which would read as if nobody had asked.
    /// Of what the hub does not say nothing is said.
    async fn unknown(&self, client: &AuditorClient) -> Vec<String> {
        let Ok(catalogue) = Catalogue::builtin() else { return Vec::new() };
        let mut told = Vec::new();
        let mut look = |what: &str, wanted: &str, known: &[&str]| {
            if !known.is_empty() && known.iter().all(|name| *name != wanted) {
                let next = meant_or_known(wanted, known.iter().copied());
                told.push(format!("there is no {what} `{wanted}`; {next}"));
            }
        };
        if self.consumer.is_some() || self.provider.is_some() {
            let members = client.members().await.unwrap_or_default();
            let members: Vec<&str> = members.iter().map(MemberId::as_str).collect();
            for wanted in [&self.consumer, &self.provider].into_iter().flatten() {
                look("member", wanted.as_str(), &members);
            }
        }
        if let Some(wanted) = &self.record
            && let Ok(added) = client.added_records().await
        {
            let builtin = catalogue.records().map(|record| record.name.as_str());
            let records: Vec<&str> = builtin.chain(added.iter().map(RecordType::as_str)).collect();
            look("record", wanted.as_str(), &records);
        }
        if let Some(wanted) = &self.purpose {
            let purposes: Vec<&str> = catalogue.purposes().map(|(id, _)| id.as_str()).collect();
            look("purpose", wanted.as_str(), &purposes);
        }
        told
    }
}

async fn client(folder: &Path) -> Result<AuditorClient, Failure> {
    let folder = AuditorFolder::open(folder).map_err(Failure::usage)?;
    let enrolled = folder.enrolled();
    let checkpoints = CheckpointVerifier::new(enrolled.verifier_key().clone(), enrolled.origin(), 16);
    let channel = enrolled.channel(setup::clock()).await.map_err(Failure::environment)?;
    Ok(AuditorClient::new(channel, Arc::new(checkpoints)))
}

pub fn run(command: &Command) -> Outcome {
    setup::runtime()?.block_on(async {
        match command {
            Command::Enrol { folder, token } => {
                let token = EnrolToken::parse(token.trim()).map_err(Failure::usage)?;
                let enrolled =
                    AuditorFolder::enrol(folder, &token, setup::clock()).await.map_err(Failure::refused)?;
                println!("auditor `{}` is enrolled; its folder: {}", enrolled.auditor(), folder.display());
                Ok(())
            }
            Command::Search { folder, filters } => {
                let request = filters.request()?;
                let client = client(folder).await?;
                let found = client.search(request).await.map_err(Failure::refused)?;
                let hits: Vec<_> = found.hits.iter().map(|hit| row(hit.index, &hit.entry)).collect();
                println!("{}", json!({ "hits": hits, "next": found.cursor, "size": found.size }));
                if found.hits.is_empty() && found.cursor.is_none() && filters.cursor.is_empty() {
                    let unknown = tokio::time::timeout(PATIENCE, filters.unknown(&client)).await;
                    unknown.unwrap_or_default().iter().for_each(|line| eprintln!("note: {line}"));
                }
                Ok(())
            }
            Command::Entries { folder, from, limit } => {
                for line in client(folder).await?.entries(*from, *limit).await.map_err(Failure::refused)? {
                    let shown = line.entry.as_ref().and_then(|bytes| yiwang_proto::entry::decode(bytes).ok());
                    let row =
                        shown.map_or_else(|| json!({ "index": line.index }), |entry| row(line.index, &entry));
                    let mut row = row;
                    if let Some(object) = row.as_object_mut() {
                        object.insert("leaf_hash".to_owned(), yiwang_proto::hex(&line.leaf).into());
                    }
                    println!("{row}");
                }
                Ok(())
            }
        }
    })
}

/// An entry as one object: its kind, and of an exchange who asked what of whom.
fn row(index: u64, entry: &pb::Entry) -> serde_json::Value {
    let kind = entry.kind.as_ref().map_or("", yiwang_proto::entry::kind_name);
    let mut row = json!({ "index": index, "time": format_rfc3339(entry.time_ms), "kind": kind });
    if let Some(Kind::Exchange(raw)) = &entry.kind {
        let request = SignedStatement::parse(raw.request.clone())
            .ok()
            .and_then(|signed| Request::parse(signed.unverified_payload()).ok());
        let asked = request.map(|request| {
            json!({
                "consumer": request.consumer, "app": request.app, "officer": request.officer,
                "provider": request.provider, "contract": request.contract, "purpose": request.purpose,
                "case": request.case, "record": request.record, "fields": request.fields,
            })
        });
        let more = json!({
            "peer": raw.peer, "outcome": raw.outcome().as_str_name(), "code": raw.code, "clause": raw.clause,
            "asked": asked,
        });
        if let (Some(row), serde_json::Value::Object(more)) = (row.as_object_mut(), more) {
            row.extend(more);
        }
    }
    if let Some(Kind::Folded(raw)) = &entry.kind {
        let more = json!({
            "consumer": raw.consumer, "app": raw.app, "outcome": pb::Outcome::Denied.as_str_name(), "code": raw.code,
            "minute": format_rfc3339(raw.minute_ms), "count": raw.count, "unkept": raw.unkept,
        });
        if let (Some(row), serde_json::Value::Object(more)) = (row.as_object_mut(), more) {
            row.extend(more);
        }
    }
    row
}
