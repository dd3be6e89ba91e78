//! `check --config`: the member folder, the keys that the configuration needs, the contracts that use its
//! mappings, and the way to the hub.

use super::clocks;
use super::report::{LIVE, NAMES, Report, Section};
use crate::config::Config;
use crate::names;
use crate::run::Surroundings;
use crate::sources::read_mapping;
use std::sync::Arc;
use std::time::Duration;
use yiwang_adapter_sdk::check::Severity;
use yiwang_adapter_sdk::mapping::Mapping;
use yiwang_adapter_sdk::words::words;
use yiwang_client::folder::{Enrolled, Folder};
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::Role;
use yiwang_proto::ids::AppId;
use yiwang_proto::time::format_rfc3339;

/// How long the hub may take to answer a check.
const PATIENCE: Duration = Duration::from_secs(10);
/// A key or certificate that ends sooner deserves a word.
const SOON_MS: i64 = 3 * 24 * 3600 * 1000;

pub(super) async fn check(config: &Config, offline: bool, surroundings: &Surroundings, report: &mut Report) {
    let about = format!("member folder {}", config.member_folder.display());
    let mut section = Section::new(about.as_str(), NAMES);
    let folder = match Folder::open(&config.member_folder) {
        Ok(folder) => folder,
        Err(error) => {
            section.bad(error.to_string());
            report.0.push(section);
            return;
        }
    };
    section.good(format!("member `{}`", folder.member()));
    let now_ms = surroundings.clock.now_ms();
    if let Some(part) = &config.adapter {
        key(&folder, Role::Adapter, &part.name, now_ms, &mut section);
        owners(config, &folder, &mut section);
        contracts(config, &folder, now_ms, &mut section);
    }
    for app in config.gateway.iter().flat_map(|part| &part.apps) {
        key(&folder, Role::App, &app.name, now_ms, &mut section);
    }
    standing(&folder, now_ms, &mut section);
    let enrolled = folder.enrolled().cloned();
    match &enrolled {
        Ok(enrolled) => section.good(format!("enrolled in `{}`", enrolled.trust_domain())),
        Err(error) => section.bad(error.to_string()),
    }
    report.0.push(section);
    if let (Ok(enrolled), false) = (enrolled, offline) {
        let mut section = Section::new(about, LIVE);
        hub(&enrolled, surroundings, &mut section).await;
        report.0.push(section);
    }
}

fn key(folder: &Folder, role: Role, name: &AppId, now_ms: i64, section: &mut Section) {
    let word = if role == Role::App { "app" } else { "adapter" };
    let loaded = folder.load_key(role, name).and_then(|key| Ok((key, folder.load_delegation(role, name)?.1)));
    match loaded {
        Err(error) => {
            let meant = names::meant(folder, role, name, &error);
            let meant = meant.map(|meant| format!("; {meant}")).unwrap_or_default();
            section.bad(format!(
                "{word} `{name}`: {error}; a key is made with `yiwang member delegate --folder {} --role {word} --name {name}`{meant}",
                folder.path().display()
            ));
        }
        Ok((key, delegation)) if key.public() != delegation.key => {
            section.bad(format!("{word} `{name}`: the delegation is for another key; delegate it anew"));
        }
        Ok((_, delegation)) if !delegation.valid_at(now_ms) => {
            section.bad(format!(
                "{word} `{name}`: its delegation is not in force; have the root sign a new one"
            ));
        }
        Ok((_, delegation)) => {
            let ends_ms = delegation.valid_until_ms;
            let text = format!("{word} `{name}`: delegated until {}", format_rfc3339(ends_ms));
            section.say(soon(ends_ms, now_ms), text);
        }
    }
}

/// The key with which the member says, again and again, that its keys are in force: without it everybody refuses its requests
/// and answers.
fn standing(folder: &Folder, now_ms: i64, section: &mut Section) {
    match folder.standing_until_ms(now_ms) {
        Err(error) => section.bad(format!("standings: {error}")),
        Ok(ends_ms) => {
            let text = format!("standings: their key is delegated until {}", format_rfc3339(ends_ms));
            section.say(soon(ends_ms, now_ms), text);
        }
    }
}

const fn soon(ends_ms: i64, now_ms: i64) -> Severity {
    if ends_ms.saturating_sub(now_ms) < SOON_MS { Severity::Warning } else { Severity::Note }
}

/// The mappings that can be read; faults of the others are told with the files.
fn mappings(config: &Config) -> Vec<Mapping> {
    let files = config.adapter.iter().flat_map(|part| &part.mappings);
    files.filter_map(|file| Mapping::parse(&read_mapping(file).ok()?, file).ok()).collect()
}

fn owners(config: &Config, folder: &Folder, section: &mut Section) {
    for mapping in mappings(config).iter().filter(|mapping| mapping.owner() != folder.member()) {
        let text = format!(
            "mapping `{}` belongs to `{}`, not to this member: name this member as its `owner`",
            mapping.name(),
            mapping.owner()
        );
        section.bad(text);
    }
}

/// Contracts of the folder that this member provides under, and whether its mappings can serve them.
fn contracts(config: &Config, folder: &Folder, now_ms: i64, section: &mut Section) {
    let documents = match folder.contracts() {
        Ok(documents) => documents,
        Err(error) => return section.bad(error.to_string()),
    };
    let mappings = mappings(config);
    for (path, document) in documents {
        let contract = match Contract::open(&document) {
            Ok(contract) => contract,
            Err(error) => {
                section.say(Severity::Warning, format!("`{}`: {error}", path.display()));
                continue;
            }
        };
        let text = &contract.text;
        let ours = text.provider.member == *folder.member();
        if !ours || !(contract.valid_from_ms..contract.valid_until_ms).contains(&now_ms) {
            continue;
        }
        let served = |operation| {
            mappings
                .iter()
                .any(|mapping| mapping.record() == &text.record && mapping.operation(operation).is_some())
        };
        match text.operations.iter().find(|operation| !served(operation)) {
            Some(missing) => section.say(
                Severity::Warning,
                format!("contract `{}`: no mapping serves `{missing}` of {}", text.id, text.record),
            ),
            None => section.good(format!("contract `{}`: served for `{}`", text.id, text.consumer.member)),
        }
    }
}

async fn hub(enrolled: &Enrolled, surroundings: &Surroundings, section: &mut Section) {
    let now_ms = surroundings.clock.now_ms();
    match enrolled.certificate() {
        Err(error) => section.bad(error.to_string()),
        Ok(leaf) if leaf.ends_ms <= now_ms => {
            section.bad("the member's certificate has ended; enrol again with a new token".to_owned());
        }
        Ok(leaf) => section.good(format!("certificate until {}", format_rfc3339(leaf.ends_ms))),
    }
    let connecting = enrolled.channel(Arc::clone(&surroundings.clock));
    let channel = match tokio::time::timeout(PATIENCE, connecting).await {
        Ok(Ok(channel)) => channel,
        Ok(Err(error)) => return section.bad(error.to_string()),
        Err(_elapsed) => return section.bad(format!("the hub does not answer at {}", enrolled.hub())),
    };
    section.good(format!("the hub answers at {}", enrolled.hub()));
    let asked_ms = surroundings.clock.now_ms();
    let told = tokio::time::timeout(PATIENCE, enrolled.hub_time(channel)).await;
    let unknown = match told {
        Ok(Ok(Some(hub_ms))) => {
            let told_ms = surroundings.clock.now_ms();
            return section.finding(clocks::compare(asked_ms, hub_ms, told_ms));
        }
        Ok(Ok(None)) => "it is of a version that does not tell its time".to_owned(),
        Ok(Err(error)) => words(&error.to_string()),
        Err(_elapsed) => "it does not tell its time".to_owned(),
    };
    let text = format!(
        "this machine's clock cannot be compared with the hub's: {unknown}; `timedatectl` says whether it is synchronized"
    );
    section.say(Severity::Warning, text);
}
