//! `run --dry-run`: everything but the hub. Sources are opened and probed, and it is told what the adapter would
//! announce and what each contract would let out. Nothing listens, nothing is journalled, nothing is sent; single
//! values, masked, are shown by `call`.

use super::{CONFIG, ENVIRONMENT, OK, refuse, refuse_config};
use crate::config::Config;
use crate::error::HostError;
use crate::mappings::Found;
use crate::record_types;
use crate::run::Surroundings;
use crate::sources::Watched;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use yiwang_adapter_sdk::mapping::{FieldDef, Mapping, OperationDef};
use yiwang_client::folder::Folder;
use yiwang_policies::Catalogue;
use yiwang_proto::contract::{Contract, ContractText};
use yiwang_proto::hex;
use yiwang_proto::plural::counted;
use yiwang_proto::time::format_rfc3339;

/// How long a source may take for its probe: sources give up sooner by themselves.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn dry_run(
    path: &Path,
    surroundings: &Surroundings,
    out: &mut (dyn Write + Send),
) -> std::io::Result<u8> {
    let config = match Config::read(path) {
        Ok(config) => config,
        Err(error) => return refuse_config(&error, out),
    };
    let Some(part) = &config.adapter else {
        writeln!(out, "`{}` names no adapter: nothing would be answered", path.display())?;
        return Ok(OK);
    };
    let folder = match Folder::open(&config.member_folder) {
        Ok(folder) => folder,
        Err(error) => return refuse(&HostError::Folder(error), out),
    };
    let opening = async {
        let catalogue = record_types::catalogue(&part.record_types)?;
        let found = Found::open(&part.mappings, folder.member(), &catalogue, &surroundings.environment);
        Ok((found.await?, catalogue))
    };
    let (found, catalogue) = match opening.await {
        Ok(opened) => opened,
        Err(error) => return refuse(&error, out),
    };
    let sources: Vec<Arc<Watched>> = found.served.into_iter().map(|served| served.source).collect();
    writeln!(out, "adapter `{}` of `{}` would announce", part.name, folder.member())?;
    let mut code = OK;
    for source in &sources {
        let mapping = source.mapped.mapping();
        let digest = hex(&mapping.digest());
        for operation in mapping.operations() {
            writeln!(
                out,
                "  {} of {}, mapping {}",
                operation.name,
                mapping.record(),
                digest.get(..16).unwrap_or(&digest)
            )?;
        }
        if let Err(why) = probe(source).await {
            writeln!(out, "  ✗ source of `{}`: {why}", mapping.name())?;
            code = code.max(ENVIRONMENT);
        }
    }
    for left in &found.left_out {
        writeln!(out, "  ✗ mapping file `{}` is left out: {}", left.file.display(), left.told())?;
        code = CONFIG;
    }
    let now_ms = surroundings.clock.now_ms();
    match folder.contracts() {
        Err(error) => return refuse(&HostError::Folder(error), out),
        Ok(documents) => {
            let contracts = documents.iter().filter_map(|(_, document)| Contract::open(document).ok());
            for contract in contracts.filter(|contract| contract.text.provider.member == *folder.member()) {
                under(&contract, now_ms, (&sources, &catalogue), out)?;
            }
        }
    }
    writeln!(out, "nothing was sent")?;
    Ok(code)
}

async fn probe(source: &Watched) -> Result<(), String> {
    match tokio::time::timeout(PATIENCE, source.mapped.source().probe()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it does not answer in time".to_owned()),
    }
}

fn under(
    contract: &Contract,
    now_ms: i64,
    (sources, catalogue): (&[Arc<Watched>], &Catalogue),
    out: &mut (dyn Write + Send),
) -> std::io::Result<()> {
    let text = &contract.text;
    let words = if now_ms < contract.valid_from_ms {
        format!("begins {}", format_rfc3339(contract.valid_from_ms))
    } else if now_ms >= contract.valid_until_ms {
        format!("is over since {}", format_rfc3339(contract.valid_until_ms))
    } else {
        format!("until {}", format_rfc3339(contract.valid_until_ms))
    };
    writeln!(
        out,
        "contract `{}` version {}, for `{}`, {words}",
        text.id, text.version, text.consumer.member
    )?;
    for operation in &text.operations {
        let found = sources.iter().map(|source| source.mapped.mapping()).find_map(|mapping| {
            let of = mapping.record() == &text.record;
            of.then(|| Some((mapping, mapping.operation(operation)?))).flatten()
        });
        match found {
            None => writeln!(out, "  ✗ {operation}: no mapping serves it")?,
            Some((mapping, operation)) => fields(text, (mapping, operation), catalogue, out)?,
        }
    }
    Ok(())
}

fn fields(
    contract: &ContractText,
    (mapping, operation): (&Mapping, &OperationDef),
    catalogue: &Catalogue,
    out: &mut (dyn Write + Send),
) -> std::io::Result<()> {
    let class = |field: &FieldDef| {
        let known = catalogue.field(mapping.record(), &field.name);
        field.class.unwrap_or(0).max(known.map_or(4, |known| known.class))
    };
    let records = counted(operation.limit.min(contract.limits.rows), "record");
    writeln!(out, "  {}: at most {records} of", operation.name)?;
    for name in &contract.fields {
        match operation.field(name) {
            None => writeln!(out, "    ✗ {name}: not mapped, so withheld")?,
            Some(field) => {
                let class = class(field);
                let how = match class {
                    0..=2 if !contract.sealed => "",
                    0..=2 => ", sealed",
                    3 => ", sealed, for an officer who signs",
                    _ => ", sealed, after two approvals",
                };
                writeln!(out, "    {name}, class {class}{how}")?;
            }
        }
    }
    let clauses: Vec<&str> = contract.rows.iter().map(|row| row.field.as_str()).collect();
    if !clauses.is_empty() {
        writeln!(out, "    of rows that pass its clauses on {}", clauses.join(", "))?;
    }
    Ok(())
}
