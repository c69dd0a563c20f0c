//! The number that the schema registry gave the schema of statuses. Enters: the registry, or what it said to an earlier run; leaves: how statuses are framed.
//!
//! Easily got wrong: a number counts for one registry, one subject and one schema only. What was kept for others is not used, however long the registry is away.

use super::ASK_AGAIN;
use crate::event::records::STATUS_SCHEMA;
use crate::event::registry::{Client, RegistryError};
use crate::observe::Health;
use crate::observe::health::Cause;
use anyhow::Context;
use std::fs;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// Its file in the state folder: the number, then what it is the number of.
const NAME: &str = "status-schema";

/// What is registered, and where its number is kept.
pub(super) struct StatusSchema {
    registry: String,
    subject: String,
    file: PathBuf,
}

impl StatusSchema {
    /// Of the registry at this address (without its secrets), under this subject, kept in this folder.
    pub(super) fn new(registry: &str, subject: String, folder: &Path) -> Self {
        Self { registry: registry.into(), subject, file: folder.join(NAME) }
    }

    /// Its number. A registry that is away is waited for, unless it said it to an earlier run. `None`: told to stop meanwhile.
    ///
    /// Errors: the registry refuses the schema.
    pub(super) async fn number(&self, client: &Client, health: &Health, shutdown: &CancellationToken) -> anyhow::Result<Option<u32>> {
        loop {
            let away = match self.ask(client).await? {
                Ok(number) => {
                    health.set(Cause::RegistryAway, None);
                    return Ok(Some(number));
                }
                Err(away) => away,
            };
            if let Some(number) = self.kept() {
                tracing::warn!(number, away, "The schema registry cannot be asked; statuses carry the schema number that it gave before.");
                return Ok(Some(number));
            }
            health.set(Cause::RegistryAway, Some(format!("The schema of statuses cannot be registered under {}: {away}.", self.subject)));
            tokio::select! {
                () = shutdown.cancelled() => return Ok(None),
                () = tokio::time::sleep(ASK_AGAIN) => {}
            }
        }
    }

    /// Asks until the registry has said that this is still the number.
    ///
    /// Errors: it says another one, which the next start uses.
    pub(super) async fn confirm(&self, number: u32, client: &Client, shutdown: &CancellationToken) -> anyhow::Result<()> {
        loop {
            match self.ask(client).await? {
                Ok(now) => {
                    anyhow::ensure!(now == number, "the schema registry gives the schema of statuses the number {now}, and gave it {number} before");
                    return Ok(());
                }
                Err(_) => tokio::select! {
                    () = shutdown.cancelled() => return Ok(()),
                    () = tokio::time::sleep(ASK_AGAIN) => {}
                },
            }
        }
    }

    /// Registers it, and keeps the number; or why the registry is away.
    async fn ask(&self, client: &Client) -> anyhow::Result<Result<u32, &'static str>> {
        match client.register(&self.subject, STATUS_SCHEMA).await {
            Ok(number) => {
                if self.kept() != Some(number)
                    && let Err(error) = self.keep(number)
                {
                    tracing::warn!(%error, "The number of the statuses' schema cannot be kept: a start without the schema registry would wait for it.");
                }
                Ok(Ok(number))
            }
            Err(RegistryError::Away(why)) => Ok(Err(why)),
            Err(error) => Err(error).with_context(|| format!("registering the schema of statuses under {}", self.subject)),
        }
    }

    fn kept(&self) -> Option<u32> {
        let text = fs::read_to_string(&self.file).ok()?;
        let (number, of) = text.split_once('\n')?;
        (of == self.of()).then(|| number.parse().ok())?
    }

    /// Whole or not at all: a half written file would be the number of nothing.
    fn keep(&self, number: u32) -> std::io::Result<()> {
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{number}\n{}", self.of()))?;
        fs::rename(&new, &self.file)
    }

    fn of(&self) -> String {
        format!("{}\n{}\n{STATUS_SCHEMA}", self.registry, self.subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_number_counts_for_its_own_registry_and_subject_only() {
        let folder = tempfile::tempdir().unwrap();
        let of = |registry: &str, subject: &str| StatusSchema::new(registry, subject.into(), folder.path());
        let ours = of("https://registry.example", "recado.status-value");
        assert_eq!(ours.kept(), None);
        ours.keep(17).unwrap();
        assert_eq!(of("https://registry.example", "recado.status-value").kept(), Some(17));
        assert_eq!(of("https://other.example", "recado.status-value").kept(), None);
        assert_eq!(of("https://registry.example", "other.status-value").kept(), None);
        fs::write(folder.path().join(NAME), format!("17\n{}older schema", ours.of())).unwrap();
        assert_eq!(ours.kept(), None);
    }
}
