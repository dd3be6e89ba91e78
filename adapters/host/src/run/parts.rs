//! The adapter with its journal, which needs the disk.

use super::Surroundings;
use crate::config::{AdapterPart, Config};
use crate::error::HostError;
use crate::mappings::Served;
use crate::names;
use std::sync::Arc;
use yiwang_adapter_sdk::adapter::{Adapter, AdapterConfig, AdapterLimits};
use yiwang_adapter_sdk::decide::ContractPolicy;
use yiwang_client::folder::Folder;
use yiwang_policies::Decider;
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::delegation::Role;

/// Checkpoints remembered: as many as arrive while one answer is made.
const CHECKPOINTS_KNOWN: usize = 64;

/// How long the hub is asked to hold requests when the host is stopped: five seconds for what runs, as long again for the
/// next process. No hub holds them for longer.
const BACK_MS: u32 = 10_000;
/// How long a new process waits for the journal of the one that it replaces: that one has the grace time of its host, eight
/// seconds, and a slow disk some for the last sync.
const JOURNAL_WAIT_MS: u64 = 15_000;

/// What the adapter of a configuration is made from.
fn adapter_config(part: &AdapterPart, folder: &Folder) -> Result<AdapterConfig, HostError> {
    let enrolled = folder.enrolled()?;
    let (role, name) = (Role::Adapter, &part.name);
    let not_loaded = |error| names::not_loaded(folder, role, name, error);
    let (delegation, _) = folder.load_delegation(role, name).map_err(not_loaded)?;
    let key = enrolled.verifier_key().clone();
    let contracts = match &part.only_contracts {
        None => ContractPolicy::SignedByOwnRoot,
        Some(digests) => ContractPolicy::Only(digests.clone()),
    };
    Ok(AdapterConfig {
        member: folder.member().clone(),
        adapter: part.name.clone(),
        root: folder.root_public(),
        former_roots: folder.former_roots()?,
        key: folder.load_key(role, name).map_err(not_loaded)?,
        delegation,
        tag_key: folder.tag_key()?,
        ledger: Arc::new(CheckpointVerifier::new(key, enrolled.origin(), CHECKPOINTS_KNOWN)),
        journal_dir: part.journal.clone(),
        contracts,
        limits: AdapterLimits { segment_bytes: part.segment_bytes, ..AdapterLimits::default() },
        witness: part.witness.then(|| folder.witness_key()).transpose()?,
        // Beside the journal: `journal` keeps its evidence in `journal.evidence`.
        evidence_dir: part.journal.with_added_extension("evidence"),
    })
}

fn decider() -> Result<Arc<Decider>, HostError> {
    Decider::builtin().map(Arc::new).map_err(|error| HostError::Rules(error.to_string()))
}

pub(super) async fn open_adapter(
    part: &AdapterPart,
    folder: &Folder,
    served: &[Served],
    surroundings: &Surroundings,
) -> Result<Adapter, HostError> {
    let (mut config, decider) = (adapter_config(part, folder)?, decider()?);
    config.limits.back_ms = BACK_MS;
    config.limits.journal_wait_ms = JOURNAL_WAIT_MS;
    let mapped = served.iter().map(|served| served.source.mapped.clone()).collect();
    let (clock, entropy) = (Arc::clone(&surroundings.clock), Arc::clone(&surroundings.entropy));
    let opening = tokio::task::spawn_blocking(move || Adapter::open(config, mapped, decider, clock, entropy));
    let adapter = opening.await.map_err(|_| HostError::Died("opening of the adapter"))??;
    Ok(match folder.load_sealing(&part.name)? {
        Some((key, document)) => adapter.with_sealing(key, document)?,
        None => adapter,
    })
}

/// Journals that the operator accepts the present clock; see [`Adapter::accept_clock`].
pub(crate) async fn accept_clock(
    config: &Config,
    surroundings: &Surroundings,
) -> Result<Option<i64>, HostError> {
    let Some(part) = &config.adapter else { return Ok(None) };
    let folder = Folder::open(&config.member_folder)?;
    let (config, decider) = (adapter_config(part, &folder)?, decider()?);
    let (clock, entropy) = (Arc::clone(&surroundings.clock), Arc::clone(&surroundings.entropy));
    let accepting =
        tokio::task::spawn_blocking(move || Adapter::accept_clock(config, decider, clock, entropy));
    Ok(accepting.await.map_err(|_| HostError::Died("accepting the clock"))??)
}
