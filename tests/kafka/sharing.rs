//! Instances share the partitions through Kafka's groups alone. One has two threads; another joins; the first stops in order; the second is killed while a third
//! comes. Records flow all the while, and each of them is delivered, once.

use crate::bank;
use crate::process::More;
use crate::process::{Instance, Stage, value_of};
use crate::stories::{assert_all_delivered_once, ends, stories};
use crate::support::{self, Writer};
use recado::simulator;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const PARTITIONS: u16 = 8;
const ROLES: &str = "engine,dispatcher,gateway";
/// The bank writes so many records at least.
const RECORDS_MIN: i32 = 300;
/// Between two records of the bank.
const PACE: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn instances_join_leave_and_die_while_records_flow_and_each_record_is_delivered_once() {
    let mut settings = simulator::Settings::default();
    settings.meta.repeat_first = Duration::from_millis(200);
    settings.meta.repeat_pause_max = Duration::from_secs(1);
    let stage = Stage::with("sharing", PARTITIONS, settings, More { engine: "threads = 2\n", ..More::default() }).await;
    let gateways: Vec<u16> = (0..3).map(|_| support::free_port()).collect();
    door(stage.gateway_port, gateways.clone()).await;
    let start = |name: &str, gateway: usize| stage.start(&stage.config(name, gateways[gateway], ""), ROLES);

    let mut first = start("first", 0);
    first.ready().await;
    owns(&mut first, [4.0, 4.0]).await;
    let bank = Bank::open(&stage);
    let mut told = stage.statuses();
    told.until("records are delivered by the first alone", ends(10));

    let mut second = start("second", 1);
    second.ready().await;
    owns(&mut first, [2.0, 2.0]).await;
    owns(&mut second, [2.0, 2.0]).await;
    let so_far = bank.written();
    told.until("records are delivered by both", ends(so_far));

    first.stop();
    owns(&mut second, [4.0, 4.0]).await;
    let so_far = bank.written();
    told.until("records are delivered by the second alone", ends(so_far));

    let mut third = start("third", 2);
    second.kill();
    third.ready().await;
    owns(&mut third, [4.0, 4.0]).await;

    let written = bank.close();
    told.until_within("every end", Duration::from_secs(120), ends(written));
    third.stop();
    let stories = stories(&told.read);
    assert_eq!(stories.len(), written, "nothing is lost, and nothing is invented");
    let calls = stage.calls();
    assert_all_delivered_once(&stories, &calls);
    let mut by_customer = BTreeMap::<&str, usize>::new();
    calls.iter().for_each(|call| *by_customer.entry(&call.to).or_default() += 1);
    assert!(by_customer.len() == written && by_customer.values().all(|calls| *calls == 1), "every customer got one message: {by_customer:?}");
}

/// Waits until its two threads own so many partitions each.
async fn owns(instance: &mut Instance, each: [f64; 2]) {
    let of = |text: &str| [0, 1].map(|thread| value_of(text, &format!("recado_tasks{{thread=\"{thread}\"}}")));
    instance.says("/metrics", &format!("{each:?} partitions of its threads"), |_, text| of(text) == each).await;
}

/// A bank that writes records over all partitions until it is closed.
struct Bank {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicUsize>,
    thread: std::thread::JoinHandle<()>,
}

impl Bank {
    fn open(stage: &Stage) -> Self {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stop_there, written_there, topic) = (stop.clone(), written.clone(), stage.input("pix.transactions"));
        let thread = std::thread::spawn(move || {
            let writer = Writer::new();
            for number in 0.. {
                if number >= RECORDS_MIN && stop_there.load(Ordering::Relaxed) {
                    break;
                }
                let (event, customer, phone) = (format!("e-{number}"), format!("customer-{number}"), format!("+55119{:08}", 80_000_000 + number));
                writer.send(&topic, number % i32::from(PARTITIONS), customer.as_bytes(), &bank::pix_received(&event, &customer, &phone));
                writer.flush();
                written_there.fetch_add(1, Ordering::Relaxed);
                // A bank's pace, not a wait for anything.
                std::thread::sleep(PACE);
            }
        });
        Self { stop, written, thread }
    }

    /// How many records are acknowledged.
    fn written(&self) -> usize {
        self.written.load(Ordering::Relaxed)
    }

    /// Writes no more than it must; returns how many there are.
    fn close(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.written.load(Ordering::Relaxed)
    }
}

/// What stands in front of a bank's gateways: each connection goes to one that takes it.
async fn door(port: u16, behind: Vec<u16>) {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let behind: Arc<[u16]> = behind.into();
    tokio::spawn(async move {
        loop {
            let Ok((mut from, _)) = listener.accept().await else { continue };
            let behind = behind.clone();
            tokio::spawn(async move {
                for port in behind.iter() {
                    if let Ok(mut to) = tokio::net::TcpStream::connect(("127.0.0.1", *port)).await {
                        let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                        return;
                    }
                }
            });
        }
    });
}
