//! Bugs on purpose, each chosen by its name in the environment: the crash rig (`tests/rig`) and the fault rows (`tests/proxy`) must turn red on them, or they
//! prove nothing. Beside them what protects the engine from a delayed EndTxn, switched off piece by piece, a transaction that ends otherwise than it wants, and a wall
//! clock that is wrong.
//!
//! They exist with the cargo feature `mutants` alone, which no release may have: the compiler sees to it. Each is planted in the shell, where the pure machine is
//! fed or obeyed, never in `delivery/`. Red: an invariant of `testing.md` §2.4, under which fault or row of §3; `twin`: a second process of the same name.
//!
//! | bug | what it does | red | under |
//! |---|---|---|---|
//! | `intent_after_call` | writes the intent when the call has come back: a crash in between forgets that somebody called | I3 | kill (1) |
//! | `no_read_back` | calls as soon as the intent is written, whoever else's stands first in the journal | I3 | twin (4) |
//! | `epoch_per_process` | takes intents of an earlier assignment for its own, and goes on with them | I3 | partition leaves and comes back, calls in flight (49) |
//! | `unclaimed_too_late` | says *too_late* (or *unavailable*) without a `refused` of its own in the journal | I3, copies on a channel | twin (4) |
//! | `ignore_not_after` | claims and calls past `not_after` | I5 | SIGSTOP (4), 429 (23) |
//! | `skip_unfinished` | commits positions of dispatches past the lowest unfinished | I3, *unknown* without an intent | kill of a dispatcher (1) |
//! | `all_unknown` | reports every call as *unknown* | I3, I1 | none |
//! | `resend_unknown` | the engine takes *unknown* for *too_late* and dispatches the step again | I3, copies on a channel | kill (1), hang (25) |
//! | `log_text` | logs the request of a call that was not accepted | I7 | refused calls (42) |
//! | `early_200` | answers a webhook before its receipts are acknowledged, which wait 100 ms for others | I13, I2 | kill of a gateway (1), brokers away (6, 32) |
//! | `any_attempt` | books each receipt on the current attempt | I1, the expected end | late, shuffled receipts (27, 30) |
//! | `any_timer` | a wait that was cleared fires all the same, for the current attempt | I8, early | a *failed* receipt, then a long next wait; also (9) |
//! | `fire_undrained` | fires timers without knowing that the receipts are drained | I2, I8 | receipts near d; kill (1), pause (15, 32) |
//! | `lease_without_heartbeat` | ends a lease as *unknown* without a dispatcher's heartbeat | I3, I2 | dispatchers stopped (15) |
//! | `wall_clock` | timers fire, and the gate is asked, by the wall clock alone | I8, early by 3 s (further the gateway's heartbeats hold them) | clock steps (13) |
//! | `one_offset` | every partition's samples of Kafka time count for all | I8 | the clock of one broker (13) |
//! | `seq_restarts` | `seq` is counted in memory and not in the state | I4 | kill of an engine, rebalance (1) |
//! | `apply_before_commit` | the overlay is in RocksDB, and safe there, before the transaction is committed | I10, I1 | `mid_txn` … `before_endtxn`, an abort (1) |
//! | `positions_apart` | positions rest in a column family of their own, flushed before the data | I10 | `mid_flush` |
//! | `stable_end` | restores up to the last stable offset | I10 | markers held back (E3); three brokers |
//! | `follow_group` | starts at the group's position instead of the state's (no `position_record`) | I1, I11 | delayed EndTxn (8) |
//! | `keep_producer` | goes on with a producer whose transaction met trouble (no `recycle`) | I1, I4 | delayed EndTxn (8) |

#[cfg(not(debug_assertions))]
compile_error!("the feature `mutants` plants bugs: it must not be part of a release");

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

/// The variable of the environment that names the bug. It does not begin with `RECADO_`: those are settings.
const BUG: &str = "SEEDED_BUG";
/// The variable that names the mitigations that stay on, with commas between them: `recycle`, `position_record`, `source_skip`, `dedup`. `off` is none of them;
/// `all`, or no such variable, all.
const MITIGATIONS: &str = "MITIGATIONS";
/// The variable that names a file: while it exists, the next transaction is aborted instead of committed, and the file goes.
const ABORT: &str = "SEEDED_ABORT";

/// The variable that says by how many ms this process's wall clock is ahead of the machine's.
const CLOCK: &str = "SEEDED_CLOCK";

/// The variable that says for how many ms a dispatcher waits for its calls in flight when it leaves its partitions.
const LEAVE: &str = "SEEDED_LEAVE";

/// All bugs, in the order of the table above.
const BUGS: [&str; 22] = [
    "intent_after_call",
    "no_read_back",
    "epoch_per_process",
    "unclaimed_too_late",
    "ignore_not_after",
    "skip_unfinished",
    "all_unknown",
    "resend_unknown",
    "log_text",
    "early_200",
    "any_attempt",
    "any_timer",
    "fire_undrained",
    "lease_without_heartbeat",
    "wall_clock",
    "one_offset",
    "seq_restarts",
    "apply_before_commit",
    "positions_apart",
    "stable_end",
    "follow_group",
    "keep_producer",
];

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
    let bug = match mitigation {
        "position_record" => planted("follow_group"),
        "recycle" => planted("keep_producer"),
        _ => false,
    };
    bug || on.as_ref().is_some_and(|on| on.split(',').all(|name| name != mitigation))
}

/// By how much the wall clock is ahead: a fault, not a bug. Every rule must hold in spite of it.
pub(crate) fn clock_ahead() -> Duration {
    static AHEAD: OnceLock<Duration> = OnceLock::new();
    *AHEAD.get_or_init(|| millis(CLOCK).unwrap_or_default())
}

/// For how long a dispatcher waits for its calls in flight, where that is not what it promises: a fault, as if Kafka had not taken their outcomes in time.
pub(crate) fn leaves_within() -> Option<Duration> {
    static WITHIN: OnceLock<Option<Duration>> = OnceLock::new();
    *WITHIN.get_or_init(|| millis(LEAVE))
}

fn millis(name: &str) -> Option<Duration> {
    std::env::var_os(name).and_then(|ms| ms.to_str()?.parse().ok()).map(Duration::from_millis)
}

/// Whether the transaction under way is to be aborted.
pub(crate) fn abort_now() -> bool {
    static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
    FILE.get_or_init(|| std::env::var_os(ABORT).map(PathBuf::from)).as_ref().is_some_and(|file| std::fs::remove_file(file).is_ok())
}
