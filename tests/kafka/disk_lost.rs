//! The state folder is deleted or damaged while the instance is down: what was in it comes back from the changelog, and every message still goes out, once.

use crate::bank;
use crate::process::Stage;
use crate::stories::{assert_all_delivered_once, ends, stories, told, words};
use crate::support::{self, Writer};
use recado::delivery::{Channel, StatusWord};
use recado::simulator::{self, Phone};
use std::fs;
use std::path::{Path, PathBuf};

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
