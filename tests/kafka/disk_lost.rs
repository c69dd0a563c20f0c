//! The state folder is deleted or damaged while the instance is down: what was in it comes back from the changelog, and every message still goes out, once.

use crate::bank;
use crate::process::Stage;
use crate::stories::{assert_all_delivered_once, ends, stories, told, words};
use crate::support::{self, Reader, Writer};
use rdkafka::admin::ResourceSpecifier;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use recado::delivery::{Channel, StatusWord};
use recado::simulator::{self, Phone};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const COUNT: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn with_the_state_folder_deleted_armed_timers_come_back_and_each_fallback_goes_out_once() {
    let script = simulator::Script { otherwise: Phone::named("offline", "quick", "quick").unwrap(), ..simulator::Script::default() };
    let stage = Stage::new("lost", 2, simulator::Settings { script, ..simulator::Settings::default() }).await;
    // Waits of 33 s become 11 s.
    let config = stage.config("a", stage.gateway_port, "time.hurry = 3");
    let mut instance = stage.start(&config, "engine,dispatcher,gateway");
    instance.ready().await;
    let writer = Writer::new();
    for number in 0..COUNT {
        let (event, customer, phone) = (format!("e-{number}"), format!("customer-{number}"), format!("+551198765432{number}"));
        let partition = i32::try_from(number % 2).unwrap();
        writer.send(&stage.input("pix.transactions"), partition, customer.as_bytes(), &bank::pix_received(&event, &customer, &phone));
    }
    writer.flush();
    let mut statuses = stage.statuses();
    statuses.until("all are sent, and wait", told(COUNT, |word| word == StatusWord::Sent));
    instance.kill();
    fs::remove_dir_all(stage.folder.path().join("state-a")).unwrap();

    let mut instance = stage.start(&config, "engine,dispatcher,gateway");
    statuses.until("every end", ends(COUNT));
    instance.ready().await;
    instance.stop();
    let stories = stories(&statuses.read);
    assert_eq!(stories.len(), COUNT);
    let calls = stage.calls();
    assert_all_delivered_once(&stories, &calls);
    for story in stories.values() {
        assert!(words(story).contains(&StatusWord::Fallback), "{:?}", words(story));
        assert_eq!(story.last().unwrap().status.channel, Some(Channel::Sms));
    }
    for channel in [simulator::Channel::Whatsapp, simulator::Channel::Sms] {
        assert_eq!(calls.iter().filter(|call| call.channel == channel).count(), COUNT, "{channel:?}");
    }
}

/// Old values go, and tombstones at once; the cleaner looks every second (`docker/kafka.sh`).
const COMPACTED: [(&str, &str); 4] =
    [("cleanup.policy", "compact"), ("segment.ms", "200"), ("min.cleanable.dirty.ratio", "0.001"), ("delete.retention.ms", "0")];

#[tokio::test(flavor = "multi_thread")]
async fn from_a_changelog_that_was_compacted_everything_comes_back_too() {
    let mut script = simulator::Script { otherwise: Phone::named("offline", "quick", "quick").unwrap(), ..simulator::Script::default() };
    let number = |of: usize| format!("+55119{:08}", 70_000_000 + of);
    script.phones = (0..COUNT).map(|of| (number(of).trim_start_matches('+').to_owned(), Phone::default())).collect();
    let stage = Stage::new("compacted", 2, simulator::Settings { script, ..simulator::Settings::default() }).await;
    let state = format!("{}state", stage.prefix);
    // Waits of 33 s become 16 s.
    let config = stage.config("a", stage.gateway_port, "time.hurry = 2");
    let mut instance = stage.start(&config, "engine,dispatcher,gateway");
    instance.ready().await;
    let writer = Writer::new();
    let publish = |of: usize| {
        let (event, customer) = (format!("e-{of}"), format!("customer-{of}"));
        let record = bank::pix_received(&event, &customer, &number(of));
        writer.send(&stage.input("pix.transactions"), i32::try_from(of % 2).unwrap(), customer.as_bytes(), &record);
        writer.flush();
    };
    (0..2 * COUNT).for_each(publish);
    let mut statuses = stage.statuses();
    statuses.until("half have arrived", ends(COUNT));
    statuses.until("all are sent", told(2 * COUNT, |word| word == StatusWord::Sent));
    // Nothing is left of who has arrived: neither the state nor its tombstone. A new reader each time, since what one has read is gone from the log only later.
    let keys: Vec<Vec<u8>> = stories(&statuses.read)
        .into_values()
        .filter(|story| story.last().is_some_and(|last| last.status.word.terminal()))
        .map(|story| [b"s".as_slice(), story[0].message_id.bytes()].concat())
        .collect();
    assert_eq!(keys.len(), COUNT);
    // While it runs: with tombstones that go so soon Recado does not start.
    support::alter(ResourceSpecifier::Topic(&state), &COMPACTED).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    while lies_there(&state, &keys) {
        assert!(Instant::now() < deadline, "the changelog is not compacted within a minute");
    }
    instance.kill();
    fs::remove_dir_all(stage.folder.path().join("state-a")).unwrap();

    support::alter(ResourceSpecifier::Topic(&state), &COMPACTED[..1]).await;
    let mut instance = stage.start(&config, "engine,dispatcher,gateway");
    // Known already, though nothing is left of them but the blocks of the deduplication; and one on each partition that is new.
    (0..COUNT).for_each(publish);
    (2 * COUNT..2 * COUNT + 2).for_each(publish);
    statuses.until("every end", ends(2 * COUNT + 2));
    instance.ready().await;
    instance.stop();
    let stories = stories(&statuses.read);
    assert_eq!(stories.len(), 2 * COUNT + 2);
    let calls = stage.calls();
    assert_all_delivered_once(&stories, &calls);
    assert_eq!(calls.iter().filter(|call| call.channel == simulator::Channel::Whatsapp).count(), 2 * COUNT + 2);
    assert_eq!(calls.iter().filter(|call| call.channel == simulator::Channel::Sms).count(), COUNT + 2);
}

/// Whether the log of two partitions has a record of one of these keys. It is read to where it ended before: heartbeats go on moving positions.
fn lies_there(topic: &str, keys: &[Vec<u8>]) -> bool {
    let asker: BaseConsumer = support::client().create().unwrap();
    let mut left: BTreeMap<i32, i64> =
        (0..2).map(|partition| (partition, asker.fetch_watermarks(topic, partition, Duration::from_secs(10)).unwrap().1)).collect();
    let reader = Reader::new(&[(topic, 2)]);
    while !left.is_empty() {
        let Some(message) = reader.next() else { continue };
        if message.key().is_some_and(|key| keys.iter().any(|other| other == key)) {
            return true;
        }
        left.retain(|partition, end| *partition != message.partition() || message.offset() < *end);
    }
    false
}

/// So many that a table has blocks beside the one with the position.
const MANY: usize = 400;

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_is_damaged_on_the_disk_costs_a_rebuild_of_its_partition_and_nothing_else() {
    let stage = Stage::new("damaged", 2, simulator::Settings::default()).await;
    let config = stage.config("a", support::free_port(), "");
    let mut engine = stage.start(&config, "engine");
    engine.ready().await;
    let writer = Writer::new();
    for number in 0..MANY {
        let (event, customer, phone) = (format!("e-{number}"), format!("customer-{number}"), format!("+55119{:08}", 80_000_000 + number));
        let partition = i32::try_from(number % 2).unwrap();
        writer.send(&stage.input("pix.transactions"), partition, customer.as_bytes(), &bank::pix_received(&event, &customer, &phone));
    }
    writer.flush();
    let mut statuses = stage.statuses();
    statuses.until("all are taken", told(MANY, |word| word == StatusWord::Requested));
    engine.stop();
    let folder = stage.folder.path().join("state-a");
    let tables = walk(&folder).into_iter().filter(|path| path.extension().is_some_and(|end| end == "sst"));
    let largest = tables.max_by_key(|path| fs::metadata(path).unwrap().len()).expect("an orderly stop writes everything down");
    let mut bytes = fs::read(&largest).unwrap();
    // Among deliveries, far from the position.
    let at = bytes.len() * 6 / 10;
    bytes[at] ^= 0x10;
    fs::write(&largest, bytes).unwrap();

    let mut engine = stage.start(&config, "engine");
    engine.ready().await;
    assert!(engine.metric("recado_stores_rebuilt_total{reason=\"corrupt\"}").await >= 1.0, "nothing was found to be damaged");
    let mut front = stage.start(&stage.config("front", stage.gateway_port, ""), "dispatcher,gateway");
    front.ready().await;
    statuses.until("every end", ends(MANY));
    engine.stop();
    front.stop();
    let stories = stories(&statuses.read);
    assert_eq!(stories.len(), MANY);
    assert_all_delivered_once(&stories, &stage.calls());
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
