//! What program and broker have cost so far, on which Java, and which core each of them is kept on.

use crate::proc::{cpu, share, stolen};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// One reading.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    at: Instant,
    program: Duration,
    broker: Duration,
    stolen: Duration,
}

/// What lies between two readings.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// On the wall.
    pub span: Duration,
    /// CPU of the program under test.
    pub program: Duration,
    /// CPU of the broker.
    pub broker: Duration,
    /// Which share of all cores' time the machine's host kept for others.
    pub steal: f64,
}

impl Reading {
    /// Now.
    pub fn take(program: u32, broker: u32) -> Self {
        Self { at: Instant::now(), program: cpu(program), broker: cpu(broker), stolen: stolen() }
    }

    /// What the program has taken since `before`, when the round before was over, and all else since `began`: while a round is written the program stands.
    pub fn since(self, before: Self, began: Self) -> Cost {
        let span = self.at - began.at;
        Cost { span, program: self.program - before.program, broker: self.broker - began.broker, steal: share(self.stolen - began.stolen, span) }
    }
}

/// Which Java runs broker and peers.
pub fn java() -> String {
    let said = Command::new("java").arg("-version").output().expect("java starts");
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    format!("Java {}", said.split('"').nth(1).unwrap_or("of an unknown version"))
}

/// Keeps a process, with all threads that it has and will have, on one core.
pub fn pin(pid: u32, core: usize) {
    let pinned = Command::new("taskset").args(["-a", "-p", "-c", &core.to_string(), &pid.to_string()]).stdout(Stdio::null()).status();
    assert!(pinned.is_ok_and(|status| status.success()), "taskset (util-linux) pins a process");
}
