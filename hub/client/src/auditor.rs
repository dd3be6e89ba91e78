//! An auditor towards the hub: it reads and searches what its scope shows, and believes only what is under
//! the pinned ledger's key.

use crate::client::MESSAGE_MAX;
use crate::error::ClientError;
use bytes::Bytes;
use std::sync::Arc;
use tonic::transport::Channel;
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::entry;
use yiwang_proto::ids::{MemberId, RecordType};
use yiwang_proto::merkle::leaf_hash;
use yiwang_proto::pb;
use yiwang_proto::receipt::{self, VerifiedReceipt};
use yiwang_rpc::directory_service_client::DirectoryServiceClient;
use yiwang_rpc::ledger_service_client::LedgerServiceClient;

/// An enrolled auditor on a channel.
pub struct AuditorClient {
    channel: Channel,
    checkpoints: Arc<CheckpointVerifier>,
}

/// One page of a search.
#[derive(Debug, Clone)]
pub struct Found {
    /// The exchanges, each verified to be in the ledger.
    pub hits: Vec<VerifiedReceipt>,
    /// For the next page.
    pub cursor: Option<String>,
    /// Ledger size that the search reflects.
    pub size: u64,
}

/// One entry as the auditor may see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Its index.
    pub index: u64,
    /// Its leaf hash.
    pub leaf: [u8; 32],
    /// Its exact bytes; none outside of the scope.
    pub entry: Option<Bytes>,
}

impl AuditorClient {
    /// On a channel of an auditor's folder.
    #[must_use]
    pub fn new(channel: Channel, checkpoints: Arc<CheckpointVerifier>) -> Self {
        Self { channel, checkpoints }
    }

    fn ledger(&self) -> LedgerServiceClient<Channel> {
        LedgerServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_MAX)
    }

    /// Searches; the search itself becomes an entry before it is answered.
    ///
    /// # Errors
    /// [`ClientError`]; also when a hit is not in the ledger.
    pub async fn search(&self, request: pb::SearchRequest) -> Result<Found, ClientError> {
        let answer = self.ledger().search(request).await?.into_inner();
        let mut hits = Vec::with_capacity(answer.hits.len());
        for hit in &answer.hits {
            let verified = receipt::verify(hit, |note| self.checkpoints.open(note));
            hits.push(verified.map_err(ClientError::unverified)?);
        }
        let cursor = (!answer.cursor.is_empty()).then_some(answer.cursor);
        Ok(Found { hits, cursor, size: answer.size })
    }

    /// The members of the network, which whoever is enrolled may know.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn members(&self) -> Result<Vec<MemberId>, ClientError> {
        let mut directory = DirectoryServiceClient::new(self.channel.clone());
        let answer = directory.list_members(pb::ListMembersRequest {}).await?.into_inner();
        // Whatever is no name is nobody's: a hub may write anything.
        Ok(answer.members.iter().filter_map(|one| MemberId::parse(&one.member).ok()).collect())
    }

    /// The records that members added to the catalogue, by name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn added_records(&self) -> Result<Vec<RecordType>, ClientError> {
        let mut directory = DirectoryServiceClient::new(self.channel.clone());
        let request = pb::GetRecordTypesRequest { records: Vec::new() };
        let answer = directory.get_record_types(request).await?.into_inner();
        Ok(answer.record_types.iter().filter_map(|one| RecordType::parse(&one.record).ok()).collect())
    }

    /// Entries from an index on, at most 256: those of the scope whole, the others as leaf hashes. Held against the
    /// ledger by whoever builds the tree from them.
    ///
    /// # Errors
    /// [`ClientError`]; also when an entry is not what its leaf hash says.
    pub async fn entries(&self, from_index: u64, limit: u32) -> Result<Vec<Line>, ClientError> {
        let request = pb::ListEntriesRequest { from_index, limit };
        let answer = self.ledger().list_entries(request).await?.into_inner();
        let mut lines = Vec::with_capacity(answer.lines.len());
        for (expected, line) in (from_index..).zip(answer.lines) {
            let leaf = line.leaf_hash.as_ref().try_into().unwrap_or_default();
            let entry = (!line.entry.is_empty()).then_some(line.entry);
            let fits =
                entry.as_ref().is_none_or(|entry| leaf_hash(entry) == leaf && entry::decode(entry).is_ok());
            if !fits || line.index != expected {
                return Err(ClientError::unverified("a line is not the entry that it says"));
            }
            lines.push(Line { index: line.index, leaf, entry });
        }
        Ok(lines)
    }
}
