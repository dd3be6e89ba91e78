//! HTTPS reading of the log as C2SP tlog-tiles: checkpoint and hash tiles for every member, entry bundles
//! for auditors only.

use crate::context::Hub;
use crate::ledger::{Ledger, ReadFor};
use crate::tls::identity::{Identity, Peer};
use axum::Router;
use axum::extract::{Extension, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use std::sync::Arc;
use yiwang_proto::codes::Code;
use yiwang_proto::tile::{TileKind, TilePath, encode_bundle};

/// The routes below the log's prefix.
pub fn routes(hub: Arc<Hub>) -> Router {
    Router::new()
        .route("/log/checkpoint", get(checkpoint))
        .route("/log/tile/{*path}", get(tile))
        .with_state(hub)
}

const PARTIAL_SCOPE: &str = "whole bundles are for auditors of the whole ledger; LedgerService.ListEntries gives \
                             the entries of your scope and the leaf hashes of all others\n";

/// Immutable for all time: a full tile never changes, and a partial one is named by its width.
const IMMUTABLE: &str = "max-age=31536000, immutable";

async fn checkpoint(State(hub): State<Arc<Hub>>) -> Response {
    let Some(note) = hub.ledger.published().map(|head| head.note) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "max-age=1")];
    (headers, note).into_response()
}

async fn tile(
    State(hub): State<Arc<Hub>>,
    peer: Option<Extension<Peer>>,
    Path(path): Path<String>,
) -> Response {
    let Ok(path) = TilePath::parse(&format!("tile/{path}")) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let width = path.width();
    let bytes = match path.kind() {
        TileKind::Hashes(level) => {
            let index = path.index();
            read(&hub, move |ledger| ledger.tile(level, index, width)).await
        }
        TileKind::Entries => match peer.map(|Extension(peer)| peer.identity) {
            Some(Identity::Auditor(auditor)) => {
                // A bundle has no room for leaf hashes in place of entries.
                if !hub.scope_of(&auditor).all {
                    return (StatusCode::FORBIDDEN, PARTIAL_SCOPE).into_response();
                }
                let first = path.index().saturating_mul(256);
                let last = first.saturating_add(u64::from(width)).saturating_sub(1);
                // What releases entries is an entry first.
                if hub.record_session(&auditor, "bundles", (first, last)).await.is_err() {
                    return StatusCode::SERVICE_UNAVAILABLE.into_response();
                }
                read(&hub, move |ledger| bundle(ledger, first, width)).await
            }
            _ => return StatusCode::NOT_FOUND.into_response(),
        },
    };
    match bytes {
        Ok(Some(bytes)) => {
            let headers =
                [(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, IMMUTABLE)];
            (headers, bytes).into_response()
        }
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// Off the runtime; `Err` where too many reads wait.
async fn read(
    hub: &Hub,
    work: impl FnOnce(&Ledger) -> Option<Bytes> + Send + 'static,
) -> Result<Option<Bytes>, Code> {
    hub.ledger.reading(ReadFor::Caller, move |ledger| Ok(work(ledger))).await
}

fn bundle(ledger: &Ledger, first: u64, width: u16) -> Option<Bytes> {
    let end = first.checked_add(u64::from(width))?;
    if end > ledger.checkpoint().size {
        return None;
    }
    let mut entries = Vec::with_capacity(usize::from(width));
    let read = ledger.reader().scan(first, &mut |index, bytes, _| {
        if index < end {
            entries.push(bytes);
        }
        index + 1 < end
    });
    if let Err(error) = read {
        tracing::error!(%error, "entries could not be read");
        return None;
    }
    encode_bundle(entries.iter().map(AsRef::as_ref)).ok().map(Bytes::from)
}
