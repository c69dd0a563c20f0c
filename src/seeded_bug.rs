//! Bugs on purpose, each chosen by its name in the environment: the crash rig (`tests/rig`) and the fault rows (`tests/proxy`) must turn red on them, or they
//! prove nothing. Beside them what protects the engine from a delayed EndTxn, switched off piece by piece, and a transaction that ends otherwise than it wants.
//!
//! They exist with the cargo feature `mutants` alone, which no release may have: the compiler sees to it.

#[cfg(not(debug_assertions))]
compile_error!("the feature `mutants` plants bugs: it must not be part of a release");

use std::path::PathBuf;
use std::sync::OnceLock;

/// The variable of the environment that names the bug. It does not begin with `RECADO_`: those are settings.
const BUG: &str = "SEEDED_BUG";
/// The variable that names the mitigations that stay on, with commas between them: `recycle`, `position_record`, `source_skip`, `dedup`. `off` is none of them;
/// `all`, or no such variable, all.
const MITIGATIONS: &str = "MITIGATIONS";
/// The variable that names a file: while it exists, the next transaction is aborted instead of committed, and the file goes.
const ABORT: &str = "SEEDED_ABORT";

/// The bugs. `intent_after_call`: the intent is written when the call has come back, and nobody waits for it, so a crash in between forgets that somebody called.
const BUGS: [&str; 1] = ["intent_after_call"];

/// Whether the environment names a bug that there is; to be asked once, at the start.
pub(crate) fn check() -> anyhow::Result<()> {
    match chosen() {
        Some(name) if !BUGS.contains(&name) => anyhow::bail!("{BUG}: no bug is called {name}"),
        Some(_) | None => Ok(()),
    }
}

/// Whether this process has this bug.
pub(crate) fn planted(name: &str) -> bool {
    chosen() == Some(name)
}

fn chosen() -> Option<&'static str> {
    static CHOSEN: OnceLock<Option<String>> = OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var_os(BUG).map(|name| name.to_string_lossy().into_owned())).as_deref()
}

/// Whether this mitigation is switched off.
pub(crate) fn without(mitigation: &str) -> bool {
    static ON: OnceLock<Option<String>> = OnceLock::new();
    let on = ON.get_or_init(|| std::env::var_os(MITIGATIONS).and_then(|on| on.into_string().ok()).filter(|on| on != "all"));
    on.as_ref().is_some_and(|on| on.split(',').all(|name| name != mitigation))
}

/// Whether the transaction under way is to be aborted.
pub(crate) fn abort_now() -> bool {
    static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
    FILE.get_or_init(|| std::env::var_os(ABORT).map(PathBuf::from)).as_ref().is_some_and(|file| std::fs::remove_file(file).is_ok())
}
