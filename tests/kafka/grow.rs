//! An input that got more partitions than Recado's topics, and `recado topics --grow`.

use crate::bank;
use crate::process::{Instance, Stage};
use crate::rig::words;
use crate::support::{self, Reader, Writer};
use recado::delivery::StatusWord;
use recado::simulator;
use std::path::Path;
use std::process::{Command, Output};

fn grow(config: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_recado")).args(["topics", "--grow", "--config"]).arg(config).output().unwrap()
}

/// Two instances, so that what is new is shared anew; the bank's records in the old and in the new partitions.
#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_grew_is_red_until_our_topics_have_grown_too_and_nothing_in_it_is_lost() {
    // 0: as many as the largest input has.
    let stage = Stage::with("grow", 2, simulator::Settings::default(), crate::process::More { counted: true, ..Default::default() }).await;
    let (first, second) = (stage.config("a", stage.gateway_port, ""), stage.config("b", support::free_port(), ""));
    let mut instances = [stage.start(&first, "engine,dispatcher,gateway"), stage.start(&second, "engine,dispatcher")];
    ready(&mut instances).await;

    let input = stage.input("pix.transactions");
    support::grow(&input, 6).await;
    for instance in &mut instances {
        let red = instance.says("/readyz", "partitions without an owner", |status, told| status != 200 && told.contains("partitions_without_owner")).await;
        assert!(red.contains(&format!("{input} has 6")) && red.contains("recado topics --grow"), "{red}");
    }
    // Written while the partition is nobody's: `start = "latest"` is about a first start, and not about this.
    let writer = Writer::new();
    let send = |partition: i32, number: i32| {
        let (id, phone) = (format!("pix-{number}"), format!("+551198765432{number}"));
        writer.send(&input, partition, id.as_bytes(), &bank::pix_received(&id, &id, &phone));
    };
    send(5, 6);
    writer.flush();

    let done = grow(&first);
    let told = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{told}{}", String::from_utf8_lossy(&done.stderr));
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[lines.len() - 2], format!("{}receipts: 2 partitions, now 6", stage.prefix), "the receipts last: {told}");
    assert!(lines.len() > 10 && lines[lines.len() - 1].contains("with 6 partitions each are as they must be"), "{told}");
    assert!(String::from_utf8(grow(&first).stdout).unwrap().lines().count() == 1, "a second time there is nothing to do");

    (0..6).for_each(|partition| send(partition, partition));
    writer.flush();
    let mut told = Reader::new(&[(&format!("{}status", stage.prefix), 6)]);
    told.until("all seven delivered", |read| words(read).into_iter().filter(|word| *word == StatusWord::Delivered).count() == 7);
    assert!(!words(&told.read).contains(&StatusWord::Fallback), "no receipt was lost on the way");
    ready(&mut instances).await;

    // An input that grows within what our topics have needs nobody.
    let bills = stage.input("billing.invoices");
    support::grow(&bills, 4).await;
    writer.send(&bills, 3, b"customer-3", &bank::bill("bill-3", "customer-3", "+5511987654329"));
    writer.flush();
    told.until("the bill in the new partition is delivered", |read| words(read).into_iter().filter(|word| *word == StatusWord::Delivered).count() == 8);
    instances.into_iter().for_each(Instance::stop);
}

async fn ready(instances: &mut [Instance]) {
    for instance in instances {
        instance.ready().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_is_too_small_is_refused_with_the_right_one() {
    let stage = Stage::new("shrink", 3, simulator::Settings::default()).await;
    let config = stage.config("a", stage.gateway_port, "");
    let small = std::fs::read_to_string(&config).unwrap().replace("partitions = 3", "partitions = 2");
    std::fs::write(&config, small).unwrap();
    let done = grow(&config);
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!done.status.success() && told.contains("has 3 partitions, topics.partitions is 2: write 3 there"), "{told}");
}
