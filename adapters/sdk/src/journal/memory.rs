//! What the journal remembers: rebuilt from its records before anything is served, kept in step after.

use super::record::{ContractSeen, Exchange, Kind, Record, StandingSeen};
use super::replay::ReplaySet;
use crate::standings::Floors;
use crate::subjects::Subjects;
use crate::watch::Owed;
use bytes::Bytes;
use std::collections::HashMap;
use yiwang_policies::{Rates, TicketUses};
use yiwang_proto::Digest;
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::{ContractId, RecordType};
use yiwang_proto::keys::PublicKey;
use yiwang_proto::limits::{CLOCK_SKEW_MS, DOCUMENT_MAX, STATEMENT_LIFETIME_MS};
use yiwang_proto::merkle::EMPTY_ROOT;
use yiwang_proto::request::{Head, Request};
use yiwang_proto::revocation::Revocation;
use yiwang_proto::witness::Recorded;

const DAY_MS: i64 = 24 * 3600 * 1000;

/// The newest verified head with its signed note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldHead {
    /// Size and root.
    pub head: Head,
    /// The signed note, exact bytes; empty before the first link.
    pub checkpoint: Bytes,
}

impl Default for HeldHead {
    fn default() -> Self {
        Self { head: Head { size: 0, root: EMPTY_ROOT }, checkpoint: Bytes::new() }
    }
}

/// A record that contradicts the adapter's own configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// The kept head is not signed by the pinned ledger key.
    #[error("record {index}: the kept head does not hold under the configured ledger key: {fault}")]
    Head {
        /// The record.
        index: u64,
        /// Why.
        fault: String,
    },
    /// An id or digest of a record does not parse.
    #[error("record {0} holds a value that no adapter writes")]
    Value(u64),
}

/// All of it; one lock in the adapter guards it, held for lookups only.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) highest_ms: i64,
    pub(crate) replay: ReplaySet,
    pub(crate) rates: Rates,
    pub(crate) ticket_uses: TicketUses,
    pub(crate) subjects: Subjects,
    pub(crate) head: HeldHead,
    pub(crate) witnessed: Option<Recorded>,
    pub(crate) own_next: u64,
    pub(crate) owed: Owed,
    pub(crate) floors: Floors,
    pub(crate) revocations: Vec<(Revocation, Bytes)>,
    versions: HashMap<ContractId, Version>,
}

/// The newest version of a contract that was in force here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    number: u32,
    digest: Digest,
    pinned: Option<Pinned>,
}

/// The version of a record type that a contract pins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// The record.
    pub record: RecordType,
    /// The version's number.
    pub version: u32,
    /// SHA-256 of its signed payload.
    pub digest: Digest,
}

impl Pinned {
    /// As a journal's record has it; none for a record of the program.
    pub(crate) fn of<E>(seen: &ContractSeen, bad: impl Fn() -> E) -> Result<Option<Self>, E> {
        if seen.record.is_empty() {
            return Ok(None);
        }
        let record = RecordType::parse(&seen.record).map_err(|_| bad())?;
        let digest = seen.record_digest.as_ref().try_into().map_err(|_| bad())?;
        Ok(Some(Self { record, version: seen.record_version, digest }))
    }
}

/// How a contract version relates to those seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VersionSeen {
    /// The same.
    Same,
    /// Newer than any seen.
    Newer,
    /// A newer one was in force before.
    Older,
    /// The same number on another text.
    OtherText,
}

impl Memory {
    /// Takes in one record while opening. `now_ms` is the clock at opening.
    pub(crate) fn load(
        &mut self,
        index: u64,
        record: &Record,
        now_ms: i64,
        ledger: &CheckpointVerifier,
    ) -> Result<(), MemoryError> {
        self.highest_ms = self.highest_ms.max(record.time_ms);
        match &record.kind {
            Some(Kind::Exchange(exchange)) => self.load_exchange(index, exchange, record.time_ms, now_ms),
            Some(Kind::Head(kept)) => {
                let checkpoint = ledger
                    .open(&kept.checkpoint)
                    .map_err(|error| MemoryError::Head { index, fault: error.to_string() })?;
                let head = Head { size: checkpoint.size, root: checkpoint.root };
                self.head = HeldHead { head, checkpoint: kept.checkpoint.clone() };
                Ok(())
            }
            Some(Kind::Contract(seen)) => {
                let id = ContractId::parse(&seen.contract).map_err(|_| MemoryError::Value(index))?;
                let digest = seen.digest.as_ref().try_into().map_err(|_| MemoryError::Value(index))?;
                let pinned = Pinned::of(seen, || MemoryError::Value(index))?;
                self.see(&id, seen.version, &digest, pinned);
                Ok(())
            }
            Some(Kind::ClockAccepted(_)) => {
                self.highest_ms = record.time_ms;
                self.owed.clock_accepted(record.time_ms);
                // Windows of a time that never was would count for ever.
                self.rates = Rates::new();
                Ok(())
            }
            // Every part of the snapshot that counts is taken at once; others say nothing new.
            Some(Kind::Snapshot(_)) | None => Ok(()),
            Some(Kind::Witnessed(kept)) => self.restore_witnessed(index, &kept.checkpoint, ledger),
            Some(Kind::Followed(followed)) => {
                self.own_next = followed.own_next;
                self.owed.load_settled(&followed.settled);
                Ok(())
            }
            Some(Kind::GivenUp(given_up)) => {
                self.owed.load_given_up(given_up);
                Ok(())
            }
            Some(Kind::Standing(seen)) => self.restore_standing(index, seen),
            Some(Kind::Revocation(seen)) => self.restore_revocation(index, &seen.document),
        }
    }

    /// Takes in a root's standing; the highest stays.
    pub(super) fn restore_standing(&mut self, index: u64, seen: &StandingSeen) -> Result<(), MemoryError> {
        let root = PublicKey::from_bytes(&seen.root).map_err(|_| MemoryError::Value(index))?;
        let digest = seen.digest.as_ref().try_into().map_err(|_| MemoryError::Value(index))?;
        let floor = self.floors.entry(root).or_insert((seen.sequence, digest));
        if floor.0 < seen.sequence {
            *floor = (seen.sequence, digest);
        }
        Ok(())
    }

    /// Takes in a revocation; it counts for ever.
    pub(super) fn restore_revocation(&mut self, index: u64, bytes: &Bytes) -> Result<(), MemoryError> {
        let document = SignedDocument::parse(bytes.clone(), DOCUMENT_MAX);
        let opened = document.ok().and_then(|document| Revocation::open(&document).ok());
        self.revocations.push((opened.ok_or(MemoryError::Value(index))?, bytes.clone()));
        Ok(())
    }

    /// Takes in the checkpoint that was cosigned last.
    pub(super) fn restore_witnessed(
        &mut self,
        index: u64,
        note: &Bytes,
        ledger: &CheckpointVerifier,
    ) -> Result<(), MemoryError> {
        let checkpoint =
            ledger.open(note).map_err(|error| MemoryError::Head { index, fault: error.to_string() })?;
        let note = String::from_utf8(note.to_vec()).map_err(|_| MemoryError::Value(index))?;
        self.witnessed = Some(Recorded { checkpoint, note });
        Ok(())
    }

    /// Takes in a record from shortly before the snapshot of this memory: a head, a version or what is watched
    /// may not have been in it.
    pub(crate) fn load_late(
        &mut self,
        index: u64,
        record: &Record,
        ledger: &CheckpointVerifier,
    ) -> Result<(), MemoryError> {
        let older = match &record.kind {
            Some(Kind::Head(kept)) => {
                ledger.open(&kept.checkpoint).is_ok_and(|checkpoint| checkpoint.size <= self.head.head.size)
            }
            // The highest standing stays, and a revocation counts once however often it comes.
            Some(Kind::Contract(_) | Kind::Standing(_) | Kind::Revocation(_)) => false,
            Some(Kind::Witnessed(kept)) => {
                let held = self.witnessed.as_ref().map_or(0, |recorded| recorded.checkpoint.size);
                ledger.open(&kept.checkpoint).is_ok_and(|checkpoint| checkpoint.size <= held)
            }
            Some(Kind::Followed(followed)) => {
                self.owed.load_settled(&followed.settled);
                followed.own_next <= self.own_next
            }
            // The exchange may lie shortly before the snapshot as well, and was opened again.
            Some(Kind::GivenUp(given_up)) => {
                self.owed.load_given_up(given_up);
                true
            }
            // An answer that was journalled and not yet waited for when the snapshot was taken.
            Some(Kind::Exchange(exchange)) => {
                self.owed.load(exchange, record.time_ms);
                true
            }
            _ => true,
        };
        let highest_ms = self.highest_ms;
        let taken = if older { Ok(()) } else { self.load(index, record, i64::MAX, ledger) };
        self.highest_ms = highest_ms;
        taken
    }

    /// The contract versions, for a snapshot.
    pub(crate) fn seen(&self) -> impl Iterator<Item = ContractSeen> {
        self.versions
            .iter()
            .map(|(id, held)| contract_seen(id, held.number, &held.digest, held.pinned.as_ref()))
    }

    fn load_exchange(
        &mut self,
        index: u64,
        exchange: &Exchange,
        time_ms: i64,
        now_ms: i64,
    ) -> Result<(), MemoryError> {
        self.owed.load(exchange, time_ms);
        if !exchange.subject_key.is_empty() {
            let bytes =
                |bytes: &Bytes| Digest::try_from(bytes.as_ref()).map_err(|_| MemoryError::Value(index));
            let (key, tag) = (bytes(&exchange.subject_key)?, bytes(&exchange.provider_tag)?);
            // A record that was refused for a mismatch holds no pair, so this cannot disagree.
            let _ = self.subjects.bind(&key, &tag, time_ms);
        }
        let used_ticket = !exchange.ticket.is_empty() && time_ms >= TicketUses::since_ms(now_ms);
        // An accepted statement lives at most so long after the record was written.
        let ids_from = now_ms.saturating_sub(STATEMENT_LIFETIME_MS + CLOCK_SKEW_MS);
        let today = now_ms.div_euclid(DAY_MS).saturating_mul(DAY_MS);
        if !exchange.counted || (time_ms < ids_from.min(today) && !used_ticket) {
            return Ok(());
        }
        let value = MemoryError::Value(index);
        let signed = SignedStatement::parse(exchange.request.clone()).map_err(|_| value.clone())?;
        let request = Request::parse(signed.unverified_payload()).map_err(|_| value)?;
        // It ran while the snapshot was taken: with its id the snapshot has all that it counted for.
        if self.replay.holds(&request.consumer, &request.id, request.expires_at_ms) {
            return Ok(());
        }
        if used_ticket {
            let ticket = Digest::try_from(exchange.ticket.as_ref()).map_err(|_| MemoryError::Value(index))?;
            self.ticket_uses.count(&ticket, time_ms);
        }
        if time_ms >= today {
            let officer = request.officer.as_ref().filter(|_| exchange.proved);
            self.rates.count(&request.contract, &request.app, officer, time_ms);
        }
        if time_ms >= ids_from {
            // Nothing is forgotten yet: an accepted clock may lie before this record. Only a full set can
            // refuse here; then nothing is accepted until ids expire.
            let _ = self.replay.take(&request.consumer, &request.id, request.expires_at_ms, i64::MIN);
        }
        Ok(())
    }

    /// How a contract version relates to those seen; changes nothing.
    pub(crate) fn version(&self, contract: &ContractId, version: u32, digest: &Digest) -> VersionSeen {
        match self.versions.get(contract) {
            None => VersionSeen::Newer,
            Some(held) if version > held.number => VersionSeen::Newer,
            Some(held) if version < held.number => VersionSeen::Older,
            Some(held) if held.digest == *digest => VersionSeen::Same,
            Some(_) => VersionSeen::OtherText,
        }
    }

    /// Why the next version of a contract may not pin this version of a record type: the one that was in force here
    /// knew a newer one, or another text under its number.
    pub(crate) fn pin_fault(&self, contract: &ContractId, pinned: &Pinned) -> Option<&'static str> {
        let known = self.versions.get(contract)?.pinned.as_ref();
        let newest = known.filter(|known| known.record == pinned.record)?;
        if newest.version > pinned.version {
            Some("record_type: a newer version is known")
        } else if newest.version == pinned.version && newest.digest != pinned.digest {
            Some("record_type: its version stands on another text")
        } else {
            None
        }
    }

    /// Keeps a version if it is the newest.
    pub(crate) fn see(
        &mut self,
        contract: &ContractId,
        version: u32,
        digest: &Digest,
        pinned: Option<Pinned>,
    ) {
        if self.version(contract, version, digest) == VersionSeen::Newer {
            self.versions.insert(contract.clone(), Version { number: version, digest: *digest, pinned });
        }
    }
}

/// A contract version as the journal keeps it.
pub(crate) fn contract_seen(
    contract: &ContractId,
    version: u32,
    digest: &Digest,
    pinned: Option<&Pinned>,
) -> ContractSeen {
    ContractSeen {
        contract: contract.as_str().to_owned(),
        version,
        digest: Bytes::copy_from_slice(digest),
        record: pinned.map(|pinned| pinned.record.to_string()).unwrap_or_default(),
        record_version: pinned.map_or(0, |pinned| pinned.version),
        record_digest: pinned.map(|pinned| Bytes::copy_from_slice(&pinned.digest)).unwrap_or_default(),
    }
}
