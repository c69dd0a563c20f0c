//! The bank's reader: enters `recado.status`, leaves stories on the screen and the counts.
//!
//! What is easily got wrong: it must stand at the end of the topic *before* the first request is written, or it misses the fast ones.

use super::{Asked, Kafka, Tally, Topics, told};
use anyhow::Context as _;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _, StreamConsumer};
use rdkafka::{Offset, TopicPartitionList};
use std::io::Write;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long Kafka may take to say where a topic ends.
const METADATA_MAX: Duration = Duration::from_secs(10);
/// When all have ended: how long the reader still listens for a terminal status too many.
const QUIET: Duration = Duration::from_millis(1_500);

/// Reads the bank's status topic, from where it ended when this was opened.
pub struct Reader(StreamConsumer);

impl Reader {
    /// Stands at the end of the topic. Errors: Kafka cannot be reached, or there is no such topic.
    pub async fn open(kafka: &Kafka, topics: &Topics) -> anyhow::Result<Self> {
        let mut config = kafka.config();
        // The group is never joined; librdkafka wants a name all the same.
        config.set("group.id", "recado-demo-bank").set("enable.auto.commit", "false").set("isolation.level", "read_committed");
        config.set("fetch.wait.max.ms", "50");
        let topic = topics.status.clone();
        tokio::task::spawn_blocking(move || {
            let probe: BaseConsumer = config.create().context("making the bank's reader")?;
            let metadata = probe.fetch_metadata(Some(&topic), METADATA_MAX).with_context(|| format!("looking for {topic}"))?;
            let partitions = metadata.topics().first().map_or(&[][..], |it| it.partitions());
            anyhow::ensure!(!partitions.is_empty(), "there is no topic {topic}");
            let mut ends = TopicPartitionList::new();
            for partition in partitions {
                let (_, end) = probe.fetch_watermarks(&topic, partition.id(), METADATA_MAX).with_context(|| format!("looking for the end of {topic}"))?;
                ends.add_partition_offset(&topic, partition.id(), Offset::Offset(end))?;
            }
            let reader: StreamConsumer = config.create().context("making the bank's reader")?;
            reader.assign(&ends).context("standing at the end of the statuses")?;
            Ok(Self(reader))
        })
        .await?
    }
}

/// Where the demo is seen.
pub struct Screen<'a> {
    /// Everything is written here.
    pub out: &'a mut (dyn Write + Send),
    /// Whether it is a terminal: colours, and a line that counts along. Without it: plain lines only.
    pub live: bool,
}

impl Screen<'_> {
    /// One line, with the time in São Paulo. A screen that is gone stops nothing.
    fn line(&mut self, at_ms: i64, story: &str) {
        let (dim, clear, plain) = if self.live { ("\x1b[2m", "\r\x1b[2K", "\x1b[0m") } else { ("", "", "") };
        let colour = if !self.live {
            ""
        } else if story.contains("FAILED") || story.contains("SECOND") {
            "\x1b[31m"
        } else if story.contains("EXPIRED") || story.contains("CANCELLED") || story.contains("UNCONFIRMED") || story.contains("twice") {
            "\x1b[33m"
        } else {
            "\x1b[32m"
        };
        let _ = writeln!(self.out, "{clear}{dim}{}{plain}  {colour}{story}{plain}", clock(at_ms));
    }

    fn progress(&mut self, tally: &Tally) {
        let count = format!("{} of {} notifications have ended", tally.ended(), tally.total());
        let _ = if self.live { write!(self.out, "\r\x1b[2K{count} …") } else { writeln!(self.out, "          {count}.") };
        let _ = self.out.flush();
    }

    fn finish(&mut self) {
        let _ = if self.live { write!(self.out, "\r\x1b[2K") } else { Ok(()) };
        let _ = self.out.flush();
    }
}

/// `12:03:04` in São Paulo.
fn clock(at_ms: i64) -> String {
    let zone = jiff::tz::TimeZone::get("America/Sao_Paulo").unwrap_or(jiff::tz::TimeZone::UTC);
    let time = zone.to_datetime(jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default()).time();
    format!("{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second())
}

/// Reads statuses until every notification of the tally has ended (and a moment longer), `patience` is over, or `shutdown`; tells each fallback when it
/// has ended. Judge the result with [`Tally::faults`]. Errors: the reader broke.
pub async fn watch(
    reader: &Reader,
    tally: &mut Tally,
    asked: &Asked,
    screen: &mut Screen<'_>,
    patience: Duration,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let deadline = crate::clock::monotonic() + patience;
    // Without a terminal a line now and then must do.
    let step = if screen.live { 1 } else { 50 };
    let mut shown = 0;
    loop {
        let left = deadline.saturating_sub(crate::clock::monotonic());
        let wait = if tally.ended() == tally.total() { QUIET.min(left) } else { left };
        let record = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            record = tokio::time::timeout(wait, reader.0.recv()) => match record {
                Err(_) => break,
                Ok(record) => record.context("reading the statuses")?,
            },
        };
        let Some(told) = record.payload().and_then(told::read) else {
            tally.unreadable += 1;
            continue;
        };
        let now_ms = crate::clock::wall().millis();
        let asked_ms = told.event_id.as_ref().and_then(|it| asked.lock().expect("no panic while noting").get(it).copied());
        if let Some(story) = tally.hear(&told, asked_ms.map(|it| now_ms - it)) {
            screen.line(now_ms, &story);
        }
        if tally.ended() >= shown + step {
            shown = tally.ended();
            screen.progress(tally);
        }
    }
    screen.finish();
    Ok(())
}
