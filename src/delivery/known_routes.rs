//! Routes by their stored bytes. Each delivery carries its own, thousands carry the same one: it is read once.
//!
//! What is easily got wrong: an edited route has other bytes, and deliveries that began before keep theirs. What is known must not grow with each edit.

use super::Route;
use std::sync::Arc;

/// So many are known at a time (a guess: a bank has a dozen routes, and edits few of them within the life of a delivery). One more, and the oldest is read anew
/// when it comes again.
const KNOWN_MAX: usize = 64;

/// The routes that were met last for the first time.
#[derive(Debug, Default)]
pub struct KnownRoutes(Vec<(Box<[u8]>, Arc<Route>)>);

impl KnownRoutes {
    /// The route of these bytes; read where they are new.
    pub(super) fn of(&mut self, bytes: &[u8], read: impl FnOnce() -> Option<Route>) -> Option<Arc<Route>> {
        if let Some((_, route)) = self.0.iter().find(|(known, _)| **known == *bytes) {
            return Some(route.clone());
        }
        let route = Arc::new(read()?);
        if self.0.len() == KNOWN_MAX {
            self.0.remove(0);
        }
        self.0.push((bytes.into(), route.clone()));
        Some(route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{Lane, OnUnknown};
    use std::time::Duration;

    fn route(number: u32) -> Route {
        Route { lane: Lane::Express, steps: Vec::new(), on_unknown: OnUnknown::GiveUp, linger: Duration::from_secs(number.into()), call_max: Duration::ZERO }
    }

    #[test]
    fn one_is_read_once_while_it_is_known_and_bytes_that_are_none_are_not_kept() {
        let mut known = KnownRoutes::default();
        for number in 0..100_u32 {
            assert_eq!(known.of(&number.to_be_bytes(), || Some(route(number))), Some(route(number).into()));
        }
        assert_eq!(known.of(&99_u32.to_be_bytes(), || unreachable!()), Some(route(99).into()));
        assert_eq!(known.of(&0_u32.to_be_bytes(), || None), None, "read again, and now it is none");
        assert_eq!(known.0.len(), KNOWN_MAX);
    }
}
