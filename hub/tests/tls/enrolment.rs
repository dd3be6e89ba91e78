//! From a token to a renewed certificate, and every way in which a hub could cheat a new member.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use bytes::Bytes;
use tempfile::TempDir;
use tonic::{Code, Request, Response, Status};
use yiwang_client::folder::{AuditorFolder, Folder, FolderError};
use yiwang_client::token::EnrolToken;
use yiwang_hub::tls::accept::AcceptLimits;
use yiwang_hub::tls::authority::{Authority, MEMBER_LIFETIME_MS};
use yiwang_hub::tls::identity::{Identity, Peer};
use yiwang_hub::tls::token::{HubFacts, TokenError, TokenStore};
use yiwang_proto::ambient::{Clock, ManualClock, SeededEntropy};
use yiwang_proto::checkpoint::Checkpoint;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::ids::MemberId;
use yiwang_proto::member::MemberCard;
use yiwang_proto::merkle::EMPTY_ROOT;
use yiwang_proto::note::SignerKey;
use yiwang_proto::pb;
use yiwang_rpc::directory_service_server::{DirectoryService, DirectoryServiceServer};
use yiwang_rpc::enrolment_service_server::{EnrolmentService, EnrolmentServiceServer};

use crate::support::{DAY_MS, NOW_MS, World, domain, key, member, request};

const ORIGIN: &str = "city.example/ledger";

/// How the hub of a test cheats.
#[derive(Clone, Copy, PartialEq)]
pub enum Lie {
    None,
    OtherIdentity,
    OtherKey,
    OtherAuthority,
    NoAuthority,
    OtherLedger,
}

struct Registry {
    authority: Arc<Authority>,
    tokens: TokenStore,
    clock: Arc<ManualClock>,
    signer: SignerKey,
    lie: Lie,
}

impl Registry {
    fn chain(&self, csr: &[u8], identity: &Identity) -> Result<Vec<Bytes>, Status> {
        let other_key = request(&key());
        let csr = if self.lie == Lie::OtherKey { other_key.as_slice() } else { csr };
        let health = member("health");
        let identity = if self.lie == Lie::OtherIdentity { &health } else { identity };
        let (other, _dir) = crate::support::authority();
        let authority = if self.lie == Lie::OtherAuthority { &other } else { &self.authority };
        let issued = authority.issue(csr, identity, self.clock.now_ms(), MEMBER_LIFETIME_MS);
        let chain = issued.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let most = if self.lie == Lie::NoAuthority { 1 } else { 2 };
        Ok(chain.iter().take(most).map(|der| Bytes::copy_from_slice(der)).collect())
    }

    fn redeem(&self, request: &pb::EnrolRequest) -> Result<Identity, TokenError> {
        let now_ms = self.clock.now_ms();
        let who = self.tokens.holder(&request.token, now_ms)?;
        if let Identity::Member(id) = &who {
            let card = SignedDocument::parse(request.card.clone(), 8192).unwrap();
            assert_eq!(MemberCard::open(&card).unwrap().member, *id);
        }
        self.tokens.redeem(&request.token, &who, now_ms)?;
        Ok(who)
    }
}

#[tonic::async_trait]
impl EnrolmentService for Registry {
    async fn enrol(&self, request: Request<pb::EnrolRequest>) -> Result<Response<pb::EnrolResponse>, Status> {
        let request = request.into_inner();
        let who = self.redeem(&request).map_err(|error| Status::permission_denied(error.to_string()))?;
        let certificate_chain = self.chain(&request.certificate_request, &who)?;
        let other = SignerKey::from_seed(ORIGIN, &[9; 32]).unwrap();
        let signer = if self.lie == Lie::OtherLedger { &other } else { &self.signer };
        let checkpoint = Checkpoint::new(ORIGIN, 0, EMPTY_ROOT).unwrap().sign(signer).unwrap();
        Ok(Response::new(pb::EnrolResponse { certificate_chain, checkpoint: checkpoint.into() }))
    }
}

#[tonic::async_trait]
impl DirectoryService for Registry {
    async fn renew(&self, request: Request<pb::RenewRequest>) -> Result<Response<pb::RenewResponse>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let peer = peer.ok_or_else(|| Status::unauthenticated("no peer"))?;
        let csr = request.into_inner().certificate_request;
        let certificate_chain = self.chain(&csr, &peer.identity)?;
        Ok(Response::new(pb::RenewResponse { certificate_chain }))
    }

    async fn publish(&self, _: Request<pb::PublishRequest>) -> Result<Response<pb::PublishResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn get_contract(
        &self,
        _: Request<pb::GetContractRequest>,
    ) -> Result<Response<pb::GetContractResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn get_delegation(
        &self,
        _: Request<pb::GetDelegationRequest>,
    ) -> Result<Response<pb::GetDelegationResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn list_members(
        &self,
        _: Request<pb::ListMembersRequest>,
    ) -> Result<Response<pb::ListMembersResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn get_record_types(
        &self,
        _: Request<pb::GetRecordTypesRequest>,
    ) -> Result<Response<pb::GetRecordTypesResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn offer_standing(
        &self,
        _: Request<pb::OfferStandingRequest>,
    ) -> Result<Response<pb::OfferStandingResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn get_standings(
        &self,
        _: Request<pb::GetStandingsRequest>,
    ) -> Result<Response<pb::GetStandingsResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

/// A hub with both doors.
pub struct Hub {
    pub members: World,
    pub strangers: World,
    pub tokens: TokenStore,
    facts: HubFacts,
    entropy: SeededEntropy,
}

impl Hub {
    pub async fn start(lie: Lie) -> Self {
        let (authority, dir) = crate::support::authority();
        let clock = Arc::new(ManualClock::new(NOW_MS));
        let signer = SignerKey::from_seed(ORIGIN, &[1; 32]).unwrap();
        let verifier_key = signer.verifier().to_string();
        let folder = dir.path().join("tokens");
        let registry = Arc::new(Registry {
            authority: Arc::clone(&authority),
            tokens: TokenStore::open(&folder).unwrap(),
            clock: clock.clone(),
            signer,
            lie,
        });
        let enrolment = EnrolmentServiceServer::from_arc(Arc::clone(&registry));
        let directory = DirectoryServiceServer::from_arc(registry);
        let door = |service: Router, mutual, limits, dir: TempDir| {
            World::start(Arc::clone(&authority), dir, clock.clone(), limits, mutual, service)
        };
        let routes = tonic::service::Routes::new(directory).into_axum_router();
        let members = door(routes, true, AcceptLimits::default(), dir).await;
        let routes = tonic::service::Routes::new(enrolment).into_axum_router();
        let limits = AcceptLimits::for_strangers();
        let strangers = door(routes, false, limits, tempfile::tempdir().unwrap()).await;
        let facts = HubFacts {
            hub: members.address.to_string(),
            enrol: strangers.address.to_string(),
            ca: *members.authority.ca_digest(),
            origin: ORIGIN.to_owned(),
            verifier_key,
            trust_domain: domain(),
        };
        let tokens = TokenStore::open(&folder).unwrap();
        Self { members, strangers, tokens, facts, entropy: SeededEntropy::new(7) }
    }

    /// A token as the operator hands it over, with facts that a test may bend.
    pub fn token_with(&self, who: &Identity, bend: impl FnOnce(&mut HubFacts)) -> EnrolToken {
        let mut facts = self.facts.clone();
        bend(&mut facts);
        let expires_ms = NOW_MS + 3_600_000;
        let text = self.tokens.issue(who, &facts, expires_ms, &self.entropy).unwrap();
        EnrolToken::parse(&format!(" {text}\n")).unwrap()
    }

    pub fn token(&self, who: &Identity) -> EnrolToken {
        self.token_with(who, |_| ())
    }

    pub fn clock(&self) -> Arc<ManualClock> {
        Arc::clone(&self.members.clock)
    }
}

pub fn new_folder(dir: &Path, id: &str) -> Folder {
    let clock = ManualClock::new(NOW_MS);
    Folder::init(dir, &MemberId::parse(id).unwrap(), "A department", &SeededEntropy::new(3), &clock).unwrap()
}

#[tokio::test]
async fn a_member_enrols_calls_and_renews() {
    let hub = Hub::start(Lie::None).await;
    let dir = tempfile::tempdir().unwrap();
    let mut folder = new_folder(dir.path(), "police");
    assert!(matches!(folder.enrolled(), Err(FolderError::NotEnrolled(_))));
    folder.enrol(&hub.token(&member("police")), hub.clock()).await.unwrap();

    let folder = Folder::open(dir.path()).unwrap();
    let enrolled = folder.enrolled().unwrap();
    assert_eq!((enrolled.origin(), enrolled.trust_domain()), (ORIGIN, "city.example"));
    assert_eq!(enrolled.checkpoint().unwrap().unwrap().0.size, 0);
    let mode = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("tls/key.pem"), mode("root.key"), mode("tls")), (0o600, 0o600, 0o700));

    let leaf = enrolled.certificate().unwrap();
    assert_eq!(leaf.ends_ms, NOW_MS + MEMBER_LIFETIME_MS);
    hub.clock().set_ms(leaf.renew_at_ms());
    assert!(leaf.renew_at_ms() < leaf.ends_ms - i64::try_from(2 * DAY_MS).unwrap());
    let channel = enrolled.channel(hub.clock()).await.unwrap();
    let newer = enrolled.renew(channel, &*hub.clock()).await.unwrap();
    assert_eq!(newer.ends_ms, leaf.renew_at_ms() / 1000 * 1000 + MEMBER_LIFETIME_MS);
    assert_eq!(enrolled.certificate().unwrap(), newer);

    // The old certificate is past its end now; whoever connects uses the new one.
    hub.clock().set_ms(leaf.ends_ms + 1000);
    let channel = enrolled.channel(hub.clock()).await.unwrap();
    enrolled.renew(channel, &*hub.clock()).await.unwrap();
}

#[tokio::test]
async fn an_auditor_enrols_without_card_or_root() {
    let hub = Hub::start(Lie::None).await;
    let dir = tempfile::tempdir().unwrap();
    let court = Identity::from_who("auditor:court").unwrap();
    let path = dir.path().join("court");
    AuditorFolder::enrol(&path, &hub.token(&court), hub.clock()).await.unwrap();
    let folder = AuditorFolder::open(&path).unwrap();
    assert_eq!(folder.auditor().as_str(), "court");
    let channel = folder.enrolled().channel(hub.clock()).await.unwrap();
    folder.enrolled().renew(channel, &*hub.clock()).await.unwrap();
    let as_member = AuditorFolder::enrol(&path, &hub.token(&member("police")), hub.clock()).await;
    assert!(matches!(as_member, Err(FolderError::OtherHolder(_))));
}

#[tokio::test]
async fn a_token_enrols_once_in_its_time_and_its_holder_only() {
    let hub = Hub::start(Lie::None).await;
    let dir = tempfile::tempdir().unwrap();
    let mut police = new_folder(&dir.path().join("police"), "police");
    let mut health = new_folder(&dir.path().join("health"), "health");
    let token = hub.token(&member("police"));
    assert!(matches!(health.enrol(&token, hub.clock()).await, Err(FolderError::OtherHolder(_))));
    police.enrol(&token, hub.clock()).await.unwrap();
    let again = police.enrol(&token, hub.clock()).await;
    assert!(matches!(&again, Err(FolderError::Refused(why)) if why.contains("token")), "{again:?}");
    police.enrol(&hub.token(&member("police")), hub.clock()).await.expect("a new token enrols again");

    let late = hub.token(&member("health"));
    hub.clock().advance_ms(3_600_000);
    assert!(matches!(health.enrol(&late, hub.clock()).await, Err(FolderError::Expired)));
    let slow_clock = Arc::new(ManualClock::new(NOW_MS));
    let refused = health.enrol(&late, slow_clock).await;
    assert!(matches!(refused, Err(FolderError::Refused(_))), "the hub's clock decides: {refused:?}");
    assert!(health.enrolled().is_err());
}

#[tokio::test]
async fn the_enrolment_door_answers_without_a_certificate_and_the_other_does_not() {
    let hub = Hub::start(Lie::None).await;
    let config =
        yiwang_client::tls::enrolment_config(*hub.members.authority.ca_digest(), hub.clock()).unwrap();
    let at = hub.members.address.to_string();
    let channel = match yiwang_client::tls::connect(&at, None, config).await {
        Ok(channel) => channel,
        // The refusal may come before or after the client counts as connected.
        Err(_) => return,
    };
    let mut client = yiwang_rpc::directory_service_client::DirectoryServiceClient::new(channel);
    let status = client.list_members(pb::ListMembersRequest {}).await.unwrap_err();
    assert_ne!(status.code(), Code::Unimplemented, "the service was reached");
}
