//! Where things run and how time passes in a browser: one thread, its event loop, its timers.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{AbortHandle, Abortable, Either, select};
use wasm_bindgen_futures::spawn_local;
pub(crate) use web_time::Instant;

/// Waits.
pub(crate) async fn sleep(duration: Duration) {
    gloo_timers::future::sleep(duration).await;
}

/// The time is over.
#[derive(Debug)]
pub(crate) struct Elapsed;

/// `work`'s output, unless it takes longer than `patience`.
pub(crate) async fn timeout<F: Future>(patience: Duration, work: F) -> Result<F::Output, Elapsed> {
    match select(pin!(work), pin!(sleep(patience))).await {
        Either::Left((output, _)) => Ok(output),
        Either::Right(_) => Err(Elapsed),
    }
}

/// As [`timeout`], until a moment.
pub(crate) async fn timeout_at<F: Future>(deadline: Instant, work: F) -> Result<F::Output, Elapsed> {
    timeout(deadline.saturating_duration_since(Instant::now()), work).await
}

/// Tasks that end with their owner.
#[derive(Default)]
pub(crate) struct Tasks(Vec<AbortHandle>);

impl Tasks {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn spawn(&mut self, task: impl Future<Output = ()> + 'static) {
        let (handle, registration) = AbortHandle::new_pair();
        self.0.push(handle);
        spawn_local(async {
            // Aborted: nobody waits for it.
            let _ = Abortable::new(task, registration).await;
        });
    }

    #[expect(clippy::unused_async, reason = "natively this waits")]
    pub(crate) async fn shutdown(&mut self) {
        self.abort();
    }

    fn abort(&mut self) {
        self.0.drain(..).for_each(|task| task.abort());
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.abort();
    }
}

/// Lets others have their turn: work that wakes itself would keep the event loop from what the page asks.
pub(crate) struct Pace(Instant);

impl Pace {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }

    /// Waits for the event loop to come round, if it was long ago.
    pub(crate) async fn breathe(&mut self) {
        if self.0.elapsed() >= TURN {
            sleep(Duration::ZERO).await;
            self.0 = Instant::now();
        }
    }
}

/// A task of the event loop.
pub(crate) struct Apart;

/// Runs `work` beside everything else, then `after`.
///
/// # Errors
/// None here; natively there may be no thread.
#[expect(clippy::unnecessary_wraps, reason = "natively this can fail")]
pub(crate) fn run_apart<T: 'static, F: Future<Output = T> + 'static>(
    work: impl FnOnce() -> F,
    after: impl FnOnce(T) + 'static,
) -> std::io::Result<Apart> {
    let work = work();
    spawn_local(async move { after(work.await) });
    Ok(Apart)
}

impl Apart {
    #[expect(clippy::unused_async, reason = "natively this waits")]
    pub(crate) async fn join(self) {}
}

/// Work that would hold up a thread; here there is only one.
pub(crate) async fn blocking<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// What one turn may take: less than a person notices.
const TURN: Duration = Duration::from_millis(25);
