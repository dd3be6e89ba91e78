//! `call`: one real call through what a contract grants, with everything that led to it. Nothing leaves this
//! machine; values are masked by the class of their field.

mod masked;

use super::{CONFIG, ENVIRONMENT, FAILED, OK, Output, refuse_as};
use crate::config::{Config, ConfigError};
use crate::error::HostError;
use crate::names::near;
use crate::record_types;
use crate::run::Surroundings;
use crate::sources::{open, read_mapping};
use clap::Args;
use masked::{Mask, Shown};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use yiwang_adapter_sdk::fetch::{Ask, MappedSource, Trace};
use yiwang_adapter_sdk::mapping::{Mapping, OperationDef, ParamType, render};
use yiwang_adapter_sdk::source::SourceError;
use yiwang_client::folder::Folder;
use yiwang_policies::Catalogue;
use yiwang_proto::body::Arguments;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::{Contract, ContractText, Scalar};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::ids::{FieldName, Operation};
use yiwang_proto::limits::CONTRACT_MAX;
use yiwang_proto::resident_id;

/// The highest class that leaves in an open body.
const OPEN_CLASS: u8 = 2;

/// Arguments of `call`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["mapping", "config"])))]
pub struct Call {
    /// The operation, like person.by_id
    pub operation: String,
    /// Its parameters, the subject's among them, like id=980101199001010017
    #[arg(value_name = "NAME=VALUE")]
    pub arguments: Vec<String>,
    /// Mapping files
    #[arg(long, value_name = "FILE")]
    pub mapping: Vec<PathBuf>,
    /// The mappings of this adapter.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A signed record type that members added, where a mapping is of one
    #[arg(long = "record-type", value_name = "FILE", conflicts_with = "config")]
    pub record_types: Vec<PathBuf>,
    /// The contract that is asked under: its file, signed or a draft, or with --config its id
    #[arg(long = "as", value_name = "contract:FILE|ID")]
    pub under: String,
    /// The subject's identifier stands in its document just so, also where a check character does not fit
    #[arg(long)]
    pub as_issued: bool,
    /// How the result is written
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Output,
}

/// Why there is no call: words, next step, and the exit code.
pub(super) struct Refused {
    text: String,
    code: u8,
}

impl Refused {
    fn new(code: u8, text: impl Into<String>) -> Self {
        Self { text: text.into(), code }
    }
}

impl From<ConfigError> for Refused {
    fn from(error: ConfigError) -> Self {
        Self::new(CONFIG, error.render())
    }
}

/// A contract, or a draft that nobody has signed.
struct Under {
    text: ContractText,
    in_force: Result<(), &'static str>,
}

pub(super) async fn call(
    arguments: &Call,
    surroundings: &Surroundings,
    out: &mut (dyn Write + Send),
) -> std::io::Result<u8> {
    match run(arguments, surroundings).await {
        Ok((called, json)) => {
            match arguments.output {
                Output::Json => writeln!(out, "{json}")?,
                Output::Text => out.write_all(called.as_bytes())?,
            }
            let answered = json.get("answered").and_then(serde_json::Value::as_bool);
            Ok(if answered == Some(true) { OK } else { FAILED })
        }
        Err(Refused { text, code }) => {
            refuse_as(arguments.output, out, |out| writeln!(out, "{}", text.trim_end()).map(|()| code))
        }
    }
}

async fn run(arguments: &Call, surroundings: &Surroundings) -> Result<(String, serde_json::Value), Refused> {
    let config = arguments.config.as_ref().map(|path| Config::read(path)).transpose()?;
    let (files, added) = match &config {
        Some(config) => {
            let part = config.adapter.as_ref();
            part.map(|part| (part.mappings.clone(), part.record_types.clone())).unwrap_or_default()
        }
        None => (arguments.mapping.clone(), arguments.record_types.clone()),
    };
    let bad = |error: HostError| Refused::new(CONFIG, format!("A-CAL-009 {error}"));
    let catalogue = record_types::catalogue(&added).map_err(bad)?;
    let mappings = files.iter().map(|file| mapping(file)).collect::<Result<Vec<_>, _>>()?;
    let (mapping, operation) = find(&mappings, &arguments.operation)?;
    let now_ms = surroundings.clock.now_ms();
    let under = contract(&arguments.under, config.as_ref(), now_ms)?;
    fits(&under.text, mapping, operation)?;
    let (subject, values) = parameters(operation, &arguments.arguments)?;
    not_mistyped(operation, &subject, arguments.as_issued)?;
    let (opened, environment) = (Arc::clone(mapping), Arc::clone(&surroundings.environment));
    let opening = tokio::task::spawn_blocking(move || open(&opened, &environment));
    let failed = |_| Err(SourceError::Unavailable("opening it failed".to_owned()));
    let source = opening.await.unwrap_or_else(failed);
    let source = source.map_err(|error| Refused::new(ENVIRONMENT, format!("A-CAL-006 {error}")))?;
    let ask = Ask {
        operation: &operation.name,
        fields: &under.text.fields,
        rows: &under.text.rows,
        subject: &subject,
        arguments: &values,
        limit: under.text.limits.rows,
        now_ms,
        deadline_ms: now_ms.saturating_add(i64::from(under.text.limits.deadline_ms)),
        highest_class: (OPEN_CLASS, Code::SealingRequired),
    };
    let traced = MappedSource::new(Arc::clone(mapping), source).trace(ask).await;
    let trace = traced.map_err(|error| {
        let code = if error.code == Code::ArgumentInvalid { CONFIG } else { ENVIRONMENT };
        Refused::new(code, format!("A-CAL-007 {}: {}", error.code, error.detail))
    })?;
    Ok(shown(&under, (mapping, operation), &catalogue, trace))
}

fn mapping(file: &Path) -> Result<Arc<Mapping>, Refused> {
    let text = read_mapping(file).map_err(|error| Refused::new(CONFIG, format!("A-CAL-001 {error}")))?;
    let faulty = |faults: Vec<_>| {
        Refused::new(CONFIG, faults.iter().map(|fault| render(fault, &text)).collect::<String>())
    };
    Mapping::parse(&text, file).map(Arc::new).map_err(faulty)
}

fn find<'m>(
    mappings: &'m [Arc<Mapping>],
    name: &str,
) -> Result<(&'m Arc<Mapping>, &'m Arc<OperationDef>), Refused> {
    let known = || mappings.iter().flat_map(|mapping| mapping.operations()).map(|one| one.name.as_str());
    let found = Operation::parse(name)
        .ok()
        .and_then(|name| mappings.iter().find_map(|mapping| Some((mapping, mapping.operation(&name)?))));
    found.ok_or_else(|| {
        let text =
            format!("A-CAL-002 no mapping has the operation `{name}`\n  help: {}", near(name, known()));
        Refused::new(CONFIG, text)
    })
}

fn contract(given: &str, config: Option<&Config>, now_ms: i64) -> Result<Under, Refused> {
    let bad = |what: String| Refused::new(CONFIG, format!("A-CAL-003 --as: {what}"));
    let Some(name) = given.strip_prefix("contract:") else {
        return Err(bad("write contract:FILE, or contract:ID with --config".to_owned()));
    };
    let path = Path::new(name);
    if let (false, Some(config)) = (path.is_file(), config) {
        return of_folder(name, config, now_ms);
    }
    use std::io::Read as _;
    let mut bytes = Vec::new();
    // As the hub takes it: one byte more shows that it is too large.
    let reading =
        std::fs::File::open(path).and_then(|file| file.take(CONTRACT_MAX as u64 + 1).read_to_end(&mut bytes));
    reading.map_err(|error| bad(format!("`{name}` cannot be read: {error}")))?;
    let signed = SignedDocument::parse(bytes.clone().into(), CONTRACT_MAX).ok();
    if let Some(document) = signed {
        let opened = Contract::open(&document).map_err(|error| bad(format!("`{name}`: {error}")))?;
        return Ok(under(opened, now_ms));
    }
    let text =
        ContractText::parse(&bytes).map_err(|error| bad(format!("`{name}` is no contract: {error}")))?;
    Ok(Under { text, in_force: Err("a draft, which nobody has signed") })
}

fn of_folder(id: &str, config: &Config, now_ms: i64) -> Result<Under, Refused> {
    let bad = |what: String| Refused::new(CONFIG, format!("A-CAL-003 --as: {what}"));
    let folder = Folder::open(&config.member_folder).map_err(|error| bad(error.to_string()))?;
    let documents = folder.contracts().map_err(|error| bad(error.to_string()))?;
    let opened = documents.iter().filter_map(|(_, document)| Contract::open(document).ok());
    let contracts: Vec<Contract> = opened.collect();
    let newest = contracts.iter().filter(|one| one.text.id.as_str() == id).max_by_key(|one| one.text.version);
    match newest {
        Some(contract) => Ok(under(contract.clone(), now_ms)),
        None if contracts.is_empty() => Err(bad(format!(
            "the member folder has no contract `{id}`\n  help: there are none: `yiwang contract publish --folder {} FILE` keeps \
             what it publishes, also what is published already; or name the file, contract:FILE",
            config.member_folder.display()
        ))),
        None => {
            let known = contracts.iter().map(|one| one.text.id.as_str());
            Err(bad(format!("the member folder has no contract `{id}`\n  help: {}", near(id, known))))
        }
    }
}

fn under(contract: Contract, now_ms: i64) -> Under {
    let in_force = (contract.valid_from_ms..contract.valid_until_ms).contains(&now_ms);
    let in_force = if in_force { Ok(()) } else { Err("not in force now") };
    Under { text: contract.text, in_force }
}

fn fits(contract: &ContractText, mapping: &Mapping, operation: &OperationDef) -> Result<(), Refused> {
    let refuse =
        |what: String| Err(Refused::new(FAILED, format!("A-CAL-004 contract `{}` {what}", contract.id)));
    if contract.provider.member != *mapping.owner() {
        return refuse(format!("is of provider `{}`, not `{}`", contract.provider.member, mapping.owner()));
    }
    if contract.record != *mapping.record() {
        return refuse(format!("is about `{}`, not `{}`", contract.record, mapping.record()));
    }
    if !contract.operations.contains(&operation.name) {
        return refuse(format!("does not grant the operation `{}`", operation.name));
    }
    Ok(())
}

/// The subject, and the other arguments by the types of their parameters.
fn parameters(operation: &OperationDef, given: &[String]) -> Result<(String, Arguments), Refused> {
    let bad = |what: String| Refused::new(CONFIG, format!("A-CAL-005 {what}"));
    let (mut subject, mut values) = (String::new(), Arguments::new());
    for one in given {
        let Some((name, text)) = one.split_once('=') else {
            return Err(bad("an argument is written NAME=VALUE".to_owned()));
        };
        let Some(param) = operation.params.iter().find(|param| param.name.as_str() == name) else {
            let known = operation.params.iter().map(|param| param.name.as_str());
            return Err(bad(format!("`{name}` is no parameter\n  help: {}", near(name, known))));
        };
        if operation.subject.as_ref() == Some(&param.name) {
            text.clone_into(&mut subject);
            continue;
        }
        let number = || text.parse::<f64>().ok().map(Scalar::Number);
        let whole = || text.parse::<i64>().ok().map(Scalar::Integer);
        let value = match param.kind {
            ParamType::Integer => whole(),
            ParamType::Number => whole().or_else(number),
            ParamType::Bool => text.parse().ok().map(Scalar::Bool),
            ParamType::String | ParamType::Date | ParamType::Timestamp => Some(Scalar::Text(text.to_owned())),
        };
        let value = value.ok_or_else(|| bad(format!("`{name}` is not of its parameter's type")))?;
        values.insert(param.name.clone(), value);
    }
    Ok((subject, values))
}

/// A source that is asked for a number that was mistyped has no such row, and that would be read as an answer.
fn not_mistyped(operation: &OperationDef, subject: &str, as_issued: bool) -> Result<(), Refused> {
    resident_id::check_given(subject, as_issued).map_err(|error| {
        let name = operation.subject.as_ref().map_or("the subject", |name| name.as_str());
        let next = error.next("add --as-issued");
        Refused::new(CONFIG, format!("A-CAL-008 `{name}` {error}; nothing was asked\n  help: {next}"))
    })
}

fn shown(
    under: &Under,
    (mapping, operation): (&Mapping, &OperationDef),
    catalogue: &Catalogue,
    trace: Trace,
) -> (String, serde_json::Value) {
    let mask = Mask::new(mapping, operation, catalogue);
    let granted = &under.text.fields;
    let all = operation.fields.iter().map(|field| &field.name);
    let kept: Vec<&FieldName> = all.filter(|name| !granted.contains(name)).collect();
    let of: BTreeMap<&str, String> =
        trace.withheld.iter().map(|(name, why)| (name.as_str(), why.clone())).collect();
    let records: Vec<Shown> = trace.rows.iter().map(|row| mask.row(row)).collect();
    let json = json!({
        "operation": operation.name.as_str(),
        "mapping": mapping.name(),
        "contract": under.text.id.as_str(),
        "version": under.text.version,
        "in_force": under.in_force.is_ok(),
        "columns": trace.columns.iter().map(AsRef::as_ref).collect::<Vec<&str>>(),
        "records": trace.inside,
        "answered": trace.inside > 0 && trace.failing == 0,
        "shown": records,
        "withheld": of,
        "not_granted": kept.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
        "outside": trace.outside.iter().map(|(name, count)| (name.as_str(), count)).collect::<BTreeMap<_, _>>(),
    });
    (masked::text(under.in_force, &under.text, mapping, operation, &trace, &records, &kept), json)
}
