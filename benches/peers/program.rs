//! The programs that are compared, each as a process of its own on its own core.

use crate::deployment::{self, Process, with_us};
use crate::floor::{Kind, Sizes};
use crate::place::{EXPIRY_MS, LEASE_MS, LINGER_MS, Place, WAIT_LONG_MS, WAIT_SHORT_MS};
use crate::records::Work;
use crate::support;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// `recado run --roles engine`.
    Recado,
    /// The same of another build, whose binary `OTHER` names: what a change is worth.
    Other,
    /// Nothing decided.
    Floor(Kind),
    /// Kafka Streams.
    Streams {
        /// `a`, `b` or `c`: see `streams/`.
        form: char,
        /// MiB of the stores' cache; 0 is none.
        cache_mib: u32,
        work: Work,
        /// The collector.
        parallel: bool,
        /// What else is set otherwise, `name=value`: an argument of `Main`, a property of Streams or its clients (nothing behind `=`: Streams' default), an
        /// option of the JVM (`-X…`), or, in capitals, a variable of its environment.
        settings: Vec<String>,
    },
}

/// Options of each JVM of a program, besides its collector (the serial one unless its name says otherwise).
pub const MACHINE: [&str; 3] = ["-Xms2g", "-Xmx2g", "-Xmn1200m"];

impl Program {
    /// Its name on the command line and in tables.
    pub fn name(&self) -> String {
        match self {
            Self::Recado => "recado".into(),
            Self::Other => "recado-other".into(),
            Self::Floor(kind) => format!("floor-{}", kind.word()),
            Self::Streams { form, cache_mib, work, parallel, settings } => {
                let cache = if *cache_mib > 0 { format!("-cache{cache_mib}") } else { String::new() };
                let work = if *work == Work::Plain { "-plain" } else { "" };
                let settings: String = settings.iter().flat_map(|setting| [",", setting]).collect();
                format!("streams-{form}{cache}{work}{}{settings}", if *parallel { "-parallelgc" } else { "" })
            }
        }
    }

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "recado" => return Some(Self::Recado),
            "recado-other" => return Some(Self::Other),
            "floor-exactly-once" => return Some(Self::Floor(Kind::ExactlyOnce)),
            "floor-at-least-once" => return Some(Self::Floor(Kind::AtLeastOnce)),
            _ => {}
        }
        let (program, settings) = name.split_once(',').unwrap_or((name, ""));
        let settings: Vec<String> = settings.split(',').filter(|setting| !setting.is_empty()).map(str::to_owned).collect();
        if settings.iter().any(|setting| !setting.starts_with("-X") && !setting.contains('=')) {
            return None;
        }
        let mut words = program.strip_prefix("streams-")?.split('-');
        let form = words.next().filter(|form| ["a", "b", "c"].contains(form))?.chars().next()?;
        let (mut cache_mib, mut work, mut parallel) = (0, Work::Full, false);
        for word in words {
            match word {
                "plain" => work = Work::Plain,
                "parallelgc" => parallel = true,
                word => cache_mib = word.strip_prefix("cache")?.parse().ok()?,
            }
        }
        Some(Self::Streams { form, cache_mib, work, parallel, settings })
    }

    /// What it is given.
    pub fn work(&self) -> Work {
        match self {
            Self::Recado | Self::Other => Work::Full,
            Self::Floor(_) => Work::Plain,
            Self::Streams { work, .. } => *work,
        }
    }

    /// Whether it has timers.
    pub fn falls_back(&self) -> bool {
        !matches!(self, Self::Floor(_))
    }

    /// Whether its code is compiled while it runs.
    pub fn warms_up(&self) -> bool {
        matches!(self, Self::Streams { .. })
    }

    /// Starts it. `core`: the only one that it may use.
    pub fn start(&self, place: &Place, core: Option<usize>, sizes: Sizes) -> Process {
        let mut command = match core {
            Some(core) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &core.to_string()]).arg(self.binary());
                command
            }
            None => Command::new(self.binary()),
        };
        match self {
            Self::Recado | Self::Other => drop(command.args(["run", "--roles", "engine", "--config"]).arg(&place.config)),
            Self::Floor(kind) => {
                let sizes = [sizes.dispatch, sizes.status, sizes.state].map(|size| size.to_string());
                command.args(["floor", kind.word(), support::bootstrap(), &place.prefix]).args(sizes);
            }
            Self::Streams { form, cache_mib, work, parallel, settings } => {
                let built = built();
                let (machine, settings): (Vec<_>, Vec<_>) = settings.iter().partition(|setting| setting.starts_with("-X"));
                let (variables, settings): (Vec<_>, Vec<_>) =
                    settings.into_iter().partition(|setting| setting.starts_with(|first: char| first.is_ascii_uppercase()));
                command.envs(variables.into_iter().filter_map(|variable| variable.split_once('=')));
                command.arg(if *parallel { "-XX:+UseParallelGC" } else { "-XX:+UseSerialGC" }).args(MACHINE).args(machine).arg("-cp");
                command.arg(format!("{0}/*:{0}/dependency/*", built.display())).arg("recado.peers.Main");
                let number = |name: &str, number: usize| [format!("--{name}"), number.to_string()];
                command.args(["--bootstrap", support::bootstrap(), "--prefix", &place.prefix, "--form", &form.to_string()]);
                command.args(["--work", if *work == Work::Full { "full" } else { "plain" }, "--state"]).arg(place.folder.path().join("streams"));
                command.arg("--schemas").arg(support::repository().join("schemas")).args(number("cache", *cache_mib as usize * (1 << 20)));
                for (name, ms) in
                    [("wait-long", WAIT_LONG_MS), ("wait-short", WAIT_SHORT_MS), ("lease", LEASE_MS), ("linger", LINGER_MS), ("expiry", EXPIRY_MS)]
                {
                    command.args(number(name, ms as usize));
                }
                command.args(number("dispatch-bytes", sizes.dispatch)).args(number("status-bytes", sizes.status)).args(number("state-bytes", sizes.state));
                for (name, value) in settings.iter().filter_map(|setting| setting.split_once('=')) {
                    command.arg(format!("--{name}")).arg(value);
                }
            }
        }
        Process::start(with_us(&mut command), place.folder.path().join("program.log"))
    }

    fn binary(&self) -> PathBuf {
        match self {
            Self::Recado => deployment::program().get_program().into(),
            Self::Other => std::env::var_os("OTHER").expect("OTHER names a binary of Recado").into(),
            Self::Floor(_) => std::env::current_exe().expect("this program has a file"),
            Self::Streams { .. } => "java".into(),
        }
    }
}

/// The jars of the Streams program, compiled by Maven when first asked for: before anything is measured.
pub fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build)
}

/// The version of a jar that runs with it, by the beginning of its file's name.
pub fn version(jar: &str) -> String {
    let jars = fs::read_dir(built().join("dependency")).expect("Maven has copied them");
    let names = jars.map(|file| file.expect("a readable folder").file_name().to_string_lossy().into_owned());
    let mut versions = names.filter_map(|name| Some(name.strip_prefix(jar)?.strip_suffix(".jar")?.to_owned()));
    versions.next().expect("Streams runs with it")
}

fn build() -> PathBuf {
    let target = support::repository().join("target/peers-streams");
    let pom = support::repository().join("benches/peers/streams/pom.xml");
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "-f"]).arg(pom).arg(format!("-Dpeers.target={}", target.display()));
    let built = maven.args(["package", "dependency:copy-dependencies", "-DincludeScope=runtime"]).status();
    assert!(built.is_ok_and(|status| status.success()), "Maven builds benches/peers/streams; type: docker/deps.sh test");
    target
}
