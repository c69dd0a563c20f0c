//! `recado demo`: all of Recado in one process, with an in-process stand-in for Kafka and doubles of the providers. Leaves stories on the screen, a table, and
//! an exit code: 0 only when every notification ended exactly once and every ending occurred.
//!
//! What is easily got wrong: the log does not belong on this screen. It lies in the demo's own folder, which goes at the end unless something was wrong.

mod calls;
mod folder;
mod stage;
mod stand_in;

use crate::observe::logs;
use crate::simulator::SendLog;
use crate::simulator::demo::{Asked, Pace, Plan, Reader, Screen, Tally, produce, table, watch};
use anyhow::{Context, bail, ensure};
use clap::Args;
use folder::Folder;
use stage::Stage;
use std::io::{IsTerminal, Write};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long it takes to write all of the bank's records.
const SPAN: Duration = Duration::from_secs(13);
/// In life the longest story (33 s for WhatsApp, 30 s for the SMS, 90 s for the call) ends within this, leases and late receipts included.
const LONGEST: Duration = Duration::from_secs(200);
/// Beyond that, for a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// What customers, numbers and stories are drawn from: the same seed is the same demo.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// A Kafka of your own in the place of the stand-in. Topics get a prefix that nobody else has, and are deleted at the end.
    #[arg(long, value_name = "HOST:PORT")]
    bootstrap: Option<String>,
    /// Leaves the topics there, to look at them.
    #[arg(long, requires = "bootstrap")]
    keep: bool,
    /// How many times faster than life waits, leases and the lives of templates are.
    #[arg(long, value_name = "TIMES", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=20))]
    hurry: u32,
    /// Waits as in life: 30 s and more before each fallback; the demo then takes about a minute and a half.
    #[arg(long, conflicts_with = "hurry")]
    real_waits: bool,
}

impl Demo {
    fn hurry(&self) -> u32 {
        if self.real_waits { 1 } else { self.hurry }
    }

    fn note(&self) -> String {
        match self.hurry() {
            1 => "waits, leases and the lives of templates are as in life.".to_owned(),
            times => format!("waits, leases and the lives of templates are {times} times shorter than in life."),
        }
    }

    /// What comes when this has gone well: a line to type in a clone, or a chapter to read there.
    fn next(&self) -> &'static str {
        if self.bootstrap.is_some() { "README.md, \"Your first own route in ten minutes\"" } else { "make test" }
    }
}

/// Runs the demo. Errors: it could not be set up, or was interrupted, or did not end as it must; then the log is kept and the error says where.
pub(super) fn run(options: &Demo) -> anyhow::Result<()> {
    let folder = Folder::new()?;
    logs::start_into(logs::Level::Info, folder.log()?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("a runtime could not be made")?;
    let performed = runtime.block_on(perform(options, &folder));
    // Whatever still runs holds files of the folder.
    runtime.shutdown_timeout(Duration::from_secs(5));
    if performed.is_ok() {
        return Ok(());
    }
    let log = folder.keep_log();
    performed.with_context(|| format!("the demo did not go well; its log is {}", log.display()))
}

async fn perform(options: &Demo, folder: &Folder) -> anyhow::Result<()> {
    let (mut out, plan) = (std::io::stdout(), Plan::seeded(options.seed));
    introduce(options, &plan, folder, &mut out);
    let mut stage = unless_interrupted(Stage::set(folder, &plan, options.bootstrap.as_deref(), options.hurry())).await?;
    let played = unless_interrupted(play(options, &plan, folder, &mut stage, &mut out)).await;
    let left = stage.leave(options.keep).await;
    let faults = played?;
    left?;
    ensure!(faults == 0, "{faults} things are not as they should be");
    Ok(())
}

/// Ends the work at SIGINT or SIGTERM, so that what was begun is cleared away.
async fn unless_interrupted<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be watched")?;
    tokio::select! {
        done = work => return done,
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    bail!("it was interrupted")
}

/// A screen that is gone stops nothing: the exit code still says how it went.
fn introduce(options: &Demo, plan: &Plan, folder: &Folder, out: &mut dyn Write) {
    let kafka = match &options.bootstrap {
        Some(address) => format!("Kafka is yours, at {address}; the topics have a prefix of their own."),
        None => "Kafka is a stand-in in this process: it proves nothing about exactly-once (make test does).".to_owned(),
    };
    let _ = writeln!(out, "\n  Recado passes on {} messages of an invented bank. All of it runs in this process.", plan.notifications.len());
    let _ = writeln!(out, "  {kafka}\n  Meta and Twilio are doubles; nothing leaves this machine.");
    let _ = writeln!(out, "  Of time: {}", options.note());
    let _ = writeln!(out, "  The log is {} (kept only if something goes wrong).\n", folder.log_path().display());
}

/// The bank writes, Recado passes on, the bank reads what became of it. Returns the number of faults.
async fn play(options: &Demo, plan: &Plan, folder: &Folder, stage: &mut Stage, out: &mut std::io::Stdout) -> anyhow::Result<usize> {
    stage.ready().await?;
    let reader = Reader::open(&stage.kafka, &stage.topics).await?;
    let (mut tally, asked, shutdown) = (Tally::new(plan), Asked::default(), CancellationToken::new());
    let pace = Pace { factor: 1.0 / f64::from(options.hurry()), span: SPAN };
    let patience = SPAN + LONGEST.mul_f64(pace.factor) + PATIENCE;
    let mut screen = Screen { live: out.is_terminal(), out };
    let (kafka, topics) = (stage.kafka.clone(), stage.topics.clone());
    tokio::select! {
        both = async {
            tokio::try_join!(
                produce(plan, &kafka, &topics, pace, &asked, &shutdown),
                watch(&reader, &mut tally, &asked, &mut screen, patience, &shutdown),
            )
        } => drop(both?),
        why = stage.ended() => return Err(why),
    }
    let calls = calls::judge(&SendLog::read(&folder.send_log())?);
    let _ = match calls.faults.is_empty() {
        true => writeln!(out, "\n  By the providers' own log {} messages went out, and no attempt twice.", calls.sent),
        false => writeln!(out, "\n  The providers' own log is NOT AS IT SHOULD BE\n    {}", calls.faults.join("\n    ")),
    };
    let _ = write!(out, "{}", table(&tally, &options.note(), options.next()));
    Ok(tally.faults().len() + calls.faults.len())
}
