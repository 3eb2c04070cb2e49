//! Wake-ups inside one process: who waits for which keys, and which of them changed.
//!
//! A wake-up says that a key has something new, never what. It is kept until it is taken, once for each key however
//! often the key changed, so a watcher's memory is bounded by what it watches and a slow one costs nothing.

use std::collections::{BTreeSet, HashMap, hash_map};
use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::Key;

/// All watchers of one store. Cloning shares it. Who watches what lies under the key's [`hint`].
#[derive(Clone, Default)]
pub(crate) struct Hub(Arc<Mutex<Watched>>);

type Watched = HashMap<u64, Vec<(Key, Arc<Slot>)>>;

/// What stands for a key where servers tell each other what changed: FNV-1a. Of two keys with one hint, one wakes in vain.
pub(crate) fn hint(key: &Key) -> u64 {
    key.as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What a watcher has not taken yet.
#[derive(Default)]
struct Slot(Mutex<Pending>);

#[derive(Default)]
struct Pending {
    /// A subset of the watched keys.
    changed: BTreeSet<Key>,
    waker: Option<Waker>,
}

impl Hub {
    /// A watcher of `keys`.
    pub(crate) fn watch(&self, keys: impl IntoIterator<Item = Key>) -> Watcher {
        let mut watcher = Watcher { hub: self.clone(), slot: Arc::default(), keys: BTreeSet::new() };
        for key in keys {
            watcher.add(key);
        }
        watcher
    }

    /// Wakes whoever watches one of `keys`.
    pub(crate) fn wake<'a>(&self, keys: impl IntoIterator<Item = &'a Key>) {
        self.wake_where(keys.into_iter().map(|key| (hint(key), Some(key))));
    }

    /// Wakes whoever watches a key with one of these hints.
    pub(crate) fn wake_hinted(&self, hints: impl IntoIterator<Item = u64>) {
        self.wake_where(hints.into_iter().map(|hint| (hint, None)));
    }

    /// Every key that somebody watches, each once.
    pub(crate) fn watched(&self) -> BTreeSet<Key> {
        lock(&self.0).values().flatten().map(|(key, _)| key.clone()).collect()
    }

    fn wake_where<'a>(&self, changed: impl Iterator<Item = (u64, Option<&'a Key>)>) {
        let mut wakers = Vec::new();
        let watched = lock(&self.0);
        for (hint, only) in changed {
            for (key, slot) in watched.get(&hint).into_iter().flatten() {
                if only.is_some_and(|only| only != key) {
                    continue;
                }
                let mut pending = lock(&slot.0);
                pending.changed.insert(key.clone());
                wakers.extend(pending.waker.take());
            }
        }
        // A waker runs code that is not ours: not under the lock.
        drop(watched);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Waits for appends to some keys. Made by [`super::KeyedLog::watch`]; dropping it ends the watch.
///
/// It does not keep the store open, and waits for ever once the store is gone.
pub struct Watcher {
    hub: Hub,
    slot: Arc<Slot>,
    keys: BTreeSet<Key>,
}

impl Watcher {
    /// Watches one more key from now on. Returns whether it was not watched before.
    pub fn add(&mut self, key: Key) -> bool {
        let new = self.keys.insert(key.clone());
        if new {
            lock(&self.hub.0).entry(hint(&key)).or_default().push((key, Arc::clone(&self.slot)));
        }
        new
    }

    /// Watches a key no longer, and forgets that it changed. Returns whether it was watched.
    pub fn remove(&mut self, key: &Key) -> bool {
        let watched = self.keys.remove(key);
        if watched {
            unsubscribe(&mut lock(&self.hub.0), key, &self.slot);
            lock(&self.slot.0).changed.remove(key);
        }
        watched
    }

    /// What changed and was not taken yet, without waiting.
    pub fn take(&mut self) -> BTreeSet<Key> {
        mem::take(&mut lock(&self.slot.0).changed)
    }

    /// Waits until something changed, and takes it. Never empty.
    ///
    /// # Cancel safety
    /// Nothing is taken before it is returned.
    pub async fn changed(&mut self) -> BTreeSet<Key> {
        poll_fn(|cx| self.poll_changed(cx)).await
    }

    /// [`Watcher::changed`] for callers that poll. The last context that polled is woken.
    pub fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<BTreeSet<Key>> {
        let mut pending = lock(&self.slot.0);
        if !pending.changed.is_empty() {
            return Poll::Ready(mem::take(&mut pending.changed));
        }
        match &mut pending.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut watched = lock(&self.hub.0);
        for key in &self.keys {
            unsubscribe(&mut watched, key, &self.slot);
        }
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watcher({} keys)", self.keys.len())
    }
}

fn unsubscribe(watched: &mut Watched, key: &Key, slot: &Arc<Slot>) {
    if let hash_map::Entry::Occupied(mut slots) = watched.entry(hint(key)) {
        slots.get_mut().retain(|(of, other)| of != key || !Arc::ptr_eq(other, slot));
        if slots.get().is_empty() {
            slots.remove();
        }
    }
}

/// No holder leaves these maps half changed, so a panic elsewhere does not spoil them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> Key {
        Key::new(1, &[&[n]])
    }

    #[test]
    fn a_wake_reaches_the_watchers_of_the_key_and_nobody_else() {
        let hub = Hub::default();
        let (mut a, mut b, mut both) = (hub.watch([key(1)]), hub.watch([key(2)]), hub.watch([key(1), key(2)]));
        hub.wake([&key(1)]);
        assert_eq!(a.take(), [key(1)].into());
        assert_eq!(b.take(), BTreeSet::new());
        hub.wake([&key(2), &key(1), &key(2)]);
        assert_eq!(both.take(), [key(1), key(2)].into());
        assert_eq!(both.take(), BTreeSet::new());
    }

    #[test]
    fn a_hint_wakes_the_watchers_of_its_key() {
        let hub = Hub::default();
        let (mut a, mut b) = (hub.watch([key(1)]), hub.watch([key(2)]));
        hub.wake_hinted([hint(&key(1)), 7]);
        assert_eq!((a.take(), b.take()), ([key(1)].into(), BTreeSet::new()));
        assert_eq!(hub.watched(), [key(1), key(2)].into());
        // Servers of two versions must agree.
        assert_eq!(hint(&key(1)), 0x082f_2307_b4e8_8e77);
    }

    #[test]
    fn a_removed_key_wakes_no_longer_and_its_change_is_forgotten() {
        let hub = Hub::default();
        let mut watcher = hub.watch([key(1), key(2)]);
        hub.wake([&key(1)]);
        assert!(watcher.remove(&key(1)) && !watcher.remove(&key(1)));
        hub.wake([&key(1)]);
        assert_eq!(watcher.take(), BTreeSet::new());
        assert!(watcher.add(key(1)) && !watcher.add(key(1)));
        hub.wake([&key(1)]);
        assert_eq!(watcher.take(), [key(1)].into());
    }

    #[test]
    fn dropped_watchers_leave_nothing_behind() {
        let hub = Hub::default();
        let watchers: Vec<_> = (0..100).map(|n| hub.watch([key(n), key(n / 2)])).collect();
        assert_eq!(lock(&hub.0).len(), 100);
        drop(watchers);
        assert!(lock(&hub.0).is_empty());
    }
}
