//! What a hub that lies can sign with the ledger's key.

use crate::world::World;
use std::sync::Arc;
use yiwang_hub::context::Bent;
use yiwang_proto::checkpoint::Checkpoint;
use yiwang_proto::merkle::{leaf_hash, node_hash};
use yiwang_proto::note::SignerKey;
use yiwang_proto::pb;

/// The ledger's key and name.
#[derive(Clone)]
pub struct LedgerKey {
    signer: Arc<SignerKey>,
    origin: String,
}

impl LedgerKey {
    /// As the running hub has them.
    pub fn of(world: &World) -> Self {
        let text = std::fs::read_to_string(world.hub_dir().join("ledger.key")).unwrap();
        let seed = yiwang_proto::document::from_base64(text.trim()).unwrap().try_into().unwrap();
        let origin = world.hub().hub.ledger.origin().to_owned();
        Self { signer: Arc::new(SignerKey::from_seed(&origin, &seed).unwrap()), origin }
    }

    /// The receipt's entry under a head of its own, at an index that is a power of two.
    pub fn alone(&self, receipt: &pb::Receipt, index: u64) -> pb::Receipt {
        let rest = [7; 32];
        let root = node_hash(&rest, &leaf_hash(&receipt.entry));
        let head = Checkpoint::new(&self.origin, index + 1, root).unwrap();
        let checkpoint = head.sign(&self.signer).unwrap().into_bytes().into();
        pb::Receipt { index, entry: receipt.entry.clone(), proof: vec![rest.to_vec().into()], checkpoint }
    }

    /// For a hub: [`LedgerKey::alone`] for every receipt of which `which` says so.
    pub fn bends(self, which: impl Fn() -> bool + Send + Sync + 'static, index: u64) -> Bent {
        Bent(Arc::new(move |receipt| if which() { self.alone(&receipt, index) } else { receipt }))
    }
}
