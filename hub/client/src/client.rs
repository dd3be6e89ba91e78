//! A member's app towards the hub: it signs, sends, verifies. Nothing that the hub says is believed
//! without a signature under a root that this member knows.

use crate::counterparts::Counterparts;
use crate::error::ClientError;
use crate::heads::HeadsSeen;
use crate::keep::Keep;
use crate::record_type::RecordTypes;
use crate::sealed::Sealing;
use crate::standing::{KeptWords, Word};
use crate::stream::Streams;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tonic::transport::Channel;
use yiwang_policies::Catalogue;
use yiwang_proto::Digest;
use yiwang_proto::ambient::{Clock, Entropy};
use yiwang_proto::batch::{Roots, Together};
use yiwang_proto::checkpoint::{Checkpoint, CheckpointVerifier};
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::payload_type;
use yiwang_proto::ids::{AppId, ContractId, MemberId};
use yiwang_proto::keys::{PublicKey, SecretKey};
use yiwang_proto::limits::DOCUMENT_MAX;
use yiwang_proto::merkle::verify_growth;
use yiwang_proto::pb;
use yiwang_proto::receipt::{self, VerifiedReceipt};
use yiwang_proto::request::Head;
use yiwang_proto::tag::TagKey;
use yiwang_rpc::directory_service_client::DirectoryServiceClient;
use yiwang_rpc::ledger_service_client::LedgerServiceClient;

/// Who an app is and whom it trusts.
pub struct AppIdentity {
    /// Its member.
    pub member: MemberId,
    /// Its name.
    pub app: AppId,
    /// Its key.
    pub key: SecretKey,
    /// The key's delegation, published.
    pub delegation: SignedDocument,
    /// The member's own root, pinned.
    pub root: PublicKey,
    /// The member's key for subject tags.
    pub tags: TagKey,
    /// Opens checkpoints of the pinned ledger.
    pub checkpoints: Arc<CheckpointVerifier>,
}

/// Keeps the newest verified head between runs, and what other members said last. Durable when `keep` returns.
pub trait HeadStore: Send + Sync {
    /// The kept signed note, if any.
    fn load(&self) -> Option<Vec<u8>>;
    /// Keeps a newer one.
    fn keep(&self, note: &[u8]) -> std::io::Result<()>;
    /// What is kept of other members' words. What cannot be read is an error, never nothing.
    fn counterparts(&self) -> std::io::Result<Counterparts> {
        Ok(Counterparts::default())
    }
    /// Adds to what is kept of other members' words. Durable when it returns.
    fn keep_counterparts(&self, _more: &Counterparts) -> std::io::Result<()> {
        Ok(())
    }
}

/// Forgets heads when the process ends; for tools that only read.
#[derive(Debug, Default)]
pub struct NoHeadStore;

impl HeadStore for NoHeadStore {
    fn load(&self) -> Option<Vec<u8>> {
        None
    }

    fn keep(&self, _note: &[u8]) -> std::io::Result<()> {
        Ok(())
    }
}

/// The client of one app. Cheap to share; usable from many tasks.
pub struct Client {
    pub(crate) identity: AppIdentity,
    // Of the identity's delegation: every request names it.
    pub(crate) delegation_digest: Digest,
    pub(crate) channel: Channel,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) catalogue: Catalogue,
    pub(crate) record_types: RecordTypes,
    pub(crate) keep: Option<Keep>,
    pub(crate) sealing: Sealing,
    pub(crate) heads: Arc<dyn HeadStore>,
    head: Mutex<Option<Kept>>,
    // Meetings one after another: two at once would prove the same heads.
    meeting: tokio::sync::Mutex<()>,
    delegations: Mutex<HashMap<Digest, Arc<Delegation>>>,
    pub(crate) seen: HeadsSeen,
    pub(crate) streams: Option<Streams>,
    pub(crate) roots: Roots,
    pub(crate) together: Together,
    pub(crate) words: Mutex<HashMap<MemberId, Arc<Word>>>,
    pub(crate) kept_words: Mutex<KeptWords>,
}

/// Whether the hub's head continues one that was kept.
fn grows(old: &Checkpoint, newer: &Checkpoint, proof: &[bytes::Bytes]) -> Result<(), ClientError> {
    let proof = receipt::hashes(proof).map_err(ClientError::unverified)?;
    verify_growth(old.size, newer.size, &old.root, &newer.root, &proof).map_err(|error| {
        ClientError::Unverified(format!(
            "the hub's head of size {} does not grow from the kept head of size {}: {error}; keep both as evidence",
            newer.size, old.size
        ))
    })
}

/// A verified head with the note that proves it.
#[derive(Clone)]
struct Kept {
    checkpoint: Checkpoint,
    note: Vec<u8>,
}

/// Delegations remembered; adapters of a city are far fewer.
const DELEGATIONS_MAX: usize = 10_000;
/// Largest answer that is decoded: a query's answers come one by one.
pub(crate) const MESSAGE_MAX: usize = 8 * 1024 * 1024;

impl Client {
    /// A client on a channel. Call [`Client::meet`] before the first request.
    pub fn new(
        identity: AppIdentity,
        channel: Channel,
        heads: Arc<dyn HeadStore>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, ClientError> {
        let catalogue = Catalogue::builtin().map_err(|error| ClientError::Ask(error.to_string()))?;
        let kept = load(heads.as_ref(), &identity.checkpoints);
        let counterparts = heads.counterparts().map_err(|error| ClientError::Ask(error.to_string()))?;
        let together = Together::new(payload_type::REQUEST, identity.key.clone());
        let delegation_digest = identity.delegation.digest();
        Ok(Self {
            identity,
            delegation_digest,
            channel,
            clock,
            entropy,
            catalogue,
            record_types: RecordTypes::default(),
            keep: None,
            sealing: Sealing::default(),
            heads,
            head: Mutex::new(kept),
            meeting: tokio::sync::Mutex::default(),
            delegations: Mutex::default(),
            seen: HeadsSeen::default(),
            streams: None,
            roots: Roots::default(),
            together,
            words: Mutex::default(),
            kept_words: Mutex::new(KeptWords::new(counterparts)),
        })
    }

    /// Sends exchanges over one long-lived stream instead of a call each, for apps that ask often.
    #[must_use]
    pub fn with_stream(mut self) -> Self {
        self.streams = Some(Streams::default());
        self
    }

    /// Who this is.
    pub fn identity(&self) -> &AppIdentity {
        &self.identity
    }

    /// The catalogue of records that comes with the program.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest head this client has verified.
    pub fn head(&self) -> Head {
        self.kept().as_ref().map_or(Head { size: 0, root: yiwang_proto::merkle::EMPTY_ROOT }, |kept| Head {
            size: kept.checkpoint.size,
            root: kept.checkpoint.root,
        })
    }

    /// Shows the hub the head that this member kept and takes the newer one, if it is proved to grow from
    /// it. A hub that was rolled back or shows another history is found out here, and so is one that signed a head for a
    /// receipt alone: the heads of all receipts since the last meeting must lie on the history too.
    pub async fn meet(&self) -> Result<Head, ClientError> {
        let _one = self.meeting.lock().await;
        self.meet_now().await
    }

    /// Meets the hub where too many heads of receipts wait for the next meeting. One exchange in some thousand does.
    pub(crate) async fn meet_if_crowded(&self) -> Result<(), ClientError> {
        if !self.seen.is_crowded() {
            return Ok(());
        }
        let Ok(_one) = self.meeting.try_lock() else { return Ok(()) };
        match self.meet_now().await {
            Err(error @ ClientError::Unverified(_)) => Err(error),
            // What cannot be asked now waits on.
            _ => Ok(()),
        }
    }

    async fn meet_now(&self) -> Result<Head, ClientError> {
        // Before the hub says how large its ledger is: none of them is newer than that.
        let waiting = self.waiting_heads();
        // Another program of this member may have kept another head meanwhile: each must lead to the new one, or
        // a fork that was shown to one program would be forgotten by the other.
        let stored = load(self.heads.as_ref(), &self.identity.checkpoints);
        let (mine, stored) = (self.kept().clone(), stored);
        let (old, older) = match (mine, stored) {
            (Some(a), Some(b)) if a.checkpoint.size >= b.checkpoint.size => (Some(a), Some(b)),
            (Some(a), Some(b)) => (Some(b), Some(a)),
            (a, b) => (a.or(b), None),
        };
        let mut ledger = LedgerServiceClient::new(self.channel.clone());
        let (note, proof) = match &old {
            None => {
                let answer = ledger.get_checkpoint(pb::GetCheckpointRequest {}).await?.into_inner();
                (answer.checkpoint, Vec::new())
            }
            Some(old) => {
                let offer = pb::OfferHeadRequest { checkpoint: old.note.clone().into() };
                let answer = ledger.offer_head(offer).await?.into_inner();
                (answer.checkpoint, answer.proof)
            }
        };
        let newer = self.identity.checkpoints.open(&note).map_err(ClientError::unverified)?;
        if let Some(Kept { checkpoint: old, .. }) = &old {
            grows(old, &newer, &proof)?;
        }
        if let Some(Kept { checkpoint: older, .. }) = &older {
            let sizes = pb::GetConsistencyRequest {
                from_size: older.size,
                to_size: newer.size,
                more_from_sizes: Vec::new(),
            };
            let answer = ledger.get_consistency(sizes).await?.into_inner();
            grows(older, &newer, &answer.proof)?;
        }
        if old.is_none_or(|old| newer.size > old.checkpoint.size) {
            self.heads
                .keep(&note)
                .map_err(|error| ClientError::Ask(format!("the new head cannot be kept: {error}")))?;
        }
        *self.kept() = Some(Kept { checkpoint: newer, note: note.to_vec() });
        self.seen.note_proved(&self.head());
        self.prove_receipts(waiting).await?;
        Ok(self.head())
    }

    /// Verifies a receipt against the pinned ledger.
    pub fn verify_receipt(&self, receipt: Option<pb::Receipt>) -> Result<VerifiedReceipt, ClientError> {
        let receipt = receipt.ok_or_else(|| ClientError::unverified("there is no receipt"))?;
        let verified = receipt::verify(&receipt, |note| self.identity.checkpoints.open(note))
            .map_err(ClientError::unverified)?;
        self.seen.note_signed(&verified.head)?;
        Ok(verified)
    }

    /// The adapter key behind a digest, checked under a provider's root.
    pub(crate) async fn adapter_key(
        &self,
        digest: &Digest,
        provider: &MemberId,
        root: &PublicKey,
    ) -> Result<Arc<Delegation>, ClientError> {
        let known = {
            let known = self.delegations.lock().unwrap_or_else(PoisonError::into_inner);
            known.get(digest).cloned()
        };
        let delegation = match known {
            Some(delegation) => delegation,
            None => self.fetch_delegation(digest).await?,
        };
        if delegation.root != *root || delegation.member != *provider || delegation.role != Role::Adapter {
            return Err(ClientError::unverified(
                "the adapter's key is not delegated under the contract's root",
            ));
        }
        Ok(delegation)
    }

    async fn fetch_delegation(&self, digest: &Digest) -> Result<Arc<Delegation>, ClientError> {
        let mut directory = DirectoryServiceClient::new(self.channel.clone());
        let request = pb::GetDelegationRequest { digest: digest.to_vec().into() };
        let document = directory.get_delegation(request).await?.into_inner().document;
        let signed = SignedDocument::parse(document, DOCUMENT_MAX).map_err(ClientError::unverified)?;
        let delegation = Arc::new(Delegation::open(&signed).map_err(ClientError::unverified)?);
        if delegation.digest != *digest {
            return Err(ClientError::unverified(
                "the hub sent another delegation than the one that was named",
            ));
        }
        let mut known = self.delegations.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= DELEGATIONS_MAX {
            known.clear();
        }
        known.insert(*digest, Arc::clone(&delegation));
        Ok(delegation)
    }

    /// Publishes a signed document and verifies that it is in the ledger.
    pub async fn publish(&self, document: &SignedDocument) -> Result<VerifiedReceipt, ClientError> {
        publish(self.channel.clone(), document, &self.identity.checkpoints).await
    }

    /// The evidence bundle of an exchange, as the hub collects it; verify it with `yiwang audit verify`.
    pub async fn evidence(&self, index: u64) -> Result<Vec<u8>, ClientError> {
        let mut ledger =
            LedgerServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_MAX);
        let answer = ledger.get_evidence(pb::GetEvidenceRequest { index }).await?;
        Ok(answer.into_inner().bundle.to_vec())
    }
}

tokio::task_local! {
    static TRACEPARENT: String;
}

/// Runs a future within a trace: every call that it makes to the hub carries this W3C `traceparent`. Tasks
/// that it spawns do not.
pub async fn traced<F: Future>(traceparent: String, future: F) -> F::Output {
    TRACEPARENT.scope(traceparent, future).await
}

/// The trace context of the running future, or nothing.
pub(crate) fn traceparent() -> String {
    TRACEPARENT.try_with(String::clone).unwrap_or_default()
}

/// A call with the trace context of the running future, if there is one.
pub(crate) fn call<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    if let Ok(Ok(value)) = TRACEPARENT.try_with(|text| text.parse()) {
        request.metadata_mut().insert("traceparent", value);
    }
    request
}

/// The kept head, if it is one of the pinned ledger.
fn load(heads: &dyn HeadStore, checkpoints: &CheckpointVerifier) -> Option<Kept> {
    let note = heads.load()?;
    checkpoints.open(&note).ok().map(|checkpoint| Kept { checkpoint, note })
}

/// Whether the hub knows a contract of this id of the member whose channel it is; it says the same of others' contracts as of
/// none. Nothing that counts may rest on its word: it is for typing errors.
///
/// # Errors
/// [`ClientError`] where the hub cannot be asked.
pub async fn knows_contract(channel: Channel, id: &ContractId) -> Result<bool, ClientError> {
    let mut directory = DirectoryServiceClient::new(channel);
    let request = pb::GetContractRequest { contract_id: id.as_str().to_owned() };
    match directory.get_contract(request).await.map_err(ClientError::from) {
        Ok(_) => Ok(true),
        Err(error) if error.code() == Some(Code::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Publishes a signed document over a member's channel; used before any app exists.
pub async fn publish(
    channel: Channel,
    document: &SignedDocument,
    checkpoints: &CheckpointVerifier,
) -> Result<VerifiedReceipt, ClientError> {
    publish_acknowledged(channel, document, checkpoints).await.map(|(receipt, _)| receipt)
}

/// As [`publish`]; the second value says how many replies the hub dropped before it acknowledged a
/// revocation.
pub async fn publish_acknowledged(
    channel: Channel,
    document: &SignedDocument,
    checkpoints: &CheckpointVerifier,
) -> Result<(VerifiedReceipt, u32), ClientError> {
    let mut directory = DirectoryServiceClient::new(channel);
    let request = pb::PublishRequest { document: document.bytes().clone() };
    let answer = directory.publish(request).await?.into_inner();
    let receipt = answer.receipt;
    let receipt = receipt.ok_or_else(|| ClientError::unverified("there is no receipt"))?;
    let verified =
        receipt::verify(&receipt, |note| checkpoints.open(note)).map_err(ClientError::unverified)?;
    let entered = yiwang_proto::evidence::document_of(&verified.entry);
    if entered != Some(document.bytes()) {
        return Err(ClientError::unverified("the entry holds another document"));
    }
    Ok((verified, answer.dropped))
}
