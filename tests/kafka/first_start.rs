//! The very first start: where an input begins that nobody of ours has read, as its route file says. A week of history must not become a flood of messages.

use crate::bank;
use crate::process::{More, Stage};
use crate::rig::statuses;
use crate::support::{self, Writer};
use rdkafka::message::OwnedMessage;
use recado::delivery::StatusWord;
use recado::simulator;
use std::collections::BTreeSet;

const INPUTS: [&str; 3] = ["latest", "earliest", "timed"];

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_begins_where_each_input_says_and_sends_nothing_from_before() {
    let now = bank::now_ms();
    // Between the second of the old records and the third.
    let time = jiff::Timestamp::from_millisecond(now - 90_000).unwrap().to_string();
    let more = More {
        files: vec![
            ("routes/latest.toml", route("latest", "latest")),
            ("routes/earliest.toml", route("earliest", "earliest")),
            ("routes/timed.toml", route("timed", &time)),
        ],
        inputs: INPUTS.map(|input| (format!("start.{input}"), 2)).to_vec(),
        ..More::default()
    };
    let stage = Stage::with("first", 2, simulator::Settings::default(), more).await;
    let writer = Writer::new();
    let topic = |input: &str| stage.input(&format!("start.{input}"));
    for input in INPUTS {
        for (number, age_ms) in [(1, 180_000), (2, 120_000), (3, 60_000)] {
            writer.send_of(&topic(input), 1, b"customer-1", &record(input, number), now - age_ms);
        }
    }
    writer.flush();
    let mut instance = stage.start(&stage.config("a", stage.gateway_port, ""), "engine,dispatcher,gateway");
    instance.ready().await;
    for input in INPUTS {
        writer.send(&topic(input), 1, b"customer-1", &record(input, 4));
    }
    writer.flush();

    let expected: BTreeSet<String> = [("latest", 4..=4), ("earliest", 1..=4), ("timed", 3..=4)]
        .into_iter()
        .flat_map(|(input, numbers)| numbers.map(move |number| event_id(input, number)))
        .collect();
    let mut told = stage.statuses();
    told.until("every record from the start on is delivered", |read| of_word(read, Some(StatusWord::Delivered)).is_superset(&expected));
    // A partition is read in its order: whatever is told of a record before the fourth is told before what is told of that.
    assert_eq!(of_word(&told.read, None), expected, "nothing from before the start");
    let calls = stage.calls();
    let called: BTreeSet<&str> = calls.iter().map(|call| call.attempt_id.as_deref().unwrap().split('-').next().unwrap()).collect();
    assert_eq!(called.len(), expected.len(), "one message for each");
    instance.stop();
}

/// The reference route of Pix for another topic, whose first start is this one.
fn route(input: &str, start: &str) -> String {
    let changes = [
        ("name = \"pix\"", format!("name = \"{input}\"")),
        ("topic = \"pix.transactions\"", format!("topic = \"start.{input}\"")),
        ("start = \"latest\"", format!("start = \"{start}\"")),
        ("name = \"pix.received\"", format!("name = \"{input}.received\"")),
        ("name = \"pix.sent\"", format!("name = \"{input}.sent\"")),
    ];
    changes.into_iter().fold(support::file("config/routes/pix.toml"), |file, (from, to)| {
        assert!(file.contains(from), "{from}");
        file.replacen(from, &to, 1)
    })
}

fn event_id(input: &str, number: u8) -> String {
    format!("{input}-{number}")
}

fn record(input: &str, number: u8) -> Vec<u8> {
    bank::pix_received(&event_id(input, number), "customer-1", "+5511987654321")
}

/// The events of which this was told, or anything.
fn of_word(read: &[OwnedMessage], word: Option<StatusWord>) -> BTreeSet<String> {
    let told = statuses(read).into_iter().filter(|record| word.is_none_or(|word| record.status.word == word));
    told.filter_map(|record| record.event_id).collect()
}
