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

    /// Takes in the record type that a contract pins. What does not hold stays unknown, and its fields count as sealed:
    /// one document must not keep the other contracts from being used.
    pub(crate) fn learn_record_type(&self, contract: &Contract, document: Bytes) {
        let Some(pinned) = contract.text.pinned_record_type() else { return };
        if self.record_types.get(&pinned).is_some() {
            return;
        }
        match open(document) {
            Ok(version) if version.digest == pinned && version.text.record == contract.text.record => {
                self.record_types.keep(pinned, version.def);
            }
            Ok(_) => {
                tracing::warn!(contract = %contract.text.id, "the hub sent another record type than the contract pins");
            }
            Err(error) => {
                tracing::warn!(contract = %contract.text.id, %error, "a record type does not hold");
            }
        }
    }

    /// Asks for the record type of a contract that no plan brought.
    pub(crate) async fn know_record_type(&self, contract: &Contract) -> Result<(), ClientError> {
        if self.record_of(contract).is_some() || contract.text.pinned_record_type().is_none() {
            return Ok(());
        }
        let mut directory = DirectoryServiceClient::new(self.channel.clone());
        let request = pb::GetContractRequest { contract_id: contract.text.id.as_str().to_owned() };
        let document = directory.get_contract(call(request)).await?.into_inner().record_type;
        self.learn_record_type(contract, document);
        Ok(())
    }

    /// The catalogue with the newest versions of those records that members added: for names only, since nothing pins
    /// them here.
    ///
    /// # Errors
    /// [`ClientError`] where the hub cannot be asked, or sends what does not hold.
    pub async fn catalogue_with(&self, records: &[RecordType]) -> Result<Catalogue, ClientError> {
        let mut catalogue = self.catalogue.clone();
        let unknown: Vec<&RecordType> =
            records.iter().filter(|record| self.catalogue.record(record).is_none()).collect();
        if unknown.is_empty() {
            return Ok(catalogue);
        }
        for document in record_types(self.channel.clone(), &unknown).await?.documents {
            let version = open(document)?;
            // The program's own names are not for others to fill.
            if self.catalogue.record(&version.text.record).is_none() {
                catalogue = catalogue.with(version.def);
            }
        }
        Ok(catalogue)
    }
}

/// The newest documents of record types that members added; without records, the list of all.
///
/// # Errors
/// [`ClientError`] where the hub cannot be asked or refuses.
pub async fn record_types(
    channel: Channel,
    records: &[&RecordType],
) -> Result<pb::GetRecordTypesResponse, ClientError> {
    let mut directory = DirectoryServiceClient::new(channel).max_decoding_message_size(MESSAGE_MAX);
    let request =
        pb::GetRecordTypesRequest { records: records.iter().map(|record| record.to_string()).collect() };
    Ok(directory.get_record_types(call(request)).await?.into_inner())
}

fn open(document: Bytes) -> Result<RecordTypeVersion, ClientError> {
    let signed = SignedDocument::parse(document, CONTRACT_MAX).map_err(ClientError::unverified)?;
    RecordTypeVersion::open(&signed).map_err(ClientError::unverified)
}
