//! A code that went through every step is found nowhere: not in RocksDB, Kafka's segments, logs or the environment, in no spelling. What is planted is found.

use crate::bank;
use crate::leaks::{self, Search};
use crate::process::{More, Stage};
use crate::rig::words;
use crate::support::{self, Writer};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use recado::delivery::StatusWord;
use recado::simulator::{self, Channel, Line, Phone};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// 15 characters, the longest code that there is: nothing of the kind occurs by chance.
const CANARY: &str = "Q7XZ2KJ9W4MTB8V";
const PHONE: &str = "5511987654321";

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_went_through_every_step_is_found_nowhere_and_a_leak_would_be_found() {
    let mut settings = simulator::Settings { time_factor: 0.2, ..simulator::Settings::default() };
    settings.script.phones.insert(PHONE.into(), Phone::named("undeliverable", "offline", "quick").unwrap());
    // Nothing may hide in a compressed block.
    let config = "[kafka.properties]\n\"compression.type\" = \"none\"\n[time]\nhurry = 5\n".to_owned();
    let stage = Stage::with("canary", 2, settings, More { config, engine: "compression = false\n", ..More::default() }).await;
    let config = stage.config("a", stage.gateway_port, "");
    let mut instance = stage.start(&config, "engine,dispatcher,gateway");
    instance.ready().await;

    let writer = Writer::new();
    let challenges = stage.input("auth.challenges");
    writer.send(&challenges, 1, b"customer-1", &bank::challenge("c-1", "customer-1", &format!("+{PHONE}"), CANARY));
    writer.flush();
    // The SMS is out and nobody confirms it: the code rests, sealed, in state, dispatches and journal.
    let mut told = stage.statuses();
    told.until("the SMS", |read| words(read).contains(&StatusWord::Fallback));
    wait_for("the SMS", || stage.send_log().iter().any(|line| matches!(line, Line::Call(call) if call.channel == Channel::Sms)));
    let environment = fs::read(format!("/proc/{}/environ", instance.pid())).unwrap();
    assert_eq!(found_in("/proc/…/environ", &environment), Vec::<String>::new());
    // Stopped in order it writes all of its state to the disk.
    instance.stop();
    assert_eq!(search(&stage), Vec::<String>::new());

    let mut instance = stage.start(&config, "engine,dispatcher,gateway");
    told.until_within("the call", Duration::from_secs(60), |read| words(read).contains(&StatusWord::Delivered));
    instance.ready().await;
    instance.stop();
    assert_eq!(search(&stage), Vec::<String>::new());

    // It did go through every step, and this search does look where it should.
    let log = stage.send_log();
    for channel in [Channel::Whatsapp, Channel::Sms, Channel::Voice] {
        assert!(log.iter().any(|line| matches!(line, Line::Call(call) if call.channel == channel && call.counts)), "{channel:?}");
    }
    assert!(
        log.iter()
            .any(|line| matches!(line, Line::Call(call) if call.channel == Channel::Sms && call.text.as_deref().is_some_and(|text| text.contains(CANARY))))
    );
    assert!(log.iter().any(|line| matches!(line, Line::Spoken { .. })), "the code was spoken after the keypress");
    let inputs = segments(&stage.broker_data(), |topic| topic == challenges);
    assert!(inputs.iter().any(|file| !found_in("input", &fs::read(file).unwrap()).is_empty()), "the bank's own record holds it");
    let tables = leaks::files(&state(&stage)).into_iter().filter(|file| file.extension().is_some_and(|ending| ending == "sst"));
    assert!(tables.into_iter().any(|file| fs::read(file).unwrap().windows(4).any(|part| part == b"code")), "states are on the disk, uncompressed");
    planted_leaks_are_found(&stage, &writer, &config);
}

/// The same search finds each spelling, wherever it is planted.
fn planted_leaks_are_found(stage: &Stage, writer: &Writer, config: &Path) {
    let status = format!("{}status", stage.prefix);
    writer.send(&status, 0, b"", format!("código {CANARY} enviado").as_bytes());
    writer.flush();
    let found = search(stage);
    assert!(found.iter().any(|place| place.contains("00000000000000000000.log")), "in the segment itself: {found:?}");
    assert!(found.iter().any(|place| place.starts_with("dump of")), "in what Kafka's tool decodes: {found:?}");

    let log = config.with_extension("log");
    let before = fs::read(&log).unwrap();
    let spellings: [Vec<u8>; 8] = [
        CANARY.into(),
        CANARY.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        CANARY.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        hex::encode(CANARY).into(),
        hex::encode_upper(CANARY).into(),
        STANDARD.encode(CANARY).into(),
        STANDARD.encode(format!("a{CANARY}zz")).into(),
        STANDARD.encode(format!("ab{CANARY}z")).into(),
    ];
    for spelling in spellings {
        fs::write(&log, [before.as_slice(), b"{\"message\":\"", &spelling, b"\"}\n"].concat()).unwrap();
        assert!(search_instance(stage).iter().any(|place| place.contains("a.log")), "in a log, as {}", String::from_utf8_lossy(&spelling));
    }
    let planted = state(stage).join("planted.sst");
    fs::write(&planted, CANARY).unwrap();
    assert!(search_instance(stage).iter().any(|place| place.contains("planted.sst")), "in the state folder");
}

#[test]
fn a_number_is_found_whole_and_its_beginning_in_a_time_is_not() {
    let search = Search::of([]).and_numbers([("a number", "119800", 11)]);
    let found = |text: &str| !search.in_bytes("here", text.as_bytes()).is_empty();
    for leak in ["11980000042", "to 11980000042.", "\u{16}11980000042\u{2}", "MTE5ODAwMDAwNDI=", "313139383030"] {
        assert!(found(leak), "{leak}");
    }
    for time in ["1700119800123", "12:00:00.119800Z", "119800123456", "1198000004", "x1198000004y", "211980000042"] {
        assert!(!found(time), "{time}");
    }
}

/// Everything that outlives a process: state, keys, logs, segments, and what Kafka's own tool makes of the segments.
fn search(stage: &Stage) -> Vec<String> {
    let mut found = search_files(stage);
    let data = stage.broker_data();
    let ours = segments(&data, |topic| topic.starts_with(&stage.prefix) && !topic.starts_with(&stage.input("")));
    assert!(ours.len() > 20, "every topic of ours has a segment");
    let list = ours.iter().map(|file| file.to_str().unwrap()).collect::<Vec<_>>().join(",");
    let dump = Command::new("java")
        .args([
            "-XX:TieredStopAtLevel=1",
            "-cp",
            &format!("{}/*", support::libs()),
            "org.apache.kafka.tools.DumpLogSegments",
            "--print-data-log",
            "--files",
            &list,
        ])
        .output()
        .unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    assert!(dump.stdout.windows(8).filter(|part| part == b"payload:").count() > 10, "the tool decoded our records");
    found.extend(found_in("dump of our topics", &dump.stdout));
    found
}

/// The files alone: those of the instance, and the segments and snapshots of every topic but the bank's own inputs.
fn search_files(stage: &Stage) -> Vec<String> {
    let inputs = stage.input("");
    let tell = |file: &PathBuf| leaks::tells(file) && !leaks::of_topic(file, |topic| topic.starts_with(&inputs));
    let segments = leaks::files(&stage.broker_data()).into_iter().filter(tell);
    search_instance(stage).into_iter().chain(canary().in_files(segments)).collect()
}

/// State, keys, configuration and log of the instance. The send log is the provider's.
fn search_instance(stage: &Stage) -> Vec<String> {
    canary().in_files(leaks::files(stage.folder.path()).into_iter().filter(|file| file.file_name().is_some_and(|name| name != "send.log")))
}

fn state(stage: &Stage) -> PathBuf {
    stage.folder.path().join("state-a")
}

fn segments(data: &Path, topic: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let of = |file: &PathBuf| file.extension().is_some_and(|ending| ending == "log") && leaks::of_topic(file, &topic);
    leaks::files(data).into_iter().filter(of).collect()
}

fn canary() -> Search {
    Search::of([("", CANARY)])
}

/// The spellings that these bytes hold, each with the place.
fn found_in(place: &str, bytes: &[u8]) -> Vec<String> {
    canary().in_bytes(place, bytes)
}

fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !there() {
        assert!(Instant::now() < deadline, "{what}: not within 30 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}
