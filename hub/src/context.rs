//! What all stages share. One value, passed by reference; no globals.

mod alarms;
mod counted;
mod replays;

pub use alarms::Alarms;
pub use counted::used_its_id;
pub use replays::Replays;

use crate::auditors::Auditors;
use crate::denials::{Denials, Keeping};
use crate::exchange::officer::fits;
use crate::ledger::Ledger;
use crate::ledger::store::StoreError;
use crate::limits::{EXCHANGES_MAX, LOOK_BACK_MAX};
use crate::links::Links;
use crate::meters::Meters;
use crate::orders::Orders;
use crate::overload::Gate;
use crate::quotas::{QuotaLimits, Quotas};
use crate::replies::Replies;
use crate::stages::StageTimes;
use crate::standings::Standings;
use crate::streams::Streams;
use crate::tls::authority::Authority;
use crate::tls::token::TokenStore;
use bytes::Bytes;
use counted::Uses;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use yiwang_policies::tickets::TICKETS_MAX;
use yiwang_policies::{Counts, Rates, TicketUses};
use yiwang_proto::ambient::{Clock, Entropy};
use yiwang_proto::batch::Roots;
use yiwang_proto::case::CaseStatement;
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::codes::Code;
use yiwang_proto::entry::{self, Kind};
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::folded::{Key, minute_of};
use yiwang_proto::ids::{MemberId, Officer};
use yiwang_proto::limits::{CLOCK_SKEW_MS, STATEMENT_LIFETIME_MS};
use yiwang_proto::request::{OfficerBy, Request};
use yiwang_proto::{Digest, pb};

/// Misbehaviour that only tests switch on, to prove that their checks can fail. Never set by configuration.
#[derive(Debug, Clone, Default)]
pub struct TestSwitches {
    /// Writes every answer body into this folder, as a hub that hoards would.
    pub store_bodies: Option<PathBuf>,
    /// Forwards requests through another hub's links, as a hub with two faces would: one for consumers, one
    /// for providers.
    pub provider_face: Option<Face>,
    /// Does not look at the heads in statements.
    pub blind_to_heads: bool,
    /// Gives adapters no receipts, and refuses their offers.
    pub no_receipts: bool,
    /// Hands out this delegation for sealing in the provider's place, as a hub that wants to read would.
    pub false_sealing: Option<Bytes>,
    /// Keeps every standing and revocation that takes something back from everybody, and goes on.
    pub hide_revocations: bool,
    /// Keeps so many askers by tickets while it reads back, in place of `TICKETS_MAX`.
    pub askers_read_back: Option<usize>,
    /// Gives apps other receipts than it recorded, as a hub that hides an access from its app would.
    pub bent_receipts: Option<Bent>,
}

/// What becomes of a receipt.
#[derive(Clone)]
pub struct Bent(pub Arc<dyn Fn(pb::Receipt) -> pb::Receipt + Send + Sync>);

impl std::fmt::Debug for Bent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bent")
    }
}

/// Another hub in the same process.
#[derive(Clone)]
pub struct Face(pub Arc<Hub>);

impl std::fmt::Debug for Face {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Face")
    }
}

/// The running hub.
pub struct Hub {
    /// The ledger and its views.
    pub ledger: Ledger,
    /// Adapters' links.
    pub links: Links,
    /// Request ids that were seen.
    pub replays: Replays,
    /// Exchanges that may run at once.
    pub exchanges: Semaphore,
    /// What is turned away under load.
    pub gate: Gate,
    /// Opens checkpoints of this ledger.
    pub checkpoints: CheckpointVerifier,
    /// Issues certificates.
    pub authority: Arc<Authority>,
    /// One-time enrolment tokens.
    pub tokens: TokenStore,
    /// How exchanges ended.
    pub meters: Meters,
    /// What the operator orders.
    pub orders: Orders,
    /// What a member may keep open.
    pub quotas: Quotas,
    /// Members' newest standings.
    pub standings: Standings,
    /// Replies under way.
    pub replies: Replies,
    /// Long-lived streams of exchanges.
    pub streams: Streams,
    /// Signatures over many statements that were found good lately.
    pub roots: Roots,
    /// Stage durations.
    pub stage_times: StageTimes,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Finish: no new work.
    pub stop: CancellationToken,
    /// Every task of the hub.
    pub tasks: TaskTracker,
    /// What this hub noticed that should not be.
    pub alarms: Alarms,
    /// Offers of answers of one provider are looked up one after another: at most one late entry per exchange.
    pub offers: crate::offers::Known,
    /// Own entries that were found for adapters that are behind.
    pub chains: crate::links::Chains,
    /// For tests.
    pub switches: TestSwitches,
    /// Auditors' sessions and searches.
    pub auditors: Auditors,
    /// Denials that are folded.
    pub denials: Denials,
    rates: Mutex<Rates>,
    ticket_uses: Mutex<TicketUses>,
}

/// Parts that lifecycle makes before the hub.
pub struct Parts {
    /// The ledger.
    pub ledger: Ledger,
    /// Opens checkpoints of this ledger.
    pub checkpoints: CheckpointVerifier,
    /// Issues certificates.
    pub authority: Arc<Authority>,
    /// Enrolment tokens.
    pub tokens: TokenStore,
    /// What is turned away under load.
    pub gate: Gate,
    /// What the operator orders.
    pub orders: Orders,
    /// What a member may keep open.
    pub quotas: QuotaLimits,
    /// The journal of folded denials.
    pub denials: Keeping,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Asks the hub to finish.
    pub stop: CancellationToken,
    /// For tests.
    pub switches: TestSwitches,
    /// Where the index of auditors' searches lies.
    pub search_index: PathBuf,
}

const DAY_MS: i64 = 24 * 3600 * 1000;

impl Hub {
    /// Joins the parts, and reads back from the ledger what must be known before serving: request ids that
    /// are not yet expired, and today's counts.
    pub fn new(parts: Parts) -> Result<Arc<Self>, StoreError> {
        let hub = Self {
            ledger: parts.ledger,
            links: Links::default(),
            replays: Replays::default(),
            exchanges: Semaphore::new(EXCHANGES_MAX),
            gate: parts.gate,
            checkpoints: parts.checkpoints,
            authority: parts.authority,
            tokens: parts.tokens,
            meters: Meters::default(),
            orders: parts.orders,
            quotas: Quotas::new(parts.quotas),
            standings: Standings::default(),
            replies: Replies::new(Arc::clone(&parts.clock)),
            streams: Streams::default(),
            roots: Roots::default(),
            stage_times: StageTimes::default(),
            clock: parts.clock,
            entropy: parts.entropy,
            stop: parts.stop,
            tasks: TaskTracker::new(),
            alarms: Alarms::default(),
            offers: crate::offers::Known::default(),
            chains: crate::links::Chains::default(),
            switches: parts.switches,
            auditors: Auditors::new(parts.search_index),
            denials: Denials::new(parts.denials),
            rates: Mutex::new(Rates::new()),
            ticket_uses: Mutex::new(TicketUses::new()),
        };
        if hub.switches.hide_revocations {
            hub.ledger.views().look_away();
        }
        hub.look_back()?;
        Ok(Arc::new(hub))
    }

    /// Counts while it reads: no request is kept, whatever a flood left. What this takes is what the hub keeps anyhow, and
    /// its bounds are the same: `REPLAY_MAX` ids, twice `COUNTERS_MAX` counters, for a moment, `TICKETS_MAX` askers
    /// by tickets.
    fn look_back(&self) -> Result<(), StoreError> {
        let now = self.clock.now_ms();
        let today = now.div_euclid(DAY_MS) * DAY_MS;
        let ids_from = now - STATEMENT_LIFETIME_MS - 2 * CLOCK_SKEW_MS;
        let from = today.min(ids_from).min(TicketUses::since_ms(now));
        let mut uses = Uses::new(self.switches.askers_read_back.unwrap_or(TICKETS_MAX));
        self.look_back_at(from, &mut |index, entry| match &entry.kind {
            Some(Kind::Ticket(ticket)) => self.ledger.views().restore_ticket(index, &ticket.document),
            Some(Kind::Exchange(exchange)) => {
                self.recount_denial(exchange, entry.time_ms, now);
                let Some((request, proved)) = used_request(exchange) else { return };
                // A claim that fails: the id was used again after its time, and the newest use comes first here.
                if self.replays.claim(&request.consumer, &request.id, request.expires_at_ms, now).is_ok() {
                    self.replays.recorded(&request.consumer, &request.id, index);
                }
                self.recount(&request, proved, exchange, (entry.time_ms, today));
                if let Some(ticket) = self.ticket_of(&request, exchange) {
                    uses.add(&ticket, &request, entry.time_ms);
                }
            }
            Some(Kind::CaseStatement(case)) => {
                if let Some(case) = read_case(&case.statement) {
                    // Claimed already where a statement came anew under an id that was over.
                    let _ = self.replays.claim(&case.member, &case.id, case.expires_at_ms, now);
                }
            }
            _ => {}
        })?;
        self.recount_uses(uses, from)?;
        self.look_back_at_folded(now, from, today)
    }

    /// Counts the uses of tickets, once all tickets are read.
    fn recount_uses(&self, uses: Uses, from_ms: i64) -> Result<(), StoreError> {
        if uses.are_incomplete() {
            drop(uses);
            return self.look_back_at(from_ms, &mut |_, entry| {
                if let Some(Kind::Exchange(exchange)) = &entry.kind
                    && let Some((request, _)) = used_request(exchange)
                {
                    self.recount_ticket(&request, exchange, entry.time_ms);
                }
            });
        }
        let mut counts = self.ticket_uses.lock().unwrap_or_else(PoisonError::into_inner);
        let views = self.ledger.views();
        uses.counted(|digest| views.ticket(digest))
            .for_each(|(ticket, uses, last_ms)| counts.recount(&ticket, uses, last_ms));
        Ok(())
    }

    /// Shows the entries since a moment, the newest first.
    fn look_back_at(&self, from_ms: i64, visit: &mut dyn FnMut(u64, &pb::Entry)) -> Result<(), StoreError> {
        let mut seen = 0_u64;
        self.ledger.reader().scan_back(&mut |index, bytes| {
            seen += 1;
            let Ok(entry) = entry::decode(&bytes) else { return false };
            visit(index, &entry);
            entry.time_ms >= from_ms && seen < LOOK_BACK_MAX
        })
    }

    /// Counts a request that was read back as it was counted when it came, against its contract's ceilings.
    fn recount(
        &self,
        request: &Request,
        proved: bool,
        exchange: &pb::ExchangeEntry,
        (time_ms, today_ms): (i64, i64),
    ) {
        if time_ms < today_ms || !self.was_counted(request, exchange) {
            return;
        }
        let officer = request.officer.as_ref().filter(|_| proved);
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.recount(&request.contract, &request.app, officer, time_ms);
    }

    /// Goes on with the counts of the running minute.
    fn recount_denial(&self, exchange: &pb::ExchangeEntry, time_ms: i64, now_ms: i64) {
        let denied = exchange.outcome() == pb::Outcome::Denied && exchange.answer.is_empty();
        if !denied || minute_of(time_ms) != minute_of(now_ms) {
            return;
        }
        let Some(code) = Code::parse(&exchange.code) else { return };
        let key = match read_request(exchange) {
            Some((request, _)) => Some(Key { consumer: request.consumer, app: Some(request.app), code }),
            None => MemberId::parse(&exchange.peer).ok().map(|consumer| Key { consumer, app: None, code }),
        };
        if let Some(key) = key {
            self.denials.restore(key, time_ms);
        }
    }

    /// Ids and counts of denials that are no entries of their own.
    fn look_back_at_folded(&self, now_ms: i64, from_ms: i64, today_ms: i64) -> Result<(), StoreError> {
        let mut seen = 0_u64;
        let read = self.denials.look_back(&mut |statement| {
            seen += 1;
            if let Some((_, request)) = statement.request
                && used_its_id(&statement.exchange)
            {
                // Claimed already where it came twice.
                let _ = self.replays.claim(&request.consumer, &request.id, request.expires_at_ms, now_ms);
                self.recount(&request, false, &statement.exchange, (statement.time_ms, today_ms));
                self.recount_ticket(&request, &statement.exchange, statement.time_ms);
            }
            statement.time_ms >= from_ms && seen < LOOK_BACK_MAX
        });
        read.map_err(|fault| StoreError::Fatal(format!("the journal of folded denials: {fault}")))
    }

    /// Whether a recorded request was counted when it came: only its own consumer's requests use up a contract,
    /// and only from the decision on.
    fn was_counted(&self, request: &Request, exchange: &pb::ExchangeEntry) -> bool {
        let contract = self.ledger.views().contract(&request.contract);
        contract.is_some_and(|view| view.contract.text.consumer.member == request.consumer)
            && counted::was_counted(exchange)
    }

    /// The ticket by which a counted request was asked.
    fn ticket_of(&self, request: &Request, exchange: &pb::ExchangeEntry) -> Option<Digest> {
        let OfficerBy::Ticket(ticket) = &request.officer_by else { return None };
        self.was_counted(request, exchange).then_some(*ticket)
    }

    fn recount_ticket(&self, request: &Request, exchange: &pb::ExchangeEntry, time_ms: i64) {
        if let Some(ticket) = self.ticket_of(request, exchange)
            && let Some(view) = self.ledger.views().ticket(&ticket)
            && fits(&view.ticket, request)
        {
            let mut counts = self.ticket_uses.lock().unwrap_or_else(PoisonError::into_inner);
            counts.recount(&ticket, 1, time_ms);
        }
    }

    /// Counts a request against its contract's ceilings; a proved officer by himself.
    pub fn count(&self, request: &Request, proved: Option<&Officer>, now_ms: i64) -> Counts {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.count(&request.contract, &request.app, proved, now_ms)
    }

    /// Counts one use of a ticket and yields the count with it.
    pub fn use_ticket(&self, ticket: &Digest, now_ms: i64) -> u32 {
        self.ticket_uses.lock().unwrap_or_else(PoisonError::into_inner).count(ticket, now_ms)
    }

    /// Whether the policy that decides is the one that the ledger names.
    pub fn policy_is_recorded(&self) -> bool {
        let views = self.ledger.views();
        views.policy().is_some_and(|(_, digest)| digest == views.decider().digest())
    }
}

/// The request of an entry that used its id.
fn used_request(exchange: &pb::ExchangeEntry) -> Option<(Request, bool)> {
    if used_its_id(exchange) { read_request(exchange) } else { None }
}

fn read_case(statement: &Bytes) -> Option<CaseStatement> {
    let signed = SignedStatement::parse(statement.clone()).ok()?;
    CaseStatement::parse(signed.unverified_payload()).ok()
}

/// The request of an entry, and whether its officer was proved.
fn read_request(exchange: &pb::ExchangeEntry) -> Option<(Request, bool)> {
    let signed = SignedStatement::parse(exchange.request.clone()).ok()?;
    let request = Request::parse(signed.unverified_payload()).ok()?;
    let proved = matches!(exchange.officer_proof(), pb::OfficerProof::Ticket | pb::OfficerProof::Signed);
    Some((request, proved))
}
