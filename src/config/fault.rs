//! What is wrong with a configuration: one sentence each, with the file and the key to mend.

use std::fmt;

/// Whether a fault keeps Recado from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing starts on it.
    Refuse,
    /// It starts, and says so.
    Warn,
}

/// One thing that is wrong with the configuration. It never holds a secret nor a customer's data: what a file says is quoted only where it is a name or a
/// number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Which file, relative to the configuration folder (`routes/pix.toml`); `environment` for a variable.
    pub file: String,
    /// Which key in it, with dots (`steps.1.wait`); empty where the file as a whole is meant.
    pub key: String,
    /// What is wrong and what to write instead: one sentence, ending in a full stop.
    pub sentence: String,
    /// Whether it keeps Recado from starting.
    pub severity: Severity,
}

impl Fault {
    /// A fault on which nothing starts.
    pub fn refuse(file: impl Into<String>, key: impl Into<String>, sentence: impl Into<String>) -> Self {
        Self { file: file.into(), key: key.into(), sentence: sentence.into(), severity: Severity::Refuse }
    }

    /// A fault that is only told.
    pub fn warn(file: impl Into<String>, key: impl Into<String>, sentence: impl Into<String>) -> Self {
        Self { file: file.into(), key: key.into(), sentence: sentence.into(), severity: Severity::Warn }
    }
}

/// One line: `error: routes/pix.toml: steps.1.wait: …`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.severity {
            Severity::Refuse => "error: ",
            Severity::Warn => "warning: ",
        })?;
        f.write_str(&self.file)?;
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.sentence)
    }
}
