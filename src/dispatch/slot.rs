//! PURE: the topics that a dispatcher reads, as one closed set: first attempts and later ones, of each channel and lane.

use crate::delivery::{Channel, Lane};
use crate::topics::names;

/// First attempts or later ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// Attempt 1/1: `<prefix>dispatch.<channel>[.bulk]`.
    First,
    /// Every later attempt: `<prefix>retry.<channel>[.bulk]`.
    Later,
}

/// One topic of dispatches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// Express before bulk, so that an ordered walk never serves a bill before a code.
    pub lane: Lane,
    /// Of which channel.
    pub channel: Channel,
    /// First attempts or later ones.
    pub turn: Turn,
}

/// A channel and a lane: what is limited, paused and vouched for together.
pub type Traffic = (Channel, Lane);

impl Slot {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        Lane::ALL
            .into_iter()
            .flat_map(|lane| Channel::ALL.into_iter().flat_map(move |channel| [Turn::First, Turn::Later].map(|turn| Self { lane, channel, turn })))
    }

    /// Its topic's name. `prefix` is `recado.` but in tests.
    pub fn topic(self, prefix: &str) -> String {
        let name = match self.turn {
            Turn::First => names::dispatch(self.channel, self.lane),
            Turn::Later => names::retry(self.channel, self.lane),
        };
        format!("{prefix}{name}")
    }

    /// What it is limited, paused and vouched for with.
    pub fn traffic(self) -> Traffic {
        (self.channel, self.lane)
    }
}

/// Every traffic, express first.
pub fn traffics() -> impl Iterator<Item = Traffic> {
    Lane::ALL.into_iter().flat_map(|lane| Channel::ALL.into_iter().map(move |channel| (channel, lane)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_the_design() {
        let topics: Vec<String> = Slot::all().map(|slot| slot.topic("recado.")).collect();
        assert_eq!(topics.len(), 12);
        assert_eq!(&topics[..3], ["recado.dispatch.whatsapp", "recado.retry.whatsapp", "recado.dispatch.sms"]);
        assert_eq!(topics[11], "recado.retry.voice.bulk");
    }
}
