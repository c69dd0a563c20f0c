use super::*;
use crate::event::input::DeadReason;
use crate::privacy::Class;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

const MANUAL: &str = include_str!("../../config/recado.toml");
const DEVELOPMENT: &str = include_str!("../../config/development.toml");

/// A folder with a configuration and every secret that it names, each with a content of its own.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Paths of the files as shipped lead out of the folder; in here everything stays inside.
        let text = text.replace("../.recado/", "");
        fs::create_dir(folder.path().join("secrets")).unwrap();
        for name in ["kafka-password", "meta-app-secret", "meta-verify-token", "twilio-auth-token", "twilio-api-secret", "meta-access-token"] {
            Self::write(&folder.path().join("secrets").join(name), &format!("{name}-5f1d77aa"));
        }
        Self::write(&folder.path().join("secrets/root-key"), "8f3a".repeat(16).as_str());
        fs::write(folder.path().join("recado.toml"), text).unwrap();
        Self(folder)
    }

    fn write(path: &Path, content: &str) {
        fs::write(path, content).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }

    fn load(&self, variables: &[(&str, &str)]) -> Result<Config, Vec<Fault>> {
        Config::load_with(self.0.path(), variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    fn faults(&self) -> Vec<Fault> {
        self.load(&[]).expect_err("there are faults")
    }
}

/// The one fault of a configuration that is right but for one replacement.
fn only_fault(text: &str, from: &str, to: &str) -> Fault {
    assert!(text.contains(from), "{from} is not in the file");
    let mut faults = Folder::new(&text.replacen(from, to, 1)).faults();
    assert_eq!(faults.len(), 1, "{faults:#?}");
    faults.remove(0)
}

fn leaves(prefix: &str, table: &toml::Table, into: &mut BTreeMap<String, toml::Value>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(table) => leaves(&key, table, into),
            other => drop(into.insert(key, other.clone())),
        }
    }
}

fn leaves_of(text: &str) -> BTreeMap<String, toml::Value> {
    let mut found = BTreeMap::new();
    leaves("", &text.parse().expect("it is TOML"), &mut found);
    found
}

#[test]
fn the_manual_is_a_right_configuration_and_so_is_the_one_for_development() {
    for text in [MANUAL, DEVELOPMENT] {
        let folder = Folder::new(text);
        let config = folder.load(&[]).unwrap();
        assert_eq!(config.warnings, []);
        assert_eq!(config.providers.len(), 3);
        assert_eq!(config.topic("receipts"), "recado.receipts");
        assert!(config.keys.root_key_file.path().starts_with(folder.0.path()), "relative paths start at the folder");
    }
}

#[test]
fn the_manual_shows_every_option_with_its_default() {
    let manual = leaves_of(MANUAL);
    let defaults = leaves_of(&Config::default().effective());
    let required = [
        "instance",
        "kafka.bootstrap",
        "kafka.security.sasl_password_file",
        "engine.state_folder",
        "gateway.public_base_url",
        "gateway.tls_ended_by",
        "keys.folder",
        "keys.root_key_file",
        "keys.accepted_by",
    ];
    for (key, value) in &defaults {
        let shown = manual.get(key).unwrap_or_else(|| panic!("recado.toml does not mention {key}"));
        assert!(shown == value || required.contains(&key.as_str()), "{key}: the manual says {shown}, the default is {value}");
    }
    let entry = leaves_of(&toml::to_string(&provider::Entry::default()).unwrap());
    for key in entry.keys().chain(["channel", "kind"].map(String::from).iter()) {
        assert!(manual.keys().any(|shown| shown.starts_with("providers.") && shown.ends_with(&format!(".{key}"))), "no provider in recado.toml shows {key}");
    }
}

#[test]
fn all_faults_are_told_at_once_with_file_and_key() {
    let text = MANUAL
        .replace("\nthreads = 1\n", "\nthreads = \"many\"\nthreats = 1\n")
        .replace("commit_interval = \"100ms\"", "commit_interval = \"fast\"")
        .replace("mode = \"production\"", "mode = \"hopeful\"")
        .replace("replication_factor = 3", "replication_factor = 0")
        .replace("batch_bytes_max = \"4MiB\"", "batch_bytes_max = 4000000");
    let faults = Folder::new(&text).load(&[("RECADO_GATEWAY__LISTEN", "nowhere")]).unwrap_err();
    let told: Vec<_> = faults.iter().map(|fault| (fault.file.as_str(), fault.key.as_str())).collect();
    for wanted in [
        ("recado.toml", "engine.threads"),
        ("recado.toml", "engine.threats"),
        ("recado.toml", "engine.commit_interval"),
        ("recado.toml", "engine.batch_bytes_max"),
        ("recado.toml", "mode"),
        ("recado.toml", "topics.replication_factor"),
        ("recado.toml", "topics.min_insync_replicas"),
        ("environment", "gateway.listen"),
    ] {
        assert!(told.contains(&wanted), "{wanted:?} is missing in {faults:#?}");
    }
    assert!(faults.iter().all(|fault| fault.sentence.ends_with('.')), "one sentence each: {faults:#?}");
    let said = faults.iter().map(ToString::to_string).collect::<String>();
    assert!(!said.contains("many") && !said.contains("hopeful") && !said.contains("nowhere"), "values are never quoted: {said}");
}

#[test]
fn what_a_value_must_be_is_said_in_words_that_an_operator_knows() {
    for (from, to, words) in [
        ("min_insync_replicas = 2", "min_insync_replicas = \"two\"", "It must be a whole number from 0 to 65535."),
        ("\nthreads = 1\n", "\nthreads = \"one\"\n", "It must be a whole number from 0 to 65535."),
        ("storm_guard = true", "storm_guard = \"yes\"", "`true` or `false`"),
        ("instance = \"recado-0\"", "instance = 0", "text in quotes"),
        ("call_timeout = \"4s\"", "call_timeout = 3", "a span of time such as \"30s\""),
    ] {
        assert!(MANUAL.contains(from), "{from} is not in the file");
        let faults = Folder::new(&MANUAL.replacen(from, to, 1)).faults();
        assert!(faults.iter().any(|fault| fault.sentence.contains(words)), "{to}: {faults:#?}");
    }
    let faults = Folder::new("mode = \"development\"\nkafka = 3\n").faults();
    assert!(faults.iter().any(|fault| fault.key == "kafka" && fault.sentence == "It must be a table."), "{faults:#?}");
    for wanted in ["u8", "u16", "i32", "usize", "struct Kafka", "enum Mode"] {
        assert!(!faults.iter().any(|fault| fault.sentence.contains(wanted)), "{faults:#?}");
    }
}

#[test]
fn the_rules_of_production_wait_for_a_mode_that_can_be_read() {
    let faults = Folder::new(&DEVELOPMENT.replacen("mode = \"development\"", "mode = \"developement\"", 1)).faults();
    assert_eq!(faults.iter().map(|fault| fault.key.as_str()).collect::<Vec<_>>(), ["mode"], "{faults:#?}");
}

#[test]
fn the_environment_goes_above_the_file() {
    let folder = Folder::new(MANUAL);
    let config = folder.load(&[("RECADO_ENGINE__THREADS", "3"), ("RECADO_INSTANCE", "recado-7"), ("RECADO_CACHE", "elsewhere"), ("OTHER", "1")]).unwrap();
    assert_eq!((config.engine.threads, config.instance.as_str()), (3, "recado-7"));
    let faults = folder.load(&[("RECADO_KEYS__ROOT_KEY", "8f3a")]).unwrap_err();
    assert_eq!((faults[0].file.as_str(), faults[0].key.as_str()), ("environment", "keys.root_key"), "a secret in the environment is an unknown option");
}

#[test]
fn what_kubernetes_says_about_services_is_no_setting() {
    let links = [
        "RECADO_SERVICE_HOST",
        "RECADO_SERVICE_PORT",
        "RECADO_SERVICE_PORT_HTTP",
        "RECADO_PORT",
        "RECADO_PORT_8080_TCP",
        "RECADO_PORT_8080_TCP_PROTO",
        "RECADO_PORT_8080_TCP_PORT",
        "RECADO_PORT_8080_TCP_ADDR",
        "RECADO_GATEWAY_SERVICE_HOST",
        "RECADO_GATEWAY_PORT_9464_TCP",
    ];
    let folder = Folder::new(MANUAL);
    assert_eq!(folder.load(&links.map(|name| (name, "10.0.0.1"))).unwrap().warnings, []);
    for (name, key) in [
        ("RECADO_INSTANSE", "instanse"),
        ("RECADO_GATEWAY_LISTEN", "gateway_listen"),
        ("RECADO_PORT_8080", "port_8080"),
        ("RECADO_ENGINE__THREATS", "engine.threats"),
        ("RECADO_ENGINE__PORT", "engine.port"),
    ] {
        let faults = folder.load(&[(name, "1")]).expect_err(name);
        assert_eq!(faults.iter().map(|fault| (fault.file.as_str(), fault.key.as_str())).collect::<Vec<_>>(), [("environment", key)]);
    }
}

#[test]
fn weak_settings_are_refused_outside_development() {
    for (from, to, key) in [
        ("replication_factor = 3", "replication_factor = 2", "topics.replication_factor"),
        ("min_insync_replicas = 2", "min_insync_replicas = 1", "topics.min_insync_replicas"),
        ("\"sasl_ssl\"", "\"plaintext\"", "kafka.properties.security.protocol"),
        ("\"sasl_ssl\"", "\"ssl\"", "kafka.properties.ssl.certificate.location"),
        ("\"sasl.username\" = \"recado\"\n", "", "kafka.properties.sasl.username"),
        ("sasl_password_file = \"secrets/kafka-password\"", "", "kafka.security.sasl_password_file"),
        (
            "\"sasl.username\"",
            "\"ssl.endpoint.identification.algorithm\" = \"none\"\n\"sasl.username\"",
            "kafka.properties.ssl.endpoint.identification.algorithm",
        ),
        ("\"sasl.username\"", "\"enable.ssl.certificate.verification\" = \"false\"\n\"sasl.username\"", "kafka.properties.enable.ssl.certificate.verification"),
        ("\"sasl.username\"", "\"acks\" = \"1\"\n\"sasl.username\"", "kafka.properties.acks"),
        ("\"sasl.username\"", "\"linger.mss\" = \"1\"\n\"sasl.username\"", "kafka.properties"),
        ("country = \"US\"", "", "providers.meta.country"),
        ("retention = \"30 days\"", "retention = \" \"", "providers.meta.retention"),
        ("min_tls = \"1.3\"", "min_tls = \"1.2\"", "providers.meta.min_tls_reason"),
        ("\"https://graph.facebook.com\"", "\"http://127.0.0.1:9\"", "providers.meta.base_url"),
        ("\"https://graph.facebook.com\"", "\"https://graph.example\"", "providers.meta.base_url"),
        ("api_key = \"SK00000000000000000000000000000000\"", "", "providers.twilio-sms.auth_token_file"),
        ("api_key = \"SK00", "api_key = \"AC00", "providers.twilio-sms.api_key"),
        ("channel = \"voice\"", "channel = \"sms\"", "providers.twilio-voice.channel"),
        ("app = \"bank\"", "app = \"other\"", "providers.meta.app"),
        ("accepted_by = \"Ana Souza, 2026-11-30\"", "accepted_by = \"Ana\"", "keys.accepted_by"),
        ("cache_ttl = \"1m\"", "cache_ttl = \"6m\"", "keys.cache_ttl"),
        ("level = \"info\"", "level = \"trace\"", "logs.level"),
        ("127.0.0.1:9464", "127.0.0.1:8080", "management.listen"),
        ("hurry = 1", "hurry = 10", "time.hurry"),
        ("storm_guard = true", "storm_guard = false", "engine.storm_guard"),
        ("commit_interval = \"100ms\"", "commit_interval = \"2s\"", "engine.commit_interval"),
        ("tls_ended_by = \"the load balancer of the payments zone\"", "", "gateway.tls_ended_by"),
        ("public_base_url = \"https://recado.bank.example\"", "", "gateway.public_base_url"),
        ("https://recado.bank.example", "http://recado.bank.example", "gateway.public_base_url"),
        ("https://recado.bank.example", "https://recado.bank.example/", "gateway.public_base_url"),
        ("https://recado.bank.example", "https://Recado.bank.example", "gateway.public_base_url"),
        ("https://recado.bank.example", "https:recado.bank.example", "gateway.public_base_url"),
        ("https://recado.bank.example", "https://recado.bank.example:443", "gateway.public_base_url"),
        ("https://recado.bank.example", "https://re_cado.bank.example", "gateway.public_base_url"),
        ("connections_per_address_max = 1024", "connections_per_address_max = 1025", "gateway.connections_per_address_max"),
        ("folder = \"/var/lib/recado/keys\"", "folder = \"/var/lib/recado/state/keys\"", "keys.folder"),
        ("state_folder = \"/var/lib/recado/state\"", "state_folder = \"/var/lib/recado\"", "keys.folder"),
        ("url = \"\"", "url = \"https://user:word@registry.example\"", "schema_registry.url"),
        ("ca_file = \"\"", "ca_file = \"absent.pem\"", "schema_registry.ca_file"),
        ("ca_file = \"\"", "ca_file = \"secrets/root-key\"", "schema_registry.ca_file"),
        ("instance = \"recado-0\"", "", "instance"),
        ("prefix = \"recado.\"", "prefix = \"recado\"", "prefix"),
        ("mode = \"production\"", "mode = [\"production\"]", "mode"),
    ] {
        assert_eq!(only_fault(MANUAL, from, to).key, key, "{from} -> {to}");
    }
}

#[test]
fn a_client_that_would_believe_any_broker_is_refused_however_it_is_written() {
    let said = |name: &str, value: &str| {
        let folder = Folder::new(&MANUAL.replacen("\"sasl.username\"", &format!("\"{name}\" = \"{value}\"\n\"sasl.username\""), 1));
        let faults = folder.load(&[]).map_or_else(|faults| faults, |config| config.warnings);
        let key = format!("kafka.properties.{name}");
        faults.into_iter().find(|fault| fault.key == key).map(|fault| fault.severity)
    };
    for value in ["false", "False", "FALSE", "f", "F", "0", "n", "no", ""] {
        assert_eq!(said("enable.ssl.certificate.verification", value), Some(Severity::Refuse), "{value}");
    }
    for value in ["none", "None", "NONE", "n", "no", ""] {
        assert_eq!(said("ssl.endpoint.identification.algorithm", value), Some(Severity::Refuse), "{value}");
    }
    for value in ["true", "True"] {
        assert_eq!(said("enable.ssl.certificate.verification", value), None, "{value}");
    }
    for value in ["https", "HTTPS"] {
        assert_eq!(said("ssl.endpoint.identification.algorithm", value), None, "{value}");
    }
    let mechanism = |value: &str| {
        let faults =
            Folder::new(&MANUAL.replace("\"SCRAM-SHA-512\"", &format!("\"{value}\""))).load(&[]).map_or_else(|faults| faults, |config| config.warnings);
        faults.into_iter().map(|fault| (fault.key, fault.severity)).collect::<Vec<_>>()
    };
    let key = "kafka.properties.sasl.mechanism".to_owned();
    assert_eq!(mechanism("PLAIN"), [(key.clone(), Severity::Warn)]);
    for value in ["plain", "Plain", "scram-sha-512"] {
        assert!(mechanism(value).contains(&(key.clone(), Severity::Refuse)), "{value}");
    }
}

#[test]
fn a_breaker_that_could_not_work_is_refused() {
    for (from, to, key) in [
        ("breaker_window = \"10s\"", "breaker_window = \"1500ms\"", "dispatcher.breaker_window"),
        ("breaker_window = \"10s\"", "breaker_window = \"11m\"", "dispatcher.breaker_window"),
        ("breaker_calls_min = 20", "breaker_calls_min = 0", "dispatcher.breaker_calls_min"),
        ("breaker_calls_min = 20", "breaker_calls_min = 100001", "dispatcher.breaker_calls_min"),
        ("breaker_failed_percent_min = 50", "breaker_failed_percent_min = 0", "dispatcher.breaker_failed_percent_min"),
        ("breaker_failed_percent_min = 50", "breaker_failed_percent_min = 101", "dispatcher.breaker_failed_percent_min"),
        ("breaker_pause = \"5s\"", "breaker_pause = \"10ms\"", "dispatcher.breaker_pause"),
    ] {
        assert_eq!(only_fault(MANUAL, from, to).key, key, "{from} -> {to}");
    }
}

#[test]
fn a_text_message_may_come_from_a_short_code_and_a_call_may_not() {
    let number = "from = \"+551150395000\"";
    let texts = |from: &str| {
        let faults = Folder::new(&MANUAL.replacen(number, &format!("from = \"{from}\""), 1)).load(&[]).err().unwrap_or_default();
        faults.into_iter().map(|fault| fault.key).collect::<Vec<_>>()
    };
    for from in ["29001", "290", "290012", "MG00000000000000000000000000000000"] {
        assert_eq!(texts(from), Vec::<String>::new(), "{from}");
    }
    for from in ["", "29", "2900123", "29a01", "551150395000"] {
        assert_eq!(texts(from), ["providers.twilio-sms.from"], "{from}");
    }
    let faults = Folder::new(&MANUAL.replace(number, "from = \"29001\"")).faults();
    assert_eq!(faults.iter().map(|fault| fault.key.as_str()).collect::<Vec<_>>(), ["providers.twilio-voice.from"]);
}

#[test]
fn plain_http_stays_on_this_machine_in_development_too() {
    assert_eq!(only_fault(DEVELOPMENT, "http://127.0.0.1:9470", "http://10.0.0.1:9470").key, "providers.meta.base_url");
}

#[test]
fn secrets_are_judged_when_the_configuration_is_read() {
    let folder = Folder::new(MANUAL);
    let secret = |name: &str| folder.0.path().join("secrets").join(name);
    fs::set_permissions(secret("root-key"), Permissions::from_mode(0o644)).unwrap();
    fs::remove_file(secret("kafka-password")).unwrap();
    Folder::write(&secret("meta-app-secret"), "changeme");
    Folder::write(&secret("meta-verify-token"), "meta-access-token-5f1d77aa");
    let faults = folder.faults();
    let keys: Vec<_> = faults.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(
        keys,
        ["gateway.meta.bank.app_secret_file", "kafka.security.sasl_password_file", "keys.root_key_file", "providers.meta.access_token_file"],
        "{faults:#?}"
    );
    assert!(!format!("{faults:?}").contains("5f1d77aa"));
}

#[test]
fn what_is_in_force_can_be_printed_and_holds_no_secret() {
    let folder = Folder::new(MANUAL);
    let text = folder.load(&[("RECADO_ENGINE__THREADS", "5")]).unwrap().effective();
    assert!(text.contains("threads = 5") && text.contains("secrets/root-key") && text.contains("commit_interval = \"100ms\""), "{text}");
    assert!(!text.contains("5f1d77aa") && !text.contains("8f3a8f3a"));
}

#[test]
fn a_file_that_is_no_toml_is_told_by_its_line_alone() {
    let faults = Folder::new("mode = \"production\"\ninstance = hunter-2\n").faults();
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].sentence, "Line 2 is no TOML.");
    let absent = Config::load_with(Path::new("absent/recado.toml"), []).unwrap_err();
    assert!(absent[0].sentence.contains("cannot be read"), "{absent:?}");
}

/// The whole configuration as shipped, with secrets.
fn shipped() -> Folder {
    let folder = Folder::new(MANUAL);
    let from = Path::new(env!("CARGO_MANIFEST_DIR"));
    for place in ["config/routes", "config/templates", "schemas"] {
        let into = folder.0.path().join(place.trim_start_matches("config/"));
        fs::create_dir(&into).unwrap();
        for entry in fs::read_dir(from.join(place)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, into.join(path.file_name().unwrap())).unwrap();
        }
    }
    fs::copy(from.join("config/masking.toml"), folder.0.path().join("masking.toml")).unwrap();
    folder
}

fn change(folder: &Folder, file: &str, from: &str, to: &str) {
    let path = folder.0.path().join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} is not in {file}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// The blocks of the README's first own route, in their order: schema, route, template.
#[test]
fn the_readmes_first_own_route_is_accepted_as_it_stands() {
    let readme = include_str!("../../README.md");
    let chapter = readme.split("## Your first own route").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let block = |language: &str, which: usize| {
        let text = chapter.split(&format!("```{language}\n")).nth(which + 1).and_then(|rest| rest.split("```").next()).unwrap();
        text.lines().map(|line| line.strip_prefix("   ").unwrap_or(line)).collect::<Vec<_>>().join("\n")
    };
    let folder = shipped();
    fs::write(folder.0.path().join("schemas/purchase.avsc"), block("json", 0)).unwrap();
    fs::write(folder.0.path().join("routes/purchases.toml"), block("toml", 0)).unwrap();
    fs::write(folder.0.path().join("templates/compra.toml"), block("toml", 1)).unwrap();
    let (config, messages) = Config::load_all(folder.0.path()).unwrap();
    assert!(messages.topics().contains(&"cards.purchases".to_owned()));
    let about_it: Vec<_> = config.warnings.iter().filter(|fault| fault.file.contains("purchases") || fault.file.contains("compra")).collect();
    assert!(about_it.is_empty(), "{about_it:#?}");
}

#[test]
fn the_readme_says_what_each_reason_of_a_dead_letter_means() {
    let readme = include_str!("../../README.md");
    let chapter = readme.split("## What the bank reads").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    for word in DeadReason::ALL.map(DeadReason::word).into_iter().chain(["webhook_not_json", "webhook_wrong_shape", "webhook_unreadable_status"]) {
        let named = |line: &str| line.strip_prefix("| ").and_then(|row| row.split(" | ").next()).is_some_and(|cell| cell.contains(&format!("`{word}`")));
        assert!(chapter.lines().any(named), "the README does not say what {word} means");
    }
}

/// The keys that the reference routes show, remarks included, each with its table. An inline table goes by its first key.
fn shown_in_routes() -> BTreeSet<(String, String)> {
    let mut shown = BTreeSet::new();
    for text in [include_str!("../../config/routes/pix.toml"), include_str!("../../config/routes/codes.toml"), include_str!("../../config/routes/bills.toml")] {
        let mut table = String::new();
        for line in text.lines().map(|line| line.trim_start_matches(['#', ' '])) {
            if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
                table = header.trim_start_matches('[').to_owned();
                let (above, key) = table.rsplit_once('.').unwrap_or(("", table.as_str()));
                shown.insert((above.to_owned(), key.to_owned()));
            }
            let inline = ["path", "field"].into_iter().find(|first| line.contains(&format!("{{ {first} = "))).unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            for (at, pair) in words.windows(2).enumerate().filter(|(_, pair)| pair[1] == "=") {
                let within = if at == 0 { table.as_str() } else { inline };
                shown.insert((within.to_owned(), pair[0].to_owned()));
            }
        }
    }
    shown
}

#[test]
fn the_reference_routes_show_every_key_of_a_route_file() {
    let tables = [
        ("RouteFile", ""),
        ("InputFile", "input"),
        ("CancelFile", "input.cancel"),
        ("FieldFile", "path"),
        ("NamedRouteFile", "route"),
        ("ConditionFile", "field"),
        ("StepFile", "route.steps"),
    ];
    let shown = shown_in_routes();
    let (mut table, mut renamed, mut keys) = (None, None, 0);
    for line in include_str!("../event/input/file.rs").lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("pub struct ").map(|rest| rest.trim_end_matches(" {")) {
            table = tables.iter().find(|(of, _)| *of == name).map(|(_, table)| *table);
            assert!(table.is_some(), "say here in which table of a route file the keys of {name} stand");
        } else if let Some(rest) = line.strip_prefix("#[serde(rename = \"") {
            renamed = rest.split('"').next();
        } else if let (Some(table), Some((field, _))) = (table, line.strip_prefix("pub ").and_then(|rest| rest.split_once(": "))) {
            let key = renamed.take().unwrap_or(field);
            assert!(shown.contains(&(table.to_owned(), key.to_owned())), "no file in config/routes shows {key} of [{table}]");
            keys += 1;
        }
    }
    assert!(keys > 40, "the keys of a route file were not found");
}

#[test]
fn the_reference_routes_show_every_word_of_a_field() {
    let pix = include_str!("../../config/routes/pix.toml");
    let words: BTreeSet<&str> = pix.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).collect();
    for word in ["text", "amount", "time", "date", "integer", "reais", "centavos", "seconds", "millis", "micros", "equals", "one_of", "exists"] {
        assert!(words.contains(word), "routes/pix.toml does not say {word}");
    }
    let masking = leaves_of(include_str!("../../config/masking.toml"));
    for class in Class::ALL {
        assert!(masking.contains_key(&format!("classes.{}.sms", class.word())), "masking.toml does not show {}", class.word());
    }
}

#[test]
fn the_configuration_as_shipped_has_no_faults() {
    let folder = shipped();
    let (config, messages) = Config::load_all(folder.0.path()).unwrap();
    let refused: Vec<_> = config.warnings.iter().filter(|fault| fault.severity == Severity::Refuse).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    assert_eq!(messages.topics(), ["auth.challenges", "auth.codes-used", "billing.invoices", "pix.transactions"]);
}

#[test]
fn faults_of_all_files_are_told_in_one_run() {
    let folder = shipped();
    change(&folder, "recado.toml", "threads = 1", "threads = 1000");
    change(&folder, "routes/codes.toml", "lane = \"express\"", "lane = \"bulk\"");
    change(&folder, "routes/pix.toml", "channel = \"sms\"", "channel = \"pigeon\"");
    fs::write(folder.0.path().join("templates/fatura.toml"), "name = \n").unwrap();
    fs::remove_file(folder.0.path().join("masking.toml")).unwrap();
    let Err(faults) = Config::load_all(folder.0.path()) else { panic!("there are faults") };
    for file in ["recado.toml", "routes/codes.toml", "routes/pix.toml", "masking.toml", "templates/fatura.toml"] {
        assert!(faults.iter().any(|fault| fault.file == file && fault.severity == Severity::Refuse), "{file}: {faults:#?}");
    }
    assert!(!faults.iter().any(|fault| fault.file.starts_with("routes/") && fault.key.ends_with("template")), "no fault follows from another: {faults:#?}");
}

#[test]
fn a_channel_without_a_provider_is_refused() {
    let folder = shipped();
    let text = fs::read_to_string(folder.0.path().join("recado.toml")).unwrap();
    let (start, end) = (text.find("[providers.twilio-voice]").unwrap(), text.find("# The keys that seal").unwrap());
    fs::write(folder.0.path().join("recado.toml"), format!("{}{}", &text[..start], &text[end..])).unwrap();
    let Err(faults) = Config::load_all(folder.0.path()) else { panic!("there are faults") };
    let refused: Vec<_> = faults.iter().filter(|fault| fault.severity == Severity::Refuse).collect();
    assert!(!refused.is_empty() && refused.iter().all(|fault| fault.sentence.contains("no entry of [providers] carries")), "{faults:#?}");
}

#[test]
fn an_input_never_reads_a_topic_of_our_own() {
    for topic in crate::topics::all("recado.") {
        let folder = shipped();
        change(&folder, "routes/pix.toml", "topic = \"pix.transactions\"", &format!("topic = \"{}\"", topic.name));
        change(&folder, "routes/codes.toml", "topic = \"auth.codes-used\"", &format!("topic = \"{}\"", topic.name));
        let Err(faults) = Config::load_all(folder.0.path()) else { panic!("{} is read", topic.name) };
        for (file, key) in [("routes/pix.toml", "input.topic"), ("routes/codes.toml", "input.cancel.topic")] {
            assert!(faults.iter().any(|fault| fault.file == file && fault.key == key && fault.sentence.contains("own")), "{}: {faults:#?}", topic.name);
        }
    }
    let folder = shipped();
    change(&folder, "routes/pix.toml", "topic = \"pix.transactions\"", "topic = \"recado.in.pix\"");
    assert!(Config::load_all(folder.0.path()).is_ok(), "a name below the prefix is the bank's to use");
}

#[test]
fn the_folder_is_found_from_inside_it_too() {
    let here = std::path::absolute(".").unwrap();
    for path in [".", "./", "recado.toml", "./recado.toml", "config/..", "config/../recado.toml"] {
        assert_eq!(folder_of(&file_of(Path::new(path))), here, "{path}");
    }
    assert_eq!(folder_of(&file_of(Path::new("config"))), here.join("config"));
    assert_eq!(folder_of(&file_of(Path::new("/etc/recado/recado.toml"))), Path::new("/etc/recado"));
}

#[test]
fn only_regular_files_are_read_and_other_names_are_told() {
    let folder = shipped();
    for name in ["routes/purchases.TOML", "templates/pix.toml.bak"] {
        fs::write(folder.0.path().join(name), "").unwrap();
    }
    fs::create_dir(folder.0.path().join("routes/..data")).unwrap();
    let (config, _) = Config::load_all(folder.0.path()).unwrap();
    let told: Vec<_> = config.warnings.iter().filter(|fault| fault.sentence.contains("not read")).map(|fault| fault.file.as_str()).collect();
    assert_eq!(told, ["routes/purchases.TOML", "templates/pix.toml.bak"]);

    assert!(std::process::Command::new("mkfifo").arg(folder.0.path().join("routes/pipe.toml")).status().unwrap().success());
    let path = folder.0.path().to_path_buf();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(Config::load_all(&path).err()));
    let faults = told.recv_timeout(std::time::Duration::from_secs(20)).expect("nobody waits for what may come out of a pipe").unwrap();
    assert!(faults.iter().any(|fault| fault.file == "routes/pipe.toml" && fault.sentence.contains("no regular file")), "{faults:#?}");
}
