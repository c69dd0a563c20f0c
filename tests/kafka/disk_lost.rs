//! The state folder is deleted while the instance is down: its timers come back from the changelog, and every fallback still goes out, once.

use crate::bank;
use crate::process::Stage;
use crate::stories::{assert_all_delivered_once, ends, stories, told, words};
use crate::support::Writer;
use recado::delivery::{Channel, StatusWord};
use recado::simulator::{self, Phone};
use std::fs;

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
