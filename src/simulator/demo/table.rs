//! The end of the demo: enters the counts, leaves a table in plain text and what comes next.

use super::story::seconds;
use super::{Kind, Tally};
use std::fmt::Write as _;

/// The table: what was sent, how it ended, through which channel, why it fell back, how long it took; then the faults, if any, or what comes next.
///
/// `note` says what the reader must know to judge the numbers (the factor that scales the waits). Every notification is in exactly one row of the
/// endings, so their sum is the total.
pub fn table(tally: &Tally, note: &str, next: &str) -> String {
    let mut out = String::new();
    write(&mut out, tally, note, next).expect("a String takes everything");
    out
}

fn write(out: &mut String, tally: &Tally, note: &str, next: &str) -> std::fmt::Result {
    writeln!(out, "\n  {} notifications (seed {}); {note}", tally.total(), tally.seed)?;
    writeln!(out, "\n  {:<24} {:>6}   {:>9}", "WHAT", "sent", "delivered")?;
    for kind in Kind::ALL {
        let (sent, delivered) = tally.of_kind(kind);
        writeln!(out, "    {:<22} {sent:>6}   {delivered:>9}", kind.title())?;
    }
    writeln!(out, "\n  HOW THEY ENDED (each counted once)")?;
    let (ends, channels) = (tally.by_end(), tally.by_channel());
    for word in ["delivered", "unconfirmed", "failed", "expired", "cancelled"] {
        writeln!(out, "    {word:<22} {:>6}", ends.get(word).unwrap_or(&0))?;
        if word == "delivered" {
            for channel in ["whatsapp", "sms", "voice"] {
                writeln!(out, "      by {channel:<17} {:>6}", channels.get(channel).unwrap_or(&0))?;
            }
            writeln!(out, "      double_delivered     {:>6}   a fallback had gone out as well", tally.doubles())?;
        }
    }
    let sum: usize = ends.values().sum();
    writeln!(out, "    {:<22} {sum:>6}   of {}", "sum", tally.total())?;
    writeln!(out, "\n  WHY THEY FELL BACK")?;
    let mut reasons: Vec<_> = tally.fallbacks.iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (reason, count) in reasons {
        writeln!(out, "    {reason:<22} {count:>6}")?;
    }
    writeln!(out, "\n  {:<38} {:>9} {:>9} {:>9}", "FROM THE BANK'S RECORD TO \"DELIVERED\"", "p50", "p99", "max")?;
    for (name, channel) in [("whatsapp", Some("whatsapp")), ("sms", Some("sms")), ("voice", Some("voice")), ("all", None)] {
        let all = tally.latencies(channel);
        if let Some(max) = all.last() {
            writeln!(out, "    {name:<36} {:>9} {:>9} {:>9}", seconds(quantile(&all, 50)), seconds(quantile(&all, 99)), seconds(*max))?;
        }
    }
    let faults = tally.faults();
    if faults.is_empty() {
        return writeln!(out, "\n  Every notification ended exactly once. Next:\n\n    {next}\n");
    }
    writeln!(out, "\n  NOT AS IT SHOULD BE")?;
    faults.iter().try_for_each(|fault| writeln!(out, "    {fault}"))
}

/// The smallest value that `percent` of all do not exceed (nearest rank); `all` is sorted and not empty.
fn quantile(all: &[i64], percent: usize) -> i64 {
    let rank = (all.len() * percent).div_ceil(100).max(1);
    all[rank - 1]
}
