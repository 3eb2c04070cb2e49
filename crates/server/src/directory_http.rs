//! The directory over HTTP, for witnesses, auditors and mirrors: everything that is public about it, under `/directory/`.
//!
//! The Merkle log is served as [C2SP tlog-tiles](https://c2sp.org/tlog-tiles) say; beside it lie the policy, the
//! append-only proof of each epoch, and a place where witnesses leave their cosignatures.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use stonechat_directory::tlog;
use stonechat_wire::limits::CHECKPOINT_BYTES_MAX;
use tokio::time::timeout;

use crate::directory::{CosignatureError, DirectoryError};
use crate::serve::{App, now};
use crate::store::KeyedLog;

pub(crate) fn routes<S: KeyedLog>() -> Router<Arc<App<S>>> {
    Router::new()
        .route("/directory/policy", get(policy::<S>))
        .route("/directory/checkpoint", get(checkpoint::<S>))
        .route("/directory/tile/{level}/{*path}", get(tile::<S>))
        .route("/directory/audit/{epoch}", get(audit::<S>))
        .route("/directory/cosignature", post(cosignature::<S>))
        .layer(DefaultBodyLimit::max(CHECKPOINT_BYTES_MAX))
}

async fn policy<S: KeyedLog>(State(app): State<Arc<App<S>>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], app.services.directory().policy().to_json()).into_response()
}

/// The newest checkpoint. With `?after=N` it waits for one of more than N records, half a minute at most.
async fn checkpoint<S: KeyedLog>(State(app): State<Arc<App<S>>>, RawQuery(query): RawQuery) -> Response {
    let directory = app.services.directory();
    let after: Option<u64> = query.as_deref().and_then(|query| query.strip_prefix("after=")?.parse().ok());
    if let Some(after) = after {
        let mut changes = directory.watch();
        let newer = async {
            while directory.size() <= after {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            _newer_or_not = timeout(POLL_TIMEOUT, newer) => {}
            () = app.draining.cancelled() => {}
        }
    }
    match directory.checkpoint() {
        Some(note) => {
            let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
            (kind, note).into_response()
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "the directory has published nothing yet\n").into_response(),
    }
}

async fn tile<S: KeyedLog>(State(app): State<Arc<App<S>>>, Path((level, path)): Path<(String, String)>) -> Response {
    let Some((index, width)) = tlog::parse_tile_path(&path) else { return missing() };
    let level = match level.as_str() {
        "entries" => None,
        level => match level.parse::<u32>() {
            // One path for one tile.
            Ok(number) if number < 8 && number.to_string() == level => Some(number),
            _ => return missing(),
        },
    };
    answer(app.services.directory().tile(level, index, width).await)
}

async fn audit<S: KeyedLog>(State(app): State<Arc<App<S>>>, Path(epoch): Path<u64>) -> Response {
    answer(app.services.directory().audit_proof(epoch).await)
}

async fn cosignature<S: KeyedLog>(State(app): State<Arc<App<S>>>, note: Bytes) -> Response {
    match app.services.directory().cosign(&note, now()).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => {
            let status = match error {
                CosignatureError::Unknown => StatusCode::FORBIDDEN,
                CosignatureError::Superseded { .. } => StatusCode::CONFLICT,
                CosignatureError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            };
            (status, format!("{error}\n")).into_response()
        }
    }
}

/// What never changes once it is there.
fn answer(found: Result<Option<Vec<u8>>, DirectoryError>) -> Response {
    match found {
        Ok(Some(bytes)) => {
            let kind = [
                (header::CONTENT_TYPE, "application/octet-stream"),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
            ];
            (kind, bytes).into_response()
        }
        Ok(None) => missing(),
        Err(error) => {
            tracing::error!(%error, "the directory failed");
            (StatusCode::SERVICE_UNAVAILABLE, "the directory cannot be read now\n").into_response()
        }
    }
}

fn missing() -> Response {
    (StatusCode::NOT_FOUND, "the directory has nothing there\n").into_response()
}

const POLL_TIMEOUT: Duration = Duration::from_secs(30);
