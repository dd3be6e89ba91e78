//! What is published. Without a witness policy it is the newest head; with one it is the newest head that
//! enough witnesses have cosigned, and the newest head of the hub's own stands in a file of its own.

use super::publish::{SignedHead, write_durably, write_tile};
use super::{Ledger, Shared};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use yiwang_proto::codes::Code;
use yiwang_proto::merkle::{FinishedTile, HashReader as _};

/// The published head.
pub(super) struct Published {
    demanded: bool,
    dir: PathBuf,
    head: RwLock<Option<SignedHead>>,
    stuck: AtomicBool,
}

impl Published {
    pub(super) fn new(demanded: bool, dir: PathBuf, head: Option<SignedHead>) -> Self {
        Self { demanded, dir, head: RwLock::new(head), stuck: AtomicBool::new(false) }
    }

    pub(super) fn head(&self) -> Option<SignedHead> {
        self.head.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Too few witnesses cosign, for too long.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }
}

/// The partial tiles at the right edge of a tree: level, number, width.
fn partials(size: u64) -> impl Iterator<Item = (u8, u64, u16)> {
    (0..8_u8).filter_map(move |level| {
        let hashes = size >> (8 * u32::from(level));
        let width = u16::try_from(hashes & 0xff).ok().filter(|width| *width > 0)?;
        Some((level, hashes >> 8, width))
    })
}

impl Shared {
    /// Partial tiles that the published checkpoint needs; they stay when newer ones are written.
    pub(super) fn needed_partials(&self) -> Vec<PathBuf> {
        let Some(head) = self.published.head().filter(|_| self.published.demanded) else { return Vec::new() };
        partials(head.size)
            .filter_map(|(level, index, width)| self.tiles.folder().path(level, index, width))
            .collect()
    }
}

impl Ledger {
    /// The checkpoint that everybody may see. None while too few witnesses have cosigned any.
    pub fn published(&self) -> Option<SignedHead> {
        if self.shared.published.demanded { self.shared.published.head() } else { Some(self.checkpoint()) }
    }

    /// Whether publishing needs cosignatures.
    pub fn is_witnessed(&self) -> bool {
        self.shared.published.demanded
    }

    /// The head under which an entry is shown to others: the published one if it covers the entry.
    pub fn head_for(&self, index: u64) -> SignedHead {
        self.published().filter(|head| index < head.size).unwrap_or_else(|| self.checkpoint())
    }

    /// Publishes a head that enough witnesses have cosigned: its partial tiles, then the checkpoint file. The
    /// caller has checked the cosignatures. Blocks on the disk.
    pub fn publish_witnessed(&self, head: SignedHead) -> std::io::Result<()> {
        if self.shared.published.head().is_some_and(|old| old.size > head.size) {
            return Ok(());
        }
        for (level, index, width) in partials(head.size) {
            let bytes = self.shared.hashes().tile(level, index, width).map_err(std::io::Error::other)?;
            write_tile(
                self.shared.tiles.folder(),
                &FinishedTile { level, index, width, bytes },
                "witnessed",
            )?;
        }
        write_durably(&self.shared.published.dir.join("checkpoint"), &head.note)?;
        let old = self.shared.published.head.write().unwrap_or_else(PoisonError::into_inner).replace(head);
        let needed = self.shared.needed_partials();
        for (level, index, width) in partials(old.map_or(0, |old| old.size)) {
            // Those of the checkpoint before serve nobody any more; the writer of own heads keeps its own.
            if let Some(path) =
                self.shared.tiles.folder().path(level, index, width).filter(|path| !needed.contains(path))
            {
                let _ = std::fs::remove_file(path);
            }
        }
        Ok(())
    }

    /// Says that publishing is stuck, so that intake stops, or goes on.
    pub fn set_publishing_stuck(&self, stuck: bool) {
        if self.shared.published.stuck.swap(stuck, Ordering::Relaxed) != stuck {
            if stuck {
                tracing::error!(
                    "too few witnesses cosign, for too long: exchanges are refused until they do"
                );
            } else {
                tracing::info!("enough witnesses cosign again; exchanges go on");
            }
        }
    }

    /// Whether a head lies on this ledger's one history. A look-up where the head was signed lately or asked
    /// about before.
    pub fn holds(&self, head: &yiwang_proto::request::Head) -> Result<bool, Code> {
        // A head without entries claims nothing.
        if head.size == 0 {
            return Ok(true);
        }
        if let Some(root) = self.shared.known.of(head.size) {
            return Ok(root == head.root);
        }
        if head.size > self.checkpoint().size {
            return Ok(false);
        }
        let root = self.root_at(head.size)?;
        self.shared.known.note(head.size, root);
        Ok(root == head.root)
    }
}
