//! The disk under the state folder fills up: nothing new is taken, what is in flight ends, and everything goes on when there is room again.
//!
//! The state lies on `/dev/shm`, a file system that every Linux has and that nobody else fills while a test runs; the limit is set just below what is free there.

use crate::bank;
use crate::process::{More, Stage};
use crate::stories::{assert_all_delivered_once, ends, stories, told, words};
use crate::support::Writer;
use recado::delivery::{Channel, StatusWord};
use recado::simulator::{self, Behaviour, Phone, Report, Word};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

const OFFLINE: &str = "5511987654321";
const SLOW: &str = "5511987654322";
const MIB: u64 = 1 << 20;
/// How much may be written before the limit is reached: more than RocksDB does here.
const ROOM: u64 = 64 * MIB;

#[tokio::test(flavor = "multi_thread")]
async fn with_the_disk_full_nothing_new_is_taken_what_is_in_flight_ends_and_with_room_again_all_goes_on() {
    let slow =
        Behaviour { receipts: vec![Report::new(Word::Sent, Duration::ZERO), Report::new(Word::Delivered, Duration::from_secs(8))], ..Behaviour::default() };
    let mut settings = simulator::Settings::default();
    settings.script.phones.insert(OFFLINE.into(), Phone::named("offline", "quick", "quick").unwrap());
    settings.script.phones.insert(SLOW.into(), Phone { whatsapp: slow, ..Phone::default() });
    let disk = tempfile::tempdir_in("/dev/shm").unwrap();
    let free = free_mib(disk.path());
    let limit = free.checked_sub(ROOM / MIB).filter(|limit| *limit >= 64).expect("/dev/shm must have 128 MiB free (a container: --shm-size=256m)");
    let more = More { engine: &format!("disk_free_min = \"{limit}MiB\"\n"), ..More::default() };
    let stage = Stage::with("full", 1, settings, more).await;
    // Waits of 33 s become 11 s.
    let config = stage.config("a", stage.gateway_port, "time.hurry = 3");
    let text = fs::read_to_string(&config).unwrap().replace("state_folder = \"state-a\"", &format!("state_folder = \"{}\"", disk.path().join("a").display()));
    fs::write(&config, text).unwrap();
    let mut instance = stage.start(&config, "engine,dispatcher,gateway");
    instance.ready().await;

    let writer = Writer::new();
    let (pix, challenges) = (stage.input("pix.transactions"), stage.input("auth.challenges"));
    let write = |topic: &str, value: &[u8]| writer.send(topic, 0, b"customer-1", value);
    let mut statuses = stage.statuses();
    write(&pix, &bank::pix_received("offline", "customer-1", &format!("+{OFFLINE}")));
    write(&pix, &bank::pix_received("slow", "customer-1", &format!("+{SLOW}")));
    write(&challenges, &bank::challenge("withdrawn", "customer-1", &format!("+{OFFLINE}"), "481516"));
    statuses.until("three in flight", told(3, |word| word == StatusWord::Sent));

    let ballast = disk.path().join("ballast");
    fill(&ballast, 2 * ROOM);
    let said = instance.says("/readyz", "the full disk", |status, text| status == 503 && text.contains("\"disk\"")).await;
    assert!(said.contains(&format!("below {limit} MiB nothing new is taken")), "{said}");
    write(&pix, &bank::pix_received("new", "customer-1", "+5511987654323"));
    write(&challenges, &bank::challenge("new-code", "customer-1", "+5511987654323", "481516"));
    write(&stage.input("auth.codes-used"), &bank::code_used("withdrawn"));
    writer.flush();
    // By a timer and an SMS, by a late receipt, by the bank.
    statuses.until("all that was in flight", ends(3));
    let so_far = stories(&statuses.read);
    assert_eq!(so_far.keys().collect::<Vec<_>>(), ["offline", "slow", "withdrawn"], "nothing new was taken");
    assert_eq!(so_far["offline"].last().unwrap().status.channel, Some(Channel::Sms));
    assert_eq!(words(&so_far["slow"]), [StatusWord::Requested, StatusWord::Sent, StatusWord::Delivered]);
    assert_eq!(words(&so_far["withdrawn"]), [StatusWord::Requested, StatusWord::Sent, StatusWord::Cancelled]);
    assert_eq!(instance.asked("/readyz").await.unwrap().0, 503);

    fs::remove_file(ballast).unwrap();
    statuses.until("what waited", ends(5));
    instance.ready().await;
    instance.stop();
    let mut stories = stories(&statuses.read);
    assert_eq!(stories.len(), 5);
    stories.remove("withdrawn");
    assert_all_delivered_once(&stories, &stage.calls());
}

/// Writes so many bytes that are really there.
fn fill(path: &Path, bytes: u64) {
    let mut file = fs::File::create(path).unwrap();
    let block = vec![0x55; usize::try_from(MIB).unwrap()];
    for _ in 0..bytes / MIB {
        file.write_all(&block).unwrap();
    }
}

fn free_mib(folder: &Path) -> u64 {
    let printed = std::process::Command::new("df").args(["--output=avail", "--block-size=1M"]).arg(folder).output().unwrap();
    String::from_utf8(printed.stdout).unwrap().lines().nth(1).unwrap().trim().parse().unwrap()
}
