//! `recado simulate`: the providers' doubles as a process of their own.

use crate::observe::logs;
use crate::simulator::{self, Settings};
use anyhow::Context;
use clap::Args;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[derive(Debug, Args)]
pub(super) struct Simulate {
    /// A TOML file with the simulator's settings; without one a free port of loopback is taken, every phone is well and every template is known.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

/// Plays until SIGTERM or SIGINT; the log's first line holds the `address`. Ends with an error when the send log cannot be written.
pub(super) fn run(options: &Simulate) -> anyhow::Result<()> {
    let settings = match &options.settings {
        None => Settings::default(),
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
            toml::from_str(&text).with_context(|| format!("{} is no file of settings for the simulator", path.display()))?
        }
    };
    logs::start(logs::Level::Info);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("a runtime could not be made")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be watched")?;
        let shutdown = CancellationToken::new();
        let end = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            end.cancel();
        });
        simulator::run(settings, shutdown).await
    })
}
