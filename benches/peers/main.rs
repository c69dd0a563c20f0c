//! Recado against what is least possible and against Kafka Streams: the same records through the same broker, one program after the other, several times in turn.
//! `make bench-peers`; see `peers/README.md` for the rules.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]
#![allow(clippy::type_complexity, reason = "topics with their settings are listed in place")]
#![allow(clippy::unwrap_used, reason = "it may stop at the first thing that is not as it should be")]
#![expect(clippy::disallowed_methods, reason = "it measures with the machine's clock, not with Recado's")]

mod audit;
#[path = "../../tests/kafka/bank.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod bank;
mod cost;
#[path = "../../tests/kafka/deployment.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod deployment;
mod floor;
mod load;
mod place;
#[path = "../common/back.rs"]
mod back;
#[path = "../common/bulk.rs"]
mod bulk;
#[path = "../common/leave.rs"]
mod leave;
#[path = "../common/proc.rs"]
mod proc;
mod program;
mod records;
mod results;
mod script;
#[path = "../../tests/kafka/support.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod support;

use audit::{Auditor, Names};
use cost::{Cost, Reading};
use floor::{Kind, Sizes};
use load::Loader;
use place::{Place, WAIT_SHORT_MS};
use program::Program;
use rdkafka::consumer::Consumer;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use recado::delivery::Timestamp;
use records::Codec;
use script::{Life, PARTITIONS};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// As Recado's own: the floors shall not pay for another.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What is asked for.
#[derive(Clone)]
pub struct Plan {
    programs: Vec<Program>,
    /// How often each, in turn.
    runs: usize,
    /// Lives of one round.
    lives: u32,
    /// Rounds that are measured.
    rounds: u32,
    /// What compiles while it runs is given so long first.
    warm: Duration,
    /// Lives a second; `None`: rounds are backlogs.
    rate: Option<u32>,
    pinned: bool,
    /// Whether the broker compacts meanwhile.
    cleaner: bool,
}

/// One run of one program.
pub struct Run {
    /// Of what.
    pub program: Program,
    /// Lives in each measured round.
    pub lives: u32,
    /// What each of those cost.
    pub rounds: Vec<Cost>,
    /// The most that it had.
    pub memory_mib: u64,
    /// What voids it.
    pub faults: Vec<String>,
}

/// The broker and this program here, the program under test there.
const CORES: (usize, usize) = (0, 1);
/// The floors are given so many rounds first.
const ROUNDS_FIRST: u32 = 2;
/// So many records of each topic say how long one is: of the last rounds.
const MEASURED: i64 = 1_000_000;
/// Before anything is measured.
const BROKER_ROUNDS: u32 = 6;
/// A program stands no longer than this: the group and the broker's transactions wait for ten seconds.
const STANDS_MAX: Duration = Duration::from_secs(6);
/// At a steady rate a round is so long, and so long rests what is requested: longer than Recado keeps in memory what is committed.
const STEADY_SECONDS: u32 = 30;
/// What falls back is given so long at least: the first waits that run out have done so by then, and from there on some do in each round.
const FALLING: Duration = Duration::from_secs(WAIT_SHORT_MS as u64 / 1_000 + 12);
/// The broker does not compact meanwhile, unless `CLEANER=on`: it does so when a segment of 128 MiB is full, for seconds, and whose rounds that falls into is chance.
const CLEANER_OFF: &str = "log.cleaner.enable=false";
/// Else its cleaner has for keys what it has in the lifecycle bench: with the tests' 2 MiB it would copy a long changelog again for each 80,000 keys.
const CLEANER_ON: &str = "log.cleaner.dedupe.buffer.size=33554432";

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if arguments.first().is_some_and(|word| word == "floor") {
        floor::run(&arguments[1..]);
    }
    let plan = Plan::read(&arguments);
    println!("{}", proc::processor());
    if plan.programs.iter().any(|program| matches!(program, Program::Streams { .. })) {
        program::built();
    }
    support::SETTINGS.set(if plan.cleaner { &[CLEANER_ON] } else { &[CLEANER_OFF] }).expect("nobody has asked for the broker");
    let broker = broker();
    if plan.pinned {
        cost::pin(broker, CORES.0);
        cost::pin(std::process::id(), CORES.0);
    }
    let (mut runs, mut sizes) = (Vec::new(), Sizes::default());
    // The broker's Java is compiled by then; nothing of this is told.
    one(&Program::Floor(Kind::ExactlyOnce), &Plan { rounds: BROKER_ROUNDS, ..plan.clone() }, broker, &mut sizes).await;
    for round in 0..plan.runs {
        // Each has each of the others before it at some time. In the first turn Recado comes first: what it writes says how long the others' records are.
        let (before, after) = plan.programs.split_at(round % plan.programs.len());
        for program in after.iter().chain(before) {
            let run = one(program, &plan, broker, &mut sizes).await;
            println!("{} of {}: {}", round + 1, plan.runs, results::line(&run));
            runs.push(run);
        }
    }
    let text = results::text(&plan, &runs, sizes);
    println!("\n{text}");
    let void = runs.iter().filter(|run| !run.faults.is_empty()).count();
    assert!(void == 0, "{void} of {} runs are void", runs.len());
    if let Ok(file) = std::env::var("RESULTS") {
        if let Some(folder) = std::path::Path::new(&file).parent() {
            std::fs::create_dir_all(folder).unwrap();
        }
        std::fs::write(&file, text).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

impl Plan {
    fn read(names: &[String]) -> Self {
        let number =
            |name: &str, otherwise: u32| std::env::var(name).map_or(otherwise, |number| number.parse().unwrap_or_else(|_| panic!("{name} is a number")));
        let usual = ["recado", "floor-exactly-once", "floor-at-least-once", "streams-b", "streams-c-parallelgc", "streams-a"].map(str::to_owned);
        let names = if names.is_empty() { &usual[..] } else { names };
        let rate = std::env::var("RATE").is_ok().then(|| number("RATE", 0));
        let programs = names.iter().map(|name| Program::named(name).unwrap_or_else(|| panic!("no program is called {name}"))).collect();
        Self {
            programs,
            runs: number("RUNS", 5) as usize,
            lives: rate.map_or_else(|| number("LIVES", 100_000), |rate| rate * STEADY_SECONDS),
            rounds: number("ROUNDS", 4),
            rate,
            warm: Duration::from_secs(u64::from(number("WARM", 120))),
            pinned: std::env::var("PIN").as_deref() != Ok("off"),
            cleaner: std::env::var("CLEANER").as_deref() == Ok("on"),
        }
    }
}

fn broker() -> u32 {
    let pid = std::fs::read_to_string(support::broker().folder.join("node1.pid")).unwrap();
    pid.trim().parse().unwrap()
}

/// One program from its start to its end.
async fn one(program: &Program, plan: &Plan, broker: u32, sizes: &mut Sizes) -> Run {
    let place = Place::new("peers", PARTITIONS).await;
    let codec = Arc::new(Codec::new(program.work()));
    let loader = Loader::new(codec.clone(), &place.prefix, Timestamp::from_millis(recado::clock::wall().millis()));
    let (names, stop) = (Names::default(), Arc::new(AtomicBool::new(false)));
    let auditor = Auditor::start(&codec, &loader, &place.prefix, &names);
    let mut process = program.start(&place, plan.pinned.then_some(CORES.1), *sizes);
    let beating = std::thread::spawn({
        let (loader, stop) = (loader.clone(), stop.clone());
        move || loader.beat(&stop)
    });
    let mut run = Run { program: program.clone(), lives: plan.lives, rounds: Vec::new(), memory_mib: 0, faults: Vec::new() };
    let mut last = Reading::take(process.pid(), broker);
    let (began, mut round, mut measured, mut plain, mut fallen_before) = (Instant::now(), 0, 0, 0, 0);
    loop {
        let first = if program.warms_up() { plan.warm.max(FALLING) } else { FALLING };
        let warm = round >= ROUNDS_FIRST && (!program.falls_back() || began.elapsed() >= first);
        // The last round brings back what is left and begins nothing.
        let ends = measured == plan.rounds;
        let new = round * plan.lives..if ends { round * plan.lives } else { (round + 1) * plan.lives };
        let known = new.start.saturating_sub(plan.lives)..new.start;
        names.lock().unwrap().extend(new.clone().map(Life).map(|life| (loader.id(life), life)));
        let mut begins = Reading::take(process.pid(), broker);
        plain += match plan.rate {
            Some(rate) => loader.steady(new.clone(), plan.lives, rate),
            None if !warm => loader.round(new.clone(), known),
            None => {
                // It stands while a round is written: else a quick program waits for us, gets less at a time, and is dearer to itself and to the broker than a slow one.
                let stands = Instant::now();
                process.signal(libc::SIGSTOP);
                let told = loader.round(new.clone(), known);
                begins = Reading::take(process.pid(), broker);
                process.signal(libc::SIGCONT);
                if stands.elapsed() > STANDS_MAX {
                    run.faults.push(format!("it stood for {:.1?} while a round was written: its group and its transactions wait for 10 s", stands.elapsed()));
                    break;
                }
                told
            }
        };
        let fallen = if ends && program.falls_back() { 3 * u64::from(new.start / script::FALLS_BACK_EACH) } else { 0 };
        if let Err(sentence) = auditor.wait(plain, fallen) {
            run.faults.push(sentence);
            break;
        }
        if ends {
            break;
        }
        let (now, fallen) = (Reading::take(process.pid(), broker), auditor.fallen());
        if warm {
            run.rounds.push(now.since(last, begins));
            measured += 1;
            if program.falls_back() && fallen == fallen_before {
                run.faults.push("a measured round without a fallback".into());
                break;
            }
        }
        (last, fallen_before) = (now, fallen);
        round += 1;
    }
    run.memory_mib = proc::memory(process.pid(), "VmHWM").unwrap_or(0) / (1 << 20);
    stop.store(true, Ordering::Relaxed);
    beating.join().unwrap();
    process.terminate();
    let ended = process.ended_by(Instant::now() + Duration::from_secs(30));
    if ended.is_none() {
        process.kill();
    }
    let lives = round * plan.lives;
    let heard = auditor.stop();
    if run.faults.is_empty() {
        run.faults = heard.faults(&codec, lives, program.falls_back());
        run.faults.extend(audit::faults_of_dispatches(&codec, &loader, &place.prefix, &names, lives, program.falls_back()));
        run.faults.extend(results::all_stolen(&run.rounds));
    }
    // A floor knows no end but a signal's. Java says 143 of one that it was told to end by.
    if program.falls_back() && !ended.is_some_and(|status| status.success() || status.code() == Some(143)) {
        run.faults.push(format!("it did not end well: {ended:?}"));
    }
    if !run.faults.is_empty() {
        let said = process.said();
        let tail: Vec<&str> = said.lines().rev().take(20).collect();
        println!("{}:\n{}", program.name(), tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
    }
    if *program == Program::Recado {
        *sizes = measure(&place.prefix);
    }
    leave::delete_topics(&place.prefix).await;
    run
}

/// How long Recado's records are on average, so that the others write as much: of what it wrote last, in all the mixture of a round.
fn measure(prefix: &str) -> Sizes {
    let average = |word: &str, counts: fn(&[u8]) -> bool| {
        let topic = format!("{prefix}{word}");
        let consumer = audit::consumer(&topic);
        let mut list = TopicPartitionList::new();
        for partition in 0..i32::from(PARTITIONS) {
            let (_, end) = consumer.fetch_watermarks(&topic, partition, Duration::from_secs(10)).expect("the broker answers");
            list.add_partition_offset(&topic, partition, Offset::Offset((end - MEASURED / i64::from(PARTITIONS)).max(0))).expect("a legal position");
        }
        consumer.assign(&list).expect("a legal assignment");
        let (mut count, mut bytes) = (0, 0);
        while let Some(message) = consumer.poll(Duration::from_secs(2)) {
            let message = message.expect("the broker answers");
            if let (Some(value), true) = (message.payload(), counts(message.key().unwrap_or_default())) {
                (count, bytes) = (count + 1, bytes + value.len());
            }
        }
        bytes / count.max(1)
    };
    let all: fn(&[u8]) -> bool = |_| true;
    // Of a changelog the deliveries alone, and of them those that live.
    Sizes { dispatch: average("dispatch.whatsapp", all), status: average("status", all), state: average("state", |key| key.first() == Some(&b's')) }
}

/// The floor that Recado is held against.
pub const EXACTLY_ONCE: Program = Program::Floor(Kind::ExactlyOnce);
