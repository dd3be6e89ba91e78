//! The gateway: plain REST for the member's own apps on its own network. It holds the apps' keys, and for
//! each request plans, signs, sends, verifies and merges as an app with the client library would. It keeps
//! no answer.
//!
//! | route | what |
//! |---|---|
//! | `POST /v1/records/query` | one unified record: `{subject?, as_issued?, purpose, case, officer?, ticket?, fields?, arguments?}` |
//! | `POST /v1/records/prepare` | the requests of a query, for an officer to sign: `{query, officer_delegation}` |
//! | `POST /v1/records/send` | sends what `prepare` gave and the officer signed |
//! | `POST /v1/counts/{record}` | how many, by values: `{by?, purpose, case, officer?, ticket?}` |
//! | `POST /v1/batches/{record}` | all rows of a contract for batches, a page an answer: `{resume?, fields?, contract?, operation?, purpose, case, officer?, ticket?}` |
//! | `POST /v1/tickets` | publishes an officer's ticket: the document as `yiwang officer ticket` writes it |
//! | `POST /v1/cases` | opens a case: `{matter, subjects, as_issued?}` |
//! | `POST /v1/cases/{case}/add` | adds subjects: `{subjects, as_issued?, reason}` |
//! | `POST /v1/cases/{case}/close` | closes it: `{reason}` |
//! | `GET /v1/cases/{case}` | what the register knows of it |
//! | `GET /v1/permissions` | what this app may ask |
//! | `GET /v1/openapi.json` | this, as OpenAPI 3.1; without token |
//! | `GET /problems/{code}` | what an error means; without token |
//!
//! Identifiers of subjects travel in bodies only, never in URLs, and never into logs.

mod batches;
mod body;
mod cases;
mod counts;
mod frame;
mod guard;
mod keys;
mod meet;
mod meters;
mod officer;
pub mod openapi;
mod paced;
mod permissions;
mod problem;
mod records;
mod shapes;
mod trace;
mod why;

pub(crate) use meet::{keep_met, prove_last_receipts};

use crate::config::GatewayPart;
use crate::error::HostError;
use crate::names;
use axum::Router;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::Response;
use keys::Keys;
use meet::Meeting;
use meters::Meters;
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Semaphore;
use yiwang_client::client::{AppIdentity, Client};
use yiwang_client::folder::{Folder, FolderHeads};
use yiwang_proto::Digest;
use yiwang_proto::ambient::{Clock, Entropy};
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::delegation::Role;
use yiwang_proto::ids::AppId;
use yiwang_telemetry::{Kind, Page};

/// Requests of one app that run at once; the surplus is refused at once with 429.
const IN_FLIGHT_MAX: usize = 64;
/// Checkpoints remembered: as many as arrive while one answer is verified.
const CHECKPOINTS_KNOWN: usize = 64;

/// The gateway of a member.
pub struct Gateway {
    apps: Vec<Arc<App>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    unauthenticated: AtomicU64,
    meters: Meters,
}

/// One app behind the gateway.
pub(crate) struct App {
    name: AppId,
    token_sha256: Digest,
    client: Client,
    meeting: Meeting,
    keys: Keys,
    places: Arc<Semaphore>,
    pages: Arc<Semaphore>,
    answered: AtomicU64,
    refused: AtomicU64,
}

impl Gateway {
    /// Makes the clients of all apps; connections are made by the first calls.
    ///
    /// # Errors
    /// [`HostError`]: an app without key or delegation in force, a folder that is not enrolled.
    pub fn open(
        part: &GatewayPart,
        folder: &Folder,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) -> Result<Self, HostError> {
        let enrolled = folder.enrolled()?;
        let channel = enrolled.channel_lazy(Arc::clone(clock))?;
        let key = enrolled.verifier_key().clone();
        let checkpoints = Arc::new(CheckpointVerifier::new(key, enrolled.origin(), CHECKPOINTS_KNOWN));
        let mut apps = Vec::with_capacity(part.apps.len());
        for app in &part.apps {
            let not_loaded = |error| names::not_loaded(folder, Role::App, &app.name, error);
            let (document, delegation) = folder.load_delegation(Role::App, &app.name).map_err(not_loaded)?;
            if !delegation.valid_at(clock.now_ms()) {
                return Err(HostError::NotDelegated { name: app.name.to_string(), role: "app" });
            }
            let identity = AppIdentity {
                member: folder.member().clone(),
                app: app.name.clone(),
                key: folder.load_key(Role::App, &app.name).map_err(not_loaded)?,
                delegation: document,
                root: folder.root_public(),
                tags: folder.tag_key()?,
                checkpoints: Arc::clone(&checkpoints),
            };
            let heads = Arc::new(FolderHeads::open(enrolled.clone())?);
            let client =
                Client::new(identity, channel.clone(), heads, Arc::clone(clock), Arc::clone(entropy));
            let failed = |source| HostError::Client { app: app.name.to_string(), source };
            let mut client = client.map_err(failed)?.with_stream();
            if let Some((key, document)) = folder.load_sealing(&app.name)? {
                client = client.with_sealing(key, &document).map_err(failed)?;
            }
            apps.push(Arc::new(App {
                name: app.name.clone(),
                token_sha256: app.token_sha256,
                client,
                meeting: Meeting::default(),
                keys: Keys::default(),
                places: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
                pages: Arc::new(Semaphore::new(batches::PAGES_MAX)),
                answered: AtomicU64::new(0),
                refused: AtomicU64::new(0),
            }));
        }
        let (clock, entropy) = (Arc::clone(clock), Arc::clone(entropy));
        Ok(Self { apps, clock, entropy, unauthenticated: AtomicU64::new(0), meters: Meters::default() })
    }

    /// The routes.
    pub fn routes(self: &Arc<Self>) -> Router {
        openapi::routes(self)
            .method_not_allowed_fallback(async || problem::Problem::new(&problem::METHOD_NOT_ALLOWED))
            .fallback(async || problem::Problem::new(&problem::NOT_FOUND))
            .layer(axum::middleware::from_fn_with_state(Arc::clone(self), frame::frame))
    }

    pub(crate) fn apps(&self) -> &[Arc<App>] {
        &self.apps
    }

    /// Apps that have not met the hub, or met one that cannot be believed.
    pub(crate) fn not_met(&self) -> impl Iterator<Item = &AppId> {
        self.apps.iter().filter(|app| !app.meeting.is_met()).map(|app| &app.name)
    }

    /// Metrics of the gateway and its apps.
    pub(crate) fn metrics(&self, page: &mut Page) {
        let name = "yiwang_gateway_problems_total";
        page.metric(name, Kind::Counter, "Requests that were answered with a problem, by its code.");
        for (code, count) in self.meters.problems() {
            page.sample(name, &[("code", code)], count);
        }
        let help = "Duration of requests, by route.";
        page.histograms("yiwang_gateway_request_seconds", help, "route", self.meters.routes());
        let gauges: [OfApp; 4] = [
            ("yiwang_gateway_answered_total", Kind::Counter, "Requests answered.", |app| load(&app.answered)),
            ("yiwang_gateway_refused_total", Kind::Counter, "Requests refused.", |app| load(&app.refused)),
            ("yiwang_gateway_running", Kind::Gauge, "Requests under way.", |app| app.running()),
            ("yiwang_gateway_met", Kind::Gauge, "1 if the hub was met.", |app| app.meeting.is_met().into()),
        ];
        for (name, kind, help, value) in gauges {
            page.metric(name, kind, help);
            for app in &self.apps {
                page.sample(name, &[("app", app.name.as_str())], value(app));
            }
        }
    }

    /// Counts since the start.
    pub(crate) fn status(&self) -> Value {
        let apps: Vec<Value> = self
            .apps
            .iter()
            .map(|app| {
                json!({
                    "name": app.name,
                    "hub": app.meeting.word(),
                    "head_size": app.client.head().size,
                    "in_flight": app.running(),
                    "answered": app.answered.load(Ordering::Relaxed),
                    "refused": app.refused.load(Ordering::Relaxed),
                })
            })
            .collect();
        json!({ "apps": apps, "unauthenticated": self.unauthenticated.load(Ordering::Relaxed) })
    }
}

/// A metric of each app: name, kind, help, value.
type OfApp = (&'static str, Kind, &'static str, fn(&App) -> u64);

fn load(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

impl App {
    fn running(&self) -> u64 {
        u64::try_from(IN_FLIGHT_MAX.saturating_sub(self.places.available_permits())).unwrap_or(u64::MAX)
    }
}

/// An answer in JSON that nobody may keep.
fn answer(status: StatusCode, value: &impl Serialize) -> Result<Response, problem::Problem> {
    let bytes = serde_json::to_vec(value).map_err(|_| problem::Problem::new(&problem::INTERNAL))?;
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CACHE_CONTROL, "no-store")
        .body(Body::from(bytes))
        .map_err(|_| problem::Problem::new(&problem::INTERNAL))
}
