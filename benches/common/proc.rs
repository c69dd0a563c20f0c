//! What Linux tells of processes and of the machine, in `/proc`, to both benches: times in hundredths of a second, which is how the scheduler's are told.

use std::fs;
use std::time::Duration;

/// User and system time of all its threads since its start.
pub fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    // Behind the name in brackets: the state, ten numbers, then both times.
    let fields = stat.rsplit(')').next().expect("it has a name").split_whitespace().skip(11).take(2);
    Duration::from_millis(fields.map(|ticks| ticks.parse::<u64>().expect("a number") * 10).sum())
}

/// What the machine's host has kept for others, of all cores, since the machine's start.
pub fn stolen() -> Duration {
    let stat = fs::read_to_string("/proc/stat").expect("Linux tells");
    let ticks = stat.lines().next().and_then(|all| all.split_whitespace().nth(8)?.parse::<u64>().ok());
    Duration::from_millis(10 * ticks.unwrap_or(0))
}

/// Which share of all cores' time that was in a span.
pub fn share(stolen: Duration, span: Duration) -> f64 {
    stolen.as_secs_f64() / (span.as_secs_f64() * f64::from(cores()))
}

/// How many the machine has: this program itself may be kept on some of them.
fn cores() -> u32 {
    let stat = fs::read_to_string("/proc/stat").expect("Linux tells");
    let is_one = |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    u32::try_from(stat.lines().filter(is_one).count().max(1)).expect("a few cores")
}

/// Memory of a process in bytes, by the name of its line (`VmRSS`; `VmHWM`: the most that it has had); `None` of one that has ended.
pub fn memory(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1_024)
}

/// Which processor this is, and how many of its cores.
pub fn processor() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let of = |name: &str| {
        let value = |line: &str| line.split_once(':').filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned());
        cpu.lines().find_map(value).unwrap_or_else(|| "unknown".into())
    };
    format!("{} cores of {} (family {}, model {}, stepping {})", cores(), of("model name"), of("cpu family"), of("model"), of("stepping"))
}
