//! The way out after a hub lost entries that members still know of, for instance by a restored backup: it may
//! not append under its old origin any more. It goes on as a new origin whose first entry names the old
//! ledger's last signed head; the old ledger stays beside it, and members enrol again, which is how they
//! accept it.

use super::{Layout, StartError, io, ledger_signer};
use crate::config::Config;
use crate::ledger::publish::write_durably;
use crate::views::Persisted;
use bytes::Bytes;
use std::path::{Path, PathBuf};
use yiwang_proto::checkpoint::Checkpoint;
use yiwang_proto::note::MAX_NOTE_BYTES;

/// The old ledger's head, until the new ledger's first entry holds it.
const OLD_HEAD: &str = "old-head";

fn other(text: impl std::fmt::Display) -> StartError {
    StartError::Other(text.to_string())
}

/// The new ledger while it is prepared. Its presence keeps a hub from starting half-way.
fn next(layout: &Layout) -> PathBuf {
    layout.ledger.with_extension("next")
}

/// Refuses to start while an acceptance was interrupted: an empty ledger would be born without the old head.
pub(super) fn refuse_half_way(layout: &Layout) -> Result<(), StartError> {
    if next(layout).exists() {
        return Err(other(
            "the acceptance of an old head was interrupted: run `hub run --accept-head ORIGIN` again, with the same origin",
        ));
    }
    Ok(())
}

/// The head that a new ledger goes on from; empty for one that goes on from none.
pub(super) fn old_head(layout: &Layout) -> Result<Bytes, StartError> {
    let path = layout.ledger.join(OLD_HEAD);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Bytes::from(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Bytes::new()),
        Err(error) => Err(io(path.display())(error)),
    }
}

/// Prepares the folder to go on as `origin`; the hub must not run. Can be repeated after a crash at any step.
/// Returns where the old ledger lies now.
pub fn accept_head(config: &mut Config, origin: &str) -> Result<PathBuf, StartError> {
    let _alone = super::lock(&config.dir)?;
    let layout = Layout::of(&config.dir);
    let next = next(&layout);
    let note = match std::fs::read(next.join(OLD_HEAD)) {
        Ok(note) if config.raw.origin == origin => note,
        Ok(_) => return prepare(config, &layout, &next, origin),
        Err(_) if config.raw.origin == origin => {
            return Err(other(format!("`{origin}` is the origin already: name a new one")));
        }
        Err(_) => return prepare(config, &layout, &next, origin),
    };
    finish(&layout, &next, &note)
}

/// Everything up to the change of the configuration, after which there is no way back.
fn prepare(config: &mut Config, layout: &Layout, next: &Path, origin: &str) -> Result<PathBuf, StartError> {
    let path = layout.ledger.join("checkpoint");
    let note = std::fs::read(&path).map_err(io(path.display()))?;
    let signer = ledger_signer(config)?;
    if note.len() > MAX_NOTE_BYTES {
        return Err(other(format!("`{}` is no checkpoint", path.display())));
    }
    Checkpoint::open(&note, signer.verifier(), &config.raw.origin).map_err(|error| {
        other(format!("the old head does not hold, so nothing can go on from it: {error}"))
    })?;
    let mut renamed = config.raw.clone();
    origin.clone_into(&mut renamed.origin);
    std::fs::create_dir_all(next).map_err(io(next.display()))?;
    write_durably(&next.join(OLD_HEAD), &note).map_err(io(next.display()))?;
    let text = toml::to_string(&renamed).map_err(other)?;
    let file = config.dir.join("hub.toml");
    let before = std::fs::read(&file).map_err(io(file.display()))?;
    write_durably(&file, text.as_bytes()).map_err(io(file.display()))?;
    // The same checks as at a start; an origin that does not pass leaves everything as it was.
    match Config::read(&config.dir).map_err(other).and_then(|read| ledger_signer(&read)) {
        Ok(_) => origin.clone_into(&mut config.raw.origin),
        Err(error) => {
            write_durably(&file, &before).map_err(io(file.display()))?;
            std::fs::remove_dir_all(next).map_err(io(next.display()))?;
            return Err(error);
        }
    }
    finish(layout, next, &note)
}

fn finish(layout: &Layout, next: &Path, note: &[u8]) -> Result<PathBuf, StartError> {
    let text = std::str::from_utf8(note).map_err(other)?;
    let size = text.lines().nth(1).unwrap_or("0");
    let old = layout.ledger.with_extension(size);
    if layout.ledger.exists() {
        if old.exists() {
            return Err(other(format!("`{}` exists: move it away first", old.display())));
        }
        std::fs::rename(&layout.ledger, &old).map_err(io(old.display()))?;
    }
    Persisted::drop_at(&layout.views);
    match std::fs::remove_file(&layout.search) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io("search.sqlite")(error)),
        _ => {}
    }
    std::fs::rename(next, &layout.ledger).map_err(io(layout.ledger.display()))?;
    let dir = layout.ledger.parent().unwrap_or(Path::new("."));
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(io(dir.display()))?;
    Ok(old)
}
