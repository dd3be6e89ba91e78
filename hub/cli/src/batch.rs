//! `yiwang query batch`: pages into a file, so that a run that ends anywhere goes on where it was.

use crate::fail::{Failure, Outcome, file};
use crate::setup::{self, AppArgs};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::io::{BufWriter, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use yiwang_client::batch::{BatchAsk, BatchError, BatchPage};
use yiwang_client::client::Client;
use yiwang_client::pages::Pages;
use yiwang_proto::contract::{Contract, Method};
use yiwang_proto::ids::{CaseId, ContractId, FieldName, Officer, Operation, Purpose, RecordType};
use yiwang_proto::plural::counted;

/// How often a page is asked for again before the run stops: a hub's or adapter's restart takes less.
const TRIES: u32 = 60;
/// Between two tries: a contract's ceiling is per minute.
const PAUSE: Duration = Duration::from_secs(2);

/// How often somebody who waits is told how far it has come.
const TELL_EVERY: Duration = Duration::from_secs(2);

#[derive(Args)]
pub struct Batch {
    #[command(flatten)]
    app: AppArgs,
    /// The open case.
    #[arg(long)]
    case: CaseId,
    /// Pseudonym of the acting officer.
    #[arg(long)]
    officer: Option<Officer>,
    /// The officer's published ticket, by the digest that `yiwang officer ticket` printed; each page is one use.
    #[arg(long, requires = "officer")]
    ticket: Option<String>,
    /// The purpose.
    #[arg(long)]
    purpose: Purpose,
    /// The record.
    #[arg(long)]
    record: RecordType,
    /// The contract, where several are for batches of this record.
    #[arg(long)]
    contract: Option<ContractId>,
    /// The operation; the contract's first otherwise.
    #[arg(long)]
    operation: Option<Operation>,
    /// A field; may be given several times; all that the contract grants without any.
    #[arg(long = "field")]
    fields: Vec<FieldName>,
    /// Stop after so many pages; the same command goes on.
    #[arg(long)]
    pages: Option<u32>,
    /// Records, one a line, as JSON. Beside it `FILE.state` says how far they go. The next pages are asked for while one is
    /// written: an empty page behind the last has an entry too, and so may pages of a run that was cut off, and each is one
    /// use of a ticket
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
}

/// How far the file goes. Written after each page, when its records are on the disk.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    format: String,
    /// What is asked; a file is of one batch.
    contract: String,
    case: String,
    operation: String,
    fields: Vec<String>,
    /// What the next page is asked for with.
    resume: String,
    complete: bool,
    pages: u32,
    rows: u64,
    /// Rows that the provider says it left out, since they do not hold.
    #[serde(default)]
    left_out: u64,
    /// Bytes of whole pages in the file.
    bytes: u64,
    /// Ledger entries of all pages.
    entries: Vec<u64>,
}

const FORMAT: &str = "yiwang-batch/1";
/// Pages of one file: a hundred million rows at a thousand each.
const PAGES_MAX: usize = 100_000;
/// Bytes of a state: entries of a hundred thousand pages.
const STATE_MAX: u64 = 4 << 20;

impl Batch {
    fn state_path(&self) -> PathBuf {
        let mut path = self.out.clone().into_os_string();
        path.push(".state");
        path.into()
    }

    /// Where the file stands, or a new state.
    fn state(&self, contract: &Contract, ask: &BatchAsk) -> Result<State, Failure> {
        let new = State {
            format: FORMAT.to_owned(),
            contract: yiwang_proto::hex(&contract.digest),
            case: self.case.to_string(),
            operation: ask.operation.to_string(),
            fields: ask.fields.iter().map(ToString::to_string).collect(),
            resume: String::new(),
            complete: false,
            pages: 0,
            rows: 0,
            left_out: 0,
            bytes: 0,
            entries: Vec::new(),
        };
        let path = self.state_path();
        let size = match std::fs::metadata(&path) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if self.out.exists() {
                    let what =
                        format!("`{}` is there without its state; name another file", self.out.display());
                    return Err(Failure::usage(what));
                }
                return Ok(new);
            }
            Err(error) => return Err(file(&path)(error)),
        };
        let bad = |what: &str| Failure::usage(format!("`{}`: {what}", path.display()));
        if size > STATE_MAX {
            return Err(bad("is no state of a batch"));
        }
        let text = std::fs::read(&path).map_err(file(&path))?;
        let state: State = serde_json::from_slice(&text).map_err(|_| bad("is no state of a batch"))?;
        let same = (&state.format, &state.contract, &state.case, &state.operation, &state.fields)
            == (&new.format, &new.contract, &new.case, &new.operation, &new.fields);
        if same { Ok(state) } else { Err(bad("is of another batch; name another file, or ask for the same")) }
    }

    async fn contract(&self, client: &Client) -> Result<Contract, Failure> {
        let planned = client.plan(&self.purpose, std::slice::from_ref(&self.record)).await;
        let planned = planned.map_err(Failure::refused)?;
        let mut fitting = planned.iter().filter(|plan| {
            plan.contract.text.method == Method::Batch
                && self.contract.as_ref().is_none_or(|id| *id == plan.contract.text.id)
        });
        match (fitting.next(), fitting.next()) {
            (Some(plan), None) => Ok(Contract::clone(&plan.contract)),
            (None, _) => Err(Failure::refused(
                "no contract in force hands such records over in batches to this app for this purpose; `GET /v1/permissions` of the gateway lists what there is",
            )),
            (Some(_), Some(_)) => Err(Failure::usage("several contracts fit; name one with --contract")),
        }
    }
}

/// For its owner alone: persons may be in it.
fn private() -> std::fs::OpenOptions {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).write(true).mode(0o600);
    options
}

/// Puts a page's records at the end of the file, and returns when they are on the disk.
fn append(path: &Path, at: u64, page: &BatchPage) -> Result<u64, Failure> {
    let records: Vec<&RawValue> = serde_json::from_slice(&page.records)
        .map_err(|_| Failure::refused("the provider's records are no JSON array"))?;
    let out = private().truncate(false).open(path).map_err(file(path))?;
    if out.metadata().map_err(file(path))?.len() < at {
        let what = format!("`{}` is shorter than its state says; name another file", path.display());
        return Err(Failure::usage(what));
    }
    // What stands behind is of a page that was not finished.
    out.set_len(at).map_err(file(path))?;
    let mut out = BufWriter::new(out);
    out.seek(SeekFrom::Start(at)).map_err(file(path))?;
    let mut bytes = at;
    for record in records {
        bytes += record.get().len() as u64 + 1;
        writeln!(out, "{}", record.get()).map_err(file(path))?;
    }
    let out = out.into_inner().map_err(|error| file(path)(error.into_error()))?;
    out.sync_data().map_err(file(path))?;
    Ok(bytes)
}

/// Replaces the state; a power cut leaves the old one or the new one.
fn keep(path: &Path, state: &State) -> Result<(), Failure> {
    let new = path.with_extension("state.new");
    let text = serde_json::to_vec(state).map_err(Failure::environment)?;
    let mut out = private().truncate(true).open(&new).map_err(file(&new))?;
    out.write_all(&text).and_then(|()| out.sync_all()).map_err(file(&new))?;
    std::fs::rename(&new, path).map_err(file(path))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(file(folder))
}

/// What the run asks for.
struct Asking {
    client: Arc<Client>,
    contract: Arc<Contract>,
    ask: BatchAsk,
}

impl Asking {
    fn pages(&self, state: &State, left: Option<u64>) -> Pages {
        let (client, contract) = (Arc::clone(&self.client), Arc::clone(&self.contract));
        Pages::new(client, contract, self.ask.clone(), state.resume.clone(), left)
    }

    async fn next(&self, pages: &mut Pages, state: &State, left: Option<u64>) -> Result<BatchPage, Failure> {
        let mut tries = 1;
        loop {
            match pages.next().await {
                Some(Ok(page)) => return Ok(page),
                Some(Err(error)) if error.passes() && tries < TRIES => {
                    if tries == 1 {
                        eprintln!("{error}; asking again every {} s", PAUSE.as_secs());
                    }
                    tries += 1;
                    tokio::time::sleep(PAUSE).await;
                    // After the hub's restart it must see this member's head first; if that fails, the next try says why.
                    if matches!(error, BatchError::Client(_)) {
                        drop(self.client.meet().await);
                    }
                    *pages = self.pages(state, left);
                }
                Some(Err(error)) => return Err(Failure::refused(error)),
                None => return Err(Failure::refused("the pages ended before the last one came")),
            }
        }
    }
}

/// A page lacks no field that was asked for. How many rows its provider left out, of which no record can be made; it says so
/// under the field that does not hold, and what the page has is whole.
fn whole(withheld: &[(FieldName, String)]) -> Result<u64, Failure> {
    let left_out = |clause: &str| clause.strip_prefix("rows-left-out:")?.parse::<u64>().ok();
    let names: Vec<String> = withheld
        .iter()
        .filter(|(_, clause)| left_out(clause).is_none())
        .map(|(field, clause)| format!("{field} ({clause})"))
        .collect();
    if names.is_empty() {
        return Ok(withheld.iter().filter_map(|(_, clause)| left_out(clause)).sum());
    }
    let names = names.join(", ");
    Err(Failure::refused(format!("the provider withholds {names}; ask for other fields with --field")))
}

/// Puts a page into the file, and then into the state.
fn put(
    out: &Path,
    path: &Path,
    mut state: State,
    (page, left_out): (BatchPage, u64),
) -> Result<State, Failure> {
    if state.entries.len() >= PAGES_MAX {
        return Err(Failure::refused(format!("over {PAGES_MAX} pages came, and there are more")));
    }
    state.bytes = append(out, state.bytes, &page)?;
    (state.pages, state.rows) = (state.pages + 1, state.rows + u64::from(page.rows));
    state.left_out += left_out;
    state.complete = page.resume.is_empty();
    state.resume = page.resume;
    state.entries.push(page.entry);
    keep(path, &state)?;
    Ok(state)
}

/// How far it has come; how much there is nobody knows before the last page.
fn so_far(state: &State) -> String {
    let (rows, pages) = (counted(state.rows, "row"), counted(state.pages, "page"));
    format!("... {rows} in {pages} so far, {} MB", state.bytes / 1_000_000)
}

pub async fn run(batch: &Batch) -> Outcome {
    let client = setup::met_client(&batch.app).await?;
    let contract = batch.contract(&client).await?;
    let first = contract.text.operations.first().cloned();
    let ask = BatchAsk {
        operation: batch
            .operation
            .clone()
            .or(first)
            .ok_or_else(|| Failure::usage("the contract names no operation"))?,
        fields: if batch.fields.is_empty() { contract.text.fields.clone() } else { batch.fields.clone() },
        case: batch.case.clone(),
        officer: batch.officer.clone(),
        officer_by: crate::query::officer_by(batch.ticket.as_deref())?,
    };
    let mut state = batch.state(&contract, &ask)?;
    let mut left = batch.pages.map(u64::from);
    let asking = Asking { client: Arc::new(client), contract: Arc::new(contract), ask };
    let mut pages = asking.pages(&state, left);
    let clock = setup::clock();
    let mut told_us = clock.monotonic_us();
    while !state.complete && left != Some(0) {
        let page = asking.next(&mut pages, &state, left).await?;
        let left_out = whole(&page.withheld)?;
        left = left.map(|left| left - 1);
        let (out, path) = (batch.out.clone(), batch.state_path());
        // The next pages are on their way while this one goes to the disk; nothing of them counts before it lies there.
        let writing = tokio::task::spawn_blocking(move || put(&out, &path, state, (page, left_out)));
        state = writing.await.map_err(Failure::environment)??;
        let now_us = clock.monotonic_us();
        if Duration::from_micros(now_us.saturating_sub(told_us)) >= TELL_EVERY {
            told_us = now_us;
            eprintln!("{}", so_far(&state));
        }
    }
    // Nothing may stand behind the last page.
    pages.finish().await.map_err(Failure::refused)?;
    setup::settled(&asking.client).await?;
    let ended = if state.complete { "complete" } else { "the same command goes on" };
    let (rows, pages) = (counted(state.rows, "row"), counted(state.pages, "page"));
    println!("{rows} in {pages}, each page an entry of the ledger; {ended}");
    if state.left_out > 0 {
        let left_out = counted(state.left_out, "row");
        eprintln!(
            "{left_out} left out by the provider, whose data does not hold there; its IT finds page and row under A-BAT-001 in the \
             adapter's log, and a new batch has them once they are mended"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_a_provider_leaves_out_are_counted_and_a_field_that_it_withholds_ends_the_batch() {
        let withheld = |clauses: &[(&str, &str)]| {
            let one =
                |(field, clause): &(&str, &str)| (FieldName::parse(field).unwrap(), (*clause).to_owned());
            whole(&clauses.iter().map(one).collect::<Vec<_>>())
        };
        assert_eq!(withheld(&[]).ok(), Some(0));
        assert_eq!(withheld(&[("sex", "rows-left-out:2"), ("area_code", "rows-left-out:1")]).ok(), Some(3));
        let refused = withheld(&[("sex", "rows-left-out:2"), ("name", "field-not-granted")]).err().unwrap();
        assert!(refused.to_string().contains("name (field-not-granted)"), "{refused}");
        assert!(withheld(&[("sex", "rows-left-out:all")]).is_err());
    }
}
