//! The runs as a table: medians, the least and the most, ratios within each turn.

use crate::cost;
use crate::floor::Sizes;
use crate::{EXACTLY_ONCE, Plan, Program, Run, STREAMS};
use std::fmt::Write;

/// A round in which the host took more than this away is left out.
const STEAL_MAX: f64 = 0.05;

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

/// Median, least and most.
fn spread(mut all: Vec<f64>) -> String {
    all.sort_by(f64::total_cmp);
    match (all.first(), all.get(all.len() / 2), all.last()) {
        (Some(least), Some(median), Some(most)) => format!("{median:.1} ({least:.1}–{most:.1})"),
        _ => "–".into(),
    }
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
    let mut text = format!(
        "# Results\n\nMade by `make bench-peers`; [`peers/README.md`](peers/README.md) has the rules. recado {}{}, Apache Kafka and Kafka Streams 4.3.1, librdkafka {}, {}.\n{}. Load after the last \
         run: {}. {} Mean value lengths: dispatch {}, status {}, state {} bytes. \
         {} runs of {} rounds of {} lives each, a Java program warm for {} s before.\n\n",
        env!("CARGO_PKG_VERSION"),
        crate::support::commit(),
        rdkafka::util::get_rdkafka_version().1,
        cost::java(),
        cost::processor(),
        std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
        stolen(runs),
        sizes.dispatch,
        sizes.status,
        sizes.state,
        plan.runs,
        plan.rounds,
        plan.lives,
        plan.warm.as_secs(),
    );
    text += "| program | runs | CPU µs per lifecycle | broker | lifecycles/s | memory MiB | auditor |\n|---|---|---|---|---|---|---|\n";
    for program in &programs {
        let figures: Vec<[f64; 3]> = of(program).filter_map(figures).collect();
        let column = |at: usize| spread(figures.iter().map(|figures| figures[at]).collect());
        let faults = of(program).filter(|run| !run.faults.is_empty()).count();
        let memory = of(program).map(|run| run.memory_mib).max().unwrap_or(0);
        let verdict = if faults == 0 { "0".to_owned() } else { format!("{faults} runs void") };
        writeln!(text, "| {} | {} | {} | {} | {} | {memory} | {verdict} |", program.name(), figures.len(), column(0), column(1), column(2))
            .expect("a text takes all");
    }
    text += "\n| Recado against | CPU | with the broker's |\n|---|---|---|\n";
    for other in programs.iter().filter(|program| ***program != Program::Recado) {
        let pairs: Vec<([f64; 3], [f64; 3])> =
            of(&Program::Recado).zip(of(other)).filter_map(|(ours, theirs)| Some((figures(ours)?, figures(theirs)?))).collect();
        let ratio = |of: fn([f64; 3]) -> f64| spread_of_ratios(pairs.iter().map(|(ours, theirs)| of(*ours) / of(*theirs)).collect());
        let note = if **other == EXACTLY_ONCE {
            " (the floor)"
        } else if **other == STREAMS {
            " (the same work)"
        } else {
            ""
        };
        writeln!(text, "| {}{note} | {} | {} |", other.name(), ratio(|figures| figures[0]), ratio(|figures| figures[0] + figures[1]))
            .expect("a text takes all");
    }
    text
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

fn spread_of_ratios(mut all: Vec<f64>) -> String {
    all.sort_by(f64::total_cmp);
    match (all.first(), all.get(all.len() / 2), all.last()) {
        (Some(least), Some(median), Some(most)) => format!("{median:.2} × ({least:.2}–{most:.2})"),
        _ => "–".into(),
    }
}
