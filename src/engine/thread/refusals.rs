//! Partitions in which a receipt or a timer led to a record that Kafka refuses for good: enters the refusal, leaves how long that partition's receipts and timers
//! wait, and what `/readyz` says.
//!
//! Easily got wrong: neither a receipt nor a timer may become a dead letter, or a delivery would never end. It is decided again until Kafka takes what it led to.

use crate::delivery::Partition;
use crate::engine::transaction::Refused;
use std::collections::BTreeMap;
use std::time::Duration;

/// The first pause; each further one is twice as long. A guess: the tasks of the thread are opened anew each time, which takes about as long.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause: what an operator has mended goes on within it. A guess.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Without another refusal for so long behind its pause, a partition is as all others. Longer than what is tried may take to be refused.
const CALM: Duration = Duration::from_secs(60);

/// The partitions of one engine thread that wait, or did a short while ago.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<Partition, Refusal>);

#[derive(Debug)]
struct Refusal {
    last: Refused,
    pause: Duration,
    /// Until when it waits (monotonic).
    until: Duration,
}

impl Refusals {
    /// A transaction without records of inputs was refused: something that came back, or a timer, led to it. Outputs lie in their task's own partition.
    pub fn refused(&mut self, partition: Partition, last: Refused, now: Duration) {
        let pause = self.0.get(&partition).map_or(PAUSE_MIN, |before| (before.pause * 2).min(PAUSE_MAX));
        self.0.insert(partition, Refusal { last, pause, until: now + pause });
    }

    /// Whether receipts and timers of this partition wait now. The others do not.
    pub fn waits(&self, partition: Partition, now: Duration) -> bool {
        self.0.get(&partition).is_some_and(|refusal| now < refusal.until)
    }

    /// Forgets what is over, and partitions that are not ours any more.
    pub fn forget(&mut self, now: Duration, ours: impl Fn(&Partition) -> bool) {
        self.0.retain(|partition, refusal| ours(partition) && now < refusal.until + CALM);
    }

    /// For the person on call.
    pub fn told(&self) -> Option<String> {
        let told = |(partition, refusal): (&Partition, &Refusal)| format!("{}-{} ({})", refusal.last.topic, partition.0, refusal.last.error);
        let all: Vec<String> = self.0.iter().map(told).collect();
        (!all.is_empty()).then(|| {
            format!(
                "Kafka refuses what receipts or timers lead to: {}. These partitions' receipts and timers wait and are tried again, at the latest after {} s; \
                 raise max.message.bytes of each topic named to what the topics of first steps have.",
                all.join(", "),
                PAUSE_MAX.as_secs()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::error::RDKafkaErrorCode;

    #[test]
    fn what_kafka_refuses_again_and_again_keeps_its_own_partition_waiting_and_is_told() {
        let (p3, p4) = (Partition(3), Partition(4));
        let second = Duration::from_secs(1);
        let refused = || Refused { topic: "recado.retry.sms.express".into(), partition: 3, error: RDKafkaErrorCode::MessageSizeTooLarge };
        let mut refusals = Refusals::default();
        assert_eq!(refusals.told(), None);
        let mut now = 100 * second;
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            refusals.refused(p3, refused(), now);
            let end = now + pause * second;
            assert!(refusals.waits(p3, now) && refusals.waits(p3, end - Duration::from_millis(1)), "{pause} s");
            assert!(!refusals.waits(p3, end), "it is tried again");
            assert!(!refusals.waits(p4, now), "the others go on");
            now = end + second;
            refusals.forget(now, |_| true);
        }
        let told = refusals.told().unwrap();
        assert!(["recado.retry.sms.express-3 (", "max.message.bytes"].iter().all(|part| told.contains(part)), "{told}");
        refusals.forget(now + CALM, |_| true);
        assert_eq!(refusals.told(), None, "an operator has mended it");
        refusals.refused(p3, refused(), now);
        assert!(!refusals.waits(p3, now + second), "from the beginning");
        refusals.forget(now, |partition| *partition != p3);
        assert_eq!(refusals.told(), None, "another instance's by now, which finds out for itself");
    }
}
