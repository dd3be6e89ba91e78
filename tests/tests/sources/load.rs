//! An app that asks two departments without pause, and what it saw of the one whose source fails.

use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use yiwang_audit::reconcile::Reconciled;
use yiwang_client::client::Client;
use yiwang_client::record::RecordQuery;
use yiwang_proto::body::Arguments;
use yiwang_proto::ids::{Matter, Purpose};
use yiwang_tests::member::{Member, RunningAdapter};
use yiwang_tests::scene::{reconcile, verify_ledger};
use yiwang_tests::world::World;

/// Apps that ask without pause.
const WORKERS: usize = 2;
/// Each breathes between two questions: the ledger need not be long.
const BREATH: Duration = Duration::from_millis(30);
/// Times that are looked, a tenth of a second apart.
const TRIES: u32 = 600;

/// The department whose source fails, where its field stands in a record, and the other's.
#[derive(Debug, Clone, Copy)]
pub struct Watched {
    pub department: &'static str,
    pub own: &'static str,
    pub other: &'static str,
}

/// What a load saw.
#[derive(Debug, Default)]
pub struct Asked {
    pub own_there: u64,
    pub own_missing: u64,
    pub others_missing: Vec<Value>,
}

/// A load that runs.
pub struct Load {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Asked>>,
    tasks: JoinSet<()>,
}

/// An app with its question.
#[derive(Clone)]
pub struct Asking {
    app: Arc<Client>,
    query: Arc<RecordQuery>,
    of: Watched,
    /// What it keeps of its answers.
    pub kept: PathBuf,
}

impl Asking {
    /// Opens a case about somebody for an office's desk.
    pub async fn new(world: &World, office: &Member, subject: String, of: Watched) -> Self {
        let kept = world.dir.path().join("kept");
        let app = office.app(world, "assistance-desk").await.keeping(&kept).unwrap();
        let matter = Matter::parse("social-assistance").unwrap();
        let (case, _) = app.open_case(&matter, std::slice::from_ref(&subject)).await.unwrap();
        let query = RecordQuery {
            subject,
            purpose: Purpose::parse("social-assistance.eligibility").unwrap(),
            case,
            officer: None,
            fields: [].into(),
            arguments: Arguments::new(),
            resume: [].into(),
        };
        Self { app: Arc::new(app), query: Arc::new(query), of, kept }
    }

    async fn ask(&self) -> Value {
        serde_json::to_value(self.app.query_record(&self.query).await.unwrap()).unwrap()
    }

    /// Asks both; what the department that is watched did: `answered`, or a code.
    pub async fn own(&self) -> String {
        let answer = self.ask().await;
        let sources = answer["sources"].as_array().unwrap();
        let source = sources.iter().find(|source| source["member"] == self.of.department).unwrap();
        source["state"].as_str().unwrap().to_owned()
    }

    /// Asks so many times at once.
    pub async fn crowd(&self, size: usize) -> Vec<String> {
        let mut asking = JoinSet::new();
        for _ in 0..size {
            let one = self.clone();
            asking.spawn(async move { one.own().await });
        }
        asking.join_all().await
    }

    /// Waits until the department answers.
    pub async fn until_there(&self) {
        let mut state = String::new();
        for _ in 0..TRIES {
            state = self.own().await;
            if state == "answered" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it does not come back: {state}");
    }

    /// Waits until it gives this code.
    pub async fn until_says(&self, code: &str) {
        let mut state = String::new();
        for _ in 0..TRIES {
            state = self.own().await;
            if state == code {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it does not say `{code}` but `{state}`");
    }

    /// Waits until it does not; with which code.
    pub async fn until_missing(&self) -> String {
        for _ in 0..TRIES {
            let state = self.own().await;
            if state != "answered" {
                return state;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it answers still");
    }

    /// Starts apps that ask both departments without pause.
    pub fn load(&self) -> Load {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Asked::default())));
        let mut tasks = JoinSet::new();
        for _ in 0..WORKERS {
            let (one, stop, seen) = (self.clone(), Arc::clone(&stop), Arc::clone(&seen));
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    note(one.of, &one.ask().await, &mut seen.lock().unwrap());
                    tokio::time::sleep(BREATH).await;
                }
            });
        }
        Load { stop, seen, tasks }
    }
}

impl Load {
    /// Ends it; questions under way are answered. Nothing of the other department may have been missing.
    pub async fn end(mut self) -> Asked {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        let asked = std::mem::take(&mut *self.seen.lock().unwrap());
        assert!(asked.others_missing.is_empty(), "another department's fields: {:#?}", asked.others_missing);
        assert!(asked.own_there > 0 && asked.own_missing > 0, "{asked:?}");
        asked
    }
}

/// Stops everything; then ledger, journals and what the app kept are held against each other.
pub async fn judge(
    mut world: World,
    adapters: Vec<RunningAdapter>,
    kept: PathBuf,
    members: [&Member; 2],
) -> Reconciled {
    for adapter in adapters {
        adapter.stop().await;
    }
    world.stop_hub().await;
    let (code, report) = verify_ledger(&world);
    assert_eq!(code, 0, "{report}");
    reconcile(&world, &[kept], &members.map(|member| member.folder.path().join("journal")))
}

fn note(of: Watched, answer: &Value, seen: &mut Asked) {
    let state = |place: &str| answer.pointer(place).map_or(json!(null), |field| field["state"].clone());
    if state(of.other) != "value" {
        seen.others_missing.push(answer.clone());
    }
    match state(of.own).as_str() {
        Some("value") => seen.own_there += 1,
        Some("unavailable") => seen.own_missing += 1,
        _ => seen.others_missing.push(answer.clone()),
    }
}
