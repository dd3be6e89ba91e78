//! The links that adapters opened: one per member, each with its own bounded queue and budget, so that a
//! slow or broken department harms nobody else.

mod assemble;
mod chains;
mod entries;
mod leaving;
mod mappings;
mod room;
mod send;
mod serve;
mod side;
mod standings;

pub use chains::Chains;
pub use entries::{previous, watch};
pub use room::{Held, Place, Way};
pub use serve::{LinkServer, OutgoingFrames};

use crate::limits::LINK_QUEUE;
use crate::views::DelegationView;
use assemble::Pending;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use yiwang_proto::codes::Code;
use yiwang_proto::ids::MemberId;
use yiwang_proto::pb;

/// One adapter's connection.
pub struct Link {
    member: MemberId,
    /// The adapter's delegation, as the link's first frame showed it.
    pub delegation: Arc<DelegationView>,
    /// The delegation of the key that opens bodies sealed for this adapter, if it showed one.
    pub sealing: Option<Arc<DelegationView>>,
    frames: mpsc::Sender<pb::HubFrame>,
    pending: Mutex<HashMap<u64, Pending>>,
    next_exchange: AtomicU64,
    in_flight: Semaphore,
    /// Of these, the last ones, which only emergency purposes may take.
    reserve: usize,
    body_bytes: AtomicUsize,
    /// Exchanges of which the adapter is to be told that nobody waits for them.
    untold: Mutex<VecDeque<u64>>,
    closed: CancellationToken,
    /// Its adapter said that it changes it for another, or goes.
    leaving: leaving::Leaving,
    /// Nothing ran on it when it was let go, and nothing more is put on it. Changed under the lock of `pending`.
    sealed: AtomicBool,
    /// Its hello named a record that nobody had added yet, so that a mapping of it is in no entry.
    unlisted: AtomicBool,
    side: side::Side,
    own: entries::Own,
}

/// An answer as it came over a link; nothing in it is verified yet.
pub struct RawAnswer {
    /// Names the exchange on this link, for the receipt.
    pub exchange: u64,
    /// The link that answered.
    pub link: Arc<Link>,
    /// An encoded Envelope.
    pub answer: Bytes,
    /// An encoded AnswerBody.
    pub body: Bytes,
}

/// What goes to an adapter.
pub struct Outgoing {
    /// The request envelope, exact bytes.
    pub request: Bytes,
    /// The request body, exact bytes.
    pub body: Bytes,
    /// When the hub gives up, wall clock milliseconds.
    pub deadline_ms: i64,
    /// Milliseconds until then.
    pub wait_ms: u64,
    /// Whether it may use the places that are kept for emergencies.
    pub urgent: bool,
    /// W3C traceparent, or empty.
    pub traceparent: String,
}

impl Link {
    fn new(
        member: MemberId,
        delegation: Arc<DelegationView>,
        side: side::Side,
        sealing: Option<Arc<DelegationView>>,
        max_in_flight: u32,
    ) -> (Arc<Self>, mpsc::Receiver<pb::HubFrame>) {
        let (frames, queue) = mpsc::channel(LINK_QUEUE);
        let (places, reserve) = send::places(max_in_flight);
        let link = Self {
            member,
            delegation,
            sealing,
            frames,
            pending: Mutex::default(),
            next_exchange: AtomicU64::new(1),
            in_flight: Semaphore::new(places),
            reserve,
            body_bytes: AtomicUsize::new(0),
            untold: Mutex::default(),
            closed: CancellationToken::new(),
            leaving: leaving::Leaving::default(),
            sealed: AtomicBool::new(false),
            unlisted: AtomicBool::new(false),
            side,
            own: entries::Own::default(),
        };
        (Arc::new(link), queue)
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<u64, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the link; everybody who waits on it gets the same answer.
    pub fn close(&self) {
        self.closed.cancel();
        let mut waiting: Vec<(u64, Pending)> = self.pending().drain().collect();
        // In the order in which they came, so that a simulation runs the same way twice.
        waiting.sort_by_key(|(exchange, _)| *exchange);
        for (_, pending) in waiting {
            self.body_bytes.fetch_sub(pending.held(), Ordering::Relaxed);
            pending.fail(Code::ProviderUnavailable);
        }
    }

    /// Whose link it is.
    pub fn member(&self) -> &MemberId {
        &self.member
    }

    /// Frames that wait for the connection.
    pub fn waiting(&self) -> usize {
        LINK_QUEUE.saturating_sub(self.frames.capacity())
    }

    /// Bytes of answer bodies that are being put together.
    pub fn held(&self) -> usize {
        self.body_bytes.load(Ordering::Relaxed)
    }

    /// Exchanges that run now.
    pub fn running(&self) -> usize {
        self.pending().len()
    }
}

/// All links.
#[derive(Default)]
pub struct Links {
    open: RwLock<HashMap<MemberId, Arc<Link>>>,
    lost: Mutex<HashMap<MemberId, i64>>,
    alarms: AtomicI64,
    // How far each member's adapter held its own entries when its link ended.
    held: Mutex<HashMap<MemberId, u64>>,
    // Those whose member's entries are followed, also before they serve.
    following: Mutex<Vec<Weak<Link>>>,
    announcing: mappings::Announcing,
    rooms: room::Rooms,
}

impl Links {
    /// The link of a member.
    pub fn of(&self, member: &MemberId) -> Option<Arc<Link>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).get(member).cloned()
    }

    /// Whether a member is linked, or is back in a moment, so that what it is asked waits for it.
    pub fn is_present(&self, member: &MemberId) -> bool {
        self.of(member).is_some() || self.rooms.expects(member)
    }

    /// The delegation of the key that opens bodies sealed for a member's adapter, also while that one is replaced.
    pub fn sealing_of(&self, member: &MemberId) -> Option<Arc<DelegationView>> {
        match self.of(member) {
            Some(link) => link.sealing.clone(),
            None => self.rooms.sealing_of(member),
        }
    }

    /// Whether it is the link that its member is asked over.
    fn is_current(&self, link: &Arc<Link>) -> bool {
        self.of(&link.member).is_some_and(|current| Arc::ptr_eq(&current, link))
    }

    /// Requests that wait for their adapter, and what became of those that did.
    pub fn requests_held(&self) -> Held {
        self.rooms.held()
    }

    /// The links of all adapters that say that they cosign under this verifier key: their lines tell which one does, and
    /// one that only says so must not stand in its way.
    pub fn witnesses(&self, vkey: &str) -> Vec<Arc<Link>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> =
            open.values().filter(|link| link.witness_key() == vkey).map(Arc::clone).collect();
        all.sort_by(|one, other| one.member.cmp(&other.member));
        all
    }

    /// Whether an adapter that comes back holds less of its own entries than it did: it was restored from an
    /// old copy.
    fn came_back_with_less(&self, member: &MemberId, own_next: u64) -> bool {
        // Its old link may look alive for a while where its machine was set back.
        let live = self.of(member).map(|link| *link.side.taken().borrow());
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).get(member).copied();
        held.max(live).is_some_and(|held| own_next < held)
    }

    /// Since when a member is not connected, milliseconds; 0 where it is, or never was.
    pub fn lost_since(&self, member: &MemberId) -> i64 {
        if self.of(member).is_some() {
            return 0;
        }
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).get(member).copied().unwrap_or_default()
    }

    fn add(&self, link: &Arc<Link>) {
        if link.closed.is_cancelled() {
            return;
        }
        let old = self
            .open
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(link.member.clone(), Arc::clone(link));
        self.rooms.back(&link.member);
        if let Some(old) = old {
            // Two adapters with one identity: an upgrade, or a stolen key. The newest serves; it is counted. One
            // that said that it leaves has an end of its own, which only came a moment later.
            if !old.leaving.is_said() {
                self.alarms.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(member = %link.member, "a second link of the same member replaces the first");
            }
            old.close();
        }
    }

    fn remove(&self, link: &Arc<Link>, now_ms: i64) {
        link.close();
        let held = *link.side.taken().borrow();
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let current = open.get(&link.member).is_some_and(|current| Arc::ptr_eq(current, link));
        {
            let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = all.entry(link.member.clone()).or_default();
            // Of one that was replaced, nothing that is newer is forgotten.
            *kept = if current { held } else { held.max(*kept) };
        }
        if current {
            open.remove(&link.member);
            self.lost.lock().unwrap_or_else(PoisonError::into_inner).insert(link.member.clone(), now_ms);
        }
    }

    /// Members with a link.
    pub fn connected(&self) -> Vec<MemberId> {
        let mut members: Vec<_> =
            self.open.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        members.sort();
        members
    }

    /// Ends all links.
    pub fn close_all(&self) {
        let mut links: Vec<_> =
            self.open.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        links.sort_by(|one, other| one.member.cmp(&other.member));
        for link in links {
            link.close();
        }
    }
}
