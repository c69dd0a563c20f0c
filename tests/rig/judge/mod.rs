//! The judge: seed, send log and status together. Enters the evidence; leaves every fault that it finds, and counts of what it judged.
//!
//! Easily got wrong: what Recado says of itself is never the measure where the provider's log or the seed knows it. Its outcomes and its journal only say which
//! of several ends a fault allows.

mod calls;
mod ends;
mod fallbacks;
mod fires;
mod history;
mod limits;
mod messages;
mod outcomes;
mod positions;
mod receipts;
mod recipients;
mod rules;
mod service;
mod statuses;
mod taken;
mod tenures;
mod told;
mod unknown;
mod whole;

pub use fires::HOLD_MAX_MS;
pub use history::{Histories, Subject, by_channel};
pub use limits::LAG_MS;
pub use outcomes::{BACK_OFF_MAX_MS, FOLLOWED_WITHIN_MS};
pub use rules::{blind, enough, of_story, table};
pub use service::{served_within, troubles};
pub use tenures::Tenures;
pub use unknown::{APPENDED_WITHIN_MS, HEARD_WITHIN_MS, TIMED_OUT_SLOW_MAX, TOLD_WITHIN_MS, unexplained_max};

use crate::bank::{What, Written};
use crate::evidence::Evidence;
use crate::faults::Cause;
use crate::plan::{Kind, USED};
use crate::segments::Committed;
use messages::{Message, messages};
use recado::delivery::MessageId;
use recado::simulator::Script;
use serde::{Deserialize, Serialize};
use std::cell::OnceCell;
use std::collections::BTreeMap;

/// A life that comes no nearer to a fault than this is judged by the seed alone. Source: testing.md §2.4, I1.
const CLEAR_MS: i64 = 5_000;
/// Brokers or a machine that were slow for a moment are a fault too, which nobody injected: what lies so near was perhaps slow with them. A guess.
const SLOW_NEAR_MS: i64 = 1_000;
/// Brokers whose Java has just started compile what they run, on the cores that everybody shares: so long after the first event no timer is judged above. Seen
/// without it: a fallback 1,004 ms late, five seconds after the first event.
const WARMING_MS: i64 = 10_000;
/// They may be slow, with what lies near, for one part of so many of a run. A guess: a run on two cores was slow for up to a sixteenth, without what was near.
const SLOW_PARTS_MIN: i64 = 4;
/// A run with fewer faults is not asked for what needs luck, and one bad moment of the machine is too large a part of it.
pub const KILLS_JUDGED: usize = 20;
/// Two readings of one clock by two processes, each cut to whole ms.
pub const CUT_MS: i64 = 2;
/// How much later than its sending a provider on a busy machine may take up a call. A guess.
pub const PROVIDER_MS: i64 = 1_000;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fault {
    /// The invariant of testing.md §2.4, and a word for the anomaly.
    pub rule: &'static str,
    #[serde(with = "as_bytes")]
    pub message: Option<MessageId>,
    pub sentence: String,
}

/// What was judged: calm proves nothing.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub judged: BTreeMap<&'static str, usize>,
    /// Of each story, how many lives were clear of every fault: those that the seed alone judges.
    pub clear: BTreeMap<(Kind, &'static str), usize>,
}

/// The lives that the seed alone judges, all stories together.
const CLEAR: &str = "lives clear of every fault";

impl Counts {
    fn add(&mut self, what: &'static str, count: usize) {
        *self.judged.entry(what).or_default() += count;
    }

    fn one(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    fn of(&self, what: &str) -> usize {
        self.judged.get(what).copied().unwrap_or(0)
    }
}

/// Judges everything.
pub fn judge(evidence: &Evidence) -> (Vec<Fault>, Counts) {
    let mut court = Court::new(evidence);
    let all = messages(evidence);
    court.events(&all);
    for (id, message) in &all {
        court.message(*id, message);
    }
    court.strays();
    court.gaps();
    court.positions(&all);
    court.whole();
    let Court { mut faults, mut counts, .. } = court;
    faults.sort();
    faults.dedup();
    let moves = evidence.kills.iter().filter(|kill| kill.cause == Cause::Moved).count();
    counts.add("faults injected", evidence.kills.len());
    counts.add("kills and stops", evidence.kills.len() - moves);
    counts.add("kills that left a transaction open", evidence.kills.iter().filter(|kill| kill.open_transactions > 0).count());
    counts.add("kills before it was ready", evidence.kills.iter().filter(|kill| !kill.was_ready).count());
    (faults, counts)
}

struct Court<'e> {
    evidence: &'e Evidence,
    /// The bank's own record of each event.
    written: BTreeMap<usize, &'e Written>,
    /// What it wrote when a code was used.
    used: BTreeMap<usize, &'e Written>,
    /// From when on the brokers' Java has compiled what it runs, ms since 1970.
    warm: i64,
    /// Stretches that a fault touches, each with what lies too near to it, in their order and apart from each other.
    faulty: Vec<(i64, i64)>,
    /// By partition, the moves of the position in the input of used codes.
    cancels: BTreeMap<i32, Vec<Move>>,
    /// The same in the receipts topic.
    receipts: BTreeMap<i32, Vec<Move>>,
    /// Who held the dispatchers' partitions.
    tenures: Tenures,
    /// How the phones behave, once somebody has asked.
    script: OnceCell<Script>,
    /// By partition, when it was served.
    served: BTreeMap<i32, Vec<service::Stretch>>,
    /// By process, when it was away.
    away: BTreeMap<&'static str, Vec<(i64, i64)>>,
    faults: Vec<Fault>,
    counts: Counts,
}

impl<'e> Court<'e> {
    fn new(evidence: &'e Evidence) -> Self {
        let wrote = |what: What| evidence.written.iter().filter(move |written| written.what == what).map(|written| (written.event, written)).collect();
        let (written, used) = (wrote(What::Event), wrote(What::Used));
        let mut near: Vec<(i64, i64)> = evidence.kills.iter().map(|kill| (kill.at - CLEAR_MS, kill.ready.map_or(i64::MAX, |ready| ready + CLEAR_MS))).collect();
        near.extend(evidence.slow.iter().map(|(from, to)| (from - SLOW_NEAR_MS, to + SLOW_NEAR_MS)));
        near.sort_unstable();
        let mut faulty: Vec<(i64, i64)> = Vec::new();
        for (from, to) in near {
            match faulty.last_mut() {
                Some((_, end)) if from <= *end => *end = to.max(*end),
                _ => faulty.push((from, to)),
            }
        }
        let began = evidence.written.iter().map(|written| written.at).min().unwrap_or(0);
        let tenures = Tenures::of(evidence);
        let (cancels, receipts) = (moves(evidence, USED), moves(evidence, "receipts"));
        let (served, away, warm) = (service::served(evidence), service::away(evidence), began + WARMING_MS);
        Self {
            evidence,
            written,
            used,
            warm,
            faulty,
            cancels,
            receipts,
            served,
            away,
            tenures,
            script: OnceCell::new(),
            faults: Vec::new(),
            counts: Counts::default(),
        }
    }

    fn fault(&mut self, rule: &'static str, message: Option<MessageId>, sentence: impl Into<String>) {
        self.faults.push(Fault { rule, message, sentence: sentence.into() });
    }

    /// Whether no fault came near this stretch.
    fn calm(&self, from: i64, to: i64) -> bool {
        let next = self.faulty.partition_point(|(_, end)| *end < from);
        self.faulty.get(next).is_none_or(|(begin, _)| *begin > to)
    }

    /// The bank's own record of the message's event.
    fn written(&self, message: &Message<'_>) -> Option<&'e Written> {
        self.written.get(&message.event?).copied()
    }

    /// The transaction with which a withdrawal was decided upon: the first whose position lies above it.
    fn decided(&self, used: &Written) -> Option<Committed> {
        let moves = self.cancels.get(&used.partition)?;
        moves.get(moves.partition_point(|moved| moved.next <= used.offset)).map(|moved| moved.by)
    }

    fn message(&mut self, id: MessageId, message: &Message<'_>) {
        self.statuses(id, message);
        self.calls(id, message);
        self.attempts(id, message);
        self.after_the_end(id, message);
        self.after_the_cancel(id, message);
        self.told(id, message);
        let Some(event) = message.event.map(|event| &self.evidence.plan.events[event]) else { return };
        self.recipients(id, message, event);
        self.limits(id, message, event);
        self.lives(id, message, event);
        self.fallbacks(id, message, event);
        self.copies(id, message, event);
        let before = self.counts.of(CLEAR);
        self.end(id, message, event);
        *self.counts.clear.entry((event.kind, event.story.name)).or_default() += self.counts.of(CLEAR) - before;
        self.receipts(id, message);
        self.taken(id, message);
    }
}

/// A position record that moved.
#[derive(Clone, Copy)]
struct Move {
    /// The next offset to be read.
    next: i64,
    /// The transaction that made it stand.
    by: Committed,
    /// When the end of the same producer's next transaction was written beside it, ms since 1970.
    until: i64,
}

/// The moves of the position in the topic whose name ends so.
fn moves(evidence: &Evidence, topic: &str) -> BTreeMap<i32, Vec<Move>> {
    let mut moves: BTreeMap<i32, Vec<Move>> = BTreeMap::new();
    for row in &evidence.positions {
        let Some((_, next)) = row.what.iter().find(|(name, _)| name.ends_with(topic)) else { continue };
        let moves = moves.entry(row.partition).or_default();
        if moves.last().is_none_or(|before| before.next < *next)
            && let Some(by) = evidence.log(row).committed(row.offset)
        {
            moves.push(Move { next: *next, by, until: evidence.log(row).next_end(by).unwrap_or(i64::MAX) });
        }
    }
    moves
}

/// A message id in a file.
mod as_bytes {
    use recado::delivery::MessageId;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(id: &Option<MessageId>, serializer: S) -> Result<S::Ok, S::Error> {
        id.as_ref().map(|id| *id.bytes()).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<MessageId>, D::Error> {
        Ok(Option::<[u8; 16]>::deserialize(deserializer)?.map(MessageId::from_bytes))
    }
}
