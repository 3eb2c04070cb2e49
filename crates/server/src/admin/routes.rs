//! What the socket answers. One address is one question; what changes something is a POST or a DELETE.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use rand_core::OsRng;
use serde::{Deserialize, Serialize};
use stonechat_wire::{ErrorCode, Failure, Handle};

use super::{BODY_BYTES_MAX, DirectoryStatus, Measure, Status};
use crate::serve::{App, now};
use crate::services::{ACCOUNTS_PER_PAGE_MAX, InviteCard, NewInvite};
use crate::store::KeyedLog;

/// Why somebody is suspended.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Suspend {
    reason: String,
}

/// An invitation that was made. The only time that its code is seen.
#[derive(Serialize)]
struct Invited {
    /// What a newcomer types.
    code: String,
    #[serde(flatten)]
    card: InviteCard,
}

struct Operator<S: KeyedLog> {
    app: Arc<App<S>>,
    measure: Measure,
}

type Context<S> = State<Arc<Operator<S>>>;

pub(super) fn router<S: KeyedLog>(app: Arc<App<S>>, measure: Measure) -> Router {
    Router::new()
        .route("/status", get(status::<S>))
        .route("/accounts", get(accounts::<S>))
        .route("/accounts/{handle}", get(account::<S>))
        .route("/accounts/{handle}/suspend", post(suspend::<S>))
        .route("/accounts/{handle}/resume", post(resume::<S>))
        .route("/invites", get(invites::<S>).post(invite::<S>))
        .route("/invites/{id}", delete(end_invite::<S>))
        .route("/drain", post(drain::<S>))
        .fallback(|| async { refusal(StatusCode::NOT_FOUND, "there is nothing at this address") })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Arc::new(Operator { app, measure }))
}

async fn status<S: KeyedLog>(State(it): Context<S>) -> Response {
    let directory = it.app.services.directory();
    json(&Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_secs: it.app.uptime().as_secs(),
        connections: it.app.connections(),
        draining: it.app.draining.is_cancelled(),
        signup: it.app.services.sign_up(),
        directory: DirectoryStatus { records: directory.size(), cosigned: directory.is_cosigned() },
        storage: (it.measure)(),
    })
}

async fn accounts<S: KeyedLog>(State(it): Context<S>, RawQuery(query): RawQuery) -> Response {
    let asked = |name: &str| -> Option<u64> {
        query.as_deref()?.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    };
    let max = asked("limit").map_or(DEFAULT_LIMIT, |max| usize::try_from(max).unwrap_or(ACCOUNTS_PER_PAGE_MAX));
    answer(it.app.services.list_accounts(asked("after").unwrap_or(0), max, now()).await)
}

async fn account<S: KeyedLog>(State(it): Context<S>, Path(handle): Path<String>) -> Response {
    let Ok(handle) = handle.parse::<Handle>() else { return not_a_handle() };
    match it.app.services.show_account(&handle, now()).await {
        Ok(None) => nobody(),
        found => answer(found),
    }
}

async fn suspend<S: KeyedLog>(State(it): Context<S>, Path(handle): Path<String>, body: Bytes) -> Response {
    let Ok(handle) = handle.parse::<Handle>() else { return not_a_handle() };
    let Suspend { reason } = match read(&body) {
        Ok(asked) => asked,
        Err(error) => return not_understood(&error),
    };
    let done = it.app.services.suspend(&handle, &reason, now()).await;
    match done {
        Err(Failure { code: ErrorCode::Malformed, .. }) => {
            refusal(StatusCode::BAD_REQUEST, "a suspension needs a reason of 1 to 200 bytes: its person is told")
        }
        done => {
            tracing::info!("an account was suspended");
            shown(&it.app, &handle, done).await
        }
    }
}

async fn resume<S: KeyedLog>(State(it): Context<S>, Path(handle): Path<String>) -> Response {
    let Ok(handle) = handle.parse::<Handle>() else { return not_a_handle() };
    let done = it.app.services.resume(&handle, now()).await;
    tracing::info!("an account was resumed");
    shown(&it.app, &handle, done).await
}

async fn invites<S: KeyedLog>(State(it): Context<S>) -> Response {
    answer(it.app.services.invites(now()).await)
}

async fn invite<S: KeyedLog>(State(it): Context<S>, body: Bytes) -> Response {
    let new: NewInvite = match read(&body) {
        Ok(new) => new,
        Err(error) => return not_understood(&error),
    };
    match it.app.services.invite(&new, now(), &mut OsRng).await {
        Ok(Some((code, card))) => {
            tracing::info!("an invitation was made");
            json(&Invited { code: code.to_string(), card })
        }
        Ok(None) => {
            let bounds = "an invitation is for 1 to 1000 accounts and 1 to 366 days, with a note of at most 200 bytes";
            refusal(StatusCode::BAD_REQUEST, bounds)
        }
        Err(failure) => failed(&failure),
    }
}

async fn end_invite<S: KeyedLog>(State(it): Context<S>, Path(id): Path<String>) -> Response {
    match it.app.services.end_invite(&id, now()).await {
        Ok(true) => json(&serde_json::json!({ "ended": id })),
        Ok(false) => refusal(StatusCode::NOT_FOUND, "there is no such invitation"),
        Err(failure) => failed(&failure),
    }
}

async fn drain<S: KeyedLog>(State(it): Context<S>) -> Response {
    let connections = it.app.connections();
    tracing::info!("an operator asked the server to go down");
    it.app.draining.cancel();
    json(&serde_json::json!({ "draining": true, "connections": connections }))
}

/// The account after it was changed.
async fn shown<S: KeyedLog>(app: &App<S>, handle: &Handle, done: Result<bool, Failure>) -> Response {
    match done {
        Ok(true) => answer(app.services.show_account(handle, now()).await),
        Ok(false) => nobody(),
        Err(failure) => failed(&failure),
    }
}

fn read<T: for<'a> Deserialize<'a>>(body: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(body)
}

fn answer<T: Serialize>(found: Result<T, Failure>) -> Response {
    match found {
        Ok(found) => json(&found),
        Err(failure) => failed(&failure),
    }
}

fn failed(failure: &Failure) -> Response {
    refusal(StatusCode::SERVICE_UNAVAILABLE, &failure.to_string())
}

fn not_understood(error: &serde_json::Error) -> Response {
    refusal(StatusCode::BAD_REQUEST, &format!("not understood: {error}"))
}

fn nobody() -> Response {
    refusal(StatusCode::NOT_FOUND, "nobody holds that handle on this server")
}

fn not_a_handle() -> Response {
    refusal(StatusCode::BAD_REQUEST, "that is no handle")
}

fn refusal(status: StatusCode, why: &str) -> Response {
    (status, json(&serde_json::json!({ "error": why }))).into_response()
}

fn json<T: Serialize>(what: &T) -> Response {
    let body = serde_json::to_vec(what).expect("texts and numbers are JSON");
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body).into_response()
}

const DEFAULT_LIMIT: usize = 100;
