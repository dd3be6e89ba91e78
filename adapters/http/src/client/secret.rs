//! A credential by its reference: read again where the service turns it away, so that one that was changed in its
//! file is used without a restart.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use yiwang_adapter_sdk::source::{Environment, Setting, SourceError};
use zeroize::Zeroizing;

type Make<T> = dyn Fn(&str) -> Result<T, SourceError> + Send + Sync;

/// A credential, and what was made of it.
pub(crate) struct Secret<T> {
    setting: Setting,
    folder: PathBuf,
    environment: Arc<dyn Environment>,
    make: Box<Make<T>>,
    kept: Mutex<Kept<T>>,
    turn: tokio::sync::Mutex<()>,
}

struct Kept<T> {
    text: Zeroizing<String>,
    made: Arc<T>,
}

impl<T: Send + Sync + 'static> Secret<T> {
    /// Reads the reference. Errors: it leads to nothing, or to what nothing can be made of.
    pub(crate) fn read(
        setting: &Setting,
        folder: &Path,
        environment: &Arc<dyn Environment>,
        make: impl Fn(&str) -> Result<T, SourceError> + Send + Sync + 'static,
    ) -> Result<Self, SourceError> {
        let text = Zeroizing::new(setting.resolve(folder, environment.as_ref())?);
        let made = Arc::new(make(&text)?);
        Ok(Self {
            setting: setting.clone(),
            folder: folder.to_path_buf(),
            environment: Arc::clone(environment),
            make: Box::new(make),
            kept: Mutex::new(Kept { text, made }),
            turn: tokio::sync::Mutex::default(),
        })
    }

    pub(crate) fn value(&self) -> Arc<T> {
        Arc::clone(&self.kept.lock().unwrap_or_else(PoisonError::into_inner).made)
    }

    /// Reads the reference again; true where another credential was found. One that cannot be read, or of which nothing
    /// can be made, is none: its file may be half written, and the next refusal looks again.
    pub(crate) async fn renew(&self) -> bool {
        // One after another: whoever read an older text must not put it back.
        let _turn = self.turn.lock().await;
        let (setting, folder) = (self.setting.clone(), self.folder.clone());
        let environment = Arc::clone(&self.environment);
        // A disk may be slow.
        let reading = tokio::task::spawn_blocking(move || {
            setting.resolve(&folder, environment.as_ref()).map(Zeroizing::new)
        });
        let Ok(Ok(text)) = reading.await else { return false };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if *kept.text == *text {
            return false;
        }
        let Ok(made) = (self.make)(&text) else { return false };
        *kept = Kept { text, made: Arc::new(made) };
        true
    }
}
