//! Sealed bodies and officers' proofs from the app's side. The provider's key for sealing comes from the hub
//! and counts only under the provider's root in the contract; the answer is sealed to the app's own key,
//! which the signed statement names, so a hub can put no other in its place.

use crate::client::{Client, call};
use crate::error::ClientError;
use crate::exchange::{Ask, SignedRequest};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use yiwang_policies::RecordDef;
use yiwang_proto::Digest;
use yiwang_proto::answer::Answer;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::{FieldName, MemberId};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::limits::DOCUMENT_MAX;
use yiwang_proto::pb;
use yiwang_proto::request::OfficerBy;
use yiwang_proto::sealing::{Direction, Opener, Recipient, check_recipient, seal};
use yiwang_rpc::directory_service_client::DirectoryServiceClient;

/// Keys of providers remembered; a city's are far fewer.
const PROVIDERS_MAX: usize = 10_000;

/// How a request is made besides what it asks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Manner {
    /// How the officer is proved.
    pub officer_by: OfficerBy,
    /// Whether both bodies travel sealed.
    pub sealed: bool,
}

/// The app's key for sealing, and the providers' as far as they are known.
#[derive(Default)]
pub(crate) struct Sealing {
    own: Option<Opener>,
    providers: Mutex<HashMap<MemberId, Arc<Delegation>>>,
}

/// Whether a field of the contract's record travels in sealed bodies only.
fn sealed_only(contract: &Contract, record: Option<&RecordDef>, field: &FieldName) -> bool {
    let known = record.and_then(|record| record.field(field));
    contract.text.sealed || known.is_none_or(|known| known.class >= 3)
}

impl Client {
    /// Gives the app a key for sealing. Without one it can ask in open bodies only.
    ///
    /// # Errors
    /// [`ClientError::Ask`] unless the delegation is this app's, for sealing, of this key, under its root.
    pub fn with_sealing(mut self, key: SecretKey, document: &SignedDocument) -> Result<Self, ClientError> {
        let identity = &self.identity;
        let delegation = Delegation::open_under(document, &identity.root)
            .map_err(|error| ClientError::Ask(error.to_string()))?;
        let fits = delegation.role == Role::Sealing
            && delegation.member == identity.member
            && delegation.name == identity.app
            && delegation.key == key.public();
        if !fits {
            let what = "the delegation for sealing is of another member, app, role or key";
            return Err(ClientError::Ask(what.to_owned()));
        }
        self.sealing.own = Some(Opener::new(key, delegation.digest));
        Ok(self)
    }

    /// Whether the app has a key for sealing.
    pub fn can_seal(&self) -> bool {
        self.sealing.own.is_some()
    }

    /// The digest of the own delegation, for a sealed request.
    pub(crate) fn own_sealing(&self, manner: Manner) -> Option<Digest> {
        self.sealing.own.as_ref().filter(|_| manner.sealed).map(Opener::delegation)
    }

    /// Signs a request, and seals its body if it is to travel sealed.
    ///
    /// # Errors
    /// [`ClientError::Ask`] without a key for sealing; [`ClientError`] where the provider has none that holds.
    pub async fn sign_in(
        &self,
        contract: &Contract,
        ask: &Ask,
        manner: Manner,
    ) -> Result<SignedRequest, ClientError> {
        if manner.sealed && !self.can_seal() {
            let what = "this app has no key for sealing: have the root delegate one with role `sealing`, and publish it";
            return Err(ClientError::Ask(what.to_owned()));
        }
        self.seal_body(contract, self.prepare(contract, ask, manner)).await
    }

    /// Seals the plain body of a signed request to the provider's adapter, if its statement says so.
    ///
    /// # Errors
    /// As [`Client::sign_in`].
    pub async fn seal_body(
        &self,
        contract: &Contract,
        mut signed: SignedRequest,
    ) -> Result<SignedRequest, ClientError> {
        if signed.request.sealing.is_some() {
            let provider = self.standing_key(contract).await?;
            let (to, body) = (Recipient::from(provider.as_ref()), &signed.message.body);
            signed.message.body = seal(Direction::Request, &to, &signed.digest, body, self.entropy.as_ref())
                .map_err(|error| ClientError::Ask(error.to_string()))?;
        }
        Ok(signed)
    }

    /// The provider's key for sealing, by which it still stands: whoever holds a key that was taken back reads
    /// what is sealed to it, whatever the hub refuses later. One that was kept may have a successor.
    async fn standing_key(&self, contract: &Contract) -> Result<Arc<Delegation>, ClientError> {
        let known = self.provider_key(contract).await?;
        if self.stands_by(contract, &known).await.is_ok() {
            return Ok(known);
        }
        self.forget_provider_key(&contract.text.provider.member);
        let newest = self.provider_key(contract).await?;
        self.stands_by(contract, &newest).await.map(|()| newest)
    }

    /// The provider's delegation for sealing, verified under its root in the contract.
    async fn provider_key(&self, contract: &Contract) -> Result<Arc<Delegation>, ClientError> {
        let provider = &contract.text.provider;
        let now = self.clock.now_ms();
        let holds = |delegation: &Delegation| {
            check_recipient(delegation, &provider.member, None, &provider.root, now)
        };
        let known = self.providers().get(&provider.member).cloned();
        if let Some(known) = known.filter(|known| holds(known).is_ok()) {
            return Ok(known);
        }
        let mut directory = DirectoryServiceClient::new(self.channel.clone());
        let request = pb::GetContractRequest { contract_id: contract.text.id.as_str().to_owned() };
        let document = directory.get_contract(call(request)).await?.into_inner().provider_sealing;
        if document.is_empty() {
            return Err(ClientError::Hub { code: Code::SealingKeyUnknown });
        }
        let signed = SignedDocument::parse(document, DOCUMENT_MAX).map_err(ClientError::unverified)?;
        let delegation = Arc::new(Delegation::open(&signed).map_err(ClientError::unverified)?);
        holds(&delegation).map_err(ClientError::unverified)?;
        let mut providers = self.providers();
        if providers.len() >= PROVIDERS_MAX {
            providers.clear();
        }
        providers.insert(provider.member.clone(), Arc::clone(&delegation));
        Ok(delegation)
    }

    /// A provider refused for the key: it has a newer one, which the next request fetches.
    pub(crate) fn forget_provider_key(&self, provider: &MemberId) {
        self.providers().remove(provider);
    }

    fn providers(&self) -> std::sync::MutexGuard<'_, HashMap<MemberId, Arc<Delegation>>> {
        self.sealing.providers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The plain body of an answer whose statement was verified, and that it was not let out in the open
    /// where it must not be.
    pub(crate) fn plain_answer(
        &self,
        contract: &Contract,
        answer: &Answer,
        statement: &SignedStatement,
        body: &Bytes,
    ) -> Result<Bytes, ClientError> {
        match (&answer.sealed_to, &self.sealing.own) {
            (None, _) => {
                let record = self.record_of(contract);
                let exposed =
                    answer.fields.iter().find(|field| sealed_only(contract, record.as_deref(), field));
                match exposed {
                    None => Ok(body.clone()),
                    Some(field) => Err(ClientError::Unverified(format!(
                        "field `{field}` came in an open body: provider and hub broke the rule of its class"
                    ))),
                }
            }
            (Some(_), Some(own)) => {
                own.open(Direction::Answer, &statement.digest(), body).map_err(ClientError::unverified)
            }
            (Some(_), None) => Err(ClientError::unverified("the answer is sealed, and this app has no key")),
        }
    }
}
