//! Where a run takes place: topics of its own, Recado's configuration, a folder for state; and the times of the route, which Streams is given too.

use crate::{deployment, support};
use std::fs;
use std::path::{Path, PathBuf};

/// Waits of the route, ms: one that no receipt is late for, and one that runs out.
pub const WAIT_LONG_MS: u32 = 600_000;
pub const WAIT_SHORT_MS: u32 = 33_000;
pub const LEASE_MS: u32 = 120_000;
pub const LINGER_MS: u32 = 60_000;
pub const EXPIRY_MS: u32 = 3_600_000;

/// Topics, configuration and state of one run.
pub struct Place {
    pub prefix: String,
    pub folder: tempfile::TempDir,
    pub config: PathBuf,
}

impl Place {
    /// Topics made, configuration written.
    pub async fn new(name: &str, partitions: u16) -> Self {
        let prefix = support::prefix(name);
        let folder = tempfile::tempdir().expect("a folder");
        deployment::write_folder(folder.path(), &prefix, |_, text| text);
        for other in ["codes.toml", "bills.toml"] {
            fs::remove_file(folder.path().join("routes").join(other)).expect("the repository has it");
        }
        route(&folder.path().join("routes/pix.toml"));
        let config = deployment::Config {
            instance: "bench",
            prefix: &prefix,
            bootstrap: support::bootstrap(),
            partitions,
            provider: "http://127.0.0.1:9",
            door: 9,
            gateway: support::free_port(),
            management: support::free_port(),
            top: "",
            engine: ENGINE,
            sections: "",
        };
        let config = config.write(folder.path());
        support::create(&[(&format!("{prefix}in.pix.transactions"), i32::from(partitions), &[])]).await;
        deployment::create_topics(&config);
        Self { prefix, folder, config }
    }
}

/// Both commit each 100 ms and not before; what would hold or pause Recado alone is out of the way.
const ENGINE: &str = "commit_interval = \"100ms\"\ncommit_on_drain = false\nbatch_records_max = 100000\nbatch_bytes_max = \"64MiB\"\nattempts_open_max = 100000000\nstorm_guard = false\n";

/// The reference route of Pix with the bench's waits, and two steps for both.
fn route(path: &Path) {
    let text = fs::read_to_string(path).expect("it was written");
    let (head, _) = text.split_once("# The first route whose conditions").expect("pix.toml says so");
    let head = head.replace("start = \"latest\"", "start = \"earliest\"");
    let seconds = |ms: u32| format!("{}s", ms / 1_000);
    let route = |name: &str, direction: &str, template: &str, wait: u32| {
        let steps = [("whatsapp", wait), ("sms", WAIT_LONG_MS)].map(|(channel, wait)| {
            format!("[[route.steps]]\nchannel = \"{channel}\"\ntemplate = \"{template}\"\nlease = \"{}\"\nwait = \"{}\"\n", seconds(LEASE_MS), seconds(wait))
        });
        let when = format!("when = [{{ field = \"direction\", equals = \"{direction}\" }}]");
        format!("[[route]]\nname = \"{name}\"\n{when}\nexpiry = \"{}\"\nlinger = \"{}\"\n{}", seconds(EXPIRY_MS), seconds(LINGER_MS), steps.concat())
    };
    let received = route("pix.received", "RECEIVED", "pix_recebido", WAIT_LONG_MS);
    let sent = route("pix.sent", "SENT", "pix_enviado", WAIT_SHORT_MS);
    fs::write(path, format!("{head}{received}{sent}")).expect("the folder is ours");
}
