//! I5: until when each dispatch says that it may leave. Its lease, its `not_after` and its expiry are Recado's own words, by which other rules go: so they are held against
//! the bank's record, the configuration, and the time at which the brokers appended it.
//!
//! Easily got wrong: a lease counts from the decision, which lies before the append by as long as a transaction is open. So it can be a little short, and never too long.

use super::messages::Message;
use super::statuses::begins;
use super::{CLEAR_MS, CUT_MS, Court};
use crate::plan::{CALL_MAX_MS, Kind, Planned};
use recado::delivery::MessageId;

/// From the decision to the append, beside the commit's interval; and by how much Recado's idea of Kafka's time may be behind. A commit that takes longer is suspect
/// (design.md §5, rule 7).
pub const LAG_MS: i64 = 2_000;

impl Court<'_> {
    /// For one message.
    pub(super) fn limits(&mut self, id: MessageId, message: &Message<'_>, event: &Planned) {
        let Some(written) = self.written(message) else { return };
        let (ends, apart) = (written.at + event.life_ms(), CUT_MS + self.evidence.clocks_apart_ms);
        // What the bank says of a code's end is copied; another expiry counts from the record, or from a decision that took it for younger than it is.
        let short = if event.kind == Kind::Code { 0 } else { apart + self.lag(written.at, written.at + LAG_MS) };
        for row in &message.dispatches {
            self.counts.one("dispatches held against lease, call and expiry");
            let attempt = row.what.attempt_id.attempt;
            let (lease_end, expiry) = (row.what.lease_end.millis(), row.what.expiry.millis());
            if expiry > ends {
                self.fault("I5 expiry beyond the bank's", Some(id), format!("{attempt} may leave {} ms longer.", expiry - ends));
            }
            if expiry < ends - short {
                self.fault("I5 expiry before the bank's", Some(id), format!("{attempt} may leave for {} ms less.", ends - expiry));
            }
            let lag = self.evidence.commit_ms + self.lag(row.at - self.evidence.commit_ms - LAG_MS, row.at);
            let lease = |decided: i64| (decided + self.evidence.lease_ms).min(expiry);
            let (least, most) = (lease(row.at - lag) - apart, lease(row.at) + apart);
            if lease_end > most {
                self.fault("I5 lease beyond the route's", Some(id), format!("{attempt}: by {} ms.", lease_end - most));
            }
            if lease_end < least {
                self.fault("I5 lease short of the route's", Some(id), format!("{attempt}: by {} ms.", least - lease_end));
            }
            let not_after = row.what.not_after.timestamp().millis();
            if not_after != lease_end - CALL_MAX_MS {
                self.fault(
                    "I5 not_after not the lease's",
                    Some(id),
                    format!("{attempt}: {} ms before its end instead of {CALL_MAX_MS}.", lease_end - not_after),
                );
            }
            let told =
                message.statuses.iter().find(|status| status.what.live && status.what.status.attempt == Some(attempt) && begins(status.what.status.word));
            if let Some(decided) = told.map(|status| status.what.decided.millis()).filter(|decided| !(row.at - lag - apart..=row.at + apart).contains(decided))
            {
                self.fault("I5 decided at another time", Some(id), format!("{attempt}, by its status {} ms before it was appended.", row.at - decided));
            }
        }
    }

    /// How long a process may take in this stretch: longer where brokers or machine were slow, or a fault was near.
    fn lag(&self, from: i64, to: i64) -> i64 {
        LAG_MS + self.slow(from, to) + if self.calm(from, to) { 0 } else { CLEAR_MS }
    }
}
