//! The demo's own folder: the reference configuration, secrets, keys and state of one run. It goes when the demo ends.
//!
//! What is easily got wrong: the binary needs no repository. What it must find is compiled in.

use crate::config::{Config, Messages};
use crate::simulator;
use anyhow::Context;
use aws_lc_rs::rand;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// The reference routes, templates and schemas, as they lie in the repository.
const FILES: [(&str, &str); 12] = [
    ("routes/pix.toml", include_str!("../../../config/routes/pix.toml")),
    ("routes/codes.toml", include_str!("../../../config/routes/codes.toml")),
    ("routes/bills.toml", include_str!("../../../config/routes/bills.toml")),
    ("templates/codigo.toml", include_str!("../../../config/templates/codigo.toml")),
    ("templates/fatura.toml", include_str!("../../../config/templates/fatura.toml")),
    ("templates/pix_enviado.toml", include_str!("../../../config/templates/pix_enviado.toml")),
    ("templates/pix_recebido.toml", include_str!("../../../config/templates/pix_recebido.toml")),
    ("masking.toml", include_str!("../../../config/masking.toml")),
    ("schemas/pix_transaction.avsc", include_str!("../../../schemas/pix_transaction.avsc")),
    ("schemas/auth_challenge.avsc", include_str!("../../../schemas/auth_challenge.avsc")),
    ("schemas/code_used.avsc", include_str!("../../../schemas/code_used.avsc")),
    ("schemas/billing_invoice.avsc", include_str!("../../../schemas/billing_invoice.avsc")),
];
const LOG: &str = "recado.log";
const SEND_LOG: &str = "send-log";

/// Made for one demo, readable by nobody else.
pub(super) struct Folder {
    path: PathBuf,
    keep_log: AtomicBool,
}

/// What one demo's configuration hangs on.
pub(super) struct Place<'a> {
    /// Where Kafka is.
    pub(super) bootstrap: &'a str,
    /// In front of the topics of ours; ends in a dot.
    pub(super) prefix: &'a str,
    /// In front of the bank's topics; empty leaves their names as they are.
    pub(super) inputs_prefix: &'a str,
    /// Where webhooks arrive: `host:port`.
    pub(super) gateway: &'a str,
    /// Where the providers' doubles are: `http://host:port`.
    pub(super) providers: &'a str,
    /// What waits are divided by.
    pub(super) hurry: u32,
    /// The doubles' settings: both sides must have the same names.
    pub(super) doubles: &'a simulator::Settings,
}

impl Folder {
    pub(super) fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("recado-demo-{}", random(6)?));
        DirBuilder::new().mode(0o700).create(&path).with_context(|| format!("the folder {} cannot be made", path.display()))?;
        let folder = Self { path, keep_log: AtomicBool::new(false) };
        folder.fill()?;
        Ok(folder)
    }

    fn fill(&self) -> anyhow::Result<()> {
        for name in ["routes", "templates", "schemas", "secrets", "keys", "state"] {
            DirBuilder::new().mode(0o700).create(self.path.join(name)).with_context(|| format!("the folder {name} cannot be made"))?;
        }
        FILES.iter().try_for_each(|(name, text)| self.write(name, text))
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        fs::write(self.path.join(name), text).with_context(|| format!("{name} cannot be written"))
    }

    /// Where the log is.
    pub(super) fn log_path(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// Where the doubles write what they took; it goes with the folder.
    pub(super) fn send_log(&self) -> PathBuf {
        self.path.join(SEND_LOG)
    }

    /// The log, open.
    pub(super) fn log(&self) -> anyhow::Result<File> {
        File::create(self.log_path()).context("the log cannot be written")
    }

    /// When the folder goes, the log and the providers' own log of what was sent stay. Returns where the first is.
    pub(super) fn keep_log(&self) -> PathBuf {
        self.keep_log.store(true, Ordering::Relaxed);
        self.log_path()
    }

    /// A new secret, in a file that nobody else can read. Returns it, for the other side.
    pub(super) fn secret(&self, name: &str) -> anyhow::Result<String> {
        let secret = random(32)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(self.path.join("secrets").join(name));
        file.and_then(|mut file| file.write_all(secret.as_bytes())).with_context(|| format!("the secret {name} cannot be written"))?;
        Ok(secret)
    }

    /// Writes `recado.toml`, and into the routes the names of the bank's topics and leases that suit a busy machine; reads it all as any instance does, but for the
    /// environment: there is nothing to configure.
    pub(super) fn configure(&self, place: &Place<'_>) -> anyhow::Result<(Config, Messages)> {
        for (name, text) in FILES.iter().filter(|(name, _)| name.starts_with("routes/")) {
            let text = text.replace("topic = \"", &format!("topic = \"{}", place.inputs_prefix));
            self.write(name, &text.replace("lease = \"10s\"", "").replace("[[route.steps]]", &format!("[[route.steps]]\nlease = \"{LEASE}\"")))?;
        }
        self.write("recado.toml", &settings(place))?;
        let refused = |faults: Vec<crate::config::Fault>| {
            anyhow::anyhow!("the demo's own configuration is refused: {}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        };
        let config = Config::load_with(&self.path, []).map_err(refused)?;
        let (messages, _) = Messages::read(&config.folder, &config.prefix, config.input_settings()).map_err(refused)?;
        Ok((config, messages))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.keep_log.load(Ordering::Relaxed) {
            empty_but_for_log(&self.path);
        } else if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, "The demo's folder could not be removed.");
        }
    }
}

fn empty_but_for_log(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten().filter(|entry| entry.file_name() != LOG && entry.file_name() != SEND_LOG) {
        let path = entry.path();
        // What cannot be removed stays: the system clears its own folder.
        let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
    }
}

/// So many random bytes, as hex.
pub(super) fn random(bytes: usize) -> anyhow::Result<String> {
    let mut random = vec![0; bytes];
    rand::fill(&mut random).map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
    Ok(hex::encode(random))
}

/// Waits are shortened so that a fallback can be watched; leases and calls, which are shortened with them, are made longer before: a machine that compiles beside
/// it must not make a call look lost.
const LEASE: &str = "60s";
/// The doubles answer at once.
const CALL_TIMEOUT: &str = "20s";

/// `recado.toml` of a demo.
fn settings(place: &Place<'_>) -> String {
    let Place { bootstrap, prefix, gateway, providers, hurry, doubles, .. } = place;
    let (phone_number_id, account_sid, calls) = (&doubles.meta.phone_number_id, &doubles.twilio.account_sid, doubles.twilio.calls_per_second);
    format!(
        r#"mode = "development"
instance = "demo"
prefix = "{prefix}"
kafka.bootstrap = "{bootstrap}"
topics = {{ partitions = 4, replication_factor = 1, min_insync_replicas = 1 }}
engine = {{ state_folder = "state", cache = "32MiB", write_buffer = "16MiB" }}
keys = {{ folder = "keys", root_key_file = "secrets/root-key" }}
dispatcher = {{ call_timeout = "{CALL_TIMEOUT}", call_margin = "500ms" }}
management.listen = "127.0.0.1:0"
time.hurry = {hurry}

[gateway]
listen = "{gateway}"
public_base_url = "http://{gateway}"
meta.bank = {{ app_secret_file = "secrets/meta-app", verify_token_file = "secrets/meta-verify" }}
twilio.bank = {{ auth_token_file = "secrets/twilio" }}

[providers.meta]
channel = "whatsapp"
kind = "meta"
base_url = "{providers}"
api_version = "v25.0"
phone_number_id = "{phone_number_id}"
access_token_file = "secrets/meta-access"
app = "bank"

[providers.twilio-sms]
channel = "sms"
kind = "twilio"
base_url = "{providers}"
account_sid = "{account_sid}"
auth_token_file = "secrets/twilio"
from = "+551140040002"
account = "bank"

[providers.twilio-voice]
channel = "voice"
kind = "twilio"
base_url = "{providers}"
calls_per_second = {calls}
account_sid = "{account_sid}"
auth_token_file = "secrets/twilio"
from = "+551140040003"
account = "bank"
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_reference_route_and_template_is_compiled_in() {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
        for name in ["routes", "templates"] {
            let there = fs::read_dir(config.join(name)).unwrap().map(|entry| format!("{name}/{}", entry.unwrap().file_name().to_string_lossy()));
            let here = FILES.iter().map(|(file, _)| (*file).to_owned()).filter(|file| file.starts_with(name));
            assert_eq!(there.collect::<BTreeSet<_>>(), here.collect::<BTreeSet<_>>());
        }
    }

    #[test]
    fn the_configuration_is_taken_under_any_names_and_the_folder_goes_at_the_end() {
        let folder = Folder::new().unwrap();
        for name in ["root-key", "meta-app", "meta-verify", "meta-access", "twilio"] {
            folder.secret(name).unwrap();
        }
        let (path, doubles) = (folder.path.clone(), simulator::Settings::default());
        let place = Place {
            bootstrap: "127.0.0.1:9092",
            prefix: "demo-1.",
            inputs_prefix: "demo-1.in.",
            gateway: "127.0.0.1:8080",
            providers: "http://127.0.0.1:9470",
            hurry: 10,
            doubles: &doubles,
        };
        let (config, messages) = folder.configure(&place).unwrap();
        assert!(config.development() && config.warnings.is_empty(), "{:?}", config.warnings);
        assert_eq!(messages.topics(), ["auth.challenges", "auth.codes-used", "billing.invoices", "pix.transactions"].map(|name| format!("demo-1.in.{name}")));
        folder.log().unwrap();
        folder.keep_log();
        drop(folder);
        assert_eq!(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>(), [LOG]);
        fs::remove_dir_all(&path).unwrap();
        let folder = Folder::new().unwrap();
        let path = folder.path.clone();
        drop(folder);
        assert!(!path.exists());
    }
}
