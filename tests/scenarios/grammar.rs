//! The text of a scenario ⇄ what the machine hears and decides. Enters: one file; leaves: its route and its lines.
//!
//! What is easily got wrong: the statuses `requested`, `fallback` and `retried` stand without attempt, reason and hold: they are those of the dispatch
//! beside them, and the runner checks it.

use recado::delivery::{
    Attempt, Channel, Decision, Event, Hold, Lane, OnUnknown, Outcome, Reason, Receipt, Route, Status, StatusWord, Step, TimerKind, Timestamp, WaitFor,
};
use std::time::Duration;

/// The time of the request: any instant, so that nothing works only near zero.
pub const START: Timestamp = Timestamp::from_millis(1_764_900_000_000);

pub struct Scenario {
    pub route: Route,
    pub expiry: Duration,
    pub lines: Vec<Line>,
    /// The word after `end`, and the number of its line.
    pub end: Option<(usize, End)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Open,
    With(StatusWord),
}

pub struct Line {
    pub number: usize,
    pub at: Timestamp,
    /// One, or a group that is run in each order.
    pub said: Vec<Said>,
    pub expected: Vec<String>,
}

#[derive(Clone, Debug)]
pub enum Said {
    Requested(Option<Reason>),
    Heard(Event),
    /// The engine's gate holds a timer that is due: time may pass it.
    Hold(TimerKind, Attempt),
}

pub fn parse(text: &str) -> Result<Scenario, String> {
    let (mut route, mut lines, mut end) = (None, Vec::new(), None);
    for (index, raw) in text.lines().enumerate() {
        let number = index + 1;
        let fault = |why: String| format!("line {number}: {why}");
        let line = raw.trim();
        if line.is_empty() || line.starts_with('#') {
        } else if end.is_some() {
            return Err(fault("nothing may follow `end`".into()));
        } else if let Some(rest) = line.strip_prefix("route ") {
            route = Some(parse_route(rest).map_err(fault)?);
        } else if let Some(word) = line.strip_prefix("end ") {
            end = Some((number, parse_end(word.trim()).map_err(fault)?));
        } else {
            lines.push(parse_line(number, line).map_err(fault)?);
        }
    }
    let (route, expiry) = route.ok_or("no route")?;
    Ok(Scenario { route, expiry, lines, end })
}

fn parse_end(word: &str) -> Result<End, String> {
    match StatusWord::ALL.into_iter().find(|status| status.terminal() && status.word() == word) {
        Some(status) => Ok(End::With(status)),
        None if word == "open" => Ok(End::Open),
        None => Err(format!("`end {word}`: neither open nor a terminal status")),
    }
}

/// `code: whatsapp 30s delivered, voice 60s sent needs 45s; lease 10s; expiry 5m`, with defaults for all but steps and expiry. A step's template has
/// the name of its channel.
fn parse_route(text: &str) -> Result<(Route, Duration), String> {
    let (_, plan) = text.split_once(':').ok_or("a route is `name: steps; settings`")?;
    let mut parts = plan.split(';').map(str::trim);
    let steps = parts.next().unwrap_or_default();
    let mut lease = Duration::from_secs(10);
    let mut route =
        Route { lane: Lane::Express, steps: Vec::new(), on_unknown: OnUnknown::GiveUp, linger: Duration::from_secs(600), call_max: Duration::from_secs(5) };
    let mut expiry = None;
    for setting in parts {
        match setting.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["lease", span] => lease = parse_span(span)?,
            ["expiry", span] => expiry = Some(parse_span(span)?),
            ["linger", span] => route.linger = parse_span(span)?,
            ["call_max", span] => route.call_max = parse_span(span)?,
            ["lane", lane] => route.lane = Lane::from_word(lane).ok_or(format!("lane {lane}"))?,
            ["on_unknown", "resend_once"] => route.on_unknown = OnUnknown::ResendOnce,
            ["on_unknown", "give_up"] => route.on_unknown = OnUnknown::GiveUp,
            _ => return Err(format!("setting `{setting}`")),
        }
    }
    for step in steps.split(',') {
        route.steps.push(parse_step(step.trim(), lease)?);
    }
    Ok((route, expiry.ok_or("a route needs its expiry")?))
}

fn parse_step(text: &str, lease: Duration) -> Result<Step, String> {
    let words = text.split_whitespace().collect::<Vec<_>>();
    let (&[channel, wait, wait_for], rest) = words.split_first_chunk().ok_or(format!("step `{text}`: channel, wait, receipt"))?;
    let wait_for = match wait_for {
        "sent" => WaitFor::Sent,
        "delivered" => WaitFor::Delivered,
        _ => return Err(format!("a step waits for sent or delivered, not {wait_for}")),
    };
    let step = Step::new(Channel::from_word(channel).ok_or(format!("channel {channel}"))?, channel, lease, parse_span(wait)?, wait_for);
    match rest {
        [] => Ok(step),
        ["needs", life] => Ok(step.needing(parse_span(life)?)),
        _ => Err(format!("step `{text}`")),
    }
}

fn parse_line(number: usize, line: &str) -> Result<Line, String> {
    let (said, expected) = line.split_once('>').ok_or("a line is `time event > decisions`")?;
    let (time, said) = said.trim().split_once(char::is_whitespace).ok_or("a line begins with its time")?;
    let at = START.plus(parse_span(time)?);
    let said = said.trim();
    let group = said.strip_prefix('{').and_then(|inner| inner.strip_suffix('}'));
    let events = group.map_or(vec![said], |inner| inner.split(';').collect());
    let said = events.into_iter().map(|event| parse_said(event.trim(), at)).collect::<Result<Vec<_>, _>>()?;
    let expected = expected.trim();
    let expected = if expected == "-" { Vec::new() } else { expected.split(';').map(words_of).collect() };
    Ok(Line { number, at, said, expected })
}

fn words_of(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn parse_said(text: &str, at: Timestamp) -> Result<Said, String> {
    let mut words = text.split_whitespace().collect::<Vec<_>>();
    let mut reason = None;
    let (mut code, mut hold, mut appended) = (0, Hold::No, at);
    while let [.., key, value] = words.as_slice() {
        match *key {
            "because" => reason = Some(Reason::from_word(value).ok_or(format!("reason {value}"))?),
            "code" => code = value.parse().map_err(|_| format!("code {value}"))?,
            "held" => hold = parse_hold(value)?,
            "appended" => appended = START.plus(parse_span(value)?),
            _ => break,
        }
        words.truncate(words.len() - 2);
    }
    let given = reason.unwrap_or(Reason::None);
    Ok(match words.as_slice() {
        ["requested"] => Said::Requested(reason),
        ["outcome", attempt, word] => {
            let outcome = Outcome::from_word(word).ok_or(format!("outcome {word}"))?;
            Said::Heard(Event::Outcome { attempt: parse_attempt(attempt)?, outcome, reason: given, code, appended })
        }
        ["receipt", attempt, word] => {
            let receipt = Receipt::from_word(word).ok_or(format!("receipt {word}"))?;
            Said::Heard(Event::Receipt { attempt: parse_attempt(attempt)?, receipt, reason: given, code, provider_time: Some(at) })
        }
        ["timer", kind, attempt] => Said::Heard(Event::Timer { kind: parse_timer(kind)?, attempt: parse_attempt(attempt)?, hold }),
        ["hold", kind, attempt] => Said::Hold(parse_timer(kind)?, parse_attempt(attempt)?),
        ["cancel"] => Said::Heard(Event::Cancel),
        ["erase"] => Said::Heard(Event::Erase),
        ["poison"] => Said::Heard(Event::Poison),
        _ => return Err(format!("event `{text}`")),
    })
}

fn parse_attempt(text: &str) -> Result<Attempt, String> {
    let parsed = text.split_once('/').and_then(|(step, n)| Some(Attempt { step: step.parse().ok()?, n: n.parse().ok()? }));
    parsed.ok_or(format!("attempt {text}"))
}

const TIMERS: [(TimerKind, &str); 4] =
    [(TimerKind::Lease, "lease"), (TimerKind::Wait, "wait"), (TimerKind::Linger, "linger"), (TimerKind::BackOff, "back_off")];
const HOLDS: [(Hold, &str); 3] = [(Hold::GatewaySilent, "gateway_silent"), (Hold::Storm, "storm"), (Hold::DispatcherSilent, "dispatcher_silent")];

fn parse_timer(word: &str) -> Result<TimerKind, String> {
    TIMERS.iter().find(|(_, name)| *name == word).map(|(kind, _)| *kind).ok_or(format!("timer {word}"))
}

fn parse_hold(word: &str) -> Result<Hold, String> {
    HOLDS.iter().find(|(_, name)| *name == word).map(|(hold, _)| *hold).ok_or(format!("held {word}"))
}

pub fn timer_word(kind: TimerKind) -> &'static str {
    TIMERS.iter().find(|(one, _)| *one == kind).map_or("?", |(_, name)| name)
}

/// `90s`, `0.4s`, `5m`, `1h`.
fn parse_span(text: &str) -> Result<Duration, String> {
    let (number, unit_ms) = match text.split_at_checked(text.len().saturating_sub(1)) {
        Some((number, "s")) => (number, 1_000.0),
        Some((number, "m")) => (number, 60_000.0),
        Some((number, "h")) => (number, 3_600_000.0),
        _ => return Err(format!("time `{text}`: a number and s, m or h")),
    };
    let number: f64 = number.parse().map_err(|_| format!("time `{text}`"))?;
    Ok(Duration::from_secs_f64((number * unit_ms).round() / 1_000.0))
}

/// Seconds since the request.
pub fn time(at: Timestamp) -> String {
    let ms = at.since(START).as_millis();
    match ms % 1_000 {
        0 => format!("{}s", ms / 1_000),
        rest => format!("{}.{}s", ms / 1_000, format!("{rest:03}").trim_end_matches('0')),
    }
}

pub fn decision(decision: &Decision) -> String {
    match decision {
        Decision::Dispatch(dispatch) => {
            let why = dispatch.why.map(|why| format!("{}{}", because(why.reason), held(why.hold))).unwrap_or_default();
            format!("dispatch {} {}{why}", dispatch.attempt, dispatch.channel.word())
        }
        Decision::SetTimer { kind, attempt, at } => format!("set {} {attempt} at {}", timer_word(*kind), time(*at)),
        Decision::ClearTimer { kind, attempt } => format!("clear {} {attempt}", timer_word(*kind)),
        Decision::Status(status) => status_text(status),
        Decision::Forget => "forget".into(),
    }
}

/// Whether a status stands beside the dispatch that it tells of.
pub fn tells_of_a_dispatch(word: StatusWord) -> bool {
    matches!(word, StatusWord::Requested | StatusWord::Fallback | StatusWord::Retried)
}

fn status_text(status: &Status) -> String {
    let mut text = format!("status {}", status.word.word());
    if !tells_of_a_dispatch(status.word) {
        text += &status.attempt.map(|attempt| format!(" {attempt}")).unwrap_or_default();
        text += &because(status.reason);
    }
    if status.code != 0 {
        text += &format!(" code {}", status.code);
    }
    if status.double_delivered {
        text += " double_delivered";
    }
    if !tells_of_a_dispatch(status.word) {
        text += &held(status.hold);
    }
    text
}

fn because(reason: Reason) -> String {
    if reason == Reason::None { String::new() } else { format!(" because {}", reason.word()) }
}

fn held(hold: Hold) -> String {
    HOLDS.iter().find(|(one, _)| *one == hold).map(|(_, name)| format!(" held {name}")).unwrap_or_default()
}
