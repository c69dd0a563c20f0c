//! I2, I8 below: what was begun because something did not come back in time, and whether it had.

use super::messages::{Message, begins_wait};
use super::statuses::begins;
use super::{CUT_MS, Court, SLOW_NEAR_MS};
use crate::evidence::Row;
use crate::plan::{Kind, Planned};
use recado::delivery::{Attempt, Hold, MessageId, Outcome, Reason, Receipt, StatusWord};
use recado::event::records::{Dispatch, Returned, StatusRecord};
use std::collections::BTreeMap;

/// What comes so near to a deadline, on either side, might be judged wrongly. Source: testing.md §2.4, I8.
const NEAR_MS: i64 = 200;

/// What a failure began, as it is told.
struct Begun<'r, T> {
    row: &'r Row<T>,
    leads: Leads,
    reason: Reason,
    /// By Recado's own clock, like the wait that it is compared with.
    decided: Option<i64>,
}

/// Where it leads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leads {
    Again,
    On,
    Failed,
    Expired,
}

impl Court<'_> {
    /// I2, I8: each follows the attempt before it; no fallback by a timer before its deadline, none much after it, and none where a receipt was acknowledged before it.
    /// All of `recado.retry.*`.
    pub(super) fn fallbacks(&mut self, id: MessageId, message: &Message<'_>, event: &Planned) {
        for row in &message.dispatches {
            self.topic(id, row);
            let Some(why) = row.what.why else { continue };
            self.counts.one("later attempts");
            let what = format!("{} {}", row.what.channel.word(), row.what.attempt_id.attempt);
            self.in_turn(id, message, row.what.attempt_id.attempt, why.from);
            self.held(id, why.hold, row.at, &what);
            if by_timer(why.reason) {
                self.counts.one("fallbacks by a timer judged");
                self.waited(id, message, event, why.from, row.at, &what);
                // What says that nothing went out begins no wait: who had read it would not have waited.
                let word = if self.vouched(message, why.from) { begins_wait } else { names };
                self.heard(id, message, why.from, why.hold, row.at, &what, word);
                self.punctual(id, message, event, why.from, row.at, &what);
            } else {
                let leads = if row.what.attempt_id.attempt.step == why.from.step { Leads::Again } else { Leads::On };
                let decided = decided(message, row.what.attempt_id.attempt);
                self.caused(id, message, event, why.from, &Begun { row, leads, reason: why.reason, decided }, &what);
            }
        }
        let mut delivered: BTreeMap<Attempt, i64> = BTreeMap::new();
        for (at, id) in message.acknowledged() {
            delivered.entry(id.attempt).or_insert(at);
        }
        for (attempt, at) in delivered {
            self.counts.one("attempts delivered");
            let near = message.deadline(attempt, event.kind).is_some_and(|deadline| (at - deadline).abs() <= NEAR_MS);
            self.counts.add("attempts delivered within 200 ms of their deadline", usize::from(near));
        }
        self.given_up(id, message, event);
    }

    /// The ends that say that nothing more is tried: the last wait was over, or the failure came before any word that it had arrived.
    fn given_up(&mut self, id: MessageId, message: &Message<'_>, event: &Planned) {
        let Some(terminal) = message.terminal() else { return };
        let word = terminal.what.status.word;
        self.held(id, terminal.what.status.hold, terminal.at, word.word());
        // Not when it says that it was decided: that is Recado's own word.
        let produced = terminal.at;
        let attempts = || message.dispatches.iter().map(|row| row.what.attempt_id.attempt);
        match word {
            StatusWord::Unconfirmed => {
                if let Some(last) = attempts().filter(|attempt| message.may_have_gone_out(*attempt)).max() {
                    self.waited(id, message, event, last, produced, "the end, unconfirmed,");
                    if attempts().max() == Some(last) {
                        self.punctual(id, message, event, last, produced, "the end, unconfirmed,");
                    }
                }
                if let Some(last) = attempts().max() {
                    // Any word: after a copy that was refused this is the end, too.
                    self.heard(id, message, last, terminal.what.status.hold, produced, "the end, unconfirmed,", names);
                }
            }
            StatusWord::Failed | StatusWord::Expired => {
                let Some(last) = attempts().max() else { return };
                let status = &terminal.what.status;
                let leads = if word == StatusWord::Failed { Leads::Failed } else { Leads::Expired };
                // A wait's end fails nothing; but it may leave too little life for what comes next.
                if leads == Leads::Failed || !by_timer(status.reason) {
                    let begun = Begun { row: terminal, leads, reason: status.reason, decided: Some(terminal.what.decided.millis()) };
                    self.caused(id, message, event, last, &begun, &format!("the end, {},", word.word()));
                } else if message.may_have_gone_out(last) {
                    self.counts.one("ends by a wait that were not unconfirmed");
                    let what = format!("the end, {},", word.word());
                    self.arrived_before(id, message, event, last, &what);
                    self.expired_in_time(id, message, event, last, produced, &what);
                }
            }
            _ => {}
        }
    }

    /// I8 above, for a wait whose end found too little life left for what comes next. It is counted apart from what fires: the expiry may have cut it short, never drawn it
    /// out (`wait_from` of src/delivery/machine/act.rs), and then it comes before the time to which it is held.
    fn expired_in_time(&mut self, id: MessageId, message: &Message<'_>, event: &Planned, from: Attempt, at: i64, what: &str) {
        let others = std::mem::take(&mut self.counts);
        self.punctual(id, message, event, from, at, what);
        let own = std::mem::replace(&mut self.counts, others);
        let [calm, near] = ["timers judged above: within a second", "timers judged above: some seconds after their partition is served"].map(|of| own.of(of));
        self.counts.add("ends expired by a wait, held to its time", calm + near);
        self.counts.add("of those ends, held to a second of it", calm);
    }

    /// I2, E5: each later attempt follows the one that was dispatched before it, and no other: it is the same step once more, or the first of the next one. So none has two
    /// successors, and none is left out. Source: `again` and `next_step` of src/delivery/machine.rs, which go on from the attempt dispatched last and skip no step.
    fn in_turn(&mut self, id: MessageId, message: &Message<'_>, attempt: Attempt, from: Attempt) {
        let before = message.dispatches.iter().map(|row| row.what.attempt_id.attempt).filter(|other| *other < attempt).max();
        if before != Some(from) {
            let before = before.map_or_else(|| "nothing".to_owned(), |before| before.to_string());
            self.fault("I2 fallback from another attempt", Some(id), format!("{attempt} says that it follows {from}, and {before} was dispatched before it."));
        }
        let once_more = (attempt.step, u32::from(attempt.n)) == (from.step, u32::from(from.n) + 1);
        let on = (u32::from(attempt.step), attempt.n) == (u32::from(from.step) + 1, 1);
        if !once_more && !on {
            self.fault("I2 fallback that leaves something out", Some(id), format!("{attempt} follows {from}."));
        }
    }

    /// I3: nobody is given up of whom nothing was heard, but where a hold says why.
    fn heard(&mut self, id: MessageId, message: &Message<'_>, from: Attempt, hold: Hold, at: i64, what: &str, word: fn(&Returned, Attempt) -> bool) {
        self.counts.one("waits held against what was heard of their attempt");
        if hold == Hold::No && !message.returned.iter().any(|row| row.at <= at && word(&row.what, from)) {
            self.fault("I3 given up unheard", Some(id), format!("{what} came though nobody had said what became of {from}."));
        }
    }

    /// Whether a lease of this attempt that ended unheld proves that its outcome had been read. It ends so only by a heartbeat that vouches for all whose lease was over,
    /// and that is written behind their outcomes (`beat` of src/dispatch/tenure.rs, `verdict` of src/engine/gate.rs). But it knows only of dispatches that can be read: not
    /// of one that a process which stood still appends long after its decision, or that the brokers do not replicate, until its lease is all but over.
    fn vouched(&mut self, message: &Message<'_>, attempt: Attempt) -> bool {
        let Some(row) = message.dispatches.iter().find(|row| row.what.attempt_id.attempt == attempt) else { return true };
        let end = row.what.lease_end.millis();
        let vouched = row.at + SLOW_NEAR_MS + self.evidence.clocks_apart_ms + self.slow(row.at, end) < end;
        self.counts.add("waits of attempts that were dispatched when their lease was all but over", usize::from(!vouched));
        vouched
    }

    /// Attempt 1/1 lies in a dispatch topic, every later one in a retry topic, with its cause.
    fn topic(&mut self, id: MessageId, row: &Row<Dispatch>) {
        let first = row.what.attempt_id.attempt == Attempt::FIRST;
        let word = if first { "dispatch." } else { "retry." };
        let name = row.topic.rsplit_once(word).map(|(_, rest)| rest.strip_suffix(".bulk").unwrap_or(rest));
        if name != Some(row.what.channel.word()) || row.what.why.is_none() != first {
            self.fault("I2 wrong topic", Some(id), format!("{} on {} lies in {}.", row.what.attempt_id.attempt, row.what.channel.word(), row.topic));
        }
    }

    /// I8 below, I2: nothing before the deadline that follows from the provider's answer, and nothing where a receipt was acknowledged before it. When it was
    /// appended says less: the leader stamps a record before the others have it, and until then nobody may be told of it (seen on a busy machine: 700 ms before).
    fn waited(&mut self, id: MessageId, message: &Message<'_>, event: &Planned, from: Attempt, at: i64, what: &str) {
        let Some(deadline) = message.deadline(from, event.kind) else { return };
        self.counts.one("timers judged below: never early");
        if at < deadline - CUT_MS {
            self.fault("I8 early", Some(id), format!("{what} came {} ms before the wait of {from} could end.", deadline - at));
        }
        self.arrived_before(id, message, event, from, what);
        self.counts.add("receipts held against a deadline that ran out", message.acknowledged().count());
        if message.acknowledged().any(|(acknowledged, _)| (acknowledged - deadline).abs() <= NEAR_MS) {
            self.counts.one("receipts within 200 ms of a deadline that ran out");
        }
    }

    /// I2: no receipt was acknowledged before the wait of this attempt could end.
    fn arrived_before(&mut self, id: MessageId, message: &Message<'_>, event: &Planned, from: Attempt, what: &str) {
        let Some(deadline) = message.deadline(from, event.kind) else { return };
        for (came, by) in message.acknowledged().map(|(at, id)| (at, id.attempt)) {
            if came < deadline - CUT_MS {
                let sentence = format!("{what}: the receipt of {by} was acknowledged {} ms ahead.", deadline - came);
                self.fault("I2 fallback for an acknowledged receipt", Some(id), sentence);
            }
        }
    }

    /// I2: what a failure began had that failure for a cause: it lay there before, and is what is said of it; and nothing was delivered before it.
    fn caused<T>(&mut self, id: MessageId, message: &Message<'_>, event: &Planned, from: Attempt, begun: &Begun<'_, T>, what: &str) {
        self.counts.one("fallbacks by a failure judged");
        if message.failures(from).next().is_none() {
            self.fault("I2 fallback without a cause", Some(id), format!("{what}: nothing failed of {from}."));
            return;
        }
        let causes: Vec<&Row<Returned>> = message.failures(from).filter(|row| self.lay_there(row, begun.row)).collect();
        let Some(cause) = causes.iter().map(|row| row.offset).min() else {
            self.fault("I2 fallback before its cause", Some(id), format!("{what}: {from} failed only later."));
            return;
        };
        let reason = begun.reason;
        if !causes.iter().any(|row| gives(&row.what, begun.leads, reason)) {
            self.fault("I2 fallback for another reason", Some(id), format!("{what}: {}, which nobody said of {from}.", reason.word()));
        }
        let late = |row: &&Row<Returned>| matches!(&row.what, Returned::Outcome { outcome: Outcome::TooLate, .. });
        if reason == Reason::Unavailable && causes.iter().all(late) {
            self.counts.one("steps given up for our own delay");
            if let Some(why) = impatient(message, event, from, begun.decided) {
                self.fault("I2 step given up for one delay", Some(id), format!("{what}: {from} was too late, and {why}."));
            }
        }
        if let Some((row, attempt)) = message.arrived().find(|(row, _)| row.offset < cause) {
            let sentence = format!("{what}: the receipt of {attempt} lies {} records before the failure of {from}.", cause - row.offset);
            self.fault("I2 fallback after a receipt", Some(id), sentence);
        }
    }

    /// Whether the engine may have read this before it wrote that: it was appended by then, and that is of no transaction before the one that moved the position past it.
    fn lay_there<T>(&self, cause: &Row<Returned>, effect: &Row<T>) -> bool {
        let passed = self.passed(cause.partition, cause.offset);
        cause.at <= effect.at + CUT_MS + self.evidence.clocks_apart_ms && !passed.is_some_and(|passed| self.preceded(effect, cause.partition, passed))
    }

    /// For how long of this stretch brokers or machine were slow, ms.
    pub(super) fn slow(&self, from: i64, to: i64) -> i64 {
        self.evidence.slow.iter().map(|(began, ended)| (to.min(*ended) - from.max(*began)).max(0)).sum()
    }
}

/// Whether this is a word of what became of that attempt.
fn names(returned: &Returned, attempt: Attempt) -> bool {
    matches!(returned, Returned::Outcome { attempt_id, .. } | Returned::Receipt { attempt_id, .. } if attempt_id.attempt == attempt)
}

/// Whether a wait's end is the reason.
fn by_timer(reason: Reason) -> bool {
    matches!(reason, Reason::Timer | Reason::Unknown | Reason::Resend | Reason::GatewaySilent | Reason::DispatcherSilent | Reason::Storm)
}

/// Whether this is what the machine says of such a failure. A provider's own reason goes on as it came; our own delay has the same step tried again, and where it is
/// given up for that, it is called unavailable. Source: `outcome`, `receipt` and `too_late` of src/delivery/machine.rs.
fn gives(failure: &Returned, leads: Leads, reason: Reason) -> bool {
    let or = |said: Reason, otherwise| if said == Reason::None { otherwise } else { said };
    let given = match failure {
        Returned::Outcome { outcome: Outcome::TooLate, .. } => {
            return match leads {
                Leads::Again => reason == Reason::TooLate,
                Leads::On | Leads::Failed => reason == Reason::Unavailable,
                Leads::Expired => matches!(reason, Reason::TooLate | Reason::Unavailable),
            };
        }
        Returned::Outcome { outcome: Outcome::Rejected, reason, .. } => or(*reason, Reason::Provider),
        Returned::Outcome { outcome: Outcome::Throttled, reason, .. } => or(*reason, Reason::Throttled),
        Returned::Outcome { outcome: Outcome::Unavailable, reason, .. } => or(*reason, Reason::Unavailable),
        Returned::Receipt { receipt: Receipt::Failed, reason, .. } => or(*reason, Reason::Failed),
        _ => return false,
    };
    leads != Leads::Again && reason == given
}

/// Why a step was not to be given up for our own delay: that is for the express lane alone, for a second delay in a row, and when the step's wait is over that began
/// with its first attempt.
fn impatient(message: &Message<'_>, event: &Planned, from: Attempt, decided_at: Option<i64>) -> Option<&'static str> {
    if event.kind == Kind::Bill {
        return Some("bulk has time");
    }
    if from.n < 2 {
        return Some("it was the first of its step");
    }
    let wait = *event.kind.waits().get(usize::from(from.step) - 1)?;
    let began = decided(message, Attempt { n: 1, ..from })?;
    decided_at.is_some_and(|at| at < began + wait).then_some("the step's wait was not over")
}

/// When this attempt was decided upon, as its status says.
fn decided(message: &Message<'_>, attempt: Attempt) -> Option<i64> {
    let begun = |row: &&&Row<StatusRecord>| row.what.live && row.what.status.attempt == Some(attempt) && begins(row.what.status.word);
    message.statuses.iter().find(begun).map(|row| row.what.decided.millis())
}
