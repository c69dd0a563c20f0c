//! A broker that demands TLS and SCRAM, and gives each user only the rights that `recado topics` prints.

use crate::bank;
use crate::process::{More, Stage};
use crate::rig::words;
use crate::support::{self, Broker, Reader, Writer};
use rdkafka::ClientConfig;
use recado::delivery::StatusWord;
use recado::simulator;
use std::fs;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// User recado may do everything, everybody else nothing that is not allowed by name.
fn broker() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    BROKER.get_or_init(|| {
        let rights = ["authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users=User:recado;User:ANONYMOUS"];
        support::start(&rights, &[("KAFKA_SECURE", "1")])
    })
}

/// The lines of `recado.toml` for a user of that broker, whose password stands in the file.
fn lines(user: &str, password_file: &str) -> String {
    let ca = broker().folder.join("tls/ca.pem");
    format!(
        r#"[kafka.properties]
"security.protocol" = "sasl_ssl"
"sasl.mechanism" = "SCRAM-SHA-512"
"sasl.username" = "{user}"
"ssl.ca.location" = "{}"
[kafka.security]
sasl_password_file = "{password_file}"
"#,
        ca.display()
    )
}

/// The bank's own client of that broker.
fn client() -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &broker().bootstrap)
        .set("security.protocol", "sasl_ssl")
        .set("sasl.mechanism", "SCRAM-SHA-512")
        .set("sasl.username", "recado")
        .set("sasl.password", "recado-secret")
        .set("ssl.ca.location", broker().folder.join("tls/ca.pem").to_str().unwrap());
    config
}

async fn stage(test: &str) -> Stage {
    let more = More {
        bootstrap: Some(broker().bootstrap.clone()),
        config: lines("recado", "secret-kafka"),
        files: vec![
            ("secret-kafka", "recado-secret".into()),
            ("secret-intruder", "intruder-secret".into()),
            ("secret-engine", "recado-engine-secret".into()),
            ("secret-dispatcher", "recado-dispatcher-secret".into()),
            ("secret-gateway", "recado-gateway-secret".into()),
        ],
        ..More::default()
    };
    Stage::with(test, 2, simulator::Settings::default(), more).await
}

/// The configuration of an instance with another user.
fn config_of(stage: &Stage, instance: &str, user: &str, password_file: &str) -> std::path::PathBuf {
    let path = stage.config(instance, stage.gateway_port, "");
    let text = fs::read_to_string(&path).unwrap().replace(&lines("recado", "secret-kafka"), &lines(user, password_file));
    fs::write(&path, text).unwrap();
    path
}

fn deliver_one(stage: &Stage) {
    let writer = Writer::of(client());
    writer.send(&stage.input("pix.transactions"), 1, b"customer-1", &bank::pix_received("e-1", "customer-1", "+5511987654321"));
    writer.flush();
    let mut told = Reader::of(client(), &[(&format!("{}status", stage.prefix), 2)]);
    told.until("delivered", |read| words(read).contains(&StatusWord::Delivered));
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_and_scram_a_record_comes_back_delivered() {
    let stage = stage("secure").await;
    let mut instance = stage.start(&stage.config("a", stage.gateway_port, ""), "engine,dispatcher,gateway");
    instance.ready().await;
    deliver_one(&stage);
    instance.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_as_one_and_readyz_stays_red() {
    let stage = stage("refused").await;
    // The intruder's name with somebody else's password.
    let mut instance = stage.start(&config_of(&stage, "b", "intruder", "secret-kafka"), "engine,dispatcher,gateway");
    let red = instance.red("refuses the user or the password").await;
    assert!(red.contains("kafka_away"), "{red}");
    assert!(!fs::read_to_string(&instance.log).unwrap().contains("recado-secret"), "no secret in the log");
    instance.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_that_recado_prints_are_enough_and_without_them_nothing_works() {
    let stage = stage("rights").await;
    let config = config_of(&stage, "c", "intruder", "secret-intruder");
    let mut instance = stage.start(&config, "engine,dispatcher,gateway");
    let ended = instance.ended(Duration::from_secs(40));
    assert!(ended.contains("topic"), "{ended}");

    grant(&stage, "c", |_| "User:intruder".to_owned());
    let mut instance = stage.start(&config, "engine,dispatcher,gateway");
    instance.ready().await;
    deliver_one(&stage);
    instance.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_does_its_work_with_its_own_rights_alone() {
    let stage = stage("roles").await;
    let roles = ["engine", "dispatcher", "gateway"];
    let configs = roles.map(|role| config_of(&stage, role, &format!("recado-{role}"), &format!("secret-{role}")));
    grant(&stage, "engine", str::to_owned);
    let mut instances: Vec<_> = roles.iter().zip(&configs).map(|(role, config)| stage.start(config, role)).collect();
    for instance in &mut instances {
        instance.ready().await;
    }
    deliver_one(&stage);
    for instance in instances {
        let log = fs::read_to_string(&instance.log).unwrap();
        assert!(!log.to_lowercase().contains("authorization failed"), "{log}");
        instance.stop();
    }
}

/// Carries out what `recado topics --acl` prints, each line for the user that `to` names instead of the printed one.
fn grant(stage: &Stage, instance: &str, to: impl Fn(&str) -> String) {
    let config = stage.folder.path().join(format!("{instance}.toml"));
    let printed = Command::new(env!("CARGO_BIN_EXE_recado")).args(["topics", "--acl", "--config"]).arg(config).output().unwrap();
    assert!(printed.status.success());
    let printed = String::from_utf8(printed.stdout).unwrap();
    // One start of Java for all topics with the same rights.
    let mut calls: Vec<(String, Vec<String>)> = Vec::new();
    for line in printed.lines().filter(|line| !line.starts_with('#')) {
        let (rights, resource) = match line.split_once(" --topic ") {
            Some((rights, topic)) => (rights.to_owned(), vec!["--topic".to_owned(), topic.trim_matches('\'').to_owned()]),
            None => (line.to_owned(), Vec::new()),
        };
        let words = rights.split(' ').skip_while(|word| !word.starts_with("User:"));
        let key = words.map(|word| if word.starts_with("User:") { to(word) } else { word.to_owned() }).collect::<Vec<_>>().join(" ");
        match calls.iter_mut().find(|(known, _)| !resource.is_empty() && *known == key) {
            Some((_, resources)) => resources.extend(resource),
            None => calls.push((key, resource)),
        }
    }
    assert!(calls.len() >= 5, "{printed}");
    let libs = support::libs();
    for (options, resources) in calls {
        let options: Vec<String> = options.split(' ').map(|word| word.trim_matches('\'').to_owned()).collect();
        let done = Command::new("java")
            .args(["-XX:TieredStopAtLevel=1", "-cp", &format!("{libs}/*"), "org.apache.kafka.tools.AclCommand", "--bootstrap-server", &broker().inside])
            .args(["--add", "--allow-principal"])
            .args(&options)
            .args(&resources)
            .output()
            .unwrap();
        assert!(done.status.success(), "{options:?}: {}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    }
}
