//! Where things run and how time passes, natively: threads and tokio. `web/rt.rs` says the same for a browser.

use std::future::Future;
use std::time::Duration;

pub(crate) use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Tasks that end with their owner.
pub(crate) type Tasks = tokio::task::JoinSet<()>;

/// Lets others have their turn where there is one thread for all. Here there is not.
pub(crate) struct Pace;

impl Pace {
    pub(crate) const fn new() -> Self {
        Self
    }

    pub(crate) async fn breathe(&mut self) {}
}

/// A thread with a runtime of its own.
pub(crate) struct Apart(std::thread::JoinHandle<()>);

/// Runs `work` on a thread of its own, then `after` on the same thread, when nothing of the runtime is left.
///
/// # Errors
/// When the system gives no thread.
pub(crate) fn run_apart<T, F: Future<Output = T>>(
    work: impl FnOnce() -> F + Send + 'static,
    after: impl FnOnce(T) + Send + 'static,
) -> std::io::Result<Apart> {
    // One worker for the sockets, so that they live while the engine computes.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("stonechat-net")
        .enable_all()
        .build()?;
    let thread = std::thread::Builder::new().name("stonechat-engine".into()).spawn(move || {
        let done = runtime.block_on(work());
        runtime.shutdown_timeout(LINGER);
        after(done);
    })?;
    Ok(Apart(thread))
}

impl Apart {
    /// Waits until the thread is gone.
    pub(crate) async fn join(self) {
        // A panic there was told when it happened.
        let _ = tokio::task::spawn_blocking(move || self.0.join()).await;
    }
}

/// Disk, keyring and Argon2 hold up a thread that may be held up.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going away, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// For what the runtime still has to do when the engine has ended.
const LINGER: Duration = Duration::from_secs(2);
