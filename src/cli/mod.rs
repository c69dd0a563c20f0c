//! The command line: the only place that prints, and the first lines of the process.
//!
//! What is easily got wrong: whatever is printed here passes no mask. So it prints faults, settings and topic names, and never a record.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is the command line")]

#[cfg(feature = "demo")]
mod demo;
mod harden;
#[cfg(feature = "demo")]
mod simulate;

use crate::app::{self, Role};
use crate::config::{Config, Fault, Messages, Severity};
use crate::delivery::Partition;
use crate::engine::Topics as EngineTopics;
use crate::engine::jump::{self, Jumped, To};
use crate::observe::logs;
use crate::topics;
use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

/// Recado passes a bank's messages on: from Kafka to WhatsApp, SMS and voice, and back with what became of them.
#[derive(Debug, Parser)]
#[command(name = "recado", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs this instance until it is told to stop.
    Run(Run),
    /// Names every fault of the configuration at once; prints what is in force, without secrets.
    Check(Where),
    /// Shows it all on this machine, with nothing installed: 200 notifications, their fallbacks told, and a table.
    #[cfg(feature = "demo")]
    Demo(demo::Demo),
    /// Plays Meta and Twilio on this machine, for tests and demonstrations.
    #[cfg(feature = "demo")]
    Simulate(simulate::Simulate),
    /// Compares our topics in Kafka with what they must be; creates them, raises their partitions, or prints the rights that each role needs.
    Topics(Topics),
    /// Opens the folder of keys with the root key, or makes it: once, for all instances and roles.
    Keys(Keys),
    /// Says where an input is read on, against what the state remembers: after its topic was made anew, or to pass something over. Every engine must be stopped.
    Jump(Jump),
}

#[derive(Debug, Args)]
struct Keys {
    #[command(flatten)]
    place: Where,
    /// Makes what is missing of the folder; one that is there is left as it is. A second folder is no copy of the first: what either sealed the other cannot open.
    #[arg(long)]
    create: bool,
}

#[derive(Debug, Args)]
struct Jump {
    #[command(flatten)]
    place: Where,
    /// The input's topic.
    #[arg(long)]
    topic: String,
    /// Its partition; without it, all of them.
    #[arg(long)]
    partition: Option<u16>,
    /// earliest, latest, or an offset. What was decided within the deduplication window is not decided again.
    #[arg(long)]
    to: To,
}

/// Which configuration.
#[derive(Debug, Args)]
struct Where {
    /// The configuration: a folder that holds recado.toml, or the file itself.
    #[arg(long, value_name = "PATH", default_value = "config")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    place: Where,
    /// What this instance does: engine, dispatcher, gateway, with commas between them.
    #[arg(long, value_name = "ROLES", value_delimiter = ',', default_value = "engine,dispatcher,gateway")]
    roles: Vec<Role>,
    /// Decides and renders on live input, calls no provider and publishes nothing but metrics.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
struct Topics {
    #[command(flatten)]
    place: Where,
    /// Creates what is missing; what exists is compared and never changed.
    #[arg(long, conflicts_with_all = ["acl", "grow"])]
    create: bool,
    /// Gives our topics as many partitions as the largest input has, or as `topics.partitions` says. Instances that run take the new ones within a minute.
    #[arg(long, conflicts_with = "acl")]
    grow: bool,
    /// Prints the rights that each role needs, as lines for kafka-acls.sh.
    #[arg(long)]
    acl: bool,
}

/// Runs the command that was typed. Exit codes: 0 done; 1 refused or failed; 2 the command line was wrong.
pub fn main() -> ExitCode {
    if let Err(error) = harden::process() {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    #[cfg(feature = "mutants")]
    if let Err(error) = crate::seeded_bug::check().and_then(|()| crate::crash_point::arm()) {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    run(Cli::parse().command)
}

fn run(command: Command) -> ExitCode {
    let done = match command {
        Command::Run(run) => start(run),
        Command::Check(place) => return check(&place),
        #[cfg(feature = "demo")]
        Command::Demo(options) => demo::run(&options),
        #[cfg(feature = "demo")]
        Command::Simulate(options) => simulate::run(&options),
        Command::Topics(options) => return topics_command(&options),
        Command::Keys(options) => keys_command(&options),
        Command::Jump(options) => jump_command(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(run: Run) -> anyhow::Result<()> {
    let (config, messages) = match Config::load_all(&run.place.config) {
        Ok(loaded) => loaded,
        Err(faults) => {
            tell(&faults);
            anyhow::bail!("nothing starts on this configuration");
        }
    };
    logs::start(config.logs.level);
    for fault in &config.warnings {
        tracing::warn!(file = fault.file, key = fault.key, "{}", fault.sentence);
    }
    let roles: BTreeSet<Role> = run.roles.into_iter().collect();
    app::run(config, messages, &roles, run.dry_run)
}

fn check(place: &Where) -> ExitCode {
    match Config::load_all(&place.config) {
        Ok((config, messages)) => {
            tell(&config.warnings);
            println!("# In force: {} and the environment.", config.file.display());
            print!("{}", config.effective());
            println!("\n# {} routes over {} topics of the bank.", messages.inputs.routes().len(), messages.topics().len());
            ExitCode::SUCCESS
        }
        Err(faults) => {
            tell(&faults);
            ExitCode::FAILURE
        }
    }
}

fn topics_command(options: &Topics) -> ExitCode {
    let (config, messages) = match Config::load_all(&options.place.config) {
        Ok(loaded) => loaded,
        Err(faults) => {
            tell(&faults);
            return ExitCode::FAILURE;
        }
    };
    if options.acl {
        print!("{}", topics::acls(&config, &messages.topics()));
        return ExitCode::SUCCESS;
    }
    match topics_in_kafka(&config, &messages, options) {
        Ok(faults) => {
            tell(&faults);
            if faults.iter().any(|fault| fault.severity == Severity::Refuse) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn topics_in_kafka(config: &Config, messages: &Messages, options: &Topics) -> anyhow::Result<Vec<Fault>> {
    let inputs = &messages.topics();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("a runtime could not be made")?;
    runtime.block_on(async {
        let mut changed = BTreeSet::new();
        if options.create {
            for name in topics::create(config, inputs).await? {
                println!("created {name}");
                changed.insert(name);
            }
        }
        if options.grow {
            for topics::Grown { topic, from, to } in topics::grow(config, inputs).await? {
                println!("{topic}: {from} partitions, now {to}");
                changed.insert(topic);
            }
        }
        let (partitions, faults) = topics::verify_changed(config, inputs, &messages.cancels(), &changed).await?;
        if faults.is_empty() {
            println!("{} topics of ours with {partitions} partitions each are as they must be.", topics::all(&config.prefix).len());
        }
        Ok(faults)
    })
}

fn keys_command(options: &Keys) -> anyhow::Result<()> {
    let (config, _) = Config::load_all(&options.place.config).map_err(|faults| {
        tell(&faults);
        anyhow::anyhow!("nothing is done on this configuration")
    })?;
    app::open_keys(&config, options.create)?;
    println!("The keys in {} open with this root key.", config.keys.folder.display());
    Ok(())
}

fn jump_command(options: &Jump) -> anyhow::Result<()> {
    let (config, messages) = Config::load_all(&options.place.config).map_err(|faults| {
        tell(&faults);
        anyhow::anyhow!("nothing is done on this configuration")
    })?;
    let known: BTreeSet<String> = messages.inputs.inputs().iter().map(|input| input.topic.clone()).collect();
    anyhow::ensure!(known.contains(&options.topic), "{} is no input; those are: {}", options.topic, known.into_iter().collect::<Vec<_>>().join(", "));
    let client = config.kafka_client().map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("a runtime could not be made")?;
    // Those beyond ours are read by nobody.
    let count = runtime.block_on(topics::partitions_of(&config, &options.topic))?.min(runtime.block_on(topics::partitions(&config, &messages.topics()))?);
    let partitions = options.partition.map_or(0..count, |partition| partition..partition.saturating_add(1));
    for partition in partitions {
        let Jumped { from, to } = jump::jump(&client, &EngineTopics::under(&config.prefix), &options.topic, Partition(partition), options.to)?;
        println!("{}-{partition}: {} -> {to}", options.topic, from.map_or_else(|| "never read".to_owned(), |from| from.to_string()));
    }
    Ok(())
}

/// Every fault on a line of its own, then how many there are.
fn tell(faults: &[Fault]) {
    for fault in faults {
        eprintln!("{fault}");
    }
    let errors = faults.iter().filter(|fault| fault.severity == Severity::Refuse).count();
    if !faults.is_empty() {
        eprintln!("{errors} errors, {} warnings.", faults.len() - errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_instance_has_all_roles_unless_some_are_named() {
        let roles = |line: &[&str]| match Cli::try_parse_from(line).map(|cli| cli.command) {
            Ok(Command::Run(run)) => Some(run.roles),
            _ => None,
        };
        assert_eq!(roles(&["recado", "run"]), Some(Role::ALL.to_vec()));
        assert_eq!(roles(&["recado", "run", "--roles", "gateway,engine"]), Some(vec![Role::Gateway, Role::Engine]));
        assert_eq!(roles(&["recado", "run", "--roles", "cook"]), None);
    }

    #[test]
    fn an_instance_does_not_start_on_a_refused_configuration() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("recado.toml"), "mode = \"production\"\n").unwrap();
        let place = Where { config: folder.path().to_path_buf() };
        let error = start(Run { place, roles: vec![Role::Engine], dry_run: false }).unwrap_err();
        assert_eq!(error.to_string(), "nothing starts on this configuration");
    }
}
