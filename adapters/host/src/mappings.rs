//! The mappings of a host: their sources, and what becomes of a file that changes while the host runs. A file
//! that does not hold changes nothing: the one before serves on, and the log, `/status` and a metric say so. One that
//! does not hold at the start is left out until it does.

mod files;
mod open;

use crate::sources::{Watched, read_mapping};
use files::{Change, Files};
pub(crate) use open::{Found, LeftOut};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use yiwang_adapter_sdk::adapter::Adapter;
use yiwang_adapter_sdk::source::Environment;
use yiwang_adapter_sdk::words::is_obeyed;
use yiwang_policies::Catalogue;
use yiwang_proto::{Digest, hex};

/// Between two looks at the files. A file counts once two looks found the same in it, so a change is taken up
/// within some seconds, and one that is half written never.
const LOOK: Duration = Duration::from_secs(2);
/// Characters of a reason that are kept: one line for a page.
const REASON_MAX: usize = 600;

/// One mapping that serves, with the file that it is from.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) file: PathBuf,
    pub(crate) source: Arc<Watched>,
}

/// The mappings of a host.
pub(crate) struct Mappings {
    state: Mutex<State>,
    /// All files of the configuration, in its order; what does not serve is looked at too.
    files: Vec<PathBuf>,
    /// What was left out at the start: the digest of its text, and whether it only lacks a setting.
    left_out: BTreeMap<PathBuf, (Option<Digest>, bool)>,
    environment: Arc<dyn Environment>,
    /// A changed file is judged by it, as `check` does: with the record types that members added.
    catalogue: Catalogue,
}

#[derive(Default)]
struct State {
    served: Vec<Served>,
    /// Given to the adapter, which takes it up with its next link.
    coming: Option<Vec<Served>>,
    /// How often a link had come up when the adapter was last asked to change it.
    links: u64,
    refused: BTreeMap<PathBuf, String>,
    changes: u64,
    failures: u64,
}

/// How reloading does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reloads {
    /// Files that do not hold, each with its reason: since they changed, or since the start.
    pub(crate) refused: BTreeMap<PathBuf, String>,
    /// Whether a change waits for the link.
    pub(crate) coming: bool,
    /// Changes that were taken up.
    pub(crate) changes: u64,
    /// Changes that were refused.
    pub(crate) failures: u64,
}

impl Mappings {
    pub(crate) fn new(
        files: &[PathBuf],
        found: Found,
        environment: Arc<dyn Environment>,
        catalogue: Catalogue,
    ) -> Self {
        let mut refused = BTreeMap::new();
        let mut left_out = BTreeMap::new();
        for left in found.left_out {
            let why = left.told();
            tracing::error!(file = %left.file.display(), %why, "A-REL-002 a mapping does not hold and is left out; its operations are unavailable until it does");
            left_out.insert(left.file.clone(), (left.digest, open::lacks_setting(&left.error)));
            refused.insert(left.file, why);
        }
        let state = State { served: found.served, refused, ..State::default() };
        Self { state: Mutex::new(state), files: files.to_vec(), left_out, environment, catalogue }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What serves, in the order of the configuration.
    pub(crate) fn served(&self) -> Vec<Served> {
        self.state().served.clone()
    }

    /// The sources of what serves.
    pub(crate) fn sources(&self) -> Vec<Arc<Watched>> {
        self.state().served.iter().map(|served| Arc::clone(&served.source)).collect()
    }

    pub(crate) fn reloads(&self) -> Reloads {
        let state = self.state();
        Reloads {
            refused: state.refused.clone(),
            coming: state.coming.is_some(),
            changes: state.changes,
            failures: state.failures,
        }
    }

    fn refuse(&self, file: &Path, why: &str) {
        let why = one_line(why);
        tracing::error!(file = %file.display(), %why, "A-REL-001 a changed mapping does not hold; what served before serves on");
        let mut state = self.state();
        state.failures += 1;
        state.refused.insert(file.to_owned(), why);
    }

    /// As [`Self::refuse`]; what is still as it was is not told twice.
    fn refuse_again(&self, file: &Path, why: &str, again: bool) {
        let known = self.state().refused.get(file).is_some_and(|known| *known == one_line(why));
        if !(again && known) {
            self.refuse(file, why);
        }
    }

    /// What is looked at for changes.
    fn to_watch(&self) -> Files {
        let served = self.served();
        let mut files = Files::new(self.files.iter().map(|file| {
            let serves = served.iter().find(|one| one.file == *file);
            let digest = serves.map(|one| one.source.mapped.mapping().digest());
            let seen = digest.or_else(|| self.left_out.get(file).and_then(|(digest, _)| *digest));
            (file.clone(), digest, seen)
        }));
        for (file, _) in self.left_out.iter().filter(|(_, (_, lacks_setting))| *lacks_setting) {
            files.try_again(file);
        }
        files
    }

    /// Puts a source into the place that its file has in the configuration.
    fn put(&self, served: &mut Vec<Served>, file: &Path, source: Arc<Watched>) {
        if let Some(place) = served.iter_mut().find(|one| one.file == file) {
            place.source = source;
            return;
        }
        let place = |file: &Path| self.files.iter().position(|one| one == file);
        let at = served.iter().filter(|one| place(&one.file) < place(file)).count();
        served.insert(at, Served { file: file.to_owned(), source });
    }

    /// Watches sources and files until stopped.
    pub(crate) async fn keep(self: Arc<Self>, adapter: Arc<Adapter>, stop: CancellationToken) {
        let mut watches = Watches::new(stop.clone());
        let mut files = self.to_watch();
        for served in self.served() {
            watches.begin(&served);
        }
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // A watch that ends by itself is a fault of the program: the host ends with it.
                unasked = watches.ended() => if unasked { return },
                () = tokio::time::sleep(LOOK) => {
                    self.settle(&adapter, &mut watches);
                    if self.state().coming.is_none() {
                        let looking = self.look(&adapter, &mut files, &mut watches);
                        if stop.run_until_cancelled(looking).await.is_none() {
                            break;
                        }
                    }
                }
            }
        }
        watches.finish().await;
    }

    /// Makes what the adapter has taken up what is shown.
    fn settle(&self, adapter: &Adapter, watches: &mut Watches) {
        let mut state = self.state();
        if !adapter.sources_settled() {
            let links = adapter.health().link_starts;
            // The link was changed, and the new one still serves what the old one did: receipts were owed.
            if state.coming.is_some() && links > state.links {
                state.links = links;
                adapter.change_link();
            }
            return;
        }
        let Some(coming) = state.coming.take() else { return };
        let old = std::mem::replace(&mut state.served, coming);
        let now = state.served.clone();
        drop(state);
        for served in &now {
            if !old.iter().any(|one| Arc::ptr_eq(&one.source, &served.source)) {
                let mapping = served.source.mapped.mapping();
                let sha256 = hex(&mapping.digest());
                tracing::info!(mapping = mapping.name(), %sha256, "a changed mapping serves");
            }
        }
        watches.only(&now);
    }

    /// Looks at the files; what changed and holds is given to the adapter.
    async fn look(self: &Arc<Self>, adapter: &Adapter, files: &mut Files, watches: &mut Watches) {
        let paths: Vec<PathBuf> = files.paths().cloned().collect();
        let read = move || {
            paths.iter().map(|path| read_mapping(path).map_err(|e| e.to_string())).collect::<Vec<_>>()
        };
        // Where even the thread failed there is nothing to act on; the next look reads again.
        let Ok(read) = tokio::task::spawn_blocking(read).await else { return };
        let changes = files.look(read);
        let mut next = self.served();
        let mut changed = Vec::new();
        for Change { file, found, again } in changes {
            match found {
                // Again what serves: whatever was wrong has been taken back.
                None => drop(self.state().refused.remove(&file)),
                Some(Err(why)) => self.refuse(&file, &why),
                Some(Ok(text)) => match open::open(&file, &text, &self.catalogue, &self.environment).await {
                    Ok(source) => {
                        self.put(&mut next, &file, source);
                        changed.push(file);
                    }
                    Err(error) => {
                        if open::lacks_setting(&error) {
                            files.try_again(&file);
                        }
                        self.refuse_again(&file, &open::told(&error), again);
                    }
                },
            }
        }
        if changed.is_empty() {
            return;
        }
        let mapped = next.iter().map(|served| served.source.mapped.clone()).collect();
        // Before the change: a link that comes up from here on may be the changed one.
        let links = adapter.health().link_starts;
        if let Err(error) = adapter.replace_sources(mapped) {
            changed.iter().for_each(|file| self.refuse(file, &error.to_string()));
            return;
        }
        for served in &next {
            watches.begin(served);
        }
        let mut state = self.state();
        state.links = links;
        state.changes += changed.len() as u64;
        for file in &changed {
            state.refused.remove(file);
        }
        // What stood in the way of others may be gone.
        state.refused.keys().for_each(|file| files.try_again(file));
        state.coming = Some(next);
        for served in changed {
            files.taken(&served);
        }
    }
}

impl LeftOut {
    /// Why, on one line.
    pub(crate) fn told(&self) -> String {
        one_line(&open::told(&self.error))
    }
}

fn one_line(why: &str) -> String {
    why.chars().map(|c| if is_obeyed(c) { ' ' } else { c }).take(REASON_MAX).collect()
}

/// The watches of sources, each until its source no longer serves.
struct Watches {
    tasks: JoinSet<()>,
    running: Vec<(Arc<Watched>, CancellationToken)>,
    stop: CancellationToken,
}

impl Watches {
    fn new(stop: CancellationToken) -> Self {
        Self { tasks: JoinSet::new(), running: Vec::new(), stop }
    }

    fn begin(&mut self, served: &Served) {
        if self.running.iter().any(|(source, _)| Arc::ptr_eq(source, &served.source)) {
            return;
        }
        let stop = self.stop.child_token();
        self.tasks.spawn(Arc::clone(&served.source).watch(stop.clone()));
        self.running.push((Arc::clone(&served.source), stop));
    }

    /// Ends the watches of all others.
    fn only(&mut self, served: &[Served]) {
        self.running.retain(|(source, stop)| {
            let serves = served.iter().any(|one| Arc::ptr_eq(&one.source, source));
            if !serves {
                stop.cancel();
            }
            serves
        });
    }

    /// Waits for the end of a watch; true where nobody had asked for it.
    async fn ended(&mut self) -> bool {
        match self.tasks.join_next().await {
            // Before the first, or after the last: nothing to wait for.
            None => std::future::pending().await,
            Some(Ok(())) => false,
            Some(Err(_)) => true,
        }
    }

    async fn finish(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}
