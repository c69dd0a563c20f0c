//! Stories of the pure delivery machine, in text: each file beside this one is a fact about it, checked line by line (`testing.md` §1.1).
//!
//! A line is `time  event  >  decisions`. Events: `requested [because r]`, `outcome 1/1 <word>`, `receipt 1/1 <word>`, `timer <kind> 1/1`, `hold <kind> 1/1`
//! (the engine's gate holds a due timer, so time may pass it), `cancel`, `erase`, `poison`; behind them, where they fit, `because <reason>`, `code <n>`,
//! `held <why>`, `appended <time>`. `{ a ; b }` is run in every order. A step is `channel wait receipt [needs life]`.
//!
//! `UPDATE=1 cargo test --test scenarios` writes the decisions of the machine into the files; read the diff like code.

mod grammar;
mod run;

use recado::delivery::{Attempt, Channel, Decision, Dispatch, NotAfter, Reason, Status, StatusWord, TimerKind, Timestamp};
use run::World;
use std::fs;
use std::path::{Path, PathBuf};

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let entries = fs::read_dir(folder).expect("the folder of scenarios");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.extension().is_some_and(|end| end == "txt")).collect();
    files.sort();
    files
}

#[test]
fn every_scenario_holds() {
    let update = std::env::var_os("UPDATE").is_some();
    let files = files();
    let mut faults = Vec::new();
    for path in &files {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let text = fs::read_to_string(path).expect("a readable scenario");
        match grammar::parse(&text) {
            Err(fault) => faults.push(format!("{name}: {fault}")),
            Ok(scenario) => {
                let report = run::run(&scenario);
                if update {
                    fs::write(path, rewritten(&text, &report.decided)).expect("a writable scenario");
                }
                faults.extend(report.faults.into_iter().map(|fault| format!("{name}: {fault}")));
            }
        }
    }
    assert!(files.len() >= 100, "only {} scenarios were found", files.len());
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

fn rewritten(text: &str, decided: &[(usize, String)]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (number, decisions) in decided {
        let line = &mut lines[number - 1];
        let kept = line.find('>').map_or(line.len(), |at| at + 1);
        line.truncate(kept);
        *line += &format!(" {decisions}");
    }
    lines.join("\n") + "\n"
}

/// Each of these words stands in the decisions of at least one file: nothing of the machine's vocabulary is untold.
#[test]
fn every_terminal_status_and_every_fallback_reason_has_a_scenario() {
    let all: String = files().iter().map(|path| fs::read_to_string(path).expect("a readable scenario")).collect();
    let told = |wanted: &str| all.lines().filter_map(|line| line.split_once('>')).any(|(_, decided)| decided.contains(wanted));
    let mut missing = Vec::new();
    for word in StatusWord::ALL {
        if !told(&format!("status {}", word.word())) {
            missing.push(word.word().to_owned());
        }
    }
    for reason in Reason::ALL {
        let said = format!("because {}", reason.word());
        let fallback = match reason {
            // These hold timers and stand in the status as such, or are no reason.
            Reason::None | Reason::GatewaySilent | Reason::Storm | Reason::DispatcherSilent => continue,
            _ => all.lines().any(|line| line.contains(&said)) && told(&said),
        };
        if !fallback {
            missing.push(said);
        }
    }
    for held in ["held gateway_silent", "held storm", "held dispatcher_silent"] {
        if !told(held) {
            missing.push(held.into());
        }
    }
    assert!(missing.is_empty(), "no scenario for {missing:?}");
}

const ROUTE: &str = "route code: whatsapp 30s delivered, sms 30s delivered; lease 10s; expiry 5m\n";
const BEGIN: &str = "0s requested > dispatch 1/1 whatsapp; set lease 1/1 at 10s; status requested\n";

#[track_caller]
fn refuses(lines: &str, because: &str) {
    let scenario = grammar::parse(&format!("{ROUTE}{BEGIN}{lines}")).expect("a scenario");
    let faults = run::run(&scenario).faults;
    assert!(faults.iter().any(|fault| fault.contains(because)), "{faults:?}");
}

#[test]
fn the_runner_refuses_a_due_timer_that_time_passes() {
    refuses("11s receipt 1/1 delivered > clear lease 1/1; status delivered 1/1; forget\nend delivered\n", "time passes the timer lease 1/1");
    refuses("11s timer lease 1/1 > set wait 1/1 at 41s\nend open\n", "time passes the timer lease 1/1");
}

#[test]
fn the_runner_refuses_a_timer_that_was_never_set() {
    refuses("9s timer wait 1/1 > -\nend open\n", "was never set");
    refuses("9s timer lease 1/1 > -\nend open\n", "was never set for a time before now");
    refuses("9s hold lease 1/1 > -\nend open\n", "held from its deadline on");
}

#[test]
fn the_runner_refuses_a_file_without_its_end_or_with_another() {
    refuses("", "no `end");
    refuses("end delivered\n", "the delivery ended Open");
}

#[test]
fn the_runner_refuses_decisions_that_are_not_named() {
    refuses("1s outcome 1/1 accepted > clear lease 1/1\nend open\n", "decided `clear lease 1/1; set wait 1/1 at 31s`");
    refuses("1s { receipt 1/1 sent ; receipt 1/1 failed } > -\nend open\n", "decided");
}

#[test]
fn the_runner_refuses_orders_that_end_differently() {
    refuses("1s { receipt 1/1 sent ; receipt 1/1 failed } > -\nend open\n", "end in different states");
}

#[test]
fn the_runner_refuses_what_no_machine_may_decide() {
    let scenario = grammar::parse(&format!("{ROUTE}{BEGIN}end open\n")).expect("a scenario");
    let now = grammar::START;
    let dispatch = |at: Timestamp| {
        let lease_end = at.plus(std::time::Duration::from_secs(10));
        let not_after = NotAfter::new(at.plus(std::time::Duration::from_secs(5)));
        Decision::Dispatch(Dispatch { attempt: Attempt::FIRST, channel: Channel::WhatsApp, template: "whatsapp".into(), lease_end, not_after, why: None })
    };
    let status = |seq, word| {
        let (attempt, channel, reason) = (None, None, Reason::Timer);
        let hold = recado::delivery::Hold::No;
        Decision::Status(Status { seq, word, attempt, channel, reason, code: 0, provider_time: None, double_delivered: false, hold })
    };
    let faults = |decisions: &[Decision], at| World::new(&scenario).after(decisions, at).join(", ");
    let failed = status(0, StatusWord::Failed);
    assert!(faults(&[failed.clone(), dispatch(now)], now).contains("a dispatch after the end"));
    assert!(faults(&[dispatch(now.plus(scenario.expiry))], now.plus(scenario.expiry)).contains("the expiry forbids"));
    assert!(faults(&[failed.clone(), status(1, StatusWord::Expired)], now).contains("a second terminal status"));
    assert!(faults(&[failed, status(2, StatusWord::Late)], now).contains("has seq 2, not 1"));
    assert!(faults(&[Decision::ClearTimer { kind: TimerKind::Wait, attempt: Attempt::FIRST }], now).contains("cleared that is not set"));
}
