//! The runs as a table: medians, the least and the most, ratios within each turn.

use crate::cost;
use crate::floor::Sizes;
use crate::program::MACHINE;
use crate::records::Work;
use crate::{EXACTLY_ONCE, Plan, Program, Run};
use std::fmt::Write;

/// A round in which the host took more than this away is left out.
const STEAL_MAX: f64 = 0.05;

/// Why nothing of a run counts although it has no fault: the host took too much away in all of its rounds.
pub fn all_stolen(rounds: &[cost::Cost]) -> Option<String> {
    let stolen = rounds.iter().all(|round| round.steal > STEAL_MAX);
    stolen.then(|| format!("the machine's host kept over {:.0} % of the processors' time for others in all of its {} rounds", STEAL_MAX * 1e2, rounds.len()))
}

/// What one run cost for each lifecycle: µs of the program, of the broker, lifecycles a second; `None` where nothing of it counts.
fn figures(run: &Run) -> Option<[f64; 3]> {
    let counted: Vec<_> = run.rounds.iter().filter(|round| round.steal <= STEAL_MAX).collect();
    if counted.is_empty() || !run.faults.is_empty() {
        return None;
    }
    let lives = f64::from(run.lives) * counted.len() as f64;
    let sum = |of: fn(&cost::Cost) -> f64| counted.iter().map(|round| of(round)).sum::<f64>();
    let program = sum(|round| round.program.as_secs_f64()) * 1e6 / lives;
    let broker = sum(|round| round.broker.as_secs_f64()) * 1e6 / lives;
    Some([program, broker, lives / sum(|round| round.span.as_secs_f64())])
}

/// One run, while the others go on.
pub fn line(run: &Run) -> String {
    let figures = figures(run).map_or_else(
        || format!("VOID: {}", run.faults.join("; ")),
        |[program, broker, rate]| format!("{program:.1} µs of CPU a lifecycle, broker {broker:.1} µs, {rate:.0} lifecycles/s, {} MiB", run.memory_mib),
    );
    format!("{}: {figures}", run.program.name())
}

/// Median, least and most, with so many digits behind the point and a unit behind the median.
fn spread(mut all: Vec<f64>, digits: usize, unit: &str) -> String {
    all.sort_by(f64::total_cmp);
    let Some(((least, most), median)) = all.first().zip(all.last()).zip(median(&all)) else { return "–".into() };
    format!("{median:.digits$}{unit} ({least:.digits$}–{most:.digits$})")
}

/// Of a sorted list; of an even number the mean of the two in the middle.
fn median(all: &[f64]) -> Option<f64> {
    let middle = all.get(all.len().saturating_sub(1) / 2..=all.len() / 2)?;
    Some(middle.iter().sum::<f64>() / middle.len() as f64)
}

/// How the tables are read.
const LEGEND: &str = "Median (least–most) of the runs; memory is the most of any. A ratio is that of two runs of the same turn, and of the ratios again the median: it need not be the ratio of the medians. \
    Of a backlog the broker's CPU is what it takes while the round is worked off, without the writing of the round; at a steady rate it is all. Auditor 0 of two programs means that the multisets of (message, attempt, \
    word, `seq`) of their statuses, and the numbers of their dispatches, are those which the script says, hence the same.";

/// Which command makes this, and of what.
fn what(plan: &Plan) -> String {
    let set = |name: &str| std::env::var(name).map(|value| format!("{name}={value} ")).unwrap_or_default();
    let names: Vec<String> = plan.programs.iter().map(Program::name).collect();
    let (round, way) = match plan.rate {
        Some(rate) => {
            (format!("RATE={rate}"), format!("They come at a steady rate of {rate} a second, and what comes back to each half a minute behind its request."))
        }
        None => (format!("LIVES={}", plan.lives), "A backlog is worked off: CPU at a steady rate below that is another question (`RATE`).".to_owned()),
    };
    format!(
        "Made by `{}{}RUNS={} ROUNDS={} WARM={} {round}{}{} PROFILE={} make bench-peers PROGRAMS=\"{}\"`: so many runs of so many rounds of {} lives each, a Java program warm for so many seconds \
         before. [`peers/README.md`](peers/README.md) has the rules. {way}",
        set("RESULTS"),
        set("OTHER"),
        plan.runs,
        plan.rounds,
        plan.warm.as_secs(),
        if plan.pinned { "" } else { " PIN=off" },
        if plan.cleaner { " CLEANER=on" } else { "" },
        profile(),
        names.join(" "),
        plan.lives,
    )
}

/// On which machine, with which versions.
fn on_what(plan: &Plan, runs: &[Run], sizes: Sizes) -> String {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default().trim().to_owned();
    let streams = if plan.programs.iter().any(|program| matches!(program, Program::Streams { .. })) {
        format!(
            ", Kafka Streams {} with RocksDB {}, `{}` and the serial collector where a name says no other",
            crate::program::version("kafka-streams-"),
            crate::program::version("rocksdbjni-"),
            MACHINE.join(" ")
        )
    } else {
        String::new()
    };
    let lengths = if plan.programs.contains(&Program::Recado) {
        format!(" Mean value lengths of Recado's: dispatch {}, status {}, state {} bytes.", sizes.dispatch, sizes.status, sizes.state)
    } else {
        String::new()
    };
    format!(
        "recado {}{}, profile {}, jemalloc under Recado and the floors, librdkafka {} and RocksDB {}; Apache Kafka {}{streams}; {}.\n{}, Linux {}. Load after the last run: {}. {}{lengths}",
        env!("CARGO_PKG_VERSION"),
        crate::support::commit(),
        profile(),
        rdkafka::util::get_rdkafka_version().1,
        rocksdb(),
        kafka(),
        cost::java(),
        crate::proc::processor(),
        read("/proc/sys/kernel/osrelease"),
        read("/proc/loadavg"),
        stolen(runs),
    )
}

/// The broker's version, which is the one that `docker/kafka.sh` fetches.
fn kafka() -> &'static str {
    let script = include_str!("../../docker/kafka.sh");
    script.lines().find_map(|line| line.strip_prefix("version=")).expect("the script names it")
}

/// The version of Recado's RocksDB: what its crate was made for, which the build insists on.
fn rocksdb() -> &'static str {
    let (_, package) = include_str!("../../Cargo.lock").split_once("name = \"librocksdb-sys\"\nversion = \"").expect("Recado is built with it");
    package.split_once('"').and_then(|(version, _)| version.split_once('+')).expect("the crate's version names RocksDB's").1
}

/// All of it, in Markdown.
pub fn text(plan: &Plan, runs: &[Run], sizes: Sizes) -> String {
    let mut programs: Vec<&Program> = Vec::new();
    for run in runs {
        if !programs.contains(&&run.program) {
            programs.push(&run.program);
        }
    }
    let of = |program: &Program| {
        let program = program.clone();
        runs.iter().filter(move |run| run.program == program)
    };
    let mut text = format!("# Results\n\n{}\n\n{}\n\n{LEGEND}\n\n", what(plan), on_what(plan, runs, sizes));
    text += "| program | runs | CPU µs per lifecycle | broker | lifecycles/s | memory MiB | auditor |\n|---|---|---|---|---|---|---|\n";
    for program in &programs {
        let figures: Vec<[f64; 3]> = of(program).filter_map(figures).collect();
        let column = |at: usize| spread(figures.iter().map(|figures| figures[at]).collect(), usize::from(at < 2), "");
        let faults = of(program).filter(|run| !run.faults.is_empty()).count();
        let memory = of(program).map(|run| run.memory_mib).max().unwrap_or(0);
        let verdict = if faults == 0 { "0".to_owned() } else { format!("{faults} runs void") };
        writeln!(text, "| {} | {} | {} | {} | {} | {memory} | {verdict} |", program.name(), figures.len(), column(0), column(1), column(2))
            .expect("a text takes all");
    }
    let cost = |program: &Program| {
        let mut all: Vec<f64> = of(program).filter_map(figures).map(|figures| figures[0]).collect();
        all.sort_by(f64::total_cmp);
        median(&all)
    };
    let full = programs.iter().filter(|program| matches!(program, Program::Streams { work: Work::Full, .. }));
    let cheapest =
        full.filter_map(|program| Some((cost(program)?, (*program).clone()))).min_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, program)| program);
    text += "\n| Recado against | CPU | with the broker's |\n|---|---|---|\n";
    for other in programs.iter().filter(|program| ***program != Program::Recado) {
        let pairs: Vec<([f64; 3], [f64; 3])> =
            of(&Program::Recado).zip(of(other)).filter_map(|(ours, theirs)| Some((figures(ours)?, figures(theirs)?))).collect();
        let ratio = |of: fn([f64; 3]) -> f64| spread(pairs.iter().map(|(ours, theirs)| of(*ours) / of(*theirs)).collect(), 2, " ×");
        let note = if **other == EXACTLY_ONCE {
            " (the floor)"
        } else if cheapest.as_ref() == Some(*other) {
            " (the cheapest correct form)"
        } else {
            ""
        };
        writeln!(text, "| {}{note} | {} | {} |", other.name(), ratio(|figures| figures[0]), ratio(|figures| figures[0] + figures[1]))
            .expect("a text takes all");
    }
    text
}

/// With which of Cargo's profiles this was compiled: the folder in which it lies.
fn profile() -> String {
    let own = std::env::current_exe().unwrap_or_default();
    own.ancestors().nth(2).and_then(|folder| folder.file_name()).unwrap_or_default().to_string_lossy().into_owned()
}

/// What the machine's host kept for others meanwhile.
fn stolen(runs: &[Run]) -> String {
    let all: Vec<f64> = runs.iter().flat_map(|run| &run.rounds).map(|round| round.steal).collect();
    let left_out = all.iter().filter(|steal| **steal > STEAL_MAX).count();
    let most = all.iter().copied().filter(|steal| *steal <= STEAL_MAX).fold(0.0, f64::max);
    format!(
        "Of {} rounds {left_out} are left out, since the machine's host kept over {:.0} % of the processors' time for others; of the rest it kept {:.1} % at most.",
        all.len(),
        STEAL_MAX * 1e2,
        most * 1e2
    )
}
