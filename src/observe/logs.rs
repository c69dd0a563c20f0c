//! Enters: what the rooms say; leaves: one JSON object a line on standard output.
//!
//! What is easily got wrong: the crates that speak HTTP and Kafka would log addresses, numbers and bodies. Whatever the level is, they, and every crate that
//! is not ours, are capped at `warn`.

use serde::{Deserialize, Serialize};
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The least severe level that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Somebody must get up.
    Error,
    /// Strange, still working.
    Warn,
    /// Start, stop, a partition moved, a breaker opened.
    Info,
    /// One delivery, by its message id.
    Debug,
    /// As `debug` today. Refused outside development.
    Trace,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    /// Ours at this level, everybody else's at `warn` or less.
    fn filter(self) -> EnvFilter {
        let others = if self == Self::Error { "error" } else { "warn" };
        EnvFilter::new(format!("{others},recado={}", self.word()))
    }
}

/// Starts the log on standard output, and replaces the panic hook by one that writes the place and never the payload, which may quote data. Called once, at
/// the beginning of a command that runs roles; a second call changes nothing.
pub fn start(level: Level) {
    install(subscriber(level, std::io::stdout));
}

/// [`start`] with a file in the place of standard output, for a command that has something else to show there.
pub fn start_into(level: Level, file: std::fs::File) {
    install(subscriber(level, file));
}

fn install(subscriber: impl Subscriber + Send + Sync) {
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map_or_else(String::new, |place| format!("{}:{}", place.file(), place.line()));
            let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
            tracing::error!(place, thread, "A bug stopped a thread.");
        }));
    }
}

/// The log as it is, into `writer`: fields first, times in UTC, control characters escaped.
fn subscriber<W>(level: Level, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(level.filter())
        .with_writer(writer)
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(level: Level, say: impl FnOnce()) -> String {
        let paper = Paper::default();
        let writer = paper.clone();
        tracing::subscriber::with_default(subscriber(level, move || writer.clone()), say);
        String::from_utf8(paper.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_line_is_one_json_object_even_where_text_breaks_lines() {
        let text = written(Level::Info, || tracing::info!(channel = "sms", strange = "a\n\u{1b}[31mb", "Fell back."));
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((line["channel"].as_str(), line["message"].as_str(), line["level"].as_str()), (Some("sms"), Some("Fell back."), Some("INFO")));
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn other_crates_are_capped_at_warn_whatever_the_level() {
        let text = written(Level::Trace, || {
            tracing::info!(target: "hyper::proto", "a body");
            tracing::debug!(target: "reqwest::connect", "an address");
            tracing::info!(target: "librdkafka", "a key");
            tracing::trace!("ours");
            tracing::warn!(target: "librdkafka", "a broker is away");
        });
        assert!(text.contains("ours") && text.contains("a broker is away"), "{text}");
        assert!(!text.contains("a body") && !text.contains("an address") && !text.contains("a key"), "{text}");
    }

    #[test]
    fn the_level_counts() {
        let say = || {
            tracing::debug!("one delivery");
            tracing::warn!("strange");
        };
        assert!(!written(Level::Info, say).contains("one delivery"));
        assert!(written(Level::Debug, say).contains("one delivery"));
        assert!(!written(Level::Error, say).contains("strange"));
    }

    #[test]
    fn a_cause_is_logged_once_when_it_begins_and_once_when_it_ends() {
        use crate::observe::Health;
        use crate::observe::health::Cause;
        let text = written(Level::Info, || {
            let health = Health::new();
            for free in [7, 6, 5] {
                health.set(Cause::PartitionsWithoutOwner, Some(format!("{free} partitions belong to nobody.")));
            }
            health.set(Cause::ProviderAway, Some("meta does not answer.".into()));
            for _ in 0..2 {
                health.set(Cause::PartitionsWithoutOwner, None);
            }
        });
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let told: Vec<_> = lines.iter().map(|line| ["level", "cause", "detail"].map(|field| line[field].as_str().unwrap_or_default())).collect();
        assert_eq!(
            told,
            [
                ["WARN", "partitions_without_owner", "7 partitions belong to nobody."],
                ["INFO", "provider_away", "meta does not answer."],
                ["INFO", "partitions_without_owner", ""]
            ]
        );
    }
}
