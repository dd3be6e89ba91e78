//! A folder in which an app keeps its exchanges: the request before it is sent, the response as it arrived,
//! before anything of it is believed. Its auditor holds it against the ledger (`yiwang audit reconcile`), so
//! what a lying hub handed out without an entry is kept too. It holds personal data and is the member's own.

use crate::client::Client;
use crate::error::ClientError;
use crate::exchange::SignedRequest;
use crate::folder::files;
use prost::Message as _;
use std::path::{Path, PathBuf};
use yiwang_proto::pb;

/// Ending of the files' names.
pub const EXTENSION: &str = "exchange";
/// Responses to one request that are kept: the second is already evidence against somebody.
const RESPONSES_MAX: u32 = 8;

/// The folder.
#[derive(Debug, Clone)]
pub(crate) struct Keep(PathBuf);

impl Client {
    /// The same client, keeping every exchange in a folder. The folder is made for its owner only.
    ///
    /// # Errors
    /// [`ClientError::Ask`] when the folder cannot be made.
    pub fn keeping(mut self, dir: &Path) -> Result<Self, ClientError> {
        files::create_dir(dir).map_err(|error| ClientError::Ask(error.to_string()))?;
        self.keep = Some(Keep(dir.to_owned()));
        Ok(self)
    }

    /// Durable before the request leaves, so that no request is forgotten whose answer was lost.
    pub(crate) fn keep_request(&self, signed: &SignedRequest) -> Result<(), ClientError> {
        let Some(keep) = &self.keep else { return Ok(()) };
        let path = keep.path(signed, 1);
        // What came back for it before is not overwritten when the same request is sent again.
        if is_answered(&path) {
            return Ok(());
        }
        keep.write(&path, signed, None, self.clock.now_ms())
    }

    /// Durable before the response is verified or handed on.
    pub(crate) fn keep_response(
        &self,
        signed: &SignedRequest,
        response: &pb::ExchangeResponse,
    ) -> Result<(), ClientError> {
        let Some(keep) = &self.keep else { return Ok(()) };
        let free =
            (1..=RESPONSES_MAX).map(|number| keep.path(signed, number)).find(|path| !is_answered(path));
        let path = free.ok_or_else(|| ClientError::unverified("many responses to one request"))?;
        keep.write(&path, signed, Some(response.clone()), self.clock.now_ms())
    }
}

impl Keep {
    fn path(&self, signed: &SignedRequest, number: u32) -> PathBuf {
        let id = &signed.request.id;
        let name =
            if number == 1 { format!("{id}.{EXTENSION}") } else { format!("{id}-{number}.{EXTENSION}") };
        self.0.join(name)
    }

    fn write(
        &self,
        path: &Path,
        signed: &SignedRequest,
        response: Option<pb::ExchangeResponse>,
        kept_at_ms: i64,
    ) -> Result<(), ClientError> {
        let kept = pb::KeptExchange { request: Some(signed.message.clone()), response, kept_at_ms };
        files::replace(path, &kept.encode_to_vec(), files::PRIVATE)
            .map_err(|error| ClientError::Ask(format!("the exchange cannot be kept: {error}")))
    }
}

/// Whether a file holds a response already. One that cannot be read is not overwritten.
fn is_answered(path: &Path) -> bool {
    match std::fs::read(path) {
        Ok(bytes) => pb::KeptExchange::decode(bytes.as_slice()).map_or(true, |kept| kept.response.is_some()),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}
