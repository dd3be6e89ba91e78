//! `run --dry-run`: everything but the hub. Sources are opened and probed, and it is told what the adapter would
//! announce and what each contract would let out. Nothing listens, nothing is journalled, nothing is sent; single
//! values, masked, are shown by `call`.

mod told;

use self::told::{Announced, Field, Left, LetOut, Told, Under, When};
use super::{CONFIG, ENVIRONMENT, OK, Output, Run, refuse, refuse_as};
use crate::config::Config;
use crate::error::HostError;
use crate::mappings::{Found, LeftOut};
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
use yiwang_proto::ids::AppId;

/// How long a source may take for its probe: sources give up sooner by themselves.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the host would serve with.
struct Opened {
    adapter: AppId,
    folder: Folder,
    sources: Vec<Arc<Watched>>,
    left_out: Vec<LeftOut>,
    catalogue: Catalogue,
}

pub(super) async fn dry_run(
    arguments: &Run,
    surroundings: &Surroundings,
    out: &mut (dyn Write + Send),
) -> std::io::Result<u8> {
    let (path, output) = (&arguments.config, arguments.output);
    let opened = match open(path, surroundings).await {
        Ok(Some(opened)) => opened,
        Ok(None) => {
            match output {
                Output::Json => Told::default().write_json(OK, out)?,
                Output::Text => {
                    writeln!(out, "`{}` names no adapter: nothing would be answered", path.display())?;
                }
            }
            return Ok(OK);
        }
        Err(error) => return refuse_as(output, out, |out| refuse(&error, out)),
    };
    let (adapter, member) = (opened.adapter.to_string(), opened.folder.member().to_string());
    let text = output == Output::Text;
    if text {
        writeln!(out, "adapter `{adapter}` of `{member}` would announce")?;
    }
    let mut told = Told::of(adapter, member);
    let mut code = OK;
    for source in &opened.sources {
        let announced = announced(source).await;
        if announced.trouble.is_some() {
            code = code.max(ENVIRONMENT);
        }
        if text {
            announced.write(out)?;
        }
        told.sources.push(announced);
    }
    for left in &opened.left_out {
        let left = Left { file: left.file.display().to_string(), why: left.told() };
        if text {
            left.write(out)?;
        }
        told.left_out.push(left);
        code = CONFIG;
    }
    told.contracts = match contracts(&opened, surroundings.clock.now_ms()) {
        Ok(contracts) => contracts,
        Err(error) => return refuse_as(output, out, |out| refuse(&error, out)),
    };
    if !text {
        told.write_json(code, out)?;
        return Ok(code);
    }
    told.contracts.iter().try_for_each(|contract| contract.write(out))?;
    writeln!(out, "nothing was sent")?;
    Ok(code)
}

/// Opens all of it; none where the configuration names no adapter.
async fn open(path: &Path, surroundings: &Surroundings) -> Result<Option<Opened>, HostError> {
    let config = Config::read(path)?;
    let Some(part) = config.adapter else { return Ok(None) };
    let folder = Folder::open(&config.member_folder)?;
    let catalogue = record_types::catalogue(&part.record_types)?;
    let found = Found::open(&part.mappings, folder.member(), &catalogue, &surroundings.environment).await?;
    let sources = found.served.into_iter().map(|served| served.source).collect();
    Ok(Some(Opened { adapter: part.name, folder, sources, left_out: found.left_out, catalogue }))
}

async fn announced(source: &Watched) -> Announced {
    let trouble = probe(source).await.err();
    let mapping = source.mapped.mapping();
    Announced {
        mapping: mapping.name().to_owned(),
        record: mapping.record().to_string(),
        sha256: hex(&mapping.digest()),
        operations: mapping.operations().iter().map(|operation| operation.name.to_string()).collect(),
        trouble,
    }
}

async fn probe(source: &Watched) -> Result<(), String> {
    match tokio::time::timeout(PATIENCE, source.mapped.source().probe()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it does not answer in time".to_owned()),
    }
}

/// What each contract of the folder by which the member provides would let out.
fn contracts(opened: &Opened, now_ms: i64) -> Result<Vec<Under>, HostError> {
    let documents = opened.folder.contracts()?;
    let contracts = documents.iter().filter_map(|(_, document)| Contract::open(document).ok());
    let own = contracts.filter(|contract| contract.text.provider.member == *opened.folder.member());
    Ok(own.map(|contract| under(&contract, now_ms, opened)).collect())
}

fn under(contract: &Contract, now_ms: i64, opened: &Opened) -> Under {
    let text = &contract.text;
    let operations = text.operations.iter().map(|operation| {
        let found = opened.sources.iter().map(|source| source.mapped.mapping()).find_map(|mapping| {
            let of = mapping.record() == &text.record;
            of.then(|| Some((mapping, mapping.operation(operation)?))).flatten()
        });
        match found {
            None => LetOut {
                operation: operation.to_string(),
                served: false,
                records_max: None,
                pages_max: None,
                fields: Vec::new(),
                clauses: Vec::new(),
            },
            Some((mapping, operation)) => let_out(text, (mapping, operation), &opened.catalogue),
        }
    });
    Under {
        contract: text.id.to_string(),
        version: text.version,
        consumer: text.consumer.member.to_string(),
        when: When::new(now_ms, contract.valid_from_ms, contract.valid_until_ms),
        operations: operations.collect(),
    }
}

fn let_out(
    contract: &ContractText,
    (mapping, operation): (&Mapping, &OperationDef),
    catalogue: &Catalogue,
) -> LetOut {
    let class = |field: &FieldDef| {
        let known = catalogue.field(mapping.record(), &field.name);
        field.class.unwrap_or(0).max(known.map_or(4, |known| known.class))
    };
    let fields = contract.fields.iter().map(|name| match operation.field(name) {
        None => Field::unmapped(name.to_string()),
        Some(field) => Field::mapped(name.to_string(), class(field), contract.sealed),
    });
    LetOut {
        operation: operation.name.to_string(),
        served: true,
        records_max: Some(operation.limit.min(contract.limits.rows)),
        pages_max: operation.page.as_ref().map(|page| page.most).filter(|most| *most < u32::MAX),
        fields: fields.collect(),
        clauses: contract.rows.iter().map(|row| row.field.to_string()).collect(),
    }
}
