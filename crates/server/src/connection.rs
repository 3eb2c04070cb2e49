//! One WebSocket connection: frames in, frames out, and every bound between them.
//!
//! The task owns its session. It reads a frame only while it has room for one more unanswered request, so a client that
//! asks faster than the store answers is slowed by its own socket. What it must send it reads from the store behind a
//! cursor and writes before it reads on; a write that does not finish in time ends the connection. So a slow reader costs
//! one frame of memory and a few seconds, never a queue.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::ws::{Message, WebSocket};
use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::{FutureExt, SinkExt};
use rand_core::OsRng;
use stonechat_wire::limits::REQUESTS_IN_FLIGHT_MAX;
use stonechat_wire::{
    ClientFrame, ErrorCode, Failure, Hello, Reply, Request, ServerFrame, decode, encode, limits::FRAME_BYTES_MAX,
};
use tokio::time::{MissedTickBehavior, interval_at, timeout, timeout_at};

use crate::metrics::{Reason, request_name};
use crate::serve::{App, now};
use crate::services::{Admitted, Session};
use crate::store::KeyedLog;

type Answer = (u32, &'static str, Result<Reply, Failure>);
type InFlight<'a> = FuturesUnordered<Pin<Box<dyn Future<Output = Answer> + Send + 'a>>>;

/// Runs a connection to its end. `number` stands for it in logs and means nothing else.
pub(crate) async fn run<S: KeyedLog>(app: Arc<App<S>>, mut socket: WebSocket, host: String, number: u64) {
    let mut session = Session::new(host, &mut OsRng);
    app.metrics.connection_opened(session.kind());
    tracing::debug!(connection = number, "opened");
    let ended = match Box::pin(greet(&app, &mut socket, &session)).await {
        Ok(()) => serve(&app, &mut socket, &mut session).await,
        Err(ended) => ended,
    };
    app.metrics.connection_closed(session.kind(), ended.reason);
    tracing::debug!(connection = number, reason = ?ended.reason, "closed");
    // Boxed: an ending is rare, and its future must not weigh on every idle connection.
    Box::pin(close(&mut socket, ended)).await;
}

/// Why a connection ends, and what its client is told.
struct Ended {
    reason: Reason,
    failure: Option<Failure>,
}

impl Ended {
    fn silently(reason: Reason) -> Self {
        Self { reason, failure: None }
    }

    fn with(reason: Reason, code: ErrorCode, detail: &str) -> Self {
        Self { reason, failure: Some(Failure { detail: Some(detail.to_owned()), ..Failure::new(code) }) }
    }
}

async fn greet<S: KeyedLog>(app: &App<S>, socket: &mut WebSocket, session: &Session) -> Result<(), Ended> {
    let silent = || Ended::with(Reason::Silent, ErrorCode::Malformed, "no hello in time");
    let bytes = tokio::select! {
        first = timeout(app.limits.hello_timeout, socket.recv()) => match first.map_err(|_| silent())? {
            Some(Ok(Message::Binary(bytes))) => bytes,
            Some(Ok(Message::Close(_))) | None => return Err(Ended::silently(Reason::Left)),
            Some(Ok(_)) => return Err(Ended::with(Reason::Malformed, ErrorCode::Malformed, "frames are binary messages")),
            Some(Err(error)) => return Err(unreadable(&error)),
        },
        () = app.draining.cancelled() => return Err(draining()),
    };
    let hello: Hello = decode(&bytes)
        .map_err(|_| Ended::with(Reason::Malformed, ErrorCode::Malformed, "the first frame is not a hello"))?;
    let reply = app
        .services
        .greet(session, now(), &hello)
        .map_err(|failure| Ended { reason: Reason::Version, failure: Some(failure) })?;
    send(socket, [ServerFrame::Hello(reply)]).await
}

async fn serve<S: KeyedLog>(app: &App<S>, socket: &mut WebSocket, session: &mut Session) -> Ended {
    let mut in_flight = InFlight::new();
    let mut allowance = Allowance::new(app.limits.requests_per_sec);
    let mut keep_alive = interval_at((Instant::now() + PING_EVERY).into(), PING_EVERY);
    keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut unanswered_pings = 0;
    loop {
        let step = tokio::select! {
            () = app.draining.cancelled() => {
                return Box::pin(finish(socket, in_flight)).await;
            }
            Some(answer) = in_flight.next(), if !in_flight.is_empty() => {
                Box::pin(send_answers(app, socket, &mut in_flight, answer)).await
            }
            message = socket.recv(), if in_flight.len() < REQUESTS_IN_FLIGHT_MAX => {
                unanswered_pings = 0;
                match message {
                    Some(Ok(Message::Binary(bytes))) => {
                        Box::pin(take_frame(app, socket, session, &mut in_flight, &mut allowance, &bytes)).await
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
                    Some(Ok(Message::Close(_))) | None => Err(Ended::silently(Reason::Left)),
                    Some(Ok(Message::Text(_))) => {
                        Err(Ended::with(Reason::Malformed, ErrorCode::Malformed, "frames are binary messages"))
                    }
                    Some(Err(error)) => Err(unreadable(&error)),
                }
            }
            () = session.woken() => Box::pin(push(app, socket, session)).await,
            _ = keep_alive.tick() => {
                unanswered_pings += 1;
                if unanswered_pings > PINGS_UNANSWERED_MAX {
                    Err(Ended::silently(Reason::Silent))
                } else {
                    write(socket.send(Message::Ping(axum::body::Bytes::new()))).await
                }
            }
        };
        if let Err(ended) = step {
            return ended;
        }
    }
}

/// Answers a frame, or puts its request beside those that are being answered.
async fn take_frame<'a, S: KeyedLog>(
    app: &'a App<S>,
    socket: &mut WebSocket,
    session: &mut Session,
    in_flight: &mut InFlight<'a>,
    allowance: &mut Allowance,
    bytes: &[u8],
) -> Result<(), Ended> {
    let ClientFrame { id, request } = decode(bytes)
        .map_err(|_| Ended::with(Reason::Malformed, ErrorCode::Malformed, "a frame is not of this protocol"))?;
    let name = request_name(&request);
    let before = session.kind();
    let admitted = if allowance.take() {
        app.services.admit(session, request)
    } else {
        Err(Failure { retry_after_secs: Some(1), ..Failure::new(ErrorCode::Slow) })
    };
    app.metrics.connection_became(before, session.kind());
    let mut ready = Vec::new();
    let result = match admitted {
        Err(failure) => Err(failure),
        Ok(Admitted::InOrder(request)) => {
            let answering = async {
                if matches!(request, Request::GetOwnHistory { .. }) {
                    head_is_cosigned(app, Instant::now() + PUBLISHED_TIMEOUT).await;
                }
                app.services.answer_in_order(session, now(), &mut OsRng, request).await
            };
            // Those beside it go on meanwhile: it may wait for what one of them holds.
            let mut answering = Box::pin(answering);
            loop {
                tokio::select! {
                    biased;
                    result = &mut answering => break result,
                    Some(answer) = in_flight.next(), if !in_flight.is_empty() => ready.push(finished(app, answer)),
                }
            }
        }
        Ok(Admitted::Beside(request)) => {
            let mut answer = answer(app, id, name, request).boxed();
            // First polled here, in the order of arrival: that is the order that appends keep.
            match answer.as_mut().now_or_never() {
                Some((_, _, result)) => result,
                None => {
                    in_flight.push(answer);
                    return Ok(());
                }
            }
        }
    };
    ready.push(finished(app, (id, name, result)));
    send(socket, ready).await
}

async fn answer<S: KeyedLog>(app: &App<S>, id: u32, name: &'static str, request: Request) -> Answer {
    let started = matches!(request, Request::Append { .. }).then(Instant::now);
    let result = match request {
        Request::LookUpHandle { handle } => {
            when_published(app, || Request::LookUpHandle { handle: handle.clone() }).await
        }
        Request::GetAccount { account } => when_published(app, || Request::GetAccount { account }).await,
        Request::GetHead => when_published(app, || Request::GetHead).await,
        other => app.services.answer(now(), other).await,
    };
    if let Some(started) = started {
        app.metrics.append(started.elapsed().as_secs_f64());
    }
    (id, name, result)
}

/// Answers what the directory must have published and its witnesses cosigned. Both take a moment after a change, so the
/// answer waits for them; after two seconds it is what there is.
async fn when_published<S: KeyedLog>(app: &App<S>, request: impl Fn() -> Request) -> Result<Reply, Failure> {
    let deadline = Instant::now() + PUBLISHED_TIMEOUT;
    loop {
        let mut changes = app.services.directory().watch();
        head_is_cosigned(app, deadline).await;
        let result = app.services.answer(now(), request()).await;
        let unpublished = matches!(&result, Err(failure) if failure.code == ErrorCode::Unpublished);
        if !unpublished || timeout_at(deadline.into(), changes.changed()).await.is_err() {
            return result;
        }
    }
}

/// Waits until the newest head has the witnesses that clients need, or until the deadline.
async fn head_is_cosigned<S: KeyedLog>(app: &App<S>, deadline: Instant) {
    let directory = app.services.directory();
    let mut changes = directory.watch();
    while !directory.is_cosigned() {
        if timeout_at(deadline.into(), changes.changed()).await.is_err() {
            return;
        }
    }
}

fn finished<S: KeyedLog>(app: &App<S>, (id, name, result): Answer) -> ServerFrame {
    app.metrics.request(name, result.as_ref().err().map(|failure| failure.code));
    tracing::trace!(request = name, ok = result.is_ok(), "answered");
    match result {
        Ok(reply) => ServerFrame::Reply(id, reply),
        Err(failure) => ServerFrame::Refused(id, failure),
    }
}

/// Sends an answer and those that are ready with it, in one flush.
async fn send_answers<S: KeyedLog>(
    app: &App<S>,
    socket: &mut WebSocket,
    in_flight: &mut InFlight<'_>,
    first: Answer,
) -> Result<(), Ended> {
    let mut ready = VecDeque::from([finished(app, first)]);
    while let Some(Some(answer)) = in_flight.next().now_or_never() {
        ready.push_back(finished(app, answer));
    }
    send(socket, ready).await
}

/// Sends the next page of what is new.
async fn push<S: KeyedLog>(app: &App<S>, socket: &mut WebSocket, session: &mut Session) -> Result<(), Ended> {
    match app.services.next_push(session, now()).await {
        Ok(Some(push)) => send(socket, [ServerFrame::Push(push)]).await,
        Ok(None) => Ok(()),
        Err(failure) => {
            let reason = match failure.code {
                ErrorCode::NotAuthenticated => Reason::Revoked,
                ErrorCode::Suspended => Reason::Suspended,
                _ => Reason::StoreFailed,
            };
            Err(Ended { reason, failure: Some(failure) })
        }
    }
}

/// The server is going down: what was asked is answered, nothing more is read.
async fn finish(socket: &mut WebSocket, mut in_flight: InFlight<'_>) -> Ended {
    while let Some((id, _, result)) = in_flight.next().await {
        let frame = match result {
            Ok(reply) => ServerFrame::Reply(id, reply),
            Err(failure) => ServerFrame::Refused(id, failure),
        };
        if let Err(ended) = send(socket, [frame]).await {
            return ended;
        }
    }
    draining()
}

async fn close(socket: &mut WebSocket, ended: Ended) {
    // The client may be gone already; then there is nobody to tell.
    if let Some(failure) = ended.failure
        && send(socket, [ServerFrame::Closing(failure)]).await.is_err()
    {
        return;
    }
    let _gone = timeout(CLOSE_TIMEOUT, async {
        socket.send(Message::Close(None)).await?;
        // Reading until the client hangs up, so that its unread bytes do not reset the connection under our last frame.
        while let Some(Ok(_)) = socket.recv().await {}
        Ok::<_, axum::Error>(())
    })
    .await;
}

async fn send(socket: &mut WebSocket, frames: impl IntoIterator<Item = ServerFrame>) -> Result<(), Ended> {
    write(async {
        for frame in frames {
            socket.feed(Message::Binary(encode(&frame).into())).await?;
        }
        socket.flush().await
    })
    .await
}

async fn write(writing: impl Future<Output = Result<(), axum::Error>>) -> Result<(), Ended> {
    match timeout(WRITE_TIMEOUT, writing).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Ended::silently(Reason::Left)),
        Err(_) => Err(Ended::silently(Reason::SlowReader)),
    }
}

fn draining() -> Ended {
    let failure = Failure { retry_after_secs: Some(1), ..Failure::new(ErrorCode::Unavailable) };
    Ended { reason: Reason::Draining, failure: Some(failure) }
}

fn unreadable(error: &axum::Error) -> Ended {
    use std::error::Error as _;
    // The layers below say "too long" in words only; a frame of theirs that is broken otherwise has no answer either.
    let text = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    if text.contains("too long")
        || text.contains("too big")
        || text.contains("capacity")
        || text.contains("Space limit")
    {
        let detail = format!("a frame has at most {FRAME_BYTES_MAX} bytes");
        return Ended::with(Reason::Malformed, ErrorCode::Malformed, &detail);
    }
    Ended::silently(Reason::Left)
}

/// Requests that a connection may make: so many a second, ten seconds' worth at once.
struct Allowance {
    per_sec: f64,
    left: f64,
    at: Instant,
}

impl Allowance {
    fn new(per_sec: u32) -> Self {
        let per_sec = f64::from(per_sec);
        Self { per_sec, left: per_sec * ALLOWANCE_SECS, at: Instant::now() }
    }

    fn take(&mut self) -> bool {
        let now = Instant::now();
        let earned = now.duration_since(self.at).as_secs_f64() * self.per_sec;
        self.left = (self.left + earned).min(self.per_sec * ALLOWANCE_SECS);
        self.at = now;
        let granted = self.left >= 1.0;
        if granted {
            self.left -= 1.0;
        }
        granted
    }
}

const ALLOWANCE_SECS: f64 = 10.0;
const PING_EVERY: Duration = Duration::from_secs(30);
const PINGS_UNANSWERED_MAX: u32 = 2;
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer waits for the directory's publication and its witnesses.
const PUBLISHED_TIMEOUT: Duration = Duration::from_secs(2);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
