//! What all hosts of one simulation share: their disks, clocks and chance, what was said, and what is wrong.

use super::chance::{Dice, HostClock, Time, entropy};
use super::disk::PowerDisk;
use super::network::HUB;
use super::template::{BEGIN_MS, HEALTH, POLICE, STREET, Template};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use yiwang_hub::context::TestSwitches;
use yiwang_journal::ground::{Ground, Work, Workers};
use yiwang_proto::ambient::{Clock, Entropy};

/// The host on which the street office's apps run.
pub const DESK: &str = "desk";
/// All hosts.
pub const HOSTS: [&str; 5] = [HUB, POLICE, HEALTH, STREET, DESK];

/// A machine that outlives what runs on it.
pub struct Host {
    pub disk: PowerDisk,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    /// What ran here ended by itself.
    pub ended: AtomicBool,
    /// What runs here is to be replaced by its next process.
    pub upgrade: AtomicBool,
}

/// What is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The provider's list names a contract.
    Contract,
    /// The provider's root takes that contract back.
    ContractByRoot,
    /// The consumer's list names the key of one of its apps.
    App,
}

/// A revocation, and when it was acknowledged.
pub struct Plan {
    pub what: Taken,
    pub at_ms: u64,
    pub acknowledged_ms: Mutex<Option<u64>>,
}

impl Plan {
    pub fn by(&self) -> &'static str {
        if self.what == Taken::App { STREET } else { POLICE }
    }

    pub fn acknowledged(&self) -> Option<u64> {
        *self.acknowledged_ms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it ends this question of this app.
    pub fn ends(&self, app: usize, question: usize) -> bool {
        if self.what == Taken::App { app == 1 } else { question == 2 }
    }
}

/// One exchange as its app saw it.
#[derive(Debug, Clone)]
pub struct Said {
    pub app: usize,
    pub question: usize,
    pub sent_ms: u64,
    pub outcome: String,
}

pub struct Town {
    pub dir: PathBuf,
    pub seed: u64,
    /// Says everything at once, between what the log says.
    pub aloud: bool,
    pub time: Arc<Time>,
    pub template: Arc<Template>,
    pub switches: TestSwitches,
    pub plans: Vec<Plan>,
    /// Apps ask no more; then everybody stops in good order.
    pub last_call: AtomicBool,
    pub closing: AtomicBool,
    hosts: BTreeMap<&'static str, Host>,
    said: Mutex<Vec<Said>>,
    trace: Mutex<Vec<String>>,
    wrong: Mutex<Vec<String>>,
}

fn task(work: Work) {
    drop(tokio::spawn(work));
}

impl Town {
    pub fn new(
        dir: &Path,
        seed: u64,
        template: &Arc<Template>,
        plans: Vec<Plan>,
        switches: TestSwitches,
    ) -> Self {
        template.copy_to(dir);
        let time = Arc::<Time>::default();
        let dice = Dice::new(seed, "clocks");
        let host = |name: &'static str| {
            // A clock over 30 s off is another test's matter.
            let from_ms = BEGIN_MS + i64::try_from(dice.below(2000)).unwrap() - 1000;
            let clock: Arc<dyn Clock> = Arc::new(HostClock { time: Arc::clone(&time), from_ms });
            let (disk, ended, upgrade) =
                (PowerDisk::default(), AtomicBool::new(false), AtomicBool::new(false));
            (name, Host { disk, clock, entropy: entropy(seed, name), ended, upgrade })
        };
        Self {
            dir: dir.to_owned(),
            seed,
            aloud: std::env::var_os("YIWANG_SEED").is_some(),
            hosts: HOSTS.into_iter().map(host).collect(),
            time,
            template: Arc::clone(template),
            switches,
            plans,
            last_call: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            said: Mutex::default(),
            trace: Mutex::default(),
            wrong: Mutex::default(),
        }
    }

    pub fn host(&self, name: &str) -> &Host {
        &self.hosts[name]
    }

    /// A disk whose power can be cut, and tasks in the place of threads.
    pub fn ground(&self, name: &str) -> Ground {
        Ground { disk: Arc::new(self.host(name).disk.clone()), workers: Workers::Tasks(task) }
    }

    pub fn hub_dir(&self) -> PathBuf {
        self.dir.join("hub")
    }

    pub fn member_dir(&self, name: &str) -> PathBuf {
        self.dir.join("members").join(name)
    }

    /// Something happened.
    pub fn note(&self, what: impl std::fmt::Display) {
        let line = format!("{:>8} {what}", self.time.ms());
        if self.aloud {
            println!("{line}");
        }
        self.trace.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// Something that must not be.
    pub fn wrong(&self, what: impl std::fmt::Display) {
        let what = what.to_string();
        let mut all = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        // Alarms last; once is enough.
        if !all.contains(&what) {
            self.note(format_args!("WRONG: {what}"));
            all.push(what);
        }
    }

    pub fn say(&self, said: Said) {
        self.note(format_args!(
            "{} question {}: {}",
            super::template::APPS[said.app],
            said.question,
            said.outcome
        ));
        self.said.lock().unwrap_or_else(PoisonError::into_inner).push(said);
    }

    pub fn said(&self) -> Vec<Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn all_wrong(&self) -> Vec<String> {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn lines(&self) -> Vec<String> {
        self.trace.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }
}
