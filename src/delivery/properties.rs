//! What holds of every delivery, whatever comes in whatever order (`testing.md` §1.2).

use super::attempts::Booked;
use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

const START: Timestamp = Timestamp::from_millis(1_764_900_000_000);
const KINDS: [TimerKind; 4] = [TimerKind::Lease, TimerKind::Wait, TimerKind::Linger, TimerKind::BackOff];
const HOLDS: [Hold; 4] = [Hold::No, Hold::GatewaySilent, Hold::Storm, Hold::DispatcherSilent];

/// Which attempt something is about.
#[derive(Clone, Copy, Debug)]
enum About {
    Current,
    Named(Attempt),
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Outcome(About, Outcome, Reason, Duration),
    Receipt(About, Receipt, Reason),
    /// The timer that is set, at its deadline or later.
    Due(Hold),
    /// Any timer at any time.
    Timer(About, TimerKind),
    Cancel,
    Erase,
    Poison,
}

fn seconds(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_secs)
}

fn step() -> impl Strategy<Value = Step> {
    let spans = (seconds(4..15), seconds(1..90), prop_oneof![3 => Just(Duration::ZERO), 1 => seconds(1..45)]);
    let wait_for = prop_oneof![4 => Just(WaitFor::Delivered), 1 => Just(WaitFor::Sent)];
    (prop::sample::select(&Channel::ALL[..]), "[a-z]{0,9}", wait_for, spans)
        .prop_map(|(channel, template, wait_for, (lease, wait, life))| Step::new(channel, template, lease, wait, wait_for).needing(life))
}

fn route() -> impl Strategy<Value = Route> {
    let on_unknown = prop::sample::select(&[OnUnknown::ResendOnce, OnUnknown::GiveUp][..]);
    (prop::sample::select(&Lane::ALL[..]), vec(step(), 1..=4), on_unknown, seconds(0..700), seconds(0..6))
        .prop_map(|(lane, steps, on_unknown, linger, call_max)| Route { lane, steps, on_unknown, linger, call_max })
}

fn requested() -> impl Strategy<Value = Request> {
    let obstacle = prop_oneof![30 => Just(None), 1 => prop::sample::select(&Reason::ALL[..]).prop_map(Some)];
    (route(), seconds(0..600), obstacle).prop_map(|(route, life, obstacle)| Request { route: route.into(), expiry: START.plus(life), obstacle })
}

fn about() -> impl Strategy<Value = About> {
    prop_oneof![3 => Just(About::Current), 1 => (0_u8..6, 0_u16..4).prop_map(|(step, n)| About::Named(Attempt { step, n }))]
}

fn deed() -> impl Strategy<Value = (Duration, Deed)> {
    let reason = || prop_oneof![3 => Just(Reason::None), 1 => prop::sample::select(&Reason::ALL[..])];
    let outcome = (about(), prop::sample::select(&Outcome::ALL[..]), reason(), seconds(0..5)).prop_map(|(a, o, r, lag)| Deed::Outcome(a, o, r, lag));
    let receipt = prop_oneof![4 => Just(Receipt::Sent), 4 => Just(Receipt::Failed), 1 => Just(Receipt::Delivered), 1 => Just(Receipt::Read)];
    let deed = prop_oneof![
        30 => outcome,
        20 => (about(), receipt, reason()).prop_map(|(about, receipt, reason)| Deed::Receipt(about, receipt, reason)),
        25 => prop::sample::select(&HOLDS[..]).prop_map(Deed::Due),
        10 => (about(), prop::sample::select(&KINDS[..])).prop_map(|(about, kind)| Deed::Timer(about, kind)),
        1 => Just(Deed::Cancel),
        1 => Just(Deed::Erase),
        1 => Just(Deed::Poison),
    ];
    ((0_u64..9_000).prop_map(Duration::from_millis), deed)
}

/// A delivery, with what its decisions add up to.
struct Watched {
    state: State,
    now: Timestamp,
    expiry: Timestamp,
    timers: BTreeMap<TimerKind, (Attempt, Timestamp)>,
    statuses: Vec<Status>,
    dispatched: Vec<Attempt>,
    stopped: bool,
    forgotten: bool,
}

impl Watched {
    fn begin(begin: Request) -> Self {
        let expiry = begin.expiry;
        let (state, decisions) = request(begin, START);
        let (timers, statuses, dispatched) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut watched = Self { state, now: START, expiry, timers, statuses, dispatched, stopped: false, forgotten: false };
        watched.carry_out(&decisions);
        watched
    }

    fn event(&self, deed: Deed) -> Event {
        let named = |about| match about {
            About::Current => self.state.current(),
            About::Named(attempt) => attempt,
        };
        match deed {
            Deed::Outcome(about, outcome, reason, lag) => Event::Outcome { attempt: named(about), outcome, reason, code: 7, appended: self.now.minus(lag) },
            Deed::Receipt(about, receipt, reason) => Event::Receipt { attempt: named(about), receipt, reason, code: 8, provider_time: None },
            Deed::Due(hold) => {
                let (kind, attempt, _) = self.state.timer().unwrap_or((TimerKind::Wait, Attempt::FIRST, START));
                Event::Timer { kind, attempt, hold }
            }
            Deed::Timer(about, kind) => Event::Timer { kind, attempt: named(about), hold: Hold::No },
            Deed::Cancel => Event::Cancel,
            Deed::Erase => Event::Erase,
            Deed::Poison => Event::Poison,
        }
    }

    fn hear(&mut self, pause: Duration, deed: Deed) -> Event {
        self.now = self.now.plus(pause);
        if let (Deed::Due(_), Some((_, _, at))) = (deed, self.state.timer()) {
            self.now = self.now.max(at);
        }
        let event = self.event(deed);
        self.apply(&event);
        event
    }

    fn apply(&mut self, event: &Event) -> Vec<Decision> {
        let decisions = on(&mut self.state, event, self.now);
        if let Event::Timer { kind, attempt, .. } = event
            && self.timers.get(kind).is_some_and(|(of, at)| of == attempt && *at <= self.now)
        {
            self.timers.remove(kind);
        }
        assert!(!self.forgotten || decisions.is_empty(), "a forgotten delivery decided {decisions:?}");
        self.carry_out(&decisions);
        self.stopped |= matches!(event, Event::Cancel | Event::Erase);
        decisions
    }

    fn carry_out(&mut self, decisions: &[Decision]) {
        for decision in decisions {
            match decision {
                Decision::Dispatch(dispatch) => {
                    assert!(!self.ended() && !self.stopped, "a dispatch after the end");
                    assert!(self.now < self.expiry && dispatch.lease_end <= self.expiry && dispatch.not_after.allows(self.now), "a dispatch after the expiry");
                    assert!(dispatch.not_after.timestamp() <= dispatch.lease_end);
                    assert!(self.dispatched.iter().all(|before| *before < dispatch.attempt), "an attempt is dispatched once, in order");
                    assert_eq!(dispatch.why.map(|why| why.from), self.dispatched.last().copied());
                    self.dispatched.push(dispatch.attempt);
                }
                Decision::SetTimer { kind, attempt, at } => {
                    self.timers.insert(*kind, (*attempt, *at));
                }
                Decision::ClearTimer { kind, attempt } => {
                    assert_eq!(self.timers.remove(kind).map(|(of, _)| of), Some(*attempt), "a timer is cleared that is not set");
                }
                Decision::Status(status) => {
                    assert_eq!(usize::try_from(status.seq).ok(), Some(self.statuses.len()), "seq has no gaps");
                    assert!(!(status.word.terminal() && self.ended()), "a second terminal status");
                    self.statuses.push(status.clone());
                }
                Decision::Forget => {
                    assert!(self.ended() && self.timers.is_empty());
                    self.forgotten = true;
                }
            }
        }
        let folded: Vec<_> = self.timers.iter().map(|(kind, (attempt, at))| (*kind, *attempt, *at)).collect();
        assert_eq!(self.state.timer().as_slice(), folded, "the state's timers are those set and not cleared");
        assert_eq!(self.state.ended(), self.ended());
        assert_eq!(self.forgotten, self.state.timer().is_none(), "until it is forgotten, a delivery has a timer");
        assert_eq!(read(&bytes_of(&self.state)), Ok(self.state.clone()));
    }

    fn ended(&self) -> bool {
        self.statuses.iter().any(|status| status.word.terminal())
    }
}

fn read(bytes: &[u8]) -> Result<State, BadState> {
    State::read(bytes, &mut KnownRoutes::default())
}

fn bytes_of(state: &State) -> Vec<u8> {
    let mut bytes = Vec::new();
    state.write(&mut bytes);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// At most one terminal status at any time, exactly one once all timers have fired; and all that [`Watched`] asserts at each step.
    #[test]
    fn any_events_end_in_exactly_one_terminal_status(begin in requested(), deeds in vec(deed(), 0..40)) {
        let mut watched = Watched::begin(begin);
        for (pause, deed) in deeds {
            watched.hear(pause, deed);
        }
        let mut fired = 0;
        while let Some((_, _, at)) = watched.state.timer() {
            let late = at > watched.expiry.plus(Duration::from_secs(3)) && !watched.ended();
            prop_assert!(!late, "a delivery that has not ended waits for more than three seconds after its expiry");
            watched.hear(Duration::ZERO, Deed::Due(Hold::No));
            fired += 1;
            prop_assert!(fired < 40, "timers alone come to an end");
        }
        prop_assert!(watched.ended() && watched.forgotten);
    }

    #[test]
    fn a_timer_of_an_older_attempt_or_before_its_deadline_changes_nothing(begin in requested(), deeds in vec(deed(), 0..25), far in 0_u64..100_000) {
        let mut watched = Watched::begin(begin);
        for (pause, deed) in deeds {
            watched.hear(pause, deed);
            for (kind, attempt) in KINDS.into_iter().flat_map(|kind| watched.dispatched.iter().map(move |attempt| (kind, *attempt))) {
                let set = watched.state.timer().filter(|(set, of, _)| *set == kind && *of == attempt);
                let now = watched.now.plus(Duration::from_secs(far));
                let now = set.map_or(now, |(_, _, at)| at.minus(Duration::from_millis(1)));
                let mut state = watched.state.clone();
                prop_assert_eq!(on(&mut state, &Event::Timer { kind, attempt, hold: Hold::No }, now), vec![]);
                prop_assert_eq!(&state, &watched.state);
            }
        }
    }

    #[test]
    fn an_event_heard_twice_changes_nothing_more(begin in requested(), deeds in vec(deed(), 0..40)) {
        let mut watched = Watched::begin(begin);
        for (pause, deed) in deeds {
            let event = watched.hear(pause, deed);
            let heard = watched.state.clone();
            prop_assert_eq!(watched.apply(&event), vec![]);
            prop_assert_eq!(&watched.state, &heard);
        }
    }

    /// All receipts are about attempts that were made before the first of them came, in whatever order, each as often as you like. The bank hears of the
    /// message that arrived (as the end, or as `late` where a failure of the last step came first), or else of the same end.
    #[test]
    fn receipts_in_any_order_and_number_end_alike(
        begin in requested(),
        deeds in vec(deed(), 0..12),
        receipts in vec((any::<prop::sample::Index>(), prop::sample::select(&Receipt::ALL[..])), 1..7),
        shuffled in Just((0..21_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut watched = Watched::begin(begin);
        for (pause, deed) in deeds {
            watched.hear(pause, deed);
        }
        if watched.dispatched.is_empty() {
            return Ok(());
        }
        let made = watched.dispatched.clone();
        let hear_all = |order: &[usize]| {
            let mut state = watched.state.clone();
            let mut words: Vec<_> = watched.statuses.iter().map(|status| status.word).collect();
            for at in order {
                let (which, receipt) = receipts[at % receipts.len()];
                let event = Event::Receipt { attempt: *which.get(&made), receipt, reason: Reason::None, code: 0, provider_time: None };
                let decisions = on(&mut state, &event, watched.now);
                words.extend(decisions.iter().filter_map(|decision| if let Decision::Status(status) = decision { Some(status.word) } else { None }));
            }
            let arrived = words.iter().any(|word| matches!(word, StatusWord::Delivered | StatusWord::Late));
            let booked: Vec<_> = state.attempts.0.iter().map(|booked| (booked.attempt, booked.receipts)).collect();
            let end = words.into_iter().find(|word| word.terminal());
            (arrived, (!arrived).then(|| (end, state.current(), state.timer(), booked)))
        };
        let once: Vec<_> = (0..receipts.len()).collect();
        prop_assert_eq!(hear_all(&once), hear_all(&shuffled));
    }

    #[test]
    fn a_known_outcome_beats_unknown_and_accepted_every_other(outcomes in vec(prop::sample::select(&Outcome::ALL[..]), 1..8)) {
        let mut booked = Booked::new(Attempt::FIRST);
        outcomes.iter().for_each(|outcome| booked.hear(*outcome));
        let accepted = outcomes.iter().find(|outcome| **outcome == Outcome::Accepted);
        let first_known = outcomes.iter().find(|outcome| **outcome != Outcome::Unknown);
        prop_assert_eq!(booked.outcome, Some(*accepted.or(first_known).unwrap_or(&Outcome::Unknown)));
    }

    #[test]
    fn a_state_cut_short_or_with_more_behind_it_is_refused(begin in requested(), deeds in vec(deed(), 0..20), cut in any::<prop::sample::Index>()) {
        let mut watched = Watched::begin(begin);
        for (pause, deed) in deeds {
            watched.hear(pause, deed);
        }
        let mut bytes = bytes_of(&watched.state);
        prop_assert_eq!(read(&bytes[..cut.index(bytes.len())]), Err(BadState::Shape));
        bytes.push(0);
        prop_assert_eq!(read(&bytes), Err(BadState::Shape));
    }

    /// Routes that differ in one span, one letter, one step.
    #[test]
    fn states_of_routes_that_are_almost_alike_read_through_one_cache_as_they_were(begin in requested()) {
        let with = |change: fn(&mut Vec<Step>)| {
            let mut route = (*begin.route).clone();
            change(&mut route.steps);
            request(Request { route: route.into(), ..begin.clone() }, START).0
        };
        let states = [
            with(|_| ()),
            with(|steps| steps[0].wait += Duration::from_millis(1)),
            with(|steps| steps[0].template = format!("{}x", steps[0].template).into()),
            with(|steps| steps.push(steps[0].clone())),
        ];
        let mut routes = KnownRoutes::default();
        for state in states.iter().chain(&states) {
            prop_assert_eq!(State::read(&bytes_of(state), &mut routes), Ok(state.clone()));
        }
    }

    #[test]
    fn random_bytes_are_refused_or_a_state(bytes in vec(any::<u8>(), 0..300), first in prop_oneof![Just(1_u8), any::<u8>()]) {
        let bytes = [&[first][..], &bytes].concat();
        if let Ok(state) = read(&bytes) {
            prop_assert_eq!(bytes_of(&state), bytes);
        } else if first != 1 {
            prop_assert_eq!(read(&bytes), Err(BadState::Version(first)));
        }
    }

    /// A broken disk may give any bytes: what still reads as a state has one form only, and no event makes the machine panic on it.
    #[test]
    fn bytes_changed_on_disk_are_refused_or_a_state_that_goes_on(
        begin in requested(),
        deeds in vec(deed(), 0..12),
        changes in vec((any::<prop::sample::Index>(), prop_oneof![0_u8..12, any::<u8>()]), 1..4),
        more in vec(deed(), 0..20),
    ) {
        let mut watched = Watched::begin(begin);
        for (pause, deed) in deeds {
            watched.hear(pause, deed);
        }
        let mut bytes = bytes_of(&watched.state);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(mut state) = read(&bytes) {
            prop_assert_eq!(bytes_of(&state), bytes);
            let mut now = watched.now;
            for (pause, deed) in more {
                now = now.plus(pause);
                watched.state = state.clone();
                let event = watched.event(deed);
                on(&mut state, &event, now);
            }
        }
    }
}

fn step_of(channel: Channel, template: &str, wait_for: WaitFor) -> Step {
    let wait = if channel == Channel::Sms { 60 } else { 30 };
    Step::new(channel, template, Duration::from_secs(10), Duration::from_secs(wait), wait_for)
}

/// The story behind the golden bytes: a delay of our own, a held lease, a failure, a fallback whose lease was held too.
fn story() -> State {
    story_until(300)
}

fn story_until(expiry_seconds: i64) -> State {
    let steps =
        vec![step_of(Channel::WhatsApp, "pix_30s", WaitFor::Delivered), step_of(Channel::Sms, "pix_sms", WaitFor::Sent).needing(Duration::from_secs(20))];
    let (linger, call_max) = (Duration::from_secs(600), Duration::from_secs(5));
    let route = Route { lane: Lane::Bulk, steps, on_unknown: OnUnknown::ResendOnce, linger, call_max };
    let at = |second: i64| Timestamp::from_millis(second * 1_000);
    let (mut state, _) = request(Request { route: route.into(), expiry: at(expiry_seconds), obstacle: None }, at(0));
    let (first, second, sms) = (Attempt::FIRST, Attempt { step: 1, n: 2 }, Attempt { step: 2, n: 1 });
    let receipt = |attempt, receipt| Event::Receipt { attempt, receipt, reason: Reason::None, code: 0, provider_time: None };
    on(&mut state, &Event::Outcome { attempt: first, outcome: Outcome::TooLate, reason: Reason::None, code: 0, appended: at(5) }, at(5));
    on(&mut state, &Event::Timer { kind: TimerKind::Lease, attempt: second, hold: Hold::DispatcherSilent }, at(15));
    on(&mut state, &receipt(second, Receipt::Sent), at(16));
    on(&mut state, &receipt(second, Receipt::Failed), at(17));
    on(&mut state, &Event::Timer { kind: TimerKind::Lease, attempt: sms, hold: Hold::Storm }, at(27));
    state
}

const ROUTE_V1: &str = "01  02 01 000927c0 00001388  02  \
    01 02 00002710 00007530 00000000 0007 7069785f333073  \
    02 01 00002710 0000ea60 00004e20 0007 7069785f736d73  \
    00000000000493e0  02 0002 0001  0000000000004268 0000";

fn golden(rest: &str) -> Vec<u8> {
    hex::decode(format!("{ROUTE_V1}{rest}").replace(' ', "")).expect("hex digits")
}

#[test]
fn version_1_of_a_running_delivery_has_exactly_these_bytes() {
    let state = story();
    let bytes = golden("00 02 00000004  00  02 00000000000153d8  03  01 0001 05 00  01 0002 00 0d  02 0001 00 08");
    assert_eq!(hex::encode(bytes_of(&state)), hex::encode(&bytes));
    assert_eq!(read(&bytes), Ok(state));
}

#[test]
fn version_1_of_an_ended_delivery_has_exactly_these_bytes() {
    let mut state = story();
    on(&mut state, &Event::Cancel, Timestamp::from_millis(28_000));
    let late = Event::Receipt { attempt: Attempt { step: 1, n: 2 }, receipt: Receipt::Delivered, reason: Reason::None, code: 0, provider_time: None };
    on(&mut state, &late, Timestamp::from_millis(29_000));
    let bytes = golden("06 02 00000006  04  03 0000000000099520  03  01 0001 05 00  01 0002 00 0e  02 0001 00 08");
    assert_eq!(hex::encode(bytes_of(&state)), hex::encode(&bytes));
    assert_eq!(read(&bytes), Ok(state));
}

#[test]
fn a_state_of_a_newer_recado_is_named_as_such() {
    let mut bytes = bytes_of(&story());
    bytes[0] = 2;
    assert_eq!(read(&bytes), Err(BadState::Version(2)));
    assert_eq!(read(&[]), Err(BadState::Shape));
}

#[test]
fn an_attempt_is_open_until_something_is_heard_of_it_even_past_its_lease() {
    let route = Route {
        lane: Lane::Express,
        steps: vec![step_of(Channel::WhatsApp, "pix_30s", WaitFor::Delivered)],
        on_unknown: OnUnknown::GiveUp,
        linger: Duration::from_secs(600),
        call_max: Duration::from_secs(5),
    };
    let at = |second| START.plus(Duration::from_secs(second));
    let (begun, _) = request(Request { route: route.into(), expiry: at(300), obstacle: None }, START);
    let open = Some((Channel::WhatsApp, Lane::Express));
    assert_eq!(begun.open_attempt(), open);
    let mut leased = begun.clone();
    on(&mut leased, &Event::Timer { kind: TimerKind::Lease, attempt: Attempt::FIRST, hold: Hold::No }, at(10));
    assert_eq!(leased.open_attempt(), open, "a lease that ended frees no place");
    let outcome = |outcome| Event::Outcome { attempt: Attempt::FIRST, outcome, reason: Reason::None, code: 0, appended: at(11) };
    on(&mut leased, &outcome(Outcome::Unknown), at(11));
    assert_eq!(leased.open_attempt(), None);
    for event in [
        outcome(Outcome::Accepted),
        Event::Receipt { attempt: Attempt::FIRST, receipt: Receipt::Sent, reason: Reason::None, code: 0, provider_time: None },
        Event::Cancel,
    ] {
        let mut state = begun.clone();
        on(&mut state, &event, at(2));
        assert_eq!(state.open_attempt(), None, "{event:?}");
    }
}

#[test]
fn the_provider_s_time_and_number_reach_the_status() {
    let mut state = story();
    let provider_time = Some(Timestamp::from_millis(12_345));
    let delivered = Event::Receipt { attempt: Attempt { step: 2, n: 1 }, receipt: Receipt::Delivered, reason: Reason::None, code: 9, provider_time };
    let statuses: Vec<_> = on(&mut state, &delivered, Timestamp::from_millis(30_000))
        .into_iter()
        .filter_map(|decision| if let Decision::Status(status) = decision { Some((status.word, status.provider_time, status.code)) } else { None })
        .collect();
    assert_eq!(statuses, [(StatusWord::Delivered, provider_time, 0)], "a number explains a failure; a delivery needs none");
}

/// A bill whose dispatcher lags for hours makes hundreds of attempts: the memory stays bounded, and the first of them still counts when it arrives.
#[test]
fn attempts_beyond_the_limit_are_forgotten_one_by_one_but_their_receipts_still_count() {
    let mut state = story_until(7_200);
    let mut now = Timestamp::from_millis(28_000);
    let mut attempt = state.current();
    for _ in 0..60 {
        attempt = state.current();
        on(&mut state, &Event::Outcome { attempt, outcome: Outcome::TooLate, reason: Reason::None, code: 0, appended: now }, now);
        if let Some((TimerKind::BackOff, _, at)) = state.timer() {
            now = at;
            on(&mut state, &Event::Timer { kind: TimerKind::BackOff, attempt, hold: Hold::No }, now);
        }
    }
    assert!(state.attempts.0.len() <= super::attempts::REMEMBERED_MAX);
    assert_eq!(attempt, Attempt { step: 2, n: 60 });
    on(&mut state, &Event::Receipt { attempt: Attempt::FIRST, receipt: Receipt::Read, reason: Reason::None, code: 0, provider_time: None }, now);
    assert!(state.ended());
    assert_eq!(read(&bytes_of(&state)), Ok(state));
}
