//! What the operator orders of a hub that runs: a file in the hub's own folder, which only its owner may
//! enter. The hub takes it by renaming, carries it out, and leaves its answer beside it.

use crate::context::Hub;
use crate::directory::DismissalDraft;
use crate::ledger::ClockDraft;
use crate::tls::files;
use crate::tls::identity::Identity;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use yiwang_proto::ambient::{Entropy, random};
use yiwang_proto::codes::Code;
use yiwang_proto::hex;
use yiwang_proto::nearest::meant_or_known;
use yiwang_proto::pb;
use yiwang_proto::time::format_rfc3339;

/// Bytes of one order or answer: a name and a sentence.
const FILE_MAX: u64 = 16 * 1024;
/// Orders that are carried out in one look; an operator gives one at a time.
const ORDERS_MAX: usize = 16;
/// How long a running hub may take: it looks once a second and appends one entry.
const PATIENCE: Duration = Duration::from_secs(10);
/// Characters of a reason: a sentence; it stands in the ledger for ever and must hold no personal data.
const REASON_MAX: usize = 200;
const LOOK: Duration = Duration::from_millis(100);

/// What is ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// Go on from the present clock, though the ledger's last entry has a later time.
    AcceptClock {},
    /// Refuse somebody's certificates from now on.
    Dismiss {
        /// `member:<id>` or `auditor:<id>`.
        who: String,
        /// Why, for the ledger's readers.
        reason: String,
        /// Also somebody whom the ledger does not know and no token is for. Left out where it is not asked for, so that a
        /// hub of the version before takes the order.
        #[serde(default, skip_serializing_if = "is_not")]
        unknown: bool,
    },
}

fn is_not(flag: &bool) -> bool {
    !flag
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    done: bool,
    text: String,
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The folder.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nobody took it.
    #[error("the hub does not run, or does not answer; start it and give the order again")]
    NotTaken,
    /// The hub refused.
    #[error("{0}")]
    Refused(String),
}

/// The folder of orders of one hub.
#[derive(Debug, Clone)]
pub struct Orders {
    dir: PathBuf,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> OrderError {
    let path = path.to_owned();
    move |source| OrderError::Io { path, source }
}

impl Orders {
    /// Opens the folder, and makes it if missing.
    pub fn open(dir: &Path) -> Result<Self, OrderError> {
        files::create_private_dir(dir).map_err(at(dir))?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// Gives an order to the running hub and waits for its answer.
    pub async fn give(&self, order: &Order, entropy: &dyn Entropy) -> Result<String, OrderError> {
        let name = hex(&random::<8>(entropy));
        let (path, answer) =
            (self.dir.join(format!("{name}.order")), self.dir.join(format!("{name}.answer")));
        let text = serde_json::to_vec(order).unwrap_or_default();
        files::replace(&path, &text, files::PRIVATE).map_err(at(&path))?;
        if let Some(said) = wait_for(&answer).await? {
            return said;
        }
        // Taken back, unless the hub has it by now; then its answer comes.
        match std::fs::remove_file(&path) {
            Ok(()) => Err(OrderError::NotTaken),
            Err(_) => wait_for(&answer).await?.unwrap_or(Err(OrderError::NotTaken)),
        }
    }

    /// Drops what was ordered of a hub that did not run: the moment that was meant is over.
    pub fn forget(&self) {
        for path in self.list() {
            let _ = std::fs::remove_file(path);
        }
    }

    fn list(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(&self.dir).into_iter().flatten().flatten().map(|file| file.path());
        files
            .filter(|path| path.extension().is_some_and(|ending| ending == "order"))
            .take(ORDERS_MAX)
            .collect()
    }

    /// Carries out what was ordered since the last look.
    pub async fn carry_out(&self, hub: &Hub) {
        let orders = self.clone();
        // Once a second, also while the disk hangs: not on a thread that serves.
        for path in hub.ledger.off_runtime(move || orders.list()).await.unwrap_or_default() {
            let taken = path.with_extension("taken");
            // Taken back meanwhile.
            if std::fs::rename(&path, &taken).is_err() {
                continue;
            }
            let order = files::read_small(&taken, FILE_MAX).ok();
            let order = order.and_then(|bytes| serde_json::from_slice::<Order>(&bytes).ok());
            let answer = match order {
                Some(order) => run(hub, &order).await,
                None => Err("the order is none that this version knows".to_owned()),
            };
            tracing::info!(?answer, "an order of the operator");
            let answer = match answer {
                Ok(text) => Answer { done: true, text },
                Err(text) => Answer { done: false, text },
            };
            let text = serde_json::to_vec(&answer).unwrap_or_default();
            if let Err(error) = files::replace(&path.with_extension("answer"), &text, files::PRIVATE) {
                tracing::error!(%error, "the answer to an order cannot be written");
            }
            let _ = std::fs::remove_file(&taken);
        }
    }
}

type Said = Result<String, OrderError>;

async fn wait_for(path: &Path) -> Result<Option<Said>, OrderError> {
    let looks = PATIENCE.as_millis() / LOOK.as_millis();
    for _ in 0..looks {
        match files::read_small(path, FILE_MAX) {
            Ok(bytes) => {
                let _ = std::fs::remove_file(path);
                let answer: Answer =
                    serde_json::from_slice(&bytes).map_err(|error| at(path)(io::Error::from(error)))?;
                let said = if answer.done { Ok(answer.text) } else { Err(OrderError::Refused(answer.text)) };
                return Ok(Some(said));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => tokio::time::sleep(LOOK).await,
            Err(error) => return Err(at(path)(error)),
        }
    }
    Ok(None)
}

async fn run(hub: &Hub, order: &Order) -> Result<String, String> {
    match order {
        Order::AcceptClock {} => accept_clock(hub).await,
        Order::Dismiss { who, reason, unknown } => dismiss(hub, who, reason, *unknown).await,
    }
}

/// Refuses to dismiss a name that nobody has: it would be an entry for ever, and whoever was meant would keep its access.
fn known(hub: &Hub, identity: &Identity) -> Result<(), String> {
    let (views, who) = (hub.ledger.views(), identity.who());
    let members = views.members().into_iter().map(|view| Identity::Member(view.card.member.clone()).who());
    let auditors = views.auditors().into_iter().map(|auditor| Identity::Auditor(auditor).who());
    let mut known: BTreeSet<String> = members.chain(auditors).collect();
    if known.contains(&who) {
        return Ok(());
    }
    // Only now: whoever is enrolled is dismissed also where the tokens cannot be read.
    known.extend(hub.tokens.holders().map_err(|error| error.to_string())?);
    if known.contains(&who) {
        return Ok(());
    }
    let (kind, name) = who.split_once(':').unwrap_or_default();
    let names = known.iter().filter_map(|known| known.strip_prefix(kind)?.strip_prefix(':'));
    let other = known.iter().find(|known| known.split_once(':').is_some_and(|(_, other)| other == name));
    let next = match other {
        Some(other) => format!("did you mean `{other}`?"),
        None => meant_or_known(name, names),
    };
    Err(format!(
        "the ledger knows no {kind} `{name}`, and no token is for it: nothing was recorded, and `--unknown` dismisses it all \
         the same; {next}"
    ))
}

async fn dismiss(hub: &Hub, who: &str, reason: &str, unknown: bool) -> Result<String, String> {
    let identity = Identity::from_who(who)
        .ok_or_else(|| format!("`{who}` is neither member:<id> nor auditor:<name>"))?;
    if reason.trim().is_empty() || reason.chars().count() > REASON_MAX || reason.chars().any(char::is_control)
    {
        return Err(format!("the reason is one line of 1 to {REASON_MAX} characters"));
    }
    if !unknown {
        known(hub, &identity)?;
    }
    let entry = pb::DismissalEntry { who: identity.who(), reason: reason.to_owned() };
    let appended = hub.ledger.append(Box::new(DismissalDraft { entry })).await;
    let appended = appended.map_err(|code| format!("{code}: {}", code.help()))?;
    // Requests are refused by the view; a link is one request that never ends.
    if let Identity::Member(member) = &identity
        && let Some(link) = hub.links.of(member)
    {
        link.close();
    }
    let voided = hub.tokens.void(&identity).map_err(|error| {
        format!(
            "{who} is dismissed, but its unspent tokens could not be removed: {error}; give the order again"
        )
    })?;
    Ok(format!(
        "entry {} dismisses {who}: its certificates are refused from now on, and {voided} unspent tokens are void; \
         a new token lets it enrol again",
        appended.index
    ))
}

async fn accept_clock(hub: &Hub) -> Result<String, String> {
    if let Some(off) = hub.ledger.off_members_ms() {
        return Err(format!(
            "this machine's clock is {} s off what most members sign: set it right, then accept it",
            off / 1000
        ));
    }
    match hub.ledger.append(Box::new(ClockDraft)).await {
        Ok(appended) => Ok(format!(
            "entry {} accepts the clock: the ledger goes on from {}",
            appended.index,
            format_rfc3339(hub.clock.now_ms())
        )),
        Err(Code::NotFound) => {
            Err("the clock is not behind the ledger: there is nothing to accept".to_owned())
        }
        Err(code) => Err(format!("{code}: {}", code.help())),
    }
}
