//! Mappings that an adapter announces: what is new becomes an entry before the link serves, so that every
//! answer's mapping was named in the ledger before it.

use super::Link;
use crate::context::Hub;
use crate::ledger::{Draft, Linear};
use crate::views::Views;
use bytes::Bytes;
use futures_util::StreamExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Semaphore;
use yiwang_proto::Digest;
use yiwang_proto::codes::Code;
use yiwang_proto::entry::Kind;
use yiwang_proto::ids::{MemberId, Operation, RecordType};
use yiwang_proto::pb;

/// Operations that one adapter may announce: far above what a department has, and less than a second of entries.
const OPERATIONS_MAX: usize = 1024;
/// Mappings of one link that are entered at once: a department's fit into two batches of the ledger.
const AT_ONCE: usize = 16;
/// Of all links: adapters that come all at once, or that announce something new with each of many links, leave the
/// ledger's queue to exchanges.
const AT_ONCE_OF_ALL: usize = 64;
/// How often a waiting ledger is asked again.
const WAIT: Duration = Duration::from_millis(100);

/// Places for mappings that are entered now.
pub(super) struct Announcing(Semaphore);

impl Default for Announcing {
    fn default() -> Self {
        Self(Semaphore::new(AT_ONCE_OF_ALL))
    }
}

/// A mapping that an adapter serves an operation with.
#[derive(Clone)]
pub(super) struct Announced {
    operation: Operation,
    digest: Digest,
}

struct MappingDraft {
    member: MemberId,
    announced: Announced,
}

impl Draft for MappingDraft {
    fn finish(self: Box<Self>, at: &Linear<'_>) -> Result<Kind, Code> {
        let Announced { operation, digest } = self.announced;
        // Another link of the member may have announced it meanwhile.
        if at.views.mapping(&self.member, &operation) == Some(digest) {
            return Err(Code::Replayed);
        }
        Ok(Kind::Mapping(pb::MappingEntry {
            member: self.member.as_str().to_owned(),
            mapping: operation.as_str().to_owned(),
            digest: Bytes::copy_from_slice(&digest),
        }))
    }
}

/// What a hello announces and the ledger does not say yet. Only names of the catalogue: a stranger's words never
/// enter the ledger.
pub(super) fn unknown(
    views: &Views,
    member: &MemberId,
    hello: &pb::LinkHello,
) -> Result<Vec<Announced>, Code> {
    if hello.operations.len() > OPERATIONS_MAX {
        return Err(Code::TooLarge);
    }
    let mut unknown: Vec<Announced> = Vec::new();
    for served in &hello.operations {
        let record = RecordType::parse(&served.record).map_err(|_| Code::Malformed)?;
        let operation = Operation::parse(&served.operation).map_err(|_| Code::Malformed)?;
        let digest = served.mapping_digest.as_ref().try_into().map_err(|_| Code::Malformed)?;
        let named = views.knows_fields(&record, &[]);
        let held = views.mapping(member, &operation) == Some(digest);
        if named && !held && !unknown.iter().any(|other| other.operation == operation) {
            unknown.push(Announced { operation, digest });
        }
    }
    Ok(unknown)
}

/// Whether a hello names a record that is neither the program's nor added.
pub(super) fn is_unlisted(views: &Views, hello: &pb::LinkHello) -> bool {
    let records = hello.operations.iter().filter_map(|served| RecordType::parse(&served.record).ok());
    records.into_iter().any(|record| !views.knows_fields(&record, &[]))
}

impl Hub {
    /// A record was added: adapters that are linked and serve one which was not there announce their mappings anew, on a
    /// link of their own. What runs on the old one fails as when a link breaks, once in a record's life.
    pub(crate) fn announce_anew(&self) {
        let linked = self.links.connected().into_iter().filter_map(|member| self.links.of(&member));
        for link in linked.filter(|link| link.unlisted.load(Ordering::Relaxed)) {
            link.closed.cancel();
        }
    }

    /// Enters what is new and then lets the link serve. While the ledger takes nothing, nothing is answered either, and
    /// the link waits with it.
    pub(super) async fn admit(self: Arc<Self>, link: Arc<Link>, mut announced: Vec<Announced>) {
        loop {
            match self.enter(&link, announced).await {
                Ok(rest) if rest.is_empty() => break,
                Ok(rest) => announced = rest,
                Err(code) => {
                    tracing::warn!(member = %link.member(), %code, "a mapping cannot be entered; the link ends");
                    link.closed.cancel();
                    return;
                }
            }
            tokio::select! {
                biased;
                () = link.closed.cancelled() => return,
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(WAIT) => {}
            }
        }
        self.say_words(&link);
        self.add_link(&link);
        // It may have ended while it waited.
        if link.closed.is_cancelled() {
            self.links.remove(&link, self.clock.now_ms());
        }
    }

    /// Enters many at once: requests wait for the link, and none of the entries needs to wait for another. Yields those
    /// that the ledger does not take now.
    async fn enter(&self, link: &Link, announced: Vec<Announced>) -> Result<Vec<Announced>, Code> {
        let entering = announced.into_iter().map(async |announced| {
            // Nobody closes it.
            let _turn = self.links.announcing.0.acquire().await;
            if link.closed.is_cancelled() {
                return (Err(Code::Overloaded), announced);
            }
            let draft = MappingDraft { member: link.member().clone(), announced: announced.clone() };
            (self.ledger.append(Box::new(draft)).await, announced)
        });
        let mut rest = Vec::new();
        let mut entering = futures_util::stream::iter(entering).buffered(AT_ONCE);
        while let Some((entered, announced)) = entering.next().await {
            match entered {
                Ok(_) | Err(Code::Replayed) => {}
                Err(Code::LedgerNotAppending | Code::LedgerFull | Code::Overloaded) => rest.push(announced),
                Err(code) => return Err(code),
            }
        }
        Ok(rest)
    }
}
