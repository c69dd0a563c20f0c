//! PURE: may a timer fire? Only when the receipts are known to be drained past its deadline, and while those who would have brought one gave signs of life.
//!
//! Easily got wrong: the newest end offset alone is useless on a busy partition, it always runs ahead of the reader. All pairs since the last safe time are kept.

use crate::delivery::{Channel, Hold, Lane, TimerKind, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// A gateway heartbeat may be this much older than the deadline that it vouches for: awaiting a later one would eat the promise of 1 s. Source: `engine.md` §5.
const HEARTBEAT_SLACK: Duration = Duration::from_secs(3);
/// Pairs kept; at one each 100 ms this is 100 s of a reader that never catches up. Beyond it the oldest go: safe time only grows more slowly.
const PAIRS_MAX: usize = 1_000;

/// What one task knows about how far its receipts partition is read, and who is alive.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    /// (Kafka time before the question, end offset that was the answer), in order of both.
    pairs: VecDeque<(Timestamp, i64)>,
    safe: Option<Timestamp>,
    gateway_seen: Option<Timestamp>,
    settled: BTreeMap<(Channel, Lane), Timestamp>,
}

/// Whether a due timer may fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Fire it.
    Fire,
    /// The receipts are not known to be drained past it: wait, without limit, since an acknowledged receipt may lie there.
    NotDrained,
    /// Somebody is silent: wait, at most as long as `hold_max` says.
    Hold(Hold),
}

impl Gate {
    /// An end offset (read uncommitted) of the receipts partition that was asked for at or after `asked` (Kafka time).
    pub fn end_offset(&mut self, asked: Timestamp, end: i64) {
        if self.pairs.len() == PAIRS_MAX {
            self.pairs.pop_front();
        }
        self.pairs.push_back((asked, end));
    }

    /// Every receipt below `position` has been decided upon.
    pub fn drained_to(&mut self, position: i64) {
        while let Some(&(asked, end)) = self.pairs.front() {
            if end > position {
                break;
            }
            self.safe = self.safe.max(Some(asked));
            self.pairs.pop_front();
        }
    }

    /// A gateway's heartbeat with its append time.
    pub fn gateway_heartbeat(&mut self, appended: Timestamp) {
        self.gateway_seen = self.gateway_seen.max(Some(appended));
    }

    /// A dispatcher's heartbeat: every dispatch of this channel and lane whose lease ended before `settled` has its outcome above it.
    pub fn dispatcher_heartbeat(&mut self, channel: Channel, lane: Lane, settled: Timestamp) {
        let known = self.settled.entry((channel, lane)).or_insert(settled);
        *known = (*known).max(settled);
    }

    /// Whether a timer of this kind with this deadline may fire. `traffic` is the channel and lane of its attempt.
    pub fn verdict(&self, kind: TimerKind, deadline: Timestamp, traffic: (Channel, Lane)) -> Verdict {
        if self.safe.is_none_or(|safe| safe < deadline) {
            return Verdict::NotDrained;
        }
        match kind {
            TimerKind::Wait if self.gateway_seen.is_none_or(|seen| seen < deadline.minus(HEARTBEAT_SLACK)) => Verdict::Hold(Hold::GatewaySilent),
            TimerKind::Lease if self.settled.get(&traffic).is_none_or(|&settled| settled <= deadline) => Verdict::Hold(Hold::DispatcherSilent),
            TimerKind::Wait | TimerKind::Lease | TimerKind::Linger | TimerKind::BackOff => Verdict::Fire,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    const TRAFFIC: (Channel, Lane) = (Channel::WhatsApp, Lane::Express);

    #[test]
    fn nothing_fires_before_the_receipts_are_drained_past_the_deadline() {
        let mut gate = Gate::default();
        gate.gateway_heartbeat(at(10_000));
        assert_eq!(gate.verdict(TimerKind::Wait, at(1_000), TRAFFIC), Verdict::NotDrained);
        gate.end_offset(at(1_000), 50);
        gate.drained_to(49);
        assert_eq!(gate.verdict(TimerKind::Wait, at(1_000), TRAFFIC), Verdict::NotDrained, "one acknowledged receipt is unread");
        gate.drained_to(50);
        assert_eq!(gate.verdict(TimerKind::Wait, at(1_000), TRAFFIC), Verdict::Fire);
        assert_eq!(gate.verdict(TimerKind::Wait, at(1_001), TRAFFIC), Verdict::NotDrained, "the end was asked for before this deadline");
    }

    #[test]
    fn a_busy_reader_still_reaches_a_safe_time() {
        let mut gate = Gate::default();
        for second in 0..10 {
            gate.end_offset(at(second * 1_000), second * 100 + 100);
            gate.drained_to(second * 100);
        }
        assert_eq!(gate.safe, Some(at(8_000)), "always one batch behind, and yet it advances");
    }

    #[test]
    fn a_silent_gateway_holds_waits_and_a_silent_dispatcher_holds_leases() {
        let mut gate = Gate::default();
        gate.end_offset(at(100_000), 0);
        gate.drained_to(0);
        assert_eq!(gate.verdict(TimerKind::Wait, at(50_000), TRAFFIC), Verdict::Hold(Hold::GatewaySilent));
        gate.gateway_heartbeat(at(46_999));
        assert_eq!(gate.verdict(TimerKind::Wait, at(50_000), TRAFFIC), Verdict::Hold(Hold::GatewaySilent));
        gate.gateway_heartbeat(at(47_000));
        assert_eq!(gate.verdict(TimerKind::Wait, at(50_000), TRAFFIC), Verdict::Fire);
        assert_eq!(gate.verdict(TimerKind::Lease, at(50_000), TRAFFIC), Verdict::Hold(Hold::DispatcherSilent));
        gate.dispatcher_heartbeat(Channel::Sms, Lane::Express, at(60_000));
        gate.dispatcher_heartbeat(TRAFFIC.0, TRAFFIC.1, at(50_000));
        assert_eq!(gate.verdict(TimerKind::Lease, at(50_000), TRAFFIC), Verdict::Hold(Hold::DispatcherSilent), "settled must have passed the lease's end");
        gate.dispatcher_heartbeat(TRAFFIC.0, TRAFFIC.1, at(50_001));
        assert_eq!(gate.verdict(TimerKind::Lease, at(50_000), TRAFFIC), Verdict::Fire);
        assert_eq!(gate.verdict(TimerKind::Linger, at(50_000), TRAFFIC), Verdict::Fire);
    }
}
