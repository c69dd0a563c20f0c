//! Puts the roles together. Enters: the configuration and the roles; it ends when the process is told to.

use crate::config::{Config, Messages};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// What an instance does. One process may have all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Decides: inputs and receipts in, dispatches and statuses out.
    Engine,
    /// Calls providers.
    Dispatcher,
    /// Takes what providers report.
    Gateway,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Engine, Self::Dispatcher, Self::Gateway];

    /// The word on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Dispatcher => "dispatcher",
            Self::Gateway => "gateway",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|role| role.word() == word).ok_or_else(|| "a role is one of: engine, dispatcher, gateway".into())
    }
}

/// Runs the roles until SIGTERM or SIGINT. `dry_run`: decides and renders on live input, calls no provider and publishes nothing but metrics.
pub fn run(config: Config, messages: Messages, roles: &BTreeSet<Role>, dry_run: bool) -> anyhow::Result<()> {
    let _ = (config, messages, roles, dry_run);
    anyhow::bail!("the roles are not put together yet")
}
