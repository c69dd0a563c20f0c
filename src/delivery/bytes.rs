//! The bytes of a delivery's state in `recado.state` and RocksDB. Enters: a state; leaves: one fixed binary form, big-endian, its version in front.
//!
//! What is easily got wrong: a shipped version is read for ever. A new field means a new version, never a changed one.
//!
//! Version 1, in this order (numbers of bytes; spans in ms, times in ms since 1970):
//! ```text
//! version 1 = 1
//! lane 1 · on_unknown 1 (1 resend_once, 2 give_up) · linger 4 · call_max 4
//! steps 1 (1 to 8), each: channel 1 · wait_for 1 (1 sent, 2 delivered) · lease 4 · wait 4 · life_min 4 · template's length 2 · template, UTF-8
//! expiry 8
//! steps begun 1, each: attempts 2 (1 or more)
//! current step began 8 · too_late in a row 2
//! flags 1: 1 resent, 2 late told, 4 double told
//! hold of the lease 1 (0 no, 1 gateway silent, 2 storm, 3 dispatcher silent)
//! next seq 4
//! end 1 (0 none, 1 delivered, 2 failed, 3 expired, 4 cancelled, 5 unconfirmed)
//! timer 1 (0 none, 1 lease, 2 wait, 3 linger, 4 back-off), and if there is one: due 8
//! remembered attempts 1 (at most 16, ascending), each: step 1 · n 2 ·
//!   outcome 1 (0 none, 1 accepted, 2 rejected, 3 throttled, 4 unavailable, 5 too_late, 6 unknown) ·
//!   reports 1: two lowest bits 0 nothing, 1 sent, 2 delivered, 3 read; 4 failed; 8 lease ended
//! ```

use super::attempts::{Attempts, Booked, REMEMBERED_MAX};
use super::receipt::{Lattice, Reached};
use super::state::ms;
use super::{
    Attempt, BadState, Channel, Hold, KnownRoutes, Lane, OnUnknown, Outcome, Route, STEPS_MAX, State, StatusWord, Step, TimerKind, Timestamp, WaitFor,
};
use arrayvec::ArrayVec;
use std::sync::Arc;
use std::time::Duration;

/// With a second one, the beginning of a state of the first must not be written again as it lies (`read_after_route`).
const VERSION: u8 = 1;

impl State {
    /// Appends its bytes (version in front).
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        write_route(&self.route, out);
        self.write_after_route(out);
    }

    /// Appends its bytes behind the route, which never changes.
    pub fn write_after_route(&self, out: &mut Vec<u8>) {
        out.extend(self.expiry.millis().to_be_bytes());
        out.push(count(self.tries.len()));
        for tries in &self.tries {
            out.extend(tries.to_be_bytes());
        }
        out.extend(self.step_began.millis().to_be_bytes());
        out.extend(self.too_late_in_a_row.to_be_bytes());
        out.push(u8::from(self.resent) | u8::from(self.late_told) << 1 | u8::from(self.double_told) << 2);
        out.push(hold_ordinal(self.lease_hold));
        out.extend(self.seq.to_be_bytes());
        out.push(self.end.map_or(0, end_ordinal));
        match self.clock {
            None => out.push(0),
            Some((kind, at)) => {
                out.push(timer_ordinal(kind));
                out.extend(at.millis().to_be_bytes());
            }
        }
        out.push(count(self.attempts.0.len()));
        for booked in &self.attempts.0 {
            write_booked(booked, out);
        }
    }

    /// Reads what [`State::write`] wrote, in any version that was ever shipped. The whole slice must be one state.
    ///
    /// `routes` are those of the states that were read before. Errors: `Version` for a first byte that no shipped Recado wrote, `Shape` for all else that is
    /// not exactly a state. Both are final. Allocates at most what the slice's own length pays for; never panics.
    pub fn read(bytes: &[u8], routes: &mut KnownRoutes) -> Result<Self, BadState> {
        Self::read_after_route(bytes, routes).map(|(state, _)| state)
    }

    /// The same, and what stands behind the route.
    pub fn read_after_route<'a>(bytes: &'a [u8], routes: &mut KnownRoutes) -> Result<(Self, &'a [u8]), BadState> {
        let (&version, rest) = bytes.split_first().ok_or(BadState::Shape)?;
        if version != VERSION {
            return Err(BadState::Version(version));
        }
        let mut input = Input(rest);
        let route = route_of(&mut input, routes).ok_or(BadState::Shape)?;
        let after_route = input.0;
        let state = read_state(route, &mut input).filter(|state| input.0.is_empty() && consistent(state));
        state.map(|state| (state, after_route)).ok_or(BadState::Shape)
    }
}

fn write_route(route: &Route, out: &mut Vec<u8>) {
    out.push(route.lane.ordinal());
    out.push(match route.on_unknown {
        OnUnknown::ResendOnce => 1,
        OnUnknown::GiveUp => 2,
    });
    out.extend(ms(route.linger).to_be_bytes());
    out.extend(ms(route.call_max).to_be_bytes());
    out.push(count(route.steps.len()));
    for step in &route.steps {
        out.push(step.channel.ordinal());
        out.push(match step.wait_for {
            WaitFor::Sent => 1,
            WaitFor::Delivered => 2,
        });
        for span in [step.lease, step.wait, step.life_min] {
            out.extend(ms(span).to_be_bytes());
        }
        let length = u16::try_from(step.template.len()).expect("a template's name is shorter than 64 KiB");
        out.extend(length.to_be_bytes());
        out.extend(step.template.as_bytes());
    }
}

fn write_booked(booked: &Booked, out: &mut Vec<u8>) {
    out.push(booked.attempt.step);
    out.extend(booked.attempt.n.to_be_bytes());
    out.push(booked.outcome.map_or(0, outcome_ordinal));
    let reached = match booked.receipts.reached {
        Reached::Nothing => 0,
        Reached::Sent => 1,
        Reached::Delivered => 2,
        Reached::Read => 3,
    };
    out.push(reached | u8::from(booked.receipts.failed) << 2 | u8::from(booked.lease_ended) << 3);
}

fn count(length: usize) -> u8 {
    u8::try_from(length).expect("steps and remembered attempts are few")
}

fn read_state(route: Arc<Route>, input: &mut Input<'_>) -> Option<State> {
    let expiry = input.time()?;
    let begun = usize::from(input.u8()?);
    let tries = read_all(begun, || input.u16())?;
    let step_began = input.time()?;
    let too_late_in_a_row = input.u16()?;
    let flags = input.u8().filter(|flags| *flags < 8)?;
    let lease_hold = of_ordinal(&HOLDS, hold_ordinal, input.u8()?)?;
    let seq = input.u32()?;
    let end = match input.u8()? {
        0 => None,
        ordinal => Some(of_ordinal(&ENDS, end_ordinal, ordinal)?),
    };
    let clock = match input.u8()? {
        0 => None,
        ordinal => Some((of_ordinal(&TIMERS, timer_ordinal, ordinal)?, input.time()?)),
    };
    let remembered = usize::from(input.u8()?);
    let attempts = read_all(remembered, || read_booked(input))?;
    Some(State {
        route,
        expiry,
        tries,
        step_began,
        too_late_in_a_row,
        resent: flags & 1 != 0,
        lease_hold,
        seq,
        end,
        late_told: flags & 2 != 0,
        double_told: flags & 4 != 0,
        clock,
        attempts: Attempts(attempts),
    })
}

/// So many of them, where there is room for so many.
fn read_all<T, const MAX: usize>(count: usize, mut read: impl FnMut() -> Option<T>) -> Option<ArrayVec<T, MAX>> {
    let mut all = ArrayVec::new();
    for _ in 0..count {
        all.try_push(read()?).ok()?;
    }
    Some(all)
}

/// The route, by the bytes that it takes.
fn route_of(input: &mut Input<'_>, routes: &mut KnownRoutes) -> Option<Arc<Route>> {
    let mut rest = Input(input.0);
    rest.take(10)?;
    for _ in 0..rest.u8()? {
        rest.take(14)?;
        let template = usize::from(rest.u16()?);
        rest.take(template)?;
    }
    let bytes = input.take(input.0.len() - rest.0.len())?;
    routes.of(bytes, || read_route(&mut Input(bytes)))
}

fn read_route(input: &mut Input<'_>) -> Option<Route> {
    let lane = Lane::from_ordinal(input.u8()?)?;
    let on_unknown = match input.u8()? {
        1 => OnUnknown::ResendOnce,
        2 => OnUnknown::GiveUp,
        _ => return None,
    };
    let (linger, call_max) = (input.span()?, input.span()?);
    let steps = usize::from(input.u8()?);
    let steps = (0..steps).map(|_| read_step(input)).collect::<Option<Vec<_>>>()?;
    Some(Route { lane, steps, on_unknown, linger, call_max })
}

fn read_step(input: &mut Input<'_>) -> Option<Step> {
    let channel = Channel::from_ordinal(input.u8()?)?;
    let wait_for = match input.u8()? {
        1 => WaitFor::Sent,
        2 => WaitFor::Delivered,
        _ => return None,
    };
    let (lease, wait, life_min) = (input.span()?, input.span()?, input.span()?);
    let length = usize::from(input.u16()?);
    let template = str::from_utf8(input.take(length)?).ok()?;
    Some(Step::new(channel, template, lease, wait, wait_for).needing(life_min))
}

fn read_booked(input: &mut Input<'_>) -> Option<Booked> {
    let attempt = Attempt { step: input.u8()?, n: input.u16()? };
    let outcome = match input.u8()? {
        0 => None,
        ordinal => Some(of_ordinal(&Outcome::ALL, outcome_ordinal, ordinal)?),
    };
    let reports = input.u8().filter(|reports| *reports < 16)?;
    let reached = match reports & 3 {
        0 => Reached::Nothing,
        1 => Reached::Sent,
        2 => Reached::Delivered,
        _ => Reached::Read,
    };
    Some(Booked { attempt, outcome, lease_ended: reports & 8 != 0, receipts: Lattice { reached, failed: reports & 4 != 0 } })
}

/// What the machine relies on, and what it never breaks: checked here, so that bytes of somebody else's cannot make it panic.
fn consistent(state: &State) -> bool {
    let steps = state.route.steps.len();
    let tries = (1..=STEPS_MAX).contains(&steps) && state.tries.len() <= steps && state.tries.iter().all(|&tries| tries > 0);
    let clock = match state.clock {
        Some((TimerKind::Lease | TimerKind::Wait | TimerKind::BackOff, _)) => !state.ended() && !state.tries.is_empty(),
        Some((TimerKind::Linger, _)) => state.ended() && !state.tries.is_empty(),
        None => state.ended(),
    };
    let booked = &state.attempts.0;
    let attempts = booked.len() <= REMEMBERED_MAX && booked.is_sorted_by(|a, b| a.attempt < b.attempt) && booked.iter().all(|one| state.made(one.attempt));
    tries && clock && attempts
}

const HOLDS: [Hold; 4] = [Hold::No, Hold::GatewaySilent, Hold::Storm, Hold::DispatcherSilent];
const ENDS: [StatusWord; 5] = [StatusWord::Delivered, StatusWord::Failed, StatusWord::Expired, StatusWord::Cancelled, StatusWord::Unconfirmed];
const TIMERS: [TimerKind; 4] = [TimerKind::Lease, TimerKind::Wait, TimerKind::Linger, TimerKind::BackOff];

fn of_ordinal<T: Copy>(all: &[T], ordinal_of: fn(T) -> u8, ordinal: u8) -> Option<T> {
    all.iter().copied().find(|one| ordinal_of(*one) == ordinal)
}

const fn hold_ordinal(hold: Hold) -> u8 {
    match hold {
        Hold::No => 0,
        Hold::GatewaySilent => 1,
        Hold::Storm => 2,
        Hold::DispatcherSilent => 3,
    }
}

const fn end_ordinal(word: StatusWord) -> u8 {
    match word {
        StatusWord::Delivered => 1,
        StatusWord::Failed => 2,
        StatusWord::Expired => 3,
        StatusWord::Cancelled => 4,
        StatusWord::Unconfirmed => 5,
        // no delivery ends with one of these; 0 reads as "not ended"
        StatusWord::Requested | StatusWord::Sent | StatusWord::Read | StatusWord::Fallback | StatusWord::Retried | StatusWord::Late => 0,
    }
}

const fn timer_ordinal(kind: TimerKind) -> u8 {
    match kind {
        TimerKind::Lease => 1,
        TimerKind::Wait => 2,
        TimerKind::Linger => 3,
        TimerKind::BackOff => 4,
    }
}

const fn outcome_ordinal(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Accepted => 1,
        Outcome::Rejected => 2,
        Outcome::Throttled => 3,
        Outcome::Unavailable => 4,
        Outcome::TooLate => 5,
        Outcome::Unknown => 6,
    }
}

/// What is left to be read; every method takes from its front.
struct Input<'b>(&'b [u8]);

impl<'b> Input<'b> {
    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn time(&mut self) -> Option<Timestamp> {
        self.array().map(|bytes| Timestamp::from_millis(i64::from_be_bytes(bytes)))
    }

    fn span(&mut self) -> Option<Duration> {
        self.u32().map(|ms| Duration::from_millis(u64::from(ms)))
    }
}
