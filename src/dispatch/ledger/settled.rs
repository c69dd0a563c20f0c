//! PURE: the line below which every dispatch whose lease ended has its outcome: found as the engine's gate finds its safe time, by pairs of time and end offset.

use crate::delivery::Timestamp;
use crate::dispatch::slot::{Slot, Traffic, Turn};
use std::collections::{BTreeMap, VecDeque};

/// Pairs kept for one channel and lane: at one a second, five minutes of a reader that never catches up. Beyond it the oldest go: the line only grows more slowly.
const PAIRS_MAX: usize = 300;

#[derive(Debug, Default)]
pub(super) struct Settled {
    lines: BTreeMap<Traffic, Line>,
}

#[derive(Debug, Default)]
struct Line {
    /// (Kafka time before the question, ends of first and later attempts), in order.
    pairs: VecDeque<(Timestamp, i64, i64)>,
    drained: Option<Timestamp>,
    told: Option<Timestamp>,
}

impl Settled {
    pub(super) fn ends(&mut self, asked: Timestamp, ends: &BTreeMap<Slot, i64>) {
        for traffic in crate::dispatch::slot::traffics() {
            let [first, later] = slots(traffic);
            let (Some(&first), Some(&later)) = (ends.get(&first), ends.get(&later)) else { continue };
            let pairs = &mut self.lines.entry(traffic).or_default().pairs;
            if pairs.len() == PAIRS_MAX {
                pairs.pop_front();
            }
            pairs.push_back((asked, first, later));
        }
    }

    /// `unfinished`: the earliest end of a lease without a durable outcome.
    pub(super) fn advance(&mut self, traffic: Traffic, unfinished: Option<Timestamp>, position: impl Fn(Slot) -> Option<i64>) -> Option<Timestamp> {
        let line = self.lines.get_mut(&traffic)?;
        let [first, later] = slots(traffic);
        let (first, later) = (position(first)?, position(later)?);
        while let Some(&(asked, first_end, later_end)) = line.pairs.front()
            && first_end <= first
            && later_end <= later
        {
            line.drained = line.drained.max(Some(asked));
            line.pairs.pop_front();
        }
        let drained = line.drained?;
        let settled = unfinished.map_or(drained, |end| drained.min(end));
        line.told = line.told.max(Some(settled));
        line.told
    }
}

fn slots((channel, lane): Traffic) -> [Slot; 2] {
    [Turn::First, Turn::Later].map(|turn| Slot { lane, channel, turn })
}
