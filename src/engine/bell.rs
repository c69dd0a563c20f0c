//! Wakes an engine thread that waits, as soon as something comes into one of its queues: it sleeps while there is nothing to do, and no longer.
//!
//! Easily got wrong: librdkafka rings when an empty queue gets its first entry, and for no other. Whoever waits has emptied its queues before, or looks again by itself.
#![expect(unsafe_code, reason = "rdkafka has no safe binding of a callback for queues of one's own")]

use rdkafka::bindings as sys;
use std::ffi::c_void;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Rung by many, heard by one.
#[derive(Debug, Default)]
pub struct Bell {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    rung: bool,
    awaited: bool,
}

impl Bell {
    /// Wakes who waits, or lets the next wait end at once.
    pub fn ring(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.rung = true;
        if state.awaited {
            self.changed.notify_one();
        }
    }

    /// Waits until it has been rung since the last wait, at most so long.
    pub fn wait(&self, at_most: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.awaited = true;
        let (mut state, _) = self.changed.wait_timeout_while(state, at_most, |state| !state.rung).unwrap_or_else(PoisonError::into_inner);
        *state = State::default();
    }
}

/// A queue that rings a bell, as long as this lives.
#[derive(Debug)]
pub(super) struct Ringing {
    queue: *mut sys::rd_kafka_queue_t,
    /// The callback is given its address.
    _bell: Arc<Bell>,
}

impl Ringing {
    /// Has the queue ring from now on.
    ///
    /// # Safety
    /// The queue must outlive the value, and ring no other bell meanwhile.
    pub unsafe fn on(queue: *mut sys::rd_kafka_queue_t, bell: Arc<Bell>) -> Self {
        // SAFETY: the queue is live; the bell stays where it is until `drop` has ended the ringing.
        unsafe { sys::rd_kafka_queue_cb_event_enable(queue, Some(rung), Arc::as_ptr(&bell).cast_mut().cast()) };
        Self { queue, _bell: bell }
    }
}

impl Drop for Ringing {
    fn drop(&mut self) {
        // SAFETY: the queue is live by the contract of `on`. librdkafka rings and takes the callback away under the same lock: behind this line nobody rings.
        unsafe { sys::rd_kafka_queue_cb_event_enable(self.queue, None, std::ptr::null_mut()) };
    }
}

/// librdkafka calls it with the queue's lock held, from whichever thread has put something in.
///
/// # Safety
/// `bell` is the bell of a [`Ringing`] that lives.
unsafe extern "C" fn rung(_: *mut sys::rd_kafka_t, bell: *mut c_void) {
    // SAFETY: by the contract above; a bell may be rung from any thread.
    unsafe { &*bell.cast::<Bell>() }.ring();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Partition;
    use crate::engine::end_offsets::EndOffsets;
    use rdkafka::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer};

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_wait_ends_with_the_ring_and_one_that_came_before_counts_once() {
        let bell = Arc::new(Bell::default());
        bell.ring();
        bell.ring();
        let began = crate::clock::monotonic();
        bell.wait(LONG);
        let other = std::thread::spawn({
            let bell = bell.clone();
            move || bell.ring()
        });
        bell.wait(LONG);
        other.join().unwrap();
        assert!(crate::clock::monotonic() < began + LONG / 2);
        bell.wait(Duration::from_millis(1));
        assert!(!bell.state.lock().unwrap().rung, "what was heard is over");
    }

    #[test]
    fn a_queue_rings_when_something_comes_and_nobody_does_when_it_is_gone() {
        let consumer: BaseConsumer = ClientConfig::new().create().unwrap();
        let bell = Arc::new(Bell::default());
        // SAFETY: the consumer outlives it.
        let mut questions = unsafe { EndOffsets::new(consumer.client()) };
        questions.ring(&bell);
        let began = crate::clock::monotonic();
        // Of one partition twice: librdkafka refuses that without asking anybody.
        questions.ask(["pix", "pix"].map(|topic| (topic.to_owned(), Partition(0))), LONG);
        bell.wait(LONG);
        assert!(crate::clock::monotonic() < began + LONG / 2, "it rang");
        assert!(questions.answer(Duration::ZERO).is_some_and(|answer| answer.is_err()));
        drop(questions);
        assert_eq!(Arc::strong_count(&bell), 1, "whoever rang it is gone");
    }
}
