//! What it takes to run Recado as processes of its own, for the tests of whole clusters, the crash rig and the bench: the folder of the configuration and its
//! text, the providers' side of it, and a child that does not outlive whoever started it.

use crate::support;
use aws_lc_rs::hmac;
use recado::simulator;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Secrets of both sides, invented; each lies in the file `secret-<name>`.
const SECRETS: [(&str, &str); 5] = [
    ("app", "app-secret-of-the-tests"),
    ("verify", "verify-token-of-the-tests"),
    ("access", "access-token-of-the-tests"),
    ("twilio", "twilio-token-of-the-tests"),
    ("root", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"),
];
const ACCOUNT: &str = "AC00000000000000000000000000000001";
const PHONE_NUMBER_ID: &str = "100000000000001";

fn secret(name: &str) -> &'static str {
    SECRETS.iter().find(|(other, _)| *other == name).unwrap().1
}

/// The program.
pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_recado"))
}

/// The command's process ends with this program, however that ends.
pub fn with_us(command: &mut Command) -> &mut Command {
    #[expect(unsafe_code, reason = "the standard library cannot ask for a signal at the parent's death")]
    // SAFETY: prctl is async-signal-safe and touches no memory of ours.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        })
    }
}

/// `recado topics --create`.
pub fn create_topics(config: &Path) {
    let made = program().args(["topics", "--create", "--config"]).arg(config).output().unwrap();
    assert!(made.status.success(), "{}{}", String::from_utf8_lossy(&made.stdout), String::from_utf8_lossy(&made.stderr));
}

/// A route whose topics are inputs under this prefix.
pub fn own_topics(route: &str, prefix: &str) -> String {
    route.replace("topic = \"", &format!("topic = \"{prefix}in."))
}

/// Writes routes, templates, schemas and masking of the repository, and the secrets. `change` is given each text with the name of its folder; the routes have
/// their topics under the prefix already.
pub fn write_folder(folder: &Path, prefix: &str, change: impl Fn(&str, String) -> String) {
    let repository = support::repository();
    for (name, from) in [("routes", "config/routes"), ("templates", "config/templates"), ("schemas", "schemas")] {
        fs::create_dir_all(folder.join(name)).unwrap();
        for entry in fs::read_dir(repository.join(from)).unwrap() {
            let entry = entry.unwrap();
            let text = fs::read_to_string(entry.path()).unwrap();
            let text = if name == "routes" { own_topics(&text, prefix) } else { text };
            fs::write(folder.join(name).join(entry.file_name()), change(name, text)).unwrap();
        }
    }
    fs::copy(repository.join("config/masking.toml"), folder.join("masking.toml")).unwrap();
    for (name, secret) in SECRETS {
        write_private(&folder.join(format!("secret-{name}")), secret);
    }
}

/// Writes a file that nobody else may read.
pub fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o400)).unwrap();
}

/// The configuration of one instance.
pub struct Config<'a> {
    pub instance: &'a str,
    pub prefix: &'a str,
    pub bootstrap: &'a str,
    pub partitions: u16,
    /// Where the providers are.
    pub provider: &'a str,
    /// Where the providers find the gateway.
    pub door: u16,
    /// Where this instance's gateway listens.
    pub gateway: u16,
    pub management: u16,
    /// Further lines of the top level.
    pub top: &'a str,
    /// Further lines of `[engine]`, each with its end.
    pub engine: &'a str,
    /// Further sections.
    pub sections: &'a str,
}

impl Config<'_> {
    /// Writes it into this folder and gives its path.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let Self { instance, prefix, bootstrap, partitions, provider, door, gateway, management, top, engine, sections } = self;
        let (replicas, in_sync) = support::replicas();
        let mut text = format!(
            r#"{top}
mode = "development"
instance = "{instance}"
prefix = "{prefix}"
[kafka]
bootstrap = "{bootstrap}"
[topics]
partitions = {partitions}
replication_factor = {replicas}
min_insync_replicas = {in_sync}
[engine]
state_folder = "state-{instance}"
{engine}[gateway]
listen = "127.0.0.1:{gateway}"
public_base_url = "http://127.0.0.1:{door}"
[gateway.meta.bank]
app_secret_file = "secret-app"
verify_token_file = "secret-verify"
[gateway.twilio.bank]
auth_token_file = "secret-twilio"
[keys]
folder = "keys"
root_key_file = "secret-root"
[management]
listen = "127.0.0.1:{management}"
[providers.meta]
channel = "whatsapp"
kind = "meta"
base_url = "{provider}"
api_version = "v25.0"
phone_number_id = "{PHONE_NUMBER_ID}"
access_token_file = "secret-access"
app = "bank"
"#
        );
        for channel in ["sms", "voice"] {
            write!(
                text,
                r#"[providers.{channel}]
channel = "{channel}"
kind = "twilio"
base_url = "{provider}"
account_sid = "{ACCOUNT}"
auth_token_file = "secret-twilio"
from = "+551150390001"
account = "bank"
"#
            )
            .unwrap();
        }
        writeln!(text, "{sections}").unwrap();
        let path = folder.join(format!("{instance}.toml"));
        fs::write(&path, text).unwrap();
        path
    }
}

/// The providers' side of it: the same secrets, the send log in this folder, webhooks to this port.
pub fn providers(mut settings: simulator::Settings, folder: &Path, door: u16) -> simulator::Settings {
    let secret = |name: &str| secret(name).to_owned();
    settings.log = Some(folder.join("send.log"));
    settings.keep_texts = true;
    settings.meta.phone_number_id = PHONE_NUMBER_ID.into();
    settings.meta.access_token = secret("access");
    settings.meta.app_secret = secret("app");
    settings.meta.webhook = format!("http://127.0.0.1:{door}/webhooks/meta/bank");
    settings.twilio.account_sid = ACCOUNT.into();
    settings.twilio.api_key = ACCOUNT.into();
    settings.twilio.api_secret = secret("twilio");
    settings.twilio.auth_token = secret("twilio");
    settings
}

/// The signature of Meta's webhooks.
pub fn signed_by_meta(body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret("app").as_bytes());
    format!("sha256={}", hex::encode(hmac::sign(&key, body.as_bytes())))
}

/// A process under way; it is killed when this is dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; what it says goes to the end of the log.
    pub fn start(command: &mut Command, log: PathBuf) -> Self {
        let file = fs::File::options().create(true).append(true).open(&log).unwrap();
        let child = command.stdout(file.try_clone().unwrap()).stderr(file).stdin(Stdio::null()).spawn().unwrap();
        Self { child, log }
    }

    /// What it has said.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, when it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// The same, waiting for it until then.
    pub fn ended_by(&mut self, deadline: Instant) -> Option<ExitStatus> {
        loop {
            match self.ended() {
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                ended => return ended,
            }
        }
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal(libc::SIGTERM);
    }

    /// Another signal.
    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).unwrap();
        #[expect(unsafe_code, reason = "the standard library sends SIGKILL alone")]
        // SAFETY: kill takes no memory of ours; the pid is our child's, which has not been waited for.
        let sent = unsafe { libc::kill(pid, signal) };
        assert_eq!(sent, 0, "the process is there");
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
