//! What protects the engine from a delayed EndTxn, switched off on purpose, and a transaction that ends otherwise than the engine wants: the test of row 8
//! (`tests/proxy`) must see it fail without its protection, or it proves nothing.
//!
//! They exist with the cargo feature `mutants` alone, which no release may have: the compiler sees to it.

#[cfg(not(debug_assertions))]
compile_error!("the feature `mutants` plants bugs: it must not be part of a release");

use std::path::PathBuf;
use std::sync::OnceLock;

/// The variable of the environment that names the mitigations that stay on, with commas between them: `recycle`, `position_record`, `source_skip`, `dedup`. `off`
/// is none of them; `all`, or no such variable, all.
const MITIGATIONS: &str = "MITIGATIONS";
/// The variable that names a file: while it exists, the next transaction is aborted instead of committed, and the file goes.
const ABORT: &str = "SEEDED_ABORT";

/// Whether this mitigation is switched off.
pub(super) fn without(mitigation: &str) -> bool {
    static ON: OnceLock<Option<String>> = OnceLock::new();
    let on = ON.get_or_init(|| std::env::var_os(MITIGATIONS).and_then(|on| on.into_string().ok()).filter(|on| on != "all"));
    on.as_ref().is_some_and(|on| on.split(',').all(|name| name != mitigation))
}

/// Whether the transaction under way is to be aborted.
pub(super) fn abort_now() -> bool {
    static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
    FILE.get_or_init(|| std::env::var_os(ABORT).map(PathBuf::from)).as_ref().is_some_and(|file| std::fs::remove_file(file).is_ok())
}
