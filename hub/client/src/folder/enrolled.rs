//! What an enrolled folder knows of its hub: address, authority, ledger key, its own certificate, and the
//! newest head of the ledger.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tonic::transport::Channel;
use yiwang_proto::ambient::Clock;
use yiwang_proto::checkpoint::Checkpoint;
use yiwang_proto::note::{MAX_NOTE_BYTES, VerifierKey};
use yiwang_proto::pb;
use yiwang_rpc::directory_service_client::DirectoryServiceClient;
use yiwang_rpc::ledger_service_client::LedgerServiceClient;

use super::files::{self, PUBLIC};
use super::{FolderError, counterparts, enrolment};
use crate::counterparts::Counterparts;
use crate::tls::{self, ConnectError, Dial, Leaf, SystemDial, check_issued};
use crate::token::Holder;

const CHECKPOINT: &str = "checkpoint";
const CHAIN_MAX: usize = 64 * 1024;

/// The hub of a member's or auditor's folder.
#[derive(Debug, Clone)]
pub struct Enrolled {
    dir: PathBuf,
    hub: String,
    origin: String,
    verifier_key: VerifierKey,
    trust_domain: String,
    who: Holder,
}

impl Enrolled {
    pub(super) fn new(
        dir: &Path,
        hub: String,
        origin: String,
        verifier_key: VerifierKey,
        trust_domain: String,
        who: Holder,
    ) -> Result<Self, String> {
        if tls::split_address(&hub).is_none() {
            return Err(format!("hub: `{hub}` is not `host:port`"));
        }
        let trust_domain = crate::token::trust_domain(trust_domain)
            .ok_or("trust_domain: expected 1 to 255 of a-z, 0-9, dots, hyphens and underscores")?;
        Ok(Self { dir: dir.to_owned(), hub, origin, verifier_key, trust_domain, who })
    }

    /// `host:port` of the hub's door.
    #[must_use]
    pub fn hub(&self) -> &str {
        &self.hub
    }

    /// The ledger's origin.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The ledger's key.
    #[must_use]
    pub fn verifier_key(&self) -> &VerifierKey {
        &self.verifier_key
    }

    /// The network.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// Who is enrolled.
    #[must_use]
    pub fn who(&self) -> &Holder {
        &self.who
    }

    /// A connection to the hub, made now; later ones use whatever certificate the folder holds then.
    ///
    /// # Errors
    /// [`FolderError::Connect`].
    pub async fn channel(&self, clock: Arc<dyn Clock>) -> Result<Channel, FolderError> {
        self.channel_over(SystemDial, clock).await
    }

    /// As [`Enrolled::channel`], over another network than the system's.
    ///
    /// # Errors
    /// [`FolderError::Connect`].
    pub async fn channel_over(&self, dial: impl Dial, clock: Arc<dyn Clock>) -> Result<Channel, FolderError> {
        Ok(tls::connect_over(dial, &self.hub, None, self.source(clock)).await?)
    }

    /// As [`Enrolled::channel`], but the first call makes the connection.
    ///
    /// # Errors
    /// [`FolderError::Connect`] for a bad address.
    pub fn channel_lazy(&self, clock: Arc<dyn Clock>) -> Result<Channel, FolderError> {
        self.channel_lazy_over(SystemDial, clock)
    }

    /// As [`Enrolled::channel_lazy`], over another network than the system's.
    ///
    /// # Errors
    /// [`FolderError::Connect`] for a bad address.
    pub fn channel_lazy_over(&self, dial: impl Dial, clock: Arc<dyn Clock>) -> Result<Channel, FolderError> {
        Ok(tls::connect_lazy_over(dial, &self.hub, None, self.source(clock))?)
    }

    /// The TLS configuration with the certificate that the folder holds now.
    ///
    /// # Errors
    /// [`FolderError`] if a file is missing, exposed or does not hold.
    pub fn client_config(&self, clock: Arc<dyn Clock>) -> Result<Arc<ClientConfig>, FolderError> {
        let key_path = self.tls_file("key.pem");
        let key = files::read_secret(&key_path)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
        let key = key.map_err(|_| bad_pem(&key_path))?;
        Ok(tls::client_config(self.authority()?, self.chain()?, key, clock)?)
    }

    /// The life of the certificate: [`Leaf::ends_ms`] and [`Leaf::renew_at_ms`].
    ///
    /// # Errors
    /// [`FolderError`] if it is missing or does not parse.
    pub fn certificate(&self) -> Result<Leaf, FolderError> {
        let path = self.tls_file("chain.pem");
        let chain = self.chain()?;
        Ok(Leaf::parse(chain.first().ok_or_else(|| bad_pem(&path))?)?)
    }

    /// Gets a new certificate for the same key over a connection made with the old one. Due at
    /// [`Leaf::renew_at_ms`]; the next connection uses it. A new key comes with a new enrolment.
    ///
    /// # Errors
    /// [`FolderError`]; the old certificate stays unless all of the new one holds.
    pub async fn renew(&self, channel: Channel, clock: &dyn Clock) -> Result<Leaf, FolderError> {
        let key = enrolment::load_key(&self.tls_file("key.pem"))?;
        let certificate_request = enrolment::certificate_request(&key)?;
        let mut client = DirectoryServiceClient::new(channel).max_decoding_message_size(CHAIN_MAX);
        let answer = client.renew(pb::RenewRequest { certificate_request }).await;
        let answer = answer.map_err(|status| FolderError::Refused(status.message().to_owned()))?;
        let chain = enrolment::chain_of(answer.into_inner().certificate_chain);
        let authority = self.authority()?;
        let uri = self.who.uri(&self.trust_domain);
        let spki = enrolment::public_key_info(&key);
        let leaf = check_issued(&chain, |der| *der == *authority, &uri, &spki, clock.now_ms())?;
        files::replace(&self.tls_file("chain.pem"), enrolment::pem_of(&chain).as_bytes(), PUBLIC)?;
        Ok(leaf)
    }

    /// The time by which the hub judges requests, milliseconds; none of a hub that does not tell it.
    ///
    /// # Errors
    /// [`FolderError::Refused`].
    pub async fn hub_time(&self, channel: Channel) -> Result<Option<i64>, FolderError> {
        let answer = LedgerServiceClient::new(channel).get_checkpoint(pb::GetCheckpointRequest {}).await;
        let answer = answer.map_err(|status| FolderError::Refused(status.message().to_owned()))?;
        Ok(Some(answer.into_inner().now_ms).filter(|now_ms| *now_ms > 0))
    }

    /// The newest head of the ledger that was kept here, verified again, with its exact bytes.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn checkpoint(&self) -> Result<Option<(Checkpoint, Bytes)>, FolderError> {
        match files::read(&self.dir.join(CHECKPOINT), MAX_NOTE_BYTES) {
            Ok(bytes) => {
                let checkpoint = Checkpoint::open(&bytes, &self.verifier_key, &self.origin)?;
                Ok(Some((checkpoint, bytes)))
            }
            Err(FolderError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps a head if it is newer than the kept one. That the two are consistent is the caller's to prove
    /// before; here only what needs no proof is checked: the signature, and one root per size.
    ///
    /// # Errors
    /// [`FolderError::Checkpoint`] for a bad signature, [`FolderError::Fork`] for another root of the same
    /// size.
    pub fn keep_checkpoint(&self, bytes: &[u8]) -> Result<Checkpoint, FolderError> {
        let shown = Checkpoint::open(bytes, &self.verifier_key, &self.origin)?;
        let _lock = files::lock(&self.dir)?;
        if let Some((kept, _)) = self.checkpoint()? {
            if kept.size == shown.size && kept.root != shown.root {
                return Err(FolderError::Fork { kept: kept.size, shown: shown.size });
            }
            if kept.size >= shown.size {
                return Ok(kept);
            }
        }
        files::replace(&self.dir.join(CHECKPOINT), bytes, PUBLIC)?;
        Ok(shown)
    }

    /// What is kept of other members' standings and revocations.
    ///
    /// # Errors
    /// [`FolderError::Content`] where the file cannot be read; it is never taken for an empty one.
    pub fn counterparts(&self) -> Result<Counterparts, FolderError> {
        counterparts::load(&self.dir)
    }

    /// Adds to what is kept of other members; durable when it returns.
    ///
    /// # Errors
    /// [`FolderError::Content`] where there is no room, or the file cannot be read.
    pub fn keep_counterparts(&self, more: &Counterparts) -> Result<(), FolderError> {
        counterparts::keep(&self.dir, more)
    }

    /// The hub's authority, as pinned at enrolment.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn authority(&self) -> Result<CertificateDer<'static>, FolderError> {
        let path = self.tls_file("ca.pem");
        let pem = files::read(&path, CHAIN_MAX)?;
        CertificateDer::from_pem_slice(&pem).map_err(|_| bad_pem(&path))
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, FolderError> {
        let path = self.tls_file("chain.pem");
        let pem = files::read(&path, CHAIN_MAX)?;
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|_| bad_pem(&path))
    }

    fn source(&self, clock: Arc<dyn Clock>) -> tls::ConfigSource {
        let this = self.clone();
        Arc::new(move || {
            this.client_config(Arc::clone(&clock)).map_err(|error| ConnectError::Files(Box::new(error)))
        })
    }

    fn tls_file(&self, name: &str) -> PathBuf {
        self.dir.join("tls").join(name)
    }
}

fn bad_pem(path: &Path) -> FolderError {
    FolderError::Content { path: path.to_owned(), what: "not a PEM file of the right kind".to_owned() }
}
