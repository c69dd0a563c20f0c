//! Ends the process when a call into the Kafka client hangs beyond its bound: some of them ignore their time-out. Restart is cheap by design. Before that it tells
//! of a call that is merely slow: its thread stands still and cannot.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often the watchdog looks.
const PACE: Duration = Duration::from_millis(500);
/// A call that takes longer is told of. A transaction takes some 10 ms, and 2 s make it suspect; the rest is room for a broker that has just been restarted.
const SLOW: Duration = Duration::from_secs(5);

/// One thread's entry book: which call it is in, and since when.
#[derive(Clone, Debug)]
pub struct Watch(Arc<Book>);

#[derive(Debug)]
struct Book {
    name: String,
    bound: Duration,
    /// Monotonic ms at which the call under way began; 0 when there is none.
    since: AtomicU64,
    call: std::sync::Mutex<&'static str>,
}

/// Leaves the call when dropped.
pub struct Guard<'a>(&'a Book);

impl Watch {
    /// Starts a watchdog for one thread. A call longer than `bound` ends the process; `slow` is told, again and again, of one that is under way for more than 5 s,
    /// and for how long.
    pub fn start(name: String, bound: Duration, slow: impl Fn(&'static str, Duration) + Send + 'static) -> std::io::Result<Self> {
        let book = Arc::new(Book { name, bound, since: AtomicU64::new(0), call: std::sync::Mutex::new("") });
        let watched = Arc::downgrade(&book);
        std::thread::Builder::new().name("watchdog".into()).spawn(move || {
            while let Some(book) = watched.upgrade() {
                let call = *book.call.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let lasts = book.lasts(now_ms());
                if lasts > SLOW {
                    slow(call, lasts);
                }
                if lasts > book.bound {
                    tracing::error!(thread = book.name, call, "A call into the Kafka client hangs; the process ends so that a restart can take over.");
                    std::process::abort();
                }
                drop(book);
                std::thread::sleep(PACE);
            }
        })?;
        Ok(Self(book))
    }

    /// Notes that a call begins.
    pub fn enter(&self, call: &'static str) -> Guard<'_> {
        *self.0.call.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = call;
        self.0.since.store(now_ms(), Ordering::Release);
        Guard(&self.0)
    }
}

impl Book {
    /// For how long the call under way lasts; zero when there is none.
    fn lasts(&self, now: u64) -> Duration {
        match self.since.load(Ordering::Acquire) {
            0 => Duration::ZERO,
            since => Duration::from_millis(now.saturating_sub(since)),
        }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.since.store(0, Ordering::Release);
    }
}

fn now_ms() -> u64 {
    u64::try_from(crate::clock::monotonic().as_millis()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_lasts_only_while_it_is_under_way() {
        let watch = Watch::start("test".into(), Duration::from_secs(20), |_, _| {}).unwrap();
        assert_eq!(watch.0.lasts(u64::MAX), Duration::ZERO);
        let guard = watch.enter("commit_transaction");
        let since = watch.0.since.load(Ordering::Acquire);
        assert_eq!(watch.0.lasts(since + 20_001), Duration::from_millis(20_001));
        drop(guard);
        assert_eq!(watch.0.lasts(u64::MAX), Duration::ZERO);
    }
}
