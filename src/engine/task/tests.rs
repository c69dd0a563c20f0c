//! A task without Kafka: the bank's events and what comes back in, records and stored state out. A commit here is what the thread does around a transaction.

use super::*;
use crate::delivery::{Attempt, AttemptId, KnownRoutes, Reason, Receipt, SourcePosition};
use crate::engine::outputs::Outputs;
use crate::engine::store::{Options, Store};
use crate::engine::storm::Guard;
use crate::engine::{Settings, Shared, Topics};
use crate::event::input::{Inputs, NoRegistry, Notification, Settings as InputSettings, TemplateFacts};
use crate::event::records::{Framing, Returned};
use crate::observe::health::Health;
use crate::privacy::{FileKeys, Payload, ReferenceKind, RootKey, Sealer, Secret};
use rdkafka::ClientConfig;
use std::sync::Arc;

const P3: Partition = Partition(3);
const NOW: Timestamp = Timestamp::from_millis(1_764_900_000_000);
const MINUTE: Duration = Duration::from_secs(60);
/// Notifications whose event ids come from the bank, and a topic that withdraws them.
const ROUTES: &str = include_str!("../../../config/routes/codes.toml");
const CODE_SCHEMA: &str = include_str!("../../../schemas/auth_challenge.avsc");
const USED_SCHEMA: &str = include_str!("../../../schemas/code_used.avsc");

struct World {
    shared: Shared,
    task: Task,
    offset: i64,
    receipts: i64,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self::of(P3)
    }

    fn of(number: Partition) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let under = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let keys = FileKeys::open(&under("keys"), RootKey::random(), MINUTE).unwrap();
        let sealer = Sealer::new(Arc::new(keys));
        let state = under("state");
        let store = Store::open(&state, "a", &Options::default()).unwrap();
        let partition = store.partition(number).unwrap();
        let note = Note::open(&folder.path().join("note")).unwrap();
        let meta = Meta { changelog_position: 0, next_offsets: BTreeMap::new(), wall: NOW, topic_id: [1; 16] };
        let shared = Shared {
            settings: settings(state),
            inputs: Arc::new(inputs()),
            pepper: sealer.keys().pepper(),
            sealer,
            schemas: Arc::new(NoRegistry),
            store,
            status_framing: Framing::SingleObject,
            health: Health::new(),
        };
        Self { task: Task::new(number, partition, note, meta, NOW), shared, offset: 0, receipts: 0, folder }
    }

    /// One event of the bank, at the next offset.
    fn request(&mut self, event_id: &str) -> (MessageId, Outputs) {
        let at = At { topic: "auth.challenges", offset: self.offset, time: NOW };
        self.offset += 1;
        self.request_at(at, event_id)
    }

    fn request_at(&mut self, at: At<'_>, event_id: &str) -> (MessageId, Outputs) {
        let customer = Secret::new("C-4711".to_owned());
        let reference = self.shared.pepper.reference_of(ReferenceKind::Customer, &customer);
        let notification = Notification {
            route: 0,
            route_name: self.shared.inputs.route(0).name.clone(),
            customer,
            event_id: Some(event_id.to_owned()),
            payload: Payload { phone: None, zone: None, values: BTreeMap::new(), shaped: BTreeSet::new() },
            code: None,
            expires_at: None,
            obstacle: None,
            traceparent: None,
            unclassed: 0,
        };
        let mut out = Outputs::default();
        self.task.request(&self.shared, 0, at, None, reference, notification, NOW, &mut out).unwrap();
        self.task.passed(at);
        let source = SourcePosition { topic: at.topic.to_owned(), partition: self.task.partition, offset: at.offset };
        (MessageId::derive(at.time, &source, 0), out)
    }

    /// The provider says that the first attempt is delivered: the end of a delivery that never fell back.
    fn delivered(&mut self, message_id: MessageId) -> Outputs {
        let receipts = self.shared.settings.topics.receipts.clone();
        let at = At { topic: &receipts, offset: self.receipts, time: NOW };
        self.receipts += 1;
        let attempt_id = AttemptId { message_id, attempt: Attempt { step: 1, n: 1 } };
        let returned = Returned::Receipt { attempt_id, receipt: Receipt::Delivered, reason: Reason::None, code: 0, provider_time: None };
        let mut out = Outputs::default();
        self.task.returned(&self.shared, at, returned, NOW, &mut Guard::default(), &mut out).unwrap();
        self.task.passed(at);
        out
    }

    fn cancel(&mut self, event_id: &str) -> Outputs {
        let mut out = Outputs::default();
        self.task.cancel(&self.shared, 0, event_id, NOW, &mut out).unwrap();
        out
    }

    /// What goes into the changelog.
    fn commit(&mut self) -> Vec<(Vec<u8>, bool)> {
        for (key, value) in self.task.take_blocks() {
            self.task.overlay.put(key, value, false);
        }
        let changes: Vec<_> = self.task.overlay.changes().map(|(key, value)| (key.to_vec(), value.is_some())).collect();
        self.task.committed(i64::try_from(changes.len() + 1).unwrap(), NOW);
        changes
    }

    /// The deduplication window is over.
    fn forget_events(&mut self) {
        self.task.expire(Duration::ZERO, NOW.plus(2 * MINUTE));
    }

    fn lives(&self, id: MessageId) -> bool {
        self.task.load(&stored::delivery_key(&id), |bytes| Delivery::read(bytes, &mut KnownRoutes::default()).map(|_| ())).unwrap().is_some()
    }
}

fn settings(state_folder: std::path::PathBuf) -> Settings {
    Settings {
        instance: "a".into(),
        threads: 1,
        state_folder,
        kafka: ClientConfig::new(),
        commit_interval: Duration::from_millis(100),
        commit_on_drain: None,
        fetch_wait: Duration::from_millis(10),
        batch_records_max: 4_000,
        batch_bytes_max: 4 << 20,
        transaction_timeout: Duration::from_secs(10),
        session_timeout: Duration::from_secs(10),
        attempts_open_max: 1_000,
        hold_max: 2 * MINUTE,
        storm_guard: true,
        disk_free_min: 0,
        store_age_max: 60 * MINUTE,
        topics: Topics::under("recado."),
    }
}

fn inputs() -> Inputs {
    let schemas = [("schemas/auth_challenge.avsc", CODE_SCHEMA), ("schemas/code_used.avsc", USED_SCHEMA)];
    let schemas = schemas.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
    let facts = TemplateFacts { channels: Channel::ALL.into(), whatsapp_ttl: Some(Duration::from_secs(30)) };
    let templates = BTreeMap::from([("codigo".to_owned(), facts)]);
    let settings = InputSettings { call_max: Duration::from_secs(5), hurry: 1 };
    Inputs::compile(&[("routes/codes.toml".to_owned(), ROUTES.to_owned())], &schemas, &templates, settings).unwrap().0
}

#[test]
fn a_delivery_is_known_from_its_decision_to_its_end_wherever_it_lies() {
    let mut world = World::new();
    let (id, out) = world.request("evt-1");
    assert_eq!(out.len(), 2, "a dispatch and a status");
    assert!(world.lives(id), "decided");
    world.commit();
    assert!(world.lives(id), "committed");
    world.task.write_behind().unwrap();
    world.task.write_behind().unwrap();
    assert!(world.lives(id) && world.task.behind.get(&stored::delivery_key(&id)).is_none(), "in the store");
    assert_eq!(world.delivered(id).len(), 1, "one status");
    assert!(!world.lives(id));
    assert!(world.commit().contains(&(stored::delivery_key(&id).to_vec(), false)), "the changelog needs a tombstone");
    world.task.write_all().unwrap();
    assert!(!world.lives(id));
}

#[test]
fn the_end_of_an_older_delivery_leaves_the_cancel_to_the_one_that_the_event_made_anew() {
    let mut world = World::new();
    let (older, _) = world.request("evt-1");
    world.commit();
    world.forget_events();
    let (newer, out) = world.request("evt-1");
    assert_eq!((newer != older, out.len()), (true, 2), "behind its window the event is another one");
    world.commit();
    world.delivered(older);
    world.commit();
    let out = world.cancel("evt-1");
    assert_eq!(out.len(), 1, "the newer delivery says that it is cancelled");
    world.commit();
    assert!(world.cancel("evt-1").is_empty());
}

#[test]
fn a_record_that_is_read_again_behind_its_window_leaves_no_state_behind() {
    let mut world = World::new();
    let at = At { topic: "auth.challenges", offset: 7, time: NOW };
    let (id, _) = world.request_at(at, "evt-1");
    world.commit();
    world.task.write_all().unwrap();
    world.forget_events();
    world.request_at(at, "evt-1");
    world.delivered(id);
    assert!(world.commit().contains(&(stored::delivery_key(&id).to_vec(), false)), "the changelog has it from the first time");
    world.task.write_all().unwrap();
    assert!(!world.lives(id));
}

/// A broker whose clock steps ahead, and back when it is healed: it must not have taken with it what protects the bank's customers from a second message.
#[test]
fn while_the_clocks_disagree_or_one_is_not_heard_nothing_is_forgotten() {
    let (mut right, mut ahead) = (World::of(P3), World::of(Partition(4)));
    for world in [&mut right, &mut ahead] {
        world.request("evt-1");
        world.cancel("evt-2");
        world.commit();
    }
    let mut tasks = BTreeMap::from([(P3, right.task), (Partition(4), ahead.task)]);
    let sample = |tasks: &mut BTreeMap<Partition, Task>, partition, own: Timestamp, appended| {
        tasks.get_mut(&partition).unwrap().clock.sample(own, own, appended);
    };
    let kept = |tasks: &BTreeMap<Partition, Task>| -> Vec<_> {
        tasks.values().map(|task| (task.window.events(), task.cancels_first.len(), task.overlay.is_empty())).collect()
    };
    let whole = [(1, 1, true); 2];
    sample(&mut tasks, Partition(4), NOW, NOW.plus(120 * MINUTE));
    expire_all(&mut tasks, 60 * MINUTE, NOW);
    assert_eq!(kept(&tasks), whole, "its clock is the only one that was heard");
    sample(&mut tasks, P3, NOW, NOW);
    expire_all(&mut tasks, 60 * MINUTE, NOW);
    assert_eq!(kept(&tasks), whole, "two hours apart");
    sample(&mut tasks, Partition(4), NOW, NOW);
    expire_all(&mut tasks, 60 * MINUTE, NOW);
    assert_eq!(kept(&tasks), whole, "healed, and nothing is over");
    let later = NOW.plus(120 * MINUTE);
    sample(&mut tasks, P3, later, later);
    sample(&mut tasks, Partition(4), later, later);
    expire_all(&mut tasks, 60 * MINUTE, later);
    assert_eq!(kept(&tasks), [(0, 0, false); 2], "both say that it is over");
}

#[test]
fn a_record_that_is_read_again_while_its_delivery_lives_is_no_second_request() {
    let mut world = World::new();
    let at = At { topic: "auth.challenges", offset: 7, time: NOW };
    let (id, _) = world.request_at(at, "evt-1");
    world.commit();
    world.forget_events();
    world.commit();
    let key = stored::delivery_key(&id);
    let before = (world.task.load(&key, |bytes| Ok(bytes.to_vec())).unwrap(), world.task.open.clone());
    let (again, out) = world.request_at(at, "evt-1");
    assert_eq!((again, out.len()), (id, 0), "no dispatch under the attempt id that is in flight");
    assert!(world.task.overlay.is_empty());
    assert_eq!((world.task.load(&key, |bytes| Ok(bytes.to_vec())).unwrap(), world.task.open.clone()), before, "and no second one counts as open");
    let other = At { offset: 8, ..at };
    assert_eq!(world.request_at(other, "evt-1").1.len(), 2, "what the bank writes anew behind the window is another");
    assert_eq!(world.task.open.values().sum::<usize>(), 2);
}

#[test]
fn an_error_of_the_store_is_no_death_of_the_record() {
    let mut world = World::new();
    let note = world.folder.path().join("note");
    let suspect = |from: &std::path::Path| {
        let copy = from.with_extension("copy");
        std::fs::copy(from, &copy).unwrap();
        Note::open(&copy).unwrap().suspect().map(|suspect| suspect.offset)
    };
    world.shared.store.drop_partition(P3).unwrap();
    let (shared, task) = (&world.shared, &mut world.task);
    let at = At { topic: "auth.codes_used", offset: 7, time: NOW };
    let decided = task.deciding(at, |task| {
        assert_eq!(suspect(&note), Some(7), "who dies here dies of it");
        task.cancel(shared, 0, "evt-1", NOW, &mut Outputs::default())
    });
    assert!(matches!(decided, Err(TaskError::Store(_))), "{decided:?}");
    assert_eq!(suspect(&note), None);
    assert_eq!(task.positions.0.get(at.topic), None, "it is read again");
    task.deciding(at, |_| Ok(())).unwrap();
    assert_eq!((suspect(&note), task.positions.0.get(at.topic)), (None, Some(&8)));
}

#[test]
fn who_has_a_partition_no_longer_writes_nothing_behind_and_goes_on() {
    let mut world = World::new();
    let (id, _) = world.request("evt-1");
    world.commit();
    world.task.write_behind().unwrap();
    let heir = world.shared.store.partition(P3).unwrap();
    world.task.write_behind().unwrap();
    assert_eq!((heir.meta(), heir.get(&stored::delivery_key(&id))), (Ok(None), Ok(None)));
    assert!(world.lives(id), "what is not written stays known until the revoke comes");
}
