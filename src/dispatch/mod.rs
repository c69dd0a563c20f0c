//! From a dispatch to its outcome, with at most one call to the provider for each attempt, whatever crashes when.

mod slot;
pub mod ledger;
