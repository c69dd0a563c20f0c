//! Two dispatchers that both believe to own the partition, crashes between any two steps, lost writes, calls that end late: whatever the order, at most one call for
//! each attempt, none after `not_after`, and an outcome for every one.

use super::*;
use crate::delivery::{Attempt, Channel, MessageId};
use crate::dispatch::slot::Turn;
use proptest::prelude::*;

const FIRST: Slot = Slot { lane: Lane::Express, channel: Channel::Sms, turn: Turn::First };
const LATER: Slot = Slot { turn: Turn::Later, ..FIRST };

#[derive(Clone, Debug)]
enum Step {
    Dispatch,
    RepeatDispatch(usize),
    ReadDispatch(usize),
    ReadJournal(usize),
    Tick(usize),
    /// Does the oldest thing to be done; false: it is lost on the way.
    Perform(usize, bool),
    /// Ends the oldest call.
    Answer(usize),
    Heartbeat(usize),
    Commit(usize),
    Crash(usize),
    Leave(usize),
    Wait(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = 0..2usize;
    let step = prop_oneof![
        3 => Just(Step::Dispatch),
        1 => any::<usize>().prop_map(Step::RepeatDispatch),
        6 => who.clone().prop_map(Step::ReadDispatch),
        12 => who.clone().prop_map(Step::ReadJournal),
        8 => who.clone().prop_map(Step::Tick),
        12 => (who.clone(), prop::bool::weighted(0.9)).prop_map(|(who, arrives)| Step::Perform(who, arrives)),
        5 => who.clone().prop_map(Step::Answer),
        3 => who.clone().prop_map(Step::Heartbeat),
        3 => who.clone().prop_map(Step::Commit),
        1 => who.clone().prop_map(Step::Crash),
        1 => who.prop_map(Step::Leave),
        4 => (1..3_000u16).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..400)
}

struct Instance {
    ledger: Ledger,
    dispatch_position: usize,
    journal_position: usize,
    todo: std::collections::VecDeque<Todo>,
    calling: std::collections::VecDeque<AttemptId>,
}

#[derive(Default)]
struct World {
    now: i64,
    epochs: u64,
    dispatches: Vec<(i64, Work)>,
    journal: Vec<(i64, JournalEntry)>,
    /// (attempt, outcome) in the order of the receipts topic.
    receipts: Vec<(AttemptId, Outcome)>,
    calls: Vec<(AttemptId, i64)>,
    committed: Option<(i64, i64)>,
    instances: Vec<Instance>,
    /// Who was assigned the partition last: the group takes commits from nobody else.
    owner: usize,
    /// Who reads the journal at a fraction of the other's pace.
    slow: Option<usize>,
    slept: usize,
}

impl World {
    fn time(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }

    fn start(&mut self) -> Instance {
        self.epochs += 1;
        let mut ledger = Ledger::new(self.epochs);
        let end = self.journal.len();
        let newest = self.journal.last().map(|(appended, _)| {
            let from = appended - 300_000;
            (Timestamp::from_millis(*appended), i64::try_from(self.journal.partition_point(|(appended, _)| *appended < from)).unwrap())
        });
        let (watermark, journal) = self.committed.unzip();
        let (start, coverage) = replay_start(0, i64::try_from(end).unwrap(), journal, newest);
        ledger.replay(start, i64::try_from(end).unwrap(), coverage);
        let dispatch_position = usize::try_from(watermark.unwrap_or(0)).unwrap();
        ledger.read(FIRST, watermark.unwrap_or(0));
        ledger.read(LATER, 0);
        Instance { ledger, dispatch_position, journal_position: usize::try_from(start).unwrap(), todo: Default::default(), calling: Default::default() }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Dispatch => {
                let attempt_id = AttemptId { message_id: MessageId::from_bytes((self.dispatches.len() as u128).to_be_bytes()), attempt: Attempt::FIRST };
                let [not_after, lease_end, expiry] = [5_000, 10_000, 60_000].map(|after| Timestamp::from_millis(self.now + after));
                let work = Work { attempt_id, traffic: FIRST.traffic(), lease_end, not_after: NotAfter::new(not_after), expiry };
                self.dispatches.push((self.now, work));
            }
            Step::RepeatDispatch(which) if !self.dispatches.is_empty() => {
                let (appended, work) = self.dispatches[which % self.dispatches.len()];
                if self.now - appended < 10_000 {
                    self.dispatches.push((self.now, work));
                }
            }
            Step::RepeatDispatch(_) => {}
            Step::ReadDispatch(who) => {
                let instance = &mut self.instances[who];
                if let Some((appended, work)) = self.dispatches.get(instance.dispatch_position) {
                    let offset = i64::try_from(instance.dispatch_position).unwrap();
                    instance.ledger.taken(FIRST, offset, Timestamp::from_millis(*appended), *work);
                    instance.dispatch_position += 1;
                }
            }
            Step::ReadJournal(who) if self.slow == Some(who) && self.slept < 15 => self.slept += 1,
            Step::ReadJournal(who) => {
                self.slept = 0;
                let instance = &mut self.instances[who];
                if let Some((appended, entry)) = self.journal.get(instance.journal_position) {
                    let offset = i64::try_from(instance.journal_position).unwrap();
                    instance.ledger.journal(offset, Timestamp::from_millis(*appended), Some(*entry));
                    instance.journal_position += 1;
                }
            }
            Step::Tick(who) => {
                let now = self.time();
                let instance = &mut self.instances[who];
                instance.ledger.tick(now, Some(now), |_| None);
                instance.todo.extend(instance.ledger.todo());
            }
            Step::Perform(who, arrives) => self.perform(who, arrives),
            Step::Answer(who) => {
                let instance = &mut self.instances[who];
                if let Some(id) = instance.calling.pop_front() {
                    instance.ledger.called(id, Final::plain(Outcome::Accepted, Reason::None));
                }
            }
            Step::Heartbeat(who) => self.heartbeat(who),
            Step::Commit(who) => self.commit(who),
            Step::Crash(who) => {
                self.instances[who] = self.start();
                self.owner = who;
            }
            Step::Leave(who) => self.instances[who].ledger.leave(),
            Step::Wait(millis) => self.now += i64::from(millis),
        }
    }

    fn perform(&mut self, who: usize, arrives: bool) {
        let now = self.time();
        let instance = &mut self.instances[who];
        instance.todo.extend(instance.ledger.todo());
        match instance.todo.pop_front() {
            None => {}
            Some(Todo::Write(entry)) if arrives => self.journal.push((self.now, entry)),
            Some(Todo::Write(_)) => {} // lost on its way
            Some(Todo::Call(id)) => {
                let (_, work) = self.dispatches.iter().find(|(_, work)| work.attempt_id == id).expect("only dispatched attempts are called");
                if work.not_after.allows(now) {
                    self.calls.push((id, self.now));
                    instance.calling.push_back(id);
                } else {
                    instance.ledger.called(id, Final::TOO_LATE);
                }
            }
            Some(Todo::Report(id, end)) => {
                if arrives {
                    let (_, work) = self.dispatches.iter().find(|(_, work)| work.attempt_id == id).expect("only dispatched attempts are reported");
                    assert!(end.outcome != Outcome::Unknown || work.lease_end <= now, "{id} is called unknown before its lease ended");
                    self.receipts.push((id, end.outcome));
                    instance.ledger.reported(id, now);
                } else {
                    instance.todo.push_back(Todo::Report(id, end));
                }
            }
        }
    }

    fn heartbeat(&mut self, who: usize) {
        let ends = BTreeMap::from([(FIRST, i64::try_from(self.dispatches.len()).unwrap()), (LATER, 0)]);
        let now = self.time();
        let instance = &mut self.instances[who];
        instance.ledger.ends(now, &ends);
        let Some(settled) = instance.ledger.settled(FIRST.traffic()) else { return };
        for (appended, work) in &self.dispatches {
            if work.lease_end < settled && *appended < settled.millis() {
                assert!(self.receipts.iter().any(|(id, _)| *id == work.attempt_id), "settled {settled:?} but {} has no outcome", work.attempt_id);
            }
        }
    }

    fn commit(&mut self, who: usize) {
        if who != self.owner {
            return;
        }
        let ledger = &self.instances[who].ledger;
        let (Some(watermark), Some(journal)) = (ledger.watermark(FIRST), ledger.journal_position()) else { return };
        for (_, work) in &self.dispatches[..usize::try_from(watermark).unwrap()] {
            assert!(self.is_done(work.attempt_id), "the watermark passed {}", work.attempt_id);
        }
        self.committed = Some((watermark, journal));
    }

    fn is_done(&self, id: AttemptId) -> bool {
        self.journal.iter().any(|(_, entry)| entry.attempt_id == id && entry.kind == JournalKind::Done)
    }

    fn check(&self) {
        for (_, work) in &self.dispatches {
            let id = work.attempt_id;
            let calls: Vec<i64> = self.calls.iter().filter(|(called, _)| *called == id).map(|(_, when)| *when).collect();
            assert!(calls.len() <= 1, "{id} was called {calls:?}");
            assert!(calls.iter().all(|when| work.not_after.allows(Timestamp::from_millis(*when))), "{id} was called late");
            let too_late = self.receipts.contains(&(id, Outcome::TooLate));
            assert!(!too_late || calls.is_empty(), "{id} was called and then said to be too late");
        }
    }

    /// No more faults: everybody is alive, time goes on.
    fn heal(&mut self) {
        self.slow = None;
        for who in 0..2 {
            self.instances[who] = self.start();
            self.owner = who;
        }
        for _ in 0..30 {
            for who in 0..2 {
                for _ in 0..self.dispatches.len() {
                    self.step(&Step::ReadDispatch(who));
                }
                for _ in 0..4 {
                    self.step(&Step::Tick(who));
                    for _ in 0..self.dispatches.len() * 2 {
                        self.step(&Step::Perform(who, true));
                        self.step(&Step::Answer(who));
                    }
                    while self.instances[who].journal_position < self.journal.len() {
                        self.step(&Step::ReadJournal(who));
                    }
                }
                self.heartbeat(who);
            }
            self.step(&Step::Wait(1_000));
        }
        self.commit(self.owner);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn at_most_one_call_whatever_the_group_believes(steps in steps(), slow in prop::option::of(0..2usize)) {
        let mut world = World { slow, ..World::default() };
        for _ in 0..2 {
            let instance = world.start();
            world.instances.push(instance);
        }
        for step in &steps {
            world.step(step);
        }
        world.check();
        world.heal();
        world.check();
        for (_, work) in &world.dispatches {
            prop_assert!(world.is_done(work.attempt_id), "{} never ended", work.attempt_id);
            prop_assert!(world.receipts.iter().any(|(id, _)| *id == work.attempt_id), "{} has no outcome", work.attempt_id);
        }
        prop_assert_eq!(world.committed.map(|(watermark, _)| watermark), Some(i64::try_from(world.dispatches.len()).unwrap()));
    }
}
