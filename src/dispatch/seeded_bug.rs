//! Bugs on purpose, each chosen by its name in the environment: the crash rig must turn red on them, or it proves nothing.
//!
//! They exist with the cargo feature `mutants` alone, which no release may have: the compiler sees to it.

#[cfg(not(debug_assertions))]
compile_error!("the feature `mutants` plants bugs: it must not be part of a release");

use std::sync::OnceLock;

/// The variable of the environment that names the bug. It does not begin with `RECADO_`: those are settings.
const VARIABLE: &str = "SEEDED_BUG";

/// The intent is written when the call has come back, and nobody waits for it: a crash in between forgets that somebody called.
pub(super) fn intent_after_call() -> bool {
    chosen("intent_after_call")
}

fn chosen(name: &str) -> bool {
    static CHOSEN: OnceLock<Option<String>> = OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var_os(VARIABLE).and_then(|name| name.into_string().ok())).as_deref() == Some(name)
}
