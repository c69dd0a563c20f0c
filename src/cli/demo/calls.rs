//! What the providers say: enters their doubles' send log, leaves how many messages went out, and what must not be in it.
//!
//! What is easily got wrong: one attempt may be *called* several times, as long as every call before was refused; it may *go out* once.

use crate::simulator::Line;
use std::collections::BTreeMap;

/// The send log, judged.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Calls {
    /// Messages that went out.
    pub(super) sent: usize,
    /// Attempts that went out twice, and calls that were no proper ones; a sentence each.
    pub(super) faults: Vec<String>,
}

pub(super) fn judge(lines: &[Line]) -> Calls {
    let mut calls = Calls::default();
    let mut attempts = BTreeMap::<&str, usize>::new();
    for line in lines {
        match line {
            Line::Call(call) if call.counts => {
                calls.sent += 1;
                match &call.attempt_id {
                    Some(id) => *attempts.entry(id).or_default() += 1,
                    None => calls.faults.push(format!("A message by {:?} went out without its attempt's id.", call.channel)),
                }
            }
            Line::Refused { channel, code, message, .. } => calls.faults.push(format!("A call by {channel:?} was no proper one ({code}): {message}.")),
            Line::Lost { channel, receipt, .. } => calls.faults.push(format!("The gateway never took a receipt by {channel:?}: {receipt}.")),
            Line::Call(_) | Line::Webhook { .. } | Line::Spoken { .. } => {}
        }
    }
    calls.faults.extend(attempts.iter().filter(|(_, times)| **times > 1).map(|(id, times)| format!("The attempt {id} went out {times} times.")));
    calls
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::{CallLine, Channel};

    fn call(attempt_id: &str, counts: bool) -> Line {
        Line::Call(CallLine {
            time_ms: 0,
            answer_ms: 0,
            channel: Channel::Sms,
            attempt_id: Some(attempt_id.into()),
            to: "5511999990001".into(),
            template: None,
            text_sha256: String::new(),
            answer: "accepted".into(),
            status: 201,
            code: 0,
            counts,
            text: None,
        })
    }

    #[test]
    fn an_attempt_may_be_refused_and_called_again_and_goes_out_once() {
        assert_eq!(judge(&[call("a-1-1", false), call("a-1-1", true), call("a-2-1", true)]), Calls { sent: 2, faults: Vec::new() });
        assert_eq!(judge(&[call("a-1-1", true), call("a-1-1", true)]).faults, ["The attempt a-1-1 went out 2 times."]);
        let refused = Line::Refused { time_ms: 0, channel: Channel::Whatsapp, attempt_id: None, status: 400, code: 131_008, message: "body".into() };
        assert_eq!(judge(&[refused]).faults.len(), 1);
    }
}
