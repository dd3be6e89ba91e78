//! Record types that members added to the catalogue, as an app needs them: classes of fields for what must be signed
//! or sealed, and names. Those of a contract count by the digest that both heads signed.

use crate::client::{Client, MESSAGE_MAX, call};
use crate::error::ClientError;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tonic::transport::Channel;
use yiwang_policies::{Catalogue, RecordDef, RecordTypeVersion};
use yiwang_proto::Digest;
use yiwang_proto::contract::Contract;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::ids::RecordType;
use yiwang_proto::limits::CONTRACT_MAX;
use yiwang_proto::pb;
use yiwang_rpc::directory_service_client::DirectoryServiceClient;

/// Record types remembered; a network has at most some hundred, each in a few versions.
const RECORD_TYPES_MAX: usize = 1_024;

/// What plans brought, by the digests that contracts pin.
#[derive(Debug, Default)]
pub(crate) struct RecordTypes(Mutex<HashMap<Digest, Arc<RecordDef>>>);

impl RecordTypes {
    fn get(&self, pinned: &Digest) -> Option<Arc<RecordDef>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(pinned).cloned()
    }

    fn keep(&self, pinned: Digest, record: Arc<RecordDef>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= RECORD_TYPES_MAX {
            held.clear();
        }
        held.insert(pinned, record);
    }
}

impl Client {
    /// The record type of a contract: of the catalogue, or the version that the contract pins, as far as a plan
    /// brought it. A field of a record that is not known counts as sealed.
    pub fn record_of(&self, contract: &Contract) -> Option<Arc<RecordDef>> {
        match contract.text.pinned_record_type() {
            None => self.catalogue.shared(&contract.text.record),
            Some(pinned) => self.record_types.get(&pinned),
        }
    }

    /// Takes in the record type that a contract pins.
    pub(crate) fn learn_record_type(&self, contract: &Contract, document: Bytes) -> Result<(), ClientError> {
        let Some(pinned) = contract.text.pinned_record_type() else { return Ok(()) };
        if self.record_types.get(&pinned).is_some() {
            return Ok(());
        }
        let version = open(document, &self.catalogue)?;
        if version.digest != pinned || version.text.record != contract.text.record {
            return Err(ClientError::unverified("the hub sent another record type than the contract pins"));
        }
        self.record_types.keep(pinned, version.def);
        Ok(())
    }

    /// The catalogue with the newest versions of those records that members added: for names only, since nothing pins
    /// them here.
    ///
    /// # Errors
    /// [`ClientError`] where the hub cannot be asked, or sends what does not hold.
    pub async fn catalogue_with(&self, records: &[RecordType]) -> Result<Catalogue, ClientError> {
        let mut catalogue = self.catalogue.clone();
        for record in records {
            if catalogue.record(record).is_some() {
                continue;
            }
            let answer = record_types(self.channel.clone(), record.as_str()).await?;
            if answer.document.is_empty() {
                continue;
            }
            let version = open(answer.document, &self.catalogue)?;
            if version.text.record != *record {
                return Err(ClientError::unverified("the hub sent another record type than was asked for"));
            }
            catalogue = catalogue.with(version.def);
        }
        Ok(catalogue)
    }
}

/// The list of record types that members added, and the newest document of one; `record` may be empty.
///
/// # Errors
/// [`ClientError`] where the hub cannot be asked or refuses.
pub async fn record_types(channel: Channel, record: &str) -> Result<pb::GetRecordTypesResponse, ClientError> {
    let mut directory = DirectoryServiceClient::new(channel).max_decoding_message_size(MESSAGE_MAX);
    let request = pb::GetRecordTypesRequest { record: record.to_owned() };
    Ok(directory.get_record_types(call(request)).await?.into_inner())
}

fn open(document: Bytes, catalogue: &Catalogue) -> Result<RecordTypeVersion, ClientError> {
    let signed = SignedDocument::parse(document, CONTRACT_MAX).map_err(ClientError::unverified)?;
    RecordTypeVersion::open(&signed, catalogue).map_err(ClientError::unverified)
}
