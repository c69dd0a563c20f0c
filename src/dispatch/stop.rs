//! How the role's threads end together: asked to from outside, or because one of them cannot go on.

use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// A token with its cause.
#[derive(Clone, Debug)]
pub struct Stop {
    token: CancellationToken,
    cause: Arc<Mutex<Option<anyhow::Error>>>,
}

impl Stop {
    /// Stops when `token` is cancelled.
    pub fn new(token: CancellationToken) -> Self {
        Self { token: token.child_token(), cause: Arc::default() }
    }

    /// Whether it is time to end.
    pub fn stopped(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Ends all, because of this; the first cause counts.
    pub fn fail(&self, error: anyhow::Error) {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.token.cancel();
    }

    /// Why it ended; `None` where it was asked to.
    pub fn cause(&self) -> Option<anyhow::Error> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
