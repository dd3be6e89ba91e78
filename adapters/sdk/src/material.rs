//! Signed material that a decision rests on: contracts, delegations, cases. The hub hands it over and is
//! believed in nothing: every document is verified here before it counts, and verified once.

pub(crate) mod cache;
mod cases;
mod documents;
mod tickets;

pub use cases::CaseView;
pub use documents::HeldContract;

pub(crate) use cases::{Cases, Look};
pub(crate) use documents::{Documents, is_app_of, pinned_by};
pub(crate) use tickets::HeldTicket;

use crate::reply::Refusal;
use futures_util::future::BoxFuture;
use yiwang_proto::codes::Code;
use yiwang_proto::ids::CaseId;
use yiwang_proto::merkle::Hash;
use yiwang_proto::{Digest, pb};

/// What is needed to decide.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Documents (contracts, delegations) by the SHA-256 of their signed payload.
    pub documents: Vec<Digest>,
    /// Cases, with all their entries.
    pub cases: Vec<CaseId>,
}

impl Wanted {
    /// Whether nothing is needed.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty() && self.cases.is_empty()
    }
}

/// Why material did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MaterialError {
    /// Not in time.
    #[error("the hub did not hand over signed material in time")]
    Late,
    /// Too much is asked for at once, or the link is gone.
    #[error("signed material cannot be asked for now")]
    Unavailable,
}

impl From<MaterialError> for Refusal {
    // Nothing was refused by a rule; but nothing can be decided either.
    fn from(error: MaterialError) -> Self {
        let code = match error {
            MaterialError::Late => Code::DeadlineExceeded,
            MaterialError::Unavailable => Code::Overloaded,
        };
        Self::failed(code, &error.to_string())
    }
}

/// Hands over signed material: the link to the hub, or a fixture in tests.
pub trait MaterialSource: Send + Sync {
    /// What was asked for, as far as it exists. Anything in it may be forged, and it may hold more or less
    /// than was asked for.
    fn fetch(&self, wanted: Wanted) -> BoxFuture<'_, Result<pb::Material, MaterialError>>;

    /// The ledger's consistency proof between two sizes; none where it says that it is not that large.
    fn consistency(
        &self,
        _from_size: u64,
        _to_size: u64,
    ) -> BoxFuture<'_, Result<Option<Vec<Hash>>, MaterialError>> {
        Box::pin(async { Err(MaterialError::Unavailable) })
    }
}
