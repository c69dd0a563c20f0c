//! Runs one scenario: every order of its groups, every decision compared, and what must hold of every delivery checked beside it.
//!
//! What is easily got wrong: the state goes through its bytes after each event, so a scenario also fails when something is forgotten on the way to disk.

use crate::grammar::{self, End, Line, START, Said, Scenario};
use recado::delivery::{Attempt, Channel, Decision, Event, KnownRoutes, Reason, Request, Route, State, Status, TimerKind, Timestamp, on, request};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How many orders one file may ask for: two groups of four are 576.
const ORDERS_MAX: usize = 720;

/// What one line decided, first order; and all that is wrong with the file.
pub struct Report {
    pub decided: Vec<(usize, String)>,
    pub faults: Vec<String>,
}

pub fn run(scenario: &Scenario) -> Report {
    let mut report = Report { decided: Vec::new(), faults: Vec::new() };
    let orders = orders(&scenario.lines);
    if orders.len() > ORDERS_MAX {
        report.faults.push(format!("{} orders are too many to run", orders.len()));
        return report;
    }
    let mut first_end: Option<Option<State>> = None;
    for (index, order) in orders.iter().enumerate() {
        let mut world = World::new(scenario);
        for (line, said) in scenario.lines.iter().zip(order) {
            let decided = world.line(line, said);
            if index == 0 {
                report.decided.push((line.number, if decided.is_empty() { "-".into() } else { decided.join("; ") }));
            }
        }
        world.end(scenario.end);
        for fault in world.faults {
            if !report.faults.contains(&fault) {
                report.faults.push(fault);
            }
        }
        let end = first_end.get_or_insert_with(|| world.state.clone());
        if *end != world.state {
            report.faults.push("the orders of a group end in different states".into());
        }
    }
    report
}

/// One list of what is said per line, for every way to order all groups.
fn orders(lines: &[Line]) -> Vec<Vec<Vec<Said>>> {
    let mut all: Vec<Vec<Vec<Said>>> = vec![Vec::new()];
    for line in lines {
        let ways = permutations(&line.said);
        all = all.into_iter().flat_map(|before| ways.iter().map(move |way| [before.clone(), vec![way.clone()]].concat())).take(ORDERS_MAX + 1).collect();
    }
    all
}

fn permutations(said: &[Said]) -> Vec<Vec<Said>> {
    if said.len() < 2 {
        return vec![said.to_vec()];
    }
    let mut all = Vec::new();
    for first in 0..said.len() {
        let mut rest = said.to_vec();
        let head = rest.remove(first);
        all.extend(permutations(&rest).into_iter().map(|tail| [vec![head.clone()], tail].concat()));
    }
    all
}

/// The delivery and everything that its decisions have promised so far.
pub struct World {
    route: Arc<Route>,
    expiry: Timestamp,
    pub state: Option<State>,
    begun: bool,
    ended: Option<Status>,
    seq: u32,
    last_dispatch: Option<Attempt>,
    timers: BTreeMap<TimerKind, (Attempt, Timestamp)>,
    ever_set: BTreeSet<(TimerKind, Attempt, Timestamp)>,
    held: BTreeSet<(TimerKind, Attempt)>,
    pub faults: Vec<String>,
}

impl World {
    pub fn new(scenario: &Scenario) -> Self {
        Self {
            route: scenario.route.clone().into(),
            expiry: START.plus(scenario.expiry),
            state: None,
            begun: false,
            ended: None,
            seq: 0,
            last_dispatch: None,
            timers: BTreeMap::new(),
            ever_set: BTreeSet::new(),
            held: BTreeSet::new(),
            faults: Vec::new(),
        }
    }

    fn line(&mut self, line: &Line, said: &[Said]) -> Vec<String> {
        let mut decided = Vec::new();
        for said in said {
            for fault in self.before(said, line.at) {
                self.faults.push(format!("line {}: {fault}", line.number));
            }
            let decisions = self.hear(said, line.at);
            for fault in self.after(&decisions, line.at) {
                self.faults.push(format!("line {}: {fault}", line.number));
            }
            decided.extend(decisions.iter().map(grammar::decision));
        }
        let same = if said.len() > 1 { sorted(&decided) == sorted(&line.expected) } else { decided == line.expected };
        if !same {
            self.faults.push(format!("line {}: decided `{}`, expected `{}`", line.number, decided.join("; "), line.expected.join("; ")));
        }
        decided
    }

    /// Whether this may be said now.
    fn before(&mut self, said: &Said, now: Timestamp) -> Vec<String> {
        let mut faults = Vec::new();
        if matches!(said, Said::Requested(_)) == self.begun {
            faults.push("a scenario begins with its one request".into());
        }
        self.begun = true;
        let firing = match said {
            Said::Heard(Event::Timer { kind, attempt, .. }) => Some((*kind, *attempt)),
            Said::Requested(_) | Said::Heard(_) => None,
            Said::Hold(kind, attempt) => {
                self.held.insert((*kind, *attempt));
                if self.timers.get(kind).is_none_or(|set| *set != (*attempt, now)) {
                    faults.push("a timer is held from its deadline on".into());
                }
                None
            }
        };
        for (kind, (attempt, at)) in &self.timers {
            if *at < now && !self.held.contains(&(*kind, *attempt)) {
                faults.push(format!("time passes the timer {} {attempt}, due at {}", grammar::timer_word(*kind), grammar::time(*at)));
            }
        }
        if let Some((kind, attempt)) = firing
            && !self.ever_set.iter().any(|(set, of, at)| *set == kind && *of == attempt && *at <= now)
        {
            faults.push(format!("the timer {} {attempt} was never set for a time before now", grammar::timer_word(kind)));
        }
        faults
    }

    fn hear(&mut self, said: &Said, now: Timestamp) -> Vec<Decision> {
        let decisions = match said {
            Said::Hold(..) => Vec::new(),
            Said::Requested(obstacle) => {
                let (state, decisions) = request(Request { route: self.route.clone(), expiry: self.expiry, obstacle: *obstacle }, now);
                self.state = Some(state);
                decisions
            }
            Said::Heard(event) => self.state.as_mut().map_or_else(Vec::new, |state| on(state, event, now)),
        };
        // A timer that fired is gone, unless it was stale and another deadline is set.
        if let Said::Heard(Event::Timer { kind, attempt, .. }) = said
            && self.timers.get(kind).is_some_and(|(of, at)| of == attempt && *at <= now)
        {
            self.timers.remove(kind);
        }
        decisions
    }

    /// What must hold of any decisions.
    pub fn after(&mut self, decisions: &[Decision], now: Timestamp) -> Vec<String> {
        let mut faults = Vec::new();
        for decision in decisions {
            faults.extend(self.carry_out(decision, decisions, now));
        }
        if let Some(state) = self.state.take() {
            let mut bytes = Vec::new();
            state.write(&mut bytes);
            let read = State::read(&bytes, &mut KnownRoutes::default()).ok();
            if read.as_ref() != Some(&state) {
                faults.push("the state does not come back from its bytes".into());
            }
            let timer = state.timer();
            if timer.as_slice() != self.timers.iter().map(|(kind, (attempt, at))| (*kind, *attempt, *at)).collect::<Vec<_>>() {
                faults.push(format!("the state names other timers than were set: {timer:?}"));
            }
            if state.ended() != self.ended.is_some() {
                faults.push("ended() and the terminal status disagree".into());
            }
            self.state = read.filter(|_| !decisions.contains(&Decision::Forget));
        }
        faults
    }

    fn carry_out(&mut self, decision: &Decision, beside: &[Decision], now: Timestamp) -> Vec<String> {
        let mut faults = Vec::new();
        match decision {
            Decision::Dispatch(dispatch) => {
                if self.ended.is_some() {
                    faults.push("a dispatch after the end".into());
                }
                if now >= self.expiry || dispatch.lease_end > self.expiry || !dispatch.not_after.allows(now) {
                    faults.push("a dispatch that the expiry forbids".into());
                }
                if dispatch.not_after.timestamp() != dispatch.lease_end.minus(self.route.call_max) {
                    faults.push("not_after is the lease's end less the longest call".into());
                }
                if dispatch.why.map(|why| why.from) != self.last_dispatch {
                    faults.push("a dispatch names another attempt than the one before it".into());
                }
                if *dispatch.template != *dispatch.channel.word() {
                    faults.push("a dispatch carries the template of another step".into());
                }
                let lease = Decision::SetTimer { kind: TimerKind::Lease, attempt: dispatch.attempt, at: dispatch.lease_end };
                if !beside.contains(&lease) {
                    faults.push("a dispatch without its lease".into());
                }
                self.last_dispatch = Some(dispatch.attempt);
            }
            Decision::SetTimer { kind, attempt, at } => {
                self.timers.insert(*kind, (*attempt, *at));
                self.ever_set.insert((*kind, *attempt, *at));
            }
            Decision::ClearTimer { kind, attempt } => {
                if self.timers.remove(kind).map(|(of, _)| of) != Some(*attempt) {
                    faults.push("a timer is cleared that is not set".into());
                }
            }
            Decision::Status(status) => faults.extend(self.tell(status, beside)),
            Decision::Forget => {
                if self.ended.is_none() || !self.timers.is_empty() {
                    faults.push("forgotten before its end, or with a timer set".into());
                }
            }
        }
        faults
    }

    fn tell(&mut self, status: &Status, beside: &[Decision]) -> Vec<String> {
        let mut faults = Vec::new();
        if status.seq != self.seq {
            faults.push(format!("status {} has seq {}, not {}", status.word.word(), status.seq, self.seq));
        }
        self.seq = status.seq + 1;
        let template = self.state.as_ref().zip(status.attempt).map(|(state, attempt)| state.step_template(attempt));
        if template.is_some_and(|template| template != status.channel.map(Channel::word)) {
            faults.push("a status names another channel than its attempt's".into());
        }
        if status.word.terminal() {
            if self.ended.is_some() {
                faults.push("a second terminal status".into());
            }
            self.ended = Some(status.clone());
        }
        if grammar::tells_of_a_dispatch(status.word) {
            let told = beside.iter().any(|decision| {
                let Decision::Dispatch(dispatch) = decision else { return false };
                let (reason, hold) = dispatch.why.map_or((Reason::None, status.hold), |why| (why.reason, why.hold));
                status.attempt == Some(dispatch.attempt) && status.reason == reason && status.hold == hold
            });
            if !told {
                faults.push(format!("status {} tells of another dispatch than the one beside it", status.word.word()));
            }
        }
        faults
    }

    fn end(&mut self, end: Option<(usize, End)>) {
        let ended = self.ended.as_ref().map_or(End::Open, |status| End::With(status.word));
        match end {
            None => self.faults.push("no `end <terminal status>` or `end open`".into()),
            Some((number, expected)) if expected != ended => self.faults.push(format!("line {number}: the delivery ended {ended:?}")),
            Some(_) => {}
        }
    }
}

fn sorted(decided: &[String]) -> Vec<String> {
    let mut decided = decided.to_vec();
    decided.sort();
    decided
}
