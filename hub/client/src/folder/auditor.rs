//! An auditor's folder: `auditor.toml`, `tls/` and `checkpoint`. An auditor signs nothing, so it has no root.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use yiwang_proto::ambient::Clock;
use yiwang_proto::ids::AppId;
use yiwang_proto::note::VerifierKey;

use super::files::{self, PUBLIC};
use super::{CONFIG_MAX, Enrolled, FolderError, enrolment};
use crate::token::{EnrolToken, Holder};

const FORMAT: &str = "auditor/1";
const CONFIG: &str = "auditor.toml";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    format: String,
    auditor: AppId,
    hub: String,
    origin: String,
    verifier_key: String,
    trust_domain: String,
}

/// An opened auditor's folder.
#[derive(Debug)]
pub struct AuditorFolder {
    dir: PathBuf,
    auditor: AppId,
    enrolled: Enrolled,
}

impl AuditorFolder {
    /// Enrols an auditor; the folder is made if missing.
    ///
    /// # Errors
    /// [`FolderError`]; what the hub sent is kept only if all of it holds.
    pub async fn enrol(dir: &Path, token: &EnrolToken, clock: Arc<dyn Clock>) -> Result<Self, FolderError> {
        let Holder::Auditor(auditor) = &token.who else {
            return Err(FolderError::OtherHolder(token.who.to_string()));
        };
        files::create_dir(dir)?;
        enrolment::enrol(dir, token, &Bytes::new(), clock).await?;
        let raw = Raw {
            format: FORMAT.to_owned(),
            auditor: auditor.clone(),
            hub: token.hub.clone(),
            origin: token.origin.clone(),
            verifier_key: token.verifier_key.to_string(),
            trust_domain: token.trust_domain.clone(),
        };
        let path = dir.join(CONFIG);
        match toml::to_string(&raw) {
            Ok(text) => files::replace(&path, text.as_bytes(), PUBLIC)?,
            Err(error) => return Err(FolderError::Content { path, what: error.to_string() }),
        }
        Self::open(dir)
    }

    /// Opens an enrolled auditor's folder.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn open(dir: &Path) -> Result<Self, FolderError> {
        let path = dir.join(CONFIG);
        let text = files::read_text(&path, CONFIG_MAX)?;
        let content = |what: String| FolderError::Content { path: path.clone(), what };
        let raw: Raw = toml::from_str(&text).map_err(|error| content(error.to_string()))?;
        if raw.format != FORMAT {
            return Err(content(format!("format is `{}`, expected `{FORMAT}`", raw.format)));
        }
        let key = VerifierKey::parse(&raw.verifier_key);
        let key = key.map_err(|error| content(format!("verifier_key: {error}")))?;
        let who = Holder::Auditor(raw.auditor.clone());
        let enrolled =
            Enrolled::new(dir, raw.hub, raw.origin, key, raw.trust_domain, who).map_err(content)?;
        Ok(Self { dir: dir.to_owned(), auditor: raw.auditor, enrolled })
    }

    /// The folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The auditor.
    #[must_use]
    pub fn auditor(&self) -> &AppId {
        &self.auditor
    }

    /// What the folder knows of its hub.
    #[must_use]
    pub fn enrolled(&self) -> &Enrolled {
        &self.enrolled
    }
}
