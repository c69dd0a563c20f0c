//! What a process has cost so far, from `/proc`. Times are those of the scheduler, in hundredths of a second.

use std::fs;
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
        let all = span.as_secs_f64() * f64::from(cores());
        Cost { span, program: self.program - before.program, broker: self.broker - began.broker, steal: (self.stolen - began.stolen).as_secs_f64() / all }
    }
}

/// User and system time of all its threads since its start.
fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    // Behind the name: state, ten numbers, then user and system time.
    let fields: Vec<&str> = stat.rsplit(')').next().expect("it has a name").split_whitespace().collect();
    Duration::from_millis(fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number") * 10).sum())
}

fn stolen() -> Duration {
    let stat = fs::read_to_string("/proc/stat").expect("Linux tells");
    let ticks = stat.lines().next().and_then(|all| all.split_whitespace().nth(8)).and_then(|ticks| ticks.parse::<u64>().ok());
    Duration::from_millis(ticks.unwrap_or(0) * 10)
}

/// How many the machine has: this program itself may be kept on one of them.
fn cores() -> u32 {
    let stat = fs::read_to_string("/proc/stat").expect("Linux tells");
    let is_one = |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    u32::try_from(stat.lines().filter(is_one).count().max(1)).expect("a few cores")
}

/// The most memory that it has had, in MiB.
pub fn memory_max(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse::<u64>().ok());
    most.unwrap_or(0) / 1_024
}

/// Which processor this is.
pub fn processor() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let of = |name: &str| {
        let value = |line: &str| line.split_once(':').filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned());
        cpu.lines().find_map(value).unwrap_or_else(|| "unknown".into())
    };
    format!("{} cores of {} (family {}, model {}, stepping {})", cores(), of("model name"), of("cpu family"), of("model"), of("stepping"))
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
