//! The server around the services: the accept loop, the HTTP routes, upkeep and the drain.
//!
//! [`serve`] is the whole of it for a listener, the services and a configuration; `stonechatd` and in-process benches call the
//! same function.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use stonechat_wire::{Timestamp, limits::FRAME_BYTES_MAX};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::Admin;
use crate::config::Config;
use crate::connection;
use crate::directory_http;
use crate::metrics::Metrics;
use crate::services::{Services, keys};
use crate::store::KeyedLog;
use crate::web::{self, Hardening};
use crate::witnesses::{self, Judgement};

/// Bounds of a connection, from the configuration.
pub(crate) struct Limits {
    pub(crate) hello_timeout: Duration,
    pub(crate) requests_per_sec: u32,
}

/// What every connection shares.
pub(crate) struct App<S: KeyedLog> {
    pub(crate) services: Services<S>,
    pub(crate) metrics: Metrics,
    pub(crate) limits: Limits,
    /// Cancelled when the server goes down: connections finish what they were asked and close.
    pub(crate) draining: CancellationToken,
    public_host: Option<String>,
    seats: Arc<Semaphore>,
    seats_max: usize,
    started: Instant,
    tasks: TaskTracker,
    numbers: AtomicU64,
}

impl<S: KeyedLog> App<S> {
    /// WebSockets now.
    pub(crate) fn connections(&self) -> usize {
        self.seats_max.saturating_sub(self.seats.available_permits())
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Runs beside everything else; the drain waits for its end.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }
}

/// Serves until `stop` is cancelled, then drains: no new connections, those that are there answer what they were asked,
/// say goodbye and close. Returns within ten seconds of `stop`.
///
/// # Cancel safety
/// Dropping it stops accepting; connections that are open go on until their clients leave.
pub async fn serve<S: KeyedLog>(
    listener: TcpListener,
    services: Services<S>,
    config: &Config,
    tls: Option<TlsAcceptor>,
    admin: Option<Admin>,
    stop: CancellationToken,
) {
    let app = Arc::new(App {
        services,
        metrics: Metrics::default(),
        limits: Limits {
            hello_timeout: Duration::from_secs(config.hello_timeout_secs),
            requests_per_sec: config.requests_per_sec,
        },
        draining: stop.clone(),
        public_host: config.public_host.clone(),
        seats: Arc::new(Semaphore::new(config.connections_max)),
        seats_max: config.connections_max,
        started: Instant::now(),
        tasks: TaskTracker::new(),
        numbers: AtomicU64::new(0),
    });
    app.tasks.spawn(upkeep(Arc::clone(&app)));
    if let Some(admin) = admin {
        app.tasks.spawn(admin.serve(Arc::clone(&app)));
    }
    app.tasks.spawn(publish(Arc::clone(&app), config.directory.witness_addresses.clone()));
    accept(&app, &listener, tls, config.connections_max).await;
    drop(listener);
    app.tasks.close();
    tracing::info!(connections = app.tasks.len(), "draining");
    if timeout(DRAIN_TIMEOUT, app.tasks.wait()).await.is_err() {
        tracing::warn!(connections = app.tasks.len(), "some connections did not close in time");
    }
}

/// The server's clock.
pub(crate) fn now() -> Timestamp {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

async fn accept<S: KeyedLog>(
    app: &Arc<App<S>>,
    listener: &TcpListener,
    tls: Option<TlsAcceptor>,
    connections_max: usize,
) {
    let router = router(Arc::clone(app), Hardening { tls: tls.is_some() });
    // Connections that have not become WebSockets. They live for seconds; beyond this many, new ones wait in the kernel.
    let lobby = Arc::new(Semaphore::new(connections_max.max(LOBBY_MIN)));
    loop {
        let accepted = tokio::select! {
            () = app.draining.cancelled() => return,
            accepted = async {
                let seat = Arc::clone(&lobby).acquire_owned().await.expect("the lobby is never closed");
                listener.accept().await.map(|(stream, _)| (stream, seat))
            } => accepted,
        };
        let (stream, seat) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely. Accepting again at once would spin.
                tracing::warn!(%error, "cannot accept a connection; is `ulimit -n` above connections_max?");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (router, tls, app_) = (router.clone(), tls.clone(), Arc::clone(app));
        app.tasks.spawn(async move {
            let _seat = seat;
            receive(&app_, stream, tls, router).await;
        });
    }
}

async fn receive<S: KeyedLog>(app: &App<S>, stream: TcpStream, tls: Option<TlsAcceptor>, router: Router) {
    // Small frames both ways: waiting to fill a segment costs more than it saves.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    match tls {
        None => http(app, stream, router).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = timeout(app.limits.hello_timeout, tls.accept(stream)).await {
                http(app, stream, router).await;
            }
        }
    }
}

/// HTTP/1.1 on a connection, until it ends or the server goes down.
pub(crate) async fn http<S: KeyedLog>(
    app: &App<S>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
) {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(app.limits.hello_timeout).max_buf_size(HTTP_BUFFER_BYTES_MAX);
    let serving = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).with_upgrades();
    let mut serving = std::pin::pin!(serving);
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = app.draining.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::trace!(timeout = error.is_timeout(), parse = error.is_parse(), "an HTTP connection ended early");
    }
}

fn router<S: KeyedLog>(app: Arc<App<S>>, hardening: Hardening) -> Router {
    Router::new()
        .route("/healthz", get(healthz::<S>))
        .route("/metrics", get(metrics::<S>))
        .route("/v1/ws", get(websocket::<S>))
        .merge(directory_http::routes())
        .merge(web::routes(web::FILES))
        .layer(middleware::from_fn_with_state(hardening, web::harden))
        .with_state(app)
}

async fn websocket<S: KeyedLog>(
    State(app): State<Arc<App<S>>>,
    upgrade: WebSocketUpgrade,
    request: Request,
) -> Response {
    let Ok(seat) = Arc::clone(&app.seats).try_acquire_owned() else {
        let retry = (header::RETRY_AFTER, HeaderValue::from_static("10"));
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            [retry],
            "the server has as many connections as it allows; try again\n",
        )
            .into_response();
    };
    if app.draining.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the server is going down\n").into_response();
    }
    let host = app.public_host.clone().or_else(|| {
        let host = request.headers().get(header::HOST)?.to_str().ok()?;
        Some(host.to_owned())
    });
    let Some(host) = host else { return (StatusCode::BAD_REQUEST, "no Host header\n").into_response() };
    let number = app.numbers.fetch_add(1, Ordering::Relaxed);
    let task = app.tasks.token();
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(2 * FRAME_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_message_size(FRAME_BYTES_MAX)
        .on_upgrade(move |socket| async move {
            connection::run(app, socket, host, number).await;
            drop((seat, task));
        })
}

async fn healthz<S: KeyedLog>(State(app): State<Arc<App<S>>>) -> Response {
    if app.draining.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    match timeout(HEALTH_TIMEOUT, app.services.check(now())).await {
        Ok(Ok(())) => "ok\n".into_response(),
        Ok(Err(_)) | Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the store cannot append\n").into_response(),
    }
}

async fn metrics<S: KeyedLog>(State(app): State<Arc<App<S>>>) -> Response {
    let kind =
        (header::CONTENT_TYPE, HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    ([kind], app.metrics.render()).into_response()
}

/// Deletes what has expired, once a minute.
async fn upkeep<S: KeyedLog>(app: Arc<App<S>>) {
    let mut minutes = interval(UPKEEP_EVERY);
    minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = app.draining.cancelled() => return,
            _ = minutes.tick() => {}
        }
        let expired = tokio::select! {
            () = app.draining.cancelled() => return,
            expired = app.services.store().expire(now()) => expired,
        };
        match expired {
            Ok(deleted) => app.metrics.expired(deleted),
            Err(error) => tracing::warn!(%error, "cannot delete what has expired; trying again in a minute"),
        }
    }
}

/// Publishes the directory: soon after something changed, and once a second to keep the place and the head fresh. First, it
/// asks the witnesses whether this directory is behind.
async fn publish<S: KeyedLog>(app: Arc<App<S>>, witnesses: Vec<String>) {
    while is_behind(&app, &witnesses).await {
        tokio::select! {
            () = app.draining.cancelled() => return,
            () = tokio::time::sleep(ASK_AGAIN) => {}
        }
    }
    // Of what other servers over the store do, too: the publisher's heads, and cosignatures that witnesses left with them.
    let watched = [keys::directory_queue(), keys::directory_checkpoints(), keys::directory_cosignatures()];
    let mut changes = app.services.store().watch(watched);
    let mut seconds = interval(PUBLISH_EVERY);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = app.draining.cancelled() => break,
            _ = seconds.tick() => {}
            // A little later: what comes together is published together.
            _ = changes.changed() => tokio::time::sleep(PUBLISH_GATHER).await,
        }
        // Cleared before reading: what lands from here on wakes again.
        let _seen = changes.take();
        if let Err(error) = app.services.publish(now()).await {
            tracing::warn!(%error, "cannot publish the directory; trying again");
            tokio::time::sleep(PUBLISH_EVERY).await;
        }
        tokio::select! {
            () = app.draining.cancelled() => break,
            () = tokio::time::sleep(PUBLISH_GAP) => {}
        }
    }
    if let Err(error) = app.services.directory().retire(now()).await {
        tracing::warn!(%error, "cannot give up the directory's lease; another server waits for its end");
    }
}

/// Whether a witness saw more of this directory than there is, or another history of it. Whoever does not answer is passed
/// over: a restart is no restore.
async fn is_behind<S: KeyedLog>(app: &App<S>, addresses: &[String]) -> bool {
    if addresses.is_empty() {
        return false;
    }
    let (policy, addresses) = (app.services.directory().policy().clone(), addresses.to_vec());
    let asked = tokio::task::spawn_blocking(move || witnesses::ask(&policy, &addresses));
    let Ok(answers) = asked.await else { return false };
    for answer in &answers {
        if let Err(cause) = &answer.head {
            tracing::warn!(cause, "a witness does not say what it has seen");
        }
    }
    match app.services.directory().compare(&answers).await {
        Ok(Judgement::UpToDate { .. }) => false,
        Ok(Judgement::Behind { by, size }) => {
            tracing::error!(
                by,
                size,
                "THE DIRECTORY IS BEHIND what a witness has seen, and is not published. Stop the server and restore a newer backup"
            );
            true
        }
        Ok(Judgement::Contradicted { by, size }) => {
            tracing::error!(
                by,
                size,
                "THE DIRECTORY CONTRADICTS what a witness has seen, and is not published. Is this the right data folder?"
            );
            true
        }
        // The publisher meets the same failure, and says so.
        Err(_) => false,
    }
}

/// What tungstenite allocates for each connection while nothing arrives.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// Frames smaller than this are gathered until the flush.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;
/// Headers only: no route reads a body.
const HTTP_BUFFER_BYTES_MAX: usize = 16 * 1024;
const LOBBY_MIN: usize = 64;
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);
const UPKEEP_EVERY: Duration = Duration::from_secs(60);
const ASK_AGAIN: Duration = Duration::from_secs(60);
const PUBLISH_EVERY: Duration = Duration::from_secs(1);
const PUBLISH_GATHER: Duration = Duration::from_millis(10);
/// Between two publications, so that a busy directory makes a few epochs a second, not one for each change.
const PUBLISH_GAP: Duration = Duration::from_millis(400);
