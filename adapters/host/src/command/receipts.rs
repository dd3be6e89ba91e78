//! `receipts`: answers that left and that the hub did not prove to be in the ledger. One whose entry will never come, because
//! the hub entered the answer as invalid or it is too old to be looked up, stops the adapter until the operator gives it up.

use super::quarantine::reason;
use super::{FAILED, OK, Output, refuse, refuse_as, refuse_config};
use crate::config::Config;
use crate::error::HostError;
use crate::run::Surroundings;
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use yiwang_adapter_sdk::journal::StoppedJournal;
use yiwang_adapter_sdk::watch::OwedAnswer;
use yiwang_client::folder::Folder;
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::plural::counted;
use yiwang_proto::time::format_rfc3339;
use yiwang_proto::{Digest, hex};

/// Checkpoints remembered: a journal's kept heads are opened one after another.
const CHECKPOINTS_KNOWN: usize = 4;

/// Arguments of `receipts`.
#[derive(Debug, Args)]
pub struct Receipts {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "adapter.toml")]
    pub config: PathBuf,
    /// Wait no more for the receipt of the answer to this request, named as the list names it
    #[arg(long, value_name = "REQUEST_DIGEST", value_parser = digest, requires = "reason")]
    pub give_up: Option<Digest>,
    /// Why, without names and values: the journal keeps it
    #[arg(long, value_name = "TEXT", value_parser = reason, requires = "give_up")]
    pub reason: Option<String>,
    /// How the result is written
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Output,
}

fn digest(text: &str) -> Result<Digest, String> {
    yiwang_proto::ticket::from_hex(text).ok_or_else(|| {
        "is not the 64 hexadecimal digits of a request's digest: take them from the list".to_owned()
    })
}

pub(super) async fn receipts(
    arguments: &Receipts,
    surroundings: &Surroundings,
    out: &mut (dyn Write + Send),
) -> std::io::Result<u8> {
    let output = arguments.output;
    let config = match Config::read(&arguments.config) {
        Ok(config) => config,
        Err(error) => return refuse_as(output, out, |out| refuse_config(&error, out)),
    };
    let order = arguments.give_up.zip(arguments.reason.clone());
    let request = order.as_ref().map(|(request, _)| *request);
    let answers = match look(&config, surroundings, order).await {
        Ok(answers) => answers,
        Err(error) => return refuse_as(output, out, |out| refuse(&error, out)),
    };
    let Some(request) = request else { return list(&answers, output, out) };
    let Some(answer) = answers.first() else {
        return refuse_as(output, out, |out| {
            let help = "`yiwang-adapter receipts` lists the answers that wait for one";
            writeln!(out, "no receipt is owed for request `{}`: {help}", hex(&request)).map(|()| FAILED)
        });
    };
    if output == Output::Json {
        writeln!(out, "{}", json!({ "given_up": as_json(answer) }))?;
    } else {
        writeln!(out, "given up, as the journal now says: {}", as_text(answer))?;
    }
    Ok(OK)
}

/// What is owed, or what of it was given up.
async fn look(
    config: &Config,
    surroundings: &Surroundings,
    order: Option<(Digest, String)>,
) -> Result<Vec<OwedAnswer>, HostError> {
    let Some(part) = &config.adapter else { return Ok(Vec::new()) };
    // A look makes none: under a wrong path it would say that nothing is owed.
    if let Err(source) = std::fs::metadata(&part.journal) {
        return Err(HostError::Read { path: part.journal.clone(), source });
    }
    let folder = Folder::open(&config.member_folder)?;
    let enrolled = folder.enrolled()?;
    let key = enrolled.verifier_key().clone();
    let ledger = Arc::new(CheckpointVerifier::new(key, enrolled.origin(), CHECKPOINTS_KNOWN));
    let journal = StoppedJournal::new(part.journal.clone(), ledger, part.segment_bytes);
    let (now_ms, entropy) = (surroundings.clock.now_ms(), Arc::clone(&surroundings.entropy));
    let looking = tokio::task::spawn_blocking(move || match order {
        None => journal.owed(now_ms, entropy.as_ref()),
        Some((request, reason)) => journal
            .give_up(&request, &reason, now_ms, entropy.as_ref())
            .map(|given_up| given_up.into_iter().collect()),
    });
    Ok(looking.await.map_err(|_| HostError::Died("reading of the journal"))??)
}

fn list(answers: &[OwedAnswer], output: Output, out: &mut (dyn Write + Send)) -> std::io::Result<u8> {
    if output == Output::Json {
        let owed: Vec<Value> = answers.iter().map(as_json).collect();
        writeln!(out, "{}", json!({ "owed": owed }))?;
    } else if answers.is_empty() {
        writeln!(out, "no receipt is owed")?;
    } else {
        for answer in answers {
            writeln!(out, "{}", as_text(answer))?;
        }
        let all = counted(answers.len(), "answer");
        writeln!(out, "{all} without receipt; each is offered to the hub again when the adapter runs")?;
    }
    Ok(if answers.is_empty() { OK } else { FAILED })
}

fn as_text(answer: &OwedAnswer) -> String {
    let (request, digest) = (hex(&answer.request), hex(&answer.answer));
    format!("request {request} answered {} answer {digest}", format_rfc3339(answer.answered_ms))
}

fn as_json(answer: &OwedAnswer) -> Value {
    json!({
        "request_digest": hex(&answer.request),
        "answer_digest": hex(&answer.answer),
        "answered_at": format_rfc3339(answer.answered_ms),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_what_the_order_takes_and_its_exit_code_says_whether_anything_is_owed() {
        let answer = OwedAnswer { request: [0xa1; 32], answer: [2; 32], answered_ms: 1_795_392_000_000 };
        let said = |answers: &[OwedAnswer], output| {
            let mut out = Vec::new();
            let code = list(answers, output, &mut out).unwrap();
            (code, String::from_utf8(out).unwrap())
        };
        assert_eq!(said(&[], Output::Text), (OK, "no receipt is owed\n".to_owned()));
        let (code, text) = said(&[answer], Output::Text);
        let name = text.split(' ').nth(1).unwrap();
        assert_eq!((code, digest(name)), (FAILED, Ok(answer.request)), "{text}");
        let (code, text) = said(&[answer], Output::Json);
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((code, json["owed"][0]["request_digest"].as_str()), (FAILED, Some(name)));
        assert!(digest("a1").is_err() && digest(&"A1".repeat(32)).is_err());
    }
}
