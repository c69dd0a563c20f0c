//! Enters: the folder `config/` and the environment; leaves: typed settings for every room, or all faults at once. It runs before anything else does.
//!
//! What is easily got wrong: nothing here stops at the first fault; whoever mends a configuration wants to see all of them. And no secret is part of the
//! settings: they hold the names of files, which are read apart, so the effective configuration can be printed.

mod fault;
mod kafka;
mod messages;
mod provider;
mod reading;
mod rules;
mod secret_file;
mod sections;
mod size;
mod source;

pub use fault::{Fault, Severity};
pub use kafka::Kafka;
pub use messages::Messages;
pub use provider::{Kind, MinTls, Provider};
pub use reading::parse;
pub use secret_file::SecretFile;
pub use sections::{Dispatcher, Engine, Gateway, Keys, Logs, Management, MetaApp, Mode, SchemaRegistry, Time, TopicSettings, TwilioAccount};
pub use size::Size;

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// The settings of one instance, checked. What a field means to an operator stands in `config/recado.toml`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether weak settings are allowed.
    pub mode: Mode,
    /// The stable name of this instance; part of group, transaction and client ids. Never empty, letters, digits, `-` and `_`.
    pub instance: String,
    /// In front of the name of every topic, group and transactional id of ours. Ends in a dot, or is empty.
    pub prefix: String,
    /// How to reach Kafka.
    pub kafka: Kafka,
    /// How our own topics are made.
    pub topics: TopicSettings,
    /// Where the bank's schemas are registered.
    pub schema_registry: SchemaRegistry,
    /// The role *engine*.
    pub engine: Engine,
    /// The role *dispatcher*.
    pub dispatcher: Dispatcher,
    /// The role *gateway*.
    pub gateway: Gateway,
    /// The keys that seal what rests.
    pub keys: Keys,
    /// Metrics and health.
    pub management: Management,
    /// The log.
    pub logs: Logs,
    /// Clocks.
    pub time: Time,
    #[serde(rename = "providers")]
    entries: BTreeMap<String, provider::Entry>,
    /// The providers that messages may be sent through, by name; checked.
    #[serde(skip)]
    pub providers: Vec<Provider>,
    /// The file that was read.
    #[serde(skip)]
    pub file: PathBuf,
    /// The folder in which it lies, absolute: `routes/`, `templates/` and `masking.toml` are beside it, and relative paths in it start here.
    #[serde(skip)]
    pub folder: PathBuf,
    /// What is told but keeps nothing from starting.
    #[serde(skip)]
    pub warnings: Vec<Fault>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::Production,
            instance: String::new(),
            prefix: "recado.".into(),
            kafka: Kafka::default(),
            topics: TopicSettings::default(),
            schema_registry: SchemaRegistry::default(),
            engine: Engine::default(),
            dispatcher: Dispatcher::default(),
            gateway: Gateway::default(),
            keys: Keys::default(),
            management: Management::default(),
            logs: Logs::default(),
            time: Time::default(),
            entries: BTreeMap::new(),
            providers: Vec::new(),
            file: PathBuf::new(),
            folder: PathBuf::new(),
            warnings: Vec::new(),
        }
    }
}

impl Config {
    /// Reads `path`: a folder that holds `recado.toml`, or the file itself; variables of the environment go above it (`RECADO_KAFKA__BOOTSTRAP` is
    /// `kafka.bootstrap`).
    ///
    /// Errors: every fault that was found, warnings among them, in the order of files and keys; at least one of them refuses. Reads each secret file once to
    /// judge it, and keeps nothing of it.
    pub fn load(path: &Path) -> Result<Self, Vec<Fault>> {
        Self::load_with(path, std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))))
    }

    /// [`Config::load`] with these variables in place of the environment's.
    pub fn load_with(path: &Path, variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, Vec<Fault>> {
        let file = file_of(path);
        let source = source::Source::new(&file, variables);
        let (mut config, mut faults) = source.read().map_err(|fault| vec![fault])?;
        config.folder = folder_of(&file);
        config.file = file;
        config.resolve();
        // A value that could not be read was taken out: that the default in its place breaks a rule is no news.
        let unread: BTreeSet<String> = faults.iter().map(|fault| fault.key.clone()).collect();
        if unread.contains("mode") {
            // Nothing starts on it, and whose rules count is not known: only those of both are told.
            config.mode = Mode::Development;
        }
        let mut found = rules::Found::new(&source);
        config.check(&mut found);
        faults.extend(found.into_faults().into_iter().filter(|fault| !unread.contains(&fault.key)));
        faults.sort();
        faults.dedup();
        if faults.iter().any(|fault| fault.severity == Severity::Refuse) {
            return Err(faults);
        }
        config.warnings = faults;
        Ok(config)
    }

    /// Whether weak settings are allowed.
    pub fn development(&self) -> bool {
        self.mode == Mode::Development
    }

    /// Reads the configuration at `path` ([`Config::load`]) and the routes, templates and masking beside it ([`Messages::read`]).
    ///
    /// Errors: every fault of every file, so that one run of `recado check` tells them all.
    pub fn load_all(path: &Path) -> Result<(Self, Messages), Vec<Fault>> {
        let loaded = Self::load(path);
        // Where the settings cannot be read, the routes are judged under the defaults.
        let defaults = Self { folder: folder_of(&file_of(path)), ..Self::default() };
        let config = loaded.as_ref().unwrap_or(&defaults);
        let read = Messages::read(&config.folder, &config.prefix, config.input_settings());
        match (loaded, read) {
            (Ok(mut config), Ok((messages, warnings))) => {
                config.warnings.extend(warnings);
                config.check_steps(&messages).map(|()| (config, messages))
            }
            (Err(mut faults), Ok((_, warnings))) => {
                faults.extend(warnings);
                Err(faults)
            }
            (Ok(config), Err(faults)) => Err(config.warnings.into_iter().chain(faults).collect()),
            (Err(mut faults), Err(more)) => {
                faults.extend(more);
                Err(faults)
            }
        }
    }

    /// What routes are compiled with.
    pub fn input_settings(&self) -> crate::event::input::Settings {
        crate::event::input::Settings { call_max: self.dispatcher.call_max(), hurry: self.time.hurry }
    }

    /// Every channel of a route has a provider.
    fn check_steps(&self, messages: &Messages) -> Result<(), Vec<Fault>> {
        let missing = |one: &&crate::event::input::TemplateUse| !self.providers.iter().any(|provider| provider.channel == one.channel);
        let faults: Vec<_> = messages.inputs.template_uses().iter().filter(missing).collect();
        if faults.is_empty() {
            return Ok(());
        }
        let tell = |one: &crate::event::input::TemplateUse| {
            Fault::refuse(&one.file, &one.key, format!("Its channel is {}, but no entry of [providers] carries that.", one.channel.word()))
        };
        Err(self.warnings.iter().cloned().chain(faults.into_iter().map(tell)).collect())
    }

    /// The name of a topic of ours: the prefix and `name` (`receipts`, `dispatch.sms.bulk`).
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// What is in force, defaults and variables included, as TOML. Secrets are named by their files and never in it.
    pub fn effective(&self) -> String {
        let value = toml::Value::try_from(self).expect("settings are tables of plain values");
        toml::to_string(&value).expect("a TOML value can be written")
    }

    /// The Kafka client that every role starts from: address, pass-through properties, secrets read from their files now. Roles add the keys on which
    /// correctness stands. It prints without the secrets. Errors: one sentence about a secret file that can no longer be read.
    pub fn kafka_client(&self) -> Result<rdkafka::ClientConfig, String> {
        self.kafka.client()
    }

    /// Makes relative paths start at the configuration's folder.
    fn resolve(&mut self) {
        let folder = self.folder.clone();
        let anchor = |path: &mut PathBuf| {
            if !path.as_os_str().is_empty() && path.is_relative() {
                *path = folder.join(&*path);
            }
        };
        anchor(&mut self.engine.state_folder);
        anchor(&mut self.keys.folder);
        anchor(&mut self.schema_registry.ca_file);
        self.secret_files_mut().into_iter().for_each(|file| anchor(file.path_mut()));
    }

    /// Every secret file that is named, with its key.
    fn secret_files(&self) -> Vec<(String, &SecretFile)> {
        let mut files = vec![
            ("kafka.security.sasl_password_file".to_owned(), &self.kafka.security.sasl_password_file),
            ("kafka.security.ssl_key_password_file".to_owned(), &self.kafka.security.ssl_key_password_file),
            ("schema_registry.credentials_file".to_owned(), &self.schema_registry.credentials_file),
            ("keys.root_key_file".to_owned(), &self.keys.root_key_file),
        ];
        for (name, app) in &self.gateway.meta {
            files.push((format!("gateway.meta.{name}.app_secret_file"), &app.app_secret_file));
            files.push((format!("gateway.meta.{name}.verify_token_file"), &app.verify_token_file));
        }
        for (name, account) in &self.gateway.twilio {
            files.push((format!("gateway.twilio.{name}.auth_token_file"), &account.auth_token_file));
            files.push((format!("gateway.twilio.{name}.shared_key_file"), &account.shared_key_file));
        }
        for (name, entry) in &self.entries {
            files.push((format!("providers.{name}.access_token_file"), &entry.access_token_file));
            files.push((format!("providers.{name}.auth_token_file"), &entry.auth_token_file));
            files.push((format!("providers.{name}.api_secret_file"), &entry.api_secret_file));
        }
        files.retain(|(_, file)| file.is_named());
        files
    }

    fn secret_files_mut(&mut self) -> Vec<&mut SecretFile> {
        let mut files = vec![
            &mut self.kafka.security.sasl_password_file,
            &mut self.kafka.security.ssl_key_password_file,
            &mut self.schema_registry.credentials_file,
            &mut self.keys.root_key_file,
        ];
        files.extend(self.gateway.meta.values_mut().flat_map(|app| [&mut app.app_secret_file, &mut app.verify_token_file]));
        files.extend(self.gateway.twilio.values_mut().flat_map(|account| [&mut account.auth_token_file, &mut account.shared_key_file]));
        files.extend(self.entries.values_mut().flat_map(|entry| [&mut entry.access_token_file, &mut entry.auth_token_file, &mut entry.api_secret_file]));
        files
    }
}

/// A folder means the `recado.toml` in it.
fn file_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("recado.toml") } else { path.to_path_buf() }
}

/// The folder in which `file` lies, absolute: schemas are looked for in the folder above it, and above `.` there is none.
fn folder_of(file: &Path) -> PathBuf {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
    let folder = file.parent().unwrap_or(Path::new("/")).to_path_buf();
    // Above `a/b/..` lies nothing that its letters tell. Else a link stays the name by which the operator knows the folder.
    if folder.components().any(|part| part == Component::ParentDir) { folder.canonicalize().unwrap_or(folder) } else { folder }
}

#[cfg(test)]
mod tests;
