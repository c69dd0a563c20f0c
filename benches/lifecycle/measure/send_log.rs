//! What the providers have been called for.

use crate::process::Stage;
use recado::simulator::{self, Line};
use std::time::{Duration, Instant};

/// A message id begins with its record's time: 48 bits of milliseconds.
pub fn record_ms(call: &simulator::CallLine) -> i64 {
    i64::from_str_radix(&call.attempt_id.as_ref().unwrap()[..12], 16).unwrap()
}

/// Waits until the providers have had so many calls.
pub async fn until_calls(stage: &Stage, count: u64) -> Vec<simulator::CallLine> {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let calls = calls(stage);
        if u64::try_from(calls.len()).unwrap() >= count {
            return calls;
        }
        assert!(Instant::now() < deadline, "{} of {count} calls", calls.len());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Every call that the providers have had.
pub fn calls(stage: &Stage) -> Vec<simulator::CallLine> {
    stage.send_log().into_iter().filter_map(|line| if let Line::Call(call) = line { Some(call) } else { None }).collect()
}
